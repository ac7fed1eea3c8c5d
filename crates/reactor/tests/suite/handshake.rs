//! The opening handshake (RFC 6455 section 4), and HTTP on the same port.

use crate::session::Session;
use crate::wire;
use crate::world::{Place, Setup, World, in_each_world, in_simulation};

in_each_world!(
    sample_request_gets_the_answer_of_the_rfc,
    subprotocol_is_named_only_if_it_was_offered,
    headers_of_the_application_follow_those_of_the_handshake,
    request_may_take_other_forms,
    requests_that_are_no_handshake_are_refused,
    plain_requests_are_answered_and_the_connection_ends,
    half_closed_peer_gets_its_answer,
    long_page_arrives_whole,
    broken_answers_of_the_application_become_500,
    frames_behind_the_request_are_not_lost,
    request_cut_at_every_offset_is_one_request,
    endless_head_is_refused,
    other_protocols_are_refused,
    one_connection_too_many_is_told_to_come_back,
);

in_simulation!(handshake_must_be_complete_in_time, handshake_byte_by_byte_has_the_same_time);

/// RFC 6455 section 1.3.
const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn sample_request_gets_the_answer_of_the_rfc(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect();
    session.send(peer, &wire::request("/echo", &[]));
    assert_eq!(session.head(peer), format!("{ACCEPTED}\r\n"));
    session.part(peer);
}

fn subprotocol_is_named_only_if_it_was_offered(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let superchat = format!("{ACCEPTED}Sec-WebSocket-Protocol: superchat\r\n\r\n");
    let none = format!("{ACCEPTED}\r\n");
    for (lines, answer) in [
        (&["Sec-WebSocket-Protocol: chat, superchat"][..], &superchat),
        (&["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: superchat"], &superchat),
        (&["Sec-WebSocket-Protocol: chat"], &none),
        (&["Sec-WebSocket-Protocol: SUPERCHAT"], &none),
        (&["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"], &none),
    ] {
        let peer = session.connect();
        session.send(peer, &wire::request("/echo", lines));
        assert_eq!(session.head(peer), *answer, "{lines:?}");
    }
}

fn headers_of_the_application_follow_those_of_the_handshake(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect();
    session.send(peer, &wire::request("/with-cookie", &[]));
    assert_eq!(session.head(peer), format!("{ACCEPTED}Set-Cookie: a=1\r\n\r\n"));
    session.part(peer);
}

