//! Request heads as such: what is read out of them, their limits, and plain answers.

use proptest::prelude::*;
use tickwire_protocol::{AnswerError, Limits, Refusal, RequestReader, Response};

use crate::drive::cuts;

/// Reads `head` in `pieces`; gives what `look` makes of the request.
fn read<T>(
    head: &[u8],
    pieces: &[usize],
    limits: &Limits,
    look: impl Fn(&tickwire_protocol::Request<'_>) -> T,
) -> Result<Option<T>, Refusal> {
    let mut reader = RequestReader::new();
    let mut rest = head;
    for &len in pieces {
        let (piece, after) = rest.split_at(len);
        rest = after;
        let mut piece = piece.to_vec();
        if let Some(request) = reader.push(&mut &mut piece[..], limits)? {
            return Ok(Some(look(&request)));
        }
    }
    Ok(None)
}

#[test]
fn the_parts_of_a_request_are_read_as_sent() {
    let head = b"GET /a/b%20c?d=e?f&g HTTP/1.1\r\n\
        Host: example.com:8080\r\n\
        X-Empty:\r\n\
        x-spaces: \t in between \t \r\n\
        X-Opaque: \xff\r\n\
        Accept: a, b\r\n\
        accept:c ,D\r\n\r\n";
    for pieces in cuts(head.len()) {
        read(head, &pieces, &Limits::default(), |request| {
            assert_eq!(request.method(), "GET");
            assert_eq!(request.path(), "/a/b%20c");
            assert_eq!(request.query(), Some("d=e?f&g"));
            assert_eq!(request.header("HOST"), Some("example.com:8080"));
            assert_eq!(request.header("X-Empty"), Some(""));
            assert_eq!(request.header("X-Spaces"), Some("in between"));
            assert_eq!(request.header("X-Opaque"), None);
            assert_eq!(request.values("X-Opaque").collect::<Vec<_>>(), [b"\xff"]);
            assert_eq!(request.header("X-Missing"), None);
            assert_eq!(request.header("Accept"), Some("a, b"));
            assert_eq!(request.values("Accept").collect::<Vec<_>>(), [&b"a, b"[..], b"c ,D"]);
            for (token, expected) in [("a", true), ("d", true), ("C", true), ("a, b", false)] {
                assert_eq!(request.has_token("accept", token), expected, "{token}");
            }
            assert_eq!(request.headers().count(), 6);
            assert_eq!(request.headers().next(), Some(("Host", &b"example.com:8080"[..])));
            assert!(!request.wants_upgrade());
            assert!(!format!("{request:?}").contains("in between"), "values may be secret");
        })
        .expect("a valid request")
        .expect("a complete request");
    }
}

#[test]
fn targets_are_split_into_path_and_query() {
    type Parts = Option<(&'static str, Option<&'static str>)>;
    let cases: &[(&str, Parts)] = &[
        ("/", Some(("/", None))),
        ("/?", Some(("/", Some("")))),
        ("//x", Some(("//x", None))),
        ("*", Some(("*", None))),
        ("http://example.com", Some(("/", None))),
        ("http://example.com?q", Some(("/", Some("q")))),
        ("ws://user@example.com:80/chat?q=/", Some(("/chat", Some("q=/")))),
        ("http:///chat", None),
        ("example.com:443", None),
        ("chat", None),
        ("?q", None),
        ("/a#b", None),
        ("/é", None),
    ];
    for (target, expected) in cases {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let seen = read(&head, &[head.len()], &Limits::default(), |request| {
            (request.path().to_owned(), request.query().map(str::to_owned))
        });
        let expected = match expected {
            Some((path, query)) => Ok(Some(((*path).to_owned(), query.map(str::to_owned)))),
            None => Err(400),
        };
        assert_eq!(seen.map_err(|refusal| refusal.status), expected, "{target}");
    }
}

#[test]
fn plain_requests_may_announce_a_body_once_and_in_one_way() {
    let cases = [
        ("Content-Length: 5", Ok(())),
        ("Transfer-Encoding: chunked", Ok(())),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", Err(400)),
        ("Content-Length: 5\r\nContent-Length: 6", Err(400)),
        ("Content-Length: five", Err(400)),
    ];
    for (lines, expected) in cases {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").into_bytes();
        let seen = read(&head, &[head.len()], &Limits::default(), |_| ());
        assert_eq!(seen.map(Option::unwrap).map_err(|refusal| refusal.status), expected, "{lines}");
    }
}

#[test]
fn a_head_is_limited_to_8_kilobytes() {
    let head = |len: usize| {
        let (start, end) = ("GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n");
        [start, &"x".repeat(len - start.len() - end.len()), end].concat().into_bytes()
    };
    for (len, expected) in [(8191, Ok(Some(()))), (8192, Ok(Some(()))), (8193, Err(431))] {
        let head = head(len);
        for pieces in [vec![len], vec![1; len], vec![len - 1, 1], vec![8000, len - 8000]] {
            let seen = read(&head, &pieces, &Limits::default(), |_| ());
            assert_eq!(seen.map_err(|refusal| refusal.status), expected, "{len} bytes");
        }
    }
    // What follows the head does not count.
    let early = [head(8192), vec![0x81; 10_000]].concat();
    assert_eq!(read(&early, &[early.len()], &Limits::default(), |_| ()), Ok(Some(())));
}

/// The byte that makes a head too long is not waited for by name: 8,192 bytes without an end
/// cannot become a head of 8,192 bytes.
#[test]
fn an_endless_head_is_refused_at_the_limit() {
    let mut reader = RequestReader::new();
    for count in 1..=8192 {
        let mut byte = *b"x";
        let refused = reader.push(&mut &mut byte[..], &Limits::default());
        let expected = if count < 8192 { Ok(()) } else { Err(431) };
        assert_eq!(refused.map(|_| ()).map_err(|refusal| refusal.status), expected, "{count}");
    }
}

#[test]
fn a_head_is_limited_to_64_lines() {
    let head = |lines: usize| {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        for _ in 1..lines {
            head.extend(b"A: b\r\n");
        }
        [&head[..], b"\r\n"].concat()
    };
    for (lines, expected) in [(63, Ok(Some(()))), (64, Ok(Some(()))), (65, Err(431))] {
        let head = head(lines);
        for pieces in [vec![head.len()], vec![1; head.len()]] {
            let seen = read(&head, &pieces, &Limits::default(), |_| ());
            assert_eq!(seen.map_err(|refusal| refusal.status), expected, "{lines} lines");
        }
    }
    let mut limits = Limits::default();
    limits.request_headers_max = usize::MAX;
    let ceiling = Limits::HEADERS_CEILING;
    for (lines, expected) in [(ceiling, Ok(Some(()))), (ceiling + 1, Err(431))] {
        let head = head(lines);
        let seen = read(&head, &[head.len()], &limits, |_| ());
        assert_eq!(seen.map_err(|refusal| refusal.status), expected, "{lines} lines");
    }
}

#[test]
fn one_reader_can_read_one_request_after_another() {
    let mut reader = RequestReader::new();
    let limits = Limits::default();
    for (path, cut) in [("/1", 0), ("/2", 9), ("/3", 20), ("/4", 0)] {
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let (mut first, mut rest) = head.split_at_mut(cut);
        assert!(reader.push(&mut first, &limits).expect("valid so far").is_none());
        let request = reader.push(&mut rest, &limits).expect("valid").expect("complete");
        assert_eq!((request.path(), request.headers().count()), (path, 1));
        assert!(rest.is_empty());
    }
}

#[test]
fn answers_are_written_whole_or_not_at_all() {
    let page = Response { status: 200, content_type: "text/html", headers: &[], body: b"<p>" };
    let encode = |response: Response<'_>, head_only| {
        let mut out = b"before ".to_vec();
        let result = response.encode(head_only, &mut out);
        (result, String::from_utf8(out).expect("this answer is text"))
    };
    let head = "before HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\n\
        Content-Length: 3\r\n\r\n";
    assert_eq!(encode(page, false), (Ok(()), format!("{head}<p>")));
    assert_eq!(encode(page, true), (Ok(()), head.to_owned()));
    let moved = Response {
        status: 308,
        content_type: "",
        headers: &[("Location", "/new"), ("Cache-Control", "no-store")],
        body: b"",
    };
    let head = "before HTTP/1.1 308 Permanent Redirect\r\nConnection: close\r\nLocation: /new\r\n\
        Cache-Control: no-store\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(encode(moved, false), (Ok(()), head.to_owned()));
    for status in [204, 304] {
        let (result, text) = encode(Response { status, ..page }, false);
        assert_eq!(result, Ok(()));
        assert!(text.ends_with("\r\n\r\n") && !text.contains("Length"), "{text}");
    }
    for status in [0, 100, 101, 199, 600, u16::MAX] {
        let refused = encode(Response { status, ..page }, false);
        assert_eq!(refused, (Err(AnswerError::Status), "before ".to_owned()), "{status}");
    }
    for header in [("A", "b\r\nC: d"), ("A", "b\nC"), ("A\r\nB", "c"), ("", "b"), ("A", "\0")] {
        let refused = encode(Response { headers: &[("X", "y"), header], ..page }, false);
        assert_eq!(refused, (Err(AnswerError::Header), "before ".to_owned()), "{header:?}");
    }
    let refused = encode(Response { content_type: "a\r\nb", ..page }, false);
    assert_eq!(refused, (Err(AnswerError::Header), "before ".to_owned()));
}

