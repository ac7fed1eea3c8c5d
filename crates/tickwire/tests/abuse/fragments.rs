//! Messages in very many pieces.
//!
//! CVE-2026-48779: a fragment that brings nothing, or next to nothing, cost its server more than its
//! sender. Here empty ones are counted, and those of one byte are joined as they come.

use crate::server::Server;
use crate::wire;

/// So many would be sent, if the server let them.
const FRAGMENTS: usize = 10_000_000;

/// Sent at once.
const BATCH: usize = 10_000;

#[test]
fn floods_of_tiny_fragments_end_at_a_limit_and_hold_no_memory() {
    for (payload, code) in [(&b""[..], 1008), (b"x", 1009)] {
        let server = Server::start(&[("close_ms", 200)]);
        let mut peer = server.open("/");
        let resident = server.memory().resident();
        server.memory().forget_peak();
        peer.send(&wire::frame(wire::BINARY_BEGINS, payload));
        let batch = wire::frame(wire::GOES_ON, payload).repeat(BATCH);
        let mut sent = 0;
        while sent < FRAGMENTS && peer.try_send(&batch) {
            sent += BATCH;
        }
        assert_eq!(peer.frame().close_code(), Some(code), "fragments of {payload:?}");
        assert_eq!(peer.rest(), [], "nothing is said to who goes on");
        let peak = server.memory().peak().saturating_sub(resident);
        println!("fragments of {payload:?}: {peak} bytes more at the most");
        // The joined message, while it is copied to a room of twice the size, and some more.
        assert!(peak < 3 * 1024 * 1024, "{peak} bytes for fragments of {payload:?}");
    }
}
