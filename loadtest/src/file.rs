//! A run written down: a TOML file with the scenario, its stages and ramps, and what must hold.
//!
//! Says what flags say and, beyond them, what happens one after the other. Names that it does not
//! know are errors, because a misspelt limit that is ignored is no limit. docs/loadtest.md has
//! examples; [`ScenarioFile`]'s parts have the names of the file.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::load::{Load, Work};
use crate::mixed::Mix;
use crate::pace::Arrivals;
use crate::plan::{Ramp, Stage};
use crate::size::Size;
use crate::target::Target;
use crate::threshold::Threshold;
use crate::ticker::Subscription;

/// What a file asks for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ScenarioFile {
    /// The run.
    pub load: Load,
    /// The command that starts the server.
    pub server_command: Option<String>,
    /// What must not be.
    pub fail_if: Vec<Threshold>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    scenario: String,
    url: Option<Target>,
    #[serde(default)]
    urls: Vec<Target>,
    connections: Option<usize>,
    size: Option<Size>,
    depth: Option<usize>,
    #[serde(default)]
    arrivals: Arrivals,
    #[serde(default)]
    symbols: Vec<String>,
    mode: Option<String>,
    max_rate: Option<u32>,
    mix: Option<Mix>,
    #[serde(default)]
    protocols: Vec<String>,
    #[serde(default)]
    headers: toml::Table,
    #[serde(default)]
    deflate: bool,
    #[serde(default)]
    sources: Vec<IpAddr>,
    #[serde(default)]
    server: Server,
    #[serde(default)]
    fail_if: Vec<Threshold>,
    #[serde(rename = "stage")]
    stages: Vec<WrittenStage>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    command: Option<String>,
    pid: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenStage {
    name: Option<String>,
    #[serde(deserialize_with = "duration")]
    duration: Duration,
    rate: Option<WrittenRamp>,
    connections: Option<WrittenRamp>,
    #[serde(default)]
    warm_up: bool,
}

/// A number, or where it begins and ends.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum WrittenRamp {
    Constant(f64),
    Ramp { from: f64, to: f64 },
}

impl FromStr for ScenarioFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
        written.understand()
    }
}

impl Written {
    fn understand(self) -> Result<ScenarioFile, String> {
        let work = self.work()?;
        let targets: Vec<Target> = self.url.into_iter().chain(self.urls).collect();
        let first = targets.first().cloned().ok_or("the file names no server: url = \"ws://…\"")?;
        let stages: Vec<Stage> = self
            .stages
            .into_iter()
            .enumerate()
            .map(|(number, stage)| stage.stage(number))
            .collect();
        let most = stages.iter().filter_map(|stage| stage.connections).map(whole_max).max();
        let connections = self.connections.or(most).unwrap_or(CONNECTIONS_DEFAULT);
        let mut load = Load::new(first, work, connections, Duration::ZERO);
        load.targets = targets;
        load.stages = stages;
        load.arrivals = self.arrivals;
        load.mix = self.mix;
        load.protocols = self.protocols;
        load.deflate = self.deflate;
        load.sources = self.sources;
        load.server_pid = self.server.pid;
        for (name, value) in self.headers {
            let value = value.as_str().ok_or_else(|| format!("the header {name} is no text"))?;
            load.headers.push((name, value.to_owned()));
        }
        load.check().map_err(|error| error.to_string())?;
        Ok(ScenarioFile { load, server_command: self.server.command, fail_if: self.fail_if })
    }

    fn work(&self) -> Result<Work, String> {
        let is_paced = self.stages.iter().any(|stage| stage.rate.is_some());
        let usual_depth = if is_paced { DEPTH_OPEN } else { 1 };
        Ok(match self.scenario.as_str() {
            "echo" => Work::Echo {
                size: self.size.clone().unwrap_or(Size::Fixed(20)),
                depth: self.depth.unwrap_or(usual_depth),
            },
            "fanout" => Work::Fanout { starts: true },
            "ticker" if self.symbols.is_empty() => {
                return Err("the ticker scenario needs symbols = [\"…\"]".to_owned());
            }
            "ticker" => Work::Ticker(Subscription {
                symbols: self.symbols.clone(),
                mode: self.mode.clone(),
                max_rate: self.max_rate,
            }),
            "idle" => Work::Idle,
            "connect" => Work::Connect,
            other => {
                return Err(format!(
                    "`{other}` is no scenario: echo, fanout, ticker, idle or connect; a [mix] adds \
                     bad clients to the first three"
                ));
            }
        })
    }
}

