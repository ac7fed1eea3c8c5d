//! Frames and messages (RFC 6455 sections 5, 6, 7.1.7, 8.1 and 10.4), line by line.
//!
//! All is played on `/echo`: a message comes back, a Ping as a Pong. Messages and control frames are
//! compared each in their own order, because control frames may overtake. A violation is played with
//! no more than the bytes that prove it, and again with good frames behind it, which nobody may see
//! answered.

use super::{Case, Share, play};
use crate::session::Session;
use crate::wire::{
    self, BINARY, BINARY_BEGINS, CLOSE, ENDS, Frame, GOES_ON, PING, PONG, TEXT, TEXT_BEGINS,
};
use crate::world::{Peer, Setup, World, in_each_bare_world};

in_each_bare_world!(
    frames_of_a_client_that_are_not_masked_fail_with_1002,
    no_frame_of_the_server_is_masked,
    reserved_bits_fail_with_1002,
    reserved_opcodes_fail_with_1002_at_the_header,
    lengths_in_a_longer_form_than_needed_fail_with_1002,
    lengths_with_the_top_bit_fail_with_1002,
    lengths_beyond_the_limit_fail_with_1009_at_the_header,
    every_length_up_to_4096_is_unmasked_wherever_it_is_cut,
    every_alignment_is_unmasked,
    every_kind_of_key_is_applied,
    fragments_out_of_order_fail_with_1002,
    fragments_are_joined_and_their_kind_is_the_first_ones,
    control_frames_between_fragments_are_answered_at_once,
    many_small_fragments_are_an_honest_message,
    more_than_1024_empty_fragments_fail_with_1008,
    control_frames_above_125_bytes_fail_with_1002,
    control_frames_in_fragments_fail_with_1002,
    pings_are_answered_with_the_same_bytes_in_order,
    pongs_that_nobody_asked_for_are_ignored,
    text_with_bad_utf_8_fails_with_1007_at_the_bad_byte,
    text_that_ends_within_a_character_fails_with_1007,
    text_may_be_cut_within_a_character,
    binary_messages_are_any_bytes,
    examples_of_section_5_7_are_what_they_say,
    all_before_a_violation_is_answered_and_nothing_behind_it,
    all_before_a_close_is_answered_before_it,
    messages_are_limited_at_the_header_and_over_their_fragments,
);

/// What a client must see.
#[derive(Clone, Debug)]
pub(super) struct Due {
    messages: Vec<Frame>,
    control: Vec<Frame>,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// None: it closes with 1000 and is answered so.
    Open,
    /// It has closed with this code, and is answered with it.
    Closes(u16),
    /// A Close of the server with this code and a reason.
    Fails(u16),
}

/// Bytes behind which the connection goes on, and the messages that come back.
pub(super) fn goes_on(name: &str, sent: &[Vec<u8>], messages: &[(u8, &[u8])]) -> Case<Due> {
    let messages = messages.iter().map(|&(first, payload)| frame(first, payload)).collect();
    Case::new(name, sent.concat(), Due { messages, control: Vec::new(), end: End::Open })
}

/// Bytes that fail the connection with `code`: alone, and with others behind them.
pub(super) fn fails(name: &str, sent: &[Vec<u8>], code: u16) -> [Case<Due>; 2] {
    let due = Due { messages: Vec::new(), control: Vec::new(), end: End::Fails(code) };
    let alone = Case::new(name, sent.concat(), due.clone());
    let behind =
        [wire::text("behind"), wire::frame(PING, b"behind"), wire::close(1000, "")].concat();
    let followed = [&*alone.sent, &behind].concat();
    [alone, Case::new(format!("{name}, and frames behind it"), followed, due)]
}

fn frame(first: u8, payload: &[u8]) -> Frame {
    Frame { first, payload: payload.to_vec() }
}

impl Case<Due> {
    /// The messages that are due as well.
    fn echoes(mut self, messages: &[(u8, &[u8])]) -> Self {
        self.due.messages =
            messages.iter().map(|&(first, payload)| frame(first, payload)).collect();
        self
    }

