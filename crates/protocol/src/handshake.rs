//! The server's side of the opening handshake (RFC 6455 section 4.2).
//!
//! Between a checked [`Request`] and an open connection: [`upgrade`] verifies everything that the
//! RFC makes a MUST, the application looks at origin, path and offered subprotocols, and
//! [`Upgrade::accept`] writes the 101. It holds nothing: all is borrowed from the request.
//!
//! Invariant: a 101 names only a subprotocol and an extension that the client offered, and no
//! header value that could end its line. Whether an origin is welcome is the application's policy.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::deflate::{self, DeflateParams, DeflatePolicy};
use crate::error::AnswerError;
use crate::extension::{self, Extensions};
use crate::field;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::response::{check_headers, push_header};

/// Checks that `request` is a valid opening handshake of a client (RFC 6455 section 4.2.1).
///
/// # Errors
///
/// A [`Refusal`]: 405 for another method than GET, 426 where `Upgrade` does not list `websocket`
/// or the version is not 13, 400 for every other violation.
pub fn upgrade<'a>(request: &Request<'a>) -> Result<Upgrade<'a>, Refusal> {
    if request.method() != "GET" {
        return Err(Refusal::new(405, "open a WebSocket with GET"));
    }
    if !request.wants_upgrade() {
        return Err(Refusal::new(426, "send Upgrade: websocket, this is a WebSocket endpoint"));
    }
    let offer = Offer::of_request(request)?;
    if !offer.connection_upgrade {
        return Err(Refusal::new(400, "send Connection: Upgrade"));
    }
    check_version(&offer)?;
    let key = checked_key(&offer)?;
    let origin = checked_origin(&offer)?;
    if offer.host == Some(b"") {
        return Err(Refusal::new(400, "send the server's name in the Host header"));
    }
    Ok(Upgrade { request: *request, key, origin })
}

/// A valid opening handshake that awaits its answer.
#[derive(Debug, Clone, Copy)]
pub struct Upgrade<'a> {
    request: Request<'a>,
    key: &'a [u8; 24],
    origin: Option<&'a str>,
}

