//! Deadlines of a shard's connections, on a hashed timing wheel.
//!
//! Each connection keeps its own deadlines and is in the wheel for the soonest of them. When a
//! deadline moves later (a byte arrived, so the idle limit starts again) nothing is done here: the
//! entry fires at its old time, the connection looks at its deadlines and arms itself again. So a
//! busy connection touches the wheel every few seconds, not per message. Arming and firing are
//! O(1); an entry for a connection that is gone is told by its generation and ignored.

use std::collections::VecDeque;

use crate::clock::Tick;
use crate::io::Key;

/// Entries by the tick at which they fire, modulo the number of buckets.
#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Box<[Vec<Entry>]>,
    /// The first tick that has not been fired.
    next: Tick,
    entries: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    at: Tick,
}

impl Wheel {
    /// 1,024 buckets of 16 ms are 16 s: most deadlines (heartbeat, pong due, close linger, handshake)
    /// lie within one turn of the wheel, the others are passed over once per turn of it.
    const BUCKETS: usize = 1_024;

    /// What a bucket keeps allocated after it fired: a burst must not stay for ever.
    const SPARE_ENTRIES_MAX: usize = 64;

    pub(crate) fn new() -> Self {
        Self {
            buckets: (0..Self::BUCKETS).map(|_| Vec::new()).collect(),
            next: Tick(0),
            entries: 0,
        }
    }

    /// Fires `key` at `at`, or at once if that has passed.
    pub(crate) fn arm(&mut self, key: Key, at: Tick) {
        let at = at.max(self.next);
        self.buckets[bucket(at)].push(Entry { key, at });
        self.entries += 1;
    }

    /// Appends all that is due at `now` to `fired`, each with the tick it was armed for.
    pub(crate) fn fire(&mut self, now: Tick, fired: &mut VecDeque<(Key, Tick)>) {
        if self.entries == 0 {
            self.next = Tick(now.0.saturating_add(1)).max(self.next);
            return;
        }
        // After a long sleep every bucket is looked at once, not once per missed tick.
        let first = self.next.0.max(now.0.saturating_sub(u32_buckets() - 1));
        let before = fired.len();
        for tick in first..=now.0 {
            let bucket = &mut self.buckets[bucket(Tick(tick))];
            bucket.retain(|entry| {
                let due = entry.at <= now;
                if due {
                    fired.push_back((entry.key, entry.at));
                }
                !due
            });
            if bucket.is_empty() && bucket.capacity() > Self::SPARE_ENTRIES_MAX {
                *bucket = Vec::new();
            }
        }
        self.entries = self.entries.saturating_sub(fired.len() - before);
        self.next = Tick(now.0.saturating_add(1)).max(self.next);
    }

    /// The first tick at which something may fire; entries of a later turn of the wheel may make it
    /// early, never late.
    pub(crate) fn next_due(&self) -> Option<Tick> {
        if self.entries == 0 {
            return None;
        }
        (0..u32_buckets())
            .map(|ahead| Tick(self.next.0.saturating_add(ahead)))
            .find(|tick| !self.buckets[bucket(*tick)].is_empty())
    }
}

const fn bucket(tick: Tick) -> usize {
    tick.0 as usize % Wheel::BUCKETS
}

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const fn u32_buckets() -> u32 {
    Wheel::BUCKETS as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(slot: u32) -> Key {
        Key { slot, generation: 7 }
    }

    proptest! {
        /// The oracle is a plain list of (deadline, key).
        #[test]
        fn everything_fires_once_at_the_first_look_after_its_tick(
            steps in prop::collection::vec((0u32..3_000, prop::collection::vec(0u32..5_000, 0..4)), 1..60),
        ) {
            let (mut wheel, mut oracle, mut now, mut slot) = (Wheel::new(), Vec::new(), 0, 0);
            for (forward, delays) in steps {
                for delay in delays {
                    wheel.arm(key(slot), Tick(now + delay));
                    // What is armed for a tick that has been fired already fires at the next look.
                    oracle.push((now + delay, slot));
                    slot += 1;
                }
                if let Some(soonest) = oracle.iter().map(|(at, _)| *at).min() {
                    let due = wheel.next_due().expect("something is armed");
                    prop_assert!(due.0 <= soonest.max(now + 1), "{due:?} for {soonest}, now {now}");
                }
                now += forward;
                let mut fired = VecDeque::new();
                wheel.fire(Tick(now), &mut fired);
                let mut fired: Vec<u32> = fired.iter().map(|(key, _)| key.slot).collect();
                fired.sort_unstable();
                let next = wheel.next.0;
                let mut expected: Vec<u32> =
                    oracle.iter().filter(|(at, _)| *at < next).map(|(_, slot)| *slot).collect();
                oracle.retain(|(at, _)| *at >= next);
                expected.sort_unstable();
                // An entry armed for the present tick after that tick was fired waits for the next.
                for slot in &fired {
                    prop_assert!(expected.contains(slot));
                }
                let late: Vec<u32> = expected.iter().filter(|slot| !fired.contains(slot)).copied().collect();
                for slot in late {
                    oracle.push((next, slot));
                }
            }
        }
    }

    #[test]
    fn a_far_deadline_waits_for_its_own_turn_of_the_wheel() {
        let mut wheel = Wheel::new();
        wheel.arm(key(1), Tick(3_000));
        let mut fired = VecDeque::new();
        for now in [951, 1_000, 1_976, 2_999] {
            wheel.fire(Tick(now), &mut fired);
            assert!(fired.is_empty());
        }
        wheel.fire(Tick(3_000), &mut fired);
        assert_eq!(fired, [(key(1), Tick(3_000))]);
        assert_eq!(wheel.next_due(), None);
    }
}
