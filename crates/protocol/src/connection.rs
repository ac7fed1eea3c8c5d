//! An open connection, of either role: received bytes in, events and owed control frames out.
//!
//! After the opening handshake every received byte comes here. The frame parser cuts and unmasks;
//! this file holds what spans frames: the order of fragments, the length of a message, UTF-8 over
//! its pieces, and the closing handshake (RFC 6455 sections 5.4, 5.5 and 7).
//!
//! A message whose payload lies whole in the input is lent from there. Only one that comes in
//! pieces is joined, in a buffer that grows with what arrived and is gone once the message was
//! taken and the input is used up: an idle connection is the 64 bytes of [`Connection`]. A
//! compressed message (RFC 7692) is joined as it came and inflated when it is complete, in the
//! [`Inflater`] that the caller lends: half of one costs its compressed bytes, never a window.
//!
//! Invariant: one Close is sent at most, and nothing after it; after a violation or the peer's
//! Close nothing more is looked at. Time (a peer that never answers our Close, floods of pings)
//! is the reactor's to watch.

use tickwire_frame::mask::Key;
use tickwire_frame::utf8::{self, Validator};
use tickwire_frame::{CloseCode, OpCode, Parser, Piece, Role, Rules, close};

use crate::deflate::Inflater;
use crate::encode;
use crate::error::ProtocolError;
use crate::limits::Limits;
use crate::message::{Kind, Message};

/// The state of one open connection.
///
/// The crate's front page has an example.
#[derive(Debug)]
pub struct Connection {
    parser: Parser,
    /// Bytes declared by the frames of the message begun.
    message_len: u64,
    /// The pieces of the message begun, if any bytes of it had to be kept; or a finished one.
    joined: Option<Box<Joined>>,
    /// A control frame that the input cut, or a finished one.
    cut: Option<Box<CutControl>>,
    /// Empty fragments of the message begun.
    empty_fragments: u32,
    /// The message begun and not ended.
    begun: Option<Begun>,
    end: End,
}

