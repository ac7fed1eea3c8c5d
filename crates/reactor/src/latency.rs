//! How long publications take inside: from the call that publishes to the last byte in the kernel.
//!
//! A publication carries when it was published, which is read once a call, or once for some of a
//! batch. Here each audience of a shard keeps the [`Stamps`] of what has not reached everybody; a flush
//! reads the clock once and records them into the shard's [`Recorder`], by the class of their topic.
//! Nothing is done per subscriber.
//!
//! Two things are measured. *Sent*: the publication has left to every subscriber that keeps up, so one
//! that has stopped reading does not spoil the figure of the others. *Settled*: it has left to those
//! that lagged too, or has been given up for them.
//!
//! Invariant: a recorder has one writer, its shard's thread, so that recording is a load and a store
//! and no reader holds it up. It does not know when clients receive anything.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::TooManyClasses;

/// When something was published, and what class its topic is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// Nanoseconds of the monotonic clock.
    pub(crate) at_ns: u64,
    pub(crate) class: Class,
}

/// A class of topics, by its number among those of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class(u8);

impl Class {
    /// Each class has histograms of 6 KB on each shard, and series at whoever collects them.
    pub(crate) const COUNT_MAX: usize = 16;

    /// The class of topics that are given none.
    pub(crate) const DEFAULT_NAME: &'static str = "default";
}

/// How long publications of one class took on one shard, since it began.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Latency {
    /// The shard's index.
    pub shard: usize,
    /// The name of the class, as [`Publisher::set_class`](crate::Publisher::set_class) was given it;
    /// `default` where it was not.
    pub class: String,
    /// From the call that publishes until the kernel has the last byte for the last subscriber of the
    /// shard that keeps up. Publications that nobody was sent at once are not in it.
    pub sent: Histogram,
    /// The same, until those have it too that lagged; or, where one lagged too far or has gone, until
    /// the shard has given up on that.
    pub settled: Histogram,
}

/// Durations counted in buckets of fixed bounds, two for each doubling from 8 µs to 17 s.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_ns: u64,
}

impl Histogram {
    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all that was counted, exactly.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// The upper bound of the bucket in which the quantile lies, 0.99 for one: at most half as much
    /// again as the true value, from 8 µs on. `None` where nothing was counted; [`Duration::MAX`] above 17 s.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
        let rank = (quantile.clamp(0.0, 1.0) * count as f64).max(1.0);
        let mut below = 0;
        let reaches = |(_, count): &(Duration, u64)| {
            below += count;
            #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52")]
            let reached = below as f64;
            reached >= rank
        };
        self.buckets().find(reaches).map(|(bound, _)| bound)
    }

    /// Each bucket's upper bound, which belongs to it, and how many are in it alone. The last has
    /// [`Duration::MAX`].
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let bounds = (0..BUCKETS - 1).map(|bucket| Duration::from_nanos(bound_ns(bucket)));
        bounds.chain([Duration::MAX]).zip(self.counts)
    }

    /// Both together: of several shards, or classes.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.counts.iter_mut().zip(other.counts).for_each(|(one, other)| *one += other);
        self.sum_ns += other.sum_ns;
        self
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum_ns: 0 }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.buckets().filter(|(_, count)| *count > 0);
        formatter.debug_map().entries(counted).finish()
    }
}

/// What a server has measured.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// The names of the classes of topics, by their numbers.
    classes: Mutex<Vec<String>>,
    /// By shard.
    recorders: Box<[Recorder]>,
}

impl Latencies {
    pub(crate) fn new(shards: usize) -> Self {
        let classes = Mutex::new(vec![Class::DEFAULT_NAME.to_owned()]);
        Self { classes, recorders: (0..shards).map(|_| Recorder::default()).collect() }
    }

