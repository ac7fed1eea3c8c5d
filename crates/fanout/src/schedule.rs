//! Which connections are to be looked at in which tick, because a value waits for their pace.
//!
//! Stands beside sealing: a connection with a value that may not leave yet has one bit here, in the
//! row of the tick in which it may. Setting it twice is setting it once, so what a thousand topics
//! wait for is one look, and a row comes out in slot order.
//!
//! Invariant: a row is of one tick, less than [`ROWS`] ahead of the last one that was taken. A bit is
//! a proposal: whoever is looked at and has left, or was served in between, is owed nothing.

use crate::Slot;
use crate::topic::number;
use crate::value::Pace;

/// Ticks ahead that a look can be: rounding to a beat at most doubles an interval.
const ROWS: u32 = 2 * Pace::TICKS_MAX as u32;

#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// By tick modulo [`ROWS`]; none before the first look is asked for.
    rows: Vec<Row>,
    /// The last tick whose row was taken.
    taken: u32,
    /// Bits in all rows.
    count: u32,
}

#[derive(Clone, Debug, Default)]
struct Row {
    /// Bits by slot.
    words: Vec<u64>,
    count: u32,
}

impl Schedule {
    /// Has a connection looked at in a tick that has not come.
    pub(crate) fn look(&mut self, tick: u32, slot: Slot) {
        let ahead = tick.wrapping_sub(self.taken);
        debug_assert!((1..ROWS).contains(&ahead), "{ahead} ticks ahead");
        if self.rows.is_empty() {
            self.rows.resize(ROWS as usize, Row::default());
        }
        let row = &mut self.rows[(tick % ROWS) as usize];
        let word = slot as usize / 64;
        if word >= row.words.len() {
            row.words.resize(word + 1, 0);
        }
        let bit = 1 << (slot % 64);
        let is_new = row.words[word] & bit == 0;
        row.words[word] |= bit;
        row.count += u32::from(is_new);
        self.count += u32::from(is_new);
    }

    /// Appends the connections whose tick has come, those of one tick in slot order.
    pub(crate) fn take(&mut self, now: u32, out: &mut Vec<Slot>) {
        let passed = now.wrapping_sub(self.taken).min(ROWS);
        for back in (0..passed).rev() {
            if self.count == 0 {
                break;
            }
            let row = &mut self.rows[(now.wrapping_sub(back) % ROWS) as usize];
            if row.count == 0 {
                continue;
            }
            self.count -= std::mem::take(&mut row.count);
            for (base, word) in (0..).step_by(64).zip(&mut row.words) {
                while *word != 0 {
                    out.push(base + word.trailing_zeros());
                    *word &= *word - 1;
                }
            }
        }
        self.taken = now;
    }

    /// The tick of the next look.
    pub(crate) fn next(&self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let ticks = (1..ROWS).map(|ahead| self.taken.wrapping_add(ahead));
        let mut ticks = ticks.filter(|tick| self.rows[(tick % ROWS) as usize].count > 0);
        ticks.next()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        let words: usize = self.rows.iter().map(|row| row.words.capacity()).sum();
        words * size_of::<u64>() + number(self.rows.capacity()) as usize * size_of::<Row>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_in_their_tick_once_and_in_slot_order() {
        let mut schedule = Schedule::default();
        let mut out = Vec::new();
        schedule.take(u32::MAX - 5, &mut out);
        for (ahead, slot) in [(3, 70), (3, 1), (3, 70), (10, 5), (127, 0), (3, 64)] {
            schedule.look((u32::MAX - 5).wrapping_add(ahead), slot);
        }
        assert_eq!(schedule.next(), Some(u32::MAX - 2));
        schedule.take(u32::MAX - 3, &mut out);
        assert!(out.is_empty());
        schedule.take(u32::MAX - 2, &mut out);
        assert_eq!(out, [1, 64, 70]);
        assert_eq!(schedule.next(), Some(4));
        // Later than all of them, and later than there are rows.
        schedule.take(100_000, &mut out);
        out.sort_unstable();
        assert_eq!(out, [0, 1, 5, 64, 70]);
        assert_eq!((schedule.next(), schedule.is_empty()), (None, true));
    }
}
