//! Cases of what a server must not let itself be made to do (RFC 6455 section 10.4).
//!
//! Declared lengths, long messages, long and many headers. Where the limit lies is the server's own
//! affair, so cases about the exact byte need `--max-message`; the others go far beyond anything
//! sensible.

use std::time::Duration;

use crate::case::{Case, Level, Need, miss};
use crate::cases::{Violation, expect_code};
use crate::peer::{Seen, Trial, binary, seen_words};
use crate::reader::Event;
use crate::request::Request;
use crate::wire::{self, BINARY, Frame, TEXT};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = declared().into_iter().flat_map(Violation::cases).collect();
    cases.extend(at_the_limit());
    cases.extend(over_the_limit());
    cases.extend(heads());
    cases.extend([many_values(), ping_flood(), ping_flood_ended(), unread_pongs()]);
    cases
}

/// Lengths that no server can mean to wait for: refused at the header, with nothing allocated.
fn declared() -> Vec<Violation> {
    let of = |id, length: u64, sentence| {
        let bytes = Frame::new(BINARY, "ab").declare(length).bytes();
        Violation::new(id, "RFC 6455 10.4", &[1009], bytes, sentence).level(Level::Should)
    };
    let sum = [
        Frame::new(TEXT, "a").more().bytes(),
        Frame::new(wire::CONTINUATION, "b").declare((1 << 63) - 1).bytes(),
    ];
    vec![
        of("limits/declared-2-62", 1 << 62, "A frame of 2^62 bytes is refused at its header."),
        of(
            "limits/declared-2-63-minus-1",
            (1 << 63) - 1,
            "A frame of 2^63-1 bytes is refused at its header.",
        ),
        of("limits/declared-2-40", 1 << 40, "A frame of 2^40 bytes is refused at its header."),
        Violation::new(
            "limits/declared-sum",
            "RFC 6455 10.4",
            &[1009],
            sum.concat(),
            "Fragments whose lengths sum to 2^63 are refused at the second header.",
        )
        .level(Level::Should),
    ]
}

fn at_the_limit() -> [Case; 2] {
    let make = |id, sentence: &str, steps: fn(usize) -> Vec<u8>| {
        Case::new(id, "RFC 6455 10.4", Level::Must, sentence, move |trial| {
            let limit = trial.subject.message_max.unwrap_or_default();
            let mut peer = trial.open()?;
            peer.send(&steps(limit));
            peer.expect(&[binary(vec![7; limit])])?;
            peer.expect_alive()
        })
        .needs(Need::MessageLimit)
        .needs(Need::Echo)
    };
    [
        make("limits/message-at-limit", "A message of exactly the limit comes back.", |limit| {
            wire::binary(vec![7; limit])
        }),
        make(
            "limits/fragments-at-limit",
            "Fragments that sum to exactly the limit come back.",
            |limit| {
                let first = limit / 2;
                [
                    Frame::new(BINARY, vec![7; first]).more().bytes(),
                    wire::end(vec![7; limit - first]),
                ]
                .concat()
            },
        ),
    ]
}

fn over_the_limit() -> Vec<Case> {
    let make = |id: &'static str, sentence: &str, make_bytes: fn(usize) -> Vec<u8>| {
        let case = |id: String, level, sentence: String, why: bool| {
            Case::new(id, "RFC 6455 10.4", level, sentence, move |trial| {
                let limit = trial.subject.message_max.unwrap_or_default();
                let mut peer = trial.open()?;
                peer.send(&make_bytes(limit));
                let failure = peer.expect_failure()?;
                if why { expect_code(&failure.close, &[1009]) } else { Ok(()) }
            })
            .needs(Need::MessageLimit)
        };
        [
            case(id.to_owned(), Level::Must, sentence.to_owned(), false),
            case(
                format!("{id}.code"),
                Level::Should,
                "Before the connection goes, Close 1009 comes.".to_owned(),
                true,
            ),
        ]
    };
    let mut cases: Vec<Case> = [
        make(
            "limits/message-over-limit",
            "A message of one byte over the limit fails the connection.",
            |limit| wire::binary(vec![7; limit + 1]),
        ),
        make(
            "limits/fragments-over-limit",
            "Fragments that sum to one byte over the limit fail the connection.",
            |limit| [Frame::new(BINARY, vec![7; limit]).more().bytes(), wire::end([7])].concat(),
        ),
        make(
            "limits/endless-fragments",
            "Fragments without end fail the connection at the limit.",
            |limit| {
                let piece = wire::middle(vec![7; 1024]);
                [Frame::new(BINARY, [7]).more().bytes(), piece.repeat(limit / 1024 + 1)].concat()
            },
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let sentence = "A frame over the limit is refused at its header, before its payload.";
    let early = |trial: &Trial<'_>| {
        let limit = trial.subject.message_max.unwrap_or_default() as u64;
        let mut peer = trial.open()?;
        peer.send(&Frame::new(BINARY, []).declare(limit + 1).bytes());
        peer.expect_failure().map(|_| ())
    };
    cases.push(
        Case::new(
            "limits/message-over-limit.early",
            "RFC 6455 10.4",
            Level::Advice,
            sentence,
            early,
        )
        .needs(Need::MessageLimit),
    );
    cases
}

