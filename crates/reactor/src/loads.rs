//! How many connections each shard has, where shards share newcomers out among themselves.
//!
//! Whoever accepts a connection chooses its shard here and counts it there at once, before the socket
//! is on its way: a storm that is accepted in one turn does not all go to the shard that had least
//! when it began. The shard that a connection belongs to counts it out when its slot is given back.
//!
//! Invariant: a shard's count is that of its connections and of those that are on their way to it.
//! A shard that has ended has closed its count, at zero, so nothing is ever sent to where nobody is.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One count for each shard.
#[derive(Debug)]
pub(crate) struct Loads {
    shards: Box<[AtomicUsize]>,
}

impl Loads {
    /// How many more than the shard that has least one may have before it gives newcomers away. To
    /// hand a connection over costs a wake of the other core, some 12 µs: not for a difference that
    /// comes and goes by itself.
    pub(crate) const UNEVEN: usize = 8;

    /// The shard has ended.
    const CLOSED: usize = usize::MAX / 2;

    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Chooses the shard of a connection that `own` has accepted, and counts it there.
    pub(crate) fn place(&self, own: usize) -> usize {
        let counts = self.shards.iter().map(|count| count.load(Ordering::Relaxed));
        let least = counts.enumerate().min_by_key(|(_, count)| *count);
        if let Some((least, count)) = least
            && count + Self::UNEVEN < self.shards[own].load(Ordering::Relaxed)
            && self.join(least)
        {
            return least;
        }
        self.keep(own);
        own
    }

    /// Counts a connection that `own` keeps whatever the others have.
    pub(crate) fn keep(&self, own: usize) {
        self.shards[own].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection of `shard` out.
    pub(crate) fn leave(&self, shard: usize) {
        self.shards[shard].fetch_sub(1, Ordering::Release);
    }

    /// Ends `shard` if nothing belongs to it and nothing is on its way there. The shard only.
    pub(crate) fn close(&self, shard: usize) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        match self.shards[shard].compare_exchange(0, Self::CLOSED, success, failure) {
            Ok(_) => true,
            Err(count) => count >= Self::CLOSED,
        }
    }

    fn join(&self, shard: usize) -> bool {
        let more = |count| (count < Self::CLOSED).then_some(count + 1);
        self.shards[shard].fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_stay_until_it_is_uneven_and_then_go_to_the_least_loaded() {
        let loads = Loads::new(3);
        for _ in 0..=Loads::UNEVEN {
            assert_eq!(loads.place(0), 0);
        }
        assert_eq!(loads.place(0), 1, "the first of those that have least");
        assert_eq!(loads.place(0), 2);
        loads.leave(0);
        assert_eq!(loads.place(0), 0, "9 and 1: as even as it is made");
        loads.leave(2);
        assert_eq!(loads.place(0), 2);
        assert_eq!(loads.place(1), 1, "who has few keeps what comes");
    }

    #[test]
    fn storm_at_one_shard_ends_evenly() {
        let loads = Loads::new(4);
        let mut counts = [0_usize; 4];
        for _ in 0..1_000 {
            counts[loads.place(2)] += 1;
        }
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 9), "{counts:?}");
    }

    #[test]
    fn shard_that_has_ended_is_sent_nothing() {
        let loads = Loads::new(2);
        loads.keep(1);
        assert!(!loads.close(1), "one is on its way");
        loads.leave(1);
        assert!(loads.close(1));
        assert!(loads.close(1), "for good");
        for _ in 0..100 {
            assert_eq!(loads.place(0), 0);
        }
    }
}
