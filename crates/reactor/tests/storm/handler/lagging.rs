//! What a handler does when a connection is too slow, and what it says of policies for that.
//!
//! Policies are in the ledger, of topics by their names and of sessions. From them follows what is to
//! become of the connection, which its peer is told; the engine finds the same by itself.

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::{Connection, Lag, Lagged};

use super::{Application, Ticket, panic_quietly};
use crate::fault::Fault;
use crate::ledger::Invariant;
use crate::manner::AtLag;
use crate::note::Note;
use crate::peer::told;
use crate::topics::{LASTING, NAMES, POLICIES};

/// What an overrun comes to.
#[derive(Default)]
struct Fate {
    closes: bool,
    /// The names of topics whose publications are left out, and of those that come as values.
    skipped: Vec<usize>,
    merged: Vec<usize>,
}

impl Application {
    /// Gives the connection a policy of its own, or takes it back.
    pub(super) fn set_policy(&self, connection: &mut Connection<'_, Ticket>, about: u64) {
        let place = usize::try_from(about).expect("small");
        let policy = POLICIES.get(place % (POLICIES.len() + 2)).copied();
        connection.set_lagged(policy);
        self.book.borrow_mut().sessions[connection.state.number].policy = policy;
    }

    pub(super) fn overrun(
        &mut self,
        connection: &mut Connection<'_, Ticket>,
        lag: &Lag<'_>,
    ) -> Option<Lagged> {
        let number = connection.state.number;
        let mut book = self.book.borrow_mut();
        book.expect_open(number, "a lag");
        book.tally.lagged += 1;
        book.tally.lost += lag.skipped();
        let manner = book.sessions[number].manner.lag;
        drop(book);
        let lost = self.lost(number, lag);
        let decision = match manner {
            AtLag::Skip => Some(Lagged::Skip),
            AtLag::Close => Some(Lagged::Close(CloseCode::POLICY_VIOLATION, "slow consumer")),
            AtLag::Merge => Some(Lagged::Merge),
            AtLag::AsSaid => None,
            AtLag::AskForClose => {
                self.book.borrow_mut().excuse_code(number, 4_903);
                connection.close(CloseCode(4_903), "slow consumer");
                return Some(Lagged::Skip);
            }
            AtLag::Panic => {
                self.panics(number);
                panic_quietly()
            }
        };
        let is_room_merged = lost
            .iter()
            .any(|(name, policy)| *name >= LASTING && decision.unwrap_or(*policy) == Lagged::Merge);
        // Of two rooms with one name one may be gone, and has no value then.
        let decision = if is_room_merged { Some(Lagged::Skip) } else { decision };
        let fate = self.fate(number, &lost, decision);
        if !fate.closes {
            self.tell_of_lag(connection, lag.skipped(), &fate);
        }
        match self.fault {
            Some(Fault::IgnorePolicy) => Some(Lagged::Skip),
            _ => decision,
        }
    }

    /// The topics of which something is lost, and what is said for them.
    fn lost(&self, number: usize, lag: &Lag<'_>) -> Vec<(usize, Lagged)> {
        let mut book = self.book.borrow_mut();
        let own = book.sessions[number].policy;
        let mut lost = Vec::new();
        for (topic, policy) in lag.topics() {
            let name = NAMES.iter().position(|name| *name == topic).expect("a known name");
            let expected = own.unwrap_or(book.policies[name]);
            book.check(policy == expected, Invariant::Calls, || {
                format!("{number} is overrun for {topic} with {policy:?}, and not {expected:?}")
            });
            lost.push((name, policy));
        }
        lost
    }

    fn fate(&self, number: usize, lost: &[(usize, Lagged)], decision: Option<Lagged>) -> Fate {
        let mut book = self.book.borrow_mut();
        let mut fate = Fate::default();
        let policies = lost.iter().map(|(name, policy)| (*name, decision.unwrap_or(*policy)));
        for (name, policy) in policies {
            match policy {
                Lagged::Merge if book.latest_of(name).retained.is_some() => fate.merged.push(name),
                Lagged::Close(code, _) => {
                    fate.closes = true;
                    book.excuse_code(number, code.0);
                }
                _ => fate.skipped.push(name),
            }
        }
        if let Some(Lagged::Close(code, _)) = decision {
            fate.closes = true;
            book.excuse_code(number, code.0);
        }
        book.sessions[number].is_doomed |= fate.closes;
        book.tally.skipped += u64::from(!fate.closes && fate.merged.is_empty());
        book.tally.merged += u64::from(!fate.closes && !fate.merged.is_empty());
        fate
    }

    fn tell_of_lag(&mut self, connection: &mut Connection<'_, Ticket>, lost: u64, fate: &Fate) {
        let known = self.book.borrow().topics.len() as u64;
        self.say(connection, Note::new(b'l', known, lost, 0), Kind::Text);
        for name in &fate.merged {
            let book = self.book.borrow();
            let topic = book.latest_of(*name);
            let newest = topic.retained.map_or(0, |value| value.number);
            let note = Note::new(b'M', topic.last(), told(*name, newest), 0);
            drop(book);
            self.say(connection, note, Kind::Text);
        }
        let hidden = usize::from(self.fault == Some(Fault::HideLost));
        for name in fate.skipped.iter().skip(hidden).filter(|_| lost > 0) {
            self.say(connection, Note::new(b'm', *name as u64, 0, 0), Kind::Text);
        }
    }
}
