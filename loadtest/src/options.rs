//! What can be asked of the generator: the options of its command line and the keys of its files.
//!
//! Both are taken to [`Options`], and [`Options::order`] makes of them what is to be done: the one
//! home of defaults, bounds and contradictions, so that a flag and the key of its name cannot mean
//! two things. What is not said is `None`; what does not belong to a scenario is refused by `keys`
//! where it comes from a file, and is no flag of that command where it comes from a command line.
//!
//! Words that cannot be understood are refused where they are read: by the types' own parsers.

mod keys;
mod written;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::abuse::{Abuse, Attack};
use crate::capacity::{Search, Vary};
use crate::load::{Deflate, Load, Work};
use crate::mixed::Mix;
use crate::pace::Arrivals;
use crate::plan::{Ramp, Stage};
use crate::size::Size;
use crate::target::Target;
use crate::threshold::Threshold;
use crate::ticker::Subscription;
use crate::tls::Trust;
use crate::watchlist::Topics;
pub use keys::ScenarioName;
pub(crate) use keys::check as check_keys;

/// What is asked for, as far as it is said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// What the clients do.
    pub scenario: Option<ScenarioName>,
    /// The server.
    pub url: Option<Target>,
    /// More servers; each client has the next one in turn.
    pub urls: Vec<Target>,
    /// Clients.
    pub connections: Option<usize>,
    /// How long to measure, where there are no stages.
    #[serde(deserialize_with = "written::duration")]
    pub duration: Option<Duration>,
    /// Messages or handshakes a second, where there are no stages.
    #[serde(deserialize_with = "written::ramp")]
    pub rate: Option<Ramp>,
    /// With a rate, how messages follow each other.
    pub arrivals: Option<Arrivals>,
    /// Of echo: payload bytes of a message.
    pub size: Option<Size>,
    /// Of echo: messages that each client keeps on their way; with a rate the most.
    pub depth: Option<usize>,
    /// Of the ticker: what to subscribe to.
    pub symbols: Vec<String>,
    /// Of the ticker: `merge` or `distinct`.
    pub mode: Option<String>,
    /// Of the ticker: updates a second of one symbol at most.
    pub max_rate: Option<u32>,
    /// Of fanout and idle: how many topics there are.
    pub topics: Option<usize>,
    /// Of fanout and idle: to how many of them each client subscribes.
    pub topics_of_each: Option<usize>,
    /// Shares of bad clients.
    pub mix: Option<MixOptions>,
    /// Of abuse: the attacks; all if none is named.
    pub attacks: Vec<Attack>,
    /// Of abuse: attackers at a time.
    pub attackers: Option<usize>,
    /// A search for the largest load, instead of one run.
    pub capacity: Option<CapacityOptions>,
    /// Subprotocols to offer, in order of preference.
    pub protocols: Vec<String>,
    /// Of connect: whether sessions of TLS are taken up again.
    pub resume: bool,
    /// Further headers of the handshake.
    #[serde(deserialize_with = "written::headers")]
    pub headers: Vec<(String, String)>,
    /// Whether permessage-deflate is offered.
    pub deflate: bool,
    /// With it, whether clients compress what they send.
    pub compress: bool,
    /// Addresses to connect from.
    pub sources: Vec<IpAddr>,
    /// Processes that make the load.
    pub processes: Option<usize>,
    /// The server's process.
    pub server: ServerOptions,
    /// Conditions that must not hold, before those of [`Options::output`].
    pub fail_if: Vec<Threshold>,
    /// Where the report goes.
    pub output: Outputs,
    /// What happens one after the other.
    #[serde(rename = "stage", deserialize_with = "written::stages")]
    pub stages: Vec<Stage>,
}

/// Shares of bad clients, 0 to 1.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixOptions {
    /// Read little.
    pub slow: Option<f64>,
    /// Read nothing.
    pub stalled: Option<f64>,
    /// Come and go.
    pub restless: Option<f64>,
}

