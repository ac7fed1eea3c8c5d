//! Random streams, well-formed and damaged, against the oracle and every way of cutting.

use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_protocol::encode::frame;
use tickwire_protocol::{Connection, Limits, OpCode, Role};

use crate::drive::{MASK, assert_owed, feed};
use crate::oracle;

/// Limits that short streams reach.
fn small_limits() -> Limits {
    let mut limits = Limits::default();
    limits.message_bytes_max = 200;
    limits.empty_fragments_max = 2;
    limits
}

#[derive(Debug, Clone)]
struct Frame {
    fin: bool,
    opcode: OpCode,
    payload: Vec<u8>,
}

fn opcode() -> impl Strategy<Value = OpCode> {
    prop_oneof![
        4 => Just(OpCode::Continuation),
        3 => Just(OpCode::Text),
        2 => Just(OpCode::Binary),
        2 => Just(OpCode::Ping),
        1 => Just(OpCode::Pong),
        1 => Just(OpCode::Close),
    ]
}

/// Text cut anywhere, bytes, close bodies, nothing.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => Just(Vec::new()),
        4 => "[a-z]{0,40}".prop_map(String::into_bytes),
        4 => (".{0,20}", 0..4_usize).prop_map(|(text, cut)| {
            let mut bytes = text.into_bytes();
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes
        }),
        1 => vec(0x80..0xc0_u8, 1..3),
        1 => vec(any::<u8>(), 0..130),
        1 => (990..1020_u16, ".{0,5}")
            .prop_map(|(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat()),
    ]
}

/// Mostly valid frames in an order that is often valid.
fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let frame = (any::<bool>(), opcode(), payload());
    vec(frame, 0..12).prop_map(|parts| {
        let mut begun = false;
        let mut frames = Vec::new();
        for (index, (fin, mut opcode, mut payload)) in parts.into_iter().enumerate() {
            // Every fifth frame stays as drawn, so that each rule is broken now and then.
            let orderly = index % 5 != 4;
            if opcode.is_control() {
                if orderly {
                    payload.truncate(125);
                }
                frames.push(Frame { fin: fin || orderly, opcode, payload });
                continue;
            }
            if orderly && begun {
                opcode = OpCode::Continuation;
            } else if orderly && opcode == OpCode::Continuation {
                opcode = OpCode::Text;
            }
            begun = !fin;
            frames.push(Frame { fin, opcode, payload });
        }
        frames
    })
}

fn encode(frames: &[Frame], role: Role) -> Vec<u8> {
    let mut stream = Vec::new();
    for Frame { fin, opcode, payload } in frames {
        let key = (role == Role::Server).then_some(MASK);
        frame(*fin, *opcode, key, payload, &mut stream);
    }
    stream
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

/// Turns fractions into the lengths of pieces that make up `len`.
fn pieces(len: usize, at: &[prop::sample::Index]) -> Vec<usize> {
    let mut ends: Vec<usize> = at.iter().map(|index| index.index(len + 1)).collect();
    ends.push(len);
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter().map(|end| end - core::mem::replace(&mut start, end)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_stream_of_frames_is_seen_as_the_oracle_sees_it(
        frames in frames(),
        role in role(),
        at in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let limits = small_limits();
        let stream = encode(&frames, role);
        let expected = oracle::receive(role, &stream, &limits);
        for pieces in [pieces(stream.len(), &at), vec![stream.len()], vec![1; stream.len()]] {
            let outcome = feed(&mut Connection::new(role), &stream, &pieces, &limits);
            prop_assert_eq!(&outcome.seen, &expected);
            assert_owed("random frames", role, &outcome);
        }
    }

    #[test]
    fn damaged_streams_are_seen_as_the_oracle_sees_them(
        frames in frames(),
        role in role(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
        at in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let limits = small_limits();
        let mut stream = encode(&frames, role);
        stream.truncate(end.index(stream.len() + 1));
        for (index, byte) in damage {
            if let Some(hit) = stream.len().checked_sub(1).map(|_| index.index(stream.len())) {
                stream[hit] = byte;
            }
        }
        let expected = oracle::receive(role, &stream, &limits);
        for pieces in [pieces(stream.len(), &at), vec![stream.len()], vec![1; stream.len()]] {
            let outcome = feed(&mut Connection::new(role), &stream, &pieces, &limits);
            prop_assert_eq!(&outcome.seen, &expected);
            assert_owed("damaged frames", role, &outcome);
        }
    }

    #[test]
    fn any_bytes_are_seen_as_the_oracle_sees_them(
        stream in vec(any::<u8>(), 0..60),
        role in role(),
    ) {
        let limits = small_limits();
        let expected = oracle::receive(role, &stream, &limits);
        for pieces in [vec![stream.len()], vec![1; stream.len()]] {
            let outcome = feed(&mut Connection::new(role), &stream, &pieces, &limits);
            prop_assert_eq!(&outcome.seen, &expected);
            assert_owed("any bytes", role, &outcome);
        }
    }

    #[test]
    fn a_text_message_is_taken_if_and_only_if_it_is_utf8(
        payload in prop_oneof![
            ".{0,60}".prop_map(String::into_bytes),
            vec(any::<u8>(), 0..8),
            vec(prop_oneof![0x60..0x68_u8, 0x80..0xc8_u8, 0xe0..=u8::MAX], 0..8),
        ],
        fragments in vec(any::<prop::sample::Index>(), 0..4),
        at in vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut stream = Vec::new();
        let mut rest = &payload[..];
        let lengths = pieces(payload.len(), &fragments);
        for (index, len) in lengths.iter().enumerate() {
            let (fragment, after) = rest.split_at(*len);
            rest = after;
            let opcode = if index == 0 { OpCode::Text } else { OpCode::Continuation };
            frame(index + 1 == lengths.len(), opcode, Some(MASK), fragment, &mut stream);
        }
        let pieces = pieces(stream.len(), &at);
        let connection = &mut Connection::new(Role::Server);
        let seen = feed(connection, &stream, &pieces, &Limits::default()).seen;
        let expected = match String::from_utf8(payload) {
            Ok(text) => crate::drive::Seen::Text(text),
            Err(_) => crate::drive::Seen::Failed(1007),
        };
        prop_assert_eq!(seen, [expected]);
    }
}
