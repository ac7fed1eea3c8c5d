//! Where publications get their shared bytes from: frames of earlier ones that nobody holds any more.
//!
//! A publication is encoded once, by whoever publishes, and its bytes are let go of by the last shard
//! that has taken them over: memory that one thread takes and another gives back, for each message.
//! Here it goes round instead. The pool keeps a reference to each frame that it has given out, the
//! oldest first; when nobody else has one, the bytes are written over.
//!
//! It bounds what it keeps, and does not look for a frame: the oldest is the one that is over.

use std::fmt;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use crate::frame::Frame;

/// The frames of a server's publications.
pub(crate) struct Frames {
    given: ArrayQueue<Arc<[u8]>>,
}

impl fmt::Debug for Frames {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Frames").field("given", &self.given.len()).finish()
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self { given: ArrayQueue::new(Self::COUNT_MAX) }
    }
}

impl Frames {
    /// Publications that are on their way at once and still need no memory of their own.
    const COUNT_MAX: usize = 256;

    /// Longer ones have memory of their own, whose cost is little beside that of copying them: 1 MB is
    /// kept at most.
    const BYTES_MAX: usize = 4 * 1024;

    /// A frame of the first `message_len` of these bytes; those behind are its value.
    pub(crate) fn frame(&self, encoded: &[u8], message_len: usize, may_deflate: bool) -> Frame {
        let value_len = encoded.len() - message_len;
        if encoded.len() > Self::BYTES_MAX {
            return Frame::of(Arc::from(encoded), message_len, value_len, may_deflate);
        }
        let bytes = self.over(encoded.len()).unwrap_or_else(|| {
            // So that messages that differ little in length can follow each other.
            let capacity = encoded.len().next_power_of_two().max(64);
            std::iter::repeat_n(0, capacity).collect()
        });
        let mut bytes = bytes;
        let room = Arc::get_mut(&mut bytes).expect("nobody else has it");
        room[..encoded.len()].copy_from_slice(encoded);
        // Where there are as many already, this one goes when it is over.
        let _ = self.given.push(Arc::clone(&bytes));
        Frame::of(bytes, message_len, value_len, may_deflate)
    }

    /// The bytes of the oldest frame, if they are nobody's and enough.
    fn over(&self, length: usize) -> Option<Arc<[u8]>> {
        let mut bytes = self.given.pop()?;
        if Arc::get_mut(&mut bytes).is_none() {
            let _ = self.given.push(bytes);
            return None;
        }
        (bytes.len() >= length).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize, length: usize) -> Vec<u8> {
        (0..length).map(|index| (number + index).to_le_bytes()[0]).collect()
    }

    #[test]
    fn frames_that_are_held_keep_their_bytes_and_others_are_used_again() {
        let frames = Frames::default();
        let mut held = Vec::new();
        for number in 0..5_000 {
            let length = [0, 1, 64, 65, 4_096, 4_097, 10_000][number % 7];
            let frame = frames.frame(&message(number, length), length, false);
            if number % 3 == 0 {
                held.push((number, length, frame));
            }
            if held.len() > 300 {
                held.drain(..200);
            }
            for (number, length, frame) in &held {
                assert_eq!(**frame, *message(*number, *length));
            }
            assert!(frames.given.len() <= Frames::COUNT_MAX);
        }
        let first = frames.frame(b"first", 5, false);
        drop((held, first));
        let addresses: std::collections::HashSet<_> =
            (0..1_000).map(|_| frames.frame(b"again", 5, false).as_ptr()).collect();
        assert!(addresses.len() <= Frames::COUNT_MAX, "{} places", addresses.len());
    }
}
