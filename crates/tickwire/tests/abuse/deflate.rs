//! Messages that are small only on the way.
//!
//! CVE-2018-1000518, CVE-2026-1526, CVE-2026-27571: a kilobyte of compressed zeros is a megabyte when it
//! is inflated, and servers inflated it before they looked at its length, some before anybody had
//! authenticated. Here inflation stops one byte above the message limit, wherever the limit is
//! reached, and a compressed message that has not ended is not inflated at all.

use flate2::{Compress, Compression, FlushCompress};

use crate::server::Server;
use crate::wire::{self, Frame};

const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

const ATTACKERS: usize = 20;

/// Both ways of a server to compress: one inflater for all, or one for each.
const WAYS: [(&str, u64); 2] = [("deflate_shared", 1), ("deflate_dedicated", 1_000)];

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

/// `len` zeros as RFC 7692 section 7.2.1 has them on the wire: without the end of the last block.
fn compressed_zeros(len: usize) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let (zeros, mut out) = (vec![0; len], Vec::with_capacity(len / 500 + 100));
    compress.compress_vec(&zeros, &mut out, FlushCompress::Sync).expect("there is room for it");
    assert_eq!(compress.total_in(), len as u64);
    assert!(out.ends_with(b"\0\0\xff\xff"));
    out.truncate(out.len() - 4);
    out
}

/// A compressed binary message in ten fragments.
fn ten_fragments(payload: &[u8]) -> Vec<Vec<u8>> {
    let mut fragments: Vec<_> = payload.chunks(payload.len().div_ceil(10)).collect();
    assert_eq!(fragments.len(), 10);
    let last = fragments.pop().expect("there are ten");
    let mut frames = vec![wire::frame(wire::BINARY_BEGINS | wire::RSV1, fragments[0])];
    frames.extend(fragments[1..].iter().map(|fragment| wire::frame(wire::GOES_ON, fragment)));
    frames.push(wire::frame(wire::ENDS, last));
    frames
}

#[test]
fn a_bomb_in_ten_fragments_is_closed_with_1009_and_holds_the_limit_and_one_window() {
    let bomb = compressed_zeros(10 * MESSAGE_BYTES_MAX);
    assert!(bomb.len() < 10 * MESSAGE_BYTES_MAX / 900, "a thousand to one, or nearly");
    let bomb_bytes = bomb.len();
    let fragments = ten_fragments(&bomb);
    for way in WAYS {
        let server = Server::start(&[way, ("message_bytes", MESSAGE_BYTES_MAX as u64)]);
        let mut beside = server.open("/");
        let mut peers: Vec<_> = (0..ATTACKERS).map(|_| server.open_with("/", &[OFFER])).collect();
        let before = server.memory().resident();
        server.memory().forget_peak();
        for fragment in &fragments[..9] {
            for peer in &mut peers {
                peer.send(fragment);
                peer.send(&wire::frame(wire::PING, b"seen?"));
                assert_eq!(peer.frame(), Frame::new(wire::PONG, b"seen?"));
            }
        }
        let unfinished = server.memory().resident().saturating_sub(before);
        // All of them end their message at once.
        server.meanwhile(|| {
            for peer in &mut peers {
                peer.send(&fragments[9]);
            }
        });
        for peer in &mut peers {
            assert_eq!(peer.frame().close_code(), Some(1009), "{way:?}");
        }
        let peak = server.memory().peak().saturating_sub(before);
        println!("{way:?}: {unfinished} bytes for what has arrived, {peak} at the most");
        // Rooms that double, for what has arrived of each.
        let arrived = (ATTACKERS * 2 * bomb_bytes) as u64;
        assert!(unfinished < arrived, "{way:?}: {unfinished} bytes before the end");
        // The message as far as it is inflated, the window and what belongs to it; and what the
        // kernel's own counting is off by.
        let most = arrived + (MESSAGE_BYTES_MAX + 64 * 1024 + 512 * 1024) as u64;
        assert!(peak < most, "{way:?}: {peak} bytes at the most");
        beside.send(&wire::text("still there?"));
        assert_eq!(beside.frame().payload, b"still there?");
    }
}

