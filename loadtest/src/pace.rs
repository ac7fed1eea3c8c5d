//! When messages are to be sent, in the open model: a rate over time as a row of moments.
//!
//! Real clients do not wait for a slow server before they have something to say. So in the open
//! model each message has an *intended* time, which follows from the stages' rates alone, and its
//! latency counts from there: a server that stalls for 100 ms delays every message that was due in
//! them, not only the one that was on its way (what a closed loop leaves out is known as coordinated
//! omission).
//!
//! The row is exact: message `k` is due when the area under the rate has grown to `k`, so a ramp
//! has neither steps nor drift, and nothing depends on when the row is asked. Arrivals at random are
//! a Poisson process of the same rate. Plain data: no clock.

use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1};
use serde::{Deserialize, Serialize};

use crate::clock::{self, Nanoseconds};
use crate::plan::{Ramp, Stage};

/// How messages follow each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Even,
    /// At random, independently of each other: what many independent users make together.
    Poisson,
}

/// The moments at which something is due.
#[derive(Debug)]
pub(crate) struct Pace {
    segments: Vec<Segment>,
    origin: Nanoseconds,
    /// The segment of the next moment.
    current: usize,
    /// The area under the segment's rate up to the next moment.
    area: f64,
    arrivals: Arrivals,
    random: SmallRng,
    due: Nanoseconds,
}

/// A stage's rate: a straight line.
#[derive(Debug, Clone, Copy)]
struct Segment {
    begin: Nanoseconds,
    seconds: f64,
    rate: Ramp,
}

impl Pace {
    /// The moments of `stages` one after the other; `None` if they have no rate, which is the closed
    /// model. Nothing is due before [`Pace::start`].
    pub(crate) fn new(stages: &[Stage], arrivals: Arrivals) -> Option<Self> {
        let mut begin = 0;
        let mut segments = Vec::new();
        for stage in stages {
            if let Some(rate) = stage.rate {
                segments.push(Segment { begin, seconds: stage.duration.as_secs_f64(), rate });
            }
            begin = begin.saturating_add(clock::span(stage.duration));
        }
        if segments.is_empty() {
            return None;
        }
        let random = rand::make_rng();
        let due = Nanoseconds::MAX;
        Some(Self { segments, origin: 0, current: 0, area: 0.0, arrivals, random, due })
    }

    /// The first stage begins at `origin`.
    pub(crate) fn start(&mut self, origin: Nanoseconds) {
        self.origin = origin;
        // The first is due at once, or after a gap like all others.
        if self.arrivals == Arrivals::Poisson {
            self.area = self.gap();
        }
        self.settle();
    }

    /// The next moment; [`Nanoseconds::MAX`] when there is none any more.
    #[inline]
    pub(crate) const fn due(&self) -> Nanoseconds {
        self.due
    }

    /// The next moment if it has come, and moves on.
    #[inline]
    pub(crate) fn take(&mut self, now: Nanoseconds) -> Option<Nanoseconds> {
        if self.due > now {
            return None;
        }
        let due = self.due;
        self.area += self.gap();
        self.settle();
        Some(due)
    }

    /// Ends the row.
    pub(crate) const fn stop(&mut self) {
        self.current = self.segments.len();
        self.due = Nanoseconds::MAX;
    }

    #[inline]
    fn gap(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Even => 1.0,
            Arrivals::Poisson => Exp1.sample(&mut self.random),
        }
    }

    /// Finds the moment at which the area is reached.
    #[inline]
    fn settle(&mut self) {
        while let Some(segment) = self.segments.get(self.current) {
            let whole = segment.area();
            if self.area < whole {
                self.due = self.origin + segment.moment(self.area);
                return;
            }
            self.area -= whole;
            self.current += 1;
        }
        self.due = Nanoseconds::MAX;
    }
}

impl Segment {
    /// Messages of the whole stage.
    fn area(&self) -> f64 {
        (self.rate.from + self.rate.to) / 2.0 * self.seconds
    }

