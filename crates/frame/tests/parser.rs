//! The parser gives the same frames for every way of cutting its input.

mod oracle;

use oracle::cut;
use oracle::frames::{Wire, parse, parse_every_split, pattern, reference};
use proptest::prelude::*;
use tickwire_frame::{Header, OpCode, Parser, Role, Rules};

#[test]
fn a_connection_pays_at_most_32_bytes() {
    assert!(size_of::<Parser>() <= 32, "{}", size_of::<Parser>());
}

#[test]
fn empty_input_is_nothing() {
    let mut parser = Parser::new(Rules::new(Role::Server));
    assert_eq!(parser.next(&mut &mut [][..]), Ok(None));
}

/// Frames of every kind in a row, each of a length that takes another way through the parser.
#[test]
fn a_stream_of_all_kinds_is_the_same_for_every_cut() {
    for (role, mask) in [(Role::Server, Some([0x8f, 0x02, 0x77, 0x31])), (Role::Client, None)] {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (index, len) in [0, 5, 1, 125, 126, 300, 2, 0, 31, 32, 33, 200].into_iter().enumerate()
        {
            let first_byte = [0x81, 0x89, 0x02, 0x8a, 0x80, 0x01][index % 6];
            let len = if first_byte & 8 != 0 { len.min(125) } else { len };
            let payload = pattern(len, first_byte);
            Wire { first_byte, mask, payload: payload.clone() }.encode(&mut bytes);
            expected.push(payload);
        }
        let outcome = parse_every_split(Rules::new(role), &bytes);
        assert_eq!(outcome.error, None);
        let payloads: Vec<_> = outcome.frames.iter().map(|frame| frame.payload.clone()).collect();
        assert_eq!(payloads, expected);
        assert!(outcome.frames.iter().all(|frame| frame.complete));
    }
}

/// Canaries around the input: the parser writes payload bytes and nothing else.
#[test]
fn headers_and_neighbours_are_never_written() {
    for len in (0..300).chain([1000, 4096, 65535, 65536]) {
        let mut bytes = vec![0xa5; 64];
        let start = bytes.len();
        Wire { first_byte: 0x82, mask: Some([1, 2, 3, 4]), payload: vec![0x5a; len] }
            .encode(&mut bytes);
        let end = bytes.len();
        bytes.resize(end + 64, 0xa5);
        let before = bytes.clone();

        let mut input = &mut bytes[start..end];
        let mut parser = Parser::new(Rules::new(Role::Server));
        let piece = parser.next(&mut input).expect("legal").expect("complete");
        assert!(piece.last && piece.payload.iter().all(|byte| *byte == 0x5a));

        let payload_start = end - len;
        assert_eq!(bytes[..payload_start], before[..payload_start]);
        assert_eq!(bytes[end..], before[end..]);
    }
}

/// Only what arrives is ever touched or kept, whatever is declared.
#[test]
fn a_declared_length_beyond_the_input_ends_with_the_input() {
    let mut parser = Parser::new(Rules::new(Role::Server));
    let mut bytes = [0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'a', b'b'];
    let mut input = &mut bytes[..];
    let piece = parser.next(&mut input).expect("legal").expect("the header is complete");
    assert_eq!((piece.frame_len, &*piece.payload, piece.last), (1 << 32, &b"ab"[..], false));
    assert_eq!(parser.next(&mut input), Ok(None));
}

