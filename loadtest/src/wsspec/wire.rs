//! Bytes of frames as a client sends them, right ones and wrong ones (RFC 6455 section 5.2).
//!
//! An encoder of its own, written for breaking rules: every bit of a header can be set, a length
//! may be declared in any form and need not be that of the payload. It shares nothing with the
//! engine's codec, so that a fault there cannot hide itself here.
//!
//! Invariant: a frame to which nothing was done is the one right encoding of its payload. Nothing
//! is judged here; that is `reader`'s for what comes and the cases' for what it means.

/// Opcode of a continuation frame.
pub(crate) const CONTINUATION: u8 = 0;
/// Opcode of a text frame.
pub(crate) const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub(crate) const BINARY: u8 = 2;
/// Opcode of a Close frame.
pub(crate) const CLOSE: u8 = 8;
/// Opcode of a Ping frame.
pub(crate) const PING: u8 = 9;
/// Opcode of a Pong frame.
pub(crate) const PONG: u8 = 10;

/// RSV1, which permessage-deflate uses (RFC 7692 section 6).
pub(crate) const RSV1: u8 = 4;
/// RSV2, which nothing uses.
pub(crate) const RSV2: u8 = 2;
/// RSV3, which nothing uses.
pub(crate) const RSV3: u8 = 1;

/// The masking key of the examples in RFC 6455 section 5.7.
pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame to send, right unless told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    fin: bool,
    rsv: u8,
    opcode: u8,
    key: Option<[u8; 4]>,
    form: Form,
    declared: Option<u64>,
    payload: Vec<u8>,
}

/// How the length stands in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Shortest,
    /// `126` and 16 bits.
    Sixteen,
    /// `127` and 64 bits.
    SixtyFour,
}

impl Frame {
    /// A final, masked frame of `opcode` (0 to 15) around `payload`.
    pub(crate) fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            fin: true,
            rsv: 0,
            opcode,
            key: Some(KEY),
            form: Form::Shortest,
            declared: None,
            payload: payload.into(),
        }
    }

    /// More frames of the message follow: FIN is 0.
    pub(crate) fn more(mut self) -> Self {
        self.fin = false;
        self
    }

    /// Sets the reserved bits, of 0 to 7.
    pub(crate) fn rsv(mut self, bits: u8) -> Self {
        self.rsv = bits;
        self
    }

    /// Uses another masking key.
    pub(crate) fn key(mut self, key: [u8; 4]) -> Self {
        self.key = Some(key);
        self
    }

    /// Leaves the masking out: MASK is 0.
    pub(crate) fn unmasked(mut self) -> Self {
        self.key = None;
        self
    }

    /// Declares the length in the form of 16 bits, however short it is.
    pub(crate) fn sixteen(mut self) -> Self {
        self.form = Form::Sixteen;
        self
    }

    /// Declares the length in the form of 64 bits, however short it is.
    pub(crate) fn sixty_four(mut self) -> Self {
        self.form = Form::SixtyFour;
        self
    }

    /// Declares `length` bytes of payload, whatever there are.
    pub(crate) fn declare(mut self, length: u64) -> Self {
        self.declared = Some(length);
        self
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        let length = self.declared.unwrap_or(self.payload.len() as u64);
        let mask_bit = if self.key.is_some() { 0x80 } else { 0 };
        match (self.form, u8::try_from(length), u16::try_from(length)) {
            (Form::Shortest, Ok(length @ ..126), _) => out.push(mask_bit | length),
            (Form::Shortest | Form::Sixteen, _, Ok(length)) => {
                out.push(mask_bit | 126);
                out.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                out.push(mask_bit | 127);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&self.key.unwrap_or_default()[..self.key.map_or(0, |key| key.len())]);
        let start = out.len();
        out.extend_from_slice(&self.payload);
        if let Some(key) = self.key {
            for (byte, key) in out[start..].iter_mut().zip(key.iter().cycle()) {
                *byte ^= key;
            }
        }
        out
    }
}

/// A whole text message in one frame.
pub(crate) fn text(payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(TEXT, payload).bytes()
}

/// A whole binary message in one frame.
pub(crate) fn binary(payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(BINARY, payload).bytes()
}

/// The first frame of a fragmented text message.
pub(crate) fn text_begin(payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(TEXT, payload).more().bytes()
}

/// A frame in the midst of a message.
pub(crate) fn middle(payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(CONTINUATION, payload).more().bytes()
}

/// The last frame of a fragmented message.
pub(crate) fn end(payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(CONTINUATION, payload).bytes()
}

/// A Ping.
pub(crate) fn ping(payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(PING, payload).bytes()
}

/// A Pong.
pub(crate) fn pong(payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(PONG, payload).bytes()
}

/// A Close with `code` and `reason`.
pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    Frame::new(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat()).bytes()
}

/// A Close with an empty body.
pub(crate) fn close_empty() -> Vec<u8> {
    Frame::new(CLOSE, []).bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_section_5_7_are_encoded_byte_for_byte() {
        let unmasked = |frame: Frame| frame.unmasked().bytes();
        let hello = |opcode| Frame::new(opcode, "Hello");
        assert_eq!(unmasked(hello(TEXT)), b"\x81\x05Hello");
        assert_eq!(text("Hello"), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(unmasked(Frame::new(TEXT, "Hel").more()), b"\x01\x03Hel");
        assert_eq!(unmasked(Frame::new(CONTINUATION, "lo")), b"\x80\x02lo");
        assert_eq!(unmasked(hello(PING)), b"\x89\x05Hello");
        assert_eq!(pong("Hello"), b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        let long = |length: usize| unmasked(Frame::new(BINARY, vec![7; length]));
        assert_eq!(long(256)[..5], [0x82, 0x7e, 0x01, 0x00, 7]);
        assert_eq!(long(65_536)[..11], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0, 7]);
    }

    #[test]
    fn every_rule_of_a_header_can_be_broken() {
        let frame = || Frame::new(BINARY, "ab").unmasked();
        for (broken, expected) in [
            (frame().rsv(RSV1 | RSV3), &b"\xd2\x02ab"[..]),
            (frame().more(), b"\x02\x02ab"),
            (frame().sixteen(), b"\x82\x7e\0\x02ab"),
            (frame().sixty_four(), b"\x82\x7f\0\0\0\0\0\0\0\x02ab"),
            (frame().declare(1 << 63), b"\x82\x7f\x80\0\0\0\0\0\0\0ab"),
            (frame().declare(125), b"\x82\x7dab"),
            (frame().declare(126), b"\x82\x7e\0\x7eab"),
            (frame().declare(65_536), b"\x82\x7f\0\0\0\0\0\x01\0\0ab"),
            (frame().key([1, 2, 3, 4]), b"\x82\x82\x01\x02\x03\x04\x60\x60"),
        ] {
            assert_eq!(broken.bytes(), expected);
        }
    }
}
