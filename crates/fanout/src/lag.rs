//! The connections that took less than they were owed: for each, where in the log it goes on.
//!
//! Stands between `settle` and `owed`. A slow client is one of these records of 16 bytes, never a
//! queue: its backlog is the log, seen through its subscriptions.
//!
//! Invariant: a cursor is the position of the first entry that the connection is owed and was not
//! given, below the end of what is sealed, or [`NOTHING`] if there is none yet. So an entry that
//! nobody is owed never holds the log, and an overrun always means that something was lost.
//! It does not know subscriptions; who moves a cursor has asked them.

use crate::Slot;
use crate::topic::{NONE, number};

/// One connection that lags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Laggard {
    pub(crate) cursor: u64,
    pub(crate) slot: Slot,
    /// Nobody waits for it.
    is_left: bool,
}

/// The cursor of a laggard that is owed nothing of the log yet, only the rest of a frame that the
/// reactor holds. Larger than every position, so that the smallest cursor needs no special case.
pub(crate) const NOTHING: u64 = u64::MAX;

#[derive(Debug, Default)]
pub(crate) struct Laggards {
    /// Index into `laggards` by slot, or [`NONE`].
    places: Vec<u32>,
    laggards: Vec<Laggard>,
    /// How many of them nobody waits for.
    left: usize,
}

impl Laggards {
    pub(crate) fn insert(&mut self, slot: Slot, cursor: u64) {
        let index = slot as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, NONE);
        }
        debug_assert_eq!(self.places[index], NONE, "slot {slot} was settled twice in a turn");
        self.places[index] = number(self.laggards.len());
        self.laggards.push(Laggard { cursor, slot, is_left: false });
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        let Some(place) = self.place(slot) else { return };
        self.places[slot as usize] = NONE;
        self.left -= usize::from(self.laggards.swap_remove(place).is_left);
        if let Some(moved) = self.laggards.get(place) {
            self.places[moved.slot as usize] = number(place);
        }
    }

    pub(crate) fn set_cursor(&mut self, slot: Slot, cursor: u64) {
        if let Some(place) = self.place(slot) {
            self.laggards[place].cursor = cursor;
        }
    }

    /// Nobody waits for this one from now on.
    pub(crate) fn leave(&mut self, slot: Slot) {
        if let Some(place) = self.place(slot) {
            let was_left = std::mem::replace(&mut self.laggards[place].is_left, true);
            self.left += usize::from(!was_left);
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Laggard> {
        self.laggards.iter_mut()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Laggard> {
        self.laggards.iter()
    }

    #[inline]
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.place(slot).is_some()
    }

    /// The cursor of a connection that lags.
    pub(crate) fn cursor(&self, slot: Slot) -> Option<u64> {
        self.place(slot).map(|place| self.laggards[place].cursor)
    }

    /// The smallest cursor; [`NOTHING`] if nobody is owed anything of the log.
    pub(crate) fn smallest_cursor(&self) -> u64 {
        self.laggards.iter().map(|laggard| laggard.cursor).min().unwrap_or(NOTHING)
    }

    /// The smallest cursor of those who are waited for, where there are others; none where all are.
    pub(crate) fn awaited_cursor(&self) -> Option<u64> {
        let awaited = self.laggards.iter().filter(|laggard| !laggard.is_left);
        let cursor = || awaited.map(|laggard| laggard.cursor).min().unwrap_or(NOTHING);
        (self.left > 0).then(cursor)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.laggards.is_empty()
    }

    #[inline]
    fn place(&self, slot: Slot) -> Option<usize> {
        match self.places.get(slot as usize) {
            Some(&place) if place != NONE => Some(place as usize),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_laggard_that_leaves_takes_no_other_cursor_with_it() {
        let mut laggards = Laggards::default();
        for (slot, cursor) in [(4, 40), (1, 10), (7, 70)] {
            laggards.insert(slot, cursor);
        }
        laggards.remove(4);
        laggards.remove(4);
        assert_eq!(
            [4, 1, 7, 100].map(|slot| laggards.cursor(slot)),
            [None, Some(10), Some(70), None]
        );
        assert_eq!(laggards.smallest_cursor(), 10);
        laggards.set_cursor(1, NOTHING);
        assert_eq!(laggards.smallest_cursor(), 70);
        assert_eq!(laggards.awaited_cursor(), None);
        laggards.leave(7);
        laggards.leave(7);
        assert_eq!(laggards.awaited_cursor(), Some(NOTHING));
        laggards.remove(7);
        assert_eq!(laggards.awaited_cursor(), None, "it may lag anew");
        laggards.remove(1);
        assert!(laggards.is_empty());
        assert_eq!(laggards.smallest_cursor(), NOTHING);
    }
}
