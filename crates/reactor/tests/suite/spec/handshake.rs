//! The opening handshake (RFC 6455 sections 4, 9.1 and 10), line by line.
//!
//! A request that is accepted brings a message with it, which is echoed behind the 101; one that is
//! refused gets one whole HTTP answer and the end of the stream. Whom the configuration and the
//! application let in is in `policy`; deadlines of the handshake and limits on connections have cases
//! of their own elsewhere: they are not about bytes.

use super::{Case, Share, play};
use crate::session::Session;
use crate::wire::{self, SAMPLE_KEY};
use crate::world::{Peer, Setup, World, in_each_bare_world};

in_each_bare_world!(
    sample_key_gets_the_sample_accept_value,
    methods_other_than_get_are_refused,
    versions_of_http_other_than_1_1_are_refused,
    host_is_sent_exactly_once,
    upgrade_without_the_token_websocket_is_refused_with_426,
    upgrade_is_a_list_in_any_case_and_over_several_lines,
    connection_is_a_list_in_any_case_and_over_several_lines,
    connection_without_the_token_upgrade_is_refused,
    key_that_is_not_the_base64_of_16_bytes_is_refused,
    every_key_gets_its_accept_value,
    version_other_than_13_is_refused_with_426_and_the_version,
    version_missing_or_repeated_is_refused_with_the_version,
    origin_that_is_no_origin_is_refused,
    path_that_is_unknown_is_not_found,
    subprotocol_offered_and_known_is_answered_once,
    subprotocol_not_known_is_not_answered,
    subprotocols_that_are_no_tokens_are_refused,
    extension_that_is_unknown_is_ignored,
    extensions_that_break_the_grammar_are_refused,
    frames_behind_the_request_are_answered_behind_the_101,
    upgrade_with_a_body_is_refused,
    head_has_a_limit_of_bytes,
    head_has_a_limit_of_lines,
    lines_that_do_not_end_in_crlf_are_refused,
    control_characters_in_a_head_are_refused,
    folded_lines_are_refused,
    bytes_above_ascii_in_any_header_are_opaque_or_refused,
    targets_that_are_no_path_are_refused,
    protocols_other_than_http_1_are_refused,
);

/// What a client must see.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The 101 with exactly these lines more, and the echo of the message that came with it.
    Opens(&'static [&'static str]),
    /// This status with exactly these lines more, and the end.
    Refused(u16, &'static [&'static str]),
}

pub(super) const OPENS: Due = Due::Opens(&[]);
pub(super) const BAD_REQUEST: Due = Due::Refused(400, &[]);

/// A request that is to be refused or accepted as a whole.
pub(super) type Request = Case<Due>;

/// The good request, with one thing replaced.
pub(super) fn changed(from: &str, to: &str, due: Due) -> Request {
    let good = String::from_utf8(wire::request("/echo", &[])).expect("text");
    assert!(good.contains(from), "{from}");
    Case::new(to, good.replacen(from, to, 1), due)
}

/// The good request with one header line, given in full, replaced.
fn line(from: &str, to: &str, due: Due) -> Request {
    changed(
        &format!("{from}\r\n"),
        &if to.is_empty() { String::new() } else { format!("{to}\r\n") },
        due,
    )
}

/// The good request with further lines, as they are.
pub(super) fn with(lines: impl AsRef<[u8]>, due: Due) -> Request {
    let lines = lines.as_ref();
    let mut bytes = wire::request("/echo", &[]);
    let end = bytes.len() - 2;
    bytes.splice(end..end, [lines, b"\r\n"].concat());
    Case::new(lines.escape_ascii().to_string(), bytes, due)
}

fn check(place: &impl Share, requests: Vec<Request>) {
    check_with(place, Setup::default(), requests);
}

/// Plays all requests, and counts what became of them.
pub(super) fn check_with(place: &impl Share, setup: Setup, requests: Vec<Request>) {
    let mut session = Session::start(place, setup);
    let (opening, refused): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|it| matches!(it.due, Due::Opens(_)));
    let opening: Vec<_> =
        opening.into_iter().map(|it| it.followed_by(&wire::text("early"))).collect();
    let opened = play(place, &mut session, &opening, nothing_more, look);
    let refused = play(place, &mut session, &refused, nothing_more, look);
    let (opened, refused) = (opened.len() as u64, refused.len() as u64);
    session.counted("upgrades", opened, |counters| counters.upgraded);
    session.counted("refusals", refused, |counters| counters.refused + counters.answered);
    session.counted("messages", opened, |counters| counters.received_messages);
}