    /// The class of this name, made when it is asked for the first time.
    pub(crate) fn class(&self, name: &str) -> Result<Class, TooManyClasses> {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = classes.iter().position(|it| it == name);
        let number = known.unwrap_or(classes.len());
        if number >= Class::COUNT_MAX {
            return Err(TooManyClasses);
        }
        if known.is_none() {
            classes.push(name.to_owned());
        }
        Ok(Class(u8::try_from(number).expect("there are few")))
    }

    /// Where a shard's own thread records.
    pub(crate) fn recorder(&self, shard: u16) -> &Recorder {
        &self.recorders[usize::from(shard)]
    }

    /// What each shard has recorded of each class.
    pub(crate) fn read(&self) -> Vec<Latency> {
        let classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of_shard = |(shard, recorder): (usize, &Recorder)| {
            let of_class = move |(name, (sent, settled)): (&String, &(Recording, Recording))| {
                let (sent, settled) = (sent.read(), settled.read());
                Latency { shard, class: name.clone(), sent, settled }
            };
            classes.iter().zip(&recorder.classes).map(of_class).collect::<Vec<_>>()
        };
        self.recorders.iter().enumerate().flat_map(of_shard).collect()
    }
}

/// The histograms of one shard, where other threads can read them.
#[derive(Debug)]
pub(crate) struct Recorder {
    classes: Box<[(Recording, Recording)]>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { classes: (0..Class::COUNT_MAX).map(|_| Default::default()).collect() }
    }
}

/// A histogram that is being written.
#[derive(Debug)]
struct Recording {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Default for Recording {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), sum_ns: AtomicU64::new(0) }
    }
}

impl Recording {
    /// The shard's own thread only.
    fn record(&self, duration_ns: u64, count: u64) {
        add(&self.counts[bucket(duration_ns)], count);
        add(&self.sum_ns, duration_ns * count);
    }

    fn read(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed)),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

/// Not an atomic addition: there is one writer.
fn add(to: &AtomicU64, amount: u64) {
    to.store(to.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// When the publications in one audience's log were published, as far as they have not reached all.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    stamps: VecDeque<Stamp>,
    /// How many of them belong to earlier turns: somebody lags.
    old: usize,
}

/// Publications that follow each other, of one class and one instant.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    at_ns: u64,
    /// The position in the log behind the last of them.
    end: u64,
    count: u32,
    class: Class,
}

impl Stamps {
    /// Takes note of a publication, which is the one before position `end` of the log.
    #[inline]
    pub(crate) fn note(&mut self, published: Published, end: u64) {
        let Published { at_ns, class } = published;
        let is_first = self.stamps.len() == self.old;
        if let Some(last) = self.stamps.back_mut()
            && !is_first
            && last.at_ns == at_ns
            && last.class == class
        {
            last.end = end;
            last.count += 1;
        } else {
            self.stamps.push_back(Stamp { at_ns, end, count: 1, class });
        }
    }

    /// Records that this turn's publications have left to those who keep up.
    pub(crate) fn sent(&self, now_ns: u64, recorder: &Recorder) {
        for stamp in self.stamps.iter().skip(self.old) {
            let (sent, _) = &recorder.classes[usize::from(stamp.class.0)];
            sent.record(now_ns.saturating_sub(stamp.at_ns), stamp.count.into());
        }
    }

    /// Records what lies below position `base` of the log as settled, and ends the turn. `sent_ns` is
    /// when those of this turn left that nobody lags behind.
    pub(crate) fn settle(
        &mut self,
        base: u64,
        sent_ns: u64,
        now_ns: impl FnOnce() -> u64,
        recorder: &Recorder,
    ) {
        // Time has passed meanwhile for those who caught up; without any, nobody asks for it.
        let now_ns = if self.old > 0 { now_ns() } else { sent_ns };
        while let Some(stamp) = self.stamps.front().filter(|stamp| stamp.end <= base) {
            let (_, settled) = &recorder.classes[usize::from(stamp.class.0)];
            settled.record(now_ns.saturating_sub(stamp.at_ns), stamp.count.into());
            self.stamps.pop_front();
        }
        self.old = self.stamps.len();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }
}

