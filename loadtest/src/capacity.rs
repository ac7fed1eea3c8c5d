//! The largest load that a server holds within bounds: a search over runs.
//!
//! The load (a rate, or a number of connections) is doubled until a run breaks a bound, and the
//! interval between the last that held and the first that did not is halved until it is narrow
//! enough. A run holds if it has no error, breaks no condition, and sends everything that was due;
//! one that does not is enough to break a load. Each run begins afresh, so one that broke the server
//! does not spoil the next.
//!
//! A run in which the generator was the limit says nothing about the server. It is made a second
//! time, because other work on the machine can be the reason; if it is so again, no larger load is
//! tried, and what is found below it is a lower bound and called so.

use serde::{Deserialize, Serialize};

use crate::load::{Load, LoadError, Outcome};
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
    /// The report of the largest load that held, or of the last run if none did, and what it was
    /// made of.
    pub shown: Option<(Report, Outcome)>,
    /// Every run, and what came of it.
    pub searched: Searched,
}

/// A search and its result, as JSON has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Searched {
    /// What was raised.
    pub vary: Option<Vary>,
    /// The largest load that held.
    pub held: Option<f64>,
    /// The smallest load above it that did not; `None` if all that were tried held.
    pub ceiling: Option<SearchStep>,
    /// Every run, in order.
    pub steps: Vec<SearchStep>,
}

/// One run of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SearchStep {
    /// Messages (or handshakes) a second, or connections.
    pub load: f64,
    /// What the run says of it.
    pub verdict: Verdict,
    /// Right messages a second that came; not told where the generator was the limit.
    pub messages_per_second: Option<f64>,
    /// 99 of 100 latencies were at most this; not told where the generator was the limit.
    pub p99_us: Option<f64>,
}

/// What a run of a search says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The server holds this load.
    Held,
    /// It does not, and this is what broke.
    Broke(String),
    /// Nothing about the server: this was the generator's limit.
    GeneratorLimit(String),
}

impl SearchStep {
    /// What the run of this load says; `allow_saturated` believes the generator always.
    fn new(load: f64, report: &Report, allow_saturated: bool) -> Self {
        let result = &report.result;
        let limit = result.saturated.first().filter(|_| !allow_saturated);
        let verdict = match (limit, why_not(report)) {
            (Some(limit), _) => Verdict::GeneratorLimit(limit.to_string()),
            (None, Some(why)) => Verdict::Broke(why),
            (None, None) => Verdict::Held,
        };
        let told = limit.is_none();
        let p99 = result.latency.as_ref().map(|latency| latency.p99_us);
        Self {
            load,
            verdict,
            messages_per_second: result.messages_per_second.filter(|_| told),
            p99_us: p99.filter(|_| told),
        }
    }

    const fn is_generator_limit(&self) -> bool {
        matches!(self.verdict, Verdict::GeneratorLimit(_))
    }
}

impl Searched {
    /// Whether the generator was the limit before the server was.
    #[must_use]
    pub fn generator_was_limit(&self) -> bool {
        self.ceiling.as_ref().is_some_and(SearchStep::is_generator_limit)
    }
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

    /// Searches; `run` makes the run of one load and reports it with its conditions checked, and
    /// `observe` is told each that is over.
    ///
    /// # Errors
    ///
    /// When a run cannot begin.
    pub fn find(
        &self,
        mut run: impl FnMut(f64) -> Result<(Report, Outcome), LoadError>,
        observe: &mut dyn FnMut(&SearchStep),
    ) -> Result<Capacity, LoadError> {
        let mut found = Capacity::default();
        found.searched.vary = Some(self.vary);
        let mut next = Some(self.from);
        while let Some(load) = next {
            let mut attempts = 0;
            let (step, report, outcome) = loop {
                let (report, outcome) = run(load)?;
                if outcome.interrupted {
                    return Ok(found);
                }
                let step = SearchStep::new(load, &report, self.allow_saturated);
                observe(&step);
                found.searched.steps.push(step.clone());
                attempts += 1;
                if !step.is_generator_limit() || attempts == ATTEMPTS_MAX {
                    break (step, report, outcome);
                }
            };
            let is_held = step.verdict == Verdict::Held;
            if is_held || found.searched.held.is_none() {
                found.shown = Some((report, outcome));
            }
            if is_held {
                found.searched.held = Some(load);
            } else {
                found.searched.ceiling = Some(step);
            }
            next = self.next(&found.searched);
        }
        Ok(found)
    }

