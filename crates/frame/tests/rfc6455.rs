//! RFC 6455 section 5, line by line: every example and every MUST that concerns one frame.
//!
//! MUSTs of section 5 that span frames (continuation order, answers to Ping and Close) are the
//! connection's and not tested here.

mod oracle;

use oracle::frames::{parse, parse_every_split, pattern};
use tickwire_frame::{CloseCode, Decoded, FrameError, Header, OpCode, Role, Rules, mask};

const SERVER: Rules = Rules::new(Role::Server);
const CLIENT: Rules = Rules::new(Role::Client);
const SERVER_DEFLATE: Rules = Rules { role: Role::Server, rsv1: true };
const CLIENT_DEFLATE: Rules = Rules { role: Role::Client, rsv1: true };

/// The key of the masked examples of section 5.7.
const KEY: mask::Key = [0x37, 0xfa, 0x21, 0x3d];

const fn header(fin: bool, opcode: OpCode, mask: Option<mask::Key>, payload_len: u64) -> Header {
    Header { fin, rsv1: false, opcode, mask, payload_len }
}

/// An example of section 5.7: its name, who receives it, the bytes before the payload, the payload
/// on the wire, what the header says, and the payload unmasked.
type Example<'a> = (&'a str, Rules, &'a [u8], &'a [u8], Header, &'a [u8]);

#[rustfmt::skip]
const EXAMPLES: [Example<'_>; 6] = [
    ("a single-frame unmasked text message", CLIENT,
     &[0x81, 0x05], b"Hello", header(true, OpCode::Text, None, 5), b"Hello"),
    ("a single-frame masked text message", SERVER,
     &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d], &[0x7f, 0x9f, 0x4d, 0x51, 0x58],
     header(true, OpCode::Text, Some(KEY), 5), b"Hello"),
    ("a fragmented unmasked text message, first frame", CLIENT,
     &[0x01, 0x03], b"Hel", header(false, OpCode::Text, None, 3), b"Hel"),
    ("a fragmented unmasked text message, last frame", CLIENT,
     &[0x80, 0x02], b"lo", header(true, OpCode::Continuation, None, 2), b"lo"),
    ("unmasked Ping request", CLIENT,
     &[0x89, 0x05], b"Hello", header(true, OpCode::Ping, None, 5), b"Hello"),
    ("masked Pong response", SERVER,
     &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d], &[0x7f, 0x9f, 0x4d, 0x51, 0x58],
     header(true, OpCode::Pong, Some(KEY), 5), b"Hello"),
];

#[test]
fn examples_of_section_5_7_decode_and_encode_byte_for_byte() {
    for example in EXAMPLES {
        assert_example(example);
    }
    let blob = pattern(65536, 0);
    let header_of = |payload_len| header(true, OpCode::Binary, None, payload_len);
    assert_example((
        "256 bytes binary message in a single unmasked frame",
        CLIENT,
        &[0x82, 0x7e, 0x01, 0x00],
        &blob[..256],
        header_of(256),
        &blob[..256],
    ));
    assert_example((
        "64 KiB binary message in a single unmasked frame",
        CLIENT,
        &[0x82, 0x7f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00],
        &blob,
        header_of(65536),
        &blob,
    ));
}

fn assert_example((name, rules, head, on_wire, header, payload): Example<'_>) {
    let decoded = Header::decode(head, rules);
    assert_eq!(decoded, Ok(Decoded::Complete { header, header_len: head.len() }), "{name}");
    let mut out = [0; Header::LEN_MAX];
    assert_eq!(header.encode(&mut out), head.len(), "{name}");
    assert_eq!(out[..head.len()], *head, "{name}");
    assert_eq!(header.encoded_len(), head.len(), "{name}");

    let bytes = [head, on_wire].concat();
    for cut in 0..bytes.len().min(20) {
        let (front, back) = bytes.split_at(cut);
        let outcome = parse(rules, [front, back]);
        assert_eq!(outcome.error, None, "{name}");
        let [frame] = &outcome.frames[..] else { panic!("{name}: one frame") };
        assert_eq!((frame.opcode, frame.fin), (header.opcode, header.fin), "{name}");
        assert_eq!((frame.complete, &frame.payload[..]), (true, payload), "{name}");
    }
}

/// A header at fault: the rule, who receives it, its bytes, how many of them prove the fault.
struct Fault {
    rule: &'static str,
    rules: &'static [Rules],
    bytes: &'static [u8],
    proven_at: usize,
    error: FrameError,
}

const fn fault(
    rule: &'static str,
    rules: &'static [Rules],
    bytes: &'static [u8],
    proven_at: usize,
    error: FrameError,
) -> Fault {
    Fault { rule, rules, bytes, proven_at, error }
}

