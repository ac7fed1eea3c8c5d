//! The Tickwire stock ticker: feeds in, browsers out, on one port.
//!
//! The way of an event: a [`feed`] yields it, the [`player`] waits until it is due, the [`market`]
//! writes its update and the [`value`] that its instrument has then, the engine delivers the one or the
//! other to every subscriber, and keeps the value for the next one. The way of a request: [`app`] routes
//! it, a [`session`] applies the rules of the message protocol, whose messages are [`request`] and
//! [`reply`]; [`tls`] has the certificates, [`tokens`] who may ask. The binary `tickwire` adds the command line ([`config`]) and signals.

#![forbid(unsafe_code)]

pub mod allowance;
pub mod app;
pub mod audience;
pub mod config;
pub mod event;
pub mod feed;
pub mod field;
pub mod holdings;
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
pub mod terms;
pub mod ticker;
pub mod tls;
pub mod tokens;
pub mod value;

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
