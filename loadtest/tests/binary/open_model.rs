//! The open model: what a stall of the server does to the figures, and what a closed loop makes of
//! it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tickwire_load::clock;

use crate::run::{Run, load, with_time};
use crate::server::answering;

/// How long the server answers nobody, in nanoseconds.
const STALL: u64 = 100_000_000;

/// From one stall to the next: one in five messages of the open model meets one.
const PERIOD: u64 = 500_000_000;

/// An echo server that stalls as a whole for [`STALL`] in each [`PERIOD`].
fn stalling() -> std::net::SocketAddr {
    let next = Arc::new(Mutex::new(clock::now() + PERIOD));
    answering(move |socket, _, message| {
        let mut next = next.lock().unwrap();
        if clock::now() >= *next {
            let end = clock::now() + STALL;
            while clock::now() < end {
                std::thread::park_timeout(Duration::from_nanos(end.saturating_sub(clock::now())));
            }
            *next = clock::now() + PERIOD - STALL;
        }
        drop(next);
        socket.send(message)
    })
}

fn p99_ms(run: &Run, figure: &str) -> f64 {
    run.report["result"][figure]["p99_us"].as_f64().unwrap() / 1e3
}

#[test]
fn a_stall_appears_at_its_true_size_in_the_open_model_only() {
    let run = |arguments: &'static str, shows: &dyn Fn(&Run) -> bool| {
        let arguments = format!("--connections 4 --duration 2500ms {arguments}");
        with_time(0, |_| load("echo", stalling(), &arguments), shows)
    };
    // A busy machine makes any time longer, though not in each attempt; unless it says so each time.
    let at_most =
        |run: &Run, figure: &str, most: f64| p99_ms(run, figure) < most || run.is_disturbed();
    let is_true = |run: &Run| {
        at_most(run, "latency", 130.0) && at_most(run, "latency_raw", 50.0) && !run.is_disturbed()
    };
    let open = run("--rate 1000 --depth 1", &is_true);
    open.assert_flawless("open");
    let p99 = p99_ms(&open, "latency");
    assert!(p99 > 85.0, "the stall of 100 ms is {p99} ms: {}", open.table);
    assert!(at_most(&open, "latency", 130.0), "the stall of 100 ms is {p99} ms: {}", open.table);
    let hides = at_most(&open, "latency_raw", 50.0);
    assert!(hides, "counted from the send, the stall hides: {}", open.table);
    let closed = run("", &|run| at_most(run, "latency", 50.0) && !run.is_disturbed());
    closed.assert_flawless("closed");
    let hides = at_most(&closed, "latency", 50.0);
    assert!(hides, "a closed loop asks once per client and stall: {}", closed.table);
    assert!(closed.report["result"]["latency_raw"].is_null(), "there is one figure only");
}

#[test]
fn the_rate_is_kept_and_held_back_messages_are_counted() {
    let address = answering(|socket, _, message| socket.send(message));
    let attempt = |duration: &str| {
        let arguments = "--connections 5 --rate 2000 --arrivals poisson --duration";
        load("echo", address, &format!("{arguments} {duration}"))
    };
    let is_kept =
        |run: &Run| run.result("messages").abs_diff(run.due(2_000)) < run.due(2_000) * 3 / 20;
    let run = with_time(1_000, attempt, is_kept);
    run.assert_flawless("poisson");
    assert!(is_kept(&run) || run.is_disturbed(), "{}", run.table);
    assert_eq!(run.report["config"]["model"], "open");

    // The server answers after 20 ms: 5 clients with one message each make 250 a second at most.
    let slow = answering(|socket, _, message| {
        std::thread::park_timeout(Duration::from_millis(20));
        socket.send(message)
    });
    let attempt = |duration: &str| {
        let arguments = "--connections 5 --rate 1000 --depth 1 --duration";
        load("echo", slow, &format!("{arguments} {duration}"))
    };
    let sends = |run: &Run, name: &str| run.report["result"]["sends"][name].as_u64().unwrap();
    let run = with_time(1_000, attempt, |run| sends(run, "held") > 100);
    assert!(sends(&run, "unsent") > 500 && sends(&run, "held") > 100, "{}", run.table);
    assert!(run.table.contains("were due and never left"), "{}", run.table);
    let p99 = p99_ms(&run, "latency");
    assert!(p99 > 500.0, "what never left counts with its wait: {p99} ms");
}
