//! `wsspec`: holds any WebSocket server to RFC 6455 and RFC 7692, over the wire.
//!
//! Speaks raw bytes with an encoder, a decoder and an inflater of its own, so that no fault of the
//! engine beside which it lives can hide itself. Each case opens connections of its own, sends
//! something right or wrong, and says what was expected and what came.
//!
//! Exit code 0: no case failed. 1: at least one did. 2: the run could not begin, because there is
//! no server, it does not accept a right handshake, or the arguments make no sense.

#![forbid(unsafe_code)]

mod answer;
mod case;
mod cases;
mod compress;
mod glob;
mod inflate;
mod peer;
mod reader;
mod report;
mod request;
mod run;
mod subject;
mod transcript;
mod wire;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tickwire_load::{Gateway, Target, Trust};

use case::{Case, Level};
use report::{Counts, Line};
use subject::{Facts, Subject};

/// Tests any WebSocket server for conformance with RFC 6455 and RFC 7692.
///
/// One line for each case: its verdict, how binding the sentence is, its name, where it stands.
/// Failures show what was sent, what was expected and what came.
///
/// Many cases wait for an echo: start the server with a handler that sends every message back as
/// it came. On a server that does not echo they are left out, and the summary says so.
#[derive(Debug, Parser)]
#[command(name = "wsspec", version, after_help = EXAMPLES)]
struct Arguments {
    /// The server: ws://host[:port][/path], or wss://.
    #[arg(value_name = "URL", required_unless_present = "list")]
    target: Option<Target>,
    /// Only cases whose name matches, such as 'frames/*' or '*.code'; repeatable.
    #[arg(long = "case", value_name = "GLOB")]
    patterns: Vec<String>,
    /// Only cases that are at least this binding.
    #[arg(long, value_enum, default_value = "advice")]
    level: Level,
    /// List the cases and end.
    #[arg(long)]
    list: bool,
    /// With --list: as a Markdown table, variants in the row of their sentence.
    #[arg(long, requires = "list")]
    markdown: bool,
    /// Show what was sent and what came for every case.
    #[arg(long, short)]
    verbose: bool,
    /// Also write the report as JSON; `-` writes it to standard output and the lines to standard
    /// error.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the report as JUnit XML; `-` as above.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also write the report in the Test Anything Protocol; `-` as above.
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
    /// How long to wait for what must come at once.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How long to wait for the server's own deadlines, of a handshake or a close that is not
    /// finished.
    #[arg(long, default_value = "20s", value_name = "TIME", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Cases at a time.
    #[arg(long, default_value_t = 8, value_name = "NUMBER",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// A header line for each handshake, such as 'Authorization: Bearer x'; repeatable.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A subprotocol that the server knows; without it cases about the choice are left out.
    #[arg(long, value_name = "NAME")]
    subprotocol: Option<String>,
    /// An origin that the server admits, while it refuses others; sent with each handshake.
    #[arg(long)]
    origin: Option<String>,
    /// For wss://: believe only the certificate authorities in this PEM file.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// For wss://: believe every certificate.
    #[arg(long)]
    insecure: bool,
    /// A path that the server does not serve.
    #[arg(long, value_name = "PATH")]
    missing_path: Option<String>,
    /// The longest message that the server accepts; without it cases about limits are left out.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1024..=67_108_864))]
    max_message: Option<u32>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run_all(&arguments).unwrap_or_else(|words| {
        let _ = writeln!(io::stderr(), "error: {words}");
        ExitCode::from(UNABLE)
    })
}

