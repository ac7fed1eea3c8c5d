//! Any header line of extensions is refused, declined or agreed to as its grammar and RFC 7692 say.
//!
//! The check itself is with the tests of the crate, which replay the corpus beside this target.

#![no_main]

#[path = "../../crates/protocol/tests/reference/mod.rs"]
mod reference;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reference::offers::check(data));
