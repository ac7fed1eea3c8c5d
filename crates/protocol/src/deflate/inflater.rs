//! The receiving direction: a complete compressed message in, its payload out.
//!
//! Called by `connection` when the last byte of a compressed message has arrived; what it gives is
//! lent to the application. zlib-rs does the work, in this file and `deflater` only.
//!
//! Invariant: output stops one byte beyond the limit that the call names, whatever the input
//! declares or repeats, and the buffer it lies in never grows beyond that. The four bytes that a
//! sender strips (RFC 7692 section 7.2.2) must complete the last block: a message that is cut
//! within a block is an error, not a shorter message.

use core::fmt;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::params::WINDOW_BITS_MAX;
use crate::error::ProtocolError;

/// Inflates the messages of one peer that keeps its context, or of any number that do not.
///
/// Nothing is on the heap until the first compressed message comes.
///
/// ```
/// use tickwire_protocol::{Connection, Event, Inflater, Limits, Role};
///
/// // A compressed "Hello" of a server (RFC 7692 section 7.2.3.1).
/// let mut bytes = *b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
/// let mut input = &mut bytes[..];
/// let mut client = Connection::with_deflate(Role::Client);
/// let (mut inflater, mut control) = (Inflater::new(false), Vec::new());
/// let limits = Limits::default();
/// let event = client.receive(&mut input, &limits, &mut inflater, &mut || [0; 4], &mut control);
/// let Some(Event::Message(message)) = event else { panic!("a message is complete") };
/// assert_eq!(message.as_str(), Some("Hello"));
/// ```
pub struct Inflater {
    state: Option<Box<Inflate>>,
    /// All of it is initialised; what is of use is what the last message filled.
    output: Vec<u8>,
    context: bool,
}

impl Inflater {
    /// An inflater that keeps its window from message to message, for one peer with context
    /// takeover; or else takes each message by itself, from any peer.
    ///
    /// The window is always that of 32 KB, whatever was negotiated: a smaller one would save
    /// nothing, and compressors that were asked for 256 bytes are known to use 512
    /// (madler/zlib#171).
    pub const fn new(context: bool) -> Self {
        Self { state: None, output: Vec::new(), context }
    }

    /// Inflates the compressed message `packed`, at most `limit` bytes of it.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::MessageTooBig`] as soon as more than `limit` bytes come out, and
    /// [`ProtocolError::InvalidDeflate`]. With context, the inflater is then of no further use.
    pub(crate) fn inflate(
        &mut self,
        packed: &[u8],
        limit: u64,
    ) -> Result<&mut [u8], ProtocolError> {
        // zlib makes nothing of a flush with nothing new, so that peers which do not know the one
        // byte of RFC 7692 section 7.2.3.6 send no byte at all for an empty message.
        if packed.is_empty() {
            return Ok(&mut []);
        }
        let state = match &mut self.state {
            Some(state) => {
                if !self.context {
                    state.reset(false);
                }
                state
            }
            state => state.insert(Box::new(Inflate::new(false, WINDOW_BITS_MAX))),
        };
        let most = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
        let mut run = Run { state, output: &mut self.output, filled: 0, most };
        run.message(packed)?;
        let filled = run.filled;
        Ok(&mut self.output[..filled])
    }

    /// Gives back what a large message has made the output take: all of the input was seen.
    #[inline]
    pub(crate) fn release(&mut self) {
        let spare = if self.context { OWN_SPARE_BYTES_MAX } else { SHARED_SPARE_BYTES_MAX };
        if self.output.capacity() > spare {
            self.output = Vec::new();
        }
    }

    /// Bytes that it holds on the heap: none before the first compressed message.
    pub fn memory(&self) -> usize {
        let state = if self.state.is_some() { STATE_BYTES } else { 0 };
        state + self.output.capacity()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("context", &self.context)
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

/// One message on its way through zlib.
struct Run<'a> {
    state: &'a mut Inflate,
    output: &'a mut Vec<u8>,
    filled: usize,
    /// Bytes that must not be reached: one more than the limit.
    most: usize,
}

impl Run<'_> {
    fn message(&mut self, packed: &[u8]) -> Result<(), ProtocolError> {
        if self.blocks(packed)? { Ok(()) } else { self.tail() }
    }

