//! A run written down: a TOML file with the scenario, its stages and ramps, and what must hold.
//!
//! Says what flags say, by the same names where it can, and beyond them what happens one after the
//! other. docs/loadtest.md has examples; [`Options`] has the names.

use std::str::FromStr;

use crate::options::{self, Options};

impl FromStr for Options {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words = |error: toml::de::Error| error.to_string();
        options::check_keys(&text.parse().map_err(words)?)?;
        toml::from_str(text).map_err(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Load, Work};
    use crate::options::{DEPTH_OPEN, Task};
    use crate::plan::Ramp;

    #[test]
    fn a_file_says_everything() {
        let options: Options = r#"
            scenario = "echo"
            url = "ws://127.0.0.1:9001/"
            size = "20:90,1024:10"
            arrivals = "poisson"
            protocols = ["chat"]
            headers = { Origin = "https://example.org" }
            fail-if = ["p99>5ms", "errors>0"]
            mix = { stalled = 0.1 }
            output = { html = "run.html", fail-if = ["lost>0"] }
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
        let order = options.order().unwrap();
        let Load { work, connections, stages, .. } = &order.load;
        let size = "20:90,1024:10".parse().unwrap();
        assert_eq!(*work, Work::Echo { size, depth: DEPTH_OPEN });
        assert_eq!((*connections, stages.len(), order.outputs.fail_if.len()), (500, 2, 3));
        assert!(stages[0].warm_up && stages[0].name == "warm-up" && stages[1].name == "2");
        assert_eq!(stages[1].rate, Some(Ramp { from: 1_000.0, to: 20_000.0 }));
        assert_eq!(order.load.scenario(), "mixed");
        assert_eq!(order.server_command.as_deref(), Some("./server --port 9001"));
        assert!(order.outputs.html.is_some() && matches!(order.task, Task::Run));
    }

    #[test]
    fn a_file_without_stages_is_one_stage_like_a_command_line() {
        let text =
            "scenario = \"connect\"\nurl = \"ws://127.0.0.1:1/\"\nduration = \"2s\"\nrate = 9";
        let order = text.parse::<Options>().and_then(Options::order).unwrap();
        assert_eq!((order.load.duration().as_secs(), order.load.connections), (2, 100));
        assert_eq!(order.load.stages[0].rate, Some(Ramp::constant(9.0)));
    }

    #[test]
    fn what_a_file_must_not_say_is_explained() {
        let head = "url = \"ws://127.0.0.1:9001/\"\n";
        let stage = "[[stage]]\nduration = \"1s\"\n";
        let echo = format!("{head}scenario = \"echo\"\n");
        for (text, words) in [
            (format!("{head}scenario = \"ehco\"\n"), "do you mean `echo`?"),
            ("scenario = \"echo\"\n".to_owned(), "no server is named"),
            (head.to_owned(), "needs a scenario"),
            (format!("{echo}sise = 20\n"), "unknown key `sise`: do you mean `size`?"),
            (
                format!("{echo}{stage}warm_up = true"),
                "`warm_up` in `stage`: do you mean `warm-up`?",
            ),
            (format!("{echo}[mix]\nslwo = 0.1"), "`slwo` in `mix`: do you mean `slow`?"),
            (format!("{head}scenario = \"ticker\"\n"), "needs symbols"),
            (format!("{head}scenario = \"fanout\"\n{stage}rate = 5"), "a rate belongs to"),
            (
                format!("{head}scenario = \"fanout\"\nsize = 5"),
                "`size` is of echo, and not of fanout",
            ),
            (format!("{echo}{stage}rate = 5\n{stage}"), "either all stages"),
            (format!("{echo}{stage}rate = -5"), "not negative"),
            (format!("{echo}duration = \"1s\"\n{stage}"), "its own duration"),
            (format!("{echo}rate = 0"), "rate: more than 0"),
            (format!("{echo}rate = \"many\""), "a number, or { from"),
            (format!("{echo}depth = 0"), "depth: a number from 1 to 4096"),
            (format!("{echo}processes = 1001"), "processes: a number from 1 to 1000"),
            (format!("{echo}duration = \"0s\""), "at least 1ms"),
            (format!("{echo}compress = true"), "compress goes with deflate"),
            (format!("{echo}server = {{ pid = 1, command = \"x\" }}"), "not both"),
            (format!("{echo}fail-if = [\"p99\"]"), "has the form"),
            (format!("{echo}capacity = {{ from = 0 }}"), "from, to"),
            (format!("{echo}headers = {{ X = 1 }}"), "text, or a list of texts"),
        ] {
            let error = text.parse::<Options>().and_then(Options::order).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
