//! What a run measures: messages, bytes, latency, and what the generator itself cost.
//!
//! Every message that a server answered or published rightly ends in [`Measure::record`] or
//! [`Measure::record_due`]: it is the hot path. Latency goes to the histogram of the present
//! interval only; each tick (some per second) takes the interval's rate and p99 for the progress
//! line, makes points of the series out of intervals, and adds them to the histogram of the stage.
//!
//! The invariant: rates and CPU are those of the window from `begin` to `end` and of nothing else.
//! Latencies also include answers to messages that were sent in the window but came after its end,
//! because leaving out the slowest would flatter the server. Stages that warm up are measured and
//! left out of the whole.

mod encoded;
mod latencies;
mod series;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Nanoseconds};
use crate::health::LATE_AFTER;
use crate::plan::Stage;
use crate::server;

pub use latencies::LATENCY_MAX;
pub(crate) use latencies::{Latencies, histogram};
pub use series::Point;
use series::Series;

/// Counters of a run that goes on.
#[derive(Debug)]
pub(crate) struct Measure {
    /// Latencies since the last tick: from the intended time in the open model.
    latency: Latencies,
    /// The same from the moment of sending; only the open model tells them apart.
    raw: Latencies,
    /// For how long at a time the loop did not listen.
    lag: Latencies,
    whole_lag: Histogram<u64>,
    /// Scratch of a tick.
    interval: Histogram<u64>,
    count: Count,
    count_at_tick: Count,
    tick_at: Nanoseconds,
    begun: Option<Begun>,
    series: Series,
    stages: Vec<StageMeasured>,
    /// Resident memory of this process when the last stage ended.
    rss_bytes: u64,
}

/// What is counted as it comes.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    messages: u64,
    bytes: u64,
    merged: u64,
    wire_bytes: u64,
    sends: Sends,
}

/// Readings at the start of a stage.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Nanoseconds,
    cpu: Nanoseconds,
    wait: Option<Nanoseconds>,
    count: Count,
}

/// What happened between `begin` and `end`, or in a stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Window {
    /// Length, in nanoseconds.
    pub duration: Nanoseconds,
    /// CPU time of the generator's threads, in nanoseconds.
    pub cpu: Nanoseconds,
    /// Time for which they waited for a core, in nanoseconds; `None` if not known.
    pub wait: Option<Nanoseconds>,
    /// Messages received that were right.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// All bytes that came, as they were on the wire: headers, control frames and what was wrong
    /// too; less than the payload where that was compressed.
    pub wire_bytes: u64,
    /// Messages that were not to come because a newer value had replaced theirs.
    #[serde(default)]
    pub merged: u64,
}

/// How messages of the open model left. All zero in the closed model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sends {
    /// Messages sent.
    pub sent: u64,
    /// Of them, those that left later than [`LATE_AFTER`] although their client had room.
    pub late: u64,
    /// Of them, those that had to wait until answers made room for them: the server's lateness.
    pub held: u64,
    /// Messages that were due and never left: they count as a latency up to the end of the run.
    pub unsent: u64,
}

/// Rate and latency since the last tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    /// Messages a second.
    pub(crate) rate: f64,
    /// 99 of 100 latencies were at most this, in nanoseconds; 0 when no message came.
    pub(crate) p99: Nanoseconds,
}

/// A finished run's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Measured {
    /// When the first stage began, by [`clock::now`]; 0 if it did not.
    pub began: Nanoseconds,
    /// The stages that are not for warming up, in sum.
    pub window: Window,
    /// Latencies in nanoseconds, three significant digits, at most [`LATENCY_MAX`]; from the
    /// intended time in the open model.
    #[serde(with = "encoded")]
    pub latency: Histogram<u64>,
    /// In the open model, the same from the moment at which each message left.
    #[serde(with = "encoded")]
    pub raw: Histogram<u64>,
    /// How long turns of the generator's loop took, in nanoseconds.
    #[serde(with = "encoded")]
    pub lag: Histogram<u64>,
    /// How messages left.
    pub sends: Sends,
    /// Each stage by itself.
    pub stages: Vec<StageMeasured>,
    /// The run over time.
    pub points: Vec<Point>,
    /// Resident memory of the generator's processes at the end of the last stage, in bytes.
    pub rss_bytes: u64,
    /// How many generator processes these are the figures of, at least 1.
    pub generators: u32,
}

