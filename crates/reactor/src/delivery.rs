//! How a subscriber gets a topic: every publication, or the newest value, as often as it wants.
//!
//! Stands where a handler subscribes. A topic has a default, which its publisher sets; a subscription
//! may say something else. What is owed by value is worked out by the fan-out, and what it looks like is
//! said by [`Handler::merged`](crate::Handler::merged); here are only the words for it.

use std::num::NonZeroU16;

use tickwire_fanout::Pace;
use tickwire_protocol::Kind;

use crate::topic::Topic;

/// How a subscriber gets what is published to a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Every publication, in order. The default.
    #[default]
    Distinct,
    /// The newest value, at most one in a turn and none while the socket takes nothing. What was
    /// published in between is left out, and the last value always arrives.
    ///
    /// The value of a publication is what its publisher retains with it
    /// ([`Publisher::publish_with`](crate::Publisher::publish_with)), or the message itself.
    Merge,
    /// As [`Delivery::Merge`], and of each topic at most so many in any second. What waits leaves at the
    /// connection's own beat: of all topics with the same rate together, at most two intervals after
    /// it was published. Grain: 16 ms, and so at most 62 in a second, whatever more is asked for.
    Sampled {
        /// The most in a second.
        per_second: NonZeroU16,
    },
}

impl Delivery {
    /// At most so many values of a topic in a second; with 0 one, as the slowest that there is.
    #[must_use]
    pub fn sampled(per_second: u16) -> Self {
        Self::Sampled { per_second: NonZeroU16::new(per_second).unwrap_or(NonZeroU16::MIN) }
    }

    /// How often a value may leave; none if it is not values that do.
    pub(crate) fn pace(self) -> Option<Pace> {
        match self {
            Self::Distinct => None,
            Self::Merge => Some(Pace::EVERY_TURN),
            // A value leaves anywhere in its tick, so that of N intervals only N times their ticks
            // less one are sure to pass: that must be a second.
            Self::Sampled { per_second } => {
                let ticks = HALF_TICKS.div_ceil(2 * u32::from(per_second.get()));
                Some(Pace::every(u16::try_from(ticks).unwrap_or(Pace::TICKS_MAX)))
            }
        }
    }

    /// As a number, for an atomic.
    pub(crate) fn packed(self) -> u32 {
        match self {
            Self::Distinct => 0,
            Self::Merge => 1,
            Self::Sampled { per_second } => 1 + u32::from(per_second.get()),
        }
    }

    pub(crate) fn unpacked(packed: u32) -> Self {
        match packed {
            0 => Self::Distinct,
            1 => Self::Merge,
            more => Self::sampled(u16::try_from(more - 1).unwrap_or(u16::MAX)),
        }
    }
}

/// A second is 62.5 ticks of 16 ms; with the one that may be lost, in halves of a tick.
const HALF_TICKS: u32 = 127;

/// How one connection subscribes to one topic; [`Connection::subscribe_with`](crate::Connection::subscribe_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// How it is delivered; `None`: as the topic says.
    pub delivery: Option<Delivery>,
    /// Of no meaning to the engine: handed to [`Handler::merged`](crate::Handler::merged), for a set of
    /// fields or a format that the peer has chosen. Values are rendered once for all with the same.
    pub view: u32,
    /// The sequence number of the value that the peer has from before, if it has one. If the topic
    /// retains a newer one, that is sent in this turn. Without it the peer is taken to have what
    /// the subscription gives, [`Retained`](crate::Retained). Only where values are delivered.
    pub known: Option<u64>,
}

impl Subscription {
    /// As this delivery says, whatever the topic's own is.
    #[must_use]
    pub fn of(delivery: Delivery) -> Self {
        Self { delivery: Some(delivery), ..Self::default() }
    }

    /// The same with a view.
    #[must_use]
    pub const fn with_view(mut self, view: u32) -> Self {
        self.view = view;
        self
    }

    /// The same for a peer that has the value of this sequence number.
    #[must_use]
    pub const fn with_known(mut self, seq: u64) -> Self {
        self.known = Some(seq);
        self
    }
}

/// A subscription's mode, without what its peer knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    delivery: Option<Delivery>,
    pub(crate) view: u32,
    /// Which of several handlers renders.
    pub(crate) renderer: u16,
}

impl Subscription {
    pub(crate) const fn mode(self, renderer: u16) -> Mode {
        Mode { delivery: self.delivery, view: self.view, renderer }
    }
}

impl Mode {
    /// How often values of a topic leave; none if it is delivered by publication.
    pub(crate) fn pace(self, topic: &Topic) -> Option<Pace> {
        self.delivery.unwrap_or_else(|| topic.delivery()).pace()
    }
}

/// A value that is about to be sent; see [`Handler::merged`](crate::Handler::merged).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Merged<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The view that was chosen at subscription.
    pub view: u32,
    /// The sequence number of the value that the peers have: the one that they were sent last, or what
    /// the subscription gave them, or [`Subscription::known`]. 0 if they have none.
    pub prev: u64,
    /// The sequence number of the value. `seq - prev` publications are merged into it.
    pub seq: u64,
    /// Text or binary, as it was published.
    pub kind: Kind,
    /// The value.
    pub payload: &'a [u8],
    /// Which of several handlers is asked.
    pub(crate) handler: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_values_than_were_asked_for() {
        for per_second in (1..=1_000).chain([u16::MAX]) {
            let pace = Delivery::sampled(per_second).pace().expect("it has one");
            let ticks = (1..=Pace::TICKS_MAX).find(|&ticks| Pace::every(ticks) == pace);
            let ticks = u32::from(ticks.expect("a pace"));
            // The most that can be is the first value at the end of its tick and the last one at the
            // beginning of its own.
            let shortest_ms = (u32::from(per_second) * ticks - 1) * 16;
            assert!(shortest_ms >= 1_000 || ticks == 1, "{per_second}: {ticks} ticks");
            assert!(ticks > 1 || per_second >= 63, "{per_second}: {ticks} ticks");
            // And not much fewer.
            assert!(ticks == 1 || (ticks - 1) * u32::from(per_second) * 16 < 1_016);
        }
    }

    #[test]
    fn packing_loses_nothing() {
        for delivery in [0, 1, 2, 7, 1_000, u16::MAX].map(Delivery::sampled) {
            assert_eq!(Delivery::unpacked(delivery.packed()), delivery);
        }
        for delivery in [Delivery::Distinct, Delivery::Merge] {
            assert_eq!(Delivery::unpacked(delivery.packed()), delivery);
        }
    }
}
