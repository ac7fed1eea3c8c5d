//! One run of the binary, and what it reported.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    /// The JSON report.
    pub(crate) report: Value,
    /// The table; it is on standard error because JSON has standard output.
    pub(crate) table: String,
}

/// The binary, yet without arguments.
pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tickwire-load"))
}

/// Runs `scenario` against `address` with further arguments, separated by spaces.
pub(crate) fn load(scenario: &str, address: SocketAddr, arguments: &str) -> Run {
    let url = format!("ws://{address}/");
    let arguments: Vec<&str> =
        [scenario, &url].into_iter().chain(arguments.split_whitespace()).collect();
    run(&arguments)
}

/// Makes a run until it shows what it should, first in so many milliseconds. A busy machine may leave no
/// time for it, so each further attempt has more: `attempt` is given the duration in the form of the
/// command line. What is wrong in the program is wrong each time.
pub(crate) fn with_time<T>(
    milliseconds: u64,
    attempt: impl Fn(&str) -> T,
    shows: impl Fn(&T) -> bool,
) -> T {
    let durations = (0..ATTEMPTS).map(|number| milliseconds * 3_u64.pow(number));
    let mut durations = durations.map(|milliseconds| format!("{milliseconds}ms"));
    loop {
        let duration = durations.next().unwrap();
        let made = attempt(&duration);
        if durations.len() == 0 || shows(&made) {
            return made;
        }
    }
}

/// A flawless run of as much time as it needs, against a server that keeps nothing in mind.
pub(crate) fn flawless(scenario: &str, address: SocketAddr, arguments: &str) -> Run {
    let attempt =
        |duration: &str| load(scenario, address, &format!("{arguments} --duration {duration}"));
    let run = with_time(100, attempt, |run| run.result("messages") > 0);
    run.assert_flawless(arguments);
    run
}

/// The first is enough nearly always; the last has 27 times its duration.
const ATTEMPTS: u32 = 4;

/// Runs the binary with these arguments and those of every test.
pub(crate) fn run(arguments: &[&str]) -> Run {
    let output = binary()
        .args(arguments)
        // A busy machine is no reason for a test to fail.
        .args(["--json", "-", "--quiet", "--allow-saturated"])
        .output()
        .unwrap();
    let table = String::from_utf8(output.stderr).unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}), but: {table}"));
    Run { code: output.status.code(), report, table }
}

impl Run {
    /// The errors as `kind` or `kind code`, with their counts, in the order of the report.
    pub(crate) fn errors(&self) -> Vec<(String, u64)> {
        let named = |error: &Value| {
            let kind = error["kind"].as_str().unwrap();
            let code = error["code"].as_u64().map_or(String::new(), |code| format!(" {code}"));
            (format!("{kind}{code}"), error["count"].as_u64().unwrap())
        };
        self.report["result"]["errors"].as_array().unwrap().iter().map(named).collect()
    }

    /// Whether these and no others are its errors.
    pub(crate) fn has_errors(&self, expected: &[(&str, u64)]) -> bool {
        let errors = self.errors();
        errors.iter().map(|(kind, count)| (kind.as_str(), *count)).eq(expected.iter().copied())
    }

    /// Whether the machine was busy with other things, so that its figures tell of it.
    pub(crate) fn is_disturbed(&self) -> bool {
        !self.report["result"]["saturated"].as_array().unwrap().is_empty()
    }

    /// How many of something that comes so often a second come in its duration.
    pub(crate) fn due(&self, each_second: u64) -> u64 {
        let seconds = self.report["config"]["duration_seconds"].as_f64().unwrap();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a few thousand"
        )]
        let due = (seconds * each_second as f64).round() as u64;
        due
    }

    pub(crate) fn result(&self, field: &str) -> u64 {
        self.report["result"][field].as_u64().unwrap()
    }

    /// Asserts that the run had exactly these errors, said so in the table, and exited with 1.
    #[track_caller]
    pub(crate) fn assert_errors(&self, name: &str, expected: &[(&str, u64)]) {
        let errors = self.errors();
        let errors: Vec<_> = errors.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        assert_eq!(errors, expected, "{name}: {}", self.table);
        for (kind, count) in expected {
            assert!(self.table.contains(&format!("{count} × {kind}")), "{name}: {}", self.table);
        }
        assert_eq!(self.report["result"]["ok"], false, "{name}");
        assert_eq!(self.code, Some(1), "{name}");
    }

    /// Asserts that nothing went wrong, and that something came.
    #[track_caller]
    pub(crate) fn assert_flawless(&self, name: &str) {
        assert_eq!(self.errors(), [], "{name}: {}", self.table);
        assert!(self.result("messages") > 0, "{name}: {}", self.table);
        assert_eq!(self.report["result"]["ok"], true, "{name}");
        assert_eq!(self.code, Some(0), "{name}");
    }
}
