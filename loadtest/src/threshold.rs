//! Conditions that a run must not meet: `p99>5ms`, `rate<10000`, `errors>0`.
//!
//! They make a load test a test: the exit code says whether one was met. A condition on a figure
//! that the run did not measure counts as met, because a gate that checks nothing is open.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::report::{Report, microseconds, rounded};

/// A figure, a comparison and a bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Threshold {
    text: String,
    figure: Figure,
    above: bool,
    bound: f64,
}

/// How a condition fared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Checked {
    /// The condition as it was written.
    pub condition: String,
    /// The figure, in microseconds, messages a second, bytes or a count; `None` if not measured.
    pub value: Option<f64>,
    /// Whether the condition was met, which fails the run.
    pub failed: bool,
}

/// What can be compared.
#[derive(Debug, Clone, PartialEq)]
enum Figure {
    /// A percentile, from the intended time or (`raw.`) from the sending.
    Latency {
        name: String,
        raw: bool,
    },
    Rate,
    Errors,
    Lost,
    Failed,
    Unsent,
    Messages,
    ServerCpu,
    ServerRssPerConnection,
    ServerRss,
}

impl Threshold {
    /// Compares the report's figure.
    #[must_use]
    pub fn check(&self, report: &Report) -> Checked {
        let value = self.figure.of(report);
        let failed = value.is_none_or(|value| match self.above {
            true => value > self.bound,
            false => value < self.bound,
        });
        Checked { condition: self.text.clone(), value, failed }
    }
}

impl Checked {
    /// The figure with its unit; `None` if it was not measured.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        let figure = self.condition.parse::<Threshold>().ok().map(|threshold| threshold.figure);
        let value = self.value?;
        Some(match figure.as_ref().map(Figure::units) {
            Some(units) if units == TIMES => microseconds(value),
            Some(units) if units == SIZES => format!("{} B", rounded(value)),
            _ => rounded(value),
        })
    }
}

impl Figure {
    fn parse(name: &str) -> Option<Self> {
        let raw = name.strip_prefix("raw.");
        let percentile = raw.unwrap_or(name);
        if LATENCIES.contains(&percentile) {
            return Some(Self::Latency { name: percentile.to_owned(), raw: raw.is_some() });
        }
        Some(match name {
            "rate" => Self::Rate,
            "errors" => Self::Errors,
            "lost" => Self::Lost,
            "failed" => Self::Failed,
            "unsent" => Self::Unsent,
            "messages" => Self::Messages,
            "server.cpu" => Self::ServerCpu,
            "server.rss" => Self::ServerRss,
            "server.rss-per-connection" => Self::ServerRssPerConnection,
            _ => return None,
        })
    }

    /// Whether its bound is a time, a size or a plain number.
    const fn units(&self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Latency { .. } | Self::ServerCpu => TIMES,
            Self::ServerRss | Self::ServerRssPerConnection => SIZES,
            _ => COUNTS,
        }
    }

    fn of(&self, report: &Report) -> Option<f64> {
        let result = &report.result;
        let server = result.server.as_ref();
        match self {
            Self::Latency { name, raw: false } => result.latency.as_ref()?.named(name),
            Self::Latency { name, raw: true } => result.latency_raw.as_ref()?.named(name),
            Self::Rate => result.messages_per_second,
            Self::Errors => Some(result.errors_total as f64),
            Self::Lost => Some(result.connections_lost as f64),
            Self::Failed => Some(result.connections_failed as f64),
            Self::Unsent => Some(result.sends.map_or(0, |sends| sends.unsent) as f64),
            Self::Messages => Some(result.messages as f64),
            Self::ServerCpu => server?.cpu_per_message_us,
            Self::ServerRss => server.map(|server| server.rss_end_bytes as f64),
            Self::ServerRssPerConnection => server?.rss_per_connection_bytes,
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, above, bound) = match text.split_once('>') {
            Some((name, bound)) => (name, true, bound),
            None => {
                let (name, bound) =
                    text.split_once('<').ok_or("a condition has the form p99>5ms or rate<1000")?;
                (name, false, bound)
            }
        };
        let name = name.trim();
        let figure = Figure::parse(name).ok_or_else(|| {
            format!(
                "`{name}` is no figure: use {}, each also as raw.p99 and so on, or rate, errors, \
                 lost, failed, unsent, messages, server.cpu, server.rss, server.rss-per-connection",
                LATENCIES.join(", ")
            )
        })?;
        let bound = bound.trim();
        let digits = bound.trim_end_matches(|letter: char| letter.is_alphabetic());
        let unit = &bound[digits.len()..];
        let units = figure.units();
        let factor = units.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
            let known: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
            match known.as_slice() {
                [""] => format!("{name} is a plain number"),
                known => format!("{name} needs a unit, such as 5{}", known.join(" or 5")),
            }
        })?;
        let bound: f64 = digits.trim().parse().map_err(|_| format!("`{digits}` is no number"))?;
        Ok(Self { text: text.to_owned(), figure, above, bound: bound * factor.1 })
    }
}

impl TryFrom<String> for Threshold {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> Self {
        threshold.text
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

const LATENCIES: &[&str] = &["mean", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// In microseconds.
const TIMES: &[(&str, f64)] = &[("ns", 1e-3), ("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];

/// In bytes.
const SIZES: &[(&str, f64)] =
    &[("B", 1.0), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9), ("KiB", 1024.0), ("MiB", 1_048_576.0)];

const COUNTS: &[(&str, f64)] = &[("", 1.0)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_with_their_units() {
        for (text, above, bound) in [
            ("p99>5ms", true, 5_000.0),
            ("p99.9 > 1.5s", true, 1_500_000.0),
            ("raw.max>200us", true, 200.0),
            ("rate<1000", false, 1_000.0),
            ("errors>0", true, 0.0),
            ("server.cpu>3.5us", true, 3.5),
            ("server.rss-per-connection>1KiB", true, 1_024.0),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!((threshold.above, threshold.bound), (above, bound), "{text}");
            assert_eq!(threshold.to_string(), text);
        }
    }

    #[test]
    fn a_figure_is_shown_with_its_unit() {
        for (condition, value, shown) in [
            ("p99>5ms", 10_314.0, "10.3 ms"),
            ("server.cpu>3us", 3.4, "3.40 µs"),
            ("server.rss>1MB", 2_500_000.0, "2,500,000 B"),
            ("rate<5", 12_345.6, "12,346"),
        ] {
            let (condition, value) = (condition.to_owned(), Some(value));
            let checked = Checked { condition, value, failed: false };
            assert_eq!(checked.shown().as_deref(), Some(shown));
            assert_eq!(Checked { value: None, ..checked }.shown(), None);
        }
    }

    #[test]
    fn what_is_no_condition_is_explained() {
        for (text, words) in [
            ("p99", "has the form"),
            ("p98>5ms", "is no figure"),
            ("p99>5", "needs a unit, such as 5ns or 5us"),
            ("p99>5KB", "needs a unit"),
            ("rate<5ms", "plain number"),
            ("p99>1.2.3ms", "is no number"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
