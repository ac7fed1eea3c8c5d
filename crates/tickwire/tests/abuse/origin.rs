//! Pages of somebody else.
//!
//! CVE-2026-55883, CVE-2026-42283, CVE-2026-44514, CVE-2026-44985: any page that a user visits can open
//! a WebSocket to any server, and the browser sends that server's cookies along. Only the server can
//! refuse, by the Origin that the browser states (RFC 6455 section 10.2).

use crate::server::Server;
use crate::wire;

#[test]
fn foreign_pages_are_answered_403_and_their_frames_are_not_read() {
    let server = Server::start(&[("same_origin", 1)]);
    let cases: &[(&[&str], &str)] = &[
        (&[], "101"),
        (&["Origin: http://server.example.com"], "101"),
        (&["Origin: https://server.example.com"], "101"),
        (&["Origin: HTTPS://Server.Example.Com"], "101"),
        (&["Origin: https://evil.example"], "403"),
        (&["Origin: https://server.example.com.evil.example"], "403"),
        (&["Origin: https://evil-server.example.com"], "403"),
        (&["Origin: https://evil.example/server.example.com"], "403"),
        (&["Origin: https://server.example.com@evil.example"], "403"),
        (&["Origin: https://server.example.com:8443"], "403"),
        (&["Origin: null"], "403"),
        (&["Origin: https://server.example.com", "Origin: https://evil.example"], "403"),
    ];
    for (lines, status) in cases {
        let mut peer = server.connect();
        peer.send(&[wire::request("/", lines), wire::text("with your cookies")].concat());
        let head = peer.head();
        assert_eq!(head.split(' ').nth(1), Some(*status), "{lines:?}: {head}");
        if *status == "101" {
            assert_eq!(peer.frame().payload, b"with your cookies", "{lines:?}");
        } else {
            let rest = String::from_utf8(peer.rest()).expect("text");
            assert!(!rest.contains("cookies"), "{lines:?}: {rest}");
        }
    }
}
