//! Compressed messages on their way out: RFC 7692 section 7.2.1, and the limits of sections 7.1.1
//! and 7.1.2 on what a sender may refer back to.

use tickwire_protocol::encode::{self, frame};
use tickwire_protocol::{Connection, Deflater, Inflater, Kind, Limits, OpCode, Role};

use crate::drive::{MASK, Seen, feed_with};
use crate::reference::inflate::Messages;

/// Ticker messages, alike but not the same.
fn quotes() -> impl Iterator<Item = Vec<u8>> {
    (0..50).map(|n| {
        format!("{{\"s\":\"TICK{}\",\"p\":\"{}.{:02}\",\"q\":{n}}}", n % 7, 100 + n, n * 13 % 100)
            .into_bytes()
    })
}

fn noise(len: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn the_tail_is_stripped_and_an_empty_message_is_one_byte() {
    for context in [false, true] {
        let mut deflater = Deflater::new(6, 8, 15, context);
        assert_eq!(deflater.compress(b""), b"\x00");
        assert_eq!(deflater.memory(), 0, "nothing is needed for nothing");
        assert_eq!(deflater.compress(b"Hello"), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
        assert_eq!(deflater.compress(b""), b"\x00");
        for quote in quotes() {
            let packed = deflater.compress(&quote);
            assert!(!packed.ends_with(b"\x00\x00\xff\xff"), "{packed:x?}");
        }
    }
}

/// Section 7.1.1.1: a message compressed without context inflates alone, and is the same bytes
/// for everyone.
#[test]
fn without_context_each_message_stands_by_itself() {
    let mut deflater = Deflater::new(6, 8, 15, false);
    for quote in quotes().chain([noise(70_000), Vec::new()]) {
        let packed = deflater.compress(&quote).to_vec();
        assert_eq!(Messages::default().next(&packed, 100_000).as_ref(), Ok(&quote));
        assert_eq!(Deflater::new(6, 8, 15, false).compress(&quote), packed);
    }
}

#[test]
fn with_context_messages_get_shorter() {
    let (mut with, mut without) = (Deflater::new(6, 8, 15, true), Deflater::new(6, 8, 15, false));
    let mut messages = Messages::default();
    let mut lens = [0; 2];
    for quote in quotes() {
        let packed = with.compress(&quote).to_vec();
        assert_eq!(messages.next(&packed, 1000).as_ref(), Ok(&quote));
        lens[0] += packed.len();
        lens[1] += without.compress(&quote).len();
    }
    assert!(lens[0] * 2 < lens[1], "{lens:?}");
}

/// Section 7.1.2.1: measured in the stream, for every window and level. The payload offers matches
/// just within the window, at its end, and just beyond.
#[test]
fn no_reference_goes_beyond_the_window() {
    let unit = noise(64);
    for window_bits in 8..=15_u8 {
        let mut payload = unit.clone();
        for (index, beyond) in [-300_i32, 0, 1].into_iter().enumerate() {
            let gap = (1 << window_bits) + beyond - 64;
            // Never the same bytes, so that the unit is what there is to refer to.
            let gap = usize::try_from(gap.max(1)).expect("it is positive");
            payload.extend(&noise(100_000 + 40_000)[index * 40_000..][64..][..gap]);
            payload.extend(&unit);
        }
        let mut farthest_of_all = 0;
        for level in 0..=9 {
            for context in [false, true] {
                let mut deflater = Deflater::new(level, 8, window_bits, context);
                let mut messages = Messages::default();
                for part in payload.chunks(40_000) {
                    if !context {
                        messages.forget();
                    }
                    let packed = deflater.compress(part);
                    assert_eq!(messages.next(packed, 40_000).as_deref(), Ok(part));
                }
                let farthest = messages.farthest;
                assert!(farthest <= 1 << window_bits, "{farthest}, {window_bits}, level {level}");
                farthest_of_all = farthest_of_all.max(farthest);
            }
        }
        // The match is taken that leaves zlib its look-ahead; of 256 bytes there is no window.
        let expected = if window_bits == 8 { 0 } else { (1 << window_bits) - 300 };
        assert_eq!(farthest_of_all, expected, "{window_bits} bits");
    }
}

#[test]
fn windows_are_used_as_far_as_they_go() {
    let half = noise(400);
    let payload = [&half[..], &noise(100_000)[90_000..], &half].concat();
    let len = |window_bits| {
        let mut deflater = Deflater::new(9, 9, window_bits, false);
        deflater.compress(&payload).len()
    };
    assert!(len(14) + 300 < len(13), "{} and {}", len(14), len(13));
}

/// Messages compressed once for many, by a deflater without context, may come between each other
/// at a receiver that keeps its context: the sender alone is bound (section 7.1.1.1).
#[test]
fn streams_of_two_deflaters_without_context_inflate_at_one_that_keeps_it() {
    let mut deflaters = [Deflater::new(6, 8, 15, false), Deflater::new(1, 5, 9, false)];
    let mut connection = Connection::with_deflate(Role::Client);
    let mut inflater = Inflater::new(true);
    let mut messages = Messages::default();
    for (index, quote) in quotes().enumerate() {
        let mut stream = Vec::new();
        // Shared, private, private, shared.
        let deflater = &mut deflaters[usize::from(index % 4 == 1 || index % 4 == 2)];
        let packed = deflater.compress(&quote).to_vec();
        frame(true, OpCode::Binary, None, &packed, &mut stream);
        stream[0] |= 0x40;
        let pieces = [stream.len()];
        let limits = Limits::default();
        let outcome = feed_with(&mut connection, &mut inflater, &stream, &pieces, &limits);
        assert_eq!(outcome.seen, [Seen::Binary(quote.clone())], "message {index}");
        assert_eq!(messages.next(&packed, 1000), Ok(quote));
    }
}

#[test]
fn a_message_that_gets_no_shorter_goes_out_plain_unless_context_is_kept() {
    let cases: [(&[u8], bool); 5] = [
        (b"", false),
        (b"a", false),
        (b"Hello", false),
        (&noise(300), false),
        (b"HelloHelloHelloHello", true),
    ];
    for (payload, shorter) in cases {
        for mask in [None, Some(MASK)] {
            let encode = |context| {
                let mut out = b"before".to_vec();
                let mut deflater = Deflater::new(6, 8, 15, context);
                encode::deflated_message(Kind::Text, mask, payload, &mut deflater, &mut out);
                out.split_off(6)
            };
            let mut plain = Vec::new();
            frame(true, OpCode::Text, mask, payload, &mut plain);
            let out = encode(false);
            assert_eq!(out[0] == 0xc1, shorter, "{}", payload.escape_ascii());
            if shorter {
                assert!(out.len() < plain.len());
            } else {
                assert_eq!(out, plain);
            }
            assert_eq!(encode(true)[0], 0xc1, "the peer's window must have it");
        }
    }
}

/// Whoever keeps context and sends what gets no shorter must not lose the peer.
#[test]
fn incompressible_messages_do_not_break_a_kept_context() {
    let mut deflater = Deflater::new(6, 8, 15, true);
    let mut connection = Connection::with_deflate(Role::Client);
    let mut inflater = Inflater::new(true);
    let secret = noise(500);
    for payload in [&secret[..], b"plain text", b"", &secret, &[], &secret[100..400]] {
        let mut stream = Vec::new();
        encode::deflated_message(Kind::Binary, None, payload, &mut deflater, &mut stream);
        let pieces = [stream.len()];
        let limits = Limits::default();
        let outcome = feed_with(&mut connection, &mut inflater, &stream, &pieces, &limits);
        assert_eq!(outcome.seen, [Seen::Binary(payload.to_vec())]);
    }
}

#[test]
fn settings_out_of_range_are_the_nearest() {
    let payload = noise(5000).repeat(3);
    let same = |left: (u8, u8, u8), right: (u8, u8, u8)| {
        let [left, right] = [left, right].map(|(level, mem_level, window_bits)| {
            Deflater::new(level, mem_level, window_bits, false).compress(&payload).to_vec()
        });
        left == right
    };
    assert!(same((200, 200, 200), (9, 9, 15)));
    assert!(same((6, 0, 0), (6, 1, 8)));
    assert!(!same((6, 1, 8), (6, 1, 15)));
}
