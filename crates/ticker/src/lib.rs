//! The Tickwire stock ticker: feeds in, browsers out, on one port.

pub mod event;
pub mod instrument;
pub mod market;
pub mod reply;
pub mod request;
