//! One WebSocket connection as a state machine, without sockets, clocks or randomness.
//!
//! Bytes go in, events and bytes come out. [`RequestReader`] and [`upgrade`] are the opening
//! handshake of a server, [`ClientHandshake`] that of a client; [`Response`] and [`Refusal`] are
//! the answers that end a connection instead; [`Connection`] is an open one, in either
//! [`Role`]; [`encode`] writes frames. [`Inflater`] and [`Deflater`] serve connections
//! that have agreed on permessage-deflate (RFC 7692). The wire format of a single frame is `tickwire-frame`'s,
//! deadlines and rates are the reactor's.
//!
//! Invariant: nothing that a peer declares is believed before it has arrived, every maximum is in
//! [`Limits`], and each violation ends with the Close code (RFC 6455 section 7.4) or HTTP status
//! that is due.
//!
//! ```
//! use tickwire_protocol::{Connection, Event, Inflater, Limits, Role, encode};
//!
//! // A client's masked "Hello" (RFC 6455 section 5.7), which the server echoes.
//! let mut bytes = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
//! let mut input = &mut bytes[..];
//! let mut server = Connection::new(Role::Server);
//! let mut no_mask = || unreachable!("a server does not mask");
//! let (limits, mut control, mut out) = (Limits::default(), Vec::new(), Vec::new());
//! let mut inflater = Inflater::new(false); // of use only with permessage-deflate
//! while let Some(event) =
//!     server.receive(&mut input, &limits, &mut inflater, &mut no_mask, &mut control)
//! {
//!     match event {
//!         Event::Message(message) => encode::message(message.kind, message.payload, &mut out),
//!         Event::Ping(_) | Event::Pong(_) => {}
//!         Event::Closed(..) | Event::Failed(_) => break,
//!     }
//! }
//! assert_eq!(out, b"\x81\x05Hello");
//! ```

#![forbid(unsafe_code)]

mod client;
mod connection;
mod deflate;
pub mod encode;
mod error;
mod extension;
mod field;
mod handshake;
mod head;
mod limits;
mod message;
mod refusal;
mod request;
mod response;

pub use client::{Accepted, ClientHandshake};
pub use connection::{Connection, Event, State};
pub use deflate::{DeflateParams, DeflatePolicy, Deflater, Inflater};
pub use error::{AnswerError, ClientError, ProtocolError};
pub use handshake::{Upgrade, accept_value, upgrade};
pub use limits::Limits;
pub use message::{Kind, Message};
pub use refusal::Refusal;
pub use request::{Request, RequestReader};
pub use response::Response;
pub use tickwire_frame::{CloseCode, FrameError, OpCode, Role, mask};
