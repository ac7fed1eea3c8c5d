//! `tickwire-load`: the command line of the load generator.
//!
//! Takes the arguments apart, starts the run, and writes its report: progress to standard error,
//! the table to standard output, JSON where it is wanted. All else is the library's.
//!
//! Exit code 0: no error and at least one message. 1: errors, or nothing came. 2: the run could not
//! begin, because of what was asked for.

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
use tickwire_load::{Load, LoadError, Target, Work};

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
    /// Latency is from the moment before a message is sent to the moment after its echo is read.
    Echo {
        #[command(flatten)]
        common: Common,
        /// Payload bytes of a message.
        #[arg(long, default_value_t = 20, value_name = "BYTES",
              value_parser = clap::value_parser!(u32).range(..=SIZE_MAX))]
        size: u32,
        /// Messages that each client keeps on their way.
        #[arg(long, default_value_t = 1, value_name = "MESSAGES",
              value_parser = clap::value_parser!(u32).range(1..=DEPTH_MAX))]
        depth: u32,
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
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

fn main() -> ExitCode {
    let (common, work) = match Arguments::parse().scenario {
        Scenario::Echo { common, size, depth } => {
            (common, Work::Echo { size: size as usize, depth: depth as usize })
        }
        Scenario::Fanout { common } => (common, Work::Fanout),
    };
    let mut load = Load::new(common.target, work, common.connections as usize, common.duration);
    load.headers = common.headers;
    load.protocols = common.protocols;
    run(&load, common.json.as_deref(), common.quiet).unwrap_or_else(|failure| {
        let _ = writeln!(io::stderr(), "error: {}", failure.words);
        ExitCode::from(failure.code)
    })
}

/// Why there is no report, and the exit code that says so.
struct Failure {
    words: String,
    code: u8,
}

fn run(load: &Load, json: Option<&Path>, quiet: bool) -> Result<ExitCode, Failure> {
    let sink = json.map(Sink::open).transpose()?;
    let stop = stop_on_signals().map_err(failed("cannot wait for signals"))?;
    let mut progress = Progress::new(quiet);
    let outcome = load.run(&stop, &mut |live| progress.show(load, live));
    progress.finish();
    let outcome = outcome.map_err(|error| Failure {
        code: if matches!(error, LoadError::System(_)) { FAULTY } else { USAGE },
        words: error.to_string(),
    })?;
    let table = report::table(load, &outcome);
    let written = match sink {
        Some(Sink::Output) => io::stderr().write_all(table.as_bytes()),
        _ => io::stdout().write_all(table.as_bytes()),
    };
    written.map_err(failed("cannot write the report"))?;
    if let Some(sink) = sink {
        sink.write(&Report::new(load, &outcome)).map_err(failed("cannot write the JSON report"))?;
    }
    Ok(if outcome.is_flawless() { ExitCode::SUCCESS } else { ExitCode::from(FAULTY) })
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

/// Servers take 1 MB or 16 MB at most by default; the clients' buffers grow with it.
const SIZE_MAX: i64 = 16 << 20;

/// Beyond this a client measures the server's queues and its own.
const DEPTH_MAX: i64 = 4096;

/// Shorter runs have no rate that means anything.
const DURATION_MIN: Duration = Duration::from_millis(1);

const EXAMPLES: &str = "\
Examples:
  tickwire-load echo ws://127.0.0.1:9001/ --connections 100 --size 20 --duration 10s
  tickwire-load echo ws://127.0.0.1:9001/ --size 125 --depth 16 --json echo.json
  tickwire-load fanout ws://127.0.0.1:9002/ --connections 1000 --duration 30s

Exit code: 0 without errors, 1 with errors or when nothing came, 2 when the run cannot begin.
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
