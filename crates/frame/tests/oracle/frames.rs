//! Frames put together and taken apart the way that RFC 6455 section 5.2 describes them, and what the
//! parser makes of them.

use tickwire_frame::{FrameError, OpCode, Parser, Role, Rules};

use super::{cut, masking};

/// A frame to be put on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) first_byte: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) payload: Vec<u8>,
}

impl Wire {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        out.push(self.first_byte);
        let length = (self.payload.len() as u64).to_be_bytes();
        match self.payload.len() {
            0..=125 => out.push(masked | length[7]),
            126..=0xffff => {
                out.push(masked | 126);
                out.extend(&length[6..]);
            }
            _ => {
                out.push(masked | 127);
                out.extend(length);
            }
        }
        out.extend(self.mask.iter().flatten());
        out.extend(masking::reference(self.mask.unwrap_or_default(), &self.payload).0);
    }
}

/// `len` bytes, of all values, that do not repeat in step with a key or a vector.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..=250)
        .cycle()
        .skip(usize::from(seed))
        .map(|byte: u8| byte.wrapping_mul(7))
        .take(len)
        .collect()
}

/// A frame as the pieces told it, joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) opcode: OpCode,
    pub(crate) fin: bool,
    pub(crate) rsv1: bool,
    pub(crate) frame_len: u64,
    pub(crate) payload: Vec<u8>,
    pub(crate) complete: bool,
}

/// All that came out of a parser, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) frames: Vec<Seen>,
    pub(crate) error: Option<FrameError>,
}

/// Parses `parts` one after the other, holding the parser to its contract at each step.
pub(crate) fn parse<'a>(rules: Rules, parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut parser = Parser::new(rules);
    let mut outcome = Outcome::default();
    for part in parts {
        let mut buffer = part.to_vec();
        let mut input = &mut buffer[..];
        loop {
            let before = input.len();
            match parser.next(&mut input) {
                Ok(None) => {
                    assert!(input.is_empty(), "all input is consumed before None");
                    break;
                }
                Ok(Some(piece)) => {
                    assert!(
                        input.len() < before || piece.last,
                        "a piece takes bytes, or ends an empty frame"
                    );
                    assert_eq!(piece.ascii, piece.payload.is_ascii());
                    if piece.first {
                        assert!(outcome.frames.last().is_none_or(|frame| frame.complete));
                        outcome.frames.push(Seen {
                            opcode: piece.opcode,
                            fin: piece.fin,
                            rsv1: piece.rsv1,
                            frame_len: piece.frame_len,
                            payload: Vec::new(),
                            complete: false,
                        });
                    }
                    let frame = outcome.frames.last_mut().expect("the first piece says it is");
                    assert!(!frame.complete, "no piece follows the last");
                    assert_eq!(
                        (frame.opcode, frame.fin, frame.rsv1, frame.frame_len),
                        (piece.opcode, piece.fin, piece.rsv1, piece.frame_len),
                        "all pieces of a frame tell the same header"
                    );
                    frame.payload.extend_from_slice(piece.payload);
                    frame.complete = piece.last;
                    assert_eq!(piece.last, frame.payload.len() as u64 == frame.frame_len);
                }
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            }
        }
    }
    outcome
}

/// Parses `bytes` cut at every place once, one byte at a time, and whole: all must agree.
pub(crate) fn parse_every_split(rules: Rules, bytes: &[u8]) -> Outcome {
    let whole = parse(rules, [bytes]);
    for cut in 0..=bytes.len() {
        let (front, back) = bytes.split_at(cut);
        assert_eq!(parse(rules, [front, back]), whole, "cut at {cut} of {bytes:02x?}");
    }
    assert_eq!(parse(rules, bytes.chunks(1)), whole, "byte by byte: {bytes:02x?}");
    whole
}