#[test]
fn an_error_is_repeated_and_takes_no_input() {
    let mut parser = Parser::new(Rules::new(Role::Server));
    let mut bytes = [0x83, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let mut input = &mut bytes[..];
    let first = parser.next(&mut input).expect_err("opcode 3");
    assert_eq!(parser.next(&mut input), Err(first));
    assert_eq!(input.len(), 9);
}

fn rules() -> impl Strategy<Value = Rules> {
    (prop_oneof![Just(Role::Server), Just(Role::Client)], any::<bool>())
        .prop_map(|(role, rsv1)| Rules { role, rsv1 })
}

/// Frames that `rules` allow.
fn frames(rules: Rules) -> impl Strategy<Value = Vec<Wire>> {
    let first_byte = prop_oneof![
        4 => prop::sample::select(vec![0x80, 0x81, 0x82, 0x00, 0x01, 0x02]),
        1 => prop::sample::select(vec![0x88, 0x89, 0x8a]),
        1 => Just(if rules.rsv1 { 0xc1 } else { 0x81 }),
    ];
    let len = prop_oneof![4 => 0usize..140, 2 => 0usize..1200, 1 => 65530usize..65550];
    let frame = (first_byte, any::<[u8; 4]>(), len, any::<u8>()).prop_map(
        move |(first_byte, key, len, seed)| {
            let len = if first_byte & 8 != 0 { len.min(125) } else { len };
            let mask = (rules.role == Role::Server).then_some(key);
            let payload = pattern(len, seed);
            Wire { first_byte, mask, payload }
        },
    );
    prop::collection::vec(frame, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn legal_frames_come_out_as_they_went_in_for_any_cut(
        (rules, frames) in rules().prop_flat_map(|rules| (Just(rules), frames(rules))),
        lengths in prop::collection::vec(prop_oneof![1usize..12, 1usize..3000], 1..40),
    ) {
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.encode(&mut bytes);
        }
        let outcome = parse(rules, cut(&bytes, &lengths));
        prop_assert_eq!(outcome.error, None);
        prop_assert_eq!(outcome.frames.len(), frames.len());
        for (seen, sent) in outcome.frames.iter().zip(&frames) {
            prop_assert_eq!(seen.opcode as u8, sent.first_byte & 0x0f);
            prop_assert_eq!(seen.fin, sent.first_byte & 0x80 != 0);
            prop_assert_eq!(seen.rsv1, sent.first_byte & 0x40 != 0);
            prop_assert_eq!(&seen.payload, &sent.payload);
            prop_assert!(seen.complete);
        }
        prop_assert_eq!(&parse(rules, [&bytes[..]]), &outcome);
    }

    #[test]
    fn any_bytes_give_the_same_for_any_cut(
        rules in rules(),
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(vec![0x81, 0x82, 0x80, 0xfe, 0, 1])],
            0..300,
        ),
        lengths in prop::collection::vec(1usize..40, 1..20),
    ) {
        let expected = reference(rules, &bytes);
        prop_assert_eq!(&parse(rules, cut(&bytes, &lengths)), &expected);
        prop_assert_eq!(&parse(rules, [&bytes[..]]), &expected);
    }

    #[test]
    fn encoded_headers_decode_to_themselves(
        rules in rules(),
        key: [u8; 4],
        fin: bool,
        payload_len in prop_oneof![0u64..70_000, 0u64..1 << 63],
        opcode in prop::sample::select(vec![OpCode::Continuation, OpCode::Text, OpCode::Binary]),
    ) {
        let mask = (rules.role == Role::Server).then_some(key);
        let rsv1 = rules.rsv1 && opcode != OpCode::Continuation;
        let header = Header { fin, rsv1, opcode, mask, payload_len };
        let mut out = [0; Header::LEN_MAX];
        let header_len = header.encode(&mut out);
        prop_assert_eq!(
            Header::decode(&out[..header_len], rules),
            Ok(tickwire_frame::Decoded::Complete { header, header_len })
        );
    }
}

#[test]
fn a_parser_is_amid_a_frame_from_its_first_byte_to_its_last() {
    let frames = [&b"\x81\x05Hello"[..], b"\x89\x00", b"\x82\x7e\x00\x7e"];
    for frame in frames {
        let frame = [frame, &vec![b'x'; if frame[1] == 0x7e { 126 } else { 0 }]].concat();
        for cut in 0..=frame.len() {
            let mut parser = Parser::new(Rules::new(Role::Client));
            let mut amid = |part: &[u8]| {
                let mut part = part.to_vec();
                let mut input = &mut part[..];
                while parser.next(&mut input).expect("valid").is_some() {}
                parser.is_amid()
            };
            let begun = cut > 0 && cut < frame.len();
            assert_eq!(amid(&frame[..cut]), begun, "{cut} bytes");
            assert!(!amid(&frame[cut..]), "all bytes, cut at {cut}");
        }
    }
}
