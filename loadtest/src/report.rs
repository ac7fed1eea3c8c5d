//! The result of a run as data, and the ways to show it.
//!
//! [`Report`] is what JSON has; the table, the HTML page and comparisons are made of it and of
//! nothing else, so whatever they say can be said again from a file. It has a version: a field may
//! be added under the same number, but none changes its meaning or goes without a new one. Units are
//! the last word of a field's name.
//!
//! Latencies have three significant digits, since the histogram has no more. A run in which the
//! generator was the limit keeps its counts and costs, but its rate and latency are withheld unless
//! they are asked for: they would be taken for the server's.

mod chart;
mod compare;
mod hdr;
mod html;
mod latency;
mod steps;
mod table;
mod words;

use serde::{Deserialize, Serialize};

use crate::abuse::Attacked;
use crate::capacity::Searched;
use crate::fault::Faults;
use crate::health::{Saturation, saturations};
use crate::load::{Deflate, Load, Outcome, Work};
use crate::measure::{Measured, Point, Sends, StageMeasured};
use crate::pace::Arrivals;
use crate::plan::{Ramp, Stage};
use crate::server::ServerUse;
use crate::target::Target;
use crate::threshold::{Checked, Threshold};

pub(crate) use chart::escaped;
pub use compare::compare;
pub use hdr::hdr_log;
pub use html::html;
pub(crate) use html::page;
pub use latency::Latency;
pub use steps::{capacity, capacity_advice, searching, step};
pub use table::table;
pub(crate) use words::microseconds;
pub use words::{duration, grouped, rounded, significant};

/// The version of [`Report`].
pub const SCHEMA: u32 = 2;

/// A run and its result, as JSON has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`] of the program that wrote it.
    pub schema: u32,
    /// Name and version of that program.
    pub generator: String,
    /// What the clients did.
    pub scenario: String,
    /// What was asked for.
    pub config: Config,
    /// What came out.
    pub result: Results,
    /// Conditions that must not be met, and how they fared.
    #[serde(default)]
    pub checks: Vec<Checked>,
    /// What attacks came to, each beside the stage of its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attacks: Vec<Attacked>,
    /// The search for a capacity that this run was the best of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Searched>,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Config {
    /// The servers.
    pub urls: Vec<String>,
    /// Clients.
    pub connections: usize,
    /// Length of all stages.
    pub duration_seconds: f64,
    /// `open`: messages leave at intended times; `closed`: when answers come.
    pub model: String,
    /// In the open model, how messages follow each other.
    pub arrivals: Option<Arrivals>,
    /// Payload sizes in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Messages that a client keeps on their way; the most in the open model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Topics that there are, if clients subscribe to some of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<usize>,
    /// How many of them each client has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics_of_each: Option<usize>,
    /// The stages.
    pub stages: Vec<StageConfig>,
    /// Subprotocols offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<String>,
    /// What the clients do with permessage-deflate: `off`, `receive` or `both`.
    #[serde(default)]
    pub deflate: Deflate,
    /// Whether the clients take up sessions of TLS again.
    #[serde(default)]
    pub resume: bool,
}

/// A stage that was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StageConfig {
    /// Its name.
    pub name: String,
    /// Its length.
    pub duration_seconds: f64,
    /// Messages a second.
    pub rate: Option<Ramp>,
    /// Connections.
    pub connections: Option<Ramp>,
    /// Whether it is left out of the summary.
    pub warm_up: bool,
}

/// What came out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Results {
    /// No error, and at least one message.
    pub ok: bool,
    /// The run was ended before its time.
    pub interrupted: bool,
    /// How the generator was the limit; empty if it was not.
    pub saturated: Vec<Saturation>,
    /// Whether rate and latency are left out for that reason.
    pub withheld: bool,
    /// Handshakes that were completed.
    pub connections_opened: usize,
    /// Connections that could not be opened.
    pub connections_failed: usize,
    /// Open connections that ended before we closed them.
    pub connections_lost: usize,
    /// Handshakes that agreed on permessage-deflate.
    #[serde(default)]
    pub connections_deflated: usize,
    /// Handshakes whose TLS took up an earlier session.
    #[serde(default)]
    pub connections_resumed: usize,
    /// How long it took to open those that were open at the start.
    pub connecting_seconds: f64,
    /// How long the stages that count took.
    pub duration_seconds: f64,
    /// Right messages that came in that time.
    pub messages: u64,
    /// Messages that were not to come because a newer value had replaced theirs.
    #[serde(default)]
    pub merged: u64,
    /// Payload bytes of the messages that came.
    pub payload_bytes: u64,
    /// All bytes that came in that time, as they were on the wire.
    #[serde(default)]
    pub wire_bytes: u64,
    /// Both by time; the second in 10^6 bytes.
    pub messages_per_second: Option<f64>,
    /// Payload, in 10^6 bytes a second.
    pub megabytes_per_second: Option<f64>,
    /// From the intended time in the open model, else from the sending.
    pub latency: Option<Latency>,
    /// In the open model, from the sending.
    pub latency_raw: Option<Latency>,
    /// In the open model, how messages left.
    pub sends: Option<SendCounts>,
    /// What the generator cost.
    pub client: Client,
    /// What the run cost the server, if it was watched.
    #[serde(default)]
    pub server: Option<ServerUse>,
    /// What the server did to clients that were bad on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub treatment: Vec<Treated>,
    /// Each stage by itself.
    pub stages: Vec<StageResult>,
    /// The run over time.
    pub points: Vec<PointResult>,
    /// Errors of all kinds.
    pub errors_total: u64,
    /// Errors by kind.
    pub errors: Vec<Error>,
}