const ALL: &[Rules] = &[SERVER, CLIENT, SERVER_DEFLATE, CLIENT_DEFLATE];
const SERVERS: &[Rules] = &[SERVER, SERVER_DEFLATE];
const CLIENTS: &[Rules] = &[CLIENT, CLIENT_DEFLATE];
const PLAIN: &[Rules] = &[SERVER, CLIENT];
const DEFLATE: &[Rules] = &[SERVER_DEFLATE, CLIENT_DEFLATE];

#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    fault("5.1: a server must not take an unmasked frame", SERVERS, &[0x81, 0x05, 0x48], 2, FrameError::MaskMissing),
    fault("5.1: not even an empty one", SERVERS, &[0x81, 0x00], 2, FrameError::MaskMissing),
    fault("5.1: nor an unmasked control frame", SERVERS, &[0x89, 0x00], 2, FrameError::MaskMissing),
    fault("5.1: a client must not take a masked frame", CLIENTS, &[0x81, 0x85, 0, 0, 0, 0], 2, FrameError::MaskUnexpected),
    fault("5.1: nor a masked control frame", CLIENTS, &[0x8a, 0x80, 0, 0, 0, 0], 2, FrameError::MaskUnexpected),

    fault("5.2: RSV3 must be 0", ALL, &[0x91, 0x80], 1, FrameError::ReservedBits),
    fault("5.2: RSV2 must be 0", ALL, &[0xa1, 0x80], 1, FrameError::ReservedBits),
    fault("5.2: RSV2 and RSV3 must be 0", ALL, &[0xb2, 0x80], 1, FrameError::ReservedBits),
    fault("5.2: RSV1 does not excuse RSV2", ALL, &[0xe1, 0x80], 1, FrameError::ReservedBits),
    fault("5.2: RSV must be 0 on control frames", ALL, &[0x99, 0x80], 1, FrameError::ReservedBits),
    fault("5.2: RSV must be 0 on continuations", ALL, &[0xa0, 0x80], 1, FrameError::ReservedBits),
    fault("5.2: RSV1 must be 0 unless negotiated, text", PLAIN, &[0xc1, 0x80], 1, FrameError::UnexpectedRsv1),
    fault("5.2: RSV1 must be 0 unless negotiated, binary", PLAIN, &[0x42, 0x80], 1, FrameError::UnexpectedRsv1),
    fault("RFC 7692 6: no RSV1 on a continuation", DEFLATE, &[0xc0, 0x80], 1, FrameError::UnexpectedRsv1),
    fault("RFC 7692 6: no RSV1 on Close", DEFLATE, &[0xc8, 0x80], 1, FrameError::UnexpectedRsv1),
    fault("RFC 7692 6: no RSV1 on Ping", DEFLATE, &[0xc9, 0x80], 1, FrameError::UnexpectedRsv1),
    fault("RFC 7692 6: no RSV1 on Pong", DEFLATE, &[0xca, 0x80], 1, FrameError::UnexpectedRsv1),

    fault("5.2: opcode 3 is reserved", ALL, &[0x83, 0x80], 1, FrameError::ReservedOpCode(3)),
    fault("5.2: opcode 4 is reserved", ALL, &[0x04, 0x80], 1, FrameError::ReservedOpCode(4)),
    fault("5.2: opcode 5 is reserved", ALL, &[0x85, 0x80], 1, FrameError::ReservedOpCode(5)),
    fault("5.2: opcode 6 is reserved", ALL, &[0x06, 0x80], 1, FrameError::ReservedOpCode(6)),
    fault("5.2: opcode 7 is reserved", ALL, &[0x87, 0x80], 1, FrameError::ReservedOpCode(7)),
    fault("5.2: opcode 11 is reserved", ALL, &[0x8b, 0x80], 1, FrameError::ReservedOpCode(11)),
    fault("5.2: opcode 12 is reserved", ALL, &[0x0c, 0x80], 1, FrameError::ReservedOpCode(12)),
    fault("5.2: opcode 13 is reserved", ALL, &[0x8d, 0x80], 1, FrameError::ReservedOpCode(13)),
    fault("5.2: opcode 14 is reserved", ALL, &[0x8e, 0x80], 1, FrameError::ReservedOpCode(14)),
    fault("5.2: opcode 15 is reserved", ALL, &[0x0f, 0x80], 1, FrameError::ReservedOpCode(15)),

    fault("5.2: 0 is not minimal in 16 bits", SERVERS, &[0x82, 0xfe, 0, 0, 1, 2, 3, 4], 4, FrameError::LengthNotMinimal),
    fault("5.2: 125 is not minimal in 16 bits", SERVERS, &[0x82, 0xfe, 0, 125, 1, 2, 3, 4], 4, FrameError::LengthNotMinimal),
    fault("5.2: 125 is not minimal in 16 bits", CLIENTS, &[0x01, 0x7e, 0, 125, 1, 2, 3, 4], 4, FrameError::LengthNotMinimal),
    fault("5.2: 0 is not minimal in 64 bits", SERVERS, &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 8, FrameError::LengthNotMinimal),
    fault("5.2: 126 is not minimal in 64 bits", CLIENTS, &[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0, 126], 8, FrameError::LengthNotMinimal),
    fault("5.2: 65535 is not minimal in 64 bits", SERVERS, &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4], 8, FrameError::LengthNotMinimal),
    fault("5.2: the top bit of 64 must be 0", SERVERS, &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 3, FrameError::LengthTopBit),
    fault("5.2: the top bit of 64 must be 0", CLIENTS, &[0x82, 0x7f, 0xff, 255, 255, 255, 255, 255, 255, 255], 3, FrameError::LengthTopBit),

    fault("5.4, 5.5: Close must not be fragmented", ALL, &[0x08, 0x80], 1, FrameError::FragmentedControl),
    fault("5.4, 5.5: Ping must not be fragmented", ALL, &[0x09, 0x80], 1, FrameError::FragmentedControl),
    fault("5.4, 5.5: Pong must not be fragmented", ALL, &[0x0a, 0x80], 1, FrameError::FragmentedControl),
    fault("5.5: Close has at most 125 bytes", SERVERS, &[0x88, 0xfe, 0, 126], 2, FrameError::ControlTooLong),
    fault("5.5: Ping has at most 125 bytes", SERVERS, &[0x89, 0xfe, 0, 126], 2, FrameError::ControlTooLong),
    fault("5.5: Pong has at most 125 bytes", CLIENTS, &[0x8a, 0x7e, 0, 126], 2, FrameError::ControlTooLong),
    fault("5.5: Ping has at most 125 bytes, in 64 bits too", CLIENTS, &[0x89, 0x7f, 0, 0], 2, FrameError::ControlTooLong),
];

