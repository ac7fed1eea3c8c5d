//! Bundles: what one send carries to a connection that is due values, behind its distinct run if it
//! has one of those too.
//!
//! Stands between the followers of a turn and the socket, beside [`run`](crate::run). A bundle is laid
//! out when its batch is composed: of a single value nothing is copied, all that are due it point to
//! its rendering; of more than that the bytes lie behind each other, once for neighbours that are due
//! the same. What was put into a bundle counts as sent at once, with what was before beside it: so a
//! socket that takes it all costs nothing more, and one that does not has the rest taken back.
//!
//! Invariant: a value that no byte left of is owed again after settling. It does not decide who is due.

use std::ops::Range;

use crate::Slot;
use crate::limits::COMPOSED_BYTES_MAX;
use crate::rendering::Renderings;
use crate::run::Run;
use crate::topic::{Topics, number};
use crate::value::Render;

/// A follower that is due the newest value of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DueValue {
    pub(crate) slot: Slot,
    pub(crate) topic: u32,
    /// Where among the topic's followers it was a moment ago.
    pub(crate) place: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Bundles {
    bundles: Vec<Bundle>,
    /// All values that are due, as they were found.
    pub(crate) values: Vec<DueValue>,
    /// Those of each bundle, as places in `values`.
    order: Vec<u32>,
    /// The bundles of the batch that was composed last, and what was put into them.
    batch: Range<usize>,
    given: Vec<Given>,
    copied: Vec<u8>,
    pub(crate) renderings: Renderings,
    counts: ValueCounts,
}

/// What became of values, from the beginning on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValueCounts {
    /// Values given to sockets, one per connection and value.
    pub given: u64,
    /// Publications that those connections were not given, because a newer value took their place.
    pub merged: u64,
}

#[derive(Clone, Debug)]
struct Bundle {
    /// The distinct run, or [`Run::GONE`].
    base: Run,
    base_len: usize,
    /// Its part of `order`.
    values: Range<usize>,
    /// Its part of `given` while its batch is the last one.
    given: Range<usize>,
    is_composed: bool,
    bytes: Bytes,
}

/// Where the bytes of a bundle are.
#[derive(Clone, Debug)]
enum Bytes {
    /// Not laid out, or no more.
    Absent,
    /// They are those of the distinct run.
    Base,
    /// Among the renderings.
    Rendered(Range<usize>),
    /// Among the copies of the batch that was composed last.
    Copied(Range<usize>),
}

/// A value that was put into a bundle, and how its follower stood before.
#[derive(Clone, Copy, Debug)]
struct Given {
    prev: u64,
    seq: u64,
    topic: u32,
    place: u32,
    prev_at: u32,
    rendering: u32,
}

/// Where the bytes of a bundle are found.
pub(crate) enum Found<'a> {
    Bytes(&'a [u8]),
    /// They are those of this run.
    Base(Run),
}

impl Bundles {
    /// Adds a connection that is due `count` values, which are filled in afterwards from the returned
    /// place on.
    pub(crate) fn reserve(&mut self, base: Run, count: u32) -> (Run, u32) {
        let start = self.bundles.last().map_or(0, |last| last.values.end);
        let values = start..start + count as usize;
        let run = Run::of_bundle(number(self.bundles.len()));
        let bytes = Bytes::Absent;
        self.bundles.push(Bundle {
            base,
            base_len: 0,
            values,
            given: 0..0,
            is_composed: false,
            bytes,
        });
        (run, number(start))
    }

    /// Room for the values of all bundles, as reserved.
    pub(crate) fn order_mut(&mut self) -> &mut [u32] {
        let count = self.bundles.last().map_or(0, |last| last.values.end);
        self.order.clear();
        self.order.resize(count, 0);
        &mut self.order
    }

    /// Begins a batch: the copies of the last one are gone.
    pub(crate) fn begin_batch(&mut self, topics: &mut Topics) {
        for bundle in &mut self.bundles[self.batch.clone()] {
            bundle.bytes = Bytes::Absent;
            bundle.given = 0..0;
        }
        self.batch = 0..0;
        self.given.clear();
        self.copied.clear();
        if self.renderings.len() >= COMPOSED_BYTES_MAX / 2 {
            self.renderings.forget(topics);
        }
    }

    /// Whether the batch is as large as it may get.
    pub(crate) fn is_full(&self) -> bool {
        self.copied.len() + self.renderings.len() >= COMPOSED_BYTES_MAX
    }

    /// Renders the values of a bundle, as of now, and takes note that they are given.
    pub(crate) fn give(
        &mut self,
        run: Run,
        now: u32,
        topics: &mut Topics,
        render: &mut Render<'_>,
    ) {
        let Some(bundle) = run.bundle() else { return };
        if self.batch.is_empty() {
            self.batch.start = bundle;
        }
        self.batch.end = bundle + 1;
        let start = self.given.len();
        for at in self.bundles[bundle].values.clone() {
            let DueValue { slot, topic, place } = self.values[self.order[at] as usize];
            let Some((key, newest)) = topics.newest_mut(topic) else { continue };
            let seq = newest.seq;
            // It may have left since it was found to be due, or have begun anew.
            let follower = newest.follower_near(place, slot);
            let Some(follower) = follower.filter(|follower| follower.is_owed(seq)) else {
                continue;
            };
            let (prev, prev_at) = (follower.sent_seq, follower.sent_at);
            let value = follower.value(key, seq);
            (follower.sent_seq, follower.sent_at) = (seq, now);
            let rendering = self.renderings.obtain(topics, topic, value, render);
            self.given.push(Given { prev, seq, topic, place, prev_at, rendering });
            self.counts.count(prev, seq);
        }
        let end = self.given.len();
        let bundle = &mut self.bundles[bundle];
        (bundle.given, bundle.is_composed) = (start..end, true);
    }

