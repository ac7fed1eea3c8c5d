//! What can go wrong, by whose fault: the machine ([`StartError`]), a slow consumer ([`NotDelivered`]),
//! a fast publisher ([`Full`]),
//! a server that we wanted to connect to ([`ConnectError`]). Faults of a peer are the protocol's and end as Close codes.

mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tickwire_protocol::{AnswerError, ClientError};

use crate::latency::Class;

pub use self::tls::TlsError;

/// What ends [`Builder::run`](crate::Builder::run) early.
///
/// As `main`'s result it is shown in words, as all errors of this module are: their `Debug` is their
/// `Display`.
#[non_exhaustive]
pub enum Error {
    /// The server could not be started.
    Start(StartError),
    /// A shard ended although it was not asked to.
    Shard(ShardFailed),
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<ShardFailed> for Error {
    fn from(error: ShardFailed) -> Self {
        Self::Shard(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => fmt::Display::fmt(error, formatter),
            Self::Shard(error) => fmt::Display::fmt(error, formatter),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(error) => error.source(),
            Self::Shard(_) => None,
        }
    }
}

/// A server could not be started.
#[non_exhaustive]
pub enum StartError {
    /// What was given as an address names none.
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A route could not be made.
    Route {
        /// Its path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The address could not be listened on.
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The listening sockets that were given cannot be served.
    Inherit(io::Error),
    /// Steering was asked for and cannot be had.
    Steering {
        /// Why it cannot.
        reason: String,
    },
    /// The asked-for back end cannot run.
    Backend {
        /// Its name.
        name: &'static str,
        /// Why it cannot.
        reason: String,
    },
    /// A shard's thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { given, source } => write!(
                formatter,
                "cannot listen on {given:?}: {source}; write a host and a port, such as \
                 127.0.0.1:9001, or 0.0.0.0:9001 for every interface"
            ),
            Self::Route { path, reason } => {
                write!(formatter, "cannot make a route of {path:?}: {reason}")
            }
            Self::Listen { address, source } => {
                write!(formatter, "cannot listen on {address}: {source}")?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => write!(
                        formatter,
                        "; another program has this port: stop it or choose another port"
                    ),
                    io::ErrorKind::PermissionDenied => {
                        write!(
                            formatter,
                            "; ports below 1024 need a privilege: choose a higher one"
                        )
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        write!(formatter, "; this machine does not have that address")
                    }
                    _ => Ok(()),
                }
            }
            Self::Backend { name, reason } => {
                write!(formatter, "back end {name} cannot run here: {reason}")
            }
            Self::Inherit(source) => {
                write!(formatter, "cannot serve the listening sockets that are given: {source}")
            }
            Self::Steering { reason } => {
                write!(formatter, "connections cannot be steered to cores: {reason}")
            }
            Self::Thread(source) => write!(formatter, "cannot start a shard's thread: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. }
            | Self::Address { source, .. }
            | Self::Inherit(source)
            | Self::Thread(source) => Some(source),
            Self::Backend { .. } | Self::Route { .. } | Self::Steering { .. } => None,
        }
    }
}

/// A shard ended although it was not asked to.
pub struct ShardFailed {
    pub(crate) shard: usize,
    pub(crate) reason: String,
}

impl fmt::Display for ShardFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "shard {} failed: {}", self.shard, self.reason)
    }
}

impl std::error::Error for ShardFailed {}

/// A mailbox has no room; nothing was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a shard's mailbox is full; publish again later")
    }
}

impl std::error::Error for Full {}

/// There are as many classes of topics as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyClasses;

impl fmt::Display for TooManyClasses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = Class::COUNT_MAX;
        write!(formatter, "there are {most} classes of topics already; give topics one of them")
    }
}

impl std::error::Error for TooManyClasses {}

/// The slowest subscriber did not take the publications in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDelivered {
    /// How many publications are still on their way.
    pub outstanding: u64,
}

impl fmt::Display for NotDelivered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} publications are still not delivered", self.outstanding)
    }
}

