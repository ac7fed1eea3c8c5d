//! A server that has used up its descriptors takes new connections again as soon as it can.
//!
//! A test of its own, because the limit is the whole process's.

#[path = "suite/wire.rs"]
#[expect(dead_code, reason = "the other suite uses all of it")]
mod wire;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tickwire_protocol::{Message, Request};
use tickwire_reactor::{Answer, Config, Context, Handler, Server};

struct Echo;

impl Handler for Echo {
    type State = ();

    fn request(&mut self, _request: &Request<'_>, _peer: SocketAddr) -> Answer<()> {
        Answer::upgrade(())
    }

    fn message(&mut self, connection: &mut Context<'_, ()>, message: Message<'_>) {
        connection.send(message.kind, message.payload);
    }
}

#[test]
fn connections_wait_while_descriptors_are_used_up() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), maximum: hard }).expect("less");
    let mut config = Config::default();
    config.shards = 1;
    let server = Server::bind(&config).and_then(|bound| bound.start(|_| Echo));
    let server = server.expect("a port of this machine");
    let mut open = connect(&server);
    upgrade(&mut open);
    // The waiting one's own descriptor is there before the others are used up.
    let waiting = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    waiting.connect(&server.local_addr().into()).expect("the kernel accepts it");
    let mut waiting = TcpStream::from(waiting);
    waiting.write_all(&wire::request("/", &[])).expect("the kernel takes it");
    for _ in 0..100 {
        echo(&mut open);
    }
    assert_eq!(server.metrics().total().accepted, 1, "there was no descriptor for it");
    drop(files);
    read_head(&mut waiting);
    echo(&mut waiting);
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.local_addr()).expect("the server listens")
}

fn upgrade(stream: &mut TcpStream) {
    stream.write_all(&wire::request("/", &[])).expect("the server reads");
    read_head(stream);
}

fn read_head(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
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
