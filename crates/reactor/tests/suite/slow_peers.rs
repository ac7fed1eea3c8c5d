//! Peers that take less than they are given: what waits is bounded, what is promised still arrives.
//!
//! A narrow peer's socket holds a few kilobytes; the kernel's send buffer of a real server takes
//! more before it refuses, so cases wait for a send that was not taken whole.

use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::{Ended, Limits};

use crate::application::numbered;
use crate::session::Session;
use crate::wire::{self, CLOSE, Frame, PING, PONG, TEXT};
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    echo_to_a_peer_that_does_not_read_pauses_and_loses_nothing,
    more_unsent_than_allowed_closes_with_1008,
    pong_overtakes_messages_that_wait,
    close_waits_for_messages_that_the_peer_takes,
    close_of_the_protocol_waits_for_messages_that_the_peer_takes,
    peer_that_goes_while_messages_wait_is_forgotten,
);

in_simulation!(
    messages_through_the_narrowest_window_stay_whole,
    unread_pongs_do_not_pile_up,
    paused_peer_is_received_from_again,
    close_overtakes_messages_that_the_peer_does_not_take_in_time,
    peer_that_takes_nothing_is_dropped_with_its_close,
    close_leaves_at_a_byte_at_a_time_for_as_long_as_farewells_last,
    publications_that_wait_leave_before_a_close,
    shutdown_leaves_time_for_messages_and_for_the_close,
);

/// A message of 1,000 bytes with its header.
const FRAME: u64 = 1_000 + 4;

/// Sends messages of 1,000 bytes to the peer opened last until ten wait for its socket; how many.
fn fill<W: World>(session: &mut Session<W>) -> u64 {
    let (id, publisher) = (session.last_id(), session.world.publisher());
    let mut count = 0;
    while count * FRAME < session.world.counters().sent_bytes + 10 * FRAME {
        assert!(count < 20_000, "a narrow socket takes less");
        for number in count..count + 100 {
            publisher.send(id, Kind::Text, numbered(number, 1_000).as_bytes());
        }
        count += 100;
        session.counted("messages", count, |counters| counters.sent_messages);
    }
    count
}

/// Takes frames, which must be messages in order, until one is of another kind: how many they were,
/// and that one.
fn messages_before<W: World>(session: &mut Session<W>, peer: Peer) -> (u64, Frame) {
    let mut count = 0;
    loop {
        let frame = session.frame(peer);
        if frame.first != TEXT {
            return (count, frame);
        }
        assert_eq!(frame.payload, numbered(count, 1_000).as_bytes());
        count += 1;
    }
}

fn echo_to_a_peer_that_does_not_read_pauses_and_loses_nothing(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.unsent_pause_bytes = 100_000);
    let mut session = Session::start(place, setup);
    let peer = session.connect_narrow();
    session.upgrade(peer, "/echo");
    let mut pushed = 0;
    while session.push(peer, &wire::text(&numbered(pushed, 1_000))) {
        pushed += 1;
        assert!(pushed < 100_000, "a peer that does not read is not received from");
    }
    let counters = session.world.counters();
    let waits = (counters.received_messages * FRAME + 129).saturating_sub(counters.sent_bytes);
    // Pausing takes effect when a turn ends; in one turn as much may come as all buffers hold.
    assert!(waits <= 100_000 + 1024 * 1024 + FRAME, "{waits} bytes wait");
    for number in 0..pushed {
        assert_eq!(session.heard(peer), numbered(number, 1_000));
    }
    session.send(peer, b"");
    assert_eq!(session.heard(peer), numbered(pushed, 1_000));
    session.part(peer);
}

fn more_unsent_than_allowed_closes_with_1008(place: &impl Place) {
    let setup = Setup::with_limits(|limits| {
        limits.protocol.message_bytes_max = 100_000;
        limits.unsent_bytes_max = 300_000;
    });
    let mut session = Session::start(place, setup);
    let peer = session.connect_narrow();
    session.upgrade(peer, "/echo");
    let (id, publisher) = (session.last_id(), session.world.publisher());
    let other = session.open("/echo");
    let mut sent = 0;
    while session.world.journal().closed().is_empty() {
        publisher.send(id, Kind::Text, numbered(sent, 1_000).as_bytes());
        sent += 1;
        assert!(sent < 100_000, "nobody may leave that much unsent");
        if sent % 100 == 0 {
            session.counted("messages", sent, |counters| counters.sent_messages);
        }
    }
    assert_eq!(session.world.journal().closed(), [Ended::ByUs(CloseCode::POLICY_VIOLATION)]);
    let (heard, close) = messages_before(&mut session, peer);
    assert!(heard < sent);
    assert_eq!((close.first, &close.payload[..2]), (CLOSE, &1008_u16.to_be_bytes()[..]));
    session.send(peer, &wire::close(1008, ""));
    session.ended(peer);
    session.part(other);
}

