//! The clocks of a run, all of them here.
//!
//! Latency is measured with `CLOCK_MONOTONIC`, read through the vDSO (about 30 ns, no system call),
//! because that is the clock whose readings a fan-out server writes into its messages: both sides
//! must read the same one, which holds between processes of one machine only. What the generator
//! itself costs is measured with the CPU time of the thread that drives the fleet, so that a server
//! tested in the same process is not charged to it; what other work on the machine costs the
//! generator is the time for which that thread was ready to run and had to wait for a core.
//!
//! Nothing else in this crate reads a clock.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A point in time: nanoseconds of `CLOCK_MONOTONIC`.
pub type Nanoseconds = u64;

/// The present moment.
#[must_use]
pub fn now() -> Nanoseconds {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// What has to be added to [`now`] to have the time of day, in nanoseconds since 1970.
#[must_use]
pub fn epoch_offset() -> Nanoseconds {
    nanoseconds(clock_gettime(ClockId::Realtime)).saturating_sub(now())
}

/// CPU time, user and system, that the calling thread has used so far, in nanoseconds.
///
/// The kernel also books on it the interrupt work done while it ran: over loopback that is the
/// receiving half of each send.
#[must_use]
pub fn thread_cpu() -> Nanoseconds {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// Time that the calling thread was ready to run and no core was free for it, in nanoseconds, or
/// `None` where the kernel does not tell (it does on Linux with scheduler statistics).
///
/// The second number of `/proc/thread-self/schedstat`.
#[must_use]
pub fn thread_wait() -> Option<Nanoseconds> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    statistics.split_whitespace().nth(1)?.parse().ok()
}

/// A duration in nanoseconds; the longest one that fits, 584 years, if it is longer.
#[must_use]
pub(crate) fn span(duration: Duration) -> Nanoseconds {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Neither clock ever reads negative: both count from a start (boot, the thread's birth).
fn nanoseconds(time: Timespec) -> Nanoseconds {
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_forward_and_work_costs_cpu() {
        let (start, cpu_start) = (now(), thread_cpu());
        let mut sum = 0_u64;
        while thread_cpu() < cpu_start + 1_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(now() >= start + 1_000_000, "1 ms of CPU takes at least 1 ms");
    }

    #[test]
    fn a_span_too_long_for_nanoseconds_is_the_longest_one() {
        assert_eq!(span(Duration::from_micros(3)), 3_000);
        assert_eq!(span(Duration::MAX), u64::MAX);
    }
}
