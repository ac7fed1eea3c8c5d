//! The one place that reads a clock.
//!
//! A shard reads the time once per turn, through its back end, and hands it down as an argument:
//! nothing below asks again, so a turn happens at one instant and a simulated shard lives in
//! virtual time. [`Timestamp`] is what handlers see, [`Tick`] is what deadlines are kept in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// An instant as read once per turn: the same moment on the monotonic and on the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    monotonic_ns: u64,
    unix_ns: u64,
}

impl Timestamp {
    /// A timestamp from its two readings, in nanoseconds.
    #[must_use]
    pub const fn new(monotonic_ns: u64, unix_ns: u64) -> Self {
        Self { monotonic_ns, unix_ns }
    }

    /// Reads both clocks of this machine.
    #[must_use]
    pub fn read() -> Self {
        Self {
            monotonic_ns: nanoseconds(clock_gettime(ClockId::Monotonic)),
            unix_ns: nanoseconds(clock_gettime(ClockId::Realtime)),
        }
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`: for intervals.
    #[must_use]
    pub const fn monotonic_ns(self) -> u64 {
        self.monotonic_ns
    }

    /// Nanoseconds since the Unix epoch: for people and for messages.
    #[must_use]
    pub const fn unix_ns(self) -> u64 {
        self.unix_ns
    }

    /// The time from `earlier` to this, or zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.monotonic_ns.saturating_sub(earlier.monotonic_ns))
    }

    /// This instant moved on by `duration`, on both clocks.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "584 years of nanoseconds fit in u64")]
        let nanoseconds = duration.as_nanos() as u64;
        Self {
            monotonic_ns: self.monotonic_ns.saturating_add(nanoseconds),
            unix_ns: self.unix_ns.saturating_add(nanoseconds),
        }
    }
}

/// Where a time comes from that is needed between two turns: when something was published, and when
/// it has left.
#[derive(Debug, Default)]
pub(crate) enum Clock {
    /// That of this machine.
    #[default]
    Machine,
    /// Nanoseconds that a simulation sets.
    Simulated(Arc<AtomicU64>),
}

impl Clock {
    /// Nanoseconds of `CLOCK_MONOTONIC`, as [`Timestamp::monotonic_ns`].
    pub(crate) fn monotonic_ns(&self) -> u64 {
        match self {
            Self::Machine => nanoseconds(clock_gettime(ClockId::Monotonic)),
            Self::Simulated(now) => now.load(Ordering::Relaxed),
        }
    }
}

/// A deadline's unit: 16 ms since the shard began. 32 bits last two years, four times as long as
/// any connection may; half the size of a nanosecond count in every connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u32);

impl Tick {
    /// Later than every deadline: "none".
    pub(crate) const NEVER: Self = Self(u32::MAX);

    const NS: u64 = 16_000_000;

    /// The tick in which `now` falls, counted from `start`.
    pub(crate) fn at(start: Timestamp, now: Timestamp) -> Self {
        let ticks = now.monotonic_ns.saturating_sub(start.monotonic_ns) / Self::NS;
        Self(u32::try_from(ticks).unwrap_or(u32::MAX - 1))
    }

    /// The first tick that is at least `duration` later: a deadline is never early.
    pub(crate) fn after(self, duration: Duration) -> Self {
        let ticks = duration.as_nanos().div_ceil(u128::from(Self::NS)) + 1;
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        Self(self.0.saturating_add(ticks).min(u32::MAX - 1))
    }

    /// The time from the instant `now` until this tick begins.
    pub(crate) fn until(self, start: Timestamp, now: Timestamp) -> Duration {
        let at = start.monotonic_ns.saturating_add(u64::from(self.0) * Self::NS);
        Duration::from_nanos(at.saturating_sub(now.monotonic_ns))
    }

    /// Time between this tick and an earlier one.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0) as u64 * Self::NS)
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_and_at_most_two_ticks_late() {
        let start = Timestamp::new(5_000, 0);
        for ms in [0, 1, 15, 16, 17, 1_000, 59_999] {
            for offset in [0, 1, 15_999_999, 16_000_000] {
                let now = Timestamp::new(5_000 + offset, 0);
                let duration = Duration::from_millis(ms);
                let deadline = Tick::at(start, now).after(duration);
                let until = deadline.until(start, now);
                assert!(until >= duration, "{ms} ms became {until:?}");
                assert!(until <= duration + Duration::from_millis(33), "{ms} ms became {until:?}");
            }
        }
    }

    #[test]
    fn the_clocks_of_this_machine_run() {
        let first = Timestamp::read();
        let second = Timestamp::read();
        assert!(second.monotonic_ns() >= first.monotonic_ns());
        assert!(first.unix_ns() > 1_600_000_000_000_000_000);
    }
}
