//! What the benches measure with: a receive buffer as a turn of the engine finds it, and texts.
//!
//! Masked frames lie one behind the other in 16 KB, which stay in the first-level cache beside the
//! code that works on them, as they do in the engine: one frame worked on over and over would
//! measure how the CPU forwards its last stores. The benches are beside this file, one for each
//! question.
//!
//! Invariant: every frame of a buffer has a key and a payload of its own, which
//! [`Received::payload`] gives, so that whoever claims to have read them can be held to it.

use std::fmt;

use tickwire_frame::mask::{self, Key};
use tickwire_frame::{Header, OpCode};

/// A small request, a ticker update, and a message that fills most of a packet.
pub const PAYLOAD_LENS: [usize; 3] = [20, 125, 1000];

/// What the engine receives into.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// What payloads consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Bytes without a pattern, in binary frames.
    Binary,
    /// Text of one-byte characters only.
    Ascii,
    /// Text with characters of one to four bytes.
    Mixed,
}

impl Contents {
    /// A payload of exactly `len` bytes, different for each `number`.
    #[must_use]
    pub fn payload(self, len: usize, number: u32) -> Vec<u8> {
        match self {
            Self::Binary => {
                let words = (0u32..).flat_map(|index| key(number ^ index << 16));
                words.take(len).collect()
            }
            Self::Ascii => text("The quick brown fox jumps over the lazy dog. ", len, number),
            Self::Mixed => text("Größe: 5 €/kg, 日本株, тикер ▲ 🙂 ok; ", len, number),
        }
    }

    const fn opcode(self) -> OpCode {
        match self {
            Self::Binary => OpCode::Binary,
            Self::Ascii | Self::Mixed => OpCode::Text,
        }
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Binary => "binary",
            Self::Ascii => "ascii",
            Self::Mixed => "mixed",
        })
    }
}

/// Whole masked frames of one payload length.
#[derive(Clone, Debug)]
pub struct Received {
    /// What the payloads consist of.
    pub contents: Contents,
    /// Bytes of each payload.
    pub payload_len: usize,
    /// The frames as they are received.
    pub bytes: Vec<u8>,
    header_len: usize,
}

impl Received {
    /// As many frames as 16 KB hold, or one that is longer.
    #[must_use]
    pub fn new(contents: Contents, payload_len: usize) -> Self {
        let (mut bytes, mut header_len) = (Vec::new(), 0);
        for number in 0u32.. {
            let mut payload = contents.payload(payload_len, number);
            mask::apply(key(number), &mut payload);
            header_len = put_header(contents.opcode(), payload_len, key(number), &mut bytes);
            bytes.extend_from_slice(&payload);
            if bytes.len() + header_len + payload_len > BUFFER_BYTES {
                break;
            }
        }
        Self { contents, payload_len, bytes, header_len }
    }

    /// How many frames there are.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.bytes.len() / self.stride()
    }

    /// The payload of the frame `number`, unmasked.
    #[must_use]
    pub fn payload(&self, number: u32) -> Vec<u8> {
        self.contents.payload(self.payload_len, number)
    }

    /// Each frame's key, read from its header, and its payload as it lies in the buffer.
    #[inline]
    pub fn payloads(&mut self) -> impl Iterator<Item = (Key, &mut [u8])> {
        let (stride, header_len) = (self.stride(), self.header_len);
        self.bytes.chunks_exact_mut(stride).map(move |frame| {
            let (header, payload) = frame.split_at_mut(header_len);
            (*header.last_chunk().expect("a masked header ends with its key"), payload)
        })
    }

    /// From one frame to the next.
    const fn stride(&self) -> usize {
        self.header_len + self.payload_len
    }
}

fn put_header(opcode: OpCode, payload_len: usize, key: Key, out: &mut Vec<u8>) -> usize {
    let payload_len = payload_len as u64;
    let header = Header { fin: true, rsv1: false, opcode, mask: Some(key), payload_len };
    let mut bytes = [0; Header::LEN_MAX];
    let len = header.encode(&mut bytes);
    out.extend_from_slice(&bytes[..len]);
    len
}

/// A key without a pattern that a CPU could learn.
fn key(number: u32) -> Key {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9);
    (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b).to_le_bytes()
}

/// `len` bytes of text: the number, then `phrase` again and again, filled up where a character of it
/// would be cut.
fn text(phrase: &str, len: usize, number: u32) -> Vec<u8> {
    let mut text = format!("{number:03} ");
    while text.len() < len {
        text.push_str(phrase);
    }
    let mut whole = len;
    while !text.is_char_boundary(whole) {
        whole -= 1;
    }
    text.truncate(whole);
    let mut bytes = text.into_bytes();
    bytes.resize(len, b'.');
    bytes
}
