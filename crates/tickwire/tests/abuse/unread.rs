//! Peers that ask and never read.
//!
//! CVE-2020-35896, CVE-2026-53522, and the default of many servers: what a peer does not take is kept
//! for it without a bound. Here a peer that does not read its replies is not read from any more, and
//! what is published is kept once, for all who are behind together, up to a bound.

use crate::peer::Peer;
use crate::server::Server;
use crate::wire::{self, Frame};

const PEERS: usize = 100;

/// A message of every size class that is copied, and its header.
const MESSAGE_BYTES: usize = 4_000;

#[test]
fn replies_that_are_not_read_hold_little_memory() {
    let server = Server::start(&[]);
    let mut beside = server.open("/");
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| server.open_narrow("/")).collect();
    let before = server.memory().resident();
    let message = wire::frame(wire::BINARY, &[b'x'; MESSAGE_BYTES]);
    // Until none of them can send any more, however often the server has had its turn.
    let (mut sent, mut quiet) = (0, 0);
    while quiet < 100 {
        let more: usize = peers.iter_mut().map(|peer| peer.push(&message)).sum();
        (sent, quiet) = (sent + more, if more == 0 { quiet + 1 } else { 0 });
        beside.send(&wire::text("still there?"));
        assert_eq!(beside.frame(), Frame::new(wire::TEXT, b"still there?"));
    }
    let grown = server.memory().resident().saturating_sub(before);
    println!("{sent} bytes sent by peers that do not read: {grown} bytes more");
    assert!(sent > PEERS * 64 * 1024, "{sent} bytes do not fill the sockets");
    // Where it stops receiving (64 KB unsent), one receive more, and rooms that double.
    let most = (PEERS * 256 * 1024) as u64;
    assert!(grown < most, "{grown} bytes for {PEERS} peers");
}

#[test]
fn publications_that_are_not_read_hold_what_the_log_may_hold() {
    const LOG_BYTES: u64 = 1024 * 1024;
    const PUBLISHED: usize = 16_000;
    let server = Server::start(&[("log_bytes", LOG_BYTES)]);
    let mut publisher = server.open("/news");
    let sleepers: Vec<Peer> = (0..PEERS).map(|_| server.open_narrow("/news")).collect();
    let before = server.memory().resident();
    server.memory().forget_peak();
    for index in 0..PUBLISHED {
        let mut payload = [b'x'; MESSAGE_BYTES];
        payload[..8].copy_from_slice(&(index as u64).to_be_bytes());
        publisher.send(&wire::frame(wire::BINARY, &payload));
        // It reads what it publishes, and misses nothing.
        assert_eq!(publisher.frame(), Frame::new(wire::BINARY, &payload));
    }
    let peak = server.memory().peak().saturating_sub(before);
    println!("{PEERS} subscribers that do not read: {peak} bytes more at the most");
    // The log, a message that a socket cut for each, and some more.
    let most = 2 * LOG_BYTES + (PEERS * 2 * MESSAGE_BYTES) as u64 + 1024 * 1024;
    assert!(peak < most, "{peak} bytes for {PEERS} subscribers");
    drop(sleepers);
}
