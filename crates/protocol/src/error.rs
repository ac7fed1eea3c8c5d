//! What goes wrong, by whose fault: [`ProtocolError`] is the peer's on an open connection,
//! [`ClientError`] the server's in a client's handshake, [`AnswerError`] the application's.
//!
//! A request that is turned down is not an error of this kind: it is a
//! [`Refusal`](crate::Refusal), which has an answer of its own.
//!
//! Each message says what was expected, so that it is of use as the reason of a Close.

use core::fmt;

use tickwire_frame::{CloseCode, FrameError};

/// A violation by the peer that fails an open connection (RFC 6455 section 7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A single frame breaks the wire format.
    Frame(FrameError),
    /// A continuation frame came with no message begun (section 5.4).
    NothingToContinue,
    /// A text or binary frame came before the message begun had ended (section 5.4).
    MessageUnfinished,
    /// A text message is not UTF-8 (section 8.1).
    InvalidText,
    /// A message is declared longer than `Limits::message_bytes_max`, or inflates to more.
    MessageTooBig,
    /// A compressed message is not valid DEFLATE, or ends within a block (RFC 7692 section 7.2.2).
    InvalidDeflate,
    /// A message has more empty fragments than `Limits::empty_fragments_max`.
    TooManyEmptyFragments,
}

impl ProtocolError {
    /// The code of the Close that tells the peer: 1002, 1007, 1008 or 1009 (section 7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Frame(error) => error.close_code(),
            Self::NothingToContinue | Self::MessageUnfinished => CloseCode::PROTOCOL_ERROR,
            Self::InvalidText | Self::InvalidDeflate => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyEmptyFragments => CloseCode::POLICY_VIOLATION,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame(error) => return error.fmt(f),
            Self::NothingToContinue => "continuation frame, but no message was begun",
            Self::MessageUnfinished => "new message, but the one begun was not finished",
            Self::InvalidText => "text messages must be UTF-8",
            Self::MessageTooBig => "message is longer than this side accepts",
            Self::InvalidDeflate => "compressed messages must be complete DEFLATE blocks",
            Self::TooManyEmptyFragments => "message has too many empty fragments",
        })
    }
}

impl core::error::Error for ProtocolError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Frame(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FrameError> for ProtocolError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// Why an answer or a request of ours was not written: the application's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// The status is outside 200 to 599.
    Status,
    /// A header name is no token or is the handshake's own, or a value could end its line.
    Header,
    /// The subprotocol chosen is not among those that the client offered.
    ProtocolNotOffered,
    /// The parameters of permessage-deflate answer none of the client's offers.
    ExtensionNotOffered,
    /// The request target is not a path that begins with `/`.
    Target,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "status must be between 200 and 599",
            Self::Header => "header names must be tokens and values visible ASCII in one line",
            Self::ProtocolNotOffered => "subprotocol must be one that the client offered",
            Self::ExtensionNotOffered => "permessage-deflate must be answered as it was offered",
            Self::Target => "request target must begin with '/' and hold visible ASCII only",
        })
    }
}

impl core::error::Error for AnswerError {}

/// Why a client did not get its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError {
    /// The server answered with another status than 101: a refusal, or a redirect, which is not
    /// followed.
    Status(u16),
    /// The answer is not an HTTP/1.1 head.
    NotHttp,
    /// The head of the answer is longer than the limits allow.
    HeadTooLong,
    /// The 101 lacks `Upgrade: websocket`.
    Upgrade,
    /// The 101 lacks `Connection: Upgrade`.
    Connection,
    /// `Sec-WebSocket-Accept` is missing, repeated or not the answer to our key.
    Accept,
    /// The server chose a subprotocol that was not offered, or several.
    Protocol,
    /// The server chose an extension that was not offered, or answered permessage-deflate with
    /// parameters that do not fit the offer.
    Extension,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => {
                return write!(f, "server answered {status} where 101 was expected");
            }
            Self::NotHttp => "server did not answer in HTTP/1.1",
            Self::HeadTooLong => "the head of the server's answer is too long",
            Self::Upgrade => "answer must have Upgrade: websocket",
            Self::Connection => "answer must have Connection: Upgrade",
            Self::Accept => "Sec-WebSocket-Accept must be the answer to the key sent",
            Self::Protocol => "server must choose at most one of the subprotocols offered",
            Self::Extension => {
                "server must answer only offered extensions, and as they were offered"
            }
        })
    }
}

impl core::error::Error for ClientError {}