    /// The next load to be tried; `None` if enough is known.
    fn next(&self, searched: &Searched) -> Option<f64> {
        let ceiling = searched.ceiling.as_ref().map(|step| step.load);
        let next = match (searched.held, ceiling) {
            (Some(held), None) if held >= self.to => return None,
            (Some(held), None) => (held * 2.0).min(self.to),
            (Some(held), Some(ceiling)) if ceiling <= held * (1.0 + self.precision) => {
                return None;
            }
            (Some(held), Some(ceiling)) => f64::midpoint(held, ceiling),
            // Not even the first load holds: a tenth of it may.
            (None, Some(ceiling)) if ceiling <= self.from / 100.0 => return None,
            (None, ceiling) => ceiling.unwrap_or(self.from) / 10.0,
        };
        if self.vary == Vary::Rate {
            return Some(next);
        }
        let whole = next.round().max(1.0);
        (searched.held != Some(whole) && ceiling != Some(whole)).then_some(whole)
    }
}

/// Runs of one load in which the generator was the limit before that is believed.
const ATTEMPTS_MAX: u32 = 2;

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
    fn report(value: f64, limit: f64, generator_limit: f64) -> (Report, Outcome) {
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
        (Report::new(&load(), &outcome), outcome)
    }

    /// Searches in a server that holds `limit` with a generator that makes `generator_limit`; gives
    /// what was found and the loads that were tried.
    fn found(search: &Search, limit: f64, generator_limit: f64) -> (Capacity, Vec<f64>) {
        let run = |value| Ok(report(value, limit, generator_limit));
        let mut tried = Vec::new();
        let found = search.find(run, &mut |step| tried.push(step.load)).unwrap();
        let steps: Vec<f64> = found.searched.steps.iter().map(|step| step.load).collect();
        assert_eq!(steps, tried);
        (found, tried)
    }

    #[test]
    fn the_limit_is_found_to_the_precision_from_below_and_above() {
        for limit in [37.0, 1_000.0, 12_345.0, 99_000.0] {
            let search = Search::new(Vary::Rate, 1_000.0, 1e6);
            let (found, tried) = found(&search, limit, f64::MAX);
            let (held, ceiling) = (found.searched.held.unwrap(), found.searched.ceiling.unwrap());
            assert!(held <= limit && ceiling.load > limit, "{held} {ceiling:?}");
            assert!(ceiling.load <= held * 1.05, "{held} {ceiling:?}");
            assert_eq!(ceiling.verdict, Verdict::Broke("1 × gap".to_owned()));
            let (best, _) = found.shown.unwrap();
            assert!(best.result.ok && tried.len() < 20, "{tried:?} for {limit}");
        }
    }

    #[test]
    fn a_search_ends_at_its_bound() {
        let search = Search::new(Vary::Connections, 100.0, 1_000.0);
        let (all, _) = found(&search, 1e9, 1e9);
        assert_eq!((all.searched.held, all.searched.ceiling), (Some(1e3), None));
        let (none, tried) = found(&search, 0.0, 1e9);
        assert!(none.searched.held.is_none() && !none.shown.unwrap().0.result.ok);
        assert_eq!(tried, [100.0, 10.0, 1.0]);
    }

    #[test]
    fn where_the_generator_is_the_limit_the_result_is_a_lower_bound_and_says_so() {
        let search = Search::new(Vary::Rate, 100.0, 1_000.0);
        let (short, tried) = found(&search, 1e9, 500.0);
        let held = short.searched.held.unwrap();
        assert!(held <= 500.0 && held * 1.05 >= 475.0, "{held}");
        assert!(short.searched.generator_was_limit());
        assert_eq!(tried[..6], [100.0, 200.0, 400.0, 800.0, 800.0, 600.0], "800 twice");
        let limits = short.searched.steps.iter().filter(|step| step.is_generator_limit());
        assert!(limits.clone().count() >= 4, "{:?}", short.searched);
        assert!(limits.clone().all(|step| step.messages_per_second.is_none()));

        let (server, _) = found(&search, 300.0, 500.0);
        assert!(!server.searched.generator_was_limit(), "the server was the limit before");
        let (none, _) = found(&search, 1e9, 0.0);
        assert!(none.searched.held.is_none() && none.searched.generator_was_limit());
        let mut believing = search;
        believing.allow_saturated = true;
        assert_eq!(found(&believing, 1e9, 500.0).0.searched.held, Some(1e3));
    }

    #[test]
    fn whole_connections_are_tried_once_each() {
        let search = Search::new(Vary::Connections, 4.0, 100.0);
        let (_, tried) = found(&search, 5.0, 1e9);
        assert_eq!(tried, [4.0, 8.0, 6.0, 5.0]);
        assert_eq!(search.load(&load(), 6.0).connections, 6);
    }
}
