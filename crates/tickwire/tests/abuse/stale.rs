//! Bytes that were somebody else's.
//!
//! CVE-2016-10518 and its return in 2026: a buffer that was not written to its end was sent to its
//! end. One peer fills every buffer of the server with a mark that nobody else sends; then each
//! answer to others is compared byte for byte.

use crate::application::REASON;
use crate::peer::Peer;
use crate::server::Server;
use crate::wire::{self, Frame};

/// Sends messages of all sizes that hold nothing but the mark, and begins some that never end.
fn fill(server: &Server) -> Peer {
    let mut peer = server.open("/");
    for len in [1, 100, 200, 1_000, 10_000, 65_535, 65_536, 500_000] {
        let message = vec![0xee; len];
        peer.send(&wire::frame(wire::BINARY, &message));
        assert_eq!(peer.frame(), Frame::new(wire::BINARY, &message));
        peer.send(&wire::frame(wire::PING, &[0xee; 125]));
        assert_eq!(peer.frame(), Frame::new(wire::PONG, &[0xee; 125]));
    }
    peer.send(&wire::frame(wire::BINARY_BEGINS, &[0xee; 100_000]));
    peer
}

#[test]
fn pings_of_every_length_come_back_as_they_were() {
    let server = Server::start(&[]);
    let _filler = fill(&server);
    for len in 0..=125 {
        let mut peer = server.open("/");
        let payload: Vec<u8> = (0..len).collect();
        let ping = wire::frame(wire::PING, &payload);
        peer.send(&ping);
        assert_eq!(peer.frame(), Frame::new(wire::PONG, &payload), "{len} bytes");
        // In two pieces: what came first is kept until the rest is there.
        let (first, rest) = ping.split_at(6 + usize::from(len) / 2);
        peer.send(first);
        peer.send(rest);
        assert_eq!(peer.frame(), Frame::new(wire::PONG, &payload), "{len} bytes in two");
    }
}

#[test]
fn a_close_is_answered_with_its_code_and_nothing_else() {
    let server = Server::start(&[]);
    let _filler = fill(&server);
    for len in 0..=123 {
        let mut peer = server.open("/");
        let reason = vec![b'r'; len];
        peer.send(&wire::frame(wire::CLOSE, &[&1000_u16.to_be_bytes(), &reason[..]].concat()));
        assert_eq!(peer.rest(), wire::server_close(1000, ""), "a reason of {len} bytes");
    }
    let mut peer = server.open("/");
    peer.send(&wire::frame(wire::CLOSE, &[]));
    assert_eq!(peer.rest(), [wire::CLOSE, 0], "no code");
}

#[test]
fn a_close_with_a_short_reason_ends_with_it() {
    let server = Server::start(&[]);
    let _filler = fill(&server);
    for _ in 0..100 {
        let mut peer = server.open("/close-in/open");
        peer.send(&wire::frame(wire::CLOSE, &[]));
        assert_eq!(peer.rest(), wire::server_close(4000, REASON));
    }
}

#[test]
fn messages_of_every_length_come_back_as_they_were() {
    let server = Server::start(&[]);
    let _filler = fill(&server);
    let mut peer = server.open("/");
    for len in (0..=300).chain(65_530..=65_540) {
        let payload: Vec<u8> = (0..=0xed).cycle().take(len).collect();
        peer.send(&wire::frame(wire::BINARY, &payload));
        assert_eq!(peer.frame(), Frame::new(wire::BINARY, &payload), "{len} bytes");
        // In two fragments, which are joined.
        let (first, rest) = payload.split_at(len / 3);
        peer.send(&wire::frame(wire::BINARY_BEGINS, first));
        peer.send(&wire::frame(wire::ENDS, rest));
        assert_eq!(peer.frame(), Frame::new(wire::BINARY, &payload), "{len} bytes in two");
    }
}