impl Request {
    fn followed_by(mut self, bytes: &[u8]) -> Self {
        self.sent.extend(bytes);
        self
    }
}

pub(super) fn nothing_more<W: World>(_: &mut Session<W>, _: &[Peer]) {}

pub(super) fn look<W: World>(session: &mut Session<W>, peer: Peer, case: &Request) {
    match case.due {
        Due::Opens(lines) => {
            assert_eq!(session.head(peer), accepted("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", lines));
            assert_eq!(session.heard(peer), "early");
            session.part(peer);
        }
        Due::Refused(status, lines) => {
            assert_refusal(&session.answer(peer).1, status, lines);
        }
    }
}

/// The 101 (section 4.2.2).
pub(super) fn accepted(accept: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
    )
}

/// One whole answer that says it is the last, with a line that tells what to do.
pub(super) fn assert_refusal(answer: &str, status: u16, lines: &[&str]) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let mut head = head.split("\r\n");
    let reason = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        505 => "HTTP Version Not Supported",
        _ => panic!("{status} is never due"),
    };
    assert_eq!(head.next(), Some(&*format!("HTTP/1.1 {status} {reason}")));
    let connection = if status == 426 { "Connection: close, Upgrade" } else { "Connection: close" };
    let length = format!("Content-Length: {}", body.len());
    let mut due = vec![connection, "Content-Type: text/plain; charset=utf-8", &length];
    due.extend(lines);
    let mut came: Vec<_> = head.collect();
    due.sort_unstable();
    came.sort_unstable();
    assert_eq!(came, due);
    assert!(body.len() > 10 && body.find('\n') == Some(body.len() - 1), "{body}");
}

/// Section 4.2.2, the example of section 1.3.
fn sample_key_gets_the_sample_accept_value(place: &impl Share) {
    check(place, vec![changed("", "", OPENS)]);
}

/// Section 4.2.1 (1).
fn methods_other_than_get_are_refused(place: &impl Share) {
    let refused = Due::Refused(405, &["Allow: GET"]);
    let methods = ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "Get", "GETS"];
    check(place, methods.map(|method| changed("GET", method, refused)).into());
}

/// Section 4.2.1 (1).
fn versions_of_http_other_than_1_1_are_refused(place: &impl Share) {
    let other = Due::Refused(505, &[]);
    let requests = [
        changed("HTTP/1.1", "HTTP/1.0", BAD_REQUEST),
        changed("HTTP/1.1", "HTTP/2.0", other),
        changed("HTTP/1.1", "HTTP/1.2", other),
        changed("HTTP/1.1", "HTTP/0.9", other),
        changed(" HTTP/1.1", "", BAD_REQUEST),
        changed("HTTP/1.1", "http/1.1", other),
    ];
    check(place, requests.into());
}

/// Section 4.2.1 (2).
fn host_is_sent_exactly_once(place: &impl Share) {
    const HOST: &str = "Host: server.example.com";
    let requests = [
        line(HOST, "", BAD_REQUEST),
        line(HOST, "Host: server.example.com\r\nHost: other.example.com", BAD_REQUEST),
        line(HOST, "Host: server.example.com\r\nhost: server.example.com", BAD_REQUEST),
        line(HOST, "Host:", BAD_REQUEST),
        line(HOST, "Host: a, b", BAD_REQUEST),
        line(HOST, "Host: server.example.com/", BAD_REQUEST),
        line(HOST, "hOST:server.example.com:8080", OPENS),
        line(HOST, "Host: [::1]:9001", OPENS),
    ];
    check(place, requests.into());
}

