//! The subcommand `compare`: its arguments, its progress, and where its result goes.
//!
//! What is compared, and how, is the library's ([`tickwire_load::compare`]). Exit code 1 says that a
//! server had no figures in some round, or that the comparison was ended early; the result is
//! written all the same.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tickwire_load::compare::{self, Compared, Comparison, Cpus, Server, Step, Workload};
use tickwire_load::{Options, Ramp, ScenarioName, Size, Target};

use crate::output::{FAULTY, Failure, USAGE, create, failed};
use crate::progress::Progress;
use crate::{refused, stop_on_signals};

#[derive(Debug, Args)]
pub(crate) struct ComparisonArguments {
    /// A TOML file with servers and workloads.
    #[arg(value_name = "FILE", required_unless_present = "servers", conflicts_with = "servers")]
    file: Option<PathBuf>,
    /// A server and the command that starts it; repeatable. `{address}` in the command becomes an
    /// address to listen on; without it the server prints one. Ratios are to the first.
    #[arg(long = "server", value_name = "NAME=COMMAND", value_parser = server)]
    servers: Vec<Server>,
    /// With --server: what the clients do.
    #[arg(long, default_value = "echo", conflicts_with = "file",
          value_parser = ["echo", "fanout", "connect", "idle"])]
    scenario: String,
    /// With --server: connections to open.
    #[arg(long, short, default_value_t = 100, value_name = "NUMBER", conflicts_with = "file")]
    connections: usize,
    /// With --server: payload bytes of a message of echo [default: 20].
    #[arg(long, value_name = "BYTES", conflicts_with = "file")]
    size: Option<Size>,
    /// With --server: messages of echo that each client keeps on their way [default: 1; with --rate
    /// at most 32].
    #[arg(long, value_name = "MESSAGES", conflicts_with = "file")]
    depth: Option<usize>,
    /// With --server: messages or handshakes a second, each at its intended time.
    #[arg(long, value_name = "MESSAGES", conflicts_with = "file")]
    rate: Option<f64>,
    /// How long to measure in each run [default: the file's, or 3s].
    #[arg(long, short, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// How long to warm up before [default: the file's, or 500ms].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    warm_up: Option<Duration>,
    /// How often each workload meets each server [default: the file's, or 3].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Cores for the servers, such as 0 or 0-2,5 [default: the first, if there are two].
    #[arg(long, value_name = "CPUS")]
    server_cpus: Option<Cpus>,
    /// Cores for the generator [default: the second].
    #[arg(long, value_name = "CPUS")]
    client_cpus: Option<Cpus>,
    /// Only these servers of the file, separated by commas; the first of the file that is among them
    /// is the first.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "servers")]
    only: Vec<String>,
    /// Only this workload of the file; repeatable.
    #[arg(long = "workload", value_name = "NAME", conflicts_with = "servers")]
    workloads: Vec<String>,
    /// Also write the result as JSON; `-` writes it to standard output and the table to standard
    /// error.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write one page with bars, complete in itself.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// Makes the comparison and writes its result.
pub(crate) fn compare(arguments: ComparisonArguments) -> Result<ExitCode, Failure> {
    let sinks = Sinks::open(&arguments)?;
    let quiet = arguments.quiet;
    let comparison = arguments.comparison()?;
    let stop = stop_on_signals().map_err(failed("cannot wait for signals"))?;
    let mut progress = Progress::new(quiet);
    let mut observe = |step: &Step<'_>| match step {
        Step::Running { load, live } => progress.show(load, live),
        Step::Over { workload, server, run } if !quiet => {
            progress.finish();
            progress = Progress::new(quiet);
            let (round, rounds) = (run.round, comparison.rounds);
            let (workload, server, words) = (&workload.name, &server.name, compare::line(run));
            let _ = writeln!(io::stderr(), "{round}/{rounds}  {workload}  {server}: {words}");
        }
        _ => {}
    };
    let compared = comparison.run(&stop, &mut observe).map_err(|error| refused(&error))?;
    sinks.write(&compared)?;
    Ok(if compared.ok { ExitCode::SUCCESS } else { ExitCode::from(FAULTY) })
}