/// A search for a capacity.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CapacityOptions {
    /// What is raised.
    pub vary: Option<Vary>,
    /// The first load.
    pub from: Option<f64>,
    /// The largest that is tried.
    pub to: Option<f64>,
}

/// The server: whose use of the machine is reported, and who vouches for it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerOptions {
    /// A command that starts it.
    pub command: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// If it is `wss://`: only these certificate authorities are believed.
    pub ca: Option<PathBuf>,
    /// Every certificate is believed.
    pub insecure: bool,
}

/// Where the report goes, and what makes the run fail.
#[derive(Debug, Clone, Default, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Outputs {
    /// Also write the report as JSON; `-` writes it to standard output and the table to standard
    /// error.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write a page with charts, complete in itself.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Also write the latencies over time as an `HdrHistogram` log.
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Fail (exit code 4) if this holds, such as `p99>5ms`, `rate<10000`, `errors>0`,
    /// `server.cpu>3us`; repeatable.
    #[arg(long = "fail-if", value_name = "CONDITION")]
    pub fail_if: Vec<Threshold>,
    /// Show rate and latency even if the generator itself was the limit.
    #[arg(long)]
    pub allow_saturated: bool,
    /// Show no progress.
    #[arg(long, short)]
    pub quiet: bool,
}

/// What is to be done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Order {
    /// The run, or the base of a search.
    pub load: Load,
    /// What is made of it.
    pub task: Task,
    /// The command that starts the server.
    pub server_command: Option<String>,
    /// Where the report goes, with all conditions.
    pub outputs: Outputs,
}

/// What is made of a load.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Task {
    /// One run.
    Run,
    /// One run, with attackers beside it.
    Attack(Abuse),
    /// Runs with more and more load.
    Search(Search),
}

impl Options {
    /// What is to be done.
    ///
    /// # Errors
    ///
    /// What is missing, out of bounds or contradictory, in words.
    pub fn order(self) -> Result<Order, String> {
        self.check()?;
        let name = self.scenario.ok_or("a run needs a scenario")?;
        let targets: Vec<Target> = self.url.iter().chain(&self.urls).cloned().collect();
        let first = targets.first().cloned().ok_or("no server is named: url = \"ws://…\"")?;
        let mut load = Load::new(first, self.work(name)?, 1, Duration::ZERO);
        load.targets = targets;
        load.stages = self.plan(name);
        load.connections = self.clients(name, &load.stages);
        load.arrivals = self.arrivals.unwrap_or_default();
        load.mix = self.mix(name);
        load.topics = self.topics();
        load.deflate = Deflate::of(self.deflate, self.compress);
        let mut order = Order {
            task: self.task(name),
            load,
            server_command: self.server.command,
            outputs: self.output,
        };
        order.load.server_pid = self.server.pid;
        order.load.trust = Trust::of(self.server.ca, self.server.insecure);
        order.load.resumes = self.resume;
        order.load.protocols = self.protocols;
        order.load.headers = self.headers;
        order.load.sources = self.sources;
        order.load.processes = self.processes;
        order.outputs.fail_if.splice(0..0, self.fail_if);
        order.complete()?;
        Ok(order)
    }

    /// Whether numbers are within their bounds, and nothing is said twice.
    fn check(&self) -> Result<(), String> {
        for (name, value, most) in [
            ("connections", self.connections, CONNECTIONS_MAX),
            ("depth", self.depth, DEPTH_MAX),
            ("attackers", self.attackers, ATTACKERS_MAX),
            ("processes", self.processes, PROCESSES_MAX),
        ] {
            if value.is_some_and(|value| !(1..=most).contains(&value)) {
                return Err(format!("{name}: a number from 1 to {most}"));
            }
        }
        let durations = self.stages.iter().map(|stage| stage.duration).chain(self.duration);
        if durations.into_iter().any(|duration| duration < DURATION_MIN) {
            return Err("duration: at least 1ms".to_owned());
        }
        let is_rate = |ramp: &Ramp| ramp.is_valid() && ramp.from.max(ramp.to) <= RATE_MAX;
        if !self.rate.iter().all(|rate| is_rate(rate) && rate.from.max(rate.to) > 0.0) {
            return Err(format!("rate: more than 0 and at most {RATE_MAX:.0} a second"));
        }
        let search = self.capacity.unwrap_or_default();
        let is_load = |load: f64| load > 0.0 && load <= RATE_MAX;
        if ![search.from, search.to].into_iter().flatten().all(is_load) {
            return Err(format!("from, to: more than 0 and at most {RATE_MAX:.0}"));
        }
        if !self.stages.is_empty() && (self.duration.is_some() || self.rate.is_some()) {
            return Err("where there are stages, each has its own duration and rate".to_owned());
        }
        if self.server.command.is_some() && self.server.pid.is_some() {
            return Err("the server has a command or a pid, not both".to_owned());
        }
        if self.compress && !self.deflate {
            return Err("compress goes with deflate".to_owned());
        }
        Ok(())
    }

