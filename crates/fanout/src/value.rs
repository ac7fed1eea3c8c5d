//! The newest value of a topic, and who follows it: those who want the newest only, at their pace.
//!
//! Stands between `publish` and the turn, beside the list of those who want every publication. What a
//! follower is owed is a comparison, never a copy: the sequence number that it was sent last against
//! the topic's newest. So a follower that stops reading costs its 24 bytes, for ever, and whatever is
//! published meanwhile does not even look at it.
//!
//! Invariant: followers are in slot order, each once; the sequence number that a follower was sent
//! rises, except when what was not begun is taken back. It does not hold the value: that is bytes of
//! somebody else, who renders it when it is sent.

use crate::Slot;
use crate::key::TopicKey;
use crate::topic::NONE;

/// What is to be rendered: the newest value of a topic, for those who were sent the same one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// The topic.
    pub topic: TopicKey,
    /// The view that was chosen at subscription.
    pub view: u32,
    /// Whose rendering was chosen at subscription.
    pub renderer: u16,
    /// Sequence number of the value that the connection has; 0 if nothing is known of it.
    pub prev: u64,
    /// Sequence number of the newest value, larger than `prev`.
    pub seq: u64,
}

/// Appends the whole message of a value as it goes on the wire. What it leaves empty is not sent, and
/// counts as sent: the connection has nothing to learn from it.
pub type Render<'a> = dyn FnMut(Value, &mut Vec<u8>) + 'a;

/// How often a follower takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    interval: u16,
}

impl Pace {
    /// Once in each turn that has a new one.
    pub const EVERY_TURN: Self = Self { interval: 0 };

    /// The slowest pace, in ticks.
    pub const TICKS_MAX: u16 = 64;

    /// At most once in so many ticks, 1 to [`TICKS_MAX`](Self::TICKS_MAX); the nearest of those if it
    /// is none of them.
    #[must_use]
    pub const fn every(ticks: u16) -> Self {
        let interval = match ticks {
            0 => 1,
            1..=Self::TICKS_MAX => ticks,
            _ => Self::TICKS_MAX,
        };
        Self { interval }
    }

    /// When the next value may leave after one left at `sent_at`: an interval later, rounded up to the
    /// connection's own beat. So all that a busy connection waits for leaves in one turn, and what
    /// different connections wait for in different ones. Ticks may wrap.
    fn next(self, sent_at: u32, slot: Slot) -> u32 {
        let interval = u32::from(self.interval.max(1));
        let earliest = sent_at.wrapping_add(interval);
        let off_beat = earliest.wrapping_sub(slot % interval) % interval;
        earliest.wrapping_add((interval - off_beat) % interval)
    }
}

/// One connection that follows a topic's newest value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follower {
    /// Sequence number of the value that it was sent last, or knew when it subscribed.
    pub(crate) sent_seq: u64,
    pub(crate) slot: Slot,
    pub(crate) view: u32,
    /// The tick of that.
    pub(crate) sent_at: u32,
    pub(crate) pace: Pace,
    pub(crate) renderer: u16,
}

/// The newest value of a topic, as one shard sees it.
#[derive(Debug)]
pub(crate) struct Newest {
    /// Its sequence number; 0: none since somebody follows.
    pub(crate) seq: u64,
    /// It came in the running turn.
    pub(crate) changed: bool,
    /// The rendering that was made last in this turn, or [`NONE`].
    pub(crate) rendering: u32,
    /// In slot order.
    pub(crate) followers: Vec<Follower>,
}

impl Default for Newest {
    fn default() -> Self {
        Self { seq: 0, changed: false, rendering: NONE, followers: Vec::new() }
    }
}

impl Newest {
    /// Adds a follower that is not there yet.
    pub(crate) fn join(&mut self, follower: Follower) {
        if let Err(place) = self.find(follower.slot) {
            self.followers.insert(place, follower);
        }
    }

    /// Takes a follower out. With the last one the value is forgotten, since nobody hears of the
    /// next ones.
    pub(crate) fn leave(&mut self, slot: Slot) {
        if let Ok(place) = self.find(slot) {
            self.followers.remove(place);
            if self.followers.len() * 4 < self.followers.capacity() {
                self.followers.shrink_to(self.followers.len() * 2);
            }
        }
        if self.followers.is_empty() {
            self.seq = 0;
        }
    }

    pub(crate) fn follower_mut(&mut self, slot: Slot) -> Option<&mut Follower> {
        let place = self.find(slot).ok()?;
        Some(&mut self.followers[place])
    }

    /// The same, looked for where it was a moment ago.
    pub(crate) fn follower_near(&mut self, place: u32, slot: Slot) -> Option<&mut Follower> {
        let place = place as usize;
        if self.followers.get(place).is_some_and(|follower| follower.slot == slot) {
            return self.followers.get_mut(place);
        }
        self.follower_mut(slot)
    }

    pub(crate) fn find(&self, slot: Slot) -> Result<usize, usize> {
        match self.followers.last() {
            Some(last) if last.slot >= slot => {
                self.followers.binary_search_by_key(&slot, |follower| follower.slot)
            }
            _ => Err(self.followers.len()),
        }
    }
}

impl Follower {
    /// Whether its pace lets a value leave now.
    pub(crate) fn may_take(&self, now: u32) -> bool {
        self.pace == Pace::EVERY_TURN
            || now.wrapping_sub(self.sent_at) >= self.next_at().wrapping_sub(self.sent_at)
    }

    /// What it would be given of a topic.
    pub(crate) fn value(&self, topic: TopicKey, seq: u64) -> Value {
        let Self { view, renderer, sent_seq: prev, .. } = *self;
        Value { topic, view, renderer, prev, seq }
    }

    /// The tick from which on its pace lets a value leave.
    pub(crate) fn next_at(&self) -> u32 {
        self.pace.next(self.sent_at, self.slot)
    }

    pub(crate) fn is_owed(&self, newest_seq: u64) -> bool {
        self.sent_seq < newest_seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_costs_24_bytes() {
        assert_eq!(size_of::<Follower>(), 24);
    }

    #[test]
    fn a_beat_is_never_early_less_than_two_intervals_late_and_the_slots_own() {
        for ticks in 1..=Pace::TICKS_MAX {
            let pace = Pace::every(ticks);
            let interval = u32::from(ticks);
            for (sent_at, slot) in [(0, 0), (5, 1), (1_000, 63), (12_345, 1_000_000)] {
                let next = pace.next(sent_at, slot);
                assert!((interval..2 * interval).contains(&(next - sent_at)));
                assert_eq!(next % interval, slot % interval);
            }
        }
    }

    #[test]
    fn paces_hold_across_the_end_of_the_ticks() {
        let pace = Pace::every(10);
        for since in 0..20 {
            let sent_at = u32::MAX - since;
            let follower = Follower { sent_seq: 0, slot: 7, view: 0, sent_at, pace, renderer: 0 };
            let next = follower.next_at();
            assert!((10..20).contains(&next.wrapping_sub(sent_at)), "{sent_at} {next}");
            assert!(follower.may_take(next) && !follower.may_take(next.wrapping_sub(1)));
            assert!(follower.may_take(next.wrapping_add(1_000_000)));
        }
    }
}
