//! Runs: the bytes that one send carries, laid out once for all connections that are owed the same.
//!
//! Stands between the marks of a turn and the socket. Three kinds, numbered through: run 0 is the
//! whole turn, which lies in the log as it is; then one for each active topic, in the log too when
//! its entries lie side by side and otherwise copied once; then one for each connection that is owed
//! a mixture. Only mixtures are copied per connection, batch by batch so that a turn to ten thousand
//! of them needs no more memory than one batch, and equal ones share one copy.
//!
//! Invariant: two connections share a run only if their sets of topics were compared and are equal.
//! It does not decide who is owed what.

use std::ops::Range;

use crate::Due;
use crate::active::ActiveTopics;
use crate::bundle::Bundles;
use crate::limits::{COMPOSED_BYTES_MAX, SHARED_SETS_MAX};
use crate::log::Log;
use crate::topic::{NONE, number};

/// What a connection is owed in a turn, as a number that is good until the turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run(u32);

impl Run {
    /// All entries of the turn.
    pub(crate) const WHOLE: Self = Self(0);

    /// Nothing: the connection is gone, or was owed nothing when it was looked at closely.
    pub(crate) const GONE: Self = Self(u32::MAX);

    /// A bundle, which lies with the values and not here.
    pub(crate) fn of_bundle(bundle: u32) -> Self {
        Self(bundle | Self::BUNDLE)
    }

    /// The number of the bundle that it is.
    #[inline]
    pub(crate) fn bundle(self) -> Option<usize> {
        let is_bundle = self.0 & Self::BUNDLE != 0 && self != Self::GONE;
        is_bundle.then_some((self.0 & !Self::BUNDLE) as usize)
    }

    /// Above every number of a run that is kept here.
    const BUNDLE: u32 = 1 << 31;

    /// All entries of one active topic.
    pub(crate) fn of_topic(active: u32) -> Self {
        Self(active + 1)
    }
}

/// Where the bytes of a run are.
#[derive(Clone, Debug)]
enum Bytes {
    /// Not laid out, or no more.
    Absent,
    /// In the log, counted from the start of the turn.
    Turn(Range<usize>),
    /// Among the runs of single topics.
    Topic(Range<usize>),
    /// Among the mixtures of the batch that was composed last.
    Batch(Range<usize>),
}

/// A mixture: which part of `members`, and what its numbers mean.
#[derive(Clone, Copy, Debug)]
struct Mixture {
    start: u32,
    end: u32,
    /// Whether the members are entries, picked one by one, and not active topics.
    picked: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// By run.
    bytes: Vec<Bytes>,
    /// Runs that are not mixtures: the whole and the topics.
    plain: u32,
    mixtures: Vec<Mixture>,
    /// Active topics, or entries, of the mixtures; rising within each.
    members: Vec<u32>,
    topic_bytes: Vec<u8>,
    batch_bytes: Vec<u8>,
    /// The mixtures of the batch that was composed last.
    batch: Range<usize>,
    shared: SharedSets,
    merge: Merge,
    /// What [`Self::list`] listed last.
    listed: Vec<u32>,
}

impl Runs {
    /// Begins with the whole turn and its topics; their bytes are laid out as they are asked for.
    pub(crate) fn begin(&mut self, active: &ActiveTopics, log: &Log) {
        self.clear();
        self.bytes.push(Bytes::Turn(0..log.turn_bytes().len()));
        let turn = log.turn();
        for topic in active.topics() {
            self.bytes.push(if topic.unbroken {
                Bytes::Turn(log.turn_range(&turn[topic.first as usize..=topic.last as usize]))
            } else {
                Bytes::Absent
            });
        }
        self.plain = number(self.bytes.len());
        self.merge.begin(active);
    }

    /// Adds a mixture of `count` active topics, which are filled in afterwards from the returned
    /// place among the members on.
    pub(crate) fn reserve_mixture(&mut self, count: u32) -> (Run, u32) {
        let start = self.mixtures.last().map_or(0, |last| last.end);
        let end = start.checked_add(count).expect("fewer than 2^32 marks in a turn");
        self.mixtures.push(Mixture { start, end, picked: false });
        self.bytes.push(Bytes::Absent);
        (Run(self.plain + number(self.mixtures.len()) - 1), start)
    }

    /// Room for the members of all mixtures, as reserved.
    pub(crate) fn members_mut(&mut self) -> &mut [u32] {
        let count = self.mixtures.last().map_or(0, |last| last.end) as usize;
        self.members.clear();
        self.members.resize(count, 0);
        &mut self.members
    }

    /// The run of a mixture's only topic, laid out; none for a mixture of several.
    pub(crate) fn sole_topic(&mut self, run: Run, active: &ActiveTopics, log: &Log) -> Option<Run> {
        let mixture = self.mixtures[self.mixture(run)?];
        if mixture.end - mixture.start != 1 {
            return None;
        }
        let topic = self.members[mixture.start as usize];
        let sole = Run::of_topic(topic);
        let bytes = &mut self.bytes[sole.0 as usize];
        if let Bytes::Absent = bytes {
            *bytes = Bytes::Topic(append(&mut self.topic_bytes, log, active.entries_of(topic)));
        }
        Some(sole)
    }

