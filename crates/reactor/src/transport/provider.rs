//! The cryptography under TLS: ring.
//!
//! Named explicitly, so that it does not depend on what another part of a program has installed as
//! the default of its process. It is ring because that builds with a C compiler alone.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::ProducesTickets;

pub(super) fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// Seals what a client brings back to take up its session; the key is never stored, and changes
/// every six hours.
pub(super) fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    ring::Ticketer::new()
}
