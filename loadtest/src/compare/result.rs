//! A comparison's result as data: what JSON has, and what the table and the page are made of.
//!
//! Every run keeps its own figures, so that a reader can do with them what a summary does not. The
//! version is of this form alone; the rules are those of [`crate::report`]: a field may be added
//! under the same number, and units are the last word of a name.

use serde::{Deserialize, Serialize};

use super::{Comparison, Cpus, Machine, Server, Workload};
use crate::load::Work;
use crate::report::Report;

/// The version of [`Compared`].
pub const SCHEMA: u32 = 1;

/// A comparison and its result.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Compared {
    /// [`SCHEMA`] of the program that wrote it.
    pub schema: u32,
    /// Name and version of that program.
    pub generator: String,
    /// `comparison`.
    pub kind: String,
    /// Where it was made.
    pub machine: Machine,
    /// How it was made.
    pub settings: Settings,
    /// Whether it was ended before its time.
    pub interrupted: bool,
    /// Whether every server had figures in every round.
    pub ok: bool,
    /// Each workload, with a row for each server.
    pub workloads: Vec<WorkloadResult>,
}

/// How a comparison was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// How often each workload was to meet each server.
    pub rounds: usize,
    /// The cores of the servers, if they were pinned.
    pub server_cpus: Option<Cpus>,
    /// The cores of the generator, if it was pinned.
    pub client_cpus: Option<Cpus>,
}

/// One workload's result.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkloadResult {
    /// Its name.
    pub name: String,
    /// What the clients did.
    pub scenario: String,
    /// Clients.
    pub connections: usize,
    /// Length of the stages that count.
    pub seconds: f64,
    /// What servers are compared by.
    pub measure: Measure,
    /// One for each server, in the order asked for.
    pub rows: Vec<Row>,
}

/// What servers are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Measure {
    /// CPU time of the server for each message, in microseconds.
    CpuUs,
    /// Memory of the server for each connection, in bytes.
    MemoryBytes,
}

/// One server under one workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Row {
    /// The server.
    pub server: String,
    /// Its command, with `{address}` left.
    pub command: String,
    /// One for each round that it was in.
    pub runs: Vec<Run>,
    /// All rounds that have figures; `None` if none has.
    pub summary: Option<Summary>,
}

/// One server under one workload in one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Run {
    /// The round, from 1.
    pub round: usize,
    /// Its place among all runs of the comparison, from 1.
    pub place: usize,
    /// What was measured.
    pub figures: Option<Figures>,
    /// Or why nothing was.
    pub failure: Option<Failure>,
}

/// What a run measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Figures {
    /// Right messages in the stages that count; for `connect` handshakes.
    pub messages: u64,
    /// How long these took.
    pub seconds: f64,
    /// The one by the other.
    pub messages_per_second: f64,
    /// Share of the messages that were due and did not come because a newer value had replaced theirs.
    #[serde(default)]
    pub merged_share: Option<f64>,
    /// CPU time of the server and of the kernel's threads for software interrupts on its cores, a
    /// message.
    pub cpu_us: Option<f64>,
    /// The server's part in user space.
    pub user_us: Option<f64>,
    /// The server's part in the kernel, with the software interrupts that ran on its account.
    pub system_us: Option<f64>,
    /// The part of the kernel's threads for software interrupts.
    pub ksoftirqd_us: Option<f64>,
    /// Software interrupts on the server's cores, whoever ran at the time, a message; most of it is
    /// in `system_us` too.
    pub softirq_us: Option<f64>,
    /// Share of the time for which the server was ready to run and other work had its core.
    #[serde(default)]
    pub server_wait_share: Option<f64>,
    /// Times that the server waited for something or was taken off its core, a message.
    #[serde(default)]
    pub switches: Option<f64>,
    /// Memory that a connection added before the first message.
    pub memory_bytes: Option<f64>,
    /// Of the cores: 1 is one.
    pub server_cores: f64,
    /// Half of the latencies were at most this.
    pub p50_us: Option<f64>,
    /// 99 of 100 were.
    pub p99_us: Option<f64>,
    /// CPU time of the generator a message.
    pub client_us: Option<f64>,
    /// How the generator was the limit; rate and latency are its own then.
    pub client_limits: Vec<String>,
}