/// Bounds, and one bucket for what is above them all.
const BUCKETS: usize = 2 * (LARGEST_LOG2 - SMALLEST_LOG2) + 2;

/// 2^13 ns, 8 µs: less than that a send takes only with nothing to do.
const SMALLEST_LOG2: usize = 13;

/// 2^34 ns, 17 s: whoever is slower than that has long been closed.
const LARGEST_LOG2: usize = 34;

/// The upper bound of a bucket: powers of two, and half as much again between them.
const fn bound_ns(bucket: usize) -> u64 {
    let power = 1 << (SMALLEST_LOG2 + bucket / 2);
    if bucket.is_multiple_of(2) { power } else { power + power / 2 }
}

/// The first bucket whose bound is not below.
#[inline]
const fn bucket(duration_ns: u64) -> usize {
    // The bound belongs to the bucket.
    let below = duration_ns.saturating_sub(1);
    if below >> SMALLEST_LOG2 == 0 {
        return 0;
    }
    let log2 = below.ilog2() as usize;
    let upper_half = (below >> (log2 - 1)) & 1;
    let bucket = 2 * (log2 - SMALLEST_LOG2) + 1 + upper_half as usize;
    if bucket < BUCKETS { bucket } else { BUCKETS - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_pass() {
        for expected in 0..BUCKETS - 1 {
            let bound = bound_ns(expected);
            assert_eq!(bucket(bound), expected, "{bound}");
            assert_eq!(bucket(bound + 1), expected + 1, "{bound}");
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let recording = Recording::default();
        assert_eq!(recording.read().quantile(0.5), None);
        recording.record(MS, 98);
        recording.record(50 * MS, 1);
        recording.record(100_000 * MS, 1);
        let histogram = recording.read();
        assert_eq!(histogram.count(), 100);
        assert_eq!(histogram.sum(), Duration::from_millis(98 + 50 + 100_000));
        for (quantile, expected) in [
            (0.0, Duration::from_nanos(1 << 20)),
            (0.98, Duration::from_nanos(1 << 20)),
            (0.99, Duration::from_nanos(3 << 24)),
            (1.0, Duration::MAX),
        ] {
            // 2^25 + 2^24 = 50.3 ms.
            assert_eq!(histogram.quantile(quantile), Some(expected), "{quantile}");
        }
        let both = histogram.clone().plus(&histogram);
        assert_eq!((both.count(), both.sum()), (200, 2 * histogram.sum()));
    }

    #[test]
    fn stamps_of_one_instant_are_one_and_lagging_holds_back_what_is_behind() {
        let recorder = Recorder::default();
        let mut stamps = Stamps::default();
        let published = |at_ns, class| Published { at_ns, class: Class(class) };
        stamps.note(published(MS, 0), 1);
        stamps.note(published(MS, 0), 2);
        stamps.note(published(MS, 1), 3);
        assert_eq!(stamps.stamps.len(), 2);
        stamps.sent(2 * MS, &recorder);
        stamps.settle(2, 2 * MS, || panic!("nobody lagged before"), &recorder);
        let read = |class: usize| {
            let (sent, settled) = &recorder.classes[class];
            (sent.read(), settled.read())
        };
        let counts = |class| (read(class).0.count(), read(class).1.count());
        assert_eq!((counts(0), counts(1)), ((2, 2), (1, 0)));
        stamps.note(published(MS, 1), 4);
        assert_eq!(stamps.stamps.len(), 2, "what was sent already is not sent again");
        stamps.sent(3 * MS, &recorder);
        stamps.settle(4, 3 * MS, || 11 * MS, &recorder);
        assert_eq!((counts(0), counts(1)), ((2, 2), (2, 2)));
        assert!(stamps.is_empty());
        let (sent, settled) = read(1);
        assert_eq!(
            (sent.sum(), settled.sum()),
            (Duration::from_millis(3), Duration::from_millis(20))
        );
    }
}
