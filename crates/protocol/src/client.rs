//! The client's side of the opening handshake (RFC 6455 section 4.1).
//!
//! For load generators, tests and whoever talks to a server of ours or another: writes the
//! request, reads the answer as it arrives, and accepts it only if every MUST is met. Then a
//! [`Connection`](crate::Connection) of [`Role::Client`](crate::Role) takes over; frames that
//! came with the answer stay in the input.
//!
//! The random key comes from the caller. Redirects and authentication are not followed.

use core::mem::MaybeUninit;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::deflate::{self, DeflateParams, DeflatePolicy};
use crate::error::{AnswerError, ClientError};
use crate::extension::Extensions;
use crate::field;
use crate::handshake::{accept_value, is_handshake_header};
use crate::head::{HeadFault, HeadKind, HeadReader};
use crate::limits::Limits;
use crate::request::Fields;
use crate::response::{check_headers, push_header};

/// One opening handshake of a client.
///
/// ```
/// use tickwire_protocol::ClientHandshake;
///
/// let mut handshake = ClientHandshake::new(*b"the sample nonce");
/// let mut out = Vec::new();
/// handshake.request("server.example.com", "/chat", &["superchat"], &[], &mut out)?;
/// // ... send `out`, then feed what is received:
/// let mut bytes = *b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
///                    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
///                    Sec-WebSocket-Protocol: superchat\r\n\r\n";
/// let accepted = handshake.receive(&mut &mut bytes[..])?.expect("the answer is whole");
/// assert_eq!(accepted.protocol.as_deref(), Some("superchat"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ClientHandshake {
    offer: Offer,
    limits: Limits,
    head: HeadReader,
    /// Where a redirect that was received points to.
    location: Option<Box<str>>,
}

/// What the server agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// The subprotocol that it chose among those offered.
    pub protocol: Option<String>,
    /// The parameters of permessage-deflate, if it was offered and the server wants it.
    pub deflate: Option<DeflateParams>,
}

impl ClientHandshake {
    /// A handshake with the random `key` and default limits.
    pub fn new(key: [u8; 16]) -> Self {
        Self::with_limits(key, Limits::DEFAULT)
    }

    /// A handshake whose answer may be as long as `limits` say of a request.
    pub fn with_limits(key: [u8; 16], limits: Limits) -> Self {
        let mut encoded = [0; 24];
        let written = STANDARD.encode_slice(key, &mut encoded);
        debug_assert_eq!(written, Ok(24), "16 bytes are 24 characters");
        Self {
            offer: Offer { key: encoded, protocols: String::new(), deflate: None },
            limits,
            head: HeadReader::new(HeadKind::Response),
            location: None,
        }
    }

    /// Makes the request offer permessage-deflate as `policy` says; to be called before
    /// [`ClientHandshake::request`].
    pub fn offer_deflate(&mut self, policy: &DeflatePolicy) {
        self.offer.deflate = Some(*policy);
    }

