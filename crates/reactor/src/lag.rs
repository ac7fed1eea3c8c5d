//! What becomes of a connection that is too slow for what it subscribed to by publication.
//!
//! Stands between the fan-out, which says who is overrun, and [`Handler::lagged`](crate::Handler::lagged),
//! which has the last word. A policy is a value: of a topic, or of a connection, for all its topics. Only
//! publications can be lost: who gets a topic by value is never too slow for it.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use tickwire_fanout::{Slot, TopicKey};
use tickwire_protocol::CloseCode;

/// How a connection goes on that fell so far behind that publications are gone which it was owed.
///
/// As [`Handler::lagged`](crate::Handler::lagged) says; else as was said for the connection
/// ([`Connection::set_lagged`](crate::Connection::set_lagged)); else, topic by topic, as was said for those
/// of which it has lost something ([`Topic::set_lagged`](crate::Topic::set_lagged)). One that says to
/// close closes. Nobody waits for one that stays, until it has caught up:
/// [`Publisher::outstanding`](crate::Publisher::outstanding) does without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lagged {
    /// It is closed with a code and a reason. What is missing of the message that it has begun to get
    /// leaves before that, and nothing else.
    Close(CloseCode, &'static str),
    /// What is gone is left out, with all else that it was owed up to now: it goes on with what is
    /// published from now on. Where nothing is gone, it goes on as it was.
    Skip,
    /// It gets the newest value from now on, at once and then as with
    /// [`Delivery::Merge`](crate::Delivery::Merge), until it subscribes again. As a peer that has no
    /// value from before: [`Merged::prev`](crate::Merged::prev) is 0. A topic without a retained value
    /// goes on as with [`Lagged::Skip`].
    Merge,
}

impl Default for Lagged {
    /// Close 1008, `slow consumer`.
    fn default() -> Self {
        Self::Close(CloseCode::POLICY_VIOLATION, "slow consumer")
    }
}

/// How far behind a connection is; see [`Handler::lagged`](crate::Handler::lagged).
#[derive(Debug)]
pub struct Lag<'a> {
    lost: &'a [Lost],
    skipped: u64,
    /// Which of several handlers it is about.
    pub(crate) handler: Cell<u16>,
}

/// A topic of which a connection has lost something.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) topic: TopicKey,
    pub(crate) name: Arc<str>,
    pub(crate) policy: Lagged,
}

impl<'a> Lag<'a> {
    pub(crate) const fn new(lost: &'a [Lost], skipped: u64) -> Self {
        Self { lost, skipped, handler: Cell::new(0) }
    }

    /// Publications of the shard, of whatever topic, from the first one that this connection has lost up
    /// to now: at least one of them was owed to it, and at most all. 0: nothing is lost, but
    /// [`Publisher::close_lagging`](crate::Publisher::close_lagging) asked.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The names of the topics of which it has lost something, or gets it too late, each with the policy
    /// that holds for it.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (&str, Lagged)> {
        self.lost.iter().map(|lost| (&*lost.name, lost.policy))
    }
}

/// The policies of single connections; most have none.
#[derive(Debug, Default)]
pub(crate) struct Policies(HashMap<Slot, Lagged>);

impl Policies {
    pub(crate) fn set(&mut self, slot: Slot, policy: Option<Lagged>) {
        match policy {
            Some(policy) => drop(self.0.insert(slot, policy)),
            None => drop(self.0.remove(&slot)),
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<Lagged> {
        self.0.get(&slot).copied()
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, slot: Slot) {
        if !self.0.is_empty() {
            self.0.remove(&slot);
        }
    }
}
