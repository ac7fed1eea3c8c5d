//! The answer of another server: what is accepted, what is not, and how it may arrive.

use super::{called, opened, switching};
use crate::session::Session;
use crate::wire::{self, TEXT};
use crate::world::{Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    answer_that_is_not_the_right_one_is_no_websocket,
    redirect_is_told_and_not_followed,
    server_that_ends_before_its_answer_is_whole_has_not_answered,
    first_frames_may_come_with_the_answer,
    headers_of_the_answer_are_read_as_the_rfc_says,
    panic_in_open_closes_with_1011,
);

in_simulation!(answer_may_be_cut_anywhere, stream_may_end_anywhere);

/// What comes of an answer that is made of the right one.
fn fate(place: &impl Place, make: impl FnOnce(String) -> String) -> String {
    let mut session = Session::start(place, Setup::default());
    let (far, request) = called(&mut session, "/echo");
    let right = String::from_utf8(switching(&request, &[])).expect("it is text");
    session.send(far, make(right).as_bytes());
    session.until("it is decided", |world| !world.journal().outgoing().is_empty());
    // The counters are those of a turn that has ended, and may be behind the journal.
    if !session.world.journal().outgoing()[0].starts_with("connected") {
        // The connection goes, without a word more.
        session.until("so many are left", |world| world.counters().outgoing_now == 0);
        assert_eq!(session.world.journal().opened().len(), 1, "that of the caller");
    }
    let outgoing = session.world.journal().outgoing();
    assert_eq!(outgoing.len(), 1);
    outgoing[0].clone()
}

fn answer_that_is_not_the_right_one_is_no_websocket(place: &impl Place) {
    type Make = fn(String) -> String;
    let cases: [(&str, Make); 22] = [
        ("Answer(Status(200))", |it| it.replace("101 Switching Protocols", "200 OK")),
        ("Answer(Status(404))", |_| "HTTP/1.1 404 Not Found\r\n\r\n".to_owned()),
        ("Answer(Status(401))", |_| "HTTP/1.0 401 Who\r\n\r\nyou".to_owned()),
        ("Answer(Status(503))", |it| it.replace("101", "503")),
        ("Answer(Status(100))", |it| it.replace("101", "100")),
        ("Answer(NotHttp)", |it| it.replace("HTTP/1.1", "HTTP/1.0")),
        ("Answer(NotHttp)", |it| it.replace("HTTP/1.1", "HTTP/2.0")),
        ("Answer(NotHttp)", |_| "220 mail.example.org ESMTP\r\n\r\n".to_owned()),
        ("Answer(NotHttp)", |it| it.replace("\r\n", "\n")),
        ("Answer(NotHttp)", |it| it.replace("Upgrade: w", "Upgrade : w")),
        ("Answer(HeadTooLong)", |it| {
            it.replace("Upgrade: w", &format!("X: {:9000}\r\nUpgrade: w", ""))
        }),
        ("Answer(HeadTooLong)", |it| {
            it.replace("Upgrade: w", &("X: y\r\n".repeat(65) + "Upgrade: w"))
        }),
        ("Answer(Upgrade)", |it| it.replace("Upgrade: websocket\r\n", "")),
        ("Answer(Upgrade)", |it| it.replace("Upgrade: websocket", "Upgrade: h2c")),
        ("Answer(Connection)", |it| it.replace("Connection: Upgrade\r\n", "")),
        ("Answer(Connection)", |it| it.replace("Connection: Upgrade", "Connection: close")),
        ("Answer(Accept)", |it| it.replace("Sec-WebSocket-Accept", "X-Accept")),
        ("Answer(Accept)", |it| it.replace("=\r\n", "\r\n")),
        ("Answer(Accept)", |it| {
            let line = it.lines().find(|line| line.contains("Accept")).expect("it is there");
            it.replace(line, &format!("{line}\r\n{line}"))
        }),
        ("Answer(Accept)", |it| {
            let at = it.find("Accept: ").expect("it is there") + 8;
            let other = if it[at..].starts_with('A') { "B" } else { "A" };
            [&it[..at], other, &it[at + 1..]].concat()
        }),
        ("Answer(Protocol)", |it| {
            it.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: Chat\r\n\r\n")
        }),
        ("Answer(Extension)", |it| {
            it.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        }),
    ];
    for (number, (expected, make)) in cases.into_iter().enumerate() {
        assert_eq!(fate(place, make), expected, "case {number}");
    }
}

