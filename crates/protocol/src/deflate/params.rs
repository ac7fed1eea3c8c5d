//! The negotiation of permessage-deflate: four parameters, offered and answered.
//!
//! Stands between the grammar of `extension` and the handshakes of both sides: reads the parameters
//! of an offer or an answer, decides what a [`DeflatePolicy`] makes of an offer, and writes both.
//!
//! Invariant: a parameter that is unknown, repeated or out of range is never clamped or passed
//! over. It makes a server decline that offer and try the next (RFC 7692 section 7), and a client
//! fail the connection (section 5.1; CVE-2026-2229 was a client that did not).

use tickwire_frame::Role;

use super::deflater::Deflater;
use super::inflater::Inflater;
use crate::extension::{Extension, Value};

/// What this side is ready to agree to as a server, or offers as a client.
///
/// ```
/// use tickwire_protocol::DeflatePolicy;
///
/// let mut policy = DeflatePolicy::default();
/// policy.server_window_bits = 12;
/// assert!(!policy.server_context && !policy.client_context);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeflatePolicy {
    /// Whether the server may keep its window from message to message. Better compression of
    /// similar messages, for a compressor per connection.
    pub server_context: bool,
    /// Whether the client may keep its window, for which the server then needs an inflater of
    /// 47 KB per connection.
    pub client_context: bool,
    /// Largest window of the server's compressor, as a power of two: 9 to 15, nearest taken.
    pub server_window_bits: u8,
    /// Largest window of the client's compressor, as a power of two: 9 to 15, nearest taken. A
    /// client that does not offer to be limited uses 15.
    pub client_window_bits: u8,
}

/// What both sides agreed to, as it holds from the first message on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeflateParams {
    /// The server compresses each message by itself (RFC 7692 section 7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client compresses each message by itself (section 7.1.1.2).
    pub client_no_context_takeover: bool,
    /// The server refers back at most two to the power of this many bytes: 8 to 15, for a server
    /// of ours 9 to 15 (section 7.1.2.1).
    pub server_max_window_bits: u8,
    /// The client refers back at most two to the power of this many bytes: 8 to 15
    /// (section 7.1.2.2).
    pub client_max_window_bits: u8,
}

impl DeflatePolicy {
    /// No context on either side and windows of 32 KB: no connection needs memory of its own.
    pub const DEFAULT: Self = Self {
        server_context: false,
        client_context: false,
        server_window_bits: WINDOW_BITS_MAX,
        client_window_bits: WINDOW_BITS_MAX,
    };

    /// What a server with this policy makes of `offer`; `None` if it has to decline.
    pub(crate) fn accept(&self, offer: &Parameters) -> Option<DeflateParams> {
        let server_bits = offer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
        // There is no compressor for a window of 256 bytes (madler/zlib#171).
        if server_bits < WINDOW_BITS_MIN {
            return None;
        }
        let client_bits = match offer.client_max_window_bits {
            // Section 7.1.2.2: who has not offered to be limited must not be.
            None => WINDOW_BITS_MAX,
            Some(most) => most.unwrap_or(WINDOW_BITS_MAX).min(in_range(self.client_window_bits)),
        };
        Some(DeflateParams {
            server_no_context_takeover: offer.server_no_context_takeover || !self.server_context,
            client_no_context_takeover: offer.client_no_context_takeover || !self.client_context,
            server_max_window_bits: server_bits.min(in_range(self.server_window_bits)),
            client_max_window_bits: client_bits,
        })
    }

    /// Appends the offers that a client with this policy makes, the one it likes better first.
    ///
    /// A client that would keep its context offers to do without as well: some servers insist on
    /// that, and ask for it only where it was offered. Which offer was taken need not be known,
    /// since a server that cannot do with a context says so in its answer (section 7.1.1.2).
    pub(crate) fn push_offers(&self, out: &mut Vec<u8>) {
        self.push_offer(out);
        if self.client_context {
            out.extend_from_slice(b", ");
            Self { client_context: false, ..*self }.push_offer(out);
        }
    }

    fn push_offer(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(NAME);
        if !self.server_context {
            out.extend_from_slice(b"; server_no_context_takeover");
        }
        if !self.client_context {
            out.extend_from_slice(b"; client_no_context_takeover");
        }
        let server_bits = in_range(self.server_window_bits);
        if server_bits < WINDOW_BITS_MAX {
            push_bits("server_max_window_bits", server_bits, out);
        }
        // Always offered, so that the server may ask for less.
        match in_range(self.client_window_bits) {
            WINDOW_BITS_MAX => out.extend_from_slice(b"; client_max_window_bits"),
            bits => push_bits("client_max_window_bits", bits, out),
        }
    }

    /// What holds for a client that made these offers and got `answer`; `None` if that fits neither.
    pub(crate) fn agree(&self, answer: &Parameters) -> Option<DeflateParams> {
        let client_bits = in_range(self.client_window_bits);
        let client_bits = match answer.client_max_window_bits {
            None => client_bits,
            Some(asked) => asked.filter(|asked| *asked <= client_bits)?,
        };
        let server_bits = in_range(self.server_window_bits);
        let params = DeflateParams {
            server_no_context_takeover: answer.server_no_context_takeover,
            // What we said we would do, whether or not the server repeats it.
            client_no_context_takeover: answer.client_no_context_takeover || !self.client_context,
            server_max_window_bits: answer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX),
            client_max_window_bits: client_bits,
        };
        let fits = params.server_max_window_bits <= server_bits
            && (params.server_no_context_takeover || self.server_context);
        fits.then_some(params)
    }
}