/// How messages of the open model left.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SendCounts {
    /// Messages sent.
    pub sent: u64,
    /// Left late for want of the generator's time.
    pub late: u64,
    /// Waited until answers made room.
    pub held: u64,
    /// Were due and never left.
    pub unsent: u64,
}

/// What the generator itself cost, and how it fared.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Client {
    /// Processes that made the load.
    pub generators: u32,
    /// CPU time of their loops.
    pub cpu_seconds: f64,
    /// The same for each message.
    pub cpu_per_message_us: Option<f64>,
    /// Of one core for each, 0 to 1.
    pub core_share: f64,
    /// Of the duration, 0 to 1: ready to run, but other work had the core.
    pub wait_share: Option<f64>,
    /// Resident memory of all generators at the end of the last stage.
    #[serde(default)]
    pub rss_bytes: u64,
    /// How long turns of the loop took.
    pub loop_lag: Option<Latency>,
}

/// A stage's figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StageResult {
    /// Its name.
    pub name: String,
    /// Whether it is left out of the summary.
    pub warm_up: bool,
    /// How long it took.
    pub duration_seconds: f64,
    /// Right messages that came in it.
    pub messages: u64,
    /// The same by time.
    pub messages_per_second: Option<f64>,
    /// Latencies of those messages.
    pub latency: Option<Latency>,
    /// The same from the sending, in the open model.
    pub latency_raw: Option<Latency>,
}

/// A short time of the run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PointResult {
    /// Its end, from the start of the first stage.
    pub at_seconds: f64,
    /// Connections open then.
    pub open: usize,
    /// Messages a second in it.
    pub messages_per_second: f64,
    /// Median latency; 0 without a message.
    pub p50_us: f64,
    /// 99 of 100 were at most this.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// What the server did to one kind of bad client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Treated {
    /// The kind: `slow`, `stalled` or `restless`.
    pub clients: String,
    /// How the connection ended, as errors are named.
    pub end: String,
    /// How often.
    pub count: u64,
}

impl Treated {
    fn new(((clients, end), count): (&(String, String), &u64)) -> Self {
        Self { clients: clients.clone(), end: end.clone(), count: *count }
    }
}

/// Errors of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Error {
    /// The kind's name.
    pub kind: String,
    /// The HTTP status or Close code that belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// How many.
    pub count: u64,
    /// The first one.
    pub example: String,
    /// What can be done about it.
    pub advice: String,
}

impl Report {
    /// The report of a run, complete.
    #[must_use]
    pub fn new(load: &Load, outcome: &Outcome) -> Self {
        Self {
            schema: SCHEMA,
            generator: concat!("tickwire-load ", env!("CARGO_PKG_VERSION")).to_owned(),
            scenario: load.scenario().to_owned(),
            config: Config::new(load),
            result: Results::new(load, outcome),
            checks: Vec::new(),
            attacks: Vec::new(),
            search: None,
        }
    }

    /// The same with these conditions checked; whether one failed the run is in [`Report::checks`].
    #[must_use]
    pub fn check(mut self, thresholds: &[Threshold]) -> Self {
        self.checks = thresholds.iter().map(|threshold| threshold.check(&self)).collect();
        self
    }

    /// The same as the report of an abuse run.
    #[must_use]
    pub fn with_attacks(mut self, attacks: Vec<Attacked>) -> Self {
        "abuse".clone_into(&mut self.scenario);
        self.attacks = attacks;
        self
    }

    /// The same as the best run of this search.
    #[must_use]
    pub fn with_search(mut self, searched: Searched) -> Self {
        self.search = Some(searched);
        self
    }

    /// The same without rate and latency if the generator was the limit.
    #[must_use]
    pub fn withhold_saturated(mut self) -> Self {
        if !self.result.saturated.is_empty() {
            self.result.withhold();
        }
        self
    }
}

