//! Connections that are waited for: some requests to accept one each, and where their peers' addresses
//! come to lie.
//!
//! There are several of them, and not one that goes on accepting, because that has one place for the
//! address: with two connections in a turn the first one's would be gone, and a descriptor of the
//! ring's own table cannot be asked for it. As many as there are is what one turn accepts at most.
//!
//! Invariant: an address lies in memory that stays where it is until the request has completed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use socket2::{SockAddr, SockAddrStorage, socklen_t};

use super::ring::{Operation, Ring, Tag};

/// A listener and the requests for its connections.
pub(super) struct Accepts {
    /// None: for ever closed.
    listener: Option<TcpListener>,
    places: Box<[Place]>,
    /// Places without a request.
    idle: Vec<u32>,
    /// Whether accepted sockets go to the ring's table.
    into_table: bool,
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
        Self { listener: Some(listener), places, idle: (0..Self::MAX).collect(), into_table }
    }

    pub(super) const fn is_into_table(&self) -> bool {
        self.into_table
    }

    /// Waits for as many connections as there are places for.
    pub(super) fn arm(&mut self, ring: &mut Ring) {
        let Some(listener) = self.listener.as_ref().map(AsRawFd::as_raw_fd) else { return };
        while let Some(index) = self.idle.pop() {
            let place = &mut self.places[index as usize];
            place.length = place.address.size_of();
            let (address, length) = (&raw mut place.address, &raw mut place.length);
            // SAFETY: the box is kept until the ring is done with it, see `Uring::drop`, and a place is
            // not looked at before its request is complete.
            unsafe { ring.accept(tag(index), listener, address, length, self.into_table) };
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
pub(super) const fn is_passing(error: Errno) -> bool {
    matches!(error, Errno::CONNABORTED | Errno::INTR | Errno::CANCELED)
}
