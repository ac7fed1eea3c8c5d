//! What a handler answers to a request: a WebSocket with a state of its own, or HTTP.

use std::borrow::Cow;
use std::fmt;

/// The answer to a request.
#[derive(Debug)]
pub enum Answer<S> {
    /// Make it a WebSocket.
    Upgrade(Accept<S>),
    /// Answer it with HTTP and close the connection.
    Http(Response),
}

impl<S> Answer<S> {
    /// Make it a WebSocket with this state of the application's.
    ///
    /// ```
    /// use tickwire_reactor::Answer;
    ///
    /// let answer = Answer::upgrade(7)
    ///     .with_protocol("chat.v1")
    ///     .with_header("Set-Cookie", "seen=1; Secure; HttpOnly");
    /// # let Answer::Upgrade(accept) = answer else { unreachable!() };
    /// # assert_eq!((accept.state, accept.protocol), (7, Some("chat.v1")));
    /// ```
    #[must_use]
    pub const fn upgrade(state: S) -> Self {
        Self::Upgrade(Accept { state, protocol: None, headers: Vec::new() })
    }

    /// The same with a subprotocol, one of those that the client offered; `None`: no word of it, and
    /// a browser that offered some will fail the connection (RFC 6455 section 4.1). An answer with
    /// HTTP stays as it is.
    #[must_use]
    pub fn with_protocol(mut self, protocol: impl Into<Option<&'static str>>) -> Self {
        if let Self::Upgrade(accept) = &mut self {
            accept.protocol = protocol.into();
        }
        self
    }

    /// The same with one more header. If it is one of the handshake's own, or would end its line,
    /// the client gets 500 and the log an error.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        match &mut self {
            Self::Upgrade(accept) => accept.headers.push((name, value)),
            Self::Http(response) => response.headers.push((name, value)),
        }
        self
    }
}

/// What a request is upgraded with; made by [`Answer::upgrade`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Accept<S> {
    /// The application's state of the connection.
    pub state: S,
    /// The subprotocol to speak.
    pub protocol: Option<&'static str>,
    /// Headers beside those of the handshake.
    pub headers: Vec<(&'static str, String)>,
}

/// An HTTP answer. The engine adds `Content-Length` and `Connection: close`, and leaves the body
/// out where the request was `HEAD`.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code, 200 to 599.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}

impl Response {
    /// A plain text answer; the text gets a line end.
    #[must_use]
    pub fn text(status: u16, body: impl fmt::Display) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body: format!("{body}\n").into_bytes().into(),
        }
    }

    /// A page, status 200.
    #[must_use]
    pub fn html(body: impl Into<Cow<'static, str>>) -> Self {
        Self::new("text/html; charset=utf-8", body)
    }

    /// Text of any type, status 200.
    #[must_use]
    pub fn new(content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        let body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self { status: 200, content_type, headers: Vec::new(), body }
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::text(404, "there is nothing at this path")
    }

    /// 426: the path is a WebSocket's, and the request asked for something else (RFC 9110 section
    /// 15.5.22).
    #[must_use]
    pub fn upgrade_required() -> Self {
        Self::text(426, "this is a WebSocket: connect to it with ws://")
            .with_header("Upgrade", "websocket")
    }
}
