//! The door of a shard on epoll: its listening socket, and when it is looked at.
//!
//! Connections are accepted in batches, so that a storm of them does not hold up those that are open.
//! The kernel tells of a queue once, when it begins: whoever leaves something in it has to come back.
//!
//! Who comes while descriptors are used up is turned away with the one in reserve
//! ([`Reserve`](crate::io::reserve)).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;

use crate::io::reserve::{Reserve, lacks_descriptors};

/// A listening socket, or none.
#[derive(Debug)]
pub(super) struct Door {
    listener: Option<TcpListener>,
    /// Given up to refuse a connection when there is no other descriptor.
    reserve: Option<Reserve>,
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
        let reserve = listener.as_ref().map(|_| Reserve::new());
        Self { listener, reserve, shares_out, left: 0, paused: false, failed: false }
    }

    /// Begins a turn; gives for how long the shard may wait at most.
    pub(super) fn open(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        self.left = Self::ACCEPTS_MAX;
        if let Some(reserve) = &self.reserve {
            // There may have been no descriptor the last time.
            reserve.renew();
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
                Ok((stream, peer)) if self.may_stay() => return Knock::Accepted(stream, peer),
                Ok(_) => return Knock::Refused(Errno::MFILE.into()),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::WouldBlock => return Knock::Nobody,
                // The peer was gone before it was accepted.
                ErrorKind::ConnectionAborted | ErrorKind::Interrupted => continue,
                _ => {}
            }
            let refused = match &self.reserve {
                Some(reserve) if lacks_descriptors(&error) => reserve.refuse(|| listener.accept()),
                _ => None,
            };
            match refused {
                Some(Ok(())) => return Knock::Refused(error),
                // Whether anybody is there is not told without a descriptor.
                Some(Err(nobody)) if nobody.kind() == ErrorKind::WouldBlock => {
                    return Knock::Nobody;
                }
                _ => {}
            }
            self.failed = true;
            return Knock::Failed(error);
        }
    }

    /// Whether a connection that was accepted may stay. If not it has the descriptor that is to be in
    /// reserve, which another shard has given up for a moment.
    fn may_stay(&self) -> bool {
        self.reserve.as_ref().is_none_or(Reserve::is_whole)
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
}
