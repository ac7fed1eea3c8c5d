//! An encoded message that many share.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tickwire_protocol::mask::{self, Key};

/// The bytes of one whole message as they go over the wire, encoded once and shared by every shard
/// and connection that is to get it. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Arc<[u8]>);

impl Frame {
    pub(crate) fn new(encoded: &[u8]) -> Self {
        Self(Arc::from(encoded))
    }

    /// Appends it to `out` as a client has to send it: masked (RFC 6455 section 5.3).
    pub(crate) fn write_masked(&self, key: Key, out: &mut Vec<u8>) {
        let length_bytes = match self.0[1] {
            127 => 8,
            126 => 2,
            _ => 0,
        };
        let (header, payload) = self.0.split_at(2 + length_bytes);
        out.extend_from_slice(header);
        let second = out.len() - header.len() + 1;
        out[second] |= 0x80;
        out.extend_from_slice(&key);
        let start = out.len();
        out.extend_from_slice(payload);
        mask::apply(key, &mut out[start..]);
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Frame({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use tickwire_protocol::{Kind, encode};

    use super::*;

    #[test]
    fn masked_it_is_what_a_client_would_have_encoded() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'a'; length];
            let (mut plain, mut expected, mut out) = (Vec::new(), Vec::new(), b"front".to_vec());
            encode::message(Kind::Text, &payload, &mut plain);
            encode::masked_message(Kind::Text, [1, 2, 3, 4], &payload, &mut expected);
            Frame::new(&plain).write_masked([1, 2, 3, 4], &mut out);
            assert!(out == [b"front", &*expected].concat(), "{length} bytes");
        }
    }
}
