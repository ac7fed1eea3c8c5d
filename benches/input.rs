//! What the benches measure with: a receive buffer as a turn of the engine finds it.
//!
//! Masked binary frames lie one behind the other in 16 KB, which stay in the first-level cache
//! beside the code that works on them, as they do in the engine. The benches themselves are beside
//! this file, one for each question.

use tickwire_frame::OpCode;
use tickwire_frame::mask::Key;
use tickwire_protocol::encode;

/// A small request, a ticker update, and a message that fills most of a packet.
pub const PAYLOAD_LENS: [usize; 3] = [20, 125, 1000];

const BUFFER_BYTES: usize = 16 * 1024;

/// Whole frames of one payload length.
#[derive(Clone, Debug)]
pub struct Received {
    /// Bytes of each payload.
    pub payload_len: usize,
    /// The frames as they are received.
    pub bytes: Vec<u8>,
    /// From one frame to the next.
    stride: usize,
    keys: Vec<Key>,
}

impl Received {
    /// As many frames as the buffer holds, each with a key of its own.
    #[must_use]
    pub fn new(payload_len: usize) -> Self {
        let payload = vec![b'a'; payload_len];
        let (mut bytes, mut keys, mut stride) = (Vec::new(), Vec::new(), 0);
        for number in 1u32.. {
            // Any odd constant gives keys without a pattern that a CPU could learn.
            let key = number.wrapping_mul(0x9e37_79b9).to_le_bytes();
            encode::frame(true, OpCode::Binary, Some(key), &payload, &mut bytes);
            keys.push(key);
            stride = bytes.len() / keys.len();
            if bytes.len() + stride > BUFFER_BYTES {
                break;
            }
        }
        Self { payload_len, bytes, stride, keys }
    }

    /// How many frames there are.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Bytes of all payloads together.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.frames() * self.payload_len as u64
    }

    /// Each frame's key and payload.
    pub fn payloads(&mut self) -> impl Iterator<Item = (Key, &mut [u8])> {
        let header_len = self.stride - self.payload_len;
        let frames = self.bytes.chunks_exact_mut(self.stride);
        self.keys.iter().copied().zip(frames.map(move |frame| &mut frame[header_len..]))
    }
}