impl<'a> Upgrade<'a> {
    /// The request that this is.
    pub const fn request(&self) -> &Request<'a> {
        &self.request
    }

    /// The `Origin` header, visible ASCII; `None` from clients that are no browsers. A browser
    /// that hides the origin sends `null`, which is to be treated as a foreign one.
    pub const fn origin(&self) -> Option<&'a str> {
        self.origin
    }

    /// The subprotocols offered, in the client's order of preference; each is a token.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.request.protocols()
    }

    /// The first of `known` that the client offers: the server's order of preference decides.
    /// Subprotocols are compared with their case (RFC 6455 section 11.5).
    pub fn choose<'k>(&self, known: &[&'k str]) -> Option<&'k str> {
        self.request.choose_protocol(known)
    }

    /// What `policy` makes of the first acceptable offer of permessage-deflate, to be handed to
    /// [`Upgrade::accept_with`]; `None` if there is none, and messages then stay uncompressed.
    ///
    /// An offer with a parameter that is unknown, repeated or out of range is passed over, and so
    /// is one that wants our window to be 256 bytes, for which there is no compressor (RFC 7692
    /// sections 5 and 7).
    ///
    /// ```
    /// use tickwire_protocol::{Connection, DeflatePolicy, Limits, RequestReader, Role, upgrade};
    ///
    /// let mut bytes = *b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    ///     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    ///     Sec-WebSocket-Version: 13\r\n\
    ///     Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    /// let mut reader = RequestReader::new();
    /// let mut input = &mut bytes[..];
    /// let request = reader.push(&mut input, &Limits::default())?.expect("the head is whole");
    /// let upgrade = upgrade(&request)?;
    /// let deflate = upgrade.deflate(&DeflatePolicy::default());
    /// let mut out = Vec::new();
    /// upgrade.accept_with(None, deflate.as_ref(), &[], &mut out).expect("it was offered");
    /// let connection = match deflate {
    ///     Some(_) => Connection::with_deflate(Role::Server),
    ///     None => Connection::new(Role::Server),
    /// };
    /// # assert!(out.ends_with(b"permessage-deflate; server_no_context_takeover; \
    /// #     client_no_context_takeover\r\n\r\n"));
    /// # drop(connection);
    /// # Ok::<(), tickwire_protocol::Refusal>(())
    /// ```
    pub fn deflate(&self, policy: &DeflatePolicy) -> Option<DeflateParams> {
        self.deflate_offers().find_map(|offer| policy.accept(&offer))
    }

    /// The legal offers of permessage-deflate, in the client's order of preference.
    fn deflate_offers(&self) -> impl Iterator<Item = deflate::Parameters> + use<'a> {
        self.request
            .values("Sec-WebSocket-Extensions")
            .flat_map(Extensions::of)
            .filter_map(Result::ok)
            .filter(|extension| extension.name == deflate::NAME)
            .filter_map(|extension| deflate::Parameters::read(&extension))
    }

    /// Appends the 101 answer to `out`: status line, `Upgrade`, `Connection`,
    /// `Sec-WebSocket-Accept`, and `Sec-WebSocket-Protocol` if `protocol` was chosen.
    ///
    /// # Errors
    ///
    /// [`AnswerError::ProtocolNotOffered`]; `out` is as it was.
    pub fn accept(&self, protocol: Option<&str>, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        self.accept_with(protocol, None, &[], out)
    }

    /// As [`Upgrade::accept`], with permessage-deflate as [`Upgrade::deflate`] has found it
    /// acceptable, and with more `headers` (name and value) behind the ones of the handshake.
    ///
    /// # Errors
    ///
    /// [`AnswerError::ProtocolNotOffered`], [`AnswerError::ExtensionNotOffered`] if `deflate`
    /// answers none of the offers, or [`AnswerError::Header`] if a name is no token, belongs to
    /// the handshake, or a value holds anything but visible ASCII, spaces and tabs. `out` is as it
    /// was.
    pub fn accept_with(
        &self,
        protocol: Option<&str>,
        deflate: Option<&DeflateParams>,
        headers: &[(&str, &str)],
        out: &mut Vec<u8>,
    ) -> Result<(), AnswerError> {
        if protocol.is_some_and(|chosen| self.protocols().all(|offered| offered != chosen)) {
            return Err(AnswerError::ProtocolNotOffered);
        }
        let deflate = match deflate {
            Some(params) => Some((params, self.offer_answered_by(params)?)),
            None => None,
        };
        check_headers(headers)?;
        if headers.iter().any(|(name, _)| is_handshake_header(name)) {
            return Err(AnswerError::Header);
        }
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\n\
              Upgrade: websocket\r\n\
              Connection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&accept_value(self.key));
        out.extend_from_slice(b"\r\n");
        if let Some(protocol) = protocol {
            push_header("Sec-WebSocket-Protocol", protocol, out);
        }
        if let Some((params, offer)) = deflate {
            out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
            params.push_answer(&offer, out);
            out.extend_from_slice(b"\r\n");
        }
        for (name, value) in headers {
            push_header(name, value, out);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn offer_answered_by(
        &self,
        params: &DeflateParams,
    ) -> Result<deflate::Parameters, AnswerError> {
        self.deflate_offers()
            .find(|offer| params.answers(offer))
            .ok_or(AnswerError::ExtensionNotOffered)
    }
}

/// The `Sec-WebSocket-Accept` value that answers `key`, the 24 characters of the client's
/// `Sec-WebSocket-Key` (RFC 6455 section 4.2.2, item 5.4).
///
/// ```
/// use tickwire_protocol::accept_value;
///
/// assert_eq!(&accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_value(key: &[u8; 24]) -> [u8; 28] {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(ACCEPT_SUFFIX);
    let mut value = [0; 28];
    let written = STANDARD.encode_slice(hash.finalize(), &mut value);
    debug_assert_eq!(written, Ok(28), "20 bytes are 28 characters");
    value
}