fn request_may_take_other_forms(place: &impl Place) {
    let good = String::from_utf8(wire::request("/echo", &[])).expect("text");
    let mut session = Session::start(place, Setup::default());
    for (from, to) in [
        ("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        ("Connection: Upgrade", "connection:keep-alive\r\nCONNECTION: \tuPGRADE , x"),
        ("Upgrade: websocket", "UPGRADE: h2c, WebSocket"),
        ("GET /echo", "GET http://server.example.com/echo"),
        ("GET /echo", "GET /echo?room=1"),
        ("Host:", "Origin: https://example.com\r\nHost:"),
        ("Host:", "Content-Length: 0\r\nHost:"),
        ("Host:", "X: \u{e9}\u{fe}\u{ff}\r\nHost:"),
        ("Host:", &format!("Cookie: {}\r\nHost:", "c".repeat(7_000))),
        ("GET", "\r\nGET"),
    ] {
        assert!(good.contains(from));
        let peer = session.connect();
        session.send(peer, good.replacen(from, to, 1).as_bytes());
        assert_eq!(session.head(peer), format!("{ACCEPTED}\r\n"), "{to}");
        session.part(peer);
    }
}

fn requests_that_are_no_handshake_are_refused(place: &impl Place) {
    let good = String::from_utf8(wire::request("/echo", &[])).expect("text");
    let with = |from: &str, to: &str| {
        assert!(good.contains(from));
        good.replacen(from, to, 1)
    };
    let key = format!("Sec-WebSocket-Key: {}", wire::SAMPLE_KEY);
    let cases = [
        (with("GET", "POST"), 405, "Allow: GET"),
        (with("HTTP/1.1", "HTTP/1.0"), 400, ""),
        (with("HTTP/1.1", "HTTP/2.0"), 505, ""),
        (with("Host: server.example.com\r\n", ""), 400, ""),
        (with("Host:", "Host: other.example.com\r\nHost:"), 400, ""),
        (with("Upgrade: websocket\r\n", ""), 426, "Upgrade: websocket"),
        (with("Upgrade: websocket", "Upgrade: notwebsocketx"), 426, "Upgrade: websocket"),
        (with("Connection: Upgrade", "Connection: upgraded"), 400, ""),
        (with(&key, "X: y"), 400, ""),
        (with(&key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), 400, ""),
        (with(&key, "Sec-WebSocket-Key: ????????????????????????"), 400, ""),
        (with("Version: 13", "Version: 8"), 426, "Sec-WebSocket-Version: 13"),
        (with("Sec-WebSocket-Version: 13\r\n", ""), 400, "Sec-WebSocket-Version: 13"),
        (with("Host:", "Content-Length: 5\r\nHost:"), 400, ""),
        (with("Host:", "Transfer-Encoding: chunked\r\nHost:"), 400, ""),
        (with("Host:", "X: a\0b\r\nHost:"), 400, ""),
        (with("Host:", "X: a\r\n folded\r\nHost:"), 400, ""),
        (with("Host:", "Sec-WebSocket-Protocol: a,\u{e9}\r\nHost:"), 400, ""),
        (with("Host:", "Sec-WebSocket-Extensions: a;;b\r\nHost:"), 400, ""),
        (with("GET /echo", "GET echo"), 400, ""),
    ];
    let mut session = Session::start(place, Setup::default());
    for (request, status, line) in cases {
        let peer = session.connect();
        session.send(peer, request.as_bytes());
        let (got, answer) = session.answer(peer);
        assert_eq!(got, status, "{request}");
        assert!(answer.contains(line), "{request} got {answer}");
        assert!(answer.contains("\r\nConnection: close"), "{request} got {answer}");
    }
    session.counted("refusals", 20, |counters| counters.refused);
    session.counted("upgrades", 0, |counters| counters.upgraded);
    session.counted("losses", 0, |counters| counters.lost);
}

fn plain_requests_are_answered_and_the_connection_ends(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for (request, status, end) in [
        ("GET /page HTTP/1.1\r\nHost: a\r\n\r\n", 200, "\r\n\r\na page\n"),
        ("HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n", 200, "Content-Length: 7\r\n\r\n"),
        ("GET /no-page HTTP/1.1\r\nHost: a\r\n\r\n", 404, "\n"),
        // A second request in the pipeline is not looked at: the answer said that it closes.
        (
            "GET /page HTTP/1.1\r\nHost: a\r\n\r\nGET /page HTTP/1.1\r\n\r\n",
            200,
            "\r\n\r\na page\n",
        ),
        // Nor is a body.
        ("PUT /page HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200, "\r\n\r\na page\n"),
    ] {
        let peer = session.connect();
        session.send(peer, request.as_bytes());
        let (got, answer) = session.answer(peer);
        assert_eq!(got, status, "{request}");
        assert!(answer.ends_with(end), "{request} got {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{request} got {answer}");
    }
}

fn half_closed_peer_gets_its_answer(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for (path, status) in [("/page", 200), ("/long-page", 200), ("/no-page", 404)] {
        let peer = session.connect();
        session.send(peer, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        session.world.end(peer);
        assert_eq!(session.answer(peer).0, status, "{path}");
    }
}

fn long_page_arrives_whole(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let echo = session.open("/echo");
    let peer = session.connect_narrow();
    session.send(peer, b"GET /long-page HTTP/1.1\r\nHost: a\r\n\r\n");
    let (status, answer) = session.answer(peer);
    assert_eq!(status, 200);
    assert!(answer.ends_with(&format!("\r\n\r\n{}\n", crate::application::numbered(0, 4_000_000))));
    session.say(echo, "others are not touched by it");
    assert_eq!(session.heard(echo), "others are not touched by it");
}

fn broken_answers_of_the_application_become_500(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for path in [
        "/header-that-ends-its-line",
        "/upgrade-header-that-ends-its-line",
        "/handshake-header",
        "/protocol-not-offered",
    ] {
        let peer = session.connect();
        session.send(peer, &wire::request(path, &[]));
        let (status, answer) = session.answer(peer);
        assert_eq!(status, 500, "{path}");
        assert!(!answer.contains("X-Two"), "{answer}");
        assert!(!answer.contains("101"), "{answer}");
    }
    assert_eq!(session.world.journal().opened(), []);
}

fn frames_behind_the_request_are_not_lost(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect();
    let early = [wire::request("/echo", &[]), wire::text("early"), wire::text("bird")].concat();
    session.send(peer, &early);
    assert_eq!(session.head(peer), format!("{ACCEPTED}\r\n"));
    assert_eq!(session.heard(peer), "early");
    assert_eq!(session.heard(peer), "bird");
    session.part(peer);
}

fn request_cut_at_every_offset_is_one_request(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let request =
        [wire::request("/echo", &[]), wire::text("early"), wire::close(1000, "")].concat();
    for offset in 1..request.len() {
        let peer = session.connect();
        session.send(peer, &request[..offset]);
        session.delivered();
        session.send(peer, &request[offset..]);
        assert_eq!(session.head(peer), format!("{ACCEPTED}\r\n"), "cut at {offset}");
        assert_eq!(session.heard(peer), "early", "cut at {offset}");
        assert_eq!(session.closed(peer).0, 1000, "cut at {offset}");
        session.ended(peer);
    }
}

fn endless_head_is_refused(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let start = "GET /echo HTTP/1.1\r\nHost: a\r\n";
    for endless in [
        format!("{start}Cookie: {}", "a".repeat(1024 * 1024)),
        format!("{start}{}", "X: y\r\n".repeat(10_000)),
        format!("{start}Sec-WebSocket-Protocol: {}", " \\\"".repeat(100_000)),
        format!("GET /{}", "a".repeat(1024 * 1024)),
    ] {
        let peer = session.connect();
        session.send(peer, endless.as_bytes());
        assert_eq!(session.answer(peer).0, 431, "{:.60}", endless);
    }
}

fn other_protocols_are_refused(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for (bytes, expected) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[400, 505][..]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[400]),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", &[400]),
        (b"\0\0\0\0\0\0\0\0", &[400]),
        (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &[400]),
    ] {
        let peer = session.connect();
        session.send(peer, bytes);
        let (status, _) = session.answer(peer);
        assert!(expected.contains(&status), "{bytes:?} got {status}");
    }
}

fn one_connection_too_many_is_told_to_come_back(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.connections_max = 2);
    let mut session = Session::start(place, setup);
    let (first, second) = (session.open("/echo"), session.open("/echo"));
    let third = session.connect();
    session.send(third, &wire::request("/echo", &[]));
    let (status, answer) = session.answer(third);
    assert_eq!(status, 503);
    assert!(answer.contains("\r\nRetry-After: 5\r\n"), "{answer}");
    session.world.end(third);
    session.part(first);
    session.until("the third is gone", |world| world.counters().connections_now == 1);
    let fourth = session.open("/echo");
    session.part(fourth);
    session.part(second);
}

fn handshake_must_be_complete_in_time(place: &crate::world::Seed) {
    let mut session = Session::start(place, Setup::default());
    let silent = session.connect();
    let slow = session.connect();
    let request = wire::request("/echo", &[]);
    session.send(slow, &request[..request.len() - 1]);
    session.world.advance(std::time::Duration::from_millis(9_900));
    assert_eq!(session.world.arrived(silent), b"");
    session.world.advance(std::time::Duration::from_millis(200));
    for peer in [silent, slow] {
        assert_eq!(session.answer(peer).0, 408);
    }
}

fn handshake_byte_by_byte_has_the_same_time(place: &crate::world::Seed) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect();
    for byte in wire::request("/echo", &[]).chunks(1).take(11) {
        session.send(peer, byte);
        session.world.advance(std::time::Duration::from_secs(1));
    }
    assert_eq!(session.answer(peer).0, 408);
}
