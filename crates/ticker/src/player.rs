//! The player: takes events from a feed, waits until each is due, and publishes its update.
//!
//! It runs on a thread of its own and is the only publisher of the ticker's topics. At a speed it
//! follows the feed's offsets on the monotonic clock and waits for nobody: who does not keep up is
//! dealt with by the engine. At `max` it goes as fast as the slowest of those who get every event
//! takes them, within a bound, and closes those that stay behind; nobody waits for who merges.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tickwire::{Keep, Kind, Publisher, Timestamp, Topic};

use crate::audience::Audience;
use crate::event::Event;
use crate::feed::Feed;
use crate::market::Market;
use crate::metrics::Metrics;

/// How fast events follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as they happened; finite and above zero.
    Times(f64),
    /// As fast as the slowest of those who get every event takes them.
    Max,
}

impl Speed {
    /// What time passes here while `nanoseconds` pass in the feed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a cast of a float saturates, and microseconds over a year are not missed"
    )]
    fn scale(self, nanoseconds: u64) -> Duration {
        match self {
            Self::Times(times) => Duration::from_nanos((nanoseconds as f64 / times) as u64),
            Self::Max => Duration::ZERO,
        }
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(times) if times > 0.0 && f64::is_finite(times) => Ok(Self::Times(times)),
            _ => Err("a speed is a number above 0, such as 1 or 10, or max".to_owned()),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(formatter, "{times}"),
            Self::Max => formatter.write_str("max"),
        }
    }
}

/// When events are played.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How fast.
    pub speed: Speed,
    /// Whether the feed begins again after its end.
    pub repeat: bool,
    /// How many connections must hold a subscription before the first event.
    pub hold_for: usize,
    /// How long the slowest of those who get every event may hold up all others at speed `max`.
    pub patience: Duration,
}

impl Default for Pace {
    /// As it happened, once, at once; 5 s of patience.
    fn default() -> Self {
        let patience = Duration::from_secs(5);
        Self { speed: Speed::Times(1.0), repeat: false, hold_for: 0, patience }
    }
}

/// Plays a feed to the subscribers of its instruments.
#[derive(Debug)]
pub struct Player {
    feed: Feed,
    market: Market,
    publisher: Publisher,
    /// One for each instrument of the feed's listing.
    topics: Arc<[Topic]>,
    audience: Arc<Audience>,
    metrics: Arc<Metrics>,
    pace: Pace,
    /// The event to come, once it has been taken from the feed.
    ahead: Option<Event>,
}

impl Player {
    /// A player of `feed`, whose instruments have their `topics`. Sets what subscribers get before
    /// the first event: a value of which nothing is known.
    #[must_use]
    pub fn new(
        feed: Feed,
        publisher: Publisher,
        topics: Arc<[Topic]>,
        audience: Arc<Audience>,
        metrics: Arc<Metrics>,
        pace: Pace,
    ) -> Self {
        let market = Market::new(feed.listing());
        let keep = keep(topics.len());
        for ((instrument, _), topic) in feed.listing().iter().zip(topics.iter()) {
            publisher.retain_with(topic, Kind::Text, |_, value| {
                market.value(instrument).write(value);
            });
            topic.keep(keep);
        }
        Self { feed, market, publisher, topics, audience, metrics, pace, ahead: None }
    }

    /// Plays until the feed or the server ends.
    pub fn run(mut self) {
        if !self.audience.wait_for(self.pace.hold_for) {
            return;
        }
        let start = Timestamp::read();
        while self.look_ahead() {
            if !self.wait_until_due(start) || !self.publish_due(start) {
                return;
            }
        }
        tracing::info!(
            events = self.metrics.events.get(),
            "the feed has ended; the server goes on"
        );
    }

    /// Makes sure that the next event is at hand; `false` if there is none any more.
    fn look_ahead(&mut self) -> bool {
        if self.ahead.is_none() {
            self.ahead = self.feed.next_event();
        }
        if self.ahead.is_none() && self.pace.repeat {
            match self.feed.rewind() {
                Ok(()) => self.ahead = self.feed.next_event(),
                Err(error) => tracing::error!("the feed cannot begin again: {error}"),
            }
        }
        self.ahead.is_some()
    }

