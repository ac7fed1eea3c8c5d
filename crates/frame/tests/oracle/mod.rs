//! What is right, in the simplest code that can work, and checks that hold the crate to it.
//!
//! Shared by the tests and by the fuzz targets: each submodule has a `check` that takes any bytes at
//! all, so that what fuzzing finds is kept in a corpus and replayed by ordinary tests. Nothing here
//! uses the crate's own encoder, masking or validation, so that a mistake cannot cancel itself out.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

pub(crate) mod frames;
pub(crate) mod masking;
pub(crate) mod text;

/// Cuts `bytes` into parts of the given lengths, repeated until all is used.
pub(crate) fn cut<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    for len in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, after) = rest.split_at((*len).min(rest.len()));
        parts.push(part);
        rest = after;
    }
    parts
}
