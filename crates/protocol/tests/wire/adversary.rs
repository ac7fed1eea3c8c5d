//! What an attacker sends: each test is an advisory of some WebSocket or HTTP library.
//!
//! Work that must be linear is shown by its size: were it quadratic, the test would take minutes
//! instead of milliseconds. Memory is watched in the tests of `allocation`.

use tickwire_protocol::encode::frame;
use tickwire_protocol::{
    Connection, DeflatePolicy, Inflater, Limits, OpCode, RequestReader, Role, upgrade,
};

use crate::drive::{MASK, Seen, feed, feed_with};
use crate::handshake::{EXAMPLE, with};

const MEGABYTE: usize = 1024 * 1024;

/// Feeds `head` in pieces of `piece_len` bytes; gives the status of the refusal, or 101.
fn status(head: &[u8], piece_len: usize, limits: &Limits) -> u16 {
    let mut reader = RequestReader::new();
    for piece in head.to_vec().chunks_mut(piece_len) {
        let mut input = piece;
        match reader.push(&mut input, limits) {
            Ok(None) => {}
            Ok(Some(request)) => {
                return upgrade(&request).map_or_else(|refusal| refusal.status, |_| 101);
            }
            Err(refusal) => return refusal.status,
        }
    }
    panic!("the head has an end");
}

/// The example of section 1.2 with `line` added.
fn and(line: &[u8]) -> Vec<u8> {
    let head = EXAMPLE.strip_suffix("\r\n").expect("ends with an empty line");
    [head.as_bytes(), line, b"\r\n\r\n"].concat()
}

/// CVE-2023-43669: the head was parsed from its start at every read.
#[test]
fn a_megabyte_of_head_in_single_bytes_takes_linear_time() {
    let long_value = and(&[b"X: ", &vec![b'x'; MEGABYTE][..]].concat());
    assert_eq!(status(&long_value, 1, &Limits::default()), 431);
    let mut limits = Limits::default();
    limits.request_bytes_max = 2 * MEGABYTE;
    for value in [b'x', b' ', b',', b';', b'"', b'\\'] {
        let head = and(&[b"X: ", &vec![value; MEGABYTE][..]].concat());
        assert_eq!(status(&head, 1, &limits), 101);
    }
}

/// CVE-2024-37890 and its like.
#[test]
fn ten_thousand_headers_are_refused() {
    let lines: Vec<String> = (0..10_000).map(|index| format!("X-{index}: y")).collect();
    let head = and(lines.join("\r\n").as_bytes());
    let mut limits = Limits::default();
    assert_eq!(status(&head, 1, &limits), 431);
    assert_eq!(status(&head, head.len(), &limits), 431);
    limits.request_bytes_max = head.len();
    assert_eq!(status(&head, head.len(), &limits), 431, "by their number, too");
}

/// CVE-2020-7662, CVE-2020-7663, CVE-2021-32640: lists that made parsers go back and forth.
#[test]
fn lists_of_nothing_but_delimiters_take_linear_time() {
    let mut limits = Limits::default();
    limits.request_bytes_max = 2 * MEGABYTE;
    let shapes: &[(&str, &str)] = &[
        ("", " "),
        ("", "\t"),
        ("", "\\"),
        ("", "\""),
        ("", ","),
        ("", " ,"),
        ("", ";"),
        ("a", " "),
        ("a; b=\"", "\\"),
        ("a; b=\"", "\\\\"),
        ("a; b=\"", " "),
        ("a; b=\"", "\\\""),
        ("a; b=\"\\", "\\"),
        ("a", "; b"),
        ("a", "; b=\"c\""),
        ("a", ",a"),
        ("a", " ; "),
    ];
    for (start, repeated) in shapes {
        for len in [8000, MEGABYTE] {
            let list = [*start, &repeated.repeat((len - start.len()) / repeated.len())].concat();
            for name in
                ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Connection", "Upgrade"]
            {
                let head = and(format!("{name}: {list}").as_bytes());
                let status = status(&head, head.len(), &limits);
                assert!([101, 400].contains(&status), "{name}: {start}{repeated}...: {status}");
            }
        }
    }
}

