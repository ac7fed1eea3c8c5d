//! A comparison as a table of plain text, and a run as a line.

use std::fmt::Write as _;

use super::{Compared, Failure, Measure, Row, Run, Spread, Summary, WorkloadResult};
use crate::report::{microseconds, rounded, significant};

/// The result as a table of plain text: a block for each workload, a line for each server, and what
/// went wrong below.
#[must_use]
pub fn table(compared: &Compared) -> String {
    let mut text = heading(compared);
    for workload in &compared.workloads {
        text.push('\n');
        text.push_str(&block(workload));
    }
    text.push('\n');
    for note in notes(compared) {
        writeln!(text, "{note}").expect("writing to a String cannot fail");
    }
    for (workload, row, run, failure) in failures(compared) {
        let (workload, server, round) = (&workload.name, &row.server, run.round);
        writeln!(text, "FAILED: {server}, {workload}, round {round}: {}", failure.words)
            .expect("writing to a String cannot fail");
        for line in failure.output.lines() {
            writeln!(text, "    | {line}").expect("writing to a String cannot fail");
        }
    }
    text
}

/// A run as a line of progress.
#[must_use]
pub fn line(run: &Run) -> String {
    match (&run.figures, &run.failure) {
        (Some(figures), _) => {
            let rate = rounded(figures.messages_per_second);
            let cost = match (figures.cpu_us, figures.memory_bytes) {
                (Some(cpu), _) => format!("{} of CPU a message, {rate}/s", microseconds(cpu)),
                (None, Some(memory)) => format!("{} bytes a connection", rounded(memory)),
                (None, None) => "nothing to measure".to_owned(),
            };
            let limited = if figures.client_limits.is_empty() { "" } else { " *" };
            format!("{cost}{limited}")
        }
        (None, Some(failure)) => format!("FAILED: {}", failure.words),
        (None, None) => "not made".to_owned(),
    }
}

/// How and where it was made.
pub(super) fn heading(compared: &Compared) -> String {
    let super::Machine { cpu, cores, kernel, congestion_control, load } = &compared.machine;
    let settings = &compared.settings;
    let pinned = |cpus: &Option<super::Cpus>| match cpus {
        Some(cpus) => format!("core {cpus}"),
        None => "any core".to_owned(),
    };
    let load: Vec<String> = load.iter().map(|load| format!("{load:.1}")).collect();
    format!(
        "{cores} cores of {cpu}, {kernel}, {congestion_control}; load {}\n\
         {} rounds, each begun by another server; servers on {}, generator on {}\n",
        load.join(" "),
        settings.rounds,
        pinned(&settings.server_cpus),
        pinned(&settings.client_cpus)
    )
}

/// What a reader must know.
pub(super) fn notes(compared: &Compared) -> Vec<String> {
    let mut notes = vec![
        "Medians over rounds, (least..most). The ratio is to the first server in the same round, and \
         its interval the least and the most of these ratios."
            .to_owned(),
    ];
    let summaries = || {
        let rows = compared.workloads.iter().flat_map(|it| &it.rows);
        rows.filter_map(|row| row.summary.as_ref())
    };
    if summaries().any(|it| it.cpu_us.is_some()) {
        notes.push(
            "CPU is the server's own, user and system, and that of the kernel's softirq threads on its \
             cores, a message. Softirq is the part of it that went into software interrupts, counted \
             on those cores whoever ran at the time. Waited is the share of the time for which the \
             server was ready to run and had no core, switches are context switches a message, and cores is \
             the server's CPU by the time that passed."
                .to_owned(),
        );
    }
    if summaries().any(|it| it.p99_ratio.is_some()) {
        notes.push(
            "The ratios behind p50 and p99 are those of the latency, taken in the same way."
                .to_owned(),
        );
    }
    if summaries().any(|it| it.merged_share.is_some()) {
        notes.push(
            "Merged is the share of what was published for a client that did not come to it because a \
             newer value had; a message is one that came."
                .to_owned(),
        );
    }
    if summaries().any(|it| it.client_limited > 0) {
        notes.push(
            "* The generator was the limit in that many rounds: rate and latency are its own, CPU a \
             message holds."
                .to_owned(),
        );
    }
    if compared.interrupted {
        notes.push("It was ended before its time.".to_owned());
    }
    notes
}

/// Every run without figures, and why.
pub(super) fn failures<'a>(
    compared: &'a Compared,
) -> impl Iterator<Item = (&'a WorkloadResult, &'a Row, &'a Run, &'a Failure)> {
    compared.workloads.iter().flat_map(|workload| {
        workload.rows.iter().flat_map(move |row| {
            let failed = move |run: &'a Run| Some((workload, row, run, run.failure.as_ref()?));
            row.runs.iter().filter_map(failed)
        })
    })
}

