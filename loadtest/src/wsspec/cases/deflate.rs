//! Cases of compressed messages (RFC 7692 sections 6 and 7.2), limits of what they inflate to
//! included.
//!
//! Streams are written token by token where it matters, so matches reach exactly as far as they
//! should; what comes back is inflated by an inflater that measures how far the server reached.

use std::sync::Arc;

use crate::case::{Case, Level, Need, Outcome, miss, skip};
use crate::cases::{behind, close_words, expect_code, not_echoed};
use crate::compress::{self, Token};
use crate::peer::{Peer, Trial, binary, pong, text};
use crate::reader::Event;
use crate::wire::{self, BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, RSV1, RSV2, TEXT};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = examples();
    cases.extend(forms());
    cases.extend(cuts());
    cases.extend(wrong_bits());
    cases.extend(wrong_data());
    cases.extend([rsv1_on_the_first_only(), mixed(), empty_reply(), many()]);
    cases.extend([client_takeover(), client_takeover_far(), client_no_takeover(), client_window()]);
    cases.extend([server_takeover(), server_no_takeover()]);
    cases.extend(server_windows());
    cases.extend(bombs());
    cases
}

/// The offer that leaves everything to the server.
const PLAIN: &str = "permessage-deflate";

/// A frame with RSV1 set.
fn compressed(opcode: u8, payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(opcode, payload).rsv(RSV1)
}

/// Bytes and the echo that is due for them on a connection with compression, whole and bytewise.
fn echoed(
    id: &'static str,
    section: &'static str,
    sentence: &str,
    frames: &[Vec<u8>],
    events: Vec<Event>,
) -> [Case; 2] {
    let (bytes, events) = (Arc::new(frames.concat()), Arc::new(events));
    let make = |id: String, sentence: String, bytewise: bool| {
        let (bytes, events) = (Arc::clone(&bytes), Arc::clone(&events));
        Case::new(id, section, Level::Must, sentence, move |trial| {
            let mut peer = trial.open_deflate(PLAIN)?;
            peer.send_cut(&bytes, bytewise);
            peer.expect(&events)?;
            peer.expect_alive()
        })
        .needs(Need::Deflate)
        .needs(Need::Echo)
    };
    [
        make(id.to_owned(), sentence.to_owned(), false),
        make(format!("{id}.bytewise"), format!("{sentence} Byte by byte."), true),
    ]
}

/// One compressed text message of `payload`.
fn one(payload: &[u8]) -> [Vec<u8>; 1] {
    [compressed(TEXT, payload).bytes()]
}

