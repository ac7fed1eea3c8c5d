//! The client's side (RFC 6455 sections 4.1 and 5), line by line: the engine connects, and here is
//! the server, which answers and sends as it should or should not.
//!
//! An answer that is accepted brings a message with it, which is echoed; one that is not ends the
//! connection without a word. A violation gets a masked Close with its code, and then the server
//! ends the stream, as section 7.1.1 asks of it and not of the client.

use tickwire_protocol::accept_value;

use super::{Case, Share, play_between};
use crate::session::Session;
use crate::wire::{
    self, BINARY, BINARY_BEGINS, CLOSE, ENDS, Frame, GOES_ON, PING, PONG, TEXT, TEXT_BEGINS,
};
use crate::world::{Peer, Setup, World, in_each_bare_world};

in_each_bare_world!(
    answers_that_meet_every_must_are_accepted,
    answers_with_another_status_are_told,
    answers_that_break_a_must_are_refused,
    answers_that_are_no_http_are_refused,
    messages_and_control_frames_of_a_server_are_read,
    masked_frames_of_a_server_fail_with_1002,
    headers_that_no_server_may_send_fail_with_1002,
    control_frames_that_no_server_may_send_fail_with_1002,
    fragments_of_a_server_out_of_order_fail_with_1002,
    bad_utf_8_of_a_server_fails_with_1007,
    messages_of_a_server_have_a_limit,
    close_of_a_server_is_answered_with_its_code,
);

/// Stands in an answer for what the key of the request asks for, and is as long.
const ACCEPT: &str = "the-accept-value-of-the-key!";

/// The answer that opens, with one thing replaced.
fn answer(from: &str, to: &str) -> String {
    let good = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    assert!(good.contains(from), "{from}");
    good.replacen(from, to, 1)
}

/// The answer that opens, with a further line.
fn with(line: &str) -> String {
    answer("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"))
}

/// A server for each case, that the engine has connected to and asked for `/echo`.
fn call<W: World, Due>(session: &mut Session<W>, cases: &[&Case<Due>]) -> Vec<(Peer, Vec<u8>)> {
    let far = session.world.far();
    let caller = session.open("/script");
    for _ in cases {
        session.say(caller, &format!("connect {far} /echo"));
    }
    let called = cases.iter().map(|case| {
        let far = session.pick_up();
        let request = session.head(far);
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let key = key.expect("a key").as_bytes().try_into().expect("24 characters");
        (far, filled_in(&case.sent, &accept_value(key)))
    });
    let called = called.collect();
    session.part(caller);
    called
}

fn filled_in(bytes: &[u8], accept: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(at) = bytes.windows(accept.len()).position(|it| it == ACCEPT.as_bytes()) {
        bytes[at..at + accept.len()].copy_from_slice(accept);
    }
    bytes
}

/// Plays answers that must come to what `told` says of the attempt.
fn check_answers(place: &impl Share, told: &str, answers: &[String]) {
    let opens = told.starts_with("connected");
    let early = wire::unmasked(TEXT, b"early");
    let cases: Vec<_> = answers
        .iter()
        .map(|answer| {
            let mut sent = answer.clone().into_bytes();
            sent.extend(early.iter().filter(|_| opens));
            Case::new(answer, sent, ())
        })
        .collect();
    let mut session = Session::start(place, Setup::default());
    let played = play_between(place, &mut session, &cases, call, |session, peer, _| {
        if opens {
            assert_eq!(masked(session, peer), (TEXT, b"early".to_vec()));
            session.send(peer, &wire::unmasked(CLOSE, b"\x03\xe8"));
            assert_eq!(masked(session, peer), (CLOSE, b"\x03\xe8".to_vec()));
            session.world.end(peer);
        }
        session.ended(peer);
    });
    let decided = played.len() as u64;
    session.counted("attempts", decided, |counters| counters.connected + counters.connect_failures);
    let outgoing = session.world.journal().outgoing();
    assert!(outgoing.iter().all(|it| it == told), "{told}: {outgoing:?}");
    assert_eq!(outgoing.len(), played.len());
}

/// The next frame of the engine, a client.
fn masked<W: World>(session: &mut Session<W>, peer: Peer) -> (u8, Vec<u8>) {
    let (Frame { first, payload }, _) = session.masked_frame(peer);
    (first, payload)
}

