//! Frames written by hand for the tests, and what a parser made of them.
//!
//! Nothing here uses the crate's own encoder or masking: frames are put together the way that
//! RFC 6455 section 5.2 describes them, so that a mistake cannot cancel itself out.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

use tickwire_frame::{FrameError, OpCode, Parser, Rules};

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
        let key = self.mask.unwrap_or_default();
        out.extend(self.payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
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
