//! Who is let in: places for connections, of the whole server and of each address.
//!
//! All shards share one of these. A place is taken when a connection is accepted, before anything is
//! read or kept for it, and given back when its slot is. The count of the whole server is one atomic;
//! addresses are counted under a lock, and only if they are limited.
//!
//! Invariant: as many places are taken as there are connections that were admitted and are not gone.
//! A connection that finds none is told so, but not more of them at a time than
//! [`Limits::TURNED_AWAY_MAX`]: beyond that it is dropped without a word, since to answer is to hold
//! a descriptor until the peer has read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::Limits;
use crate::origin::Origins;

/// The places of one server.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) origins: Origins,
    connections_max: usize,
    per_address_max: Option<usize>,
    admitted: AtomicUsize,
    turned_away: AtomicUsize,
    /// Places taken from each network; none is zero.
    networks: Mutex<HashMap<Network, usize>>,
}

/// What a connection that was accepted holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing.
    #[default]
    None,
    /// A place of the server, and one of its network if those are limited.
    Admitted,
    /// The right to be told that there is none.
    TurnedAway,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All of the server are taken.
    Server,
    /// All of this address are taken.
    Address,
}

/// What counts as one address: an IPv4 address, or an IPv6 network of 64 bits, since every customer
/// of a provider has at least one of those to choose addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        // A listener for both families sees IPv4 peers as `::ffff:a.b.c.d`.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits, origins: Origins) -> Self {
        Self {
            origins,
            connections_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            admitted: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
            networks: Mutex::default(),
        }
    }

    /// Whether networks are counted: then they must be named when a place is given back.
    pub(crate) const fn counts_networks(&self) -> bool {
        self.per_address_max.is_some()
    }

    /// Takes a place for a connection from `network`.
    pub(crate) fn admit(&self, network: Network) -> Result<(), Taken> {
        if !take(&self.admitted, self.connections_max) {
            return Err(Taken::Server);
        }
        let Some(most) = self.per_address_max else { return Ok(()) };
        let mut networks = self.networks();
        let count = networks.get(&network).copied().unwrap_or(0);
        if count < most {
            networks.insert(network, count + 1);
            return Ok(());
        }
        drop(networks);
        self.admitted.fetch_sub(1, Ordering::Relaxed);
        Err(Taken::Address)
    }

    /// Places taken, of the server and of addresses, and how many are being told that there is none.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let admitted = self.admitted.load(Ordering::Relaxed);
        let of_networks: usize = self.networks().values().sum();
        (admitted + of_networks, self.turned_away.load(Ordering::Relaxed))
    }

    /// Whether one more connection may be told that there is no place.
    pub(crate) fn turn_away(&self) -> bool {
        take(&self.turned_away, Limits::TURNED_AWAY_MAX)
    }

    /// Gives back what a connection held, which came from `network`.
    pub(crate) fn leave(&self, place: Place, network: Option<Network>) {
        match place {
            Place::None => {}
            Place::TurnedAway => drop(self.turned_away.fetch_sub(1, Ordering::Relaxed)),
            Place::Admitted => {
                self.admitted.fetch_sub(1, Ordering::Relaxed);
                if let Some(network) = network {
                    self.leave_network(network);
                }
            }
        }
    }

    fn leave_network(&self, network: Network) {
        let mut networks = self.networks();
        if let Some(count) = networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(&network);
            }
        }
    }

    fn networks(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one more unless there are `most` already; exact, so that the last place is never refused
/// to two who ask at once.
fn take(count: &AtomicUsize, most: usize) -> bool {
    let more = |count| (count < most).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().expect("an address"))
    }

    #[test]
    fn an_address_is_what_one_customer_has() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "::192.0.2.1", false),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            assert_eq!(network(one) == network(other), same, "{one} and {other}");
        }
    }

    #[test]
    fn as_many_are_let_in_as_there_are_places() {
        let limits = Limits {
            connections_max: 5,
            connections_per_address_max: Some(2),
            ..Limits::default()
        };
        let admission = Admission::new(&limits, Origins::any());
        let (a, b, c) = (network("192.0.2.1"), network("192.0.2.2"), network("2001:db8::1"));
        for (from, expected) in [
            (a, Ok(())),
            (a, Ok(())),
            (a, Err(Taken::Address)),
            (b, Ok(())),
            (b, Ok(())),
            (c, Ok(())),
            (c, Err(Taken::Server)),
            (a, Err(Taken::Server)),
        ] {
            assert_eq!(admission.admit(from), expected, "{from:?}");
        }
        admission.leave(Place::Admitted, Some(b));
        assert_eq!(admission.admit(a), Err(Taken::Address), "and the server's place is given back");
        assert_eq!(admission.admit(c), Ok(()));
        for from in [a, a, b, c, c] {
            admission.leave(Place::Admitted, Some(from));
        }
        assert_eq!(admission.admitted.load(Ordering::Relaxed), 0);
        assert!(admission.networks().is_empty(), "nobody who has gone is remembered");
    }

    #[test]
    fn only_so_many_are_told_that_there_is_no_place() {
        let admission = Admission::new(&Limits::default(), Origins::any());
        for _ in 0..Limits::TURNED_AWAY_MAX {
            assert!(admission.turn_away());
        }
        assert!(!admission.turn_away());
        admission.leave(Place::TurnedAway, None);
        assert!(admission.turn_away());
    }

    #[test]
    fn threads_that_ask_at_once_get_exactly_the_places_there_are() {
        let limits = Limits { connections_max: 100, ..Limits::default() };
        let admission = Admission::new(&limits, Origins::any());
        let from = network("192.0.2.1");
        let admitted: usize = std::thread::scope(|scope| {
            let ask = || (0..100).filter(|_| admission.admit(from).is_ok()).count();
            let threads = [scope.spawn(ask), scope.spawn(ask), scope.spawn(ask)];
            threads.into_iter().map(|thread| thread.join().expect("a thread ends")).sum()
        });
        assert_eq!(admitted, 100);
    }
}
