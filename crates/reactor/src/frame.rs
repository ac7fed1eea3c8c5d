//! An encoded message that many share.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use tickwire_protocol::Kind;

use crate::deflate::{Coding, Deflaters};

/// The bytes of one whole message as they go over the wire, encoded once and shared by every shard
/// and connection that is to get it. Cheap to clone.
///
/// Its bytes are the uncompressed frame. Where connections have agreed on compression, the first
/// that needs the compressed one makes it, for all that agreed on the same window.
#[derive(Clone)]
pub struct Frame {
    /// May be longer than the frame.
    bytes: Arc<[u8]>,
    len: usize,
    /// Behind the frame, the value of the publication that it is as a frame of its own; 0: the message
    /// itself is the value, or nobody wants it.
    value_len: usize,
    /// Absent where nobody can need it: the server does not compress, or not so short a message.
    deflated: Option<Arc<Deflated>>,
}

/// By [`Coding::index`]; empty where compressing gains nothing.
type Deflated = [OnceLock<Box<[u8]>>; Coding::COMPRESSED];

impl Frame {
    pub(crate) fn new(encoded: &[u8], may_deflate: bool) -> Self {
        Self::of(Arc::from(encoded), encoded.len(), 0, may_deflate)
    }

    /// A frame of the first `len` bytes of these, and its value of the others, with some room behind them, so
    /// that a message a little longer can be written over it.
    pub(crate) fn with_room(encoded: &[u8], len: usize, may_deflate: bool) -> Self {
        let room = encoded.len().next_multiple_of(64);
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, room).collect();
        let fresh = Arc::get_mut(&mut bytes).expect("nobody else has it");
        fresh[..encoded.len()].copy_from_slice(encoded);
        Self::of(bytes, len, encoded.len() - len, may_deflate)
    }

    /// A frame of the first `len` bytes, and its value of the next `value_len`.
    pub(crate) fn of(bytes: Arc<[u8]>, len: usize, value_len: usize, may_deflate: bool) -> Self {
        Self { bytes, len, value_len, deflated: may_deflate.then(Arc::default) }
    }

    /// How long it is with its value.
    pub(crate) fn whole_len(&self) -> usize {
        self.len + self.value_len
    }

    /// The value of the publication that it is, as a frame.
    pub(crate) fn value(&self) -> &[u8] {
        match self.value_len {
            0 => self,
            value_len => &self.bytes[self.len..self.len + value_len],
        }
    }

    /// Makes it the frame of the first `len` of other bytes, in the same memory; `false`: that cannot be, because others
    /// hold it, it is too short, or there are compressed forms of it.
    pub(crate) fn rewrite(&mut self, encoded: &[u8], len: usize, may_deflate: bool) -> bool {
        if may_deflate || self.deflated.is_some() || self.bytes.len() < encoded.len() {
            return false;
        }
        let Some(bytes) = Arc::get_mut(&mut self.bytes) else { return false };
        bytes[..encoded.len()].copy_from_slice(encoded);
        (self.len, self.value_len) = (len, encoded.len() - len);
        true
    }

    /// The whole message in the form that `coding` says.
    pub(crate) fn coded(&self, coding: Coding, deflaters: &mut Deflaters) -> &[u8] {
        let Some((deflated, index)) = self.deflated.as_ref().zip(coding.index()) else {
            return self;
        };
        let bytes = deflated[index].get_or_init(|| self.deflate(coding, deflaters));
        if bytes.is_empty() { self } else { bytes }
    }

    /// What the message says: a value that a topic retains, for those who make something else of it
    /// before they send it.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.message().1
    }

    fn deflate(&self, coding: Coding, deflaters: &mut Deflaters) -> Box<[u8]> {
        let (kind, payload) = self.message();
        let mut out = Vec::new();
        deflaters.message(coding, kind, None, payload, &mut out);
        if out.len() < self.len { out.into_boxed_slice() } else { Box::default() }
    }

    /// The message that it is: a frame of ours is one message, whole and not masked.
    pub(crate) fn message(&self) -> (Kind, &[u8]) {
        message_of(self)
    }
}

/// The message that a whole frame of ours is, not masked and not compressed.
pub(crate) fn message_of(frame: &[u8]) -> (Kind, &[u8]) {
    let kind = if frame[0] & 0x0f == 1 { Kind::Text } else { Kind::Binary };
    let header_len = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    (kind, &frame[header_len..])
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Frame {}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Frame({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use tickwire_protocol::encode;

    use super::*;

    #[test]
    fn only_a_frame_that_nobody_else_holds_is_written_over() {
        let mut frame = Frame::new(b"\x81\x03one", false);
        let held = frame.clone();
        assert!(!frame.rewrite(b"\x81\x03two", 5, false), "somebody holds it");
        drop(held);
        assert!(!frame.rewrite(b"\x81\x05three", 7, false), "it is too short");
        assert!(!frame.rewrite(b"\x81\x03two", 5, true), "it is to be compressed");
        assert!(frame.rewrite(b"\x81\x02no", 4, false));
        assert_eq!(&*frame, b"\x81\x02no");
        assert!(frame.rewrite(b"\x81\x03two", 5, false), "it is as long as it was");
        assert_eq!(frame, Frame::new(b"\x81\x03two", false));
    }

    #[test]
    fn a_value_is_what_stands_behind_the_message_or_the_message() {
        let bytes = Arc::from(&b"\x81\x03one\x81\x05value spare"[..]);
        let frame = Frame::of(bytes, 5, 7, false);
        assert_eq!((&*frame, frame.value()), (&b"\x81\x03one"[..], &b"\x81\x05value"[..]));
        assert_eq!(message_of(frame.value()), (Kind::Text, &b"value"[..]));
        assert_eq!(Frame::new(b"\x81\x03one", false).value(), b"\x81\x03one");
    }

    #[test]
    fn the_message_in_it_is_what_was_encoded() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for kind in [Kind::Text, Kind::Binary] {
                let (payload, mut encoded) = (vec![b'a'; length], Vec::new());
                encode::message(kind, &payload, &mut encoded);
                let frame = Frame::new(&encoded, false);
                assert!(frame.message() == (kind, &*payload), "{length}");
                assert!(frame.payload() == payload, "{length}");
            }
        }
    }
}