    /// Inflates all of `rest`; tells whether it ends with a final block, which no tail follows.
    fn blocks(&mut self, mut rest: &[u8]) -> Result<bool, ProtocolError> {
        self.grow(rest.len().saturating_mul(EXPECTED_RATIO))?;
        loop {
            let (status, taken) = self.step(rest, InflateFlush::NoFlush)?;
            rest = &rest[taken..];
            if status == Status::StreamEnd {
                // BFINAL: the next block begins a stream of its own, at the next byte (section
                // 7.2.3.4), and without a window, as zlib's own compressor would begin it.
                self.state.reset(false);
                if rest.is_empty() {
                    return Ok(true);
                }
            } else if self.filled == self.output.len() {
                self.grow(self.output.len().saturating_mul(2))?;
            } else if rest.is_empty() {
                return Ok(false);
            } else if taken == 0 {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
    }

    /// Adds what the sender stripped, which must end the last block and nothing else.
    fn tail(&mut self) -> Result<(), ProtocolError> {
        // `Block` stops where a block ends. If the message is cut within one, that is not behind
        // the four bytes, or not at the end of a byte; then what is left of the last one, ones
        // only, spoils the empty block that is put in next.
        match self.step(&TAIL_AND_NEXT, InflateFlush::Block) {
            Ok((_, TAIL_LEN)) => {}
            _ => return Err(ProtocolError::InvalidDeflate),
        }
        match self.step(&EMPTY_BLOCK, InflateFlush::NoFlush) {
            Ok((Status::Ok, EMPTY_BLOCK_LEN)) => Ok(()),
            Ok((Status::StreamEnd, 0)) => {
                // The empty block that the tail belongs to was a final one.
                self.state.reset(false);
                Ok(())
            }
            _ => Err(ProtocolError::InvalidDeflate),
        }
    }

    /// Lets zlib take of `input` and fill what is free of the output; how many bytes it took.
    fn step(
        &mut self,
        input: &[u8],
        flush: InflateFlush,
    ) -> Result<(Status, usize), ProtocolError> {
        let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
        let status = self.state.decompress(input, &mut self.output[self.filled..], flush);
        let len = |total: u64| usize::try_from(total).expect("a part of a slice");
        self.filled += len(self.state.total_out() - before_out);
        if self.filled >= self.most {
            return Err(ProtocolError::MessageTooBig);
        }
        let status = status.map_err(|_| ProtocolError::InvalidDeflate)?;
        Ok((status, len(self.state.total_in() - before_in)))
    }

    /// Makes the output at least `wanted` bytes long, as far as the limit lets it.
    fn grow(&mut self, wanted: usize) -> Result<(), ProtocolError> {
        let len = wanted.max(OUTPUT_BYTES_MIN).min(self.most);
        if len > self.output.len() {
            self.output.reserve_exact(len - self.output.len());
            self.output.resize(len, 0);
        } else if self.filled >= self.most {
            return Err(ProtocolError::MessageTooBig);
        }
        Ok(())
    }
}

/// What a sender strips from the end of each message, and the first byte of a block that would
/// follow, which must be left over.
const TAIL_AND_NEXT: [u8; 5] = [0x00, 0x00, 0xff, 0xff, 0x00];

/// Bytes that a sender strips (RFC 7692 section 7.2.1).
const TAIL_LEN: usize = 4;

const EMPTY_BLOCK_LEN: usize = 5;

/// A stored block without content, which changes nothing.
const EMPTY_BLOCK: [u8; EMPTY_BLOCK_LEN] = [0x00, 0x00, 0x00, 0xff, 0xff];

/// How many times its length a message is first expected to inflate to: JSON in short messages
/// comes to two to four times, so that most never grow their output.
const EXPECTED_RATIO: usize = 4;

/// The least output that is made: small messages then never make it grow.
const OUTPUT_BYTES_MIN: usize = 1024;

/// The largest output that an inflater of many peers keeps: what a thread can spare, and more than
/// messages have of which there are many.
const SHARED_SPARE_BYTES_MAX: usize = 64 * 1024;

/// The largest output that the inflater of a single peer keeps, which there may be thousands of.
const OWN_SPARE_BYTES_MAX: usize = 4 * 1024;

/// What zlib-rs takes for its state and a window, measured: the allocation test notices a change.
const STATE_BYTES: usize = 47_680;
