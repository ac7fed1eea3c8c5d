//! The header of a frame, RFC 6455 section 5.2, decoded strictly and encoded minimally.
//!
//! Decoding is the first thing that happens to a received byte. [`Header::decode`] is right for any
//! number of bytes and refuses at the earliest one that proves a fault; [`Glance`] is the way
//! nearly every frame takes: eight bytes in one load, all rules in a few instructions, and no
//! opinion about a header that is unusual or wrong.
//!
//! Invariant: whatever `Glance` accepts, `Header::decode` accepts with the same result. Payload
//! bytes are not looked at here.

use crate::error::FrameError;
use crate::mask::Key;

/// What a frame carries (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpCode {
    /// More of the message that an earlier frame began.
    Continuation = 0,
    /// Begins a message of UTF-8 text.
    Text = 1,
    /// Begins a message of bytes.
    Binary = 2,
    /// Ends the connection.
    Close = 8,
    /// Asks for a Pong.
    Ping = 9,
    /// Answers a Ping.
    Pong = 10,
}

impl OpCode {
    /// Whether this is Close, Ping or Pong, which have rules of their own (RFC 6455 section 5.5).
    #[inline]
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & CONTROL != 0
    }

    /// The opcode in the low four bits of a frame's first byte; `None` if it is reserved.
    #[inline]
    const fn from_first_byte(byte: u8) -> Option<Self> {
        match byte & OPCODE {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }
}

/// The side that *receives*: it decides whether frames must be masked (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Receives from clients: every frame must be masked.
    Server,
    /// Receives from a server: no frame may be masked.
    Client,
}

/// What the receiving side of a connection holds its peer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// The side that receives.
    pub role: Role,
    /// Whether permessage-deflate was negotiated, so that RSV1 is allowed on the first frame of a
    /// data message (RFC 7692 section 6).
    pub rsv1: bool,
}

impl Rules {
    /// The rules for `role` with no extension negotiated.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self { role, rsv1: false }
    }
}

/// Everything that a frame says before its payload.
///
/// ```
/// use tickwire_frame::{Decoded, Header, OpCode, Role, Rules};
///
/// // The unmasked text "Hello" of RFC 6455 section 5.7.
/// let frame = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
/// let Decoded::Complete { header, header_len } =
///     Header::decode(&frame, Rules::new(Role::Client))?
/// else {
///     panic!("two bytes are enough for this header");
/// };
/// assert_eq!((header.opcode, header.payload_len, header_len), (OpCode::Text, 5, 2));
///
/// let mut out = [0; Header::LEN_MAX];
/// let len = header.encode(&mut out);
/// assert_eq!(out[..len], frame[..2]);
/// # Ok::<(), tickwire_frame::FrameError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Whether this is the last frame of its message.
    pub fin: bool,
    /// Whether the message is compressed; only on the first frame of a data message (RFC 7692).
    pub rsv1: bool,
    /// What the frame carries.
    pub opcode: OpCode,
    /// The key that the payload is masked with, if it is.
    pub mask: Option<Key>,
    /// Bytes of payload, below 2^63.
    pub payload_len: u64,
}

/// What [`Header::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decoded {
    /// The whole header.
    Complete {
        /// What it says.
        header: Header,
        /// Its length in bytes, 2 to 14: the payload begins there.
        header_len: usize,
    },
    /// Nothing wrong so far, but more bytes are needed.
    Incomplete,
}

impl Header {
    /// Most bytes that a header can have: flags, length, 64-bit length, key.
    pub const LEN_MAX: usize = 2 + 8 + 4;

    /// Decodes the header at the front of `bytes`, which may hold any part of a frame.
    ///
    /// # Errors
    ///
    /// A [`FrameError`] as soon as the bytes present prove that RFC 6455 section 5 is broken, even
    /// if the header is not complete.
    pub fn decode(bytes: &[u8], rules: Rules) -> Result<Decoded, FrameError> {
        let Some(&first) = bytes.first() else { return Ok(Decoded::Incomplete) };
        let opcode = check_first_byte(first, rules)?;
        let Some(&second) = bytes.get(1) else { return Ok(Decoded::Incomplete) };
        check_second_byte(second, opcode, rules)?;
        let Some((payload_len, length_end)) = decode_length(second & LENGTH, &bytes[2..])? else {
            return Ok(Decoded::Incomplete);
        };
        let (mask, header_len) = match rules.role {
            Role::Client => (None, length_end),
            Role::Server => match bytes[length_end..].first_chunk() {
                Some(key) => (Some(*key), length_end + 4),
                None => return Ok(Decoded::Incomplete),
            },
        };
        let header =
            Self { fin: first & FIN != 0, rsv1: first & RSV1 != 0, opcode, mask, payload_len };
        Ok(Decoded::Complete { header, header_len })
    }

