//! Frames and messages by the sentences of RFC 6455 section 5, and the limits of section 10.4.

use tickwire_protocol::encode::{self, frame};
use tickwire_protocol::{Connection, Kind, Limits, OpCode, Role};

use crate::drive::{MASK, Outcome, Seen, feed, run};

/// What a server must see of `stream`, however it is cut.
struct Case {
    name: &'static str,
    stream: Vec<u8>,
    seen: Vec<Seen>,
}

fn case(name: &'static str, frames: &[Vec<u8>], seen: &[Seen]) -> Case {
    Case { name, stream: frames.concat(), seen: seen.to_vec() }
}

fn run_cases(limits: &Limits, cases: &[Case]) {
    for case in cases {
        let outcome = run(case.name, Role::Server, &case.stream, limits);
        assert_eq!(outcome.seen, case.seen, "{}", case.name);
    }
}

/// A client's frame.
fn masked(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(fin, opcode, Some(MASK), payload, &mut out);
    out
}

/// The header of a client's frame with FIN, in the 64-bit form, and no payload.
fn header_declaring(opcode: u8, len: u64) -> Vec<u8> {
    [&[0x80 | opcode, 0xff], &len.to_be_bytes()[..], &MASK].concat()
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

const PROTOCOL_ERROR: Seen = Seen::Failed(1002);
const NOT_UTF8: Seen = Seen::Failed(1007);
const POLICY: Seen = Seen::Failed(1008);
const TOO_BIG: Seen = Seen::Failed(1009);

#[test]
fn masking_is_required_of_clients_and_refused_from_servers() {
    let unmasked = b"\x81\x05Hello".to_vec();
    let cases =
        [case("5.1 unmasked from a client", core::slice::from_ref(&unmasked), &[PROTOCOL_ERROR])];
    run_cases(&Limits::default(), &cases);

    let from_server = run("5.1 server", Role::Client, &unmasked, &Limits::default());
    assert_eq!(from_server.seen, [text("Hello")]);
    let masked = masked(true, OpCode::Text, b"Hello");
    let refused = run("5.1 masked from a server", Role::Client, &masked, &Limits::default());
    assert_eq!(refused.seen, [PROTOCOL_ERROR]);
}

#[test]
fn reserved_bits_and_opcodes_are_refused_at_the_first_byte() {
    for first in 0..=u8::MAX {
        let (fin, reserved, opcode) = (first & 0x80 != 0, first & 0x70 != 0, first & 0x0f);
        let known = matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10);
        let seen = run("5.2", Role::Server, &[first], &Limits::default()).seen;
        let refused = reserved || !known || (opcode >= 8 && !fin);
        let expected: &[Seen] = if refused { &[PROTOCOL_ERROR] } else { &[] };
        assert_eq!(seen, expected, "first byte {first:#04x}");
    }
}

#[test]
fn lengths_must_be_in_their_shortest_form() {
    let form_16 = |len: u16| [&[0x82, 0xfe], &len.to_be_bytes()[..], &MASK].concat();
    let cases = [
        case("5.2 126-form carrying 125", &[form_16(125)], &[PROTOCOL_ERROR]),
        case("5.2 126-form carrying 0", &[form_16(0)], &[PROTOCOL_ERROR]),
        case("5.2 126-form carrying 126", &[form_16(126)], &[]),
        case("5.2 127-form carrying 65535", &[header_declaring(2, 65535)], &[PROTOCOL_ERROR]),
        case("5.2 127-form carrying 0", &[header_declaring(2, 0)], &[PROTOCOL_ERROR]),
        case("5.2 127-form carrying 65536", &[header_declaring(2, 65536)], &[]),
    ];
    run_cases(&Limits::default(), &cases);
}

