//! Cases of agreeing on permessage-deflate (RFC 7692 sections 5 and 7.1).
//!
//! Every answer is checked by `answer`: it may hold only parameters that exist, each once, in
//! range, and `client_max_window_bits` only if it was offered. An offer that means nothing is to be
//! declined, which is a 101 without the extension; taking it with other values in its place, as if
//! it had been right, is the classic mistake.

use crate::answer::{Answer, Deflate};
use crate::case::{Case, Level, Need, Outcome, Stop, miss, skip};
use crate::peer::{Trial, text};
use crate::wire;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = declined();
    cases.extend(accepted());
    cases.extend(accepted_bounds());
    cases.extend(windows());
    cases.extend([several(), two_lines(), fallback(), empty_value(), still_open()]);
    cases
}

/// The answer to `offers`, one line each, and what was agreed.
fn negotiate(trial: &Trial<'_>, offers: &[&str]) -> Result<(Answer, Option<Deflate>), Stop> {
    let request = offers.iter().fold(trial.subject.request(), |request, offer| {
        request.add("Sec-WebSocket-Extensions", offer)
    });
    let mut peer = trial.connect()?;
    peer.send(&request.bytes());
    let answer = peer.answer()?;
    if answer.status != 101 {
        return miss("101, with the extension or without", answer);
    }
    match answer.deflate(Some(&offers.join(", "))) {
        Ok(agreed) => Ok((answer, agreed)),
        Err(error) => miss("only parameters that are right and were offered", error),
    }
}

/// Offers that no server may take (RFC 7692 section 7.1): name, offer, what is wrong with it.
#[rustfmt::skip]
const DECLINED: [(&str, &str, &str); 14] = [
    ("negotiation/unknown-parameter", "x_unknown", "an unknown parameter"),
    ("negotiation/parameter-twice", "server_no_context_takeover; server_no_context_takeover", "a parameter twice"),
    ("negotiation/bits-twice", "server_max_window_bits=10; server_max_window_bits=12", "server_max_window_bits twice"),
    ("negotiation/server-bits-7", "server_max_window_bits=7", "server_max_window_bits=7"),
    ("negotiation/server-bits-16", "server_max_window_bits=16", "server_max_window_bits=16"),
    ("negotiation/server-bits-08", "server_max_window_bits=08", "a leading zero"),
    ("negotiation/server-bits-0", "server_max_window_bits=0", "server_max_window_bits=0"),
    ("negotiation/server-bits-words", "server_max_window_bits=ten", "bits that are no number"),
    ("negotiation/server-bits-without-value", "server_max_window_bits", "server_max_window_bits without a value"),
    ("negotiation/client-bits-7", "client_max_window_bits=7", "client_max_window_bits=7"),
    ("negotiation/client-bits-16", "client_max_window_bits=16", "client_max_window_bits=16"),
    ("negotiation/client-bits-huge", "client_max_window_bits=4294967305", "bits that only make sense once they are cut"),
    ("negotiation/server-takeover-value", "server_no_context_takeover=1", "a value for server_no_context_takeover"),
    ("negotiation/client-takeover-value", "client_no_context_takeover=1", "a value for client_no_context_takeover"),
];

/// Refusing the whole handshake is no way to decline, but it does not take the offer either.
fn declined() -> Vec<Case> {
    let of = |(id, parameters, what): (&'static str, &'static str, &str)| {
        let make = |id: String, level, sentence: String, is_refusal_right: bool| {
            Case::new(id, "RFC 7692 7.1", level, sentence, move |trial| {
                let offer = format!("{PLAIN}; {parameters}");
                let request = trial.subject.request().add(EXTENSIONS, offer);
                let mut peer = trial.connect()?;
                peer.send(&request.bytes());
                let answer = peer.answer()?;
                let is_declined = answer.status == 101 && answer.values(EXTENSIONS).is_empty();
                if is_declined || (is_refusal_right && answer.status == 400) {
                    return Ok(());
                }
                miss("101 without the extension", answer)
            })
            .needs(Need::Deflate)
        };
        let (not, open) = (
            format!("An offer with {what} is not taken."),
            format!("An offer with {what} is declined by 101 without the extension, not by 400."),
        );
        [
            make(id.to_owned(), Level::Must, not, true),
            make(format!("{id}.status"), Level::Should, open, false),
        ]
    };
    DECLINED.into_iter().flat_map(of).collect()
}

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// The offer without parameters.
const PLAIN: &str = "permessage-deflate";

/// An offer that a server may take, and what must then be agreed.
fn agrees(
    id: &'static str,
    section: &'static str,
    sentence: &str,
    parameters: &'static str,
    check: fn(&Deflate) -> bool,
) -> Case {
    Case::new(id, section, Level::Must, sentence, move |trial| {
        let offer = format!("{PLAIN}{parameters}");
        let (answer, agreed) = negotiate(trial, &[&offer])?;
        match agreed {
            Some(agreed) if check(&agreed) => Ok(()),
            Some(_) => miss(format!("what answers `{offer}`"), answer),
            None => skip(format!("the server declines `{offer}`")),
        }
    })
    .needs(Need::Deflate)
}

fn accepted() -> Vec<Case> {
    vec![
        agrees(
            "negotiation/plain",
            "RFC 7692 7",
            "The plain offer is answered with right parameters only.",
            "",
            |agreed| agreed.client_bits == 15,
        ),
        agrees(
            "negotiation/browser",
            "RFC 7692 7.1.2.2",
            "The offer that browsers make is answered with right parameters.",
            "; client_max_window_bits",
            |agreed| agreed.client_bits >= 8,
        ),
        agrees(
            "negotiation/server-no-takeover",
            "RFC 7692 7.1.1.1",
            "server_no_context_takeover, once accepted, stands in the answer.",
            "; server_no_context_takeover",
            |agreed| !agreed.server_takeover,
        ),
        agrees(
            "negotiation/client-no-takeover",
            "RFC 7692 7.1.1.2",
            "client_no_context_takeover may be offered as a hint.",
            "; client_no_context_takeover",
            |_| true,
        ),
    ]
}

