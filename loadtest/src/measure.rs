//! What a run measures: messages, bytes, latency, and what the generator itself cost.
//!
//! Every message that a server answered or published rightly ends in [`Measure::record`]: it is the
//! hot path. Messages that were published in one burst and come in one read have latencies that are
//! one to the histogram: such a run is counted and written once (of 30 ns that a fan-out message
//! costs here in all, that saves 5). Latency goes to the histogram of the present interval only;
//! each tick (some per second) takes the interval's rate and p99 for the progress line and adds it
//! to the whole run's histogram.
//!
//! The invariant: rates and CPU are those of the window from `begin` to `end` and of nothing else.
//! Latencies also include answers to messages that were sent in the window but came after its end,
//! because leaving out the slowest would flatter the server.

use hdrhistogram::Histogram;

use crate::clock::{self, Nanoseconds};

/// Counters of a run that goes on.
#[derive(Debug)]
pub(crate) struct Measure {
    /// Latencies since the last tick.
    interval: Histogram<u64>,
    /// Latencies of all intervals that are over.
    whole: Histogram<u64>,
    /// The latencies recorded last, which are not in the histogram yet.
    run: Run,
    messages: u64,
    bytes: u64,
    begun: Option<Begun>,
    window: Option<Window>,
    tick_at: Nanoseconds,
    messages_at_tick: u64,
}

/// Latencies in a row that fall into one cell of the histogram: from `lowest` to less than
/// `lowest + width`.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    lowest: Nanoseconds,
    width: Nanoseconds,
    count: u64,
}

/// Readings at the start of the window.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Nanoseconds,
    cpu: Nanoseconds,
    wait: Option<Nanoseconds>,
}

/// What happened between `begin` and `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window {
    /// Length, in nanoseconds.
    pub duration: Nanoseconds,
    /// CPU time of the generator's thread, in nanoseconds.
    pub cpu: Nanoseconds,
    /// Time for which that thread waited for a core, in nanoseconds; `None` if not known.
    pub wait: Option<Nanoseconds>,
    /// Messages received that were right.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
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
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Measured {
    /// The window.
    pub window: Window,
    /// Latencies in nanoseconds, three significant digits, at most [`LATENCY_MAX`].
    pub latency: Histogram<u64>,
}

impl Measure {
    pub(crate) fn new() -> Self {
        Self {
            interval: histogram(),
            whole: histogram(),
            run: Run::default(),
            messages: 0,
            bytes: 0,
            begun: None,
            window: None,
            tick_at: clock::now(),
            messages_at_tick: 0,
        }
    }

    /// Opens the window: what was recorded before is forgotten.
    pub(crate) fn begin(&mut self) {
        self.interval.reset();
        self.whole.reset();
        self.run = Run::default();
        (self.messages, self.bytes, self.messages_at_tick) = (0, 0, 0);
        let wait = clock::thread_wait();
        self.tick_at = clock::now();
        self.begun = Some(Begun { at: self.tick_at, cpu: clock::thread_cpu(), wait });
    }

    /// Counts one right message of `bytes` payload bytes that was `latency` nanoseconds on its way.
    #[inline]
    pub(crate) fn record(&mut self, latency: Nanoseconds, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        if latency.wrapping_sub(self.run.lowest) >= self.run.width {
            self.begin_run(latency);
        }
        self.run.count += 1;
    }

    /// Writes the run that is over, and begins one with `latency`.
    fn begin_run(&mut self, latency: Nanoseconds) {
        self.end_run();
        let latency = latency.min(LATENCY_MAX);
        let lowest = self.interval.lowest_equivalent(latency);
        self.run = Run { lowest, width: self.interval.equivalent_range(latency), count: 0 };
    }

    fn end_run(&mut self) {
        if self.run.count > 0 {
            self.interval.saturating_record_n(self.run.lowest, self.run.count);
            self.run = Run::default();
        }
    }

    /// Ends the interval and starts the next.
    pub(crate) fn tick(&mut self, now: Nanoseconds) -> Interval {
        self.end_run();
        let p99 = self.interval.value_at_quantile(0.99);
        self.gather();
        let messages = self.messages - self.messages_at_tick;
        let elapsed = now.saturating_sub(self.tick_at).max(1);
        self.tick_at = now;
        self.messages_at_tick = self.messages;
        Interval { rate: per_second(messages, elapsed), p99 }
    }

    /// Closes the window, once; without `begin` it stays empty.
    pub(crate) fn end(&mut self) {
        let Some(begun) = self.begun else { return };
        self.window.get_or_insert_with(|| Window {
            duration: clock::now() - begun.at,
            cpu: clock::thread_cpu() - begun.cpu,
            wait: begun.wait.zip(clock::thread_wait()).map(|(begun, now)| now - begun),
            messages: self.messages,
            bytes: self.bytes,
        });
    }

    pub(crate) fn finish(mut self) -> Measured {
        self.gather();
        Measured { window: self.window.unwrap_or_default(), latency: self.whole }
    }

    /// Moves the interval's latencies to the whole run's.
    fn gather(&mut self) {
        self.end_run();
        self.whole.add(&self.interval).expect("both histograms have the same bounds");
        self.interval.reset();
    }
}

impl Measured {
    /// Messages a second in the window.
    #[must_use]
    pub fn messages_per_second(&self) -> f64 {
        per_second(self.window.messages, self.window.duration)
    }