impl Default for DeflatePolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl DeflateParams {
    /// An inflater for what the peer of a connection in `role` compresses; one without context may
    /// be shared by all connections whose peers keep none.
    pub const fn inflater(&self, role: Role) -> Inflater {
        Inflater::new(match role {
            Role::Server => !self.client_no_context_takeover,
            Role::Client => !self.server_no_context_takeover,
        })
    }

    /// A deflater for what this side of a connection, in `role`, compresses; `level` and
    /// `mem_level` as in [`Deflater::new`]. One without context may be shared by all connections
    /// with the same window.
    pub const fn deflater(&self, role: Role, level: u8, mem_level: u8) -> Deflater {
        let (window_bits, no_context) = match role {
            Role::Server => (self.server_max_window_bits, self.server_no_context_takeover),
            Role::Client => (self.client_max_window_bits, self.client_no_context_takeover),
        };
        Deflater::new(level, mem_level, window_bits, !no_context)
    }

    /// Whether a server may answer `offer` with this.
    pub(crate) fn answers(&self, offer: &Parameters) -> bool {
        let server_most = offer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
        let (client_least, client_most) = match offer.client_max_window_bits {
            None => (WINDOW_BITS_MAX, WINDOW_BITS_MAX),
            Some(most) => (PEER_WINDOW_BITS_MIN, most.unwrap_or(WINDOW_BITS_MAX)),
        };
        (self.server_no_context_takeover || !offer.server_no_context_takeover)
            && (WINDOW_BITS_MIN..=server_most).contains(&self.server_max_window_bits)
            && (client_least..=client_most).contains(&self.client_max_window_bits)
    }

    /// Appends the answer of a server to `offer`.
    pub(crate) fn push_answer(&self, offer: &Parameters, out: &mut Vec<u8>) {
        out.extend_from_slice(NAME);
        if self.server_no_context_takeover {
            out.extend_from_slice(b"; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            out.extend_from_slice(b"; client_no_context_takeover");
        }
        // Section 7.1.2.1: accepted by being repeated, even if it changes nothing.
        if offer.server_max_window_bits.is_some() || self.server_max_window_bits < WINDOW_BITS_MAX {
            push_bits("server_max_window_bits", self.server_max_window_bits, out);
        }
        if self.client_max_window_bits < WINDOW_BITS_MAX {
            push_bits("client_max_window_bits", self.client_max_window_bits, out);
        }
    }
}

/// The parameters of one offer or one answer, as they stand there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Present, and with a value; an offer may do without one.
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// Reads an extension of the name [`NAME`]; `None` if a parameter is unknown, repeated, or has
    /// no legal value.
    pub(crate) fn read(extension: &Extension<'_>) -> Option<Self> {
        let mut read = Self::default();
        for parameter in extension.parameters() {
            let (name, value) = (parameter.name, parameter.value);
            match name {
                b"server_no_context_takeover" => {
                    take_flag(&mut read.server_no_context_takeover, value)?;
                }
                b"client_no_context_takeover" => {
                    take_flag(&mut read.client_no_context_takeover, value)?;
                }
                b"server_max_window_bits" => {
                    let repeated = read.server_max_window_bits.replace(window_bits(value?)?);
                    repeated.is_none().then_some(())?;
                }
                b"client_max_window_bits" => {
                    let bits = match value {
                        None => None,
                        Some(value) => Some(window_bits(value)?),
                    };
                    let repeated = read.client_max_window_bits.replace(bits);
                    repeated.is_none().then_some(())?;
                }
                _ => return None,
            }
        }
        Some(read)
    }
}

/// A parameter that has no value and stands once.
fn take_flag(flag: &mut bool, value: Option<Value<'_>>) -> Option<()> {
    let repeated = core::mem::replace(flag, true);
    (!repeated && value.is_none()).then_some(())
}

/// A decimal number from 8 to 15 without leading zeros (section 7.1.2).
fn window_bits(value: Value<'_>) -> Option<u8> {
    let mut bytes = value.bytes();
    match (bytes.next()?, bytes.next(), bytes.next()) {
        (digit @ b'8'..=b'9', None, None) => Some(digit - b'0'),
        (b'1', Some(digit @ b'0'..=b'5'), None) => Some(10 + digit - b'0'),
        _ => None,
    }
}

fn push_bits(name: &str, bits: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"; ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    if bits >= 10 {
        out.push(b'1');
    }
    out.push(b'0' + bits % 10);
}

/// The nearest number of window bits that the compressor can do.
fn in_range(window_bits: u8) -> u8 {
    window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX)
}

/// The extension's name (RFC 7692 section 7).
pub(crate) const NAME: &[u8] = b"permessage-deflate";

/// The smallest window that our compressor keeps within; the RFC knows 8 too.
pub(super) const WINDOW_BITS_MIN: u8 = 9;

/// The smallest window that a peer may keep within.
pub(super) const PEER_WINDOW_BITS_MIN: u8 = 8;

/// The largest window of DEFLATE, which holds where none is negotiated.
pub(super) const WINDOW_BITS_MAX: u8 = 15;
