//! What is looked at beside what peers hear: the counters, what the shards hold, and at the end that
//! they hold nothing.

use tickwire_reactor::Counters;
use tickwire_reactor::io::sim::Held;

use super::{Life, keep_state, small};
use crate::fault::Fault;
use crate::handler::{BURST_BYTES_MAX, PAGE_BYTES};
use crate::ledger::{Invariant, unsent_max};
use crate::topics::{LASTING, find};

/// The bytes of memory that a shard says that its peers make it hold.
const fn kept(counters: &Counters) -> u64 {
    counters.receiving_bytes_now
        + counters.unsent_bytes_now
        + counters.retained_bytes_now
        + counters.deflate_dedicated_bytes_now
}

impl Life {
    fn counters(&self) -> Counters {
        let mut counters = self.simulation.counters();
        if let Some(fault) = self.fault {
            fault.spoil_counters(&mut counters);
        }
        counters
    }

    fn held(&self) -> Held {
        let mut held = self.simulation.held();
        if let Some(fault) = self.fault {
            fault.spoil_held(&mut held);
        }
        held
    }

    /// What must hold at any time between two turns.
    pub(super) fn check_running(&mut self) {
        self.check_counters(false);
        self.check_budget();
        match self.fault {
            Some(Fault::TellTwice) if self.random.one_in(20) => {
                let mut book = self.book.borrow_mut();
                let over = |it: &crate::ledger::Session| it.ended;
                let twice = (0..).zip(&book.sessions).find_map(|(n, it)| Some((n, over(it)?)));
                if let Some((number, ended)) = twice {
                    book.over(number, ended);
                }
            }
            Some(Fault::KeepState) if self.steps == 64 => keep_state(&self.book),
            _ => {}
        }
    }

    /// The counters agree with each other and with the ledger; with `is_over`, of a server that no
    /// connection is left of.
    fn check_counters(&mut self, is_over: bool) {
        let (before, now) = (self.counters, self.counters());
        self.counters = now;
        let mut book = self.book.borrow_mut();
        let shrunk = before.each().zip(now.each()).find(|(before, now)| {
            let (name, _, count) = now;
            !name.ends_with("_now") && *count < before.2
        });
        book.check(shrunk.is_none(), Invariant::Sums, || format!("{shrunk:?} has shrunk"));
        let tally = book.tally;
        for (name, counted, known) in [
            ("opened", now.upgraded + now.connected, tally.opened),
            ("heard", now.received_messages, tally.heard),
            ("panicked", now.panicked, tally.panics),
            ("overruns", now.overruns, tally.lagged),
            ("overruns_skipped", now.overruns_skipped, tally.skipped),
            ("overruns_merged", now.overruns_merged, tally.merged),
            ("publications_lost", now.publications_lost, tally.lost),
            ("connect_failures", now.connect_failures, tally.unconnected),
            ("open", tally.opened - tally.closed, book.open.len() as u64),
        ] {
            book.check(counted == known, Invariant::Sums, || {
                format!("{name}: {counted} counted, and {known} known: {now:?}")
            });
        }
        let answered = now.upgraded + now.answered + now.refused + now.unanswered;
        let ended = now.closed + now.failed + now.lost + now.dropped;
        for (name, whole, parts) in
            [("accepted", now.accepted, answered), ("opened", tally.opened, ended)]
        {
            let open = if is_over { 0 } else { now.connections_now };
            let adds_up = parts <= whole && whole <= parts + open;
            book.check(adds_up, Invariant::Sums, || {
                format!("{name}: {whole} of which {parts} are accounted for: {now:?}")
            });
        }
    }

