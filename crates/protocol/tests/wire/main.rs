//! What goes over the wire, case by case: the opening handshake, frames, messages, closing.
//!
//! Every table is run with its input whole, cut in two at every offset, and in pieces of one, two
//! and three bytes: the result must not depend on how the network cuts. `drive` does the cutting
//! and checks after each run what must hold for every run; `oracle` is the simplest receiver that
//! can work, which random and damaged streams are compared with.

mod adversary;
mod client;
mod closing;
mod deflate;
mod drive;
mod frames;
mod handshake;
mod inflate;
mod negotiation;
mod oracle;
mod pair;
mod properties;
#[path = "../reference/mod.rs"]
mod reference;
mod request;
