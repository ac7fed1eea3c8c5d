//! How connections begin and end: refusals, limits, handshakes of every kind, and Close.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};

use crate::run::{Run, flawless, load, with_time};
use crate::server::{self, accept_with, answering, hang_up, read_request, read_to_end};

/// Answers each request with the same bytes and hangs up.
fn answering_with(answer: &'static str) -> SocketAddr {
    server::start(move |_, mut stream| {
        read_request(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        hang_up(stream);
    })
}

#[test]
fn a_server_that_does_not_run_is_told_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let run = load("echo", address, "--connections 3");
    run.assert_errors("no server", &[("connect_refused", 3)]);
    assert!(run.table.contains("is the server running, on this host and port?"));
    // All of the first burst fail: the others are not tried.
    let run = load("fanout", address, "--connections 10000");
    run.assert_errors("no server", &[("connect_refused", 128)]);
}

#[test]
fn a_refused_handshake_is_told_with_its_status() {
    for (answer, kind) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "upgrade_refused 403"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "upgrade_refused 404"),
        ("HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1/\r\n\r\n", "upgrade_refused 301"),
        ("HTTP/1.1 200 OK\r\n\r\n", "upgrade_refused 200"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            "upgrade_invalid",
        ),
        ("SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "upgrade_invalid"),
        ("", "upgrade_ended"),
    ] {
        let run = load("echo", answering_with(answer), "--connections 2");
        run.assert_errors(answer, &[(kind, 2)]);
        assert_eq!(run.result("connections_failed"), 2);
    }
}

#[test]
fn a_handshake_that_is_not_answered_is_given_up() {
    let attempt = |duration: &str| {
        let address = server::start(|number, stream| {
            if number == 0 {
                return read_to_end(stream);
            }
            let mut socket = tungstenite::accept(stream).unwrap();
            server::serve(&mut socket, |socket, _, message| socket.send(message));
        });
        load("echo", address, &format!("--connections 2 --duration {duration}"))
    };
    let run = with_time(100, attempt, |run| run.result("messages") > 0);
    run.assert_errors("no answer", &[("connect_timed_out", 1)]);
    assert!(run.result("messages") > 0);
}

#[test]
fn a_server_that_pings_and_does_not_read_cannot_fill_the_memory() {
    let address = server::start(|_, stream| {
        let mut socket = tungstenite::accept(stream).unwrap();
        while socket.send(Message::Ping(vec![0; 125].into())).is_ok() {}
    });
    let run = load("echo", address, "--connections 1 --duration 30s");
    run.assert_errors("ping flood", &[("not_reading", 1)]);
}

#[test]
fn the_run_goes_on_with_the_connections_that_open() {
    let address = server::start(|number, mut stream| {
        if number % 2 == 1 {
            read_request(&mut stream);
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap();
            return hang_up(stream);
        }
        let mut socket = tungstenite::accept(stream).unwrap();
        server::serve(&mut socket, |socket, _, message| socket.send(message));
    });
    let attempt =
        |duration: &str| load("echo", address, &format!("--connections 10 --duration {duration}"));
    // Ten more have even and odd numbers as well.
    let run = with_time(100, attempt, |run| run.result("messages") > 0);
    run.assert_errors("half", &[("upgrade_refused 503", 5)]);
    assert_eq!((run.result("connections_opened"), run.result("connections_failed")), (5, 5));
    assert!(run.result("messages") > 0);
}

#[test]
fn frames_that_come_with_the_handshakes_answer_are_not_lost() {
    let address = server::start(|_, stream| {
        // Whoever does not answer this Ping gets no echo.
        let mut socket = accept_with(stream, b"\x89\x05early");
        assert_eq!(socket.read().unwrap(), Message::Pong("early".into()));
        server::serve(&mut socket, |socket, _, message| socket.send(message));
    });
    flawless("echo", address, "--connections 2");
}

#[test]
#[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
fn path_headers_and_subprotocols_reach_the_server() {
    let address = server::start(|_, stream| {
        let check = |request: &Request, mut response: Response| {
            let header = |name| request.headers().get(name).unwrap().to_str().unwrap();
            assert_eq!(request.uri(), "/");
            assert_eq!(header("Origin"), "https://example.org");
            assert_eq!(header("Sec-WebSocket-Protocol"), "chat, prices");
            let chosen = "prices".parse().unwrap();
            response.headers_mut().insert("Sec-WebSocket-Protocol", chosen);
            Ok(response)
        };
        let mut socket = tungstenite::accept_hdr(stream, check).unwrap();
        server::serve(&mut socket, |socket, _, message| socket.send(message));
    });
    let arguments = "--connections 1 --header Origin:https://example.org --protocol chat \
                     --protocol prices";
    flawless("echo", address, arguments);
}

#[test]
fn a_close_that_is_not_answered_is_told() {
    let address = server::start(|_, stream| {
        let mut socket = tungstenite::accept(stream).unwrap();
        while let Ok(message) = socket.read() {
            match message {
                Message::Close(_) => return hang_up(socket.get_ref().try_clone().unwrap()),
                message => socket.send(message).unwrap(),
            }
        }
    });
    let run = load("echo", address, "--connections 2 --duration 50ms");
    run.assert_errors("hangs up on Close", &[("close_unanswered", 2)]);

    let address = answering(|socket, number, message| {
        socket.send(message)?;
        // Without a further read, neither the Close nor anything else is seen.
        if number == 3 {
            socket.send(Message::text("the last word"))?;
            hang_up(socket.get_ref().try_clone()?);
        }
        Ok(())
    });
    let attempt =
        |duration: &str| load("echo", address, &format!("--connections 1 --duration {duration}"));
    let is_ended = |run: &Run| run.errors().iter().any(|(kind, _)| kind == "ended");
    let run = with_time(100, attempt, is_ended);
    assert!(is_ended(&run), "{}", run.table);
}

#[test]
fn more_connections_than_a_burst_all_open() {
    let address = answering(|socket, _, message| socket.send(message));
    let run = flawless("echo", address, "--connections 300");
    assert_eq!(run.result("connections_opened"), 300);
}
