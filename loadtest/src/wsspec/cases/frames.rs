//! Cases of frame headers, lengths and masking (RFC 6455 sections 5.1 to 5.3 and 5.7).
//!
//! What is wrong is sent as the first thing on a fresh connection; with `.early` only the header
//! goes, and a server that reads headers before payloads needs no more to fail the connection.

use crate::case::{Case, Level, Need, miss};
use crate::cases::{Exchange, Violation};
use crate::peer::{binary, pong, text};
use crate::wire::{self, BINARY, CLOSE, Frame, PING, PONG, RSV1, RSV2, RSV3, TEXT};

pub(crate) fn cases() -> Vec<Case> {
    let violations = masks().into_iter().chain(bits()).chain(opcodes()).chain(lengths());
    let mut cases: Vec<Case> = violations.flat_map(Violation::cases).collect();
    cases.extend(early());
    cases.extend(examples().into_iter().flat_map(Exchange::cases));
    cases.extend(sizes());
    cases.extend([keys(), alignments(), many_at_once(), nothing_behind()]);
    cases
}

fn masks() -> Vec<Violation> {
    let of = |id, opcode, sentence| {
        // A server MAY send a Close for this (RFC 6455 section 5.1).
        Violation::new(
            id,
            "RFC 6455 5.1",
            &[1002],
            Frame::new(opcode, "ab").unmasked().bytes(),
            sentence,
        )
        .code_level(Level::Advice)
    };
    vec![
        of("frames/unmasked-text", TEXT, "A text frame that is not masked fails the connection."),
        of("frames/unmasked-binary", BINARY, "A binary frame without mask fails the connection."),
        of("frames/unmasked-ping", PING, "A Ping that is not masked fails the connection."),
        of("frames/unmasked-pong", PONG, "A Pong that is not masked fails the connection."),
    ]
}

fn bits() -> Vec<Violation> {
    let of = |id, opcode, bits, sentence| {
        let bytes = Frame::new(opcode, "ab").rsv(bits).bytes();
        Violation::new(id, "RFC 6455 5.2", &[1002], bytes, sentence)
    };
    vec![
        of("frames/rsv1", TEXT, RSV1, "RSV1 without an extension fails the connection."),
        of("frames/rsv2", TEXT, RSV2, "RSV2 fails the connection."),
        of("frames/rsv3", BINARY, RSV3, "RSV3 fails the connection."),
        of("frames/rsv-all", BINARY, 7, "All reserved bits at once fail the connection."),
        of("frames/rsv2-ping", PING, RSV2, "RSV2 in a Ping fails the connection."),
        of("frames/rsv3-pong", PONG, RSV3, "RSV3 in a Pong fails the connection."),
        of("frames/rsv1-close", CLOSE, RSV1, "RSV1 in a Close fails the connection.")
            .level(Level::Should),
    ]
}

fn opcodes() -> Vec<Violation> {
    const IDS: [(u8, &str, &str); 10] = [
        (3, "frames/opcode-3", "The reserved opcode 3 fails the connection."),
        (4, "frames/opcode-4", "The reserved opcode 4 fails the connection."),
        (5, "frames/opcode-5", "The reserved opcode 5 fails the connection."),
        (6, "frames/opcode-6", "The reserved opcode 6 fails the connection."),
        (7, "frames/opcode-7", "The reserved opcode 7 fails the connection."),
        (11, "frames/opcode-11", "The reserved opcode 11 fails the connection."),
        (12, "frames/opcode-12", "The reserved opcode 12 fails the connection."),
        (13, "frames/opcode-13", "The reserved opcode 13 fails the connection."),
        (14, "frames/opcode-14", "The reserved opcode 14 fails the connection."),
        (15, "frames/opcode-15", "The reserved opcode 15 fails the connection."),
    ];
    let of = |(opcode, id, sentence): (u8, _, _)| {
        Violation::new(id, "RFC 6455 5.2", &[1002], Frame::new(opcode, []).bytes(), sentence)
    };
    IDS.into_iter().map(of).collect()
}

