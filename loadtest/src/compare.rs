//! Several servers under the same load, in turn: what each costs, and its ratio to the first.
//!
//! A figure of a server moves by several per cent between one hour and the next, so servers can be
//! compared only with each other and only at the same time. [`Comparison::run`] starts one server
//! after the other by its command, loads it, stops it, and does so in rounds: in each round every
//! workload meets every server, and each round begins with another server. Server and generator
//! have cores of their own.
//!
//! What counts is the server's CPU time a message, which holds even where the generator is the limit
//! (see `health`); for connections that do nothing it is memory. Medians are over rounds,
//! and ratios are taken within a round.
//!
//! A server that does not start, ends, or answers wrongly has no figure in that round but the words
//! that say why, with its output; the others go on. Nothing here looks into a message: that is
//! [`Load`]'s.

mod contender;
mod cpus;
mod file;
mod machine;
mod page;
mod result;
mod table;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::load::{Live, Load, LoadError};
use crate::report::Report;
use crate::target::Target;
use crate::tls::Trust;

use contender::Contender;
pub use cpus::{Cpus, Placement};
pub use file::{DURATION_DEFAULT, ROUNDS_DEFAULT, WARM_UP_DEFAULT, stages};
pub use machine::Machine;
pub use page::html;
pub use result::{
    Compared, Failure, Figures, Measure, Row, Run, SCHEMA, Settings, Spread, Summary,
    WorkloadResult,
};
pub use table::{line, table};

/// A comparison to be made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Comparison {
    /// The servers; ratios are to the first.
    pub servers: Vec<Server>,
    /// What each of them is loaded with.
    pub workloads: Vec<Workload>,
    /// How often each workload meets each server, at least 1. Fewer than 3 give no spread.
    pub rounds: usize,
    /// Which cores servers and generator have.
    pub placement: Placement,
}

/// A server by its command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// What reports call it.
    pub name: String,
    /// Its command, for `sh`. `{address}` becomes an address of the loopback whose port is free;
    /// without it the server has to print the address that it listens on. Other names in braces are
    /// what the workload sets.
    pub command: String,
    /// Whether it speaks `wss://`, with whatever certificate.
    pub is_secure: bool,
}

/// A load, and what it asks of the servers' commands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Workload {
    /// What reports call it.
    pub name: String,
    /// The load; its target is replaced by each server in turn, with the path kept.
    pub load: Load,
    /// What names in braces stand for in a command.
    pub set: Vec<(String, String)>,
}

/// How a comparison goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// A run goes on.
    Running {
        /// The load.
        load: &'a Load,
        /// How far it is.
        live: &'a Live,
    },
    /// A run is over.
    Over {
        /// What was asked of the server.
        workload: &'a Workload,
        /// The server.
        server: &'a Server,
        /// What came out.
        run: &'a Run,
    },
}

impl Server {
    /// A server by its command.
    #[must_use]
    pub fn new(name: impl Into<String>, command: impl Into<String>) -> Self {
        Self { name: name.into(), command: command.into(), is_secure: false }
    }
}

impl Workload {
    /// A load that asks nothing of the commands.
    #[must_use]
    pub fn new(name: impl Into<String>, load: Load) -> Self {
        Self { name: name.into(), load, set: Vec::new() }
    }
}

impl Comparison {
    /// A comparison in the usual number of rounds, with cores for servers and generator where there
    /// are two.
    #[must_use]
    pub fn new(servers: Vec<Server>, workloads: Vec<Workload>) -> Self {
        let placement = Placement::usual();
        Self { servers, workloads, rounds: ROUNDS_DEFAULT, placement }
    }

    /// Makes all runs on this thread, which is on the generator's cores meanwhile. `stop` ends it
    /// early with the rounds that are over; `observe` is told some five times a second.
    ///
    /// # Errors
    ///
    /// When what was asked for makes no sense, or the generator's machine fails. What a server does
    /// is in the result.
    pub fn run(
        &self,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Step<'_>),
    ) -> Result<Compared, LoadError> {
        self.check().map_err(LoadError::Plan)?;
        let refused = |error: io::Error| LoadError::Plan(error.to_string());
        // Whether they can be had is better known before the first run.
        drop(self.placement.pin_server().map_err(refused)?);
        let _pinned = self.placement.pin_client().map_err(refused)?;
        let mut compared = Compared::new(self, Machine::read());
        let servers = self.servers.len();
        for round in 0..self.rounds {
            for (place, workload) in self.workloads.iter().enumerate() {
                for turn in 0..servers {
                    let index = (round + turn) % servers;
                    let server = &self.servers[index];
                    let mut run = self.measure(workload, server, stop, observe)?;
                    if stop.load(Ordering::Relaxed) {
                        compared.interrupt();
                        return Ok(compared.complete());
                    }
                    run.round = round + 1;
                    observe(&Step::Over { workload, server, run: &run });
                    compared.add(place, index, run);
                }
            }
            compared.note_load();
        }
        Ok(compared.complete())
    }

