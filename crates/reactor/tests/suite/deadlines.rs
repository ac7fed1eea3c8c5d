//! What happens because time passes: heartbeats, timers, and patience with slow peers.
//!
//! Deadlines of the handshake and of the closing handshake are with the cases of those.

use std::time::Duration;

use tickwire_protocol::CloseCode;
use tickwire_reactor::Ended;

use crate::application::{Entry, numbered};
use crate::outgoing::{called, switching};
use crate::session::Session;
use crate::wire::{self, BINARY, GOES_ON, PING, PONG, TEXT, TEXT_BEGINS};
use crate::world::simulated::Simulated;
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    pings_up_to_the_limit_are_answered_and_one_more_closes_with_1008,
    message_that_stays_unfinished_closes_with_1008,
    whoever_has_lived_long_enough_is_told_to_come_again,
);

in_simulation!(
    pings_are_counted_by_the_second,
    whatever_trickles_closes_with_1008_when_its_time_is_up,
    each_message_has_time_of_its_own,
    pings_within_a_message_do_not_prolong_it,
    peer_that_is_not_received_from_does_not_run_out_of_time,
    page_is_sent_for_as_long_as_farewells_last,
    silent_peer_is_pinged_once_and_then_dropped,
    answered_pings_keep_a_silent_peer,
    talking_peer_is_not_pinged,
    short_heartbeat_begins_with_the_connection,
    answered_ping_counts_however_long_the_next_is_awaited,
    timer_fires_once_and_never_early,
    timer_can_be_replaced_and_taken_back,
    timer_of_a_connection_that_is_closing_does_not_fire,
    close_in_a_timer_awaits_the_peer_even_if_a_ping_was_due,
    slow_reader_of_its_echoes_is_not_taken_for_dead,
    page_is_sent_for_as_long_as_the_peer_reads,
    peer_that_reads_nothing_of_its_page_is_dropped,
    more_deadlines_than_a_turn_looks_at_are_all_kept,
    what_we_open_ourselves_does_not_end_by_itself,
    talking_and_timers_prolong_no_life,
    life_ends_behind_what_is_owed,
    next_connection_has_a_life_of_its_own,
);

const SECOND: Duration = Duration::from_secs(1);

/// The grain of deadlines, twice: one for rounding up, one for the instant within a grain.
const GRAIN: Duration = Duration::from_millis(33);

/// Asserts that an empty Ping comes, and nothing before it.
fn expect_ping(session: &mut Session<Simulated>, peer: Peer) {
    let frame = session.frame(peer);
    assert_eq!((frame.first, &*frame.payload), (PING, &b""[..]));
}

fn expect_policy_violation<W: World>(session: &mut Session<W>, peer: Peer, reason: &str) {
    assert_eq!(session.closed(peer), (1008, reason.to_owned()));
    let ended = session.world.journal().closed();
    assert_eq!(ended.last(), Some(&Ended::ByUs(CloseCode::POLICY_VIOLATION)));
}

fn pings_up_to_the_limit_are_answered_and_one_more_closes_with_1008(place: &impl Place) {
    for (pings, is_flood) in [(99, false), (100, false), (101, true)] {
        let mut session = Session::start(place, Setup::default());
        let peer = session.open("/echo");
        let ping = |number: u64| wire::frame(PING, numbered(number, 0).as_bytes());
        session.send(peer, &(0..pings).flat_map(ping).collect::<Vec<u8>>());
        for number in 0..pings {
            let pong = session.frame(peer);
            assert_eq!((pong.first, &*pong.payload), (PONG, numbered(number, 0).as_bytes()));
        }
        session.say(peer, "still here?");
        if is_flood {
            expect_policy_violation(&mut session, peer, "too many pings in a second");
            session.send(peer, &wire::close(1008, ""));
            session.ended(peer);
        } else {
            assert_eq!(session.heard(peer), "still here?");
            session.part(peer);
        }
        let floods = u64::from(is_flood);
        session.counted("floods", floods, |counters| counters.ping_floods);
    }
}

