//! The door of a shard on epoll: its listening socket, and when it is looked at.
//!
//! Connections are accepted in batches, so that a storm of them does not hold up those that are open.
//! The kernel tells of a queue once, when it begins: whoever leaves something in it has to come back.
//!
//! When descriptors are used up, a connection in the queue would wait for an answer that does not come,
//! and its client with it. So one descriptor is kept in reserve: it is given up to accept the
//! connection, which is closed at once, and taken again. A client that is turned away so can try
//! another server or come back; one that hangs cannot. What that does not help against (no memory, no
//! descriptor in the whole system) is tried again after a while.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// A listening socket, or none.
#[derive(Debug)]
pub(super) struct Door {
    listener: Option<TcpListener>,
    /// Given up to refuse a connection when there is no other descriptor.
    reserve: Option<OwnedFd>,
    shares_out: bool,
    /// Connections that this turn may still take.
    left: usize,
    paused: bool,
    /// An accept has failed; the queue keeps its edge to itself.
    failed: bool,
}

/// What comes of looking at the queue.
#[derive(Debug)]
pub(super) enum Knock {
    /// It is empty, or not to be looked at.
    Nobody,
    /// There may be more, but this turn has had its share.
    Later,
    Accepted(TcpStream, SocketAddr),
    /// One was closed, for want of descriptors.
    Refused(io::Error),
    /// It is left as it is for a while.
    Failed(io::Error),
}

impl Door {
    /// Connections taken in one turn.
    const ACCEPTS_MAX: usize = 64;

    /// How soon an accept that failed is tried again.
    const RETRY: Duration = Duration::from_millis(50);

    pub(super) fn new(listener: Option<TcpListener>, shares_out: bool) -> Self {
        let reserve = listener.as_ref().and_then(|_| reserve());
        Self { listener, reserve, shares_out, left: 0, paused: false, failed: false }
    }

    /// Begins a turn; gives for how long the shard may wait at most.
    pub(super) fn open(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        self.left = Self::ACCEPTS_MAX;
        if self.reserve.is_none() && self.listener.is_some() {
            // Another thread was faster the last time.
            self.reserve = reserve();
        }
        if !self.failed || self.paused {
            return timeout;
        }
        Some(timeout.map_or(Self::RETRY, |timeout| timeout.min(Self::RETRY)))
    }

    /// Whether the queue is to be looked at although the kernel says nothing of it.
    pub(super) fn tries_again(&mut self) -> bool {
        !self.paused && std::mem::take(&mut self.failed)
    }

    /// The first of the queue.
    pub(super) fn knock(&mut self) -> Knock {
        loop {
            let Some(listener) = self.listener.as_ref().filter(|_| !self.paused) else {
                return Knock::Nobody;
            };
            if self.left == 0 {
                return Knock::Later;
            }
            self.left -= 1;
            let error = match listener.accept() {
                Ok((stream, peer)) => return Knock::Accepted(stream, peer),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::WouldBlock => return Knock::Nobody,
                // The peer was gone before it was accepted.
                ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                _ if lacks_descriptors(&error) && self.refuse() => return Knock::Refused(error),
                _ => {
                    self.failed = true;
                    return Knock::Failed(error);
                }
            }
        }
    }

    /// Whether newcomers go to whichever shard has least.
    pub(super) const fn shares_out(&self) -> bool {
        self.shares_out
    }

    pub(super) const fn pause(&mut self) {
        self.paused = true;
    }

    pub(super) const fn resume(&mut self) {
        self.paused = false;
    }

    /// Gives the listener back: it is looked at no more.
    pub(super) fn close(&mut self) -> Option<TcpListener> {
        self.reserve = None;
        self.listener.take()
    }

    /// Closes the first of the queue, with the descriptor that was kept for it. `false`: there was
    /// none, or another thread was faster.
    fn refuse(&mut self) -> bool {
        let Some(listener) = &self.listener else { return false };
        if self.reserve.take().is_none() {
            return false;
        }
        let refused = listener.accept().is_ok();
        self.reserve = reserve();
        refused
    }
}

/// A descriptor that is good for nothing but to be given up.
fn reserve() -> Option<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC).ok()
}

/// Whether it is this process that has no more descriptors, or the system.
fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
