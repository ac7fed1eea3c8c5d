//! Whom a client believes: the certificate authorities that vouch for a server's name.
//!
//! Beside a server's own certificates ([`Tls`](super::Tls)) the other half of the configuration: with
//! it connections to `wss://` destinations can be opened. The authorities are those of the system,
//! which its owner keeps, or those of a file. There is no way to believe everybody: a connection
//! whose other end is not known is not a secure one, and a test can trust its own certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tracing::debug;

use super::provider::provider;
use super::tls::{ALPN, read};
use crate::error::TlsError;

/// The authorities whose certificates are believed. Cheap to clone.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Those that the system trusts: on Linux the certificates of the distribution, or what the
    /// variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name. Reads files, so it is not for a handler.
    ///
    /// # Errors
    /// [`TlsError::Roots`] if there is none; the distribution's package is called `ca-certificates`.
    pub fn system() -> Result<Self, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            debug!(%error, "some certificates of the system cannot be read");
        }
        let mut roots = RootCertStore::empty();
        // A root that cannot be understood is one root less, nothing worse.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let reason = "the system has none (install its package ca-certificates)".to_owned();
            return Err(TlsError::Roots(reason));
        }
        Self::new(roots)
    }

    /// Those in `roots`, in PEM form, and no others. A certificate that was signed by itself is its
    /// own authority.
    ///
    /// # Errors
    /// [`TlsError`] if there is none, or one is malformed.
    pub fn from_pem(roots: &[u8]) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(roots) {
            let certificate = certificate.map_err(|error| TlsError::Pem {
                what: "certificates",
                reason: error.to_string(),
            })?;
            store.add(certificate).map_err(|error| TlsError::Roots(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(TlsError::Roots("there is no certificate in PEM form".to_owned()));
        }
        Self::new(store)
    }

    /// As [`Trust::from_pem`], from a file.
    ///
    /// # Errors
    /// [`TlsError`], which names a file that cannot be read.
    pub fn from_file(roots: &Path) -> Result<Self, TlsError> {
        Self::from_pem(&read(roots)?)
    }

    fn new(roots: RootCertStore) -> Result<Self, TlsError> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Roots(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) const fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Trust").finish_non_exhaustive()
    }
}

/// A name or an address as certificates have it.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))
}
