//! The world of real sockets: a server on this machine, clients that block with a time-out.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tickwire_reactor::{
    BackendChoice, Config, Handle, Latency, Metrics, Publisher, Server, Timestamp,
};

use super::{PATIENCE, Peer, Place, Reading, Setup, World};
use crate::application::{Application, Journal};

/// Real sockets, on one of the back ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loopback(BackendChoice);

impl Loopback {
    pub(crate) const EPOLL: Self = Self(BackendChoice::Epoll);

    /// The io_uring back end; `None`, with a word, where it cannot run, as in many a sandbox. With the
    /// environment variable TICKWIRE_REQUIRE_IO_URING that is a failure.
    pub(crate) fn io_uring() -> Option<Self> {
        static REFUSED: OnceLock<Option<String>> = OnceLock::new();
        let place = Self(BackendChoice::IoUring);
        let refused = REFUSED.get_or_init(|| {
            let mut config = Config::default();
            config.shards = 1;
            config.backend = place.0;
            Server::builder().config(config).bind().err().map(|error| error.to_string())
        });
        let Some(reason) = refused else { return Some(place) };
        let required = std::env::var_os("TICKWIRE_REQUIRE_IO_URING").is_some();
        assert!(!required, "io_uring is required: {reason}");
        eprintln!("skipped: {reason}");
        None
    }
}

/// A server that runs on threads, and the clients' sockets.
pub(crate) struct Sockets {
    address: SocketAddr,
    handle: Handle,
    publisher: Publisher,
    journal: Journal,
    /// Where the engine's own connections arrive.
    far: Option<TcpListener>,
    /// By peer; none where it was reset.
    streams: Vec<Option<TcpStream>>,
    /// What a peer could not push; by peer.
    waiting: Vec<Vec<u8>>,
    /// Joins the server, and panics if a shard of it failed.
    server: Option<thread::JoinHandle<()>>,
}

impl Place for Loopback {
    type World = Sockets;

    fn start(&self, setup: Setup) -> Sockets {
        let mut config = setup.config();
        config.backend = self.0;
        let journal = Journal::default();
        let handlers = journal.clone();
        let server = Server::builder()
            .config(config)
            .fallback(move |shard| Application::new(&shard, handlers.clone()))
            .start()
            .expect("a port of this machine, and threads");
        let (address, handle, publisher) =
            (server.local_addr(), server.handle(), server.publisher());
        let server = thread::spawn(move || server.join().expect("no shard fails"));
        Sockets {
            address,
            handle,
            publisher,
            journal,
            far: None,
            streams: Vec::new(),
            waiting: Vec::new(),
            server: Some(server),
        }
    }
}

impl Sockets {
    /// Long enough that a server which will read has read, short enough to wait for in a test.
    const FULL_AFTER: Duration = Duration::from_millis(250);

    fn stream(&self, peer: Peer) -> &TcpStream {
        self.streams[peer.0].as_ref().expect("a peer that was reset does nothing any more")
    }

    fn adopt(&mut self, stream: TcpStream) -> Peer {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        self.streams.push(Some(stream));
        self.waiting.push(Vec::new());
        Peer(self.streams.len() - 1)
    }
}

/// Calls until no signal has come in between: a socket with a time-out is not taken up again by the
/// kernel where a process was stopped and goes on.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl World for Sockets {
    fn connect(&mut self) -> Peer {
        let stream = TcpStream::connect(self.address).expect("the server listens");
        self.adopt(stream)
    }

    fn connect_from(&mut self, address: Ipv4Addr) -> Peer {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((address, 0)).into()).expect("an address of this machine");
        socket.connect(&self.address.into()).expect("the server listens");
        self.adopt(socket.into())
    }

    fn connect_narrow(&mut self) -> Peer {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // Before connecting: the window that is announced depends on it.
        socket.set_recv_buffer_size(4 * 1024).expect("a size");
        socket.set_send_buffer_size(4 * 1024).expect("a size");
        socket.connect(&self.address.into()).expect("the server listens");
        self.adopt(socket.into())
    }

    fn far(&mut self) -> SocketAddr {
        let far = self.far.get_or_insert_with(|| {
            let far = TcpListener::bind(("127.0.0.1", 0)).expect("a port of this machine");
            SockRef::from(&far).set_read_timeout(Some(PATIENCE)).expect("not zero");
            far
        });
        far.local_addr().expect("it is bound")
    }

    fn nobody(&mut self) -> SocketAddr {
        let gone = TcpListener::bind(("127.0.0.1", 0)).expect("a port of this machine");
        gone.local_addr().expect("it is bound")
    }

    fn pick_up(&mut self) -> Peer {
        let far = self.far.as_ref().expect("its address was asked for");
        let (stream, _) = uninterrupted(|| far.accept()).expect("the engine connects");
        self.adopt(stream)
    }

    fn send(&mut self, peer: Peer, bytes: &[u8]) {
        let waiting = std::mem::take(&mut self.waiting[peer.0]);
        match self.stream(peer).write_all(&[&*waiting, bytes].concat()) {
            Ok(()) => {}
            // The server has closed meanwhile; what it said is for `receive` to tell.
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => panic!("{peer:?} cannot send: {error}"),
        }
    }

    fn push(&mut self, peer: Peer, bytes: &[u8]) -> usize {
        let mut stream = self.stream(peer);
        stream.set_write_timeout(Some(Self::FULL_AFTER)).expect("not zero");
        let mut pushed = 0;
        while pushed < bytes.len() {
            match uninterrupted(|| stream.write(&bytes[pushed..])) {
                Ok(count) => pushed += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{peer:?} cannot send: {error}"),
            }
        }
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        self.waiting[peer.0] = bytes[pushed..].to_vec();
        pushed
    }

    fn receive(&mut self, peer: Peer) -> Reading {
        let mut buffer = vec![0; 64 * 1024];
        match uninterrupted(|| self.stream(peer).read(&mut buffer)) {
            Ok(0) => Reading::End,
            Ok(count) => {
                buffer.truncate(count);
                Reading::Bytes(buffer)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Reading::Reset,
            Err(error) => panic!("{peer:?} waited in vain: {error}"),
        }
    }

    fn end(&mut self, peer: Peer) {
        // Fails where the server was first.
        let _ = self.stream(peer).shutdown(Shutdown::Write);
    }

    fn reset(&mut self, peer: Peer) {
        if let Some(stream) = self.streams[peer.0].take() {
            // Closing it then sends a reset.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn let_time_pass(&mut self, _duration: Duration) {}

    fn linger(&mut self, since: Timestamp) -> bool {
        thread::yield_now();
        Timestamp::read().since(since) < PATIENCE
    }

    fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    fn latencies(&self) -> Vec<Latency> {
        self.handle.latencies()
    }

    fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn shutdown(&mut self) {
        self.handle.shutdown();
    }

    fn shutdown_now(&mut self) {
        self.handle.shutdown_now();
    }

    fn is_over(&self) -> bool {
        self.server.as_ref().is_none_or(thread::JoinHandle::is_finished)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.streams.clear();
        self.handle.shutdown();
        let ended = self.server.take().map_or(Ok(()), thread::JoinHandle::join);
        assert!(ended.is_ok() || thread::panicking(), "a shard failed");
    }
}