/// Why a run has no figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// What happened.
    pub words: String,
    /// The last that the server wrote.
    pub output: String,
}

/// The rounds of a row together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Rounds with figures.
    pub rounds: usize,
    /// Those in which the generator was the limit.
    pub client_limited: usize,
    /// See [`Figures`], as all that follow.
    pub cpu_us: Option<Spread>,
    /// Median.
    pub user_us: Option<f64>,
    /// Median.
    pub system_us: Option<f64>,
    /// Median.
    pub ksoftirqd_us: Option<f64>,
    /// Median.
    pub softirq_us: Option<f64>,
    /// Median.
    #[serde(default)]
    pub server_wait_share: Option<f64>,
    /// Median.
    #[serde(default)]
    pub switches: Option<f64>,
    /// For each connection.
    pub memory_bytes: Option<Spread>,
    /// Throughput.
    pub messages_per_second: Spread,
    /// Median; only where something was merged.
    #[serde(default)]
    pub merged_share: Option<f64>,
    /// Median.
    #[serde(default)]
    pub server_cores: Option<f64>,
    /// Latency.
    pub p50_us: Option<Spread>,
    /// Latency.
    pub p99_us: Option<Spread>,
    /// That latency over the first server's in the same round.
    #[serde(default)]
    pub p50_ratio: Option<Spread>,
    /// That latency over the first server's in the same round.
    #[serde(default)]
    pub p99_ratio: Option<Spread>,
    /// What the workload is compared by, over that of the first server in the same round: the
    /// median, least and most of the rounds in which both have it.
    pub ratio: Option<Spread>,
}

/// Median, least and most of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of the rounds had at most this.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Compared {
    pub(super) fn new(comparison: &Comparison, machine: Machine) -> Self {
        let result = |workload: &Workload| WorkloadResult::new(workload, &comparison.servers);
        Self {
            schema: SCHEMA,
            generator: concat!("tickwire-load ", env!("CARGO_PKG_VERSION")).to_owned(),
            kind: "comparison".to_owned(),
            machine,
            settings: Settings {
                rounds: comparison.rounds,
                server_cpus: comparison.placement.server.clone(),
                client_cpus: comparison.placement.client.clone(),
            },
            interrupted: false,
            ok: false,
            workloads: comparison.workloads.iter().map(result).collect(),
        }
    }

    pub(super) fn add(&mut self, workload: usize, server: usize, mut run: Run) {
        let runs = self.workloads.iter().flat_map(|it| &it.rows).map(|row| row.runs.len());
        run.place = runs.sum::<usize>() + 1;
        self.workloads[workload].rows[server].runs.push(run);
    }

    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    pub(super) fn note_load(&mut self) {
        self.machine.note_load();
    }

    /// The same with its summaries.
    pub(super) fn complete(mut self) -> Self {
        for workload in &mut self.workloads {
            workload.summarize();
        }
        let mut rows = self.workloads.iter().flat_map(|it| &it.rows);
        let all = self.settings.rounds;
        self.ok = rows.all(|row| row.summary.as_ref().is_some_and(|it| it.rounds == all));
        self
    }
}

impl WorkloadResult {
    fn new(workload: &Workload, servers: &[Server]) -> Self {
        let row = |server: &Server| Row {
            server: server.name.clone(),
            // It was checked before.
            command: workload.command(server).unwrap_or_default(),
            runs: Vec::new(),
            summary: None,
        };
        let load = &workload.load;
        let counted = load.stages.iter().filter(|stage| !stage.warm_up);
        Self {
            name: workload.name.clone(),
            scenario: load.scenario().to_owned(),
            connections: load.connections,
            seconds: counted.map(|stage| stage.duration.as_secs_f64()).sum(),
            measure: if load.work == Work::Idle { Measure::MemoryBytes } else { Measure::CpuUs },
            rows: servers.iter().map(row).collect(),
        }
    }

    fn summarize(&mut self) {
        let measure = self.measure;
        let first = self.rows[0].runs.clone();
        for row in &mut self.rows {
            row.summary = row.summarize(&first, measure);
        }
    }
}