    /// It ends with the peer's Close.
    fn closes(mut self, code: u16) -> Self {
        self.sent.extend(wire::close(code, "bye"));
        self.due.end = End::Closes(code);
        self
    }

    /// The Pongs that are due as well.
    pub(super) fn answers(mut self, pongs: &[&[u8]]) -> Self {
        self.due.control = pongs.iter().map(|payload| frame(PONG, payload)).collect();
        self
    }
}

pub(super) fn check(place: &impl Share, cases: impl IntoIterator<Item = Case<Due>>) {
    check_with(place, Setup::default(), cases);
}

fn check_with(place: &impl Share, setup: Setup, cases: impl IntoIterator<Item = Case<Due>>) {
    check_after(place, setup, |session, peers| upgrade_to("/echo", session, peers), cases);
}

/// Plays all cases behind a handshake of their own, and counts what became of them.
pub(super) fn check_after<P: Share>(
    place: &P,
    setup: Setup,
    mut upgrade: impl FnMut(&mut Session<P::World>, &[Peer]),
    cases: impl IntoIterator<Item = Case<Due>>,
) {
    let mut session = Session::start(place, setup);
    let (failing, closing): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| matches!(case.due.end, End::Fails(_)));
    let failed = play(place, &mut session, &failing, &mut upgrade, look);
    let closed = play(place, &mut session, &closing, &mut upgrade, look);
    let messages = failed.iter().chain(&closed).map(|case| case.due.messages.len() as u64).sum();
    session.counted("messages", messages, |counters| counters.received_messages);
    session.counted("failures", failed.len() as u64, |counters| counters.failed);
    session.counted("closes", closed.len() as u64, |counters| counters.closed);
}

/// Opens a WebSocket for each peer.
pub(super) fn upgrade_to<W: World>(path: &str, session: &mut Session<W>, peers: &[Peer]) {
    for &peer in peers {
        session.send(peer, &wire::request(path, &[]));
    }
    for &peer in peers {
        assert!(session.head(peer).starts_with("HTTP/1.1 101 "));
    }
}

fn look<W: World>(session: &mut Session<W>, peer: Peer, case: &Case<Due>) {
    let due = &case.due;
    let (mut messages, mut control) = (Vec::new(), Vec::new());
    let mut take = |session: &mut Session<W>| {
        let frame = session.deflated_frame(peer);
        let closes = frame.first == CLOSE;
        let lane = if frame.first & 0x08 == 0 { &mut messages } else { &mut control };
        lane.push(frame);
        closes
    };
    match due.end {
        End::Open => {
            for _ in 0..due.messages.len() + due.control.len() {
                take(session);
            }
            session.part(peer);
        }
        End::Closes(code) => {
            while !take(session) {}
            session.ended(peer);
            assert_eq!(control.pop(), Some(frame(CLOSE, &code.to_be_bytes())));
        }
        End::Fails(code) => {
            while !take(session) {}
            session.ended(peer);
            let close = control.pop().expect("it was the last").payload;
            assert_eq!(close.get(..2), Some(&code.to_be_bytes()[..]), "{close:?}");
            let reason = std::str::from_utf8(&close[2..]).expect("a reason is UTF-8");
            assert!((1..=123).contains(&reason.len()), "{reason}");
        }
    }
    assert_eq!((&messages, &control), (&due.messages, &due.control));
}

/// Section 5.1.
fn frames_of_a_client_that_are_not_masked_fail_with_1002(place: &impl Share) {
    let frames: [(&str, &[u8]); 7] = [
        ("a text", b"\x81\x05Hello"),
        ("an empty text", b"\x81\0"),
        ("only its first two bytes", b"\x82\x7f"),
        ("a fragment", b"\x01\x03Hel"),
        ("a Ping", b"\x89\x05Hello"),
        ("a Pong", b"\x8a\0"),
        ("a Close", b"\x88\x02\x03\xe8"),
    ];
    check(place, frames.into_iter().flat_map(|(name, frame)| fails(name, &[frame.to_vec()], 1002)));
    let amid = [wire::frame(TEXT_BEGINS, b"a"), b"\x80\x01b".to_vec()];
    check(place, fails("the end of a message", &amid, 1002));
}

