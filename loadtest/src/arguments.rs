//! The command line, taken apart: which run, and where its report goes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tickwire_load::{
    Arrivals, Attack, CapacityOptions, MixOptions, Options, Outputs, Ramp, ScenarioName,
    ServerOptions, Size, Target, Vary,
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
    ///
    /// With --topics each client first says which it wants, in a text message such as
    /// `subscribe 3,17`, and is answered `subscribed distinct` if everything is to come, or
    /// `subscribed merge` if values may be left out that newer ones have replaced. The sequence
    /// number is then of the topic, and bytes 16 to 20 are the topic's number, little-endian.
    Fanout {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        topics: TopicArguments,
    },
    /// Clients subscribe to prices by ticker.v1.json, and check every snapshot and update.
    Ticker {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        ticker: TickerArguments,
    },
    /// Connections are opened and do nothing: what each costs in memory.
    ///
    /// With --topics each says what it wants first, as with `fanout`.
    Idle {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        topics: TopicArguments,
    },
    /// Handshakes: as they arrive with --rate, else as fast as --connections places allow.
    Connect {
        #[command(flatten)]
        common: Common,
        /// Handshakes a second, each at its intended time.
        #[arg(long, value_name = "HANDSHAKES")]
        rate: Option<f64>,
        /// With --rate, how they follow each other [default: even].
        #[arg(long, value_enum, requires = "rate")]
        arrivals: Option<Arrivals>,
        /// Where a server is wss://, take up sessions of TLS again, which a handshake leaves as a
        /// ticket for another.
        #[arg(long)]
        resume: bool,
    },
    /// The fan-out, with clients among the good ones that read slowly, read nothing, come and go.
    Mixed {
        #[command(flatten)]
        common: Common,
        /// Share of clients that read 4 KB each tenth of a second, 0 to 1 [default: 0.1].
        #[arg(long, value_name = "SHARE")]
        slow: Option<f64>,
        /// Share of clients that read nothing [default: 0.1].
        #[arg(long, value_name = "SHARE")]
        stalled: Option<f64>,
        /// Share of clients that stay half a second, go, and come again [default: 0.1].
        #[arg(long, value_name = "SHARE")]
        restless: Option<f64>,
    },
    /// Attacks of eleven kinds, each beside polite echo clients: what the server did, and what it
    /// cost them.
    Abuse {
        /// The echo server.
        #[arg(value_name = "URL")]
        target: Target,
        /// The attacks, separated by commas [default: all].
        #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
        attacks: Vec<Attack>,
        /// Attackers at a time [default: 10].
        #[arg(long, value_name = "NUMBER")]
        attackers: Option<usize>,
        /// How long each attack goes on [default: 5s].
        #[arg(long, short, value_name = "TIME", value_parser = humantime::parse_duration)]
        duration: Option<Duration>,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        outputs: Outputs,
    },
    /// Searches the largest load that holds: no error, nothing unsent, and no --fail-if condition
    /// [default: p99>10ms].
    ///
    /// The load is doubled until it breaks, and the last step is halved until it is 5 %. Where the
    /// generator is the limit before the server, what was found is a lower bound and called so.
    Capacity {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        echo: EchoArguments,
        /// What the clients do; a fan-out server begins afresh for each run, so it needs
        /// --server-cmd.
        #[arg(long, default_value = "echo", value_parser = ["echo", "connect", "fanout", "idle"])]
        scenario: String,
        /// What is raised [default: the rate of echo and connect, else connections].
        #[arg(long, value_enum)]
        vary: Option<Vary>,
        /// The first load [default: 1000 a second, or 100 connections].
        #[arg(long, value_name = "LOAD")]
        from: Option<f64>,
        /// The largest load that is tried [default: 1000000].
        #[arg(long, value_name = "LOAD")]
        to: Option<f64>,
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

#[derive(Debug, Args)]
pub(crate) struct EchoArguments {
    /// Payload bytes of a message: 20, a range 20..1000, or sizes with weights 20:90,1024:10
    /// [default: 20].
    #[arg(long, value_name = "BYTES")]
    size: Option<Size>,
    /// Messages that each client keeps on their way [default: 1]; with --rate, the most that it
    /// may have there [default: 32].
    #[arg(long, value_name = "MESSAGES")]
    depth: Option<usize>,
    /// Open model: messages a second over all clients, each at its intended time, from which its
    /// latency counts. Without it each client sends when an answer comes (closed model).
    #[arg(long, value_name = "MESSAGES")]
    rate: Option<f64>,
    /// With --rate, how messages follow each other [default: even].
    #[arg(long, value_enum, requires = "rate")]
    arrivals: Option<Arrivals>,
    /// With --deflate: compress what is sent, too.
    #[arg(long, requires = "deflate")]
    compress: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TickerArguments {
    /// Symbols to subscribe to, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_name = "NAMES")]
    symbols: Vec<String>,
    /// `merge` for the latest value only, `distinct` for every event; the server's choice if not
    /// given.
    #[arg(long)]
    mode: Option<String>,
    /// Updates a second of one symbol at most.
    #[arg(long, value_name = "UPDATES")]
    max_rate: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct TopicArguments {
    /// Topics that there are, numbered from 0.
    #[arg(long, value_name = "NUMBER")]
    topics: Option<usize>,
    /// How many of them each client subscribes to, drawn at random, the same in each run
    /// [default: all].
    #[arg(long, value_name = "NUMBER", requires = "topics")]
    topics_of_each: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The servers: ws://host[:port][/path], or wss://; each client has the next one in turn.
    #[arg(value_name = "URL", required = true)]
    targets: Vec<Target>,
    /// Connections to open [default: 100].
    #[arg(long, short, value_name = "NUMBER")]
    connections: Option<usize>,
    /// How long to measure, from when all connections are open; such as 10s, 500ms, 2m
    /// [default: 10s].
    #[arg(long, short, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// A header to send with each handshake, such as `Origin: https://example.org`; repeatable.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A subprotocol to offer; repeatable, in order of preference.
    #[arg(long = "protocol", value_name = "NAME")]
    protocols: Vec<String>,
    /// Offer permessage-deflate, without context takeover; messages are then prices as JSON, which
    /// compress to about a quarter, and not random bytes.
    #[arg(long)]
    deflate: bool,
    /// An address of this machine to connect from; repeatable. On the loopback several are used when
    /// one has too few ports.
    #[arg(long = "source", value_name = "ADDRESS")]
    sources: Vec<IpAddr>,
    /// Processes that make the load together [default: as many as one process's limit of open files
    /// asks for].
    #[arg(long, value_name = "NUMBER")]
    processes: Option<usize>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    outputs: Outputs,
}

/// The server: whose use of the machine is reported, and who vouches for it.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The server's process: its CPU time, memory and context switches go into the report.
    #[arg(long, value_name = "PID", conflicts_with = "server_cmd")]
    server_pid: Option<u32>,
    /// A command that starts the server; it is waited for, measured, and stopped after the run.
    #[arg(long, value_name = "COMMAND")]
    server_cmd: Option<String>,
    /// Where a server is wss://, believe only the certificate authorities in this PEM file, and not
    /// those of the system.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Where a server is wss://, believe every certificate.
    #[arg(long)]
    insecure: bool,
}

impl Common {
    /// The options of a scenario that has no others.
    pub(crate) fn options(self, scenario: ScenarioName) -> Options {
        Options {
            scenario: Some(scenario),
            urls: self.targets,
            connections: self.connections,
            duration: self.duration,
            headers: self.headers,
            protocols: self.protocols,
            deflate: self.deflate,
            sources: self.sources,
            processes: self.processes,
            server: self.server.options(),
            output: self.outputs,
            ..Options::default()
        }
    }
}

impl Server {
    fn options(self) -> ServerOptions {
        let Self { server_pid: pid, server_cmd: command, ca, insecure } = self;
        ServerOptions { command, pid, ca, insecure }
    }
}

impl EchoArguments {
    /// Adds these options.
    fn add_to(self, options: Options) -> Options {
        Options {
            size: self.size,
            depth: self.depth,
            rate: self.rate.map(Ramp::constant),
            arrivals: self.arrivals,
            compress: self.compress,
            ..options
        }
    }
}

impl TopicArguments {
    /// Adds these options.
    fn add_to(self, options: Options) -> Options {
        Options { topics: self.topics, topics_of_each: self.topics_of_each, ..options }
    }
}

impl Command {
    /// The options of a command that makes a run or a search; the others are given back.
    pub(crate) fn options(self) -> Result<Options, Box<Self>> {
        Ok(match self {
            Self::Echo { common, echo } => echo.add_to(common.options(ScenarioName::Echo)),
            Self::Fanout { common, topics } => topics.add_to(common.options(ScenarioName::Fanout)),
            Self::Ticker { common, ticker: TickerArguments { symbols, mode, max_rate } } => {
                Options { symbols, mode, max_rate, ..common.options(ScenarioName::Ticker) }
            }
            Self::Idle { common, topics } => topics.add_to(common.options(ScenarioName::Idle)),
            Self::Connect { common, rate, arrivals, resume } => {
                let rate = rate.map(Ramp::constant);
                Options { rate, arrivals, resume, ..common.options(ScenarioName::Connect) }
            }
            Self::Mixed { common, slow, stalled, restless } => {
                let mix = Some(MixOptions { slow, stalled, restless });
                Options { mix, ..common.options(ScenarioName::Mixed) }
            }
            Self::Abuse { target, attacks, attackers, duration, server, outputs } => Options {
                scenario: Some(ScenarioName::Abuse),
                url: Some(target),
                attacks,
                attackers,
                duration,
                server: server.options(),
                output: outputs,
                ..Options::default()
            },
            Self::Capacity { common, echo, scenario, vary, from, to } => {
                let scenario = scenario.parse().expect("clap takes names of scenarios only");
                let capacity = Some(CapacityOptions { vary, from, to });
                Options { capacity, ..echo.add_to(common.options(scenario)) }
            }
            other => return Err(Box::new(other)),
        })
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header has the form `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

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

    /// The key of a file for each flag whose name is another.
    const KEYS: &[(&str, &str)] = &[
        ("header", "headers"),
        ("protocol", "protocols"),
        ("source", "sources"),
        ("server-pid", "server = { pid }"),
        ("server-cmd", "server = { command }"),
        ("ca", "server = { ca }"),
        ("insecure", "server = { insecure }"),
        ("slow", "mix = { slow }"),
        ("stalled", "mix = { stalled }"),
        ("restless", "mix = { restless }"),
        ("json", "output = { json }"),
        ("html", "output = { html }"),
        ("hdr", "output = { hdr }"),
        ("allow-saturated", "output = { allow-saturated }"),
        ("quiet", "output = { quiet }"),
        ("vary", "capacity = { vary }"),
        ("from", "capacity = { from }"),
        ("to", "capacity = { to }"),
    ];

    /// A value of the key that is refused, if at all, for its value.
    fn with_key(scenario: &str, key: &str) -> String {
        let key = match key.split_once('{') {
            Some((table, name)) => format!("{table}{{ {} = 1 }}", name.trim_matches([' ', '}'])),
            None => format!("{key} = 1"),
        };
        format!("scenario = \"{scenario}\"\n{key}\n")
    }

    #[test]
    fn every_flag_of_a_scenario_is_a_key_of_its_files() {
        let command = Arguments::command();
        for scenario in ScenarioName::ALL {
            let flags = command.find_subcommand(scenario.name()).unwrap().get_arguments();
            for flag in flags.filter_map(|it| it.get_long()) {
                let key = KEYS.iter().find(|(name, _)| *name == flag).map_or(flag, |(_, key)| key);
                let text = with_key(scenario.name(), key);
                let error = text.parse::<Options>().err().unwrap_or_default();
                let known = !error.contains("unknown key") && !error.contains("is of");
                assert!(known, "{text}: {error}");
            }
        }
        let error = with_key("echo", "output = { jsn }").parse::<Options>().unwrap_err();
        assert!(error.contains("unknown key"), "the test would see it: {error}");
    }

    #[test]
    fn headers_are_split_at_the_first_colon() {
        let split = header("Origin: https://example.org:8080");
        assert_eq!(split, Ok(("Origin".to_owned(), "https://example.org:8080".to_owned())));
        assert!(header("Origin").is_err());
    }
}
