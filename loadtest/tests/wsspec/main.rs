//! `wsspec` against a server that is right, and against one that is wrong in one way at a time.
//!
//! A case that no server could fail would say nothing, so each must fail on a server with the
//! fault that it is about, and pass on the one without. The server speaks raw bytes of its own
//! (`server`, `head`, `frames`, `deflate`): neither the engine nor the tool has a part in it.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

mod command_line;
mod deflate;
mod fault;
mod frames;
mod head;
mod proof;
mod run;
mod server;