impl ComparisonArguments {
    fn comparison(self) -> Result<Comparison, Failure> {
        let mut comparison = match self.file.as_deref() {
            Some(path) => self.read(path)?,
            None => Comparison::new(self.servers.clone(), vec![self.workload()?]),
        };
        if let Some(rounds) = self.rounds {
            comparison.rounds = rounds as usize;
        }
        let placement = &mut comparison.placement;
        placement.server = self.server_cpus.or_else(|| placement.server.take());
        placement.client = self.client_cpus.or_else(|| placement.client.take());
        Ok(comparison)
    }

    /// The comparison of a file, or what is asked for of it.
    fn read(&self, path: &Path) -> Result<Comparison, Failure> {
        let in_file =
            |words: String| Failure { words: format!("{}: {words}", path.display()), code: USAGE };
        let text = std::fs::read_to_string(path).map_err(|error| in_file(error.to_string()))?;
        let lengths = (self.warm_up, self.duration);
        let mut comparison = Comparison::of_file(&text, lengths).map_err(in_file)?;
        for name in &self.only {
            if !comparison.servers.iter().any(|server| server.name == *name) {
                return Err(in_file(format!("there is no server {name}: see --only")));
            }
        }
        for name in &self.workloads {
            if !comparison.workloads.iter().any(|workload| workload.name == *name) {
                return Err(in_file(format!("there is no workload {name}: see --workload")));
            }
        }
        let (servers, workloads) = (&self.only, &self.workloads);
        comparison.servers.retain(|it| servers.is_empty() || servers.contains(&it.name));
        comparison.workloads.retain(|it| workloads.is_empty() || workloads.contains(&it.name));
        Ok(comparison)
    }

    /// The one workload of the flags.
    fn workload(&self) -> Result<Workload, Failure> {
        let connections = self.connections;
        let scenario = self.scenario.parse().expect("clap takes names of scenarios only");
        let name = match scenario {
            ScenarioName::Echo => {
                let size = self.size.as_ref().map_or_else(|| "20".to_owned(), Size::to_string);
                format!("echo {size} B × {connections}")
            }
            scenario => format!("{scenario} × {connections}"),
        };
        let anywhere: Target = ANYWHERE.parse().expect("the address is well-formed");
        let options = Options {
            scenario: Some(scenario),
            url: Some(anywhere),
            connections: Some(connections),
            size: self.size.clone(),
            depth: self.depth,
            stages: compare::stages(
                self.warm_up.unwrap_or(compare::WARM_UP_DEFAULT),
                self.duration.unwrap_or(compare::DURATION_DEFAULT),
                self.rate.map(Ramp::constant),
            ),
            ..Options::default()
        };
        let order = options.order().map_err(|words| Failure { words, code: USAGE })?;
        Ok(Workload::new(name, order.load))
    }
}

/// Where the result goes; opened before the first run, so that none is made in vain.
struct Sinks {
    /// `None` inside is standard output.
    json: Option<Option<File>>,
    html: Option<File>,
}

impl Sinks {
    fn open(arguments: &ComparisonArguments) -> Result<Self, Failure> {
        let json = match arguments.json.as_deref() {
            Some(path) if path == Path::new("-") => Some(None),
            path => path.map(create).transpose()?.map(Some),
        };
        Ok(Self { json, html: arguments.html.as_deref().map(create).transpose()? })
    }

    fn write(self, compared: &Compared) -> Result<(), Failure> {
        let table = compare::table(compared);
        let written = match self.json {
            Some(None) => io::stderr().write_all(table.as_bytes()),
            _ => io::stdout().write_all(table.as_bytes()),
        };
        written.map_err(failed("cannot write the table"))?;
        if let Some(mut file) = self.html {
            file.write_all(compare::html(compared).as_bytes())
                .map_err(failed("cannot write the page"))?;
        }
        let json = || -> io::Result<String> { Ok(serde_json::to_string_pretty(compared)? + "\n") };
        match self.json {
            None => Ok(()),
            Some(None) => json().and_then(|json| io::stdout().write_all(json.as_bytes())),
            Some(Some(mut file)) => json().and_then(|json| file.write_all(json.as_bytes())),
        }
        .map_err(failed("cannot write the JSON result"))
    }
}

fn server(text: &str) -> Result<Server, String> {
    match text.split_once('=') {
        Some((name, command)) if !name.is_empty() && !command.trim().is_empty() => {
            Ok(Server::new(name, command))
        }
        _ => Err("a server has the form `NAME=COMMAND`".to_owned()),
    }
}

/// What a load has before its servers are known.
const ANYWHERE: &str = "ws://127.0.0.1:1/";
