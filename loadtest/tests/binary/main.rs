//! The binary against real servers on the loopback, built on an independent implementation of
//! WebSocket (tungstenite): some are right, most go wrong in one way, which must be told by kind.
//!
//! Each test has a server of its own on a free port, a few connections, and a fraction of a second.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

mod command_line;
mod connection;
mod deflate;
mod echo;
mod fanout;
mod open_model;
mod report;
mod run;
mod scenarios;
mod server;
mod stages;
