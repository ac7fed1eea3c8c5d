//! Who is served where tokens are asked for.

use serde_json::json;
use tempfile::NamedTempFile;

use crate::client::Client;
use crate::http::ask;
use crate::server::{Server, recording};

/// A server that knows the token `sesame`.
fn guarded() -> (Server, NamedTempFile) {
    let digest = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
    let file = recording(["# who may ask", &format!("desk-7 {digest} 2100-01-01T00:00:00Z")]);
    let path = file.path().to_owned();
    (Server::start(|settings| settings.tokens = Some(path)), file)
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn a_token_in_the_query_or_in_the_first_request_lets_in() {
    let (server, _file) = guarded();
    let mut client = Client::at(server.address(), "/ticker?token=sesame");
    assert_eq!(client.message()["type"], "welcome");
    client.subscribe(1, &["ORVA"]);
    assert_eq!(client.reply(1)["results"][0]["ok"], true);
    let mut client = Client::connect(server.address());
    client.subscribe(1, &["ORVA"]);
    assert_eq!(client.message()["code"], "unauthorized");
    client.send(&json!({"id": 2, "method": "auth", "params": {"token": "sesame"}}));
    assert_eq!(client.message()["results"][0]["name"], "desk-7");
    client.subscribe(3, &["ORVA"]);
    assert_eq!(client.reply(3)["results"][0]["ok"], true);
}

#[test]
fn a_token_that_is_not_known_is_answered_401() {
    let (server, _file) = guarded();
    for (path, header) in [
        ("/ticker?token=open", ""),
        ("/ticker?token=", ""),
        ("/ticker", "Authorization: bearer open\r\n"),
        ("/ticker?token=sesame", "Authorization: Bearer open\r\n"),
    ] {
        let answer = ask(server.address(), "GET", path, &format!("{UPGRADE}{header}"));
        assert_eq!(answer.status, 401, "{path} {header}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert!(answer.body.contains("token"), "{}", answer.body);
    }
    assert_eq!(ask(server.address(), "GET", "/healthz", "").status, 200);
}