/// Section 4.2.1 (3): tokens are compared, not parts of them.
fn upgrade_without_the_token_websocket_is_refused_with_426(place: &impl Share) {
    const UPGRADE: &str = "Upgrade: websocket";
    let refused = Due::Refused(426, &[UPGRADE]);
    let others = [
        "",
        "Upgrade:",
        "Upgrade: h2c",
        "Upgrade: notwebsocketx",
        "Upgrade: websocket/13",
        "Upgrade: web socket",
        "Upgrade: \"websocket\"",
        "Upgrade: websocket;",
        "X-Upgrade: websocket",
    ];
    check(place, others.map(|other| line(UPGRADE, other, refused)).into());
}

/// Section 4.2.1 (3).
fn upgrade_is_a_list_in_any_case_and_over_several_lines(place: &impl Share) {
    const UPGRADE: &str = "Upgrade: websocket";
    let others = [
        "upgrade:WebSocket",
        "UPGRADE: WEBSOCKET",
        "Upgrade: h2c, websocket",
        "Upgrade: ,websocket\t,",
        "Upgrade: h2c\r\nUpgrade: websocket",
    ];
    check(place, others.map(|other| line(UPGRADE, other, OPENS)).into());
}

/// Section 4.2.1 (4).
fn connection_is_a_list_in_any_case_and_over_several_lines(place: &impl Share) {
    let others = [
        "Connection: keep-alive, Upgrade",
        "Connection: upgrade",
        "connection:UPGRADE",
        "Connection: keep-alive\r\nConnection: Upgrade",
        "Connection: Upgrade\r\nConnection: keep-alive",
        "Connection: \tkeep-alive ,\tuPGRADE , x",
    ];
    check(place, others.map(|other| line("Connection: Upgrade", other, OPENS)).into());
}

/// Section 4.2.1 (4).
fn connection_without_the_token_upgrade_is_refused(place: &impl Share) {
    let others = [
        "",
        "Connection:",
        "Connection: upgraded",
        "Connection: keep-alive",
        "Connection: up grade",
        "Connection: close",
        "Connection: Upgrade=1",
    ];
    check(place, others.map(|other| line("Connection: Upgrade", other, BAD_REQUEST)).into());
}

/// Section 4.2.1 (5): also what is as long as a key and none, and a key with bits set that belong to
/// no byte.
fn key_that_is_not_the_base64_of_16_bytes_is_refused(place: &impl Share) {
    let key = format!("Sec-WebSocket-Key: {SAMPLE_KEY}");
    let twice = format!("{key}\r\n{key}");
    let others = [
        "",
        &twice,
        "Sec-WebSocket-Key:",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU=",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWUh",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===",
        "Sec-WebSocket-Key: ????????????????????????",
        "Sec-WebSocket-Key: dGhlIHNhbXBs-SBub25jZQ==",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Key: dGhlIHNhbXBs ZSBub25jZQ==",
    ];
    check(place, others.map(|other| line(&key, other, BAD_REQUEST)).into());
}

/// Section 4.2.2 (5.4): keys whose accept values were computed with other tools.
fn every_key_gets_its_accept_value(place: &impl Share) {
    let mut session = Session::start(place, Setup::default());
    for (key, accept) in [
        ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
        ("/////////////////////w==", "XXpj4jYzLM2yUE0C7TIgMwTQh2g="),
        ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
    ] {
        let request = String::from_utf8(wire::request("/echo", &[])).expect("text");
        let cases = [Case::new(key, request.replace(SAMPLE_KEY, key), accept)];
        play(place, &mut session, &cases, nothing_more, |session, peer, case| {
            assert_eq!(session.head(peer), accepted(case.due, &[]));
            session.part(peer);
        });
    }
}

const VERSION: &str = "Sec-WebSocket-Version: 13";

/// Sections 4.2.1 (6), 4.2.2 and 4.4.
fn version_other_than_13_is_refused_with_426_and_the_version(place: &impl Share) {
    let refused = Due::Refused(426, &["Upgrade: websocket", VERSION]);
    let others = [
        "8", "7", "0", "12", "14", "25", "255", "013", "+13", "13.0", "1", "3", "", "13, 8",
        "\"13\"",
    ];
    let others = others.map(|other| format!("Sec-WebSocket-Version: {other}"));
    check(place, others.map(|other| line(VERSION, &other, refused)).into());
}