fn headers_of_the_answer_are_read_as_the_rfc_says(place: &impl Place) {
    type Make = fn(String) -> String;
    let cases: [(&str, Make); 5] = [
        ("None", |it| it.replace("101 Switching Protocols", "101 ")),
        ("None", |it| it.replace("Upgrade: websocket", "uPGRADE:WebSocket  ")),
        ("None", |it| it.replace("Connection: Upgrade", "Connection: keep-alive, upgrade")),
        ("Some(\"chat\")", |it| it.replace("\r\n\r\n", "\r\nsec-websocket-protocol: chat\r\n\r\n")),
        ("None", |it| it.replace("\r\n\r\n", "\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n")),
    ];
    for (number, (protocol, make)) in cases.into_iter().enumerate() {
        assert_eq!(fate(place, make), format!("connected {protocol}"), "case {number}");
    }
}

fn redirect_is_told_and_not_followed(place: &impl Place) {
    for (status, lines, location) in [
        (301, "Location: ws://elsewhere.example/feed\r\n", "Some(\"ws://elsewhere.example/feed\")"),
        (302, "X: y\r\nlocation:  /login?to=%20 \r\n", "Some(\"/login?to=%20\")"),
        (307, "", "None"),
        (308, "Location: a\r\nLocation: b\r\n", "None"),
        (303, "Location: a b\r\n", "None"),
    ] {
        let fate = fate(place, |_| format!("HTTP/1.1 {status} Moved\r\n{lines}\r\n"));
        assert_eq!(fate, format!("Redirect {{ status: {status}, location: {location} }}"));
    }
}

fn server_that_ends_before_its_answer_is_whole_has_not_answered(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for count in 1..=2 {
        let (far, request) = called(&mut session, "/echo");
        if count == 2 {
            session.send(far, &switching(&request, &[])[..100]);
        }
        session.world.end(far);
        session.counted("failures", count, |counters| counters.connect_failures);
        session.ended(far);
    }
    assert_eq!(session.world.journal().outgoing(), ["NoAnswer", "NoAnswer"]);
}

fn first_frames_may_come_with_the_answer(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let (far, request) = called(&mut session, "/echo");
    let first = [wire::unmasked(TEXT, b"one"), wire::unmasked(TEXT, b"two")].concat();
    session.send(far, &[switching(&request, &[]), first].concat());
    assert_eq!(session.masked_frame(far).0.payload, b"one");
    assert_eq!(session.masked_frame(far).0.payload, b"two");
}

fn panic_in_open_closes_with_1011(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let far = opened(&mut session, "/panic/open");
    let (frame, _) = session.masked_frame(far);
    assert_eq!((frame.first, &frame.payload[..2]), (wire::CLOSE, &1011_u16.to_be_bytes()[..]));
    session.world.end(far);
    session.ended(far);
}

fn answer_may_be_cut_anywhere(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let mut cut = 0;
    loop {
        let (far, request) = called(&mut session, "/echo");
        let bytes = [switching(&request, &[]), wire::unmasked(TEXT, b"word")].concat();
        cut += 1;
        if cut >= bytes.len() {
            return;
        }
        session.send(far, &bytes[..cut]);
        session.world.settle();
        session.send(far, &bytes[cut..]);
        assert_eq!(session.masked_frame(far).0.payload, b"word", "cut at {cut}");
        session.world.reset(far);
    }
}

fn stream_may_end_anywhere(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let mut cut = 0;
    loop {
        let (far, request) = called(&mut session, "/echo");
        let head = switching(&request, &[]);
        let bytes = [&*head, &wire::unmasked(TEXT, b"word")].concat();
        if cut == bytes.len() {
            return;
        }
        session.send(far, &bytes[..cut]);
        session.world.end(far);
        session.ended(far);
        let counters = session.world.counters();
        assert_eq!(counters.connected > 0, cut >= head.len(), "cut at {cut}");
        assert!(session.world.is_closed(far));
        cut += 1;
    }
}
