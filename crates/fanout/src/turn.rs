//! One turn: who is owed which of the publications that came in it.
//!
//! Stands between `publish` and the socket. Sealing goes through the subscriber lists of the topics
//! that were published to and marks each subscriber once per topic, not once per message; the marks
//! come out in slot order. Connections that lag are passed over, since their cursor covers the turn.
//!
//! Invariant: a connection is due at most once, in slot order, and never with nothing. Those that
//! need a closer look than "subscribed to the topic" (excluded from an entry, or subscribed while
//! publications were on their way) are *picky*: found before the marks, resolved entry by entry.
//! It does not copy bytes, which is the business of the runs, and moves no cursor back.

use crate::active::{Active, ActiveTopics};
use crate::bundle::{Bundles, Found};
use crate::lag::{Laggards, NOTHING};
use crate::log::{Log, NOBODY};
use crate::run::{Run, Runs};
use crate::subscription::Subscriptions;
use crate::topic::{Topics, number};
use crate::value::Render;
use crate::{Due, Slot};

#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) active: ActiveTopics,
    pub(crate) runs: Runs,
    pub(crate) bundles: Bundles,
    pub(crate) due: Vec<Due>,
    pub(crate) sealed: bool,
    /// Connections that an entry of the turn excludes, as they came.
    excluded: Vec<Slot>,
    picky: Picky,
    pub(crate) marks: Marks,
}

/// What sealing reads of the rest of the shard.
#[derive(Clone, Copy)]
pub(crate) struct Shard<'a> {
    pub(crate) topics: &'a Topics,
    /// By slot.
    pub(crate) connections: &'a [Subscriptions],
    pub(crate) log: &'a Log,
}

impl Turn {
    /// Takes note of an entry that was appended to the log.
    pub(crate) fn push(&mut self, topics: &mut Topics, topic: u32, seq: u64, exclude: Slot) {
        self.active.push(topics, topic, seq);
        if exclude != NOBODY {
            self.excluded.push(exclude);
        }
    }

    /// Finds out who is due, and wakes the laggards that are owed something of this turn.
    pub(crate) fn seal(&mut self, shard: Shard<'_>, laggards: &mut Laggards) {
        self.sealed = true;
        if self.active.topics().is_empty() {
            return;
        }
        self.runs.begin(&self.active, shard.log);
        self.marks.fit(shard.connections.len());
        self.find_picky(shard);
        if laggards.iter().any(|laggard| laggard.cursor == NOTHING) {
            self.wake(shard, laggards);
        }
        match self.active.topics() {
            &[only] => self.mark_one(only, shard, laggards),
            _ => self.mark_many(shard, laggards),
        }
        self.resolve(shard);
        self.picky.clear();
    }

    pub(crate) fn clear(&mut self, topics: &mut Topics) {
        self.active.clear(topics);
        self.runs.clear();
        self.due.clear();
        self.excluded.clear();
        self.sealed = false;
    }

    /// See [`Fanout::compose`](crate::Fanout::compose).
    pub(crate) fn compose(&mut self, from: usize, most: usize, log: &Log) -> usize {
        self.runs.compose(&self.due, from, most, (&self.active, log, &self.bundles))
    }

    /// The same for what is due values, of which there are some; `end` is where the batch ends.
    pub(crate) fn compose_bundles(
        &mut self,
        from: usize,
        end: usize,
        now: u32,
        (topics, log): (&mut Topics, &Log),
        render: &mut Render<'_>,
    ) -> usize {
        self.bundles.begin_batch(topics);
        for index in from..end {
            if self.bundles.is_full() {
                return index;
            }
            let run = self.due[index].run;
            self.bundles.give(run, now, topics, render);
            let base = self.runs.bytes(self.bundles.base(run), log);
            self.bundles.lay_out(run, base.unwrap_or(&[]));
        }
        end
    }

    /// See [`Fanout::run`](crate::Fanout::run).
    #[inline]
    pub(crate) fn bytes<'a>(&'a self, run: Run, log: &'a Log) -> &'a [u8] {
        match self.runs.bytes(run, log) {
            Some(bytes) => bytes,
            None => self.bundle_bytes(run, log),
        }
    }