impl std::error::Error for NotDelivered {}

/// A connection to another server did not come to be an open WebSocket.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server, or the network on the way to it, did not take the connection, or reset it before
    /// there was an answer. Of several addresses, what the last one said.
    Socket(io::Error),
    /// There is no TLS with the server: its certificate is not to be trusted or is another's, or what
    /// it speaks is no TLS. Of several addresses, what the last one said.
    Tls(TlsError),
    /// The destination has no address.
    NoAddress,
    /// Nothing came back within [`Limits::connect_timeout`](crate::Limits::connect_timeout); the
    /// handshake of TLS is part of that time.
    ConnectTimeout,
    /// It took the connection, and did not answer within
    /// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    HandshakeTimeout,
    /// It ended the connection before its answer was whole.
    NoAnswer,
    /// It answered that the resource is elsewhere. That is told, not followed: who asked knows whether
    /// to trust the new place.
    Redirect {
        /// The status, 300 to 399.
        status: u16,
        /// Where to, as the server wrote it: a URI, perhaps a relative one. `None` if it did not say,
        /// or not in one line of visible ASCII.
        location: Option<Box<str>>,
    },
    /// The answer is not the one that makes a WebSocket: another status, or a 101 that breaks
    /// RFC 6455 section 4.1.
    Answer(ClientError),
    /// The destination cannot be written as a request.
    Request(AnswerError),
    /// As many as [`Limits::outgoing_max`](crate::Limits::outgoing_max) are open or being opened.
    TooMany,
    /// As many as [`Limits::outgoing_waiting_max`](crate::Limits::outgoing_waiting_max) are wanted and
    /// were not begun. Told at once, to whoever asks for one more.
    TooManyWaiting,
    /// The operating system gives no randomness, without which frames cannot be masked.
    System(io::Error),
    /// A shutdown has begun.
    ShuttingDown,
}

impl ConnectError {
    /// What a socket said, or TLS on it.
    pub(crate) fn of_socket(error: io::Error) -> Self {
        error.downcast().map_or_else(Self::Socket, Self::Tls)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Socket(source) => return write!(formatter, "cannot connect: {source}"),
            Self::Tls(source) => return fmt::Display::fmt(source, formatter),
            Self::NoAddress => "the destination has no address",
            Self::ConnectTimeout => "nobody has taken the connection in time",
            Self::HandshakeTimeout => "the server has not answered in time",
            Self::NoAnswer => "the server has ended the connection without a whole answer",
            Self::Redirect { status, location } => {
                let location = location.as_deref().unwrap_or("an unknown place");
                return write!(formatter, "the server redirects to {location} (status {status})");
            }
            Self::Answer(source) => return fmt::Display::fmt(source, formatter),
            Self::Request(source) => {
                return write!(formatter, "the destination cannot be asked for: {source}");
            }
            Self::TooMany => {
                "too many connections to other servers; close some, or raise the limit"
            }
            Self::TooManyWaiting => {
                "too many connections to other servers wait to be begun; ask again later, or raise the \
                 limit"
            }
            Self::System(source) => return write!(formatter, "no randomness for masks: {source}"),
            Self::ShuttingDown => "a shutdown has begun",
        })
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Socket(source) | Self::System(source) => Some(source),
            Self::Tls(source) => Some(source),
            Self::Answer(source) => Some(source),
            Self::Request(source) => Some(source),
            Self::NoAddress
            | Self::ConnectTimeout
            | Self::HandshakeTimeout
            | Self::NoAnswer
            | Self::Redirect { .. }
            | Self::TooMany
            | Self::TooManyWaiting
            | Self::ShuttingDown => None,
        }
    }
}

/// `main` shows the error that it ends with by `Debug`: words there too.
macro_rules! debug_in_words {
    ($($error:ty),+) => {
        $(impl fmt::Debug for $error {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        })+
    };
}

debug_in_words!(Error, StartError, ShardFailed);
