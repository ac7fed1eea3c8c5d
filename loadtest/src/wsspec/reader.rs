//! Takes apart what a server sends, and holds it to its own obligations (RFC 6455 section 5).
//!
//! Stands between the socket and every case, so that no case can overlook a masked frame, a
//! reserved bit, a length in the wrong form, a message that interleaves, text that is no UTF-8 or
//! a Close code that must not be sent: whatever comes is checked, always.
//!
//! Invariant: an event is returned once, in the order of the wire, and only if every byte of its
//! frames was right. Whether it was the event to expect is the case's to say.

use std::fmt;

use crate::answer::Deflate;
use crate::inflate::{Inflater, TAIL};
use crate::transcript::escaped;
use crate::wire::{BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT};

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A whole message, inflated.
    Message(Message),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// The code, unless the body was empty, and the reason.
    Close(Option<u16>, String),
}

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) is_text: bool,
    pub(crate) payload: Vec<u8>,
    /// The payload on the wire, if it came compressed.
    pub(crate) compressed: Option<Vec<u8>>,
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => {
                let kind = if message.is_text { "text" } else { "binary" };
                let how = if message.compressed.is_some() { "compressed " } else { "" };
                write!(formatter, "{how}{kind} {}", escaped(&message.payload))
            }
            Self::Ping(body) => write!(formatter, "Ping {}", escaped(body)),
            Self::Pong(body) => write!(formatter, "Pong {}", escaped(body)),
            Self::Close(None, _) => formatter.write_str("Close without a code"),
            Self::Close(Some(code), reason) if reason.is_empty() => {
                write!(formatter, "Close {code}")
            }
            Self::Close(Some(code), reason) => write!(formatter, "Close {code} {reason:?}"),
        }
    }
}

/// The frames of one connection, from the server.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    input: Vec<u8>,
    /// Bytes of `input` that were taken.
    taken: usize,
    message: Option<Message>,
    /// What was agreed about compression.
    pub(crate) deflate: Option<Deflate>,
    pub(crate) inflater: Inflater,
}

impl Reader {
    /// Adds bytes that came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.input.drain(..std::mem::take(&mut self.taken));
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that came and belong to no event yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// Takes `count` bytes away, which were no frames.
    pub(crate) const fn skip(&mut self, count: usize) {
        self.taken += count;
    }

    /// The next event, if it is there as a whole; an error says what the server did wrong.
    pub(crate) fn event(&mut self) -> Result<Option<Event>, String> {
        while let Some(frame) = self.frame()? {
            if let Some(event) = self.join(frame)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn frame(&mut self) -> Result<Option<Received>, String> {
        let input = &self.input[self.taken..];
        let [first, second, ..] = *input else { return Ok(None) };
        let (fin, rsv, opcode) = (first & 0x80 != 0, first >> 4 & 7, first & 15);
        if second & 0x80 != 0 {
            return Err("a masked frame from the server".to_owned());
        }
        self.check_first(fin, rsv, opcode, second & 0x7f)?;
        let (length, header) = match second & 0x7f {
            126 => {
                let Some(bytes) = input.get(2..4) else { return Ok(None) };
                (bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), 4)
            }
            127 => {
                let Some(bytes) = input.get(2..10) else { return Ok(None) };
                (bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), 10)
            }
            short => (u64::from(short), 2),
        };
        let shortest = match length {
            0..126 => 2,
            126..0x1_0000 => 4,
            0x1_0000.. => 10,
        };
        if header != shortest {
            return Err(format!("a length of {length} that is not in its shortest form"));
        }
        if length > PAYLOAD_MAX {
            return Err(format!("a frame of {length} bytes"));
        }
        let end = header + usize::try_from(length).unwrap_or(usize::MAX);
        let Some(payload) = input.get(header..end) else { return Ok(None) };
        let payload = payload.to_vec();
        self.taken += end;
        Ok(Some(Received { fin, rsv1: rsv == 4, opcode, payload }))
    }

    fn check_first(&self, fin: bool, rsv: u8, opcode: u8, short: u8) -> Result<(), String> {
        let begins = matches!(opcode, TEXT | BINARY);
        match opcode {
            TEXT | BINARY if self.message.is_some() => {
                return Err("a new message within another".to_owned());
            }
            CONTINUATION if self.message.is_none() => {
                return Err("a continuation of nothing".to_owned());
            }
            TEXT | BINARY | CONTINUATION => {}
            CLOSE | PING | PONG if !fin => return Err("a control frame with FIN 0".to_owned()),
            CLOSE | PING | PONG if short > 125 => {
                return Err("a control frame of more than 125 bytes".to_owned());
            }
            CLOSE | PING | PONG => {}
            other => return Err(format!("the reserved opcode {other}")),
        }
        match rsv {
            0 => Ok(()),
            4 if begins && self.deflate.is_some() => Ok(()),
            bits => Err(format!("reserved bits {bits:03b} in a frame of opcode {opcode}")),
        }
    }

