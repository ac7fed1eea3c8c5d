//! An HTTP/1.1 request head: read as it arrives, refused or looked into.
//!
//! Follows `head`, which finds the end of the head and vouches for its line ends; goes before
//! `handshake`, which decides on the upgrade, and before whatever answers plain requests. The
//! usual head, whole in one read, is parsed where it lies: nothing is copied or allocated.
//!
//! Invariant: a [`Request`] is well-formed HTTP/1.1 in the strict sense (httparse's grammar, one
//! valid Host, one target in origin, absolute or asterisk form, an unambiguous body length), and
//! one that wants an upgrade has no body that could hide bytes from us.
//! Paths are not percent-decoded or normalised, and bodies are not read.

use core::fmt;
use core::mem::MaybeUninit;

use crate::field;
use crate::head::{HeadFault, HeadKind, HeadReader};
use crate::limits::Limits;
use crate::refusal::Refusal;

/// Reads one request head from the pieces of a connection's input.
///
/// ```
/// use tickwire_protocol::{Limits, RequestReader};
///
/// let mut bytes = *b"GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\n\r\nearly frames";
/// let mut input = &mut bytes[..];
/// let mut reader = RequestReader::new();
/// let request = reader.push(&mut input, &Limits::default())?.expect("the head is whole");
/// assert_eq!((request.method(), request.path(), request.query()), ("GET", "/chat", Some("room=1")));
/// assert_eq!(input, b"early frames");
/// # Ok::<(), tickwire_protocol::Refusal>(())
/// ```
#[derive(Debug)]
pub struct RequestReader {
    head: HeadReader,
}

impl RequestReader {
    /// A reader that holds nothing yet.
    pub const fn new() -> Self {
        Self { head: HeadReader::new(HeadKind::Request) }
    }

    /// Bytes that it holds on the heap, of a head that has not come whole.
    pub const fn memory(&self) -> usize {
        self.head.memory()
    }

    /// Feeds bytes: takes them off the front of `input`, up to the end of the head.
    ///
    /// Gives the request once its head is complete; what follows the head stays in `input`, so
    /// early frames are not lost. `None`: all of `input` was taken and more is needed. Work is
    /// linear in the bytes whatever the pieces; only an unfinished head is kept.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] to be sent before the connection is closed; nothing more may be fed then.
    /// 400 for what is not HTTP/1.1 by RFC 9112 (a NUL, bare CR or LF, folded line, HTTP/1.0,
    /// Host missing, repeated or malformed, a body on an upgrade), 431 beyond the limits of bytes
    /// and lines, 505 for another version of HTTP.
    pub fn push<'r, 'a: 'r>(
        &'r mut self,
        input: &mut &'a mut [u8],
        limits: &Limits,
    ) -> Result<Option<Request<'r>>, Refusal> {
        match self.head.push(input, limits) {
            Ok(None) => Ok(None),
            Ok(Some(head)) => Request::parse(head).map(Some),
            Err(fault) => Err(refusal_of_head(fault)),
        }
    }
}

impl Default for RequestReader {
    fn default() -> Self {
        Self::new()
    }
}

/// A request head that was checked; borrows the bytes it was read from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    fields: Fields<'a>,
    wants_upgrade: bool,
}

impl<'a> Request<'a> {
    /// The method, such as `GET`; methods are case-sensitive (RFC 9110 section 9.1).
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// The path of the target without its query, never empty, not percent-decoded; `*` for the
    /// asterisk form. Of an absolute target (RFC 9112 section 3.2.2) only the path is given.
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// What follows the first `?` of the target, not decoded.
    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The header lines in order: name as sent, and value without surrounding whitespace.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.fields.map(|(name, value)| (text_of_token(name), value))
    }

    /// The value of the first header `name` (any case). `None` if there is none or its bytes are
    /// not UTF-8; [`Request::values`] tells the two apart.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.values(name).next().and_then(|value| core::str::from_utf8(value).ok())
    }

    /// The values of every header line `name` (any case), in order.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The subprotocols that the client offers, in its order of preference (RFC 6455 section 4.1);
    /// what is not ASCII is left out.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.values("Sec-WebSocket-Protocol")
            .flat_map(field::elements)
            .filter_map(|element| core::str::from_utf8(element).ok())
    }

    /// The first of `known` that the client offers: the server's order of preference decides.
    /// Subprotocols are compared with their case (RFC 6455 section 11.5).
    pub fn choose_protocol<'k>(&self, known: &[&'k str]) -> Option<&'k str> {
        known.iter().copied().find(|known| self.protocols().any(|offered| offered == *known))
    }

    /// Whether the comma lists of all header lines `name` have the element `token` (any case);
    /// whole elements are compared, never parts of them.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.values(name).any(|value| field::has_token(value, token))
    }

    /// Whether the client asks for WebSocket: `Upgrade` lists `websocket`. The other conditions of
    /// the handshake are [`upgrade`](crate::upgrade)'s to check.
    pub const fn wants_upgrade(&self) -> bool {
        self.wants_upgrade
    }

    pub(crate) const fn fields(&self) -> Fields<'a> {
        self.fields
    }

    fn parse(head: &'a [u8]) -> Result<Self, Refusal> {
        let mut headers = [const { MaybeUninit::uninit() }; Limits::HEADERS_CEILING];
        let mut parsed = httparse::Request::new(&mut []);
        parsed.parse_with_uninit_headers(head, &mut headers).map_err(refusal_of_syntax)?;
        let (Some(method), Some(target), Some(version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(Refusal::new(400, "send a complete HTTP/1.1 request head"));
        };
        if version != 1 {
            return Err(Refusal::new(400, "send the request as HTTP/1.1"));
        }
        let fields = Fields::of_head(head);
        let wants_upgrade = check_fields(fields)?;
        let (path, query) = split_target(target)?;
        Ok(Self { method, path, query, fields, wants_upgrade })
    }
}

