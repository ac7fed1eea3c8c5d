//! The open model: what a stall of the server does to the figures, and what a closed loop makes of
//! it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tickwire_load::clock;

use crate::run::{Run, load};
use crate::server::answering;

/// How long the server answers nobody, in nanoseconds.
const STALL: u64 = 100_000_000;

/// From one stall to the next: one in five messages of the open model meets one.
const PERIOD: u64 = 500_000_000;

/// Runs that are made at most until one is undisturbed.
const ATTEMPTS_MAX: u32 = 4;

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

fn is_disturbed(run: &Run) -> bool {
    !run.report["result"]["saturated"].as_array().unwrap().is_empty()
}

/// A run in which the generator was not the limit, if the machine lets one be: on a busy one it is
/// made again, because its figures would tell of the machine.
fn undisturbed(address: std::net::SocketAddr, arguments: &str) -> Run {
    let mut attempts = 0;
    loop {
        let run = load("echo", address, arguments);
        attempts += 1;
        if !is_disturbed(&run) || attempts == ATTEMPTS_MAX {
            return run;
        }
    }
}

#[test]
fn a_stall_appears_at_its_true_size_in_the_open_model_only() {
    let arguments = "--connections 4 --duration 2500ms";
    let open = undisturbed(stalling(), &format!("{arguments} --rate 1000 --depth 1"));
    open.assert_flawless("open");
    let closed = undisturbed(stalling(), arguments);
    closed.assert_flawless("closed");
    let p99 = p99_ms(&open, "latency");
    assert!(p99 > 85.0, "the stall of 100 ms is {p99} ms: {}", open.table);
    // Only a machine that is busy with other things makes it longer.
    assert!(p99 < 130.0 || is_disturbed(&open), "the stall of 100 ms is {p99} ms: {}", open.table);
    let raw = p99_ms(&open, "latency_raw");
    assert!(raw < 50.0, "counted from the send, the stall hides: {raw} ms: {}", open.table);
    let p99 = p99_ms(&closed, "latency");
    assert!(p99 < 50.0, "a closed loop asks once per client and stall: {p99} ms: {}", closed.table);
    assert!(closed.report["result"]["latency_raw"].is_null(), "there is one figure only");
}

#[test]
fn the_rate_is_kept_and_held_back_messages_are_counted() {
    let address = answering(|socket, _, message| socket.send(message));
    let run = load("echo", address, "--connections 5 --duration 1s --rate 2000 --arrivals poisson");
    run.assert_flawless("poisson");
    let messages = run.result("messages");
    assert!(messages.abs_diff(2_000) < 300, "{messages}");
    assert_eq!(run.report["config"]["model"], "open");

    // The server answers after 20 ms: 5 clients with one message each make 250 a second at most.
    let slow = answering(|socket, _, message| {
        std::thread::park_timeout(Duration::from_millis(20));
        socket.send(message)
    });
    let run = load("echo", slow, "--connections 5 --duration 1s --rate 1000 --depth 1");
    let sends = &run.report["result"]["sends"];
    assert!(sends["unsent"].as_u64().unwrap() > 500, "{sends}");
    assert!(sends["held"].as_u64().unwrap() > 100, "{sends}");
    assert!(run.table.contains("were due and never left"), "{}", run.table);
    let p99 = p99_ms(&run, "latency");
    assert!(p99 > 500.0, "what never left counts with its wait: {p99} ms");
}
