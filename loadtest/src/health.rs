//! Whether the generator itself was the limit.
//!
//! The classic mistake of load tests is to measure the tool. Four readings tell of it, and each has
//! a bound: the share of a core that the generator used; the share of the time for which it was
//! ready to run but other work had the core; messages of the open model that left late although
//! nothing but the generator held them back; and how long one turn of its loop took, which is how
//! long an answer may have waited here before its time was taken.
//!
//! The verdict names those over their bound. It says nothing about the server: what the server
//! cost for each message holds even in a run whose rate and latency do not.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::measure::Measured;

/// How the generator was the limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Saturation {
    /// It used more than [`CORE_SHARE_MAX`] of a core.
    Core {
        /// The share, 0 to 1.
        share: f64,
    },
    /// It waited for a core for more than [`WAIT_SHARE_MAX`] of the time.
    Wait {
        /// The share, 0 to 1.
        share: f64,
    },
    /// More than [`LATE_SHARE_MAX`] of its messages left later than [`LATE_AFTER`] for want of time.
    LateSends {
        /// The share, 0 to 1.
        share: f64,
    },
    /// Its loop's turns took so long that they explain most of the latency.
    LoopLag {
        /// 99 of 100 turns took at most this, in microseconds.
        p99_us: f64,
    },
}

impl fmt::Display for Saturation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core { share } => {
                write!(formatter, "it used {:.0} % of its core", share * 100.0)
            }
            Self::Wait { share } => write!(
                formatter,
                "other work, perhaps the server, kept it waiting for a core {:.0} % of the time",
                share * 100.0
            ),
            Self::LateSends { share } => {
                write!(formatter, "{:.1} % of its messages left late", share * 100.0)
            }
            Self::LoopLag { p99_us } => {
                write!(formatter, "turns of its loop took up to {:.1} ms", p99_us / 1e3)
            }
        }
    }
}

/// Everything that made the generator the limit of a run; empty if nothing did.
#[must_use]
pub fn saturations(measured: &Measured) -> Vec<Saturation> {
    let mut found = Vec::new();
    if measured.core_share() > CORE_SHARE_MAX {
        found.push(Saturation::Core { share: measured.core_share() });
    }
    if let Some(share) = measured.wait_share().filter(|share| *share > WAIT_SHARE_MAX) {
        found.push(Saturation::Wait { share });
    }
    let share = measured.sends.late as f64 / measured.sends.sent.max(1) as f64;
    if share > LATE_SHARE_MAX {
        found.push(Saturation::LateSends { share });
    }
    let p99 = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.99);
    let (lag, latency) = (p99(&measured.lag), p99(&measured.latency));
    if lag > LAG_MIN && latency > 0 && lag as f64 > latency as f64 * LAG_SHARE_MAX {
        found.push(Saturation::LoopLag { p99_us: lag as f64 / 1e3 });
    }
    found
}

/// Above this share of a core the generator itself counts as the limit.
pub const CORE_SHARE_MAX: f64 = 0.9;

/// Above this share of the time spent waiting for a core the machine counts as too busy.
pub const WAIT_SHARE_MAX: f64 = 0.1;

/// A message of the open model that leaves later than this after its intended time is late, in
/// nanoseconds: thirty times what waking up costs on a quiet machine.
pub const LATE_AFTER: u64 = 1_000_000;

/// Above this share of late messages the schedule was not kept: p99 tells of the generator.
pub const LATE_SHARE_MAX: f64 = 0.01;

/// Turns up to this length, in nanoseconds, are the normal work of taking in a burst.
const LAG_MIN: u64 = 10_000_000;

/// A turn longer than this share of the latency explains most of it.
const LAG_SHARE_MAX: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Sends, Window, histogram};

    fn measured(window: Window) -> Measured {
        Measured { window, ..Measured::empty() }
    }

    #[test]
    fn a_generator_over_nine_tenths_of_a_core_was_the_limit() {
        for (cpu, limit) in [(0, false), (90, false), (91, true), (100, true)] {
            let measured = measured(Window { duration: 100, cpu, ..Window::default() });
            assert_eq!(!saturations(&measured).is_empty(), limit, "{cpu} of 100");
        }
    }

    #[test]
    fn a_generator_that_waited_for_a_core_was_disturbed() {
        for (wait, disturbed) in [(None, false), (Some(10), false), (Some(11), true)] {
            let measured = measured(Window { duration: 100, wait, ..Window::default() });
            assert_eq!(!saturations(&measured).is_empty(), disturbed, "{wait:?} of 100");
        }
    }

    #[test]
    fn late_sends_are_the_limit_from_one_in_a_hundred_on() {
        for (late, limit) in [(0, false), (10, false), (11, true)] {
            let mut measured = measured(Window::default());
            measured.sends = Sends { sent: 1_000, late, ..Sends::default() };
            let share = late as f64 / 1e3;
            let expected: &[_] = if limit { &[Saturation::LateSends { share }] } else { &[] };
            assert_eq!(saturations(&measured), expected);
        }
    }

    #[test]
    fn long_turns_matter_when_they_explain_the_latency() {
        for (lag_ms, latency_ms, limit) in
            [(9, 10, false), (20, 30, true), (20, 100, false), (20, 0, false)]
        {
            let mut measured = measured(Window::default());
            (measured.lag, measured.latency) = (histogram(), histogram());
            measured.lag.record(lag_ms * 1_000_000).unwrap();
            if latency_ms > 0 {
                measured.latency.record(latency_ms * 1_000_000).unwrap();
            }
            assert_eq!(!saturations(&measured).is_empty(), limit, "{lag_ms} of {latency_ms} ms");
        }
    }
}