fn pings_are_counted_by_the_second(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    for _ in 0..5 {
        for _ in 0..100 {
            session.send(peer, &wire::frame(PING, b""));
        }
        for _ in 0..100 {
            assert_eq!(session.frame(peer).first, PONG);
        }
        session.world.advance(SECOND + GRAIN);
    }
    session.part(peer);
}

fn message_that_stays_unfinished_closes_with_1008(place: &impl Place) {
    let limit = Duration::from_millis(50);
    let setup = Setup::with_limits(|limits| limits.message_timeout = limit);
    let mut session = Session::start(place, setup);
    let other = session.open("/echo");
    let peer = session.open("/echo");
    session.send(peer, &wire::text("half a message")[..10]);
    session.delivered();
    session.let_time_pass(limit + GRAIN);
    expect_policy_violation(&mut session, peer, "the message did not come in time");
    session.counted("messages out of time", 1, |counters| counters.message_timeouts);
    session.say(other, "a whole one");
    assert_eq!(session.heard(other), "a whole one");
    session.part(other);
}

fn whoever_has_lived_long_enough_is_told_to_come_again(place: &impl Place) {
    let life = Duration::from_millis(200);
    let setup = Setup::with_limits(|limits| limits.life_max = Some(life));
    let mut session = Session::start(place, setup);
    // It has not become a WebSocket.
    let waiting = session.connect();
    let peer = session.open("/echo");
    session.let_time_pass(2 * life);
    assert_eq!(session.closed(peer).0, 1001);
    session.send(peer, &wire::close(1001, ""));
    session.ended(peer);
    session.counted("lives", 1, |counters| counters.expired);
    assert_eq!(session.world.journal().closed(), [Ended::ByUs(CloseCode::GOING_AWAY)]);
    session.upgrade(waiting, "/echo");
}

fn what_we_open_ourselves_does_not_end_by_itself(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.life_max = Some(10 * SECOND));
    let mut session = Session::start(place, setup);
    let (far, request) = called(&mut session, "/echo");
    session.send(far, &switching(&request, &[]));
    session.world.advance(19 * SECOND);
    session.counted("lives: the caller's", 1, |counters| counters.expired);
    session.send(far, &wire::unmasked(TEXT, b"still there?"));
    assert_eq!(session.masked_frame(far).0.payload, b"still there?");
}

fn talking_and_timers_prolong_no_life(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.life_max = Some(100 * SECOND));
    let mut session = Session::start(place, setup);
    let peer = session.open("/script");
    for _ in 0..9 {
        session.say(peer, "timer 5000");
        session.world.advance(10 * SECOND - GRAIN);
        assert_eq!(session.heard(peer), "timer");
    }
    session.world.advance(10 * SECOND + 10 * GRAIN);
    assert_eq!(session.closed(peer).0, 1001);
}

fn life_ends_behind_what_is_owed(place: &Seed) {
    let setup = Setup::with_limits(|limits| {
        limits.life_max = Some(10 * SECOND);
        limits.close_timeout = 1_000 * SECOND;
    });
    let mut session = Session::start(place, setup);
    let peer = session.open("/script");
    session.world.set_window(peer, 100);
    session.say(peer, "send 5 1000");
    session.world.advance(10 * SECOND + GRAIN);
    session.counted("lives", 1, |counters| counters.expired);
    session.world.set_window(peer, usize::MAX);
    for number in 0..5 {
        assert_eq!(session.heard(peer), numbered(number, 1_000));
    }
    assert_eq!(session.closed(peer).0, 1001);
}

/// It has the slot of one that has gone.
fn next_connection_has_a_life_of_its_own(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.life_max = Some(10 * SECOND));
    let mut session = Session::start(place, setup);
    for _ in 0..4 {
        let peer = session.open("/echo");
        session.world.advance(8 * SECOND);
        session.say(peer, "still here?");
        assert_eq!(session.heard(peer), "still here?");
        session.world.reset(peer);
        session.until("it is gone", |world| world.counters().connections_now == 0);
    }
    session.counted("lives", 0, |counters| counters.expired);
}

