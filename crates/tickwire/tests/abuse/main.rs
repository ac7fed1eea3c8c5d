//! A server in a process of its own, and peers that mean it harm.
//!
//! What the crates below promise about memory, work and deadlines is tested there from the inside;
//! here it is seen from where an operator sees it: resident memory as the kernel counts it, open
//! descriptors, and what arrives on sockets. Each module is one kind of harm, each test an advisory
//! of some server or library, named in its comment; docs/conformance.md has the table.
//!
//! Nothing here asserts how long something takes. Bounds are counts, orders and bytes; waiting
//! ends at what is waited for, or after a patience far longer than that can take.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what was measured is shown with --nocapture")]

mod application;
mod declared;
mod deflate;
mod drip;
mod ends;
mod fragments;
mod head;
mod idle;
mod memory;
mod origin;
mod peer;
mod server;
mod slow;
mod stale;
mod unread;
mod wire;
