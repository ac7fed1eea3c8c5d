//! Request heads that are made to be expensive.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tickwire::protocol::{Limits, RequestReader};

use crate::server::Server;
use crate::wire;

/// CVE-2023-43669: a head in single bytes that was parsed from its start at every read.
///
/// The 431 comes behind 8 KB of it; the rest is not even looked at.
#[test]
fn a_megabyte_of_head_in_single_bytes_is_answered_431() {
    let server = Server::start(&[]);
    let mut attacker = server.connect();
    let mut beside = server.open("/");
    attacker.send(b"GET / HTTP/1.1\r\nHost: server.example.com\r\nX: ");
    let mut sent = 0;
    // It may hang up before all of it is sent; who goes on is not read for ever.
    while sent < 1024 * 1024 && attacker.try_send(b"x") {
        sent += 1;
        if sent % 1024 == 0 {
            beside.send(&wire::text(&sent.to_string()));
            assert_eq!(beside.frame().payload, sent.to_string().as_bytes());
        }
    }
    assert!(sent > 8 * 1024 - 100, "{sent} bytes are below the limit");
    let head = attacker.head();
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
}

/// CVE-2024-37890: a header too many was looked up where it was not kept.
#[test]
fn ten_thousand_headers_are_answered_431() {
    let server = Server::start(&[]);
    for end in ["\r\n", ""] {
        let mut peer = server.connect();
        let lines: Vec<String> = (0..10_000).map(|index| format!("X-{index}: y")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut head = wire::request("/", &lines);
        head.truncate(head.len() - end.len());
        // The answer may come before all of it is sent.
        peer.try_send(&head);
        assert!(peer.head().starts_with("HTTP/1.1 431 "));
    }
    assert_served(&server);
}

/// CVE-2020-7662, CVE-2020-7663, CVE-2021-32640: lists that made parsers go back and forth.
#[test]
fn lists_of_nothing_but_delimiters_are_answered_at_once() {
    let server = Server::start(&[]);
    for name in ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Connection", "Upgrade"] {
        for (begin, repeated) in [
            ("", " "),
            ("", "\t"),
            ("", ","),
            ("", ";"),
            ("a; b=\"", "\\"),
            ("a; b=", "\""),
            ("a", " , a"),
        ] {
            let list = repeated.repeat(7_500 / repeated.len());
            let mut peer = server.connect();
            peer.send(&wire::request("/", &[&format!("{name}: {begin}{list}")]));
            let head = peer.head();
            let status = head.split(' ').nth(1).expect("a status line");
            assert!(["101", "400"].contains(&status), "{name}: {begin}{repeated}...: {head}");
        }
    }
    assert_served(&server);
}

/// Servers that took header values for text: bytes that are not ASCII, or no text at all, ended
/// them. Here each byte, in each header of the handshake, is answered, and never sent back.
#[test]
fn no_byte_in_any_header_ends_the_server() {
    let server = Server::start(&[]);
    let names = ["Host", "Origin", "User-Agent", "Cookie", "Sec-WebSocket-Protocol"];
    let names = names.into_iter().chain(["Sec-WebSocket-Extensions", "Connection", "Upgrade"]);
    for name in names.chain(["Sec-WebSocket-Key", "Sec-WebSocket-Version", "Content-Length"]) {
        for byte in (0x80..=0xff).chain([0, b'\r', b'\n', 0x7f]) {
            let line = format!("{name}: a@b");
            let mut head = wire::request("/", &[&line]);
            let at = head.iter().position(|byte| *byte == b'@').expect("it is there");
            head[at] = byte;
            let mut peer = server.connect();
            peer.send(&head);
            let answer = peer.head();
            let forbidden = byte < 0x80;
            let refused = answer.starts_with("HTTP/1.1 400 ");
            assert!(refused || !forbidden, "{name} with {byte:#04x}: {answer}");
            assert!(answer.is_ascii(), "{name} with {byte:#04x}: {answer}");
        }
    }
    assert_served(&server);
}

