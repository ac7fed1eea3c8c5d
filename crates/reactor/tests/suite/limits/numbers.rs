//! Limits of things that are counted.

use std::net::Ipv4Addr;
use std::time::Duration;

use tickwire_protocol::Kind;

use super::around;
use super::times::{GRAIN, TICK};
use crate::outgoing::{called, dial, switching};
use crate::session::Session;
use crate::wire::{self, ENDS, GOES_ON, PING, PONG, TEXT_BEGINS};
use crate::world::{Peer, Place, Seed, Setup, World};

pub(super) fn request_headers_max(place: &impl Place) {
    const OTHERS: usize = 5;
    let mut session = Session::start(place, Setup::default());
    for (lines, is_within) in around(64) {
        let peer = session.connect();
        session.send(peer, &wire::request("/echo", &vec!["X: x"; lines - OTHERS]));
        if is_within {
            assert!(session.head(peer).starts_with("HTTP/1.1 101 "), "{lines} lines");
            session.part(peer);
        } else {
            assert_eq!(session.answer(peer).0, 431, "{lines} lines");
        }
    }
    session.counted("refusals", 1, |counters| counters.refused);
}

pub(super) fn empty_fragments_max(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for (count, is_within) in around(1_024) {
        let peer = session.open("/echo");
        let empty = wire::frame(GOES_ON, b"").repeat(count);
        let message = [wire::frame(TEXT_BEGINS, b"a"), empty, wire::frame(ENDS, b"z")].concat();
        session.send(peer, &message);
        if is_within {
            assert_eq!(session.heard(peer), "az", "{count} empty ones");
            session.part(peer);
        } else {
            assert_eq!(session.closed(peer).0, 1008, "{count} empty ones");
        }
    }
    session.counted("failures", 1, |counters| counters.failed);
}

pub(super) fn patterns_per_connection_max(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.patterns_per_connection_max = 5);
    let mut session = Session::start(place, setup);
    for (count, is_within) in around(5) {
        let peer = session.open("/script");
        for number in 1..=count {
            session.say(peer, &format!("watch {number}.*"));
            let expected = if number < count || is_within {
                "watching"
            } else {
                "refused TooManyPatterns { max: 5 }"
            };
            assert_eq!(session.heard(peer), expected, "{number} of {count}");
        }
        session.part(peer);
    }
}

pub(super) fn pattern_topics_max(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.pattern_topics_max = 5);
    let mut session = Session::start(place, setup);
    let publisher = session.world.publisher();
    for (count, is_within) in around(5) {
        let name = |number: usize| format!("{count}.{number}");
        let topics: Vec<_> = (0..count).map(|number| publisher.topic(&name(number))).collect();
        let peer = session.open("/script");
        session.say(peer, &format!("watch {count}.*"));
        let held: String = topics.iter().map(|topic| format!(" {}@0", topic.name())).collect();
        let expected = if is_within {
            format!("watching{held}")
        } else {
            "refused TooManyTopics { max: 5 }".to_owned()
        };
        assert_eq!(session.heard(peer), expected, "{count} topics");
        session.part(peer);
    }
}

pub(super) fn pings_per_second_max(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.pings_per_second_max = 5);
    let mut session = Session::start(place, setup);
    for (count, is_within) in around(5) {
        let peer = session.open("/echo");
        session.send(peer, &wire::frame(PING, b"ping").repeat(count));
        for _ in 0..count {
            assert_eq!(session.frame(peer).first, PONG);
        }
        if is_within {
            session.part(peer);
        } else {
            assert_eq!(session.closed(peer), (1008, "too many pings in a second".to_owned()));
        }
    }
    session.counted("floods", 1, |counters| counters.ping_floods);
}

/// Connects up to the limit; what the next is answered.
fn beyond<W: World>(session: &mut Session<W>, limit: usize) -> u16 {
    let from = Ipv4Addr::new(127, 0, 0, 2);
    let within: Vec<Peer> = (0..limit).map(|_| session.connect_from(from)).collect();
    for peer in &within {
        session.upgrade(*peer, "/echo");
    }
    let one_more = session.connect_from(from);
    let (status, answer) = session.answer(one_more);
    assert!(answer.contains("\r\nRetry-After: 5\r\n"), "{answer}");
    for peer in within {
        session.part(peer);
    }
    status
}

pub(super) fn connections_max(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.connections_max = 3);
    let mut session = Session::start(place, setup);
    assert_eq!(beyond(&mut session, 3), 503);
    session.counted("refusals for want of places", 1, |counters| counters.refused_full);
    session.counted("upgrades", 3, |counters| counters.upgraded);
}

pub(super) fn connections_per_address_max(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.connections_per_address_max = Some(3));
    let mut session = Session::start(place, setup);
    assert_eq!(beyond(&mut session, 3), 429);
    session.counted("refusals of addresses", 1, |counters| counters.refused_address);
    session.counted("upgrades", 3, |counters| counters.upgraded);
}