/// What [`Connection::receive`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message is complete.
    Message(Message<'a>),
    /// The peer sent a Ping with these at most 125 bytes; the Pong is in `control` already.
    Ping(&'a [u8]),
    /// The peer sent a Pong, asked for or not, with these at most 125 bytes.
    Pong(&'a [u8]),
    /// The peer's Close, with its code if it gave one, and its reason. The reply is in `control`
    /// already unless our Close went first. Send what is owed, then end the TCP connection.
    Closed(Option<CloseCode>, &'a str),
    /// The peer broke the protocol or a limit. The Close that says so is in `control` already
    /// unless one was sent before. Send what is owed, then end the TCP connection.
    Failed(ProtocolError),
}

/// How far a connection is in closing (RFC 6455 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Neither side has closed.
    Open,
    /// Our Close was sent; the peer's is awaited and nothing else is delivered.
    CloseSent,
    /// The peer's Close came, or the connection failed: every byte is ignored.
    Closed,
}

impl Connection {
    /// A connection whose handshake is done, for the side `role`; holds nothing on the heap.
    pub const fn new(role: Role) -> Self {
        Self::with_rules(Rules { role, rsv1: false })
    }

    /// As [`Connection::new`], where permessage-deflate was agreed on: messages may come
    /// compressed.
    pub const fn with_deflate(role: Role) -> Self {
        Self::with_rules(Rules { role, rsv1: true })
    }

    const fn with_rules(rules: Rules) -> Self {
        let role = rules.role;
        Self {
            parser: Parser::new(rules),
            message_len: 0,
            joined: None,
            cut: None,
            empty_fragments: 0,
            begun: None,
            end: End { role, state: State::Open },
        }
    }

    /// Takes bytes off the front of `input`, unmasking them in place, until there is an event.
    ///
    /// Call it until it gives `None`: then all of `input` is used up, and what the last event
    /// borrowed is freed. `control` is appended to with the control frames that the protocol
    /// itself owes (Pong for Ping, the reply to a Close, the Close of a failure); they are to be
    /// sent as soon as possible. `inflater` is touched only by a connection made with
    /// [`Connection::with_deflate`]; it must be the connection's own if the peer keeps its context
    /// from message to message. `mask` draws the keys that a client masks those with; it is never
    /// called in the role of a server.
    ///
    /// After [`Event::Closed`] and [`Event::Failed`] every later byte is ignored.
    pub fn receive<'e, 'a: 'e>(
        &'e mut self,
        input: &mut &'a mut [u8],
        limits: &Limits,
        inflater: &'e mut Inflater,
        mask: &mut dyn FnMut() -> Key,
        control: &mut Vec<u8>,
    ) -> Option<Event<'e>> {
        if self.end.state == State::Closed {
            *input = &mut [];
            self.release();
            inflater.release();
            return None;
        }
        let event = match self.find(input, limits) {
            // The usual case returns at once, so that the event is not put together twice.
            Ok(Some(Found::Lent(kind, payload))) => {
                return Some(Event::Message(Message { kind, payload }));
            }
            Ok(Some(Found::Joined(kind))) => {
                let payload = self.joined.as_mut().map_or(&mut [][..], |joined| &mut joined.bytes);
                return Some(Event::Message(Message { kind, payload }));
            }
            Ok(None) => {
                self.release();
                inflater.release();
                return None;
            }
            Ok(Some(Found::Packed(kind, lent))) => {
                let joined = self.joined.as_ref().map_or(&[][..], |joined| &joined.bytes);
                match inflate(kind, lent.unwrap_or(joined), inflater, limits) {
                    Ok(message) => return Some(Event::Message(message)),
                    Err(error) => self.fail(error, mask, control),
                }
            }
            Ok(Some(Found::Control(opcode, lent))) => {
                if opcode == OpCode::Close {
                    self.joined = None;
                }
                let kept = self.cut.as_ref().map_or(&[][..], |cut| cut.body());
                self.end.answer(opcode, lent.unwrap_or(kept), mask, control)
            }
            Err(error) => self.fail(error, mask, control),
        };
        if self.end.state == State::Closed {
            *input = &mut [];
        }
        Some(event)
    }

    /// Appends our Close to `control`, once: later calls, and calls after the peer's Close or a
    /// failure, do nothing. `reason` is cut to 123 bytes at a character boundary.
    ///
    /// Messages that still arrive are not delivered, and Pings not answered: the peer reads
    /// nothing behind our Close. A code that must not be on the wire (RFC 6455 section 7.4) makes
    /// a Close without body; 1010, which only a client may send, goes out as 1000 from a server.
    pub fn close(
        &mut self,
        code: CloseCode,
        reason: &str,
        mask: &mut dyn FnMut() -> Key,
        control: &mut Vec<u8>,
    ) {
        if self.end.state == State::Open {
            self.end.send_close(code, reason, mask, control);
            self.end.state = State::CloseSent;
            self.joined = None;
        }
    }

    /// Drops what is under way and fails the connection.
    #[cold]
    fn fail<'e>(
        &mut self,
        error: ProtocolError,
        mask: &mut dyn FnMut() -> Key,
        control: &mut Vec<u8>,
    ) -> Event<'e> {
        (self.joined, self.cut) = (None, None);
        self.end.fail(error, mask, control)
    }

    /// Whether a frame or a message has begun to arrive and is not complete: then the rest of it
    /// is due, for which the caller may set a time.
    pub const fn is_amid(&self) -> bool {
        self.begun.is_some() || self.parser.is_amid()
    }

    /// Bytes that it holds on the heap, of a message or a control frame that has not come whole; none
    /// between messages.
    #[inline]
    pub fn memory(&self) -> usize {
        let joined = self.joined.as_ref().map_or(0, |it| size_of::<Joined>() + it.bytes.capacity());
        let cut = self.cut.as_ref().map_or(0, |_| size_of::<CutControl>());
        joined + cut
    }

    /// How far the connection is in closing.
    pub const fn state(&self) -> State {
        self.end.state
    }

    /// Whether either side has closed or failed the connection.
    pub const fn is_closing(&self) -> bool {
        !matches!(self.end.state, State::Open)
    }

    /// Goes through `input` up to the next thing worth an event.
    #[inline]
    fn find<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        limits: &Limits,
    ) -> Result<Option<Found<'a>>, ProtocolError> {
        loop {
            let Some(piece) = self.parser.next(input)? else { return Ok(None) };
            let found = if piece.opcode.is_control() {
                self.take_control(piece)
            } else {
                self.take_data(piece, limits)?
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Takes a piece of a text, binary or continuation frame; gives the message that it ends.
    #[inline]
    fn take_data<'a>(
        &mut self,
        piece: Piece<'a>,
        limits: &Limits,
    ) -> Result<Option<Found<'a>>, ProtocolError> {
        // Nearly always a frame is a message and lies whole in the input: then nothing has to be
        // noted of it.
        if let (true, None) = (piece.first && piece.last && piece.fin, self.begun)
            && let Some(begun) = Begun::of(&piece)
        {
            if piece.frame_len > begun.len_max(limits) {
                return Err(ProtocolError::MessageTooBig);
            }
            return if self.end.state == State::CloseSent { Ok(None) } else { begun.lend(piece) };
        }
        if piece.first {
            self.begin_frame(&piece, limits)?;
        }
        let Some(begun) = self.begun else { return Err(ProtocolError::NothingToContinue) };
        let ends = piece.last && piece.fin;
        if ends {
            self.begun = None;
        }
        if self.end.state == State::CloseSent {
            return Ok(None);
        }
        if ends && !self.is_joining() {
            return begun.lend(piece);
        }
        self.join(begun, ends, &piece, limits)
    }

    /// The header of a data frame is known: its place in the order of fragments, and the limits.
    #[inline]
    fn begin_frame(&mut self, piece: &Piece<'_>, limits: &Limits) -> Result<(), ProtocolError> {
        let begun = match (Begun::of(piece), self.begun) {
            (None, Some(begun)) => begun,
            (None, None) => return Err(ProtocolError::NothingToContinue),
            (Some(_), Some(_)) => return Err(ProtocolError::MessageUnfinished),
            (Some(begun), None) => {
                self.begun = Some(begun);
                self.message_len = 0;
                self.empty_fragments = 0;
                begun
            }
        };
        self.message_len = self.message_len.saturating_add(piece.frame_len);
        if self.message_len > begun.len_max(limits) {
            return Err(ProtocolError::MessageTooBig);
        }
        if piece.frame_len == 0 && !piece.fin {
            self.empty_fragments += 1;
            if self.empty_fragments > limits.empty_fragments_max {
                return Err(ProtocolError::TooManyEmptyFragments);
            }
        }
        Ok(())
    }

    /// Whether bytes of the message begun are kept.
    #[inline]
    fn is_joining(&self) -> bool {
        self.joined.as_ref().is_some_and(|joined| !joined.finished)
    }

    /// Keeps a piece of a message that does not lie whole in the input.
    fn join<'a>(
        &mut self,
        begun: Begun,
        ends: bool,
        piece: &Piece<'_>,
        limits: &Limits,
    ) -> Result<Option<Found<'a>>, ProtocolError> {
        let most = if piece.fin { self.message_len } else { begun.len_max(limits) };
        if !self.is_joining() {
            if piece.payload.is_empty() {
                // Nothing has arrived, so nothing is allocated for it.
                return Ok(None);
            }
            self.joined.get_or_insert_default().restart();
        }
        let Some(joined) = &mut self.joined else { return Ok(None) };
        if begun.kind == Kind::Text && !begun.packed {
            joined.check_text(piece).map_err(|_| ProtocolError::InvalidText)?;
            if ends {
                joined.text.finish().map_err(|_| ProtocolError::InvalidText)?;
            }
        }
        joined.append(piece.payload, most);
        joined.finished = ends;
        Ok(ends.then_some(if begun.packed {
            Found::Packed(begun.kind, None)
        } else {
            Found::Joined(begun.kind)
        }))
    }

    /// Takes a piece of a control frame; gives the frame once it is whole. While the peer's Close
    /// is awaited, nothing else is of interest.
    #[inline]
    fn take_control<'a>(&mut self, piece: Piece<'a>) -> Option<Found<'a>> {
        let ignored = self.end.state == State::CloseSent && piece.opcode != OpCode::Close;
        if piece.first && piece.last {
            return (!ignored).then_some(Found::Control(piece.opcode, Some(piece.payload)));
        }
        if !piece.payload.is_empty() {
            self.cut.get_or_insert_default().append(&piece);
        }
        (piece.last && !ignored).then_some(Found::Control(piece.opcode, None))
    }

    /// Frees what is finished: all of the input was seen, so its last event is over.
    #[inline]
    fn release(&mut self) {
        let closed = self.end.state == State::Closed;
        if self.joined.as_ref().is_some_and(|joined| joined.finished || closed) {
            self.joined = None;
        }
        if self.cut.as_ref().is_some_and(|cut| cut.finished || closed) {
            self.cut = None;
        }
    }
}

