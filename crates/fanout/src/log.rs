//! The ordered record of what a shard published: the bytes of every run come from here.
//!
//! Stands behind `publish`. Positions count up from zero for the life of the shard; the entries of
//! the running turn are the last ones and their bytes lie side by side, so that a whole turn is one
//! slice. Older entries stay only while a connection that lags may need them, so the log is empty
//! between turns when nobody does.
//!
//! Invariant: `first <= base <= turn_start <= head`; bytes between two entries belong to neither
//! more nor less than one of them. It knows nothing of topics or subscribers beyond the two numbers
//! that an entry carries for them.

use std::ops::Range;

use crate::Slot;

/// One publication.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Where its bytes begin, counted from the first byte that the shard ever published.
    pub(crate) start: u64,
    /// Where they end.
    pub(crate) end: u64,
    /// Sequence number within its topic.
    pub(crate) seq: u64,
    /// The shard's own number of the topic.
    pub(crate) topic: u32,
    /// The connection that is not owed it, or [`NOBODY`].
    pub(crate) exclude: Slot,
}

/// No connection: slots are dense, so the largest number is never one.
pub(crate) const NOBODY: Slot = Slot::MAX;

#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// Position of `entries[0]`, which may be forgotten already.
    first: u64,
    /// Byte count at `bytes[0]`.
    first_byte: u64,
    base: u64,
    turn_start: u64,
    /// Index into `bytes` where the turn starts.
    turn_byte: usize,
    /// Turns in a row that left most of the reserved memory unused.
    idle_turns: u32,
}

impl Log {
    pub(crate) fn push(&mut self, topic: u32, seq: u64, frame: &[u8], exclude: Slot) {
        let start = self.tail();
        self.bytes.extend_from_slice(frame);
        self.entries.push(Entry { start, end: self.tail(), seq, topic, exclude });
    }

    /// Forgets the entries below `to`, which is not below the base. Between two turns only.
    pub(crate) fn trim(&mut self, to: u64) {
        debug_assert!(self.base <= to && to <= self.head());
        self.base = to;
        if to == self.head() {
            self.clear();
        } else {
            self.reclaim();
        }
    }

    pub(crate) fn begin_turn(&mut self) {
        self.turn_start = self.head();
        self.turn_byte = self.bytes.len();
    }

    /// The smallest base that respects both bounds.
    pub(crate) fn bounded_base(&self, entries_max: usize, bytes_max: usize) -> u64 {
        let kept = self.kept();
        let by_entries = kept.len().saturating_sub(entries_max);
        let tail = self.tail();
        let bytes_max = bytes_max as u64;
        let by_bytes = kept.partition_point(|entry| tail - entry.start > bytes_max);
        self.base + by_entries.max(by_bytes) as u64
    }

    /// Position of the next publication.
    pub(crate) fn head(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn turn_start(&self) -> u64 {
        self.turn_start
    }

    pub(crate) fn kept(&self) -> &[Entry] {
        &self.entries[distance(self.first, self.base)..]
    }

    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept().first().map_or(0, |oldest| distance(oldest.start, self.tail()))
    }

    /// Memory of the entries from a position that is kept, or the head, on.
    #[inline]
    pub(crate) fn held_bytes(&self, from: u64) -> usize {
        let entries = &self.entries[distance(self.first, from)..];
        let bytes = entries.first().map_or(0, |oldest| distance(oldest.start, self.tail()));
        bytes + size_of_val(entries)
    }

    /// The entries from one position up to another, both kept.
    pub(crate) fn between(&self, from: u64, to: u64) -> &[Entry] {
        &self.entries[distance(self.first, from)..distance(self.first, to)]
    }

    /// The entries of the running turn.
    pub(crate) fn turn(&self) -> &[Entry] {
        &self.entries[distance(self.first, self.turn_start)..]
    }

    /// The bytes of the running turn.
    #[inline]
    pub(crate) fn turn_bytes(&self) -> &[u8] {
        &self.bytes[self.turn_byte..]
    }

    /// Where entries of the turn that lie side by side are in [`Self::turn_bytes`].
    pub(crate) fn turn_range(&self, entries: &[Entry]) -> Range<usize> {
        let turn = self.first_byte + self.turn_byte as u64;
        match entries {
            [] => 0..0,
            [first, .., last] | [first @ last] => {
                distance(turn, first.start)..distance(turn, last.end)
            }
        }
    }

