//! What is right, in the simplest code that can work, and checks that hold the crate to it.
//!
//! Shared by the tests and by the fuzz targets: each submodule has a `check` that takes any bytes
//! at all, so that what fuzzing finds is kept in a corpus and replayed by ordinary tests. Nothing
//! here uses the crate's own parsers or the library that the crate compresses with, so that a
//! mistake cannot cancel itself out.

#![allow(dead_code, reason = "each test binary uses the part that it needs")]

pub(crate) mod inflate;
pub(crate) mod offers;