/// The offered subprotocols are compared with the known ones only, not with each other.
#[test]
fn thousands_of_subprotocols_are_looked_through() {
    let offers = vec!["a"; 4000].join(",");
    let line = format!("Sec-WebSocket-Protocol: {offers}");
    let mut head = with("Sec-WebSocket-Protocol", &[&line]);
    let mut limits = Limits::default();
    limits.request_bytes_max = head.len();
    let mut reader = RequestReader::new();
    let mut input = &mut head[..];
    let request = reader.push(&mut input, &limits).expect("valid").expect("complete");
    let upgrade = upgrade(&request).expect("a valid handshake");
    let known: Vec<String> = (0..1000).map(|index| format!("known-{index}")).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    assert_eq!(upgrade.choose(&known), None);
    assert_eq!(upgrade.protocols().count(), 4000);
}

/// A megabyte of offers that are to be declined, and one at the end that is not.
#[test]
fn thousands_of_offers_are_looked_through() {
    let declined = "permessage-deflate; server_max_window_bits=\"8\", ";
    let offers = declined.repeat(MEGABYTE / declined.len());
    let mut head = and(format!("Sec-WebSocket-Extensions: {offers}permessage-deflate").as_bytes());
    let mut limits = Limits::default();
    limits.request_bytes_max = head.len();
    let (mut input, mut reader) = (&mut head[..], RequestReader::new());
    let request = reader.push(&mut input, &limits).expect("valid").expect("complete");
    let upgrade = upgrade(&request).expect("a valid handshake");
    let params = upgrade.deflate(&DeflatePolicy::default()).expect("the last one");
    let mut out = Vec::new();
    upgrade.accept_with(None, Some(&params), &[], &mut out).expect("it was offered");
}

/// Bytes 0x80 to 0xff, and control characters, in the value and the name of every header.
#[test]
fn no_byte_in_any_header_panics() {
    let names = EXAMPLE.lines().skip(1).filter_map(|line| line.split(':').next());
    for name in names.filter(|name| !name.is_empty()) {
        for byte in 0..=u8::MAX {
            let line_start = EXAMPLE.find(&format!("\r\n{name}:")).expect("has the line") + 2;
            let line_len = EXAMPLE[line_start..].find("\r\n").expect("the line ends");
            for at in [line_start, line_start + name.len(), line_start + line_len] {
                for replaced in [0, 1] {
                    let mut head = EXAMPLE.as_bytes().to_vec();
                    head.splice(at..at + replaced, [byte]);
                    // Never accepted with a byte that HTTP forbids everywhere.
                    let seen = feed_head(&head);
                    if matches!(byte, 0..=8 | 11 | 12 | 14..=31 | 127) {
                        assert_eq!(seen, Some(400), "{name}: {byte:#04x} at {at}");
                    }
                }
            }
        }
    }
}

/// The status, or `None` if the head has not ended.
fn feed_head(head: &[u8]) -> Option<u16> {
    let mut head = head.to_vec();
    let mut reader = RequestReader::new();
    match reader.push(&mut &mut head[..], &Limits::default()) {
        Ok(None) => None,
        Ok(Some(request)) => Some(upgrade(&request).map_or_else(|refusal| refusal.status, |_| 101)),
        Err(refusal) => Some(refusal.status),
    }
}

