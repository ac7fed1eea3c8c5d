//! The end of a connection to another server: who ends the stream (RFC 6455 section 7.1.1), and for
//! how long it is waited for.

use std::time::Duration;

use tickwire_protocol::CloseCode;
use tickwire_reactor::Ended;

use super::{called, opened};
use crate::session::Session;
use crate::wire::{self, CLOSE, TEXT};
use crate::world::{Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    close_of_the_server_is_echoed_and_the_server_ends_the_stream,
    close_of_ours_waits_for_the_servers,
    server_that_goes_without_a_close_is_lost,
    shutdown_says_going_away_and_ends_what_is_being_opened,
);

in_simulation!(
    server_that_never_ends_the_stream_is_dropped,
    server_that_never_answers_a_close_is_dropped,
    server_that_drips_after_the_close_is_dropped,
    client_does_not_end_the_stream_first,
);

fn close_of_the_server_is_echoed_and_the_server_ends_the_stream(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for code in [1000, 1001, 1011, 1012, 3000, 4999] {
        let far = opened(&mut session, "/echo");
        session.send(far, &wire::unmasked(CLOSE, &code_and(code, "r\u{e9}ason")));
        let (frame, _) = session.masked_frame(far);
        assert_eq!((frame.first, &*frame.payload), (CLOSE, &code.to_be_bytes()[..]));
        session.world.end(far);
        session.ended(far);
        let closed = session.world.journal().closed();
        assert_eq!(closed.last(), Some(&Ended::ByPeer(Some(CloseCode(code)))));
    }
    let far = opened(&mut session, "/echo");
    session.send(far, &wire::unmasked(CLOSE, b""));
    let (frame, _) = session.masked_frame(far);
    assert_eq!((frame.first, &*frame.payload), (CLOSE, &b""[..]), "empty for empty");
    session.world.end(far);
    session.ended(far);
    session.counted("closes", 7, |counters| counters.closed);
    session.counted("losses", 0, |counters| counters.lost);
}

fn code_and(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

fn close_of_ours_waits_for_the_servers(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let far = opened(&mut session, "/script");
    session.send(far, &wire::unmasked(TEXT, b"close 4001 you asked for it"));
    let (frame, _) = session.masked_frame(far);
    assert_eq!(frame.payload, code_and(4001, "you asked for it"));
    // What still comes is not delivered.
    session.send(far, &wire::unmasked(TEXT, b"word"));
    session.send(far, &wire::unmasked(CLOSE, &4001_u16.to_be_bytes()));
    session.counted("closes", 1, |counters| counters.closed);
    session.until("so many are left", |world| world.counters().outgoing_now == 1);
    session.world.end(far);
    session.ended(far);
    let closed = session.world.journal().closed();
    assert_eq!(closed, [Ended::ByUs(CloseCode(4001))]);
}

fn server_that_goes_without_a_close_is_lost(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let (ends, resets) = (opened(&mut session, "/echo"), opened(&mut session, "/echo"));
    session.counted("WebSockets", 2, |counters| counters.connected);
    session.world.end(ends);
    session.ended(ends);
    session.world.reset(resets);
    session.counted("losses", 2, |counters| counters.lost);
    session.until("so many are left", |world| world.counters().outgoing_now == 0);
    assert_eq!(session.world.journal().closed(), [Ended::Lost, Ended::Lost]);
}

fn shutdown_says_going_away_and_ends_what_is_being_opened(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let far = opened(&mut session, "/echo");
    session.counted("WebSockets", 1, |counters| counters.connected);
    let (unanswered, _) = called(&mut session, "/echo");
    session.world.shutdown();
    session.ended(unanswered);
    let (frame, _) = session.masked_frame(far);
    assert_eq!((frame.first, &*frame.payload), (TEXT, &b"goodbye"[..]));
    let (frame, _) = session.masked_frame(far);
    assert_eq!(frame.payload, code_and(1001, "the client shuts down"));
    session.send(far, &wire::unmasked(CLOSE, &1001_u16.to_be_bytes()));
    session.world.end(far);
    session.ended(far);
    let outgoing = session.world.journal().outgoing();
    assert_eq!(outgoing, ["connected None", "ShuttingDown"]);
}

fn client_does_not_end_the_stream_first(place: &Seed) {
    for (mode, says) in
        [("/echo", &b"\x88\x00"[..]), ("/echo", b"\x83\x00"), ("/echo", b"\x81\x01\xff")]
    {
        let mut session = Session::start(place, Setup::default());
        let far = opened(&mut session, mode);
        session.send(far, says);
        assert_eq!(session.masked_frame(far).0.first, CLOSE);
        session.world.advance(Duration::from_millis(4_900));
        assert!(!session.world.has_ended(far));
        session.world.end(far);
        session.world.settle();
        assert!(session.world.is_closed(far));
    }
}

fn server_that_never_ends_the_stream_is_dropped(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let (closes, fails) = (opened(&mut session, "/echo"), opened(&mut session, "/echo"));
    session.send(closes, &wire::unmasked(CLOSE, &1000_u16.to_be_bytes()));
    session.send(fails, &wire::text("masked"));
    session.world.advance(Duration::from_millis(4_900));
    assert!(!session.world.is_closed(closes) && !session.world.is_closed(fails));
    session.world.advance(Duration::from_millis(200));
    assert!(session.world.is_closed(closes) && session.world.is_closed(fails));
    session.counted("losses", 0, |counters| counters.lost);
}

fn server_that_never_answers_a_close_is_dropped(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let far = opened(&mut session, "/script");
    session.send(far, &wire::unmasked(TEXT, b"close 4000"));
    assert_eq!(session.masked_frame(far).0.first, CLOSE);
    session.world.advance(Duration::from_millis(4_900));
    assert!(!session.world.is_closed(far));
    session.world.advance(Duration::from_millis(200));
    assert!(session.world.is_closed(far));
}

fn server_that_drips_after_the_close_is_dropped(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let far = opened(&mut session, "/echo");
    session.send(far, &wire::unmasked(CLOSE, &1000_u16.to_be_bytes()));
    assert_eq!(session.masked_frame(far).0.first, CLOSE);
    for _ in 0..48 {
        session.send(far, b"x");
        session.world.advance(Duration::from_millis(100));
    }
    assert!(!session.world.is_closed(far));
    for _ in 0..4 {
        session.send(far, b"x");
        session.world.advance(Duration::from_millis(100));
    }
    assert!(session.world.is_closed(far));
}
