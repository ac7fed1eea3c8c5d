//! What Tickwire's parts cost, measured beside others: one file a question.
//!
//! Each bench beside this file says in its first lines what it asks, how it is measured, and what
//! its figures leave out; here is what they have in common: the clock, and what they read.
//! `scripts/bench-codec` runs them in interleaved rounds and compares; records are in `results/`.

mod clock;
mod input;

pub use clock::CpuTime;
pub use input::{BUFFER_BYTES, Contents, PAYLOAD_LENS, Received};
