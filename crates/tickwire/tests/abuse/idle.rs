//! Connections that are open and do nothing: what each of them costs in memory.
//!
//! The first half of them takes along what a server needs once, whatever the number: buffers of a
//! turn, code that had not run, room that an allocator likes to have. So the second half counts.
//! The bounds are those of docs/performance.md and hold with a third to spare, for the slots of a
//! build with assertions are larger.

use rustix::process::{Resource, getrlimit};

use crate::peer::Peer;
use crate::server::Server;

/// Opens connections to `path`; the resident bytes that each of the second half has added.
fn bytes_each(path: &str) -> u64 {
    let server = Server::start(&[]);
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    // The other tests of this process need descriptors too, at the same time.
    let half = 2_500.min(limit.saturating_sub(200) / 8);
    let open = || (0..half).map(|_| server.open(path)).collect::<Vec<Peer>>();
    let first = open();
    let before = server.memory().resident();
    let second = open();
    let added = server.memory().resident() - before;
    drop((first, second));
    println!("{path}: {added} bytes for {half} connections");
    added / half
}

#[test]
fn an_idle_connection_costs_at_most_272_bytes() {
    let bytes = bytes_each("/");
    assert!(bytes <= 272, "{bytes} bytes");
}

#[test]
fn an_idle_subscriber_costs_at_most_477_bytes() {
    let bytes = bytes_each("/news");
    assert!(bytes <= 477, "{bytes} bytes");
}
