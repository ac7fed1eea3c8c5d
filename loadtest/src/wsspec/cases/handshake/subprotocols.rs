//! Subprotocols: which one an answer names.

use crate::case::{Case, Level, Need, miss};
use crate::request::Request;

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

pub(super) fn cases() -> Vec<Case> {
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
