//! What a connection may still do: its requests per second and its unreadable messages.
//!
//! Sessions ask before they serve a request. Time is an argument, in nanoseconds of any clock that
//! does not go back. A connection that behaves costs eight bytes; the record of one that does not
//! is allocated with its first offence, and it is bounded.

use std::collections::VecDeque;

/// The account of one connection.
#[derive(Debug, Default)]
pub struct Allowance {
    /// When the bucket will be full again: the generic cell rate algorithm of ITU-T I.371, which
    /// needs one instant instead of a level and an instant.
    full_at_ns: u64,
    offences: Option<Box<Offences>>,
}

/// Whether a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Granted,
    /// It is refused; later ones may be served.
    Refused,
    /// It is refused, and the connection is to be closed: it has gone on for too long.
    Excessive,
}

impl Allowance {
    /// Takes one request from the allowance, if there is one left.
    pub fn request(&mut self, now_ns: u64) -> Verdict {
        if self.full_at_ns <= now_ns + (BURST - 1) * INTERVAL_NS {
            self.full_at_ns = self.full_at_ns.max(now_ns) + INTERVAL_NS;
            return Verdict::Granted;
        }
        let offences = self.offences.get_or_insert_default();
        let excess = offences.excess.get_or_insert(Excess { since_ns: now_ns, last_ns: now_ns });
        if now_ns.saturating_sub(excess.last_ns) > EXCESS_PAUSE_NS {
            excess.since_ns = now_ns;
        }
        excess.last_ns = now_ns;
        if now_ns.saturating_sub(excess.since_ns) < EXCESS_NS {
            Verdict::Refused
        } else {
            Verdict::Excessive
        }
    }

    /// Notes a message that could not be read; whether the connection may go on.
    pub fn unreadable(&mut self, now_ns: u64) -> bool {
        let times = &mut self.offences.get_or_insert_default().unreadable_ns;
        while times.front().is_some_and(|&first| now_ns.saturating_sub(first) > UNREADABLE_NS) {
            times.pop_front();
        }
        times.push_back(now_ns);
        times.len() < UNREADABLE_MAX
    }
}

#[derive(Debug, Default)]
struct Offences {
    excess: Option<Excess>,
    /// The last times, oldest first; fewer than [`UNREADABLE_MAX`] while the connection lives.
    unreadable_ns: VecDeque<u64>,
}

/// A time in which requests were refused again and again.
#[derive(Debug)]
struct Excess {
    since_ns: u64,
    last_ns: u64,
}

/// Requests that a connection may send a second, over time: what Binance grants a connection,
/// doubled.
pub const REQUESTS_PER_S: u32 = 10;

/// Requests that may come at once: a page subscribing row by row after a reconnect.
const BURST: u64 = 50;

const SECOND_NS: u64 = 1_000_000_000;

const INTERVAL_NS: u64 = SECOND_NS / REQUESTS_PER_S as u64;

/// A connection that is refused requests over this time is closed.
const EXCESS_NS: u64 = 10 * SECOND_NS;

/// So long without a refusal ends an excess. A client that keeps to 10.2 requests a second is
/// never closed, one that keeps to 11 is.
const EXCESS_PAUSE_NS: u64 = 5 * SECOND_NS;

/// So many unreadable messages within [`UNREADABLE_NS`] close the connection.
const UNREADABLE_MAX: usize = 10;

const UNREADABLE_NS: u64 = 60 * SECOND_NS;

#[cfg(test)]
mod tests {
    use super::*;

    /// Less than the pause that ends an excess: a machine may have started just now.
    const START_NS: u64 = SECOND_NS;

    fn verdicts(allowance: &mut Allowance, now_ns: u64, count: usize) -> usize {
        (0..count).filter(|_| allowance.request(now_ns) == Verdict::Granted).count()
    }

    #[test]
    fn fifty_come_at_once_and_ten_a_second_after_that() {
        let mut allowance = Allowance::default();
        assert_eq!(verdicts(&mut allowance, START_NS, 80), 50);
        assert_eq!(verdicts(&mut allowance, START_NS + INTERVAL_NS - 1, 1), 0);
        assert_eq!(verdicts(&mut allowance, START_NS + INTERVAL_NS, 2), 1);
        assert_eq!(verdicts(&mut allowance, START_NS + 20 * SECOND_NS, 80), 50);
    }

    #[test]
    fn ten_requests_a_second_are_granted_for_ever() {
        let mut allowance = Allowance::default();
        for index in 0..10_000 {
            assert_eq!(allowance.request(START_NS + index * INTERVAL_NS), Verdict::Granted);
        }
        assert!(allowance.offences.is_none(), "a connection that behaves has no record");
    }

    /// How long a client that sends `per_second` requests is served before it is closed.
    fn closed_after_s(per_second: u64) -> Option<u64> {
        let mut allowance = Allowance::default();
        let closing = (0..per_second * 200).find(|index| {
            let now_ns = START_NS + index * SECOND_NS / per_second;
            allowance.request(now_ns) == Verdict::Excessive
        });
        closing.map(|index| index / per_second)
    }

    #[test]
    fn an_excess_is_closed_once_it_has_lasted_ten_seconds() {
        // A burst of 50 at 1,000 a second is used up at once, at 20 a second after 5 s.
        assert_eq!(closed_after_s(1_000), Some(10));
        assert_eq!(closed_after_s(20), Some(14));
        assert!(closed_after_s(11).is_some());
        assert_eq!(closed_after_s(10), None);
    }

    #[test]
    fn bursts_with_pauses_between_them_are_refused_and_not_closed() {
        let mut allowance = Allowance::default();
        for burst in 0..100 {
            let now_ns = START_NS + burst * 6 * SECOND_NS;
            for _ in 0..200 {
                assert_ne!(allowance.request(now_ns), Verdict::Excessive);
            }
        }
    }

    #[test]
    fn the_tenth_unreadable_message_within_a_minute_is_the_last() {
        let mut allowance = Allowance::default();
        for index in 0..9 {
            assert!(allowance.unreadable(START_NS + index * SECOND_NS));
        }
        assert!(!allowance.unreadable(START_NS + 60 * SECOND_NS));
    }

    #[test]
    fn nine_unreadable_messages_a_minute_are_borne() {
        let mut allowance = Allowance::default();
        for index in 0..1_000 {
            let now_ns = START_NS + index * (UNREADABLE_NS / 9 + 1);
            assert!(allowance.unreadable(now_ns), "message {index}");
        }
    }
}