/// What the first frame of a message says of it.
#[derive(Debug, Clone, Copy)]
struct Begun {
    kind: Kind,
    /// Whether it is compressed (RSV1, RFC 7692 section 6).
    packed: bool,
}

impl Begun {
    /// The message that a frame begins; `None` if it continues one.
    #[inline]
    fn of(piece: &Piece<'_>) -> Option<Self> {
        let kind = match piece.opcode {
            OpCode::Text => Kind::Text,
            OpCode::Binary => Kind::Binary,
            _ => return None,
        };
        Some(Self { kind, packed: piece.rsv1 })
    }

    /// The most bytes that the frames of the message may declare.
    #[inline]
    fn len_max(self, limits: &Limits) -> u64 {
        let most = limits.message_bytes_max;
        if self.packed { packed_bytes_max(most) } else { most }
    }

    /// The message whose whole payload is that of `piece`.
    #[inline]
    fn lend<'a>(self, piece: Piece<'a>) -> Result<Option<Found<'a>>, ProtocolError> {
        if self.packed {
            return Ok(Some(Found::Packed(self.kind, Some(piece.payload))));
        }
        if self.kind == Kind::Text && !piece.ascii {
            utf8::check(piece.payload).map_err(|_| ProtocolError::InvalidText)?;
        }
        Ok(Some(Found::Lent(self.kind, piece.payload)))
    }
}

