//! Compressed messages on their way in: RFC 7692 sections 6 and 7.2.

use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_protocol::encode::{self, frame};
use tickwire_protocol::{
    CloseCode, Connection, Deflater, Event, Inflater, Kind, Limits, OpCode, Role,
};

use crate::drive::{MASK, Outcome, Seen, feed_with, run, run_deflate};
use crate::reference::inflate::{self, Messages, Wrong};

/// Frames as their first bytes and payloads.
type Frames<'a> = &'a [(u8, &'a [u8])];

/// A frame for `role` whose first byte is given, so that any reserved bit can be set.
fn raw(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let key = (role == Role::Server).then_some(MASK);
    frame(true, OpCode::Binary, key, payload, &mut out);
    out[0] = first;
    out
}

/// What a server sees of frames with these first bytes and payloads.
fn see(context: bool, frames: Frames<'_>, limits: &Limits) -> Vec<Seen> {
    let stream: Vec<u8> =
        frames.iter().flat_map(|(first, payload)| raw(Role::Server, *first, payload)).collect();
    run_deflate(&format!("{frames:x?}"), Role::Server, context, &stream, limits).seen
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

/// Sections 7.2.3.1 to 7.2.3.6, as frames of a server and masked as those of a client.
#[test]
fn the_examples_of_section_7_2_3_inflate() {
    let hello: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let cases: [(&str, bool, Frames<'_>, &[&str]); 9] = [
        ("7.2.3.1", false, &[(0xc1, hello)], &["Hello"]),
        ("7.2.3.1, fragments", false, &[(0x41, &hello[..3]), (0x80, &hello[3..])], &["Hello"]),
        ("7.2.3.2", true, &[(0xc1, hello), (0xc1, b"\xf2\x00\x11\x00\x00")], &["Hello"; 2]),
        ("7.2.3.2, without context", false, &[(0xc1, hello), (0xc1, hello)], &["Hello"; 2]),
        ("7.2.3.3", false, &[(0xc1, b"\x00\x05\x00\xfa\xffHello\x00")], &["Hello"]),
        ("7.2.3.4", false, &[(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")], &["Hello"]),
        (
            "7.2.3.5",
            false,
            &[(0xc1, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")],
            &["Hello"],
        ),
        ("7.2.3.6", false, &[(0xc1, b"\x00")], &[""]),
        (
            "7.2.3.6, between others",
            true,
            &[(0xc1, hello), (0xc1, b"\0"), (0xc1, hello)],
            &["Hello", "", "Hello"],
        ),
    ];
    for role in [Role::Client, Role::Server] {
        for (name, context, frames, expected) in cases {
            let stream: Vec<u8> =
                frames.iter().flat_map(|(first, payload)| raw(role, *first, payload)).collect();
            let seen = run_deflate(name, role, context, &stream, &Limits::default()).seen;
            let expected: Vec<Seen> = expected.iter().map(|payload| text(payload)).collect();
            assert_eq!(seen, expected, "{name}");
        }
    }
}

/// Section 7.2.3.4: a final block ends a stream, not the message, and the next block a byte later
/// begins another.
#[test]
fn blocks_after_a_final_block_inflate() {
    let last: &[u8] = b"\xf3\x48\xcd\xc9\xc9\x07\x00";
    let hello = &b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff"[..];
    let twice = [last, last, b"\x00"].concat();
    let mixed = [last, b"\xf2\x48\xcd\xc9\xc9\x07\x00"].concat();
    let stored = [b"\x01\x05\x00\xfa\xffHello", last, b"\x00"].concat();
    for context in [false, true] {
        for (packed, expected) in [
            (&twice, "HelloHello"),
            (&mixed, "HelloHello"),
            (&stored, "HelloHello"),
            // The empty block that is stripped may be final too.
            (&[hello, b"\x01"].concat(), "Hello"),
            (&b"\x01".to_vec(), ""),
            // Without the byte of an empty block at the end, which a sender should add.
            (&last.to_vec(), "Hello"),
        ] {
            let seen = see(context, &[(0xc1, packed), (0xc1, packed)], &Limits::default());
            assert_eq!(seen, [text(expected), text(expected)], "{}", packed.escape_ascii());
        }
        // The stream is over, so there is nothing to refer back to.
        let seen =
            see(context, &[(0xc1, last), (0xc1, b"\xf2\x00\x11\x00\x00")], &Limits::default());
        assert_eq!(seen, [text("Hello"), Seen::Failed(1007)]);
    }
}

/// What zlib makes of a flush with nothing new is nothing at all.
#[test]
fn a_compressed_message_without_a_byte_is_empty() {
    let hello: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let frames: [(u8, &[u8]); 4] =
        [(0xc1, hello), (0xc1, b""), (0xc2, b""), (0xc1, b"\xf2\x00\x11\x00\x00")];
    let expected = [text("Hello"), text(""), Seen::Binary(Vec::new()), text("Hello")];
    assert_eq!(see(true, &frames, &Limits::default()), expected);
    let fragments: [(u8, &[u8]); 3] = [(0x41, b""), (0x00, b""), (0x80, b"")];
    assert_eq!(see(false, &fragments, &Limits::default()), [text("")]);
}

/// Section 6: RSV1 is set on the first frame of a data message and nowhere else.
#[test]
fn rsv1_elsewhere_than_on_a_first_data_frame_is_refused() {
    let hello: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let cases: [(&str, Frames<'_>); 8] = [
        ("ping", &[(0xc9, b"")]),
        ("pong", &[(0xca, b"")]),
        ("close", &[(0xc8, b"\x03\xe8")]),
        ("continuation of a compressed message", &[(0x41, &hello[..3]), (0xc0, &hello[3..])]),
        ("continuation of a plain message", &[(0x01, b"a"), (0xc0, b"b")]),
        ("continuation of nothing", &[(0xc0, hello)]),
        ("with RSV2", &[(0xe1, hello)]),
        ("message within a message", &[(0x41, &hello[..3]), (0xc1, hello)]),
    ];
    for (name, frames) in cases {
        assert_eq!(see(false, frames, &Limits::default()), [Seen::Failed(1002)], "{name}");
    }
    let stream = raw(Role::Server, 0xc1, hello);
    let seen = run("not agreed on", Role::Server, &stream, &Limits::default()).seen;
    assert_eq!(seen, [Seen::Failed(1002)]);
}

/// oven-sh/bun#33001: what the first fragment says holds for its message, whatever comes between,
/// and not a frame longer.
#[test]
fn control_frames_between_compressed_fragments_leave_rsv1_alone() {
    let hello: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let frames: [(u8, &[u8]); 9] = [
        (0x41, &hello[..2]),
        (0x89, b"\xf2\x48"),
        (0x00, &hello[2..5]),
        (0x8a, b""),
        (0x00, b""),
        (0x80, &hello[5..]),
        (0x89, b"plain"),
        (0x01, b"pla"),
        (0x80, b"in"),
    ];
    let expected = [
        Seen::Ping(b"\xf2\x48".to_vec()),
        Seen::Pong(Vec::new()),
        text("Hello"),
        Seen::Ping(b"plain".to_vec()),
        text("plain"),
    ];
    assert_eq!(see(false, &frames, &Limits::default()), expected);
    assert_eq!(see(true, &frames, &Limits::default()), expected);
}

/// Section 6: each message says for itself whether it is compressed.
#[test]
fn plain_messages_are_accepted_between_compressed_ones() {
    let hello: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let frames: [(u8, &[u8]); 5] = [
        (0x81, b"plain"),
        (0xc1, hello),
        (0x82, b"\xff"),
        (0xc1, b"\xf2\x00\x11\x00\x00"),
        (0x81, hello),
    ];
    let seen = see(true, &frames[..4], &Limits::default());
    // A plain message is not in the window.
    assert_eq!(seen, [text("plain"), text("Hello"), Seen::Binary(vec![0xff]), text("Hello")]);
    // Its bytes are what they are.
    assert_eq!(see(true, &frames[4..], &Limits::default()), [Seen::Failed(1007)]);
}

#[test]
fn data_that_is_no_deflate_is_refused_with_1007() {
    let hello: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let cases: [(&str, &[u8]); 11] = [
        ("reserved block type", b"\x07"),
        ("lengths of a stored block differ", b"\x00\x05\x00\xfb\xffHello\x00"),
        ("stored block is cut", b"\x00\x06\x00\xf9\xffHel"),
        ("one byte is missing", &hello[..6]),
        ("cut within the text", &hello[..4]),
        ("only a header", b"\xf2"),
        ("refers to what is not there", b"\xf2\x00\x11\x00\x00"),
        ("text that is not compressed", b"Hello"),
        ("the tail was not stripped", b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff"),
        ("more than the tail is missing", b"\xf2\x48\xcd\xc9\xc9\x07"),
        ("no symbol is complete", b"\xed\xff\xff\xff"),
    ];
    for (name, packed) in cases {
        assert_eq!(
            Messages::default().next(packed, 1000),
            Err(Wrong::Invalid),
            "{name}: the reference",
        );
        for context in [false, true] {
            let seen = see(context, &[(0xc2, packed)], &Limits::default());
            assert_eq!(seen, [Seen::Failed(1007)], "{name}");
        }
    }
}

/// A message cut so that the four bytes added to it end its last block, with `left` bits to spare:
/// sixteen zeros are sixteen letters, and ones are the end of the block.
fn cut_before_the_end_of_a_block(left: usize) -> Vec<u8> {
    let longest = 16 - left;
    let mut bits = Vec::new();
    let mut push = |value: usize, count: usize| {
        bits.extend((0..count).map(|place| value >> place & 1));
    };
    // Dynamic tables (RFC 1951 section 3.2.7): 257 symbols, one distance, 19 lengths of lengths:
    // of 16, 17 and 18, which are not used, and four bits for every other.
    push(0b100, 3);
    push(0, 5);
    push(0, 5);
    push(15, 4);
    (0..19).for_each(|place| push(if place < 3 { 0 } else { 4 }, 3));
    for symbol in 0..258 {
        let len = match symbol {
            97..112 if symbol - 96 <= longest => symbol - 96,
            256 => longest,
            _ => 0,
        };
        // Codes are written from their top bit.
        (0..4).rev().for_each(|place| push(len >> place, 1));
    }
    let byte = |bits: &[usize]| {
        let bits = bits.iter().enumerate();
        u8::try_from(bits.map(|(place, bit)| bit << place).sum::<usize>()).expect("eight bits")
    };
    bits.chunks(8).map(byte).collect()
}

#[test]
fn a_block_that_ends_within_the_last_byte_of_the_tail_is_refused() {
    for left in 1..16 {
        let packed = cut_before_the_end_of_a_block(left);
        assert_eq!(Messages::default().next(&packed, 1000), Err(Wrong::Invalid), "{left} bits");
        for context in [false, true] {
            let seen = see(context, &[(0xc2, &packed)], &Limits::default());
            assert_eq!(seen, [Seen::Failed(1007)], "{left} bits are left");
        }
    }
}

/// RFC 6455 section 8.1, of what was compressed.
#[test]
fn compressed_text_must_be_utf_8() {
    let mut deflater = Deflater::new(6, 8, 15, false);
    let cases: [(&[u8], bool); 5] = [
        ("κόσμε".as_bytes(), true),
        (b"\xce\xba\xe1\xbd", false),
        (b"a\xff", false),
        (b"\xed\xa0\x80", false),
        (b"\xf4\x8f\xbf\xbf", true),
    ];
    for (payload, valid) in cases {
        let packed = deflater.compress(payload).to_vec();
        let seen = see(false, &[(0xc1, &packed)], &Limits::default());
        let (first, rest) = packed.split_at(packed.len() / 2);
        let fragments = see(false, &[(0x41, first), (0x80, rest)], &Limits::default());
        assert_eq!(seen, fragments);
        let expected = match str::from_utf8(payload) {
            Ok(payload) => text(payload),
            Err(_) => Seen::Failed(1007),
        };
        assert_eq!(seen, [expected]);
        assert_eq!(str::from_utf8(payload).is_ok(), valid);
        let binary = see(false, &[(0xc2, &packed)], &Limits::default());
        assert_eq!(binary, [Seen::Binary(payload.to_vec())]);
    }
}

fn limited(message_bytes_max: u64) -> Limits {
    let mut limits = Limits::default();
    limits.message_bytes_max = message_bytes_max;
    limits
}

/// Wire behaviour of limits: tested one below, at, and one above.
#[test]
fn the_message_limit_holds_for_what_comes_out() {
    for len in [0, 1, 99, 100, 101, 5000] {
        for payload in [vec![b'x'; len], (0..=u8::MAX).cycle().take(len).collect()] {
            let packed = Deflater::new(9, 8, 15, false).compress(&payload).to_vec();
            let expected = if len <= 100 { Seen::Binary(payload) } else { Seen::Failed(1009) };
            for context in [false, true] {
                let seen = see(context, &[(0xc2, &packed)], &limited(100));
                assert_eq!(seen, std::slice::from_ref(&expected));
            }
        }
    }
    assert_eq!(see(false, &[(0xc1, b"\x00")], &limited(0)), [text("")]);
    assert_eq!(see(false, &[(0xc1, b"\x4a\x04\x00")], &limited(1)), [text("a")]);
    assert_eq!(see(false, &[(0xc1, b"\x4a\x04\x00")], &limited(0)), [Seen::Failed(1009)]);
}

/// Compression may lengthen, so a message at the limit may arrive as more; but not as much more as
/// its sender likes.
#[test]
fn compressed_bytes_are_limited_too() {
    let limits = limited(1000);
    let most = 1000 + 1000 / 4 + 64;
    let header = |len: u16, first: u8| [&[first, 0xfe], &len.to_be_bytes()[..], &[0; 4]].concat();
    for first in [0xc2, 0x42] {
        let seen =
            |len| run_deflate("declared", Role::Server, false, &header(len, first), &limits).seen;
        assert_eq!(seen(most), []);
        assert_eq!(seen(most + 1), [Seen::Failed(1009)], "at the header, before any payload");
    }
    let begun = [raw(Role::Server, 0x42, b"\x00"), header(most, 0x80)].concat();
    let seen = run_deflate("summed", Role::Server, false, &begun, &limits).seen;
    assert_eq!(seen, [Seen::Failed(1009)]);
    // A plain message has no such allowance.
    let seen = run_deflate("plain", Role::Server, false, &header(1001, 0x82), &limits).seen;
    assert_eq!(seen, [Seen::Failed(1009)]);

    // The longest that an honest compressor makes of a thousand bytes: stored, in small blocks.
    let noise: Vec<u8> =
        (0..1000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for level in 0..=9 {
        let packed = Deflater::new(level, 1, 15, false).compress(&noise).to_vec();
        let seen = see(false, &[(0xc2, &packed)], &limits);
        assert_eq!(seen, [Seen::Binary(noise.clone())], "level {level}");
    }
}

/// CVE-2026-1526 and CVE-2018-1000518, and nats-server's CVE-2026-27571: a thousand to one.
#[test]
fn a_deflate_bomb_is_stopped_at_the_limit() {
    let bomb = Deflater::new(9, 9, 15, false).compress(&vec![0; 40 << 20]).to_vec();
    assert!(bomb.len() * 1000 < 40 << 20, "{} bytes", bomb.len());
    let (first, rest) = bomb.split_at(bomb.len() / 10);
    let mut fragments = vec![(0x42, first)];
    fragments.extend(rest.chunks(first.len()).map(|fragment| (0x00, fragment)));
    if let Some(last) = fragments.last_mut() {
        last.0 = 0x80;
    }
    assert!(fragments.len() >= 10);
    for context in [false, true] {
        for frames in [&[(0xc2, &bomb[..])][..], &fragments] {
            let stream: Vec<u8> = frames
                .iter()
                .flat_map(|(first, payload)| raw(Role::Server, *first, payload))
                .collect();
            let mut inflater = Inflater::new(context);
            let outcome = feed_with(
                &mut Connection::with_deflate(Role::Server),
                &mut inflater,
                &stream,
                &[1000, stream.len() - 1000],
                &Limits::default(),
            );
            assert_eq!(outcome.seen, [Seen::Failed(1009)]);
        }
    }
}

/// Half a bomb is not looked at: inflation waits for the end of the message.
#[test]
fn an_unfinished_message_is_not_inflated() {
    let packed = Deflater::new(6, 8, 15, false).compress(&[b'x'; 5000]).to_vec();
    let stream = raw(Role::Server, 0x41, &packed);
    let mut connection = Connection::with_deflate(Role::Server);
    let mut inflater = Inflater::new(false);
    let pieces = [stream.len()];
    let outcome = feed_with(&mut connection, &mut inflater, &stream, &pieces, &Limits::default());
    assert_eq!(outcome.seen, []);
    assert_eq!(inflater.memory(), 0);
}

/// RFC 6455 section 7.1.6: what comes after our Close is not worth inflating, right or wrong.
#[test]
fn nothing_is_inflated_once_we_have_closed() {
    let mut connection = Connection::with_deflate(Role::Server);
    let mut inflater = Inflater::new(false);
    connection.close(CloseCode::NORMAL, "", &mut || MASK, &mut Vec::new());
    let stream = [
        raw(Role::Server, 0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        raw(Role::Server, 0xc1, b"\x07"),
        raw(Role::Server, 0x88, b"\x03\xe8"),
    ]
    .concat();
    let pieces = [stream.len()];
    let outcome = feed_with(&mut connection, &mut inflater, &stream, &pieces, &Limits::default());
    assert_eq!(outcome.seen, [Seen::Closed(Some(1000), String::new())]);
    assert_eq!(inflater.memory(), 0);
}

/// A shared inflater forgets each message, also one that was wrong: nothing of one connection can
/// be referred to by another.
#[test]
fn connections_that_share_an_inflater_do_not_see_each_other() {
    let mut inflater = Inflater::new(false);
    let mut see = |packed: &[u8]| {
        let mut connection = Connection::with_deflate(Role::Server);
        let stream = raw(Role::Server, 0xc1, packed);
        let pieces = [stream.len()];
        feed_with(&mut connection, &mut inflater, &stream, &pieces, &Limits::default()).seen
    };
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    for wrong in [&b"\xf2\x00\x11\x00\x00"[..], b"\x07", b"\xf2\x48", b"\x00\x06\x00\xf9\xffHel"] {
        assert_eq!(see(hello), [text("Hello")]);
        assert_eq!(see(wrong), [Seen::Failed(1007)]);
    }
    assert_eq!(see(hello), [text("Hello")]);
}

/// The caller sets a time for what is under way.
#[test]
fn a_connection_is_amid_a_message_until_its_last_byte() {
    let mut connection = Connection::with_deflate(Role::Server);
    let mut inflater = Inflater::new(false);
    let mut amid = |bytes: &[u8]| {
        let pieces = [bytes.len()];
        feed_with(&mut connection, &mut inflater, bytes, &pieces, &Limits::default());
        connection.is_amid()
    };
    assert!(!amid(b""));
    for whole in [
        raw(Role::Server, 0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        raw(Role::Server, 0x81, b"plain"),
        raw(Role::Server, 0x89, b"ping"),
    ] {
        assert!(!amid(&whole));
        for cut in 1..whole.len() {
            assert!(amid(&whole[..cut]), "{cut} bytes of {whole:x?}");
            assert!(!amid(&whole[cut..]), "all of {whole:x?}");
        }
    }
    assert!(amid(&raw(Role::Server, 0x01, b"fragment")));
    assert!(amid(&raw(Role::Server, 0x89, b"ping")));
    assert!(amid(&raw(Role::Server, 0x00, b"fragment")));
    assert!(!amid(&raw(Role::Server, 0x80, b"")));
}

/// Payloads that compress well, badly and not at all.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        3 => vec(any::<u8>(), 0..300),
        3 => vec(prop_oneof![Just(b'a'), Just(b'b')], 0..3000),
        3 => (vec(any::<u8>(), 1..40), 1..200_usize).prop_map(|(unit, times)| unit.repeat(times)),
        1 => (vec(any::<u8>(), 2000..2001), 1..30_usize)
            .prop_map(|(unit, times)| unit.repeat(times)),
    ]
}

#[derive(Debug, Clone)]
struct Sender {
    level: u8,
    mem_level: u8,
    window_bits: u8,
    context: bool,
}

fn sender() -> impl Strategy<Value = Sender> {
    (0..=9_u8, 1..=9_u8, 8..=15_u8, any::<bool>()).prop_map(
        |(level, mem_level, window_bits, context)| Sender {
            level,
            mem_level,
            window_bits,
            context,
        },
    )
}

/// Where compressed bytes are cut into fragments, and where the network cuts the stream.
fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    vec(any::<prop::sample::Index>(), 0..6)
}

fn pieces(len: usize, at: &[prop::sample::Index]) -> Vec<usize> {
    let mut ends: Vec<usize> = at.iter().map(|index| index.index(len + 1)).collect();
    ends.push(len);
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter().map(|end| end - core::mem::replace(&mut start, end)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any messages, windows, levels, context or none, fragments and cuts.
    #[test]
    fn what_goes_in_comes_out(
        sender in sender(),
        messages in vec((payload(), cuts()), 1..6),
        at in cuts(),
    ) {
        let Sender { level, mem_level, window_bits, context } = sender;
        let mut deflater = Deflater::new(level, mem_level, window_bits, context);
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for (payload, fragments) in messages {
            let packed = deflater.compress(&payload);
            let lens = pieces(packed.len(), &fragments);
            let mut rest = packed;
            for (index, &len) in lens.iter().enumerate() {
                let (fragment, after) = rest.split_at(len);
                rest = after;
                let last = if index + 1 == lens.len() { 0x80 } else { 0 };
                let first = if index == 0 { 0x42 } else { 0 };
                stream.extend(raw(Role::Server, first | last, fragment));
            }
            expected.push(Seen::Binary(payload));
        }
        let outcome = feed_with(
            &mut Connection::with_deflate(Role::Server),
            &mut Inflater::new(context),
            &stream,
            &pieces(stream.len(), &at),
            &Limits::default(),
        );
        prop_assert_eq!(outcome, Outcome { seen: expected, control: Vec::new() });
    }

    /// Compressed bytes with a few changed, against the reference.
    #[test]
    fn damaged_messages_are_judged_as_the_reference_judges_them(
        sender in sender(),
        choice in any::<u8>(),
        payload in payload(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let Sender { level, mem_level, window_bits, context } = sender;
        let mut deflater = Deflater::new(level, mem_level, window_bits, context);
        let mut bytes = vec![choice];
        bytes.extend(deflater.compress(&payload));
        if let Some(cut) = cut {
            bytes.truncate(1 + cut.index(bytes.len()));
        }
        for (place, byte) in damage {
            if bytes.len() > 1 {
                let place = 1 + place.index(bytes.len() - 1);
                bytes[place] = byte;
            }
        }
        inflate::check(&bytes);
    }
}

#[test]
fn a_message_of_many_windows_inflates() {
    let payload: Vec<u8> = (0..900_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    let mut limits = Limits::default();
    limits.message_bytes_max = 4 << 20;
    for context in [false, true] {
        let mut deflater = Deflater::new(6, 8, 15, context);
        let mut out = Vec::new();
        encode::deflated_message(Kind::Binary, Some(MASK), &payload, &mut deflater, &mut out);
        assert!(out.len() < payload.len() / 2);
        let mut connection = Connection::with_deflate(Role::Server);
        let mut inflater = Inflater::new(context);
        let (mut input, mut control) = (&mut out[..], Vec::new());
        let event =
            connection.receive(&mut input, &limits, &mut inflater, &mut || MASK, &mut control);
        let Some(Event::Message(message)) = event else { panic!("{event:?}") };
        assert!(message.payload == payload);
    }
}
