//! Runs of the scenarios beside echo and fan-out.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tickwire_load::clock;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::run::{Run, load, with_time};
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
    let attempt = |duration: &str| {
        load("echo", address, &format!("-c 10 --processes 3 --rate 900 --duration {duration}"))
    };
    let keeps_the_rate =
        |run: &Run| run.result("messages").abs_diff(run.due(900)) < run.due(900) / 8;
    let run = with_time(500, attempt, keeps_the_rate);
    run.assert_flawless("three");
    assert_eq!(run.result("connections_opened"), 10);
    let client = &run.report["result"]["client"];
    assert_eq!(client["generators"], 3, "{client}");
    let messages = run.result("messages");
    assert!(keeps_the_rate(&run) || run.is_disturbed(), "{}", run.table);
    let count = run.report["result"]["latency"]["count"].as_u64().unwrap();
    assert!(count >= messages, "{}", run.table);
}

#[test]
fn a_capacity_search_finds_where_the_server_gives_up() {
    // It refuses everyone from the ninth connection of a run on. Who closes has given its place back
    // when its Close is answered, which the next read does: then the next run may begin.
    let open = Arc::new(AtomicUsize::new(0));
    let address = server::start(move |_, stream| {
        if open.fetch_add(1, Ordering::SeqCst) < 8
            && let Ok(mut socket) = tungstenite::accept(stream)
        {
            while socket.read().is_ok_and(|message| !message.is_close()) {}
            open.fetch_sub(1, Ordering::SeqCst);
            while socket.read().is_ok() {}
        } else {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    });
    let arguments = "--scenario idle --from 2 --to 100 --duration 100ms";
    let run = load("capacity", address, arguments);
    assert_eq!(run.report["config"]["connections"], 8, "{}", run.table);
    assert!(run.table.contains("8 connections; at 9 it broke"), "{}", run.table);
}

#[test]
fn attacks_are_told_by_what_the_server_did() {
    let address = answering(|socket, _, message| socket.send(message));
    let attempt = |duration: &str| {
        let arguments = "--attacks mute,fragments,ping-flood,storm --attackers 3 --duration";
        load("abuse", address, &format!("{arguments} {duration}"))
    };
    let shows = |run: &Run| {
        let attacks = &run.report["attacks"];
        let stages = run.report["result"]["stages"].as_array().unwrap();
        attacks[0]["endings"][0]["what"] == "held on"
            && attacks[1]["bytes"].as_u64() > Some(10_000)
            && attacks[2]["handshakes"] == 3
            && attacks[3]["handshakes"].as_u64() > Some(10)
            && stages.iter().all(|it| it["messages"].as_u64() > Some(100))
    };
    let run = with_time(700, attempt, shows);
    run.assert_flawless("polite");
    let attacks = run.report["attacks"].as_array().unwrap();
    let names: Vec<&str> = attacks.iter().map(|it| it["attack"].as_str().unwrap()).collect();
    assert_eq!(names, ["mute", "fragments", "ping-flood", "storm"]);
    assert_eq!(run.report["result"]["stages"].as_array().unwrap().len(), 5);
    assert!(shows(&run), "{}", run.table);
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
    let connect = |arguments: &str| {
        accepted.store(0, Ordering::Relaxed);
        load("connect", address, arguments)
    };
    let open = |duration: &str| connect(&format!("-c 20 --rate 200 --duration {duration}"));
    let run = with_time(1_000, open, |run| run.result("messages") == run.due(200));
    run.assert_flawless("open model");
    assert_eq!(run.result("messages"), run.due(200), "{}", run.table);
    assert_eq!(run.result("connections_opened"), run.due(200));
    assert_eq!(accepted.load(Ordering::Relaxed) as u64, run.due(200));
    let closed = |duration: &str| connect(&format!("-c 2 --duration {duration}"));
    let run = with_time(300, closed, |run| run.result("messages") > 20);
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
    let attempt =
        |duration: &str| load("connect", address, &format!("-c 1 --rate 40 --duration {duration}"));
    let is_half = |run: &Run| run.result("connections_failed").abs_diff(run.due(40) / 2) <= 1;
    let run = with_time(500, attempt, is_half);
    let failed = run.result("connections_failed");
    assert!(is_half(&run) && failed == run.errors()[0].1, "{}", run.table);
    let unsent = run.report["result"]["sends"]["unsent"].as_u64().unwrap();
    let all = run.result("connections_opened") + failed + unsent;
    assert_eq!(all, run.due(40), "{}", run.table);
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
    let attempt = |duration: &str| {
        let arguments = "-c 20 --stalled 0.2 --slow 0 --restless 0.2 --duration";
        load("mixed", publishing(), &format!("{arguments} {duration}"))
    };
    let stalled = |run: &Run| -> u64 {
        let treatment = run.report["result"]["treatment"].as_array().into_iter().flatten();
        let stalled = treatment.filter(|it| it["clients"] == "stalled");
        stalled.map(|it| it["count"].as_u64().unwrap()).sum()
    };
    // Five restless clients come again some three times in three seconds.
    let shows =
        |run: &Run| (3..=5).contains(&stalled(run)) && run.result("connections_opened") > 25;
    let run = with_time(3_000, attempt, shows);
    assert!(shows(&run), "{} stalled: {}", stalled(&run), run.table);
    assert_eq!(run.report["scenario"], "mixed");
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
    type Case = (&'static [&'static str], u64, &'static [(&'static str, u64)]);
    let cases: [Case; 5] = [
        (&[SIX, SEVEN], 6, &[]),
        (&[SEVEN], 0, &[("gap", 2)]),
        (&[SIX, SIX], 0, &[("duplicate", 2)]),
        (&[SEVEN, SIX], 0, &[("gap", 2), ("reordered", 2)]),
        (&[], 0, &[("not_subscribed", 2)]),
    ];
    for (lines, messages, errors) in cases {
        let attempt = |duration: &str| {
            let address = match lines {
                [] => answering(|_, _, _| Ok(())),
                lines => ticker(lines),
            };
            load("ticker", address, &format!("--symbols AAPL -c 2 --duration {duration}"))
        };
        let all_came = |run: &Run| run.result("messages") >= messages;
        let run = with_time(200, attempt, |run| run.has_errors(errors) && all_came(run));
        if errors.is_empty() {
            run.assert_flawless("right");
            assert_eq!(run.result("messages"), messages);
        } else {
            run.assert_errors("wrong", errors);
        }
    }
}
