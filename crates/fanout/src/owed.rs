//! What a connection that lags is given when its socket takes bytes again.
//!
//! Stands behind the log and the followers: first the publications that it is owed, in order, from its
//! cursor on; when there are none left, the newest value of each topic that it follows, as of now. So
//! it has missed values and no publication, and what it was sent by value is not older than what it
//! was sent by publication.
//!
//! Invariant: nothing moves while something is only asked for; settling moves what a socket took. A
//! value is offered and settled in one go, so an offer is never older than its topic.

use crate::lag::NOTHING;
use crate::log::Entry;
use crate::subscription::Subscriptions;
use crate::value::Render;
use crate::values::Offered;
use crate::{Fanout, Owed, Settled, Slot};

impl Fanout {
    /// Appends to `out` what a connection that lags is owed next: whole frames, at most
    /// [`owed_chunk_bytes`](crate::FanoutLimits::owed_chunk_bytes) or one frame. What was published
    /// since the last [`seal`](Self::seal) is not among it yet.
    ///
    /// Nothing moves until [`settle_owed`](Self::settle_owed), which must come next. What was composed
    /// before must be settled.
    pub fn owed(&mut self, slot: Slot, out: &mut Vec<u8>, render: &mut Render<'_>) -> Owed {
        let start = out.len();
        self.values.offered.begin(slot);
        for (_, entry) in self.owed_entries(slot) {
            let frame = self.log.frame(entry);
            let given = out.len() - start;
            if given > 0 && given + frame.len() > self.limits.owed_chunk_bytes {
                return Owed { bytes: given, more: true };
            }
            out.extend_from_slice(frame);
        }
        let more = self.is_lagging(slot) && self.offer_values(slot, start, out, render);
        Owed { bytes: out.len() - start, more }
    }

    /// Takes note that a socket took the first `sent` bytes of what [`owed`](Self::owed) gave, and
    /// all that was before it.
    ///
    /// With nothing left of what is sealed the connection is caught up again. If [`owed`](Self::owed)
    /// gave nothing, `settle_owed(slot, 0)` is what makes it so.
    pub fn settle_owed(&mut self, slot: Slot, sent: usize) -> Settled<'_> {
        if !self.is_lagging(slot) {
            return Settled::CaughtUp;
        }
        let mut left = sent;
        let mut cursor = NOTHING;
        let mut cut = None;
        for (position, entry) in self.owed_entries(slot) {
            let length = self.log.frame(entry).len();
            if left == 0 {
                cursor = position;
                break;
            }
            if left < length {
                cut = Some(entry.end - (length - left) as u64..entry.end);
            }
            left = left.saturating_sub(length);
        }
        if let Some(cut) = cut {
            self.laggards.set_cursor(slot, cursor);
            return Settled::Lagging { rest: self.log.bytes(cut.start, cut.end) };
        }
        let rest = if cursor == NOTHING { self.settle_values(slot, left) } else { Some(0..0) };
        let Some(rest) = rest else {
            self.laggards.remove(slot);
            return Settled::CaughtUp;
        };
        self.laggards.set_cursor(slot, cursor);
        Settled::Lagging { rest: self.turn.bundles.renderings.bytes(rest) }
    }

    /// What a connection that lags is owed of the sealed part of the log, with positions.
    pub(crate) fn owed_entries(&self, slot: Slot) -> impl Iterator<Item = (u64, &Entry)> {
        let sealed = if self.turn.sealed { self.log.head() } else { self.log.turn_start() };
        let from = self.laggards.cursor(slot).unwrap_or(NOTHING).min(sealed);
        let entries = (from..).zip(self.log.between(from, sealed));
        let held = self.connections.get(slot as usize);
        entries.filter(move |(_, entry)| held.is_some_and(|held| held.owes(slot, entry)))
    }

    /// Appends the values that a connection is owed now, behind `out[start..]`; true if there are more
    /// than fit.
    fn offer_values(
        &mut self,
        slot: Slot,
        start: usize,
        out: &mut Vec<u8>,
        render: &mut Render<'_>,
    ) -> bool {
        let (topics, bundles) = (&mut self.topics, &mut self.turn.bundles);
        if bundles.is_full() {
            bundles.begin_batch(topics);
        }
        let held = self.connections.get(slot as usize).map_or(&[][..], Subscriptions::as_slice);
        for topic in held.iter().filter(|held| held.follows()).map(|held| held.topic) {
            let Some((key, newest)) = topics.newest_mut(topic) else { continue };
            let Ok(place) = newest.find(slot) else { continue };
            let (follower, seq) = (newest.followers[place], newest.seq);
            let is_sealed = self.turn.sealed || !newest.changed;
            let may_leave = follower.may_take(self.values.now);
            if !(is_sealed && may_leave && follower.is_owed(seq)) {
                continue;
            }
            let (prev, value) = (follower.sent_seq, follower.value(key, seq));
            self.values.is_served = true;
            let rendering = bundles.renderings.obtain(topics, topic, value, render);
            let range = bundles.renderings.range(rendering);
            let given = out.len() - start;
            if given > 0 && given + range.len() > self.limits.owed_chunk_bytes {
                return true;
            }
            out.extend_from_slice(bundles.renderings.bytes(range));
            self.values.offered.values.push(Offered { topic, rendering, prev, seq });
        }
        false
    }

    /// Takes note that a socket took so many bytes of the values that were offered. Where the rest of a
    /// cut one is among the renderings, empty if none was cut; none if nothing more is owed now.
    fn settle_values(&mut self, slot: Slot, sent: usize) -> Option<std::ops::Range<usize>> {
        let mut left = sent;
        let mut rest = None;
        let is_offered = self.values.offered.slot == slot;
        for offered in self.values.offered.values.drain(..).filter(|_| is_offered) {
            let range = self.turn.bundles.renderings.range(offered.rendering);
            if left == 0 && !range.is_empty() {
                rest.get_or_insert(0..0);
                continue;
            }
            if left < range.len() {
                rest = Some(range.start + left..range.end);
            }
            left = left.saturating_sub(range.len());
            let newest = self.topics.newest_mut(offered.topic);
            if let Some(follower) = newest.and_then(|(_, newest)| newest.follower_mut(slot)) {
                (follower.sent_seq, follower.sent_at) = (offered.seq, self.values.now);
                self.turn.bundles.counts_mut().count(offered.prev, offered.seq);
            }
        }
        debug_assert_eq!(left, 0, "more was sent than was owed");
        rest.or_else(|| self.has_value_now(slot).then_some(0..0))
    }

    /// Whether a connection is owed a value that may leave now; those that may not are scheduled.
    fn has_value_now(&mut self, slot: Slot) -> bool {
        let held = self.connections.get(slot as usize).map_or(&[][..], Subscriptions::as_slice);
        let mut has_now = false;
        for topic in held.iter().filter(|held| held.follows()).map(|held| held.topic) {
            let Some((_, newest)) = self.topics.newest_mut(topic) else { continue };
            let Ok(place) = newest.find(slot) else { continue };
            let follower = newest.followers[place];
            let is_sealed = self.turn.sealed || !newest.changed;
            if !is_sealed || !follower.is_owed(newest.seq) {
                continue;
            }
            if follower.may_take(self.values.now) {
                has_now = true;
            } else {
                self.values.look_later(&follower);
            }
        }
        has_now
    }
}