    /// Makes a mixture of topics one of those of its entries that `keep` lets through; false if
    /// there is none.
    pub(crate) fn pick(
        &mut self,
        run: Run,
        active: &ActiveTopics,
        keep: impl Fn(u32) -> bool,
    ) -> bool {
        let Some(mixture) = self.mixture(run) else { return true };
        self.list(run, active);
        let start = number(self.members.len());
        self.members.extend(self.listed.iter().copied().filter(|&entry| keep(entry)));
        let end = number(self.members.len());
        self.mixtures[mixture] = Mixture { start, end, picked: true };
        start < end
    }

    /// Lays out the mixtures among `due[from..]`, at most `most` connections; where it ended.
    pub(crate) fn compose(
        &mut self,
        due: &[Due],
        from: usize,
        most: usize,
        (active, log, bundles): (&ActiveTopics, &Log, &Bundles),
    ) -> usize {
        let end = due.len().min(from.saturating_add(most));
        if self.mixtures.is_empty() {
            return end;
        }
        self.forget_batch();
        for (index, each) in due.iter().enumerate().take(end).skip(from) {
            let Some(mixture) = self.mixture(bundles.base(each.run)) else { continue };
            if self.batch_bytes.len() >= COMPOSED_BYTES_MAX {
                return index;
            }
            if self.batch.is_empty() {
                self.batch.start = mixture;
            }
            self.batch.end = mixture + 1;
            self.compose_one(mixture, active, log);
        }
        end
    }

    /// Lists the entries of a run, rising.
    pub(crate) fn list(&mut self, run: Run, active: &ActiveTopics) -> &[u32] {
        self.listed.clear();
        match self.mixture(run) {
            None if run == Run::WHOLE => self.listed.extend(0..active.entries()),
            None => self.listed.extend(active.entries_of(run.0 - 1)),
            Some(mixture) => {
                let mixture = self.mixtures[mixture];
                let members = &self.members[mixture.range()];
                if mixture.picked {
                    self.listed.extend_from_slice(members);
                } else {
                    self.listed.extend(self.merge.union(members, active));
                }
            }
        }
        &self.listed
    }

    pub(crate) fn clear(&mut self) {
        self.forget_batch();
        self.bytes.clear();
        self.mixtures.clear();
        self.topic_bytes.clear();
    }

    /// The bytes of a run; none if it is not one of these.
    #[inline]
    pub(crate) fn bytes<'a>(&'a self, run: Run, log: &'a Log) -> Option<&'a [u8]> {
        match self.bytes.get(run.0 as usize)? {
            Bytes::Turn(range) => Some(&log.turn_bytes()[range.clone()]),
            Bytes::Topic(range) => Some(&self.topic_bytes[range.clone()]),
            Bytes::Batch(range) => Some(&self.batch_bytes[range.clone()]),
            Bytes::Absent => {
                panic!("a run is read or settled within the batch that composed it")
            }
        }
    }

    /// How many bytes a run has; none if it is not one of these.
    ///
    /// Who settles needs no more, and so the bytes are not looked up again for each delivery.
    #[inline]
    pub(crate) fn len(&self, run: Run) -> Option<usize> {
        match self.bytes.get(run.0 as usize)? {
            Bytes::Turn(range) | Bytes::Topic(range) | Bytes::Batch(range) => {
                Some(range.end - range.start)
            }
            Bytes::Absent => {
                panic!("a run is read or settled within the batch that composed it")
            }
        }
    }

    fn compose_one(&mut self, mixture: usize, active: &ActiveTopics, log: &Log) {
        let bytes = match self.twin(mixture) {
            Some(twin) => self.bytes[self.plain as usize + twin].clone(),
            None => Bytes::Batch(self.copy(mixture, active, log)),
        };
        self.bytes[self.plain as usize + mixture] = bytes;
    }

    fn copy(&mut self, mixture: usize, active: &ActiveTopics, log: &Log) -> Range<usize> {
        let mixture = self.mixtures[mixture];
        let members = &self.members[mixture.range()];
        if mixture.picked {
            append(&mut self.batch_bytes, log, members.iter().copied())
        } else {
            append(&mut self.batch_bytes, log, self.merge.union(members, active))
        }
    }

    /// A mixture of this batch that is laid out and has the very same topics.
    fn twin(&mut self, mixture: usize) -> Option<usize> {
        let members = |mixture: Mixture| &self.members[mixture.range()];
        let own = self.mixtures[mixture];
        if own.picked {
            return None;
        }
        let twin = self.shared.swap(members(own), number(mixture))? as usize;
        (members(self.mixtures[twin]) == members(own)).then_some(twin)
    }

