//! The cryptography under TLS: ring, or aws-lc-rs with the feature of that name.
//!
//! Named explicitly, so that it does not depend on what another part of a program has installed as
//! the default of its process. ring is the default because it builds with a C compiler alone;
//! aws-lc-rs is for who needs FIPS or the exchange of keys that a quantum computer does not break.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring as chosen;

pub(super) fn provider() -> CryptoProvider {
    chosen::default_provider()
}

/// Seals what a client brings back to take up its session; the key is never stored, and changes
/// every six hours.
pub(super) fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    chosen::Ticketer::new()
}
