//! The names in a file: which there are, and which scenario has which.
//!
//! A name that is not known is an error, because a misspelt limit that is ignored is no limit; and
//! so is one that the scenario has no use for. Both are told with the name that was meant, as far
//! as that can be guessed.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use toml::{Table, Value};

/// What the clients do, by its name in files and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum ScenarioName {
    /// They send and check the answers.
    Echo,
    /// They check what is published.
    Fanout,
    /// They subscribe to prices.
    Ticker,
    /// They do nothing.
    Idle,
    /// They connect, close, and connect again.
    Connect,
    /// The fan-out among bad clients.
    Mixed,
    /// Attacks, beside polite clients that echo.
    Abuse,
}

use ScenarioName::{Abuse, Connect, Echo, Fanout, Idle, Mixed, Ticker};

impl ScenarioName {
    /// All of them.
    pub const ALL: [Self; 7] = [Echo, Fanout, Ticker, Idle, Connect, Mixed, Abuse];

    /// The name itself.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Echo => "echo",
            Fanout => "fanout",
            Ticker => "ticker",
            Idle => "idle",
            Connect => "connect",
            Mixed => "mixed",
            Abuse => "abuse",
        }
    }
}

impl fmt::Display for ScenarioName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for ScenarioName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name);
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == text)
            .ok_or_else(|| format!("`{text}` is no scenario: {}", meant(text, &names)))
    }
}

impl TryFrom<String> for ScenarioName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A name, who has it, and the names below it if it is a table.
struct Key {
    name: &'static str,
    of: &'static [ScenarioName],
    below: &'static [&'static str],
}

/// A name that all these scenarios have.
const fn key(name: &'static str, of: &'static [ScenarioName]) -> Key {
    Key { name, of, below: &[] }
}

/// A table that all these scenarios have.
const fn table(
    name: &'static str,
    of: &'static [ScenarioName],
    below: &'static [&'static str],
) -> Key {
    Key { name, of, below }
}

const ALL: &[ScenarioName] = &ScenarioName::ALL;

/// All but the attacks, whose polite clients are always the same.
const PLAIN: &[ScenarioName] = &[Echo, Fanout, Ticker, Idle, Connect, Mixed];

const PACED: &[ScenarioName] = &[Echo, Connect];

const KEYS: &[Key] = &[
    key("scenario", ALL),
    key("url", ALL),
    key("urls", PLAIN),
    key("connections", PLAIN),
    key("duration", ALL),
    key("rate", PACED),
    key("arrivals", PACED),
    key("size", &[Echo]),
    key("depth", &[Echo]),
    key("compress", &[Echo]),
    key("symbols", &[Ticker]),
    key("mode", &[Ticker]),
    key("max-rate", &[Ticker]),
    key("topics", &[Fanout, Idle]),
    key("topics-of-each", &[Fanout, Idle]),
    table("mix", &[Echo, Fanout, Ticker, Mixed], &["slow", "stalled", "restless"]),
    key("attacks", &[Abuse]),
    key("attackers", &[Abuse]),
    table("capacity", &[Echo, Fanout, Ticker, Idle, Connect], &["vary", "from", "to"]),
    key("resume", &[Connect]),
    key("protocols", PLAIN),
    table("headers", PLAIN, &[]),
    key("deflate", PLAIN),
    key("sources", PLAIN),
    key("processes", PLAIN),
    table("server", ALL, &["command", "pid", "ca", "insecure"]),
    key("fail-if", ALL),
    table("output", ALL, &["json", "html", "hdr", "fail-if", "allow-saturated", "quiet"]),
    table("stage", PLAIN, &["name", "duration", "rate", "connections", "warm-up"]),
];

/// Whether a file's names are known and of use to its scenario.
pub(crate) fn check(file: &Table) -> Result<(), String> {
    let scenario = file.get("scenario").and_then(Value::as_str);
    let scenario = scenario.map(str::parse::<ScenarioName>).transpose()?;
    let has = |key: &Key| scenario.is_none_or(|scenario| key.of.contains(&scenario));
    for (name, value) in file {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let names: Vec<&str> = KEYS.iter().filter(|key| has(key)).map(|key| key.name).collect();
            return Err(format!("unknown key `{name}`: {}", meant(name, &names)));
        };
        if !has(key) {
            let of: Vec<&str> = key.of.iter().map(|scenario| scenario.name()).collect();
            let scenario = scenario.map_or("none", ScenarioName::name);
            return Err(format!("`{name}` is of {}, and not of {scenario}", of.join(", ")));
        }
        if !key.below.is_empty() {
            let tables =
                value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
            for below in tables.iter().filter_map(Value::as_table).flat_map(Table::keys) {
                if !key.below.contains(&below.as_str()) {
                    let meant = meant(below, key.below);
                    return Err(format!("unknown key `{below}` in `{name}`: {meant}"));
                }
            }
        }
    }
    Ok(())
}

