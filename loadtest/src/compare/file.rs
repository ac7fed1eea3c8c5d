//! A comparison written down: a TOML file with servers and workloads.
//!
//! A workload is a scenario file ([`Options`]) without what the comparison sees to: it
//! names no server, and its stages are those of the comparison unless it has its own. So whatever the
//! generator can do, servers can be compared in. docs/performance.md has an example.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use super::{Comparison, Cpus, Server, Workload};
use crate::options::{Options, ScenarioName};
use crate::plan::{Ramp, Stage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    rounds: Option<usize>,
    duration: Option<String>,
    warm_up: Option<String>,
    server_cpus: Option<Cpus>,
    client_cpus: Option<Cpus>,
    #[serde(default, rename = "server")]
    servers: Vec<WrittenServer>,
    #[serde(default, rename = "workload")]
    workloads: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenServer {
    name: String,
    command: String,
    #[serde(default)]
    tls: bool,
}

impl FromStr for Comparison {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::of_file(text, (None, None))
    }
}

impl Comparison {
    /// The comparison of a file's `text`, with these times to warm up and to measure instead of the
    /// file's; stages that a workload has of its own stay.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, in words.
    pub fn of_file(
        text: &str,
        (warm_up, duration): (Option<Duration>, Option<Duration>),
    ) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.to_string())?;
        let theirs = time(written.warm_up.as_deref(), WARM_UP_DEFAULT)?;
        let warm_up = warm_up.unwrap_or(theirs);
        let theirs = time(written.duration.as_deref(), DURATION_DEFAULT)?;
        let stages = stages(warm_up, duration.unwrap_or(theirs), None);
        let server =
            |it: WrittenServer| Server { is_secure: it.tls, ..Server::new(it.name, it.command) };
        let servers = written.servers.into_iter().map(server).collect();
        let workloads =
            written.workloads.into_iter().map(|table| workload(table, &stages)).collect();
        let mut comparison = Self::new(servers, Result::from_iter::<Vec<_>>(workloads)?);
        comparison.rounds = written.rounds.unwrap_or(comparison.rounds);
        let placement = &mut comparison.placement;
        placement.server = written.server_cpus.or_else(|| placement.server.take());
        placement.client = written.client_cpus.or_else(|| placement.client.take());
        comparison.check()?;
        Ok(comparison)
    }
}

/// The stages of a run: one to warm up, unless it is zero, and one that counts; both with `rate`
/// messages a second in the open model.
#[must_use]
pub fn stages(warm_up: Duration, duration: Duration, rate: Option<Ramp>) -> Vec<Stage> {
    let stage = |name: &str, duration, warm_up| {
        let mut stage = Stage::new(duration);
        name.clone_into(&mut stage.name);
        stage.warm_up = warm_up;
        stage.rate = rate;
        stage
    };
    let first = (!warm_up.is_zero()).then(|| stage("warm-up", warm_up, true));
    first.into_iter().chain([stage("measured", duration, false)]).collect()
}

/// A workload of the file, as the scenario file that it would be.
fn workload(mut table: Table, stages: &[Stage]) -> Result<Workload, String> {
    let Some(Value::String(name)) = table.remove("name") else {
        return Err("each [[workload]] needs a name".to_owned());
    };
    let of_this = |words: String| format!("workload {name}: {words}");
    for (key, why) in [
        ("url", "the comparison starts the servers; `path` is its path"),
        ("urls", "the comparison starts the servers"),
        ("server", "each [[server]] has its command"),
        ("fail-if", "a comparison has no conditions"),
        ("output", "a comparison has a report of its own"),
        ("capacity", "a comparison has a load for all"),
        ("duration", "all runs are as long, unless a workload has stages of its own"),
    ] {
        if table.contains_key(key) {
            return Err(of_this(format!("`{key}` does not belong here: {why}")));
        }
    }
    let set = set(&mut table).map_err(of_this)?;
    let path = match table.remove("path") {
        Some(Value::String(path)) if path.starts_with('/') => path,
        None => "/".to_owned(),
        Some(_) => return Err(of_this("a path begins with /".to_owned())),
    };
    table.insert("url".to_owned(), Value::String(format!("ws://127.0.0.1:1{path}")));
    let rate = table.remove("rate");
    if table.contains_key("stage") && rate.is_some() {
        return Err(of_this("the rate of stages is in each of them".to_owned()));
    }
    table.entry("stage").or_insert_with(|| written(stages, rate.as_ref()));
    let text = table.to_string();
    if table.get("scenario").and_then(Value::as_str) == Some(ScenarioName::Abuse.name()) {
        return Err(of_this("attacks are not compared".to_owned()));
    }
    let order = text.parse::<Options>().and_then(Options::order).map_err(of_this)?;
    Ok(Workload { name: name.clone(), load: order.load, set })
}

