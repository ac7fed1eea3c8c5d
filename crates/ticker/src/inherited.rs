//! What this process was given when it was started: sockets that listen already.
//!
//! systemd gives them from file descriptor 3 on and says so in `LISTEN_FDS`, `LISTEN_PID` and
//! `LISTEN_FDNAMES` (sd_listen_fds(3)). A ticker that hands over to its successor does the same, without
//! `LISTEN_PID`, which it could not know, and with one more socket, named `PREDECESSOR`, on which it
//! waits for the word that it may go.
//!
//! Taken once, at the very beginning: descriptor numbers are only what they are said to be until
//! something else is opened.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use listenfd::ListenFd;

/// Sockets that were given to this process.
#[derive(Debug, Default)]
pub struct Inherited {
    /// To be served; none: it is to listen by itself.
    pub listeners: Vec<TcpListener>,
    /// The ticker before this one, which serves until it hears from it.
    predecessor: Option<UnixDatagram>,
}

impl Inherited {
    /// What the environment says.
    ///
    /// # Errors
    /// When a socket is neither a TCP listener nor that of a predecessor.
    pub fn from_environment() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut given = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..given.len() {
            if names.next() == Some(PREDECESSOR) {
                inherited.predecessor = given.take_unix_datagram(index)?;
            } else {
                inherited.listeners.extend(given.take_tcp_listener(index)?);
            }
        }
        Ok(inherited)
    }

    /// Whether it follows another ticker, which has this one's word passed on.
    #[must_use]
    pub const fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Tells the predecessor, if there is one, that this ticker serves.
    ///
    /// # Errors
    /// When it is gone.
    pub fn serves(&self) -> io::Result<()> {
        match &self.predecessor {
            Some(predecessor) => predecessor.send(SERVES).map(drop),
            None => Ok(()),
        }
    }
}

/// The name of the socket to the predecessor among the file descriptors that are given.
pub(crate) const PREDECESSOR: &str = "tickwire-predecessor";

/// What a successor says when it serves.
pub(crate) const SERVES: &[u8] = b"READY=1";
