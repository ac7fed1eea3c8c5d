//! What each connection subscribed to: the forward half of the index, topic lists are the other.
//!
//! Stands beside the way of a byte: a turn goes through the topics, and comes here only for a
//! connection that lags, was excluded, or subscribed while publications were on their way. An idle
//! connection costs the size of [`Subscriptions`], 24 bytes, as long as it has at most one topic;
//! from two on a sorted vector.
//!
//! Invariant: sorted by topic, each topic once. It does not know the subscriber lists of the topics;
//! [`Fanout`](crate::Fanout) keeps both halves in step.

use crate::Slot;
use crate::log::Entry;

/// One topic that a connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// The shard's own number of the topic.
    pub(crate) topic: u32,
    /// Entries up to this sequence number are not owed: all of them, if it [`FOLLOWS`](Self::FOLLOWS).
    pub(crate) after_seq: u64,
}

impl Subscription {
    /// Instead of a sequence number: the topic is held by value. So whoever asks for publications
    /// needs no second question.
    pub(crate) const FOLLOWS: u64 = u64::MAX;

    pub(crate) fn follows(&self) -> bool {
        self.after_seq == Self::FOLLOWS
    }
}

/// All that one connection holds.
#[derive(Clone, Debug, Default)]
pub(crate) enum Subscriptions {
    #[default]
    None,
    One(Subscription),
    Many(Vec<Subscription>),
}

impl Subscriptions {
    /// Adds a topic; false if it is held already, which changes nothing.
    pub(crate) fn insert(&mut self, new: Subscription) -> bool {
        let Err(index) = self.find(new.topic) else { return false };
        match self {
            Self::None => *self = Self::One(new),
            Self::One(held) => {
                let mut both = vec![*held; 2];
                both[index] = new;
                *self = Self::Many(both);
            }
            Self::Many(held) => held.insert(index, new),
        }
        true
    }

    /// Drops a topic; false if it is not held.
    pub(crate) fn remove(&mut self, topic: u32) -> bool {
        let Ok(index) = self.find(topic) else { return false };
        match self {
            Self::None | Self::One(_) => *self = Self::None,
            Self::Many(held) => {
                held.remove(index);
                match held[..] {
                    [last] => *self = Self::One(last),
                    _ if held.len() * 4 < held.capacity() => held.shrink_to(held.len() * 2),
                    _ => {}
                }
            }
        }
        true
    }

    pub(crate) fn as_slice(&self) -> &[Subscription] {
        match self {
            Self::None => &[],
            Self::One(held) => std::slice::from_ref(held),
            Self::Many(held) => held,
        }
    }

    /// The sequence number up to which nothing of the topic is owed; none if it is not held.
    pub(crate) fn after_seq(&self, topic: u32) -> Option<u64> {
        self.find(topic).ok().map(|index| self.as_slice()[index].after_seq)
    }

    /// Whether the connection is owed an entry that was published since it stands in the log.
    pub(crate) fn owes(&self, slot: Slot, entry: &Entry) -> bool {
        entry.exclude != slot && self.after_seq(entry.topic).is_some_and(|after| entry.seq > after)
    }

    fn find(&self, topic: u32) -> Result<usize, usize> {
        self.as_slice().binary_search_by_key(&topic, |held| held.topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_costs_24_bytes() {
        assert_eq!(size_of::<Subscriptions>(), 24);
    }

    #[test]
    fn held_topics_stay_sorted_and_unique() {
        let mut held = Subscriptions::default();
        let topics = |held: &Subscriptions| {
            held.as_slice().iter().map(|each| (each.topic, each.after_seq)).collect::<Vec<_>>()
        };
        for (topic, new) in [(5, true), (3, true), (5, false), (9, true), (4, true), (3, false)] {
            let after_seq = if new { u64::from(topic) } else { 100 };
            assert_eq!(held.insert(Subscription { topic, after_seq }), new);
        }
        assert_eq!(topics(&held), [(3, 3), (4, 4), (5, 5), (9, 9)]);
        for (topic, was) in [(4, true), (4, false), (9, true), (3, true), (7, false), (5, true)] {
            assert_eq!(held.remove(topic), was);
        }
        assert!(matches!(held, Subscriptions::None));
    }

    #[test]
    fn owed_is_what_is_held_newer_and_not_excluded() {
        let mut held = Subscriptions::default();
        held.insert(Subscription { topic: 1, after_seq: 10 });
        for (topic, seq, exclude, owed) in
            [(1, 11, 7, true), (1, 10, 7, false), (2, 11, 7, false), (1, 11, 4, false)]
        {
            let entry = Entry { start: 0, end: 1, seq, topic, exclude };
            assert_eq!(held.owes(4, &entry), owed, "{entry:?}");
        }
    }
}
