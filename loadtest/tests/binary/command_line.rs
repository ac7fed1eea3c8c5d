//! What a user meets: usage errors, files, signals, limits.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::run::{binary, with_time};
use crate::server::answering;

#[test]
fn what_cannot_be_done_is_explained_with_exit_code_2() {
    let cases: [(&str, &str); 18] = [
        ("echo", "<URL>"),
        ("echo wss://127.0.0.1:1/ --ca /nowhere/ca.pem", "no certificates to trust"),
        ("echo http://127.0.0.1/", "ws://host[:port][/path]"),
        ("echo ws://nowhere.invalid/", "has no address"),
        ("echo ws://127.0.0.1/ --duration 10", "unit"),
        ("echo ws://127.0.0.1/ --connections 0", "a number from 1 to"),
        ("echo ws://127.0.0.1/ --rate 0", "rate: more than 0"),
        ("echo ws://127.0.0.1/ --size 9..3", "9 is more than 3"),
        ("fanout ws://127.0.0.1/ --size 20", "--size"),
        ("mixed ws://127.0.0.1/ --stalled 0.8 --slow 0.3", "less than 1 together"),
        ("echo ws://127.0.0.1/ --fail-if p99", "has the form"),
        ("echo ws://127.0.0.1/ --server-pid 4194304", "there is no process"),
        ("echo ws://127.0.0.1/ --compress", "--deflate"),
        ("capacity ws://127.0.0.1/ --from 0", "from, to: more than 0"),
        ("run /nowhere/scenario.toml", "/nowhere/scenario.toml"),
        ("report /nowhere/report.json", "/nowhere/report.json"),
        ("fanout ws://127.0.0.1/ --json /nowhere/report.json", "/nowhere/report.json"),
        ("fanout ws://127.0.0.1/ --header Host\u{e9}:x", "handshake cannot be written"),
    ];
    for (arguments, words) in cases {
        let output = binary().args(arguments.split(' ')).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words), "{arguments}: {error}");
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
    }
}

#[test]
fn a_limit_of_open_files_is_raised_or_explained() {
    let limited = |limits: &str, connections: &str| {
        let address = answering(|socket, _, message| socket.send(message));
        let script = format!("{limits}; exec \"$0\" \"$@\"");
        let attempt = |duration: &str| {
            Command::new("sh")
                .args(["-c", &script, env!("CARGO_BIN_EXE_tickwire-load"), "echo"])
                .args([&format!("ws://{address}/"), "--duration", duration, "-c"])
                .args(connections.split(' '))
                .arg("--allow-saturated")
                .output()
                .unwrap()
        };
        // Exit code 1: nothing came.
        with_time(50, attempt, |output| output.status.code() != Some(1))
    };
    let raised = limited("ulimit -Sn 20", "100");
    assert_eq!(raised.status.code(), Some(0), "{raised:?}");

    let refused = limited("ulimit -n 164", "101 --processes 1");
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("use at most 100 --connections"), "{error}");
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn an_interrupt_ends_the_run_and_it_is_reported() {
    let address = answering(|socket, _, message| socket.send(message));
    let mut child = binary()
        .args(["echo", &format!("ws://{address}/"), "-c", "2", "--duration", "1h"])
        .arg("--allow-saturated")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    // Of a time in which something came.
    let is_told = |line: &String| line.contains("running") && !line.contains(" 0 messages/s");
    let line = progress.by_ref().map(Result::unwrap).find(is_told).unwrap();
    assert!(line.contains("messages/s") && line.contains("p99"), "{line}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut table = String::new();
    child.stdout.take().unwrap().read_to_string(&mut table).unwrap();
    assert!(table.contains("(interrupted)") && table.contains("errors       none"), "{table}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_report_in_a_file_says_what_was_done() {
    let address = answering(|socket, _, message| socket.send(message));
    let file = std::env::temp_dir().join(format!("tickwire-load-{}.json", address.port()));
    let attempt = |duration: &str| {
        binary()
            .args(["echo", &format!("ws://{address}/path?query"), "-c", "2"])
            .args(["--size", "33", "--depth", "2", "--duration", duration, "--json"])
            .args([file.to_str().unwrap(), "--allow-saturated"])
            .output()
            .unwrap()
    };
    // Exit code 1: nothing came.
    let output = with_time(100, attempt, |output| output.status.code() != Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    std::fs::remove_file(file).unwrap();
    assert_eq!((&report["schema"], &report["scenario"]), (&2.into(), &"echo".into()));
    let config = &report["config"];
    assert_eq!(config["urls"][0], format!("ws://{address}/path?query"));
    for (name, value) in [("connections", 2), ("depth", 2)] {
        assert_eq!(config[name], value, "{name}");
    }
    assert_eq!((&config["size"], &config["model"]), (&"33".into(), &"closed".into()));
    let result = &report["result"];
    let messages = result["messages"].as_u64().unwrap();
    assert_eq!(result["payload_bytes"], messages * 33);
    let rate = result["messages_per_second"].as_f64().unwrap();
    let seconds = result["duration_seconds"].as_f64().unwrap();
    assert!(seconds >= 0.1, "{seconds}");
    assert!((rate * seconds / messages as f64 - 1.0).abs() < 1e-6, "{rate} × {seconds}");
    let share = result["client"]["core_share"].as_f64().unwrap();
    assert!(share > 0.0 && share <= 1.1, "{share}");
    for row in ["echo", "connections", "throughput", "latency", "client", "errors"] {
        assert!(table.lines().any(|line| line.starts_with(row)), "{row}: {table}");
    }
}
