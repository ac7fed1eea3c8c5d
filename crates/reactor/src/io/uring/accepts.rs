//! Connections that are waited for: some requests to accept one each, and where their peers' addresses
//! come to lie.
//!
//! There are several of them, and not one that goes on accepting, because that has one place for the
//! address: with two connections in a turn the first one's would be gone, and a descriptor of the
//! ring's own table cannot be asked for it. As many as there are is what one turn accepts at most.
//!
//! Where they go to ordinary descriptors, who comes while those are used up is turned away with the one
//! in reserve ([`Reserve`](crate::io::reserve)).
//!
//! Invariant: an address lies in memory that stays where it is until the request has completed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use socket2::{SockAddr, SockAddrStorage, socklen_t};

use super::ring::{Operation, Ring, Tag};
use super::socket::File;
use super::{Found, Uring};
use crate::io::reserve::{Reserve, lacks_descriptors};

/// A listener and the requests for its connections.
pub(super) struct Accepts {
    /// None: for ever closed.
    listener: Option<TcpListener>,
    places: Box<[Place]>,
    /// Places without a request.
    idle: Vec<u32>,
    /// Whether accepted sockets go to the ring's table.
    into_table: bool,
    /// Given up to refuse a connection when there is no other descriptor.
    reserve: Option<Reserve>,
    /// The last connection found no descriptor: one request is enough to see whether there are some.
    is_short: bool,
}

struct Place {
    address: SockAddrStorage,
    length: socklen_t,
}

