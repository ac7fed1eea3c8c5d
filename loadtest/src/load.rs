//! A run as its user sees it: what to do, how it goes, what came out.
//!
//! [`Load`] is the order, complete and checked; [`Load::run`] drives it to its end on the calling
//! thread; [`Live`] is told some times a second while it goes on; [`Outcome`] is the result. The
//! command line, scenario files and tests of other crates come in here.

mod error;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tickwire_protocol::{ClientHandshake, DeflatePolicy};

use crate::connect::Connect;
use crate::descriptors;
use crate::echo::{Content, Echo};
use crate::fanout::Fanout;
use crate::fault::Faults;
use crate::fleet::{Endpoint, Fleet, Orders};
use crate::idle::Idle;
use crate::measure::Measured;
use crate::mixed::{Mix, Mixed};
use crate::pace::{Arrivals, Pace};
use crate::plan::Stage;
use crate::scenario::{Scenario, Treatment};
use crate::server::{ServerError, ServerUse, Watch};
use crate::size::Size;
use crate::sources;
use crate::swarm;
use crate::target::Target;
use crate::ticker::{Subscription, Ticker};
use crate::tls::{Security, Trust};
use crate::watchlist::{Topics, Watchlist};
pub use error::LoadError;

/// A run to be made.
///
/// ```no_run
/// use std::sync::atomic::AtomicBool;
/// use std::time::Duration;
/// use tickwire_load::{Load, Size, Work};
///
/// let target = "ws://127.0.0.1:9001/".parse()?;
/// let echo = Work::Echo { size: Size::Fixed(20), depth: 1 };
/// let load = Load::new(target, echo, 100, Duration::from_secs(10));
/// let outcome = load.run(&AtomicBool::new(false), &mut |_live| {})?;
/// assert!(outcome.is_flawless());
/// println!("{} messages/s", outcome.measured.messages_per_second());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Load {
    /// The servers; each client has the next one in turn. At least one.
    pub targets: Vec<Target>,
    /// What the clients do.
    pub work: Work,
    /// How many clients, at least 1.
    pub connections: usize,
    /// What happens one after the other, counted from when all are open. At least one.
    pub stages: Vec<Stage>,
    /// How messages of the open model follow each other.
    pub arrivals: Arrivals,
    /// Which clients are bad on purpose.
    pub mix: Option<Mix>,
    /// In a fan-out, and of idle clients: the topics to which each client subscribes before the time
    /// starts. Without it a server is to send everything to everybody.
    #[serde(default)]
    pub topics: Option<Topics>,
    /// Subprotocols offered in the handshake, in order of preference.
    pub protocols: Vec<String>,
    /// Further headers of the handshake.
    pub headers: Vec<(String, String)>,
    /// What the clients do with permessage-deflate.
    pub deflate: Deflate,
    /// Whose certificates are believed, where a target is `wss://`.
    #[serde(default)]
    pub trust: Trust,
    /// Whether clients take up sessions of TLS again, where a target is `wss://` and offers it.
    #[serde(default)]
    pub resumes: bool,
    /// Addresses to connect from, in turn. Without any the system chooses; on the loopback as many
    /// as the number of connections asks for.
    pub sources: Vec<IpAddr>,
    /// The server's process, whose use of the machine is to be reported.
    pub server_pid: Option<u32>,
    /// How many processes make the load, when not as many as their descriptors ask for.
    pub processes: Option<usize>,
}

/// What clients do with permessage-deflate (RFC 7692), always without context takeover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Deflate {
    /// It is not offered.
    #[default]
    Off,
    /// It is offered, and what comes compressed is decompressed; what is sent is plain.
    Receive,
    /// What is sent is compressed too, by those clients whose server agreed.
    Both,
}

impl Deflate {
    pub(crate) const fn of(offered: bool, compresses: bool) -> Self {
        match (offered, compresses) {
            (false, _) => Self::Off,
            (true, false) => Self::Receive,
            (true, true) => Self::Both,
        }
    }
}

