//! What becomes of a run: the server's use of the machine, thresholds, pages, logs, comparisons.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::run::{Run, binary, load, with_time};
use crate::server::answering;

/// A file of a test that is gone when the test is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let file = format!("tickwire-load-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(file))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn echo(arguments: &[&str]) -> Output {
    let address = answering(|socket, _, message| socket.send(message));
    let url = format!("ws://{address}/");
    let attempt = |duration: &str| {
        let usual = ["echo", &url, "-c", "2", "--quiet", "--allow-saturated"];
        binary().args(usual).args(["--duration", duration]).args(arguments).output().unwrap()
    };
    // Exit code 1: nothing came.
    with_time(300, attempt, |output| output.status.code() != Some(1))
}

#[test]
fn the_servers_use_of_the_machine_is_in_the_report() {
    let address = answering(|socket, _, message| socket.send(message));
    // The server is this very process.
    let pid = std::process::id();
    let attempt = |duration: &str| {
        load("echo", address, &format!("-c 20 --server-pid {pid} --duration {duration}"))
    };
    let at = |run: &Run, name: &str| run.report["result"]["server"][name].as_f64();
    let shows = |run: &Run| {
        at(run, "cpu_per_message_us") > Some(1.0)
            && at(run, "cpu_seconds") > Some(0.01)
            && at(run, "cores") > Some(0.0)
            && at(run, "rss_open_bytes") > Some(1e6)
            && at(run, "voluntary_switches") > Some(10.0)
    };
    let run = with_time(500, attempt, shows);
    run.assert_flawless("watched");
    let server = &run.report["result"]["server"];
    assert_eq!(server["pid"], pid);
    assert!(shows(&run), "{server}");
    assert!(run.table.contains("server CPU") && run.table.contains("server RAM"), "{}", run.table);
}

#[test]
fn a_server_is_started_by_its_command_and_stopped() {
    // Anything that listens will do: what is told is that it is no WebSocket server.
    let port = answering(|socket, _, message| socket.send(message)).port();
    let occupied = binary()
        .args(["echo", &format!("ws://127.0.0.1:{port}/"), "--server-cmd", "true"])
        .output()
        .unwrap();
    let words = String::from_utf8(occupied.stderr).unwrap();
    assert!(words.contains("something listens on"), "{words}");
    assert_eq!(occupied.status.code(), Some(2));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let command = format!("python3 -m http.server {port} --bind 127.0.0.1");
    let output = binary()
        .args(["echo", &format!("ws://127.0.0.1:{port}/"), "-c", "1", "--json", "-"])
        .args(["--server-cmd", &command])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["result"]["errors"][0]["kind"], "upgrade_refused", "{report}");
    let pid = report["result"]["server"]["pid"].as_u64().unwrap();
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "it was stopped");
}

#[test]
fn a_condition_that_holds_sets_the_exit_code() {
    let output = echo(&["--fail-if", "p50>1ns", "--fail-if", "errors>0"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("FAILED: p50>1ns") && table.contains("held: errors>0"), "{table}");
    let output = echo(&["--fail-if", "p50>10s"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let unmeasured = echo(&["--fail-if", "server.cpu>1s"]);
    assert_eq!(unmeasured.status.code(), Some(4), "what is not measured does not pass");
}

#[test]
fn figures_of_a_generator_that_was_the_limit_are_withheld() {
    // Latency cannot be measured by a generator that is stopped half of the time; a schedule that
    // one thread cannot keep is as good.
    let address = answering(|socket, _, message| socket.send(message));
    let run = |more: &[&str]| {
        let url = format!("ws://{address}/");
        let attempt = |duration: &str| {
            let arguments = ["--rate", "3000000", "--duration", duration, "-c", "4", "--quiet"];
            let output =
                binary().args(["echo", &url, "--json", "-"]).args(arguments).args(more).output();
            let output = output.unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let table = String::from_utf8(output.stderr).unwrap();
            (output.status.code(), report["result"].clone(), table)
        };
        with_time(300, attempt, |(_, result, _)| result["messages"].as_u64() > Some(0))
    };
    let (code, result, table) = run(&[]);
    assert!(!result["saturated"].as_array().unwrap().is_empty(), "{result}");
    assert!(result["latency"].is_null() && result["messages_per_second"].is_null(), "{result}");
    assert!(result["messages"].as_u64().unwrap() > 0 && table.contains("withheld"), "{table}");
    assert_eq!(code, Some(3), "{table}");
    let (code, result, table) = run(&["--allow-saturated"]);
    assert!(result["latency"]["p99_us"].as_f64().unwrap() > 0.0, "{result}");
    assert!(table.contains("the generator itself was the limit"), "{table}");
    assert_eq!(code, Some(0), "{table}");
}

#[test]
fn pages_logs_and_comparisons_are_made_of_a_run() {
    let files = ["page.html", "run.hlog", "run.json", "both.html"].map(Scratch::new);
    let [page, log, json, both] = &files;
    let output = echo(&["--html", page.path(), "--hdr", log.path(), "--json", json.path()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let html = page.text();
    for part in ["Throughput over time", "Latency over time", "Latency by percentile", "<svg"] {
        assert!(html.contains(part), "{part}");
    }
    for foreign in ["http://", "https://", "<script", "url("] {
        let found = html.replace("http://www.w3.org/2000/svg", "").contains(foreign);
        assert!(!found, "the page needs {foreign}");
    }
    assert!(log.text().contains("[StartTime: ") && log.text().lines().count() > 3);
    let shown = binary().args(["report", json.path()]).output().unwrap();
    assert_eq!(shown.stdout, output.stdout, "the same table again");
    let twice = ["report", json.path(), json.path(), "--html", both.path()];
    let compared = binary().args(twice).output().unwrap();
    let table = String::from_utf8(compared.stdout).unwrap();
    assert!(table.contains("latency p99") && table.contains("(1.00×)"), "{table}");
    let same = !table.contains("did not do the same");
    assert!(same && both.text().contains("2 runs"), "{table}");
    let other = echo(&["--size", "33", "--json", page.path()]);
    assert_eq!(other.status.code(), Some(0), "{other:?}");
    let compared = binary().args(["report", json.path(), page.path()]).output().unwrap();
    let table = String::from_utf8(compared.stdout).unwrap();
    assert!(table.contains("size 33, not 20") && !table.contains("depth"), "{table}");
}