/// Inflates a complete message. Its text can be judged only now.
fn inflate<'e>(
    kind: Kind,
    packed: &[u8],
    inflater: &'e mut Inflater,
    limits: &Limits,
) -> Result<Message<'e>, ProtocolError> {
    let payload = inflater.inflate(packed, limits.message_bytes_max)?;
    if kind == Kind::Text {
        utf8::check(payload).map_err(|_| ProtocolError::InvalidText)?;
    }
    Ok(Message { kind, payload })
}

/// The most bytes that a message of at most `message_bytes_max` may have while it is compressed.
///
/// Compression can lengthen: incompressible bytes cost an honest compressor up to an eighth more
/// with the fixed codes (nine bits for half of all bytes) and less in stored blocks; a quarter
/// leaves room for flushes within the message.
const fn packed_bytes_max(message_bytes_max: u64) -> u64 {
    message_bytes_max.saturating_add(message_bytes_max / 4).saturating_add(64)
}

/// What ends the search through the input; becomes an [`Event`] once nothing borrows the state.
enum Found<'a> {
    /// A message, whole in the input.
    Lent(Kind, &'a mut [u8]),
    /// A message, whole in `Connection::joined`.
    Joined(Kind),
    /// A compressed message, which is in `Connection::joined` if not given.
    Packed(Kind, Option<&'a [u8]>),
    /// A control frame with its body, which is in `Connection::cut` if not given.
    Control(OpCode, Option<&'a [u8]>),
}

/// The closing handshake (RFC 6455 section 7.1): what may still be sent, and by whom.
#[derive(Debug)]
struct End {
    role: Role,
    state: State,
}

impl End {
    /// Sends what a control frame asks for, and makes its event.
    fn answer<'e>(
        &mut self,
        opcode: OpCode,
        body: &'e [u8],
        mask: &mut dyn FnMut() -> Key,
        control: &mut Vec<u8>,
    ) -> Event<'e> {
        match opcode {
            OpCode::Ping => {
                encode::pong(body, self.key(mask), control);
                Event::Ping(body)
            }
            OpCode::Close => match close::decode(body) {
                Ok(given) => {
                    if self.state == State::Open {
                        // Section 5.5.1: the reply echoes the code.
                        let code = given.map_or(CloseCode::NO_STATUS, |(code, _)| code);
                        self.send_close(code, "", mask, control);
                    }
                    self.state = State::Closed;
                    Event::Closed(given.map(|(code, _)| code), given.map_or("", |(_, text)| text))
                }
                Err(error) => self.fail(error.into(), mask, control),
            },
            _ => Event::Pong(body),
        }
    }

    /// Fails the connection (section 7.1.7): the Close, unless one was sent, is the last word.
    #[cold]
    fn fail<'e>(
        &mut self,
        error: ProtocolError,
        mask: &mut dyn FnMut() -> Key,
        control: &mut Vec<u8>,
    ) -> Event<'e> {
        if self.state == State::Open {
            self.send_close(error.close_code(), &error.to_string(), mask, control);
        }
        self.state = State::Closed;
        Event::Failed(error)
    }

    fn send_close(
        &self,
        code: CloseCode,
        reason: &str,
        mask: &mut dyn FnMut() -> Key,
        control: &mut Vec<u8>,
    ) {
        // Section 7.4.1: 1010 is not used by a server.
        let barred = code == CloseCode::MANDATORY_EXTENSION && self.role == Role::Server;
        let code = if barred { CloseCode::NORMAL } else { code };
        encode::close(code, reason, self.key(mask), control);
    }

    fn key(&self, mask: &mut dyn FnMut() -> Key) -> Option<Key> {
        match self.role {
            Role::Server => None,
            Role::Client => Some(mask()),
        }
    }
}

