//! A request that is turned down: its status, and a line that tells the client what to do.
//!
//! Made by `request` and `handshake` for faults of the client, and by whoever owns the policy
//! (origins, paths, rates, deadlines) for the rest. It is `Copy` and holds only static text, so a
//! refusal under load costs no allocation and nothing that a client sent can reach the answer.
//!
//! A refused connection is closed once the answer has left; this file does not do that.

use crate::response::Response;

/// An error answer to a request: sent, then the connection is closed.
///
/// ```
/// use tickwire_protocol::Refusal;
///
/// let mut out = Vec::new();
/// Refusal::new(503, "too many connections, come back later").with_retry_after(5).encode(&mut out);
/// let text = String::from_utf8(out)?;
/// assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
/// assert!(text.contains("\r\nRetry-After: 5\r\n"));
/// assert!(text.ends_with("\r\n\r\ntoo many connections, come back later\n"));
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The HTTP status, from 400 on.
    pub status: u16,
    /// One line that tells the client what to do, without a line end.
    pub text: &'static str,
    /// Seconds after which the client may come back (`Retry-After`, RFC 9110 section 10.2.3).
    pub retry_after_s: Option<u32>,
    /// The version of the WebSocket protocol was the fault: `Sec-WebSocket-Version: 13` is sent
    /// (RFC 6455 section 4.2.2).
    version: bool,
    /// The request was HEAD.
    head_only: bool,
}

impl Refusal {
    /// A refusal with `status` (400 to 599) and one line of advice.
    ///
    /// 405 carries `Allow: GET` and 426 `Upgrade: websocket` by themselves, as RFC 9110 asks.
    pub const fn new(status: u16, text: &'static str) -> Self {
        Self { status, text, retry_after_s: None, version: false, head_only: false }
    }

    /// The same with `Retry-After: seconds`.
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same with `Sec-WebSocket-Version: 13`.
    #[must_use]
    pub(crate) const fn with_version(mut self) -> Self {
        self.version = true;
        self
    }

    /// The same as the answer to a request of `method`: to HEAD, without the body (RFC 9110 section
    /// 9.3.2).
    #[must_use]
    pub fn to_method(mut self, method: &str) -> Self {
        self.head_only = method == "HEAD";
        self
    }

    /// Appends the whole answer to `out`: `Connection: close`, a plain-text body of one line and
    /// its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let seconds;
        let mut headers = [("", ""); 3];
        let mut used = 0;
        let mut add = |name, value| {
            headers[used] = (name, value);
            used += 1;
        };
        match self.status {
            405 => add("Allow", "GET"),
            426 => add("Upgrade", "websocket"),
            _ => {}
        }
        if self.version {
            add("Sec-WebSocket-Version", "13");
        }
        if let Some(retry_after_s) = self.retry_after_s {
            seconds = retry_after_s.to_string();
            add("Retry-After", &seconds);
        }
        let mut body = [self.text, "\n"].concat();
        body.truncate(if self.text.is_empty() { 0 } else { body.len() });
        Response {
            status: self.status,
            content_type: "text/plain; charset=utf-8",
            headers: &headers[..used],
            body: body.as_bytes(),
        }
        .encode(self.head_only, out)
        .expect("static text and digits are writable");
    }
}
