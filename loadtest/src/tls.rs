//! TLS for `wss://` targets: whom the generator believes, and the bytes of one connection.
//!
//! Between the socket of a [`Member`](crate::member::Member) and the fleet's buffers: what goes out is
//! sealed before it is written, what comes in is opened before it is parsed. rustls does it, by its
//! interface for programs with sockets, which the server engine does not use. Sessions are not taken
//! up again unless that is asked for, so that each handshake of a run costs the server the same.
//!
//! It is a generator: with [`Trust::Anybody`] it talks to whoever answers, as tests of a server with a
//! certificate that it signed itself need.

mod gateway;
mod tickets;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, RootCertStore,
    SignatureScheme,
};
use serde::{Deserialize, Serialize};

pub use self::gateway::{Gateway, GatewayError};
use self::tickets::Tickets;

/// Whose certificates are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Trust {
    /// The authorities that the system trusts.
    #[default]
    System,
    /// Those in a file in PEM form, and no others.
    File(PathBuf),
    /// Everybody's: for servers whose certificate nobody vouches for.
    Anybody,
}

impl Trust {
    /// What the options `--ca` and `--insecure` say.
    #[must_use]
    pub fn of(ca: Option<PathBuf>, insecure: bool) -> Self {
        match ca {
            _ if insecure => Self::Anybody,
            Some(file) => Self::File(file),
            None => Self::System,
        }
    }
}

/// Why there can be no TLS.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The authorities cannot be read, or there are none.
    Roots(String),
    /// A host that no certificate can be for.
    Name(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Roots(reason) => write!(
                formatter,
                "no certificates to trust: {reason}; name some with --ca, or believe all with --insecure"
            ),
            Self::Name(host) => write!(formatter, "no certificate can be for `{host}`"),
        }
    }
}

impl std::error::Error for TlsError {}

/// How connections to one server are secured.
#[derive(Debug, Clone)]
pub(crate) struct Security {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Security {
    /// For the server with this name or address, which is believed as `trust` says; `resumes`:
    /// sessions are taken up again as far as the server lets them.
    pub(crate) fn new(trust: &Trust, name: &str, resumes: bool) -> Result<Self, TlsError> {
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        let mut config = config(trust)?;
        if resumes {
            config.resumption = Resumption::store(Arc::new(Tickets::default()));
        }
        Ok(Self { config: Arc::new(config), name })
    }

    /// A new connection.
    pub(crate) fn open(&self) -> io::Result<Tls> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        // What is sent before the handshake is over waits there, and how much that is the fleet says.
        connection.set_buffer_limit(None);
        Ok(Tls { connection, plain: Vec::new(), taken: 0, is_over: false })
    }
}

fn config(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Roots(error.to_string()))?;
    let builder = match trust {
        Trust::Anybody => {
            let verifier = Arc::new(Believer(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
        Trust::System => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(some(roots, "this system has none")?)
        }
        Trust::File(path) => {
            let unreadable =
                |error: &dyn fmt::Display| TlsError::Roots(format!("{}: {error}", path.display()));
            let pem = std::fs::read(path).map_err(|error| unreadable(&error))?;
            let mut roots = RootCertStore::empty();
            for root in CertificateDer::pem_slice_iter(&pem) {
                let root = root.map_err(|error| unreadable(&error))?;
                roots.add(root).map_err(|error| unreadable(&error))?;
            }
            builder.with_root_certificates(some(roots, "the file has none")?)
        }
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn some(roots: RootCertStore, else_words: &str) -> Result<RootCertStore, TlsError> {
    if roots.is_empty() { Err(TlsError::Roots(else_words.to_owned())) } else { Ok(roots) }
}

/// The TLS of one connection, from bytes to bytes.
#[derive(Debug)]
pub(crate) struct Tls {
    connection: ClientConnection,
    /// What was opened, and how much of that was taken.
    plain: Vec<u8>,
    taken: usize,
    is_over: bool,
}

impl Tls {
    /// What is to be written for `bytes` to be said. During the handshake they wait.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.connection.writer().write_all(bytes)?;
        self.output()
    }

    /// What is to be written now.
    pub(crate) fn output(&mut self) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut output)?;
        }
        Ok(output)
    }

    /// What is to be written to end our half.
    pub(crate) fn part(&mut self) -> io::Result<Vec<u8>> {
        self.connection.send_close_notify();
        self.output()
    }

    /// Opens what was read.
    pub(crate) fn open(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
        }
        let mut rest = bytes;
        while !rest.is_empty() && self.connection.read_tls(&mut rest)? > 0 {
            let state = self.connection.process_new_packets().map_err(io::Error::other)?;
            self.is_over |= state.peer_has_closed();
            let start = self.plain.len();
            self.plain.resize(start + state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut self.plain[start..])?;
        }
        Ok(())
    }

    /// Whether the handshake has taken up an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the peer has announced its end.
    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Moves what was opened to `input`, as much as there is room for.
    pub(crate) fn take(&mut self, input: &mut [u8]) -> usize {
        let count = input.len().min(self.plain.len() - self.taken);
        input[..count].copy_from_slice(&self.plain[self.taken..self.taken + count]);
        self.taken += count;
        count
    }
}

/// Believes every certificate, but not that somebody has a key who has not.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
