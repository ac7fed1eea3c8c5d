//! The mixed scenario: clients as they are, good ones among slow, stalled and restless ones.
//!
//! The good clients do another scenario, and only their figures count: what they notice of the
//! others is what a server's handling of bad clients is worth. *Slow* clients read 4 KB each tenth
//! of a second, *stalled* ones nothing at all, and *restless* ones stay for half a second, go, and
//! come again. What the server does to them (Close 1008, a reset, nothing) is counted by kind and is
//! no fault.
//!
//! Clients are of a kind by their number, evenly mixed. Bad clients send nothing of their own, so
//! they matter to a server that publishes.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::clock::Nanoseconds;
use crate::scenario::{Action, Outbox, Received, Scenario, Tally};

/// Which share of the clients, 0 to 1, is bad in which way; the rest is good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Mix {
    /// Reads little.
    pub slow: f64,
    /// Reads nothing.
    pub stalled: f64,
    /// Comes and goes.
    pub restless: f64,
}

impl Mix {
    /// A mix of these shares.
    #[must_use]
    pub const fn new(slow: f64, stalled: f64, restless: f64) -> Self {
        Self { slow, stalled, restless }
    }

    /// Whether each is a share and some clients are good.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let shares = [self.slow, self.stalled, self.restless];
        shares.iter().all(|share| (0.0..=1.0).contains(share)) && shares.iter().sum::<f64>() < 1.0
    }

    /// What the client of this number is. Numbers are spread over 0 to 1 by the golden section, so
    /// that any run of clients has about the shares that all have.
    fn kind(&self, client: usize) -> Kind {
        let place = (client as f64 * GOLDEN).fract();
        match place {
            _ if place >= 1.0 - self.slow => Kind::Slow,
            _ if place >= 1.0 - self.slow - self.stalled => Kind::Stalled,
            _ if place >= 1.0 - self.slow - self.stalled - self.restless => Kind::Restless,
            _ => Kind::Good,
        }
    }
}

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Slow,
    Stalled,
    Restless,
}

/// Good clients that do `S`, and others.
#[derive(Debug)]
pub(crate) struct Mixed<S> {
    inner: S,
    kinds: Vec<Kind>,
    /// What is to be done to bad clients, in the order of time.
    agenda: VecDeque<(Nanoseconds, Step)>,
    /// What is to be done to clients that were just opened.
    fresh: VecDeque<Action>,
    open: Vec<bool>,
    stopped: bool,
}

/// One thing that a bad client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Sip(usize),
    Leave(usize),
    Come(usize),
}

impl<S> Mixed<S> {
    pub(crate) fn new(inner: S, connections: usize, mix: &Mix) -> Self {
        Self {
            inner,
            kinds: (0..connections).map(|client| mix.kind(client)).collect(),
            agenda: VecDeque::new(),
            fresh: VecDeque::new(),
            open: vec![false; connections],
            stopped: false,
        }
    }

    /// All delays are the same, so what is added last is due last.
    fn plan(&mut self, now: Nanoseconds, step: Step) {
        let delay = match step {
            Step::Sip(_) => SIP_EVERY,
            Step::Leave(_) | Step::Come(_) => STAY,
        };
        let due = now + delay;
        let place = self.agenda.partition_point(|(other, _)| *other <= due);
        self.agenda.insert(place, (due, step));
    }
}

impl<S: Scenario> Scenario for Mixed<S> {
    fn opened(&mut self, client: usize, now: Nanoseconds, tally: &mut Tally) {
        self.open[client] = true;
        match self.kinds[client] {
            Kind::Good => self.inner.opened(client, now, tally),
            Kind::Stalled => self.fresh.push_back(Action::Pause(client)),
            Kind::Slow => {
                self.fresh.push_back(Action::Pause(client));
                self.plan(now, Step::Sip(client));
            }
            Kind::Restless => self.plan(now, Step::Leave(client)),
        }
    }

