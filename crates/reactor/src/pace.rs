//! How fast connections are accepted: a token bucket that all shards of a server share.
//!
//! Time is an argument, so a simulated server keeps the same pace in virtual time. A shard takes a
//! token for each connection that it has accepted and is told how long to accept nothing; meanwhile
//! connections wait in the kernel's queue. Several shards that look at once, or a back end that has
//! accepted ahead, may take more than there is: that is owed, and the wait gets longer.
//!
//! The bucket is one number: the instant until which what was taken is paid for. It never lies
//! further back than a full bucket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;

/// A bucket of permissions to accept.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What one token costs.
    interval_ns: u64,
    /// What a full bucket holds.
    burst_ns: u64,
    paid_until_ns: AtomicU64,
}

impl Pace {
    /// A full bucket is at least what comes in this time.
    const BURST_NS: u64 = 100_000_000;

    /// How late a shard may be that waits for a token: two ticks, and a turn. A full bucket holds as
    /// much beside one token, so that none of the rate is lost to their rounding.
    const LATE_NS: u64 = 40_000_000;

    /// A bucket that fills at `per_second`, of which 0 counts as 1.
    pub(crate) fn new(per_second: u32) -> Self {
        let interval_ns = (1_000_000_000 / u64::from(per_second.max(1))).max(1);
        let burst_ns = Self::BURST_NS.max(interval_ns + Self::LATE_NS);
        Self { interval_ns, burst_ns, paid_until_ns: AtomicU64::new(0) }
    }

    /// Takes a token, whether or not there is one; gives how long there will be no other.
    pub(crate) fn take(&self, now: Timestamp) -> Duration {
        let now_ns = now.monotonic_ns();
        let full = now_ns.saturating_sub(self.burst_ns);
        let paid = |until: u64| until.max(full).saturating_add(self.interval_ns);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let until = self.paid_until_ns.fetch_update(set, fetch, |until| Some(paid(until)));
        let next = paid(until.unwrap_or_else(|until| until)).saturating_add(self.interval_ns);
        Duration::from_nanos(next.saturating_sub(now_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// How many one who waits as told, and `late_ns` longer, takes from `start_ns` on in 10 s.
    fn taken(pace: &Pace, start_ns: u64, late_ns: u64) -> u64 {
        let (mut now_ns, mut count) = (start_ns, 0);
        while now_ns < start_ns + 10 * SECOND_NS {
            count += 1;
            let wait = pace.take(Timestamp::new(now_ns, 0));
            if !wait.is_zero() {
                now_ns += u64::try_from(wait.as_nanos()).expect("seconds") + late_ns;
            }
        }
        count
    }

    #[test]
    fn as_many_are_taken_as_the_rate_allows_and_a_bucket_more() {
        for (rate, bucket) in [(1, 1), (5, 1), (10, 1), (100, 10), (1_000, 100), (40_000, 4_000)] {
            for late_ns in [0, 16_000_000, 32_000_000] {
                let count = taken(&Pace::new(rate), 1_000 * SECOND_NS, late_ns);
                let due = 10 * u64::from(rate);
                assert!(count <= due + bucket + 1, "{rate} a second: {count}");
                assert!(count + 1 >= due, "{rate} a second, {late_ns} ns late: {count}");
            }
        }
    }

    #[test]
    fn what_is_taken_beyond_the_rate_is_owed() {
        let pace = Pace::new(10);
        let now = Timestamp::new(1_000 * SECOND_NS, 0);
        for taken in 1..=5 {
            let owed = Duration::from_millis(100 * taken)
                .saturating_sub(Duration::from_nanos(Pace::LATE_NS));
            assert_eq!(pace.take(now), owed);
        }
    }

    #[test]
    fn rates_at_the_edges_are_rates() {
        let now = Timestamp::new(0, 0);
        assert_eq!(Pace::new(0).take(now), Duration::from_secs(2), "as one a second, at boot");
        assert!(Pace::new(u32::MAX).take(Timestamp::new(SECOND_NS, 0)).is_zero());
    }
}
