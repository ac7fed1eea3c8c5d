//! Any bytes, cut in any way, give the frames that the simplest reading of RFC 6455 gives.
//!
//! The check itself is with the tests of the crate, which replay the corpus beside this target.

#![no_main]

#[path = "../../crates/frame/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::frames::check(data));