fn block(workload: &WorkloadResult) -> String {
    let WorkloadResult { name, seconds, measure, rows, .. } = workload;
    let unit = measure.unit();
    let width = rows.iter().map(|row| row.server.chars().count()).max().unwrap_or(0).max(6);
    let mut text = format!("{name} ({seconds:.1} s a run)\n");
    writeln!(
        text,
        "{:width$}  {unit:>8} {:>16}  {:>5} {:>16}  {:>6} {:>6} {:>7} {:>6} {:>8} {:>6}  {:>11} {:>8} {:>5} {:>8} {:>5} {:>16}",
        "server",
        "(least..most)",
        "ratio",
        "(interval)",
        "user",
        "system",
        "softirq",
        "waited",
        "switches",
        "cores",
        "messages/s",
        "p50",
        "ratio",
        "p99",
        "ratio",
        "(interval)"
    )
    .expect("writing to a String cannot fail");
    for row in rows {
        let line = match &row.summary {
            Some(summary) => cells(summary, *measure, row.runs.len()),
            None if row.runs.is_empty() => "not measured".to_owned(),
            None => "FAILED, see below".to_owned(),
        };
        writeln!(text, "{:width$}  {line}", row.server).expect("writing to a String cannot fail");
    }
    text
}

fn cells(summary: &Summary, measure: Measure, rounds: usize) -> String {
    let median = |spread: Option<Spread>, show: fn(f64) -> String| {
        spread.map_or_else(|| "–".to_owned(), |spread| show(spread.median))
    };
    let one = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), significant);
    let measured = measure.spread(summary);
    format!(
        "{:>8} {:>16}  {:>5} {:>16}  {:>6} {:>6} {:>7} {:>6} {:>8} {:>6}  {:>11} {:>8} {:>5} {:>8} {:>5} {:>16}{}",
        median(measured, measure.show()),
        interval(measured, measure.show()),
        median(summary.ratio, ratio),
        interval(summary.ratio, ratio),
        one(summary.user_us),
        one(summary.system_us),
        one(summary.softirq_us),
        waited(summary),
        one(summary.switches),
        one(summary.server_cores),
        rounded(summary.messages_per_second.median),
        median(summary.p50_us, microseconds),
        median(summary.p50_ratio, ratio),
        median(summary.p99_us, microseconds),
        median(summary.p99_ratio, ratio),
        interval(summary.p99_ratio, ratio),
        marks(summary, rounds)
    )
}

impl Measure {
    /// What stands over the column.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::CpuUs => "CPU µs",
            Self::MemoryBytes => "bytes",
        }
    }

    pub(super) fn spread(self, summary: &Summary) -> Option<Spread> {
        match self {
            Self::CpuUs => summary.cpu_us,
            Self::MemoryBytes => summary.memory_bytes,
        }
    }

    pub(super) fn show(self) -> fn(f64) -> String {
        match self {
            Self::CpuUs => significant,
            Self::MemoryBytes => rounded,
        }
    }
}

pub(super) fn interval(spread: Option<Spread>, show: fn(f64) -> String) -> String {
    spread.map_or_else(String::new, |it| format!("({}..{})", show(it.min), show(it.max)))
}

/// The share of the time for which the server waited for its core.
pub(super) fn waited(summary: &Summary) -> String {
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    summary.server_wait_share.map_or_else(|| "–".to_owned(), share)
}

pub(super) fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// What was merged away, and the marks of rounds that the generator limited or that have no figures.
pub(super) fn marks(summary: &Summary, runs: usize) -> String {
    let rounds = summary.rounds;
    let mut marks = match summary.client_limited {
        0 => String::new(),
        limited => format!(" *{limited}/{rounds}"),
    };
    if let Some(share) = summary.merged_share {
        write!(marks, " merged {:.1} %", share * 100.0).expect("writing to a String cannot fail");
    }
    if rounds < runs {
        write!(marks, " failed {}/{runs}", runs - rounds).expect("writing to a String cannot fail");
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::compared;
    use super::*;

    #[test]
    fn the_table_has_each_server_its_ratio_and_what_failed() {
        let table = table(&compared());
        let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(row("one ").contains("3.00     (2.00..4.00)   1.00"), "{table}");
        assert!(row("two ").contains("1.75     (1.50..2.00)"), "{table}");
        assert!(row("two ").contains("3.12     (2.25..4.00)"), "{table}");
        assert!(row("two ").ends_with("*2/2 failed 1/3") && !row("one ").contains('*'), "{table}");
        assert!(table.contains("FAILED: two, echo, round 3: the server ended"), "{table}");
        assert!(table.contains("    | panicked <here>"), "{table}");
    }
}
