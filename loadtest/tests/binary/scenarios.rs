//! Runs of the scenarios beside echo and fan-out.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tickwire_load::clock;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::run::load;
use crate::server::{self, answering};

#[test]
fn idle_connections_stay_open_and_are_no_failure() {
    let address = answering(|socket, _, message| socket.send(message));
    let pid = std::process::id();
    let run = load("idle", address, &format!("-c 150 --duration 200ms --server-pid {pid}"));
    assert_eq!((run.errors(), run.code), (vec![], Some(0)), "{}", run.table);
    assert_eq!(run.result("connections_opened"), 150);
    let client = run.report["result"]["client"]["rss_bytes"].as_u64().unwrap();
    assert!((1_000_000..100_000_000).contains(&client), "{client} bytes");
    let server = &run.report["result"]["server"];
    assert!(server["rss_per_connection_bytes"].as_f64().unwrap() > 100.0, "{server}");
}

#[test]
fn several_processes_make_one_load() {
    let address = answering(|socket, _, message| socket.send(message));
    let run = load("echo", address, "-c 10 --processes 3 --duration 500ms --rate 900");
    run.assert_flawless("three");
    assert_eq!(run.result("connections_opened"), 10);
    let client = &run.report["result"]["client"];
    assert_eq!(client["generators"], 3, "{client}");
    let messages = run.result("messages");
    assert!(messages.abs_diff(450) < 60, "{}", run.table);
    let count = run.report["result"]["latency"]["count"].as_u64().unwrap();
    assert!(count >= messages, "{}", run.table);
}

#[test]
fn a_capacity_search_finds_where_the_server_gives_up() {
    // It refuses everyone from the ninth connection of a run on.
    let open = Arc::new(AtomicUsize::new(0));
    let address = server::start(move |_, stream| {
        if open.fetch_add(1, Ordering::Relaxed) < 8
            && let Ok(mut socket) = tungstenite::accept(stream)
        {
            server::serve(&mut socket, |socket, _, message| socket.send(message));
        }
        open.fetch_sub(1, Ordering::Relaxed);
    });
    let arguments = "--scenario idle --from 2 --to 100 --duration 100ms";
    let run = load("capacity", address, arguments);
    assert_eq!(run.report["config"]["connections"], 8, "{}", run.table);
    assert!(run.table.contains("8 connections; at 9 it broke"), "{}", run.table);
}

#[test]
fn attacks_are_told_by_what_the_server_did() {
    let address = answering(|socket, _, message| socket.send(message));
    let arguments = "--attacks mute,fragments,ping-flood,storm --attackers 3 --duration 700ms";
    let run = load("abuse", address, arguments);
    run.assert_flawless("polite");
    let attacks = run.report["attacks"].as_array().unwrap();
    let names: Vec<&str> = attacks.iter().map(|it| it["attack"].as_str().unwrap()).collect();
    assert_eq!(names, ["mute", "fragments", "ping-flood", "storm"]);
    assert_eq!(attacks[0]["endings"][0]["what"], "held on", "{}", run.table);
    assert!(attacks[1]["bytes"].as_u64().unwrap() > 10_000, "{}", run.table);
    assert_eq!(attacks[2]["handshakes"], 3, "{}", run.table);
    assert!(attacks[3]["handshakes"].as_u64().unwrap() > 10, "{}", run.table);
    let stages = run.report["result"]["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 5);
    assert!(stages.iter().all(|it| it["messages"].as_u64().unwrap() > 100), "{}", run.table);
}

#[test]
fn handshakes_arrive_at_their_rate_and_each_is_measured() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    let address = server::start(move |_, stream| {
        if let Ok(mut socket) = tungstenite::accept(stream) {
            counter.fetch_add(1, Ordering::Relaxed);
            server::serve(&mut socket, |socket, _, message| socket.send(message));
        }
    });
    let run = load("connect", address, "-c 20 --duration 1s --rate 200");
    run.assert_flawless("open model");
    assert_eq!(run.result("messages"), 200, "{}", run.table);
    assert_eq!(run.result("connections_opened"), 200);
    assert_eq!(accepted.swap(0, Ordering::Relaxed), 200);
    let run = load("connect", address, "-c 2 --duration 300ms");
    run.assert_flawless("closed model");
    assert_eq!(run.result("connections_opened"), accepted.load(Ordering::Relaxed) as u64);
    assert!(run.result("messages") > 20, "{}", run.table);
}

