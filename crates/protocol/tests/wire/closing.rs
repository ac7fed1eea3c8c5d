//! The closing handshake and close codes: RFC 6455 sections 5.5.1 and 7.

use tickwire_protocol::encode::{self, frame};
use tickwire_protocol::{
    CloseCode, Connection, Event, Inflater, Kind, Limits, OpCode, Role, State,
};

use crate::drive::{MASK, Seen, feed, run};
use crate::oracle::{self, CLOSE};

fn close_frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(true, OpCode::Close, Some(MASK), body, &mut out);
    out
}

fn see(role: Role, stream: &[u8]) -> Vec<Seen> {
    run("closing", role, stream, &Limits::default()).seen
}

#[test]
fn every_close_code_is_taken_or_refused_by_its_registration() {
    for code in 0..=u16::MAX {
        let taken = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let stream = close_frame(&code.to_be_bytes());
        let connection = &mut Connection::new(Role::Server);
        let outcome = feed(connection, &stream, &[stream.len()], &Limits::default());
        let expected =
            if taken { Seen::Closed(Some(code), String::new()) } else { Seen::Failed(1002) };
        assert_eq!(outcome.seen, [expected], "code {code}");
        crate::drive::assert_owed("7.4", Role::Server, &outcome);
    }
}

#[test]
fn close_bodies_are_checked() {
    let long = |reason: &str| [&1000_u16.to_be_bytes(), reason.as_bytes()].concat();
    let cases: &[(&str, Vec<u8>, Seen)] = &[
        ("empty", vec![], Seen::Closed(None, String::new())),
        ("one byte", vec![3], Seen::Failed(1002)),
        ("reason", long("going"), Seen::Closed(Some(1000), "going".into())),
        ("123 bytes", long(&"x".repeat(123)), Seen::Closed(Some(1000), "x".repeat(123))),
        ("124 bytes", long(&"x".repeat(124)), Seen::Failed(1002)),
        ("bad UTF-8", b"\x03\xe8ab\xff".to_vec(), Seen::Failed(1007)),
        ("cut character", b"\x03\xe8ab\xe2\x82".to_vec(), Seen::Failed(1007)),
    ];
    for (name, body, expected) in cases {
        let seen = run(name, Role::Server, &close_frame(body), &Limits::default()).seen;
        assert_eq!(seen, core::slice::from_ref(expected), "{name}");
    }
}

#[test]
fn what_follows_a_close_or_a_violation_is_ignored() {
    let mut after = Vec::new();
    encode::masked_message(Kind::Text, MASK, b"too late", &mut after);
    encode::ping(b"anyone?", Some(MASK), &mut after);
    after.extend(close_frame(b""));
    after.extend(b"\xff\xff not even frames");
    let closed = [close_frame(b"\x03\xe8"), after.clone()].concat();
    assert_eq!(see(Role::Server, &closed), [Seen::Closed(Some(1000), String::new())]);
    let failed = [b"\xff".to_vec(), after].concat();
    assert_eq!(see(Role::Server, &failed), [Seen::Failed(1002)]);
}

#[test]
fn a_close_during_a_message_ends_it() {
    let mut stream = Vec::new();
    frame(false, OpCode::Text, Some(MASK), b"never finished", &mut stream);
    stream.extend(close_frame(b"\x03\xe9"));
    assert_eq!(see(Role::Server, &stream), [Seen::Closed(Some(1001), String::new())]);
}

#[test]
fn messages_before_a_violation_are_delivered() {
    let mut stream = Vec::new();
    encode::masked_message(Kind::Text, MASK, b"good", &mut stream);
    stream.extend(b"\xf1 bad");
    assert_eq!(see(Role::Server, &stream), [Seen::Text("good".into()), Seen::Failed(1002)]);
}

#[test]
fn our_close_is_sent_once_and_the_peers_is_not_answered() {
    let mut mask = || unreachable!("a server does not mask");
    let mut connection = Connection::new(Role::Server);
    let mut control = Vec::new();
    assert_eq!((connection.state(), connection.is_closing()), (State::Open, false));
    connection.close(CloseCode::GOING_AWAY, "restart", &mut mask, &mut control);
    assert_eq!((connection.state(), connection.is_closing()), (State::CloseSent, true));
    connection.close(CloseCode::NORMAL, "again", &mut mask, &mut control);
    assert_eq!(oracle::frames(&control, false), [(CLOSE, b"\x03\xe9restart".to_vec())]);
    control.clear();

    let mut bytes = close_frame(b"\x03\xe9");
    let mut inflater = Inflater::new(false);
    let event = connection.receive(
        &mut &mut bytes[..],
        &Limits::default(),
        &mut inflater,
        &mut mask,
        &mut control,
    );
    assert_eq!(event, Some(Event::Closed(Some(CloseCode::GOING_AWAY), "")));
    assert_eq!(connection.state(), State::Closed);
    connection.close(CloseCode::NORMAL, "again", &mut mask, &mut control);
    assert_eq!(control, b"", "nothing goes out after our Close");
}