fn header_line() -> impl Strategy<Value = (String, Vec<u8>)> {
    let byte = prop_oneof![8 => 0x20..0x7f_u8, 1 => Just(b'\t'), 1 => 0x80..=u8::MAX];
    ("[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}", prop::collection::vec(byte, 0..40))
}

proptest! {
    /// The lines are found by a scan of our own, after httparse has accepted the head.
    #[test]
    fn headers_are_those_that_httparse_finds(lines in prop::collection::vec(header_line(), 0..20)) {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        for (name, value) in lines {
            head.extend(format!("X-{name}:").into_bytes());
            head.extend(value);
            head.extend(b"\r\n");
        }
        head.extend(b"\r\n");
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.parse(&head).expect("the head is valid");
        let expected: Vec<(String, Vec<u8>)> =
            parsed.headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect();
        let seen = read(&head, &[head.len()], &Limits::default(), |request| {
            request.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
        });
        prop_assert_eq!(seen, Ok(Some(expected)));
    }

    /// Whatever arrives: no panic, and the same verdict for every cut.
    #[test]
    fn a_verdict_on_any_bytes_does_not_depend_on_the_cut(
        damaged in prop::collection::vec((0..300_usize, any::<u8>()), 0..4),
        first in 0..300_usize,
    ) {
        let mut head = crate::handshake::EXAMPLE.as_bytes().to_vec();
        for (index, byte) in damaged {
            let index = index % head.len();
            head[index] = byte;
        }
        let first = first % head.len();
        let path = |request: &tickwire_protocol::Request<'_>| request.path().to_owned();
        let whole = read(&head, &[head.len()], &Limits::default(), path);
        let cut = read(&head, &[first, head.len() - first], &Limits::default(), path);
        let bytes = read(&head, &vec![1; head.len()], &Limits::default(), path);
        prop_assert_eq!(&cut, &whole);
        prop_assert_eq!(&bytes, &whole);
    }
}
