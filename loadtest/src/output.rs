//! Where reports go: files and standard streams.
//!
//! Files are opened before the run, so that no run is made in vain.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use tickwire_load::report::{Report, hdr_log, html, table};
use tickwire_load::{Outcome, Outputs};

/// Why there is no report, and the exit code that says so.
pub(crate) struct Failure {
    pub(crate) words: String,
    pub(crate) code: u8,
}

/// The open ends of a run's report.
pub(crate) struct Sinks {
    json: Option<Sink>,
    html: Option<File>,
    hdr: Option<File>,
}

enum Sink {
    Output,
    File(File),
}

impl Sinks {
    pub(crate) fn open(outputs: &Outputs) -> Result<Self, Failure> {
        let json = match outputs.json.as_deref() {
            Some(path) if path == Path::new("-") => Some(Sink::Output),
            path => path.map(create).transpose()?.map(Sink::File),
        };
        Ok(Self {
            json,
            html: outputs.html.as_deref().map(create).transpose()?,
            hdr: outputs.hdr.as_deref().map(create).transpose()?,
        })
    }

    /// Writes everything that was asked for.
    pub(crate) fn write(self, report: &Report, outcome: &Outcome) -> Result<(), Failure> {
        let table = table(report);
        let written = match self.json {
            Some(Sink::Output) => io::stderr().write_all(table.as_bytes()),
            _ => io::stdout().write_all(table.as_bytes()),
        };
        written.map_err(failed("cannot write the report"))?;
        if let Some(mut file) = self.html {
            let page = html(&[(report.scenario.clone(), report.clone())]);
            file.write_all(page.as_bytes()).map_err(failed("cannot write the page"))?;
        }
        if let Some(mut file) = self.hdr {
            hdr_log(&outcome.measured, &mut file).map_err(failed("cannot write the log"))?;
        }
        let json = || -> io::Result<String> { Ok(serde_json::to_string_pretty(report)? + "\n") };
        match self.json {
            None => Ok(()),
            Some(Sink::Output) => json().and_then(|json| io::stdout().write_all(json.as_bytes())),
            Some(Sink::File(mut file)) => json().and_then(|json| file.write_all(json.as_bytes())),
        }
        .map_err(failed("cannot write the JSON report"))
    }
}

/// The exit code that a report deserves.
pub(crate) fn exit_code(report: &Report) -> ExitCode {
    match &report.result {
        result if !result.ok => ExitCode::from(FAULTY),
        _ if report.checks.iter().any(|check| check.failed) => ExitCode::from(BROKEN),
        result if result.withheld => ExitCode::from(SATURATED),
        _ => ExitCode::SUCCESS,
    }
}

pub(crate) fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| Failure {
        words: format!("cannot write {}: {error}", path.display()),
        code: USAGE,
    })
}

pub(crate) fn failed(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { words: format!("{what}: {error}"), code: FAULTY }
}

/// Exit code of a run with errors, or one that the system cut short.
pub(crate) const FAULTY: u8 = 1;

/// Exit code when what was asked for cannot be done.
pub(crate) const USAGE: u8 = 2;

/// Exit code of a run whose figures are withheld because they would be the generator's own.
pub(crate) const SATURATED: u8 = 3;

/// Exit code of a run that met a condition of `--fail-if`.
const BROKEN: u8 = 4;
