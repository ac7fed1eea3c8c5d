//! The client's handshake: RFC 6455 section 4.1, what is sent and what is accepted.

use tickwire_protocol::{
    AnswerError, ClientError, ClientHandshake, Limits, RequestReader, upgrade,
};

use crate::drive::cuts;

const KEY: [u8; 16] = *b"the sample nonce";

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: superchat\r\n\
    \r\n";

/// The answer with `from` replaced by `to`.
fn with(from: &str, to: &str) -> Vec<u8> {
    assert!(ANSWER.contains(from), "the answer has {from}");
    ANSWER.replace(from, to).into()
}

/// The subprotocol agreed on, or what was wrong.
type Verdict = Result<Option<String>, ClientError>;

/// What a client that offered `chat` and `superchat` makes of `answer`, given in `pieces`; and
/// what was left behind the head. `None` if the head is not complete.
fn receive(answer: &[u8], pieces: &[usize]) -> Option<(Verdict, Vec<u8>)> {
    let mut handshake = ClientHandshake::new(KEY);
    let offered = ["chat", "superchat"];
    handshake.request("a", "/", &offered, &[], &mut Vec::new()).expect("a valid request");
    let mut rest = answer;
    for &len in pieces {
        let (piece, after) = rest.split_at(len);
        rest = after;
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        if let Some(verdict) = handshake.receive(&mut input).transpose() {
            return Some((verdict.map(|accepted| accepted.protocol), [input, rest].concat()));
        }
    }
    None
}

#[test]
fn the_request_is_the_example_of_section_1_2() {
    let mut out = Vec::new();
    ClientHandshake::new(KEY)
        .request(
            "server.example.com",
            "/chat?a=b",
            &["chat", "superchat"],
            &[("Origin", "http://example.com")],
            &mut out,
        )
        .expect("a valid request");
    let expected = "GET /chat?a=b HTTP/1.1\r\n\
        Host: server.example.com\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\n\
        Origin: http://example.com\r\n\
        \r\n";
    assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
}