    fn check_budget(&self) {
        let (held, counters) = (self.held(), self.counters());
        let mut book = self.book.borrow_mut();
        let limits = book.limits;
        let shards = self.shards;
        let page = PAGE_BYTES + 1_000;
        // What one callback sends may be above the limit; the connection is closed for it then, and
        // takes the publications with it that it is still owed.
        let last = BURST_BYTES_MAX + limits.log_bytes_max + 20 * 1024;
        let unsent = (unsent_max(&limits) + last).max(page);
        let turned_away = 1_024;
        let dedicated = 2 * shards as u64;
        let memory = limits.memory_max.unwrap_or(usize::MAX / 8);
        let remembered = self.simulation.metrics().shards.into_iter().map(|it| small(kept(&it)));
        for (name, kept, most) in [
            (
                "connections",
                held.connections,
                limits.connections_max + turned_away + shards * limits.outgoing_max,
            ),
            ("outgoing", small(counters.outgoing_now), shards * limits.outgoing_max),
            ("sockets", held.sockets, held.connections),
            ("bytes unsent of one connection", held.unsent_bytes_most, unsent),
            ("publications kept", held.log_entries_most, limits.log_entries_max),
            ("bytes of publications kept", held.log_bytes_most, limits.log_bytes_max),
            ("letters", held.letters, shards * limits.mailbox_letters_max),
            ("told that there is no place", held.turned_away, turned_away),
            ("compressors of their own", small(counters.deflate_dedicated_now), small(dedicated)),
            // It is looked at when a turn ends, before the last that has room is served.
            ("bytes of memory", remembered.max().unwrap_or(0), memory),
            ("bytes of compressors", small(counters.deflate_bytes_now), shards * 2_500_000),
        ] {
            book.check(kept <= most, Invariant::Budget, || {
                format!("{name}: {kept} of at most {most}: {held:?}")
            });
        }
    }

    /// What must hold when nothing moves any more and everybody has read everything.
    pub(super) fn check_calm(&self) {
        let (held, counters) = (self.held(), self.counters());
        let outstanding = self.publisher.outstanding();
        let topics = self.publisher.topics();
        let mut book = self.book.borrow_mut();
        let tally = book.tally;
        for (name, counted, known) in [
            ("publications_refused", counters.publications_refused, tally.refused),
            ("publications_dropped", counters.publications_dropped, tally.dropped),
            ("expired", counters.expired, tally.expired),
        ] {
            book.check(counted == known, Invariant::Sums, || {
                format!("{name}: {counted} counted, and {known} known")
            });
        }
        let (least, open) = (book.topics_least(), book.open.len());
        // Where somebody is about to go topics may be about to go, too.
        let is_right = topics == least || topics > least && book.tally.states > open;
        book.check(is_right, Invariant::Leftovers, || {
            format!("there are {topics} topics, and {least} that somebody needs")
        });
        for (name, left) in [
            ("bytes unsent", held.unsent_bytes),
            ("letters", held.letters),
            ("publications kept", held.log_entries_most),
            ("things to be done", held.pending),
            ("connections that lag", small(counters.lagging_now)),
            ("publications retained", small(counters.retained_now)),
            ("publications outstanding", small(outstanding)),
            ("bytes of them", small(counters.retained_bytes_now)),
            ("bytes that sockets do not take", small(counters.unsent_bytes_now)),
        ] {
            book.check(left == 0, Invariant::Delivery, || {
                format!("{name}: {left} left when all have read: {held:?} {counters:?}")
            });
        }
    }

    /// When all have gone and all deadlines have passed.
    pub(super) fn check_nothing_is_left(&mut self) {
        let is_shut_down = self.book.borrow().shutdown_at.is_some();
        let mut held = self.held();
        if is_shut_down {
            let is_over = self.simulation.is_over();
            let mut book = self.book.borrow_mut();
            book.check(is_over, Invariant::Leftovers, || format!("it is not over: {held:?}"));
            // Shards that are over look at no wheel any more.
            held.deadlines = 0;
        }
        self.check_counters(true);
        let counters = self.counters();
        let mut book = self.book.borrow_mut();
        let states = book.tally.states;
        let open = book.open.len();
        book.check(held == Held::default(), Invariant::Leftovers, || format!("{held:?}"));
        book.check(states == 0, Invariant::Leftovers, || format!("{states} states are kept"));
        book.check(open == 0, Invariant::Leftovers, || format!("{open} sessions are open"));
        drop(book);
        self.leave_all_rooms();
        let topics = self.publisher.topics();
        let lasting: Vec<_> =
            (0..LASTING).map(|it| find(&self.book, &self.publisher, it)).collect();
        let mut book = self.book.borrow_mut();
        for (_, topic) in lasting {
            let is_held = topic.has_subscribers();
            book.check(!is_held, Invariant::Leftovers, || format!("{topic:?} has subscribers"));
        }
        book.check(topics == LASTING, Invariant::Leftovers, || format!("{topics} topics are left"));
        let now = [
            counters.connections_now,
            counters.outgoing_now,
            counters.lagging_now,
            counters.retained_now,
            counters.deflate_dedicated_now,
            kept(&counters),
        ];
        book.check(now == [0; 6], Invariant::Leftovers, || format!("{counters:?}"));
    }
}