    fn join(&mut self, frame: Received) -> Result<Option<Event>, String> {
        let mut message = match frame.opcode {
            CLOSE => return closed(&frame.payload).map(Some),
            PING => return Ok(Some(Event::Ping(frame.payload))),
            PONG => return Ok(Some(Event::Pong(frame.payload))),
            opcode => self.message.take().unwrap_or_else(|| Message {
                is_text: opcode == TEXT,
                payload: Vec::new(),
                compressed: frame.rsv1.then(Vec::new),
            }),
        };
        let bytes = message.compressed.as_mut().unwrap_or(&mut message.payload);
        bytes.extend_from_slice(&frame.payload);
        if !frame.fin {
            self.message = Some(message);
            return Ok(None);
        }
        if let (Some(compressed), Some(deflate)) = (&message.compressed, &self.deflate) {
            if compressed.ends_with(TAIL) {
                return Err("a compressed message that still has its tail 00 00 ff ff".to_owned());
            }
            message.payload = self
                .inflater
                .message(compressed, deflate.server_takeover)
                .map_err(|error| format!("a compressed message that cannot be read: {error}"))?;
            if self.inflater.farthest > 1 << deflate.server_bits {
                let (reach, window) = (self.inflater.farthest, 1 << deflate.server_bits);
                return Err(format!("a match {reach} bytes back in a window of {window}"));
            }
        }
        if message.is_text && std::str::from_utf8(&message.payload).is_err() {
            return Err("a text message that is not UTF-8".to_owned());
        }
        Ok(Some(Event::Message(message)))
    }
}

struct Received {
    fin: bool,
    rsv1: bool,
    opcode: u8,
    payload: Vec<u8>,
}

fn closed(body: &[u8]) -> Result<Event, String> {
    let [high, low, reason @ ..] = body else {
        return if body.is_empty() {
            Ok(Event::Close(None, String::new()))
        } else {
            Err("a Close with a body of one byte".to_owned())
        };
    };
    let code = u16::from_be_bytes([*high, *low]);
    // 1016 to 2999 are reserved (RFC 6455 section 7.4); 1010 is a case of its own.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(format!("a Close with the code {code}, which a server must not send"));
    }
    let reason = std::str::from_utf8(reason)
        .map_err(|_| "a Close with a reason that is not UTF-8".to_owned())?;
    Ok(Event::Close(Some(code), reason.to_owned()))
}

/// A longer frame answers nothing that any case sends.
const PAYLOAD_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bytes: &[u8], deflate: bool) -> Result<Vec<Event>, String> {
        let mut reader = Reader { deflate: deflate.then(Deflate::default), ..Reader::default() };
        let mut events = Vec::new();
        for byte in bytes {
            reader.push(&[*byte]);
            while let Some(event) = reader.event()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    #[test]
    fn right_frames_become_events() {
        let bytes = b"\x81\x05Hello\x01\x03Hel\x89\x02hi\x80\x02lo\x8a\x00\x88\x04\x03\xe8ok";
        let words: Vec<String> =
            events(bytes, false).unwrap().iter().map(ToString::to_string).collect();
        let expected =
            ["text \"Hello\"", "Ping \"hi\"", "text \"Hello\"", "Pong \"\"", "Close 1000 \"ok\""];
        assert_eq!(words, expected);
        assert_eq!(events(b"\x88\x00", false), Ok(vec![Event::Close(None, String::new())]));
        let compressed = events(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", true).unwrap();
        assert_eq!(compressed[0].to_string(), "compressed text \"Hello\"");
    }

    #[test]
    fn each_fault_of_a_server_is_told() {
        for (bytes, words) in [
            (&b"\x81\x85\0\0\0\0Hello"[..], "masked"),
            (b"\x91\x00", "reserved bits 001"),
            (b"\xa2\x00", "reserved bits 010"),
            (b"\xc1\x00", "reserved bits 100"),
            (b"\x83\x00", "reserved opcode 3"),
            (b"\x8b\x00", "reserved opcode 11"),
            (b"\x81\x7e\0\x7d", "shortest"),
            (b"\x81\x7f\0\0\0\0\0\0\xff\xff", "shortest"),
            (b"\x82\x7f\x7f\0\0\0\0\0\xff\xff", "a frame of"),
            (b"\x80\x00", "continuation of nothing"),
            (b"\x01\x00\x81\x00", "within another"),
            (b"\x09\x00", "FIN 0"),
            (b"\x89\x7e\0\x7e", "more than 125"),
            (b"\x88\x01\x03", "one byte"),
            (b"\x88\x02\x03\xed", "1005"),
            (b"\x88\x03\x03\xe8\xff", "reason"),
            (b"\x81\x01\xff", "not UTF-8"),
        ] {
            let error = events(bytes, false).unwrap_err();
            assert!(error.contains(words), "{error} for {words}");
        }
        for (bytes, words) in [
            (&b"\xc9\x00"[..], "reserved bits 100"),
            (b"\x41\x00\xc0\x00", "reserved bits 100"),
            (b"\xc1\x05\xf2\x00\x11\x00\x00", "cannot be read"),
            (b"\xc1\x0b\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", "tail"),
        ] {
            let error = events(bytes, true).unwrap_err();
            assert!(error.contains(words), "{error} for {words}");
        }
    }
}
