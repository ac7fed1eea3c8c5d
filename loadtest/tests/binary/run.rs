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
