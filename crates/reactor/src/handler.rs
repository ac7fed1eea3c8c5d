//! What an application is to the engine: a [`Handler`] per shard.
//!
//! A shard calls its handler on its own thread, one call at a time, so a handler has `&mut self` and
//! no locks; what connections of different shards share goes through topics. All calls of one turn
//! happen at one instant, and all that they send leaves when the turn ends. A handler must not
//! block: every connection of the shard would wait. A handler that panics costs the connection it
//! was called for Close 1011, and nobody else anything.

mod answer;
mod connection;
mod request;

use std::fmt;

use tickwire_protocol::{Accepted, CloseCode, Kind, Message};

pub use self::answer::{Accept, Answer, Response};
pub use self::connection::Connection;
pub use self::request::Request;

use crate::connector::{Connector, Unconnected};
use crate::delivery::Merged;
use crate::io::Key;
use crate::lag::{Lag, Lagged};

/// An application on one shard.
pub trait Handler: 'static {
    /// What the application keeps for each connection. It lies in the shard's table, so a small one
    /// makes idle connections cheap.
    type State: 'static;

    /// The shard is about to take its first turn: the place to open the connections to other servers
    /// that are wanted from the beginning. No connection could be the price of a panic here: it ends
    /// the shard.
    fn start(&mut self, connector: &mut Connector<'_, Self::State>) {
        let _ = connector;
    }

    /// Somebody asks for a WebSocket: upgrade the request, with the state of the connection, or answer
    /// it. A handler that does not say how answers 404; for a [`Client`](crate::Client), which nobody
    /// can ask for anything, that is it.
    ///
    /// Asked only if the request has found its way here ([`Builder::route`](crate::Builder::route)) and
    /// [`Config::origins`](crate::Config::origins) lets the page in that it came from. When the answer
    /// is [`Answer::Upgrade`] the engine checks the rest of the opening handshake (RFC 6455 §4.2.1) and
    /// refuses what does not conform.
    fn request(&mut self, request: &Request<'_>) -> Answer<Self::State> {
        let _ = request;
        Answer::Http(Response::text(404, "no WebSocket is opened here"))
    }

    /// A WebSocket is open. What is sent here follows the 101 answer.
    fn open(&mut self, connection: &mut Connection<'_, Self::State>) {
        let _ = connection;
    }

    /// A connection that we asked for is open, and `accepted` is what its server agreed to. Unless a
    /// handler says otherwise it is opened as all others are.
    fn connected(&mut self, connection: &mut Connection<'_, Self::State>, accepted: &Accepted) {
        let _ = accepted;
        self.open(connection);
    }

    /// A connection that we asked for did not come to be: nobody took it, or the answer was not the
    /// one that RFC 6455 §4.1 asks for. A redirect is told here too; it is not followed. It may be
    /// tried again with what is in `unconnected`, after a while
    /// ([`Connector::connect_after`]). After a shutdown has begun nothing is tried any more.
    fn connect_failed(
        &mut self,
        connector: &mut Connector<'_, Self::State>,
        unconnected: Unconnected<Self::State>,
    ) {
        let _ = (connector, unconnected);
    }

    /// A whole message has come. It is lent: what is to be kept must be copied. It may be changed in
    /// place, for parsers that do so.
    fn message(&mut self, connection: &mut Connection<'_, Self::State>, message: Message<'_>);

    /// The time set by [`Connection::set_timer`] has come.
    fn timer(&mut self, connection: &mut Connection<'_, Self::State>) {
        let _ = connection;
    }

    /// A value is about to be sent to connections that get the newest value of a topic
    /// ([`Delivery::Merge`](crate::Delivery::Merge), [`Delivery::Sampled`](crate::Delivery::Sampled)):
    /// says what it looks like. `None`: as it was published. `Some(kind)`: as what was written to
    /// `out`, the payload of a message of that kind; if that is nothing, nothing is sent, because those
    /// connections have nothing to learn from the value.
    ///
    /// It is asked once for all connections that have the same value from before and the same view, and
    /// so must depend on nothing else. Those that keep up are all alike. If it panics, the value
    /// goes as it was published.
    fn merged(&mut self, merged: &Merged<'_>, out: &mut Vec<u8>) -> Option<Kind> {
        let _ = (merged, out);
        None
    }

    /// The connection is so far behind the publications it subscribed to that some of them are gone,
    /// or [`Publisher::close_lagging`](crate::Publisher::close_lagging) asked. Says how it goes on; `None`:
    /// as the connection's policy or those of the topics say ([`Lagged`]).
    ///
    /// The place to tell the peer that there is a gap: what is sent here comes before anything that
    /// follows it.
    fn lagged(
        &mut self,
        connection: &mut Connection<'_, Self::State>,
        lag: &Lag<'_>,
    ) -> Option<Lagged> {
        let _ = (connection, lag);
        None
    }

    /// The server shuts down: last words before the engine's Close 1001, or before another Close
    /// that is asked for here.
    fn shutdown(&mut self, connection: &mut Connection<'_, Self::State>) {
        let _ = connection;
    }

    /// The WebSocket is over, once for each that was opened. Nothing sent here leaves any more.
    fn close(&mut self, connection: &mut Connection<'_, Self::State>, ended: Ended) {
        let _ = (connection, ended);
    }
}

/// How a WebSocket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The peer sent a Close with this code; `None`: without a code (1005).
    ByPeer(Option<CloseCode>),
    /// We sent a Close with this code.
    ByUs(CloseCode),
    /// The connection went without a Close (1006).
    Lost,
}

/// One connection of a server, for as long as it lasts; a later connection never has the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    shard: u16,
    key: Key,
}

impl ConnectionId {
    pub(crate) const fn new(shard: u16, key: Key) -> Self {
        Self { shard, key }
    }

    /// The index of the shard that owns it.
    #[must_use]
    pub const fn shard(self) -> usize {
        self.shard as usize
    }

    pub(crate) const fn key(self) -> Key {
        self.key
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:x}-{:x}", self.shard, self.key.slot, self.key.generation)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
