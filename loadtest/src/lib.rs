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
mod health;
mod load;
mod measure;
mod member;
mod pace;
mod plan;
pub mod report;
mod scenario;
mod size;
mod target;
mod timer;

pub use fault::{Fault, Faults, Occurrence};
pub use health::{
    CORE_SHARE_MAX, LATE_AFTER, LATE_SHARE_MAX, Saturation, WAIT_SHARE_MAX, saturations,
};
pub use load::{Connections, Live, Load, LoadError, Outcome, Part, Work};
pub use measure::{LATENCY_MAX, Measured, Point, Sends, StageMeasured, Window};
pub use pace::Arrivals;
pub use plan::{Ramp, Stage};
pub use size::{SIZE_MAX, Size};
pub use target::{Target, TargetError};