#[test]
fn each_fault_is_refused_at_the_byte_that_proves_it_and_no_sooner() {
    for Fault { rule, rules, bytes, proven_at, error } in FAULTS {
        for rules in *rules {
            for len in 0..*proven_at {
                let decoded = Header::decode(&bytes[..len], *rules);
                assert_eq!(decoded, Ok(Decoded::Incomplete), "{rule}, {rules:?}, {len} bytes");
            }
            for len in *proven_at..=bytes.len() {
                let decoded = Header::decode(&bytes[..len], *rules);
                assert_eq!(decoded, Err(*error), "{rule}, {rules:?}, {len} bytes");
            }
        }
    }
}

#[test]
fn each_fault_fails_the_connection_with_1002_however_the_bytes_come() {
    for Fault { rule, rules, bytes, proven_at, error } in FAULTS {
        assert_eq!(error.close_code(), CloseCode::PROTOCOL_ERROR, "{rule}");
        for rules in *rules {
            // Alone, with as little as proves it, and with so much behind it that the parser sees
            // the frame whole; each time after an honest frame.
            let honest: &[u8] = match rules.role {
                Role::Server => &[0x82, 0x81, 9, 9, 9, 9, b'x' ^ 9],
                Role::Client => &[0x82, 0x01, b'x'],
            };
            for tail in [&bytes[*proven_at..], &[], &[0; 300]] {
                let bytes = [honest, &bytes[..*proven_at], tail].concat();
                let outcome = parse_every_split(*rules, &bytes);
                assert_eq!(outcome.error, Some(*error), "{rule}, {rules:?}");
                let [frame] = &outcome.frames[..] else { panic!("{rule}: the honest frame") };
                assert_eq!(frame.payload, b"x", "{rule}");
            }
        }
    }
}

/// What RFC 6455 section 5.2 says of the first two bytes, written down once more.
fn first_two_bytes_are_legal(first: u8, second: u8, rules: Rules) -> bool {
    let (fin, rsv1, rsv23, opcode) = (first >= 128, first & 64 != 0, first & 48 != 0, first & 15);
    let data = opcode == 1 || opcode == 2;
    let control = [8, 9, 10].contains(&opcode);
    let masked = second >= 128;
    (data || control || opcode == 0)
        && !rsv23
        && (!rsv1 || (rules.rsv1 && data))
        && (!control || (fin && second & 127 <= 125))
        && masked == (rules.role == Role::Server)
}

#[test]
fn all_first_two_bytes_are_judged_as_the_rfc_says() {
    for rules in ALL {
        for [first, second] in (0..=u16::MAX).map(u16::to_be_bytes) {
            let legal = first_two_bytes_are_legal(first, second, *rules);
            let decoded = Header::decode(&[first, second], *rules);
            assert_eq!(decoded.is_ok(), legal, "{first:02x} {second:02x} {rules:?}");
        }
    }
}

