//! TLS: what a client of another make agrees on with the engine, and what both then say.
//!
//! The client here is rustls behind its ordinary interface, which the engine does not use, and where
//! the machine has them `openssl s_client` and `curl`. Other cases run over TLS as well: see
//! `world::OverTls`. What TLS draws at random is not of a simulation's seed: the same seed cuts at
//! the same places, and the bytes differ.

mod attack;
mod authority;
mod client;
mod dialing;
mod handshake;
mod memory;
mod reload;
mod traffic;

pub(crate) use authority::{Authority, Validity};
pub(crate) use client::TlsClient;