    /// Writes the header to the front of `out`, its length in the shortest form, and returns how
    /// many bytes that took.
    ///
    /// What is encoded is what the fields say: whether a peer may take it is not checked.
    ///
    /// # Panics
    ///
    /// In debug builds, if `payload_len` is 2^63 or more, for which there is no encoding.
    #[inline]
    pub fn encode(&self, out: &mut [u8; Self::LEN_MAX]) -> usize {
        debug_assert!(self.payload_len >> 63 == 0, "payload_len must be below 2^63");
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out[0] = flag(self.fin, FIN) | flag(self.rsv1, RSV1) | self.opcode as u8;
        let masked = flag(self.mask.is_some(), MASKED);
        let length = self.payload_len.to_be_bytes();
        let length_end = match self.payload_len {
            0..=125 => {
                out[1] = masked | length[7];
                2
            }
            126..=0xffff => {
                out[1] = masked | LENGTH_16;
                out[2..4].copy_from_slice(&length[6..]);
                4
            }
            _ => {
                out[1] = masked | LENGTH_64;
                out[2..10].copy_from_slice(&length);
                10
            }
        };
        let Some(key) = self.mask else { return length_end };
        out[length_end..length_end + 4].copy_from_slice(&key);
        length_end + 4
    }

    /// How many bytes [`encode`](Self::encode) writes, 2 to 14.
    #[inline]
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        let length_end = match self.payload_len {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        length_end + if self.mask.is_some() { 4 } else { 0 }
    }
}

/// A complete and valid header of the two short length forms, read from eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// FIN, RSV1 and the opcode, taken apart when they are asked for: the parser keeps one register
    /// alive over the masking instead of three, or the compiler would spill where the next frame
    /// begins (1 ns a frame).
    first: u8,
    /// The key, or zeros where the role has none: XOR with those changes nothing.
    pub(crate) key: Key,
    pub(crate) payload_len: usize,
    pub(crate) header_len: usize,
}

impl Glance {
    /// Reads a header from the first eight bytes of a frame; `None` if it has the 64-bit length form
    /// or is at fault, which [`Header::decode`] then finds out.
    ///
    /// Eight bytes hold every masked header of the two short forms, so one load serves them all.
    #[inline(always)]
    pub(crate) fn decode(bytes: [u8; 8], rules: Rules) -> Option<Self> {
        let [first, second, ..] = bytes;
        if !is_legal_first_byte(first, rules) {
            return None;
        }
        // Both roles in full: a branch that never changes is cheaper than to choose each value.
        let (payload_len, header_len, key) = match rules.role {
            Role::Server if second & MASKED == 0 => return None,
            Role::Server => {
                let (payload_len, length_end, after) = short_length(bytes)?;
                (payload_len, length_end + 4, after)
            }
            Role::Client if second & MASKED != 0 => return None,
            Role::Client => {
                let (payload_len, length_end, _) = short_length(bytes)?;
                (payload_len, length_end, [0; 4])
            }
        };
        Some(Self { first, key, payload_len, header_len })
    }

    #[inline(always)]
    pub(crate) fn fin(&self) -> bool {
        self.first & FIN != 0
    }

    #[inline(always)]
    pub(crate) fn rsv1(&self) -> bool {
        self.first & RSV1 != 0
    }

    #[inline(always)]
    pub(crate) fn opcode(&self) -> OpCode {
        OPCODES[usize::from(self.first & OPCODE)]
    }
}

/// The payload length of one of the two short forms, where it ends, and the four bytes that follow.
#[inline(always)]
fn short_length(bytes: [u8; 8]) -> Option<(usize, usize, Key)> {
    // Shifted, since the compiler would put parts of the array together byte by byte.
    let word = u64::from_le_bytes(bytes);
    let [first, second, high, low, ..] = bytes;
    let short = second & LENGTH;
    if short < LENGTH_16 {
        return Some((usize::from(short), 2, low_bytes(word >> 16)));
    }
    let length = u16::from_be_bytes([high, low]);
    let legal = short == LENGTH_16 && length >= LENGTH_16_MIN && first & CONTROL == 0;
    legal.then_some((usize::from(length), 4, low_bytes(word >> 32)))
}

#[inline(always)]
fn low_bytes(word: u64) -> Key {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    let low = word as u32;
    low.to_le_bytes()
}