/// A stage's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StageMeasured {
    /// Its name.
    pub name: String,
    /// Whether it is left out of the whole.
    pub warm_up: bool,
    /// What happened in it.
    pub window: Window,
    /// Latencies of messages that came in it, in nanoseconds.
    #[serde(with = "encoded")]
    pub latency: Histogram<u64>,
    /// The same from the moment of sending, in the open model.
    #[serde(with = "encoded")]
    pub raw: Histogram<u64>,
    /// How messages left.
    pub sends: Sends,
}

impl Measure {
    /// For a run of these stages.
    pub(crate) fn new(stages: &[Stage]) -> Self {
        let now = clock::now();
        let stage = |stage: &Stage| StageMeasured::new(&stage.name, stage.warm_up);
        Self {
            latency: Latencies::new(),
            raw: Latencies::new(),
            lag: Latencies::new(),
            whole_lag: histogram(),
            interval: histogram(),
            count: Count::default(),
            count_at_tick: Count::default(),
            tick_at: now,
            begun: None,
            series: Series::new(stages.iter().map(|stage| stage.duration).sum()),
            stages: stages.iter().map(stage).collect(),
            rss_bytes: 0,
        }
    }

    /// Opens the window of a stage, the one before being closed: what was recorded before the first
    /// one is forgotten.
    pub(crate) fn begin(&mut self, stage: usize) {
        if stage == 0 {
            self.latency.forget();
            self.raw.forget();
            self.lag.forget();
            self.whole_lag.reset();
            (self.count, self.count_at_tick) = (Count::default(), Count::default());
            self.tick_at = clock::now();
            self.series.begin(self.tick_at);
        }
        self.series.stage(stage);
        let (at, cpu, wait) = (clock::now(), clock::thread_cpu(), clock::thread_wait());
        self.begun = Some(Begun { at, cpu, wait, count: self.count });
    }

    /// Counts one right message of `bytes` payload bytes that was `latency` nanoseconds on its way.
    #[inline]
    pub(crate) fn record(&mut self, latency: Nanoseconds, bytes: usize) {
        self.count(bytes);
        self.latency.record(latency);
    }

    /// Counts a right message that has no latency.
    #[inline]
    pub(crate) const fn count(&mut self, bytes: usize) {
        self.count.messages += 1;
        self.count.bytes += bytes as u64;
    }

    /// Counts messages that a newer one stands for.
    pub(crate) const fn merged(&mut self, messages: u64) {
        self.count.merged += messages;
    }

    /// Counts bytes that came.
    #[inline]
    pub(crate) const fn took_in(&mut self, bytes: usize) {
        self.count.wire_bytes += bytes as u64;
    }

    /// The same in the open model: `latency` from the intended time, `raw` from the sending.
    #[inline]
    pub(crate) fn record_due(&mut self, latency: Nanoseconds, raw: Nanoseconds, bytes: usize) {
        self.record(latency, bytes);
        self.raw.record(raw);
    }

    /// Counts a message of the open model that leaves `late` nanoseconds after its intended time;
    /// `held` says that it had to wait for answers.
    #[inline]
    pub(crate) const fn sent(&mut self, late: Nanoseconds, held: bool) {
        self.count.sends.sent += 1;
        self.count.sends.held += held as u64;
        self.count.sends.late += (late > LATE_AFTER && !held) as u64;
    }

    /// Counts a message that was due `waited` nanoseconds ago and never left.
    pub(crate) fn unsent(&mut self, waited: Nanoseconds) {
        self.count.sends.unsent += 1;
        self.latency.record(waited);
    }

    /// Counts a turn of the loop, in which nobody listened for so long.
    #[inline]
    pub(crate) fn turned(&mut self, took: Nanoseconds) {
        self.lag.record(took);
    }

    /// Ends the interval and starts the next. `open` connections are open.
    pub(crate) fn tick(&mut self, now: Nanoseconds, open: usize) -> Interval {
        let messages = self.count.messages - self.count_at_tick.messages;
        let bytes = self.count.bytes - self.count_at_tick.bytes;
        let elapsed = now.saturating_sub(self.tick_at).max(1);
        (self.tick_at, self.count_at_tick) = (now, self.count);
        self.latency.take_into(&mut self.interval);
        let p99 = self.interval.value_at_quantile(0.99);
        self.lag.take_into(&mut self.whole_lag);
        self.series.add(now, messages, bytes, open, &self.interval);
        if self.begun.is_some() {
            self.series.cut_if_long();
        }
        let stage = self.stages.get_mut(self.series.current_stage());
        if let Some(stage) = stage.filter(|_| self.series.has_begun()) {
            stage.latency.add(&self.interval).expect("all histograms have the same bounds");
            self.raw.take_into(&mut stage.raw);
        }
        self.interval.reset();
        Interval { rate: per_second(messages, elapsed), p99 }
    }

