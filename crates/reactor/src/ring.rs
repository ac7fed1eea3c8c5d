//! The last publications of one topic, for clients that come back.
//!
//! Stands behind a topic's state: what is published is kept here too if the topic was asked to keep,
//! by reference, not as a copy. Bounded in number and in bytes; the oldest goes first, and what is there
//! follows each other without a gap up to the newest, so whoever knows the number of one knows all that
//! came after it.
//!
//! A ring that is full writes a publication over the memory of the one that it replaces, where nobody
//! holds that any more: it allocates nothing.

use std::collections::VecDeque;

use crate::frame::Frame;

/// How much a topic keeps of what was published, for [`Connection::resume`](crate::Connection::resume).
/// Nothing, if one of both is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Publications.
    pub messages: usize,
    /// Bytes of their encoded messages, together, and of the values that travelled with those.
    pub bytes: usize,
}

/// What connections missed that have come back, until it is sent: for those who are answered once for
/// several topics. See [`Connection::resume_into`](crate::Connection::resume_into).
#[derive(Debug, Default)]
#[must_use = "what was missed is to be sent"]
pub struct Missed {
    frames: Vec<Frame>,
    bytes: usize,
}

impl Missed {
    /// Takes these too, if that makes at most `room` bytes.
    pub(crate) fn extend(&mut self, missed: Vec<Frame>, room: usize) -> bool {
        let bytes = self.bytes + missed.iter().map(|frame| frame.len()).sum::<usize>();
        let fits = bytes <= room;
        if fits {
            self.frames.extend(missed);
            self.bytes = bytes;
        }
        fits
    }

    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

#[derive(Debug)]
pub(crate) struct Ring {
    keep: Keep,
    frames: VecDeque<Frame>,
    /// Of all frames together, with their values.
    bytes: usize,
    /// The sequence number of the newest.
    last: u64,
    /// The one that went last, for its memory.
    spare: Option<Frame>,
}

impl Ring {
    /// Keeps what comes after the publication with number `last`; none: nothing is to be kept.
    pub(crate) fn new(keep: Keep, last: u64) -> Option<Self> {
        let keeps = keep.messages > 0 && keep.bytes > 0;
        keeps.then(|| Self { keep, frames: VecDeque::new(), bytes: 0, last, spare: None })
    }

    /// Keeps more, or less, from now on.
    pub(crate) fn set(&mut self, keep: Keep) {
        self.keep = keep;
        self.trim();
        self.spare = None;
        self.frames.shrink_to_fit();
    }

    /// The next publication has the number `last + 1`; to be said before the first.
    pub(crate) fn begin_after(&mut self, last: u64) {
        debug_assert!(self.frames.is_empty(), "a numbering is changed before it is used");
        self.last = last;
    }

    /// A frame of the first `message_len` of these bytes, the next publication, which is kept; those
    /// behind are its value.
    pub(crate) fn push(&mut self, encoded: &[u8], message_len: usize, may_deflate: bool) -> Frame {
        let spare = self.spare.take();
        let over =
            spare.and_then(|mut it| it.rewrite(encoded, message_len, may_deflate).then_some(it));
        let frame = over.unwrap_or_else(|| Frame::with_room(encoded, message_len, may_deflate));
        self.frames.push_back(frame.clone());
        self.bytes += encoded.len();
        self.last += 1;
        self.trim();
        frame
    }

    /// All that was published after the publication with number `seq`, if all of it is here and is at
    /// most `room` bytes.
    pub(crate) fn after(&self, seq: u64, room: usize) -> Option<Vec<Frame>> {
        let count = usize::try_from(self.last.checked_sub(seq)?).ok()?;
        let first = self.frames.len().checked_sub(count)?;
        let missed = self.frames.range(first..);
        let bytes: usize = missed.clone().map(|frame| frame.len()).sum();
        (bytes <= room).then(|| missed.cloned().collect())
    }

    fn trim(&mut self) {
        while self.frames.len() > self.keep.messages || self.bytes > self.keep.bytes {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.whole_len();
            self.spare = Some(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(frames: Option<Vec<Frame>>) -> Option<Vec<u8>> {
        frames.map(|frames| frames.iter().map(|frame| frame[0]).collect())
    }

    #[test]
    fn all_that_came_after_a_number_is_given_or_nothing() {
        let mut ring = Ring::new(Keep { messages: 3, bytes: 100 }, 10).expect("it keeps");
        let everything = usize::MAX;
        assert_eq!(numbers(ring.after(10, everything)), Some(vec![]));
        assert_eq!(numbers(ring.after(9, everything)), None, "published before it was kept");
        assert_eq!(numbers(ring.after(11, everything)), None, "not published yet");
        for number in 11..=15 {
            ring.push(&[number; 10], 10, false);
        }
        for (seq, room, expected) in [
            (15, 0, Some(vec![])),
            (14, 10, Some(vec![15])),
            (12, 30, Some(vec![13, 14, 15])),
            (12, 29, None),
            (11, everything, None),
            (0, everything, None),
            (16, everything, None),
            (u64::MAX, everything, None),
        ] {
            assert_eq!(numbers(ring.after(seq, room)), expected, "after {seq}, room {room}");
        }
    }

    #[test]
    fn bytes_are_a_bound_too() {
        let mut ring = Ring::new(Keep { messages: 100, bytes: 25 }, 0).expect("it keeps");
        for number in 1..=3 {
            ring.push(&[number; 10], 10, false);
        }
        assert_eq!(numbers(ring.after(1, 1_000)), Some(vec![2, 3]));
        ring.push(&[4; 26], 26, false);
        assert_eq!(numbers(ring.after(4, 1_000)), Some(vec![]));
        assert_eq!(numbers(ring.after(3, 1_000)), None, "longer than all that may be kept");
        ring.push(&[5; 10], 10, false);
        ring.push(&[6; 10], 10, false);
        ring.set(Keep { messages: 1, bytes: 25 });
        assert_eq!(numbers(ring.after(4, 1_000)), None);
        assert_eq!(numbers(ring.after(5, 1_000)), Some(vec![6]));
        assert!(Ring::new(Keep { messages: 0, bytes: 25 }, 0).is_none());
    }

    #[test]
    fn a_full_ring_uses_its_memory_again_but_not_what_is_held() {
        let mut ring = Ring::new(Keep { messages: 4, bytes: 4_000 }, 0).expect("it keeps");
        let mut addresses = std::collections::HashSet::new();
        for number in 0..100 {
            let length = 100 + usize::from(number % 20);
            let frame = ring.push(&vec![number; length], length, false);
            addresses.insert(frame.as_ptr());
        }
        assert!(addresses.len() <= 6, "{} places", addresses.len());
        let held: Vec<Frame> =
            (100..120).map(|number| ring.push(&[number; 100], 100, false)).collect();
        for (number, frame) in (100..).zip(held) {
            assert_eq!(*frame, [number; 100]);
        }
    }
}