/// Section 5.1; reading a frame refuses those with a mask.
fn no_frame_of_the_server_is_masked(place: &impl Share) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    for words in ["word", "ping word", "send 3 70000", "subscribe topic", "publish topic word"] {
        session.say(peer, words);
    }
    session.send(peer, &wire::frame(PING, b"word"));
    let mut kinds: Vec<_> = (0..9).map(|_| session.frame(peer).first).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [&[TEXT; 7][..], &[PING, PONG]].concat());
    session.say(peer, "close 4000");
    assert_eq!(session.closed(peer).0, 4000);
    session.send(peer, &wire::close(4000, ""));
    session.ended(peer);
}

/// Section 5.2: each of the bits alone and all together, on each opcode that there is.
fn reserved_bits_fail_with_1002(place: &impl Share) {
    let opcodes = [GOES_ON, TEXT_BEGINS, BINARY_BEGINS, 0x08, 0x09, 0x0a];
    let bits = [0x10, 0x20, 0x40, 0x70];
    let all = opcodes.iter().flat_map(|opcode| bits.map(|bit| 0x80 | bit | opcode));
    check(place, all.flat_map(|first| fails(&format!("{first:#04x}"), &[vec![first]], 1002)));
    let amid = [wire::frame(TEXT_BEGINS, b"a"), wire::frame(0xc0, b"b")];
    check(place, fails("RSV1 within a message", &amid, 1002));
}

/// Section 5.2.
fn reserved_opcodes_fail_with_1002_at_the_header(place: &impl Share) {
    let opcodes = (0x3..=0x7).chain(0xb..=0xf);
    let firsts = opcodes.flat_map(|opcode: u8| [opcode, 0x80 | opcode]);
    let cases = firsts.flat_map(|first| fails(&format!("{first:#04x}"), &[vec![first]], 1002));
    check(place, cases);
    let amid = [wire::frame(TEXT_BEGINS, b"a"), vec![0x83]];
    check(place, fails("0x83 within a message", &amid, 1002));
}

/// The header of a masked frame up to its length, in the form that takes two or eight bytes.
fn header_16(first: u8, length: u16) -> Vec<u8> {
    [&[first, 0xfe][..], &length.to_be_bytes()].concat()
}

fn header_64(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff][..], &length.to_be_bytes()].concat()
}

/// Section 5.2.
fn lengths_in_a_longer_form_than_needed_fail_with_1002(place: &impl Share) {
    let short = [0, 1, 124, 125].map(|length| (length.to_string(), header_16(TEXT, length)));
    let long = [0, 125, 126, 65_535].map(|length| (length.to_string(), header_64(BINARY, length)));
    let headers = short.into_iter().chain(long);
    check(place, headers.flat_map(|(name, header)| fails(&name, &[header], 1002)));
    let key = b"\0\0\0\0".to_vec();
    let shortest = |header: Vec<u8>, length| [header, key.clone(), vec![b'x'; length]].concat();
    let good = vec![
        goes_on("126", &[shortest(header_16(TEXT, 126), 126)], &[(TEXT, &[b'x'; 126])]),
        goes_on("65,536", &[shortest(header_64(TEXT, 65_536), 65_536)], &[(TEXT, &[b'x'; 65_536])]),
    ];
    check(place, good);
}

/// Section 5.2.
fn lengths_with_the_top_bit_fail_with_1002(place: &impl Share) {
    let lengths = [1 << 63, (1 << 63) + 1, (1 << 63) | (1 << 32), u64::MAX - 13, u64::MAX];
    for first in [TEXT, BINARY_BEGINS] {
        let header = |length| fails(&format!("{length:#x}"), &[header_64(first, length)], 1002);
        check(place, lengths.into_iter().flat_map(header));
    }
}

