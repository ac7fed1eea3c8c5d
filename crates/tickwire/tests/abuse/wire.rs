//! The bytes of a client, and a reading of the server's, straight from RFC 6455.
//!
//! Not taken from the crates under test, so that an error in those is seen and not agreed with.

/// FIN and the opcode: the first byte of a frame (section 5.2).
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
/// With compression agreed on: the message is compressed (RFC 7692 section 6).
pub(crate) const RSV1: u8 = 0x40;
/// A message whose other fragments are still to come (section 5.4).
pub(crate) const BINARY_BEGINS: u8 = 0x02;
pub(crate) const GOES_ON: u8 = 0x00;
pub(crate) const ENDS: u8 = 0x80;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// A frame that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(first: u8, payload: &[u8]) -> Self {
        Self { first, payload: payload.to_vec() }
    }

    /// The code, if this is a Close that has one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk().filter(|_| self.first == CLOSE);
        code.copied().map(u16::from_be_bytes)
    }

    /// Takes the first frame off `bytes`, once it is whole.
    ///
    /// # Panics
    /// If it is masked, which a server's must not be (section 5.1).
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let [first, second, ..] = **bytes else { return None };
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (header_len, payload_len) = match second {
            126 => (4, u64::from(u16::from_be_bytes(*bytes[2..].first_chunk()?))),
            127 => (10, u64::from_be_bytes(*bytes[2..].first_chunk()?)),
            short => (2, u64::from(short)),
        };
        let end = header_len + usize::try_from(payload_len).expect("a length of this machine");
        let payload = bytes.get(header_len..end)?.to_vec();
        bytes.drain(..end);
        Some(Self { first, payload })
    }
}

/// A request for a WebSocket, with further header lines.
pub(crate) fn request(path: &str, lines: &[&str]) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "GET {path} HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
    .into_bytes()
}

/// A frame as a client sends it: masked.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(masked(payload));
    bytes
}

/// A Close as the server sends it: not masked.
pub(crate) fn server_close(code: u16, reason: &str) -> Vec<u8> {
    let len = u8::try_from(2 + reason.len()).expect("at most 125");
    [&[CLOSE, len], &code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// The payload of such a frame.
pub(crate) fn masked(payload: &[u8]) -> Vec<u8> {
    payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

pub(crate) fn text(payload: &str) -> Vec<u8> {
    frame(TEXT, payload.as_bytes())
}

/// The header of a client's frame that says it has `length` bytes, in the shortest form.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => bytes.push(0x80 | length),
        (_, Ok(length)) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(KEY);
    bytes
}

/// The key of the examples in section 5.7.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