    fn start(&mut self, now: Nanoseconds) {
        self.inner.start(now);
    }

    fn next(&mut self, now: Nanoseconds) -> Option<Action> {
        if let Some(action) = self.fresh.pop_front() {
            return Some(action);
        }
        while !self.stopped && self.agenda.front().is_some_and(|(due, _)| *due <= now) {
            match self.agenda.pop_front()? {
                (_, Step::Sip(client)) if self.open[client] => {
                    self.plan(now, Step::Sip(client));
                    return Some(Action::Sip(client));
                }
                (_, Step::Leave(client)) if self.open[client] => {
                    return Some(Action::Close(client));
                }
                (_, Step::Come(client)) => return Some(Action::Open(client)),
                _ => {}
            }
        }
        self.inner.next(now)
    }

    fn due(&self) -> Nanoseconds {
        if !self.fresh.is_empty() {
            return 0;
        }
        let next = self.agenda.front().map_or(Nanoseconds::MAX, |(due, _)| *due);
        next.min(self.inner.due())
    }

    fn compose(
        &mut self,
        client: usize,
        now: Nanoseconds,
        outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    ) {
        self.inner.compose(client, now, outbox, tally);
    }

    #[inline]
    fn received(
        &mut self,
        client: usize,
        message: Received<'_>,
        now: Nanoseconds,
        outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    ) {
        if self.kinds[client] == Kind::Good {
            self.inner.received(client, message, now, outbox, tally);
        }
    }

    fn lost(&mut self, client: usize) {
        self.open[client] = false;
        if self.kinds[client] == Kind::Good {
            self.inner.lost(client);
        }
    }

    fn vacated(&mut self, client: usize) {
        if self.kinds[client] == Kind::Restless && !self.stopped {
            self.plan(crate::clock::now(), Step::Come(client));
        }
    }

    fn tolerates(&self, client: usize) -> Option<&'static str> {
        match self.kinds[client] {
            Kind::Good => None,
            Kind::Slow => Some("slow"),
            Kind::Stalled => Some("stalled"),
            Kind::Restless => Some("restless"),
        }
    }

    fn stop(&mut self, now: Nanoseconds) {
        self.stopped = true;
        self.inner.stop(now);
    }

    fn awaited(&self) -> u64 {
        self.inner.awaited()
    }

    fn drain_wait(&self) -> Nanoseconds {
        self.inner.drain_wait()
    }

    fn finish(&mut self, now: Nanoseconds, tally: &mut Tally) {
        self.inner.finish(now, tally);
    }

    fn outbox_bytes_max(&self) -> usize {
        self.inner.outbox_bytes_max()
    }

    fn message_bytes_max(&self) -> u64 {
        self.inner.message_bytes_max()
    }
}

/// The fraction of the golden section.
const GOLDEN: f64 = 0.618_033_988_749_894_8;

/// Between two reads of a slow client, in nanoseconds.
const SIP_EVERY: Nanoseconds = 100_000_000;

/// How long a restless client stays, and how long it stays away, in nanoseconds.
const STAY: Nanoseconds = 500_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_in_their_shares_in_any_run_of_clients() {
        let mix = Mix::new(0.1, 0.2, 0.3);
        for first in [0, 1_000, 54_321] {
            let count = |kind| (first..first + 1_000).filter(|it| mix.kind(*it) == kind).count();
            let kinds = [Kind::Slow, Kind::Stalled, Kind::Restless, Kind::Good];
            for (kind, share) in kinds.into_iter().zip([100, 200, 300, 400]) {
                assert!(count(kind).abs_diff(share) <= 5, "{kind:?}: {}", count(kind));
            }
        }
        assert!(mix.is_valid() && !Mix::new(0.5, 0.5, 0.0).is_valid());
        assert_eq!(Mix::default().kind(7), Kind::Good);
        assert_eq!(Mix::new(0.3, 0.3, 0.3).kind(0), Kind::Good, "the first one may say `start`");
    }
}
