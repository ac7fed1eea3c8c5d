//! Fan-out runs: servers that publish in order, and others.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tickwire_load::clock;
use tungstenite::protocol::{CloseFrame, Role, frame::coding::CloseCode};
use tungstenite::{Message, WebSocket};

use crate::run::{Run, load, with_time};
use crate::server::{self, Socket};

/// What a server sends on one connection once the run has started.
#[derive(Clone, Copy)]
enum Step {
    /// A message with this sequence number and size, published now.
    Publish(u64, usize),
    /// The same, dated some seconds from now.
    Ahead(u64),
    Text,
    Short,
    Close,
}

/// Publishes `script(connection)` on every connection when one of them says `start`.
fn publishing(script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> SocketAddr {
    let started = Arc::new((Mutex::new(false), Condvar::new()));
    server::start(move |connection, stream| {
        let mut reader = tungstenite::accept(stream).unwrap();
        let stream = reader.get_ref().try_clone().unwrap();
        let mut writer = WebSocket::from_raw_socket(stream, Role::Server, None);
        let starter = Arc::clone(&started);
        // Reads `start` and answers Close; it has nothing else to write, so nothing mixes.
        thread::spawn(move || {
            server::serve(&mut reader, |_, _, message| {
                assert_eq!(message, Message::text("start"));
                *starter.0.lock().unwrap() = true;
                starter.1.notify_all();
                Ok(())
            });
        });
        let (flag, condition) = &*started;
        drop(condition.wait_while(flag.lock().unwrap(), |started| !*started).unwrap());
        for step in script(connection) {
            publish(&mut writer, step);
        }
    })
}

fn publish(writer: &mut Socket, step: Step) {
    let message = match step {
        Step::Publish(sequence, size) => stamped(clock::now(), sequence, size),
        Step::Ahead(sequence) => stamped(clock::now() + 3_000_000_000, sequence, 125),
        Step::Text => Message::text("0123456789abcdef"),
        Step::Short => Message::binary(vec![0; 15]),
        Step::Close => {
            let reason = "slow".into();
            writer.close(Some(CloseFrame { code: CloseCode::Again, reason })).unwrap();
            return;
        }
    };
    writer.send(message).unwrap();
}

fn stamped(published: u64, sequence: u64, size: usize) -> Message {
    let mut payload = vec![0; size];
    payload[..8].copy_from_slice(&published.to_le_bytes());
    payload[8..16].copy_from_slice(&sequence.to_le_bytes());
    Message::binary(payload)
}

fn in_order(count: u64) -> Vec<Step> {
    (0..count).map(|sequence| Step::Publish(sequence, 125)).collect()
}

#[test]
fn every_message_reaches_every_client_in_order() {
    let attempt = |duration: &str| {
        let address = publishing(|_| in_order(1_000));
        load("fanout", address, &format!("--connections 20 --duration {duration}"))
    };
    let run = with_time(500, attempt, |run| run.result("messages") == 20_000);
    run.assert_flawless("in order");
    assert_eq!(run.result("messages"), 20_000);
    assert_eq!(run.result("payload_bytes"), 20_000 * 125);
    assert_eq!(run.result("connections_opened"), 20);
    let p50 = run.report["result"]["latency"]["p50_us"].as_f64().unwrap();
    assert!(p50 > 1.0, "{p50} µs");
}

#[test]
fn a_fault_on_one_connection_is_told_by_kind() {
    use Step::{Ahead, Close, Publish, Short, Text};
    type Errors = [(&'static str, u64)];
    let cases: [(&str, &'static [Step], &Errors); 10] = [
        ("gap", &[Publish(0, 125), Publish(4, 125)], &[("gap", 3)]),
        ("duplicate", &[Publish(0, 125), Publish(0, 125)], &[("duplicate", 1)]),
        (
            "overtaken",
            &[Publish(0, 125), Publish(2, 125), Publish(1, 125)],
            &[("gap", 1), ("reordered", 1)],
        ),
        ("late", &[Publish(7, 125), Publish(8, 125)], &[("late_start", 1)]),
        ("another size", &[Publish(0, 125), Publish(1, 126)], &[("size_changed", 1)]),
        ("text", &[Publish(0, 125), Text], &[("wrong_kind", 1)]),
        ("short", &[Publish(0, 125), Short], &[("too_short", 1)]),
        ("ahead of time", &[Publish(0, 125), Ahead(1)], &[("future", 1)]),
        ("closes", &[Publish(0, 125), Close], &[("closed 1013", 1)]),
        ("nothing", &[], &[("silent", 1)]),
    ];
    for (name, steps, errors) in cases {
        let attempt = |duration: &str| {
            let address = publishing(move |connection| match connection {
                1 => steps.to_vec(),
                _ => in_order(10),
            });
            load("fanout", address, &format!("--connections 3 --duration {duration}"))
        };
        let all_came = |run: &Run| run.result("messages") >= 20;
        let run = with_time(200, attempt, |run| run.has_errors(errors) && all_came(run));
        run.assert_errors(name, errors);
        assert!(all_came(&run), "{name}: {}", run.table);
    }
}

#[test]
fn a_server_that_publishes_nothing_fails_the_run_and_is_explained() {
    let address = publishing(|_| Vec::new());
    let run = load("fanout", address, "--connections 2 --duration 100ms");
    assert_eq!((run.errors(), run.code), (vec![], Some(1)));
    assert!(run.table.contains("does the server begin on the text message `start`?"));
}

/// Answers every subscription with `answer`, and on `start` publishes what `script` makes of the topics
/// of a connection: sequence numbers of topics.
fn publishing_topics(
    answer: &'static str,
    script: impl Fn(&[u32]) -> Vec<(u32, u64)> + Send + Sync + 'static,
) -> SocketAddr {
    let started = Arc::new((Mutex::new(false), Condvar::new()));
    server::start(move |_, stream| {
        let mut reader = tungstenite::accept(stream).unwrap();
        let stream = reader.get_ref().try_clone().unwrap();
        let mut writer = WebSocket::from_raw_socket(stream, Role::Server, None);
        let asked = reader.read().unwrap().into_text().unwrap();
        let names = asked.strip_prefix("subscribe ").unwrap().split(',');
        let topics: Vec<u32> = names.map(|name| name.parse().unwrap()).collect();
        writer.send(Message::text(answer)).unwrap();
        let starter = Arc::clone(&started);
        thread::spawn(move || {
            server::serve(&mut reader, |_, _, message| {
                assert_eq!(message, Message::text("start"));
                *starter.0.lock().unwrap() = true;
                starter.1.notify_all();
                Ok(())
            });
        });
        let (flag, condition) = &*started;
        drop(condition.wait_while(flag.lock().unwrap(), |started| !*started).unwrap());
        for (topic, sequence) in script(&topics) {
            let Message::Binary(payload) = stamped(clock::now(), sequence, 125) else { continue };
            let mut payload = payload.to_vec();
            payload[16..20].copy_from_slice(&topic.to_le_bytes());
            writer.send(Message::binary(payload)).unwrap();
        }
    })
}

#[test]
fn topics_are_subscribed_to_first_and_checked_each_by_itself() {
    type Errors = [(&'static str, u64)];
    let each = |topics: &[u32], numbers: &[u64]| {
        let of = |number: &u64| topics.iter().map(|topic| (*topic, *number)).collect::<Vec<_>>();
        numbers.iter().flat_map(of).collect::<Vec<_>>()
    };
    let cases: [(&str, &'static [u64], &Errors, u64); 3] = [
        ("subscribed distinct", &[0, 1, 2], &[], 0),
        ("subscribed merge", &[1, 4], &[], 3 * 3 * 3),
        ("subscribed distinct", &[0, 4], &[("gap", 3 * 3 * 3)], 0),
    ];
    for (answer, numbers, errors, merged) in cases {
        let attempt = |duration: &str| {
            let address = publishing_topics(answer, move |topics| each(topics, numbers));
            let arguments =
                format!("--connections 3 --topics 20 --topics-of-each 3 --duration {duration}");
            load("fanout", address, &arguments)
        };
        let messages = 3 * 3 * numbers.len() as u64;
        let run = with_time(200, attempt, |run| run.result("messages") == messages);
        assert!(run.has_errors(errors), "{answer}: {}", run.table);
        assert_eq!((run.result("messages"), run.result("merged")), (messages, merged), "{answer}");
        let config = &run.report["config"];
        assert_eq!((&config["topics"], &config["topics_of_each"]), (&20.into(), &3.into()));
        assert_eq!(run.table.contains("as a newer value had come"), merged > 0, "{}", run.table);
    }
}

#[test]
fn idle_clients_may_be_subscribers() {
    let address = publishing_topics("subscribed distinct", |_| Vec::new());
    let arguments = "--connections 2 --topics 5 --topics-of-each 2 --duration 50ms";
    let run = load("idle", address, arguments);
    assert_eq!((run.errors(), run.code), (vec![], Some(0)), "{}", run.table);
}
