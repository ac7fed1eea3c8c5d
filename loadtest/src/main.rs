//! `tickwire-load`: the command line of the load generator.
//!
//! Takes the arguments apart, starts the run, and writes its report: progress to standard error,
//! the table to standard output, JSON where it is wanted. All else is the library's.
//!
//! Exit code 0: no error and at least one message. 1: errors, or nothing came. 2: the run could not
//! begin, because of what was asked for. 3: the generator itself was the limit.

mod progress;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tickwire_load::report::{self, Report};
use tickwire_load::{Arrivals, Load, LoadError, Ramp, Size, Target, Work};

use progress::Progress;

/// Loads any WebSocket server and measures throughput, latency and errors.
///
/// Every message that comes is checked, and every fault counted by kind. One thread drives all
/// connections; the report says how much of a core it used, because above 90 % the figures tell of
/// the generator and no longer of the server.
#[derive(Debug, Parser)]
#[command(name = "tickwire-load", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Clients send binary messages to an echo server and check every answer byte for byte.
    ///
    /// Latency is from the moment before a message is sent to the moment after its echo is read; with
    /// --rate, from the moment at which it should have been sent.
    Echo {
        #[command(flatten)]
        common: Common,
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
}

#[derive(Debug, Args)]
struct Common {
    /// The server: ws://host[:port][/path].
    #[arg(value_name = "URL")]
    target: Target,
    /// Connections to open.
    #[arg(long, short, default_value_t = 100, value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: u32,
    /// How long to measure, from when all connections are open; such as 10s, 500ms, 2m.
    #[arg(long, short, default_value = "10s", value_name = "TIME", value_parser = duration)]
    duration: Duration,
    /// Also write the report as JSON; `-` writes it to standard output and the table to standard
    /// error.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A header to send with each handshake, such as `Origin: https://example.org`; repeatable.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A subprotocol to offer; repeatable, in order of preference.
    #[arg(long = "protocol", value_name = "NAME")]
    protocols: Vec<String>,
    /// Show rate and latency even if the generator itself was the limit.
    #[arg(long)]
    allow_saturated: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

fn main() -> ExitCode {
    let (common, load) = match Arguments::parse().scenario {
        Scenario::Echo { common, size, depth, rate, arrivals } => {
            let usual = if rate.is_some() { DEPTH_OPEN } else { 1 };
            let depth = depth.unwrap_or(usual);
            let mut load = common.load(Work::Echo { size, depth: depth as usize });
            load.stages[0].rate = rate.map(Ramp::constant);
            load.arrivals = arrivals;
            (common, load)
        }
        Scenario::Fanout { common } => {
            let load = common.load(Work::Fanout);
            (common, load)
        }
    };
    run(&load, &common).unwrap_or_else(|failure| {
        let _ = writeln!(io::stderr(), "error: {}", failure.words);
        ExitCode::from(failure.code)
    })
}

impl Common {
    fn load(&self, work: Work) -> Load {
        let (target, connections) = (self.target.clone(), self.connections as usize);
        let mut load = Load::new(target, work, connections, self.duration);
        load.headers.clone_from(&self.headers);
        load.protocols.clone_from(&self.protocols);
        load
    }
}

/// Why there is no report, and the exit code that says so.
struct Failure {
    words: String,
    code: u8,
}

fn run(load: &Load, common: &Common) -> Result<ExitCode, Failure> {
    let sink = common.json.as_deref().map(Sink::open).transpose()?;
    let stop = stop_on_signals().map_err(failed("cannot wait for signals"))?;
    let mut progress = Progress::new(common.quiet);
    let outcome = load.run(&stop, &mut |live| progress.show(load, live));
    progress.finish();
    let outcome = outcome.map_err(|error| Failure {
        code: if matches!(error, LoadError::System(_)) { FAULTY } else { USAGE },
        words: error.to_string(),
    })?;
    let mut report = Report::new(load, &outcome);
    if !common.allow_saturated {
        report = report.withhold_saturated();
    }
    let table = report::table(&report);
    let written = match sink {
        Some(Sink::Output) => io::stderr().write_all(table.as_bytes()),
        _ => io::stdout().write_all(table.as_bytes()),
    };
    written.map_err(failed("cannot write the report"))?;
    if let Some(sink) = sink {
        sink.write(&report).map_err(failed("cannot write the JSON report"))?;
    }
    Ok(match &report.result {
        result if !result.ok => ExitCode::from(FAULTY),
        result if result.withheld => ExitCode::from(SATURATED),
        _ => ExitCode::SUCCESS,
    })
}

/// A flag that SIGINT and SIGTERM set. A second signal ends the process at once.
fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Where the JSON report goes. Opened before the run, so that no run is made in vain.
enum Sink {
    Output,
    File(File),
}

impl Sink {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Output);
        }
        File::create(path).map(Self::File).map_err(|error| Failure {
            words: format!("cannot write {}: {error}", path.display()),
            code: USAGE,
        })
    }

    fn write(self, report: &Report) -> io::Result<()> {
        let mut json = serde_json::to_string_pretty(report)?;
        json.push('\n');
        match self {
            Self::Output => io::stdout().write_all(json.as_bytes()),
            Self::File(mut file) => file.write_all(json.as_bytes()),
        }
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { words: format!("{what}: {error}"), code: FAULTY }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < DURATION_MIN {
        return Err("a run takes at least 1ms".to_owned());
    }
    Ok(duration)
}

fn rate(text: &str) -> Result<f64, String> {
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

/// Exit code of a run with errors, or one that the system cut short.
const FAULTY: u8 = 1;

/// Exit code when what was asked for cannot be done.
const USAGE: u8 = 2;

/// More would need more addresses of the client than one.
const CONNECTIONS_MAX: i64 = 1_000_000;

/// Exit code of a run whose figures are withheld because they would be the generator's own.
const SATURATED: u8 = 3;

/// Messages that a client of the open model may have on their way: enough that a server is not
/// spared what it cannot do, and 512 bytes here.
const DEPTH_OPEN: u32 = 32;

/// Beyond this a client measures the server's queues and its own.
const DEPTH_MAX: i64 = 4096;

/// Beyond what one thread sends by far.
const RATE_MAX: f64 = 1e8;

/// Shorter runs have no rate that means anything.
const DURATION_MIN: Duration = Duration::from_millis(1);

const EXAMPLES: &str = "\
Examples:
  tickwire-load echo ws://127.0.0.1:9001/ --connections 100 --size 20 --duration 10s
  tickwire-load echo ws://127.0.0.1:9001/ --size 125 --depth 16 --json echo.json
  tickwire-load fanout ws://127.0.0.1:9002/ --connections 1000 --duration 30s

Exit code: 0 without errors, 1 with errors or when nothing came, 2 when the run cannot begin,
3 when the generator itself was the limit.
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
