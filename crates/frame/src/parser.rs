//! Received bytes in, pieces of frames out, each lent from where it lies.
//!
//! Between the socket's buffer and the connection. Nearly always a frame lies whole in the input:
//! [`Parser::next`] then glances at eight bytes, unmasks in place and lends the payload, without
//! touching its own state. Only a header or a payload that the input cuts takes the longer way,
//! where what is known of the frame so far is kept until the next read.
//!
//! Invariant: the pieces of a frame, joined, are the same for every way of cutting the input; all
//! input is consumed before `None` is returned. Joining fragments and pieces, limits and the order
//! of opcodes are the connection's.

use core::mem;

use crate::error::FrameError;
use crate::header::{Decoded, Glance, Header, OpCode, Rules};
use crate::mask::{self, Key};

/// Cuts received bytes into frames, unmasking each payload where it lies.
///
/// It is all that a connection keeps for receiving: at most 32 bytes, of which an unfinished header
/// is part, so that the caller never has to keep a tail of its input.
///
/// ```
/// use tickwire_frame::{OpCode, Parser, Role, Rules};
///
/// // A masked "Hello" of RFC 6455 section 5.7, which a network cut in two.
/// let mut parser = Parser::new(Rules::new(Role::Server));
/// let mut first = [0x81, 0x85, 0x37, 0xfa];
/// let mut second = [0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
///
/// assert!(parser.next(&mut &mut first[..])?.is_none());
/// let mut input = &mut second[..];
/// let piece = parser.next(&mut input)?.expect("the frame is complete");
/// assert_eq!((piece.opcode, &*piece.payload), (OpCode::Text, &b"Hello"[..]));
/// assert!(piece.first && piece.last && piece.ascii);
/// assert!(parser.next(&mut input)?.is_none());
/// # Ok::<(), tickwire_frame::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Parser {
    rules: Rules,
    state: State,
}

/// Part of a frame, in the order of arrival: usually all of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// What the frame carries.
    pub opcode: OpCode,
    /// Whether the frame is the last of its message.
    pub fin: bool,
    /// Whether the frame begins a compressed message (RFC 7692).
    pub rsv1: bool,
    /// Bytes of payload that the header declared for the whole frame, below 2^63. Not to be
    /// trusted for an allocation.
    pub frame_len: u64,
    /// Whether this is the first piece of its frame; it may have no payload yet.
    pub first: bool,
    /// Whether the payload of the frame is complete with this piece.
    pub last: bool,
    /// Whether every byte of this piece's payload is below 0x80.
    pub ascii: bool,
    /// The unmasked bytes.
    pub payload: &'a mut [u8],
}

