//! A server that has used up its descriptors goes on serving, turns new connections away at once, and
//! takes them again as soon as it can.
//!
//! A test of its own, because the limit is the whole process's.

#[path = "suite/wire.rs"]
#[expect(dead_code, reason = "the other suite uses all of it")]
mod wire;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tickwire_protocol::Message;
use tickwire_reactor::{Answer, BackendChoice, Connection, Handler, Request, Server, Timestamp};

struct Echo;

impl Handler for Echo {
    type State = ();

    fn request(&mut self, _request: &Request<'_>) -> Answer<()> {
        Answer::upgrade(())
    }

    fn message(&mut self, connection: &mut Connection<'_, ()>, message: Message<'_>) {
        connection.send(message.kind, message.payload);
    }
}

#[test]
fn connections_are_turned_away_while_descriptors_are_used_up() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), maximum: hard }).expect("less");
    // On io_uring connections are in a table of the ring, and need no descriptor.
    let server =
        Server::builder().backend(BackendChoice::Epoll).shards(1).route("/", |_| Echo).start();
    let server = server.expect("a port of this machine");
    let mut open = connect(&server);
    upgrade(&mut open);
    // Their own descriptors are there before the others are used up.
    let clients: Vec<Socket> = (0..TURNED_AWAY)
        .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket"))
        .collect();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    for client in clients {
        client.connect(&server.local_addr().into()).expect("the kernel accepts it");
        client.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let end = (&client).read(&mut [0; 16]);
        assert!(matches!(end, Ok(0)) || end.is_err_and(is_reset), "it is not kept waiting");
        echo(&mut open);
        // The descriptor that its end gives back is not for the next.
        files.push(File::from(OwnedFd::from(client)));
    }
    let start = Timestamp::read();
    while server.metrics().total().refused_descriptors < TURNED_AWAY {
        assert!(Timestamp::read().since(start) < PATIENCE, "{:?}", server.metrics().total());
    }
    let total = server.metrics().total();
    assert_eq!((total.accepted, total.refused), (1 + TURNED_AWAY, TURNED_AWAY));
    assert!(total.accept_failures >= TURNED_AWAY);
    drop(files);
    let mut next = connect(&server);
    upgrade(&mut next);
    echo(&mut next);
    echo(&mut open);
}

const TURNED_AWAY: u64 = 20;

/// Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

fn is_reset(error: std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ConnectionReset
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.local_addr()).expect("the server listens")
}

fn upgrade(stream: &mut TcpStream) {
    stream.write_all(&wire::request("/", &[])).expect("the server reads");
    read_head(stream);
}

fn read_head(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut head = [0; 129];
    stream.read_exact(&mut head).expect("the server answers");
    assert!(head.starts_with(b"HTTP/1.1 101 ") && head.ends_with(b"\r\n\r\n"));
}

fn echo(stream: &mut TcpStream) {
    stream.write_all(&wire::text("word")).expect("the server reads");
    let mut frame = [0; 6];
    stream.read_exact(&mut frame).expect("the server echoes");
    assert_eq!(&frame, b"\x81\x04word");
}