pub(super) fn outgoing_max(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.outgoing_max = 2);
    let mut session = Session::start(place, setup);
    for _ in 0..2 {
        let (far, request) = called(&mut session, "/echo");
        session.send(far, &switching(&request, &[]));
    }
    session.counted("WebSockets", 2, |counters| counters.connected);
    dial(&mut session, "/echo");
    session.counted("failures", 1, |counters| counters.connect_failures);
    assert_eq!(session.world.journal().outgoing()[2], "TooMany");
}

/// What waits counts, and what is refused is given back at once: it is not a failure later.
pub(super) fn outgoing_waiting_max(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.outgoing_waiting_max = 3);
    let mut session = Session::start(place, setup);
    let caller = session.open("/script");
    for (count, is_within) in [(1, true), (2, true), (3, true), (4, false), (5, false)] {
        session.say(caller, "connect-after 1000 /echo");
        session.say(caller, "done");
        assert_eq!(session.heard(caller), "done");
        let refused = session.world.journal().outgoing();
        assert_eq!(refused.is_empty(), is_within, "{count} wait: {refused:?}");
        assert!(refused.iter().all(|error| error == "TooManyWaiting"), "{refused:?}");
    }
    session.counted("failures", 0, |counters| counters.connect_failures);
    // Who waited is told of a shutdown, and nobody else.
    session.world.shutdown();
    session.until("it is told", |world| world.counters().connect_failures == 3);
    assert_eq!(session.world.journal().outgoing()[2..], ["ShuttingDown"; 3]);
}

/// A handler that publishes in one turn, to its own shard, which takes its mail behind that.
pub(super) fn mailbox_letters_max(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.mailbox_letters_max = 8);
    let mut session = Session::start(place, setup);
    let peer = session.open("/script");
    session.say(peer, "subscribe news");
    assert_eq!(session.heard(peer), "subscribed after 0");
    for (count, is_within) in around(8) {
        session.say(peer, &format!("fill {count} news"));
        let refused = usize::from(!is_within);
        assert_eq!(session.heard(peer), format!("refused {refused} of {count}"));
        for _ in 0..count - refused {
            assert_eq!(session.heard(peer), "full of news");
        }
    }
    session.part(peer);
}

pub(super) fn letters_per_turn_max(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.letters_per_turn_max = 4);
    let mut session = Session::start(place, setup);
    let peer = session.open("/script");
    session.say(peer, "subscribe news");
    assert_eq!(session.heard(peer), "subscribed after 0");
    let publisher = session.world.publisher();
    for (count, is_within) in around(4) {
        session.world.settle();
        let before = session.world.counters().publications;
        for _ in 0..count {
            publisher.publish(&publisher.topic("news"), Kind::Text, b"news");
        }
        session.world.simulation.turn();
        let taken = session.world.counters().publications - before;
        assert_eq!(taken, if is_within { count as u64 } else { 4 });
        for _ in 0..count {
            assert_eq!(session.heard(peer), "news");
        }
    }
    session.part(peer);
}

/// Publications that a peer is owed which reads nothing.
pub(super) fn log_entries_max(place: &Seed) {
    for (count, is_within) in around(10) {
        let setup = Setup::with_limits(|limits| limits.log_entries_max = 10);
        let mut session = Session::start(place, setup);
        let peer = session.open("/script");
        session.say(peer, "subscribe news");
        assert_eq!(session.heard(peer), "subscribed after 0");
        session.world.set_window(peer, 0);
        let publisher = session.world.publisher();
        for _ in 0..count {
            publisher.publish(&publisher.topic("news"), Kind::Text, b"news");
            session.world.settle();
        }
        session.counted("overruns", u64::from(!is_within), |counters| counters.overruns);
        session.world.set_window(peer, usize::MAX);
        if !is_within {
            assert_eq!(session.closed(peer), (1008, "slow consumer".to_owned()));
            continue;
        }
        for _ in 0..count {
            assert_eq!(session.heard(peer), "news");
        }
        session.part(peer);
    }
}

/// One comes at once, the next when its part of a second is over: earlier by what a shard may be late.
pub(super) fn accepts_per_second_max(place: &Seed) {
    const LATE: Duration = Duration::from_millis(40);
    let setup = Setup::with_limits(|limits| limits.accepts_per_second_max = Some(2));
    let mut session = Session::start(place, setup);
    for _ in 0..3 {
        session.connect();
    }
    session.counted("accepted", 1, |counters| counters.accepted);
    let mut passed = Duration::ZERO;
    for count in [1_u64, 2] {
        let due = Duration::from_millis(500 * count);
        let before = due - LATE - TICK;
        session.world.advance(before - passed);
        session.counted("accepted", count, |counters| counters.accepted);
        passed = due + GRAIN;
        session.world.advance(passed - before);
        session.counted("accepted", count + 1, |counters| counters.accepted);
    }
}
