//! A request as a handler sees it: the head that was checked, who sent it, and what its path says.
//!
//! It borrows the bytes that it was read from. Names in the path's pattern are looked up when they
//! are asked for, so a request costs nothing for what nobody asks.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;

use crate::route::{Pattern, decode};

/// A request for a WebSocket, or for anything else that has the handler's path.
///
/// What the head says is [`tickwire_protocol::Request`]'s to tell, which this is in front of:
/// `method`, `path`, `query`, `header`, `protocols`.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    head: tickwire_protocol::Request<'a>,
    peer: SocketAddr,
    /// The pattern by which it was routed.
    pattern: Option<&'a Pattern>,
    /// Which of the server's handlers it is for.
    handler: usize,
}

impl<'a> Request<'a> {
    pub(crate) const fn new(head: tickwire_protocol::Request<'a>, peer: SocketAddr) -> Self {
        Self { head, peer, pattern: None, handler: 0 }
    }

    /// The same on its way to a handler.
    pub(crate) fn routed<'b>(&self, pattern: Option<&'b Pattern>, handler: usize) -> Request<'b>
    where
        'a: 'b,
    {
        Request { head: self.head, peer: self.peer, pattern, handler }
    }

    pub(crate) const fn handler(&self) -> usize {
        self.handler
    }

    /// The address that it came from: that of a proxy, if there is one in front.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What the path has where its pattern has `{name}` or `{*name}`, with `%XX` decoded; `None` if the
    /// pattern has no such name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        let segment = self.pattern?.parameter(name, self.head.path())?;
        // A path with a parameter that is not UTF-8 has no route.
        decode(segment)
    }

    /// The value of the first `name=value` of the query, with `%XX` and `+` decoded. `None` if there
    /// is none, or it is not UTF-8.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        let value = |pair: &'a str| match pair.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (pair == name).then_some(""),
        };
        let value = self.head.query()?.split('&').find_map(value)?;
        if value.contains('+') {
            let spaced = value.replace('+', " ");
            return decode(&spaced).map(|value| Cow::Owned(value.into_owned()));
        }
        decode(value)
    }
}

impl<'a> Deref for Request<'a> {
    type Target = tickwire_protocol::Request<'a>;

    fn deref(&self) -> &Self::Target {
        &self.head
    }
}

impl fmt::Debug for Request<'_> {
    /// Leaves the header values out, as the head does.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("peer", &self.peer)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
