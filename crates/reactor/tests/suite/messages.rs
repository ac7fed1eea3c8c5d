//! Messages in both directions, and the Close that answers what is none (RFC 6455 section 5).

use crate::session::Session;
use crate::wire::{self, BINARY, BINARY_BEGINS, ENDS, GOES_ON, PING, PONG, TEXT, TEXT_BEGINS};
use crate::world::{Place, Setup, in_each_world};

in_each_world!(
    messages_are_echoed_with_their_kind,
    every_length_class_is_echoed,
    fragments_are_joined_and_control_frames_pass_between_them,
    pings_are_answered_in_order_and_pongs_are_ignored,
    frames_cut_at_every_offset_are_the_same_frames,
    violations_get_the_close_code_that_is_due,
    declared_length_is_not_believed,
    nothing_is_processed_after_a_violation,
);

fn messages_are_echoed_with_their_kind(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    for (first, payload) in [
        (TEXT, &b"Hello"[..]),
        (BINARY, b"\x00\xff\xfe"),
        (TEXT, b""),
        (BINARY, b""),
        (TEXT, "\u{1f600} \u{e9} \u{3b1}".as_bytes()),
    ] {
        session.send(peer, &wire::frame(first, payload));
        let frame = session.frame(peer);
        assert_eq!((frame.first, &*frame.payload), (first, payload));
    }
    session.part(peer);
    session.counted("messages", 5, |counters| counters.received_messages);
}

fn every_length_class_is_echoed(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    for length in [1, 125, 126, 127, 65_535, 65_536, 65_537, 1024 * 1024] {
        let payload: Vec<u8> = (0..length).map(|index: u32| index.to_be_bytes()[3]).collect();
        session.send(peer, &wire::frame(BINARY, &payload));
        assert!(session.frame(peer).payload == payload, "{length} bytes come back as others");
    }
    session.part(peer);
}

fn fragments_are_joined_and_control_frames_pass_between_them(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    let parts = "a\u{1f600}b".as_bytes();
    session.send(peer, &wire::frame(TEXT_BEGINS, &parts[..2]));
    session.send(peer, &wire::frame(PING, b"between"));
    let pong = session.frame(peer);
    assert_eq!((pong.first, &*pong.payload), (PONG, &b"between"[..]), "the Pong does not wait");
    session.send(peer, &wire::frame(GOES_ON, b""));
    session.send(peer, &wire::frame(GOES_ON, &parts[2..4]));
    session.send(peer, &wire::frame(ENDS, &parts[4..]));
    assert_eq!(session.heard(peer).as_bytes(), parts);
    for _ in 0..1_000 {
        session.send(peer, &wire::frame(GOES_ON | BINARY_BEGINS, b"x"));
        session.send(peer, &wire::frame(ENDS, b"y"));
    }
    for _ in 0..1_000 {
        assert_eq!(session.frame(peer).payload, b"xy");
    }
    session.part(peer);
}

fn pings_are_answered_in_order_and_pongs_are_ignored(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    let longest = [7; 125];
    let mut bytes = wire::frame(PONG, b"nobody asked");
    for payload in [&b""[..], b"1", b"2", &longest] {
        bytes.extend(wire::frame(PING, payload));
    }
    session.send(peer, &bytes);
    for payload in [&b""[..], b"1", b"2", &longest] {
        let frame = session.frame(peer);
        assert_eq!((frame.first, &*frame.payload), (PONG, payload));
    }
    session.part(peer);
}

fn frames_cut_at_every_offset_are_the_same_frames(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    let long = "x".repeat(126);
    let bytes = [
        wire::text("one"),
        wire::frame(PING, b"two"),
        wire::frame(TEXT_BEGINS, b"thr"),
        wire::frame(ENDS, "\u{e9}e".as_bytes()),
        wire::text(&long),
    ]
    .concat();
    for offset in 1..bytes.len() {
        session.send(peer, &bytes[..offset]);
        session.delivered();
        session.send(peer, &bytes[offset..]);
        let frames: Vec<_> = (0..4).map(|_| session.frame(peer)).collect();
        // A Pong may overtake messages.
        let (pongs, messages): (Vec<_>, Vec<_>) = frames.iter().partition(|it| it.first == PONG);
        assert!(pongs.iter().map(|it| &*it.payload).eq([b"two"]), "cut at {offset}: {pongs:?}");
        let expected = ["one", "thr\u{e9}e", &long].map(str::as_bytes);
        let payloads = messages.iter().map(|it| &*it.payload);
        assert!(payloads.eq(expected), "cut at {offset}: {messages:?}");
    }
    session.part(peer);
}