impl Config {
    fn new(load: &Load) -> Self {
        let (size, depth) = match &load.work {
            Work::Echo { size, depth } => (Some(size.to_string()), Some(*depth)),
            _ => (None, None),
        };
        let is_open = load.is_open_model();
        Self {
            urls: load.targets.iter().map(ToString::to_string).collect(),
            connections: load.connections,
            duration_seconds: load.duration().as_secs_f64(),
            model: if is_open { "open" } else { "closed" }.to_owned(),
            arrivals: is_open.then_some(load.arrivals),
            size,
            depth,
            topics: load.topics.map(|topics| topics.all),
            topics_of_each: load.topics.map(|topics| topics.of_each),
            stages: load.stages.iter().map(StageConfig::new).collect(),
            protocols: load.protocols.clone(),
            deflate: load.deflate,
            resume: load.resumes && load.targets.iter().any(Target::is_secure),
        }
    }
}

impl StageConfig {
    fn new(stage: &Stage) -> Self {
        Self {
            name: stage.name.clone(),
            duration_seconds: stage.duration.as_secs_f64(),
            rate: stage.rate,
            connections: stage.connections,
            warm_up: stage.warm_up,
        }
    }
}

impl Results {
    fn new(load: &Load, outcome: &Outcome) -> Self {
        let Outcome { connections, measured, faults, .. } = outcome;
        let is_open = load.is_open_model();
        let silent = load.work.expects_messages() && measured.window.messages == 0;
        let opened = connections.opened > 0;
        Self {
            ok: faults.total() == 0 && !silent && opened,
            interrupted: outcome.interrupted,
            saturated: saturations(measured),
            withheld: false,
            connections_opened: connections.opened,
            connections_failed: connections.failed,
            connections_lost: connections.lost,
            connections_deflated: connections.deflated,
            connections_resumed: connections.resumed,
            connecting_seconds: outcome.connecting.as_secs_f64(),
            duration_seconds: measured.window.duration as f64 / 1e9,
            messages: measured.window.messages,
            merged: measured.window.merged,
            payload_bytes: measured.window.bytes,
            wire_bytes: measured.window.wire_bytes,
            messages_per_second: Some(measured.messages_per_second()),
            megabytes_per_second: Some(measured.megabytes_per_second()),
            latency: Latency::with_curve(&measured.latency),
            latency_raw: Latency::with_curve(&measured.raw).filter(|_| is_open),
            sends: is_open.then(|| SendCounts::new(measured.sends)),
            client: Client::new(measured),
            server: outcome.server.clone(),
            treatment: outcome.treatment.iter().map(Treated::new).collect(),
            stages: measured.stages.iter().map(StageResult::new).collect(),
            points: measured.points.iter().map(PointResult::new).collect(),
            errors_total: faults.total(),
            errors: errors(faults),
        }
    }

    fn withhold(&mut self) {
        self.withheld = true;
        (self.messages_per_second, self.megabytes_per_second) = (None, None);
        (self.latency, self.latency_raw) = (None, None);
        self.points.clear();
        for stage in &mut self.stages {
            (stage.messages_per_second, stage.latency, stage.latency_raw) = (None, None, None);
        }
    }
}

impl SendCounts {
    const fn new(sends: Sends) -> Self {
        let Sends { sent, late, held, unsent } = sends;
        Self { sent, late, held, unsent }
    }
}

impl Client {
    fn new(measured: &Measured) -> Self {
        Self {
            generators: measured.generators,
            cpu_seconds: measured.window.cpu as f64 / 1e9,
            cpu_per_message_us: measured.cpu_microseconds_per_message(),
            core_share: measured.core_share(),
            wait_share: measured.wait_share(),
            rss_bytes: measured.rss_bytes,
            loop_lag: Latency::new(&measured.lag),
        }
    }
}

impl StageResult {
    fn new(stage: &StageMeasured) -> Self {
        Self {
            name: stage.name.clone(),
            warm_up: stage.warm_up,
            duration_seconds: stage.window.duration as f64 / 1e9,
            messages: stage.window.messages,
            messages_per_second: Some(stage.window.messages_per_second()),
            latency: Latency::new(&stage.latency),
            latency_raw: Latency::new(&stage.raw),
        }
    }
}

impl PointResult {
    fn new(point: &Point) -> Self {
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        Self {
            at_seconds: (point.at + point.duration) as f64 / 1e9,
            open: point.open,
            messages_per_second: point.messages as f64 * 1e9 / point.duration.max(1) as f64,
            p50_us: us(point.p50),
            p99_us: us(point.p99),
            max_us: us(point.max),
        }
    }
}

fn errors(faults: &Faults) -> Vec<Error> {
    let error = |(fault, occurrence): (crate::Fault, &crate::Occurrence)| Error {
        kind: fault.name().to_owned(),
        code: fault.code(),
        count: occurrence.count,
        example: occurrence.example.clone(),
        advice: fault.advice().to_owned(),
    };
    faults.iter().map(error).collect()
}
