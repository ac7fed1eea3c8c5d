//! A distribution of latencies in numbers that a reader can use.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Percentiles, in microseconds with three significant digits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latency {
    /// How many there are.
    pub count: u64,
    /// Their mean.
    pub mean_us: f64,
    /// The shortest.
    pub min_us: f64,
    /// The median.
    pub p50_us: f64,
    /// 9 of 10 were at most this; and so on.
    pub p90_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p99_9_us: f64,
    /// 9,999 of 10,000.
    pub p99_99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Pairs of a quantile, 0 to 1, and its latency: some points for each nine, for a curve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, f64)>,
}

impl Latency {
    /// The distribution without its curve; `None` if it is empty.
    pub(crate) fn new(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Some(Self {
            count: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            min_us: histogram.min() as f64 / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            p99_99_us: at(0.9999),
            max_us: histogram.max() as f64 / 1e3,
            curve: Vec::new(),
        })
    }

    /// The distribution with its curve, up to the quantile that one latency stands for.
    pub(crate) fn with_curve(histogram: &Histogram<u64>) -> Option<Self> {
        let mut latency = Self::new(histogram)?;
        let mut beyond = 1.0;
        while beyond * latency.count as f64 >= 1.0 && latency.curve.len() < CURVE_MAX {
            let quantile = 1.0 - beyond;
            let us = histogram.value_at_quantile(quantile) as f64 / 1e3;
            latency.curve.push((quantile, us));
            beyond /= CURVE_STEP;
        }
        latency.curve.push((1.0, latency.max_us));
        Some(latency)
    }

    /// The percentile called `name`, such as `p99` or `max`, in microseconds.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<f64> {
        Some(match name {
            "mean" => self.mean_us,
            "min" => self.min_us,
            "p50" => self.p50_us,
            "p90" => self.p90_us,
            "p99" => self.p99_us,
            "p99.9" => self.p99_9_us,
            "p99.99" => self.p99_99_us,
            "max" => self.max_us,
            _ => return None,
        })
    }
}

/// Eight points for each nine of the quantile.
const CURVE_STEP: f64 = 1.333_521_432;

/// Up to nine nines.
const CURVE_MAX: usize = 72;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::histogram;

    #[test]
    fn the_curve_rises_to_the_maximum_and_ends_where_single_latencies_stand() {
        let mut latencies = histogram();
        for value in 1..=1_000 {
            latencies.record(value * 1_000).unwrap();
        }
        let latency = Latency::with_curve(&latencies).unwrap();
        assert!(latency.curve.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1));
        assert_eq!(latency.curve.last(), Some(&(1.0, latency.max_us)));
        assert_eq!(latency.curve.len(), 26, "three nines of eight points each, and both ends");
        assert_eq!((latency.named("p50"), latency.named("p42")), (Some(latency.p50_us), None));
        assert!(Latency::new(&histogram()).is_none());
    }
}
