//! The opening handshake by the sentences of RFC 6455 sections 4.2, 9.1 and 10.

use tickwire_protocol::{AnswerError, Limits, Refusal, RequestReader, Upgrade, upgrade};

use crate::drive::cuts;

/// The request of RFC 6455 section 1.2.
pub(crate) const EXAMPLE: &str = "GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

/// The example with its line `name` replaced by `lines` (each without its line end).
pub(crate) fn with(name: &str, lines: &[&str]) -> Vec<u8> {
    let mut request = Vec::new();
    for line in EXAMPLE.split_inclusive("\r\n") {
        if line.split(':').next() == Some(name) {
            for line in lines {
                request.extend(line.as_bytes());
                request.extend(b"\r\n");
            }
        } else {
            request.extend(line.as_bytes());
        }
    }
    assert_ne!(request, EXAMPLE.as_bytes(), "the example has the line {name}");
    request
}

/// The example with `line` added.
fn and(line: &[u8]) -> Vec<u8> {
    let head = EXAMPLE.strip_suffix("\r\n").expect("ends with an empty line");
    [head.as_bytes(), line, b"\r\n\r\n"].concat()
}

/// Reads `bytes`, given in `pieces`, as a handshake and answers it with `answer`; gives what is
/// sent and what was left behind the head. `None` if the head is not complete.
fn serve(
    bytes: &[u8],
    pieces: &[usize],
    answer: &dyn Fn(&Upgrade<'_>, &mut Vec<u8>),
) -> Option<(String, Vec<u8>)> {
    let mut reader = RequestReader::new();
    let mut out = Vec::new();
    let mut rest = bytes;
    for &len in pieces {
        let (piece, after) = rest.split_at(len);
        rest = after;
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        match reader.push(&mut input, &Limits::default()) {
            Ok(None) => continue,
            Ok(Some(request)) => match upgrade(&request) {
                Ok(upgrade) => answer(&upgrade, &mut out),
                Err(refusal) => refusal.encode(&mut out),
            },
            Err(refusal) => refusal.encode(&mut out),
        }
        let left = [input, rest].concat();
        return Some((String::from_utf8(out).expect("an answer is ASCII"), left));
    }
    None
}

/// A server that knows the subprotocol `superchat` only.
fn accept(upgrade: &Upgrade<'_>, out: &mut Vec<u8>) {
    upgrade.accept(upgrade.choose(&["superchat"]), out).expect("what was chosen was offered");
}

/// The answer to `request`, which must be the same for every cut.
fn answer(name: &str, request: &[u8]) -> String {
    let whole = serve(request, &[request.len()], &accept).expect("an answer").0;
    for pieces in cuts(request.len()) {
        let cut = serve(request, &pieces, &accept).expect("an answer").0;
        assert_eq!(cut, whole, "{name}: cut as {pieces:?}");
    }
    whole
}

/// The status of `answer`, whose form is checked: an upgrade ends with its head, a refusal closes
/// the connection and has a body of the length that it declares.
fn status(answer: &str) -> u16 {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a complete head");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("a status");
    let status = status.parse().expect("a number");
    if status == 101 {
        assert_eq!(body, "");
    } else {
        assert!(head.contains("\r\nConnection: close"), "{answer}");
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{answer}");
        assert!(body.ends_with('\n') && body.len() > 1, "{answer}");
    }
    status
}

fn has_line(answer: &str, line: &str) -> bool {
    answer.split("\r\n").any(|one| one == line)
}

#[test]
fn the_example_of_section_1_2_is_answered_byte_for_byte() {
    // The server of this test knows `superchat`, so add a server that knows nothing.
    let out = serve(EXAMPLE.as_bytes(), &[EXAMPLE.len()], &|upgrade, out| {
        assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["chat", "superchat"]);
        assert_eq!(upgrade.origin(), Some("http://example.com"));
        assert_eq!(upgrade.request().path(), "/chat");
        upgrade.accept(upgrade.choose(&["mqtt"]), out).expect("nothing was chosen");
    });
    let expected = "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        \r\n";
    assert_eq!(out, Some((expected.to_owned(), Vec::new())));
}