/// Whether [`check_first_byte`] lets `first` pass.
#[inline(always)]
fn is_legal_first_byte(first: u8, rules: Rules) -> bool {
    // Turned by one, a byte without reserved bits is a number below 32: opcode and FIN.
    let number = first.rotate_left(1);
    let plain = number < 32 && PLAIN_FIRST_BYTES >> number & 1 != 0;
    plain || (rules.rsv1 && matches!(first & !FIN, COMPRESSED_TEXT | COMPRESSED_BINARY))
}

/// Every first byte without reserved bits that [`check_first_byte`] lets pass, as a set of bits.
const PLAIN_FIRST_BYTES: u32 = {
    let mut set = 0;
    let mut number = 0u8;
    while number < 32 {
        if check_first_byte(number.rotate_right(1), Rules::new(Role::Server)).is_ok() {
            set |= 1 << number;
        }
        number += 1;
    }
    set
};

const COMPRESSED_TEXT: u8 = RSV1 | OpCode::Text as u8;
const COMPRESSED_BINARY: u8 = RSV1 | OpCode::Binary as u8;

/// Opcodes by the low four bits of a first byte; where none is, the byte is in no set.
const OPCODES: [OpCode; 16] = {
    let mut opcodes = [OpCode::Continuation; 16];
    let mut bits = 0;
    while bits < 16 {
        if let Some(opcode) = OpCode::from_first_byte(bits) {
            opcodes[bits as usize] = opcode;
        }
        bits += 1;
    }
    opcodes
};

/// Holds the first byte against RFC 6455 section 5.2 and returns its opcode.
const fn check_first_byte(first: u8, rules: Rules) -> Result<OpCode, FrameError> {
    if first & (RSV2 | RSV3) != 0 {
        return Err(FrameError::ReservedBits);
    }
    let Some(opcode) = OpCode::from_first_byte(first) else {
        return Err(FrameError::ReservedOpCode(first & OPCODE));
    };
    // RFC 7692 section 6: only on the first frame of a data message.
    let may_have_rsv1 = rules.rsv1 && matches!(opcode, OpCode::Text | OpCode::Binary);
    if first & RSV1 != 0 && !may_have_rsv1 {
        return Err(FrameError::UnexpectedRsv1);
    }
    if opcode.is_control() && first & FIN == 0 {
        return Err(FrameError::FragmentedControl);
    }
    Ok(opcode)
}

/// Holds the second byte against RFC 6455 sections 5.1 (mask) and 5.5 (length of control frames).
fn check_second_byte(second: u8, opcode: OpCode, rules: Rules) -> Result<(), FrameError> {
    match (rules.role, second & MASKED != 0) {
        (Role::Server, false) => return Err(FrameError::MaskMissing),
        (Role::Client, true) => return Err(FrameError::MaskUnexpected),
        (Role::Server, true) | (Role::Client, false) => {}
    }
    if opcode.is_control() && second & LENGTH > CONTROL_LEN_MAX {
        return Err(FrameError::ControlTooLong);
    }
    Ok(())
}

/// Decodes the payload length from its 7-bit form and the bytes `after` the second one.
///
/// Returns the length and where in the frame the length ends; `None` if bytes are missing.
fn decode_length(short: u8, after: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    match short {
        LENGTH_16 => {
            let Some(bytes) = after.first_chunk() else { return Ok(None) };
            let length = u16::from_be_bytes(*bytes);
            if length < LENGTH_16_MIN {
                return Err(FrameError::LengthNotMinimal);
            }
            Ok(Some((u64::from(length), 4)))
        }
        LENGTH_64 => {
            if after.first().is_some_and(|&top| top & 0x80 != 0) {
                return Err(FrameError::LengthTopBit);
            }
            // Six zero bytes prove that the length fits in 16 bits, whatever the other two say.
            if after.first_chunk() == Some(&[0; 6]) {
                return Err(FrameError::LengthNotMinimal);
            }
            let Some(bytes) = after.first_chunk() else { return Ok(None) };
            Ok(Some((u64::from_be_bytes(*bytes), 10)))
        }
        _ => Ok(Some((u64::from(short), 2))),
    }
}

// The first byte: FIN RSV1 RSV2 RSV3 and four bits of opcode, of which the top one marks control.
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;
const OPCODE: u8 = 0x0f;
const CONTROL: u8 = 0x08;

// The second byte: MASK and seven bits of length, of which two values announce longer forms.
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// Smallest length that needs the 16-bit form.
const LENGTH_16_MIN: u16 = 126;

/// Most bytes of payload of a control frame (RFC 6455 section 5.5), as its 7-bit form.
const CONTROL_LEN_MAX: u8 = 125;
