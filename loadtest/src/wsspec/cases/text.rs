//! Cases of text and UTF-8 (RFC 6455 sections 5.6 and 8.1).
//!
//! Wrong text must fail the connection; a server that looks at every byte as it comes can do so
//! before the message has ended, which is advice (`.early`). Right text must come back however it
//! is cut.

use crate::case::{Case, Level};
use crate::cases::{Exchange, Violation};
use crate::peer::text;
use crate::wire::{self, Frame, TEXT};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = wrong().into_iter().flat_map(Violation::cases).collect();
    cases.extend(split_wrong().into_iter().flat_map(Violation::cases));
    cases.extend(early());
    cases.extend(right().into_iter().flat_map(Exchange::cases));
    cases
}

fn wrong() -> Vec<Violation> {
    let of = |id, bytes: &[u8], sentence| {
        Violation::new(id, "RFC 6455 8.1", &[1007], wire::text(bytes), sentence)
    };
    vec![
        of(
            "text/lone-continuation",
            b"ab\x80cd",
            "A continuation byte alone fails the connection.",
        ),
        of("text/byte-ff", b"ab\xffcd", "The byte 0xff fails the connection."),
        of("text/byte-fe", b"ab\xfecd", "The byte 0xfe fails the connection."),
        of("text/overlong-slash", b"ab\xc0\xafcd", "A slash in two bytes fails the connection."),
        of("text/overlong-nul", b"ab\xc0\x80cd", "A NUL in two bytes fails the connection."),
        of("text/overlong-3", b"ab\xe0\x9f\xbfcd", "U+07FF in three bytes fails the connection."),
        of(
            "text/overlong-4",
            b"ab\xf0\x8f\xbf\xbfcd",
            "U+FFFF in four bytes fails the connection.",
        ),
        of(
            "text/surrogate-first",
            b"ab\xed\xa0\x80cd",
            "The surrogate U+D800 fails the connection.",
        ),
        of(
            "text/surrogate-last",
            b"ab\xed\xbf\xbfcd",
            "The surrogate U+DFFF fails the connection.",
        ),
        of(
            "text/surrogate-pair",
            b"\xed\xa0\xbd\xed\xb8\x80",
            "A pair of surrogates fails the connection.",
        ),
        of("text/beyond-10ffff", b"ab\xf4\x90\x80\x80cd", "U+110000 fails the connection."),
        of(
            "text/five-bytes",
            b"ab\xf8\x88\x80\x80\x80cd",
            "A character of five bytes fails the connection.",
        ),
        of(
            "text/cut-2-of-3",
            b"ab\xe2\x82",
            "A message that ends within a character fails the connection.",
        ),
        of(
            "text/cut-3-of-4",
            b"ab\xf0\x9f\x98",
            "A message that ends after three bytes of four fails the connection.",
        ),
        of(
            "text/cut-1-of-2",
            b"ab\xc3",
            "A message that ends after one byte of two fails the connection.",
        ),
        of(
            "text/character-broken-off",
            b"\xe2\x82cd",
            "A character broken off by another fails the connection.",
        ),
    ]
}

fn split_wrong() -> Vec<Violation> {
    let of = |id, frames: [Vec<u8>; 2], sentence| {
        Violation::new(id, "RFC 6455 8.1", &[1007], frames.concat(), sentence)
    };
    vec![
        of(
            "text/bad-over-fragments",
            [wire::text_begin(b"ab\xe2\x82"), wire::end("cd")],
            "A character that goes wrong in the next fragment fails the connection.",
        ),
        of(
            "text/bad-in-second-fragment",
            [wire::text_begin("ab"), wire::end([0xff])],
            "Bad text in a later fragment fails the connection.",
        ),
        of(
            "text/cut-by-empty-end",
            [wire::text_begin(b"ab\xe2\x82"), wire::end("")],
            "A character that an empty last fragment leaves unfinished fails the connection.",
        ),
    ]
}

fn early() -> [Case; 2] {
    let make = |id, sentence: &str, bytes: Vec<u8>| {
        Case::new(id, "RFC 6455 8.1", Level::Advice, sentence, move |trial| {
            let mut peer = trial.open()?;
            peer.send(&bytes);
            peer.expect_failure().map(|_| ())
        })
    };
    [
        make(
            "text/bad-in-first-fragment.early",
            "Bad text in a first fragment fails the connection before the others come.",
            wire::text_begin(b"ab\xff"),
        ),
        make(
            "text/bad-within-frame.early",
            "Bad text fails the connection before its frame has come whole.",
            Frame::new(TEXT, *b"ab\xff").declare(1000).bytes(),
        ),
    ]
}

fn right() -> Vec<Exchange> {
    let of = |id, sentence, words: &str| Exchange {
        id,
        section: "RFC 6455 5.6",
        sentence,
        bytes: wire::text(words),
        events: vec![text(words)],
    };
    let cut = |id, sentence, words: &str, every: usize| {
        let pieces: Vec<&[u8]> = words.as_bytes().chunks(every).collect();
        let mut bytes = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let opcode = if index == 0 { TEXT } else { wire::CONTINUATION };
            let frame = Frame::new(opcode, *piece);
            let is_last = index + 1 == pieces.len();
            bytes.extend(if is_last { frame.bytes() } else { frame.more().bytes() });
        }
        Exchange { id, section: "RFC 6455 5.6", sentence, bytes, events: vec![text(words)] }
    };
    vec![
        of("text/all-lengths", "Characters of one to four bytes come back.", "a ß € 😀"),
        of(
            "text/edges",
            "The first and last characters of each length come back.",
            "\u{1}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}",
        ),
        of(
            "text/around-surrogates",
            "The characters beside the surrogates come back.",
            "\u{d7ff}\u{e000}",
        ),
        of(
            "text/noncharacters",
            "U+FFFE and U+FFFF are characters like others.",
            "\u{fffe}\u{ffff}\u{1fffe}",
        ),
        of("text/nul", "A NUL is a character like others.", "a\0b"),
        of("text/bom", "A byte order mark is kept.", "\u{feff}a"),
        cut(
            "text/every-byte-a-fragment",
            "Characters may be cut between any fragments.",
            "a ß € 😀 κόσμε",
            1,
        ),
        cut(
            "text/every-3-bytes-a-fragment",
            "Characters may be cut at any byte.",
            "😀😀ß€😀aß€",
            3,
        ),
    ]
}
