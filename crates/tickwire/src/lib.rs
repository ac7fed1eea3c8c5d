//! A WebSocket server engine: one small message to very many connections.
//!
//! Tickwire runs one event loop per core and spreads connections over them. An application
//! implements [`Handler`], one per core, gives it a path, and publishes to topics from any thread; a message is
//! encoded once, however many connections it goes to, and each connection gets all that a turn of
//! the loop has for it in one system call. The protocol is RFC 6455, strictly.
//!
//! # The smallest server
//!
//! It sends every message back. It is the example `hello`: `cargo run --example hello`.
//!
//! ```no_run
#![doc = include_str!("../examples/hello.rs")]
//! ```
//!
//! # A server with a handler
//!
//! ```
//! use tickwire::{Answer, Connection, Handler, Message, Request, Response, Server, ShardStart, Topic};
//!
//! /// Everything that one says in a room, all others there hear.
//! struct Rooms(ShardStart);
//!
//! impl Handler for Rooms {
//!     /// The room that a connection is in.
//!     type State = Topic;
//!
//!     fn request(&mut self, request: &Request<'_>) -> Answer<Topic> {
//!         let room = request.parameter("room").unwrap_or_default();
//!         Answer::upgrade(self.0.publisher.topic(&room))
//!     }
//!
//!     fn open(&mut self, connection: &mut Connection<'_, Topic>) {
//!         let room = connection.state.clone();
//!         connection.subscribe(&room);
//!     }
//!
//!     fn message(&mut self, connection: &mut Connection<'_, Topic>, message: Message<'_>) {
//!         if connection.publish_to_others(connection.state, message.kind, message.payload).is_err() {
//!             connection.send_text("the room is too busy, say it again");
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), tickwire::Error> {
//! let server = Server::builder()
//!     .listen("127.0.0.1:0")
//!     .route("/rooms/{room}", Rooms)
//!     .get("/health", |_| Response::text(200, "ok"))
//!     .start()?;
//! println!("ws://{}/rooms/lobby", server.local_addr());
//! # server.handle().shutdown();
//! server.join()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`Builder`]: where a server listens, how it runs, which path leads to which handler, page or answer.
//! - [`Handler`]: what the engine calls, when, and what may be done there.
//! - [`Connection`]: what a handler can do with a connection: send, subscribe, close, set a timer.
//! - [`Publisher`] and [`ConnectionId`]: topics, publishing and sending from any thread, waiting for slow
//!   subscribers, and what happens where there is no room.
//! - [`Connection::subscribe_pattern`]: all topics whose names begin alike. [`Connection::resume`] and
//!   [`Keep`]: clients that come back.
//! - [`Destination`], [`Connector`] and [`Client`]: connections to other servers, from a handler and
//!   from a program that does nothing else.
//! - [`Deflate`]: compression, for all connections together or for some of their own.
//! - `Tls` and `Trust`, with the feature `tls`: `wss://` as a server and as a client.
//! - [`Handle`]: the counters and the end of a server, for other threads; with the feature `signals` by
//!   signals too.
//! - [`Config`] and [`Limits`]: every option, and every maximum with its default, its reason and what
//!   happens there.
//! - [`Builder::simulate`] and [`sim`]: the same server in a simulated world, for tests that can be
//!   repeated.
//! - [`frame`], [`protocol`]: the parts below, of use without the engine.
//!
//! A connection that stops reading costs a position in a log, not a queue: see
//! [`Handler::lagged`] for what then happens to it.

#![forbid(unsafe_code)]

pub use tickwire_protocol::{Accepted, AnswerError, ClientError, CloseCode, Kind, Message, Role};
pub use tickwire_reactor::io::sim;
pub use tickwire_reactor::{
    Accept, Answer, BackendChoice, Balance, Batch, Bound, Builder, Client, Config, ConnectError,
    Connection, ConnectionId, Connector, Counters, Deflate, Delivery, Destination,
    DestinationError, Ended, Epoch, Error, Frame, Full, Handle, Handler, Histogram, Keep, Lag,
    Lagged, Latency, Limits, Merged, Metrics, Missed, NotAnOrigin, NotDelivered, Origins,
    PatternError, Publisher, Request, Response, Resumed, Retained, Server, ShardFailed, ShardStart,
    StartError, Steering, Subscription, Timestamp, TlsError, TooManyClasses, Topic, Unconnected,
    route,
};
#[cfg(feature = "tls")]
pub use tickwire_reactor::{Certificate, Tls, Trust};
pub use {tickwire_frame as frame, tickwire_protocol as protocol};

// The code in these pages is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../../docs/embedding.md")]
mod pages {}
