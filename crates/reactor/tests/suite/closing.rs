//! The closing handshake (RFC 6455 section 7) from both sides, and ends without one.

use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::Ended;

use crate::application::{Entry, numbered};
use crate::session::Session;
use crate::wire;
use crate::world::{Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    close_of_the_peer_is_echoed_and_the_server_ends_the_connection,
    close_of_the_server_waits_for_the_peers,
    last_words_leave_before_the_close,
    nothing_is_delivered_after_a_close,
    peer_that_goes_without_a_close_is_lost,
    handler_cannot_speak_after_the_end,
    publisher_closes_a_connection_by_its_name,
    close_by_a_publisher_comes_behind_what_it_said_before,
);

in_simulation!(
    peer_that_talks_on_behind_our_close_is_dropped_at_some_bytes,
    peer_that_never_answers_a_close_is_dropped,
    peer_that_never_ends_its_stream_is_dropped,
    peer_that_drips_instead_of_closing_is_dropped,
);

fn close_of_the_peer_is_echoed_and_the_server_ends_the_connection(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for code in [1000, 1001, 1002, 1003, 1007, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        let peer = session.open("/echo");
        session.send(peer, &wire::close(code, "r\u{e9}ason"));
        assert_eq!(session.closed(peer), (if code == 1010 { 1000 } else { code }, String::new()));
        session.ended(peer);
        let code = CloseCode(code);
        let ended = session.world.journal().closed();
        assert_eq!(ended.last(), Some(&Ended::ByPeer(Some(code))));
    }
    let peer = session.open("/echo");
    session.send(peer, &wire::frame(wire::CLOSE, b""));
    let frame = session.frame(peer);
    assert_eq!((frame.first, &*frame.payload), (wire::CLOSE, &b""[..]), "empty for empty");
    session.ended(peer);
    assert_eq!(session.world.journal().closed().last(), Some(&Ended::ByPeer(None)));
}

fn close_of_the_server_waits_for_the_peers(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    session.say(peer, "close 4001 you asked for it");
    assert_eq!(session.closed(peer), (4001, "you asked for it".to_owned()));
    session.counted("connections", 1, |counters| counters.connections_now);
    session.send(peer, &wire::close(4001, ""));
    session.ended(peer);
    let closed = session.world.journal().closed();
    assert_eq!(closed, [Ended::ByUs(CloseCode(4001))]);
    session.counted("closes", 1, |counters| counters.closed);
}

fn last_words_leave_before_the_close(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    session.send(
        peer,
        &[wire::text("send 100 10000"), wire::text("word"), wire::text("close 1000 bye")].concat(),
    );
    let mut heard = Vec::new();
    let mut frame = session.frame(peer);
    while frame.first == wire::TEXT {
        heard.push(String::from_utf8(frame.payload).expect("text"));
        frame = session.frame(peer);
    }
    assert_eq!((frame.first, &*frame.payload), (wire::CLOSE, &b"\x03\xe8bye"[..]));
    let mut due: Vec<_> = (0..100).map(|number| numbered(number, 10_000)).collect();
    due.push("word".to_owned());
    // Those too that a socket did not take at once.
    assert!(due == heard, "{} messages", heard.len());
    session.send(peer, &wire::close(1000, ""));
    session.ended(peer);
}

fn nothing_is_delivered_after_a_close(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let (by_peer, by_server) = (session.open("/script"), session.open("/script"));
    let behind = [wire::text("behind"), wire::frame(wire::PING, b"behind")].concat();
    session.send(by_peer, &[wire::close(1000, ""), behind.clone()].concat());
    session.send(by_server, &[wire::text("close 1000"), behind.clone()].concat());
    assert_eq!(session.closed(by_peer).0, 1000);
    session.ended(by_peer);
    assert_eq!(session.closed(by_server).0, 1000);
    session.send(by_server, &[behind, wire::close(1000, "")].concat());
    session.ended(by_server);
    session.counted("messages", 1, |counters| counters.received_messages);
}

fn peer_that_goes_without_a_close_is_lost(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let (half_closed, reset) = (session.open("/echo"), session.open("/echo"));
    session.world.end(half_closed);
    session.ended(half_closed);
    session.world.reset(reset);
    session.counted("losses", 2, |counters| counters.lost);
    assert_eq!(session.world.journal().closed(), [Ended::Lost, Ended::Lost]);
}

