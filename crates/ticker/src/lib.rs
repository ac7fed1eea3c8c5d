//! The Tickwire stock ticker: feeds in, browsers out, on one port.
//!
//! The way of an event: a [`feed`] yields it, the [`player`] waits until it is due, the [`market`]
//! writes it as one update and one snapshot, the engine delivers the update to every subscriber of
//! the instrument and keeps the snapshot for the next one. The way of a request: [`app`] routes it,
//! a [`session`] applies the rules of the message protocol, whose messages are [`request`] and
//! [`reply`]; [`tls`] has the certificates. The binary `tickwire` adds the command line ([`config`]) and signals.

#![forbid(unsafe_code)]

pub mod allowance;
pub mod app;
pub mod audience;
pub mod config;
pub mod event;
pub mod feed;
pub mod inherited;
pub mod instrument;
pub mod market;
pub mod metrics;
pub mod page;
pub mod player;
pub mod reply;
pub mod request;
pub mod service;
pub mod session;
pub mod successor;
pub mod ticker;
pub mod tls;

pub use config::Settings;
pub use inherited::Inherited;
pub use ticker::{StartError, Stop, Ticker};

/// The folder of recorded events that tests replay: `TICKWIRE_DATA`, or `../shared/data` beside
/// the workspace; `None` where there is none.
#[cfg(test)]
fn recorded_data() -> Option<std::path::PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").into();
    let folder = std::env::var_os("TICKWIRE_DATA").unwrap_or_else(beside);
    Some(std::path::PathBuf::from(folder)).filter(|folder| folder.is_dir())
}
