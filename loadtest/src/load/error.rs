//! Why a run could not begin or go on, and what to do about it.

use std::fmt;
use std::io;

use tickwire_protocol::AnswerError;

use crate::descriptors::DescriptorLimit;
use crate::server::ServerError;
use crate::target::TargetError;
use crate::tls::{GatewayError, TlsError};

/// Why a run could not begin or go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The address is of no use.
    Target(TargetError),
    /// There can be no TLS with the server.
    Tls(TlsError),
    /// What was asked for contradicts itself.
    Plan(String),
    /// A header or subprotocol cannot be sent.
    Request(AnswerError),
    /// The process may not open so many connections.
    Descriptors(DescriptorLimit),
    /// The server does not run, or is not there to be watched.
    Server(ServerError),
    /// The operating system failed.
    System(io::Error),
}

impl LoadError {
    /// Whether the machine failed, and not what was asked for.
    #[must_use]
    pub const fn is_system(&self) -> bool {
        matches!(self, Self::System(_))
    }
}

impl From<TargetError> for LoadError {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<TlsError> for LoadError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<GatewayError> for LoadError {
    fn from(error: GatewayError) -> Self {
        match error {
            GatewayError::Tls(error) => Self::Tls(error),
            GatewayError::System(error) => Self::System(error),
        }
    }
}

impl From<ServerError> for LoadError {
    fn from(error: ServerError) -> Self {
        Self::Server(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(error) => error.fmt(formatter),
            Self::Tls(error) => error.fmt(formatter),
            Self::Plan(words) => formatter.write_str(words),
            Self::Request(error) => write!(formatter, "the handshake cannot be written: {error}"),
            Self::Descriptors(error) => error.fmt(formatter),
            Self::Server(error) => error.fmt(formatter),
            Self::System(error) => write!(formatter, "the system refused to go on: {error}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Target(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Plan(_) => None,
            Self::Request(error) => Some(error),
            Self::Descriptors(error) => Some(error),
            Self::Server(error) => Some(error),
            Self::System(error) => Some(error),
        }
    }
}
