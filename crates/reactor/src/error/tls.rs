//! What can go wrong with TLS, by whose fault: ours (files, keys, trust), a peer's certificate, a
//! peer's bytes.
//!
//! It is told when a server's [`Tls`](crate::Tls) or a client's [`Trust`](crate::Trust) is made, and
//! inside of [`ConnectError::Tls`](super::ConnectError::Tls). It holds words, not types of the TLS
//! library, so that it is the same whether the library is built in or not.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no TLS.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file of certificates or with a key could not be read.
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// What should be certificates or a key in PEM is not.
    Pem {
        /// What was expected there.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate and its key are of no use to a server: of an unknown kind, or not of each other.
    Identity(String),
    /// There are no certificates to trust, or some that cannot be.
    Roots(String),
    /// A connection with TLS was asked for, and nothing says which certificates to trust.
    NoTrust,
    /// The server is named by what is neither a name nor an address, which no certificate can have.
    Name(String),
    /// The certificate of the server is not to be trusted, or was made for another name.
    Certificate(String),
    /// The peer broke the rules of TLS, or could not agree on how to speak it.
    Peer(String),
    /// What the peer speaks is not TLS.
    NotTls,
    /// The peer ended the connection amid the handshake.
    Unfinished,
    /// The stream ended without the word that it is complete (RFC 8446 section 6.1): whoever is on
    /// the way may have cut it off.
    CutOff,
}

impl TlsError {
    /// Whether a peer, or somebody on the way, has done more than go without a word.
    pub(crate) const fn is_fault(&self) -> bool {
        !matches!(self, Self::CutOff | Self::Unfinished)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => {
                write!(formatter, "cannot read {}: {source}", path.display())
            }
            Self::Pem { what, reason } => {
                write!(formatter, "expected {what} in PEM form, and found none: {reason}")
            }
            Self::Identity(reason) => {
                write!(formatter, "the certificate and the key cannot be used: {reason}")
            }
            Self::Roots(reason) => write!(formatter, "no certificates to trust: {reason}"),
            Self::NoTrust => formatter
                .write_str("wss:// needs to know which certificates to trust: set Config::trust"),
            Self::Name(name) => {
                write!(formatter, "no certificate can be for {name:?}: it is no name or address")
            }
            Self::Certificate(reason) => {
                write!(formatter, "the server's certificate is not to be trusted: {reason}")
            }
            Self::Peer(reason) => write!(formatter, "no TLS with this peer: {reason}"),
            Self::NotTls => formatter.write_str("the peer does not speak TLS"),
            Self::Unfinished => {
                formatter.write_str("the peer has ended the connection amid the TLS handshake")
            }
            Self::CutOff => {
                formatter.write_str("the stream was cut off: its end was not announced")
            }
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        let kind = match error {
            TlsError::CutOff | TlsError::Unfinished => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