    fn is_paced(&self) -> bool {
        self.rate.is_some()
            || self.stages.iter().any(|stage| stage.rate.is_some())
            || self.search(self.scenario).is_some_and(|search| search.vary == Vary::Rate)
    }

    fn work(&self, name: ScenarioName) -> Result<Work, String> {
        let usual_depth = if self.is_paced() { DEPTH_OPEN } else { 1 };
        Ok(match name {
            ScenarioName::Echo => Work::Echo {
                size: self.size.clone().unwrap_or(Size::Fixed(SIZE_DEFAULT)),
                depth: self.depth.unwrap_or(usual_depth),
            },
            ScenarioName::Abuse => {
                Work::Echo { size: Size::Fixed(POLITE_BYTES), depth: DEPTH_OPEN }
            }
            ScenarioName::Fanout | ScenarioName::Mixed => Work::Fanout { starts: true },
            ScenarioName::Ticker if self.symbols.is_empty() => {
                return Err("the ticker scenario needs symbols".to_owned());
            }
            ScenarioName::Ticker => {
                let mode = self.mode.clone();
                if !mode.iter().all(|mode| matches!(mode.as_str(), "merge" | "distinct")) {
                    return Err("mode: merge or distinct".to_owned());
                }
                Work::Ticker(Subscription::new(self.symbols.clone(), mode, self.max_rate))
            }
            ScenarioName::Idle => Work::Idle,
            ScenarioName::Connect => Work::Connect,
        })
    }

    /// What happens one after the other.
    fn plan(&self, name: ScenarioName) -> Vec<Stage> {
        if name == ScenarioName::Abuse {
            return self.abuse().stages();
        }
        if !self.stages.is_empty() {
            return self.stages.clone();
        }
        let mut stage = Stage::new(self.duration.unwrap_or(DURATION_DEFAULT));
        stage.rate = self.rate;
        vec![stage]
    }

    /// How many clients there are: as said, or as many as a stage wants at most.
    fn clients(&self, name: ScenarioName, stages: &[Stage]) -> usize {
        let most = stages.iter().filter_map(|stage| stage.connections).map(whole_max).max();
        let usual = if name == ScenarioName::Abuse { POLITE_CLIENTS } else { CONNECTIONS_DEFAULT };
        self.connections.or(most).unwrap_or(usual)
    }

    fn mix(&self, name: ScenarioName) -> Option<Mix> {
        let usual = if name == ScenarioName::Mixed { BAD_SHARE } else { 0.0 };
        let is_mixed = name == ScenarioName::Mixed || self.mix.is_some();
        let MixOptions { slow, stalled, restless } = self.mix.unwrap_or_default();
        let [slow, stalled, restless] =
            [slow, stalled, restless].map(|share| share.unwrap_or(usual));
        is_mixed.then(|| Mix::new(slow, stalled, restless))
    }

    /// The topics of each client; where one number alone is said, all clients have all topics.
    fn topics(&self) -> Option<Topics> {
        let all = self.topics.or(self.topics_of_each)?;
        Some(Topics::new(all, self.topics_of_each.unwrap_or(all)))
    }