    /// The length of those bytes.
    #[inline]
    pub(crate) fn len(&self, run: Run, log: &Log) -> usize {
        match self.runs.len(run) {
            Some(len) => len,
            None => self.bundle_bytes(run, log).len(),
        }
    }

    // Kept out of the way of those who are due no values, of whom there are most.
    #[cold]
    #[inline(never)]
    fn bundle_bytes<'a>(&'a self, run: Run, log: &'a Log) -> &'a [u8] {
        match self.bundles.find(run) {
            Some(Found::Bytes(bytes)) => bytes,
            Some(Found::Base(base)) => self.runs.bytes(base, log).unwrap_or(&[]),
            None => &[],
        }
    }

    /// Whether a connection that was due was removed since.
    pub(crate) fn is_gone(&self, slot: Slot) -> bool {
        self.due_index(slot).is_none_or(|index| self.due[index].run == Run::GONE)
    }

    /// The place of a connection among those due.
    pub(crate) fn due_index(&self, slot: Slot) -> Option<usize> {
        self.due.binary_search_by_key(&slot, |due| due.slot).ok()
    }

    fn find_picky(&mut self, shard: Shard<'_>) {
        self.picky.fit(shard.connections.len());
        for &slot in &self.excluded {
            self.picky.insert(slot);
        }
        for active in self.active.topics() {
            let topic = &shard.topics[active.topic];
            if topic.joined_seq < active.first_seq {
                continue;
            }
            for &slot in &topic.subscribers {
                let after_seq = shard.connections[slot as usize].after_seq(active.topic);
                if after_seq.is_some_and(|after_seq| after_seq >= active.first_seq) {
                    self.picky.insert(slot);
                }
            }
        }
    }

    /// Gives a cursor to the laggards that had none and are owed an entry of this turn.
    fn wake(&self, shard: Shard<'_>, laggards: &mut Laggards) {
        let turn_start = shard.log.turn_start();
        let turn = shard.log.turn();
        for (index, active) in (0..).zip(self.active.topics()) {
            for &slot in &shard.topics[active.topic].subscribers {
                let Some(cursor) = laggards.cursor(slot) else { continue };
                if cursor <= turn_start + u64::from(active.first) {
                    continue;
                }
                let held = &shard.connections[slot as usize];
                let mut entries = self.active.entries_of(index);
                let owed = entries.find(|&entry| held.owes(slot, &turn[entry as usize]));
                if let Some(entry) = owed {
                    laggards.set_cursor(slot, cursor.min(turn_start + u64::from(entry)));
                }
            }
        }
    }

    /// The only active topic: its subscribers are due as they stand in its list.
    fn mark_one(&mut self, only: Active, shard: Shard<'_>, laggards: &Laggards) {
        let subscribers = &shard.topics[only.topic].subscribers;
        if laggards.is_empty() && self.picky.is_empty() {
            self.due.extend(subscribers.iter().map(|&slot| Due { slot, run: Run::WHOLE }));
            return;
        }
        for &slot in subscribers.iter().filter(|&&slot| !laggards.contains(slot)) {
            let picky = self.picky.contains(slot);
            let run = if picky { self.runs.reserve_mixture(1).0 } else { Run::WHOLE };
            self.due.push(Due { slot, run });
        }
        // The only topic is number 0, and that is what the members are made of.
        self.runs.members_mut();
    }

    /// Several active topics: count the topics of each connection, give room, fill in.
    fn mark_many(&mut self, shard: Shard<'_>, laggards: &Laggards) {
        for active in self.active.topics() {
            let subscribers = &shard.topics[active.topic].subscribers;
            if laggards.is_empty() {
                subscribers.iter().for_each(|&slot| self.marks.count(slot));
            } else {
                let caught_up = subscribers.iter().filter(|&&slot| !laggards.contains(slot));
                caught_up.for_each(|&slot| self.marks.count(slot));
            }
        }
        let all = number(self.active.topics().len());
        self.marks.drain(|slot, count| {
            if count == all && !self.picky.contains(slot) {
                self.due.push(Due { slot, run: Run::WHOLE });
                return None;
            }
            let (run, start) = self.runs.reserve_mixture(count);
            self.due.push(Due { slot, run });
            Some(start)
        });
        let members = self.runs.members_mut();
        if !members.is_empty() {
            for (index, active) in (0..).zip(self.active.topics()) {
                for &slot in &shard.topics[active.topic].subscribers {
                    self.marks.fill(slot, index, members);
                }
            }
        }
        for due in &self.due {
            self.marks.reset(due.slot);
        }
    }

