//! Signals end a server: in a process of its own, since they are everybody's in it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tickwire_reactor::{Limits, Server};

/// How long the test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with an open WebSocket.
fn client(server: &Server) -> TcpStream {
    let mut client = TcpStream::connect(server.local_addr()).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client.write_all(request.as_bytes()).expect("it is connected");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("a whole answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    client
}

#[test]
fn first_signal_drains_and_the_second_ends_at_once() {
    let long = |limits: &mut Limits| {
        limits.shutdown_timeout = 1_000 * PATIENCE;
        limits.close_timeout = 1_000 * PATIENCE;
    };
    let server = Server::builder().shards(1).limits(long).on_message("/", |_, _| {});
    let server = server.start().expect("a port of this machine");
    let handle = server.handle();
    handle.end_on_signals().expect("signals can be caught");
    let mut client = client(&server);
    kill_process(getpid(), Signal::TERM).expect("it is us");
    let mut close = [0; 4];
    client.read_exact(&mut close).expect("a Close");
    assert_eq!((close[0], &close[2..]), (0x88, &1001_u16.to_be_bytes()[..]));
    // The Close is not answered, and there is much time for that.
    assert_eq!(handle.metrics().total().cut, 0);
    kill_process(getpid(), Signal::INT).expect("it is us");
    server.join().expect("no shard fails");
    assert_eq!(handle.metrics().total().cut, 1);
}
