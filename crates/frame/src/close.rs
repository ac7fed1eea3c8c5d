//! The body of a Close frame: a code and a reason.
//!
//! A Close frame's payload arrives through the parser like any other; when it is whole, [`decode`]
//! reads it, and [`encode`] writes the one to send. RFC 6455 sections 5.5.1 and 7.4, with the
//! codes that IANA has registered since.
//!
//! Invariant: no code that is barred from the wire passes in either direction. When a Close is due,
//! and with which code, is not decided here.

use core::fmt;

use crate::error::FrameError;
use crate::utf8;

/// Most bytes that the payload of a control frame may have (RFC 6455 section 5.5).
pub const BODY_LEN_MAX: usize = 125;

/// Most bytes of UTF-8 that a reason may have: a control payload less the code.
pub const REASON_LEN_MAX: usize = BODY_LEN_MAX - 2;

/// Why a connection ends (RFC 6455 section 7.4).
///
/// Any `u16` can be held; [`is_valid_on_wire`](Self::is_valid_on_wire) tells which may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: the purpose of the connection has been fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server is shutting down, or the page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that this endpoint does not take.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: stands for a Close without a code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: stands for a connection lost without a Close. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: data that contradicts its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a policy was violated, where no other code fits.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to take.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client needed an extension that the server did not agree to. Sent by clients only.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server met something that it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; come back after a while (IANA registry).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; come back later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid answer from the server behind it (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: stands for a failed TLS handshake. Never on the wire.
    pub const TLS_HANDSHAKE: Self = Self(1015);

    /// Whether this code may appear in a Close frame.
    ///
    /// True for 1000 to 1003, 1007 to 1014 and 3000 to 4999 (RFC 6455 sections 7.4.1 and 7.4.2,
    /// and the IANA registry); 1010 may be received from clients though a server never sends it.
    #[must_use]
    pub const fn is_valid_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// Reads the unmasked payload of a Close frame; `None` if it is empty, which means "no code given".
///
/// # Errors
///
/// A payload of one byte or of more than 125, a code that is barred from the wire, or a reason that
/// is not UTF-8 (RFC 6455 section 5.5.1).
pub fn decode(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, FrameError> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(FrameError::CloseBodyTruncated),
        _ if payload.len() > BODY_LEN_MAX => return Err(FrameError::ControlTooLong),
        [high, low, reason @ ..] => (CloseCode(u16::from_be_bytes([*high, *low])), reason),
    };
    if !code.is_valid_on_wire() {
        return Err(FrameError::CloseCodeInvalid(code.0));
    }
    let reason = utf8::check(reason).map_err(|_| FrameError::CloseReasonNotUtf8)?;
    Ok(Some((code, reason)))
}

/// Writes the payload of a Close frame to the front of `out` and returns its length, 2 to 125.
///
/// A reason longer than 123 bytes is cut at a character boundary.
///
/// # Panics
///
/// In debug builds, if `code` is barred from the wire.
pub fn encode(code: CloseCode, reason: &str, out: &mut [u8; BODY_LEN_MAX]) -> usize {
    debug_assert!(code.is_valid_on_wire(), "close code {code} must not be used on the wire");
    let mut reason_len = reason.len().min(REASON_LEN_MAX);
    while !reason.is_char_boundary(reason_len) {
        reason_len -= 1;
    }
    let reason = &reason.as_bytes()[..reason_len];
    let len = 2 + reason.len();
    out[..2].copy_from_slice(&code.0.to_be_bytes());
    out[2..len].copy_from_slice(reason);
    len
}