/// Section 4.1, the requirements on what the server sends.
fn answers_that_meet_every_must_are_accepted(place: &impl Share) {
    let answers = [
        answer("", ""),
        answer("101 Switching Protocols", "101 "),
        answer("Upgrade: websocket", "uPGRADE:\tWebSocket "),
        answer("Connection: Upgrade", "Connection: keep-alive, upgrade"),
        answer("Sec-WebSocket-Accept: ", "sec-websocket-accept:"),
        with("Server: a\r\nSet-Cookie: b=1\r\nSet-Cookie: c=2"),
    ];
    check_answers(place, "connected None", &answers);
    let chosen = [with("Sec-WebSocket-Protocol: chat"), with("sec-websocket-protocol:chat ")];
    check_answers(place, "connected Some(\"chat\")", &chosen);
}

/// Section 4.1: redirects and challenges are the caller's to follow.
fn answers_with_another_status_are_told(place: &impl Share) {
    let status = |status: &str| answer("101 Switching Protocols", status);
    for code in [100, 200, 204, 400, 401, 404, 426, 500, 503] {
        let told = format!("Answer(Status({code}))");
        check_answers(place, &told, &[status(&format!("{code} Whatever"))]);
    }
    let moved = "HTTP/1.1 301 Moved\r\nLocation: ws://elsewhere.example/feed\r\n\r\n";
    let told = "Redirect { status: 301, location: Some(\"ws://elsewhere.example/feed\") }";
    check_answers(place, told, &[moved.to_owned()]);
}

