//! How a server shows who it is: its certificates and their keys.
//!
//! An application makes a [`Tls`] of PEM files and puts it into its configuration; each shard opens
//! its sessions from it. Which of several certificates a client is shown depends on the name that it
//! asks for (SNI, RFC 6066 section 3): the first that is valid for it, else the first of all.
//!
//! Invariant: a reload changes all certificates at once or, if something is wrong with the new ones,
//! none. Connections that are open are not touched by it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::provider::{provider, ticketer};
use crate::error::TlsError;

/// A certificate with what leads from it to its authority, and its private key.
#[derive(Clone, Debug)]
pub struct Certificate(Arc<CertifiedKey>);

impl Certificate {
    /// Reads a chain, the server's own certificate first, and the key of that, each in PEM form. The
    /// key may be PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// [`TlsError`] if one of them is missing or malformed, or they are not of each other.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pem = |what| {
            move |reason: rustls::pki_types::pem::Error| TlsError::Pem {
                what,
                reason: reason.to_string(),
            }
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(pem("certificates"))?;
        if chain.is_empty() {
            let reason = "there is no section of that name".to_owned();
            return Err(TlsError::Pem { what: "certificates", reason });
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(pem("a private key"))?;
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| TlsError::Identity(error.to_string()))?;
        Ok(Self(Arc::new(key)))
    }

    /// As [`Certificate::from_pem`], from files.
    ///
    /// # Errors
    /// [`TlsError`], which names a file that cannot be read.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::from_pem(&read(chain)?, &read(key)?)
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let own = self.0.end_entity_cert().and_then(ParsedCertificate::try_from);
        own.is_ok_and(|own| verify_server_name(&own, name).is_ok())
    }
}

/// Reads a whole file; its name goes with the error.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// TLS as a server speaks it: 1.3 and 1.2, ALPN `http/1.1`, session tickets.
///
/// A clone is another handle of the same: what is reloaded through one is so for all, so an
/// application keeps one and gives the other to [`Config::tls`](crate::Config::tls).
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

impl Tls {
    /// A server with several certificates; the first is for clients that ask for none of the names.
    ///
    /// # Errors
    /// [`TlsError::Identity`] if there is no certificate.
    pub fn new(certificates: Vec<Certificate>) -> Result<Self, TlsError> {
        let unusable = |error: rustls::Error| TlsError::Identity(error.to_string());
        let shown = Arc::new(Shown(RwLock::new(some(certificates)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&shown);
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = ticketer().map_err(unusable)?;
        // A page has one WebSocket, which comes back alone: a second ticket is for browsers that
        // open several connections at once.
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), shown })
    }

    /// A server with one certificate; see [`Certificate::from_pem`].
    ///
    /// # Errors
    /// As [`Certificate::from_pem`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::new(vec![Certificate::from_pem(chain, key)?])
    }

    /// A server with one certificate; see [`Certificate::from_files`].
    ///
    /// # Errors
    /// As [`Certificate::from_files`].
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::new(vec![Certificate::from_files(chain, key)?])
    }

    /// Shows these certificates from the next handshake on. May be called on any thread, while the
    /// server runs; connections that are open stay as they are, and clients may still take up
    /// sessions that began with the old ones.
    ///
    /// # Errors
    /// [`TlsError::Identity`] if there is none; then the old ones stay.
    pub fn reload(&self, certificates: Vec<Certificate>) -> Result<(), TlsError> {
        let certificates = some(certificates)?;
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = certificates;
        Ok(())
    }

    pub(crate) const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn some(certificates: Vec<Certificate>) -> Result<Arc<[Certificate]>, TlsError> {
    match certificates.is_empty() {
        true => Err(TlsError::Identity("there is none".to_owned())),
        false => Ok(certificates.into()),
    }
}

/// The certificates at present, the first for whoever asks for no name of theirs.
#[derive(Debug)]
struct Shown(RwLock<Arc<[Certificate]>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let asked_for = name.and_then(|name| certificates.iter().find(|it| it.is_for(&name)));
        asked_for.or_else(|| certificates.first()).map(|it| Arc::clone(&it.0))
    }
}

/// RFC 7301, and the registry of its names: a WebSocket begins as HTTP/1.1.
pub(super) const ALPN: &[u8] = b"http/1.1";
