//! The bytes of a client, and a reading of the server's, straight from RFC 6455.
//!
//! Written here and not taken from the crates under test, so that an error in those is seen and not
//! agreed with. It is the simplest code that can work and knows only well-formed frames of a server:
//! anything else that arrives is a failed test.

/// The key of RFC 6455 section 1.3, whose accept value is known.
pub(crate) const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// FIN and the opcode: the first byte of a frame (section 5.2).
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;
/// Fragments: all but the last without FIN, all but the first without an opcode (section 5.4).
pub(crate) const TEXT_BEGINS: u8 = 0x01;
pub(crate) const BINARY_BEGINS: u8 = 0x02;
pub(crate) const GOES_ON: u8 = 0x00;
pub(crate) const ENDS: u8 = 0x80;
/// The message that begins with this frame is compressed (RFC 7692 section 6).
pub(crate) const RSV1: u8 = 0x40;

/// A frame that the server sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.payload[..self.payload.len().min(100)];
        write!(formatter, "{:#04x} {:?}", self.first, String::from_utf8_lossy(shown))?;
        if shown.len() < self.payload.len() { write!(formatter, "...") } else { Ok(()) }
    }
}

/// The request of a client that wants a WebSocket, with further header lines.
pub(crate) fn request(path: &str, lines: &[&str]) -> Vec<u8> {
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: {SAMPLE_KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A frame as a client sends it: masked, with the shortest form of its length.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The header of a client's frame, with the key of RFC 6455 section 5.7.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | u8::try_from(length).expect("at most 125")),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).expect("at most 65,535").to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) fn text(payload: &str) -> Vec<u8> {
    frame(TEXT, payload.as_bytes())
}

pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// Takes the first frame off `bytes`, once it is whole.
///
/// # Panics
/// If it is not one that a server may send.
pub(crate) fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let frame = take_deflated_frame(bytes)?;
    assert_eq!(frame.first & RSV1, 0, "no extension was agreed on");
    Some(frame)
}

/// The same where permessage-deflate was agreed on: messages may then be compressed, which RSV1
/// says (RFC 7692 section 6).
pub(crate) fn take_deflated_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let [first, second, ..] = **bytes else { return None };
    assert_eq!(first & 0x30, 0, "no extension with these bits was agreed on");
    assert_eq!(second & 0x80, 0, "a server does not mask (RFC 6455 section 5.1)");
    let (header_len, payload_len) = match second {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    let least = [0, 126, 65_536][(header_len - 2) / 3];
    assert!(payload_len >= least, "a length takes its shortest form (section 5.2)");
    let end = header_len + usize::try_from(payload_len).expect("a length of this machine");
    let payload = bytes.get(header_len..end)?.to_vec();
    bytes.drain(..end);
    if first & 0x08 != 0 {
        assert!(payload.len() <= 125, "a control frame is short (section 5.5)");
        assert_eq!(first & RSV1, 0, "a control frame is not compressed (RFC 7692 section 6)");
    }
    Some(Frame { first, payload })
}

/// Takes the first frame off `bytes`, once it is whole, and the key that it was masked with.
///
/// # Panics
/// If it is not one that a client may send.
pub(crate) fn take_masked_frame(bytes: &mut Vec<u8>) -> Option<(Frame, [u8; 4])> {
    let [_, second, ..] = **bytes else { return None };
    assert_eq!(second & 0x80, 0x80, "a client masks (RFC 6455 section 5.1)");
    let header_len = [2, 4, 10][usize::from(second >= 0xfe) + usize::from(second == 0xff)];
    let key: [u8; 4] = bytes.get(header_len..header_len + 4)?.try_into().ok()?;
    // As a server would have sent it; only the payload is to be unmasked then.
    let mut unmasked = bytes.clone();
    unmasked.drain(header_len..header_len + 4);
    unmasked[1] &= 0x7f;
    let mut frame = take_frame(&mut unmasked)?;
    *bytes = unmasked;
    for (byte, key) in frame.payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    Some((frame, key))
}

/// A frame as a server sends it: with the shortest form of its length.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.truncate(bytes.len() - KEY.len());
    bytes[1] &= 0x7f;
    bytes.extend(payload);
    bytes
}

/// Takes the head of an HTTP answer off `bytes`, once it is whole.
pub(crate) fn take_head(bytes: &mut Vec<u8>) -> Option<String> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = bytes.drain(..end).collect();
    Some(String::from_utf8(head).expect("an answer's head is text"))
}