/// The examples of RFC 7692 section 7.2.3.
fn examples() -> Vec<Case> {
    let hello = || vec![text("Hello")];
    let rfc = "RFC 7692 7.2.3";
    [
        echoed(
            "deflate/example",
            rfc,
            "The compressed `Hello` of the RFC comes back.",
            &one(b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
            hello(),
        ),
        echoed(
            "deflate/example-fragments",
            rfc,
            "The compressed `Hello` of the RFC in two fragments comes back.",
            &[compressed(TEXT, *b"\xf2\x48\xcd").more().bytes(), wire::end(*b"\xc9\xc9\x07\x00")],
            hello(),
        ),
        echoed(
            "deflate/example-stored",
            rfc,
            "The stored block of the RFC comes back.",
            &one(b"\x00\x05\x00\xfa\xffHello\x00"),
            hello(),
        ),
        echoed(
            "deflate/example-final",
            rfc,
            "The block with BFINAL=1 of the RFC comes back.",
            &one(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
            hello(),
        ),
        echoed(
            "deflate/example-two-blocks",
            rfc,
            "The two blocks of the RFC come back.",
            &one(b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
            hello(),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Forms that a compressed message may have.
fn forms() -> Vec<Case> {
    [
        echoed(
            "deflate/empty",
            "RFC 7692 7.2.3.6",
            "An empty message as one byte 0x00 comes back.",
            &one(b"\x00"),
            vec![text("")],
        ),
        echoed(
            "deflate/empty-fixed",
            "RFC 7692 7.2.3.6",
            "An empty message as an empty fixed block comes back.",
            &one(b"\x02\x00"),
            vec![text("")],
        ),
        echoed(
            "deflate/dynamic",
            "RFC 1951 3.2.7",
            "A block with a dynamic code comes back.",
            &[compressed(TEXT, compress::library(prose().as_bytes())).bytes()],
            vec![text(prose())],
        ),
        echoed(
            "deflate/uncompressed",
            "RFC 7692 6",
            "A message without RSV1 is not inflated.",
            &[wire::text("plain"), wire::binary("\u{2}\u{0}")],
            vec![text("plain"), binary("\u{2}\u{0}")],
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Cuts that a compressed message may have.
fn cuts() -> Vec<Case> {
    let hello = || vec![text("Hello")];
    [
        echoed(
            "deflate/control-between",
            "RFC 7692 6",
            "A Ping between compressed fragments is answered, uncompressed.",
            &[
                compressed(TEXT, *b"\xf2\x48").more().bytes(),
                wire::ping("\u{2}\u{0}"),
                wire::end(*b"\xcd\xc9\xc9\x07\x00"),
            ],
            vec![pong("\u{2}\u{0}"), text("Hello")],
        ),
        echoed(
            "deflate/empty-fragments",
            "RFC 7692 6",
            "Empty fragments of a compressed message are allowed, the first included.",
            &[
                compressed(TEXT, []).more().bytes(),
                wire::middle(*b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
                wire::end(""),
            ],
            hello(),
        ),
        echoed(
            "deflate/character-over-blocks",
            "RFC 6455 8.1",
            "A character may be cut between two blocks.",
            &one(&[&b"\x00\x02\x00\xfd\xff\xe2\x82"[..], b"\x00\x01\x00\xfe\xff\xac\x00"].concat()),
            vec![text("€")],
        ),
        echoed(
            "deflate/every-byte-a-fragment",
            "RFC 7692 6",
            "A compressed message may be cut between any bytes.",
            &b"\xf2\x48\xcd\xc9\xc9\x07\x00"
                .iter()
                .enumerate()
                .map(|(index, byte)| match index {
                    0 => compressed(BINARY, [*byte]).more().bytes(),
                    6 => wire::end([*byte]),
                    _ => wire::middle([*byte]),
                })
                .collect::<Vec<_>>(),
            vec![binary("Hello")],
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What repeats, and has letters of uneven frequency: a compressor makes a dynamic block of it.
fn prose() -> String {
    (0..200)
        .map(|number| {
            format!("quote {number}: bid {}, ask {}; ", number * 7 % 113, number * 11 % 127)
        })
        .collect()
}

/// Bytes after which the server must fail the connection; the three cases of them.
fn fails(
    id: &'static str,
    section: &'static str,
    codes: &'static [u16],
    sentence: &str,
    frames: &[Vec<u8>],
) -> [Case; 3] {
    let bytes = Arc::new(frames.concat());
    let level = if SHOULD.contains(&id) { Level::Should } else { Level::Must };
    let make = |id: String, level, sentence: String, bytewise: bool, why: bool| {
        let bytes = Arc::clone(&bytes);
        Case::new(id, section, level, sentence, move |trial| {
            let mut peer = trial.open_deflate(PLAIN)?;
            peer.send_cut(&bytes, bytewise);
            if !why {
                peer.send(&behind());
            }
            let failure = peer.expect_failure()?;
            if why { expect_code(&failure.close, codes) } else { not_echoed(&bytes, &failure) }
        })
        .needs(Need::Deflate)
    };
    let words = format!("Before the connection goes, {} comes.", close_words(codes));
    [
        make(id.to_owned(), level, sentence.to_owned(), false, false),
        make(format!("{id}.code"), Level::Should, words, false, true),
        make(format!("{id}.bytewise"), level, format!("{sentence} Byte by byte."), true, false),
    ]
}

/// Where no RFC says MUST.
const SHOULD: [&str; 2] = ["deflate/rsv1-close", "deflate/cut-short"];

/// Codes that tell of data which cannot be inflated.
const DATA: &[u16] = &[1007, 1002, 1003];

/// Reserved bits where none may be.
fn wrong_bits() -> Vec<Case> {
    [
        fails(
            "deflate/rsv1-continuation",
            "RFC 7692 6",
            &[1002],
            "RSV1 on a continuation fails the connection.",
            &[
                compressed(TEXT, *b"\xf2\x48").more().bytes(),
                compressed(CONTINUATION, *b"\xcd\xc9\xc9\x07\x00").bytes(),
            ],
        ),
        fails(
            "deflate/rsv1-continuation-of-plain",
            "RFC 7692 6",
            &[1002],
            "RSV1 on the continuation of a plain message fails the connection.",
            &[wire::text_begin("ab"), compressed(CONTINUATION, "cd").bytes()],
        ),
        fails(
            "deflate/rsv1-ping",
            "RFC 7692 6.1",
            &[1002],
            "RSV1 on a Ping fails the connection.",
            &[compressed(PING, "ab").bytes()],
        ),
        fails(
            "deflate/rsv1-pong",
            "RFC 7692 6.1",
            &[1002],
            "RSV1 on a Pong fails the connection.",
            &[compressed(PONG, "ab").bytes()],
        ),
        fails(
            "deflate/rsv1-close",
            "RFC 7692 6.1",
            &[1002],
            "RSV1 on a Close fails the connection.",
            &[compressed(CLOSE, 1000_u16.to_be_bytes()).bytes()],
        ),
        fails(
            "deflate/rsv1-ping-between",
            "RFC 7692 6.1",
            &[1002],
            "RSV1 on a Ping between compressed fragments fails the connection.",
            &[compressed(TEXT, *b"\xf2\x48").more().bytes(), compressed(PING, "ab").bytes()],
        ),
        fails(
            "deflate/rsv2",
            "RFC 6455 5.2",
            &[1002],
            "RSV2 stays reserved.",
            &[Frame::new(TEXT, "ab").rsv(RSV2).bytes()],
        ),
        fails(
            "deflate/rsv1-rsv3",
            "RFC 6455 5.2",
            &[1002],
            "RSV3 beside RSV1 stays reserved.",
            &[Frame::new(TEXT, *b"\xf2\x48\xcd\xc9\xc9\x07\x00").rsv(RSV1 | wire::RSV3).bytes()],
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Payloads that are no compressed data, or not that of a message.
fn wrong_data() -> Vec<Case> {
    [
        fails(
            "deflate/reserved-block",
            "RFC 1951 3.2.3",
            DATA,
            "A block of the reserved type fails the connection.",
            &one(b"\x06\x00"),
        ),
        fails(
            "deflate/stored-length",
            "RFC 1951 3.2.4",
            DATA,
            "A stored block whose length is not confirmed fails the connection.",
            &one(b"\x00\x05\x00\x00\x00Hello\x00"),
        ),
        fails(
            "deflate/distance-too-far",
            "RFC 1951 2",
            DATA,
            "A match that reaches before the first byte fails the connection.",
            &[compressed(
                TEXT,
                compress::fixed(&[Token::Literals(b"ab"), Token::Match { length: 3, distance: 3 }]),
            )
            .bytes()],
        ),
        fails(
            "deflate/bad-utf8",
            "RFC 6455 8.1",
            &[1007],
            "Text that is no UTF-8 once inflated fails the connection.",
            &[compressed(TEXT, compress::fixed(&[Token::Literals(b"ab\xffcd")])).bytes()],
        ),
        fails(
            "deflate/bad-utf8-end",
            "RFC 6455 8.1",
            &[1007],
            "Inflated text that ends within a character fails the connection.",
            &[compressed(TEXT, compress::fixed(&[Token::Literals(b"ab\xe2\x82")])).bytes()],
        ),
        fails(
            "deflate/cut-short",
            "RFC 7692 7.2.2",
            DATA,
            "A message that ends within a block fails the connection.",
            &one(b"\xf2\x48\xcd\xc9"),
        ),
        fails(
            "deflate/noise",
            "RFC 1951 3.2.7",
            DATA,
            "A dynamic block of noise fails the connection.",
            &one(&[0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn rsv1_on_the_first_only() -> Case {
    let sentence = "RSV1 stands on the first frame of a compressed message of the server only.";
    Case::new("deflate/server-rsv1-first-only", "RFC 7692 6", Level::Must, sentence, |trial| {
        let long = prose().repeat(12);
        trial.admits(long.len())?;
        let mut peer = trial.open_deflate(PLAIN)?;
        peer.send(&[wire::text(&*long), wire::ping("p"), wire::text("short")].concat());
        let mut left = vec![text(long), pong("p"), text("short")];
        while !left.is_empty() {
            let next = peer.expect_one_of(&left)?;
            left.remove(next);
        }
        peer.expect_alive()
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}

fn mixed() -> Case {
    let sentence = "Compressed and plain messages in turn come back, with one context.";
    Case::new("deflate/mixed", "RFC 7692 6", Level::Must, sentence, |trial| {
        let mut peer = trial.open_deflate(PLAIN)?;
        for _ in 0..5 {
            let frames = [
                compressed(TEXT, *b"\xf2\x48\xcd\xc9\xc9\x07\x00").bytes(),
                wire::text("plain"),
                compressed(BINARY, compress::library(prose().as_bytes())).bytes(),
            ];
            peer.send(&frames.concat());
            peer.expect(&[text("Hello"), text("plain"), binary(prose())])?;
        }
        Ok(())
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}

fn empty_reply() -> Case {
    let sentence = "The server's own empty message, compressed or not, is empty.";
    Case::new("deflate/server-empty", "RFC 7692 7.2.3.6", Level::Must, sentence, |trial| {
        let mut peer = trial.open_deflate(PLAIN)?;
        for _ in 0..3 {
            peer.send(&[wire::text(""), compressed(BINARY, [0]).bytes(), wire::text("a")].concat());
            peer.expect(&[text(""), binary(""), text("a")])?;
        }
        Ok(())
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}

fn many() -> Case {
    let sentence = "Two hundred compressed messages of all sizes come back in order.";
    Case::new("deflate/many", "RFC 7692 7.2", Level::Must, sentence, |trial| {
        let mut peer = trial.open_deflate("permessage-deflate; client_max_window_bits")?;
        let words = |number: usize| prose()[..number * 17 % 5000].to_owned();
        for number in 0..200 {
            let payload = compress::library(words(number).as_bytes());
            peer.send(&compressed(TEXT, payload).bytes());
            peer.expect(&[text(words(number))])?;
        }
        Ok(())
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}

/// Whether the client may lean on its earlier messages, by what was agreed.
fn needs_takeover(peer: &Peer<'_>) -> Outcome {
    if peer.reader.deflate.is_some_and(|agreed| agreed.client_takeover) {
        return Ok(());
    }
    skip("the server insists on client_no_context_takeover")
}

fn client_takeover() -> Case {
    let sentence = "A message that leans on the one before it, as in the RFC, comes back.";
    Case::new("deflate/client-takeover", "RFC 7692 7.2.3.2", Level::Must, sentence, |trial| {
        let mut peer = trial.open_deflate(PLAIN)?;
        needs_takeover(&peer)?;
        for payload in [&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], b"\xf2\x00\x11\x00\x00"] {
            peer.send(&compressed(TEXT, payload).bytes());
            peer.expect(&[text("Hello")])?;
        }
        Ok(())
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}

fn client_takeover_far() -> Case {
    let sentence = "A message may lean on what lies the whole window back, over other messages.";
    Case::new("deflate/client-takeover-far", "RFC 7692 7.1.2.2", Level::Must, sentence, |trial| {
        trial.admits(20_000)?;
        let mut peer = trial.open_deflate(PLAIN)?;
        needs_takeover(&peer)?;
        let far = far_match(15);
        peer.send(&compressed(BINARY, compress::stored(&far[..20_000])).bytes());
        peer.send(&compressed(BINARY, compress::stored(&far[20_000..])).bytes());
        peer.send(&wire::text("plain, and no part of the window"));
        let back = compress::fixed(&[Token::Match { length: 258, distance: 32_768 }]);
        peer.send(&compressed(BINARY, back).bytes());
        peer.expect(&[
            binary(&far[..20_000]),
            binary(&far[20_000..]),
            text("plain, and no part of the window"),
            binary(&far[..258]),
        ])
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}

/// As many bytes as a window of `bits` holds, hardly repeating.
fn far_match(bits: u8) -> Vec<u8> {
    let step = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(99_u32), step)
        .map(|state| state.to_be_bytes()[0])
        .take(1 << bits)
        .collect()
}

fn client_no_takeover() -> Case {
    let sentence =
        "Where the answer says client_no_context_takeover, no message may lean on another.";
    Case::new("deflate/client-no-takeover", "RFC 7692 7.1.1.2", Level::Advice, sentence, |trial| {
        let mut peer = trial.open_deflate("permessage-deflate; client_no_context_takeover")?;
        if needs_takeover(&peer).is_ok() {
            return skip("the server does not insist on client_no_context_takeover");
        }
        peer.send(&compressed(TEXT, *b"\xf2\x48\xcd\xc9\xc9\x07\x00").bytes());
        if trial.subject.facts.echo {
            peer.expect(&[text("Hello")])?;
        }
        peer.send(&compressed(TEXT, *b"\xf2\x00\x11\x00\x00").bytes());
        peer.expect_failure().map(|_| ())
    })
    .needs(Need::Deflate)
}

fn client_window() -> Case {
    let sentence = "A client may use all of the window that client_max_window_bits leaves it.";
    Case::new("deflate/client-window", "RFC 7692 7.1.2.2", Level::Must, sentence, |trial| {
        trial.admits((1 << 15) + 258)?;
        for bits in 9..=15 {
            let offer = format!("permessage-deflate; client_max_window_bits={bits}");
            let mut peer = trial.open_deflate(&offer)?;
            let agreed = peer.reader.deflate.map_or(15, |agreed| agreed.client_bits).min(bits);
            let far = far_match(agreed);
            let distance = u16::try_from(far.len()).unwrap_or(u16::MAX);
            let tokens = [Token::Literals(&far), Token::Match { length: 258, distance }];
            peer.send(&compressed(BINARY, compress::fixed(&tokens)).bytes());
            peer.expect(&[binary([&far[..], &far[..258]].concat())])?;
        }
        Ok(())
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}

fn server_takeover() -> Case {
    let sentence = "What the server compresses, leaning on earlier messages or not, can be read.";
    Case::new("deflate/server-takeover", "RFC 7692 7.2.1", Level::Must, sentence, |trial| {
        let mut peer = trial.open_deflate(PLAIN)?;
        for number in 0..20 {
            let words = format!("{}{number}", prose());
            peer.send(&wire::text(&*words));
            peer.expect(&[text(words)])?;
        }
        Ok(())
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}

fn server_no_takeover() -> Case {
    let sentence = "With server_no_context_takeover each message of the server can be read alone.";
    Case::new("deflate/server-no-takeover", "RFC 7692 7.1.1.1", Level::Must, sentence, |trial| {
        let mut peer = trial.open_deflate("permessage-deflate; server_no_context_takeover")?;
        for _ in 0..5 {
            peer.send(&wire::text(prose()));
            peer.expect(&[text(prose())])?;
        }
        Ok(())
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}

/// The text repeats at a distance beyond the window, where a compressor that ignores it reaches.
fn server_windows() -> Vec<Case> {
    const IDS: [(u8, &str); 7] = [
        (8, "deflate/server-window-8"),
        (9, "deflate/server-window-9"),
        (10, "deflate/server-window-10"),
        (11, "deflate/server-window-11"),
        (12, "deflate/server-window-12"),
        (13, "deflate/server-window-13"),
        (14, "deflate/server-window-14"),
    ];
    let case = |(bits, id): (u8, &'static str)| {
        let window = 1 << bits;
        let sentence = format!(
            "With server_max_window_bits={bits} no match reaches back more than {window} bytes."
        );
        Case::new(id, "RFC 7692 7.1.2.1", Level::Must, sentence, move |trial| {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            trial.admits((2 << bits) + 40)?;
            let mut peer = trial.open_deflate(&offer)?;
            let block: String =
                far_match(bits).iter().map(|byte| char::from(b'!' + byte % 90)).collect();
            let words = format!("{block}{}{block}", "-".repeat(40));
            for _ in 0..3 {
                peer.send(&wire::text(&*words));
                peer.expect(&[text(&*words)])?;
            }
            Ok(())
        })
        .needs(Need::Deflate)
        .needs(Need::Echo)
    };
    IDS.into_iter().map(case).collect()
}

/// Little that becomes much: the limit holds for what was inflated (RFC 6455 section 10.4).
fn bombs() -> Vec<Case> {
    let at_limit = "A compressed message that inflates to exactly the limit comes back.";
    let at_limit = Case::new("deflate/inflated-at-limit", TEN, Level::Must, at_limit, |trial| {
        inflated(trial, trial.subject.message_max.unwrap_or_default())
    });
    let at_limit = at_limit.needs(Need::Deflate).needs(Need::MessageLimit).needs(Need::Echo);
    let much = |limit: usize| limit.max(1 << 20) * 16;
    let over = "A message that inflates to one byte over the limit fails the connection.";
    let bomb = "A bomb of a thousand to one fails the connection.";
    let pieces = "A bomb in ten fragments fails the connection.";
    [
        too_much("deflate/inflated-over-limit", over, 1, |limit| limit + 1),
        too_much("deflate/bomb", bomb, 1, much),
        too_much("deflate/bomb-in-fragments", pieces, 10, much),
    ]
    .into_iter()
    .flatten()
    .chain([at_limit])
    .collect()
}

const TEN: &str = "RFC 6455 10.4";

fn too_much(
    id: &'static str,
    sentence: &str,
    pieces: usize,
    size: fn(usize) -> usize,
) -> [Case; 2] {
    let make = |id: String, level, sentence: &str, codes: &'static [u16]| {
        Case::new(id, TEN, level, sentence, move |trial| {
            let mut peer = trial.open_deflate(PLAIN)?;
            peer.send(&bomb(size(trial.subject.message_max.unwrap_or_default()), pieces));
            let failure = peer.expect_failure()?;
            if codes.is_empty() { Ok(()) } else { expect_code(&failure.close, codes) }
        })
        .needs(Need::Deflate)
        .needs(Need::MessageLimit)
    };
    let why = "Before the connection goes, Close 1009 comes.";
    [
        make(id.to_owned(), Level::Must, sentence, &[]),
        make(format!("{id}.code"), Level::Should, why, &[1009]),
    ]
}

fn inflated(trial: &Trial<'_>, size: usize) -> Outcome {
    let mut peer = trial.open_deflate(PLAIN)?;
    peer.send(&bomb(size, 1));
    match peer.expect(&[binary(vec![0; size])]) {
        Ok(()) => peer.expect_alive(),
        Err(stop) => miss(format!("the echo of {size} zeros"), format!("{stop:?}")),
    }
}

/// A message of `zeros`, compressed, in `pieces` frames.
fn bomb(zeros: usize, pieces: usize) -> Vec<u8> {
    let payload = compress::library(&vec![0; zeros]);
    let size = payload.len().div_ceil(pieces);
    let mut out = Vec::new();
    for (index, piece) in payload.chunks(size).enumerate() {
        let frame =
            if index == 0 { compressed(BINARY, piece) } else { Frame::new(CONTINUATION, piece) };
        let is_last = (index + 1) * size >= payload.len();
        out.extend(if is_last { frame.bytes() } else { frame.more().bytes() });
    }
    out
}