fn handler_cannot_speak_after_the_end(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let graves = session.world.publisher().topic("graves");
    let by_peer = session.open("/undead");
    session.send(by_peer, &wire::close(1000, ""));
    assert_eq!(session.closed(by_peer).0, 1000);
    session.ended(by_peer);
    let by_server = session.open("/undead");
    session.say(by_server, "close 4000");
    assert_eq!(session.closed(by_server).0, 4000);
    // Others go on, in this turn and in the next ones.
    let other = session.open("/script");
    for _ in 0..20 {
        session.say(other, "word");
        assert_eq!(session.heard(other), "word");
    }
    session.send(by_server, &wire::close(4000, ""));
    session.ended(by_server);
    assert!(!graves.has_subscribers());
    let timers = |entry: &Entry| matches!(entry, Entry::Timer(_));
    assert!(!session.world.journal().entries().iter().any(timers), "no callback after close");
}

fn publisher_closes_a_connection_by_its_name(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let peer = session.open("/echo");
    let id = session.last_id();
    publisher.close(id, CloseCode(4002), "from outside");
    assert_eq!(session.closed(peer), (4002, "from outside".to_owned()));
    publisher.close(id, CloseCode(4003), "twice");
    session.send(peer, &wire::close(4002, ""));
    session.ended(peer);
}

fn close_by_a_publisher_comes_behind_what_it_said_before(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    for round in 0..20 {
        let (peer, other) = (session.open("/script"), session.open("/script"));
        let id = session.last_id();
        for peer in [peer, other] {
            session.say(peer, "subscribe news");
            assert_eq!(session.heard(peer), format!("subscribed after {}", 2 * round));
        }
        publisher.send(id, Kind::Text, b"direct 1");
        publisher.publish(&news, Kind::Text, b"published 1");
        publisher.send(id, Kind::Text, b"direct 2");
        publisher.publish(&news, Kind::Text, b"published 2");
        publisher.close(id, CloseCode(4002), "that was all");
        publisher.send(id, Kind::Text, b"behind");
        let mut heard: Vec<String> = (0..4).map(|_| session.heard(other)).collect();
        // What goes to one connection and what goes to all are each in order.
        heard.sort();
        assert_eq!(heard, ["direct 1", "direct 2", "published 1", "published 2"]);
        assert_eq!(session.closed(other), (4002, "that was all".to_owned()));
        session.send(other, &wire::close(4002, ""));
        session.ended(other);
        assert_eq!([session.heard(peer), session.heard(peer)], ["published 1", "published 2"]);
        session.part(peer);
    }
}

fn peer_that_drips_instead_of_closing_is_dropped(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    session.say(peer, "close 4000");
    assert_eq!(session.closed(peer).0, 4000);
    let mut drips = wire::text(&numbered(0, 1_000)).into_iter();
    for tenths in 1..=51 {
        assert!(!session.world.is_closed(peer), "after {tenths} tenths of a second");
        session.send(peer, &[drips.next().expect("a long message")]);
        session.world.advance(Duration::from_millis(100));
    }
    assert!(session.world.is_closed(peer));
}

fn peer_that_never_answers_a_close_is_dropped(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    session.say(peer, "close 4000");
    assert_eq!(session.closed(peer).0, 4000);
    session.world.advance(Duration::from_millis(4_900));
    assert!(!session.world.is_closed(peer));
    session.world.advance(Duration::from_millis(200));
    assert!(session.world.is_closed(peer));
}

fn peer_that_never_ends_its_stream_is_dropped(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let (page, failed) = (session.connect(), session.open("/echo"));
    session.send(page, b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(session.answer(page).0, 200);
    session.send(failed, b"\x81\x00");
    assert_eq!(session.closed(failed).0, 1002);
    session.ended(failed);
    session.world.advance(Duration::from_millis(4_900));
    assert!(!session.world.is_closed(page) && !session.world.is_closed(failed));
    session.world.advance(Duration::from_millis(200));
    assert!(session.world.is_closed(page) && session.world.is_closed(failed));
}

fn peer_that_talks_on_behind_our_close_is_dropped_at_some_bytes(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    session.say(peer, "close 4000 enough");
    assert_eq!(session.closed(peer), (4000, "enough".to_owned()));
    let megabyte = wire::frame(wire::BINARY, &vec![0; 1024 * 1024 - 14]);
    for _ in 0..16 {
        session.send(peer, &megabyte);
    }
    session.delivered();
    assert_eq!(session.world.counters().connections_now, 1);
    session.send(peer, &megabyte);
    session.send(peer, &megabyte);
    session.until("it is dropped", |world| world.counters().connections_now == 0);
}
