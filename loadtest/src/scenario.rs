//! What the clients of a fleet do: the seam between the loop and what is measured.
//!
//! The fleet connects, reads, writes and closes; a scenario decides what is sent and judges what
//! comes. It is plain data: no socket and no clock, time is an argument. The fleet is generic over
//! it, so the calls for each message are direct and inlined.
//!
//! A client is named by its number, 0 to `connections - 1`.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use tickwire_frame::{Header, OpCode, mask};
use tickwire_protocol::{Deflater, Kind, encode};

use crate::clock::Nanoseconds;
use crate::fault::Faults;
use crate::measure::Measure;

/// What a fleet's clients send, and what they expect.
///
/// A client is `opened` once its handshake is done, before the run's time starts or while it goes
/// on. While connections are opened `introduce` names those that have something to say before; the
/// time starts when none of them is `introducing` any more. After `start` the fleet asks `next` in each turn, until it has nothing more to do; `compose`
/// follows for each client that is to send. `stop` ends the time; `received` and `lost` may still
/// come until `awaited` is 0 or the wait is over; `finish` is the last call.
///
/// What is written out here is what clients do that do nothing.
pub(crate) trait Scenario {
    /// The handshake of `client` is done.
    fn opened(&mut self, _client: usize, _now: Nanoseconds, _tally: &mut Tally) {}

    /// A client that has something to say before the run's time starts; `compose` follows.
    fn introduce(&mut self) -> Option<usize> {
        None
    }

    /// How many of them wait for an answer, without which the time does not start.
    fn introducing(&self) -> usize {
        0
    }

    /// The run's time starts.
    fn start(&mut self, _now: Nanoseconds) {}

    /// What is to be done now and was not asked for before.
    fn next(&mut self, _now: Nanoseconds) -> Option<Action> {
        None
    }

    /// When `next` is to be asked although nothing came; [`Nanoseconds::MAX`] for never.
    fn due(&self) -> Nanoseconds {
        Nanoseconds::MAX
    }

    /// Writes what `client` has to say now.
    fn compose(
        &mut self,
        _client: usize,
        _now: Nanoseconds,
        _outbox: &mut Outbox<'_>,
        _tally: &mut Tally,
    ) {
    }

    /// A whole message came for `client`; it was read from the socket at `now`.
    fn received(
        &mut self,
        client: usize,
        message: Received<'_>,
        now: Nanoseconds,
        outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    );

    /// The connection of `client` ends or did not open: nothing of what it awaits will come.
    fn lost(&mut self, _client: usize) {}

    /// The socket of `client` is closed: [`Action::Open`] may open it anew.
    fn vacated(&mut self, _client: usize) {}

    /// Whether the server may end the connection of `client` as it likes: what it does is counted
    /// as its treatment of a bad client and not as a fault. Names the client's kind.
    fn tolerates(&self, _client: usize) -> Option<&'static str> {
        None
    }

    /// The run's time is over: nothing more may be sent.
    fn stop(&mut self, _now: Nanoseconds) {}

    /// Messages that are on their way and must come: the run waits for them, within a bound.
    fn awaited(&self) -> u64 {
        0
    }

    /// The bound of that wait, in nanoseconds.
    fn drain_wait(&self) -> Nanoseconds {
        DRAIN_WAIT
    }

    /// The last checks, when nothing more can come.
    fn finish(&mut self, _now: Nanoseconds, _tally: &mut Tally) {}

    /// The most that one client ever has to send at once, in bytes on the wire.
    fn outbox_bytes_max(&self) -> usize {
        0
    }

    /// The longest message that may come, in payload bytes.
    fn message_bytes_max(&self) -> u64;
}

/// What the fleet is to do for a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Let this open client compose, and send what it wrote; not while former output waits.
    Send(usize),
    /// Open this client, which is not open.
    Open(usize),
    /// Close this open client.
    Close(usize),
    /// Read nothing more for this open client.
    Pause(usize),
    /// Read a little for this client, which is paused.
    Sip(usize),
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
    /// What the server did to clients that were bad on purpose.
    pub(crate) treatment: Treatment,
}

