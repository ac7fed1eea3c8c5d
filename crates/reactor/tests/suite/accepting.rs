//! How connections come in: which shard each becomes one of, and how many a second.

use std::time::Duration;

use tickwire_reactor::Balance;

use crate::session::Session;
use crate::wire;
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    connections_are_shared_out_evenly_and_serve_as_any_other,
    connections_of_one_shard_stay_where_they_are,
);

in_simulation!(
    connections_wait_when_their_number_in_a_second_is_limited,
    all_shards_share_one_rate,
    rate_holds_up_nobody_who_is_in,
    shards_are_even_again_when_connections_go,
);

/// How much fuller than the emptiest the fullest shard is.
fn unevenness<W: World>(world: &W) -> u64 {
    let counts = world.metrics().shards.into_iter().map(|shard| shard.connections_now);
    let counts: Vec<u64> = counts.collect();
    let (least, most) = (counts.iter().min(), counts.iter().max());
    most.zip(least).map_or(0, |(most, least)| most - least)
}

/// One shard gives to another when it has this many more, and then the next one stays.
const UNEVEN_MAX: u64 = 9;

fn least_loaded() -> Setup {
    Setup { balance: Balance::LeastLoaded, ..Setup::default() }
}

fn connections_are_shared_out_evenly_and_serve_as_any_other(place: &impl Place) {
    let mut session = Session::start(place, least_loaded().with_shards(3));
    let peers: Vec<Peer> = (0..90).map(|_| session.open("/script")).collect();
    session.until("it is even", |world| unevenness(world) <= UNEVEN_MAX);
    session.counted("connections", 90, |counters| counters.connections_now);
    session.counted("accepted", 90, |counters| counters.accepted);
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    for peer in &peers {
        session.say(*peer, "subscribe news");
        assert_eq!(session.heard(*peer), "subscribed after 0");
    }
    publisher.publish(&news, tickwire_protocol::Kind::Text, b"to all");
    for peer in &peers {
        assert_eq!(session.heard(*peer), "to all");
        session.part(*peer);
    }
    session.until("all are gone", |world| world.counters().connections_now == 0);
}

fn connections_of_one_shard_stay_where_they_are(place: &impl Place) {
    let mut session = Session::start(place, least_loaded());
    let peers: Vec<Peer> = (0..20).map(|_| session.open("/echo")).collect();
    session.counted("connections handed over", 0, |counters| counters.handed_over);
    for peer in peers {
        session.part(peer);
    }
}

fn shards_are_even_again_when_connections_go(place: &Seed) {
    let mut session = Session::start(place, least_loaded().with_shards(4));
    for round in 0..5 {
        let peers: Vec<Peer> = (0..200).map(|_| session.connect()).collect();
        session.counted("accepted", 200 * (round + 1), |counters| counters.accepted);
        assert!(unevenness(&session.world) <= UNEVEN_MAX, "round {round}");
        for peer in peers {
            session.world.reset(peer);
        }
        session.until("all are gone", |world| world.counters().connections_now == 0);
    }
    // As many as come to one shard by chance are more than it keeps.
    session.until("some were handed over", |world| world.counters().handed_over > 0);
}

fn rated(per_second: u32) -> Setup {
    Setup::with_limits(|limits| limits.accepts_per_second_max = Some(per_second))
}

fn connections_wait_when_their_number_in_a_second_is_limited(place: &Seed) {
    for rate in [5, 20] {
        let mut session = Session::start(place, rated(rate));
        let peers: Vec<Peer> = (0..100).map(|_| session.connect()).collect();
        for peer in &peers {
            session.send(*peer, &wire::request("/echo", &[]));
        }
        session.world.settle();
        let at_once = session.world.counters().accepted;
        assert!((1..=3).contains(&at_once), "{at_once}: a tenth of a second, or one");
        for second in 1..=4 {
            for _ in 0..20 {
                session.world.advance(Duration::from_millis(50));
            }
            let accepted = session.world.counters().accepted - at_once;
            let due = (second * u64::from(rate)).min(100 - at_once);
            assert!(accepted.abs_diff(due) <= 1, "{accepted} after {second} s");
        }
        let paused = session.world.counters().accept_pauses;
        assert!(paused > 0 && paused <= session.world.counters().accepted);
        for _ in 0..20 * 100 / rate {
            session.world.advance(Duration::from_millis(50));
        }
        session.counted("accepted", 100, |counters| counters.accepted);
        for peer in peers {
            assert!(session.head(peer).starts_with("HTTP/1.1 101 "));
        }
    }
}

fn all_shards_share_one_rate(place: &Seed) {
    for balance in [Balance::Kernel, Balance::LeastLoaded] {
        let setup = Setup { balance, ..rated(10) };
        let mut session = Session::start(place, setup.with_shards(4));
        for _ in 0..200 {
            session.connect();
        }
        for _ in 0..200 {
            session.world.advance(Duration::from_millis(50));
        }
        let accepted = session.world.counters().accepted;
        assert!((98..=106).contains(&accepted), "{accepted} in 10 s");
    }
}

fn rate_holds_up_nobody_who_is_in(place: &Seed) {
    let mut session = Session::start(place, rated(1));
    let peer = session.open("/echo");
    let waiting = session.connect();
    for _ in 0..10 {
        session.say(peer, "word");
        assert_eq!(session.heard(peer), "word");
    }
    session.counted("accepted", 1, |counters| counters.accepted);
    session.world.shutdown();
    session.world.advance(Duration::from_secs(2));
    session.counted("accepted", 1, |counters| counters.accepted);
    assert!(!session.has_arrived(waiting));
    assert_eq!(session.heard(peer), "goodbye");
}