/// CVE-2026-1527 and the like: what one side takes for a body is a request of somebody else's for
/// the other. There is one answer, it is 400, and nothing behind it is looked at.
#[test]
fn a_request_hidden_in_the_body_of_an_upgrade_is_not_answered() {
    let server = Server::start(&[("close_ms", 200)]);
    let hidden = wire::request("/hidden", &[]);
    let length = format!("Content-Length: {}", hidden.len());
    let cases: [&[&str]; 7] = [
        &[&length],
        &["Content-Length: 0", &length],
        &["Content-Length: 5, 5"],
        &["Content-Length: +5"],
        &["Transfer-Encoding: chunked"],
        &["Transfer-Encoding: chunked", &length],
        &["Transfer-Encoding: identity"],
    ];
    for lines in cases {
        let mut peer = server.connect();
        peer.send(&[wire::request("/", lines), hidden.clone()].concat());
        let answers = String::from_utf8(peer.rest()).expect("text");
        assert!(answers.starts_with("HTTP/1.1 400 "), "{lines:?}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{lines:?}: {answers}");
    }
    assert_served(&server);
}

/// An application that puts what a client sent into a header of its answer.
#[test]
fn a_line_end_in_a_header_of_the_application_is_not_sent() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send(&wire::request("/greeting?name=Ann", &[]));
    assert!(peer.head().contains("\r\nX-Greeting: hello Ann\r\n"));
    for end in ["%0D%0A", "%0D", "%0A", "%00"] {
        let mut peer = server.connect();
        let path = format!("/greeting?name=Ann{end}Set-Cookie:%20session=stolen");
        peer.send(&wire::request(&path, &[]));
        let head = peer.head();
        assert!(head.starts_with("HTTP/1.1 500 "), "{end}: {head}");
        assert!(!head.contains("session"), "{end}: {head}");
    }
    assert_served(&server);
}

fn assert_served(server: &Server) {
    let mut peer = server.open("/");
    peer.send(&wire::text("word"));
    assert_eq!(peer.frame().payload, b"word");
}

/// The same from the inside, where work can be compared: processor time of this thread, the least
/// of many interleaved rounds, so that a busy machine does not change it.
///
/// Beside the reader of the engine stands the faulty one, to show that the comparison can tell.
#[test]
fn twice_the_head_in_single_bytes_takes_twice_the_work() {
    const LINEAR_MAX: f64 = 3.0;
    let ours = growth(128 * 1024, LINEAR_MAX, |head| {
        let mut limits = Limits::default();
        limits.request_bytes_max = usize::MAX;
        let mut reader = RequestReader::new();
        for byte in head.chunks_mut(1) {
            let mut input = byte;
            assert!(reader.push(&mut input, &limits).expect("a head").is_none());
        }
    });
    let faulty = growth(8 * 1024, 0.0, |head| {
        let mut arrived = Vec::new();
        for byte in head {
            arrived.push(*byte);
            assert!(!arrived.windows(4).any(|four| four == b"\r\n\r\n"));
        }
    });
    println!("twice the bytes take {ours:.2} of the work; parsed anew at every read, {faulty:.2}");
    assert!(ours < LINEAR_MAX, "{ours:.2} times the work for twice the bytes");
    assert!(faulty > LINEAR_MAX, "{faulty:.2} times the work: this cannot tell them apart");
}

/// How many times the work of a head of `len` bytes one of twice the length takes. Stops measuring
/// when that is below `enough`, or when a faulty reader has used up its time.
fn growth(len: usize, enough: f64, read: impl Fn(&mut [u8])) -> f64 {
    const ROUNDS: usize = 20;
    let begin = b"GET / HTTP/1.1\r\nX: ";
    let mut heads = [len, 2 * len].map(|len| [&begin[..], &vec![b'x'; len]].concat());
    let mut least = [Duration::MAX; 2];
    let start = processor_time();
    for round in 0..ROUNDS {
        for (head, least) in heads.iter_mut().zip(&mut least) {
            let before = processor_time();
            read(head);
            *least = (*least).min(processor_time() - before);
        }
        let spent = processor_time() - start;
        if round >= 3 && ratio(least) < enough || spent > Duration::from_secs(3) {
            break;
        }
    }
    ratio(least)
}

fn ratio([once, twice]: [Duration; 2]) -> f64 {
    twice.as_secs_f64() / once.as_secs_f64()
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), 0)
        + Duration::from_nanos(time.tv_nsec.cast_unsigned())
}
