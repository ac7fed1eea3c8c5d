//! The simplest receiver that can work: it has the whole stream and looks at it byte by byte.
//!
//! Written from RFC 6455 alone, without a line of the crate under test, so that a mistake is not
//! made twice. Slow and wasteful on purpose.

use tickwire_protocol::{Limits, Role};

use crate::drive::Seen;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Takes well-formed, final frames apart into opcode and payload; all are masked or none is.
pub(crate) fn frames(mut bytes: &[u8], masked: bool) -> Vec<(u8, Vec<u8>)> {
    let role = if masked { Role::Server } else { Role::Client };
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let Header::Whole { fin, opcode, key, len, header_len } = header(bytes, role) else {
            panic!("not a well-formed frame: {}", bytes.escape_ascii());
        };
        assert!(fin, "a whole frame");
        let end = header_len + usize::try_from(len).expect("the frame is in memory");
        frames.push((opcode, unmask(&bytes[header_len..end], key)));
        bytes = &bytes[end..];
    }
    frames
}

/// What `role` must see of `stream`.
pub(crate) fn receive(role: Role, mut stream: &[u8], limits: &Limits) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut begun: Option<Message> = None;
    loop {
        let (fin, opcode, key, len, header_len) = match header(stream, role) {
            Header::Whole { fin, opcode, key, len, header_len } => {
                (fin, opcode, key, len, header_len)
            }
            Header::Cut => return seen,
            Header::Wrong => return failed(seen, 1002),
        };
        let arrived = &stream[header_len..];
        let len = u128::from(len);
        let complete = arrived.len() as u128 >= len;
        let payload =
            if complete { &arrived[..usize::try_from(len).expect("it is here")] } else { arrived };
        let payload = unmask(payload, key);
        stream = &arrived[payload.len()..];
        if opcode >= CLOSE {
            if !complete {
                return seen;
            }
            match opcode {
                PING => seen.push(Seen::Ping(payload)),
                PONG => seen.push(Seen::Pong(payload)),
                _ => {
                    seen.push(close(&payload));
                    return seen;
                }
            }
            continue;
        }
        let mut message = match (opcode, begun.take()) {
            (CONTINUATION, Some(message)) => message,
            (TEXT | BINARY, None) => Message { opcode, ..Message::default() },
            _ => return failed(seen, 1002),
        };
        if let Some(code) = message.add(len, &payload, fin && complete, fin, limits) {
            return failed(seen, code);
        }
        if !complete {
            return seen;
        }
        if !fin {
            begun = Some(message);
        } else if message.opcode == TEXT {
            seen.push(Seen::Text(String::from_utf8(message.bytes).expect("was checked")));
        } else {
            seen.push(Seen::Binary(message.bytes));
        }
    }
}

#[derive(Default)]
struct Message {
    opcode: u8,
    bytes: Vec<u8>,
    declared: u128,
    empty_fragments: u32,
}

impl Message {
    /// Adds what a frame brings; gives the close code if that is wrong.
    fn add(
        &mut self,
        declared: u128,
        payload: &[u8],
        ends: bool,
        fin: bool,
        limits: &Limits,
    ) -> Option<u16> {
        self.declared += declared;
        if self.declared > u128::from(limits.message_bytes_max) {
            return Some(1009);
        }
        if declared == 0 && !fin {
            self.empty_fragments += 1;
            if self.empty_fragments > limits.empty_fragments_max {
                return Some(1008);
            }
        }
        self.bytes.extend(payload);
        if self.opcode == TEXT
            && let Err(error) = str::from_utf8(&self.bytes)
            && (ends || error.error_len().is_some())
        {
            return Some(1007);
        }
        None
    }
}

fn failed(mut seen: Vec<Seen>, code: u16) -> Vec<Seen> {
    seen.push(Seen::Failed(code));
    seen
}

/// RFC 6455 sections 5.5.1 and 7.4, and the IANA registry.
fn close(body: &[u8]) -> Seen {
    if body.is_empty() {
        return Seen::Closed(None, String::new());
    }
    if body.len() == 1 {
        return Seen::Failed(1002);
    }
    let code = u16::from(body[0]) * 256 + u16::from(body[1]);
    let allowed = (1000..=1014).contains(&code) && ![1004, 1005, 1006].contains(&code);
    if !allowed && !(3000..5000).contains(&code) {
        return Seen::Failed(1002);
    }
    match str::from_utf8(&body[2..]) {
        Ok(reason) => Seen::Closed(Some(code), reason.to_owned()),
        Err(_) => Seen::Failed(1007),
    }
}

enum Header {
    Whole { fin: bool, opcode: u8, key: [u8; 4], len: u64, header_len: usize },
    Cut,
    Wrong,
}

/// RFC 6455 section 5.2: refuses at the first byte that shows the fault.
fn header(bytes: &[u8], role: Role) -> Header {
    let Some(&first) = bytes.first() else { return Header::Cut };
    let (fin, opcode) = (first >= 0x80, first % 16);
    if first & 0x70 != 0 || ![0, 1, 2, 8, 9, 10].contains(&opcode) || (opcode >= 8 && !fin) {
        return Header::Wrong;
    }
    let Some(&second) = bytes.get(1) else { return Header::Cut };
    let (masked, short) = (second >= 0x80, second % 128);
    if masked != (role == Role::Server) || (opcode >= 8 && short > 125) {
        return Header::Wrong;
    }
    let long_len = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mut len = 0;
    for index in 0..long_len {
        let Some(&byte) = bytes.get(2 + index) else { return Header::Cut };
        if long_len == 8 && index == 0 && byte >= 0x80 {
            return Header::Wrong;
        }
        len = len * 256 + u64::from(byte);
    }
    if long_len == 0 {
        len = u64::from(short);
    }
    if (long_len == 2 && len < 126) || (long_len == 8 && len < 65536) {
        return Header::Wrong;
    }
    let key_start = 2 + long_len;
    if !masked {
        return Header::Whole { fin, opcode, key: [0; 4], len, header_len: key_start };
    }
    let Some(&key) = bytes[key_start..].first_chunk() else { return Header::Cut };
    Header::Whole { fin, opcode, key, len, header_len: key_start + 4 }
}

fn unmask(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]).collect()
}