/// CVE-2026-48779: ten million fragments that bring nothing, or next to nothing.
#[test]
fn floods_of_tiny_fragments_end_at_a_limit() {
    // Of a compressed message, a quarter more is admitted than of a plain one.
    let compressed = MEGABYTE + MEGABYTE / 4 + 64;
    for (rsv1, payload, expected, honest) in [
        (0x00, &b""[..], 1008, 1023),
        (0x00, b"x", 1009, MEGABYTE),
        (0x40, b"", 1008, 1023),
        (0x40, b"x", 1009, compressed),
    ] {
        let mut begin = Vec::new();
        frame(false, OpCode::Binary, Some(MASK), b"", &mut begin);
        begin[0] |= rsv1;
        let mut fragment = Vec::new();
        frame(false, OpCode::Continuation, Some(MASK), payload, &mut fragment);
        let mut connection = Connection::with_deflate(Role::Server);
        let limits = Limits::default();
        assert_eq!(feed(&mut connection, &begin, &[begin.len()], &limits).seen, []);
        let batch = fragment.repeat(1023);
        let mut fed = 0;
        let failed = loop {
            let seen = feed(&mut connection, &batch, &[batch.len()], &limits).seen;
            if let [failed] = &seen[..] {
                break failed.clone();
            }
            assert_eq!(seen, []);
            fed += 1023;
            assert!(fed <= honest, "more than {honest} fragments of {} bytes", payload.len());
        };
        assert_eq!(failed, Seen::Failed(expected));
        assert!(fed + 1023 > honest, "{fed} fragments of {} bytes", payload.len());
        // Once failed, the other millions are not even looked at.
        for _ in 0..10_000 {
            assert_eq!(feed(&mut connection, &batch, &[batch.len()], &limits).seen, []);
        }
    }
}

/// A final block costs two bytes and makes zlib begin anew: half a million of them in a message.
#[test]
fn tiny_blocks_take_linear_time() {
    for block in [&b"\x03\x00"[..], b"\x01\x00\x00\xff\xff", b"\x00\x00\x00\xff\xff"] {
        let mut packed = block.repeat(MEGABYTE / block.len());
        packed.push(0);
        let mut stream = Vec::new();
        frame(true, OpCode::Binary, Some(MASK), &packed, &mut stream);
        stream[0] |= 0x40;
        let mut connection = Connection::with_deflate(Role::Server);
        let pieces = [stream.len()];
        let outcome = feed(&mut connection, &stream, &pieces, &Limits::default());
        assert_eq!(outcome.seen, [Seen::Binary(Vec::new())]);
    }
}

/// CVE-2016-10518 and the like: buffers are used again, what was in them is not sent or lent. Each
/// thing is followed by a shorter one of its kind, in the same buffer and in another connection.
#[test]
fn nothing_of_an_earlier_message_is_sent_or_lent_again() {
    let mut inflater = Inflater::new(false);
    for _ in 0..2 {
        let mut connection = Connection::with_deflate(Role::Server);
        for len in [125_u8, 60, 3, 1, 0] {
            let old = vec![len; usize::from(len)];
            // A stored block.
            let packed = [&[0, len, 0, !len, 0xff], &old[..], &[0]].concat();
            let mut stream = Vec::new();
            for (first, opcode, payload) in [
                (0x89, OpCode::Ping, &old),
                (0x82, OpCode::Binary, &old),
                (0xc2, OpCode::Binary, &packed),
                (0x8a, OpCode::Pong, &old),
            ] {
                let start = stream.len();
                frame(true, opcode, Some(MASK), payload, &mut stream);
                stream[start] = first;
            }
            let expected = [
                Seen::Ping(old.clone()),
                Seen::Binary(old.clone()),
                Seen::Binary(old.clone()),
                Seen::Pong(old.clone()),
            ];
            for pieces in [vec![stream.len()], vec![1; stream.len()]] {
                let limits = Limits::default();
                let outcome = feed_with(&mut connection, &mut inflater, &stream, &pieces, &limits);
                assert_eq!(outcome.seen, expected, "{len} bytes");
                assert_eq!(outcome.control, [&[0x8a, len], &old[..]].concat());
            }
        }
        let mut close = Vec::new();
        frame(true, OpCode::Close, Some(MASK), b"\x03\xe8a", &mut close);
        let pieces = vec![1; close.len()];
        let limits = Limits::default();
        let outcome = feed_with(&mut connection, &mut inflater, &close, &pieces, &limits);
        assert_eq!(outcome.seen, [Seen::Closed(Some(1000), "a".to_owned())]);
        assert_eq!(outcome.control, b"\x88\x02\x03\xe8");
    }
}
