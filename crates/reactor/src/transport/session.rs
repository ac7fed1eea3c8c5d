//! TLS of one connection (RFC 8446, RFC 5246), from memory to memory.
//!
//! Between the socket and the protocol: ciphertext is read where the back end lends it, plain bytes
//! are appended to a buffer of the shard, and what TLS has to say for itself waits in `pending` until
//! the transport sends it. rustls does the cryptography and the handshake; it never sees a socket.
//!
//! Invariant: of what was received only an unfinished record is kept, and while a handshake message
//! is spread over several records those. Of what is to be sent only ciphertext is kept that a socket
//! did not take. An idle session holds neither.

use std::mem;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, HandshakeKind, InvalidMessage, ServerConfig};
use tickwire_protocol::Refusal;

use super::memory::Entry;
use crate::error::TlsError;

/// One connection with TLS.
pub(super) struct Session {
    /// Of the key by which the shard knows the connection.
    pub(super) generation: u32,
    side: Side,
    stage: Stage,
    /// Received and not complete.
    tail: Vec<u8>,
    /// Sealed and not sent.
    pub(super) pending: Vec<u8>,
    /// The socket does not take more now.
    pub(super) is_blocked: bool,
    /// The shard was refused, and waits for the word that there is room.
    pub(super) is_awaited: bool,
    /// It is on the list of those whose `pending` is to be sent.
    pub(super) is_listed: bool,
    /// The end of our half of the stream is to follow behind `pending`.
    pub(super) is_ending: bool,
    /// That end was sent: nothing may follow.
    pub(super) has_ended: bool,
    /// `close_notify` is sent, or among what is pending.
    has_parted: bool,
    /// What the shard's account has of it.
    pub(super) entry: Entry,
}

enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was received.
    Silent,
    Handshake,
    /// Messages go both ways.
    Open,
    /// Nothing will be received any more; something may be sent.
    HalfOpen,
    /// TLS has failed, or never began.
    Failed,
}

/// What received bytes have brought about, besides plain bytes.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The handshake is complete; whether it took up an earlier session.
    pub(super) secured: Option<bool>,
    /// Nothing will be received any more: the peer has said so, or has broken TLS.
    pub(super) ended: Option<Option<TlsError>>,
}

impl Session {
    /// Of this and of what rustls holds for it, measured from outside (2,000 connections of
    /// `examples/echo`): 2.0 KB before the first byte, 2.8 KB amid the handshake, 3.9 KB once it is over.
    const STATE_BYTES: usize = 3_584;

    /// The longest record (RFC 8446 section 5.2 allows 256 bytes of overhead, RFC 5246 section 6.2.3 2048).
    pub(super) const WHOLE_RECORD_BYTES_MAX: usize = HEADER_BYTES + RECORD_BYTES + 2048;

