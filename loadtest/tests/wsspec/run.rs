//! One run of the binary, and what it reported.

use std::net::SocketAddr;
use std::process::{Command, Output};

use serde_json::Value;

use crate::server::{MESSAGE_MAX, ORIGIN, PATH, SUBPROTOCOL};

/// Runs the binary with `arguments`.
pub(crate) fn wsspec(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wsspec")).args(arguments).output().unwrap()
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    /// The JSON report.
    pub(crate) report: Value,
    /// The lines.
    pub(crate) lines: String,
}

/// Tests the server at `address` with everything that it is known to be.
pub(crate) fn run(address: SocketAddr, more: &[&str]) -> Run {
    let url = format!("ws://{address}{PATH}");
    let limit = MESSAGE_MAX.to_string();
    let known = [
        &url,
        "--json",
        "-",
        "--timeout",
        "900ms",
        "--patience",
        "3s",
        "--jobs",
        "16",
        "--subprotocol",
        SUBPROTOCOL,
        "--origin",
        ORIGIN,
        "--missing-path",
        "/nothing-here",
        "--max-message",
        &limit,
    ];
    let output = wsspec(&[&known[..], more].concat());
    let lines = String::from_utf8(output.stderr).unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}), but: {lines}"));
    Run { code: output.status.code(), report, lines }
}

impl Run {
    /// Names of the cases with this verdict.
    pub(crate) fn with(&self, verdict: &str) -> Vec<&str> {
        let cases = self.report["cases"].as_array().unwrap().iter();
        let its = cases.filter(|case| case["verdict"] == verdict);
        its.map(|case| case["id"].as_str().unwrap()).collect()
    }

    /// Reasons for which cases were left out, each once.
    pub(crate) fn reasons(&self) -> Vec<&str> {
        let cases = self.report["cases"].as_array().unwrap().iter();
        let mut reasons: Vec<&str> = cases.filter_map(|case| case["reason"].as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons
    }
}

/// Names of all cases.
pub(crate) fn all_cases() -> Vec<String> {
    let output = wsspec(&["--list"]);
    let list = String::from_utf8(output.stdout).unwrap();
    list.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}