    /// Appends the request to `out`.
    ///
    /// `host` is the authority of the URI (with its port unless it is the default), `target` the
    /// path and query, `protocols` the subprotocols in order of preference, `headers` more names
    /// and values.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Target`], or [`AnswerError::Header`] if the host, a subprotocol or a header
    /// cannot be written, or a header is one that the handshake has already. `out` is as it was.
    pub fn request(
        &mut self,
        host: &str,
        target: &str,
        protocols: &[&str],
        headers: &[(&str, &str)],
        out: &mut Vec<u8>,
    ) -> Result<(), AnswerError> {
        if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AnswerError::Target);
        }
        let protocols_writable =
            protocols.iter().all(|protocol| field::is_token(protocol.as_bytes()));
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_graphic()) || !protocols_writable {
            return Err(AnswerError::Header);
        }
        check_headers(headers)?;
        let is_own = |name: &str| is_handshake_header(name) || name.eq_ignore_ascii_case("host");
        if headers.iter().any(|(name, _)| is_own(name)) {
            return Err(AnswerError::Header);
        }
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        push_header("Host", host, out);
        out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
        out.extend_from_slice(&self.offer.key);
        out.extend_from_slice(b"\r\nSec-WebSocket-Version: 13\r\n");
        if !protocols.is_empty() {
            push_header("Sec-WebSocket-Protocol", &protocols.join(", "), out);
        }
        if let Some(policy) = &self.offer.deflate {
            out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
            policy.push_offers(out);
            out.extend_from_slice(b"\r\n");
        }
        for (name, value) in headers {
            push_header(name, value, out);
        }
        out.extend_from_slice(b"\r\n");
        self.offer.protocols = protocols.join(",");
        Ok(())
    }

    /// Feeds bytes of the answer: takes them off the front of `input`, up to the end of its head.
    ///
    /// Gives what was agreed once the head is complete; what follows it stays in `input`. `None`:
    /// all of `input` was taken and more is needed. Work is linear in the bytes.
    ///
    /// # Errors
    ///
    /// A [`ClientError`] if the server refuses or its answer breaks RFC 6455 section 4.2.2; the
    /// connection is to be closed then, and nothing more may be fed.
    pub fn receive(&mut self, input: &mut &mut [u8]) -> Result<Option<Accepted>, ClientError> {
        let head = match self.head.push(input, &self.limits) {
            Ok(None) => return Ok(None),
            Ok(Some(head)) => head,
            Err(HeadFault::TooLong | HeadFault::TooManyLines) => {
                return Err(ClientError::HeadTooLong);
            }
            Err(_) => return Err(ClientError::NotHttp),
        };
        let mut headers = [const { MaybeUninit::uninit() }; Limits::HEADERS_CEILING];
        let mut parsed = httparse::Response::new(&mut []);
        httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut parsed, head, &mut headers)
            .map_err(|_| ClientError::NotHttp)?;
        match (parsed.version, parsed.code) {
            (Some(1), Some(101)) => {}
            (Some(_), Some(status)) if status != 101 => {
                if matches!(status, 300..=399) {
                    self.location = location(Fields::of_head(head));
                }
                return Err(ClientError::Status(status));
            }
            _ => return Err(ClientError::NotHttp),
        }
        self.offer.check_answer(Fields::of_head(head)).map(Some)
    }

    /// Where the redirect points to that [`ClientHandshake::receive`] has refused with
    /// [`ClientError::Status`] 300 to 399, if it says so in visible ASCII. Whether to go there is the
    /// application's to decide: the server chose it (RFC 6455 section 4.1, "redirect").
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }
}

/// The one `Location` of an answer.
fn location(fields: Fields<'_>) -> Option<Box<str>> {
    let mut locations = values(fields, b"location");
    let location = locations.next().filter(|value| value.iter().all(u8::is_ascii_graphic))?;
    let location = core::str::from_utf8(location).ok()?;
    locations.next().is_none().then(|| location.into())
}

/// What the server is asked for, and its answer is compared with.
#[derive(Debug)]
struct Offer {
    key: [u8; 24],
    /// The subprotocols, with commas between them.
    protocols: String,
    /// What of permessage-deflate is offered.
    deflate: Option<DeflatePolicy>,
}

impl Offer {
    /// RFC 6455 section 4.1: what the client must verify, in the order given there.
    fn check_answer(&self, fields: Fields<'_>) -> Result<Accepted, ClientError> {
        let mut upgrades = values(fields, b"upgrade");
        let upgrade = upgrades.next().is_some_and(|v| v.eq_ignore_ascii_case(b"websocket"));
        if !upgrade || upgrades.next().is_some() {
            return Err(ClientError::Upgrade);
        }
        if !values(fields, b"connection").any(|value| field::has_token(value, "upgrade")) {
            return Err(ClientError::Connection);
        }
        let mut accepts = values(fields, b"sec-websocket-accept");
        if accepts.next() != Some(&accept_value(&self.key)) || accepts.next().is_some() {
            return Err(ClientError::Accept);
        }
        let deflate = self.check_extensions(fields).ok_or(ClientError::Extension)?;
        let protocol = self.check_protocol(fields).ok_or(ClientError::Protocol)?;
        Ok(Accepted { protocol, deflate })
    }

    /// At most one extension, the one offered, answered as it was (RFC 7692 section 5.1).
    fn check_extensions(&self, fields: Fields<'_>) -> Option<Option<DeflateParams>> {
        let mut extensions = values(fields, b"sec-websocket-extensions").flat_map(Extensions::of);
        let Some(extension) = extensions.next() else { return Some(None) };
        let extension = extension.ok().filter(|extension| extension.name == deflate::NAME)?;
        let params = self.deflate?.agree(&deflate::Parameters::read(&extension)?)?;
        extensions.next().is_none().then_some(Some(params))
    }

    /// At most one subprotocol, of those offered.
    fn check_protocol(&self, fields: Fields<'_>) -> Option<Option<String>> {
        let mut protocols = values(fields, b"sec-websocket-protocol");
        let Some(chosen) = protocols.next() else { return Some(None) };
        let mut offered = self.protocols.split(',').filter(|one| !one.is_empty());
        let known = offered.find(|one| one.as_bytes() == chosen)?;
        protocols.next().is_none().then_some(Some(known.to_owned()))
    }
}

fn values<'a>(fields: Fields<'a>, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    fields.filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
