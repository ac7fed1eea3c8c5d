//! `tickwire-load`: the command line of the load generator.
//!
//! Takes the arguments apart, starts the run, and writes its report: progress to standard error,
//! the table to standard output, files where they are wanted. All else is the library's.
//!
//! Exit code 0: no error and at least one message. 1: errors, or nothing came. 2: the run could not
//! begin, because of what was asked for. 3: the generator itself was the limit. 4: a condition of
//! `--fail-if` held.

#![forbid(unsafe_code)]

mod arguments;
mod comparison;
mod output;
mod progress;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tickwire_load::report::{self, Report};
use tickwire_load::server::ServerProcess;
use tickwire_load::{Abuse, Capacity, Live, Load, LoadError, Options, Order, Search, Task, swarm};

use arguments::{Arguments, Command};
use output::{FAULTY, Failure, SATURATED, Sinks, USAGE, create, exit_code, failed};
use progress::Progress;

fn main() -> ExitCode {
    follow(Arguments::parse().command).unwrap_or_else(|failure| {
        let _ = writeln!(io::stderr(), "error: {}", failure.words);
        ExitCode::from(failure.code)
    })
}

fn follow(command: Command) -> Result<ExitCode, Failure> {
    let not_a_run = match command.options() {
        Ok(options) => return make(options.order().map_err(usage)?),
        Err(command) => *command,
    };
    match not_a_run {
        Command::Run { file, outputs } => {
            let in_file = |words: String| usage(format!("{}: {words}", file.display()));
            let text =
                std::fs::read_to_string(&file).map_err(|error| in_file(error.to_string()))?;
            let options: Options = text.parse().map_err(in_file)?;
            let mut order = options.order().map_err(in_file)?;
            order.outputs = outputs.over(order.outputs);
            make(order)
        }
        Command::Compare(arguments) => comparison::compare(*arguments),
        Command::Report { files, html } => show_again(&files, html.as_deref()),
        _ => {
            swarm::work().map_err(failed("the worker cannot go on"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Does what is to be done.
fn make(order: Order) -> Result<ExitCode, Failure> {
    match order.task.clone() {
        Task::Attack(abuse) => run(order, Some(&abuse)),
        Task::Search(search) => capacity(&order, &search),
        _ => run(order, None),
    }
}

/// Makes a run, with attackers beside it if there are any, and reports it.
fn run(order: Order, abuse: Option<&Abuse>) -> Result<ExitCode, Failure> {
    let Order { mut load, server_command, outputs, .. } = order;
    let sinks = Sinks::open(&outputs)?;
    let server = start_server(server_command.as_deref(), &mut load).map_err(|it| refused(&it))?;
    let stop = stop_on_signals().map_err(failed("cannot wait for signals"))?;
    let mut progress = Progress::new(outputs.quiet);
    let mut observe = |live: &Live| progress.show(&load, live);
    let made = match abuse {
        Some(abuse) => abuse.run(&load, &stop, &mut observe),
        None => load.run(&stop, &mut observe).map(|outcome| (outcome, Vec::new())),
    };
    progress.finish();
    drop(server);
    let (outcome, attacks) = made.map_err(|error| refused(&error))?;
    let mut report = Report::new(&load, &outcome);
    if !attacks.is_empty() {
        report = report.with_attacks(attacks);
    }
    if !outputs.allow_saturated {
        report = report.withhold_saturated();
    }
    let report = report.check(&outputs.fail_if);
    sinks.write(&report, &outcome)?;
    Ok(exit_code(&report))
}

/// Starts the server of a run if it has a command, and watches it.
fn start_server(
    command: Option<&str>,
    load: &mut Load,
) -> Result<Option<ServerProcess>, LoadError> {
    let Some(command) = command else { return Ok(None) };
    let server = ServerProcess::start(command, load.targets[0].resolve()?)?;
    load.server_pid = Some(server.pid());
    Ok(Some(server))
}

/// Searches the largest load that holds, and reports the run that held it.
fn capacity(order: &Order, search: &Search) -> Result<ExitCode, Failure> {
    let Order { load, server_command, outputs, .. } = order;
    let sinks = Sinks::open(outputs)?;
    let stop = stop_on_signals().map_err(failed("cannot wait for signals"))?;
    let say = |words: &str| {
        let _ = writeln!(io::stderr(), "{words}");
    };
    say(&report::searching(search, &outputs.fail_if));
    let run = |value| {
        let mut load = search.load(load, value);
        let server = start_server(server_command.as_deref(), &mut load)?;
        let mut progress = Progress::new(outputs.quiet);
        let outcome = load.run(&stop, &mut |live| progress.show(&load, live));
        progress.finish();
        drop(server);
        let outcome = outcome?;
        Ok((Report::new(&load, &outcome).check(&outputs.fail_if), outcome))
    };
    let found = search.find(run, &mut |step| say(&report::step(step)));
    let Capacity { shown, searched, .. } = found.map_err(|error| refused(&error))?;
    let words = report::capacity(search, &searched);
    let code = match searched.held {
        Some(_) => ExitCode::SUCCESS,
        None if searched.generator_was_limit() => ExitCode::from(SATURATED),
        None => ExitCode::from(FAULTY),
    };
    let Some((report, outcome)) = shown else {
        return Err(Failure { words, code: FAULTY });
    };
    let advice = report::capacity_advice(&searched, &report);
    let report = if searched.held.is_some() { report } else { report.withhold_saturated() };
    sinks.write(&report.with_search(searched), &outcome)?;
    say(&words);
    advice.iter().for_each(|advice| say(advice));
    Ok(code)
}

fn usage(words: String) -> Failure {
    Failure { words, code: USAGE }
}

fn refused(error: &LoadError) -> Failure {
    let code = if error.is_system() { FAULTY } else { USAGE };
    Failure { words: error.to_string(), code }
}

/// Shows reports of former runs.
fn show_again(files: &[PathBuf], html: Option<&Path>) -> Result<ExitCode, Failure> {
    let mut reports = Vec::new();
    for path in files {
        let name = path.display().to_string();
        let unreadable = |words: String| Failure { words: format!("{name}: {words}"), code: USAGE };
        let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        let report: Report =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if report.schema != report::SCHEMA {
            let (theirs, ours) = (report.schema, report::SCHEMA);
            return Err(unreadable(format!("schema {theirs}, and this program knows {ours}")));
        }
        reports.push((name, report));
    }
    let text = match reports.as_slice() {
        [(_, report)] => report::table(report),
        several => report::compare(several),
    };
    io::stdout().write_all(text.as_bytes()).map_err(failed("cannot write the report"))?;
    if let Some(path) = html {
        let page = report::html(&reports);
        create(path)?.write_all(page.as_bytes()).map_err(failed("cannot write the page"))?;
    }
    Ok(ExitCode::SUCCESS)
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
