//! The Tickwire stock ticker: feeds in, browsers out, on one port.

pub mod allowance;
pub mod event;
pub mod instrument;
pub mod market;
pub mod reply;
pub mod request;
pub mod session;
mod timestamp;

pub use timestamp::Timestamp;