/// Sections 5.5.1 and 7.1.6: what was under way when we closed is dropped, but must be well-formed.
#[test]
fn while_the_peers_close_is_awaited_nothing_else_is_delivered() {
    let mut begun = Vec::new();
    frame(false, OpCode::Text, Some(MASK), b"begun before ", &mut begun);
    let mut rest = Vec::new();
    encode::ping(b"unanswered", Some(MASK), &mut rest);
    frame(true, OpCode::Continuation, Some(MASK), b"\xff not even text", &mut rest);
    encode::masked_message(Kind::Binary, MASK, &[1; 200], &mut rest);
    encode::pong(b"", Some(MASK), &mut rest);
    let closed = [rest.clone(), close_frame(b"\x0f\xa0bye")].concat();
    let failed = [rest, b"\x83".to_vec()].concat();
    for (stream, expected) in
        [(closed, Seen::Closed(Some(4000), "bye".into())), (failed, Seen::Failed(1002))]
    {
        for pieces in crate::drive::cuts(stream.len()) {
            let mut connection = Connection::new(Role::Server);
            feed(&mut connection, &begun, &[begun.len()], &Limits::default());
            let mut control = Vec::new();
            connection.close(CloseCode::NORMAL, "", &mut || MASK, &mut control);
            let outcome = feed(&mut connection, &stream, &pieces, &Limits::default());
            assert_eq!(outcome.seen, core::slice::from_ref(&expected), "cut as {pieces:?}");
            assert_eq!(outcome.control, b"", "nothing goes out after our Close");
        }
    }
}

#[test]
fn a_client_masks_what_it_owes_and_draws_a_key_each_time() {
    let mut connection = Connection::new(Role::Client);
    let mut keys = 0_u8;
    let mut mask = || {
        keys += 1;
        [keys; 4]
    };
    let mut bytes = b"\x89\x01a\x89\x01b\x88\x02\x03\xe8".to_vec();
    let mut input = &mut bytes[..];
    let mut control = Vec::new();
    let limits = Limits::default();
    let mut inflater = Inflater::new(false);
    while connection.receive(&mut input, &limits, &mut inflater, &mut mask, &mut control).is_some()
    {
    }
    let pong = |key: u8, byte: u8| vec![0x8a, 0x81, key, key, key, key, byte ^ key];
    let close = b"\x88\x82\x03\x03\x03\x03\x00\xeb".to_vec();
    assert_eq!(control, [pong(1, b'a'), pong(2, b'b'), close].concat());
}

/// Section 7.4.1: 1010 is for clients; 1004, 1005, 1006 and 1015 are for no one.
#[test]
fn codes_that_must_not_be_sent_are_not_sent() {
    let sent = |role, code: u16| {
        let mut control = Vec::new();
        Connection::new(role).close(CloseCode(code), "why", &mut || MASK, &mut control);
        oracle::frames(&control, role == Role::Client)
    };
    assert_eq!(sent(Role::Server, 1010), [(CLOSE, b"\x03\xe8why".to_vec())]);
    assert_eq!(sent(Role::Client, 1010), [(CLOSE, b"\x03\xf2why".to_vec())]);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
        assert_eq!(sent(Role::Server, code), [(CLOSE, b"".to_vec())], "code {code}");
    }
    for code in [1000_u16, 1001, 1003, 1008, 1011, 1012, 1013, 3000, 4999] {
        let body = [&code.to_be_bytes()[..], b"why"].concat();
        assert_eq!(sent(Role::Server, code), [(CLOSE, body)]);
    }
}

#[test]
fn a_reason_is_cut_at_a_character_boundary() {
    for (reason, kept) in [
        ("x".repeat(123), 123),
        ("x".repeat(124), 123),
        (format!("{}€", "x".repeat(120)), 123),
        (format!("{}€", "x".repeat(121)), 121),
        ("😀".repeat(40), 120),
    ] {
        let mut control = Vec::new();
        encode::close(CloseCode::NORMAL, &reason, None, &mut control);
        let body = [b"\x03\xe8", &reason.as_bytes()[..kept]].concat();
        assert_eq!(oracle::frames(&control, false), [(CLOSE, body)]);
    }
}
