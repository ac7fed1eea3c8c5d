//! Which path leads where, and that each connection keeps the handler that it was led to.
//!
//! In a simulated world, since nothing here depends on a back end.

#[path = "suite/wire.rs"]
#[expect(dead_code, reason = "the other suite uses all of it")]
mod wire;

use std::net::SocketAddr;

use tickwire_protocol::Message;
use tickwire_reactor::io::sim::{Peer, Simulation};
use tickwire_reactor::{
    Answer, Builder, Connection, Connector, Destination, Handler, Request, Response, Server,
    StartError, Unconnected,
};

/// Answers each message with its own name, what the connection was opened with, and how many came. On
/// `dial` it wants a connection to where nobody is, on `panic` too, and then panics.
struct Counter(&'static str);

impl Handler for Counter {
    type State = (String, u32);

    fn request(&mut self, request: &Request<'_>) -> Answer<Self::State> {
        let who = request.parameter("who").or_else(|| request.query_value("who"));
        match who.as_deref() {
            Some("nobody") => Answer::Http(Response::text(403, "nobody is let in")),
            who => Answer::upgrade((who.unwrap_or("somebody").to_owned(), 0)),
        }
    }

    fn message(&mut self, connection: &mut Connection<'_, Self::State>, message: Message<'_>) {
        connection.state.1 += 1;
        let said = format!("{} {} {}", self.0, connection.state.0, connection.state.1);
        connection.send_text(&said);
        if *message.payload != *b"count" {
            let state = connection.state.clone();
            let asked = connection.connect(Destination::new(NOWHERE, "/"), state);
            asked.expect("few wait");
        }
        assert_ne!(*message.payload, *b"panic", "asked for");
    }

    fn connect_failed(
        &mut self,
        _connector: &mut Connector<'_, Self::State>,
        unconnected: Unconnected<Self::State>,
    ) {
        assert_eq!(unconnected.state.0, self.0, "a handler gets back what it wanted");
        FAILED.with_borrow_mut(|failed| failed.push(self.0));
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

thread_local! {
    /// Handlers that were told of a failed connection.
    static FAILED: std::cell::RefCell<Vec<&'static str>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn builder() -> Builder<impl Handler> {
    Server::builder()
        .file("/", Response::html("<title>page</title>").with_header("X-Page", "1"))
        .get("/health", |request| Response::text(200, request.peer().port()))
        .route("/first/{who}", |_| Counter("first"))
        .route("/second", |_| Counter("second"))
        .on_message("/", |connection, message| connection.send(message.kind, message.payload))
        .get("/files/{*path}", |request| {
            Response::text(200, request.parameter("path").unwrap_or_default())
        })
}

/// The whole answer to a request.
fn ask<H: Handler>(simulation: &mut Simulation<H>, request: &[u8]) -> (Peer, String) {
    let peer = simulation.connect();
    simulation.send(peer, request);
    simulation.settle();
    let answer = simulation.receive(peer);
    (peer, String::from_utf8(answer).expect("text"))
}

fn plain(method: &str, path: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

#[test]
fn each_request_has_its_answer() {
    let mut simulation = builder().simulate(1);
    for (method, path, status, in_answer) in [
        ("GET", "/", 200, "X-Page: 1\r\n"),
        ("HEAD", "/?x", 200, "ETag: "),
        ("POST", "/", 405, "Allow: GET, HEAD\r\n"),
        ("GET", "/health", 200, "\r\n\r\n1\n"),
        ("DELETE", "/health", 405, "Allow: GET, HEAD\r\n"),
        ("GET", "/second", 426, "Upgrade: websocket\r\n"),
        ("PUT", "/second", 405, "Allow: GET\r\n"),
        ("GET", "/first/a", 426, ""),
        ("GET", "/first", 404, ""),
        ("GET", "/first/a/b", 404, ""),
        ("GET", "/files/a/b%20c", 200, "\r\n\r\na/b c\n"),
        ("GET", "/nothing", 404, ""),
        ("POST", "/nothing", 404, ""),
        ("OPTIONS", "*", 404, ""),
    ] {
        let (_, answer) = ask(&mut simulation, &plain(method, path));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        assert!(answer.contains(in_answer), "{method} {path}: {answer}");
    }
    for (path, status) in [
        ("/first/a", 101),
        ("/first/nobody", 403),
        ("/second", 101),
        ("/", 101),
        ("/no", 404),
        ("/health", 200),
    ] {
        let (_, answer) = ask(&mut simulation, &wire::request(path, &[]));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}

#[test]
fn a_handshake_that_has_lost_its_upgrade_is_refused_where_a_page_is_too() {
    let mut simulation = builder().simulate(9);
    let whole = String::from_utf8(wire::request("/", &[])).expect("text");
    for (line, instead) in
        [("Upgrade: websocket\r\n", ""), ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n")]
    {
        assert!(whole.contains(line), "{whole}");
        let (_, answer) = ask(&mut simulation, whole.replace(line, instead).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 426 "), "{instead}: {answer}");
    }
    // Where there is only a page, that is what it gets.
    let page = whole.replace("GET / ", "GET /health ").replace("Upgrade: websocket\r\n", "");
    let (_, answer) = ask(&mut simulation, page.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let mut simulation = builder().simulate(2);
    let (_, first) = ask(&mut simulation, &plain("GET", "/"));
    let tag = first.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("a tag");
    let again = format!("GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\n\r\n");
    let (_, second) = ask(&mut simulation, again.as_bytes());
    assert!(second.starts_with("HTTP/1.1 304 ") && second.ends_with("\r\n\r\n"), "{second}");
}

#[test]
fn a_connection_keeps_the_handler_and_the_state_that_its_path_led_to() {
    for seed in 0..10 {
        let mut simulation = builder().shards(2).simulate(seed);
        let paths = ["/first/a%20b", "/second?who=c+d", "/second", "/first/e"];
        let peers = paths.map(|path| ask(&mut simulation, &wire::request(path, &[])).0);
        for count in 1..=3 {
            for (peer, who) in
                peers.iter().zip(["first a b", "second c d", "second somebody", "first e"])
            {
                simulation.send(*peer, &wire::text("count"));
                simulation.settle();
                let mut answer = simulation.receive(*peer);
                let frame = wire::take_frame(&mut answer).expect("an answer");
                assert_eq!(frame.payload, format!("{who} {count}").into_bytes());
            }
        }
    }
}

#[test]
fn who_wants_a_connection_is_told_of_it_even_after_a_panic() {
    for (path, name) in [("/first/first", "first"), ("/second?who=second", "second")] {
        for wish in ["dial", "panic"] {
            FAILED.with_borrow_mut(Vec::clear);
            let mut simulation = builder().simulate(3);
            let (peer, _) = ask(&mut simulation, &wire::request(path, &[]));
            simulation.send(peer, &wire::text(wish));
            simulation.settle();
            let (dialed, _) = simulation.dialed().expect("it was wanted");
            simulation.refuse(dialed);
            simulation.settle();
            assert_eq!(FAILED.with_borrow(Vec::clone), [name], "{path} {wish}");
        }
    }
}

#[test]
fn whatever_has_no_route_is_the_fallbacks() {
    let mut simulation = Server::builder()
        .fallback(|_| Counter("fallback"))
        .route("/second", |_| Counter("second"))
        .simulate(4);
    for (path, name) in [("/second", "second"), ("/any/thing", "fallback")] {
        let (peer, _) = ask(&mut simulation, &wire::request(path, &[]));
        simulation.send(peer, &wire::text("count"));
        simulation.settle();
        let mut answer = simulation.receive(peer);
        let frame = wire::take_frame(&mut answer).expect("an answer");
        assert_eq!(frame.payload, format!("{name} somebody 1").into_bytes());
    }
    // A plain request too: this handler refuses by name.
    let (_, answer) = ask(&mut simulation, &plain("GET", "/any?who=nobody"));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[test]
fn what_is_wrong_with_a_server_is_said_in_words() {
    type Is = fn(&StartError) -> bool;
    let bind = |builder: Builder| builder.bind().map(drop).expect_err("it is wrong");
    let page = |path| Server::builder().file(path, Response::not_found());
    let cases: [(StartError, Is, &str); 6] = [
        (bind(Server::builder().listen("127.0.0.1")), is_address, "write a host and a port"),
        (bind(Server::builder().listen("127.0.0.1:70000")), is_address, "\"127.0.0.1:70000\""),
        (bind(Server::builder().listen("no.such.host.invalid:80")), is_address, "no.such.host"),
        (bind(page("chat")), is_route, "a path begins with '/'"),
        (bind(page("/{*a}/b")), is_route, "nothing can follow {*name}"),
        (
            bind(page("/a").file("/a", Response::not_found())),
            is_route,
            "another route has the same",
        ),
    ];
    for (error, is_expected, words) in cases {
        assert!(is_expected(&error), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        // What `main` shows.
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}

fn is_address(error: &StartError) -> bool {
    matches!(error, StartError::Address { .. })
}

fn is_route(error: &StartError) -> bool {
    matches!(error, StartError::Route { .. })
}