/// Sections 4.2.1 (6) and 11.3.5.
fn version_missing_or_repeated_is_refused_with_the_version(place: &impl Share) {
    let refused = Due::Refused(400, &[VERSION]);
    let others = [
        "",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8",
        "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Version: 13",
        "Sec-WebSocket-Version: 13\r\nsec-websocket-version: 13",
    ];
    check(place, others.map(|other| line(VERSION, other, refused)).into());
}

/// Section 4.2.1 (7): an origin, once. None at all is a client that is no browser.
fn origin_that_is_no_origin_is_refused(place: &impl Share) {
    let requests = [
        with("Origin: https://example.com", OPENS),
        with("Origin: https://example.com\r\nOrigin: https://example.com", BAD_REQUEST),
        with("Origin:", BAD_REQUEST),
        with("Origin: https://example.com https://example.org", BAD_REQUEST),
        with(b"Origin: https://ex\xe4mple.com", BAD_REQUEST),
    ];
    check(place, requests.into());
}

/// Section 4.2.2 (4).
fn path_that_is_unknown_is_not_found(place: &impl Share) {
    let paths = ["GET / ", "GET /ech ", "GET /echo/ ", "GET /ECHO ", "GET /%65cho ", "GET //echo "];
    check(place, paths.map(|path| changed("GET /echo ", path, Due::Refused(404, &[]))).into());
}

/// Section 4.2.2: exactly one line, whatever the number of offers and of lines that they came in.
fn subprotocol_offered_and_known_is_answered_once(place: &impl Share) {
    let opens = Due::Opens(&["Sec-WebSocket-Protocol: superchat"]);
    let offers = [
        "Sec-WebSocket-Protocol: superchat",
        "Sec-WebSocket-Protocol: chat, superchat",
        "Sec-WebSocket-Protocol: superchat,chat",
        "sec-websocket-protocol:\tchat ,superchat\t",
        "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat",
        "Sec-WebSocket-Protocol: superchat\r\nX: y\r\nSec-WebSocket-Protocol: chat",
    ];
    check(place, offers.map(|offer| with(offer, opens)).into());
}

/// Section 4.2.2: never a value that was not offered; the client then decides.
fn subprotocol_not_known_is_not_answered(place: &impl Share) {
    let offers = [
        "Sec-WebSocket-Protocol: chat",
        "Sec-WebSocket-Protocol: SUPERCHAT",
        "Sec-WebSocket-Protocol: superchat2, xsuperchat",
        "X-Protocol: superchat",
    ];
    check(place, offers.map(|offer| with(offer, OPENS)).into());
}

/// Section 4.1 (10): a list of tokens.
fn subprotocols_that_are_no_tokens_are_refused(place: &impl Share) {
    let offers: [&[u8]; 8] = [
        b"",
        b"chat,,superchat",
        b",",
        b"superchat,",
        b"caf\xc3\xa9",
        b"\xff, superchat",
        b"super chat",
        b"chat;q=1",
    ];
    let offers = offers.map(|offer| [b"Sec-WebSocket-Protocol: ", offer].concat());
    check(place, offers.map(|offer| with(offer, BAD_REQUEST)).into());
}

/// Section 9.1.
fn extension_that_is_unknown_is_ignored(place: &impl Share) {
    let offers = [
        "foo",
        "foo; bar",
        "foo; bar=1, x; y=\"z\"",
        "x-webkit-deflate-frame",
        "permessage-deflat",
        "foo\r\nSec-WebSocket-Extensions: bar",
        "foo;bar = baz",
    ];
    let offers = offers.map(|offer| format!("Sec-WebSocket-Extensions: {offer}"));
    check(place, offers.map(|offer| with(offer, OPENS)).into());
}

/// Section 9.1.
fn extensions_that_break_the_grammar_are_refused(place: &impl Share) {
    let offers = [
        "a;;b",
        "a;",
        ";a",
        "a; b=",
        "a; =b",
        "a; b=\"c",
        "a; b=\"c\\",
        "a b",
        "a; b=\"c d\"",
        "a=b",
        "\"a\"",
        "a; b=c=d",
        "a, b;;c",
        "permessage-deflate; client_max_window_bits=\"15",
    ];
    let offers = offers.map(|offer| format!("Sec-WebSocket-Extensions: {offer}"));
    let mut requests: Vec<_> = offers.map(|offer| with(offer, BAD_REQUEST)).into();
    requests.push(with(b"Sec-WebSocket-Extensions: \xff", BAD_REQUEST));
    check(place, requests);
}

