//! Requests that must be answered by 101: the RFC's own, however it is cut, and those that careless
//! servers refuse.

use crate::answer::accept_value;
use crate::case::{Case, Level, miss};
use crate::request::Request;

pub(super) fn sample() -> Case {
    let sentence = "The request of the RFC is answered by 101 with its very accept value.";
    Case::new("handshake/sample", "RFC 6455 4.2.2", Level::Must, sentence, |trial| {
        let mut peer = trial.connect()?;
        let request = trial.subject.request();
        peer.send(&request.bytes());
        let answer = peer.upgraded(&request)?;
        let extra: Vec<&str> = ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"]
            .into_iter()
            .filter(|name| !answer.values(name).is_empty())
            .collect();
        match extra.first() {
            Some(name) => miss(format!("no {name}, as none was offered"), &answer),
            None => Ok(()),
        }
    })
}

pub(super) fn other_key() -> Case {
    let sentence = "Each key has an accept value of its own.";
    Case::new("handshake/accept-of-other-keys", "RFC 6455 4.2.2", Level::Must, sentence, |trial| {
        for key in
            ["AAAAAAAAAAAAAAAAAAAAAA==", "/////////////////////w==", "x3JJHMbDL1EzLkh9GBhXDw=="]
        {
            let request = trial.subject.request().set("Sec-WebSocket-Key", key);
            let mut peer = trial.connect()?;
            peer.send(&request.bytes());
            let answer = peer.answer()?;
            if answer.values("Sec-WebSocket-Accept") != [accept_value(key)] {
                return miss(format!("the accept value {}", accept_value(key)), answer);
            }
        }
        Ok(())
    })
}

pub(super) fn bytewise() -> Case {
    let sentence = "A request that comes byte by byte is answered like a whole one.";
    Case::new("handshake/sample.bytewise", "RFC 6455 4.2.1", Level::Must, sentence, |trial| {
        let request = trial.subject.request();
        let mut peer = trial.connect()?;
        peer.send_bytewise(&request.bytes());
        peer.upgraded(&request).map(|_| ())
    })
}

pub(super) fn cut_in_two() -> Case {
    let sentence = "A request cut in two anywhere around its line ends is answered.";
    Case::new("handshake/cut-at-line-ends", "RFC 6455 4.2.1", Level::Must, sentence, |trial| {
        let request = trial.subject.request();
        let bytes = request.bytes();
        let ends = (0..bytes.len()).filter(|at| matches!(bytes[*at], b'\r' | b'\n'));
        for at in ends {
            let mut peer = trial.connect()?;
            peer.send_parts(&bytes, at);
            peer.upgraded(&request)?;
        }
        Ok(())
    })
}

/// A right request that careless servers refuse.
fn accepts(
    id: &'static str,
    section: &'static str,
    sentence: &str,
    edit: fn(Request) -> Request,
) -> Case {
    // RFC 6455 itself speaks of one value, RFC 9110 of a list.
    let level = if id == "handshake/upgrade-list" { Level::Should } else { Level::Must };
    Case::new(id, section, level, sentence, move |trial| {
        let request = edit(trial.subject.request());
        let mut peer = trial.connect()?;
        peer.send(&request.bytes());
        peer.upgraded(&request).map(|_| ())
    })
}

pub(super) fn tokens() -> Vec<Case> {
    vec![
        accepts(
            "handshake/upgrade-any-case",
            "RFC 6455 4.2.1",
            "`Upgrade: WebSocket` is accepted: tokens have no case.",
            |request| request.set("Upgrade", "WebSocket"),
        ),
        accepts(
            "handshake/connection-list",
            "RFC 6455 4.2.1",
            "`Connection: keep-alive, Upgrade` is accepted.",
            |request| request.set("Connection", "keep-alive, Upgrade"),
        ),
        accepts(
            "handshake/connection-any-case",
            "RFC 6455 4.2.1",
            "`Connection: uPgRaDe` is accepted.",
            |request| request.set("Connection", "uPgRaDe"),
        ),
        accepts(
            "handshake/connection-two-lines",
            "RFC 9110 5.3",
            "`Connection` over two lines is one list.",
            |request| request.set("Connection", "keep-alive").add("Connection", "Upgrade"),
        ),
        accepts(
            "handshake/upgrade-list",
            "RFC 9110 7.8",
            "`Upgrade: foo/1, websocket` is accepted.",
            |request| request.set("Upgrade", "foo/1, websocket"),
        ),
    ]
}

pub(super) fn lines() -> Vec<Case> {
    vec![
        accepts(
            "handshake/names-any-case",
            "RFC 9110 5.1",
            "Names of headers have no case.",
            |request| {
                let key = request.value("Sec-WebSocket-Key").unwrap_or_default().to_owned();
                request
                    .set("SEC-WEBSOCKET-KEY", key)
                    .set("sec-websocket-version", "13")
                    .set("uPGRADE", "websocket")
            },
        ),
        accepts(
            "handshake/no-origin",
            "RFC 6455 4.2.2",
            "A client that is no browser sends no Origin and is accepted.",
            |request| request.remove("Origin"),
        ),
        accepts(
            "handshake/unknown-headers",
            "RFC 9110 5.1",
            "Headers that the server does not know are ignored.",
            |request| request.add("X-Unknown", "1").add("DNT", "1").add("X-Empty", ""),
        ),
        accepts(
            "handshake/spaces-around-values",
            "RFC 9112 5.1",
            "Spaces and tabs around a value do not belong to it.",
            |request| {
                request.set("Upgrade", " \t websocket \t ").set("Sec-WebSocket-Version", "  13  ")
            },
        ),
        accepts(
            "handshake/unknown-extension",
            "RFC 6455 9.1",
            "An unknown extension is ignored and not named in the answer.",
            |request| request.add("Sec-WebSocket-Extensions", "x-unknown; a=1; b=\"c\""),
        ),
        accepts(
            "handshake/content-length-0",
            "RFC 9110 8.6",
            "`Content-Length: 0` is no body.",
            |request| request.add("Content-Length", "0"),
        ),
    ]
}