/// What the names in the commands stand for.
fn set(table: &mut Table) -> Result<Vec<(String, String)>, String> {
    let set = match table.remove("set") {
        None => return Ok(Vec::new()),
        Some(Value::Table(set)) => set,
        Some(_) => return Err("`set` is a table: set = { task = \"echo\" }".to_owned()),
    };
    let text = |(name, value): (String, Value)| match value {
        Value::String(value) => Ok((name, value)),
        other => Err(format!("`set` has texts only, and {name} = {other} is none")),
    };
    set.into_iter().map(text).collect()
}

/// Stages as a scenario file has them.
fn written(stages: &[Stage], rate: Option<&Value>) -> Value {
    let stage = |stage: &Stage| {
        let duration = humantime::format_duration(stage.duration).to_string();
        let mut table = Table::new();
        table.insert("name".to_owned(), Value::String(stage.name.clone()));
        table.insert("duration".to_owned(), Value::String(duration));
        table.insert("warm-up".to_owned(), Value::Boolean(stage.warm_up));
        if let Some(rate) = rate {
            table.insert("rate".to_owned(), rate.clone());
        }
        Value::Table(table)
    };
    Value::Array(stages.iter().map(stage).collect())
}

fn time(text: Option<&str>, usual: Duration) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(usual) };
    humantime::parse_duration(text).map_err(|error| format!("`{text}` is no time: {error}"))
}

/// As many as a median and a spread need.
pub const ROUNDS_DEFAULT: usize = 3;

/// Long enough that whole ticks of the kernel's clock are 1 % of it at most.
pub const DURATION_DEFAULT: Duration = Duration::from_secs(3);

/// Long enough for caches, buffers and congestion windows.
pub const WARM_UP_DEFAULT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Work;

    const SERVERS: &str = "[[server]]\nname = \"a\"\ncommand = \"a {task}\"\n";

    #[test]
    fn a_file_says_everything() {
        let text = format!(
            "rounds = 5\nduration = \"2s\"\nserver-cpus = \"0\"\nclient-cpus = \"1-2\"\n{SERVERS}
             [[workload]]\nname = \"small\"\nscenario = \"echo\"\nsize = 20\nconnections = 7
             rate = 1000\npath = \"/chat\"\nset = {{ task = \"echo\" }}
             [[workload]]\nname = \"long\"\nscenario = \"idle\"\nset = {{ task = \"\" }}
             [[workload.stage]]\nduration = \"9s\"\n"
        );
        let comparison: Comparison = text.parse().unwrap();
        assert_eq!(comparison.rounds, 5);
        let cpus = |cpus: &Option<Cpus>| cpus.as_ref().map(ToString::to_string).unwrap();
        let placement = &comparison.placement;
        assert_eq!((cpus(&placement.server), cpus(&placement.client)), ("0".into(), "1-2".into()));
        let [small, long] = comparison.workloads.as_slice() else { panic!("two workloads") };
        assert_eq!((small.load.connections, small.load.targets[0].path()), (7, "/chat"));
        assert_eq!(
            small.load.stages,
            stages(WARM_UP_DEFAULT, Duration::from_secs(2), Some(Ramp::constant(1e3)))
        );
        assert_eq!(small.command(&comparison.servers[0]).unwrap(), "a echo");
        assert_eq!((&long.load.work, long.load.stages.len()), (&Work::Idle, 1));
        assert_eq!(long.load.duration(), Duration::from_secs(9));
    }

    #[test]
    fn what_a_file_must_not_say_is_explained() {
        let workload = "[[workload]]\nname = \"w\"\nset = { task = \"t\" }\n";
        for (text, words) in [
            (
                format!("{SERVERS}{workload}scenario = \"ehco\"\n"),
                "workload w: `ehco` is no scenario",
            ),
            (format!("{SERVERS}{workload}scenario = \"idle\"\nurl = \"ws://a/\"\n"), "`url` does"),
            (format!("{SERVERS}{workload}scenario = \"idle\"\nfail-if = []\n"), "no conditions"),
            (format!("{SERVERS}{workload}scenario = \"idle\"\npath = \"a\"\n"), "begins with /"),
            (format!("{SERVERS}{workload}scenario = \"idle\"\nsise = 1\n"), "sise"),
            (format!("{SERVERS}[[workload]]\nscenario = \"idle\"\n"), "needs a name"),
            (format!("{SERVERS}[[workload]]\nname = \"w\"\nscenario = \"idle\"\n"), "{task}"),
            (format!("roundz = 3\n{SERVERS}"), "roundz"),
            (format!("duration = \"3\"\n{SERVERS}"), "is no time"),
            (format!("server-cpus = \"x\"\n{SERVERS}"), "no list of cores"),
            (SERVERS.to_owned(), "needs a server, a workload"),
        ] {
            let error = text.parse::<Comparison>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