/// The joined pieces of a message.
#[derive(Debug, Default)]
struct Joined {
    bytes: Vec<u8>,
    text: Validator,
    /// Whether the message was handed out: the buffer is then a spare for the next one, until all
    /// of the input is used up.
    finished: bool,
}

impl Joined {
    fn restart(&mut self) {
        // The validator expects a new text already: a message that is finished has ended its text.
        self.bytes.clear();
        self.finished = false;
    }

    fn check_text(&mut self, piece: &Piece<'_>) -> Result<(), tickwire_frame::Utf8Error> {
        if piece.ascii {
            self.text.push_ascii(piece.payload.len())
        } else {
            self.text.push(piece.payload)
        }
    }

    /// Adds what arrived. The room doubles, so that the copying stays linear, but never exceeds
    /// the `most` bytes that the message can have.
    fn append(&mut self, payload: &[u8], most: u64) {
        let needed = self.bytes.len() + payload.len();
        if needed > self.bytes.capacity() {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let doubled = self.bytes.capacity().saturating_mul(2).max(JOINED_BYTES_MIN);
            let room = doubled.min(most).max(needed);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(payload);
    }
}

/// The first room of a message that has to be joined, unless it is declared shorter: what the
/// allocator rounds small requests up to anyway, so that tiny fragments do not reallocate often.
const JOINED_BYTES_MIN: usize = 64;

/// A control frame that the input cut.
#[derive(Debug)]
struct CutControl {
    bytes: [u8; close::BODY_LEN_MAX],
    len: u8,
    /// Whether the frame was handed out.
    finished: bool,
}

impl CutControl {
    fn append(&mut self, piece: &Piece<'_>) {
        if self.finished {
            *self = Self::default();
        }
        let free = &mut self.bytes[usize::from(self.len)..];
        for (free, byte) in free.iter_mut().zip(&*piece.payload) {
            *free = *byte;
            self.len += 1;
        }
        self.finished = piece.last;
    }

    fn body(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Default for CutControl {
    fn default() -> Self {
        Self { bytes: [0; close::BODY_LEN_MAX], len: 0, finished: false }
    }
}

/// What every open connection costs, idle or not: one cache line.
const _: () = assert!(size_of::<Connection>() <= 64);
