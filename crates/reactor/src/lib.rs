//! The event loop of Tickwire: WebSocket connections sharded over cores, one thread each.
//!
//! An application implements [`Handler`]; [`Server::builder`] gives it a path, listens, and runs one per
//! shard; a [`Publisher`] sends to topics from any thread. A handler may open connections to
//! other servers, and a [`Client`] is a program that does nothing else. The crate `tickwire` is the
//! one to depend on: it re-exports all of this, with the guide and examples.
//!
//! A *turn* of a shard is: wait, take completions from the back end (accepted, received, writable,
//! ended), run the protocol and the handler on them, take the mailbox, fire deadlines, then send to
//! each connection that has something to get, once. This crate is the only one that touches the
//! operating system, and only its back ends do.

// Allowed in two modules: `io::uring` and `sys`.
#![deny(unsafe_code)]

mod admission;
mod builder;
mod client;
mod clock;
mod config;
mod connection;
mod connector;
mod deflate;
mod delivery;
mod destination;
mod directory;
mod epoch;
mod error;
mod fanouts;
mod frame;
mod frames;
mod handler;
mod hub;
pub mod io;
mod lag;
mod latency;
mod limits;
mod listener;
mod loads;
mod local;
mod mailbox;
mod memory;
mod metrics;
mod newest;
mod notices;
mod origin;
mod outbound;
mod pace;
mod patterns;
mod progress;
mod publisher;
mod random;
mod ring;
pub mod route;
mod server;
mod shard;
#[cfg(feature = "signals")]
mod signals;
mod sync;
#[expect(unsafe_code, reason = "a system call that no safe crate has")]
mod sys;
mod table;
mod timer;
mod topic;
#[cfg(feature = "tls")]
mod transport;

pub use builder::{Bound, Builder};
pub use client::Client;
pub use clock::Timestamp;
pub use config::{BackendChoice, Balance, Config, Steering};
pub use connector::{Connector, Unconnected};
pub use deflate::Deflate;
pub use delivery::{Delivery, Merged, Subscription};
pub use destination::{Destination, DestinationError};
pub use epoch::Epoch;
pub use error::{
    ConnectError, Error, Full, NotDelivered, ShardFailed, StartError, TlsError, TooManyClasses,
};
pub use frame::Frame;
pub use handler::{Accept, Answer, Connection, ConnectionId, Ended, Handler, Request, Response};
pub use lag::{Lag, Lagged};
pub use latency::{Histogram, Latency};
pub use limits::Limits;
pub use metrics::{Counters, Metrics};
pub use origin::{NotAnOrigin, Origins};
pub use patterns::PatternError;
pub use publisher::{Batch, Publisher};
pub use ring::{Keep, Missed};
pub use server::{Handle, Server, ShardStart};
pub use topic::{Resumed, Retained, Topic};
#[cfg(feature = "tls")]
pub use transport::{Certificate, Tls, Trust};
