//! HTTP on the same port as the WebSockets, and requests that never end.
//!
//! What an opening handshake must be, line by line, is in `spec`.

use crate::session::Session;
use crate::wire;
use crate::world::{Place, Setup, World, in_each_world, in_simulation};

in_each_world!(
    plain_requests_are_answered_and_the_connection_ends,
    half_closed_peer_gets_its_answer,
    long_page_arrives_whole,
    endless_head_is_refused,
    one_connection_too_many_is_told_to_come_back,
);

in_simulation!(handshake_must_be_complete_in_time, handshake_byte_by_byte_has_the_same_time);

fn plain_requests_are_answered_and_the_connection_ends(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    for (request, status, end) in [
        ("GET /page HTTP/1.1\r\nHost: a\r\n\r\n", 200, "\r\n\r\na page\n"),
        ("HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n", 200, "Content-Length: 7\r\n\r\n"),
        ("GET /no-page HTTP/1.1\r\nHost: a\r\n\r\n", 404, "\n"),
        // A refusal to HEAD has no body either (RFC 9110 section 9.3.2).
        (
            "HEAD /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            405,
            "\r\n\r\n",
        ),
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