    /// One run: the server is started for it and stopped after it.
    fn measure(
        &self,
        workload: &Workload,
        server: &Server,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Step<'_>),
    ) -> Result<Run, LoadError> {
        let command = workload.command(server).map_err(LoadError::Plan)?;
        let mut contender = match Contender::start(&command, &self.placement) {
            Ok(contender) => contender,
            Err(failure) => return Ok(Run::failed(failure)),
        };
        let mut load = workload.load.clone();
        let path = workload.load.targets[0].path();
        load.targets = vec![Target::at(contender.address(), path, server.is_secure)];
        // It is this program that has started it.
        load.trust = Trust::Anybody;
        load.server_pid = Some(contender.pid());
        let made = load.run(stop, &mut |live| observe(&Step::Running { load: &load, live }));
        let outcome = match made {
            Ok(outcome) => outcome,
            // It was there a moment ago.
            Err(LoadError::Server(error)) => return Ok(contender.fail(error.to_string())),
            Err(error) => return Err(error),
        };
        Ok(contender.judge(&Report::new(&load, &outcome)))
    }

    /// Whether all commands can be written and all runs made.
    fn check(&self) -> Result<(), String> {
        if self.servers.is_empty() || self.workloads.is_empty() || self.rounds == 0 {
            return Err("a comparison needs a server, a workload and a round".to_owned());
        }
        for (index, server) in self.servers.iter().enumerate() {
            if self.servers[..index].iter().any(|other| other.name == server.name) {
                return Err(format!("two servers are called {}", server.name));
            }
            for workload in &self.workloads {
                workload.command(server)?;
            }
        }
        for workload in &self.workloads {
            workload.load.check().map_err(|error| format!("{}: {error}", workload.name))?;
            if workload.load.duration() > DURATION_MAX {
                return Err(format!(
                    "{}: a run of a comparison takes an hour at most",
                    workload.name
                ));
            }
        }
        Ok(())
    }
}

impl Workload {
    /// The server's command with everything filled in but the address.
    fn command(&self, server: &Server) -> Result<String, String> {
        let mut command = String::with_capacity(server.command.len());
        let mut rest = server.command.as_str();
        while let Some(start) = rest.find('{') {
            let (before, from) = rest.split_at(start);
            command.push_str(before);
            // Braces belong to the shell after a dollar, or around anything but one name.
            let name = from[1..].split_once('}').map(|(name, _)| name).filter(|name| {
                let plain = |it: char| it.is_ascii_lowercase() || it == '-';
                !before.ends_with('$') && !name.is_empty() && name.chars().all(plain)
            });
            let Some(name) = name else {
                command.push('{');
                rest = &from[1..];
                continue;
            };
            let value =
                self.set.iter().find(|(set, _)| set == name).map(|(_, value)| value.as_str());
            command.push_str(match value {
                Some(value) => value,
                None if name == ADDRESS => contender::PLACEHOLDER,
                None => {
                    let (server, workload) = (&server.name, &self.name);
                    return Err(format!(
                        "the command of {server} has {{{name}}}, which the workload {workload} does \
                         not set"
                    ));
                }
            });
            rest = &from[name.len() + 2..];
        }
        command.push_str(rest);
        Ok(command.trim().to_owned())
    }
}

/// What stands in braces where the address belongs.
const ADDRESS: &str = "address";

/// Longer is a mistake in a unit.
const DURATION_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Work;

    fn workload(set: &[(&str, &str)]) -> Workload {
        let target = "ws://127.0.0.1:1/".parse().unwrap();
        let load = Load::new(target, Work::Idle, 1, Duration::from_secs(1));
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Workload { set: set.collect(), ..Workload::new("w", load) }
    }

    #[test]
    fn names_in_braces_are_filled_in_and_what_is_the_shells_stays() {
        let workload = workload(&[("task", "echo"), ("options", "")]);
        for (command, expected) in [
            ("s {task} --listen {address} {options}", "s echo --listen {address}"),
            ("s ${HOME} {1..3} {A} {} {task}{task}", "s ${HOME} {1..3} {A} {} echoecho"),
            ("s {task", "s {task"),
        ] {
            assert_eq!(workload.command(&Server::new("s", command)).unwrap(), expected);
        }
        let error = workload.command(&Server::new("s", "s {taks}")).unwrap_err();
        assert!(error.contains("{taks}") && error.contains("does not set"), "{error}");
    }

    #[test]
    fn what_makes_no_comparison_is_refused() {
        let servers = || vec![Server::new("a", "true"), Server::new("a", "true")];
        let refused = |comparison: Comparison| comparison.check().unwrap_err();
        let twice = Comparison::new(servers(), vec![workload(&[])]);
        assert!(refused(twice).contains("two servers are called a"));
        let none = Comparison::new(servers(), Vec::new());
        assert!(refused(none).contains("needs a server"));
        let mut long = workload(&[]);
        long.load.stages[0].duration = Duration::from_secs(4000);
        let long = Comparison::new(vec![Server::new("a", "true")], vec![long]);
        assert!(refused(long).contains("an hour at most"));
    }
}