    pub(super) fn accepting(
        generation: u32,
        config: &Arc<ServerConfig>,
    ) -> Result<Self, rustls::Error> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self { generation, ..Self::new(Side::Server(Box::new(connection))) })
    }

    /// Of a connection that has no name yet.
    pub(super) fn dialing(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        let connection = UnbufferedClientConnection::new(Arc::clone(config), name)?;
        Ok(Self::new(Side::Client(Box::new(connection))))
    }

    fn new(side: Side) -> Self {
        Self {
            generation: 0,
            side,
            stage: Stage::Silent,
            tail: Vec::new(),
            pending: Vec::new(),
            is_blocked: false,
            is_awaited: false,
            is_listed: false,
            is_ending: false,
            has_ended: false,
            has_parted: false,
            entry: Entry::default(),
        }
    }

    /// Bytes of memory that it holds, about.
    pub(super) const fn memory(&self) -> usize {
        Self::STATE_BYTES + self.unread() + self.unsent()
    }

    /// Of these, those of what has not come whole.
    pub(super) const fn unread(&self) -> usize {
        self.tail.capacity()
    }

    /// Of these, those of what the socket did not take.
    pub(super) const fn unsent(&self) -> usize {
        self.pending.capacity()
    }

    /// Whether the application's bytes can be sent.
    pub(super) const fn can_send(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::HalfOpen)
    }

    pub(super) const fn is_client(&self) -> bool {
        matches!(self.side, Side::Client(_))
    }

    /// Whether the handshake is over, one way or the other.
    pub(super) const fn is_settled(&self) -> bool {
        !matches!(self.stage, Stage::Silent | Stage::Handshake)
    }

    /// Whether TLS has failed: nothing but what is pending can be sent.
    pub(super) const fn has_failed(&self) -> bool {
        matches!(self.stage, Stage::Failed)
    }

    /// Whether nothing will be received any more.
    pub(super) const fn is_deaf(&self) -> bool {
        matches!(self.stage, Stage::HalfOpen | Stage::Failed)
    }

    /// Our socket is connected: the first message of a client.
    pub(super) fn greet(&mut self) {
        self.stage = Stage::Handshake;
        // It reads nothing, so nothing can be wrong with what it reads.
        let _ = self.side.drive(&mut [], &mut Vec::new(), &mut self.pending, Word::Nothing);
    }

    /// Takes what has arrived. Plain bytes are appended to `plain`, what TLS has to say to that to
    /// `pending`.
    pub(super) fn receive(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Received {
        let mut received = Received::default();
        if self.is_deaf() || bytes.is_empty() {
            return received;
        }
        if self.stage == Stage::Silent {
            self.stage = Stage::Handshake;
            if bytes[0].is_ascii_uppercase() {
                // No record of TLS begins with a letter, and every request of HTTP does.
                self.stage = Stage::Failed;
                let words = "this port speaks TLS: use https:// or wss://";
                Refusal::new(400, words).encode(&mut self.pending);
                received.ended = Some(Some(TlsError::NotTls));
                return received;
            }
        }
        let mut rest = bytes;
        while !rest.is_empty() && received.ended.is_none() {
            if self.tail.is_empty() {
                let used = self.advance(rest, plain, &mut received);
                if received.ended.is_none() {
                    self.tail.extend_from_slice(&rest[used..]);
                }
                break;
            }
            // Only what completes the unfinished record is copied to it.
            let missing = missing(&self.tail);
            let (now, later) = rest.split_at_mut(missing.min(rest.len()));
            let mut tail = mem::take(&mut self.tail);
            if tail.capacity() < tail.len() + now.len() {
                // Byte by byte it must not be moved for each; nor is there to be room for more than the
                // record, which would make its peer seem to hold more than it does.
                tail.reserve_exact(now.len().max(tail.len().min(missing)));
            }
            tail.extend_from_slice(now);
            let used = self.advance(&mut tail, plain, &mut received);
            if used < tail.len() {
                tail.drain(..used);
                self.tail = tail;
            }
            rest = later;
        }
        if self.tail.len() > self.tail_bytes_max() && received.ended.is_none() {
            self.tail = Vec::new();
            self.stage = Stage::Failed;
            let words = "a message of TLS is longer than any that is said here";
            received.ended = Some(Some(TlsError::Peer(words.to_owned())));
        }
        received
    }

    /// How much is kept that is not complete.
    const fn tail_bytes_max(&self) -> usize {
        match (&self.side, self.stage) {
            (Side::Client(_), Stage::Handshake) => CHAIN_BYTES_MAX,
            _ => TAIL_BYTES_MAX,
        }
    }

    /// Reads records as far as they are whole; gives how much of `bytes` is done with.
    fn advance(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, received: &mut Received) -> usize {
        let driven = self.side.drive(bytes, plain, &mut self.pending, Word::Nothing);
        if driven.can_send && self.stage == Stage::Handshake {
            self.stage = Stage::Open;
            let kind = self.side.common().handshake_kind();
            received.secured = Some(kind == Some(HandshakeKind::Resumed));
        }
        if let Some(error) = driven.error {
            self.stage = Stage::Failed;
            received.ended = Some(Some(self.blame(error)));
        } else if driven.is_over {
            self.stage = Stage::HalfOpen;
            received.ended = Some(None);
        }
        driven.used
    }

    fn blame(&self, error: rustls::Error) -> TlsError {
        match error {
            rustls::Error::InvalidCertificate(error) => TlsError::Certificate(error.to_string()),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)
                if matches!(self.side, Side::Client(_)) =>
            {
                TlsError::NotTls
            }
            error => TlsError::Peer(error.to_string()),
        }
    }

    /// The stream has ended: what that means, if it was not announced.
    pub(super) fn end(&mut self) -> Option<TlsError> {
        let cut = match (self.stage, &self.side) {
            // Whoever looks whether a port is open goes without a word.
            (Stage::Silent, Side::Server(_)) | (Stage::HalfOpen | Stage::Failed, _) => None,
            (Stage::Silent | Stage::Handshake, _) => Some(TlsError::Unfinished),
            (Stage::Open, _) => Some(TlsError::CutOff),
        };
        self.stage = Stage::Failed;
        cut
    }

    /// Appends `payload` to `out`, sealed in records of up to 16 KB each; `false`: it cannot be sealed
    /// any more.
    pub(super) fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let word = Word::Data(payload);
        // It has looked at the tail before, and waits for more of it.
        let driven = self.side.drive(&mut self.tail, &mut Vec::new(), out, word);
        self.tail.drain(..driven.used);
        if !driven.has_written {
            self.stage = Stage::Failed;
        }
        driven.has_written
    }

    /// Nothing of ours follows, not even what is pending: the peer finds its stream cut off.
    pub(super) fn give_up(&mut self) {
        self.pending = Vec::new();
        self.tail = Vec::new();
        self.stage = Stage::Failed;
        self.has_ended = true;
    }

    /// Our last word: nothing of ours follows (RFC 8446 section 6.1).
    pub(super) fn part(&mut self) {
        if self.can_send() && !self.has_parted {
            self.has_parted = true;
            let Self { side, tail, pending, .. } = self;
            let driven = side.drive(tail, &mut Vec::new(), pending, Word::Goodbye);
            tail.drain(..driven.used);
        }
    }
}

