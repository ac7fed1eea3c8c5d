//! Origins that are not admitted, and paths that are not served.

use super::refused;
use crate::case::{Case, Level, Need};

pub(super) fn cases() -> Vec<Case> {
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