    fn abuse(&self) -> Abuse {
        let mut abuse = Abuse::all();
        if !self.attacks.is_empty() {
            abuse.attacks.clone_from(&self.attacks);
        }
        abuse.attackers = self.attackers.unwrap_or(abuse.attackers);
        abuse.lasting = self.duration.unwrap_or(abuse.lasting);
        abuse
    }

    fn search(&self, name: Option<ScenarioName>) -> Option<Search> {
        let CapacityOptions { vary, from, to } = self.capacity?;
        let paced = matches!(name, Some(ScenarioName::Echo | ScenarioName::Connect));
        let vary = vary.unwrap_or(if paced { Vary::Rate } else { Vary::Connections });
        let usual = if vary == Vary::Rate { RATE_FROM } else { CONNECTIONS_FROM };
        let mut search = Search::new(vary, from.unwrap_or(usual), to.unwrap_or(SEARCH_TO));
        search.allow_saturated = self.output.allow_saturated;
        Some(search)
    }

    fn task(&self, name: ScenarioName) -> Task {
        match self.search(Some(name)) {
            _ if name == ScenarioName::Abuse => Task::Attack(self.abuse()),
            Some(search) => Task::Search(search),
            None => Task::Run,
        }
    }
}

impl Order {
    /// Adds what a search holds when nothing else is said, and checks the whole.
    fn complete(&mut self) -> Result<(), String> {
        let mut tried = self.load.clone();
        if let Task::Search(search) = &self.task {
            if self.outputs.fail_if.is_empty() && self.load.work != Work::Idle {
                self.outputs.fail_if.push(CAPACITY_BOUND.parse()?);
            }
            tried = search.load(&self.load, search.from);
        }
        tried.check().map_err(|error| error.to_string())
    }
}

impl Outputs {
    /// These, and where they say nothing the `others`, whose conditions come first.
    #[must_use]
    pub fn over(mut self, mut others: Self) -> Self {
        others.fail_if.append(&mut self.fail_if);
        Self {
            json: self.json.or(others.json),
            html: self.html.or(others.html),
            hdr: self.hdr.or(others.hdr),
            fail_if: others.fail_if,
            allow_saturated: self.allow_saturated || others.allow_saturated,
            quiet: self.quiet || others.quiet,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and a ramp that is no number of connections is refused later"
)]
fn whole_max(ramp: Ramp) -> usize {
    ramp.from.max(ramp.to).ceil() as usize
}

/// Messages that a client of the open model may have on their way: enough that a server is not
/// spared what it cannot do, and 512 bytes here.
pub(crate) const DEPTH_OPEN: usize = 32;

const CONNECTIONS_DEFAULT: usize = 100;

const DURATION_DEFAULT: Duration = Duration::from_secs(10);

/// A price, a position, a key press.
const SIZE_DEFAULT: usize = 20;

/// Polite clients beside attackers, and the bytes of their messages.
const POLITE_CLIENTS: usize = 10;
const POLITE_BYTES: usize = 125;

/// Of each kind of bad client in the scenario `mixed`.
const BAD_SHARE: f64 = 0.1;

/// Where a capacity search begins: what any server holds.
const RATE_FROM: f64 = 1_000.0;
const CONNECTIONS_FROM: f64 = 100.0;

/// Where it ends: beyond one generator process by far.
const SEARCH_TO: f64 = 1e6;

/// What a capacity search holds when nothing else is said.
const CAPACITY_BOUND: &str = "p99>10ms";

/// More would need more memory for sockets than most machines have.
const CONNECTIONS_MAX: usize = 1_000_000;

/// Beyond this a client measures the server's queues and its own.
const DEPTH_MAX: usize = 4096;

/// One thread has them all.
const ATTACKERS_MAX: usize = 1000;

/// More than any machine has cores for.
const PROCESSES_MAX: usize = 1000;

/// Beyond what one thread sends by far.
const RATE_MAX: f64 = 1e8;

/// Shorter runs have no rate that means anything.
const DURATION_MIN: Duration = Duration::from_millis(1);