/// How many bytes the record at the end of an unfinished `tail` still lacks.
fn missing(tail: &[u8]) -> usize {
    let &[_, _, _, high, low, ..] = tail else { return HEADER_BYTES - tail.len() };
    let record = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    match record.checked_sub(tail.len()) {
        None | Some(0) => usize::MAX,
        Some(missing) => missing,
    }
}

/// What is written as soon as the application may write.
enum Word<'a> {
    Nothing,
    Data(&'a [u8]),
    Goodbye,
}

/// How far a connection was driven.
#[derive(Default)]
struct Driven {
    /// Bytes of the input that are done with.
    used: usize,
    /// The handshake is complete.
    can_send: bool,
    /// What was to be written is.
    has_written: bool,
    /// The peer has announced the end of what it sends.
    is_over: bool,
    error: Option<rustls::Error>,
}

impl Side {
    fn common(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }

    fn drive(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        word: Word<'_>,
    ) -> Driven {
        match self {
            Self::Server(connection) => drive(&mut **connection, incoming, plain, out, &word),
            Self::Client(connection) => drive(&mut **connection, incoming, plain, out, &word),
        }
    }
}

/// What the two sides of rustls have in common.
trait Machine {
    type Data;

    /// Whether there is something of TLS's own to be sent.
    fn wants_write(&self) -> bool;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Machine for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Machine for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn wants_write(&self) -> bool {
        CommonState::wants_write(self)
    }

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// Lets a connection do all that it can with `incoming`.
fn drive<M: Machine>(
    machine: &mut M,
    incoming: &mut [u8],
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    word: &Word<'_>,
) -> Driven {
    let mut driven = Driven::default();
    let mut goes_on = true;
    while goes_on {
        let UnbufferedStatus { mut discard, state } = machine.process(&mut incoming[driven.used..]);
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
                // Whoever receives data may send it; and to ask once more what comes next is a tenth of
                // what TLS costs a short message.
                driven.can_send = true;
                goes_on = driven.used + discard < incoming.len()
                    || machine.wants_write()
                    || !matches!(word, Word::Nothing);
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => driven.is_over = true,
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                driven.can_send = true;
                driven.has_written = write(&mut traffic, word, out);
                goes_on = false;
            }
            // It waits for more, or both have parted. Data ahead of the handshake is never offered.
            Ok(_) => goes_on = false,
            Err(error) => {
                driven.error = Some(error);
                goes_on = false;
            }
        }
        driven.used += discard;
    }
    if driven.error.is_some() {
        // What the peer is told about it waits behind the error. With nothing left to tell, the bytes
        // that were wrong must not be looked at again.
        while machine.wants_write() {
            let status = machine.process(&mut incoming[driven.used..]);
            if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
                encode(&mut data, out);
            }
        }
    }
    driven
}

/// Appends a message of the handshake, or an alert.
fn encode<D>(data: &mut EncodeTlsData<'_, D>, out: &mut Vec<u8>) {
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        let start = out.len();
        out.resize(start + size.required_size, 0);
        let written = data.encode(&mut out[start..]).unwrap_or(0);
        out.truncate(start + written);
    }
}

/// Appends what the application says; `false`: it cannot be said.
fn write<D>(traffic: &mut WriteTraffic<'_, D>, word: &Word<'_>, out: &mut Vec<u8>) -> bool {
    let payload = match word {
        Word::Nothing => return true,
        Word::Data(payload) => payload.len(),
        Word::Goodbye => 0,
    };
    let start = out.len();
    let mut room = payload + (1 + payload / RECORD_BYTES) * OVERHEAD_BYTES_MAX;
    loop {
        out.resize(start + room, 0);
        let written = match word {
            Word::Data(payload) => traffic.encrypt(payload, &mut out[start..]),
            Word::Nothing | Word::Goodbye => traffic.queue_close_notify(&mut out[start..]),
        };
        match written {
            Ok(written) => {
                out.truncate(start + written);
                return true;
            }
            // Something of TLS's own goes with it, such as new keys.
            Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
            }
            Err(_) => {
                out.truncate(start);
                return false;
            }
        }
    }
}

/// Type, version and length of a record (RFC 8446 section 5.1).
const HEADER_BYTES: usize = 5;

/// The most plain bytes of a record (RFC 8446 section 5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// An unfinished record, and as much again of a message that is spread over several: a hello is 2 KB
/// at most. rustls takes messages of 64 KB in records of one byte each, which would keep 1.5 MB of a
/// connection for as long as its peer likes.
const TAIL_BYTES_MAX: usize = 2 * Session::WHOLE_RECORD_BYTES_MAX;

/// As that, while a server may show its certificates, of which there may be many: 64 KB, the longest
/// message that rustls takes.
const CHAIN_BYTES_MAX: usize = 64 * 1024 + TAIL_BYTES_MAX;

/// What a record has besides: header, explicit nonce of TLS 1.2, type of TLS 1.3, tag; generously.
const OVERHEAD_BYTES_MAX: usize = 64;
