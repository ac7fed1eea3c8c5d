//! A search for a capacity in words: how it goes, a line for each run, and what was found.

use super::Report;
use super::words::{microseconds, rounded};
use crate::capacity::{Search, SearchStep, Searched, Vary, Verdict};
use crate::threshold::Threshold;

/// What is searched, and how, before the first run.
#[must_use]
pub fn searching(search: &Search, conditions: &[Threshold]) -> String {
    let (from, to) = (rounded(search.from), rounded(search.to));
    let bounds: Vec<String> = conditions.iter().map(ToString::to_string).collect();
    let bounds = match bounds.is_empty() {
        true => String::new(),
        false => format!(", and not {}", bounds.join(", ")),
    };
    format!(
        "the most {} with no error, nothing unsent{bounds}: from {from} on doubled until it breaks, at \
         most {to}, then halved to {:.0} %; every run begins afresh",
        unit(search.vary),
        search.precision * 100.0
    )
}

/// A run of a search in a line.
#[must_use]
pub fn step(step: &SearchStep) -> String {
    let p99 = step.p99_us.map_or_else(|| "-".to_owned(), microseconds);
    let rate = step.messages_per_second.map_or_else(|| "-".to_owned(), rounded);
    let verdict = match &step.verdict {
        Verdict::Held => "held".to_owned(),
        Verdict::Broke(why) => format!("broke: {why}"),
        Verdict::GeneratorLimit(why) => {
            format!("says nothing, the generator was the limit: {why}")
        }
    };
    format!("{:>10}: {rate} messages/s, p99 {p99}: {verdict}", rounded(step.load))
}

/// What a search found, in a sentence.
#[must_use]
pub fn capacity(search: &Search, searched: &Searched) -> String {
    let unit = unit(search.vary);
    let Some(held) = searched.held.map(rounded) else {
        return match searched.ceiling.as_ref().map(|step| &step.verdict) {
            Some(Verdict::Broke(why)) => format!("no load held: {why}"),
            Some(Verdict::GeneratorLimit(why)) => {
                format!("nothing was found, because the generator itself was the limit: {why}")
            }
            _ => "nothing was found before the search was ended".to_owned(),
        };
    };
    match &searched.ceiling {
        None => format!("at least {held} {unit}: no larger load was tried"),
        Some(SearchStep { load, verdict, .. }) => {
            let load = rounded(*load);
            match verdict {
                Verdict::GeneratorLimit(why) => format!(
                    "at least {held} {unit}, and perhaps more: at {load} the generator itself was the \
                     limit: {why}"
                ),
                Verdict::Broke(why) => format!("{held} {unit}; at {load} it broke: {why}"),
                Verdict::Held => format!("{held} {unit}"),
            }
        }
    }
}

/// What to do where the generator was the limit; nothing if it was not.
#[must_use]
pub fn capacity_advice(searched: &Searched, report: &Report) -> Option<&'static str> {
    let is_closed_echo = report.scenario == "echo" && report.config.model == "closed";
    let advice = match searched.vary {
        Some(Vary::Connections) if is_closed_echo => {
            "a closed loop drives either side to its limit: give --rate, which stays, and search the \
             connections that hold it"
        }
        _ => "give the generator a core of its own, or --processes on several",
    };
    searched.generator_was_limit().then_some(advice)
}

const fn unit(vary: Vary) -> &'static str {
    match vary {
        Vary::Rate => "messages a second",
        Vary::Connections => "connections",
    }
}
