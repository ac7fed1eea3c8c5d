//! Latencies on their way into a histogram.
//!
//! Recording is on the hot path. Messages that were published in one burst and come in one read have
//! latencies that are one to the histogram: such a row is counted and written once (of 30 ns that a
//! fan-out message costs here in all, that saves 5). So the histogram is complete only after
//! [`Latencies::take_into`].

use hdrhistogram::Histogram;

use crate::clock::Nanoseconds;

/// Latencies since the last [`Latencies::take_into`].
#[derive(Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    row: Row,
}

/// Latencies that fall into one cell of the histogram: from `lowest` to less than `lowest + width`.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    lowest: Nanoseconds,
    width: Nanoseconds,
    count: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self { histogram: histogram(), row: Row::default() }
    }

    #[inline]
    pub(crate) fn record(&mut self, latency: Nanoseconds) {
        if latency.wrapping_sub(self.row.lowest) >= self.row.width {
            self.begin_row(latency);
        }
        self.row.count += 1;
    }

    /// Adds everything recorded to `to`, and forgets it.
    pub(crate) fn take_into(&mut self, to: &mut Histogram<u64>) {
        self.end_row();
        if !self.histogram.is_empty() {
            to.add(&self.histogram).expect("all histograms have the same bounds");
            self.histogram.reset();
        }
    }

    pub(crate) fn forget(&mut self) {
        self.row = Row::default();
        self.histogram.reset();
    }

    /// Writes the row that is over, and begins one with `latency`.
    fn begin_row(&mut self, latency: Nanoseconds) {
        self.end_row();
        let latency = latency.min(LATENCY_MAX);
        let lowest = self.histogram.lowest_equivalent(latency);
        self.row = Row { lowest, width: self.histogram.equivalent_range(latency), count: 0 };
    }

    fn end_row(&mut self) {
        if self.row.count > 0 {
            self.histogram.saturating_record_n(self.row.lowest, self.row.count);
            self.row = Row::default();
        }
    }
}

/// An empty histogram as all of a run are. Three significant digits cost 270 KB and no time that a
/// measurement could show.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("1 and LATENCY_MAX are valid bounds")
}

/// Longer latencies than an hour, in nanoseconds, are recorded as one hour.
pub const LATENCY_MAX: Nanoseconds = 3_600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_like_latencies_are_recorded_as_if_one_by_one() {
        let mut latencies = Latencies::new();
        let mut one_by_one = histogram();
        let near = (0..5_000).map(|step| 1_000_000 + step * 40);
        let far = (0..5_000).map(|step| step * 7_919 * 104_729 % 10_000_019);
        for latency in near.chain(far).chain([0, 0, 1, 1, LATENCY_MAX, LATENCY_MAX]) {
            latencies.record(latency);
            one_by_one.saturating_record(latency);
        }
        let mut whole = histogram();
        latencies.take_into(&mut whole);
        assert_eq!(whole.len(), one_by_one.len());
        for quantile in (0..=1_000).map(|step| f64::from(step) / 1_000.0) {
            let (row, single) = (&whole, &one_by_one);
            assert_eq!(row.value_at_quantile(quantile), single.value_at_quantile(quantile));
        }
    }

    #[test]
    fn latency_beyond_the_histogram_saturates() {
        let mut latencies = Latencies::new();
        latencies.record(u64::MAX);
        let mut whole = histogram();
        latencies.take_into(&mut whole);
        assert_eq!(whole.len(), 1);
        assert!(whole.max() >= LATENCY_MAX);
    }

    #[test]
    fn what_was_taken_is_not_taken_again() {
        let mut latencies = Latencies::new();
        let mut whole = histogram();
        latencies.record(5);
        latencies.take_into(&mut whole);
        latencies.record(5);
        latencies.forget();
        latencies.take_into(&mut whole);
        assert_eq!(whole.len(), 1);
    }
}
