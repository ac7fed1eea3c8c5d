//! The ticker over real sockets: a server in this process or in one of its own, and clients that
//! speak the protocol.
//!
//! Waiting is always for an event, with a deadline that only a failure reaches.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

mod book;
mod client;
mod fleet;
mod http;
mod modes;
mod process;
mod protocol;
mod replay;
mod restart;
mod server;
mod tokens;
mod visitors;