fn run_all(arguments: &Arguments) -> Result<ExitCode, String> {
    let cases = chosen(arguments)?;
    if arguments.list {
        let text = if arguments.markdown { report::markdown(&cases) } else { report::list(&cases) };
        // Who reads only the beginning of it has what was wanted.
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let target = arguments.target.as_ref().ok_or("name a server: ws://host:port/path")?;
    let mut sinks = Sinks::open(arguments)?;
    let mut subject = subject(arguments, target)?;
    subject.probe().map_err(|words| format!("{target} cannot be tested: {words}"))?;
    let mut lines = Vec::new();
    let show = Show::new(arguments);
    run::run(&cases, &subject, usize::from(arguments.jobs), &mut |case, report| {
        let line = Line::new(case, report);
        show.write(|colour| line.words(colour, arguments.verbose));
        lines.push(line);
    });
    show.write(|_| report::summary(&lines));
    sinks.write(&target.to_string(), &lines)?;
    let is_flawless = Counts::all(&lines).failed == 0;
    Ok(if is_flawless { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The cases that were asked for.
fn chosen(arguments: &Arguments) -> Result<Vec<Case>, String> {
    let patterns = &arguments.patterns;
    let mut cases = cases::all();
    for pattern in patterns {
        if !cases.iter().any(|case| glob::matches(pattern, &case.id)) {
            return Err(format!("no case is named {pattern}; --list names them all"));
        }
    }
    cases.retain(|case| {
        case.level <= arguments.level
            && (patterns.is_empty() || patterns.iter().any(|glob| glob::matches(glob, &case.id)))
    });
    Ok(cases)
}

fn subject(arguments: &Arguments, target: &Target) -> Result<Subject, String> {
    let mut address = target.resolve().map_err(|error| error.to_string())?;
    if target.is_secure() {
        let trust = Trust::of(arguments.ca.clone(), arguments.insecure);
        let gateway = Gateway::open(address, target.name(), &trust);
        address = gateway.map_err(|error| error.to_string())?.address();
    }
    Ok(Subject {
        address,
        host: target.host(),
        path: target.path().to_owned(),
        headers: arguments.headers.clone(),
        subprotocol: arguments.subprotocol.clone(),
        origin: arguments.origin.clone(),
        missing_path: arguments.missing_path.clone(),
        message_max: arguments.max_message.map(|bytes| bytes as usize),
        timeout: arguments.timeout,
        patience: arguments.patience,
        facts: Facts { echo: false, greeting: 0, deflate: false },
    })
}

/// Where the lines go.
struct Show {
    to_error: bool,
    colour: bool,
}

impl Show {
    fn new(arguments: &Arguments) -> Self {
        let reports = [&arguments.json, &arguments.junit, &arguments.tap];
        let to_error = reports.iter().any(|path| path.as_deref() == Some(Path::new("-")));
        let is_terminal =
            if to_error { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        Self { to_error, colour: is_terminal && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Nobody to read it is no reason to end a run.
    fn write(&self, words: impl Fn(bool) -> String) {
        let words = words(self.colour);
        let _ = if self.to_error {
            io::stderr().write_all(words.as_bytes())
        } else {
            io::stdout().write_all(words.as_bytes())
        };
    }
}

/// Where the other forms go. Opened before the run, so that no run is made in vain.
struct Sinks {
    json: Option<Box<dyn Write>>,
    junit: Option<Box<dyn Write>>,
    tap: Option<Box<dyn Write>>,
}

impl Sinks {
    fn open(arguments: &Arguments) -> Result<Self, String> {
        let open = |path: &Option<PathBuf>| -> Result<Option<Box<dyn Write>>, String> {
            let Some(path) = path else { return Ok(None) };
            if path == Path::new("-") {
                return Ok(Some(Box::new(io::stdout())));
            }
            let file = File::create(path)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok(Some(Box::new(file)))
        };
        let (json, junit) = (open(&arguments.json)?, open(&arguments.junit)?);
        Ok(Self { json, junit, tap: open(&arguments.tap)? })
    }

    fn write(&mut self, url: &str, lines: &[Line]) -> Result<(), String> {
        let write = |sink: &mut Option<Box<dyn Write>>, text: String| match sink {
            Some(sink) => sink.write_all(text.as_bytes()).map_err(|error| error.to_string()),
            None => Ok(()),
        };
        write(&mut self.json, report::json(url, lines).map_err(|error| error.to_string())?)?;
        write(&mut self.junit, report::junit(url, lines))?;
        write(&mut self.tap, report::tap(lines))
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header has the form `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Exit code of a run with failures.
const FAILED: u8 = 1;

/// Exit code when there was no run.
const UNABLE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  wsspec ws://127.0.0.1:9002/
  wsspec ws://127.0.0.1:9002/ --max-message 1048576 --level must
  wsspec ws://127.0.0.1:9002/ --case 'frames/*' --case 'close/*' --verbose
  wsspec --list

Exit code: 0 when no case failed, 1 when one did, 2 when the run could not begin.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