/// The parser has a shorter way for frames that lie whole in its input: it must judge alike.
#[test]
fn whole_frames_are_judged_like_headers_alone() {
    for rules in ALL {
        for [first, second] in (0..=u16::MAX).map(u16::to_be_bytes) {
            for length in [[0, 0], [0, 125], [0, 126], [0, 127], [1, 0], [255, 255]] {
                let mut frame = vec![first, second];
                frame.extend(length);
                frame.extend([1, 2, 3, 4, 5, 6, 7, 8]);
                frame.resize(400, b'.');
                let outcome = parse(*rules, [&frame[..]]);
                match Header::decode(&frame, *rules) {
                    Ok(Decoded::Complete { header, .. }) => {
                        let seen = &outcome.frames[0];
                        assert_eq!(
                            (seen.opcode, seen.fin, seen.rsv1, seen.frame_len),
                            (header.opcode, header.fin, header.rsv1, header.payload_len)
                        );
                    }
                    Ok(Decoded::Incomplete) => panic!("400 bytes hold any header"),
                    Err(error) => {
                        assert_eq!((outcome.frames.len(), outcome.error), (0, Some(error)));
                    }
                }
            }
        }
    }
}

#[test]
fn every_length_form_round_trips_at_its_edges() {
    let lengths = [0, 1, 125, 126, 127, 255, 256, 65535, 65536, u64::from(u32::MAX), 1 << 32];
    for payload_len in lengths.into_iter().chain([(1 << 63) - 1]) {
        for (rules, mask) in [(SERVER, Some(KEY)), (CLIENT, None)] {
            for fin in [false, true] {
                let header = header(fin, OpCode::Binary, mask, payload_len);
                let mut out = [0xee; Header::LEN_MAX];
                let len = header.encode(&mut out);
                assert_eq!(len, header.encoded_len());
                assert!(out[len..].iter().all(|byte| *byte == 0xee), "no byte beyond");
                for cut in 0..len {
                    assert_eq!(Header::decode(&out[..cut], rules), Ok(Decoded::Incomplete));
                }
                let decoded = Header::decode(&out, rules);
                assert_eq!(decoded, Ok(Decoded::Complete { header, header_len: len }));
            }
        }
    }
}

#[test]
fn rsv1_round_trips_where_deflate_is_negotiated() {
    for opcode in [OpCode::Text, OpCode::Binary] {
        let header = Header { rsv1: true, ..header(true, opcode, Some(KEY), 3) };
        let mut out = [0; Header::LEN_MAX];
        let header_len = header.encode(&mut out);
        let decoded = Header::decode(&out, SERVER_DEFLATE);
        assert_eq!(decoded, Ok(Decoded::Complete { header, header_len }));
    }
}

/// 2^63 - 1 bytes are legal to declare: nothing overflows, nothing is allocated, and a first piece
/// lets the connection refuse the length.
#[test]
fn the_largest_length_yields_a_first_piece_at_once() {
    let bytes = [0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4];
    for payload in [&b""[..], b"some"] {
        let outcome = parse_every_split(SERVER, &[&bytes, payload].concat());
        assert_eq!(outcome.error, None);
        let [frame] = &outcome.frames[..] else { panic!("one frame") };
        assert_eq!((frame.frame_len, frame.complete), ((1 << 63) - 1, false));
        assert_eq!(frame.payload.len(), payload.len());
    }
}

#[test]
fn a_piece_comes_with_the_last_byte_of_the_header() {
    for bytes in [&[0x82, 0x85, 1, 2, 3, 4][..], &[0x82, 0xfe, 1, 0, 1, 2, 3, 4]] {
        let outcome = parse(SERVER, [bytes]);
        let [frame] = &outcome.frames[..] else { panic!("one frame") };
        assert!(!frame.complete && frame.payload.is_empty());
        assert_eq!(parse(SERVER, [&bytes[..bytes.len() - 1]]).frames, []);
    }
}

#[test]
fn a_masked_frame_with_a_zero_key_is_legal() {
    let outcome =
        parse_every_split(SERVER, &[0x81, 0x85, 0, 0, 0, 0, b'H', b'e', b'l', b'l', b'o']);
    assert_eq!(outcome.frames[0].payload, b"Hello");
}

#[test]
fn errors_say_what_was_expected_in_house_style() {
    for Fault { error, .. } in FAULTS {
        let message = error.to_string();
        assert!(message.starts_with(|first: char| first.is_lowercase()), "{message}");
        assert!(!message.ends_with('.'), "{message}");
        assert!(message.contains("must"), "{message}");
    }
}