/// Sections 5.2 and 10.4: nothing of such a length is waited for or made room for.
fn lengths_beyond_the_limit_fail_with_1009_at_the_header(place: &impl Share) {
    let lengths = [
        1024 * 1024 + 1,
        (1 << 31) - 1,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + 1,
        1 << 62,
        (1 << 63) - 14,
        (1 << 63) - 1,
    ];
    let alone = |length| fails(&format!("{length:#x}"), &[wire::header(BINARY, length)], 1009);
    check(place, lengths.into_iter().flat_map(alone));
    let begun = wire::frame(BINARY_BEGINS, b"a");
    let summed = |length| {
        let name = format!("{length:#x} behind a first fragment");
        fails(&name, &[begun.clone(), wire::header(ENDS, length)], 1009)
    };
    check(place, lengths.into_iter().flat_map(summed));
}

/// A whole message, masked with a key of the case's own.
fn masked(first: u8, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = wire::header(first, payload.len() as u64);
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Bytes that are unlike their neighbours.
fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| ((index * 151) >> 3).to_le_bytes()[0]).collect()
}

/// Section 5.3: the cut goes through all places in a header and in the key as lengths go on.
fn every_length_up_to_4096_is_unmasked_wherever_it_is_cut(place: &impl Share) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    let (step, from) = place.share();
    for length in (from..=4_096).step_by(step) {
        let due = payload(length);
        let [a, b, ..] = (length * 40_503).to_le_bytes();
        let bytes = masked(BINARY, [a, b, a ^ 0x5a, !b], &due);
        let (before, behind) = bytes.split_at(1 + length % (bytes.len() - 1));
        session.send(peer, before);
        session.delivered();
        session.send(peer, behind);
        let echo = session.frame(peer);
        assert!(echo == frame(BINARY, &due), "{length} bytes come back as others");
    }
    session.part(peer);
}

/// Section 5.3: what lies before a payload in the same segment moves it to every place.
fn every_alignment_is_unmasked(place: &impl Share) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    for before in 0..64 {
        for length in [1, 3, 7, 8, 15, 31, 64, 127, 200] {
            let due = payload(length);
            let bytes =
                [wire::frame(PONG, &vec![0; before]), masked(BINARY, *b"\x01\xfe\x80\x7f", &due)];
            session.send(peer, &bytes.concat());
            assert_eq!(session.frame(peer), frame(BINARY, &due), "{before} bytes before {length}");
        }
    }
    session.part(peer);
}

/// Section 5.3.
fn every_kind_of_key_is_applied(place: &impl Share) {
    let keys = [[0; 4], [0xff; 4], [1, 0, 0, 0], [0, 0, 0, 1], *b"\x37\xfa\x21\x3d"];
    check(
        place,
        keys.map(|key| {
            let sent = masked(TEXT, key, b"Hello, every key");
            goes_on(&format!("{key:?}"), &[sent], &[(TEXT, b"Hello, every key")])
        }),
    );
}

/// Section 5.4.
fn fragments_out_of_order_fail_with_1002(place: &impl Share) {
    let begun = wire::frame(TEXT_BEGINS, b"a");
    let whole = [wire::frame(BINARY_BEGINS, b""), wire::frame(ENDS, b"")];
    let cases: [(&str, Vec<Vec<u8>>); 8] = [
        ("an end of nothing", vec![wire::header(ENDS, 0)]),
        ("a middle of nothing", vec![wire::frame(GOES_ON, b"a")]),
        ("an end of nothing, and too long", vec![wire::header(ENDS, 1 << 40)]),
        ("a text within a text", vec![begun.clone(), wire::text("b")]),
        ("a text that begins within a text", vec![begun.clone(), begun.clone()]),
        ("a binary within a text", vec![begun.clone(), wire::frame(BINARY, b"b")]),
        ("a text within a binary", vec![whole[0].clone(), wire::text("b")]),
        (
            "a text within a text that goes on",
            vec![begun, wire::frame(GOES_ON, b""), wire::text("b")],
        ),
    ];
    check(place, cases.into_iter().flat_map(|(name, sent)| fails(name, &sent, 1002)));
}

