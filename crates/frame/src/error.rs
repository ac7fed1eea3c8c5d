//! What a peer can do wrong within one frame.
//!
//! All of these are the peer's faults: this crate has no limits to reach and calls nothing that can
//! fail. Each variant says what was expected, and names the close code that RFC 6455 section 7.4.1
//! asks for, so that the connection can tell the peer before it ends. Choosing what to do with
//! the connection is not decided here.

use core::error::Error;
use core::fmt;

use crate::close::CloseCode;

/// A frame that RFC 6455 does not allow.
///
/// The connection has to be failed (RFC 6455 section 7.1.7): send Close with
/// [`close_code`](Self::close_code) and take nothing more from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// RSV2 or RSV3 is set; no extension that uses them exists (section 5.2).
    ReservedBits,
    /// RSV1 is set where permessage-deflate was not negotiated, or on a frame that does not begin
    /// a data message (section 5.2; RFC 7692 section 6).
    UnexpectedRsv1,
    /// The opcode, given here, is one of 3 to 7 or 11 to 15 (section 5.2).
    ReservedOpCode(u8),
    /// A control frame has FIN clear; it must be whole (section 5.5).
    FragmentedControl,
    /// A control frame has more than 125 bytes of payload (section 5.5).
    ControlTooLong,
    /// A client's frame came unmasked (section 5.1).
    MaskMissing,
    /// A server's frame came masked (section 5.1).
    MaskUnexpected,
    /// The length is not written in the shortest of its three forms (section 5.2).
    LengthNotMinimal,
    /// The top bit of the 64-bit length is set (section 5.2).
    LengthTopBit,
    /// The body of a Close frame has one byte; it must be empty or begin with a two-byte code
    /// (section 5.5.1).
    CloseBodyTruncated,
    /// The close code, given here, must not appear on the wire (section 7.4).
    CloseCodeInvalid(u16),
    /// The reason of a Close frame is not UTF-8 (section 5.5.1).
    CloseReasonNotUtf8,
}

impl FrameError {
    /// The code to close the connection with: 1002, or 1007 for text that is not UTF-8
    /// (section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::CloseReasonNotUtf8 => CloseCode::INVALID_PAYLOAD,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits => formatter.write_str("reserved bits RSV2 and RSV3 must be clear"),
            Self::UnexpectedRsv1 => formatter.write_str(
                "reserved bit RSV1 must be clear except on the first frame of a compressed message",
            ),
            Self::ReservedOpCode(opcode) => {
                write!(formatter, "opcode must be 0, 1, 2, 8, 9 or 10, got {opcode}")
            }
            Self::FragmentedControl => {
                formatter.write_str("a control frame must not be fragmented")
            }
            Self::ControlTooLong => {
                formatter.write_str("a control frame must have at most 125 bytes of payload")
            }
            Self::MaskMissing => formatter.write_str("a frame from a client must be masked"),
            Self::MaskUnexpected => formatter.write_str("a frame from a server must not be masked"),
            Self::LengthNotMinimal => {
                formatter.write_str("payload length must be in its shortest form")
            }
            Self::LengthTopBit => {
                formatter.write_str("the top bit of a 64-bit payload length must be clear")
            }
            Self::CloseBodyTruncated => formatter
                .write_str("the body of a close frame must be empty or begin with a 2-byte code"),
            Self::CloseCodeInvalid(code) => {
                write!(formatter, "close code {code} must not be used on the wire")
            }
            Self::CloseReasonNotUtf8 => formatter.write_str("a close reason must be valid UTF-8"),
        }
    }
}

impl Error for FrameError {}

/// Text that is not UTF-8 (RFC 6455 section 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Utf8Error;

impl Utf8Error {
    /// The code to close the connection with: 1007.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        CloseCode::INVALID_PAYLOAD
    }
}

impl fmt::Display for Utf8Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text must be valid UTF-8")
    }
}

impl Error for Utf8Error {}