    fn forget_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        for mixture in self.batch.clone() {
            self.bytes[self.plain as usize + mixture] = Bytes::Absent;
        }
        self.batch = 0..0;
        self.batch_bytes.clear();
        self.shared.forget();
    }

    #[inline]
    fn mixture(&self, run: Run) -> Option<usize> {
        let mixture = run.0.checked_sub(self.plain)? as usize;
        (mixture < self.mixtures.len()).then_some(mixture)
    }
}

impl Mixture {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Which mixture of the batch had a set of topics last, by a hash of the set. The hash only
/// proposes: who asks compares the sets.
#[derive(Debug)]
struct SharedSets {
    mixtures: [u32; SHARED_SETS_MAX],
}

impl SharedSets {
    /// Puts a mixture in the place of its set and returns the one that was there.
    fn swap(&mut self, members: &[u32], mixture: u32) -> Option<u32> {
        let mix = |hash: u32, &member: &u32| (hash.rotate_left(5) ^ member).wrapping_mul(MIX);
        let hash = members.iter().fold(0, mix);
        let place = (hash >> (u32::BITS - SHARED_SETS_MAX.ilog2())) as usize;
        Some(std::mem::replace(&mut self.mixtures[place], mixture)).filter(|&twin| twin != NONE)
    }

    fn forget(&mut self) {
        self.mixtures.fill(NONE);
    }
}

impl Default for SharedSets {
    fn default() -> Self {
        Self { mixtures: [NONE; SHARED_SETS_MAX] }
    }
}

/// Merges the entries of several topics into the order of the log.
#[derive(Debug, Default)]
struct Merge {
    /// One bit for each entry of the turn; all clear between calls.
    words: Vec<u64>,
    /// For each active topic its entries as such words, if the turn is short: see [`TABLE_WORDS`].
    table: Vec<u64>,
}

impl Merge {
    fn begin(&mut self, active: &ActiveTopics) {
        let words = (active.entries() as usize).div_ceil(64);
        self.words.resize(words, 0);
        self.table.clear();
        if words <= TABLE_WORDS {
            self.table.resize(words * active.topics().len(), 0);
            for (topic, row) in (0..).zip(self.table.chunks_exact_mut(words)) {
                for entry in active.entries_of(topic) {
                    row[entry as usize / 64] |= 1 << (entry % 64);
                }
            }
        }
    }

    /// The entries of some topics, rising. To be taken to the end.
    fn union(&mut self, topics: &[u32], active: &ActiveTopics) -> impl Iterator<Item = u32> {
        if self.table.is_empty() {
            for entry in topics.iter().flat_map(|&topic| active.entries_of(topic)) {
                self.words[entry as usize / 64] |= 1 << (entry % 64);
            }
        } else {
            let words = self.words.len();
            for &topic in topics {
                let row = &self.table[topic as usize * words..][..words];
                self.words.iter_mut().zip(row).for_each(|(word, row)| *word |= row);
            }
        }
        (0..).step_by(64).zip(&mut self.words).flat_map(|(base, word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros();
                *word &= word.wrapping_sub(1);
                (bit < u64::BITS).then_some(base + bit)
            })
        })
    }
}

/// Copies the frames of some entries of the turn behind each other, neighbours at once.
fn append(to: &mut Vec<u8>, log: &Log, entries: impl Iterator<Item = u32>) -> Range<usize> {
    let first = to.len();
    let turn = log.turn();
    let (mut start, mut end) = (turn[0].start, turn[0].start);
    // Not a `for` loop: a chain of iterators runs as nested loops only from within.
    entries.for_each(|entry| {
        let entry = &turn[entry as usize];
        if entry.start != end {
            to.extend_from_slice(log.bytes(start, end));
            start = entry.start;
        }
        end = entry.end;
    });
    to.extend_from_slice(log.bytes(start, end));
    first..to.len()
}

/// Words of a turn up to which the entries of each topic are kept as words too: turns of 256 are the
/// rule. A mixture of ten frames takes a tenth less than by walking through the chains; for longer
/// turns the rows would cost more to make and to join than they save.
const TABLE_WORDS: usize = 4;

/// 2^32 divided by the golden ratio, odd: spreads small numbers over the high bits.
const MIX: u32 = 0x9e37_79b9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::TopicKey;
    use crate::topic::Topics;

    /// Three topics in turn, in turns on both sides of what the table holds.
    #[test]
    fn merged_entries_rise_and_leave_no_trace() {
        let mut topics = Topics::default();
        let mut active = ActiveTopics::default();
        let mut merge = Merge::default();
        let numbers = [0, 1, 2].map(|key| topics.obtain(TopicKey(key)));
        for entries in [3, 64, 65, 256, 257, 400, 10] {
            active.clear(&mut topics);
            for entry in 0..entries {
                active.push(&mut topics, numbers[entry as usize % 3], u64::from(entry));
            }
            merge.begin(&active);
            for members in [&[0, 1, 2][..], &[0, 2], &[1], &[]] {
                let expected: Vec<u32> =
                    (0..entries).filter(|entry| members.contains(&(entry % 3))).collect();
                assert_eq!(Vec::from_iter(merge.union(members, &active)), expected, "{entries}");
            }
        }
    }
}