/// Section 5.4.
fn fragments_are_joined_and_their_kind_is_the_first_ones(place: &impl Share) {
    let goes = |payload| wire::frame(GOES_ON, payload);
    let ends = |payload| wire::frame(ENDS, payload);
    let cases = [
        goes_on(
            "a text in two",
            &[wire::frame(TEXT_BEGINS, b"Hel"), ends(b"lo")],
            &[(TEXT, b"Hello")],
        ),
        goes_on(
            "a binary in four",
            &[wire::frame(BINARY_BEGINS, b"\xff"), goes(b"\xfe"), goes(b"\xfd"), ends(b"\xfc")],
            &[(BINARY, b"\xff\xfe\xfd\xfc")],
        ),
        goes_on(
            "empty ones first, amid and last",
            &[wire::frame(TEXT_BEGINS, b""), goes(b"a"), goes(b""), goes(b"b"), ends(b"")],
            &[(TEXT, b"ab")],
        ),
        goes_on("nothing in two", &[wire::frame(BINARY_BEGINS, b""), ends(b"")], &[(BINARY, b"")]),
        goes_on(
            "one message in two after another, and one whole",
            &[
                wire::frame(BINARY_BEGINS, b"longer than "),
                ends(b"the next"),
                wire::frame(TEXT_BEGINS, b"a"),
                ends(b"b"),
                wire::text("c"),
            ],
            &[(BINARY, b"longer than the next"), (TEXT, b"ab"), (TEXT, b"c")],
        ),
    ];
    check(place, cases);
}

/// Section 5.4: the Pong does not wait for the message's end.
fn control_frames_between_fragments_are_answered_at_once(place: &impl Share) {
    let fragments = [
        wire::frame(TEXT_BEGINS, b"a"),
        wire::frame(PING, b"one"),
        wire::frame(GOES_ON, b"b"),
        wire::frame(PONG, b"unasked"),
        wire::frame(PING, b"two"),
        wire::frame(ENDS, b"c"),
    ];
    check(
        place,
        [goes_on("two Pings and a Pong", &fragments, &[(TEXT, b"abc")]).answers(&[b"one", b"two"])],
    );
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    session.send(peer, &fragments[..2].concat());
    assert_eq!(session.frame(peer), frame(PONG, b"one"));
    session.send(peer, &fragments[2..].concat());
    let mut rest = [session.frame(peer), session.frame(peer)];
    rest.sort_unstable_by_key(|frame| frame.first);
    assert_eq!(rest, [frame(TEXT, b"abc"), frame(PONG, b"two")]);
    session.part(peer);
    let closed = session.open("/echo");
    session.send(closed, &fragments[0]);
    session.part(closed);
}

/// Section 5.4: 4 MiB in fragments of 64 bytes.
fn many_small_fragments_are_an_honest_message(place: &impl Share) {
    const COUNT: usize = 65_536;
    let setup = Setup::with_limits(|limits| limits.protocol.message_bytes_max = 64 * COUNT as u64);
    let mut session = Session::start(place, setup);
    let peer = session.open("/echo");
    let due = payload(64 * COUNT);
    let mut bytes = Vec::new();
    for (index, part) in due.chunks(64).enumerate() {
        let first = match index {
            0 => BINARY_BEGINS,
            _ if index + 1 < COUNT => GOES_ON,
            _ => ENDS,
        };
        bytes.extend(wire::frame(first, part));
    }
    session.send(peer, &bytes);
    assert!(session.frame(peer) == frame(BINARY, &due), "it comes back as another");
    session.part(peer);
}