impl Row {
    fn figures(&self) -> impl Iterator<Item = &Figures> {
        self.runs.iter().filter_map(|run| run.figures.as_ref())
    }

    /// The rounds together, with ratios to the runs of the `first` server.
    fn summarize(&self, first: &[Run], measure: Measure) -> Option<Summary> {
        let spread = |of: fn(&Figures) -> Option<f64>| Spread::of(self.figures().filter_map(of));
        let median = |of: fn(&Figures) -> Option<f64>| spread(of).map(|spread| spread.median);
        let ratio = |of: fn(&Figures) -> Option<f64>| {
            let value = |run: &Run| of(run.figures.as_ref()?);
            let ratios = self.runs.iter().filter_map(|run| {
                let first = first.iter().find(|first| first.round == run.round).and_then(value)?;
                (first > 0.0).then_some(value(run)? / first)
            });
            Spread::of(ratios)
        };
        Some(Summary {
            rounds: self.figures().count(),
            client_limited: self.figures().filter(|it| !it.client_limits.is_empty()).count(),
            cpu_us: spread(|it| it.cpu_us),
            user_us: median(|it| it.user_us),
            system_us: median(|it| it.system_us),
            ksoftirqd_us: median(|it| it.ksoftirqd_us),
            softirq_us: median(|it| it.softirq_us),
            server_wait_share: median(|it| it.server_wait_share),
            switches: median(|it| it.switches),
            memory_bytes: spread(|it| it.memory_bytes),
            messages_per_second: spread(|it| Some(it.messages_per_second))?,
            merged_share: median(|it| it.merged_share),
            server_cores: median(|it| Some(it.server_cores)),
            p50_us: spread(|it| it.p50_us),
            p99_us: spread(|it| it.p99_us),
            p50_ratio: ratio(|it| it.p50_us),
            p99_ratio: ratio(|it| it.p99_us),
            ratio: ratio(measure.figure()),
        })
    }
}

impl Measure {
    fn figure(self) -> fn(&Figures) -> Option<f64> {
        match self {
            Self::CpuUs => |figures| figures.cpu_us,
            Self::MemoryBytes => |figures| figures.memory_bytes,
        }
    }
}

impl Run {
    pub(super) const fn of(figures: Figures) -> Self {
        Self { round: 0, place: 0, figures: Some(figures), failure: None }
    }

    pub(super) const fn failed(failure: Failure) -> Self {
        Self { round: 0, place: 0, figures: None, failure: Some(failure) }
    }
}

impl Failure {
    pub(super) fn new(words: impl Into<String>, output: &str) -> Self {
        Self { words: words.into(), output: output.trim_end().to_owned() }
    }
}

impl Figures {
    /// The figures of a run that was right; else what was wrong.
    pub(super) fn of(report: &Report) -> Result<Self, String> {
        let result = &report.result;
        if let Some(error) = result.errors.first() {
            let total = result.errors_total;
            return Err(format!("{total} errors, the first {}: {}", error.kind, error.example));
        }
        let (resumed, opened) = (result.connections_resumed, result.connections_opened);
        // Those that begin before any has ended find no ticket.
        let full_max = report.config.connections + opened / 10;
        if report.config.resume && opened - resumed > full_max {
            return Err(format!("{resumed} of {opened} handshakes took up an earlier session"));
        }
        let server = result.server.as_ref();
        let server = server.filter(|_| result.ok).ok_or("nothing came")?;
        let per_message =
            |value: f64| (result.messages > 0).then(|| value / result.messages as f64);
        let each = |seconds: f64| per_message(seconds * 1e6);
        let switches = server.voluntary_switches + server.involuntary_switches;
        // Whole ticks say how the exact time divides, and nothing finer.
        let ticks = server.cpu_user_seconds + server.cpu_system_seconds;
        let part = |part: f64| if ticks > 0.0 { server.cpu_seconds * part / ticks } else { 0.0 };
        let due = (result.messages + result.merged) as f64;
        let at = |name: &str| result.latency.as_ref()?.named(name);
        Ok(Self {
            messages: result.messages,
            seconds: result.duration_seconds,
            messages_per_second: result.messages_per_second.unwrap_or_default(),
            merged_share: (result.merged > 0).then(|| result.merged as f64 / due),
            cpu_us: server.cpu_per_message_us,
            user_us: each(part(server.cpu_user_seconds)),
            system_us: each(part(server.cpu_system_seconds)),
            ksoftirqd_us: each(server.ksoftirqd_seconds),
            softirq_us: each(server.softirq_seconds),
            server_wait_share: server.wait_share,
            switches: per_message(switches as f64),
            memory_bytes: server.rss_per_connection_bytes,
            server_cores: server.cores,
            p50_us: at("p50"),
            p99_us: at("p99"),
            client_us: result.client.cpu_per_message_us,
            client_limits: result.saturated.iter().map(ToString::to_string).collect(),
        })
    }
}

