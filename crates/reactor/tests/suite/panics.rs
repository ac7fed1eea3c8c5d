//! A handler that panics costs the connection it was called for, and nobody else anything.

use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind, Message};
use tickwire_reactor::io::sim::Simulation;
use tickwire_reactor::{Answer, Connection, Ended, Handler, Limits, Request};

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

/// What the application keeps of a connection, and cannot let go of.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("asked for");
    }
}

/// Gives every connection a [`Bomb`].
struct Bomber;

impl Handler for Bomber {
    type State = Bomb;

    fn request(&mut self, request: &Request<'_>) -> Answer<Bomb> {
        // Not one that the client offers, if it comes by this path: its bomb goes off at once.
        let protocol = (request.path() == "/chess").then_some("chess");
        Answer::upgrade(Bomb).with_protocol(protocol)
    }

    fn message(&mut self, connection: &mut Connection<'_, Bomb>, message: Message<'_>) {
        connection.send(message.kind, message.payload);
    }
}

#[test]
fn panic_in_the_drop_of_a_state_is_survived() {
    let mut simulation = Simulation::new(1, 1, Limits::default(), |_| Bomber);
    let [witness, goes, refused] = [(); 3].map(|()| simulation.connect());
    simulation.send(witness, &wire::request("/", &[]));
    simulation.send(goes, &wire::request("/", &[]));
    simulation.send(refused, &wire::request("/chess", &[]));
    simulation.settle();
    assert!(simulation.receive(refused).starts_with(b"HTTP/1.1 500 "));
    simulation.receive(witness);
    simulation.reset(goes);
    simulation.settle();
    assert_eq!(simulation.counters().panicked, 2);
    simulation.send(witness, &wire::text("still here"));
    simulation.settle();
    assert!(simulation.receive(witness).ends_with(b"still here"));
    simulation.reset(witness);
    simulation.settle();
    assert_eq!(simulation.counters().connections_now, 1, "who was refused has not gone yet");
}

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
    let by_server = Ended::ByUs(CloseCode::INTERNAL_ERROR);
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
    for (peer, expected) in [(panics, 1011), (other, 1001)] {
        let (code, _) = session.closed(peer);
        assert_eq!(code, expected);
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