/// Heads far beyond what any browser or proxy sends.
fn heads() -> Vec<Case> {
    let of = |id, sentence: &str, edit: fn(Request) -> Vec<u8>| {
        Case::new(id, "RFC 6585 5", Level::Advice, sentence, move |trial| {
            let mut peer = trial.connect()?;
            peer.send(&edit(trial.subject.request()));
            match peer.answer_within(trial.subject.timeout)? {
                Some(answer) if matches!(answer.status, 400 | 413 | 414 | 431) => Ok(()),
                Some(answer) => miss("431", answer),
                None if peer.is_ended() => miss("431", "the end of the connection"),
                None => miss("431", "nothing, in the time allowed"),
            }
        })
    };
    vec![
        of("limits/head-value-256-kb", "A header of 256 KB is answered by 431.", |request| {
            request.add("X-Long", "x".repeat(256 * 1024)).bytes()
        }),
        of("limits/head-10000-lines", "10,000 header lines are answered by 431.", |request| {
            (0..10_000)
                .fold(request, |request, number| request.add(&format!("X-{number}"), "x"))
                .bytes()
        }),
        of("limits/head-path-256-kb", "A path of 256 KB is answered by 414 or 431.", |request| {
            let first =
                request.first_line().replace(" HTTP", &format!("{} HTTP", "x".repeat(256 * 1024)));
            request.first(first).bytes()
        }),
        of(
            "limits/head-name-256-kb",
            "A name of 256 KB without a colon is answered, though no line ends.",
            |request| [request.open_bytes(), b"X".repeat(256 * 1024)].concat(),
        ),
    ]
}

/// Values on which careless parsers of extensions and subprotocols spend quadratic time.
fn many_values() -> Case {
    let sentence = "4 KB of spaces, backslashes, quotes or commas in a list are answered at once.";
    Case::new("limits/list-of-noise", "RFC 6455 10.1", Level::Should, sentence, |trial| {
        for name in ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Connection"] {
            for noise in [" ", "\\", "\"", ",", ";", "a;", "a=\"\\"] {
                let value = format!("a; b=\"{}", noise.repeat(4096 / noise.len()));
                let mut peer = trial.connect()?;
                peer.send(&trial.subject.request().add(name, value).bytes());
                let answer = peer.answer_within(trial.subject.timeout)?;
                if answer.is_none() && !peer.is_ended() {
                    return miss("an answer", format!("nothing, for {name} with {noise:?}"));
                }
            }
        }
        Ok(())
    })
}

fn ping_flood() -> Case {
    let sentence = "100,000 Pings in a row are answered, or end the connection.";
    Case::new("limits/ping-flood", "RFC 6455 5.5.3", Level::Should, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&wire::ping("flood").repeat(100_000));
        peer.send(&wire::ping("last"));
        loop {
            match peer.see(trial.subject.timeout) {
                Seen::Event(Event::Pong(body)) if body == b"last" => {
                    return Ok(());
                }
                Seen::Event(Event::Pong(body)) if body == b"flood" => {}
                Seen::Event(Event::Close(Some(1008), _)) | Seen::End(_) => return Ok(()),
                Seen::Event(Event::Message(_)) if !trial.subject.facts.echo => {}
                seen => {
                    return miss("Pongs, Close 1008 or the end", seen_words(&seen));
                }
            }
        }
    })
}

fn ping_flood_ended() -> Case {
    let sentence = "A flood of 100,000 Pings is ended, because it is one.";
    Case::new("limits/ping-flood-ended", "RFC 6455 7.4.1", Level::Advice, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&wire::ping("flood").repeat(100_000));
        loop {
            match peer.see(trial.subject.timeout) {
                Seen::Event(Event::Pong(_) | Event::Ping(_)) => {}
                Seen::Event(Event::Message(_)) if !trial.subject.facts.echo => {}
                Seen::Event(Event::Close(..)) | Seen::End(_) => return Ok(()),
                seen => return miss("Close 1008, or the end", seen_words(&seen)),
            }
        }
    })
}

/// The answers to 64 MB of Pings are never read: a server that queues them all grows by as much.
fn unread_pongs() -> Case {
    let sentence =
        "A peer that sends Pings and reads nothing is stopped: by back-pressure or Close.";
    Case::new("limits/unread-pongs", "RFC 6455 5.5.3", Level::Advice, sentence, |trial| {
        let request = trial.subject.request();
        let mut peer = trial.connect_deaf()?;
        peer.send(&request.bytes());
        let pings = wire::ping(vec![b'p'; 125]).repeat(500);
        for _ in 0..1024 {
            if !peer.try_send(&pings) {
                return Ok(());
            }
        }
        // All was taken. That is right if Pongs were dropped for newer ones, and not if they wait.
        peer.listen();
        peer.answer()?;
        let mut pongs = 0_u32;
        while let Seen::Event(event) = peer.see(trial.subject.timeout.min(QUIET)) {
            if matches!(event, Event::Pong(_)) {
                pongs += 1;
            }
        }
        if pongs > 400_000 {
            miss("an end to what is queued", format!("{pongs} Pongs"))
        } else {
            Ok(())
        }
    })
    .alone()
}

/// When nothing came for so long, what was queued has come.
const QUIET: Duration = Duration::from_secs(1);
