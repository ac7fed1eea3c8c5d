//! Text in any parts is judged like the whole by core, and at the byte that proves the fault.
//!
//! The check itself is with the tests of the crate, which replay the corpus beside this target.

#![no_main]

#[path = "../../crates/frame/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::text::check(data));
