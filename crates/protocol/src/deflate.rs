//! permessage-deflate (RFC 7692): messages that travel compressed.
//!
//! Negotiated in the opening handshake ([`Upgrade::deflate`](crate::Upgrade::deflate) for a
//! server, [`ClientHandshake::offer_deflate`](crate::ClientHandshake::offer_deflate) for a
//! client), then at work where messages begin and end: `connection` gives a complete compressed
//! message to an [`Inflater`], [`encode::deflated_message`](crate::encode::deflated_message) asks
//! a [`Deflater`] for the bytes of a frame. The parts: `params` knows the words of the
//! negotiation, `inflater` and `deflater` one direction each.
//!
//! Invariant: nothing is held for a connection whose peer keeps no context. The state of zlib is
//! 47 KB to inflate and up to 380 KB to compress, so it is made when first used and, where no
//! context is kept, one serves every connection of a thread.

mod deflater;
mod inflater;
mod params;

pub use deflater::Deflater;
pub use inflater::Inflater;
pub use params::{DeflateParams, DeflatePolicy};
pub(crate) use params::{NAME, Parameters};
