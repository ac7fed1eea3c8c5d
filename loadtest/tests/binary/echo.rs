//! Echo runs: servers that are right in every way that the protocol allows, and wrong ones.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Message, Result};

use crate::run::{Run, flawless, load, with_time};
use crate::server::{self, Socket, accept_with, answering, give_up, hang_up};

/// What a server does with the message that is wrong.
type Answer = fn(&mut Socket, Message) -> Result<()>;

/// The number of the message that is answered wrongly; those before and after are echoed.
const WRONG: usize = 5;

#[test]
fn a_right_server_is_flawless_and_every_echo_is_counted() {
    for arguments in [
        "--connections 1",
        "--connections 20 --depth 3",
        "--connections 2 --size 0",
        "--connections 2 --size 1 --depth 5",
        "--connections 2 --size 16",
        "--connections 2 --size 70000",
        "--connections 2 --size 1000000 --depth 4",
    ] {
        let answered = Arc::new(AtomicU64::new(0));
        let attempt = |duration: &str| {
            answered.store(0, Ordering::Relaxed);
            let counter = Arc::clone(&answered);
            let address = answering(move |socket, _, message| {
                counter.fetch_add(1, Ordering::Relaxed);
                socket.send(message)
            });
            load("echo", address, &format!("{arguments} --duration {duration}"))
        };
        let run = with_time(100, attempt, |run| run.result("messages") > 0);
        run.assert_flawless(arguments);
        let latency = &run.report["result"]["latency"];
        // Echoes that come after the time is over have a latency, too.
        assert_eq!(latency["count"], answered.load(Ordering::Relaxed), "{arguments}");
        let at = |name: &str| latency[name].as_f64().unwrap();
        let order = ["min_us", "p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"];
        assert!(order.is_sorted_by_key(|name| at(name)), "{latency}");
        assert!(at("min_us") > 1.0, "{latency}");
    }
}

#[test]
fn what_the_protocol_allows_is_flawless() {
    let cases: [(&str, Answer); 4] = [
        ("ping before the echo", |socket, message| {
            socket.send(Message::Ping("are you there".into()))?;
            socket.send(message)
        }),
        ("unasked pong", |socket, message| {
            socket.send(Message::Pong("here".into()))?;
            socket.send(message)
        }),
        ("fragments with a ping between them", |socket, message| {
            let bytes = message.into_data();
            let (first, second) = (bytes.slice(..7), bytes.slice(7..));
            let binary = OpCode::Data(Data::Binary);
            socket.send(Message::Frame(Frame::message(first, binary, false)))?;
            socket.send(Message::Ping("".into()))?;
            let rest = OpCode::Data(Data::Continue);
            socket.send(Message::Frame(Frame::message(second, rest, true)))
        }),
        ("byte by byte", |socket, message| {
            let payload = message.into_data();
            let header = [0x82, u8::try_from(payload.len()).unwrap()];
            let mut bytes = header.iter().chain(payload.iter());
            bytes.try_for_each(|byte| socket.get_mut().write_all(&[*byte])).map_err(Into::into)
        }),
    ];
    for (name, answer) in cases {
        let address = answering(move |socket, _, message| answer(socket, message));
        println!("{name}");
        flawless("echo", address, "--connections 2");
    }
}

fn close_with_a_reason(socket: &mut Socket, _message: Message) -> Result<()> {
    let reason = "too \x1b[1mbusy".into();
    socket.close(Some(CloseFrame { code: CloseCode::Policy, reason }))?;
    // Messages that were on their way and not read would make it a reset.
    hang_up(socket.get_ref().try_clone()?);
    give_up()
}