#[test]
fn the_headers_that_ask_for_an_upgrade_are_required() {
    assert_statuses(&[
        ("4.2.2 the example", EXAMPLE.into(), 101),
        ("4.2.1 (1) POST", EXAMPLE.replace("GET", "POST").into(), 405),
        ("4.2.1 (1) lower case method", EXAMPLE.replace("GET", "get").into(), 405),
        ("4.2.1 (1) HTTP/1.0", EXAMPLE.replace("HTTP/1.1", "HTTP/1.0").into(), 400),
        ("4.2.1 (1) HTTP/2.0", EXAMPLE.replace("HTTP/1.1", "HTTP/2.0").into(), 505),
        ("4.2.1 (1) absolute target", EXAMPLE.replace("/chat", "http://a.b/chat").into(), 101),
        ("4.2.1 (1) fragment in target", EXAMPLE.replace("/chat", "/chat#a").into(), 400),
        ("4.2.1 (2) no Host", with("Host", &[]), 400),
        ("4.2.1 (2) Host twice", with("Host", &["Host: a", "Host: a"]), 400),
        ("4.2.1 (2) empty Host", with("Host", &["Host:"]), 400),
        ("4.2.1 (2) list of hosts", with("Host", &["Host: a, b"]), 400),
        ("4.2.1 (3) no Upgrade", with("Upgrade", &[]), 426),
        ("4.2.1 (3) other token", with("Upgrade", &["Upgrade: h2c"]), 426),
        ("4.2.1 (3) substring", with("Upgrade", &["Upgrade: notwebsocketx"]), 426),
        ("4.2.1 (3) any case", with("Upgrade", &["UPGRADE: WebSocket"]), 101),
        ("4.2.1 (3) list", with("Upgrade", &["Upgrade: h2c, websocket"]), 101),
        ("4.2.1 (3) two lines", with("Upgrade", &["Upgrade: h2c", "Upgrade: websocket"]), 101),
        ("4.2.1 (4) list", with("Connection", &["Connection: keep-alive, Upgrade"]), 101),
        ("4.2.1 (4) any case", with("Connection", &["connection: UPGRADE"]), 101),
        (
            "4.2.1 (4) two lines",
            with("Connection", &["Connection: keep-alive", "Connection: upgrade"]),
            101,
        ),
        (
            "4.2.1 (4) two lines, the other way round",
            with("Connection", &["Connection: upgrade", "Connection: keep-alive"]),
            101,
        ),
        ("4.2.1 (4) substring", with("Connection", &["Connection: upgraded"]), 400),
        ("4.2.1 (4) missing", with("Connection", &[]), 400),
    ]);
}