    /// Megabytes (10^6 bytes) of payload a second in the window.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        per_second(self.window.bytes, self.window.duration) / 1e6
    }

    /// Microseconds of the generator's own CPU for each message; `None` without a message.
    #[must_use]
    pub fn cpu_microseconds_per_message(&self) -> Option<f64> {
        (self.window.messages > 0)
            .then(|| self.window.cpu as f64 / 1e3 / self.window.messages as f64)
    }

    /// Share of one core that the generator used, 0 to 1.
    #[must_use]
    pub fn core_share(&self) -> f64 {
        self.window.cpu as f64 / self.window.duration.max(1) as f64
    }

    /// Share of the time for which the generator waited for a core that other work had, 0 to 1.
    #[must_use]
    pub fn wait_share(&self) -> Option<f64> {
        self.window.wait.map(|wait| wait as f64 / self.window.duration.max(1) as f64)
    }

    /// Whether other work on the machine kept the generator from its core for so long that the
    /// figures tell of that work, too.
    #[must_use]
    pub fn was_disturbed(&self) -> bool {
        self.wait_share().is_some_and(|share| share > WAIT_SHARE_MAX)
    }

    /// Whether the generator was so busy that the figures tell of it rather than of the server.
    #[must_use]
    pub fn generator_was_limit(&self) -> bool {
        self.core_share() > CORE_SHARE_MAX
    }
}

fn per_second(count: u64, duration: Nanoseconds) -> f64 {
    count as f64 * 1e9 / duration.max(1) as f64
}

/// Three significant digits cost 270 KB and no time that a measurement could show.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("1 and LATENCY_MAX are valid bounds")
}

/// Longer latencies than an hour, in nanoseconds, are recorded as one hour.
pub const LATENCY_MAX: Nanoseconds = 3_600_000_000_000;

/// Above this share of a core the generator itself counts as the limit.
pub const CORE_SHARE_MAX: f64 = 0.9;

/// Above this share of the time spent waiting for a core the machine counts as too busy.
pub const WAIT_SHARE_MAX: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_the_window_is_forgotten() {
        let mut measure = Measure::new();
        measure.record(5, 5);
        measure.begin();
        measure.record(1_000, 20);
        measure.end();
        let measured = measure.finish();
        assert_eq!((measured.window.messages, measured.window.bytes), (1, 20));
        assert_eq!(measured.latency.len(), 1);
    }

    #[test]
    fn late_answers_count_for_latency_and_not_for_the_rate() {
        let mut measure = Measure::new();
        measure.begin();
        measure.record(1_000, 20);
        measure.end();
        measure.record(1_000_000, 20);
        measure.end();
        let measured = measure.finish();
        assert_eq!(measured.window.messages, 1);
        assert_eq!(measured.latency.len(), 2);
        assert!(measured.latency.max() >= 1_000_000);
    }

    #[test]
    fn ticks_lose_nothing() {
        let mut measure = Measure::new();
        measure.begin();
        let start = measure.tick_at;
        for latency in 1..=100 {
            measure.record(latency * 1_000, 1);
        }
        let interval = measure.tick(start + 500_000_000);
        assert_eq!((interval.rate, interval.p99 / 1_000), (200.0, 99));
        let silent = measure.tick(start + 600_000_000);
        assert_eq!((silent.rate, silent.p99), (0.0, 0));
        measure.record(7, 1);
        measure.end();
        assert_eq!(measure.finish().latency.len(), 101);
    }

    #[test]
    fn runs_of_like_latencies_are_recorded_as_if_one_by_one() {
        let mut measure = Measure::new();
        let mut one_by_one = histogram();
        measure.begin();
        let near = (0..5_000).map(|step| 1_000_000 + step * 40);
        let far = (0..5_000).map(|step| step * 7_919 * 104_729 % 10_000_019);
        for latency in near.chain(far).chain([0, 0, 1, 1, LATENCY_MAX, LATENCY_MAX]) {
            measure.record(latency, 1);
            one_by_one.saturating_record(latency);
        }
        let whole = measure.finish().latency;
        assert_eq!(whole.len(), one_by_one.len());
        for quantile in (0..=1_000).map(|step| f64::from(step) / 1_000.0) {
            let (run, single) = (&whole, &one_by_one);
            assert_eq!(run.value_at_quantile(quantile), single.value_at_quantile(quantile));
        }
    }

    #[test]
    fn latency_beyond_the_histogram_saturates() {
        let mut measure = Measure::new();
        measure.begin();
        measure.record(u64::MAX, 0);
        let measured = measure.finish();
        assert_eq!(measured.latency.len(), 1);
        assert!(measured.latency.max() >= LATENCY_MAX);
    }

    #[test]
    fn a_generator_over_nine_tenths_of_a_core_was_the_limit() {
        for (cpu, limit) in [(0, false), (90, false), (91, true), (100, true)] {
            let window = Window { duration: 100, cpu, ..Window::default() };
            let measured = Measured { window, latency: histogram() };
            assert_eq!(measured.generator_was_limit(), limit, "{cpu} of 100");
        }
    }

    #[test]
    fn a_generator_that_waited_for_a_core_was_disturbed() {
        for (wait, disturbed) in [(None, false), (Some(10), false), (Some(11), true)] {
            let window = Window { duration: 100, wait, ..Window::default() };
            let measured = Measured { window, latency: histogram() };
            assert_eq!(measured.was_disturbed(), disturbed, "{wait:?} of 100");
        }
    }
}