/// Section 5.4: fragments that bring nothing are counted, those between others too.
fn more_than_1024_empty_fragments_fail_with_1008(place: &impl Share) {
    let (begins, empty) = (wire::frame(TEXT_BEGINS, b""), wire::frame(GOES_ON, b""));
    let some = |count| empty.repeat(count);
    check(
        place,
        [
            goes_on(
                "1,023",
                &[begins.clone(), some(1_022), wire::frame(ENDS, b"a")],
                &[(TEXT, b"a")],
            ),
            goes_on(
                "1,024",
                &[begins.clone(), some(1_023), wire::frame(ENDS, b"a")],
                &[(TEXT, b"a")],
            ),
            goes_on(
                "1,024, and again in the next message",
                &[
                    begins.clone(),
                    some(1_023),
                    wire::frame(ENDS, b""),
                    begins.clone(),
                    some(1_023),
                    wire::frame(ENDS, b""),
                ],
                &[(TEXT, b""), (TEXT, b"")],
            ),
        ],
    );
    let between = [wire::frame(GOES_ON, b"x"), empty.clone()].concat().repeat(1_024);
    check(place, fails("1,025", &[begins.clone(), some(1_024)], 1008));
    check(place, fails("1,025 between others", &[begins, between], 1008));
}

/// Section 5.5: all three.
fn control_frames_above_125_bytes_fail_with_1002(place: &impl Share) {
    for first in [CLOSE, PING, PONG] {
        check(place, fails("126 bytes", &[vec![first, 0xfe]], 1002));
        check(place, fails("65,536 bytes", &[vec![first, 0xff]], 1002));
        check(place, fails("126 bytes, all", &[wire::frame(first, &[b'x'; 126])], 1002));
    }
    check(
        place,
        [goes_on("a Ping of 125", &[wire::frame(PING, &[b'x'; 125])], &[])
            .answers(&[&[b'x'; 125]])],
    );
}

/// Section 5.5: all three, also between fragments.
fn control_frames_in_fragments_fail_with_1002(place: &impl Share) {
    for first in [CLOSE, PING, PONG] {
        let unfinished = vec![first & 0x7f];
        check(place, fails("the first of two", std::slice::from_ref(&unfinished), 1002));
        check(
            place,
            fails("within a message", &[wire::frame(TEXT_BEGINS, b"a"), unfinished], 1002),
        );
    }
}

/// Sections 5.5.2 and 5.5.3.
fn pings_are_answered_with_the_same_bytes_in_order(place: &impl Share) {
    let payloads: [&[u8]; 10] =
        [b"", b"1", b"\0\xff\xfe", b"2", b"2", b"", b"\x88", b"3", b"4", b"5"];
    let pings = payloads.map(|payload| wire::frame(PING, payload));
    check(place, [goes_on("ten", &pings, &[]).answers(&payloads)]);
    // Every length, in one segment, from several peers: nobody may send too many in a second.
    let mut session = Session::start(place, Setup::default());
    let lengths: Vec<_> = (0..=125).collect();
    for lengths in lengths.chunks(50) {
        let peer = session.open("/echo");
        let pings: Vec<_> =
            lengths.iter().map(|&length| wire::frame(PING, &payload(length))).collect();
        session.send(peer, &pings.concat());
        for &length in lengths {
            assert_eq!(session.frame(peer), frame(PONG, &payload(length)));
        }
        session.part(peer);
    }
}

/// Section 5.5.3.
fn pongs_that_nobody_asked_for_are_ignored(place: &impl Share) {
    let pongs =
        [wire::frame(PONG, b""), wire::frame(PONG, b"nobody asked"), wire::frame(PONG, &[7; 125])];
    check(
        place,
        [
            goes_on("three", &pongs, &[]),
            goes_on("before a message", &[pongs.concat(), wire::text("a")], &[(TEXT, b"a")]),
        ],
    );
}

/// A frame that announces a text of 60 bytes, with its first bytes only.
fn beginning(payload: &[u8]) -> Vec<u8> {
    let whole = [payload, &vec![b'x'; 60 - payload.len()]].concat();
    let mut bytes = wire::frame(TEXT, &whole);
    bytes.truncate(2 + 4 + payload.len());
    bytes
}

