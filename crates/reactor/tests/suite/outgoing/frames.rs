//! An open connection to another server: masks, strictness, slow servers, topics.

use std::collections::HashSet;
use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::Ended;

use super::{called, opened, switching};
use crate::application::numbered;
use crate::session::Session;
use crate::wire::{self, BINARY, CLOSE, GOES_ON, PING, PONG, TEXT};
use crate::world::{Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    every_frame_is_masked_with_a_key_of_its_own,
    server_that_breaks_the_protocol_is_told_with_the_right_code,
    messages_and_closes_of_other_threads_are_masked,
    connection_of_ours_cannot_be_subscribed,
);

in_simulation!(
    silent_server_is_pinged_and_then_dropped,
    slow_server_gets_every_frame_whole_and_in_order,
    pong_overtakes_what_a_slow_server_has_not_read,
    masks_of_a_simulation_are_those_of_its_seed,
);

fn every_frame_is_masked_with_a_key_of_its_own(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.pings_per_second_max = u32::MAX);
    let mut session = Session::start(place, setup);
    let far = opened(&mut session, "/echo");
    let mut keys = HashSet::new();
    for length in (0..300).chain([65_535, 65_536, 200_000]) {
        let text = "x".repeat(length);
        session.send(far, &wire::unmasked(TEXT, text.as_bytes()));
        session.send(far, &wire::unmasked(PING, b"ping"));
        for _ in 0..2 {
            let (frame, key) = session.masked_frame(far);
            keys.insert(key);
            match frame.first {
                TEXT => assert!(frame.payload == text.as_bytes(), "{length} bytes"),
                // Where the socket does not take all of the echo it comes before it.
                first => assert_eq!((first, &*frame.payload), (PONG, &b"ping"[..])),
            }
        }
    }
    // Of 606 keys two may be the same by chance, once in 23,000 times; three once in 10^13.
    assert!(keys.len() >= 605, "{} different keys", keys.len());
    assert!(!keys.contains(&[0; 4]));
}

fn server_that_breaks_the_protocol_is_told_with_the_right_code(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let too_big = wire::header(BINARY, 1024 * 1024 + 1)[..10].to_vec();
    let unmasked_too_big = [&[too_big[0], too_big[1] & 0x7f], &too_big[2..]].concat();
    let cases: [(u16, Vec<u8>); 9] = [
        (1002, wire::text("masked")),
        (1002, wire::frame(PING, b"masked")),
        (1002, b"\xc1\x00".to_vec()),
        (1002, b"\x83\x00".to_vec()),
        (1002, wire::unmasked(GOES_ON, b"of nothing")),
        (1002, b"\x89\x7e\x00\x7e".to_vec()),
        (1007, wire::unmasked(TEXT, b"\xff")),
        (1009, unmasked_too_big),
        (1002, wire::unmasked(CLOSE, &1005_u16.to_be_bytes())),
    ];
    for (code, bytes) in cases {
        let far = opened(&mut session, "/echo");
        session.send(far, &bytes);
        let (frame, _) = session.masked_frame(far);
        assert_eq!(frame.first, CLOSE);
        assert_eq!(frame.payload[..2], code.to_be_bytes(), "{bytes:?}");
        // It is the server that ends the stream (RFC 6455 section 7.1.1).
        session.send(far, &wire::unmasked(CLOSE, &code.to_be_bytes()));
        session.world.end(far);
        session.ended(far);
        let closed = session.world.journal().closed();
        assert_eq!(closed.last(), Some(&Ended::ByUs(CloseCode(code))));
    }
    session.counted("failures", 9, |counters| counters.failed);
}

fn messages_and_closes_of_other_threads_are_masked(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let far = opened(&mut session, "/echo");
    session.counted("WebSockets", 1, |counters| counters.connected);
    let (id, publisher) = (session.last_id(), session.world.publisher());
    for length in [0, 125, 126, 65_535, 65_536] {
        let text = "y".repeat(length);
        publisher.send(id, Kind::Text, text.as_bytes());
        let (frame, _) = session.masked_frame(far);
        assert!(frame.first == TEXT && frame.payload == text.as_bytes(), "{length} bytes");
    }
    publisher.close(id, CloseCode(4000), "enough");
    let (frame, _) = session.masked_frame(far);
    assert_eq!((frame.first, &*frame.payload), (CLOSE, &b"\x0f\xa0enough"[..]));
    session.world.end(far);
    session.ended(far);
}

