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

mod abuse;
mod capacity;
pub mod clock;
pub mod compare;
mod connect;
pub mod descriptors;
mod echo;
mod fanout;
mod fault;
mod file;
mod fleet;
mod health;
mod idle;
mod load;
mod measure;
mod member;
mod mixed;
mod options;
mod pace;
mod plan;
pub mod report;
mod scenario;
pub mod server;
mod size;
mod sources;
pub mod swarm;
mod target;
mod threshold;
mod ticker;
mod timer;
mod tls;
mod watchlist;

pub use abuse::{Abuse, Attack, Attacked, Ending};
pub use capacity::{Capacity, Search, SearchStep, Searched, Vary, Verdict, why_not};
pub use fault::{Fault, Faults, Occurrence};
pub use health::{
    CORE_SHARE_MAX, LATE_AFTER, LATE_SHARE_MAX, Saturation, WAIT_SHARE_MAX, saturations,
};
pub use load::{Connections, Deflate, Live, Load, LoadError, Outcome, Part, Work};
pub use measure::{LATENCY_MAX, Measured, Point, Sends, StageMeasured, Window};
pub use mixed::Mix;
pub use options::{
    CapacityOptions, MixOptions, Options, Order, Outputs, ScenarioName, ServerOptions, Task,
};
pub use pace::Arrivals;
pub use plan::{Ramp, Stage};
pub use scenario::Treatment;
pub use size::{SIZE_MAX, Size};
pub use target::{Target, TargetError};
pub use threshold::{Checked, Threshold};
pub use ticker::Subscription;
pub use tls::{Gateway, GatewayError, TlsError, Trust};
pub use watchlist::Topics;
