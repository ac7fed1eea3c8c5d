//! Runs beside each other, each figure with its ratio to the first run's.
//!
//! Two runs tell a difference only if it is larger than what runs of the same server differ by: the
//! table has no opinion on that.

use std::fmt::Write as _;

use super::Report;
use super::words::{microseconds, rounded, significant};
use crate::plan::Ramp;

/// A table of plain text: a column for each run, a row for each figure that one of them has.
#[must_use]
pub fn compare(reports: &[(String, Report)]) -> String {
    let mut table = String::new();
    let heads: Vec<String> = reports.iter().map(|(name, _)| shortened(name)).collect();
    row(&mut table, "", &heads);
    for figure in FIGURES {
        let values: Vec<Option<f64>> =
            reports.iter().map(|(_, report)| (figure.of)(report)).collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let first = values.first().copied().flatten();
        let cell = |(index, value): (usize, &Option<f64>)| {
            let Some(value) = value else { return "-".to_owned() };
            let shown = (figure.show)(*value);
            match first.filter(|first| index > 0 && *first > 0.0) {
                Some(first) => format!("{shown} ({:.2}×)", value / first),
                None => shown,
            }
        };
        let cells: Vec<String> = values.iter().enumerate().map(cell).collect();
        row(&mut table, figure.name, &cells);
    }
    for (name, report) in reports {
        for saturation in &report.result.saturated {
            writeln!(table, "note: in {name} the generator itself was the limit: {saturation}")
                .expect("writing to a String cannot fail");
        }
    }
    if let Some((name, first)) = reports.first() {
        for (other, report) in &reports[1..] {
            let differences = differences(first, report);
            if !differences.is_empty() {
                let differences = differences.join(", ");
                writeln!(table, "note: {other} did not do the same as {name}: {differences}")
                    .expect("writing to a String cannot fail");
            }
        }
    }
    table
}

/// What was asked for otherwise in the second run.
fn differences(first: &Report, second: &Report) -> Vec<String> {
    let asked = |Report { scenario, config, .. }: &Report| {
        let rates: Vec<String> =
            config.stages.iter().filter_map(|stage| stage.rate).map(words_of_rate).collect();
        [
            ("scenario", scenario.clone()),
            ("model", config.model.clone()),
            ("connections", config.connections.to_string()),
            ("size", config.size.clone().unwrap_or_default()),
            ("depth", config.depth.map_or_else(String::new, |depth| depth.to_string())),
            ("topics", config.topics.map_or_else(String::new, |topics| topics.to_string())),
            ("rate", rates.join(" ")),
            ("deflate", format!("{:?}", config.deflate).to_lowercase()),
        ]
    };
    let pairs = asked(first).into_iter().zip(asked(second));
    let differ = pairs.filter(|((_, one), (_, other))| one != other);
    differ.map(|((name, one), (_, other))| format!("{name} {other}, not {one}")).collect()
}

fn words_of_rate(rate: Ramp) -> String {
    match rate {
        Ramp { from, to } if from == to => rounded(from),
        Ramp { from, to } => format!("{}..{}", rounded(from), rounded(to)),
    }
}

/// A figure of a report.
struct Figure {
    name: &'static str,
    of: fn(&Report) -> Option<f64>,
    show: fn(f64) -> String,
}

const FIGURES: &[Figure] = &[
    Figure { name: "messages/s", of: |it| it.result.messages_per_second, show: rounded },
    Figure {
        name: "merged away",
        of: |it| (it.result.merged > 0).then_some(it.result.merged as f64),
        show: rounded,
    },
    Figure { name: "latency p50", of: |it| at(it, "p50"), show: microseconds },
    Figure { name: "latency p90", of: |it| at(it, "p90"), show: microseconds },
    Figure { name: "latency p99", of: |it| at(it, "p99"), show: microseconds },
    Figure { name: "latency p99.9", of: |it| at(it, "p99.9"), show: microseconds },
    Figure { name: "latency max", of: |it| at(it, "max"), show: microseconds },
    Figure {
        name: "server µs/message",
        of: |it| it.result.server.as_ref()?.cpu_per_message_us,
        show: significant,
    },
    Figure {
        name: "server cores",
        of: |it| it.result.server.as_ref().map(|server| server.cores),
        show: significant,
    },
    Figure {
        name: "server bytes/connection",
        of: |it| it.result.server.as_ref()?.rss_per_connection_bytes,
        show: rounded,
    },
    Figure {
        name: "server MB at the end",
        of: |it| it.result.server.as_ref().map(|server| server.rss_end_bytes as f64 / 1e6),
        show: significant,
    },
    Figure {
        name: "client µs/message",
        of: |it| it.result.client.cpu_per_message_us,
        show: significant,
    },
    Figure { name: "errors", of: |it| Some(it.result.errors_total as f64), show: rounded },
];

fn at(report: &Report, name: &str) -> Option<f64> {
    report.result.latency.as_ref()?.named(name)
}

fn row(table: &mut String, name: &str, cells: &[String]) {
    write!(table, "{name:<24}").expect("writing to a String cannot fail");
    for cell in cells {
        write!(table, " {cell:>24}").expect("writing to a String cannot fail");
    }
    table.push('\n');
}

/// The last characters of a name, which tell files apart.
fn shortened(name: &str) -> String {
    let length = name.chars().count();
    match length.checked_sub(NAME_MAX) {
        Some(over @ 1..) => format!("…{}", name.chars().skip(over + 1).collect::<String>()),
        _ => name.to_owned(),
    }
}

/// As wide as a cell.
const NAME_MAX: usize = 24;
