//! Who is let in: origins of pages, places of the server and of each address.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, subscriber};

use crate::session::Session;
use crate::wire;
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    pages_of_foreign_origins_are_refused_before_the_handler_is_asked,
    origin_matters_to_upgrades_only,
    places_are_those_of_the_whole_server,
    address_has_its_own_places,
    whoever_goes_gives_the_place_back,
);

in_simulation!(
    storm_of_the_turned_away_does_not_hold_descriptors,
    mistake_of_the_application_is_logged,
);

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

fn pages_of_foreign_origins_are_refused_before_the_handler_is_asked(place: &impl Place) {
    let same = ("same-origin", &["https://server.example.com", "http://server.example.com"][..]);
    let list = ("https://example.org,https://example.net", &["https://example.net"][..]);
    for (origins, welcome) in [same, list] {
        let mut session = Session::start(place, Setup { origins, ..Setup::default() });
        for origin in ["https://evil.example", "https://server.example.com.evil.example", "null"] {
            let peer = session.connect();
            let line = format!("Origin: {origin}");
            session.send(peer, &wire::request("/panic/request", &[&line]));
            assert_eq!(session.answer(peer).0, 403, "{origin}");
        }
        session.counted("foreign origins", 3, |counters| counters.refused_origin);
        session.counted("refusals", 3, |counters| counters.refused);
        session.counted("panics", 0, |counters| counters.panicked);
        for origin in welcome {
            let peer = session.connect();
            let line = format!("Origin: {origin}");
            session.send(peer, &wire::request("/echo", &[&line]));
            assert!(session.head(peer).starts_with("HTTP/1.1 101 "), "{origin}");
            session.part(peer);
        }
        let no_browser = session.open("/echo");
        session.part(no_browser);
    }
}

fn origin_matters_to_upgrades_only(place: &impl Place) {
    let setup = Setup { origins: "https://example.org", ..Setup::default() };
    let mut session = Session::start(place, setup);
    let peer = session.connect();
    session.send(peer, b"GET /page HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n\r\n");
    assert_eq!(session.answer(peer).0, 200);
}

/// A peer that is told that there is no place for it, with this status.
fn turned_away<W: World>(session: &mut Session<W>, from: Ipv4Addr, status: u16) -> Peer {
    let peer = session.connect_from(from);
    let (got, answer) = session.answer(peer);
    assert_eq!(got, status);
    assert!(answer.contains("\r\nRetry-After: 5\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    peer
}

fn open_from<W: World>(session: &mut Session<W>, from: Ipv4Addr) -> Peer {
    let peer = session.connect_from(from);
    session.upgrade(peer, "/echo");
    peer
}

fn places_are_those_of_the_whole_server(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.connections_max = 4).with_shards(3);
    let mut session = Session::start(place, setup);
    for _ in 0..3 {
        open_from(&mut session, FIRST);
    }
    session.counted("refusals", 0, |counters| counters.refused);
    let last = open_from(&mut session, FIRST);
    for from in [FIRST, SECOND] {
        let peer = turned_away(&mut session, from, 503);
        session.world.end(peer);
    }
    session.counted("refusals for want of places", 2, |counters| counters.refused_full);
    session.counted("refusals", 2, |counters| counters.refused);
    session.counted("refusals of addresses", 0, |counters| counters.refused_address);
    session.until("who was turned away is gone", |world| world.counters().connections_now == 4);
    session.part(last);
    session.until("a place is free", |world| world.counters().connections_now == 3);
    open_from(&mut session, SECOND);
    turned_away(&mut session, FIRST, 503);
}

fn address_has_its_own_places(place: &impl Place) {
    let setup = Setup::with_limits(|limits| {
        limits.connections_max = 4;
        limits.connections_per_address_max = Some(2);
    });
    let mut session = Session::start(place, setup.with_shards(3));
    open_from(&mut session, FIRST);
    open_from(&mut session, FIRST);
    turned_away(&mut session, FIRST, 429);
    open_from(&mut session, SECOND);
    open_from(&mut session, SECOND);
    // All places of the server are taken: that is said first, it is not for the peer to mend.
    turned_away(&mut session, SECOND, 503);
    session.counted("refusals of addresses", 1, |counters| counters.refused_address);
    session.counted("refusals for want of places", 1, |counters| counters.refused_full);
}

fn whoever_goes_gives_the_place_back(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.connections_per_address_max = Some(1));
    let mut session = Session::start(place, setup);
    for (number, way) in (0..).zip(Way::ALL) {
        let peer = session.connect_from(FIRST);
        session.counted("accepted", 2 * number + 1, |counters| counters.accepted);
        let second = turned_away(&mut session, FIRST, 429);
        session.world.end(second);
        go(&mut session, peer, way);
        session.until("both are gone", |world| world.counters().connections_now == 0);
    }
}

/// How a connection ends.
#[derive(Clone, Copy)]
enum Way {
    Close,
    Reset,
    ResetBeforeTheRequest,
    EndBeforeTheRequest,
    RefusedHandshake,
    Page,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Close,
        Self::Reset,
        Self::ResetBeforeTheRequest,
        Self::EndBeforeTheRequest,
        Self::RefusedHandshake,
        Self::Page,
    ];
}

fn go<W: World>(session: &mut Session<W>, peer: Peer, way: Way) {
    match way {
        Way::Close => {
            session.upgrade(peer, "/echo");
            session.part(peer);
        }
        Way::Reset => {
            session.upgrade(peer, "/echo");
            session.world.reset(peer);
        }
        Way::ResetBeforeTheRequest => session.world.reset(peer),
        Way::EndBeforeTheRequest => session.world.end(peer),
        Way::RefusedHandshake => {
            session.send(peer, b"POST /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
            assert_eq!(session.answer(peer).0, 405);
            session.world.end(peer);
        }
        Way::Page => {
            session.send(peer, b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(session.answer(peer).0, 200);
            session.world.end(peer);
        }
    }
}

fn storm_of_the_turned_away_does_not_hold_descriptors(place: &Seed) {
    const TURNED_AWAY_MAX: usize = 1_024;
    let setup = Setup::with_limits(|limits| limits.connections_max = 1);
    let mut session = Session::start(place, setup);
    let inside = session.open("/echo");
    let told: Vec<Peer> = (0..TURNED_AWAY_MAX).map(|_| session.connect()).collect();
    session.counted("refusals", TURNED_AWAY_MAX as u64, |counters| counters.refused);
    let one_more = session.connect();
    session.ended(one_more);
    assert!(session.world.is_closed(one_more));
    for peer in &told {
        assert!(!session.world.is_closed(*peer), "it has its time to read the answer");
    }
    assert_eq!(session.answer(told[0]).0, 503);
    session.world.end(told[0]);
    session.until("one has gone", |world| world.counters().connections_now == 1_024);
    let next = session.connect();
    assert_eq!(session.answer(next).0, 503);
    session.part(inside);
}

fn mistake_of_the_application_is_logged(place: &Seed) {
    for path in ["/upgrade-header-that-ends-its-line", "/handshake-header"] {
        let errors = Errors::default();
        subscriber::with_default(errors.clone(), || {
            let mut session = Session::start(place, Setup::default());
            let peer = session.connect();
            session.send(peer, &wire::request(path, &[]));
            assert_eq!(session.answer(peer).0, 500);
        });
        assert_eq!(errors.0.load(Ordering::Relaxed), 1, "{path}");
    }
}

/// Counts what is logged as an error.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn event(&self, _event: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