    /// Closes the window of the present stage, once.
    pub(crate) fn end(&mut self, open: usize) {
        let Some(begun) = self.begun else { return };
        self.tick(clock::now(), open);
        self.begun = None;
        self.series.cut();
        let Some(stage) = self.stages.get_mut(self.series.current_stage()) else { return };
        stage.window = Window {
            duration: clock::now() - begun.at,
            cpu: clock::thread_cpu() - begun.cpu,
            wait: begun.wait.zip(clock::thread_wait()).map(|(begun, now)| now - begun),
            messages: self.count.messages - begun.count.messages,
            bytes: self.count.bytes - begun.count.bytes,
            wire_bytes: self.count.wire_bytes - begun.count.wire_bytes,
            merged: self.count.merged - begun.count.merged,
        };
        stage.sends = self.count.sends.since(begun.count.sends);
        self.rss_bytes = server::resident_bytes(std::process::id());
    }

    /// The figures, answers that came after the end included.
    pub(crate) fn finish(mut self) -> Measured {
        let unsent = self.count.sends.unsent;
        self.end(0);
        self.tick(clock::now(), 0);
        let rss_bytes = self.rss_bytes;
        let began = self.series.began();
        let mut measured = Measured { began, lag: self.whole_lag, rss_bytes, ..Measured::empty() };
        measured.points = self.series.finish();
        measured.stages = self.stages;
        // What never left is known when all is over.
        if let Some(last) = measured.stages.last_mut() {
            last.sends.unsent = unsent;
        }
        measured.sum_up();
        measured
    }
}

impl Sends {
    /// What was added since `earlier`.
    const fn since(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            late: self.late - earlier.late,
            held: self.held - earlier.held,
            unsent: self.unsent - earlier.unsent,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            late: self.late + other.late,
            held: self.held + other.held,
            unsent: self.unsent + other.unsent,
        }
    }
}

impl Window {
    /// This window and the one after it.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self { duration: self.duration + next.duration, ..self.beside(next) }
    }

    /// This window and another one over the same time.
    #[must_use]
    pub fn beside(self, other: Self) -> Self {
        Self {
            duration: self.duration.max(other.duration),
            cpu: self.cpu + other.cpu,
            wait: self.wait.zip(other.wait).map(|(one, other)| one + other),
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
            wire_bytes: self.wire_bytes + other.wire_bytes,
            merged: self.merged + other.merged,
        }
    }

    /// Messages a second.
    #[must_use]
    pub fn messages_per_second(&self) -> f64 {
        per_second(self.messages, self.duration)
    }

    /// Megabytes (10^6 bytes) of payload a second.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        per_second(self.bytes, self.duration) / 1e6
    }
}

impl StageMeasured {
    fn new(name: &str, warm_up: bool) -> Self {
        Self {
            name: name.to_owned(),
            warm_up,
            window: Window::default(),
            latency: histogram(),
            raw: histogram(),
            sends: Sends::default(),
        }
    }
}

impl Measured {
    /// Figures of nothing, to which others are added.
    pub(crate) fn empty() -> Self {
        Self {
            began: 0,
            window: Window::default(),
            latency: histogram(),
            raw: histogram(),
            lag: histogram(),
            sends: Sends::default(),
            stages: Vec::new(),
            points: Vec::new(),
            rss_bytes: 0,
            generators: 1,
        }
    }

    /// Makes the whole out of the stages that count.
    pub(crate) fn sum_up(&mut self) {
        let mut window: Option<Window> = None;
        self.sends = Sends::default();
        (self.latency, self.raw) = (histogram(), histogram());
        for stage in self.stages.iter().filter(|stage| !stage.warm_up) {
            window = Some(window.map_or(stage.window, |window| window.then(stage.window)));
            self.sends = self.sends.plus(stage.sends);
            self.latency.add(&stage.latency).expect("all histograms have the same bounds");
            self.raw.add(&stage.raw).expect("all histograms have the same bounds");
        }
        self.window = window.unwrap_or_default();
    }

    /// Messages a second in the window.
    #[must_use]
    pub fn messages_per_second(&self) -> f64 {
        self.window.messages_per_second()
    }

