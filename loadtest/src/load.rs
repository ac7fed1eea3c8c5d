//! A run as its user sees it: what to do, how it goes, what came out.
//!
//! [`Load`] is the order, complete and checked; [`Load::run`] drives it to its end on the calling
//! thread; [`Live`] is told some times a second while it goes on; [`Outcome`] is the result. The
//! command line and tests of other crates come in here.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tickwire_protocol::{AnswerError, ClientHandshake};

use crate::descriptors::{self, DescriptorLimit};
use crate::echo::Echo;
use crate::fanout::Fanout;
use crate::fault::Faults;
use crate::fleet::{Fleet, Orders};
use crate::measure::Measured;
use crate::pace::{Arrivals, Pace};
use crate::plan::Stage;
use crate::size::Size;
use crate::target::{Target, TargetError};

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
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Load {
    /// The server.
    pub target: Target,
    /// What its clients do.
    pub work: Work,
    /// How many clients, at least 1.
    pub connections: usize,
    /// What happens one after the other, counted from when all are open.
    pub stages: Vec<Stage>,
    /// How messages of the open model follow each other.
    pub arrivals: Arrivals,
    /// Subprotocols offered in the handshake, in order of preference.
    pub protocols: Vec<String>,
    /// Further headers of the handshake.
    pub headers: Vec<(String, String)>,
}

/// What the clients of a run do.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    Fanout,
}

impl Work {
    /// The scenario's name in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Echo { .. } => "echo",
            Self::Fanout => "fanout",
        }
    }
}

/// How a run goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Live {
    /// What is being done.
    pub part: Part,
    /// Since when.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connections {
    /// Handshakes that were completed.
    pub opened: usize,
    /// Connections that could not be opened.
    pub failed: usize,
    /// Open connections that ended before we closed them.
    pub lost: usize,
}

/// What came out of a run.
#[derive(Debug, Clone)]
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
    /// A run of one stage in the closed model, without subprotocols and further headers.
    #[must_use]
    pub fn new(target: Target, work: Work, connections: usize, duration: Duration) -> Self {
        Self {
            target,
            work,
            connections,
            stages: vec![Stage::new(duration)],
            arrivals: Arrivals::Even,
            protocols: Vec::new(),
            headers: Vec::new(),
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

    /// Makes the run, on this thread. Takes the time of its stages and some seconds at most to connect and to
    /// close; `stop` ends it earlier. `observe` is told some five times a second how it goes.
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
        let protocols: Vec<&str> = self.protocols.iter().map(String::as_str).collect();
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let host = self.target.host();
        let path = self.target.path();
        ClientHandshake::new([0; 16])
            .request(&host, path, &protocols, &headers, &mut Vec::new())
            .map_err(LoadError::Request)?;
        descriptors::reserve(self.connections).map_err(LoadError::Descriptors)?;
        let orders = Orders {
            address: self.target.resolve().map_err(LoadError::Target)?,
            host: &host,
            path,
            protocols: &protocols,
            headers: &headers,
            connections: self.connections,
            initial: self.connections,
            stages: &self.stages,
            stop,
            observe,
        };
        match &self.work {
            Work::Echo { size, depth } => {
                let pace = Pace::new(&self.stages, self.arrivals);
                let echo = Echo::new(self.connections, size, (*depth).max(1), pace);
                Fleet::new(orders, echo).and_then(Fleet::run)
            }
            Work::Fanout => Fleet::new(orders, Fanout::new(self.connections)).and_then(Fleet::run),
        }
        .map_err(LoadError::System)
    }
}

/// Why a run could not begin or go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The address is of no use.
    Target(TargetError),
    /// A header or subprotocol cannot be sent.
    Request(AnswerError),
    /// The process may not open so many connections.
    Descriptors(DescriptorLimit),
    /// The operating system failed.
    System(io::Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(error) => error.fmt(formatter),
            Self::Request(error) => write!(formatter, "the handshake cannot be written: {error}"),
            Self::Descriptors(error) => error.fmt(formatter),
            Self::System(error) => write!(formatter, "the system refused to go on: {error}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Target(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::Descriptors(error) => Some(error),
            Self::System(error) => Some(error),
        }
    }
}