    /// When the area has grown to `area`: the solution of `from·t + slope·t²/2 = area`, in the form
    /// that does not cancel where the slope is small.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a moment of the stage, which is not negative and shorter than 584 years"
    )]
    fn moment(&self, area: f64) -> Nanoseconds {
        let Ramp { from, to } = self.rate;
        let slope = (to - from) / self.seconds;
        let root = (from * from + 2.0 * slope * area).max(0.0).sqrt();
        let seconds = if area > 0.0 { 2.0 * area / (from + root) } else { 0.0 };
        self.begin + (seconds * 1e9) as Nanoseconds
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Nanoseconds = 7_000_000_000;

    fn stages(rates: &[(u64, f64, f64)]) -> Vec<Stage> {
        let stage = |&(milliseconds, from, to): &(u64, f64, f64)| {
            Stage::new(Duration::from_millis(milliseconds)).with_rate(Ramp { from, to })
        };
        rates.iter().map(stage).collect()
    }

    fn moments(rates: &[(u64, f64, f64)], arrivals: Arrivals) -> Vec<Nanoseconds> {
        let mut pace = Pace::new(&stages(rates), arrivals).unwrap();
        assert_eq!(pace.due(), Nanoseconds::MAX);
        pace.start(START);
        std::iter::from_fn(|| pace.take(Nanoseconds::MAX - 1)).map(|due| due - START).collect()
    }

    #[test]
    fn a_constant_rate_is_a_row_of_equal_distances() {
        let row = moments(&[(1_000, 1_000.0, 1_000.0)], Arrivals::Even);
        assert_eq!(row.len(), 1_000);
        for (number, due) in row.iter().enumerate() {
            assert!(due.abs_diff(number as u64 * 1_000_000) <= 1, "{number}: {due}");
        }
    }

    #[test]
    fn a_ramp_has_the_rate_that_is_due_at_every_moment() {
        let row = moments(&[(2_000, 0.0, 1_000.0)], Arrivals::Even);
        assert_eq!(row.len(), 1_000);
        // The area of the triangle up to half its time is a quarter.
        let half = row.iter().filter(|due| **due < 1_000_000_000).count();
        assert!(half.abs_diff(250) <= 1, "{half}");
        let down = moments(&[(2_000, 1_000.0, 0.0)], Arrivals::Even);
        let half = down.iter().filter(|due| **due < 1_000_000_000).count();
        assert!(half.abs_diff(750) <= 1, "{half}");
        assert!(down.is_sorted());
    }

    #[test]
    fn stages_follow_each_other_without_a_step_and_a_pause_is_silent() {
        let plan = [(500, 10.0, 10.0), (1_000, 0.0, 0.0), (500, 10.0, 30.0)];
        let row = moments(&plan, Arrivals::Even);
        assert_eq!(row.len(), 5 + 10);
        assert!(row.iter().all(|due| !(500_000_000..1_500_000_000).contains(due)), "{row:?}");
    }

    #[test]
    fn random_arrivals_have_the_same_rate_and_uneven_distances() {
        let row = moments(&[(10_000, 1_000.0, 1_000.0)], Arrivals::Poisson);
        // The standard deviation of 10,000 arrivals is 100.
        assert!(row.len().abs_diff(10_000) < 600, "{}", row.len());
        let gaps = row.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6);
        let variance = gaps.clone().map(|gap| (gap - 1.0).powi(2)).sum::<f64>() / row.len() as f64;
        assert!((variance - 1.0).abs() < 0.2, "an exponential gap of mean 1 has 1, not {variance}");
    }

    #[test]
    fn nothing_is_due_before_its_time_or_after_the_end() {
        let mut pace = Pace::new(&stages(&[(1_000, 2.0, 2.0)]), Arrivals::Even).unwrap();
        pace.start(START);
        assert_eq!(pace.take(START - 1), None);
        assert_eq!(pace.take(START), Some(START));
        assert_eq!(pace.take(START), None);
        assert_eq!(pace.due(), START + 500_000_000);
        pace.stop();
        assert_eq!((pace.take(Nanoseconds::MAX - 1), pace.due()), (None, Nanoseconds::MAX));
        assert!(Pace::new(&[Stage::new(Duration::from_secs(1))], Arrivals::Even).is_none());
    }
}