    /// Lays the bytes of a bundle out behind those of its distinct run.
    pub(crate) fn lay_out(&mut self, run: Run, base: &[u8]) {
        let Some(bundle) = run.bundle() else { return };
        let given = &self.given[self.bundles[bundle].given.clone()];
        let bytes = match given {
            [] => Bytes::Base,
            [only] if base.is_empty() => Bytes::Rendered(self.renderings.range(only.rendering)),
            given => match self.twin(bundle) {
                Some(twin) => self.bundles[twin].bytes.clone(),
                None => {
                    let start = self.copied.len();
                    self.copied.extend_from_slice(base);
                    for each in given {
                        let range = self.renderings.range(each.rendering);
                        self.copied.extend_from_slice(self.renderings.bytes(range));
                    }
                    Bytes::Copied(start..self.copied.len())
                }
            },
        };
        let bundle = &mut self.bundles[bundle];
        (bundle.bytes, bundle.base_len) = (bytes, base.len());
    }

    /// The bytes of a bundle, none if there is no such bundle.
    pub(crate) fn find(&self, run: Run) -> Option<Found<'_>> {
        let bundle = self.bundles.get(run.bundle()?)?;
        Some(match &bundle.bytes {
            Bytes::Base => Found::Base(bundle.base),
            Bytes::Rendered(range) => Found::Bytes(self.renderings.bytes(range.clone())),
            Bytes::Copied(range) => Found::Bytes(&self.copied[range.clone()]),
            Bytes::Absent => panic!("a run is read or settled within the batch that composed it"),
        })
    }

    /// The distinct run in a bundle, which may be [`Run::GONE`]; any other run is its own.
    #[inline]
    pub(crate) fn base(&self, run: Run) -> Run {
        match run.bundle().and_then(|bundle| self.bundles.get(bundle)) {
            Some(bundle) => bundle.base,
            None => run,
        }
    }

    /// A socket took `sent` bytes of a bundle: values of which it took none are owed again. Returns
    /// how many bytes it has begun, at least `begun`, which are those of the distinct run.
    pub(crate) fn take_back(
        &mut self,
        run: Run,
        slot: Slot,
        sent: usize,
        begun: usize,
        topics: &mut Topics,
    ) -> usize {
        let bundle = run.bundle().and_then(|bundle| self.bundles.get_mut(bundle));
        let Some(bundle) = bundle else { return begun };
        let mut begun = begun;
        let mut at = bundle.base_len;
        // What is taken back here is not taken back again.
        for given in &self.given[std::mem::take(&mut bundle.given)] {
            let end = at + self.renderings.range(given.rendering).len();
            if at < sent {
                begun = end;
            } else if at < end {
                given.undo(slot, topics);
                self.counts.uncount(given.prev, given.seq);
            }
            at = end;
        }
        begun
    }

    /// A connection that was due is gone.
    pub(crate) fn drop(&mut self, run: Run) {
        if let Some(bundle) = run.bundle().and_then(|bundle| self.bundles.get_mut(bundle)) {
            bundle.is_composed = true;
        }
    }

    /// Those that are due and were not composed, who stay owed.
    pub(crate) fn uncomposed(&self) -> impl Iterator<Item = Slot> {
        let composed = |bundle: &&Bundle| !bundle.is_composed;
        let bundles = self.bundles.iter().filter(composed);
        bundles
            .flat_map(|bundle| &self.order[bundle.values.clone()])
            .map(|&at| self.values[at as usize].slot)
    }

    /// Ends the turn.
    pub(crate) fn clear(&mut self, topics: &mut Topics) {
        self.batch = 0..0;
        self.bundles.clear();
        self.values.clear();
        self.given.clear();
        self.copied.clear();
        self.renderings.forget(topics);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bundles.is_empty()
    }

    pub(crate) fn counts_mut(&mut self) -> &mut ValueCounts {
        &mut self.counts
    }

    pub(crate) const fn counts(&self) -> ValueCounts {
        self.counts
    }

    /// The bundle before in the same batch, if it was copied and is the very same.
    fn twin(&self, bundle: usize) -> Option<usize> {
        let twin = bundle.checked_sub(1).filter(|twin| self.batch.contains(twin))?;
        let (own, other) = (&self.bundles[bundle], &self.bundles[twin]);
        let renderings =
            |bundle: &Bundle| self.given[bundle.given.clone()].iter().map(|given| given.rendering);
        let is_copied = matches!(other.bytes, Bytes::Copied(_));
        let is_twin = is_copied && own.base == other.base && renderings(own).eq(renderings(other));
        is_twin.then_some(twin)
    }
}

impl Given {
    fn undo(&self, slot: Slot, topics: &mut Topics) {
        let Some((_, newest)) = topics.newest_mut(self.topic) else { return };
        if let Some(follower) = newest.follower_near(self.place, slot)
            && follower.sent_seq == self.seq
        {
            (follower.sent_seq, follower.sent_at) = (self.prev, self.prev_at);
        }
    }
}

impl ValueCounts {
    /// Counts a value; where it is not known what was before, nothing counts as merged.
    pub(crate) fn count(&mut self, prev: u64, seq: u64) {
        self.given += 1;
        self.merged += merged(prev, seq);
    }

    fn uncount(&mut self, prev: u64, seq: u64) {
        self.given -= 1;
        self.merged -= merged(prev, seq);
    }
}

fn merged(prev: u64, seq: u64) -> u64 {
    if prev == 0 { 0 } else { seq - prev - 1 }
}