fn pong_overtakes_messages_that_wait(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.unsent_pause_bytes = usize::MAX);
    let mut session = Session::start(place, setup);
    let peer = session.connect_narrow();
    session.upgrade(peer, "/echo");
    let sent = fill(&mut session);
    session.send(peer, &wire::frame(PING, b"are you there?"));
    session.delivered();
    let (before, pong) = messages_before(&mut session, peer);
    assert_eq!((pong.first, &*pong.payload), (PONG, &b"are you there?"[..]));
    assert!(before < sent, "the Pong waited for all {sent} messages");
    for number in before..sent {
        assert_eq!(session.heard(peer), numbered(number, 1_000));
    }
    session.part(peer);
}

fn close_waits_for_messages_that_the_peer_takes(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect_narrow();
    session.upgrade(peer, "/echo");
    let sent = fill(&mut session);
    let publisher = session.world.publisher();
    publisher.close(session.last_id(), CloseCode(4000), "enough");
    let (before, close) = messages_before(&mut session, peer);
    assert_eq!((close.first, &*close.payload), (CLOSE, &b"\x0f\xa0enough"[..]));
    assert_eq!(before, sent);
    session.send(peer, &wire::close(4000, ""));
    session.ended(peer);
}

fn close_of_the_protocol_waits_for_messages_that_the_peer_takes(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.unsent_pause_bytes = usize::MAX);
    for (bytes, code) in [(b"\x81\x00".to_vec(), 1002_u16), (wire::close(4000, ""), 4000)] {
        let mut session = Session::start(place, setup);
        let peer = session.connect_narrow();
        session.upgrade(peer, "/echo");
        let sent = fill(&mut session);
        session.send(peer, &bytes);
        session.delivered();
        let (before, close) = messages_before(&mut session, peer);
        assert_eq!((close.first, &close.payload[..2]), (CLOSE, &code.to_be_bytes()[..]));
        assert_eq!(before, sent);
        session.ended(peer);
    }
}

/// Opens `path`, leaves the peer a window of one byte, and has 100 messages of 1,000 bytes wait.
fn with_messages_that_wait<W: World>(
    session: &mut Session<W>,
    set_window: impl FnOnce(&mut W, Peer),
) -> Peer {
    let peer = session.open("/echo");
    set_window(&mut session.world, peer);
    let (id, publisher) = (session.last_id(), session.world.publisher());
    for number in 0..100 {
        publisher.send(id, Kind::Text, numbered(number, 1_000).as_bytes());
    }
    session.counted("messages", 100, |counters| counters.sent_messages);
    peer
}

fn close_overtakes_messages_that_the_peer_does_not_take_in_time(place: &Seed) {
    type End = fn(&mut Session<crate::world::simulated::Simulated>, Peer);
    let ends: [(u16, End); 3] = [
        (4000, |session, _| {
            let id = session.last_id();
            session.world.publisher().close(id, CloseCode(4000), "enough");
        }),
        (1002, |session, peer| session.send(peer, b"\x81\x00")),
        (4001, |session, peer| session.send(peer, &wire::close(4001, ""))),
    ];
    let setup = Setup::with_limits(|limits| limits.unsent_pause_bytes = usize::MAX);
    for (code, end) in ends {
        let mut session = Session::start(place, setup);
        let peer =
            with_messages_that_wait(&mut session, |world, peer| world.set_window(peer, 2_000));
        end(&mut session, peer);
        let mut bytes = Vec::new();
        // Two messages a second: ten are through when the Close is due.
        for _ in 0..20 {
            bytes.extend(session.world.arrived(peer));
            session.world.advance(Duration::from_secs(1));
        }
        let mut frames = std::iter::from_fn(|| wire::take_frame(&mut bytes)).collect::<Vec<_>>();
        let close = frames.pop().expect("a Close");
        assert_eq!((close.first, &close.payload[..2]), (CLOSE, &code.to_be_bytes()[..]));
        assert!((4..20).contains(&frames.len()), "{} messages went before", frames.len());
        for (number, frame) in (0..).zip(&frames) {
            assert_eq!(frame.payload, numbered(number, 1_000).as_bytes());
        }
        assert!(session.world.is_closed(peer), "a peer that does not answer is dropped");
    }
}

fn peer_that_takes_nothing_is_dropped_with_its_close(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = with_messages_that_wait(&mut session, |world, peer| world.set_window(peer, 0));
    session.world.publisher().close(session.last_id(), CloseCode(4000), "enough");
    session.world.advance(Duration::from_millis(4_900));
    assert!(!session.world.is_closed(peer));
    session.world.advance(Duration::from_millis(200));
    assert!(session.world.is_closed(peer));
}

