//! How a file writes what is no TOML type: times, ramps, headers, stages.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Table;

use crate::plan::{Ramp, Stage};

/// A number, or where it begins and ends.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "a number, or { from = .., to = .. }")]
enum WrittenRamp {
    Constant(f64),
    Ramp { from: f64, to: f64 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenStage {
    name: Option<String>,
    #[serde(deserialize_with = "some_duration")]
    duration: Duration,
    rate: Option<WrittenRamp>,
    connections: Option<WrittenRamp>,
    #[serde(default)]
    warm_up: bool,
}

/// The value of a header, or of several of the same name.
#[derive(Deserialize)]
#[serde(untagged, expecting = "text, or a list of texts")]
enum WrittenHeader {
    One(String),
    Several(Vec<String>),
}

impl From<WrittenRamp> for Ramp {
    fn from(written: WrittenRamp) -> Self {
        match written {
            WrittenRamp::Constant(value) => Self::constant(value),
            WrittenRamp::Ramp { from, to } => Self { from, to },
        }
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    some_duration(deserializer).map(Some)
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(D::Error::custom)
}

pub(super) fn ramp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Ramp>, D::Error> {
    WrittenRamp::deserialize(deserializer).map(|ramp| Some(ramp.into()))
}

pub(super) fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(String, String)>, D::Error> {
    let mut headers = Vec::new();
    for (name, value) in Table::deserialize(deserializer)? {
        let values = match value.try_into().map_err(D::Error::custom)? {
            WrittenHeader::One(value) => vec![value],
            WrittenHeader::Several(values) => values,
        };
        headers.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    Ok(headers)
}

/// Stages; those without a name are numbered.
pub(super) fn stages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Stage>, D::Error> {
    let written = Vec::<WrittenStage>::deserialize(deserializer)?;
    let stage = |(number, written): (usize, WrittenStage)| {
        let mut stage = Stage::new(written.duration);
        stage.name = written.name.unwrap_or_else(|| format!("{}", number + 1));
        stage.rate = written.rate.map(Ramp::from);
        stage.connections = written.connections.map(Ramp::from);
        stage.warm_up = written.warm_up;
        stage
    };
    Ok(written.into_iter().enumerate().map(stage).collect())
}
