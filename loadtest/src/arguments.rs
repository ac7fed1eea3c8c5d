//! The command line, taken apart: which run, and where its report goes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tickwire_load::{
    Arrivals, Attack, DEPTH_OPEN, Load, Mix, Ramp, ScenarioFile, Search, Size, Stage, Subscription,
    Target, Threshold, Vary, Work,
};

/// Loads any WebSocket server and measures throughput, latency, errors, and what it cost.
///
/// Every message that comes is checked, and every fault counted by kind. A run in which the
/// generator itself was the limit says so and withholds its figures, because they would be taken for
/// the server's.
#[derive(Debug, Parser)]
#[command(name = "tickwire-load", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Clients send binary messages to an echo server and check every answer byte for byte.
    ///
    /// Latency is from the moment before a message is sent to the moment after its echo is read; with
    /// --rate, from the moment at which it should have been sent.
    Echo {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        echo: EchoArguments,
    },
    /// One client says `start`, and all check what the server then publishes.
    ///
    /// The server waits for the text message `start`, then publishes binary messages of one size to
    /// every connection: bytes 0 to 8 the moment of publication in nanoseconds of CLOCK_MONOTONIC,
    /// bytes 8 to 16 a sequence number from 0, both little-endian. Latency is from that moment to
    /// the moment after a client has read the message, so server and generator share a machine.
    Fanout {
        #[command(flatten)]
        common: Common,
    },
    /// Clients subscribe to prices by ticker.v1.json, and check every snapshot and update.
    Ticker {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        ticker: TickerArguments,
    },
    /// Connections are opened and do nothing: what each costs in memory.
    Idle {
        #[command(flatten)]
        common: Common,
    },
    /// Handshakes: as they arrive with --rate, else as fast as --connections places allow.
    Connect {
        #[command(flatten)]
        common: Common,
        /// Handshakes a second, each at its intended time.
        #[arg(long, value_name = "HANDSHAKES", value_parser = rate)]
        rate: Option<f64>,
        /// With --rate, how they follow each other.
        #[arg(long, value_enum, default_value_t, requires = "rate")]
        arrivals: Arrivals,
    },
    /// The fan-out, with clients among the good ones that read slowly, read nothing, come and go.
    Mixed {
        #[command(flatten)]
        common: Common,
        /// Share of clients that read 4 KB each tenth of a second, 0 to 1.
        #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
        slow: f64,
        /// Share of clients that read nothing.
        #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
        stalled: f64,
        /// Share of clients that stay half a second, go, and come again.
        #[arg(long, default_value_t = 0.1, value_name = "SHARE")]
        restless: f64,
    },
    /// Attacks of ten kinds, each beside polite echo clients: what the server did, and what it cost
    /// them.
    Abuse {
        /// The echo server.
        #[arg(value_name = "URL")]
        target: Target,
        /// The attacks, separated by commas [default: all].
        #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
        attacks: Vec<Attack>,
        /// Attackers at a time.
        #[arg(long, default_value_t = 10, value_name = "NUMBER",
              value_parser = clap::value_parser!(u32).range(1..=1000))]
        attackers: u32,
        /// How long each attack goes on.
        #[arg(long, short, default_value = "5s", value_name = "TIME", value_parser = duration)]
        duration: Duration,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        outputs: Outputs,
    },
    /// Searches the largest load that holds: no error, nothing unsent, and no --fail-if condition.
    Capacity {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        echo: EchoArguments,
        /// What the clients do.
        #[arg(long, value_enum, default_value_t = Kind::Echo)]
        scenario: Kind,
        /// What is raised [default: the rate of echo and connect, else connections].
        #[arg(long, value_enum)]
        vary: Option<Vary>,
        /// The first load [default: 1000 a second, or 100 connections].
        #[arg(long, value_name = "LOAD", value_parser = rate)]
        from: Option<f64>,
        /// The largest load that is tried.
        #[arg(long, default_value = "1000000", value_name = "LOAD", value_parser = rate)]
        to: f64,
    },
    /// Runs a scenario file: stages, ramps, thresholds.
    Run {
        /// The TOML file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        outputs: Outputs,
    },
    /// Compares servers under the same load: started and stopped in turn, in rounds, each on its core.
    Compare(Box<crate::comparison::ComparisonArguments>),
    /// Makes a share of another process's load.
    #[command(hide = true)]
    Worker,
    /// Shows reports again, or compares several: each figure with its ratio to the first.
    Report {
        /// JSON reports.
        #[arg(value_name = "JSON", required = true)]
        files: Vec<PathBuf>,
        /// Also write a page with charts.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

/// A run, and what becomes of its report.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) load: Load,
    pub(crate) server_command: Option<String>,
    pub(crate) outputs: Outputs,
}