#[test]
fn answers_are_accepted_only_if_every_must_is_met() {
    let superchat = Ok(Some("superchat".to_owned()));
    let protocol = "Sec-WebSocket-Protocol: superchat\r\n";
    let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let cases: &[(&str, Vec<u8>, Verdict)] = &[
        ("valid", ANSWER.into(), superchat.clone()),
        ("no reason phrase", with(" Switching Protocols", ""), superchat.clone()),
        ("any case", with("Upgrade: websocket", "upgrade: WebSocket"), superchat.clone()),
        ("list", with("Connection: Upgrade", "Connection: keep-alive, upgrade"), superchat),
        ("no subprotocol", with(protocol, ""), Ok(None)),
        ("not offered", with("superchat", "mqtt"), Err(ClientError::Protocol)),
        ("a list", with("superchat", "chat, superchat"), Err(ClientError::Protocol)),
        ("two", with(protocol, &protocol.repeat(2)), Err(ClientError::Protocol)),
        ("empty", with("superchat", ""), Err(ClientError::Protocol)),
        ("other case", with("superchat", "SuperChat"), Err(ClientError::Protocol)),
        (
            "an extension that was not offered",
            with(protocol, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
            Err(ClientError::Extension),
        ),
        ("no accept", with(accept, ""), Err(ClientError::Accept)),
        ("two accepts", with(accept, &accept.repeat(2)), Err(ClientError::Accept)),
        ("wrong accept", with("s3pP", "s3pp"), Err(ClientError::Accept)),
        ("no upgrade", with("Upgrade: websocket\r\n", ""), Err(ClientError::Upgrade)),
        (
            "two upgrades",
            with("Upgrade: websocket\r\n", "Upgrade: websocket\r\nUpgrade: h2c\r\n"),
            Err(ClientError::Upgrade),
        ),
        ("other upgrade", with("websocket", "h2c"), Err(ClientError::Upgrade)),
        ("no connection", with("Connection: Upgrade\r\n", ""), Err(ClientError::Connection)),
        ("other connection", with("n: Upgrade", "n: upgraded"), Err(ClientError::Connection)),
        ("200", with("101 Switching Protocols", "200 OK"), Err(ClientError::Status(200))),
        ("redirect", with("101 Switching Protocols", "302 Found"), Err(ClientError::Status(302))),
        ("refused", with("101", "429"), Err(ClientError::Status(429))),
        ("HTTP/1.0 refusal", with("HTTP/1.1 101", "HTTP/1.0 503"), Err(ClientError::Status(503))),
        ("HTTP/1.0", with("HTTP/1.1", "HTTP/1.0"), Err(ClientError::NotHttp)),
        ("HTTP/2", with("HTTP/1.1", "HTTP/2.0"), Err(ClientError::NotHttp)),
        ("bare line ends", with("\r\n", "\n"), Err(ClientError::NotHttp)),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.7\r\n".into(), Err(ClientError::NotHttp)),
        ("no status", with("101", "abc"), Err(ClientError::NotHttp)),
    ];
    for (name, answer, expected) in cases {
        for pieces in cuts(answer.len()) {
            let (seen, _) = receive(answer, &pieces).expect("the answer is complete");
            assert_eq!(seen, *expected, "{name}: cut as {pieces:?}");
        }
    }
}

#[test]
fn frames_behind_the_answer_stay_in_the_input() {
    let early = b"\x81\x05Hello\r\n\r\n";
    let bytes = [ANSWER.as_bytes(), early].concat();
    for pieces in cuts(bytes.len()) {
        let seen = receive(&bytes, &pieces);
        assert_eq!(seen, Some((Ok(Some("superchat".to_owned())), early.to_vec())), "{pieces:?}");
    }
}

#[test]
fn an_answer_without_end_is_refused_at_the_limit() {
    let mut limits = Limits::default();
    limits.request_bytes_max = 100;
    let mut handshake = ClientHandshake::with_limits(KEY, limits);
    let mut bytes = [ANSWER.as_bytes(), &[b'x'; 1000]].concat();
    assert_eq!(handshake.receive(&mut &mut bytes[..]), Err(ClientError::HeadTooLong));

    limits.request_bytes_max = 100_000;
    limits.request_headers_max = usize::MAX;
    let mut handshake = ClientHandshake::with_limits(KEY, limits);
    let lines = "X: y\r\n".repeat(Limits::HEADERS_CEILING);
    let mut bytes = with("Upgrade: websocket\r\n", &lines);
    assert_eq!(handshake.receive(&mut &mut bytes[..]), Err(ClientError::HeadTooLong));
}

#[test]
fn a_client_that_offers_no_subprotocol_accepts_none() {
    let protocol = "Sec-WebSocket-Protocol: superchat\r\n";
    let accepted = |answer: &mut [u8]| {
        let mut handshake = ClientHandshake::new(KEY);
        handshake.request("a", "/", &[], &[], &mut Vec::new()).expect("a valid request");
        handshake.receive(&mut &mut answer[..]).map(|accepted| accepted.expect("complete").protocol)
    };
    assert_eq!(accepted(&mut with(protocol, "")), Ok(None));
    for value in ["superchat", "", ","] {
        let line = format!("Sec-WebSocket-Protocol: {value}\r\n");
        assert_eq!(accepted(&mut with(protocol, &line)), Err(ClientError::Protocol), "{value}");
    }
}

#[test]
fn what_would_break_the_request_is_not_written() {
    type Header = (&'static str, &'static str);
    let cases: &[(&str, &str, &[&str], Header, AnswerError)] = &[
        ("a", "chat", &[], ("X", "y"), AnswerError::Target),
        ("a", "/ch at", &[], ("X", "y"), AnswerError::Target),
        ("a", "/\r\nX: y", &[], ("X", "y"), AnswerError::Target),
        ("a", "/é", &[], ("X", "y"), AnswerError::Target),
        ("", "/", &[], ("X", "y"), AnswerError::Header),
        ("a\r\nX: y", "/", &[], ("X", "y"), AnswerError::Header),
        ("a", "/", &["a b"], ("X", "y"), AnswerError::Header),
        ("a", "/", &["ok", ""], ("X", "y"), AnswerError::Header),
        ("a", "/", &["a,b"], ("X", "y"), AnswerError::Header),
        ("a", "/", &[], ("X", "y\r\nZ: 1"), AnswerError::Header),
        ("a", "/", &[], ("X y", "z"), AnswerError::Header),
        ("a", "/", &[], ("host", "b"), AnswerError::Header),
        ("a", "/", &[], ("Sec-WebSocket-Key", "x"), AnswerError::Header),
        ("a", "/", &[], ("sec-websocket-extensions", "x"), AnswerError::Header),
        ("a", "/", &[], ("Content-Length", "5"), AnswerError::Header),
    ];
    for (host, target, protocols, header, expected) in cases {
        let mut out = Vec::new();
        let refused =
            ClientHandshake::new(KEY).request(host, target, protocols, &[*header], &mut out);
        assert_eq!((refused, out), (Err(*expected), Vec::new()), "{host} {target} {protocols:?}");
    }
}

#[test]
fn client_and_server_agree_on_every_key() {
    for seed in 0..=u8::MAX {
        let key = core::array::from_fn(|index: usize| {
            seed.wrapping_mul(31).wrapping_add(u8::try_from(index * 17).expect("small"))
        });
        let mut client = ClientHandshake::new(key);
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        client.request("a:1", "/x", &["p", "q"], &[], &mut request).expect("a valid request");
        let mut reader = RequestReader::new();
        let mut input = &mut request[..];
        let read = reader.push(&mut input, &Limits::default()).expect("valid").expect("complete");
        let offer = upgrade(&read).expect("a valid handshake");
        offer.accept(offer.choose(&["q", "p"]), &mut answer).expect("q was offered");
        let accepted = client.receive(&mut &mut answer[..]).expect("valid").expect("complete");
        assert_eq!(accepted.protocol.as_deref(), Some("q"));
    }
}
