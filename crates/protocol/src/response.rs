//! Plain HTTP answers on the same port: a page, metrics, a refusal.
//!
//! The last stop of a request that is not upgraded. Every answer ends its connection, so the
//! engine never has a second request or a body to find its way in: `Connection: close` and the
//! length are always written, and nothing that the application hands in can end a header line.
//!
//! It does not know the date, cache or compress: the application adds such headers.

use crate::error::AnswerError;
use crate::field;

/// An answer to a request, borrowed from whoever owns its parts.
///
/// ```
/// use tickwire_protocol::Response;
///
/// let mut out = Vec::new();
/// let page = Response { status: 200, content_type: "text/html", headers: &[], body: b"<p>hello" };
/// page.encode(false, &mut out)?;
/// assert_eq!(
///     out,
///     b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\n\
///       Content-Length: 8\r\n\r\n<p>hello"
/// );
/// # Ok::<(), tickwire_protocol::AnswerError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The HTTP status, 200 to 599.
    pub status: u16,
    /// The media type of the body; empty to send no `Content-Type`.
    pub content_type: &'a str,
    /// More headers, as name and value.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, whole.
    pub body: &'a [u8],
}

impl Response<'_> {
    /// Appends the answer to `out`; with `head_only`, as for a HEAD request, all but the body.
    ///
    /// 204 and 304 are sent without body and length (RFC 9110 sections 15.3.5 and 15.4.5).
    ///
    /// # Errors
    ///
    /// [`AnswerError::Status`] if the status is not in range, [`AnswerError::Header`] if a name is
    /// no token or a value holds anything but visible ASCII, spaces and tabs. `out` is as it was.
    pub fn encode(&self, head_only: bool, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        if !(200..=599).contains(&self.status) {
            return Err(AnswerError::Status);
        }
        check_headers(self.headers)?;
        check_headers(&[("Content-Type", self.content_type)])?;
        let bodiless = matches!(self.status, 204 | 304);
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(u64::from(self.status), out);
        out.push(b' ');
        out.extend_from_slice(reason(self.status).as_bytes());
        // RFC 9110 section 7.8: who sends Upgrade lists it in Connection as well.
        let connection = if self.status == 426 { "close, Upgrade" } else { "close" };
        push_header("\r\nConnection", connection, out);
        if !self.content_type.is_empty() {
            push_header("Content-Type", self.content_type, out);
        }
        for (name, value) in self.headers {
            push_header(name, value, out);
        }
        if !bodiless {
            out.extend_from_slice(b"Content-Length: ");
            push_decimal(self.body.len() as u64, out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if !head_only && !bodiless {
            out.extend_from_slice(self.body);
        }
        Ok(())
    }
}

/// Whether all of `headers` can be written without ending their lines early.
pub(crate) fn check_headers(headers: &[(&str, &str)]) -> Result<(), AnswerError> {
    let writable = |(name, value): &(&str, &str)| {
        field::is_token(name.as_bytes()) && field::is_writable_value(value.as_bytes())
    };
    if headers.iter().all(writable) { Ok(()) } else { Err(AnswerError::Header) }
}

/// Appends a header line; the caller has checked both.
pub(crate) fn push_header(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn push_decimal(number: u64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    write!(out, "{number}").expect("writing to a Vec cannot fail");
}

/// The customary reason phrase (RFC 9110 section 15); clients ignore it.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
