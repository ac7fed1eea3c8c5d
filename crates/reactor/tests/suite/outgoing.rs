//! Connections that the engine opens to other servers (RFC 6455 section 4.1), against a far server
//! that is a peer of these cases and says whatever bytes it likes.

use std::collections::HashSet;
use std::time::Duration;

use tickwire_protocol::accept_value;

use crate::session::Session;
use crate::wire::{self, TEXT};
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    request_says_what_the_rfc_asks_for,
    every_frame_is_masked_with_a_key_of_its_own,
    refusal_is_told_after_the_last_address,
    next_address_is_tried,
);

in_simulation!(deaf_address_is_given_up_at_its_deadline);

/// A peer that told the engine to connect to `target` of the far server.
fn dial<W: World>(session: &mut Session<W>, target: &str) -> Peer {
    let caller = session.open("/script");
    let far = session.world.far();
    session.say(caller, &format!("connect {far} {target}"));
    caller
}

/// The far server, once it has the request: itself and the request.
fn called<W: World>(session: &mut Session<W>, target: &str) -> (Peer, String) {
    dial(session, target);
    let far = session.pick_up();
    let request = session.head(far);
    (far, request)
}

/// A connection to the far server that is open.
fn opened<W: World>(session: &mut Session<W>, target: &str) -> Peer {
    let (far, request) = called(session, target);
    session.send(far, &switching(&request, &[]));
    far
}

/// The answer that a request is due, with more header lines.
fn switching(request: &str, lines: &[&str]) -> Vec<u8> {
    let key = line(request, "Sec-WebSocket-Key: ");
    let accept = accept_value(key.as_bytes().try_into().expect("24 characters"));
    let accept = std::str::from_utf8(&accept).expect("it is base64");
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    );
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// What follows `start` in the one line of a head that begins with it.
fn line<'a>(head: &'a str, start: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.strip_prefix(start));
    let line = lines.next().expect("the line is there");
    assert_eq!(lines.next(), None, "it is there once");
    line
}

fn request_says_what_the_rfc_asks_for(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let mut keys = HashSet::new();
    for _ in 0..5 {
        let (far, request) = called(&mut session, "/echo?of=gold");
        let key = line(&request, "Sec-WebSocket-Key: ").to_owned();
        assert!(key.len() == 24 && key.ends_with("=="), "{key} is 16 bytes in base64");
        assert_eq!(
            request,
            format!(
                "GET /echo?of=gold HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Protocol: chat, superchat\r\nX-Feed: gold\r\n\r\n"
            )
        );
        session.send(far, &switching(&request, &["Sec-WebSocket-Protocol: superchat"]));
        assert!(keys.insert(key), "a key is fresh for each connection");
    }
    session.until("all are open", |world| world.counters().connected == 5);
    assert_eq!(session.world.journal().outgoing(), vec!["connected Some(\"superchat\")"; 5]);
}

fn every_frame_is_masked_with_a_key_of_its_own(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let far = opened(&mut session, "/echo");
    let mut keys = HashSet::new();
    for length in (0..300).chain([65_535, 65_536, 200_000]) {
        let text = "x".repeat(length);
        session.send(far, &wire::unmasked(TEXT, text.as_bytes()));
        session.send(far, &wire::unmasked(wire::PING, b"ping"));
        for _ in 0..2 {
            let (frame, key) = session.masked_frame(far);
            keys.insert(key);
            match frame.first {
                TEXT => assert!(frame.payload == text.as_bytes(), "{length} bytes"),
                // Where the socket does not take all of the echo it comes before it.
                first => assert_eq!((first, &*frame.payload), (wire::PONG, &b"ping"[..])),
            }
        }
    }
    // Of 606 keys two may be the same by chance, once in 23,000 times; three once in 10^13.
    assert!(keys.len() >= 605, "{} different keys", keys.len());
    assert!(!keys.contains(&[0; 4]));
}

fn refusal_is_told_after_the_last_address(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let (one, two) = (session.world.nobody(), session.world.nobody());
    session.say(caller, &format!("connect {one},{two} /echo"));
    session.counted("failures", 1, |counters| counters.connect_failures);
    let outgoing = session.world.journal().outgoing();
    assert!(outgoing.len() == 1 && outgoing[0].contains("ConnectionRefused"), "{outgoing:?}");
    session.say(caller, "connect , /echo");
    session.counted("failures", 2, |counters| counters.connect_failures);
    assert_eq!(session.world.journal().outgoing()[1], "NoAddress");
    session.counted("connections", 1, |counters| counters.connections_now);
}

fn next_address_is_tried(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let (nobody, far) = (session.world.nobody(), session.world.far());
    session.say(caller, &format!("connect {nobody},{nobody},{far} /echo"));
    let far = session.pick_up();
    let request = session.head(far);
    session.send(far, &switching(&request, &[]));
    session.send(far, &wire::unmasked(TEXT, b"echo"));
    assert_eq!(session.masked_frame(far).0.payload, b"echo");
    session.counted("connections", 1, |counters| counters.outgoing_now);
}

fn deaf_address_is_given_up_at_its_deadline(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let deaf = session.world.deaf();
    session.say(caller, &format!("connect {deaf},{deaf} /echo"));
    // Each address has its own ten seconds.
    session.world.advance(Duration::from_millis(10_040));
    session.world.advance(Duration::from_millis(9_960));
    session.counted("connections", 1, |counters| counters.outgoing_now);
    session.world.advance(Duration::from_millis(200));
    assert_eq!(session.world.journal().outgoing(), ["ConnectTimeout"]);
    session.counted("connections", 0, |counters| counters.outgoing_now);
}