impl WrittenStage {
    fn stage(self, number: usize) -> Stage {
        let ramp = |written: WrittenRamp| match written {
            WrittenRamp::Constant(value) => Ramp::constant(value),
            WrittenRamp::Ramp { from, to } => Ramp { from, to },
        };
        let mut stage = Stage::new(self.duration);
        stage.name = self.name.unwrap_or_else(|| format!("{}", number + 1));
        stage.rate = self.rate.map(ramp);
        stage.connections = self.connections.map(ramp);
        stage.warm_up = self.warm_up;
        stage
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and a ramp that is no number of connections is refused later"
)]
fn whole_max(ramp: Ramp) -> usize {
    ramp.from.max(ramp.to).ceil() as usize
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

/// Messages that a client of the open model may have on their way: enough that a server is not
/// spared what it cannot do, and 512 bytes here.
pub const DEPTH_OPEN: usize = 32;

/// As on the command line.
const CONNECTIONS_DEFAULT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_everything() {
        let file: ScenarioFile = r#"
            scenario = "echo"
            url = "ws://127.0.0.1:9001/"
            size = "20:90,1024:10"
            arrivals = "poisson"
            protocols = ["chat"]
            headers = { Origin = "https://example.org" }
            fail-if = ["p99>5ms", "errors>0"]
            mix = { stalled = 0.1 }
            [server]
            command = "./server --port 9001"
            [[stage]]
            name = "warm-up"
            duration = "5s"
            rate = 1000
            warm-up = true
            [[stage]]
            duration = "20s"
            rate = { from = 1000, to = 20000 }
            connections = { from = 10, to = 500 }
        "#
        .parse()
        .unwrap();
        let Load { work, connections, stages, .. } = &file.load;
        let size = "20:90,1024:10".parse().unwrap();
        assert_eq!(*work, Work::Echo { size, depth: DEPTH_OPEN });
        assert_eq!((*connections, stages.len(), file.fail_if.len()), (500, 2, 2));
        assert!(stages[0].warm_up && stages[0].name == "warm-up" && stages[1].name == "2");
        assert_eq!(stages[1].rate, Some(Ramp { from: 1_000.0, to: 20_000.0 }));
        assert_eq!(file.load.scenario(), "mixed");
        assert_eq!(file.server_command.as_deref(), Some("./server --port 9001"));
    }

    #[test]
    fn what_a_file_must_not_say_is_explained() {
        let head = "url = \"ws://127.0.0.1:9001/\"\n";
        let stage = "[[stage]]\nduration = \"1s\"\n";
        for (text, words) in [
            (format!("{head}scenario = \"ehco\"\n{stage}"), "is no scenario"),
            (format!("scenario = \"echo\"\n{stage}"), "names no server"),
            (format!("{head}scenario = \"echo\"\nsise = 20\n{stage}"), "sise"),
            (format!("{head}scenario = \"ticker\"\n{stage}"), "needs symbols"),
            (format!("{head}scenario = \"fanout\"\n{stage}rate = 5"), "a rate belongs to"),
            (format!("{head}scenario = \"echo\"\n{stage}rate = 5\n{stage}"), "either all stages"),
            (format!("{head}scenario = \"echo\"\n{stage}rate = -5"), "not negative"),
            (format!("{head}scenario = \"echo\"\nfail-if = [\"p99\"]\n{stage}"), "has the form"),
            (format!("{head}scenario = \"echo\"\n"), "stage"),
        ] {
            let error = text.parse::<ScenarioFile>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