/// What the clients of a run do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Work {
    /// Each sends binary messages and awaits their echoes.
    Echo {
        /// Payload bytes of a message.
        size: Size,
        /// Messages that each client keeps on their way, at least 1; in the open model the most
        /// that it may have there.
        depth: usize,
    },
    /// One says `start`, and all receive what the server then publishes.
    Fanout {
        /// Whether one says `start`, or another generator's client does.
        starts: bool,
    },
    /// Each subscribes to prices.
    Ticker(Subscription),
    /// None does anything.
    Idle,
    /// Each connects, closes, and connects again.
    Connect,
}

impl Work {
    /// The scenario's name in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Echo { .. } => "echo",
            Self::Fanout { .. } => "fanout",
            Self::Ticker(_) => "ticker",
            Self::Idle => "idle",
            Self::Connect => "connect",
        }
    }

    /// Whether a run without a message has failed.
    #[must_use]
    pub const fn expects_messages(&self) -> bool {
        !matches!(self, Self::Idle)
    }

    /// Whether the clients send at intended times if there is a rate.
    #[must_use]
    pub const fn can_be_paced(&self) -> bool {
        matches!(self, Self::Echo { .. } | Self::Connect)
    }
}

/// How a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Live {
    /// What is being done.
    pub part: Part,
    /// The number of the stage, while running.
    pub stage: usize,
    /// Since when the part goes on.
    pub elapsed: Duration,
    /// Connections that are open.
    pub open: usize,
    /// Messages a second since the last report.
    pub messages_per_second: f64,
    /// 99 of 100 latencies since the last report were at most this; zero without messages.
    pub p99: Duration,
    /// Faults so far.
    pub faults: u64,
}

/// The parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Part {
    /// Connections are opened.
    Connecting,
    /// Messages flow and are measured.
    Running,
    /// Answers that are still due are awaited.
    Draining,
    /// Connections are closed.
    Closing,
}

/// What became of the connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Connections {
    /// Handshakes that were completed.
    pub opened: usize,
    /// Connections that could not be opened.
    pub failed: usize,
    /// Open connections that ended before we closed them.
    pub lost: usize,
    /// Handshakes that agreed on permessage-deflate.
    pub deflated: usize,
    /// Handshakes whose TLS took up an earlier session.
    #[serde(default)]
    pub resumed: usize,
}

/// What came out of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// What became of the connections.
    pub connections: Connections,
    /// How long it took to open them.
    pub connecting: Duration,
    /// Messages, latencies, and what the generator itself cost.
    pub measured: Measured,
    /// What went wrong.
    pub faults: Faults,
    /// What the server did to clients that were bad on purpose: which kind, what, how often.
    #[serde(with = "treatment")]
    pub treatment: Treatment,
    /// What the run cost the server.
    pub server: Option<ServerUse>,
    /// Whether the run was stopped before its time.
    pub interrupted: bool,
}

impl Outcome {
    /// Whether there was no fault and at least one message.
    #[must_use]
    pub fn is_flawless(&self) -> bool {
        self.faults.total() == 0 && self.measured.window.messages > 0
    }
}

impl Load {
    /// A run of one stage in the closed model, and nothing special.
    #[must_use]
    pub fn new(target: Target, work: Work, connections: usize, duration: Duration) -> Self {
        Self {
            targets: vec![target],
            work,
            connections,
            stages: vec![Stage::new(duration)],
            arrivals: Arrivals::Even,
            mix: None,
            topics: None,
            protocols: Vec::new(),
            headers: Vec::new(),
            deflate: Deflate::Off,
            trust: Trust::System,
            resumes: false,
            sources: Vec::new(),
            server_pid: None,
            processes: None,
        }
    }