#[test]
fn declared_lengths_at_the_edges_of_integers_are_refused_at_the_header() {
    let begun = masked(false, OpCode::Binary, b"begun");
    let mut cases = vec![
        case("5.2 2^63", &[header_declaring(2, 1 << 63)], &[PROTOCOL_ERROR]),
        case("5.2 2^64-1", &[header_declaring(2, u64::MAX)], &[PROTOCOL_ERROR]),
        case("5.2 2^63-1", &[header_declaring(2, (1 << 63) - 1)], &[TOO_BIG]),
        case("5.2 2^62", &[header_declaring(1, 1 << 62)], &[TOO_BIG]),
        case("5.4 5 + (2^63-1)", &[begun.clone(), header_declaring(0, (1 << 63) - 1)], &[TOO_BIG]),
    ];
    for len in [(1 << 32) - 1, 1 << 32, (1 << 32) + 1] {
        cases.push(case("5.2 2^32±1", &[header_declaring(2, len)], &[TOO_BIG]));
        cases.push(case("5.4 5 + 2^32±1", &[begun.clone(), header_declaring(0, len)], &[TOO_BIG]));
    }
    run_cases(&Limits::default(), &cases);
}

/// A fragment must have arrived whole before the next can declare anything, so the sum of what is
/// declared stays below what arrived plus 2^63; with no limit at all it must still be right.
#[test]
fn a_sum_of_declared_lengths_does_not_wrap() {
    let mut limits = Limits::default();
    limits.message_bytes_max = (1 << 63) - 1;
    let stream = [masked(false, OpCode::Binary, b"x"), header_declaring(0, (1 << 63) - 1)].concat();
    assert_eq!(run("5.4 sum", Role::Server, &stream, &limits).seen, [TOO_BIG]);
    limits.message_bytes_max = u64::MAX;
    assert_eq!(run("5.4 sum", Role::Server, &stream, &limits).seen, []);
}

#[test]
fn fragments_come_in_order() {
    use OpCode::{Binary, Continuation, Ping, Pong, Text};
    let ping = masked(true, Ping, b"p");
    let cases = [
        case("5.4 continuation of nothing", &[masked(true, Continuation, b"a")], &[PROTOCOL_ERROR]),
        case(
            "5.4 continuation of nothing, and too long",
            &[header_declaring(0, 1 << 40)],
            &[PROTOCOL_ERROR],
        ),
        case("5.4 unfinished continuation", &[masked(false, Continuation, b"")], &[PROTOCOL_ERROR]),
        case(
            "5.4 continuation after a whole message",
            &[masked(true, Text, b"a"), masked(true, Continuation, b"b")],
            &[text("a"), PROTOCOL_ERROR],
        ),
        case(
            "5.4 new text during a message",
            &[masked(false, Text, b"a"), masked(true, Text, b"b")],
            &[PROTOCOL_ERROR],
        ),
        case(
            "5.4 new binary during a message",
            &[masked(false, Text, b"a"), masked(false, Binary, b"b")],
            &[PROTOCOL_ERROR],
        ),
        case(
            "5.4 control frames between fragments",
            &[
                masked(false, Text, b"a"),
                ping.clone(),
                masked(false, Continuation, b"b"),
                masked(true, Pong, b"unasked"),
                masked(true, Continuation, b"c"),
                ping,
            ],
            &[
                Seen::Ping(b"p".to_vec()),
                Seen::Pong(b"unasked".to_vec()),
                text("abc"),
                Seen::Ping(b"p".to_vec()),
            ],
        ),
        case(
            "5.4 empty first and last fragments",
            &[
                masked(false, Text, b""),
                masked(false, Continuation, b"ab"),
                masked(true, Continuation, b""),
                masked(false, Binary, b""),
                masked(true, Continuation, b""),
                masked(true, Text, b""),
            ],
            &[text("ab"), Seen::Binary(Vec::new()), text("")],
        ),
        case(
            "5.4 fragments of one message after those of another",
            &[
                masked(false, Binary, b"longer than what follows"),
                masked(true, Continuation, b"!"),
                masked(false, Text, b"x"),
                masked(true, Continuation, b"y"),
            ],
            &[Seen::Binary(b"longer than what follows!".to_vec()), text("xy")],
        ),
    ];
    run_cases(&Limits::default(), &cases);
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [OpCode::Close, OpCode::Ping, OpCode::Pong] {
        let cases = [
            case("5.5 fragmented", &[masked(false, opcode, b"")], &[PROTOCOL_ERROR]),
            case("5.5 126 bytes", &[masked(true, opcode, &[b'x'; 126])], &[PROTOCOL_ERROR]),
            case(
                "5.5 2^16 bytes",
                &[masked(true, opcode, &[b'x'; 65536])[..14].to_vec()],
                &[PROTOCOL_ERROR],
            ),
        ];
        run_cases(&Limits::default(), &cases);
    }
}

