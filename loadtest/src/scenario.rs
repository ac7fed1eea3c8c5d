//! What the clients of a fleet do: the seam between the loop and what is measured.
//!
//! The fleet connects, reads, writes and closes; a scenario decides what is sent and judges what
//! comes. It is plain data: no socket and no clock, time is an argument. The fleet is generic over
//! it, so the calls for each message are direct and inlined.
//!
//! A client is named by its number, 0 to `connections - 1`, which is never reused in a run.

use rand::rngs::SmallRng;
use tickwire_frame::{Header, OpCode, mask};
use tickwire_protocol::Kind;

use crate::clock::Nanoseconds;
use crate::fault::Faults;
use crate::measure::Measure;

/// What a fleet's clients send, and what they expect.
///
/// The calls come in this order: `begin` for each client, once all are open; then `received`,
/// `lost` in any order; `stop` when the time is over; again `received` and `lost` until `awaited`
/// is 0 or the wait is over; `finish`.
pub(crate) trait Scenario {
    /// The run's time starts: `client` may send.
    fn begin(&mut self, client: usize, now: Nanoseconds, outbox: &mut Outbox<'_>);

    /// A whole message came for `client`; it was read from the socket at `now`.
    fn received(
        &mut self,
        client: usize,
        message: Received<'_>,
        now: Nanoseconds,
        outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    );

    /// The connection of `client` is gone: nothing of what it awaits will come.
    fn lost(&mut self, client: usize);

    /// The run's time is over: nothing more may be sent.
    fn stop(&mut self);

    /// Messages that are on their way and must come: the run waits for them, within a bound.
    fn awaited(&self) -> u64;

    /// The last checks, when nothing more can come.
    fn finish(&mut self, faults: &mut Faults);

    /// The most that one client ever has to send at once, in bytes on the wire.
    fn outbox_bytes_max(&self) -> usize;

    /// The longest message that may come, in payload bytes.
    fn message_bytes_max(&self) -> u64;
}

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) kind: Kind,
    pub(crate) payload: &'a [u8],
}

/// Where results go.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) measure: Measure,
    pub(crate) faults: Faults,
}

/// What a client wants to send: frames are appended to the loop's one output buffer, which leaves
/// in one system call when the client's input is dealt with.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    pub(crate) masks: &'a mut Masks,
}

/// Masking keys, and the handshake's nonce.
///
/// RFC 6455 section 10.3 wants keys that a script in a browser cannot foresee, so that proxies are
/// not fooled. Here nobody but the user chooses the payload: a fast generator seeded by the system
/// is enough, and a new key for each frame keeps the server's unmasking honest.
#[derive(Debug)]
pub(crate) struct Masks(SmallRng);

impl Masks {
    pub(crate) fn new() -> Self {
        Self(rand::make_rng())
    }

    #[inline]
    pub(crate) fn key(&mut self) -> mask::Key {
        rand::Rng::next_u32(&mut self.0).to_ne_bytes()
    }

    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        rand::Rng::fill_bytes(&mut self.0, &mut nonce);
        nonce
    }
}

impl Outbox<'_> {
    /// Appends a text message.
    pub(crate) fn text(&mut self, text: &str) {
        self.message(OpCode::Text, &[text.as_bytes()]);
    }

    /// Appends a binary message whose payload is the parts one after the other.
    #[inline]
    pub(crate) fn binary(&mut self, parts: &[&[u8]]) {
        self.message(OpCode::Binary, parts);
    }

    /// The parts are written and masked where they will be sent from: no payload is put together
    /// elsewhere first.
    #[inline]
    fn message(&mut self, opcode: OpCode, parts: &[&[u8]]) {
        let key = self.masks.key();
        let payload_len = parts.iter().map(|part| part.len() as u64).sum();
        let header = Header { fin: true, rsv1: false, opcode, mask: Some(key), payload_len };
        let mut head = [0; Header::LEN_MAX];
        let head_len = header.encode(&mut head);
        self.bytes.extend_from_slice(&head[..head_len]);
        let payload_at = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        mask::apply(key, &mut self.bytes[payload_at..]);
    }
}
