//! The server under attack: this very program, started once more as a child.
//!
//! A process of its own, so that what the attackers hold is not counted with what the server holds.
//! The child runs one test of this program, [`it_serves_until_its_input_ends`], and finds there by
//! its environment that it is to serve. It ends with its standard input, so it never outlives the
//! test that started it, however that ends.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use socket2::{Domain, Socket, Type};
use tickwire::{Config, Deflate, Origins, Server as Engine};

use crate::application::Application;
use crate::memory::Memory;
use crate::peer::Peer;
use crate::wire;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    input: Option<ChildStdin>,
    /// Kept open: the harness in the child still has its result to tell.
    _output: BufReader<ChildStdout>,
    address: SocketAddr,
}

/// What a server is to be like: names of limits with their values, the others as they are.
pub(crate) type Setup<'a> = &'a [(&'a str, u64)];

impl Server {
    /// Starts one on a free port, and waits until it serves.
    pub(crate) fn start(setup: Setup<'_>) -> Self {
        raise_descriptor_limit();
        let setup: Vec<String> =
            setup.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let program = env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .args(["--exact", "server::it_serves_until_its_input_ends", "--nocapture"])
            .env(SETUP, setup.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be run again");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        // The test harness talks first, on the same line.
        let address = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split_once(ANNOUNCED).map(|(_, rest)| rest.to_owned()))
            .expect("the server says where it listens");
        let address = address.trim().parse().expect("an address");
        Self { input: process.stdin.take(), _output: output, process, address }
    }

    /// A socket to it, on which nothing was said yet.
    pub(crate) fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).expect("the server listens"))
    }

    /// An open WebSocket to `path`.
    pub(crate) fn open(&self, path: &str) -> Peer {
        self.open_with(path, &[])
    }

    /// The same, with further header lines.
    pub(crate) fn open_with(&self, path: &str, lines: &[&str]) -> Peer {
        Self::upgrade(self.connect(), path, lines)
    }

    /// The same, whose socket keeps only a few kilobytes, of either direction.
    pub(crate) fn open_narrow(&self, path: &str) -> Peer {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // Before connecting: the window that is announced depends on it.
        socket.set_recv_buffer_size(4 * 1024).expect("a size");
        socket.set_send_buffer_size(4 * 1024).expect("a size");
        socket.connect(&self.address.into()).expect("the server listens");
        Self::upgrade(Peer::new(socket.into()), path, &[])
    }

    fn upgrade(mut peer: Peer, path: &str, lines: &[&str]) -> Peer {
        peer.send(&wire::request(path, lines));
        let head = peer.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        peer
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.process.id()));
        open.expect("it runs").count()
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory::of(self.process.id())
    }

    /// What it does while its process stands still: afterwards it finds all of it at once.
    pub(crate) fn meanwhile<T>(&self, work: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let done = work();
        self.signal(Signal::CONT);
        done
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the server still runs");
    }

    /// Ends its input, so that it shuts down.
    pub(crate) fn shut_down(&mut self) {
        drop(self.input.take());
    }

    /// Waits for its end.
    fn exit_code(mut self) -> Option<i32> {
        self.process.wait().expect("it was started here").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Both ends of every connection are on this machine; what this process may open, a child may too.
fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("it may be raised");
}

/// A configuration with what the environment of the child says.
fn config(setup: &str) -> Config {
    let mut config = Config::default();
    // One shard is what memory is counted for; several are no harder to attack.
    config.shards = 1;
    for limit in setup.split_whitespace() {
        let (name, value) = limit.split_once('=').expect("NAME=VALUE");
        let value: u64 = value.parse().expect("a number");
        let (limits, milliseconds) = (&mut config.limits, Duration::from_millis(value));
        let count = || usize::try_from(value).expect("64 bits");
        match name {
            "close_ms" => limits.close_timeout = milliseconds,
            "deflate_dedicated" => config.deflate = Some(Deflate::dedicated(count())),
            "deflate_shared" => config.deflate = Some(Deflate::shared()),
            "handshake_ms" => limits.handshake_timeout = milliseconds,
            "log_bytes" => limits.log_bytes_max = count(),
            "message_bytes" => limits.protocol.message_bytes_max = value,
            "message_ms" => limits.message_timeout = milliseconds,
            "same_origin" => config.origins = Origins::same_origin(),
            other => panic!("no limit has the name {other}"),
        }
    }
    config
}

fn serve(setup: &str) {
    let server = Engine::builder()
        .config(config(setup))
        .fallback(|shard| Application::new(&shard.publisher))
        .start()
        .expect("a free port, and threads");
    println!("{ANNOUNCED}{}", server.local_addr());
    let mut nothing = [0];
    let _ = std::io::stdin().read(&mut nothing);
}

/// What tells a child that it is one, and what it is to be like.
const SETUP: &str = "TICKWIRE_ABUSED_SERVER";

const ANNOUNCED: &str = "serving at ";

#[test]
fn it_serves_until_its_input_ends() {
    if let Ok(setup) = env::var(SETUP) {
        return serve(&setup);
    }
    let mut server = Server::start(&[]);
    let mut peer = server.open("/");
    peer.send(&wire::text("word"));
    assert_eq!(peer.frame(), wire::Frame::new(wire::TEXT, b"word"));
    server.shut_down();
    assert_eq!(peer.frame().close_code(), Some(1001));
    drop(peer);
    assert_eq!(server.exit_code(), Some(0));
}
