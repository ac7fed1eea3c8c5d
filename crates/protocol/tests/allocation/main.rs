//! What connections take from the heap, counted by an allocator of these tests' own.
//!
//! The claims: an idle connection holds nothing, a steady echo allocates nothing, compressed or
//! not, a declared length allocates nothing however large it is, and what is kept of an unfinished
//! message or head is in proportion to the bytes that arrived. Counting is per thread, since tests
//! run in parallel.

mod connection;
mod counting;
mod deflate;