/// Section 4.1, each of the requirements.
fn answers_that_break_a_must_are_refused(place: &impl Share) {
    let twice = "Upgrade: websocket\r\nUpgrade: websocket";
    let upgrade = ["X: y", "Upgrade: h2c", "Upgrade: websocket, h2c", "Upgrade:", twice];
    check_answers(place, "Answer(Upgrade)", &upgrade.map(|it| answer("Upgrade: websocket", it)));
    let connection = ["X: y", "Connection: close", "Connection: upgraded", "Connection:"];
    let connection = connection.map(|it| answer("Connection: Upgrade", it));
    check_answers(place, "Answer(Connection)", &connection);
    let line = format!("Sec-WebSocket-Accept: {ACCEPT}");
    let accept = [
        answer(&line, "X: y"),
        answer(&line, "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        answer(&line, &format!("{line}=")),
        answer(&line, &format!("{line}\r\n{line}")),
        answer(&line, &format!("{line}, {ACCEPT}")),
    ];
    check_answers(place, "Answer(Accept)", &accept);
    let protocol = ["Chat", "chess", "chat, superchat", "chat\r\nSec-WebSocket-Protocol: chat", ""];
    let protocol = protocol.map(|it| with(&format!("Sec-WebSocket-Protocol: {it}")));
    check_answers(place, "Answer(Protocol)", &protocol);
    let extension = ["permessage-deflate", "unknown", "a;;b"];
    let extension = extension.map(|it| with(&format!("Sec-WebSocket-Extensions: {it}")));
    check_answers(place, "Answer(Extension)", &extension);
}

/// Up to the byte that shows it: the connection is gone then.
fn answers_that_are_no_http_are_refused(place: &impl Share) {
    let not_http = ["2", "h", "\n", "HTTP/1.1 101 \n", "HTTP/1.1 101 a\rb", "HTTP/1.1 101 \r\n "];
    check_answers(place, "Answer(NotHttp)", &not_http.map(str::to_owned));
    let heads =
        [answer("HTTP/1.1", "HTTP/1.0"), answer("HTTP/1.1", "HTTP/2.0"), answer("101", "1001")];
    check_answers(place, "Answer(NotHttp)", &heads);
    let start = "HTTP/1.1 101 a\r\nX: ";
    let endless = [start, &"x".repeat(8_192 - start.len())].concat();
    let lines = format!("HTTP/1.1 101 a\r\n{}X", "X: y\r\n".repeat(64));
    check_answers(place, "Answer(HeadTooLong)", &[endless, lines]);
}

/// What the engine, a client, must send to frames of a server.
#[derive(Debug)]
enum Due {
    /// These, and then its half of a closing handshake that the server begins.
    Frames(Vec<(u8, Vec<u8>)>),
    /// A Close with this code, and nothing else.
    Fails(u16),
    /// A Close with this body.
    Closes(Vec<u8>),
}

/// Plays frames of a server behind an answer that opens.
fn check(place: &impl Share, setup: Setup, cases: &[Case<Due>]) {
    let mut session = Session::start(place, setup);
    let open = |session: &mut Session<_>, cases: &[&Case<Due>]| open(session, cases);
    let played = play_between(place, &mut session, cases, open, look);
    let failed = played.iter().filter(|case| matches!(case.due, Due::Fails(_))).count() as u64;
    session.counted("failures", failed, |counters| counters.failed);
    session.counted("connections", played.len() as u64, |counters| counters.connected);
}

fn open<W: World>(session: &mut Session<W>, cases: &[&Case<Due>]) -> Vec<(Peer, Vec<u8>)> {
    let right = Case::new("the answer that opens", answer("", ""), ());
    let servers = call(session, &vec![&right; cases.len()]);
    for (peer, answer) in &servers {
        session.send(*peer, answer);
    }
    session.delivered();
    servers.into_iter().zip(cases).map(|((peer, _), case)| (peer, case.sent.clone())).collect()
}

fn look<W: World>(session: &mut Session<W>, peer: Peer, case: &Case<Due>) {
    match &case.due {
        Due::Frames(frames) => {
            let mut came: Vec<_> = frames.iter().map(|_| masked(session, peer)).collect();
            // Control frames may overtake.
            came.sort_by_key(|(first, _)| first & 0x08);
            assert_eq!(came, *frames);
            session.send(peer, &wire::unmasked(CLOSE, b"\x03\xe8"));
            assert_eq!(masked(session, peer), (CLOSE, b"\x03\xe8".to_vec()));
        }
        Due::Fails(code) => {
            let (first, body) = masked(session, peer);
            assert_eq!((first, body.get(..2)), (CLOSE, Some(&code.to_be_bytes()[..])));
            assert!((3..=125).contains(&body.len()), "it has a reason");
        }
        Due::Closes(body) => assert_eq!(masked(session, peer), (CLOSE, body.clone())),
    }
    session.world.end(peer);
    session.ended(peer);
}

fn fails(bytes: impl Into<Vec<u8>>, code: u16) -> Case<Due> {
    let bytes = bytes.into();
    Case::new(bytes.escape_ascii().to_string(), bytes, Due::Fails(code))
}

fn fail(place: &impl Share, code: u16, cases: impl IntoIterator<Item = Vec<u8>>) {
    let cases: Vec<_> = cases.into_iter().map(|bytes| fails(bytes, code)).collect();
    check(place, Setup::default(), &cases);
}

/// Sections 5.4 to 5.7, with the examples of section 5.7 as a server sends them.
fn messages_and_control_frames_of_a_server_are_read(place: &impl Share) {
    let goes = |name: &str, sent: &[&[u8]], due: &[(u8, &[u8])]| {
        let due = due.iter().map(|&(first, payload)| (first, payload.to_vec())).collect();
        Case::new(name, sent.concat(), Due::Frames(due))
    };
    let long = wire::unmasked(BINARY, &[7; 300]);
    let cases = [
        goes("a text", &[b"\x81\x05Hello"], &[(TEXT, b"Hello")]),
        goes("a text in fragments", &[b"\x01\x03Hel", b"\x80\x02lo"], &[(TEXT, b"Hello")]),
        goes("a Ping", &[b"\x89\x05Hello"], &[(PONG, b"Hello")]),
        goes("a Pong", &[b"\x8a\x05Hello"], &[]),
        goes("an empty text", &[b"\x81\0"], &[(TEXT, b"")]),
        goes("300 bytes", &[&long], &[(BINARY, &[7; 300])]),
        goes(
            "a Ping between fragments",
            &[b"\x02\x01a", b"\x89\x01p", b"\0\0", b"\x80\x01b"],
            &[(BINARY, b"ab"), (PONG, b"p")],
        ),
    ];
    check(place, Setup::default(), &cases);
}

/// Section 5.1.
fn masked_frames_of_a_server_fail_with_1002(place: &impl Share) {
    let firsts = [TEXT, BINARY, TEXT_BEGINS, PING, PONG, CLOSE];
    fail(place, 1002, firsts.map(|first| vec![first, 0x80]));
    fail(place, 1002, [b"\x01\x01a\x80\x81".to_vec()]);
}

/// Section 5.2.
fn headers_that_no_server_may_send_fail_with_1002(place: &impl Share) {
    let reserved = [0x91, 0xa1, 0xc1, 0xc2, 0x90, 0xc9, 0x8a | 0x20];
    let opcodes = (0x3..=0x7).chain(0xb..=0xf);
    let firsts = reserved.into_iter().chain(opcodes.flat_map(|opcode| [opcode, 0x80 | opcode]));
    fail(place, 1002, firsts.map(|first| vec![first]));
    let long = [
        b"\x81\x7e\0\0".to_vec(),
        b"\x81\x7e\0\x7d".to_vec(),
        b"\x82\x7f\0\0\0\0\0\0\0\x7e".to_vec(),
        b"\x82\x7f\0\0\0\0\0\0\xff\xff".to_vec(),
        b"\x82\x7f\x80\0\0\0\0\0\0\0".to_vec(),
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
    ];
    fail(place, 1002, long);
}

/// Sections 5.5 and 7.4.
fn control_frames_that_no_server_may_send_fail_with_1002(place: &impl Share) {
    for first in [CLOSE, PING, PONG] {
        fail(place, 1002, [vec![first, 126], vec![first, 127], vec![first & 0x7f]]);
    }
    fail(place, 1002, [b"\x88\x01\x03".to_vec()]);
    let codes = [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535];
    fail(place, 1002, codes.map(|code| wire::unmasked(CLOSE, &code.to_be_bytes())));
}

/// Section 5.4.
fn fragments_of_a_server_out_of_order_fail_with_1002(place: &impl Share) {
    let begun = wire::unmasked(TEXT_BEGINS, b"a");
    let amid = |first| [&*begun, &[first, 0]].concat();
    fail(place, 1002, [vec![ENDS, 0], vec![GOES_ON, 0]]);
    fail(place, 1002, [TEXT, BINARY, TEXT_BEGINS, BINARY_BEGINS].map(amid));
}

/// Sections 5.5.1 and 8.1.
fn bad_utf_8_of_a_server_fails_with_1007(place: &impl Share) {
    let bad: [&[u8]; 6] =
        [b"\xff", b"a\x80", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xce\xba\xc3"];
    fail(place, 1007, bad.map(|bytes| wire::unmasked(TEXT, bytes)));
    fail(place, 1007, bad[..5].iter().map(|bytes| wire::unmasked(TEXT_BEGINS, bytes)));
    let reasons = bad.map(|bytes| wire::unmasked(CLOSE, &[b"\x03\xe8", bytes].concat()));
    fail(place, 1007, reasons);
}

/// Section 10.4.
fn messages_of_a_server_have_a_limit(place: &impl Share) {
    let setup = Setup::with_limits(|limits| limits.protocol.message_bytes_max = 1_000);
    let bytes = vec![7; 1_000];
    let begun = wire::unmasked(BINARY_BEGINS, &bytes[..600]);
    let due = || Due::Frames(vec![(BINARY, bytes.clone())]);
    let ended = wire::unmasked(ENDS, &bytes[600..]);
    let cases = [
        Case::new("1,000", wire::unmasked(BINARY, &bytes), due()),
        Case::new("600 and 400", [begun.clone(), ended].concat(), due()),
        fails(b"\x82\x7e\x03\xe9", 1009),
        fails(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 1009),
        fails([&*begun, b"\x80\x7e\x01\x91"].concat(), 1009),
    ];
    check(place, setup, &cases);
    let empty = [wire::unmasked(TEXT_BEGINS, b""), wire::unmasked(GOES_ON, b"").repeat(1_024)];
    fail(place, 1008, [empty.concat()]);
}

/// Section 5.5.1.
fn close_of_a_server_is_answered_with_its_code(place: &impl Share) {
    let closes = |body: &[u8], due: &[u8]| {
        let name = body.escape_ascii().to_string();
        Case::new(name, wire::unmasked(CLOSE, body), Due::Closes(due.to_vec()))
    };
    let codes = [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014, 3000, 4999];
    let mut cases: Vec<_> = codes
        .iter()
        .map(|code| closes(&[&code.to_be_bytes(), &b"reason"[..]].concat(), &code.to_be_bytes()))
        .collect();
    cases.push(closes(b"", b""));
    check(place, Setup::default(), &cases);
}
