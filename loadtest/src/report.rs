//! The result of a run in words: a table for people, JSON for programs.
//!
//! Both say the same. The JSON has a version: a field may be added under the same number, but none
//! changes its meaning or goes without a new one. Units are the last word of a field's name.
//!
//! Latencies have three significant digits, since the histogram has no more.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::fault::Faults;
use crate::load::{Load, Outcome, Work};
use crate::measure::{CORE_SHARE_MAX, Measured};

/// The version of [`Report`].
pub const SCHEMA: u32 = 1;

/// A run and its result, as JSON has it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    schema: u32,
    generator: &'static str,
    scenario: &'static str,
    config: Config,
    result: Results,
}

#[derive(Debug, Clone, Serialize)]
struct Config {
    url: String,
    connections: usize,
    duration_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    protocols: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Results {
    ok: bool,
    interrupted: bool,
    connections_opened: usize,
    connections_failed: usize,
    connections_lost: usize,
    connecting_seconds: f64,
    duration_seconds: f64,
    messages: u64,
    payload_bytes: u64,
    messages_per_second: f64,
    megabytes_per_second: f64,
    latency: Latency,
    client_cpu: ClientCpu,
    errors_total: u64,
    errors: Vec<Error>,
}

#[derive(Debug, Clone, Serialize)]
struct Latency {
    count: u64,
    mean_us: f64,
    min_us: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p99_9_us: f64,
    max_us: f64,
}

#[derive(Debug, Clone, Serialize)]
struct ClientCpu {
    seconds: f64,
    per_message_us: Option<f64>,
    /// Of one core, 0 to 1.
    core_share: f64,
    /// Of the duration, 0 to 1: ready to run, but other work had the core.
    wait_share: Option<f64>,
    generator_was_limit: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Error {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    count: u64,
    example: String,
    advice: &'static str,
}

impl Report {
    /// The report of a run.
    #[must_use]
    pub fn new(load: &Load, outcome: &Outcome) -> Self {
        let (size_bytes, depth) = match load.work {
            Work::Echo { size, depth } => (Some(size), Some(depth)),
            Work::Fanout => (None, None),
        };
        Self {
            schema: SCHEMA,
            generator: concat!("tickwire-load ", env!("CARGO_PKG_VERSION")),
            scenario: load.work.name(),
            config: Config {
                url: load.target.to_string(),
                connections: load.connections,
                duration_seconds: load.duration.as_secs_f64(),
                size_bytes,
                depth,
                protocols: load.protocols.clone(),
            },
            result: Results::new(outcome),
        }
    }
}

impl Results {
    fn new(outcome: &Outcome) -> Self {
        let Outcome { connections, measured, faults, .. } = outcome;
        Self {
            ok: outcome.is_flawless(),
            interrupted: outcome.interrupted,
            connections_opened: connections.opened,
            connections_failed: connections.failed,
            connections_lost: connections.lost,
            connecting_seconds: outcome.connecting.as_secs_f64(),
            duration_seconds: measured.window.duration as f64 / 1e9,
            messages: measured.window.messages,
            payload_bytes: measured.window.bytes,
            messages_per_second: measured.messages_per_second(),
            megabytes_per_second: measured.megabytes_per_second(),
            latency: Latency::new(measured),
            client_cpu: ClientCpu {
                seconds: measured.window.cpu as f64 / 1e9,
                per_message_us: measured.cpu_microseconds_per_message(),
                core_share: measured.core_share(),
                wait_share: measured.wait_share(),
                generator_was_limit: measured.generator_was_limit(),
            },
            errors_total: faults.total(),
            errors: errors(faults),
        }
    }
}

impl Latency {
    fn new(measured: &Measured) -> Self {
        let histogram = &measured.latency;
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        // An empty histogram's minimum is its upper bound.
        let min = if histogram.is_empty() { 0 } else { histogram.min() };
        Self {
            count: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            min_us: min as f64 / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

fn errors(faults: &Faults) -> Vec<Error> {
    let error = |(fault, occurrence): (crate::Fault, &crate::Occurrence)| Error {
        kind: fault.name(),
        code: fault.code(),
        count: occurrence.count,
        example: occurrence.example.clone(),
        advice: fault.advice(),
    };
    faults.iter().map(error).collect()
}

/// The report as a table of plain text, about ten lines and two for each kind of error.
#[must_use]
pub fn table(load: &Load, outcome: &Outcome) -> String {
    let Outcome { connections, measured, .. } = outcome;
    let mut rows = Rows::default();
    rows.row(load.work.name(), &format!("{}, {}", load.target, clients(load)));
    rows.row(
        "connections",
        &format!(
            "{} opened in {}, {} failed, {} lost",
            grouped(connections.opened as u64),
            duration(outcome.connecting),
            grouped(connections.failed as u64),
            grouped(connections.lost as u64)
        ),
    );
    let seconds = measured.window.duration as f64 / 1e9;
    let early = if outcome.interrupted { " (interrupted)" } else { "" };
    rows.row("duration", &format!("{seconds:.2} s{early}"));
    rows.row("messages", &grouped(measured.window.messages));
    rows.row(
        "throughput",
        &format!(
            "{} messages/s, {:.2} MB/s",
            rounded(measured.messages_per_second()),
            measured.megabytes_per_second()
        ),
    );
    rows.row("latency", &percentiles(measured));
    rows.row("client CPU", &client_cpu(measured));
    rows.errors(&outcome.faults);
    for note in notes(load, outcome) {
        rows.row("note", &note);
    }
    rows.0
}

/// What a reader must know before the figures are believed.
fn notes(load: &Load, outcome: &Outcome) -> Vec<String> {
    let Outcome { measured, faults, .. } = outcome;
    let mut notes = Vec::new();
    if measured.generator_was_limit() {
        notes.push(format!(
            "the generator itself was the limit (above {:.0} % of a core); figures describe it, \
             not the server",
            CORE_SHARE_MAX * 100.0
        ));
    }
    if let Some(share) = measured.wait_share().filter(|_| measured.was_disturbed()) {
        notes.push(format!(
            "other work on this machine, perhaps the server, kept the generator waiting for a core \
             {:.0} % of the time; figures describe that, too",
            share * 100.0
        ));
    }
    if measured.window.messages == 0 && faults.total() == 0 && !outcome.interrupted {
        notes.push(silence(load.work).to_owned());
    }
    notes
}

/// Lines with a name in front.
#[derive(Default)]
struct Rows(String);

impl Rows {
    fn row(&mut self, name: &str, text: &str) {
        writeln!(self.0, "{name:<12} {text}").expect("writing to a String cannot fail");
    }

    fn errors(&mut self, faults: &Faults) {
        let total = match faults.total() {
            0 => "none".to_owned(),
            total => grouped(total),
        };
        self.row("errors", &total);
        for (fault, occurrence) in faults.iter() {
            let count = grouped(occurrence.count);
            self.row("", &format!("{count} × {fault}, e.g. {}", occurrence.example));
            self.row("", &format!("    {}", fault.advice()));
        }
    }
}

fn clients(load: &Load) -> String {
    let connections = grouped(load.connections as u64);
    match load.work {
        Work::Echo { size, depth } => format!(
            "{connections} clients, messages of {} bytes, {depth} on their way each",
            grouped(size as u64)
        ),
        Work::Fanout => format!("{connections} clients"),
    }
}

fn percentiles(measured: &Measured) -> String {
    if measured.latency.is_empty() {
        return "none measured".to_owned();
    }
    let latency = Latency::new(measured);
    let named = [
        ("p50", latency.p50_us),
        ("p90", latency.p90_us),
        ("p99", latency.p99_us),
        ("p99.9", latency.p99_9_us),
        ("max", latency.max_us),
    ];
    named
        .map(|(name, us)| format!("{name} {}", duration(Duration::from_secs_f64(us / 1e6))))
        .join("  ")
}

fn client_cpu(measured: &Measured) -> String {
    let share = measured.core_share() * 100.0;
    match measured.cpu_microseconds_per_message() {
        Some(cost) => format!("{} µs a message, {share:.0} % of one core", significant(cost)),
        None => format!("{share:.0} % of one core"),
    }
}

/// What to look for when all went well but nothing came.
const fn silence(work: Work) -> &'static str {
    match work {
        Work::Echo { .. } => "no echo came in time: try a longer --duration",
        Work::Fanout => "nothing was published: does the server begin on the text message `start`?",
    }
}

/// A duration with three significant digits in the unit that fits.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let us = duration.as_secs_f64() * 1e6;
    match us {
        _ if us < 999.5 => format!("{} µs", significant(us)),
        _ if us < 999_500.0 => format!("{} ms", significant(us / 1e3)),
        _ => format!("{} s", significant(us / 1e6)),
    }
}

/// Three significant digits, at least for numbers from 0.01 on.
fn significant(number: f64) -> String {
    match number {
        _ if number < 0.995 => format!("{number:.3}"),
        _ if number < 9.995 => format!("{number:.2}"),
        _ if number < 99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// A number with a comma between each three digits.
#[must_use]
pub fn grouped(number: u64) -> String {
    group(&number.to_string())
}

/// A number that is not negative, rounded and grouped.
#[must_use]
pub fn rounded(number: f64) -> String {
    group(&format!("{number:.0}"))
}

fn group(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (25_123, "25,123"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn durations_keep_three_digits_in_the_unit_that_fits() {
        for (us, text) in [
            (0.0, "0.000 µs"),
            (3.417, "3.42 µs"),
            (391.4, "391 µs"),
            (999.6, "1.00 ms"),
            (12_345.0, "12.3 ms"),
            (2_100_000.0, "2.10 s"),
            (100_000_000.0, "100 s"),
        ] {
            assert_eq!(duration(Duration::from_secs_f64(us / 1e6)), text);
        }
    }
}
