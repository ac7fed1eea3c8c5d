//! Connections that come and go: what is over reaches nobody, and leaves nothing behind.

use tickwire_protocol::{CloseCode, Kind};

use crate::session::Session;
use crate::wire;
use crate::world::{Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    connections_come_and_go_without_a_trace,
    names_are_never_given_twice,
    what_is_meant_for_an_old_connection_reaches_no_new_one,
    publications_for_an_old_connection_reach_no_new_one,
    many_connections_are_served_at_once,
    connection_that_says_nothing_is_nothing,
);

in_simulation!(
    peer_that_is_gone_before_it_is_accepted_leaves_no_trace,
    bytes_behind_a_reset_are_lost
);

fn connections_come_and_go_without_a_trace(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    for round in 0..25 {
        let peers: Vec<_> = (0..5).map(|_| session.open("/script")).collect();
        for (index, peer) in peers.iter().enumerate() {
            session.say(*peer, "subscribe news");
            session.say(*peer, "timer 10000");
            assert_eq!(session.heard(*peer), format!("subscribed after {round}"));
            match index {
                0 => session.part(*peer),
                1 => session.world.reset(*peer),
                2 => {
                    session.world.end(*peer);
                    session.ended(*peer);
                }
                3 => {
                    session.send(*peer, b"\x81\x00");
                    assert_eq!(session.closed(*peer).0, 1002);
                    session.world.end(*peer);
                }
                _ => {
                    session.say(*peer, "close 4000");
                    assert_eq!(session.closed(*peer).0, 4000);
                    session.send(*peer, &wire::close(4000, ""));
                    session.ended(*peer);
                }
            }
        }
        session.until("all are gone", |world| world.counters().connections_now == 0);
        session.until("nobody is subscribed", |_| !news.has_subscribers());
        publisher.publish(&news, Kind::Text, b"nobody hears this");
        assert_eq!(publisher.outstanding(), 0);
    }
    session.counted("accepted", 125, |counters| counters.accepted);
    session.counted("lost", 50, |counters| counters.lost);
    session.counted("closed", 50, |counters| counters.closed);
    session.counted("failed", 25, |counters| counters.failed);
}

fn names_are_never_given_twice(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for _ in 0..30 {
        let peer = session.open("/echo");
        session.part(peer);
        session.until("it is gone", |world| world.counters().connections_now == 0);
    }
    let mut names: Vec<_> =
        session.world.journal().opened().iter().map(|id| format!("{id}")).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 30);
}

fn what_is_meant_for_an_old_connection_reaches_no_new_one(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    for round in 0..30 {
        let old = session.open("/echo");
        let old_id = session.last_id();
        // On its way while the slot changes hands.
        if round % 2 == 0 {
            session.world.reset(old);
        } else {
            session.part(old);
        }
        publisher.send(old_id, Kind::Text, b"for the old one");
        publisher.close(old_id, CloseCode(4000), "for the old one");
        let new = session.open("/echo");
        publisher.send(old_id, Kind::Text, b"for the old one");
        publisher.close(old_id, CloseCode(4000), "for the old one");
        session.say(new, "for the new one");
        assert_eq!(session.heard(new), "for the new one");
        session.part(new);
    }
}

fn publications_for_an_old_connection_reach_no_new_one(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    for _ in 0..30 {
        let old = session.open("/script");
        session.say(old, "subscribe news");
        assert!(session.heard(old).starts_with("subscribed"));
        for _ in 0..10 {
            publisher.publish(&news, Kind::Text, b"news");
        }
        session.world.reset(old);
        for _ in 0..10 {
            publisher.publish(&news, Kind::Text, b"news");
        }
        let new = session.open("/script");
        session.say(new, "word");
        assert_eq!(session.heard(new), "word");
        session.part(new);
    }
}

fn many_connections_are_served_at_once(place: &impl Place) {
    const PEERS: usize = 200;
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let peers: Vec<_> = (0..PEERS).map(|_| session.connect()).collect();
    for peer in &peers {
        session.send(*peer, &[wire::request("/echo", &[]), wire::text("first")].concat());
    }
    for (index, peer) in peers.iter().enumerate() {
        assert!(session.head(*peer).starts_with("HTTP/1.1 101 "));
        assert_eq!(session.heard(*peer), "first");
        session.say(*peer, &format!("{index}"));
    }
    for (index, peer) in peers.iter().enumerate() {
        assert_eq!(session.heard(*peer), format!("{index}"));
    }
    session.counted("connections", PEERS as u64, |counters| counters.connections_now);
}

fn connection_that_says_nothing_is_nothing(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let (ends, goes) = (session.connect(), session.connect());
    session.until("both are accepted", |world| world.counters().accepted == 2);
    session.world.end(ends);
    session.ended(ends);
    session.world.reset(goes);
    session.until("both are gone", |world| world.counters().connections_now == 0);
    session.counted("losses", 0, |counters| counters.lost);
}

fn peer_that_is_gone_before_it_is_accepted_leaves_no_trace(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let (ends, goes) = (session.connect(), session.connect());
    session.send(ends, &wire::request("/echo", &[]));
    session.world.end(ends);
    session.send(goes, &wire::request("/echo", &[]));
    session.world.reset(goes);
    assert!(session.head(ends).starts_with("HTTP/1.1 101 "));
    session.ended(ends);
    session.until("both are gone", |world| world.counters().connections_now == 0);
    session.counted("upgrades", 1, |counters| counters.upgraded);
}

fn bytes_behind_a_reset_are_lost(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    session.say(peer, "word");
    session.world.reset(peer);
    session.until("it is gone", |world| world.counters().connections_now == 0);
    session.counted("messages", 0, |counters| counters.received_messages);
}