    pub(crate) fn frame(&self, entry: &Entry) -> &[u8] {
        self.bytes(entry.start, entry.end)
    }

    /// The bytes from one byte count up to another.
    #[inline]
    pub(crate) fn bytes(&self, start: u64, end: u64) -> &[u8] {
        &self.bytes[distance(self.first_byte, start)..distance(self.first_byte, end)]
    }

    fn tail(&self) -> u64 {
        self.first_byte + self.bytes.len() as u64
    }

    fn clear(&mut self) {
        self.first = self.head();
        self.first_byte = self.tail();
        self.release_spare();
        self.entries.clear();
        self.bytes.clear();
    }

    /// Moves what is kept to the front when at least half of the memory is forgotten, so that each
    /// byte moves once on average.
    fn reclaim(&mut self) {
        let entries = distance(self.first, self.base);
        let start = self.entries[entries].start;
        let bytes = distance(self.first_byte, start);
        if entries * 2 >= self.entries.len() || bytes * 2 >= self.bytes.len() {
            self.entries.drain(..entries);
            self.bytes.drain(..bytes);
            self.first = self.base;
            self.first_byte = start;
        }
    }

    /// Gives memory back that a time of laggards left behind, after many turns that did not need it.
    fn release_spare(&mut self) {
        let spare = self.bytes.capacity() > SPARE_BYTES_KEPT.max(self.bytes.len() * 4)
            || self.entries.capacity() > SPARE_ENTRIES_KEPT.max(self.entries.len() * 4);
        self.idle_turns = if spare { self.idle_turns + 1 } else { 0 };
        if self.idle_turns >= SPARE_TURNS {
            self.bytes.shrink_to(SPARE_BYTES_KEPT.max(self.bytes.len() * 2));
            self.entries.shrink_to(SPARE_ENTRIES_KEPT.max(self.entries.len() * 2));
            self.idle_turns = 0;
        }
    }
}

/// How far apart two positions are that both lie in memory.
#[inline]
pub(crate) fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to - from).expect("what lies between two kept positions fits in memory")
}

/// Memory that an empty log keeps for the next turn without asking whether it is needed.
const SPARE_BYTES_KEPT: usize = 1 << 20;

/// The same for entries, of 32 bytes each.
const SPARE_ENTRIES_KEPT: usize = 1 << 13;

/// Turns that must have left three quarters unused before memory goes back: seconds at most, while
/// a busy shard that needs it every few turns never pays for growing it again.
const SPARE_TURNS: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(lengths: &[usize]) -> Log {
        let mut log = Log::default();
        for (index, &length) in lengths.iter().enumerate() {
            log.push(0, index as u64, &vec![u8::try_from(index).unwrap(); length], NOBODY);
        }
        log
    }

    #[test]
    fn frames_survive_the_moves_of_reclaiming() {
        let mut log = log_of(&[3, 0, 5, 100, 7, 1]);
        for to in 0..6 {
            log.trim(to);
            let kept = log.kept();
            assert_eq!(kept.len() as u64, 6 - to);
            assert!(log.entries.len() <= 2 * kept.len() && log.bytes.len() <= 2 * log.kept_bytes());
            for entry in kept {
                let fill = u8::try_from(entry.seq).unwrap();
                assert!(log.frame(entry).iter().all(|&byte| byte == fill));
            }
        }
        log.trim(6);
        assert_eq!((log.kept().len(), log.kept_bytes(), log.base(), log.head()), (0, 0, 6, 6));
    }

    #[test]
    fn bounded_base_is_the_smallest_that_respects_both_bounds() {
        let log = log_of(&[10, 20, 30, 40]);
        for (entries_max, bytes_max, base) in
            [(4, 100, 0), (3, 100, 1), (4, 99, 1), (4, 90, 1), (4, 89, 2), (0, 100, 4), (4, 39, 4)]
        {
            assert_eq!(log.bounded_base(entries_max, bytes_max), base, "{entries_max} {bytes_max}");
        }
    }

    #[test]
    fn memory_of_a_time_of_laggards_is_given_back() {
        let mut log = log_of(&[1 << 16; 64]);
        log.trim(64);
        assert!(log.bytes.capacity() >= 4 << 20);
        for turn in 0..2 * u64::from(SPARE_TURNS) {
            log.push(0, turn, &[0; 100], NOBODY);
            log.trim(log.head());
        }
        assert!(log.bytes.capacity() <= SPARE_BYTES_KEPT, "{}", log.bytes.capacity());
    }
}
