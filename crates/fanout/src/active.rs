//! The topics that were published to in the running turn, each with its entries in order.
//!
//! Filled by `publish`, read when the turn is sealed, composed and settled, emptied when it ends.
//! Entries are numbered from the start of the turn; those of one topic are a chain, so that a topic
//! costs the same whether it has one entry or a thousand, and nothing is allocated for it.
//!
//! Invariant: topics stand in the order of their first entries; a chain rises. It does not hold the
//! entries themselves: those are the last ones of the log.

use crate::topic::{NONE, Topics, number};

/// A topic with at least one entry in the turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    /// The shard's own number of the topic.
    pub(crate) topic: u32,
    /// Its first entry.
    pub(crate) first: u32,
    /// Its last entry.
    pub(crate) last: u32,
    /// Sequence number of its first entry, the smallest one.
    pub(crate) first_seq: u64,
    /// Whether no entry of another topic lies between its own.
    pub(crate) unbroken: bool,
}

#[derive(Debug, Default)]
pub(crate) struct ActiveTopics {
    topics: Vec<Active>,
    /// For each entry of the turn the next one of the same topic, or [`NONE`].
    next: Vec<u32>,
}

impl ActiveTopics {
    /// Takes note of the turn's next entry.
    pub(crate) fn push(&mut self, topics: &mut Topics, topic: u32, seq: u64) {
        let entry = number(self.next.len());
        self.next.push(NONE);
        let state = &mut topics[topic];
        if let Some(active) = self.topics.get_mut(state.active as usize) {
            active.unbroken &= active.last + 1 == entry;
            self.next[active.last as usize] = entry;
            active.last = entry;
        } else {
            state.active = number(self.topics.len());
            let unbroken = true;
            self.topics.push(Active { topic, first: entry, last: entry, first_seq: seq, unbroken });
        }
    }

    pub(crate) fn clear(&mut self, topics: &mut Topics) {
        for active in &self.topics {
            topics[active.topic].active = NONE;
        }
        self.topics.clear();
        self.next.clear();
    }

    pub(crate) fn topics(&self) -> &[Active] {
        &self.topics
    }

    /// How many entries the turn has.
    pub(crate) fn entries(&self) -> u32 {
        number(self.next.len())
    }

    /// The entries of one active topic, rising.
    pub(crate) fn entries_of(&self, active: u32) -> impl Iterator<Item = u32> {
        let first = self.topics[active as usize].first;
        std::iter::successors(Some(first), |&entry| {
            Some(self.next[entry as usize]).filter(|&next| next != NONE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicKey;

    #[test]
    fn chains_hold_every_entry_once_and_rising() {
        let mut topics = Topics::default();
        let numbers = [0, 1, 2].map(|key| topics.obtain(TopicKey(key)));
        let mut active = ActiveTopics::default();
        for turn in 0..2 {
            for (seq, topic) in [1, 1, 0, 1, 2, 2, 0].into_iter().enumerate() {
                active.push(&mut topics, numbers[topic], turn * 100 + seq as u64);
            }
            let chains: Vec<Vec<u32>> =
                (0..3).map(|each| active.entries_of(each).collect()).collect();
            assert_eq!(chains, [vec![0, 1, 3], vec![2, 6], vec![4, 5]]);
            let unbroken: Vec<bool> = active.topics().iter().map(|each| each.unbroken).collect();
            assert_eq!(unbroken, [false, false, true]);
            assert_eq!(active.topics()[1].first_seq, turn * 100 + 2);
            active.clear(&mut topics);
            assert_eq!(active.entries(), 0);
        }
    }
}
