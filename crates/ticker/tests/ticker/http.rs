//! What a browser or a scraper gets on the same port.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tickwire::Timestamp;

use crate::client::Client;
use crate::server::Server;

/// An answer, read to the end of its connection.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

/// Asks for `path` with `method` and further header lines.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    ask_on(TcpStream::connect(address).unwrap(), method, path, headers)
}

fn ask_on(mut stream: TcpStream, method: &str, path: &str, headers: &str) -> Answer {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // In one piece: the server may answer, and be gone, before a second one comes.
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Answer { status, headers: lines.map(header).collect(), body: body.to_owned() }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "")
}

/// Asks on a connection that there is already.
pub(crate) fn get_on(stream: TcpStream, path: &str) -> Answer {
    ask_on(stream, "GET", path, "")
}

/// The value of a counter; without labels unless `name` has them.
pub(crate) fn metric(address: SocketAddr, name: &str) -> u64 {
    let text = get(address, "/metrics").body;
    shown(&text, name).unwrap_or_else(|| panic!("{name} is missing in\n{text}"))
}

/// Waits until a counter of some shard is above 0.
pub(crate) fn wait_for(address: SocketAddr, name: &str) {
    let is_above = || {
        let text = get(address, "/metrics").body;
        let mut counts = text.lines().filter_map(|line| line.strip_prefix(name));
        counts.any(|count| !count.ends_with(" 0"))
    };
    let begun = Timestamp::read();
    while !is_above() {
        assert!(Timestamp::read().since(begun) < PATIENCE, "{name} stays 0");
    }
}

fn shown(metrics: &str, name: &str) -> Option<u64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// Waits until it has this value, to which it must come by itself.
pub(crate) fn wait_for_metric(address: SocketAddr, name: &str, value: u64) {
    let begun = Timestamp::read();
    loop {
        // With labels it is not shown before its first time.
        let text = get(address, "/metrics").body;
        if shown(&text, name) == Some(value) {
            return;
        }
        assert!(Timestamp::read().since(begun) < PATIENCE, "{name} is not {value} in\n{text}");
    }
}

/// Far longer than anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_page_and_its_files_come_with_their_types_and_a_policy() {
    let server = Server::quiet();
    let page = get(server.address(), "/");
    assert_eq!(page.status, 200);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.headers["content-security-policy"].starts_with("default-src 'self'"));
    assert!(page.body.starts_with("<!doctype html>"));
    let sources = page.body.split(['"', '\'']).filter(|part| part.starts_with('/'));
    let sources: Vec<_> = sources.filter(|part| part.contains('.')).collect();
    assert!(sources.len() > 3, "{sources:?}");
    for source in sources {
        let file = get(server.address(), source);
        let kind = match source.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!((file.status, file.headers["content-type"].as_str()), (200, kind), "{source}");
    }
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let server = Server::quiet();
    let first = get(server.address(), "/app.js");
    assert_eq!(first.headers["cache-control"], "no-cache");
    let tag = format!("If-None-Match: {}\r\n", first.headers["etag"]);
    let second = ask(server.address(), "GET", "/app.js", &tag);
    assert_eq!((second.status, second.body.as_str()), (304, ""));
    let other = ask(server.address(), "GET", "/app.js", "If-None-Match: \"0\"\r\n");
    assert_eq!((other.status, other.body), (200, first.body));
}

#[test]
fn each_path_and_method_has_its_answer() {
    let server = Server::quiet();
    for (method, path, status) in [
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/ticker", 426),
        ("GET", "/nothing", 404),
        ("GET", "/../Cargo.toml", 404),
        ("GET", "/index.html?x", 404),
        ("GET", "/?symbol=AAPL", 200),
        ("POST", "/", 405),
    ] {
        assert_eq!(ask(server.address(), method, path, "").status, status, "{method} {path}");
    }
    assert_eq!(get(server.address(), "/healthz").body, "ok\n");
    assert_eq!(get(server.address(), "/ticker").headers["upgrade"], "websocket");
    let head = ask(server.address(), "HEAD", "/", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(
        head.headers["content-length"],
        get(server.address(), "/").headers["content-length"]
    );
}

#[test]
fn metrics_follow_what_happens() {
    let server = Server::quiet();
    let address = server.address();
    assert_eq!(metric(address, "tickwire_clients"), 0);
    let mut client = Client::connect(address);
    client.subscribe(1, &["ORVA", "TLMR", "NONE"]);
    client.reply(1);
    assert_eq!(metric(address, "tickwire_clients"), 1);
    assert_eq!(metric(address, "tickwire_subscriptions"), 2);
    client.unsubscribe(2, &["ORVA"]);
    client.reply(2);
    assert_eq!(metric(address, "tickwire_subscriptions"), 1);
    let text = get(address, "/metrics");
    assert!(text.headers["content-type"].starts_with("application/openmetrics-text"));
    assert!(text.body.contains("tickwire_accepted_total{shard=\"1\"}"), "{}", text.body);
    for told in [
        "# TYPE tickwire_publish_to_sent_seconds histogram\n",
        "tickwire_publish_to_sent_seconds_count{shard=\"0\",class=\"default\"} ",
        "tickwire_publish_to_settled_seconds_count{shard=\"1\",class=\"default\"} ",
        "tickwire_publish_to_sent_seconds_bucket{le=\"+Inf\",",
    ] {
        assert!(text.body.contains(told), "{told} is missing in {}", text.body);
    }
    client.send_bytes(tickwire_protocol::Kind::Binary, b"x");
    assert_eq!(client.close_code(), 1003);
    assert_eq!(client.next(), crate::client::Arrival::Ended);
    // The end of the stream may be seen before the server has closed its own end.
    wait_for_metric(address, "tickwire_ended_total{code=\"1003\",by=\"server\"}", 1);
    wait_for_metric(address, "tickwire_clients", 0);
    wait_for_metric(address, "tickwire_subscriptions", 0);
}
