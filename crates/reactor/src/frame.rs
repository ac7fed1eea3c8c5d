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
    plain: Arc<[u8]>,
    /// Absent where nobody can need it: the server does not compress, or not so short a message.
    deflated: Option<Arc<Deflated>>,
}

/// By [`Coding::index`]; empty where compressing gains nothing.
type Deflated = [OnceLock<Box<[u8]>>; Coding::COMPRESSED];

impl Frame {
    pub(crate) fn new(encoded: &[u8], may_deflate: bool) -> Self {
        Self { plain: Arc::from(encoded), deflated: may_deflate.then(Arc::default) }
    }

    /// The whole message in the form that `coding` says.
    pub(crate) fn coded(&self, coding: Coding, deflaters: &mut Deflaters) -> &[u8] {
        let Some((deflated, index)) = self.deflated.as_ref().zip(coding.index()) else {
            return self;
        };
        let bytes = deflated[index].get_or_init(|| self.deflate(coding, deflaters));
        if bytes.is_empty() { self } else { bytes }
    }

    fn deflate(&self, coding: Coding, deflaters: &mut Deflaters) -> Box<[u8]> {
        let (kind, payload) = self.message();
        let mut out = Vec::new();
        deflaters.message(coding, kind, None, payload, &mut out);
        if out.len() < self.plain.len() { out.into_boxed_slice() } else { Box::default() }
    }

    /// The message that it is: a frame of ours is one message, whole and not masked.
    pub(crate) fn message(&self) -> (Kind, &[u8]) {
        let kind = if self.plain[0] & 0x0f == 1 { Kind::Text } else { Kind::Binary };
        let header_len = match self.plain[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        (kind, &self.plain[header_len..])
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.plain
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.plain == other.plain
    }
}

impl Eq for Frame {}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Frame({} bytes)", self.plain.len())
    }
}

#[cfg(test)]
mod tests {
    use tickwire_protocol::encode;

    use super::*;

    #[test]
    fn the_message_in_it_is_what_was_encoded() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for kind in [Kind::Text, Kind::Binary] {
                let (payload, mut encoded) = (vec![b'a'; length], Vec::new());
                encode::message(kind, &payload, &mut encoded);
                assert!(Frame::new(&encoded, false).message() == (kind, &*payload), "{length}");
            }
        }
    }
}
