//! Connections that end where it hurts.
//!
//! CVE-2025-11677 and its kind: something of a connection was used after its end, because it ended
//! within a callback, within a publication, or within its own handshake. This engine has no such
//! memory errors to make; what is left is a connection that is not ended, ended twice, or forgotten
//! with its descriptor. Also here: what a Pong must not prolong.

use std::time::Duration;

use crate::application::{CALLBACKS, REASON};
use crate::peer::{Peer, until};
use crate::server::Server;
use crate::wire::{self, Frame};

#[test]
fn a_handler_may_close_in_each_of_its_callbacks() {
    for callback in CALLBACKS {
        let mut server = Server::start(&[("log_bytes", 64 * 1024)]);
        let mut beside = server.open("/news");
        let descriptors = server.descriptors();
        let mut peer = server.open_narrow(&format!("/close-in/{callback}"));
        match callback {
            "message" | "publication" => peer.send(&wire::text("now")),
            // It does not read until the server has given it up.
            "lagged" => publish(&mut beside, 1_000),
            "shutdown" => server.shut_down(),
            _ => {}
        }
        let close = peer.close_frame();
        assert_eq!(close, Frame::new(wire::CLOSE, &close_body(4000, REASON)), "{callback}");
        peer.send(&wire::frame(wire::CLOSE, &4000_u16.to_be_bytes()));
        assert_eq!(peer.rest(), [], "{callback}");
        if callback == "shutdown" {
            continue;
        }
        if callback == "publication" {
            assert_eq!(beside.frame(), Frame::new(wire::BINARY, b"now"));
        }
        until("its descriptor is back", || server.descriptors() == descriptors);
        publish(&mut beside, 1);
    }
}

fn close_body(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// Publishes `count` times, and reads it all.
fn publish(publisher: &mut Peer, count: usize) {
    for _ in 0..count {
        publisher.send(&wire::frame(wire::BINARY, &[b'x'; 4_000]));
        assert_eq!(publisher.frame().payload.len(), 4_000);
    }
}

/// Ten thousand connections, of which many end in the middle of something, some sixty at a time.
#[test]
fn ten_thousand_connections_come_and_go_without_a_trace() {
    const CONNECTIONS: usize = 10_000;
    const AT_ONCE: usize = 64;
    let server = Server::start(&[("close_ms", 200)]);
    let mut beside = server.open("/");
    let mut news = server.open("/news");
    let descriptors = server.descriptors();
    let mut open: Vec<Option<Peer>> = (0..AT_ONCE).map(|_| None).collect();
    let (mut seed, mut resident) = (1, 0);
    for index in 0..CONNECTIONS {
        let random = next(&mut seed);
        let place = &mut open[usize::try_from(random >> 32).expect("64 bits") % AT_ONCE];
        if let Some(peer) = place.take() {
            leave(peer, random);
        }
        *place = Some(arrive(&server, random >> 8));
        if index % 50 == 0 {
            beside.send(&wire::text("still there?"));
            assert_eq!(beside.frame(), Frame::new(wire::TEXT, b"still there?"));
            news.send(&wire::text("news"));
            while news.frame().payload != b"news" {}
        }
        if index == CONNECTIONS / 10 {
            resident = server.memory().resident();
        }
    }
    open.clear();
    until("all are gone", || server.descriptors() == descriptors);
    let grown = server.memory().resident().saturating_sub(resident);
    // Deadlines of connections that are gone are forgotten when they would have been due.
    println!("{grown} bytes more after {CONNECTIONS} connections than after a tenth of them");
    assert!(grown < 1024 * 1024, "{grown} bytes");
}

/// A connection that has got as far as `random` says.
fn arrive(server: &Server, random: u64) -> Peer {
    let mut peer = server.connect();
    match random % 8 {
        0 => {}
        1 => peer.send(b"GET / HTTP/1.1\r\nHo"),
        2 => peer.send(&wire::request("/nowhere", &[])),
        3 => peer.send(&wire::request("/close-in/open", &[])),
        4 => peer.send(&[wire::request("/close-in/message", &[]), wire::text("now")].concat()),
        5 => peer.send(&[wire::request("/close-in/publication", &[]), wire::text("now")].concat()),
        6 => peer.send(&[wire::request("/", &[]), wire::header(wire::BINARY, 70_000)].concat()),
        _ => peer.send(&[wire::request("/", &[]), wire::text("word").repeat(100)].concat()),
    }
    peer
}

/// Ends it in one of four ways.
fn leave(mut peer: Peer, random: u64) {
    match random % 4 {
        0 => drop(peer),
        1 => peer.reset(),
        2 => {
            peer.try_send(&wire::frame(wire::CLOSE, &1000_u16.to_be_bytes()));
        }
        _ => {
            peer.try_send(b"\x81\x85\x37\xfa");
            peer.reset();
        }
    }
}

/// The next of a sequence that is the same in every run (xorshift).
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// CVE-2026-33203: a session that had expired lived on as long as something was heard of it.
#[test]
fn a_session_expires_whatever_is_heard_of_the_peer() {
    let server = Server::start(&[]);
    let mut peer = server.open("/expiring");
    let mut answers = 0;
    let close = loop {
        peer.try_send(&wire::frame(wire::PONG, b"here"));
        peer.try_send(&wire::frame(wire::PING, b"here"));
        match peer.frame() {
            frame if frame.first == wire::CLOSE => break frame,
            frame => assert_eq!(frame, Frame::new(wire::PONG, b"here")),
        }
        answers += 1;
        std::thread::park_timeout(PAUSE);
    };
    assert_eq!(close, Frame::new(wire::CLOSE, &close_body(4401, "the session has expired")));
    println!("{answers} Pings were answered before");
}

/// Between two Pings: a hundred in a second would be a flood.
const PAUSE: Duration = Duration::from_millis(50);