/// Section 4.1: the client may not send them yet, but what came in the same segment is there.
fn frames_behind_the_request_are_answered_behind_the_101(place: &impl Share) {
    let mut session = Session::start(place, Setup::default());
    let early = [wire::request("/echo", &[]), wire::text("early"), wire::text("bird")].concat();
    let cases = [Case::new("two messages", early, ())];
    play(place, &mut session, &cases, nothing_more, |session, peer, _| {
        assert_eq!(session.head(peer), accepted("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &[]));
        assert_eq!(session.heard(peer), "early");
        assert_eq!(session.heard(peer), "bird");
        session.part(peer);
    });
    let early = [wire::request("/echo", &[]), b"\x81\x05Hello".to_vec()].concat();
    let cases = [Case::new("a violation", early, ())];
    play(place, &mut session, &cases, nothing_more, |session, peer, _| {
        assert_eq!(session.head(peer), accepted("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &[]));
        assert_eq!(session.closed(peer).0, 1002);
        session.ended(peer);
    });
}

/// Section 10.1: a body could hide a second request from whoever forwards the first.
fn upgrade_with_a_body_is_refused(place: &impl Share) {
    let mut requests: Vec<_> = [
        "Content-Length: 5",
        "Content-Length: 1",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: -1",
        "Content-Length: +0",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: 0x0",
        "Content-Length: 0, 0",
    ]
    .map(|body| with(body, BAD_REQUEST).followed_by(b"hello"))
    .into();
    requests.push(with("Content-Length: 0", OPENS));
    check(place, requests);
}

const TOO_LONG: Due = Due::Refused(431, &[]);

/// Section 10.1: 8,192 bytes with the empty line that ends them.
fn head_has_a_limit_of_bytes(place: &impl Share) {
    let of_length = |length: usize, due| {
        let padding = length - wire::request("/echo", &["X: "]).len();
        let request = wire::request("/echo", &[&format!("X: {}", "x".repeat(padding))]);
        Case::new(format!("{length} bytes"), request, due)
    };
    let endless = |name, line: &str| {
        let start = b"GET /echo HTTP/1.1\r\nHost: a\r\n";
        Case::new(name, [start, line.repeat(20_000 / line.len()).as_bytes()].concat(), TOO_LONG)
    };
    let requests = vec![
        of_length(8_191, OPENS),
        of_length(8_192, OPENS),
        of_length(8_193, TOO_LONG),
        endless("a line without end", "x"),
        endless("subprotocols without end", "Sec-WebSocket-Protocol: chat, chat\r\n"),
        Case::new("a path without end", format!("GET /{}", "x".repeat(20_000)), TOO_LONG),
    ];
    check(place, requests);
}

/// Section 10.1: 64 lines.
fn head_has_a_limit_of_lines(place: &impl Share) {
    let of_lines = |lines: usize, due| {
        // The good request has five.
        let request = wire::request("/echo", &vec!["X: y"; lines - 5]);
        Case::new(format!("{lines} lines"), request, due)
    };
    check(place, vec![of_lines(63, OPENS), of_lines(64, OPENS), of_lines(65, TOO_LONG)]);
}

/// RFC 9112 section 2.2.
fn lines_that_do_not_end_in_crlf_are_refused(place: &impl Share) {
    let good = String::from_utf8(wire::request("/echo", &[])).expect("text");
    let requests = vec![
        Case::new("LF alone everywhere", good.replace("\r\n", "\n"), BAD_REQUEST),
        Case::new("LF alone at the end", good.replace("\r\n\r\n", "\r\n\n"), BAD_REQUEST),
        Case::new("CR alone everywhere", good.replace("\r\n", "\r"), BAD_REQUEST),
        Case::new("CR CR LF", good.replace("\r\n", "\r\r\n"), BAD_REQUEST),
        changed("HTTP/1.1\r\n", "HTTP/1.1\n", BAD_REQUEST),
        changed("Upgrade: websocket\r\n", "Upgrade: websocket\n", BAD_REQUEST),
        with("X: a\rb", BAD_REQUEST),
        with("X: a\nb", BAD_REQUEST),
        with("X", BAD_REQUEST),
        with(": x", BAD_REQUEST),
        with("X : y", BAD_REQUEST),
        // Empty lines before a request are let pass (section 2.2), whole ones only.
        changed("GET", "\r\n\r\nGET", OPENS),
        changed("GET", "\nGET", BAD_REQUEST),
    ];
    check(place, requests);
}

/// RFC 9110 section 5.5.
fn control_characters_in_a_head_are_refused(place: &impl Share) {
    let controls = (0..=0x1f).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte));
    let mut requests: Vec<_> =
        controls.map(|byte| with([b"X: a", &[byte][..], b"b"].concat(), BAD_REQUEST)).collect();
    requests.push(with("X: a\tb", OPENS));
    requests.push(with("X\0: a", BAD_REQUEST));
    requests.push(changed("/echo", "/ec\0ho", BAD_REQUEST));
    requests.push(changed("GET", "G\0T", BAD_REQUEST));
    check(place, requests);
}

/// RFC 9112 section 5.2.
fn folded_lines_are_refused(place: &impl Share) {
    let lines = ["X: a\r\n b", "X: a\r\n\tb", "X:\r\n b", "X: a\r\n "];
    let mut requests: Vec<_> = lines.map(|line| with(line, BAD_REQUEST)).into();
    requests.push(changed("HTTP/1.1\r\n", "HTTP/1.1\r\n folded\r\n", BAD_REQUEST));
    check(place, requests);
}

/// What is opaque to the engine passes; what it has to understand must be ASCII.
fn bytes_above_ascii_in_any_header_are_opaque_or_refused(place: &impl Share) {
    let key = format!("Sec-WebSocket-Key: {SAMPLE_KEY}");
    let mut requests = Vec::new();
    for byte in [0x80, 0xa0, 0xc3, 0xff] {
        let value = |name: &str| [name.as_bytes(), b": a", &[byte], b"b"].concat();
        for name in ["X", "Cookie", "User-Agent"] {
            requests.push(with(value(name), OPENS));
        }
        for name in
            ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin", "Content-Length"]
        {
            requests.push(with(value(name), BAD_REQUEST));
        }
        // A further value that is no token of interest changes nothing.
        for name in ["Upgrade", "Connection"] {
            requests.push(with(value(name), OPENS));
        }
        requests.push(with([&[byte], &b": a"[..]].concat(), BAD_REQUEST));
        for (good, due) in [("Host: server.example.com", BAD_REQUEST), (&*key, BAD_REQUEST)] {
            let mut bytes = wire::request("/echo", &[]);
            let at = bytes.windows(good.len()).position(|it| it == good.as_bytes());
            bytes[at.expect("it is there") + good.len() - 1] = byte;
            requests.push(Case::new(format!("{byte:#x} in {good}"), bytes, due));
        }
    }
    check(place, requests);
}

/// RFC 9112 section 3.2.
fn targets_that_are_no_path_are_refused(place: &impl Share) {
    let targets = [
        "echo",
        "?a",
        "server.example.com:443",
        "http:///echo",
        "/echo#a",
        "/ec\u{e9}ho",
        "/echo\u{7f}",
    ];
    let mut requests: Vec<_> = targets.map(|target| changed("/echo", target, BAD_REQUEST)).into();
    requests.push(changed("/echo", "http://server.example.com/echo", OPENS));
    requests.push(changed("/echo", "/echo?a#b", BAD_REQUEST));
    requests.push(changed("/echo", "/echo?a=/%00?", OPENS));
    check(place, requests);
}

/// A client that speaks something else hears so, and is not left hanging.
fn protocols_other_than_http_1_are_refused(place: &impl Share) {
    let frame = wire::text("Hello");
    let requests = vec![
        Case::new("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Due::Refused(505, &[])),
        Case::new("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD_REQUEST),
        Case::new("SSH", "SSH-2.0-OpenSSH_9.9\r\n\r\n", BAD_REQUEST),
        Case::new("zeros", vec![0; 64], BAD_REQUEST),
        Case::new("a frame", frame, BAD_REQUEST),
        Case::new("HTTP/0.9", "GET /echo\r\n\r\n", BAD_REQUEST),
    ];
    check(place, requests);
}
