//! A run over time: rate and latency of each fifth of a second or longer.
//!
//! A point keeps its histogram in the compact form of `HdrHistogram` (some hundred bytes), so that
//! points of several generators can be put together and written to a log; what a chart needs is
//! beside it in plain numbers. The number of points is bounded: a longer run has longer points.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Nanoseconds};
use crate::measure::{encoded, histogram};

/// A short time of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Point {
    /// When it began, in nanoseconds from the start of the first stage.
    pub at: Nanoseconds,
    /// How long it lasted, in nanoseconds.
    pub duration: Nanoseconds,
    /// The number of its stage.
    pub stage: usize,
    /// Right messages that came in it.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Connections open at its end.
    pub open: usize,
    /// Median of its latencies, in nanoseconds; 0 without a message.
    pub p50: Nanoseconds,
    /// 99 of 100 were at most this.
    pub p99: Nanoseconds,
    /// The longest.
    pub max: Nanoseconds,
    /// Its latencies, in `HdrHistogram`'s V2 encoding.
    pub encoded: Vec<u8>,
}

/// The points so far, and the one that is being put together.
#[derive(Debug)]
pub(crate) struct Series {
    points: Vec<Point>,
    began: Nanoseconds,
    present: Point,
    latency: Histogram<u64>,
    length: Nanoseconds,
    stage: usize,
}

impl Series {
    /// For a run of this length.
    pub(crate) fn new(run: Duration) -> Self {
        Self {
            points: Vec::new(),
            began: 0,
            present: Point::default(),
            latency: histogram(),
            length: clock::span(run) / POINTS_MAX,
            stage: 0,
        }
    }

    /// The run starts now.
    pub(crate) const fn begin(&mut self, now: Nanoseconds) {
        self.began = now;
    }

    /// What comes belongs to this stage.
    pub(crate) const fn stage(&mut self, stage: usize) {
        self.stage = stage;
        self.present.stage = stage;
    }

    pub(crate) const fn began(&self) -> Nanoseconds {
        self.began
    }

    pub(crate) const fn has_begun(&self) -> bool {
        self.began > 0
    }

    pub(crate) const fn current_stage(&self) -> usize {
        self.stage
    }

    /// Adds what happened up to `now`.
    pub(crate) fn add(
        &mut self,
        now: Nanoseconds,
        messages: u64,
        bytes: u64,
        open: usize,
        latency: &Histogram<u64>,
    ) {
        if !self.has_begun() {
            return;
        }
        self.present.messages += messages;
        self.present.bytes += bytes;
        self.present.open = open;
        self.present.duration = (now - self.began).saturating_sub(self.present.at);
        self.latency.add(latency).expect("all histograms have the same bounds");
    }

    /// Ends the present point if it is as long as points are to be.
    pub(crate) fn cut_if_long(&mut self) {
        if self.present.duration >= self.length {
            self.cut();
        }
    }

    /// Ends the present point: the next belongs to another stage.
    pub(crate) fn cut(&mut self) {
        let end = self.present.at + self.present.duration;
        if self.present.duration >= POINT_MIN || self.has_figures() {
            let mut point = std::mem::take(&mut self.present);
            point.summarize(&self.latency);
            self.points.push(point);
            self.latency.reset();
        }
        self.present = Point { at: end, stage: self.stage, ..Point::default() };
    }

    #[cfg(test)]
    pub(crate) const fn count(&self) -> usize {
        self.points.len()
    }

    fn has_figures(&self) -> bool {
        self.present.messages > 0 || !self.latency.is_empty()
    }

    pub(crate) fn finish(mut self) -> Vec<Point> {
        // What came after the end, or never, is one point more; its time is not the run's.
        if self.has_figures() {
            self.cut();
        }
        self.points
    }
}

impl Point {
    /// Its latencies.
    #[must_use]
    pub fn latency(&self) -> Histogram<u64> {
        encoded::decode(&self.encoded)
    }

    /// Takes the figures of its latencies.
    pub(crate) fn summarize(&mut self, latency: &Histogram<u64>) {
        if !latency.is_empty() {
            self.p50 = latency.value_at_quantile(0.5);
            self.p99 = latency.value_at_quantile(0.99);
            self.max = latency.max();
        }
        self.encoded = encoded::encode(latency);
    }
}

/// What a chart can show, and at most some 300 KB.
const POINTS_MAX: u64 = 300;

/// Shorter points, at the edges of stages, have a rate that means nothing.
const POINT_MIN: Nanoseconds = 1_000_000;