/// What all of `bytes` are, read with every byte at hand.
pub(crate) fn reference(rules: Rules, bytes: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut rest = bytes;
    loop {
        match reference_header(rules, rest) {
            Err(error) => {
                outcome.error = Some(error);
                return outcome;
            }
            Ok(None) => return outcome,
            Ok(Some((frame_len, header_len))) => {
                let after = &rest[header_len..];
                let here = after.len().min(usize::try_from(frame_len).unwrap_or(usize::MAX));
                let key = match rules.role {
                    Role::Server => rest[header_len - 4..header_len].try_into().expect("four"),
                    Role::Client => [0; 4],
                };
                outcome.frames.push(Seen {
                    opcode: reference_opcode(rest[0]).expect("the header is legal"),
                    fin: rest[0] >= 0x80,
                    rsv1: rest[0] & 0x40 != 0,
                    frame_len,
                    payload: masking::reference(key, &after[..here]).0,
                    complete: here as u64 == frame_len,
                });
                rest = &after[here..];
            }
        }
    }
}

/// The lengths of payload and header; `None` if the header is cut.
fn reference_header(rules: Rules, bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if first & 0x30 != 0 {
        return Err(FrameError::ReservedBits);
    }
    let opcode = reference_opcode(first).ok_or(FrameError::ReservedOpCode(first & 0x0f))?;
    let begins_message = opcode == OpCode::Text || opcode == OpCode::Binary;
    if first & 0x40 != 0 && !(rules.rsv1 && begins_message) {
        return Err(FrameError::UnexpectedRsv1);
    }
    let control = [OpCode::Close, OpCode::Ping, OpCode::Pong].contains(&opcode);
    if control && first < 0x80 {
        return Err(FrameError::FragmentedControl);
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    let key_len = match (rules.role, second >= 0x80) {
        (Role::Server, false) => return Err(FrameError::MaskMissing),
        (Role::Client, true) => return Err(FrameError::MaskUnexpected),
        (Role::Server, true) => 4,
        (Role::Client, false) => 0,
    };
    let short = second & 0x7f;
    if control && short > 125 {
        return Err(FrameError::ControlTooLong);
    }
    let (length_bytes, least) = match short {
        126 => (2, 126),
        127 => (8, 65536),
        _ => (0, 0),
    };
    let after = &bytes[2..];
    if length_bytes == 8 && after.first().is_some_and(|top| *top >= 0x80) {
        return Err(FrameError::LengthTopBit);
    }
    // The bytes that are missing may be anything: at fault only if no value would do.
    let largest = (0..length_bytes)
        .map(|index| after.get(index).copied().unwrap_or(0xff))
        .fold(0, |value, byte| value << 8 | u64::from(byte));
    if largest < least {
        return Err(FrameError::LengthNotMinimal);
    }
    let payload_len = if length_bytes == 0 { u64::from(short) } else { largest };
    let header_len = 2 + length_bytes + key_len;
    Ok((bytes.len() >= header_len).then_some((payload_len, header_len)))
}

fn reference_opcode(first: u8) -> Option<OpCode> {
    let all = [
        OpCode::Continuation,
        OpCode::Text,
        OpCode::Binary,
        OpCode::Close,
        OpCode::Ping,
        OpCode::Pong,
    ];
    all.into_iter().find(|opcode| *opcode as u8 == first & 0x0f)
}

/// Takes a byte of rules, two lengths of parts, of which the second may be long, and what is received.
pub(crate) fn check(data: &[u8]) {
    let [flags, short, long, bytes @ ..] = data else { return };
    let role = if flags & 1 == 0 { Role::Server } else { Role::Client };
    let rules = Rules { role, rsv1: flags & 2 != 0 };
    let expected = reference(rules, bytes);
    assert_eq!(parse(rules, [bytes]), expected, "whole: {rules:?} {bytes:02x?}");
    assert_eq!(parse(rules, bytes.chunks(1)), expected, "byte by byte: {rules:?} {bytes:02x?}");
    let lengths = [usize::from(short % 16) + 1, usize::from(*long) + 1];
    assert_eq!(parse(rules, cut(bytes, &lengths)), expected, "{lengths:?} {rules:?} {bytes:02x?}");
}
