//! A handler that panics costs the connection it was called for, and nobody else anything.

use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::Ended;

use crate::session::Session;
use crate::wire;
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    panic_in_a_request_is_answered_500,
    panic_in_open_or_message_closes_with_1011,
    panic_in_a_timer_closes_with_1011,
    panic_in_close_is_survived,
    panic_in_shutdown_does_not_stop_the_shutdown,
);

in_simulation!(panic_in_lagged_closes_with_1011);

/// A peer of the same shard that must notice nothing.
struct Witness(Peer);

impl Witness {
    fn of<W: World>(session: &mut Session<W>) -> Self {
        Self(session.open("/echo"))
    }

    fn notices_nothing<W: World>(self, session: &mut Session<W>) {
        session.say(self.0, "still here");
        assert_eq!(session.heard(self.0), "still here");
        session.part(self.0);
    }
}

/// Takes the Close 1011, answers it, and sees the end.
fn expect_internal_error<W: World>(session: &mut Session<W>, peer: Peer) {
    assert_eq!(session.closed(peer), (1011, "internal error".to_owned()));
    session.send(peer, &wire::close(1011, ""));
    session.ended(peer);
    let by_server = Ended::ByServer(CloseCode::INTERNAL_ERROR);
    assert_eq!(session.world.journal().closed(), [by_server]);
}

fn panic_in_a_request_is_answered_500(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let witness = Witness::of(&mut session);
    let peer = session.connect();
    session.send(peer, &wire::request("/panic/request", &[]));
    assert_eq!(session.answer(peer).0, 500);
    session.counted("panics", 1, |counters| counters.panicked);
    witness.notices_nothing(&mut session);
}

fn panic_in_open_or_message_closes_with_1011(place: &impl Place) {
    for (path, opened) in [("/panic/open", 1), ("/panic/message", 1), ("/script", 1)] {
        let mut session = Session::start(place, Setup::default());
        let witness = Witness::of(&mut session);
        let peer = session.open(path);
        // Behind the first, which panics, nothing is delivered.
        session.send(peer, &[wire::text("panic"), wire::text("echo")].concat());
        expect_internal_error(&mut session, peer);
        session.counted("panics", opened, |counters| counters.panicked);
        witness.notices_nothing(&mut session);
    }
}

fn panic_in_a_timer_closes_with_1011(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let witness = Witness::of(&mut session);
    let peer = session.open("/panic/timer");
    session.let_time_pass(Duration::from_millis(50));
    expect_internal_error(&mut session, peer);
    witness.notices_nothing(&mut session);
}

fn panic_in_close_is_survived(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let witness = Witness::of(&mut session);
    let (by_peer, lost) = (session.open("/panic/close"), session.open("/panic/close"));
    session.send(by_peer, &wire::close(1000, ""));
    assert_eq!(session.closed(by_peer).0, 1000);
    session.ended(by_peer);
    session.world.end(lost);
    session.ended(lost);
    session.counted("panics", 2, |counters| counters.panicked);
    witness.notices_nothing(&mut session);
}

fn panic_in_shutdown_does_not_stop_the_shutdown(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let (panics, other) = (session.open("/panic/shutdown"), session.open("/echo"));
    session.world.shutdown();
    assert_eq!(session.heard(other), "goodbye");
    for peer in [panics, other] {
        let (code, _) = session.closed(peer);
        assert!([1001, 1011].contains(&code), "{code}");
        session.send(peer, &wire::close(code, ""));
        session.ended(peer);
    }
    session.until("it is over", World::is_over);
}

fn panic_in_lagged_closes_with_1011(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.log_entries_max = 10);
    let mut session = Session::start(place, setup);
    let publisher = session.world.publisher();
    let topic = publisher.topic("lagging");
    let peer = session.open("/panic/lagged");
    session.world.set_window(peer, 0);
    for _ in 0..20 {
        publisher.publish(&topic, Kind::Text, b"tick");
        session.world.advance(Duration::ZERO);
    }
    session.world.set_window(peer, 1_000);
    expect_internal_error(&mut session, peer);
}