#[derive(Debug, Args)]
pub(crate) struct EchoArguments {
    /// Payload bytes of a message: 20, a range 20..1000, or sizes with weights 20:90,1024:10.
    #[arg(long, default_value_t = Size::Fixed(20), value_name = "BYTES")]
    size: Size,
    /// Messages that each client keeps on their way [default: 1]; with --rate, the most that it
    /// may have there [default: 32].
    #[arg(long, value_name = "MESSAGES",
          value_parser = clap::value_parser!(u32).range(1..=DEPTH_MAX))]
    depth: Option<u32>,
    /// Open model: messages a second over all clients, each at its intended time, from which its
    /// latency counts. Without it each client sends when an answer comes (closed model).
    #[arg(long, value_name = "MESSAGES", value_parser = rate)]
    rate: Option<f64>,
    /// With --rate, how messages follow each other.
    #[arg(long, value_enum, default_value_t, requires = "rate")]
    arrivals: Arrivals,
}

#[derive(Debug, Args)]
pub(crate) struct TickerArguments {
    /// Symbols to subscribe to, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_name = "NAMES")]
    symbols: Vec<String>,
    /// `merge` for the latest value only, `distinct` for every event; the server's choice if not
    /// given.
    #[arg(long, value_parser = ["merge", "distinct"])]
    mode: Option<String>,
    /// Updates a second of one symbol at most.
    #[arg(long, value_name = "UPDATES")]
    max_rate: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The servers: ws://host[:port][/path]; each client has the next one in turn.
    #[arg(value_name = "URL", required = true)]
    targets: Vec<Target>,
    /// Connections to open.
    #[arg(long, short, default_value_t = 100, value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: u32,
    /// How long to measure, from when all connections are open; such as 10s, 500ms, 2m.
    #[arg(long, short, default_value = "10s", value_name = "TIME", value_parser = duration)]
    duration: Duration,
    /// A header to send with each handshake, such as `Origin: https://example.org`; repeatable.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A subprotocol to offer; repeatable, in order of preference.
    #[arg(long = "protocol", value_name = "NAME")]
    protocols: Vec<String>,
    /// Offer permessage-deflate, without context takeover.
    #[arg(long)]
    deflate: bool,
    /// An address of this machine to connect from; repeatable. On the loopback several are used when
    /// one has too few ports.
    #[arg(long = "source", value_name = "ADDRESS")]
    sources: Vec<IpAddr>,
    /// Processes that make the load together [default: as many as one process's limit of open files
    /// asks for].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
    processes: Option<u32>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    outputs: Outputs,
}

/// The server whose use of the machine is reported.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The server's process: its CPU time, memory and context switches go into the report.
    #[arg(long, value_name = "PID", conflicts_with = "server_cmd")]
    server_pid: Option<u32>,
    /// A command that starts the server; it is waited for, measured, and stopped after the run.
    #[arg(long, value_name = "COMMAND")]
    server_cmd: Option<String>,
}

/// What the clients of a capacity search do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Echo, with --size and --depth.
    Echo,
    /// Handshakes.
    Connect,
    /// Fan-out; the server begins afresh for each run, so it needs --server-cmd.
    Fanout,
    /// Connections that do nothing.
    Idle,
}

/// Where the report goes, and what makes the run fail.
#[derive(Debug, Clone, Args)]
pub(crate) struct Outputs {
    /// Also write the report as JSON; `-` writes it to standard output and the table to standard
    /// error.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Also write a page with charts, complete in itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Also write the latencies over time as an HdrHistogram log.
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,
    /// Fail (exit code 4) if this holds, such as `p99>5ms`, `rate<10000`, `errors>0`,
    /// `server.cpu>3us`; repeatable.
    #[arg(long = "fail-if", value_name = "CONDITION")]
    pub(crate) fail_if: Vec<Threshold>,
    /// Show rate and latency even if the generator itself was the limit.
    #[arg(long)]
    pub(crate) allow_saturated: bool,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl Order {
    /// The run that a command asks for.
    pub(crate) fn new(common: Common, work: Work) -> Self {
        let Common { targets, connections, duration, headers, .. } = common;
        let first = targets[0].clone();
        let mut load = Load::new(first, work, connections as usize, duration);
        load.targets = targets;
        load.headers = headers;
        load.protocols = common.protocols;
        load.deflate = common.deflate;
        load.sources = common.sources;
        load.server_pid = common.server.server_pid;
        load.processes = common.processes.map(|processes| processes as usize);
        Self { load, server_command: common.server.server_cmd, outputs: common.outputs }
    }

    /// The run of a scenario file, whose thresholds come before those of the command line.
    pub(crate) fn of_file(file: ScenarioFile, mut outputs: Outputs) -> Self {
        outputs.fail_if.splice(0..0, file.fail_if);
        Self { load: file.load, server_command: file.server_command, outputs }
    }

    pub(crate) fn paced(mut self, rate: Option<f64>, arrivals: Arrivals) -> Self {
        self.load.stages[0].rate = rate.map(Ramp::constant);
        self.load.arrivals = arrivals;
        self
    }

    pub(crate) fn mixed(mut self, mix: Mix) -> Self {
        self.load.mix = Some(mix);
        self
    }
}

impl EchoArguments {
    /// The order of an echo run.
    pub(crate) fn order(self, common: Common) -> Order {
        let usual = if self.rate.is_some() { DEPTH_OPEN } else { 1 };
        let depth = self.depth.map_or(usual, |depth| depth as usize);
        let work = Work::Echo { size: self.size, depth };
        Order::new(common, work).paced(self.rate, self.arrivals)
    }
}

impl Order {
    /// The polite clients of an abuse run: ten that echo.
    pub(crate) fn polite(
        target: Target,
        stages: Vec<Stage>,
        server: Server,
        outputs: Outputs,
    ) -> Self {
        let work = Work::Echo { size: Size::Fixed(POLITE_BYTES), depth: DEPTH_OPEN };
        let mut load = Load::new(target, work, POLITE_CLIENTS, Duration::ZERO);
        load.stages = stages;
        load.server_pid = server.server_pid;
        Self { load, server_command: server.server_cmd, outputs }
    }