fn whatever_trickles_closes_with_1008_when_its_time_is_up(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.ping_after = 1_000 * SECOND);
    let fragment = wire::frame(TEXT_BEGINS, b"begun");
    let long = wire::frame(BINARY, &[b'x'; 70_000]);
    let drips = [&fragment[..], &wire::frame(GOES_ON, b"and on and on and on")].concat();
    for (begins, drips) in [
        (&b"\x81"[..], &b""[..]),
        (&long[..13], b""),
        (&long[..14], b""),
        (&long[..1_000], b""),
        (&fragment, b""),
        (&wire::frame(PING, b"half a ping")[..8], b""),
        (&wire::close(1000, "half a close")[..8], b""),
        (b"", &long),
        (b"", &drips),
        (b"", &wire::frame(PING, b"a ping of a byte now and then")),
    ] {
        let mut session = Session::start(place, setup);
        let peer = session.open("/echo");
        let mut drips = drips.chunks(1);
        let mut drip = || drips.next().unwrap_or_default();
        session.send(peer, if begins.is_empty() { drip() } else { begins });
        session.delivered();
        for _ in 0..11 {
            session.world.advance(5 * SECOND);
            session.send(peer, drip());
        }
        session.world.advance(5 * SECOND - GRAIN);
        assert_silence(&mut session, peer);
        session.world.advance(2 * GRAIN);
        expect_policy_violation(&mut session, peer, "the message did not come in time");
        session.counted("messages out of time", 1, |counters| counters.message_timeouts);
    }
}

fn each_message_has_time_of_its_own(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    let (mut sent, mut heard) = (0, 0);
    // Every 15 s what is missing of one message or Ping, and the beginning of the next.
    let message = |number| [wire::text(&numbered(number, 10)), wire::frame(PING, b"ping")].concat();
    let stream: Vec<u8> = (0..20).flat_map(message).collect();
    for piece in stream.chunks(7) {
        session.send(peer, piece);
        sent += piece.len();
        session.world.advance(15 * SECOND);
        while heard < sent / message(0).len() {
            assert_eq!(session.heard(peer), numbered(heard as u64, 10));
            assert_eq!(session.frame(peer).first, PONG);
            heard += 1;
        }
    }
    assert_eq!(heard, 20);
    session.part(peer);
}

fn pings_within_a_message_do_not_prolong_it(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    session.send(peer, &wire::frame(TEXT_BEGINS, b"begun"));
    for _ in 0..5 {
        session.world.advance(10 * SECOND);
        session.send(peer, &wire::frame(PING, b"ping"));
        assert_eq!(session.frame(peer).first, PONG);
    }
    session.world.advance(10 * SECOND + GRAIN);
    expect_policy_violation(&mut session, peer, "the message did not come in time");
}

fn peer_that_is_not_received_from_does_not_run_out_of_time(place: &Seed) {
    let setup = Setup::with_limits(|limits| {
        limits.unsent_pause_bytes = 1_000;
        limits.message_timeout = 10 * SECOND;
        limits.ping_after = 10_000 * SECOND;
    });
    let mut session = Session::start(place, setup);
    let peer = session.open("/echo");
    session.world.set_window(peer, 100);
    for number in 0..100 {
        session.say(peer, &numbered(number, 500));
    }
    // The server stops receiving somewhere within a message, until all is read that it had to say.
    for number in 0..100 {
        for _ in 0..3 {
            session.world.advance(4 * SECOND);
        }
        assert_eq!(session.heard(peer), numbered(number, 500));
    }
    session.part(peer);
}

