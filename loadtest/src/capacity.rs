//! The largest load that a server holds within bounds: a search over runs.
//!
//! The load (a rate, or a number of connections) is doubled until a run breaks a bound, and the
//! interval between the last that held and the first that did not is halved until it is narrow
//! enough. A run holds if it has no error, breaks no condition, and sends everything that was due.
//! Each run begins afresh, so one that broke the server does not spoil the next.
//!
//! A run in which the generator was the limit says nothing about the server: the search ends there,
//! and what it found is a lower bound.

use serde::{Deserialize, Serialize};

use crate::load::{Load, LoadError};
use crate::plan::Ramp;
use crate::report::Report;

/// What to search, and between which loads.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Search {
    /// What is raised.
    pub vary: Vary,
    /// The first load.
    pub from: f64,
    /// The largest load that is tried.
    pub to: f64,
    /// The search ends when the load that failed is so close above the one that held: 0.05 is 5 %.
    pub precision: f64,
    /// Whether the search goes on where the generator was the limit.
    pub allow_saturated: bool,
}

/// What a search raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Vary {
    /// Messages (or handshakes) a second.
    Rate,
    /// Connections.
    Connections,
}

/// What a search found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Capacity {
    /// The largest load that held, and its report.
    pub best: Option<(f64, Report)>,
    /// The smallest load that did not hold, and why; `None` if all that were tried held.
    pub broken: Option<(f64, String)>,
    /// Whether the generator was the limit before the server was.
    pub generator_was_limit: bool,
}

impl Search {
    /// A search from one load to another, to 5 %.
    #[must_use]
    pub const fn new(vary: Vary, from: f64, to: f64) -> Self {
        Self { vary, from, to, precision: 0.05, allow_saturated: false }
    }

    /// The load with its varied number set.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of connections, which is not negative; a cast saturates"
    )]
    pub fn load(&self, base: &Load, value: f64) -> Load {
        let mut load = base.clone();
        match self.vary {
            Vary::Connections => load.connections = (value.round() as usize).max(1),
            Vary::Rate => {
                for stage in &mut load.stages {
                    stage.rate = Some(Ramp::constant(value));
                }
            }
        }
        load
    }

    /// Searches; `run` makes the run of one load and reports it with its conditions checked.
    ///
    /// # Errors
    ///
    /// When a run cannot begin.
    pub fn find(
        &self,
        mut run: impl FnMut(f64) -> Result<Report, LoadError>,
    ) -> Result<Capacity, LoadError> {
        let mut found = Capacity::default();
        let mut next = self.from;
        loop {
            let report = run(next)?;
            if report.result.interrupted {
                return Ok(found);
            }
            if !report.result.saturated.is_empty() && !self.allow_saturated {
                found.generator_was_limit = true;
                return Ok(found);
            }
            match why_not(&report) {
                None => found.best = Some((next, report)),
                Some(why) => found.broken = Some((next, why)),
            }
            let held = found.best.as_ref().map(|(value, _)| *value);
            next = match (held, found.broken.as_ref().map(|(value, _)| *value)) {
                (Some(held), None) if held >= self.to => return Ok(found),
                (Some(held), None) => (held * 2.0).min(self.to),
                (Some(held), Some(broken)) if broken <= held * (1.0 + self.precision) => {
                    return Ok(found);
                }
                (Some(held), Some(broken)) => f64::midpoint(held, broken),
                // Not even the first load holds: a tenth of it may.
                (None, Some(broken)) if broken <= self.from / 100.0 => return Ok(found),
                (None, broken) => broken.unwrap_or(self.from) / 10.0,
            };
            if self.vary == Vary::Connections {
                next = next.round().max(1.0);
                let known = [held, found.broken.as_ref().map(|(value, _)| *value)];
                if known.contains(&Some(next)) {
                    return Ok(found);
                }
            }
        }
    }
}

/// Why a run does not count as held; `None` if it does.
#[must_use]
pub fn why_not(report: &Report) -> Option<String> {
    if let Some(error) = report.result.errors.first() {
        return Some(format!("{} × {}", error.count, error.kind));
    }
    if let Some(sends) = report.result.sends.filter(|sends| sends.unsent > 0) {
        return Some(format!("{} × a message that never left", sends.unsent));
    }
    if let Some(check) = report.checks.iter().find(|check| check.failed) {
        return Some(check.condition.clone());
    }
    (!report.result.ok).then(|| "nothing came".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::{Fault, Faults};
    use crate::load::{Connections, Outcome, Work};
    use crate::measure::{Measured, Window};
    use crate::scenario::Treatment;

    fn load() -> Load {
        let target = "ws://127.0.0.1:1/".parse().unwrap();
        Load::new(target, Work::Connect, 10, Duration::from_secs(1))
    }

    /// The report of a server that holds so much and no more.
    fn report(value: f64, limit: f64, generator_limit: f64) -> Report {
        let mut faults = Faults::default();
        if value > limit {
            faults.count(Fault::Gap, String::new);
        }
        let cpu = if value > generator_limit { 100 } else { 10 };
        let window = Window { duration: 100, cpu, messages: 1, ..Window::default() };
        let outcome = Outcome {
            connections: Connections { opened: 1, ..Connections::default() },
            connecting: Duration::ZERO,
            measured: Measured { window, ..Measured::empty() },
            faults,
            treatment: Treatment::new(),
            server: None,
            interrupted: false,
        };
        Report::new(&load(), &outcome)
    }

    #[test]
    fn the_limit_is_found_to_the_precision_from_below_and_above() {
        for limit in [37.0, 1_000.0, 12_345.0, 99_000.0] {
            let mut runs = 0;
            let found = Search::new(Vary::Rate, 1_000.0, 1e6).find(|value| {
                runs += 1;
                Ok(report(value, limit, f64::MAX))
            });
            let Capacity { best, broken, .. } = found.unwrap();
            let (best, broken) = (best.unwrap().0, broken.unwrap().0);
            assert!(best <= limit && broken > limit && broken <= best * 1.05, "{best} {broken}");
            assert!(runs < 20, "{runs} runs for {limit}");
        }
    }

    #[test]
    fn a_search_ends_at_its_bound_and_where_the_generator_is_the_limit() {
        let search = Search::new(Vary::Connections, 100.0, 1_000.0);
        let all = search.find(|value| Ok(report(value, 1e9, 1e9))).unwrap();
        assert_eq!((all.best.unwrap().0, all.broken, all.generator_was_limit), (1e3, None, false));
        let short = search.find(|value| Ok(report(value, 1e9, 500.0))).unwrap();
        assert_eq!((short.best.unwrap().0, short.generator_was_limit), (400.0, true));
        let none = search.find(|value| Ok(report(value, 0.0, 1e9))).unwrap();
        assert!(none.best.is_none());
    }

    #[test]
    fn whole_connections_are_tried_once_each() {
        let mut tried = Vec::new();
        let search = Search::new(Vary::Connections, 4.0, 100.0);
        search
            .find(|value| {
                tried.push(value);
                Ok(report(value, 5.0, 1e9))
            })
            .unwrap();
        assert_eq!(tried, [4.0, 8.0, 6.0, 5.0]);
        assert_eq!(search.load(&load(), 6.0).connections, 6);
    }
}