    /// The base of a capacity search, and the search.
    pub(crate) fn search(
        common: Common,
        echo: EchoArguments,
        kind: Kind,
        vary: Option<Vary>,
        (from, to): (Option<f64>, f64),
    ) -> (Self, Search) {
        let paced = matches!(kind, Kind::Echo | Kind::Connect);
        let vary = vary.unwrap_or(if paced { Vary::Rate } else { Vary::Connections });
        let usual = if vary == Vary::Rate { RATE_FROM } else { CONNECTIONS_FROM };
        let is_rate = vary == Vary::Rate || echo.rate.is_some();
        let usual_depth = if is_rate { DEPTH_OPEN } else { 1 };
        let EchoArguments { size, depth, rate, arrivals } = echo;
        let depth = depth.map_or(usual_depth, |depth| depth as usize);
        let work = match kind {
            Kind::Echo => Work::Echo { size, depth },
            Kind::Connect => Work::Connect,
            Kind::Fanout => Work::Fanout { starts: true },
            Kind::Idle => Work::Idle,
        };
        let mut order = Self::new(common, work).paced(rate, arrivals);
        if order.outputs.fail_if.is_empty() && kind != Kind::Idle {
            let usual = CAPACITY_BOUND.parse().expect("the condition is well-formed");
            order.outputs.fail_if.push(usual);
        }
        let mut search = Search::new(vary, from.unwrap_or(usual), to);
        search.allow_saturated = order.outputs.allow_saturated;
        (order, search)
    }
}

impl TickerArguments {
    /// The order of a ticker run.
    pub(crate) fn order(self, common: Common) -> Order {
        let Self { symbols, mode, max_rate } = self;
        Order::new(common, Work::Ticker(Subscription::new(symbols, mode, max_rate)))
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < DURATION_MIN {
        return Err("a run takes at least 1ms".to_owned());
    }
    Ok(duration)
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "a rate is a number of messages a second")?;
    match rate > 0.0 && rate <= RATE_MAX {
        true => Ok(rate),
        false => Err(format!("a rate is more than 0 and at most {RATE_MAX:.0}")),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header has the form `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Polite clients beside attackers, and the bytes of their messages.
const POLITE_CLIENTS: usize = 10;
const POLITE_BYTES: usize = 125;

/// Where a capacity search begins: what any server holds.
const RATE_FROM: f64 = 1_000.0;
const CONNECTIONS_FROM: f64 = 100.0;

/// What a capacity search holds when nothing else is said.
const CAPACITY_BOUND: &str = "p99>10ms";

/// More would need more memory for sockets than most machines have.
const CONNECTIONS_MAX: i64 = 1_000_000;

/// Beyond this a client measures the server's queues and its own.
const DEPTH_MAX: i64 = 4096;

/// Beyond what one thread sends by far.
const RATE_MAX: f64 = 1e8;

/// Shorter runs have no rate that means anything.
const DURATION_MIN: Duration = Duration::from_millis(1);

const EXAMPLES: &str = "\
Examples:
  tickwire-load echo ws://127.0.0.1:9001/ --connections 100 --size 20 --duration 10s
  tickwire-load echo ws://127.0.0.1:9001/ --rate 20000 --fail-if 'p99>5ms' --html echo.html
  tickwire-load fanout ws://127.0.0.1:9002/ -c 1000 --server-cmd './server --port 9002'
  tickwire-load idle ws://127.0.0.1:9001/ -c 10000 --server-pid 4711
  tickwire-load run scenario.toml --json run.json
  tickwire-load report before.json after.json

Exit code: 0 without errors, 1 with errors or when nothing came, 2 when the run cannot begin,
3 when the generator itself was the limit, 4 when a --fail-if held.
Ctrl-C ends a run early and still reports it; a second one ends it at once.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_need_a_unit_and_some_length() {
        for (text, milliseconds) in [("10s", 10_000), ("500ms", 500), ("2m", 120_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["", "10", "0s", "-1s", "1 fortnight"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_are_split_at_the_first_colon() {
        let split = header("Origin: https://example.org:8080");
        assert_eq!(split, Ok(("Origin".to_owned(), "https://example.org:8080".to_owned())));
        assert!(header("Origin").is_err());
    }
}
