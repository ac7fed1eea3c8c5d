//! Every kernel gives what XOR byte by byte gives, and writes nothing else.
//!
//! The check itself is with the tests of the crate, which replay the corpus beside this target.

#![no_main]

#[path = "../../crates/frame/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::masking::check(data));