impl Parser {
    /// A parser that expects the first byte of a frame; allocates nothing.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self { rules, state: State::Between }
    }

    /// Whether a frame has begun to arrive and is not complete.
    #[inline]
    #[must_use]
    pub const fn is_amid(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    /// Takes the next piece of a frame off the front of `input`, unmasked in place; `None` when all
    /// of `input` is consumed.
    ///
    /// Call it until it returns `None`, then again with what is received next. A piece comes as
    /// soon as its header is complete, even with no byte of payload yet, so that limits can act on
    /// the declared length.
    ///
    /// # Errors
    ///
    /// The frame breaks RFC 6455 section 5. The connection has to be failed; neither the parser nor
    /// what is left of `input` is of further use.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Piece<'a>>, FrameError> {
        if let Some(piece) = self.next_whole(input) {
            return Ok(Some(piece));
        }
        // By value, so that the compiler can keep the caller's slice in registers.
        let (rest, piece) = self.next_part(mem::take(input));
        *input = rest;
        piece
    }

    /// The way nearly all frames take: whole in `input`, with a length of at most 16 bits.
    #[inline(always)]
    fn next_whole<'a>(&self, input: &mut &'a mut [u8]) -> Option<Piece<'a>> {
        if !matches!(self.state, State::Between) {
            return None;
        }
        let glance = Glance::decode(*input.first_chunk()?, self.rules)?;
        let frame_end = glance.header_len + glance.payload_len;
        if frame_end > input.len() {
            return None;
        }
        let payload = &mut take_front(input, frame_end)[glance.header_len..];
        let ascii = mask::apply(glance.key, payload);
        Some(Piece {
            opcode: glance.opcode(),
            fin: glance.fin(),
            rsv1: glance.rsv1(),
            frame_len: glance.payload_len as u64,
            first: true,
            last: true,
            ascii,
            payload,
        })
    }

    /// The way of all other frames: cut by the input, long, very short or at fault. Returns what is
    /// left of `input` too.
    #[inline(never)]
    fn next_part<'a>(&mut self, mut input: &'a mut [u8]) -> (&'a mut [u8], Next<'a>) {
        let piece = match &mut self.state {
            // The state stays `Between` at the end of a frame, so that the next may be glanced at.
            _ if input.is_empty() => Ok(None),
            State::Payload(frame) => Ok(Some(frame.piece(&mut input, false))),
            State::Between | State::Header { .. } => self.first_piece(&mut input),
        };
        if let Ok(Some(Piece { last: true, .. })) = piece {
            self.state = State::Between;
        }
        (input, piece)
    }

    /// Takes a header and what follows of its payload.
    fn first_piece<'a>(&mut self, input: &mut &'a mut [u8]) -> Next<'a> {
        let Some(header) = self.take_header(input)? else { return Ok(None) };
        let mut frame = Frame::new(header);
        let piece = frame.piece(input, true);
        self.state = State::Payload(frame);
        Ok(Some(piece))
    }

    /// Takes a header off the front of `input`, together with what was stashed of it; `None`, and
    /// the bytes are stashed, if it is not complete yet.
    fn take_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, FrameError> {
        let (mut bytes, stash_len) = match self.state {
            State::Header { stash, stash_len } => (stash, usize::from(stash_len)),
            State::Between | State::Payload(_) => ([0; Header::LEN_MAX], 0),
        };
        let fresh = input.len().min(Header::LEN_MAX - stash_len);
        let len = stash_len + fresh;
        bytes[stash_len..len].copy_from_slice(&input[..fresh]);
        match Header::decode(&bytes[..len], self.rules)? {
            Decoded::Complete { header, header_len } => {
                take_front(input, header_len - stash_len);
                Ok(Some(header))
            }
            Decoded::Incomplete => {
                take_front(input, fresh);
                #[expect(clippy::cast_possible_truncation, reason = "at most 14")]
                let stash_len = len as u8;
                self.state = State::Header { stash: bytes, stash_len };
                Ok(None)
            }
        }
    }
}

/// What [`Parser::next`] returns.
type Next<'a> = Result<Option<Piece<'a>>, FrameError>;

/// Where in a frame the input ended.
#[derive(Clone, Debug)]
enum State {
    /// Before the first byte of a frame.
    Between,
    /// Within a header: its first bytes.
    Header { stash: [u8; Header::LEN_MAX], stash_len: u8 },
    /// Within a payload.
    Payload(Frame),
}

/// A frame whose payload has not all arrived.
#[derive(Clone, Debug)]
struct Frame {
    /// Bytes of payload still to come.
    remaining: u64,
    payload_len: u64,
    /// The key as it applies to the next byte of payload; zeros if the frame is not masked.
    key: Key,
    opcode: OpCode,
    fin: bool,
    rsv1: bool,
}

impl Frame {
    fn new(header: Header) -> Self {
        Self {
            remaining: header.payload_len,
            payload_len: header.payload_len,
            key: header.mask.unwrap_or_default(),
            opcode: header.opcode,
            fin: header.fin,
            rsv1: header.rsv1,
        }
    }

    /// Takes as much of the payload as there is off the front of `input`.
    fn piece<'a>(&mut self, input: &mut &'a mut [u8], first: bool) -> Piece<'a> {
        let len = usize::try_from(self.remaining).map_or(input.len(), |rest| rest.min(input.len()));
        let payload = take_front(input, len);
        let ascii = mask::apply(self.key, payload);
        self.key = mask::rotate(self.key, len);
        self.remaining -= len as u64;
        Piece {
            opcode: self.opcode,
            fin: self.fin,
            rsv1: self.rsv1,
            frame_len: self.payload_len,
            first,
            last: self.remaining == 0,
            ascii,
            payload,
        }
    }
}

/// Splits `len` bytes off the front of `input`.
#[inline(always)]
fn take_front<'a>(input: &mut &'a mut [u8], len: usize) -> &'a mut [u8] {
    let (front, rest) = mem::take(input).split_at_mut(len);
    *input = rest;
    front
}

/// What a connection pays for receiving, while idle or not.
const _: () = assert!(size_of::<Parser>() <= 32);
