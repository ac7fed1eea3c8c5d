//! A search for a capacity in words: a line for each run, and one for what was found.

use super::Report;
use super::words::{microseconds, rounded};
use crate::capacity::{Capacity, Search, Vary, why_not};

/// A run of a search in a line.
#[must_use]
pub fn step(value: f64, report: &Report) -> String {
    let result = &report.result;
    let p99 = result.latency.as_ref().map_or_else(|| "-".to_owned(), |it| microseconds(it.p99_us));
    let rate = result.messages_per_second.map_or_else(|| "-".to_owned(), rounded);
    let verdict = why_not(report).map_or_else(|| "held".to_owned(), |why| format!("broke: {why}"));
    let limit = if result.saturated.is_empty() { "" } else { " (the generator was the limit)" };
    format!("{:>10}: {rate} messages/s, p99 {p99}: {verdict}{limit}", rounded(value))
}

/// What a search found, in a sentence.
#[must_use]
pub fn capacity(search: &Search, found: &Capacity) -> String {
    let unit = match search.vary {
        Vary::Rate => "a second",
        Vary::Connections => "connections",
    };
    let Some((best, _)) = &found.best else {
        let why = found.broken.as_ref().map_or("the generator was the limit", |(_, why)| why);
        return format!("no load held: {why}");
    };
    let best = rounded(*best);
    match &found.broken {
        _ if found.generator_was_limit => {
            format!("at least {best} {unit}: beyond it the generator itself was the limit")
        }
        Some((broken, why)) => format!("{best} {unit}; at {} it broke: {why}", rounded(*broken)),
        None => format!("at least {best} {unit}: no larger load was tried"),
    }
}