/// The headers of a handshake, gathered in one pass over the head.
#[derive(Default)]
struct Offer<'a> {
    connection_upgrade: bool,
    host: Option<&'a [u8]>,
    key: Once<'a>,
    version: Once<'a>,
    origin: Once<'a>,
}

/// A header that may stand at most once.
#[derive(Default, Clone, Copy)]
enum Once<'a> {
    #[default]
    Absent,
    Value(&'a [u8]),
    Repeated,
}

impl<'a> Once<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::Value(value),
            Self::Value(_) | Self::Repeated => Self::Repeated,
        };
    }
}

impl<'a> Offer<'a> {
    fn of_request(request: &Request<'a>) -> Result<Self, Refusal> {
        let mut offer = Self::default();
        for (name, value) in request.fields() {
            if name.eq_ignore_ascii_case(b"connection") {
                offer.connection_upgrade |= field::has_token(value, "upgrade");
            } else if name.eq_ignore_ascii_case(b"host") {
                offer.host = Some(value);
            } else if name.eq_ignore_ascii_case(b"sec-websocket-key") {
                offer.key.add(value);
            } else if name.eq_ignore_ascii_case(b"sec-websocket-version") {
                offer.version.add(value);
            } else if name.eq_ignore_ascii_case(b"origin") {
                offer.origin.add(value);
            } else if name.eq_ignore_ascii_case(b"sec-websocket-protocol") {
                if !field::elements(value).all(field::is_token) {
                    return Err(Refusal::new(400, "send subprotocols as a list of tokens"));
                }
            } else if name.eq_ignore_ascii_case(b"sec-websocket-extensions")
                && !extension::is_list(value)
            {
                return Err(Refusal::new(400, "send a well-formed Sec-WebSocket-Extensions"));
            }
        }
        Ok(offer)
    }
}

/// RFC 6455 section 4.2.1, item 6: 13, in exactly one line (section 11.3.5).
fn check_version(offer: &Offer<'_>) -> Result<(), Refusal> {
    match offer.version {
        Once::Value(b"13") => Ok(()),
        Once::Value(_) => {
            Err(Refusal::new(426, "speak version 13 of the WebSocket protocol").with_version())
        }
        Once::Absent | Once::Repeated => {
            Err(Refusal::new(400, "send exactly one Sec-WebSocket-Version").with_version())
        }
    }
}

/// RFC 6455 section 4.2.1, item 5: the base64 form of 16 bytes, in exactly one line.
fn checked_key<'a>(offer: &Offer<'a>) -> Result<&'a [u8; 24], Refusal> {
    const ADVICE: Refusal =
        Refusal::new(400, "send one Sec-WebSocket-Key, the base64 form of 16 bytes");
    let Once::Value(value) = offer.key else { return Err(ADVICE) };
    let key = <&[u8; 24]>::try_from(value).map_err(|_| ADVICE)?;
    // The decoder asks for the room that 24 characters without padding would take.
    let decoded = STANDARD.decode_slice(key, &mut [0; 18]);
    if decoded == Ok(16) { Ok(key) } else { Err(ADVICE) }
}

/// An origin that is not plain text is refused rather than taken for none: a filter of the
/// application would see a client without origin and let it in.
fn checked_origin<'a>(offer: &Offer<'a>) -> Result<Option<&'a str>, Refusal> {
    const ADVICE: Refusal = Refusal::new(400, "send one valid Origin header");
    match offer.origin {
        Once::Absent => Ok(None),
        Once::Value(value) if !value.is_empty() && value.iter().all(u8::is_ascii_graphic) => {
            core::str::from_utf8(value).map(Some).map_err(|_| ADVICE)
        }
        Once::Value(_) | Once::Repeated => Err(ADVICE),
    }
}

/// Whether a header is written by the handshake itself or would change what follows it.
pub(crate) fn is_handshake_header(name: &str) -> bool {
    const PREFIX: &str = "Sec-WebSocket-";
    ["Upgrade", "Connection", "Content-Length", "Transfer-Encoding"]
        .iter()
        .any(|own| own.eq_ignore_ascii_case(name))
        || name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Appended to the key before it is hashed (RFC 6455 section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