fn page_is_sent_for_as_long_as_farewells_last(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect();
    session.world.set_window(peer, 1);
    session.send(peer, b"GET /page-of-100-kilobytes HTTP/1.1\r\nHost: a\r\n\r\n");
    for seconds in 0..60 {
        assert!(!session.world.is_closed(peer), "after {seconds} s");
        assert!(session.world.arrived(peer).len() <= 1);
        session.world.advance(SECOND);
    }
    session.world.advance(GRAIN);
    assert!(session.world.is_closed(peer));
}

fn assert_silence(session: &mut Session<Simulated>, peer: Peer) {
    assert_eq!(session.world.arrived(peer), b"");
}

fn silent_peer_is_pinged_once_and_then_dropped(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    session.world.advance(20 * SECOND - GRAIN);
    assert_silence(&mut session, peer);
    session.world.advance(2 * GRAIN);
    expect_ping(&mut session, peer);
    session.world.advance(20 * SECOND - GRAIN);
    assert_silence(&mut session, peer);
    session.world.advance(2 * GRAIN);
    assert!(session.world.is_closed(peer));
    assert_eq!(session.world.journal().closed(), [Ended::Lost]);
}

fn answered_pings_keep_a_silent_peer(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let (at_once, late) = (session.open("/echo"), session.open("/echo"));
    for _ in 0..20 {
        session.world.advance(20 * SECOND + GRAIN);
        for peer in [at_once, late] {
            expect_ping(&mut session, peer);
        }
        session.send(at_once, &wire::frame(PONG, b""));
        session.world.advance(20 * SECOND - 2 * GRAIN);
        assert_silence(&mut session, at_once);
        session.send(late, &wire::frame(PONG, b""));
        session.world.advance(3 * GRAIN);
        expect_ping(&mut session, at_once);
        session.send(at_once, &wire::frame(PONG, b""));
    }
    session.part(at_once);
    session.part(late);
}

fn talking_peer_is_not_pinged(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    for _ in 0..20 {
        session.world.advance(19 * SECOND);
        session.say(peer, "word");
        assert_eq!(session.heard(peer), "word");
    }
    session.part(peer);
}

fn short_heartbeat_begins_with_the_connection(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.ping_after = SECOND);
    let mut session = Session::start(place, setup);
    let (silent, timed) = (session.open("/echo"), session.open("/script"));
    session.say(timed, "timer 1500");
    session.world.advance(SECOND + GRAIN);
    expect_ping(&mut session, silent);
    session.send(timed, &wire::frame(PONG, b"unasked"));
    expect_ping(&mut session, timed);
    session.world.advance(SECOND);
    assert_eq!(session.heard(timed), "timer");
}

fn answered_ping_counts_however_long_the_next_is_awaited(place: &Seed) {
    let setup = Setup::with_limits(|limits| {
        limits.ping_after = SECOND;
        limits.pong_timeout = 5 * SECOND;
    });
    let mut session = Session::start(place, setup);
    let peer = session.open("/echo");
    for _ in 0..20 {
        session.world.advance(SECOND + GRAIN);
        expect_ping(&mut session, peer);
        session.send(peer, &wire::frame(PONG, b""));
        assert_silence(&mut session, peer);
    }
    session.part(peer);
}

fn timer_fires_once_and_never_early(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    for ms in [0, 1, 16, 17, 1_000, 19_000] {
        session.say(peer, &format!("timer {ms}"));
        let due = Duration::from_millis(ms);
        session.world.advance(due.saturating_sub(Duration::from_millis(1)));
        assert_silence(&mut session, peer);
        session.world.advance(GRAIN + Duration::from_millis(1));
        assert_eq!(session.heard(peer), "timer", "after {ms} ms");
    }
    session.world.advance(SECOND - 2 * GRAIN);
    assert_silence(&mut session, peer);
}