#[test]
fn pings_of_every_length_are_answered_in_order_with_the_same_bytes() {
    let payloads: Vec<Vec<u8>> = (0..=125).map(|len: u8| vec![len ^ 0xa5; len.into()]).collect();
    let stream: Vec<u8> =
        payloads.iter().flat_map(|payload| masked(true, OpCode::Ping, payload)).collect();
    let pieces: Vec<Vec<usize>> =
        vec![vec![stream.len()], vec![1; stream.len()], vec![stream.len() / 2; 2]];
    for pieces in pieces.iter().filter(|pieces| pieces.iter().sum::<usize>() == stream.len()) {
        let outcome = feed(&mut Connection::new(Role::Server), &stream, pieces, &Limits::default());
        let expected: Vec<Seen> = payloads.iter().cloned().map(Seen::Ping).collect();
        assert_eq!(outcome.seen, expected);
        crate::drive::assert_owed("5.5.2", Role::Server, &outcome);
    }
}

/// Section 5.5: a control frame that is too long cannot be made by mistake.
#[test]
fn pings_and_pongs_are_cut_to_125_bytes() {
    let payload: Vec<u8> = (0..=255).collect();
    for len in [0, 124, 125, 126, 256] {
        let mut out = Vec::new();
        encode::ping(&payload[..len], Some(MASK), &mut out);
        encode::pong(&payload[..len], Some(MASK), &mut out);
        let kept = payload[..len.min(125)].to_vec();
        let seen = feed(&mut Connection::new(Role::Server), &out, &[out.len()], &Limits::default());
        assert_eq!(seen.seen, [Seen::Ping(kept.clone()), Seen::Pong(kept)], "{len} bytes");
    }
}

#[test]
fn text_is_checked_as_it_arrives_and_characters_may_be_split() {
    use OpCode::{Continuation, Text};
    let euro = "€".as_bytes();
    let cases = [
        case(
            "5.6 a character over three fragments",
            &[
                masked(false, Text, &euro[..1]),
                masked(false, Continuation, &euro[1..2]),
                masked(true, Continuation, &euro[2..]),
            ],
            &[text("€")],
        ),
        case(
            "5.6 a character with empty fragments and a Ping inside",
            &[
                masked(false, Text, &euro[..2]),
                masked(false, Continuation, b""),
                masked(true, OpCode::Ping, b""),
                masked(true, Continuation, &euro[2..]),
            ],
            &[Seen::Ping(Vec::new()), text("€")],
        ),
        case("8.1 cut character at the end", &[masked(true, Text, &euro[..2])], &[NOT_UTF8]),
        case(
            "8.1 cut character at the end of fragments",
            &[masked(false, Text, &euro[..2]), masked(true, Continuation, b"")],
            &[NOT_UTF8],
        ),
        case(
            "8.1 ASCII after a cut character",
            &[masked(false, Text, &euro[..2]), masked(false, Continuation, b"a")],
            &[NOT_UTF8],
        ),
        case("8.1 surrogate", &[masked(true, Text, b"\xed\xa0\x80")], &[NOT_UTF8]),
        case("8.1 overlong", &[masked(true, Text, b"\xc0\xaf")], &[NOT_UTF8]),
        case("8.1 above U+10FFFF", &[masked(true, Text, b"\xf4\x90\x80\x80")], &[NOT_UTF8]),
        case("8.1 U+10FFFF", &[masked(true, Text, b"\xf4\x8f\xbf\xbf")], &[text("\u{10ffff}")]),
        case("8.1 lone continuation byte", &[masked(true, Text, b"ab\x80")], &[NOT_UTF8]),
        case(
            "8.1 binary is free",
            &[masked(true, OpCode::Binary, b"\xff")],
            &[Seen::Binary(vec![0xff])],
        ),
    ];
    run_cases(&Limits::default(), &cases);
}