impl Spread {
    /// Of these values; `None` without any.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::Duration;

    use crate::compare::Placement;
    use crate::load::Load;

    fn figures(cpu_us: f64) -> Figures {
        Figures {
            messages: 1_000,
            seconds: 1.0,
            messages_per_second: 1_000.0 / cpu_us,
            merged_share: None,
            cpu_us: Some(cpu_us),
            user_us: Some(cpu_us / 4.0),
            system_us: Some(cpu_us * 0.75),
            ksoftirqd_us: Some(0.0),
            softirq_us: Some(0.0),
            server_wait_share: Some(0.25),
            switches: Some(0.5),
            memory_bytes: Some(100.0),
            server_cores: 0.5,
            p50_us: Some(10.0),
            p99_us: Some(cpu_us * cpu_us),
            client_us: Some(1.0),
            client_limits: Vec::new(),
        }
    }

    /// Two servers in three rounds, of which the second fails in the last.
    pub(in crate::compare) fn compared() -> Compared {
        let target = "ws://127.0.0.1:1/".parse().unwrap();
        let work = Work::Echo { size: crate::Size::Fixed(20), depth: 1 };
        let load = Load::new(target, work, 1, Duration::from_secs(1));
        let servers = vec![Server::new("one", "serve <one>"), Server::new("two", "serve two")];
        let mut comparison = Comparison::new(servers, vec![Workload::new("echo", load)]);
        comparison.placement = Placement::default();
        let mut compared = Compared::new(&comparison, Machine::read());
        let mut add = |round, server, mut run: Run| {
            run.round = round;
            compared.add(0, server, run);
        };
        for (round, one, two) in [(1, 2.0, 4.0), (2, 4.0, 6.0)] {
            add(round, 0, Run::of(figures(one)));
            let mut limited = figures(two);
            limited.client_limits.push("it used 95 % of its core".to_owned());
            add(round, 1, Run::of(limited));
        }
        add(3, 0, Run::of(figures(3.0)));
        add(3, 1, Run::failed(Failure::new("the server ended", "panicked <here>\n")));
        compared.complete()
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_a_failed_round_has_none() {
        let compared = compared();
        assert!(!compared.ok);
        let rows = &compared.workloads[0].rows;
        let (one, two) = (rows[0].summary.as_ref().unwrap(), rows[1].summary.as_ref().unwrap());
        assert_eq!(one.cpu_us, Some(Spread { median: 3.0, min: 2.0, max: 4.0 }));
        assert_eq!(one.ratio, Some(Spread { median: 1.0, min: 1.0, max: 1.0 }));
        // Not 5.0 / 3.0, which is what the medians would say.
        assert_eq!(two.ratio, Some(Spread { median: 1.75, min: 1.5, max: 2.0 }));
        // The first of a round's latencies is 4, then 16; the other's 16, then 36.
        assert_eq!(two.p99_ratio, Some(Spread { median: 3.125, min: 2.25, max: 4.0 }));
        assert_eq!(two.p50_ratio, Some(Spread { median: 1.0, min: 1.0, max: 1.0 }));
        assert_eq!((two.rounds, two.client_limited), (2, 2));
        let failure = rows[1].runs[2].failure.as_ref().unwrap();
        assert_eq!(failure.output, "panicked <here>");
        let places: Vec<usize> = rows[0].runs.iter().map(|run| run.place).collect();
        assert_eq!(places, [1, 3, 5]);
    }

    #[test]
    fn a_comparison_is_the_same_from_json() {
        let text = serde_json::to_string(&compared()).unwrap();
        let again: Compared = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}
