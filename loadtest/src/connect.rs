//! The connect scenario: handshakes, one after the other or as they arrive.
//!
//! After a restart of a server all its clients come at once. In the open model a client arrives at
//! each intended time, whatever became of those before it, and the latency of its handshake counts
//! from there; in the closed model each place is taken again as soon as it is free. An open
//! connection is closed at once, and its place is free when the server has ended TCP.
//!
//! The number of connections of the run is that of places: a handshake that is due while all are
//! taken waits, and keeps its intended time.

use std::collections::VecDeque;

use crate::clock::Nanoseconds;
use crate::pace::Pace;
use crate::scenario::{Action, Outbox, Received, Scenario, Tally};

/// The places of a storm of handshakes.
#[derive(Debug)]
pub(crate) struct Connect {
    pace: Option<Pace>,
    free: Vec<usize>,
    /// Intended times of handshakes that found no place.
    owed: VecDeque<Nanoseconds>,
    /// Clients that are open and are to be closed.
    done: Vec<usize>,
    /// By client: when its handshake was due and when it began; `None` if none is under way.
    begun: Vec<Option<Begun>>,
    under_way: u64,
    stopped: bool,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    intended: Nanoseconds,
    at: Nanoseconds,
    held: bool,
}

impl Connect {
    /// A storm with this many places.
    pub(crate) fn new(places: usize, pace: Option<Pace>) -> Self {
        Self {
            pace,
            free: (0..places).rev().collect(),
            owed: VecDeque::new(),
            done: Vec::new(),
            begun: vec![None; places],
            under_way: 0,
            stopped: false,
        }
    }

    /// The intended time of the next handshake, and whether it had to wait for a place.
    fn due_by(&mut self, now: Nanoseconds) -> Option<(Nanoseconds, bool)> {
        let Some(pace) = &mut self.pace else { return Some((now, false)) };
        match self.owed.pop_front() {
            Some(intended) => Some((intended, true)),
            None => pace.take(now).map(|intended| (intended, false)),
        }
    }
}

impl Scenario for Connect {
    fn opened(&mut self, client: usize, now: Nanoseconds, tally: &mut Tally) {
        if let Some(Begun { intended, at, held }) = self.begun[client].take() {
            self.under_way -= 1;
            match self.pace {
                None => tally.measure.record(now - at, 0),
                Some(_) => {
                    tally.measure.sent(at.saturating_sub(intended), held);
                    tally.measure.record_due(now - intended, now - at, 0);
                }
            }
        }
        self.done.push(client);
    }

    fn start(&mut self, now: Nanoseconds) {
        if let Some(pace) = &mut self.pace {
            pace.start(now);
        }
    }

    fn next(&mut self, now: Nanoseconds) -> Option<Action> {
        if let Some(client) = self.done.pop() {
            return Some(Action::Close(client));
        }
        if self.stopped {
            return None;
        }
        if self.free.is_empty() {
            let due = self.pace.as_mut().and_then(|pace| pace.take(now));
            self.owed.extend(due.filter(|_| self.owed.len() < OWED_MAX));
            return None;
        }
        let (intended, held) = self.due_by(now)?;
        let client = self.free.pop()?;
        self.begun[client] = Some(Begun { intended, at: now, held });
        self.under_way += 1;
        Some(Action::Open(client))
    }

    fn due(&self) -> Nanoseconds {
        if !self.done.is_empty() {
            return 0;
        }
        match &self.pace {
            Some(pace) => pace.due(),
            None if self.free.is_empty() => Nanoseconds::MAX,
            None => 0,
        }
    }

    fn received(
        &mut self,
        _client: usize,
        _message: Received<'_>,
        _now: Nanoseconds,
        _outbox: &mut Outbox<'_>,
        _tally: &mut Tally,
    ) {
    }

    fn lost(&mut self, client: usize) {
        if self.begun[client].take().is_some() {
            self.under_way -= 1;
        }
        self.done.retain(|open| *open != client);
    }

    fn vacated(&mut self, client: usize) {
        self.free.push(client);
    }

    fn stop(&mut self, now: Nanoseconds) {
        self.stopped = true;
        if let Some(pace) = &mut self.pace {
            // What was due and not looked at yet never begins either.
            self.owed.extend(std::iter::from_fn(|| pace.take(now)).take(OWED_MAX));
            pace.stop();
        }
    }

    fn awaited(&self) -> u64 {
        self.under_way
    }

    fn finish(&mut self, now: Nanoseconds, tally: &mut Tally) {
        for intended in self.owed.drain(..) {
            tally.measure.unsent(now.saturating_sub(intended));
        }
    }

    fn message_bytes_max(&self) -> u64 {
        // Servers may greet.
        1 << 20
    }
}

/// Handshakes that may wait for a place: 8 MB. The rest is not counted.
const OWED_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::Faults;
    use crate::measure::Measure;
    use crate::pace::Arrivals;
    use crate::plan::{Ramp, Stage};
    use crate::scenario::Treatment;

    #[test]
    fn a_handshake_that_finds_no_place_keeps_its_intended_time() {
        let stage = Stage::new(Duration::from_micros(1)).with_rate(Ramp::constant(1e7));
        let stages = [stage];
        let mut measure = Measure::new(&stages);
        measure.begin(0);
        let (faults, treatment) = (Faults::default(), Treatment::new());
        let mut tally = Tally { measure, faults, treatment };
        let mut storm = Connect::new(1, Pace::new(&stages, Arrivals::Even));
        storm.start(1_000);
        assert_eq!(storm.next(1_000), Some(Action::Open(0)));
        assert_eq!(storm.next(1_150), None, "the only place is taken");
        storm.opened(0, 1_300, &mut tally);
        assert_eq!(storm.next(1_300), Some(Action::Close(0)));
        storm.lost(0);
        storm.vacated(0);
        assert_eq!(storm.next(1_400), Some(Action::Open(0)));
        storm.opened(0, 1_450, &mut tally);
        let measured = tally.measure.finish();
        assert_eq!((measured.latency.max(), measured.latency.min()), (350, 300));
        assert_eq!((measured.raw.max(), measured.raw.min()), (300, 50));
        assert_eq!((measured.sends.sent, measured.sends.held), (2, 1));
    }
}
