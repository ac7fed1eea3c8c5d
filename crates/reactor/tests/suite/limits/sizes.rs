//! Limits of bytes.

use tickwire_protocol::Kind;

use super::around;
use crate::application::numbered;
use crate::session::Session;
use crate::wire::{self, BINARY, BINARY_BEGINS, ENDS};
use crate::world::{Place, Seed, Setup, World};

pub(super) fn request_bytes_max(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for (bytes, is_within) in around(8 * 1024) {
        let peer = session.connect();
        let rest = bytes - wire::request("/echo", &["X: "]).len();
        session.send(peer, &wire::request("/echo", &[&format!("X: {}", "x".repeat(rest))]));
        if is_within {
            assert!(session.head(peer).starts_with("HTTP/1.1 101 "), "{bytes} bytes");
            session.part(peer);
        } else {
            assert_eq!(session.answer(peer).0, 431, "{bytes} bytes");
        }
    }
    session.counted("refusals", 1, |counters| counters.refused);
}

/// In one frame, and in two that are both shorter.
pub(super) fn message_bytes_max(place: &impl Place) {
    const LIMIT: u64 = 1_000;
    let setup = Setup::with_limits(|limits| limits.protocol.message_bytes_max = LIMIT);
    let mut session = Session::start(place, setup);
    for (bytes, is_within) in around(1_000) {
        let payload = numbered(0, bytes as u64).into_bytes();
        let (first, second) = payload.split_at(600);
        let parts = [wire::frame(BINARY_BEGINS, first), wire::frame(ENDS, second)].concat();
        for message in [wire::frame(BINARY, &payload), parts] {
            let peer = session.open("/echo");
            session.send(peer, &message);
            if is_within {
                assert_eq!(session.frame(peer).payload, payload);
                session.part(peer);
            } else {
                assert_eq!(session.closed(peer).0, 1009, "{bytes} bytes");
                session.ended(peer);
            }
        }
    }
    session.counted("failures", 2, |counters| counters.failed);
}

/// What a handler says in one turn, with the header of its frame.
pub(super) fn unsent_bytes_max(place: &impl Place) {
    const HEADER: usize = 4;
    let setup = Setup::with_limits(|limits| {
        limits.unsent_bytes_max = 1_000;
        // There is always room for two of the largest messages.
        limits.protocol.message_bytes_max = 300;
    });
    let mut session = Session::start(place, setup);
    for (bytes, is_within) in around(1_000) {
        let peer = session.open("/script");
        session.say(peer, &format!("send 1 {}", bytes - HEADER));
        assert_eq!(session.heard(peer).len(), bytes - HEADER);
        if is_within {
            session.part(peer);
        } else {
            let (code, reason) = session.closed(peer);
            assert_eq!(code, 1008);
            assert!(reason.contains("too much unsent"), "{reason}");
        }
    }
}

/// The peer reads nothing, so all that is echoed stays; with one byte too many nothing more is received.
pub(super) fn unsent_pause_bytes(place: &Seed) {
    const FIRST: usize = 12;
    const HEADER: usize = 4;
    for (bytes, is_within) in around(1_000) {
        let setup = Setup::with_limits(|limits| limits.unsent_pause_bytes = 1_000);
        let mut session = Session::start(place, setup);
        let peer = session.open("/echo");
        session.world.set_window(peer, 0);
        let rest = bytes - FIRST - HEADER;
        for length in [FIRST - 2, rest] {
            assert!(session.push(peer, &wire::text(&"x".repeat(length))));
        }
        assert_eq!(session.push(peer, &wire::text("more")), is_within, "{bytes} bytes");
        session.world.set_window(peer, usize::MAX);
        for length in [FIRST - 2, rest, 4] {
            assert_eq!(session.heard(peer).len(), length);
        }
        session.part(peer);
    }
}

/// Publications that a peer is owed which reads nothing.
pub(super) fn log_bytes_max(place: &Seed) {
    const FRAME: usize = 102;
    for (bytes, is_within) in around(10 * FRAME) {
        // Ten publications are what there is; it is the limit that varies.
        let limit = 20 * FRAME - bytes;
        let setup = Setup::with_limits(|limits| limits.log_bytes_max = limit);
        let mut session = Session::start(place, setup);
        let peer = session.open("/script");
        session.say(peer, "subscribe news");
        assert_eq!(session.heard(peer), "subscribed after 0");
        session.world.set_window(peer, 0);
        let publisher = session.world.publisher();
        for number in 0..10 {
            publisher.publish(
                &publisher.topic("news"),
                Kind::Text,
                numbered(number, 100).as_bytes(),
            );
            session.world.settle();
        }
        session.counted("overruns", u64::from(!is_within), |counters| counters.overruns);
        session.world.set_window(peer, usize::MAX);
        if !is_within {
            assert_eq!(session.closed(peer), (1008, "slow consumer".to_owned()));
            continue;
        }
        for number in 0..10 {
            assert_eq!(session.heard(peer), numbered(number, 100));
        }
        session.part(peer);
    }
}

/// A request that stays unfinished is what is held.
pub(super) fn memory_max(place: &Seed) {
    let held = |memory_max: Option<usize>| {
        let setup = Setup::with_limits(|limits| limits.memory_max = memory_max);
        let mut session = Session::start(place, setup);
        let peer = session.connect();
        let request = wire::request("/echo", &[&"x".repeat(1_000)]);
        session.send(peer, &request[..1_000]);
        session.delivered();
        let counters = session.world.counters();
        if counters.evicted > 0 {
            assert_eq!(session.answer(peer).0, 503);
        }
        (usize::try_from(counters.receiving_bytes_now).expect("kilobytes"), counters.evicted)
    };
    let (enough, _) = held(None);
    assert!(enough >= 1_000);
    assert_eq!(held(Some(enough + 1)), (enough, 0));
    assert_eq!(held(Some(enough)), (enough, 0));
    assert_eq!(held(Some(enough - 1)), (0, 1), "whoever holds too much is closed");
}