/// What a peer sends, and the code of the Close that it gets.
fn violations() -> Vec<(&'static str, Vec<u8>, u16)> {
    let unmasked = b"\x81\x05Hello".to_vec();
    let forbidden_codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535];
    let mut violations = vec![
        ("a frame that is not masked", unmasked, 1002),
        ("RSV1 without an extension", wire::frame(0xc1, b""), 1002),
        ("RSV2", wire::frame(0xa1, b""), 1002),
        ("RSV3", wire::frame(0x91, b""), 1002),
        ("a long form for a short length", b"\x81\xfe\x00\x05\0\0\0\0".to_vec(), 1002),
        (
            "the longest form for a short length",
            b"\x81\xff\0\0\0\0\0\0\xff\xff\0\0\0\0".to_vec(),
            1002,
        ),
        ("a length with the top bit", wire::header(BINARY, 1 << 63), 1002),
        ("the longest length", wire::header(BINARY, (1 << 63) - 1), 1009),
        ("a message too long by one", wire::header(BINARY, 1024 * 1024 + 1), 1009),
        ("a Ping of 126 bytes", wire::header(PING, 126), 1002),
        ("a Close of 126 bytes", wire::header(wire::CLOSE, 126), 1002),
        ("a Ping in fragments", wire::frame(0x09, b""), 1002),
        ("a Pong in fragments", wire::frame(0x0a, b""), 1002),
        ("a Close in fragments", wire::frame(0x08, b""), 1002),
        ("a Close of one byte", wire::frame(wire::CLOSE, b"\x03"), 1002),
        ("a reason that is no UTF-8", wire::frame(wire::CLOSE, b"\x03\xe8\xff"), 1007),
        ("a continuation of nothing", wire::frame(ENDS, b"a"), 1002),
        (
            "a message within a message",
            [wire::frame(TEXT_BEGINS, b"a"), wire::text("b")].concat(),
            1002,
        ),
        ("text that is no UTF-8", wire::frame(TEXT, b"\xce\xba\xff"), 1007),
        ("a surrogate", wire::frame(TEXT, b"\xed\xa0\x80"), 1007),
        ("text that ends within a character", wire::frame(TEXT, b"a\xce"), 1007),
        ("a fragment that is no UTF-8", wire::frame(TEXT_BEGINS, b"a\xff"), 1007),
        (
            "fragments too long together",
            [wire::frame(BINARY_BEGINS, &[0; 1024 * 1024]), wire::header(GOES_ON, 1)].concat(),
            1009,
        ),
        (
            "fragments whose lengths overflow",
            [wire::frame(BINARY_BEGINS, b"a"), wire::header(GOES_ON, (1 << 63) - 1)].concat(),
            1009,
        ),
        (
            "too many empty fragments",
            [wire::frame(TEXT_BEGINS, b""), wire::frame(GOES_ON, b"").repeat(1_024)].concat(),
            1008,
        ),
    ];
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        violations.push(("a reserved opcode", wire::header(0x80 | opcode, 125), 1002));
    }
    for code in forbidden_codes {
        violations.push(("a code that is not for the wire", wire::close(code, ""), 1002));
    }
    violations
}

fn violations_get_the_close_code_that_is_due(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let violations = violations();
    let count = violations.len() as u64;
    for (what, bytes, due) in violations {
        let peer = session.open("/echo");
        session.send(peer, &bytes);
        let (code, reason) = session.closed(peer);
        assert_eq!(code, due, "{what}");
        assert!(!reason.is_empty() && reason.len() <= 123, "{what}: {reason}");
        session.ended(peer);
    }
    session.counted("failures", count, |counters| counters.failed);
    session.counted("messages", 0, |counters| counters.received_messages);
}

fn declared_length_is_not_believed(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let waiting = session.open("/echo");
    session.send(waiting, &wire::header(BINARY, 1024 * 1024));
    let refused = session.open("/echo");
    session.send(refused, &wire::header(BINARY, 1 << 62));
    assert_eq!(session.closed(refused).0, 1009);
    session.ended(refused);
    // The one at the limit is still awaited.
    let masked = &wire::frame(BINARY, &vec![7; 1024 * 1024])[14..];
    session.send(waiting, masked);
    assert!(session.frame(waiting).payload == vec![7; 1024 * 1024]);
    session.part(waiting);
}

fn nothing_is_processed_after_a_violation(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    let after = [wire::text("before"), b"\x81\x05Hello".to_vec(), wire::text("behind")].concat();
    session.send(peer, &after);
    assert_eq!(session.heard(peer), "before");
    assert_eq!(session.closed(peer).0, 1002);
    session.send(peer, &wire::text("still there?"));
    session.ended(peer);
    session.counted("messages", 1, |counters| counters.received_messages);
}