/// Section 8.1: surrogates, overlong forms, what is above U+10FFFF, bytes that are never there, and
/// followers that are missing or too many. Played without what is to come behind the bad byte.
fn text_with_bad_utf_8_fails_with_1007_at_the_bad_byte(place: &impl Share) {
    let bad: [&[u8]; 22] = [
        b"\x80",
        b"\xbf",
        b"a\x80",
        b"\xc0",
        b"\xc1",
        b"\xf5",
        b"\xf8",
        b"\xfc",
        b"\xfe",
        b"\xff",
        b"\xc3\x28",
        b"\xe2\x28",
        b"\xe2\x82\x28",
        b"\xf0\x9f\x98\x28",
        b"\xe0\x80",
        b"\xe0\x9f",
        b"\xf0\x80",
        b"\xf0\x8f",
        b"\xed\xa0",
        b"\xed\xbf",
        b"\xf4\x90",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0",
    ];
    for bytes in bad {
        let name = bytes.escape_ascii().to_string();
        check(place, fails(&name, &[beginning(bytes)], 1007));
        check(place, fails(&name, &[wire::frame(TEXT, bytes)], 1007));
        check(place, fails(&name, &[wire::frame(TEXT_BEGINS, bytes)], 1007));
        let split = bytes.split_at(bytes.len() / 2);
        let fragments = [wire::frame(TEXT_BEGINS, split.0), wire::frame(GOES_ON, split.1)];
        check(place, fails(&name, &fragments, 1007));
    }
}

/// Section 8.1.
fn text_that_ends_within_a_character_fails_with_1007(place: &impl Share) {
    let cut: [&[u8]; 6] = [b"\xc3", b"\xe2\x82", b"\xe2", b"\xf0\x9f\x98", b"\xf0", b"abc\xf4\x8f"];
    for bytes in cut {
        let name = bytes.escape_ascii().to_string();
        check(place, fails(&name, &[wire::frame(TEXT, bytes)], 1007));
        check(
            place,
            fails(&name, &[wire::frame(TEXT_BEGINS, bytes), wire::frame(ENDS, b"")], 1007),
        );
        check(
            place,
            fails(&name, &[wire::frame(TEXT_BEGINS, bytes), wire::frame(ENDS, b"a")], 1007),
        );
    }
}

/// Section 5.6: fragments need not hold whole characters.
fn text_may_be_cut_within_a_character(place: &impl Share) {
    let text = "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffd}\u{ffff}\u{10000}\u{10ffff}";
    let bytes = text.as_bytes();
    check(place, [goes_on("whole", &[wire::text(text)], &[(TEXT, bytes)])]);
    check(
        place,
        (0..=bytes.len()).map(|offset| {
            let (begin, end) = bytes.split_at(offset);
            let fragments = [wire::frame(TEXT_BEGINS, begin), wire::frame(ENDS, end)];
            goes_on(
                &format!("fragments of {offset} bytes and the rest"),
                &fragments,
                &[(TEXT, bytes)],
            )
        }),
    );
    let mut single: Vec<_> = bytes.chunks(1).map(|byte| wire::frame(GOES_ON, byte)).collect();
    single.insert(0, wire::frame(TEXT_BEGINS, b""));
    single.push(wire::frame(ENDS, b""));
    check(place, [goes_on("a fragment for each byte", &single, &[(TEXT, bytes)])]);
}

/// Section 5.6.
fn binary_messages_are_any_bytes(place: &impl Share) {
    let every: Vec<_> = (0..=255).collect();
    let cases = [b"\xff".to_vec(), b"\xed\xa0\x80".to_vec(), b"\xc3".to_vec(), every];
    check(
        place,
        cases
            .iter()
            .map(|bytes| goes_on("any bytes", &[wire::frame(BINARY, bytes)], &[(BINARY, bytes)])),
    );
}