#[test]
fn a_refused_handshake_frees_its_place() {
    let address = server::start(|number, stream| {
        if number % 2 == 1 {
            return drop(stream);
        }
        let mut socket = tungstenite::accept(stream).unwrap();
        server::serve(&mut socket, |socket, _, message| socket.send(message));
    });
    let run = load("connect", address, "-c 1 --duration 500ms --rate 40");
    let failed = run.result("connections_failed");
    assert!(failed.abs_diff(10) <= 1 && failed == run.errors()[0].1, "{}", run.table);
    let unsent = run.report["result"]["sends"]["unsent"].as_u64().unwrap();
    assert_eq!(run.result("connections_opened") + failed + unsent, 20, "{}", run.table);
}

/// Publishes 64 KB some fifty times a second on each connection, until it cannot; answers Close.
fn publishing() -> std::net::SocketAddr {
    server::start(|_, stream| {
        let Ok(mut reader) = tungstenite::accept(stream) else { return };
        let stream = reader.get_ref().try_clone().unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        // What waits for a client that does not read is to fill up soon.
        socket2::SockRef::from(&stream).set_send_buffer_size(128 * 1024).unwrap();
        let mut writer = WebSocket::from_raw_socket(stream, Role::Server, None);
        std::thread::spawn(move || {
            server::serve(&mut reader, |_, _, _| Ok(()));
            let _ = reader.get_ref().shutdown(Shutdown::Both);
        });
        for sequence in 0..1000_u64 {
            let mut payload = vec![0; 65_536];
            payload[..8].copy_from_slice(&clock::now().to_le_bytes());
            payload[8..16].copy_from_slice(&sequence.to_le_bytes());
            if writer.send(Message::binary(payload)).is_err() {
                let _ = writer.get_ref().shutdown(Shutdown::Both);
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    })
}

#[test]
fn bad_clients_are_no_faults_and_what_became_of_them_is_told() {
    let arguments = "-c 20 --duration 3s --stalled 0.2 --slow 0 --restless 0.2";
    let run = load("mixed", publishing(), arguments);
    let treatment = run.report["result"]["treatment"].as_array();
    let stalled: u64 = treatment
        .into_iter()
        .flatten()
        .filter(|it| it["clients"] == "stalled")
        .map(|it| it["count"].as_u64().unwrap())
        .sum();
    assert!((3..=5).contains(&stalled), "{}", run.table);
    assert_eq!(run.report["scenario"], "mixed");
    // Five restless clients come again some three times in three seconds.
    assert!(run.result("connections_opened") > 25, "{}", run.table);
}

/// Serves one price, then what `next` says.
fn ticker(next: &'static [&'static str]) -> std::net::SocketAddr {
    answering(move |socket, _, message| {
        assert!(message.to_text().unwrap().contains("\"subscribe\""), "{message}");
        let ack = r#"{"type":"ack","id":1,"results":[{"symbol":"AAPL","ok":true}]}"#;
        let snapshot = r#"{"type":"snapshot","symbol":"AAPL","seq":5,"ts":"100","data":{}}"#;
        for line in [ack, snapshot].iter().chain(next) {
            socket.send(Message::text(*line))?;
        }
        Ok(())
    })
}

#[test]
fn prices_are_checked_for_order() {
    const SIX: &str = r#"{"type":"update","symbol":"AAPL","seq":6,"prev":5,"ts":"101"}"#;
    const SEVEN: &str = r#"{"type":"update","symbol":"AAPL","seq":7,"prev":6,"ts":"102"}"#;
    let arguments = "--symbols AAPL -c 2 --duration 200ms";
    let run = load("ticker", ticker(&[SIX, SEVEN]), arguments);
    run.assert_flawless("right");
    assert_eq!(run.result("messages"), 6);
    load("ticker", ticker(&[SEVEN]), arguments).assert_errors("gap", &[("gap", 2)]);
    load("ticker", ticker(&[SIX, SIX]), arguments).assert_errors("twice", &[("duplicate", 2)]);
    let swapped = load("ticker", ticker(&[SEVEN, SIX]), arguments);
    swapped.assert_errors("swapped", &[("gap", 2), ("reordered", 2)]);
    let silent = answering(|_, _, _| Ok(()));
    load("ticker", silent, arguments).assert_errors("silent", &[("not_subscribed", 2)]);
}