impl std::fmt::Debug for Accepts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Accepts")
            .field("listener", &self.listener)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl Accepts {
    /// Connections accepted in one turn, so that a storm of them does not hold up those that are open.
    const MAX: u32 = 32;

    /// Takes over a listening socket; with `into_table`, what is accepted goes to the ring's table.
    pub(super) fn new(listener: TcpListener, into_table: bool) -> Self {
        let place = || Place { address: SockAddrStorage::zeroed(), length: 0 };
        let places = (0..Self::MAX).map(|_| place()).collect();
        let reserve = (!into_table).then(Reserve::new);
        let idle = (0..Self::MAX).collect();
        Self { listener: Some(listener), places, idle, into_table, reserve, is_short: false }
    }

    pub(super) const fn is_into_table(&self) -> bool {
        self.into_table
    }

    /// Waits for as many connections as there are places for.
    pub(super) fn arm(&mut self, ring: &mut Ring) {
        let Some(listener) = self.listener.as_ref().map(AsRawFd::as_raw_fd) else { return };
        if let Some(reserve) = &self.reserve {
            // There may have been no descriptor the last time.
            reserve.renew();
        }
        while let Some(index) = self.idle.pop() {
            let place = &mut self.places[index as usize];
            place.length = place.address.size_of();
            let (address, length) = (&raw mut place.address, &raw mut place.length);
            // SAFETY: the box is kept until the ring is done with it, see `Uring::drop`, and a place is
            // not looked at before its request is complete.
            unsafe { ring.accept(tag(index), listener, address, length, self.into_table) };
            if self.is_short {
                break;
            }
        }
    }

    /// Whether a connection that was accepted may stay. If not it has the descriptor that is to be in
    /// reserve, which another shard has given up for a moment.
    pub(super) fn may_stay(&self) -> bool {
        self.reserve.as_ref().is_none_or(Reserve::is_whole)
    }

    /// A connection has found a descriptor, or a request has ended for want of one.
    pub(super) const fn found(&mut self, descriptor: bool) {
        self.is_short = !descriptor;
    }

    /// Closes the first of the kernel's queue, with the descriptor that was kept for it. `false`: nobody
    /// is there.
    ///
    /// # Errors
    /// When it stays in the queue: no descriptor is in reserve, or another thread was faster.
    pub(super) fn refuse(&self) -> io::Result<bool> {
        let (Some(listener), Some(reserve)) = (&self.listener, &self.reserve) else {
            return Ok(false);
        };
        // Another process may accept from the same queue, and if that is faster this must not wait. A
        // request that is made in this very moment is told so too, and is made again.
        listener.set_nonblocking(true)?;
        let refused = reserve.refuse(|| listener.accept());
        listener.set_nonblocking(false)?;
        match refused {
            Some(Ok(())) => Ok(true),
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Some(Err(error)) => Err(error),
            None => Err(Errno::MFILE.into()),
        }
    }

    /// The request of place `index` is complete: its peer's address, where it has one.
    pub(super) fn completed(&mut self, index: u32) -> SocketAddr {
        self.idle.push(index);
        let place = &mut self.places[index as usize];
        let address = std::mem::replace(&mut place.address, SockAddrStorage::zeroed());
        // SAFETY: the kernel has written an address of that length, or it is still all zeros.
        let address = unsafe { SockAddr::new(address, place.length) };
        address.as_socket().unwrap_or_else(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    }

    /// Gives the listener up: its port is closed as soon as the requests are taken back.
    pub(super) fn close(&mut self, ring: &mut Ring) {
        self.cancel(ring);
        self.listener = None;
        self.reserve = None;
    }

    /// Whether no request is in flight, one that may have accepted a connection.
    pub(super) fn is_quiet(&self) -> bool {
        self.idle.len() == self.places.len()
    }

    /// Takes all requests back.
    pub(super) fn cancel(&self, ring: &mut Ring) {
        for index in (0..Self::MAX).filter(|index| !self.idle.contains(index)) {
            ring.cancel(tag(index));
        }
    }
}

impl Uring {
    /// A request to accept has completed: what there is to tell of it.
    pub(super) fn accepted(&mut self, place: u32, result: Result<u32, Errno>) -> Option<Found> {
        let accepts = self.accepts.as_mut()?;
        let peer = accepts.completed(place);
        accepts.found(result.is_ok());
        let file = match result {
            Ok(index) if accepts.is_into_table() => File::Direct(index),
            Ok(number) if !accepts.may_stay() => {
                drop(descriptor(number));
                return Some(Found::NotAccepted(Errno::MFILE.into(), true));
            }
            Ok(number) if self.shares_out => return Some(Found::Arrived(descriptor(number), peer)),
            Ok(number) => File::Plain(descriptor(number)),
            Err(error) if is_passing(error) => return None,
            // Somebody has told the socket not to wait, and the kernel heeds it.
            Err(Errno::AGAIN) => {
                self.accept_failed = true;
                return None;
            }
            // The table is full: the kernel had accepted it, and has closed it.
            Err(error @ Errno::NFILE) if accepts.is_into_table() => {
                return Some(Found::NotAccepted(error.into(), true));
            }
            Err(error) => return self.without_descriptor(error.into()),
        };
        Some(match self.seat(file, false) {
            Ok(key) => Found::Accepted(key, peer),
            Err(error) => Found::NotAccepted(error, true),
        })
    }

    /// A request to accept has failed, perhaps with nobody there: it wants its descriptor beforehand.
    fn without_descriptor(&mut self, error: io::Error) -> Option<Found> {
        let accepts = self.accepts.as_ref()?;
        let refused = match lacks_descriptors(&error) {
            true if self.accept_paused => Ok(false),
            true => accepts.refuse(),
            false => Err(error),
        };
        match refused {
            Ok(true) => Some(Found::NotAccepted(Errno::MFILE.into(), true)),
            Ok(false) => {
                self.accept_failed = true;
                None
            }
            Err(error) => {
                self.accept_failed = true;
                Some(Found::NotAccepted(error, false))
            }
        }
    }
}

const fn tag(index: u32) -> Tag {
    Tag { operation: Operation::Accept, slot: index, incarnation: 0 }
}

/// An ordinary descriptor that a request has given.
pub(super) fn descriptor(number: u32) -> OwnedFd {
    let number = i32::try_from(number).expect("descriptors are positive");
    // SAFETY: the kernel has made it for the request that told of it, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Whether the peer was gone before it was accepted, or the request has been taken back: nothing that
/// would happen again at once.
const fn is_passing(error: Errno) -> bool {
    matches!(error, Errno::CONNABORTED | Errno::INTR | Errno::CANCELED)
}
