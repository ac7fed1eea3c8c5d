//! Deadlines of a shard's connections, on a hashed timing wheel.
//!
//! Each connection keeps its own deadlines and is in the wheel for the soonest of them, once: the
//! wheel is a table of as many nodes as there are slots, linked into one list a bucket. When a
//! deadline moves later (a byte arrived, so the idle limit starts again) nothing is done here: the
//! node fires at its old time, the connection looks at its deadlines and arms itself again. So a
//! busy connection touches the wheel every few seconds, not per message.
//!
//! Invariant: a node is in exactly one list if it is armed, and in none if not; arming, firing and
//! disarming are O(1), and a storm of connections that come and go leaves nothing behind.

use crate::clock::Tick;
use crate::table::make_room;

/// The connections that wait for a tick, by slot.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// By slot.
    nodes: Vec<Node>,
    /// The ends of the lists: one for each tick modulo the number of buckets, and behind those the
    /// list of nodes that are due.
    ends: Box<[Links]>,
    /// The first tick that has not been fired.
    next: Tick,
    armed: usize,
}

/// One connection's place.
#[derive(Clone, Copy, Debug)]
struct Node {
    links: Links,
    /// [`Tick::NEVER`]: it is in no list.
    at: Tick,
}

/// The neighbours in a list that closes on itself through its end: slots, or the end.
#[derive(Clone, Copy, Debug)]
struct Links {
    next: u32,
    previous: u32,
}

impl Wheel {
    /// 1,024 buckets of 16 ms are 16 s: most deadlines (heartbeat, pong due, close linger, handshake)
    /// lie within one turn of the wheel, the others are passed over once per turn of it.
    const BUCKETS: usize = 1_024;

    pub(crate) fn new() -> Self {
        let lists = 0..=u32_buckets();
        Self {
            nodes: Vec::new(),
            ends: lists.map(|list| Links { next: end(list), previous: end(list) }).collect(),
            next: Tick(0),
            armed: 0,
        }
    }

    /// Fires `slot` at `at`, or with the next look if that has passed; not at all if it is armed for
    /// a sooner tick already.
    pub(crate) fn arm(&mut self, slot: u32, at: Tick) {
        let index = slot as usize;
        if index >= self.nodes.len() {
            let links = Links { next: slot, previous: slot };
            make_room(&mut self.nodes, index);
            self.nodes.resize(index + 1, Node { links, at: Tick::NEVER });
        }
        if self.nodes[index].at <= at {
            return;
        }
        self.disarm(slot);
        let at = at.max(self.next);
        self.nodes[index].at = at;
        self.append(slot, bucket(at));
        self.armed += 1;
    }

    /// Forgets what `slot` is armed for.
    pub(crate) fn disarm(&mut self, slot: u32) {
        let Some(node) = self.nodes.get_mut(slot as usize) else { return };
        if node.at != Tick::NEVER {
            node.at = Tick::NEVER;
            self.unlink(slot);
            self.armed -= 1;
        }
    }

    /// Moves all that is due at `now` to where [`Wheel::take_due`] takes it from.
    pub(crate) fn fire(&mut self, now: Tick) {
        if self.armed > 0 {
            // After a long sleep every bucket is looked at once, not once per missed tick.
            let first = self.next.0.max(now.0.saturating_sub(u32_buckets() - 1));
            for tick in first..=now.0 {
                self.fire_bucket(bucket(Tick(tick)), now);
            }
        }
        self.next = Tick(now.0.saturating_add(1)).max(self.next);
    }

    /// Takes out one connection that is due; it is armed for nothing then.
    pub(crate) fn take_due(&mut self) -> Option<u32> {
        let slot = self.ends[Self::BUCKETS].next;
        if slot == end(u32_buckets()) {
            return None;
        }
        self.disarm(slot);
        Some(slot)
    }

    /// How many connections are armed.
    pub(crate) const fn len(&self) -> usize {
        self.armed
    }

    /// Whether some that are due have not been taken.
    pub(crate) fn is_due(&self) -> bool {
        self.ends[Self::BUCKETS].next != end(u32_buckets())
    }

    /// The first tick at which something may fire; connections of a later turn of the wheel may make
    /// it early, never late.
    pub(crate) fn next_due(&self) -> Option<Tick> {
        if self.armed == 0 {
            return None;
        }
        if self.is_due() {
            return Some(self.next);
        }
        (0..u32_buckets())
            .map(|ahead| Tick(self.next.0.saturating_add(ahead)))
            .find(|tick| self.ends[bucket(*tick) as usize].next != end(bucket(*tick)))
    }