fn timer_can_be_replaced_and_taken_back(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    for (words, due) in
        [(["timer 1000", "timer 5000"], Some(5)), (["timer 5000", "timer 1000"], Some(1))]
    {
        for word in words {
            session.say(peer, word);
        }
        session.world.advance(due.map_or(SECOND, |due| due * SECOND) - GRAIN);
        assert_silence(&mut session, peer);
        session.world.advance(2 * GRAIN);
        assert_eq!(session.heard(peer), "timer");
        session.world.advance(6 * SECOND);
        assert_silence(&mut session, peer);
    }
    session.say(peer, "timer 1000");
    session.say(peer, "no-timer");
    session.world.advance(6 * SECOND);
    assert_silence(&mut session, peer);
    let timers = |entry: &&Entry| matches!(entry, Entry::Timer(_));
    assert_eq!(session.world.journal().entries().iter().filter(timers).count(), 2);
}

fn timer_of_a_connection_that_is_closing_does_not_fire(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    session.say(peer, "timer 1000");
    session.say(peer, "close 4000");
    assert_eq!(session.closed(peer).0, 4000);
    session.world.advance(2 * SECOND);
    assert_silence(&mut session, peer);
    let timers = |entry: &Entry| matches!(entry, Entry::Timer(_));
    assert!(!session.world.journal().entries().iter().any(timers));
}

fn close_in_a_timer_awaits_the_peer_even_if_a_ping_was_due(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/close-by-timer");
    session.world.advance(20 * SECOND + GRAIN);
    assert_eq!(session.closed(peer), (4000, "time is up".to_owned()));
    session.world.advance(4 * SECOND);
    assert!(!session.world.is_closed(peer));
    session.send(peer, &wire::close(4000, ""));
    session.ended(peer);
    session.counted("closes", 1, |counters| counters.closed);
}

fn slow_reader_of_its_echoes_is_not_taken_for_dead(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.unsent_pause_bytes = 8 * 1024);
    let mut session = Session::start(place, setup);
    let peer = session.open("/echo");
    session.world.set_window(peer, 1024);
    for number in 0..100 {
        session.say(peer, &numbered(number, 1_000));
    }
    for number in 0..100 {
        session.world.advance(5 * SECOND);
        let mut frame = session.frame(peer);
        while frame.first == PING {
            session.send(peer, &wire::frame(PONG, b""));
            frame = session.frame(peer);
        }
        assert_eq!(frame.payload, numbered(number, 1_000).as_bytes());
    }
}

fn page_is_sent_for_as_long_as_the_peer_reads(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    for half_closed in [false, true] {
        let peer = session.connect_narrow();
        session.send(peer, b"GET /page-of-100-kilobytes HTTP/1.1\r\nHost: a\r\n\r\n");
        if half_closed {
            session.world.end(peer);
        }
        let mut page = Vec::new();
        while page.len() < 100_000 {
            session.world.advance(2 * SECOND);
            let arrived = session.world.arrived(peer);
            assert!(!arrived.is_empty(), "cut after {} bytes", page.len());
            page.extend(arrived);
        }
        assert!(page.ends_with(format!("{}\n", numbered(0, 100_000)).as_bytes()));
        session.ended(peer);
        if !half_closed {
            // The last bytes were sent two seconds before they were read.
            session.world.advance(SECOND * 5 / 2);
            assert!(!session.world.is_closed(peer), "the peer has its time from the last byte on");
        }
        session.world.advance(SECOND);
        assert!(session.world.is_closed(peer));
    }
}

fn peer_that_reads_nothing_of_its_page_is_dropped(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect_narrow();
    session.send(peer, b"GET /page-of-100-kilobytes HTTP/1.1\r\nHost: a\r\n\r\n");
    session.world.advance(Duration::ZERO);
    session.world.advance(6 * SECOND);
    assert!(session.world.is_closed(peer));
}

fn more_deadlines_than_a_turn_looks_at_are_all_kept(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peers: Vec<Peer> = (0..1_000).map(|_| session.connect()).collect();
    let polite = session.open("/echo");
    session.let_time_pass(Setup::default().limits.handshake_timeout + SECOND);
    session.say(polite, "still here?");
    assert_eq!(session.heard(polite), "still here?");
    for peer in peers {
        assert_eq!(session.answer(peer).0, 408);
    }
}
