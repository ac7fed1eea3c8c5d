//! A WebSocket server engine: one small message to very many connections.
//!
//! Tickwire runs one event loop per core and spreads connections over them. An application
//! implements [`Handler`], one per core, and publishes to topics from any thread; a message is
//! encoded once, however many connections it goes to, and each connection gets all that a turn of
//! the loop has for it in one system call. The protocol is RFC 6455, strictly.
//!
//! # A server in thirty lines
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use tickwire::{Answer, Config, Context, Handler, Message, Request, Server, Topic};
//!
//! /// Everything that one says, all others hear.
//! struct Chat {
//!     room: Topic,
//! }
//!
//! impl Handler for Chat {
//!     type State = ();
//!
//!     fn request(&mut self, _request: &Request<'_>, _peer: SocketAddr) -> Answer<()> {
//!         Answer::upgrade(())
//!     }
//!
//!     fn open(&mut self, connection: &mut Context<'_, ()>) {
//!         connection.subscribe(&self.room);
//!     }
//!
//!     fn message(&mut self, connection: &mut Context<'_, ()>, message: Message<'_>) {
//!         if connection.publish_to_others(&self.room, message.kind, message.payload).is_err() {
//!             connection.send_text("the room is too busy, say it again");
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bound = Server::bind(&Config::default())?;
//! let room = bound.publisher().topic("room");
//! let server = bound.start(move |_shard| Chat { room: room.clone() })?;
//! println!("ws://{}/", server.local_addr());
//! # server.handle().shutdown();
//! server.join()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`Handler`]: what the engine calls, when, and what may be done there.
//! - [`Context`]: what a handler can do with a connection: send, subscribe, close, set a timer.
//! - [`Publisher`]: topics, publishing from any thread, waiting for slow subscribers.
//! - [`Destination`], [`Connector`] and [`Client`]: connections to other servers, from a handler and
//!   from a program that does nothing else.
//! - [`Deflate`]: compression, for all connections together or for some of their own.
//! - [`Config`] and [`Limits`]: every maximum, its default, its reason and what happens there.
//! - [`sim`]: the same engine in a simulated world, for tests of handlers that can be repeated.
//! - [`frame`], [`protocol`]: the parts below, of use without the engine.
//!
//! A connection that stops reading costs a position in a log, not a queue: see
//! [`Handler::lagged`] for what then happens to it.

#![forbid(unsafe_code)]

pub use tickwire_protocol::{
    Accepted, AnswerError, ClientError, CloseCode, Kind, Message, Request, Role,
};
pub use tickwire_reactor::io::sim;
pub use tickwire_reactor::{
    Accept, Answer, BackendChoice, Balance, Batch, Bound, Client, Config, ConnectError,
    ConnectionId, Connector, Context, Counters, Deflate, Destination, DestinationError, Ended,
    Frame, Full, Handle, Handler, Lagged, Limits, Metrics, NotAnOrigin, NotDelivered, Origins,
    Publisher, Response, Retained, Server, ShardFailed, ShardStart, StartError, Steering,
    Timestamp, Topic, Unconnected,
};
pub use {tickwire_frame as frame, tickwire_protocol as protocol};

// The code in these pages is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../../docs/embedding.md")]
mod pages {}