    /// Waits until the event at hand is due; `false` if the server ends before.
    fn wait_until_due(&self, start: Timestamp) -> bool {
        let due = self.ahead.as_ref().map_or(Duration::ZERO, |event| self.due(event));
        let passed = Timestamp::read().since(start);
        due <= passed || self.audience.wait(due - passed)
    }

    /// Publishes the event at hand and those that are due with it, as one batch; `false` if the
    /// server has ended.
    fn publish_due(&mut self, start: Timestamp) -> bool {
        let passed = Timestamp::read().since(start);
        let publisher = self.publisher.clone();
        let batch = publisher.batch();
        let mut published = 0;
        while let Some(event) = self.ahead.take() {
            let (market, topic) = (&mut self.market, &self.topics[event.instrument.index()]);
            batch.publish_with(topic, Kind::Text, |seq, update, value| {
                market.publish(&event, seq, update, value);
            });
            published += 1;
            self.ahead = self.feed.next_event();
            let more = self.ahead.as_ref().is_some_and(|event| self.due(event) <= passed);
            if !more || published == BATCH_EVENTS_MAX {
                break;
            }
        }
        drop(batch);
        self.metrics.events.inc_by(published);
        match self.pace.speed {
            Speed::Times(_) => true,
            Speed::Max => self.wait_for_the_slowest(),
        }
    }

    /// Waits until few enough updates are on their way, and closes those who hold them up for too
    /// long; `false` if the server has ended.
    fn wait_for_the_slowest(&self) -> bool {
        let mut patience = self.pace.patience;
        while let Err(late) = self.publisher.wait_outstanding(OUTSTANDING_MAX, PATIENCE_STEP) {
            if !self.audience.wait(Duration::ZERO) {
                return false;
            }
            patience = patience.saturating_sub(PATIENCE_STEP);
            if patience.is_zero() {
                tracing::warn!(outstanding = late.outstanding, "closing those who stay behind");
                self.publisher.close_lagging(OUTSTANDING_MAX);
                patience = self.pace.patience;
            }
        }
        self.audience.wait(Duration::ZERO)
    }

    /// How long after the start an event is due.
    fn due(&self, event: &Event) -> Duration {
        self.pace.speed.scale(event.offset_ns)
    }
}

/// What is kept of each of so many instruments' updates for clients that come back.
fn keep(instruments: usize) -> Keep {
    Keep { messages: KEPT_UPDATES_MAX, bytes: (KEPT_BYTES_MAX / instruments.max(1)).min(256 << 10) }
}

/// Most updates that are kept of an instrument: of a busy one some minutes.
const KEPT_UPDATES_MAX: usize = 1024;

/// Most bytes that are kept of all instruments together.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Most events that are published before subscribers are woken and the clock is read again.
const BATCH_EVENTS_MAX: u64 = 64;

/// Most updates that may be on their way at speed `max`: enough that shards and subscribers always
/// find work, a sixty-fourth of what a shard retains for those who lag.
const OUTSTANDING_MAX: u64 = 1024;

/// How often a player that waits looks whether the server is ending.
const PATIENCE_STEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_positive_numbers_or_max() {
        assert_eq!("1".parse(), Ok(Speed::Times(1.0)));
        assert_eq!("0.25".parse(), Ok(Speed::Times(0.25)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for bad in ["0", "-1", "inf", "nan", "fast", ""] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_kept_of_all_instruments_is_bounded() {
        assert_eq!(keep(50).bytes, 262_144);
        for instruments in [0, 1, 50, 1_000, crate::instrument::INSTRUMENTS_MAX] {
            let kept = keep(instruments).bytes;
            assert!(kept * instruments <= KEPT_BYTES_MAX, "{instruments}: {kept}");
            assert!(kept > 20 * 200, "{instruments}: some updates at least");
        }
    }

    #[test]
    fn ten_times_the_speed_takes_a_tenth_of_the_time() {
        let hour_ns = 3_600_000_000_000;
        assert_eq!(Speed::Times(1.0).scale(hour_ns), Duration::from_secs(3_600));
        assert_eq!(Speed::Times(10.0).scale(hour_ns), Duration::from_secs(360));
        assert_eq!(Speed::Times(0.5).scale(hour_ns), Duration::from_secs(7_200));
        assert_eq!(Speed::Max.scale(hour_ns), Duration::ZERO);
    }
}