/// How often the server did what (a fault's name) to which kind of bad client.
pub type Treatment = BTreeMap<(String, String), u64>;

/// What a client wants to send: frames are appended to the loop's one output buffer, which leaves
/// in one system call when the client's input is dealt with.
#[derive(Debug)]
pub(crate) struct Outbox<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    pub(crate) masks: &'a mut Masks,
    /// For clients that compress.
    pub(crate) compressor: Option<&'a mut Compressor>,
}

/// Compresses the messages of all clients, each by itself.
#[derive(Debug)]
pub(crate) struct Compressor {
    deflater: Deflater,
    window_bits: u8,
    /// A message whose parts are put together.
    whole: Vec<u8>,
}

impl Compressor {
    /// One whose messages may refer back by 32 KB.
    pub(crate) fn new() -> Self {
        Self::with_window(15)
    }

    fn with_window(window_bits: u8) -> Self {
        let deflater = Deflater::new(LEVEL, MEM_LEVEL, window_bits, false);
        Self { deflater, window_bits, whole: Vec::new() }
    }

    /// Refers back no further than a client agreed to: whoever may have more has less from now on.
    pub(crate) fn narrow(&mut self, window_bits: u8) {
        if window_bits < self.window_bits {
            *self = Self::with_window(window_bits);
        }
    }
}

/// The quickest that compresses: what the generator spends is not what is measured.
const LEVEL: u8 = 1;

/// zlib's own default.
const MEM_LEVEL: u8 = 8;

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

/// How long answers that are due are waited for after the end, in nanoseconds.
const DRAIN_WAIT: Nanoseconds = 5_000_000_000;

/// How long after the end publications of the time before are listened for, in nanoseconds: what is
/// on its way then is slow, and leaving it out would flatter the server. A server that has nothing
/// more to publish is not known from one that is slow, so the wait is short.
pub(crate) const PUBLISHED_WAIT: Nanoseconds = 500_000_000;

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
        if self.compressor.is_some() {
            return self.compressed(opcode, parts);
        }
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

    /// Out of the way of those that do not compress. A message that would be no shorter goes plain.
    #[cold]
    fn compressed(&mut self, opcode: OpCode, parts: &[&[u8]]) {
        let Some(Compressor { deflater, whole, .. }) = self.compressor.as_deref_mut() else {
            return;
        };
        whole.clear();
        parts.iter().for_each(|part| whole.extend_from_slice(part));
        let kind = if opcode == OpCode::Text { Kind::Text } else { Kind::Binary };
        encode::deflated_message(kind, Some(self.masks.key()), whole, deflater, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use tickwire_frame::Role;
    use tickwire_protocol::{Connection, Event, Inflater, Limits};

    use super::*;

    #[test]
    fn what_is_worth_it_is_compressed_and_comes_out_as_it_was() {
        let (mut bytes, mut masks, mut compressor) = (Vec::new(), Masks::new(), Compressor::new());
        compressor.narrow(9);
        let text = "price 100, price 101, ".repeat(100);
        for (parts, is_compressed) in
            [([text.as_bytes(), b"end"], true), ([b"a", b"b"], false), ([b"", b""], false)]
        {
            bytes.clear();
            let compressor = Some(&mut compressor);
            Outbox { bytes: &mut bytes, masks: &mut masks, compressor }.binary(&parts);
            assert_eq!(bytes[0] & 0x40 != 0, is_compressed, "RSV1");
            assert!(!is_compressed || bytes.len() < text.len() / 4, "{} bytes", bytes.len());
            let mut server = Connection::with_deflate(Role::Server);
            let (mut inflater, mut control) = (Inflater::new(false), Vec::new());
            let mut input = &mut bytes[..];
            let mut no_mask = || [0; 4];
            let event = server.receive(
                &mut input,
                &Limits::default(),
                &mut inflater,
                &mut no_mask,
                &mut control,
            );
            let Some(Event::Message(message)) = event else { panic!("no message: {event:?}") };
            assert_eq!(message.payload, parts.concat());
        }
    }
}
