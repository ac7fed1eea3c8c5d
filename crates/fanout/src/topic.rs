//! The topics that somebody on this shard subscribed to, and who.
//!
//! Stands between `publish` and the turn: a publication of a topic without a subscriber here ends in
//! this file. Topics have keys in the process ([`TopicKey`]); those that somebody here holds have
//! numbers of the shard's own, which are dense, and a topic that nobody here holds costs nothing.
//!
//! Invariant: subscriber lists are sorted by slot, because shuffled order costs a third more in the
//! kernel when a turn is sent. A shard's number is not given to another topic while entries of its
//! last owner may be in the log. It does not know what a connection holds besides the topic.

use std::collections::VecDeque;

use slab::Slab;

use crate::Slot;
use crate::key::{TopicKey, TopicMap, shrink};
use crate::value::Newest;

/// A topic as one shard sees it.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) key: TopicKey,
    /// Its place among the topics of the running turn, or [`NONE`].
    pub(crate) active: u32,
    /// Who holds it by publication, in slot order.
    pub(crate) subscribers: Vec<Slot>,
    /// Who holds it by value; present once somebody did.
    pub(crate) newest: Option<Box<Newest>>,
    /// The newest sequence number published here.
    pub(crate) last_seq: u64,
    /// The position in the log of the newest publication that went there.
    pub(crate) last_position: u64,
    /// The largest `after_seq` that a subscription began with: while publications up to it are on
    /// their way, subscribers differ in what they are owed of the topic.
    pub(crate) joined_seq: u64,
    /// The log's head when the last subscriber left.
    retired_at: u64,
    /// Whether it stands in the queue of the retired.
    queued: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// The shard's number of each topic that has one.
    numbers: TopicMap<u32>,
    topics: Slab<Topic>,
    /// Topics that lost their last subscriber, to be forgotten once the log is past them.
    retired: VecDeque<u32>,
}

impl Topics {
    /// The shard's number of a topic, which it gets if it has none.
    pub(crate) fn obtain(&mut self, key: TopicKey) -> u32 {
        *self.numbers.entry(key).or_insert_with(|| {
            number(self.topics.insert(Topic {
                key,
                active: NONE,
                subscribers: Vec::new(),
                newest: None,
                last_seq: 0,
                last_position: 0,
                joined_seq: 0,
                retired_at: 0,
                queued: false,
            }))
        })
    }

    /// Adds a subscriber that is not in the list.
    pub(crate) fn join(&mut self, topic: u32, slot: Slot) {
        let subscribers = &mut self[topic].subscribers;
        let index = match subscribers.last() {
            Some(&last) if last >= slot => subscribers.partition_point(|&held| held < slot),
            _ => subscribers.len(),
        };
        subscribers.insert(index, slot);
    }

    /// Takes a subscriber out of the list; whether it was the last one.
    pub(crate) fn leave(&mut self, topic: u32, slot: Slot, head: u64) -> bool {
        let state = &mut self[topic];
        if let Ok(index) = state.subscribers.binary_search(&slot) {
            state.subscribers.remove(index);
            if state.subscribers.len() * 4 < state.subscribers.capacity() {
                state.subscribers.shrink_to(state.subscribers.len() * 2);
            }
        } else if let Some(newest) = &mut state.newest {
            newest.leave(slot);
        }
        let last = state.is_vacant();
        if last {
            state.retired_at = head;
            if !state.queued {
                state.queued = true;
                self.retired.push_back(topic);
            }
        }
        last
    }

    /// Forgets the topics without subscribers of which nothing at or after `base` can be.
    pub(crate) fn forget_retired(&mut self, base: u64) {
        while let Some(&topic) = self.retired.front() {
            let state = &mut self[topic];
            let vacant = state.is_vacant();
            if vacant && state.retired_at > base {
                return;
            }
            state.queued = false;
            self.retired.pop_front();
            if vacant {
                let forgotten = self.topics.remove(topic as usize);
                self.numbers.remove(&forgotten.key);
                shrink(&mut self.numbers);
            }
        }
    }

    /// The newest value of a topic that somebody holds, or held lately, by value.
    pub(crate) fn newest_mut(&mut self, topic: u32) -> Option<(TopicKey, &mut Newest)> {
        let topic = self.topics.get_mut(topic as usize)?;
        Some((topic.key, topic.newest.as_deref_mut()?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter().map(|(_, topic)| topic)
    }

    /// The shard's number of a topic that has one: it has, or had until lately, a subscriber.
    #[inline]
    pub(crate) fn number(&self, key: TopicKey) -> Option<u32> {
        self.numbers.get(&key).copied()
    }
}

impl Topic {
    /// Whether nobody holds it.
    pub(crate) fn is_vacant(&self) -> bool {
        self.subscribers.is_empty() && self.followers() == 0
    }

    /// Who holds it, first in one mode and then in the other.
    pub(crate) fn holders(&self) -> impl Iterator<Item = Slot> {
        let followers = self.newest.iter().flat_map(|newest| &newest.followers);
        self.subscribers.iter().copied().chain(followers.map(|follower| follower.slot))
    }

    /// How many hold it by value.
    pub(crate) fn followers(&self) -> usize {
        self.newest.as_ref().map_or(0, |newest| newest.followers.len())
    }
}

impl std::ops::Index<u32> for Topics {
    type Output = Topic;

    #[inline]
    fn index(&self, topic: u32) -> &Topic {
        &self.topics[topic as usize]
    }
}

impl std::ops::IndexMut<u32> for Topics {
    #[inline]
    fn index_mut(&mut self, topic: u32) -> &mut Topic {
        &mut self.topics[topic as usize]
    }
}

/// An index as the 32 bits that the shard's tables hold.
#[inline]
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 topics, connections and publications in a turn")
}

/// No index.
pub(crate) const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_stay_in_slot_order() {
        let mut topics = Topics::default();
        let topic = topics.obtain(TopicKey(3));
        for slot in [5, 1, 9, 7, 0] {
            topics.join(topic, slot);
        }
        assert_eq!(topics[topic].subscribers, [0, 1, 5, 7, 9]);
        assert!(!topics.leave(topic, 5, 0));
        assert_eq!(topics[topic].subscribers, [0, 1, 7, 9]);
    }

    #[test]
    fn a_number_is_not_reused_while_the_log_may_hold_its_entries() {
        let mut topics = Topics::default();
        let first = topics.obtain(TopicKey(0));
        topics.join(first, 0);
        assert!(topics.leave(first, 0, 10));
        topics.forget_retired(9);
        assert_eq!(topics.number(TopicKey(0)), Some(first));
        assert_ne!(topics.obtain(TopicKey(1)), first);
        topics.forget_retired(10);
        assert_eq!(topics.number(TopicKey(0)), None);
        assert_eq!(topics.obtain(TopicKey(2)), first);
    }

    #[test]
    fn a_topic_that_was_taken_up_again_is_kept_until_it_is_left_again() {
        let mut topics = Topics::default();
        let topic = topics.obtain(TopicKey(0));
        topics.join(topic, 0);
        topics.leave(topic, 0, 10);
        topics.join(topic, 1);
        topics.forget_retired(10);
        assert_eq!(topics[topic].subscribers, [1]);
        topics.leave(topic, 1, 20);
        topics.forget_retired(19);
        assert!(topics.number(TopicKey(0)).is_some());
        topics.forget_retired(20);
        assert_eq!(topics.number(TopicKey(0)), None);
    }
}