fn connection_of_ours_cannot_be_subscribed(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let topic = publisher.topic("gold");
    publisher.retain_with(&topic, Kind::Text, |_, value| value.extend_from_slice(b"as of 0"));
    let far = opened(&mut session, "/script");
    session.send(far, &wire::unmasked(TEXT, b"subscribe gold"));
    assert_eq!(session.masked_frame(far).0.payload, b"subscribed after 0");
    // What the topic holds can be passed on, masked as all else.
    assert_eq!(session.masked_frame(far).0.payload, b"as of 0");
    assert!(!topic.has_subscribers());
    publisher.publish(&topic, Kind::Text, b"update");
    session.send(far, &wire::unmasked(TEXT, b"unsubscribe gold"));
    assert_eq!(session.masked_frame(far).0.payload, b"unsubscribed false");
    // A subscriber of the same shard is none the worse.
    let peer = session.open("/script");
    session.say(peer, "subscribe gold");
    assert_eq!(session.heard(peer), "subscribed after 1");
    assert_eq!(session.heard(peer), "as of 0");
    publisher.publish(&topic, Kind::Text, b"update 2");
    assert_eq!(session.heard(peer), "update 2");
}

fn silent_server_is_pinged_and_then_dropped(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let far = opened(&mut session, "/echo");
    session.world.settle();
    session.world.advance(Duration::from_millis(20_040));
    let (frame, first) = session.masked_frame(far);
    assert_eq!((frame.first, &*frame.payload), (PING, &b""[..]));
    session.send(far, &wire::unmasked(PONG, b""));
    session.world.advance(Duration::from_millis(20_040));
    let (frame, second) = session.masked_frame(far);
    assert_eq!(frame.first, PING);
    assert_ne!(first, second);
    session.world.advance(Duration::from_millis(20_040));
    assert!(session.world.is_closed(far));
    assert_eq!(session.world.journal().closed().last(), Some(&Ended::Lost));
}

fn slow_server_gets_every_frame_whole_and_in_order(place: &Seed) {
    for window in [0, 1, 2, 3, 7, 100, 4_096] {
        let mut session = Session::start(place, Setup::default());
        let far = opened(&mut session, "/script");
        session.world.settle();
        session.world.set_window(far, window);
        session.send(far, &wire::unmasked(TEXT, b"send 20 130"));
        session.send(far, &wire::unmasked(TEXT, b"send 2 70000"));
        session.world.settle();
        session.world.set_window(far, 1_000);
        for (count, bytes) in [(20, 130), (2, 70_000)] {
            for number in 0..count {
                let (frame, _) = session.masked_frame(far);
                assert!(frame.payload == numbered(number, bytes).as_bytes(), "{number}");
            }
        }
        assert!(session.world.counters().short_sends > 0);
    }
}

fn pong_overtakes_what_a_slow_server_has_not_read(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let far = opened(&mut session, "/script");
    session.world.settle();
    session.world.set_window(far, 50);
    session.send(far, &wire::unmasked(TEXT, b"send 10 100"));
    session.world.settle();
    session.send(far, &wire::unmasked(PING, b"now"));
    session.world.settle();
    session.world.set_window(far, 100_000);
    let frames: Vec<_> = (0..11).map(|_| session.masked_frame(far).0).collect();
    let place = frames.iter().position(|frame| frame.first == PONG).expect("it is answered");
    assert!(place <= 1, "only the frame that was cut is before it: {place}");
    assert_eq!(frames[place].payload, b"now");
    let texts = frames.iter().filter(|frame| frame.first == TEXT);
    for (number, frame) in (0..).zip(texts) {
        assert_eq!(frame.payload, numbered(number, 100).as_bytes());
    }
}

fn masks_of_a_simulation_are_those_of_its_seed(place: &Seed) {
    let keys = |seed: u64| {
        let mut session = Session::start(&Seed(seed), Setup::default());
        let (far, request) = called(&mut session, "/script");
        session.send(far, &switching(&request, &[]));
        session.send(far, &wire::unmasked(TEXT, b"send 10 1"));
        let keys: Vec<_> = (0..10).map(|_| session.masked_frame(far).1).collect();
        (request, keys)
    };
    assert_eq!(keys(place.0), keys(place.0));
    assert_ne!(keys(place.0), keys(place.0 + 1));
}