    /// Megabytes (10^6 bytes) of payload a second in the window.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        self.window.megabytes_per_second()
    }

    /// Microseconds of the generator's own CPU for each message; `None` without a message.
    #[must_use]
    pub fn cpu_microseconds_per_message(&self) -> Option<f64> {
        (self.window.messages > 0)
            .then(|| self.window.cpu as f64 / 1e3 / self.window.messages as f64)
    }

    /// Share of its core that each generator used, 0 to 1.
    #[must_use]
    pub fn core_share(&self) -> f64 {
        self.window.cpu as f64 / (self.window.duration.max(1) as f64 * f64::from(self.generators))
    }

    /// Share of the time for which a generator waited for a core that other work had, 0 to 1.
    #[must_use]
    pub fn wait_share(&self) -> Option<f64> {
        let time = self.window.duration.max(1) as f64 * f64::from(self.generators);
        self.window.wait.map(|wait| wait as f64 / time)
    }
}

pub(crate) fn per_second(count: u64, duration: Nanoseconds) -> f64 {
    count as f64 * 1e9 / duration.max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn one_stage() -> Measure {
        Measure::new(&[Stage::new(Duration::from_secs(1))])
    }

    #[test]
    fn what_came_before_the_window_is_forgotten() {
        let mut measure = one_stage();
        measure.record(5, 5);
        measure.begin(0);
        measure.record(1_000, 20);
        measure.end(1);
        let measured = measure.finish();
        assert_eq!((measured.window.messages, measured.window.bytes), (1, 20));
        assert_eq!(measured.latency.len(), 1);
    }

    #[test]
    fn late_answers_count_for_latency_and_not_for_the_rate() {
        let mut measure = one_stage();
        measure.begin(0);
        measure.record(1_000, 20);
        measure.end(1);
        measure.record(1_000_000, 20);
        measure.end(1);
        let measured = measure.finish();
        assert_eq!(measured.window.messages, 1);
        assert_eq!(measured.latency.len(), 2);
        assert!(measured.latency.max() >= 1_000_000);
    }

    #[test]
    fn ticks_lose_nothing() {
        let mut measure = one_stage();
        measure.begin(0);
        let start = measure.tick_at;
        for latency in 1..=100 {
            measure.record(latency * 1_000, 1);
        }
        let interval = measure.tick(start + 500_000_000, 1);
        assert_eq!((interval.rate, interval.p99 / 1_000), (200.0, 99));
        let silent = measure.tick(start + 600_000_000, 1);
        assert_eq!((silent.rate, silent.p99), (0.0, 0));
        measure.record(7, 1);
        measure.end(1);
        let measured = measure.finish();
        assert_eq!(measured.latency.len(), 101);
        let counted: u64 = measured.points.iter().map(|point| point.messages).sum();
        assert_eq!(counted, 101);
    }

    #[test]
    fn after_the_end_there_is_a_point_for_what_came_late_and_none_for_nothing() {
        for unsent in [0, 1] {
            let mut measure = one_stage();
            measure.begin(0);
            let start = measure.tick_at;
            measure.record(1_000, 20);
            measure.tick(start + 200_000_000, 1);
            measure.end(1);
            let before = measure.series.count();
            for wait in 1..10 {
                measure.tick(start + 200_000_000 * (1 + wait), 1);
            }
            (0..unsent).for_each(|_| measure.unsent(5_000));
            let measured = measure.finish();
            assert_eq!(measured.points.len(), before + unsent);
            let recorded: u64 = measured.points.iter().map(|it| it.latency().len()).sum();
            assert_eq!(recorded, measured.latency.len(), "the points have every latency");
        }
    }

    #[test]
    fn stages_are_told_apart_and_warming_up_is_left_out() {
        let mut warm_up = Stage::new(Duration::from_secs(1));
        warm_up.warm_up = true;
        let mut measure = Measure::new(&[warm_up, Stage::new(Duration::from_secs(1))]);
        measure.begin(0);
        measure.record_due(9_000, 1_000, 1);
        measure.sent(0, false);
        measure.end(1);
        measure.begin(1);
        measure.record_due(2_000, 1_500, 1);
        measure.record_due(2_000, 1_500, 1);
        measure.sent(LATE_AFTER + 1, false);
        measure.sent(LATE_AFTER + 1, true);
        measure.end(1);
        measure.unsent(4_000);
        let measured = measure.finish();
        let counts = [0, 1].map(|stage: usize| measured.stages[stage].window.messages);
        assert_eq!((counts, measured.window.messages), ([1, 2], 2));
        assert_eq!(measured.latency.len(), 3, "the unsent one counts with the time it waited");
        assert_eq!((measured.raw.len(), measured.raw.max()), (2, 1_500));
        assert_eq!(measured.sends, Sends { sent: 2, late: 1, held: 1, unsent: 1 });
    }
}
