//! Cases of fragmentation (RFC 6455 section 5.4).
//!
//! The order of fragments, control frames between them, and the forms that cost a careless server
//! much: very many small fragments are an honest message, very many empty ones are not.

use crate::case::{Case, Level, Need, Outcome};
use crate::cases::{Exchange, Violation, closes};
use crate::peer::{Trial, binary, pong, text};
use crate::wire::{self, BINARY, Frame, TEXT};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = order().into_iter().flat_map(Violation::cases).collect();
    cases.extend(right().into_iter().flat_map(Exchange::cases));
    cases.extend([many(), single_bytes()]);
    cases.extend(empty());
    cases
}

fn order() -> Vec<Violation> {
    let of =
        |id, bytes: Vec<u8>, sentence| Violation::new(id, "RFC 6455 5.4", &[1002], bytes, sentence);
    vec![
        of(
            "fragments/continuation-of-nothing",
            wire::end("ab"),
            "A continuation with nothing begun fails the connection.",
        ),
        of(
            "fragments/continuation-of-nothing-more",
            wire::middle("ab"),
            "A continuation with FIN 0 and nothing begun fails the connection.",
        ),
        of(
            "fragments/text-within-text",
            [wire::text_begin("ab"), wire::text("cd")].concat(),
            "A text frame within a message fails the connection.",
        ),
        of(
            "fragments/binary-within-text",
            [wire::text_begin("ab"), wire::binary("cd")].concat(),
            "A binary frame within a message fails the connection.",
        ),
        of(
            "fragments/text-begins-within-binary",
            [Frame::new(BINARY, "ab").more().bytes(), wire::text_begin("cd")].concat(),
            "A second beginning within a message fails the connection.",
        ),
    ]
}

fn right() -> Vec<Exchange> {
    let of = |id, sentence, bytes: Vec<Vec<u8>>, events| Exchange {
        id,
        section: "RFC 6455 5.4",
        sentence,
        bytes: bytes.concat(),
        events,
    };
    vec![
        of(
            "fragments/three",
            "Three fragments are one message.",
            vec![wire::text_begin("ab"), wire::middle("cd"), wire::end("ef")],
            vec![text("abcdef")],
        ),
        of(
            "fragments/empty-among-others",
            "Empty fragments at the beginning, in the midst and at the end are allowed.",
            vec![wire::text_begin(""), wire::middle("ab"), wire::middle(""), wire::end("")],
            vec![text("ab")],
        ),
        of(
            "fragments/all-empty",
            "A message of empty fragments is an empty message.",
            vec![Frame::new(BINARY, []).more().bytes(), wire::middle(""), wire::end("")],
            vec![binary("")],
        ),
        of(
            "fragments/ping-between",
            "A Ping between fragments is answered at once, and the message goes on.",
            vec![wire::text_begin("ab"), wire::ping("p"), wire::end("cd")],
            vec![pong("p"), text("abcd")],
        ),
        of(
            "fragments/pong-between",
            "A Pong between fragments is ignored, and the message goes on.",
            vec![Frame::new(TEXT, "ab").more().bytes(), wire::pong("p"), wire::end("cd")],
            vec![text("abcd")],
        ),
        of(
            "fragments/several-pings-between",
            "Several Pings between fragments are answered in order.",
            vec![
                wire::text_begin("ab"),
                wire::ping("1"),
                wire::ping("2"),
                wire::middle("cd"),
                wire::ping("3"),
                wire::end(""),
            ],
            vec![pong("1"), pong("2"), pong("3"), text("abcd")],
        ),
        of(
            "fragments/two-messages",
            "One fragmented message after another, of the other kind.",
            vec![
                wire::text_begin("ab"),
                wire::end("cd"),
                Frame::new(BINARY, [1]).more().bytes(),
                wire::end([2]),
            ],
            vec![text("abcd"), binary([1, 2])],
        ),
    ]
}

fn many() -> Case {
    let sentence = "A message in 4,096 fragments of 16 bytes is an honest message.";
    Case::new("fragments/4096-of-16-bytes", "RFC 6455 5.4", Level::Must, sentence, |trial| {
        fragmented(trial, 4096, 16)
    })
    .needs(Need::Echo)
}

fn single_bytes() -> Case {
    let sentence = "A message in 65,536 fragments of one byte is an honest message.";
    Case::new("fragments/65536-of-1-byte", "RFC 6455 5.4", Level::Should, sentence, |trial| {
        fragmented(trial, 65_536, 1)
    })
    .needs(Need::Echo)
}

fn fragmented(trial: &Trial<'_>, count: usize, size: usize) -> Outcome {
    trial.admits(count * size)?;
    let mut peer = trial.open()?;
    let mut stream = Frame::new(BINARY, vec![7; size]).more().bytes();
    stream.extend(wire::middle(vec![7; size]).repeat(count - 2));
    stream.extend(wire::end(vec![7; size]));
    peer.send(&stream);
    peer.expect(&[binary(vec![7; count * size])])?;
    peer.expect_alive()
}

/// Fragments that bring nothing cost their sender 6 bytes, and a message of them never ends.
fn empty() -> [Case; 2] {
    let flood = || {
        let mut stream = wire::text_begin("");
        stream.extend(wire::middle("").repeat(EMPTY_FLOOD));
        stream
    };
    let sentence = "100,000 empty fragments of one message end the connection.";
    let code = "For a flood of empty fragments a Close says why: 1008, 1009 or 1002.";
    [
        Case::new(
            "fragments/empty-flood",
            "RFC 6455 10.4",
            Level::Advice,
            sentence,
            move |trial| {
                let mut peer = trial.open()?;
                peer.send(&flood());
                peer.expect_failure().map(|_| ())
            },
        ),
        Case::new(
            "fragments/empty-flood.code",
            "RFC 6455 7.4.1",
            Level::Advice,
            code,
            move |trial| closes(trial, &flood(), &[1008, 1009, 1002]),
        ),
    ]
}

/// Far above what any server takes for honest.
const EMPTY_FLOOD: usize = 100_000;
