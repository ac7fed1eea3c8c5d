//! What a user of `compare` meets: flags, progress, usage errors, signals.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::run::binary;
use crate::server::{Behaviour, Notes};

#[test]
fn what_cannot_be_compared_is_explained_with_exit_code_2() {
    for (arguments, words) in [
        ("compare", "<FILE>"),
        ("compare /nowhere/compare.toml", "/nowhere/compare.toml"),
        ("compare --server serve", "NAME=COMMAND"),
        ("compare --server a=true --server a=true", "two servers are called a"),
        ("compare --server a={task}", "{task}"),
        ("compare --server a=true --server-cpus x", "no list of cores"),
        ("compare --server a=true --server-cpus 1023", "the cores 1023 cannot be had"),
        ("compare --server a=true --client-cpus 1023", "the cores 1023 cannot be had"),
        ("compare --server a=true --scenario idle --rate 5", "a rate belongs to"),
        ("compare file.toml --size 5", "cannot be used with"),
        ("compare --server a=true --html /nowhere/page.html", "/nowhere/page.html"),
    ] {
        let output = binary().args(arguments.split(' ')).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words), "{arguments}: {error}");
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
    }
}

#[test]
fn flags_make_a_comparison_of_one_workload() {
    let notes = Notes::new();
    let server = |name: &str| format!("{name}={}", Behaviour::Echo.command(&notes));
    let compare = |duration: &str| {
        binary()
            .args(["compare", "--server", &server("one"), "--server", &server("two")])
            .args(["-c", "2", "--size", "33", "--depth", "2", "--rounds", "1"])
            .args(["--duration", duration, "--warm-up", "0s", "--json", "-"])
            .output()
            .unwrap()
    };
    let mut output = compare("50ms");
    if output.status.code() == Some(1) {
        // On a busy machine nothing may have come in that time.
        output = compare("5s");
    }
    let progress = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{progress}");
    assert!(progress.contains("1/1  echo 33 B × 2  two: "), "{progress}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let workload = &result["workloads"][0];
    assert_eq!((&workload["name"], &workload["connections"]), (&"echo 33 B × 2".into(), &2.into()));
    assert_eq!(workload["rows"].as_array().unwrap().len(), 2);
    notes.assert_all_stopped();
}

#[test]
fn an_interrupt_ends_the_comparison_stops_its_server_and_is_told() {
    let notes = Notes::new();
    let mut child = binary()
        .args(["compare", "--server", &format!("one={}", Behaviour::Echo.command(&notes))])
        .args(["-c", "2", "--duration", "1h", "--warm-up", "0s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = progress.find_map(|line| Some(line.unwrap()).filter(|it| it.contains("running")));
    assert!(line.is_some());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("ended before its time") && table.contains("not measured"), "{table}");
    assert_eq!(output.status.code(), Some(1));
    notes.assert_all_stopped();
}
