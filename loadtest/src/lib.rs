//! Loads any WebSocket server and measures what it does: throughput, latency, faults, and what the
//! generator itself cost.
//!
//! One thread drives all connections with a loop of its own over epoll, and checks every message
//! that comes: an echo byte for byte, a published message for size and sequence. The handshake and
//! the frames are `tickwire-protocol`'s, in the role of the client; nothing else is shared with the
//! server engine.
//!
//! [`Load`] says what to do and [`Load::run`] does it; [`report`] makes the table and the JSON of
//! the binary `tickwire-load` out of the [`Outcome`].
//!
//! The invariant of every figure: it is of messages that were right. Whatever was wrong is counted
//! in [`Faults`] by kind, and a run with one of them is not flawless.

#![forbid(unsafe_code)]

pub mod clock;
pub mod descriptors;
mod echo;
mod fanout;
mod fault;
mod fleet;
mod load;
mod measure;
mod member;
pub mod report;
mod scenario;
mod target;

pub use fault::{Fault, Faults, Occurrence};
pub use load::{Connections, Live, Load, LoadError, Outcome, Stage, Work};
pub use measure::{CORE_SHARE_MAX, LATENCY_MAX, Measured, WAIT_SHARE_MAX, Window};
pub use target::{Target, TargetError};