/// Section 5.7, with masks where a client must send them. A frame is its first byte, the shortest
/// form of its length, and its payload: so what comes back is the example to the byte.
fn examples_of_section_5_7_are_what_they_say(place: &impl Share) {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
    let ping = [b"\x89".to_vec(), pong[1..].to_vec()].concat();
    let fragments = [masked(TEXT_BEGINS, [0; 4], b"Hel"), b"\x80\x82\0\0\0\0lo".to_vec()];
    let long = |header: &[u8], length| [header, &vec![0xab; length]].concat();
    check(
        place,
        [
            goes_on("a text", &[hello], &[(TEXT, b"Hello")]),
            goes_on("a text in fragments", &fragments, &[(TEXT, b"Hello")]),
            goes_on("a Ping", &[ping], &[]).answers(&[b"Hello"]),
            goes_on("a Pong", &[pong], &[]),
            goes_on(
                "256 bytes",
                &[long(b"\x82\xfe\x01\0\0\0\0\0", 256)],
                &[(BINARY, &[0xab; 256])],
            ),
            goes_on(
                "64 KiB",
                &[long(b"\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0", 65_536)],
                &[(BINARY, &[0xab; 65_536])],
            ),
        ],
    );
}

/// Section 7.1.7: what was said before a Close leaves before it, as long as the peer takes it.
fn all_before_a_violation_is_answered_and_nothing_behind_it(place: &impl Share) {
    let before = [
        wire::frame(PING, b"one"),
        wire::text("Hello"),
        wire::frame(PING, b"two"),
        wire::frame(BINARY, &[0xff; 300]),
    ]
    .concat();
    for (bytes, code) in [
        (b"\x81\0".to_vec(), 1002),
        (wire::frame(TEXT, b"\xff"), 1007),
        (wire::header(BINARY, 1 << 40), 1009),
    ] {
        let cases = fails(&format!("one of {code}"), &[before.clone(), bytes], code);
        check(
            place,
            cases.map(|case| {
                case.answers(&[b"one", b"two"]).echoes(&[(TEXT, b"Hello"), (BINARY, &[0xff; 300])])
            }),
        );
    }
}

/// Section 5.5.1: the peer's Close is its last word, and so is the answer.
fn all_before_a_close_is_answered_before_it(place: &impl Share) {
    let messages =
        [wire::text("Hello"), wire::frame(PING, b"ping"), wire::frame(BINARY, &[7; 300])];
    let due: [(u8, &[u8]); 2] = [(TEXT, b"Hello"), (BINARY, &[7; 300])];
    let amid = [wire::text("Hello"), wire::frame(TEXT_BEGINS, b"never to be ended")];
    check(
        place,
        [
            goes_on("messages and a Ping", &messages, &due).answers(&[b"ping"]).closes(1000),
            goes_on("a message and a half", &amid, &due[..1]).closes(4999),
        ],
    );
}

/// Section 10.4: a limit of a thousand bytes, so that cuts are cheap.
fn messages_are_limited_at_the_header_and_over_their_fragments(place: &impl Share) {
    let setup = Setup::with_limits(|limits| limits.protocol.message_bytes_max = 1_000);
    let due = vec![b'x'; 1_000];
    let begins = |length| wire::frame(TEXT_BEGINS, &due[..length]);
    let passes = [
        goes_on("999", &[wire::frame(TEXT, &due[1..])], &[(TEXT, &due[1..])]),
        goes_on("1,000", &[wire::frame(TEXT, &due)], &[(TEXT, &due)]),
        goes_on("600 and 400", &[begins(600), wire::frame(ENDS, &due[600..])], &[(TEXT, &due)]),
        goes_on("1,000 and nothing", &[begins(1_000), wire::frame(ENDS, b"")], &[(TEXT, &due)]),
    ];
    let too_big = [
        fails("1,001", &[wire::header(TEXT, 1_001)], 1009),
        fails("600 and 401", &[begins(600), wire::header(ENDS, 401)], 1009),
        fails("1,000 and 1", &[begins(1_000), wire::header(GOES_ON, 1)], 1009),
        fails(
            "500, 500 and 1",
            &[begins(500), wire::frame(GOES_ON, &due[500..]), wire::header(ENDS, 1)],
            1009,
        ),
    ];
    check_with(place, setup, passes.into_iter().chain(too_big.into_iter().flatten()));
}
