//! Lengths that are declared and not kept.
//!
//! A frame header of 14 bytes may announce up to 2^63-1 more. A server that makes room for what is
//! announced gives an attacker its memory for 14 bytes a connection (CVE-2022-35922; servers that do
//! so up to their message limit are common). The bound here is 64 KB for a thousand connections,
//! less than the smallest buffer for each.
//!
//! What a connection costs at all is not in it: the same thousand are measured idle, then with their
//! frame begun. What the kernel keeps for their sockets is no resident memory of the server.

use crate::peer::{Peer, until};
use crate::server::Server;
use crate::wire::{self, Frame};

const CONNECTIONS: usize = 1_000;

/// How many more bytes may be resident for all of them.
const GROWTH_MAX: u64 = 64 * 1024;

/// What each sends of its frame in the end.
const HELD_BYTES: usize = 8_000;

const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;

/// A Ping and the header of a frame, in one segment: with the Pong the header has been seen, too.
fn declaration(first: u8, length: u64) -> Vec<u8> {
    [wire::frame(wire::PING, b"seen?"), wire::header(first, length)].concat()
}

fn pong() -> Frame {
    Frame::new(wire::PONG, b"seen?")
}

/// A thousand idle connections to a server whose code for this is resident already.
fn idle(server: &Server, declaration: &[u8]) -> Vec<Peer> {
    for _ in 0..100 {
        let mut peer = server.open("/");
        peer.send(declaration);
        assert_eq!(peer.frame(), pong());
    }
    (0..CONNECTIONS).map(|_| server.open("/")).collect()
}

#[test]
fn a_thousand_frames_one_byte_under_the_limit_hold_no_memory() {
    for first in [wire::BINARY, wire::TEXT, wire::BINARY_BEGINS] {
        let server = Server::start(&[("message_bytes", MESSAGE_BYTES_MAX)]);
        let declaration = declaration(first, MESSAGE_BYTES_MAX - 1);
        let mut peers = idle(&server, &declaration);
        let before = server.memory().resident();
        for peer in &mut peers {
            peer.send(&declaration);
        }
        for peer in &mut peers {
            assert_eq!(peer.frame(), pong());
        }
        let grown = server.memory().resident().saturating_sub(before);
        println!("{first:#04x}: {grown} bytes more for {CONNECTIONS} declared lengths");
        assert!(grown < GROWTH_MAX, "{first:#04x}: {grown} bytes");
        // They are not refused, and what then comes of each frame is seen to be held.
        for peer in &mut peers {
            assert!(peer.has_nothing_to_read());
            peer.send(&wire::masked(&[b'x'; HELD_BYTES]));
        }
        // Some of it lies in pages that the connections of before had.
        let held = before + (CONNECTIONS * HELD_BYTES / 2) as u64;
        until("what arrived is held", || server.memory().resident() > held);
    }
}

#[test]
fn a_thousand_frames_of_2_to_the_62_are_refused_at_their_header_and_hold_no_memory() {
    let server = Server::start(&[]);
    let declaration = declaration(wire::BINARY, 1 << 62);
    let mut peers = idle(&server, &declaration);
    let before = server.memory().resident();
    // All of them are there when it looks: the most that it can have to answer at once.
    server.meanwhile(|| {
        for peer in &mut peers {
            peer.send(&declaration);
        }
    });
    for peer in &mut peers {
        assert_eq!(peer.frame(), pong());
        assert_eq!(peer.frame().close_code(), Some(1009));
    }
    let grown = server.memory().resident().saturating_sub(before);
    println!("{grown} bytes more for {CONNECTIONS} declared lengths");
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    for mut peer in peers {
        assert_eq!(peer.rest(), []);
    }
}

/// CVE-2020-27813, CVE-2026-1528, CVE-2026-27889: lengths that wrapped when they were added to, or cut
/// to 32 bits or to a signed number.
#[test]
fn lengths_at_the_edges_of_integers_are_refused_at_their_header() {
    let server = Server::start(&[]);
    let declare = |length| wire::header(wire::BINARY, length);
    let fragments = |begun: usize, length| {
        let begin = wire::frame(wire::BINARY_BEGINS, &vec![b'x'; begun]);
        [begin, wire::header(wire::GOES_ON, length)].concat()
    };
    let cases = [
        ("one above the limit", declare(MESSAGE_BYTES_MAX + 1), 1009),
        ("2^31 - 1", declare((1 << 31) - 1), 1009),
        ("2^31", declare(1 << 31), 1009),
        ("2^32 - 1", declare((1 << 32) - 1), 1009),
        ("2^32", declare(1 << 32), 1009),
        ("2^32 + 1", declare((1 << 32) + 1), 1009),
        ("2^63 - 15, which wraps with its header", declare((1 << 63) - 15), 1009),
        ("2^63 - 1", declare((1 << 63) - 1), 1009),
        ("2^63, which is no length", declare(1 << 63), 1002),
        ("2^64 - 1, which is no length", declare(u64::MAX), 1002),
        ("one above the limit in sum", fragments(1, MESSAGE_BYTES_MAX), 1009),
        ("2^32 in sum", fragments(1, (1 << 32) - 1), 1009),
        ("2^63 in sum", fragments(1, (1 << 63) - 1), 1009),
        ("2^63 and the limit in sum", fragments(1024 * 1024, (1 << 63) - 1), 1009),
    ];
    for (name, bytes, code) in cases {
        let mut peer = server.open("/");
        peer.send(&bytes);
        assert_eq!(peer.frame().close_code(), Some(code), "{name}");
        // Nothing of what comes then is taken for a frame.
        peer.try_send(&wire::text("behind it"));
        assert_eq!(peer.rest(), [], "{name}");
    }
}
