#![doc = include_str!("../README.md")]
//!
//! ## The way of a byte
//!
//! This crate is where bytes from a socket become frames, and nothing else: it knows one frame at
//! a time. [`Parser`] walks over received bytes and lends each payload from where it lies,
//! unmasked in place; [`Header`] encodes; [`mask`] is the XOR by itself; [`utf8`] checks text as
//! it arrives; [`close`] reads and writes the body of a Close frame.
//!
//! Invariant: everything that RFC 6455 section 5 forbids *within one frame* is refused at the
//! first byte that proves it, with a [`FrameError`] that knows its close code. Rules that span
//! frames (a continuation with nothing begun, size limits of messages, the closing handshake)
//! belong to the connection above. Nothing here allocates, blocks, reads a clock or needs `std`.

#![no_std]
#![deny(unsafe_code)]

pub mod close;
mod error;
mod header;
pub mod mask;
mod parser;
pub mod utf8;

pub use close::CloseCode;
pub use error::{FrameError, Utf8Error};
pub use header::{Decoded, Header, OpCode, Role, Rules};
pub use parser::{Parser, Piece};