/// The name that was meant, if one is near, or else all that there are.
fn meant(word: &str, names: &[&str]) -> String {
    let near = names.iter().map(|name| (distance(word, name), *name)).min();
    match near {
        Some((distance, name)) if distance <= NEAR && distance < name.len() => {
            format!("do you mean `{name}`?")
        }
        _ => format!("there are {}", names.join(", ")),
    }
}

/// How many letters have to be put in, taken out or changed to make one word of the other; two
/// neighbours that changed places count as one.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // Rows of the table for the beginnings of `one`: the one before the last, the last.
    let (mut earlier, mut last) = (Vec::new(), (0..=other.len()).collect::<Vec<usize>>());
    for (row, letter) in one.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, theirs) in other.iter().enumerate() {
            let changed = last[column] + usize::from(letter != theirs);
            let mut least = changed.min(last[column + 1] + 1).min(next[column] + 1);
            let crossed = row > 0 && column > 0 && other[column - 1] == *letter;
            if crossed && one[row - 1] == *theirs {
                least = least.min(earlier[column - 1] + 1);
            }
            next.push(least);
        }
        (earlier, last) = (last, next);
    }
    last[other.len()]
}

/// Words further apart than this are not meant for each other.
const NEAR: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        for (word, name) in [
            ("sise", "size"),
            ("conections", "connections"),
            ("fail_if", "fail-if"),
            ("hedaers", "headers"),
            ("warmup", "warm-up"),
            ("URL", "url"),
        ] {
            let names = ["size", "connections", "fail-if", "headers", "warm-up", "url"];
            let told = meant(word, &names);
            assert!(told.contains(&format!("`{name}`")) || word == "URL", "{word}: {told}");
        }
        assert_eq!(meant("nonsense", &["a", "b"]), "there are a, b");
        for (one, other, steps) in [("", "abc", 3), ("ab", "ba", 1), ("same", "same", 0)] {
            assert_eq!(distance(one, other), steps, "{one} {other}");
        }
    }

    /// A value for each name, such as files have it.
    const VALUES: &[(&str, &str)] = &[
        ("scenario", ""),
        ("url", "\"ws://127.0.0.1:1/\""),
        ("urls", "[\"ws://127.0.0.1:2/\"]"),
        ("connections", "7"),
        ("duration", "\"2s\""),
        ("rate", "100"),
        ("arrivals", "\"poisson\""),
        ("size", "\"20:1,30:2\""),
        ("depth", "3"),
        ("compress", "false"),
        ("symbols", "[\"A\"]"),
        ("mode", "\"merge\""),
        ("max-rate", "5"),
        ("topics", "5"),
        ("topics-of-each", "3"),
        ("mix", "{ slow = 0.1, stalled = 0.1, restless = 0.1 }"),
        ("attacks", "[\"bomb\"]"),
        ("attackers", "3"),
        ("capacity", "{ vary = \"connections\", from = 2, to = 5 }"),
        ("resume", "true"),
        ("protocols", "[\"a\"]"),
        ("headers", "{ Origin = \"https://a.example\", X-Two = [\"1\", \"2\"] }"),
        ("deflate", "true"),
        ("sources", "[\"127.0.0.2\"]"),
        ("processes", "2"),
        ("server", "{ pid = 1 }"),
        ("fail-if", "[\"errors>0\"]"),
        (
            "output",
            "{ json = \"a\", html = \"b\", hdr = \"c\", fail-if = [\"lost>0\"], \
                     allow-saturated = true, quiet = true }",
        ),
        ("stage", "[{ name = \"a\", duration = \"1s\", connections = 2, warm-up = true }]"),
    ];

    #[test]
    fn each_scenario_has_its_keys_and_refuses_all_others() {
        assert!(KEYS.iter().map(|key| key.name).eq(VALUES.iter().map(|(name, _)| *name)));
        for scenario in ScenarioName::ALL {
            let mut head = format!("scenario = \"{scenario}\"\n");
            if scenario == Ticker {
                head.push_str("symbols = [\"B\"]\n");
            }
            for (key, (name, value)) in KEYS.iter().zip(VALUES) {
                let mut text = head.clone();
                if *name != "scenario" && !text.contains(&format!("{name} =")) {
                    text.push_str(&format!("{name} = {value}\n"));
                }
                if *name != "url" {
                    text.push_str("url = \"ws://127.0.0.1:1/\"\n");
                }
                let options = text.parse::<crate::Options>();
                if key.of.contains(&scenario) {
                    let order = options.and_then(crate::Options::order);
                    assert!(order.is_ok(), "{text}: {}", order.unwrap_err());
                } else {
                    let error = options.unwrap_err();
                    let told = error.contains(&format!("`{name}` is of"));
                    assert!(told && error.contains(scenario.name()), "{text}: {error}");
                }
                let misspelt = text.replace(&format!("\n{name} ="), &format!("\n{name}x ="));
                if misspelt != text && key.of.contains(&scenario) {
                    let error = misspelt.parse::<crate::Options>().unwrap_err();
                    assert!(error.contains(&format!("do you mean `{name}`?")), "{error}");
                }
            }
        }
    }
}
