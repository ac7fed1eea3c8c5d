//! Whom the configuration and the application let in (RFC 6455 sections 4.2.2, 10.2 and 10.5).
//!
//! The engine knows origins; the rest is said by the handler, which sees the whole request, and whose
//! answers cannot break the head that they stand in.

use super::handshake::{Due, OPENS, Request, changed, check_with, nothing_more, with};
use super::{Case, Share, play};
use crate::session::Session;
use crate::world::{Setup, in_each_bare_world};

in_each_bare_world!(
    pages_of_the_same_origin_are_let_in,
    pages_of_listed_origins_are_let_in,
    handler_refuses_who_does_not_say_who_it_is,
    handler_sees_path_query_headers_and_address,
    headers_of_the_handler_stand_behind_those_of_the_handshake,
    nothing_of_the_handler_can_end_a_line,
);

const FORBIDDEN: Due = Due::Refused(403, &[]);

fn origin(origin: &str, due: Due) -> Request {
    with(format!("Origin: {origin}"), due)
}

/// Section 10.2. The host asked for is `server.example.com`, without a port. An origin without a
/// scheme, a page that hides its own, and an extension of a browser are foreign.
fn pages_of_the_same_origin_are_let_in(place: &impl Share) {
    let ours = [
        "https://server.example.com",
        "http://server.example.com",
        "HTTPS://Server.Example.COM",
        "https://server.example.com:443",
        "http://server.example.com:80",
    ];
    let foreign = [
        "null",
        "https://evil.example",
        "https://server.example.com.evil.example",
        "https://evilserver.example.com",
        "https://server.example.com:8443",
        "http://server.example.com:443",
        "https://server.example.com@evil.example",
        "https://server.example.com/",
        "chrome-extension://server.example.com",
        "server.example.com",
        "//server.example.com",
        "https://",
        "https://server.example.com,https://evil.example",
    ];
    let mut requests: Vec<_> = ours.map(|it| origin(it, OPENS)).into();
    requests.extend(foreign.map(|it| origin(it, FORBIDDEN)));
    requests.push(changed("", "", OPENS));
    let twice = "Origin: https://server.example.com\r\nOrigin: https://server.example.com";
    requests.push(with(twice, FORBIDDEN));
    check_with(place, Setup { origins: "same-origin", ..Setup::default() }, requests);
}

/// Section 10.2.
fn pages_of_listed_origins_are_let_in(place: &impl Share) {
    let listed = ["https://example.org", "https://EXAMPLE.org:443", "https://example.net:8443"];
    let foreign = [
        "null",
        "http://example.org",
        "https://example.org:8443",
        "https://example.net",
        "https://example.org.",
        "https://www.example.org",
        "https://server.example.com",
        "https://example.org/path",
        "*",
    ];
    let mut requests: Vec<_> = listed.map(|it| origin(it, OPENS)).into();
    requests.extend(foreign.map(|it| origin(it, FORBIDDEN)));
    requests.push(changed("", "", OPENS));
    let origins = "https://example.org,https://example.net:8443";
    check_with(place, Setup { origins, ..Setup::default() }, requests);
}

/// The good request to another path.
fn to(path: &str, lines: &str, due: Due) -> Request {
    changed("/echo HTTP/1.1\r\n", &format!("{path} HTTP/1.1\r\n{lines}"), due)
}

/// Section 10.5.
fn handler_refuses_who_does_not_say_who_it_is(place: &impl Share) {
    let unknown = Due::Refused(401, &["WWW-Authenticate: Bearer"]);
    let requests = vec![
        to("/private", "", unknown),
        to("/private", "Authorization: Bearer please\r\n", unknown),
        to("/private", "Authorization: Bearer sesame\r\n", OPENS),
        to("/forbidden", "Authorization: Bearer sesame\r\n", FORBIDDEN),
    ];
    check_with(place, Setup::default(), requests);
}

/// Section 10.5: as they were sent, headers in their order and with every byte.
fn handler_sees_path_query_headers_and_address(place: &impl Share) {
    let mut session = Session::start(place, Setup::default());
    let mut request =
        b"GET /seen?token=%41&b=? HTTP/1.1\r\nHost: a\r\nCookie: c=d; e=\xff\r\n".to_vec();
    request.extend(b"cookie:second\r\nX-Empty:\r\n\r\n");
    let due = "GET /seen Some(\"token=%41&b=?\") \
               [\"Host=a\", \"Cookie=c=d; e=\\\\xff\", \"cookie=second\", \"X-Empty=\"] from 127.0.0.1\n";
    let cases = [Case::new("a request with everything", request.clone(), ())];
    play(place, &mut session, &cases, nothing_more, |session, peer, _| {
        let (status, answer) = session.answer(peer);
        assert_eq!((status, answer.split_once("\r\n\r\n").expect("a head").1), (200, due));
    });
    let elsewhere = session.connect_from([127, 0, 0, 9].into());
    session.send(elsewhere, &request);
    let (_, answer) = session.answer(elsewhere);
    assert!(answer.ends_with(" from 127.0.0.9\n"), "{answer}");
}

/// Section 4.2.2.
fn headers_of_the_handler_stand_behind_those_of_the_handshake(place: &impl Share) {
    let opens = Due::Opens(&["Set-Cookie: a=1"]);
    check_with(place, Setup::default(), vec![to("/with-cookie", "", opens)]);
}

/// Section 10.5: a value with a line end, a header of the handshake, a subprotocol that was not
/// offered; the client hears of a fault that is not its own, and of nothing else.
fn nothing_of_the_handler_can_end_a_line(place: &impl Share) {
    let paths = [
        "/header-that-ends-its-line",
        "/upgrade-header-that-ends-its-line",
        "/handshake-header",
        "/protocol-not-offered",
    ];
    let fault = Due::Refused(500, &[]);
    check_with(place, Setup::default(), paths.map(|path| to(path, "", fault)).into());
}