fn close_leaves_at_a_byte_at_a_time_for_as_long_as_farewells_last(place: &Seed) {
    for (farewell, whole) in [(60, false), (7_000, true)] {
        let setup = Setup::with_limits(|limits| {
            limits.farewell_timeout = Duration::from_secs(farewell);
        });
        let mut session = Session::start(place, setup);
        let peer = with_messages_that_wait(&mut session, |world, peer| world.set_window(peer, 1));
        session.world.publisher().close(session.last_id(), CloseCode(4000), "enough");
        let mut bytes = Vec::new();
        let mut seconds = 0;
        while !session.world.is_closed(peer) {
            bytes.extend(session.world.arrived(peer));
            session.world.advance(Duration::from_secs(2));
            seconds += 2;
            assert!(seconds <= farewell + 2, "nobody may hold a connection for ever");
        }
        let mut frames = std::iter::from_fn(|| wire::take_frame(&mut bytes));
        assert_eq!(frames.any(|frame| frame.first == CLOSE), whole, "{seconds} s");
        assert!(whole || seconds >= 60, "dropped after {seconds} s");
    }
}

fn publications_that_wait_leave_before_a_close(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    let (id, publisher) = (session.last_id(), session.world.publisher());
    session.say(peer, "subscribe news");
    assert_eq!(session.heard(peer), "subscribed after 0");
    session.world.set_window(peer, 10);
    let news = publisher.topic("news");
    for number in 0..20 {
        publisher.publish(&news, Kind::Text, numbered(number, 1_000).as_bytes());
        if number % 7 == 0 {
            session.world.advance(Duration::ZERO);
        }
    }
    publisher.close(id, CloseCode(4000), "enough");
    let (before, close) = messages_before(&mut session, peer);
    assert_eq!((before, close.first), (20, CLOSE));
    session.send(peer, &wire::close(4000, ""));
    session.ended(peer);
}

fn shutdown_leaves_time_for_messages_and_for_the_close(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = with_messages_that_wait(&mut session, |world, peer| world.set_window(peer, 2_000));
    session.world.shutdown();
    let mut bytes = Vec::new();
    for _ in 0..10 {
        session.world.advance(Duration::from_millis(450));
        bytes.extend(session.world.arrived(peer));
    }
    let last = std::iter::from_fn(|| wire::take_frame(&mut bytes)).last().expect("frames");
    assert_eq!((last.first, &last.payload[..2]), (CLOSE, &1001_u16.to_be_bytes()[..]));
}

fn peer_that_goes_while_messages_wait_is_forgotten(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect_narrow();
    session.upgrade(peer, "/echo");
    fill(&mut session);
    session.world.reset(peer);
    session.counted("losses", 1, |counters| counters.lost);
    session.until("it is gone", |world| world.counters().connections_now == 0);
}

fn messages_through_the_narrowest_window_stay_whole(place: &Seed) {
    for window in [1, 2, 3, 5] {
        let mut session = Session::start(place, Setup::default());
        let peer = session.open("/echo");
        session.world.set_window(peer, window);
        for number in 0..20 {
            session.say(peer, &numbered(number, 130));
            session.send(peer, &wire::frame(PING, b"ping"));
        }
        let (mut heard, mut pongs) = (0, 0);
        while heard < 20 || pongs == 0 {
            let frame = session.frame(peer);
            if frame.first == PONG {
                assert_eq!(frame.payload, b"ping");
                pongs += 1;
            } else {
                assert_eq!(frame.payload, numbered(heard, 130).as_bytes());
                heard += 1;
            }
        }
    }
}

fn unread_pongs_do_not_pile_up(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.pings_per_second_max = 1_000);
    let mut session = Session::start(place, setup);
    let peer = session.open("/echo");
    session.world.set_window(peer, 0);
    for number in 0..1_000 {
        session.send(peer, &wire::frame(PING, numbered(number, 125).as_bytes()));
    }
    session.delivered();
    session.world.set_window(peer, usize::MAX);
    // What one turn received may be answered whole; what came later replaces what waits.
    let most = 2 * 4 * 1024 / 127 + 1;
    let mut pongs = Vec::new();
    while pongs.last().is_none_or(|last| *last != numbered(999, 125)) {
        let pong = session.frame(peer);
        assert_eq!(pong.first, PONG);
        pongs.push(String::from_utf8(pong.payload).expect("text"));
    }
    assert!(pongs.len() <= most, "{} Pongs waited", pongs.len());
    assert!(pongs.is_sorted_by_key(|pong| pong.split(' ').next().map(str::len)));
    session.part(peer);
}

fn paused_peer_is_received_from_again(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.unsent_pause_bytes = 1_000);
    let mut session = Session::start(place, setup);
    let peer = session.open("/echo");
    for round in 0..20 {
        session.world.set_window(peer, 100);
        let before = session.world.counters().received_messages;
        for number in 0..50 {
            session.say(peer, &numbered(number, 500));
        }
        session.until("some were received", |world| {
            let received = world.counters().received_messages - before;
            0 < received && received < 50
        });
        session.world.set_window(peer, Limits::default().unsent_bytes_max);
        for number in 0..50 {
            assert_eq!(session.heard(peer), numbered(number, 500), "round {round}");
        }
    }
    session.part(peer);
}
