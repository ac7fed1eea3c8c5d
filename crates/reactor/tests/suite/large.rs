//! Large publications to many connections: whichever way the bytes take, each reader gets its own.

use tickwire_protocol::Kind;

use crate::session::Session;
use crate::world::loopback::Sockets;
use crate::world::{Peer, Place, Setup, World, in_each_world};

in_each_world!(large_publications_are_whole);

mod on_epoll_alone {
    use crate::world::Loopback;

    #[test]
    fn what_a_slow_reader_has_not_taken_is_never_written_over() {
        super::what_a_slow_reader_has_not_taken_is_never_written_over(&Loopback::EPOLL);
    }

    #[test]
    fn turns_full_of_small_publications_are_whole() {
        super::turns_full_of_small_publications_are_whole(&Loopback::EPOLL);
    }
}

/// Bytes that no other publication has in the same places.
fn body(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + number * 7 + at / 256) % 251).to_le_bytes()[0]).collect()
}

fn subscribe<W: World>(session: &mut Session<W>, peer: Peer) {
    session.say(peer, "subscribe large");
    assert_eq!(session.heard(peer), "subscribed after 0");
}

fn expect<W: World>(session: &mut Session<W>, peer: Peer, body: &[u8]) {
    let payload = session.frame(peer).payload;
    assert!(payload == body, "{peer:?}: {} bytes that begin {:?}", payload.len(), &payload[..1]);
}

fn large_publications_are_whole(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let large = publisher.topic("large");
    let peers: Vec<Peer> = (0..7).map(|_| session.open("/script")).collect();
    peers.iter().for_each(|peer| subscribe(&mut session, *peer));
    for (number, length) in [1, 3_996, 4_000, 4_096, 5_000, 16_384, 70_000].into_iter().enumerate()
    {
        let batch = publisher.batch();
        for number in [number, number + 100] {
            batch.publish_with(&large, Kind::Binary, |_, message, _| {
                message.extend_from_slice(&body(number, length));
            });
        }
        drop(batch);
        for peer in &peers {
            expect(&mut session, *peer, &body(number, length));
            expect(&mut session, *peer, &body(number + 100, length));
        }
    }
    peers.into_iter().for_each(|peer| session.part(peer));
}

/// As many as it takes for a body to be sent from a file.
const READERS: usize = 140;

/// More than a file holds, so that files are closed of which sockets still have pages.
const BODIES: usize = 300;
const LENGTH: usize = 16_000;

fn what_a_slow_reader_has_not_taken_is_never_written_over(place: &impl Place<World = Sockets>) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let large = publisher.topic("large");
    let prompt: Vec<Peer> = (0..READERS).map(|_| session.open("/script")).collect();
    prompt.iter().for_each(|peer| subscribe(&mut session, *peer));
    let slow = [(); 3].map(|()| {
        let peer = session.connect_narrow();
        session.upgrade(peer, "/script");
        subscribe(&mut session, peer);
        peer
    });
    for number in 0..BODIES {
        let body = body(number, LENGTH);
        publisher.publish(&large, Kind::Binary, &body);
        for peer in &prompt {
            expect(&mut session, *peer, &body);
        }
        if number % 100 == 0 {
            // One of them reads now and then.
            expect(&mut session, slow[0], &self::body(number / 100, LENGTH));
        }
    }
    for (index, peer) in slow.into_iter().enumerate() {
        for number in if index == 0 { BODIES / 100 } else { 0 }..BODIES {
            expect(&mut session, peer, &body(number, LENGTH));
        }
        session.part(peer);
    }
    session.until("the counters are those of the last turn", |world| {
        world.counters().mirrored_bytes >= (BODIES * LENGTH) as u64
    });
    prompt.into_iter().for_each(|peer| session.part(peer));
}

/// Of which as many in a turn are sent from a file as a large one would be.
const SMALL: usize = 125;

fn turns_full_of_small_publications_are_whole(place: &impl Place<World = Sockets>) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let large = publisher.topic("large");
    let peers: Vec<Peer> = (0..READERS).map(|_| session.open("/script")).collect();
    peers.iter().for_each(|peer| subscribe(&mut session, *peer));
    let mut rounds = 0;
    // A turn may take a part of a batch only, so that it is too little for a file.
    while session.world.counters().mirrored_bytes == 0 || rounds < 5 {
        rounds += 1;
        assert!(rounds < 1_000, "nothing was sent from a file");
        let batch = publisher.batch();
        for number in 0..64 {
            batch.publish_with(&large, Kind::Binary, |_, message, _| {
                message.extend_from_slice(&body(rounds + number, SMALL));
            });
        }
        drop(batch);
        for peer in &peers {
            for number in 0..64 {
                expect(&mut session, *peer, &body(rounds + number, SMALL));
            }
        }
    }
    peers.into_iter().for_each(|peer| session.part(peer));
}
