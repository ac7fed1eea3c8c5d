//! A whole message, as the application gets it.
//!
//! The last stop of received bytes: `connection` lends a [`Message`] for the length of a call,
//! from the read buffer where it lay whole, else from the buffer that its parts were joined in.
//! The payload is mutable so that parsers which work in place can have it.
//!
//! Invariant: the payload of a text message is UTF-8 when it is handed out.

/// What a message carries (RFC 6455 section 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

/// A message of the peer, complete and unmasked.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Whether it is text or bytes.
    pub kind: Kind,
    /// All of it; UTF-8 if `kind` is [`Kind::Text`].
    pub payload: &'a mut [u8],
}

impl Message<'_> {
    /// The text, if this is a text message whose payload was not changed into something else.
    ///
    /// Checks the bytes once more, since they may have been changed; who only compares or parses
    /// bytes should take `payload`.
    pub fn as_str(&self) -> Option<&str> {
        match self.kind {
            Kind::Text => core::str::from_utf8(self.payload).ok(),
            Kind::Binary => None,
        }
    }
}
