//! Cases of the opening handshake (RFC 6455 section 4, RFC 9110 and 9112 where it leans on HTTP).
//!
//! A [`Refusal`] is a request that must not be upgraded; it becomes three cases: that an HTTP error
//! answers it, that the status is the fitting one, and that it is refused byte by byte too.

use std::sync::Arc;

use crate::answer::accept_value;
use crate::case::{Case, Level, Need, Outcome, miss, skip};
use crate::peer::{Trial, text};
use crate::request::Request;
use crate::wire;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![sample(), other_key(), bytewise(), cut_in_two()];
    cases.extend(accepted_tokens());
    cases.extend(accepted_lines());
    cases.extend(refusals().into_iter().flat_map(Refusal::cases));
    cases.extend([
        version_named(),
        method_allowed(),
        upgrade_named(),
        early_frames(),
        early_frame_cut(),
    ]);
    cases.extend([http2_preface(), body_not_frames(), error_ends()]);
    cases.extend(subprotocols());
    cases.extend(origins());
    cases
}

fn sample() -> Case {
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

fn other_key() -> Case {
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

fn bytewise() -> Case {
    let sentence = "A request that comes byte by byte is answered like a whole one.";
    Case::new("handshake/sample.bytewise", "RFC 6455 4.2.1", Level::Must, sentence, |trial| {
        let request = trial.subject.request();
        let mut peer = trial.connect()?;
        peer.send_bytewise(&request.bytes());
        peer.upgraded(&request).map(|_| ())
    })
}

fn cut_in_two() -> Case {
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

fn accepted_tokens() -> Vec<Case> {
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

fn accepted_lines() -> Vec<Case> {
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

/// A request that must not be upgraded.
pub(crate) struct Refusal {
    id: &'static str,
    section: &'static str,
    level: Level,
    sentence: &'static str,
    edit: Arc<dyn Fn(Request) -> Vec<u8> + Send + Sync>,
    statuses: &'static [u16],
}

impl Refusal {
    fn new(
        id: &'static str,
        section: &'static str,
        statuses: &'static [u16],
        sentence: &'static str,
        edit: impl Fn(Request) -> Request + Send + Sync + 'static,
    ) -> Self {
        Self::raw(id, section, statuses, sentence, move |request| edit(request).bytes())
    }

    fn raw(
        id: &'static str,
        section: &'static str,
        statuses: &'static [u16],
        sentence: &'static str,
        edit: impl Fn(Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { id, section, level: Level::Must, sentence, edit: Arc::new(edit), statuses }
    }

    fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    fn cases(self) -> [Case; 3] {
        let Self { id, section, level, sentence, edit, statuses } = self;
        let make = |suffix: &str, level: Level, sentence: String, bytewise: bool, any: bool| {
            let edit = Arc::clone(&edit);
            Case::new(format!("{id}{suffix}"), section, level, sentence, move |trial| {
                refused(
                    trial,
                    &edit(trial.subject.request()),
                    bytewise,
                    if any { &[] } else { statuses },
                )
            })
        };
        let status = statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let status = format!("The status of the refusal is {status}.");
        [
            make("", level, sentence.to_owned(), false, true),
            make(".status", level.max(Level::Should), status, false, false),
            make(".bytewise", level, format!("{sentence} Byte by byte."), true, true),
        ]
    }
}

/// The answer is an error, and with one of `statuses` unless that is empty.
fn refused(trial: &Trial<'_>, bytes: &[u8], bytewise: bool, statuses: &[u16]) -> Outcome {
    let mut peer = trial.connect()?;
    peer.send_cut(bytes, bytewise);
    let answer = peer.answer()?;
    if !(400..600).contains(&answer.status) {
        return miss("an HTTP error", answer);
    }
    if !statuses.is_empty() && !statuses.contains(&answer.status) {
        return miss(format!("a status of {statuses:?}"), answer);
    }
    Ok(())
}

fn refusals() -> Vec<Refusal> {
    [methods(), headers(), keys(), versions(), lists(), lines(), first_lines(), bodies()]
        .into_iter()
        .flatten()
        .collect()
}

fn methods() -> Vec<Refusal> {
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

fn headers() -> Vec<Refusal> {
    let of = |id, statuses, sentence, edit: fn(Request) -> Request| {
        Refusal::new(id, "RFC 6455 4.2.1", statuses, sentence, edit)
    };
    vec![
        of("handshake/host-missing", &[400], "A request without Host is refused.", |request| {
            request.remove("Host")
        }),
        of(
            "handshake/host-twice",
            &[400],
            "A request with two Host lines is refused.",
            |request| request.add("Host", "other.example"),
        ),
        of(
            "handshake/upgrade-missing",
            &[400, 426],
            "A request without Upgrade is refused.",
            |request| request.remove("Upgrade"),
        ),
        of(
            "handshake/upgrade-token-substring",
            &[400, 426],
            "`Upgrade: notwebsocketx` is refused: tokens are compared whole.",
            |request| request.set("Upgrade", "notwebsocketx"),
        ),
        of("handshake/upgrade-other", &[400, 426], "`Upgrade: h2c` is refused.", |request| {
            request.set("Upgrade", "h2c")
        }),
        of(
            "handshake/connection-missing",
            &[400, 426],
            "A request without Connection is refused.",
            |request| request.remove("Connection"),
        ),
        of(
            "handshake/connection-token-substring",
            &[400, 426],
            "`Connection: upgraded` is refused: tokens are compared whole.",
            |request| request.set("Connection", "upgraded"),
        ),
        of(
            "handshake/connection-other",
            &[400, 426],
            "`Connection: keep-alive` is refused.",
            |request| request.set("Connection", "keep-alive"),
        ),
    ]
}

fn keys() -> Vec<Refusal> {
    let of = |id, sentence, edit: fn(Request) -> Request| {
        Refusal::new(id, "RFC 6455 4.2.1", &[400], sentence, edit)
    };
    vec![
        of("handshake/key-missing", "A request without Sec-WebSocket-Key is refused.", |request| {
            request.remove("Sec-WebSocket-Key")
        }),
        of("handshake/key-twice", "A request with two keys is refused.", |request| {
            request.add("Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==")
        }),
        of("handshake/key-empty", "An empty key is refused.", |request| {
            request.set("Sec-WebSocket-Key", "")
        }),
        of("handshake/key-of-15-bytes", "A key of 15 bytes is refused.", |request| {
            request.set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA")
        }),
        of("handshake/key-of-17-bytes", "A key of 17 bytes is refused.", |request| {
            request.set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAA=")
        }),
        of(
            "handshake/key-not-base64",
            "A key of 24 characters that are no base64 is refused.",
            |request| request.set("Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!!!"),
        ),
        of("handshake/key-without-padding", "A key without its padding is refused.", |request| {
            request.set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA")
        }),
    ]
}

fn versions() -> Vec<Refusal> {
    let of = |id, sentence, edit: fn(Request) -> Request| {
        Refusal::new(id, "RFC 6455 4.4", &[426, 400], sentence, edit)
    };
    vec![
        of(
            "handshake/version-missing",
            "A request without Sec-WebSocket-Version is refused.",
            |request| request.remove("Sec-WebSocket-Version"),
        ),
        of("handshake/version-7", "Version 7 is refused.", |request| {
            request.set("Sec-WebSocket-Version", "7")
        }),
        of("handshake/version-14", "Version 14 is refused.", |request| {
            request.set("Sec-WebSocket-Version", "14")
        }),
        of("handshake/version-013", "`013` is not 13.", |request| {
            request.set("Sec-WebSocket-Version", "013")
        })
        .level(Level::Should),
        of("handshake/version-131", "`131` is not 13.", |request| {
            request.set("Sec-WebSocket-Version", "131")
        }),
        of("handshake/version-words", "A version that is no number is refused.", |request| {
            request.set("Sec-WebSocket-Version", "thirteen")
        }),
        of("handshake/version-twice", "Two different versions are refused.", |request| {
            request.add("Sec-WebSocket-Version", "8")
        }),
    ]
}

fn lists() -> Vec<Refusal> {
    let extension = |id, sentence, value: &'static str| {
        Refusal::new(id, "RFC 6455 9.1", &[400], sentence, move |request| {
            request.add("Sec-WebSocket-Extensions", value)
        })
    };
    let protocol = |id, sentence, value: &'static [u8]| {
        Refusal::new(id, "RFC 6455 4.1", &[400], sentence, move |request| {
            request.add("Sec-WebSocket-Protocol", value)
        })
        .level(Level::Should)
    };
    vec![
        extension(
            "handshake/extension-empty-parameter",
            "An offer `a;;b` breaks the grammar and is refused.",
            "a;;b",
        ),
        extension(
            "handshake/extension-unclosed-quote",
            "An offer with an unclosed quote is refused.",
            "a; b=\"c",
        ),
        extension(
            "handshake/extension-no-name",
            "An offer that begins with `;` is refused.",
            "; b=1",
        ),
        extension(
            "handshake/extension-empty-value",
            "An offer with a parameter `b=` without value is refused.",
            "a; b=",
        ),
        extension(
            "handshake/extension-quoted-space",
            "A quoted value must be a token once it is unquoted.",
            "a; b=\"c d\"",
        ),
        protocol(
            "handshake/subprotocol-non-ascii",
            "A subprotocol of bytes above 0x7f is refused.",
            b"caf\xc3\xa9",
        ),
        protocol(
            "handshake/subprotocol-space",
            "A subprotocol with a space in it is refused.",
            b"two words",
        ),
        protocol(
            "handshake/subprotocol-separator",
            "A subprotocol with a separator in it is refused.",
            b"a/b",
        ),
        // A list may have empty elements in HTTP, but not this one's ABNF (`1#token`).
        protocol(
            "handshake/subprotocol-empty",
            "An offer of no subprotocol at all is refused.",
            b"",
        )
        .level(Level::Advice),
        protocol(
            "handshake/subprotocol-empty-element",
            "An empty element in the offer is refused.",
            b"chat,,superchat",
        )
        .level(Level::Advice),
    ]
}

fn lines() -> Vec<Refusal> {
    let raw = |id, section, sentence, line: &'static [u8]| {
        Refusal::raw(id, section, &[400], sentence, move |request| {
            [&request.open_bytes()[..], line, b"\r\n\r\n"].concat()
        })
    };
    vec![
        raw("handshake/line-nul", "RFC 9110 5.5", "A NUL in a value is refused.", b"X-A: a\0b"),
        raw(
            "handshake/line-nul-in-name",
            "RFC 9110 5.1",
            "A NUL in a name is refused.",
            b"X-\0A: b",
        ),
        raw(
            "handshake/line-bare-cr",
            "RFC 9112 2.2",
            "A CR that ends no line is refused.",
            b"X-A: a\rb",
        )
        .level(Level::Should),
        raw(
            "handshake/line-without-colon",
            "RFC 9112 5",
            "A line without a colon is refused.",
            b"nonsense",
        ),
        raw(
            "handshake/line-space-before-colon",
            "RFC 9112 5.1",
            "A space before the colon is refused.",
            b"X-A : b",
        ),
        raw(
            "handshake/line-empty-name",
            "RFC 9110 5.1",
            "A line that begins with a colon is refused.",
            b": b",
        ),
        raw("handshake/line-folded", "RFC 9112 5.2", "A folded line is refused.", b"X-A: a\r\n b")
            .level(Level::Advice),
        raw(
            "handshake/line-non-ascii-name",
            "RFC 9110 5.1",
            "A byte above 0x7f in a name is refused.",
            b"X-\xe9: b",
        ),
    ]
}

fn first_lines() -> Vec<Refusal> {
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

/// A body on an upgrade is how one request is smuggled behind another.
fn bodies() -> Vec<Refusal> {
    let of = |id, sentence, lines: &'static [(&'static str, &'static str)], body: &'static str| {
        Refusal::raw(id, "RFC 9112 6", &[400, 413, 501], sentence, move |request| {
            let request =
                lines.iter().fold(request, |request, (name, value)| request.add(name, value));
            [request.bytes(), body.as_bytes().to_vec()].concat()
        })
    };
    vec![
        of(
            "handshake/body-content-length",
            "An upgrade with a body is refused.",
            &[("Content-Length", "5")],
            "hello",
        )
        .level(Level::Advice),
        of(
            "handshake/body-chunked",
            "An upgrade with a chunked body is refused.",
            &[("Transfer-Encoding", "chunked")],
            "0\r\n\r\n",
        )
        .level(Level::Advice),
        of(
            "handshake/body-both-lengths",
            "Content-Length beside Transfer-Encoding is refused.",
            &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
            "0\r\n\r\n",
        )
        .level(Level::Should),
        of(
            "handshake/body-two-lengths",
            "Two different Content-Length lines are refused.",
            &[("Content-Length", "0"), ("Content-Length", "5")],
            "",
        ),
        of(
            "handshake/body-length-garbled",
            "A Content-Length that is no number is refused.",
            &[("Content-Length", "-5")],
            "",
        ),
    ]
}

fn version_named() -> Case {
    let sentence = "The refusal of another version names the one that is spoken, 13.";
    Case::new("handshake/version-named", "RFC 6455 4.4", Level::Must, sentence, |trial| {
        let mut peer = trial.connect()?;
        peer.send(&trial.subject.request().set("Sec-WebSocket-Version", "99").bytes());
        let answer = peer.answer()?;
        if !answer.has_token("Sec-WebSocket-Version", "13") {
            return miss("Sec-WebSocket-Version: 13", answer);
        }
        Ok(())
    })
}

fn method_allowed() -> Case {
    let sentence = "A refusal with 405 names the methods that are allowed.";
    Case::new("handshake/method-allowed", "RFC 9110 15.5.6", Level::Must, sentence, |trial| {
        let mut peer = trial.connect()?;
        let first = trial.subject.request().first_line().replace("GET", "POST");
        peer.send(&trial.subject.request().first(first).bytes());
        let answer = peer.answer()?;
        if answer.status == 405 && !answer.has_token("Allow", "GET") {
            return miss("Allow: GET", answer);
        }
        Ok(())
    })
}

fn upgrade_named() -> Case {
    let sentence = "A refusal with 426 names the protocol to upgrade to.";
    Case::new("handshake/upgrade-named", "RFC 9110 15.5.22", Level::Must, sentence, |trial| {
        for request in [
            trial.subject.request().remove("Upgrade").remove("Connection"),
            trial.subject.request().set("Upgrade", "h2c"),
        ] {
            let mut peer = trial.connect()?;
            peer.send(&request.bytes());
            let answer = peer.answer()?;
            if answer.status == 426 && !answer.has_token("Upgrade", "websocket") {
                return miss("Upgrade: websocket", answer);
            }
        }
        Ok(())
    })
}

fn early_frames() -> Case {
    let sentence = "Frames in the same segment as the request are answered behind the 101.";
    Case::new("handshake/early-frames", "RFC 6455 4.1", Level::Advice, sentence, |trial| {
        let request = trial.subject.request();
        let mut peer = trial.connect()?;
        peer.send(&[request.bytes(), wire::text("early"), wire::ping("p")].concat());
        peer.upgraded(&request)?;
        let mut left = vec![text("early"), crate::peer::pong("p")];
        while !left.is_empty() {
            let next = peer.expect_one_of(&left)?;
            left.remove(next);
        }
        Ok(())
    })
    .needs(Need::Echo)
}

fn early_frame_cut() -> Case {
    let sentence = "A frame that begins in the segment of the request and ends later is whole.";
    Case::new("handshake/early-frame-cut", "RFC 6455 4.1", Level::Advice, sentence, |trial| {
        let request = trial.subject.request();
        let frame = wire::text("cut in two");
        for at in [1, 2, 6, 9] {
            let mut peer = trial.connect()?;
            peer.send(&[&request.bytes()[..], &frame[..at]].concat());
            peer.upgraded(&request)?;
            peer.send(&frame[at..]);
            peer.expect(&[text("cut in two")])?;
        }
        Ok(())
    })
    .needs(Need::Echo)
}

fn http2_preface() -> Case {
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

fn body_not_frames() -> Case {
    let sentence = "A refused request has no frames behind it: they are not answered.";
    Case::new(
        "handshake/no-frames-after-refusal",
        "RFC 6455 4.2.2",
        Level::Must,
        sentence,
        |trial| {
            let mut peer = trial.connect()?;
            let request = trial.subject.request().set("Sec-WebSocket-Key", "short");
            peer.send(&[request.bytes(), wire::ping("frame")].concat());
            if peer.answer()?.status == 101 {
                // That it takes such a key is what `key-not-base64` tells.
                return skip("the server does not refuse a key that is too short");
            }
            peer.take_chunk(trial.subject.timeout.min(std::time::Duration::from_millis(300)));
            let came = peer.reader.rest();
            if came.windows(7).any(|window| window == b"\x8a\x05frame") {
                return miss("no frame behind a refusal", crate::transcript::escaped(came));
            }
            Ok(())
        },
    )
}

fn error_ends() -> Case {
    let sentence = "After a garbled request the server ends the connection.";
    Case::new("handshake/garbled-request-ends", "RFC 9112 9.6", Level::Should, sentence, |trial| {
        let mut peer = trial.connect()?;
        peer.send(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 noise\r\n\r\n");
        loop {
            if peer.is_ended() {
                return Ok(());
            }
            if !peer.take_chunk(trial.subject.timeout) && !peer.is_ended() {
                return miss("the end of the connection", "nothing, in the time allowed");
            }
        }
    })
}

/// What is to be named in the answer, of what the server knows.
fn names(
    id: &'static str,
    sentence: &str,
    edit: fn(Request, &str) -> Request,
    wanted: fn(&str) -> Option<&str>,
) -> Case {
    Case::new(id, "RFC 6455 4.2.2", Level::Must, sentence, move |trial| {
        let known = trial.subject.subprotocol.clone().unwrap_or_default();
        let mut peer = trial.connect()?;
        peer.send(&edit(trial.subject.request(), &known).bytes());
        let answer = peer.answer()?;
        let wanted: Vec<&str> = wanted(&known).into_iter().collect();
        let came = answer.values(PROTOCOL);
        let is_refusal = answer.status == 400 && wanted.is_empty();
        if is_refusal || (answer.status == 101 && came == wanted) {
            return Ok(());
        }
        miss(format!("101 with the subprotocols {wanted:?}"), answer)
    })
}

const PROTOCOL: &str = "Sec-WebSocket-Protocol";

fn subprotocols() -> Vec<Case> {
    let unknown = "None of unknown subprotocols is named in the answer.";
    let known = "A subprotocol that is known and offered is named, once.";
    let among = "Of several subprotocols the one that is known is named.";
    let lines = "Subprotocols over two lines are one list.";
    let silent = "A subprotocol that is not offered is not named.";
    let case = "Subprotocols are compared with their case.";
    let mut unknown = names(
        "handshake/subprotocol-unknown",
        unknown,
        |request, _| request.add(PROTOCOL, "x-nobody, x-knows"),
        |_| None,
    );
    // A server may take any name for its own.
    unknown.level = Level::Advice;
    let of = |id, sentence, edit: fn(Request, &str) -> Request| {
        names(id, sentence, edit, |known| Some(known)).needs(Need::Subprotocol)
    };
    let none = |id, sentence, edit: fn(Request, &str) -> Request| {
        names(id, sentence, edit, |_| None).needs(Need::Subprotocol)
    };
    vec![
        unknown,
        only_offered(),
        of("handshake/subprotocol-known", known, |request, known| request.add(PROTOCOL, known)),
        of("handshake/subprotocol-among-unknown", among, |request, known| {
            request.add(PROTOCOL, format!("x-unknown, {known}, x-other"))
        }),
        of("handshake/subprotocol-two-lines", lines, |request, known| {
            request.add(PROTOCOL, "x-unknown").add(PROTOCOL, known)
        }),
        none("handshake/subprotocol-not-offered", silent, |request, _| request),
        none("handshake/subprotocol-other-case", case, |request, known| {
            request.add(PROTOCOL, other_case(known))
        }),
    ]
}

fn only_offered() -> Case {
    let id = "handshake/subprotocol-only-offered";
    let sentence = "A subprotocol in the answer is one that was offered, and there is only one.";
    Case::new(id, "RFC 6455 4.2.2", Level::Must, sentence, |trial| {
        let mut peer = trial.connect()?;
        peer.send(&trial.subject.request().add(PROTOCOL, "x-nobody, x-knows").bytes());
        let answer = peer.answer()?;
        match answer.values(PROTOCOL)[..] {
            [] | ["x-nobody" | "x-knows"] => Ok(()),
            _ => miss("x-nobody, x-knows or none", answer),
        }
    })
}

fn other_case(name: &str) -> String {
    let swap = |letter: char| {
        if letter.is_ascii_lowercase() {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        }
    };
    name.chars().map(swap).collect()
}

fn origins() -> Vec<Case> {
    let foreign =
        |id, sentence: &str, origin: fn(&str) -> String, level, statuses: &'static [u16]| {
            Case::new(id, "RFC 6455 10.2", level, sentence, move |trial| {
                let own = trial.subject.origin.clone().unwrap_or_default();
                let request = trial.subject.request().set("Origin", origin(&own));
                refused(trial, &request.bytes(), false, statuses)
            })
            .needs(Need::Origin)
        };
    let unserved = "A path that is not served is answered by 404.";
    vec![
        foreign(
            "handshake/origin-foreign",
            "A foreign origin is refused.",
            |_| "https://foreign.example".to_owned(),
            Level::Must,
            &[],
        ),
        foreign(
            "handshake/origin-foreign.status",
            "A foreign origin is refused with 403.",
            |_| "https://foreign.example".to_owned(),
            Level::Should,
            &[403],
        ),
        foreign(
            "handshake/origin-null",
            "`Origin: null` is a foreign origin.",
            |_| "null".to_owned(),
            Level::Should,
            &[],
        ),
        foreign(
            "handshake/origin-longer",
            "An origin of which the admitted one is the beginning is foreign.",
            |own| format!("{own}.foreign.example"),
            Level::Must,
            &[],
        ),
        foreign(
            "handshake/origin-other-scheme",
            "An origin of another scheme is foreign.",
            |own| {
                own.strip_prefix("https")
                    .map_or_else(|| own.replacen("http", "https", 1), |rest| format!("http{rest}"))
            },
            Level::Should,
            &[],
        ),
        Case::new("handshake/path-missing", "RFC 6455 4.2.2", Level::Should, unserved, |trial| {
            let path = trial.subject.missing_path.clone().unwrap_or_default();
            let request = trial.subject.request().first(format!("GET {path} HTTP/1.1"));
            refused(trial, &request.bytes(), false, &[404])
        })
        .needs(Need::MissingPath),
    ]
}
