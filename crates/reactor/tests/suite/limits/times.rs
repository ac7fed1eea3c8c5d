//! Durations: nothing a tick before the end, nothing at it, and what must be two ticks later.

use std::time::Duration;

use tickwire_protocol::CloseCode;
use tickwire_reactor::Ended;

use crate::session::Session;
use crate::wire::{self, PING};
use crate::world::simulated::Simulated;
use crate::world::{Peer, Seed, Setup, World};

/// What deadlines are counted in.
pub(super) const TICK: Duration = Duration::from_millis(16);

/// How late a deadline may be: one tick for rounding up, one for the instant within a tick.
pub(super) const GRAIN: Duration = Duration::from_millis(33);

const SECOND: Duration = Duration::from_secs(1);

/// Longer than any case takes: for deadlines that are not to come first.
const AGES: Duration = Duration::from_secs(100_000);

/// Lets a limit pass that has just begun, and sees that it does neither too early nor too late what
/// `is_over` looks for.
fn passes(
    session: &mut Session<Simulated>,
    limit: Duration,
    mut is_over: impl FnMut(&mut Session<Simulated>) -> bool,
) {
    session.world.advance(limit - TICK);
    assert!(!is_over(session), "a tick before {limit:?} are over");
    session.world.advance(TICK);
    assert!(!is_over(session), "as {limit:?} are over");
    session.world.advance(GRAIN);
    assert!(is_over(session), "behind {limit:?}");
}

/// The same for what a peer hears then.
fn is_heard(peer: Peer) -> impl FnMut(&mut Session<Simulated>) -> bool {
    move |session| session.has_arrived(peer)
}

/// The same for the end of its connection.
fn is_closed(peer: Peer) -> impl FnMut(&mut Session<Simulated>) -> bool {
    move |session| session.world.is_closed(peer)
}

pub(super) fn handshake_timeout(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect();
    session.send(peer, &wire::request("/echo", &[])[..50]);
    session.delivered();
    passes(&mut session, 10 * SECOND, is_heard(peer));
    assert_eq!(session.answer(peer).0, 408);
}

pub(super) fn connect_timeout(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.connect_timeout = 7 * SECOND);
    let mut session = Session::start(place, setup);
    let caller = session.open("/script");
    let deaf = session.world.deaf();
    session.say(caller, &format!("connect {deaf} /echo"));
    session.delivered();
    passes(&mut session, 7 * SECOND, |session| !session.world.journal().outgoing().is_empty());
    assert_eq!(session.world.journal().outgoing(), ["ConnectTimeout"]);
}

pub(super) fn message_timeout(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.ping_after = AGES);
    let mut session = Session::start(place, setup);
    let peer = session.open("/echo");
    session.send(peer, &wire::text("half a message")[..10]);
    session.delivered();
    passes(&mut session, 60 * SECOND, is_heard(peer));
    assert_eq!(session.closed(peer), (1008, "the message did not come in time".to_owned()));
    session.counted("messages out of time", 1, |counters| counters.message_timeouts);
}

pub(super) fn ping_after(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    passes(&mut session, 20 * SECOND, is_heard(peer));
    assert_eq!(session.frame(peer).first, PING);
}

pub(super) fn pong_timeout(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.ping_after = TICK);
    let mut session = Session::start(place, setup);
    let peer = session.open("/echo");
    while !session.has_arrived(peer) {
        session.world.advance(Duration::from_millis(1));
    }
    assert_eq!(session.frame(peer).first, PING);
    passes(&mut session, 20 * SECOND, is_closed(peer));
    assert_eq!(session.world.journal().closed(), [Ended::Lost]);
}

pub(super) fn close_timeout(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    session.say(peer, "close 4000");
    assert_eq!(session.closed(peer).0, 4000);
    passes(&mut session, 5 * SECOND, is_closed(peer));
    session.counted("dropped", 1, |counters| counters.dropped);
}

/// A page of which the peer takes nothing, while that alone is not what ends it.
pub(super) fn farewell_timeout(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.close_timeout = AGES);
    let mut session = Session::start(place, setup);
    let peer = session.connect();
    session.world.set_window(peer, 1);
    session.send(peer, b"GET /page-of-100-kilobytes HTTP/1.1\r\nHost: a\r\n\r\n");
    session.delivered();
    passes(&mut session, 60 * SECOND, is_closed(peer));
}

pub(super) fn shutdown_timeout(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.close_timeout = AGES);
    let mut session = Session::start(place, setup);
    let peer = session.open("/echo");
    session.world.shutdown();
    assert_eq!(session.heard(peer), "goodbye");
    assert_eq!(session.closed(peer).0, 1001);
    passes(&mut session, 5 * SECOND, |session| session.world.is_over());
    session.counted("cut", 1, |counters| counters.cut);
}

/// A crowd that came together: the first does not go before nine tenths of the time, the last not
/// behind it, and of those between as many in each part of it.
pub(super) fn life_max(place: &Seed) {
    const CROWD: u64 = 100;
    let setup = Setup::with_limits(|limits| {
        limits.life_max = Some(100 * SECOND);
        limits.ping_after = AGES;
    });
    let mut session = Session::start(place, setup);
    let crowd: Vec<Peer> = (0..CROWD).map(|_| session.open("/echo")).collect();
    let expired = |session: &mut Session<Simulated>| session.world.counters().expired;
    session.world.advance(90 * SECOND - TICK);
    assert_eq!(expired(&mut session), 0);
    session.world.advance(TICK);
    for second in 1..10 {
        session.world.advance(SECOND);
        let due = second * CROWD / 10;
        assert!(expired(&mut session).abs_diff(due) <= 2, "{second} s: {due}");
    }
    session.world.advance(SECOND + GRAIN);
    assert_eq!(expired(&mut session), CROWD);
    for peer in crowd {
        let reason = "this connection has lasted as long as it may: connect again";
        assert_eq!(session.closed(peer), (1001, reason.to_owned()));
        session.send(peer, &wire::close(1001, ""));
        session.ended(peer);
    }
    let ended = session.world.journal().closed();
    assert!(ended.iter().all(|it| *it == Ended::ByUs(CloseCode::GOING_AWAY)), "{ended:?}");
}
