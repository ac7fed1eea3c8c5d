//! A server that has used up its descriptors goes on serving, turns new connections away at once, and
//! takes them again as soon as it can: on each back end, and whoever accepts for whom. Where connections
//! need no descriptors it takes them all the while.
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
use tickwire_reactor::{
    Answer, BackendChoice, Balance, Connection, Handler, Request, Server, Timestamp,
};

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
    for (backend, balance) in [
        (BackendChoice::Epoll, Balance::Kernel),
        (BackendChoice::Epoll, Balance::LeastLoaded),
        (BackendChoice::IoUring, Balance::Kernel),
        (BackendChoice::IoUring, Balance::LeastLoaded),
    ] {
        eprintln!("{backend:?}, {balance:?}");
        let Some(mut scene) = Scene::play(backend, balance) else { continue };
        match (backend, balance) {
            // There they are in a table of the ring, and need no descriptor.
            (BackendChoice::IoUring, Balance::Kernel) => scene.served(),
            _ => scene.turned_away(),
        }
        scene.recovers();
    }
}

/// A server with a client, and no descriptor left.
struct Scene {
    server: Server,
    open: TcpStream,
    files: Vec<File>,
    /// Sockets that are to be connected.
    clients: Vec<Socket>,
}

impl Scene {
    /// `None`, with a word: the back end cannot run here.
    fn play(backend: BackendChoice, balance: Balance) -> Option<Self> {
        let hard = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(128), maximum: hard }).expect("less");
        let server =
            Server::builder().backend(backend).balance(balance).shards(2).route("/", |_| Echo);
        let server = match server.start() {
            Ok(server) => server,
            Err(error) => {
                let required = std::env::var_os("TICKWIRE_REQUIRE_IO_URING").is_some();
                assert!(backend == BackendChoice::IoUring && !required, "{error}");
                eprintln!("skipped: {error}");
                return None;
            }
        };
        let mut open = connect(&server);
        upgrade(&mut open);
        // Their own descriptors are there before the others are used up.
        let clients = (0..TURNED_AWAY)
            .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket"))
            .collect();
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        Some(Self { server, open, files, clients })
    }

    fn turned_away(&mut self) {
        for client in self.clients.drain(..) {
            client.connect(&self.server.local_addr().into()).expect("the kernel accepts it");
            client.set_read_timeout(Some(PATIENCE)).expect("not zero");
            let end = (&client).read_to_end(&mut Vec::new());
            assert!(matches!(end, Ok(0)) || end.is_err_and(is_reset), "it is not kept waiting");
            echo(&mut self.open);
            // The descriptor that its end gives back is not for the next.
            self.files.push(File::from(OwnedFd::from(client)));
        }
        let start = Timestamp::read();
        while self.server.metrics().total().refused_descriptors < TURNED_AWAY {
            assert!(Timestamp::read().since(start) < PATIENCE, "{:?}", self.server.metrics());
        }
        let total = self.server.metrics().total();
        assert_eq!((total.accepted, total.refused), (1 + TURNED_AWAY, TURNED_AWAY));
    }

    fn served(&mut self) {
        for client in self.clients.drain(..) {
            client.connect(&self.server.local_addr().into()).expect("the kernel accepts it");
            let mut client = TcpStream::from(client);
            upgrade(&mut client);
            echo(&mut client);
            echo(&mut self.open);
            self.files.push(File::from(OwnedFd::from(client)));
        }
        let total = self.server.metrics().total();
        assert_eq!((total.accepted, total.refused), (1 + TURNED_AWAY, 0));
    }

    fn recovers(self) {
        let Self { server, mut open, files, clients } = self;
        drop((files, clients));
        // As many as there are shards and more, so that each takes one.
        for _ in 0..8 {
            let mut next = connect(&server);
            upgrade(&mut next);
            echo(&mut next);
            echo(&mut open);
        }
        server.handle().shutdown_now();
        server.join().expect("no shard fails");
    }
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