    /// The scenario's name in reports.
    #[must_use]
    pub const fn scenario(&self) -> &'static str {
        match self.mix {
            Some(_) => "mixed",
            None => self.work.name(),
        }
    }

    /// Whether messages leave at intended times, and not when answers come.
    #[must_use]
    pub fn is_open_model(&self) -> bool {
        self.stages.iter().any(|stage| stage.rate.is_some())
    }

    /// How long all stages take.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.stages.iter().map(|stage| stage.duration).sum()
    }

    /// Makes the run: on this thread, or with several processes of this program, which is
    /// `tickwire-load` then. Takes the time of its stages and some seconds at most to
    /// connect and to close; `stop` ends it earlier. `observe` is told some five times a second how
    /// it goes.
    ///
    /// # Errors
    ///
    /// When the run cannot begin, or the machine fails. What the server does wrong is no error here
    /// but counted in [`Outcome::faults`].
    pub fn run(
        &self,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Live),
    ) -> Result<Outcome, LoadError> {
        let mut watch = match self.server_pid {
            None => None,
            Some(pid) => {
                let gone = || LoadError::Server(ServerError::NoProcess(pid));
                Some(Watch::new(pid).ok_or_else(gone)?)
            }
        };
        let mut observe = |live: &Live| {
            if let Some(watch) = &mut watch {
                watch.follow(live);
            }
            observe(live);
        };
        self.check()?;
        let needed = swarm::processes_needed(self.connections);
        let processes = self.processes.unwrap_or(needed).clamp(1, self.connections);
        let mut outcome = match processes {
            1 => self.run_gated(stop, &mut observe, &mut || Ok(()))?,
            several => {
                let mut load = self.clone();
                load.sources = self.sources(&self.endpoints()?);
                swarm::run(&load, several, stop, &mut observe)?
            }
        };
        let messages = outcome.measured.window.messages;
        outcome.server = watch.map(|watch| watch.finish(&self.stages, messages));
        Ok(outcome)
    }

    /// Makes the run; the time starts when `gate`, called with all connections open, returns.
    pub(crate) fn run_gated(
        &self,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Live),
        gate: &mut dyn FnMut() -> io::Result<()>,
    ) -> Result<Outcome, LoadError> {
        self.check()?;
        descriptors::reserve(self.connections).map_err(LoadError::Descriptors)?;
        let protocols: Vec<&str> = self.protocols.iter().map(String::as_str).collect();
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let endpoints = self.endpoints()?;
        let sources = self.sources(&endpoints);
        let policy = DeflatePolicy::DEFAULT;
        let orders = Orders {
            endpoints: &endpoints,
            sources: &sources,
            deflate: (self.deflate != Deflate::Off).then_some(&policy),
            compresses: self.deflate == Deflate::Both,
            protocols: &protocols,
            headers: &headers,
            connections: self.connections,
            initial: self.initial(),
            stages: &self.stages,
            stop,
            observe,
            gate,
        };
        self.drive(orders).map_err(LoadError::System)
    }

    /// The servers, resolved.
    fn endpoints(&self) -> Result<Vec<Endpoint>, LoadError> {
        let endpoint = |target: &Target| {
            let address = target.resolve()?;
            let security = match target.is_secure() {
                true => Some(Security::new(&self.trust, target.name(), self.resumes)?),
                false => None,
            };
            let (host, path) = (target.host(), target.path().to_owned());
            Ok(Endpoint { address, host, path, security })
        };
        self.targets.iter().map(endpoint).collect()
    }

    /// The addresses to connect from.
    fn sources(&self, endpoints: &[Endpoint]) -> Vec<IpAddr> {
        if !self.sources.is_empty() {
            return self.sources.clone();
        }
        let addresses = endpoints.iter().map(|endpoint| endpoint.address);
        sources::for_loopback(addresses, self.connections)
    }

    /// Runs the scenario.
    fn drive(&self, orders: Orders<'_>) -> io::Result<Outcome> {
        let connections = self.connections;
        let pace = || Pace::new(&self.stages, self.arrivals);
        if let Some(topics) = self.topics {
            let starts = matches!(self.work, Work::Fanout { starts: true });
            return Fleet::new(orders, Watchlist::new(connections, topics, starts))?.run();
        }
        match &self.work {
            Work::Echo { size, depth } => {
                let content = match self.deflate {
                    Deflate::Off => Content::Random,
                    _ => Content::Ticks,
                };
                let depth = (*depth).max(1);
                self.drive_mixed(orders, Echo::new(connections, size, depth, pace(), content))
            }
            Work::Fanout { starts } => self.drive_mixed(orders, Fanout::new(connections, *starts)),
            Work::Ticker(subscription) => {
                self.drive_mixed(orders, Ticker::new(connections, subscription))
            }
            Work::Idle => Fleet::new(orders, Idle)?.run(),
            Work::Connect => Fleet::new(orders, Connect::new(connections, pace()))?.run(),
        }
    }

    fn drive_mixed(&self, orders: Orders<'_>, scenario: impl Scenario) -> io::Result<Outcome> {
        match &self.mix {
            None => Fleet::new(orders, scenario)?.run(),
            Some(mix) => Fleet::new(orders, Mixed::new(scenario, self.connections, mix))?.run(),
        }
    }

    /// Connections that are to be open before the time starts.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ramps are checked not to be negative, and bounded by the connections"
    )]
    fn initial(&self) -> usize {
        if self.work == Work::Connect {
            return 0;
        }
        let first = self.stages.first().and_then(|stage| stage.connections);
        // A run whose first stage begins with none still needs one to be alive.
        first.map_or(self.connections, |ramp| (ramp.from as usize).clamp(1, self.connections))
    }

    /// Whether the run makes sense.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let refuse = |words: &str| Err(LoadError::Plan(words.to_owned()));
        if self.targets.is_empty() || self.stages.is_empty() || self.connections == 0 {
            return refuse("a run needs a server, a stage and a connection");
        }
        let rates = self.stages.iter().filter_map(|stage| stage.rate);
        let ramps = self.stages.iter().filter_map(|stage| stage.connections);
        if !rates.clone().chain(ramps.clone()).all(|ramp| ramp.is_valid()) {
            return refuse("rates and connections are numbers that are not negative");
        }
        if rates.clone().count() > 0 && !self.work.can_be_paced() {
            return refuse("a rate belongs to `echo` and `connect`: here the server publishes");
        }
        if rates.clone().count() % self.stages.len() != 0 {
            return refuse("either all stages have a rate (open model) or none (closed model)");
        }
        if !ramps.clone().all(|ramp| ramp.from.max(ramp.to) <= self.connections as f64) {
            return refuse("a stage wants more connections than the run has");
        }
        if self.mix.is_some_and(|mix| !mix.is_valid()) {
            return refuse("the shares of bad clients are 0 to 1 each and less than 1 together");
        }
        if let Some(topics) = &self.topics {
            if !matches!(self.work, Work::Fanout { .. } | Work::Idle) || self.mix.is_some() {
                return refuse("topics belong to `fanout` and `idle`, without bad clients");
            }
            if !topics.is_valid() {
                return refuse("there are 1 to 65536 topics, of which each client has one or more");
            }
        }
        let protocols: Vec<&str> = self.protocols.iter().map(String::as_str).collect();
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for target in &self.targets {
            ClientHandshake::new([0; 16])
                .request(&target.host(), target.path(), &protocols, &headers, &mut Vec::new())
                .map_err(LoadError::Request)?;
        }
        Ok(())
    }
}

/// A map whose keys are no text, as JSON has it: a list of pairs.
mod treatment {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::scenario::Treatment;

    pub(super) fn serialize<S: Serializer>(
        treatment: &Treatment,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        treatment.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Treatment, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}
