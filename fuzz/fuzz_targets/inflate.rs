//! Any bytes, taken as compressed messages, come to what the simplest reading of RFC 1951 and RFC
//! 7692 makes of them.
//!
//! The check itself is with the tests of the crate, which replay the corpus beside this target.

#![no_main]

#[path = "../../crates/protocol/tests/reference/mod.rs"]
mod reference;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reference::inflate::check(data));