fn accepted_bounds() -> Vec<Case> {
    vec![
        agrees(
            "negotiation/client-bits-10",
            "RFC 7692 7.1.2.2",
            "client_max_window_bits=10 is answered by at most 10, or not at all.",
            "; client_max_window_bits=10",
            |agreed| agreed.client_bits <= 10 || agreed.client_bits == 15,
        ),
        agrees(
            "negotiation/all-parameters",
            "RFC 7692 7.1",
            "An offer with all four parameters is answered within its bounds.",
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; client_max_window_bits=12",
            |agreed| !agreed.server_takeover && agreed.server_bits <= 12,
        ),
        agrees(
            "negotiation/quoted-bits",
            "RFC 6455 9.1",
            "A quoted value means the same as the bare one.",
            "; server_max_window_bits=\"10\"",
            |agreed| agreed.server_bits <= 10,
        ),
        agrees(
            "negotiation/spaces",
            "RFC 6455 9.1",
            "Spaces around separators mean nothing.",
            " ;  server_max_window_bits=10 ",
            |agreed| agreed.server_bits <= 10,
        ),
    ]
}

fn windows() -> Vec<Case> {
    const IDS: [(u8, &str); 8] = [
        (8, "negotiation/server-bits-8"),
        (9, "negotiation/server-bits-9"),
        (10, "negotiation/server-bits-10"),
        (11, "negotiation/server-bits-11"),
        (12, "negotiation/server-bits-12"),
        (13, "negotiation/server-bits-13"),
        (14, "negotiation/server-bits-14"),
        (15, "negotiation/server-bits-15"),
    ];
    let case = |(bits, id): (u8, &'static str)| {
        let sentence =
            format!("server_max_window_bits={bits}, once accepted, is answered by at most {bits}.");
        Case::new(id, "RFC 7692 7.1.2.1", Level::Must, sentence, move |trial| {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let (answer, agreed) = negotiate(trial, &[&offer])?;
            match agreed {
                Some(agreed) if agreed.server_bits > bits => {
                    miss(format!("at most {bits}"), answer)
                }
                // Without the parameter in it the answer does not accept it, unless 15 was meant.
                Some(_) if !answer.to_string().contains("server_max_window_bits") && bits < 15 => {
                    miss("server_max_window_bits in the answer", answer)
                }
                Some(_) => Ok(()),
                None => skip(format!("the server declines `{offer}`")),
            }
        })
        .needs(Need::Deflate)
    };
    IDS.into_iter().map(case).collect()
}

fn several() -> Case {
    let sentence = "Behind an unknown extension the offer of permessage-deflate is taken.";
    Case::new("negotiation/behind-unknown", "RFC 6455 9.1", Level::Should, sentence, |trial| {
        taken(trial, &["x-unknown; a=1, permessage-deflate"])
    })
    .needs(Need::Deflate)
}

fn two_lines() -> Case {
    let sentence = "Offers over two lines are one list.";
    Case::new("negotiation/two-lines", "RFC 6455 9.1", Level::Must, sentence, |trial| {
        taken(trial, &["x-unknown", "permessage-deflate"])
    })
    .needs(Need::Deflate)
}

fn taken(trial: &Trial<'_>, offers: &[&str]) -> Outcome {
    let (answer, agreed) = negotiate(trial, offers)?;
    if agreed.is_some() { Ok(()) } else { miss("permessage-deflate in the answer", answer) }
}

fn fallback() -> Case {
    let sentence = "After an offer that must be declined the next one is taken.";
    Case::new("negotiation/fallback", "RFC 7692 5", Level::Should, sentence, |trial| {
        taken(trial, &["permessage-deflate; server_max_window_bits=7, permessage-deflate"])
    })
    .needs(Need::Deflate)
}

fn empty_value() -> Case {
    let sentence = "`server_max_window_bits=\"\"` is declined, or refused as bad grammar.";
    Case::new("negotiation/server-bits-empty", "RFC 7692 7.1", Level::Must, sentence, |trial| {
        let mut peer = trial.connect()?;
        let offer = "permessage-deflate; server_max_window_bits=\"\"";
        peer.send(&trial.subject.request().add("Sec-WebSocket-Extensions", offer).bytes());
        let answer = peer.answer()?;
        let has_it = !answer.values("Sec-WebSocket-Extensions").is_empty();
        if answer.status == 400 || (answer.status == 101 && !has_it) {
            return Ok(());
        }
        miss("101 without the extension, or 400", answer)
    })
    .needs(Need::Deflate)
}

fn still_open() -> Case {
    let sentence = "When every offer is declined the connection works, without compression.";
    Case::new("negotiation/declined-and-open", "RFC 7692 5.1", Level::Should, sentence, |trial| {
        let request = trial
            .subject
            .request()
            .add("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=99");
        let mut peer = trial.open_with(&request)?;
        if peer.reader.deflate.is_some() {
            return miss("no extension in the answer", "permessage-deflate");
        }
        peer.send(&wire::text("plain".repeat(100)));
        peer.expect(&[text("plain".repeat(100))])?;
        peer.expect_alive()
    })
    .needs(Need::Deflate)
    .needs(Need::Echo)
}