fn lengths() -> Vec<Violation> {
    let of = |id, frame: Frame, codes, sentence| {
        Violation::new(id, "RFC 6455 5.2", codes, frame.bytes(), sentence)
    };
    // The RFC binds who sends a length; who receives it is only expected to check.
    let form = |id, frame: Frame, sentence| of(id, frame, &[1002], sentence).level(Level::Should);
    let frame = |length: usize| Frame::new(BINARY, vec![b'x'; length]);
    vec![
        form("frames/length-0-in-16", frame(0).sixteen(), "A length of 0 in 16 bits is refused."),
        form(
            "frames/length-125-in-16",
            frame(125).sixteen(),
            "A length of 125 in 16 bits is refused.",
        ),
        form(
            "frames/length-125-in-64",
            frame(125).sixty_four(),
            "A length of 125 in 64 bits is refused.",
        ),
        form(
            "frames/length-126-in-64",
            frame(126).sixty_four(),
            "A length of 126 in 64 bits is refused.",
        ),
        form(
            "frames/length-65535-in-64",
            frame(65_535).sixty_four(),
            "A length of 65,535 in 64 bits is refused.",
        ),
        of(
            "frames/length-msb",
            frame(64).declare(1 << 63),
            &[1002, 1009],
            "A length of 2^63 is refused: the highest bit must be 0.",
        ),
        of(
            "frames/length-all-bits",
            frame(64).declare(u64::MAX),
            &[1002, 1009],
            "A length of 2^64-1 is refused.",
        ),
    ]
}

/// The header alone must do: nothing in the payload could make it right.
fn early() -> Vec<Case> {
    let heads: [(&str, Vec<u8>, &str); 6] = [
        ("frames/opcode-3.early", Frame::new(3, []).declare(1000).bytes(), "a reserved opcode"),
        ("frames/rsv2.early", Frame::new(TEXT, []).rsv(RSV2).declare(1000).bytes(), "RSV2"),
        ("frames/unmasked.early", vec![0x81, 0x7d], "a header without mask"),
        ("frames/ping-126.early", Frame::new(PING, []).declare(126).bytes(), "a long Ping"),
        (
            "frames/ping-fin-0.early",
            Frame::new(PING, []).more().declare(9).bytes(),
            "a Ping with FIN 0",
        ),
        (
            "frames/length-msb.early",
            Frame::new(BINARY, []).declare(1 << 63).bytes(),
            "a length of 2^63",
        ),
    ];
    let case = |(id, bytes, what): (&'static str, Vec<u8>, &str)| {
        let sentence = format!("The connection fails at {what}, before any payload has come.");
        Case::new(id, "RFC 6455 7.1.7", Level::Advice, sentence, move |trial| {
            let mut peer = trial.open()?;
            peer.send(&bytes);
            peer.expect_failure().map(|_| ())
        })
    };
    heads.into_iter().map(case).collect()
}

fn examples() -> Vec<Exchange> {
    let of = |id, sentence, bytes: &[u8], events| Exchange {
        id,
        section: "RFC 6455 5.7",
        sentence,
        bytes: bytes.to_vec(),
        events,
    };
    let hello = b"\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    vec![
        of(
            "frames/example-text",
            "The masked text message of the RFC comes back.",
            &[b"\x81\x85", &hello[..]].concat(),
            vec![text("Hello")],
        ),
        of(
            "frames/example-fragments",
            "The text message of the RFC in two fragments comes back.",
            &[wire::text_begin("Hel"), wire::end("lo")].concat(),
            vec![text("Hello")],
        ),
        of(
            "frames/example-ping",
            "The Ping of the RFC gets its Pong.",
            &[b"\x89\x85", &hello[..]].concat(),
            vec![pong("Hello")],
        ),
        of(
            "frames/example-256",
            "256 bytes, the first length in 16 bits of the RFC, come back.",
            &wire::binary(vec![0xa5; 256]),
            vec![binary(vec![0xa5; 256])],
        ),
    ]
}