#[test]
fn key_version_and_origin_are_checked() {
    let long_key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=";
    assert_statuses(&[
        ("4.2.1 (5) missing", with("Sec-WebSocket-Key", &[]), 400),
        ("4.2.1 (5) empty", with("Sec-WebSocket-Key", &["Sec-WebSocket-Key:"]), 400),
        ("4.2.1 (5) twice", and(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        ("4.2.1 (5) 15 bytes", key("dGhlIHNhbXBsZSBub25j"), 400),
        ("4.2.1 (5) 17 bytes", with("Sec-WebSocket-Key", &[long_key]), 400),
        ("4.2.1 (5) 18 bytes", key("dGhlIHNhbXBsZSBub25jZTEx"), 400),
        ("4.2.1 (5) 24 characters, not base64", key("dGhlIHNhbXBsZSBub25jZ!=="), 400),
        ("4.2.1 (5) the alphabet of URLs", key("dGhlIHNh_XBsZSBub25jZQ=="), 400),
        ("4.2.1 (5) padding within", key("dGhlIHNhbX==ZSBub25jZQ=="), 400),
        ("4.2.1 (5) no padding", key("dGhlIHNhbXBsZSBub25jZQ"), 400),
        ("4.2.1 (5) not ASCII", key("dGhlIHNhbXBsZSBub25jé=="), 400),
        ("4.2.1 (5) spaces around", key(" \tdGhlIHNhbXBsZSBub25jZQ== "), 101),
        ("4.2.1 (6) version 8", version("8"), 426),
        ("4.2.1 (6) version 013", version("013"), 426),
        ("4.2.1 (6) versions in a list", version("13, 8"), 426),
        ("4.2.1 (6) version empty", version(""), 426),
        ("4.2.1 (6) version missing", with("Sec-WebSocket-Version", &[]), 400),
        ("4.2.1 (6) versions differ", and(b"Sec-WebSocket-Version: 8"), 400),
        ("4.2.1 (6) version twice", and(b"Sec-WebSocket-Version: 13"), 400),
        ("4.2.2 no Origin", with("Origin", &[]), 101),
        ("4.2.2 Origin null", with("Origin", &["Origin: null"]), 101),
        ("4.2.2 Origin twice", and(b"Origin: http://example.com"), 400),
        ("4.2.2 Origin not ASCII", with("Origin", &["Origin: http://é"]), 400),
        ("4.2.2 Origin empty", with("Origin", &["Origin:"]), 400),
    ]);
}

#[test]
fn requests_that_could_hide_something_are_refused() {
    assert_statuses(&[
        ("4.1 Content-Length 0", and(b"Content-Length: 0"), 101),
        ("4.1 a body", [and(b"Content-Length: 5"), b"hello".to_vec()].concat(), 400),
        ("4.1 a chunked body", and(b"Transfer-Encoding: chunked"), 400),
        ("4.1 Content-Length of no number", and(b"Content-Length: 0x0"), 400),
        ("4.1 Content-Length empty", and(b"Content-Length:"), 400),
        ("4.1 Content-Length signed", and(b"Content-Length: +0"), 400),
        ("4.1 Content-Length in a list", and(b"Content-Length: 0, 0"), 400),
        ("4.1 Content-Length twice", and(b"Content-Length: 0\r\nContent-Length: 0"), 400),
        ("10.1 NUL", and(b"X: a\0b"), 400),
        ("10.1 NUL in a name", and(b"X\0: a"), 400),
        ("10.1 bare CR", and(b"X: a\rb"), 400),
        ("10.1 bare LF", and(b"X: a\nY: b"), 400),
        ("10.1 LF ends the head", EXAMPLE.replace("13\r\n\r\n", "13\r\n\n").into(), 400),
        ("10.1 no CRLF at all", EXAMPLE.replace("\r\n", "\n").into(), 400),
        ("10.1 folded line", and(b"X: a\r\n b"), 400),
        ("10.1 folded line with a tab", and(b"X: a\r\n\tb"), 400),
        ("10.1 space before the first header", EXAMPLE.replace("Host", " Host").into(), 400),
        ("10.1 space before the colon", and(b"X : a"), 400),
        ("10.1 no colon", and(b"X"), 400),
        ("10.1 no name", and(b": a"), 400),
        ("10.1 control character", and(b"X: a\x01b"), 400),
        ("10.1 DEL", and(b"X: a\x7fb"), 400),
        ("10.1 opaque bytes elsewhere", and(b"X: \x80\xff"), 101),
        ("10.1 two spaces", EXAMPLE.replace("GET ", "GET  ").into(), 400),
        ("10.1 no version", EXAMPLE.replace(" HTTP/1.1", "").into(), 400),
        ("9112 2.2 empty lines in front", ["\r\n\r\n", EXAMPLE].concat().into(), 101),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".into(), 400),
    ]);
}

fn assert_statuses(cases: &[(&str, Vec<u8>, u16)]) {
    for (name, request, expected) in cases {
        assert_eq!(status(&answer(name, request)), *expected, "{name}");
    }
}

fn key(key: &str) -> Vec<u8> {
    with("Sec-WebSocket-Key", &[&format!("Sec-WebSocket-Key:{key}")])
}

fn version(version: &str) -> Vec<u8> {
    with("Sec-WebSocket-Version", &[&format!("Sec-WebSocket-Version: {version}")])
}

#[test]
fn refusals_carry_the_headers_that_tell_the_client_what_to_do() {
    let post = answer("POST", EXAMPLE.replace("GET", "POST").as_bytes());
    assert!(has_line(&post, "Allow: GET"), "{post}");
    let plain = answer("no Upgrade", &with("Upgrade", &[]));
    assert!(has_line(&plain, "Upgrade: websocket"), "{plain}");
    assert!(has_line(&plain, "Connection: close, Upgrade"), "{plain}");
    for lines in [&["Sec-WebSocket-Version: 8"][..], &[], &["Sec-WebSocket-Version: 13"; 2]] {
        let refused = answer("version", &with("Sec-WebSocket-Version", lines));
        assert!(has_line(&refused, "Sec-WebSocket-Version: 13"), "{lines:?}: {refused}");
        let upgrade_required = status(&refused) == 426;
        assert_eq!(has_line(&refused, "Upgrade: websocket"), upgrade_required, "{refused}");
    }
    for (refusal, line) in [
        (Refusal::new(429, "slow down").with_retry_after(1), "Retry-After: 1"),
        (Refusal::new(503, "come back").with_retry_after(u32::MAX), "Retry-After: 4294967295"),
    ] {
        let mut out = Vec::new();
        refusal.encode(&mut out);
        let out = String::from_utf8(out).expect("an answer is ASCII");
        assert_eq!(status(&out), refusal.status);
        assert!(has_line(&out, line), "{out}");
    }
}

#[test]
fn a_subprotocol_is_answered_only_if_offered_and_known() {
    let offer = |lines: &[&str]| {
        let lines: Vec<String> =
            lines.iter().map(|value| format!("Sec-WebSocket-Protocol:{value}")).collect();
        with("Sec-WebSocket-Protocol", &lines.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let chosen = Some("Sec-WebSocket-Protocol: superchat");
    type Expected = Result<Option<&'static str>, u16>;
    let cases: &[(&[&str], Expected)] = &[
        (&["chat, superchat"], Ok(chosen)),
        (&["superchat"], Ok(chosen)),
        (&["chat", "superchat"], Ok(chosen)),
        (&["chat ,\tsuperchat  "], Ok(chosen)),
        (&["chat"], Ok(None)),
        (&[], Ok(None)),
        (&["SuperChat"], Ok(None)),
        (&["superchat2"], Ok(None)),
        (&[""], Err(400)),
        (&["chat,,superchat"], Err(400)),
        (&["superchat,"], Err(400)),
        (&["superchat", ""], Err(400)),
        (&["super chat"], Err(400)),
        (&["superchat, chät"], Err(400)),
        (&["\"superchat\""], Err(400)),
    ];
    for (values, expected) in cases {
        let answer = answer("subprotocol", &offer(values));
        let lines: Vec<&str> = answer
            .split("\r\n")
            .filter(|line| line.to_ascii_lowercase().starts_with("sec-websocket-protocol"))
            .collect();
        match expected {
            Ok(line) => {
                assert_eq!(status(&answer), 101, "{values:?}");
                assert_eq!(lines, line.iter().copied().collect::<Vec<_>>(), "{values:?}");
            }
            Err(refused) => assert_eq!(status(&answer), *refused, "{values:?}"),
        }
    }
}

#[test]
fn the_servers_order_of_preference_decides() {
    serve(EXAMPLE.as_bytes(), &[EXAMPLE.len()], &|upgrade, _| {
        assert_eq!(upgrade.choose(&["superchat", "chat"]), Some("superchat"));
        assert_eq!(upgrade.choose(&["chat", "superchat"]), Some("chat"));
        assert_eq!(upgrade.choose(&["mqtt", "chat"]), Some("chat"));
        assert_eq!(upgrade.choose(&[]), None);
    })
    .expect("an answer");
}

#[test]
fn extensions_are_ignored_if_well_formed_and_refused_if_not() {
    let cases = [
        ("permessage-deflate; client_max_window_bits", 101),
        ("foo, bar; baz=2, bar; baz=\"2\"", 101),
        ("a;;b", 400),
        ("a; b=\"unclosed", 400),
        ("a; b=\"c\\", 400),
        ("a b", 400),
        ("é", 400),
    ];
    for (value, expected) in cases {
        let line = format!("Sec-WebSocket-Extensions: {value}");
        let answer = answer(value, &and(line.as_bytes()));
        assert_eq!(status(&answer), expected, "{value}");
        assert!(!answer.to_ascii_lowercase().contains("extensions:"), "{value}");
    }
}

#[test]
fn bytes_behind_the_request_stay_in_the_input() {
    let early = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\r\n\r\n";
    let request = [EXAMPLE.as_bytes(), early].concat();
    for pieces in cuts(request.len()) {
        let (out, left) = serve(&request, &pieces, &accept).expect("an answer");
        assert_eq!(status(&out), 101);
        assert_eq!(left, early, "cut as {pieces:?}");
    }
}

#[test]
fn what_breaks_the_lines_of_a_head_is_refused_at_the_byte_that_shows_it() {
    let cases: &[&[u8]] = &[
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\rH",
        b"GET / HTTP/1.1\r\r",
        b"GET /\0",
        b"GET / HTTP/1.1\r\n\0",
        b"GET / HTTP/1.1\r\nHost: a\r\n ",
        b"GET / HTTP/1.1\r\nHost: a\r\n\t",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\rX",
        b"\r\n\r\r",
        b"\n",
        b"\0",
        b" ",
        b"\x16",
        b"\x80",
    ];
    for head in cases {
        let name = head.escape_ascii().to_string();
        assert_eq!(serve(head, &[head.len() - 1], &accept), None, "{name} without its last byte");
        assert_eq!(status(&answer(&name, head)), 400, "{name}");
    }
}

#[test]
fn an_unfinished_request_has_no_answer_yet() {
    for len in 0..EXAMPLE.len() {
        assert_eq!(serve(&EXAMPLE.as_bytes()[..len], &[len], &accept), None, "{len} bytes");
    }
}

#[test]
fn nothing_of_the_application_can_end_a_header_line() {
    serve(EXAMPLE.as_bytes(), &[EXAMPLE.len()], &|upgrade, out| {
        for protocol in ["", "mqtt", "chat\r\nX: y", "chat, superchat", "CHAT"] {
            let refused = upgrade.accept(Some(protocol), out);
            assert_eq!(refused, Err(AnswerError::ProtocolNotOffered), "{protocol:?}");
        }
        for (name, value) in [
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "a\nb"),
            ("X", "a\rb"),
            ("X", "a\0b"),
            ("X", "é"),
            ("X\r\nY", "a"),
            ("X:", "a"),
            ("X Y", "a"),
            ("", "a"),
            ("é", "a"),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ("sec-websocket-protocol", "chat"),
            ("Upgrade", "h2c"),
            ("Connection", "close"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
        ] {
            let refused = upgrade.accept_with(None, None, &[("A", "b"), (name, value)], out);
            assert_eq!(refused, Err(AnswerError::Header), "{name:?}: {value:?}");
        }
        assert_eq!(out, b"", "a refused answer leaves nothing behind");
        let headers = [("Set-Cookie", "id=1; Secure"), ("X-Empty", "")];
        upgrade.accept_with(Some("chat"), None, &headers, out).expect("all of it can be written");
        let text = String::from_utf8(out.clone()).expect("an answer is ASCII");
        let end =
            "\r\nSec-WebSocket-Protocol: chat\r\nSet-Cookie: id=1; Secure\r\nX-Empty: \r\n\r\n";
        assert!(text.ends_with(end), "{text}");
    })
    .expect("an answer");
}
