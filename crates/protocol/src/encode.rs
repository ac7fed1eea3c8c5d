//! Frames on their way out: messages whole, control frames, and single fragments.
//!
//! Everything is appended to a buffer of the caller, so that what a connection has to say in a
//! turn becomes one contiguous run and one send. A server's frames are not masked, a client's are,
//! with a key that the caller draws (RFC 6455 section 5.3 asks for an unpredictable one).
//!
//! Invariant: a message is one frame in the shortest form, control frames are never too long.
//! Only [`frame`] lets the caller break rules: whoever tests a peer needs that.

use tickwire_frame::close;
use tickwire_frame::mask::{self, Key};
use tickwire_frame::{CloseCode, Header, OpCode};

use crate::deflate::Deflater;
use crate::message::Kind;

/// Appends a message of a server: one unmasked frame.
///
/// ```
/// use tickwire_protocol::{Kind, encode};
///
/// let mut out = Vec::new();
/// encode::message(Kind::Text, b"Hello", &mut out);
/// assert_eq!(out, b"\x81\x05Hello");
/// ```
pub fn message(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    frame(true, opcode(kind), None, payload, out);
}

/// Appends a message of a client: one frame, masked with `mask_key`.
pub fn masked_message(kind: Kind, mask_key: Key, payload: &[u8], out: &mut Vec<u8>) {
    frame(true, opcode(kind), Some(mask_key), payload, out);
}

/// Appends a message compressed by `deflater`: one frame with RSV1 (RFC 7692 section 6), masked
/// if a key is given. Only for a peer that has agreed to it, in the role that `deflater` is for.
///
/// Where compression makes it no shorter, the plain message is appended instead; but not if the
/// deflater keeps context, since the peer's window must then have the message too.
///
/// ```
/// use tickwire_protocol::{Deflater, Kind, encode};
///
/// let mut deflater = Deflater::new(6, 8, 15, false);
/// let mut out = Vec::new();
/// encode::deflated_message(Kind::Text, None, b"HelloHelloHello", &mut deflater, &mut out);
/// assert_eq!(out, b"\xc1\x0a\xf2\x48\xcd\xc9\xc9\xf7\x80\x13\x00\x00");
/// ```
pub fn deflated_message(
    kind: Kind,
    mask: Option<Key>,
    payload: &[u8],
    deflater: &mut Deflater,
    out: &mut Vec<u8>,
) {
    let context = deflater.keeps_context();
    let packed = deflater.compress(payload);
    let (rsv1, payload) =
        if context || packed.len() < payload.len() { (true, packed) } else { (false, payload) };
    push(true, rsv1, opcode(kind), mask, payload, out);
    deflater.release();
}

/// Appends a single frame as told: a fragment, or whatever a test needs.
///
/// What comes out is well-formed, but a control frame longer than 125 bytes or without `fin`, or
/// a continuation of nothing, is the caller's to avoid.
pub fn frame(fin: bool, opcode: OpCode, mask: Option<Key>, payload: &[u8], out: &mut Vec<u8>) {
    push(fin, false, opcode, mask, payload, out);
}

fn push(
    fin: bool,
    rsv1: bool,
    opcode: OpCode,
    mask: Option<Key>,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let header = Header { fin, rsv1, opcode, mask, payload_len: payload.len() as u64 };
    let mut bytes = [0; Header::LEN_MAX];
    let header_len = header.encode(&mut bytes);
    out.reserve(header_len + payload.len());
    out.extend_from_slice(&bytes[..header_len]);
    let payload_start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        mask::apply(key, &mut out[payload_start..]);
    }
}

/// Appends a Close frame; `reason` is cut to 123 bytes at a character boundary.
///
/// A code that must not be on the wire (RFC 6455 section 7.4) makes a Close without body:
/// [`CloseCode::NO_STATUS`] says exactly that, the others have no better form.
pub fn close(code: CloseCode, reason: &str, mask: Option<Key>, out: &mut Vec<u8>) {
    let mut body = [0; close::BODY_LEN_MAX];
    let len = if code.is_valid_on_wire() { close::encode(code, reason, &mut body) } else { 0 };
    frame(true, OpCode::Close, mask, &body[..len], out);
}

/// Appends a Ping; of a `payload` longer than 125 bytes only the first 125 are sent (section 5.5).
pub fn ping(payload: &[u8], mask: Option<Key>, out: &mut Vec<u8>) {
    control(OpCode::Ping, payload, mask, out);
}

/// Appends a Pong; of a `payload` longer than 125 bytes only the first 125 are sent (section 5.5).
pub fn pong(payload: &[u8], mask: Option<Key>, out: &mut Vec<u8>) {
    control(OpCode::Pong, payload, mask, out);
}

fn control(opcode: OpCode, payload: &[u8], mask: Option<Key>, out: &mut Vec<u8>) {
    let len = payload.len().min(close::BODY_LEN_MAX);
    frame(true, opcode, mask, &payload[..len], out);
}

const fn opcode(kind: Kind) -> OpCode {
    match kind {
        Kind::Text => OpCode::Text,
        Kind::Binary => OpCode::Binary,
    }
}
