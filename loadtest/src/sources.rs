//! Addresses to connect from, where one does not have ports enough.
//!
//! A connection is named by both ends' addresses and ports, so from one address at most some 28,000
//! (the ephemeral ports) go to one address and port of a server. All of 127.0.0.0/8 is this machine:
//! to a loopback server a run of 100,000 connections comes from several of them. To a server
//! elsewhere the user names addresses that the machine has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Source addresses for so many connections: none, which is the system's choice, unless all servers
/// are at IPv4 loopback addresses and one source is not enough.
pub(crate) fn for_loopback(
    mut addresses: impl Iterator<Item = SocketAddr>,
    connections: usize,
) -> Vec<IpAddr> {
    let is_loopback =
        |address: SocketAddr| matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback());
    if connections <= SINGLE_MAX || !addresses.all(is_loopback) {
        return Vec::new();
    }
    let sources = connections.div_ceil(PER_SOURCE).min(SOURCES_MAX);
    (2..).take(sources).map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))).collect()
}

/// So many connections need no address but the system's choice. Linux has 28,232 ports for one
/// address by default, and looks first among those of one parity: beyond 14,116 each further one
/// takes a search through all of them (measured: 400 connections a second instead of 20,000).
const SINGLE_MAX: usize = 10_000;

/// Connections from one address where there are several: few enough that processes that share them
/// unevenly stay below that.
const PER_SOURCE: usize = 5_000;

/// More than a million connections; more than the memory of any machine has room for.
const SOURCES_MAX: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_to_the_loopback_come_from_several_addresses() {
        let loopback: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let elsewhere: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let count = |addresses: &[SocketAddr], connections| {
            for_loopback(addresses.iter().copied(), connections).len()
        };
        assert_eq!(count(&[loopback], 10_000), 0);
        assert_eq!(count(&[loopback], 100_000), 20);
        assert_eq!(count(&[loopback, elsewhere], 100_000), 0);
        assert_eq!(count(&["[::1]:80".parse().unwrap()], 100_000), 0);
    }
}