impl fmt::Debug for Request<'_> {
    /// Leaves the header values out: they hold cookies and credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("wants_upgrade", &self.wants_upgrade)
            .finish_non_exhaustive()
    }
}

/// The header lines of a checked head, as name and trimmed value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    lines: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The lines after the first one that is not empty. `head` is one that httparse accepted and
    /// that came out of a `HeadReader`: every CR in it begins a CRLF.
    pub(crate) fn of_head(head: &'a [u8]) -> Self {
        let mut lines = head;
        while let [b'\r', b'\n', rest @ ..] = lines {
            lines = rest;
        }
        let mut fields = Self { lines };
        fields.take_line();
        fields
    }

    fn take_line(&mut self) -> Option<&'a [u8]> {
        let end = field::position(self.lines, |byte| byte == b'\r')?;
        let line = self.lines.get(..end)?;
        self.lines = self.lines.get(end + 2..)?;
        Some(line)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.take_line()?;
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((line.get(..colon)?, field::trim(line.get(colon + 1..)?)))
    }
}

/// Checks what every request must satisfy; tells whether it wants the upgrade to WebSocket.
fn check_fields(fields: Fields<'_>) -> Result<bool, Refusal> {
    let mut hosts = 0;
    let mut content_length = None;
    let mut transfer_encoding = false;
    let mut wants_upgrade = false;
    for (name, value) in fields {
        if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
            if !value.iter().all(|&byte| is_host_byte(byte)) {
                return Err(Refusal::new(400, "send a valid Host header"));
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            wants_upgrade |= field::has_token(value, "websocket");
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            transfer_encoding = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if content_length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit)
            {
                return Err(Refusal::new(400, "send one Content-Length, a decimal number"));
            }
            content_length = Some(value);
        }
    }
    if hosts != 1 {
        return Err(Refusal::new(400, "send exactly one Host header"));
    }
    if transfer_encoding && content_length.is_some() {
        return Err(Refusal::new(400, "send either Content-Length or Transfer-Encoding"));
    }
    let empty = content_length.is_none_or(|digits| digits.iter().all(|&digit| digit == b'0'));
    if wants_upgrade && (transfer_encoding || !empty) {
        return Err(Refusal::new(400, "send the upgrade request without a body"));
    }
    Ok(wants_upgrade)
}

/// Bytes of `uri-host [":" port]` (RFC 3986 section 3.2), without the comma: a list of hosts is
/// no host.
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=')
}

/// Path and query of a request target (RFC 9112 section 3.2).
fn split_target(target: &str) -> Result<(&str, Option<&str>), Refusal> {
    const ADVICE: Refusal = Refusal::new(400, "send a request target that begins with '/'");
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(ADVICE);
    }
    let origin_form = if target.starts_with('/') || target == "*" {
        target
    } else {
        let (_scheme, rest) = target.split_once("://").ok_or(ADVICE)?;
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        if authority_len == 0 {
            return Err(ADVICE);
        }
        rest.get(authority_len..).unwrap_or_default()
    };
    let (path, query) = match origin_form.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin_form, None),
    };
    Ok((if path.is_empty() { "/" } else { path }, query))
}

/// The text of a header name, which httparse found to be a token.
fn text_of_token(name: &[u8]) -> &str {
    core::str::from_utf8(name).expect("a token is ASCII")
}

const fn refusal_of_head(fault: HeadFault) -> Refusal {
    match fault {
        HeadFault::NotHttp => Refusal::new(400, "speak plain HTTP/1.1 on this port"),
        HeadFault::Nul => Refusal::new(400, "send no NUL byte in the request head"),
        HeadFault::BareCarriageReturn | HeadFault::BareLineFeed => {
            Refusal::new(400, "end each line of the request head with CR LF")
        }
        HeadFault::FoldedLine => Refusal::new(400, "send each header in one line"),
        HeadFault::TooLong => Refusal::new(431, "send a shorter request head"),
        HeadFault::TooManyLines => Refusal::new(431, "send fewer header lines"),
    }
}

const fn refusal_of_syntax(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::Version => Refusal::new(505, "send the request as HTTP/1.1"),
        httparse::Error::TooManyHeaders => Refusal::new(431, "send fewer header lines"),
        httparse::Error::HeaderName => Refusal::new(400, "send header names that are tokens"),
        httparse::Error::HeaderValue => {
            Refusal::new(400, "send header values without control characters")
        }
        _ => Refusal::new(400, "send a well-formed HTTP/1.1 request line"),
    }
}