    /// Looks closely at the picky, and takes mixtures of one topic for what they are.
    fn resolve(&mut self, shard: Shard<'_>) {
        let turn = shard.log.turn();
        for due in &mut self.due {
            if self.picky.contains(due.slot) {
                let held = &shard.connections[due.slot as usize];
                let owed = |entry: u32| held.owes(due.slot, &turn[entry as usize]);
                if !self.runs.pick(due.run, &self.active, owed) {
                    due.run = Run::GONE;
                }
            } else if let Some(run) = self.runs.sole_topic(due.run, &self.active, shard.log) {
                due.run = run;
            }
        }
        if !self.picky.is_empty() {
            self.due.retain(|due| due.run != Run::GONE);
        }
    }
}

/// Connections that are not simply owed all entries of their topics.
#[derive(Debug, Default)]
struct Picky {
    /// By slot.
    marks: Vec<bool>,
    slots: Vec<Slot>,
}

impl Picky {
    fn fit(&mut self, slots: usize) {
        if self.marks.len() < slots {
            self.marks.resize(slots, false);
        }
    }

    /// A slot beyond the connections holds nothing here, and needs no look.
    fn insert(&mut self, slot: Slot) {
        if let Some(mark @ false) = self.marks.get_mut(slot as usize) {
            *mark = true;
            self.slots.push(slot);
        }
    }

    fn clear(&mut self) {
        for slot in self.slots.drain(..) {
            self.marks[slot as usize] = false;
        }
    }

    fn contains(&self, slot: Slot) -> bool {
        !self.slots.is_empty() && self.marks[slot as usize]
    }

    fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// Counts topics per connection, then says where the next one of each is written.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// By slot: how many topics; after [`Self::drain`] one more than the next place among the
    /// members, so that zero stays "not marked", which is what a laggard is.
    tally: Vec<u32>,
    /// By group of [`GROUP`] slots: whether one of them has a tally, so that a quiet topic on a busy
    /// shard does not read them all. A plain store each, where a bit would have to be read first.
    groups: Vec<bool>,
}

impl Marks {
    pub(crate) fn fit(&mut self, slots: usize) {
        if self.tally.len() < slots {
            self.tally.resize(slots, 0);
            self.groups.resize(slots.div_ceil(GROUP), false);
        }
    }

    #[inline]
    pub(crate) fn count(&mut self, slot: Slot) {
        self.tally[slot as usize] += 1;
        self.groups[slot as usize / GROUP] = true;
    }

    /// Calls `place` with each counted slot, in order, and its count; what it returns is where the
    /// members of the slot begin, or none if they are not to be filled in.
    pub(crate) fn drain(&mut self, mut place: impl FnMut(Slot, u32) -> Option<u32>) {
        let groups = self.tally.chunks_mut(GROUP).zip(&mut self.groups).enumerate();
        for (index, (tallies, counted)) in groups {
            if !std::mem::take(counted) {
                continue;
            }
            for (slot, tally) in (number(index * GROUP)..).zip(tallies) {
                if *tally != 0 {
                    *tally = place(slot, *tally).map_or(0, |start| start + 1);
                }
            }
        }
    }

    #[inline]
    pub(crate) fn fill(&mut self, slot: Slot, member: u32, members: &mut [u32]) {
        let place = &mut self.tally[slot as usize];
        if *place != 0 {
            members[*place as usize - 1] = member;
            *place += 1;
        }
    }

    pub(crate) fn reset(&mut self, slot: Slot) {
        self.tally[slot as usize] = 0;
    }
}

/// Slots in a group: their tallies are four cache lines.
const GROUP: usize = 64;