/// Section 8.1, and the strict reading of the Autobahn suite: neither the end of the frame nor
/// that of the message is waited for.
#[test]
fn a_bad_byte_in_text_fails_the_connection_at_once() {
    let frame = masked(true, OpCode::Text, b"good \xf4\x90 and much that is still to come");
    let header_len = 6;
    for arrived in 0..frame.len() {
        let seen = feed(
            &mut Connection::new(Role::Server),
            &frame[..arrived],
            &[arrived],
            &Limits::default(),
        )
        .seen;
        // The byte 0x90 is the first that no valid text could have there.
        let expected: &[Seen] =
            if arrived > header_len + b"good \xf4".len() { &[NOT_UTF8] } else { &[] };
        assert_eq!(seen, expected, "{arrived} bytes arrived");
    }
}

#[test]
fn the_examples_of_section_5_7_decode_and_encode_byte_for_byte() {
    let hello = |bytes: &[u8], role, seen: Seen| {
        assert_eq!(run("5.7", role, bytes, &Limits::default()).seen, [seen]);
    };
    let single = b"\x81\x05\x48\x65\x6c\x6c\x6f";
    let single_masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let fragmented = b"\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f";
    let ping = b"\x89\x05\x48\x65\x6c\x6c\x6f";
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    hello(single, Role::Client, text("Hello"));
    hello(single_masked, Role::Server, text("Hello"));
    hello(fragmented, Role::Client, text("Hello"));
    hello(ping, Role::Client, Seen::Ping(b"Hello".to_vec()));
    hello(pong, Role::Server, Seen::Pong(b"Hello".to_vec()));

    let mut out = Vec::new();
    encode::message(Kind::Text, b"Hello", &mut out);
    encode::masked_message(Kind::Text, MASK, b"Hello", &mut out);
    frame(false, OpCode::Text, None, b"Hel", &mut out);
    frame(true, OpCode::Continuation, None, b"lo", &mut out);
    encode::ping(b"Hello", None, &mut out);
    encode::pong(b"Hello", Some(MASK), &mut out);
    assert_eq!(out, [&single[..], single_masked, fragmented, ping, pong].concat());

    for (len, header) in
        [(256, &b"\x82\x7e\x01\x00"[..]), (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00")]
    {
        let payload: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
        out.clear();
        encode::message(Kind::Binary, &payload, &mut out);
        assert_eq!(out, [header, &payload].concat());
        let seen = feed(&mut Connection::new(Role::Client), &out, &[out.len()], &Limits::default());
        assert_eq!(seen.seen, [Seen::Binary(payload)]);
    }
}

#[test]
fn a_message_is_limited_at_its_header_and_over_its_fragments() {
    let mut limits = Limits::default();
    limits.message_bytes_max = 10;
    let whole = |len: usize| masked(true, OpCode::Binary, &vec![7; len]);
    let first = masked(false, OpCode::Binary, &[7; 6]);
    let last = |len: usize| masked(true, OpCode::Continuation, &vec![7; len]);
    let message = |len: usize| Seen::Binary(vec![7; len]);
    let cases = [
        case("10.4 limit - 1", &[whole(9)], &[message(9)]),
        case("10.4 limit", &[whole(10)], &[message(10)]),
        case("10.4 limit + 1", &[whole(11)], &[TOO_BIG]),
        case("10.4 limit + 1, header only", &[whole(11)[..6].to_vec()], &[TOO_BIG]),
        case("10.4 fragments to the limit - 1", &[first.clone(), last(3)], &[message(9)]),
        case("10.4 fragments to the limit", &[first.clone(), last(4)], &[message(10)]),
        case("10.4 fragments to the limit + 1", &[first.clone(), last(5)], &[TOO_BIG]),
        case(
            "10.4 fragments to the limit + 1, header only",
            &[first, last(5)[..6].to_vec()],
            &[TOO_BIG],
        ),
        case(
            "10.4 the sum begins anew with each message",
            &[whole(10), whole(10), whole(10)],
            &[message(10), message(10), message(10)],
        ),
        case(
            "10.4 control frames do not count",
            &[masked(true, OpCode::Ping, &[1; 20]), whole(10)],
            &[Seen::Ping(vec![1; 20]), message(10)],
        ),
    ];
    run_cases(&limits, &cases);
    limits.message_bytes_max = 0;
    let cases = [case("10.4 only empty messages", &[whole(0), whole(1)], &[message(0), TOO_BIG])];
    run_cases(&limits, &cases);
}

#[test]
fn the_default_message_limit_is_one_mebibyte() {
    let limit = 1024 * 1024;
    for (len, fits) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
        let stream = masked(true, OpCode::Binary, &vec![9; len]);
        for pieces in [vec![stream.len()], vec![100, stream.len() - 100]] {
            let connection = &mut Connection::new(Role::Server);
            let seen = feed(connection, &stream, &pieces, &Limits::default()).seen;
            assert_eq!(seen, [if fits { Seen::Binary(vec![9; len]) } else { TOO_BIG }], "{len}");
        }
    }
}

#[test]
fn fragments_that_bring_nothing_are_counted() {
    let mut limits = Limits::default();
    limits.empty_fragments_max = 3;
    let begin = || masked(false, OpCode::Text, b"a");
    let empty = || masked(false, OpCode::Continuation, b"");
    let end = || masked(true, OpCode::Continuation, b"z");
    let three = [begin(), empty(), empty(), empty(), end()].concat();
    let cases = [
        case("limit - 1", &[begin(), empty(), empty(), end()], &[text("az")]),
        case("limit", core::slice::from_ref(&three), &[text("az")]),
        case("limit + 1", &[begin(), empty(), empty(), empty(), empty()], &[POLICY]),
        case("counted anew in each message", &[three.clone(), three], &[text("az"), text("az")]),
        case(
            "the first fragment counts as well",
            &[masked(false, OpCode::Text, b""), empty(), empty(), empty()],
            &[POLICY],
        ),
        case(
            "not in a row",
            &[empty_text(), begin_more(), empty(), begin_more(), empty(), begin_more(), empty()],
            &[POLICY],
        ),
    ];
    run_cases(&limits, &cases);

    fn empty_text() -> Vec<u8> {
        masked(false, OpCode::Text, b"")
    }
    fn begin_more() -> Vec<u8> {
        masked(false, OpCode::Continuation, b"b")
    }
}

#[test]
fn the_default_admits_1024_empty_fragments() {
    let mut stream = masked(false, OpCode::Text, b"a");
    for _ in 0..1024 {
        stream.extend(masked(false, OpCode::Continuation, b""));
    }
    let run = |stream: &[u8]| -> Outcome {
        feed(&mut Connection::new(Role::Server), stream, &[stream.len()], &Limits::default())
    };
    let whole = [stream.clone(), masked(true, OpCode::Continuation, b"")].concat();
    assert_eq!(run(&whole).seen, [text("a")]);
    stream.extend(masked(false, OpCode::Continuation, b""));
    assert_eq!(run(&stream).seen, [POLICY]);
}

/// Autobahn 9.3.1: 4 MB in fragments of 64 bytes is an honest message.
#[test]
fn sixty_five_thousand_small_fragments_are_one_message() {
    let mut limits = Limits::default();
    limits.message_bytes_max = 4 * 1024 * 1024;
    let fragments = 65_536;
    let mut stream = Vec::new();
    for index in 0..fragments {
        let opcode = if index == 0 { OpCode::Binary } else { OpCode::Continuation };
        stream.extend(masked(index + 1 == fragments, opcode, &[b'*'; 64]));
    }
    let pieces: Vec<usize> = stream.chunks(16 * 1024 + 7).map(<[u8]>::len).collect();
    for pieces in [vec![stream.len()], pieces] {
        let seen = feed(&mut Connection::new(Role::Server), &stream, &pieces, &limits).seen;
        assert_eq!(seen, [Seen::Binary(vec![b'*'; 64 * fragments])]);
    }
}

#[test]
fn every_payload_length_arrives_unmasked_however_it_is_cut() {
    for len in (0..300).chain([1000, 4096, 65535, 65536]) {
        let payload: Vec<u8> = (0..=250).cycle().take(len).collect();
        let stream = masked(true, OpCode::Binary, &payload);
        for first in (0..24.min(stream.len())).chain([stream.len() / 2, stream.len()]) {
            let pieces = [first, stream.len() - first];
            let connection = &mut Connection::new(Role::Server);
            let seen = feed(connection, &stream, &pieces, &Limits::default()).seen;
            assert_eq!(seen, [Seen::Binary(payload.clone())], "{len} bytes cut at {first}");
        }
    }
}