fn sizes() -> Vec<Case> {
    const SIZES: [(usize, &str); 9] = [
        (0, "frames/size-0"),
        (1, "frames/size-1"),
        (125, "frames/size-125"),
        (126, "frames/size-126"),
        (127, "frames/size-127"),
        (4096, "frames/size-4096"),
        (16_384, "frames/size-16384"),
        (65_535, "frames/size-65535"),
        (65_536, "frames/size-65536"),
    ];
    let case = |(size, id): (usize, &'static str)| {
        let sentence =
            format!("Messages of {size} bytes, text and binary, come back as they were.");
        Case::new(id, "RFC 6455 5.2", Level::Must, sentence, move |trial| {
            trial.admits(size)?;
            let bytes: Vec<u8> = (0_u8..=255).cycle().take(size).collect();
            let mut peer = trial.open()?;
            peer.send(&[wire::text("a".repeat(size)), wire::binary(&bytes[..])].concat());
            peer.expect(&[text("a".repeat(size)), binary(bytes)])?;
            peer.expect_alive()
        })
        .needs(Need::Echo)
    };
    SIZES.into_iter().map(case).collect()
}

fn keys() -> Case {
    let sentence = "Masking keys of all zeros, all ones and in between are undone.";
    Case::new("frames/masking-keys", "RFC 6455 5.3", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        let keys =
            [[0; 4], [0xff; 4], [1, 2, 4, 8], [0x80, 0, 0, 0], [0, 0, 0, 1], [0, 0xff, 0, 0]];
        for key in keys {
            let payload: Vec<u8> = (0..=255).collect();
            peer.send(&Frame::new(BINARY, &payload[..]).key(key).bytes());
            if let Err(stop) = peer.expect(&[binary(payload)]) {
                return miss(format!("the echo, with the key {key:02x?}"), format!("{stop:?}"));
            }
        }
        peer.expect_alive()
    })
    .needs(Need::Echo)
}

fn alignments() -> Case {
    let sentence = "Payloads of every length from 0 to 300, in one stream, are unmasked right.";
    Case::new("frames/every-length-to-300", "RFC 6455 5.3", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        let payload = |length: u8, more: u8| -> Vec<u8> {
            (0..=255)
                .cycle()
                .skip(usize::from(length))
                .take(usize::from(length) + usize::from(more))
                .collect()
        };
        let payloads: Vec<Vec<u8>> = (0..=255)
            .map(|length| payload(length, 0))
            .chain((1..=45).map(|more| payload(255, more)))
            .collect();
        let stream: Vec<u8> =
            payloads.iter().flat_map(|payload| wire::binary(&payload[..])).collect();
        peer.send(&stream);
        for payload in payloads {
            peer.expect(&[binary(payload)])?;
        }
        peer.expect_alive()
    })
    .needs(Need::Echo)
}

fn many_at_once() -> Case {
    let sentence = "A thousand messages in one write come back in order, none lost or joined.";
    Case::new("frames/thousand-at-once", "RFC 6455 6.1", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        let words = |number: u32| format!("message {number}");
        let stream: Vec<u8> = (0..1000).flat_map(|number| wire::text(words(number))).collect();
        peer.send(&stream);
        for number in 0..1000 {
            peer.expect(&[text(words(number))])?;
        }
        peer.expect_alive()
    })
    .needs(Need::Echo)
}

fn nothing_behind() -> Case {
    let sentence = "What follows a violation in the same write is not processed, Pings included.";
    Case::new("frames/nothing-after-violation", "RFC 6455 7.1.7", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        let violation = Frame::new(TEXT, "ab").rsv(RSV2).bytes();
        peer.send(&[violation, wire::ping("behind"), wire::text("behind")].concat());
        peer.expect_failure().map(|_| ())
    })
}
