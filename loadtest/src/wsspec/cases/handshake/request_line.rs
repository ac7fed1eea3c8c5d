//! The request line: methods, versions and bytes that are not those of an upgrade.

use super::Refusal;
use crate::case::{Case, Level, miss};

pub(super) fn methods() -> Vec<Refusal> {
    let first = |id, statuses, sentence, method: &'static str, version: &'static str| {
        Refusal::new(id, "RFC 6455 4.2.1", statuses, sentence, move |request| {
            let path = request.first_line().split(' ').nth(1).unwrap_or("/").to_owned();
            request.first(format!("{method} {path} {version}"))
        })
    };
    vec![
        first("handshake/method-post", &[400, 405], "POST is refused.", "POST", "HTTP/1.1"),
        first("handshake/method-head", &[400, 405, 426], "HEAD is refused.", "HEAD", "HTTP/1.1"),
        first(
            "handshake/method-lower-case",
            &[400, 405, 501],
            "`get` is another method than GET.",
            "get",
            "HTTP/1.1",
        ),
        first("handshake/http-1.0", &[400, 426, 505], "HTTP/1.0 is refused.", "GET", "HTTP/1.0"),
        first(
            "handshake/http-version-garbled",
            &[400, 505],
            "`HTTP/1.x` is refused.",
            "GET",
            "HTTP/1.x",
        ),
    ]
}

pub(super) fn first_lines() -> Vec<Refusal> {
    vec![
        Refusal::raw(
            "handshake/line-bare-lf",
            "RFC 9112 2.2",
            &[400],
            "Lines that end with LF alone are refused.",
            |request| {
                let bytes = request.bytes();
                bytes.into_iter().filter(|byte| *byte != b'\r').collect()
            },
        )
        .level(Level::Advice),
        Refusal::raw(
            "handshake/first-line-space",
            "RFC 9112 3",
            &[400, 505],
            "A request line with two paths is refused.",
            |request| {
                let first = request.first_line().replace(" HTTP", " /x HTTP");
                request.first(first).bytes()
            },
        ),
        Refusal::raw(
            "handshake/first-line-nul",
            "RFC 9112 3",
            &[400],
            "A NUL in the path is refused.",
            |request| {
                let first = request.first_line().replace(" HTTP", "\0 HTTP");
                request.first(first).bytes()
            },
        ),
    ]
}

pub(super) fn http2_preface() -> Case {
    let sentence = "The preface of HTTP/2 gets an answer or the end, and is not waited on.";
    Case::new("handshake/http2-preface", "RFC 9113 3.4", Level::Advice, sentence, |trial| {
        let mut peer = trial.connect()?;
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        match peer.answer_within(trial.subject.timeout)? {
            Some(answer) if answer.status < 400 => miss("an HTTP error, or the end", answer),
            None if !peer.is_ended() => {
                miss("an HTTP error, or the end", "nothing, in the time allowed")
            }
            _ => Ok(()),
        }
    })
}