    fn fire_bucket(&mut self, list: u32, now: Tick) {
        let mut slot = self.ends[list as usize].next;
        while slot != end(list) {
            let node = self.nodes[slot as usize];
            if node.at <= now {
                self.unlink(slot);
                self.append(slot, u32_buckets());
            }
            slot = node.links.next;
        }
    }

    /// Puts a node that is in no list at the end of one.
    fn append(&mut self, slot: u32, list: u32) {
        let previous = self.ends[list as usize].previous;
        self.nodes[slot as usize].links = Links { next: end(list), previous };
        self.links(previous).next = slot;
        self.ends[list as usize].previous = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let Links { next, previous } = self.nodes[slot as usize].links;
        self.links(previous).next = next;
        self.links(next).previous = previous;
    }

    /// Those of a node or of an end.
    fn links(&mut self, at: u32) -> &mut Links {
        match at.checked_sub(END) {
            Some(list) => &mut self.ends[list as usize],
            None => &mut self.nodes[at as usize].links,
        }
    }
}

/// Ends of lists are numbered from here, slots below.
const END: u32 = 1 << 31;

const fn end(list: u32) -> u32 {
    END + list
}

const fn bucket(tick: Tick) -> u32 {
    tick.0 % u32_buckets()
}

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const fn u32_buckets() -> u32 {
    Wheel::BUCKETS as u32
}

/// What every connection costs here.
const _: () = assert!(size_of::<Node>() == 12);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fired(wheel: &mut Wheel, now: u32) -> Vec<u32> {
        wheel.fire(Tick(now));
        std::iter::from_fn(|| wheel.take_due()).collect()
    }

    proptest! {
        /// The oracle is a plain list of (deadline, slot), of which each slot has one: the soonest
        /// that it was armed for since it last fired or was disarmed.
        #[test]
        fn everything_fires_once_at_the_first_look_after_its_tick(
            steps in prop::collection::vec(
                (0u32..3_000, prop::collection::vec((0u32..12, 1u32..5_000, 0u32..8), 0..6)), 1..60),
        ) {
            let (mut wheel, mut now) = (Wheel::new(), 0);
            let mut oracle = [None; 12];
            for (forward, arms) in steps {
                for (slot, delay, chance) in arms {
                    let known = &mut oracle[slot as usize];
                    if chance == 0 {
                        wheel.disarm(slot);
                        *known = None;
                    } else {
                        wheel.arm(slot, Tick(now + delay));
                        *known = Some(known.unwrap_or(u32::MAX).min(now + delay));
                    }
                }
                let soonest = oracle.iter().flatten().min();
                prop_assert_eq!(wheel.next_due().is_some(), soonest.is_some());
                if let (Some(due), Some(soonest)) = (wheel.next_due(), soonest) {
                    prop_assert!(due.0 <= *soonest, "{:?} for {}, now {}", due, soonest, now);
                }
                now += forward;
                let mut fired = fired(&mut wheel, now);
                fired.sort_unstable();
                let is_due = |slot: &u32| oracle[*slot as usize].is_some_and(|at| at <= now);
                let expected: Vec<u32> = (0..12).filter(is_due).collect();
                prop_assert_eq!(&fired, &expected);
                for slot in fired {
                    oracle[slot as usize] = None;
                }
            }
        }
    }

    #[test]
    fn a_far_deadline_waits_for_its_own_turn_of_the_wheel() {
        let mut wheel = Wheel::new();
        wheel.arm(1, Tick(3_000));
        for now in [951, 1_000, 1_976, 2_999] {
            assert!(fired(&mut wheel, now).is_empty());
        }
        assert_eq!(fired(&mut wheel, 3_000), [1]);
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn what_is_due_and_not_taken_is_due_with_the_next_look() {
        let mut wheel = Wheel::new();
        for slot in 0..4 {
            wheel.arm(slot, Tick(5));
        }
        wheel.fire(Tick(5));
        assert_eq!(wheel.take_due(), Some(0));
        wheel.arm(0, Tick(7));
        wheel.disarm(1);
        assert!(wheel.is_due() && wheel.next_due() <= Some(Tick(6)));
        assert_eq!(fired(&mut wheel, 6), [2, 3]);
        assert_eq!(fired(&mut wheel, 7), [0]);
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn what_is_armed_for_the_past_fires_with_the_next_look() {
        let mut wheel = Wheel::new();
        assert!(fired(&mut wheel, 100).is_empty());
        wheel.arm(3, Tick(40));
        assert_eq!(fired(&mut wheel, 100), [] as [u32; 0]);
        assert_eq!(fired(&mut wheel, 101), [3]);
    }
}