#[test]
fn a_wrong_answer_is_told_by_kind_and_the_run_goes_on() {
    let cases: [(&str, Answer, &str); 9] = [
        ("text", |socket, _| socket.send(Message::text("no")), "wrong_kind"),
        (
            "one byte more",
            |socket, message| {
                socket.send(Message::binary([&message.into_data()[..], &[0]].concat()))
            },
            "echo_length",
        ),
        (
            "one bit differs",
            |socket, message| {
                let mut payload = message.into_data().to_vec();
                payload[19] ^= 1;
                socket.send(Message::binary(payload))
            },
            "echo_content",
        ),
        ("left out", |_, _| Ok(()), "echo_skipped"),
        (
            "twice",
            |socket, message| {
                socket.send(message.clone())?;
                socket.send(message)
            },
            "echo_stale",
        ),
        (
            "masked",
            |socket, _| Ok(socket.get_mut().write_all(&[0x82, 0x80, 1, 2, 3, 4])?),
            "protocol 1002",
        ),
        (
            "text that is not UTF-8",
            |socket, _| Ok(socket.get_mut().write_all(&[0x81, 1, 0xff])?),
            "protocol 1007",
        ),
        ("closes with a reason", close_with_a_reason, "closed 1008"),
        (
            "hangs up",
            |socket, _| {
                hang_up(socket.get_ref().try_clone()?);
                give_up()
            },
            "ended",
        ),
    ];
    for (name, wrong, kind) in cases {
        let attempt = |duration: &str| {
            let address = server::start(move |connection, stream| {
                let mut socket = tungstenite::accept(stream).unwrap();
                server::serve(&mut socket, |socket, number, message| {
                    match connection == 0 && number == WRONG {
                        true => wrong(socket, message),
                        false => socket.send(message),
                    }
                });
            });
            load("echo", address, &format!("--connections 2 --depth 4 --duration {duration}"))
        };
        let goes_on = |run: &Run| run.result("messages") > 2 * WRONG as u64;
        let run = with_time(100, attempt, |run| goes_on(run) && !run.errors().is_empty());
        run.assert_errors(name, &[(kind, 1)]);
        assert!(goes_on(&run), "{name}: {}", run.table);
        assert!(!run.table.contains('\x1b'), "{name}: the server's text reaches the terminal");
    }
}

#[test]
fn a_close_without_code_is_told_as_such() {
    let address = answering(|socket, _, _| socket.close(None));
    let run = load("echo", address, "--connections 3 --duration 60s");
    run.assert_errors("no code", &[("closed", 3)]);
    assert_eq!(run.result("connections_lost"), 3);
    let seconds = run.report["result"]["duration_seconds"].as_f64().unwrap();
    assert!(seconds < 60.0, "the run ends when no connection is left, not after {seconds} s");
}

#[test]
fn a_reset_is_told_from_an_end() {
    let address = answering(|socket, number, message| {
        if number < WRONG {
            return socket.send(message);
        }
        // What is not read when the socket is closed makes it a reset.
        socket.send(message)?;
        socket.get_ref().peek(&mut [0])?;
        give_up()
    });
    let run = load("echo", address, "--connections 1 --duration 10s");
    run.assert_errors("reset", &[("reset", 1)]);
}

#[test]
fn a_greeting_is_no_echo() {
    let address = server::start(|_, stream| {
        // In one segment with the handshake's answer, so that it comes before all are open.
        let mut socket = accept_with(stream, b"\x81\x07welcome");
        server::serve(&mut socket, |socket, _, message| socket.send(message));
    });
    let run = load("echo", address, "--connections 2 --duration 100ms");
    run.assert_errors("greeting", &[("echo_unexpected", 2)]);
}

#[test]
fn an_echo_that_never_comes_is_missed() {
    let address = answering(|socket, number, message| match number {
        WRONG => Ok(()),
        _ => socket.send(message),
    });
    let attempt =
        |duration: &str| load("echo", address, &format!("--connections 1 --duration {duration}"));
    let run = with_time(100, attempt, |run| !run.errors().is_empty());
    run.assert_errors("missing", &[("echo_missing", 1)]);
    assert_eq!(run.result("messages"), WRONG as u64);
}
