//! The sending direction: a payload in, the bytes of a compressed message out.
//!
//! Called by [`encode::deflated_message`](crate::encode::deflated_message), or directly by whoever
//! compresses once for many. zlib-rs does the work, in this file and `inflater` only.
//!
//! Invariant: what comes out stands by itself unless the deflater keeps context, never refers
//! back further than the window that it was made for, and is whole blocks less the four bytes
//! that RFC 7692 section 7.2.1 has a sender strip. Whether a message is worth compressing is the
//! caller's to say.

use core::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Strategy};

use super::params::{PEER_WINDOW_BITS_MIN, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// Compresses messages: those of one connection if it keeps context, or of any number if not.
///
/// Nothing is on the heap until the first message that is not empty.
///
/// ```
/// use tickwire_protocol::Deflater;
///
/// let mut deflater = Deflater::new(6, 8, 15, false);
/// // RFC 7692 section 7.2.3.1.
/// assert_eq!(deflater.compress(b"Hello"), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
/// // Without context, the same message gives the same bytes.
/// assert_eq!(deflater.compress(b"Hello"), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
/// ```
pub struct Deflater {
    state: Option<Box<Deflate>>,
    /// All of it is initialised; what is of use is what the last message filled.
    output: Vec<u8>,
    level: u8,
    mem_level: u8,
    window_bits: u8,
    context: bool,
}

impl Deflater {
    /// A compressor of `level` 0 (stored) to 9 (smallest), with the buffers of `mem_level` 1 to 9,
    /// that refers back at most two to the power of `window_bits`, 8 to 15, bytes; the nearest
    /// value is taken of each. With `context` it refers to the messages before, so that it serves
    /// one connection only, all of whose messages must pass through it.
    ///
    /// 8 is what a server may ask of a client, but zlib's window of 256 bytes does not work
    /// (madler/zlib#171): such a deflater does not refer back at all.
    pub const fn new(level: u8, mem_level: u8, window_bits: u8, context: bool) -> Self {
        Self {
            state: None,
            output: Vec::new(),
            level: nearest(level, 0, 9),
            mem_level: nearest(mem_level, 1, 9),
            window_bits: nearest(window_bits, PEER_WINDOW_BITS_MIN, WINDOW_BITS_MAX),
            context,
        }
    }

    /// Compresses `payload`, without the four bytes `00 00 ff ff` at its end.
    ///
    /// The result is never empty: an empty payload is the single byte of RFC 7692 section 7.2.3.6.
    pub fn compress(&mut self, payload: &[u8]) -> &[u8] {
        if payload.is_empty() {
            return EMPTY_MESSAGE;
        }
        self.release();
        self.begin();
        let Some(state) = &mut self.state else { return EMPTY_MESSAGE };
        let mut rest = payload;
        let mut filled = 0;
        let mut wanted = payload.len() / EXPECTED_RATIO;
        loop {
            let room = wanted.max(OUTPUT_BYTES_MIN);
            if room > self.output.len() {
                self.output.reserve_exact(room - self.output.len());
                self.output.resize(room, 0);
            }
            let (taken, made) = step(state, rest, &mut self.output[filled..]);
            rest = &rest[taken..];
            filled += made;
            if filled < self.output.len() && rest.is_empty() {
                break;
            }
            wanted = self.output.len() * 2;
        }
        let (message, tail) = self.output[..filled].split_at(filled.saturating_sub(TAIL.len()));
        debug_assert_eq!(tail, TAIL, "a flush ends with an empty stored block");
        message
    }

    /// Bytes that it holds on the heap: none before the first message.
    pub fn memory(&self) -> usize {
        let state = if self.state.is_some() { self.state_bytes() } else { 0 };
        state + self.output.capacity()
    }

    /// Whether messages refer to those before them.
    pub(crate) const fn keeps_context(&self) -> bool {
        self.context
    }

    /// Gives back what a large message has made the output take.
    pub(crate) fn release(&mut self) {
        if self.output.capacity() > SPARE_BYTES_MAX {
            self.output = Vec::new();
        }
    }

    /// Makes zlib ready for a message.
    fn begin(&mut self) {
        if let Some(state) = &mut self.state {
            if !self.context {
                state.reset();
            }
            return;
        }
        let back_references = self.window_bits >= WINDOW_BITS_MIN;
        let strategy = if back_references { Strategy::Default } else { Strategy::HuffmanOnly };
        self.state = Some(Box::new(Deflate::new_with_config(DeflateConfig {
            level: i32::from(self.level),
            // Negative: a raw stream, without the header and checksum of zlib.
            window_bits: -i32::from(self.window_bits.max(WINDOW_BITS_MIN)),
            mem_level: i32::from(self.mem_level),
            strategy,
            ..DeflateConfig::default()
        })));
    }

    /// What zlib-rs takes: two windows, a chain of positions for each byte of one, hash heads,
    /// pending output with symbols, and its state. The allocation test notices a change.
    fn state_bytes(&self) -> usize {
        let window = 1_usize << self.window_bits.max(WINDOW_BITS_MIN);
        let symbols = 64_usize << self.mem_level;
        2 * window + 2 * window + HASH_HEADS_BYTES + 7 * symbols + STATE_BYTES
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater")
            .field("level", &self.level)
            .field("mem_level", &self.mem_level)
            .field("window_bits", &self.window_bits)
            .field("context", &self.context)
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

/// Lets zlib take of `input` and fill `output`, up to the end of a flush if there is room; how
/// many bytes it took and made.
fn step(state: &mut Deflate, input: &[u8], output: &mut [u8]) -> (usize, usize) {
    let (taken, made) = (state.total_in(), state.total_out());
    state.compress(input, output, DeflateFlush::SyncFlush).expect("zlib takes any bytes");
    let len = |total: u64| usize::try_from(total).expect("a part of a slice");
    (len(state.total_in() - taken), len(state.total_out() - made))
}

const fn nearest(value: u8, least: u8, most: u8) -> u8 {
    if value < least {
        least
    } else if value > most {
        most
    } else {
        value
    }
}

/// What ends each flush and is stripped.
const TAIL: &[u8] = b"\x00\x00\xff\xff";

/// The message that has no payload: the first byte of an empty stored block.
const EMPTY_MESSAGE: &[u8] = b"\x00";

/// How many times shorter a message is first expected to become.
const EXPECTED_RATIO: usize = 2;

/// The least output that is made: a flush must find room for its marker, or it repeats it.
const OUTPUT_BYTES_MIN: usize = 256;

/// The largest output that is kept.
const SPARE_BYTES_MAX: usize = 64 * 1024;

/// The heads of the hash chains, which zlib-rs has as many of for every window.
const HASH_HEADS_BYTES: usize = 128 * 1024;

/// The trees and counters of zlib-rs with the allocation around them, measured.
const STATE_BYTES: usize = 3328;