/// The limit itself: a message that inflates to it is echoed, with one byte more it is 1009.
#[test]
fn a_compressed_message_of_the_limit_is_taken_and_one_byte_more_is_not() {
    const LIMIT: usize = 200;
    for way in WAYS {
        let server = Server::start(&[way, ("message_bytes", LIMIT as u64)]);
        let mut peer = server.open_with("/", &[OFFER]);
        for fragment in ten_fragments(&padded(LIMIT)) {
            peer.send(&fragment);
        }
        // Too short to be worth compressing on its way back.
        assert_eq!(peer.frame(), Frame::new(wire::BINARY, &[0; LIMIT]), "{way:?}");
        for fragment in ten_fragments(&padded(LIMIT + 1)) {
            peer.send(&fragment);
        }
        assert_eq!(peer.frame().close_code(), Some(1009), "{way:?}");
    }
}

/// So many zeros behind ten empty blocks, so that there is something in each of ten fragments.
fn padded(len: usize) -> Vec<u8> {
    [&b"\x00\x00\x00\xff\xff".repeat(10), &compressed_zeros(len)[..]].concat()
}

/// What one frame said of compression was kept for the next: a server ended itself at it.
#[test]
fn rsv1_is_of_the_first_frame_of_a_message_and_of_no_other() {
    let zeros = &compressed_zeros(100)[..];
    let (begin, end) = zeros.split_at(zeros.len() / 2);
    let begins = wire::frame(wire::BINARY_BEGINS | wire::RSV1, begin);
    let echo = Frame::new(wire::BINARY, &[0; 100]);
    let close = |frame: &Frame| frame.close_code() == Some(1002);
    for way in WAYS {
        let server = Server::start(&[way]);
        let mut peer = server.open_with("/", &[OFFER]);
        for _ in 0..2 {
            peer.send(&begins);
            peer.send(&wire::frame(wire::PING, b"between"));
            assert_eq!(peer.frame(), Frame::new(wire::PONG, b"between"));
            peer.send(&wire::frame(wire::ENDS, end));
            assert_eq!(peer.frame(), echo, "{way:?}");
            peer.send(&wire::frame(wire::BINARY, b"not compressed"));
            assert_eq!(peer.frame(), Frame::new(wire::BINARY, b"not compressed"), "{way:?}");
        }
        // Its first byte alone, then what the length and the key are, then the payload.
        let whole = wire::frame(wire::BINARY | wire::RSV1, zeros);
        for piece in [&whole[..1], &whole[1..4], &whole[4..]] {
            peer.send(piece);
            assert_served(&server);
        }
        assert_eq!(peer.frame(), echo, "{way:?}");
        for wrong in [
            [&begins[..], &wire::frame(wire::PING | wire::RSV1, b"x")].concat(),
            [&begins[..], &wire::frame(wire::ENDS | wire::RSV1, end)].concat(),
            wire::frame(wire::CLOSE | wire::RSV1, &1000_u16.to_be_bytes()),
        ] {
            let mut peer = server.open_with("/", &[OFFER]);
            peer.send(&wrong);
            assert!(close(&peer.frame()), "{way:?}: {wrong:02x?}");
        }
        let mut without = server.open("/");
        without.send(&whole);
        assert!(close(&without.frame()), "{way:?}: compression was not agreed on");
    }
}

/// CVE-2026-2229: windows of a size that there is not.
#[test]
fn windows_out_of_range_are_declined() {
    for way in WAYS {
        let server = Server::start(&[way]);
        for value in ["7", "16", "0", "-1", "08", "999999999999", "\"\"", "\"7\"", "x"] {
            for name in ["server_max_window_bits", "client_max_window_bits"] {
                let offer = format!("permessage-deflate; {name}={value}");
                let mut peer = server.connect();
                let line = format!("Sec-WebSocket-Extensions: {offer}");
                peer.send(&[wire::request("/", &[&line]), wire::text("word")].concat());
                let head = peer.head();
                if head.starts_with("HTTP/1.1 400 ") {
                    // No value at all is one that the grammar does not have.
                    assert!(value == "\"\"", "{offer}: {head}");
                    continue;
                }
                assert!(head.starts_with("HTTP/1.1 101 "), "{offer}: {head}");
                assert!(!head.contains("Extensions"), "{offer}: {head}");
                assert_eq!(peer.frame().payload, b"word");
            }
        }
    }
}

fn assert_served(server: &Server) {
    let mut peer = server.open("/");
    peer.send(&wire::text("word"));
    assert_eq!(peer.frame().payload, b"word");
}
