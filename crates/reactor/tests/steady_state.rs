//! What a running server takes from the heap and from the table of descriptors.
//!
//! One test, so that nothing else in this process allocates or opens files meanwhile: the claims
//! are about the whole process, server threads included. The client's side here works in buffers
//! that it has before it counts.

#[path = "suite/wire.rs"]
#[expect(dead_code, reason = "the other suite uses all of it")]
mod wire;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tickwire_protocol::{Kind, Message, accept_value};
use tickwire_reactor::{
    Answer, BackendChoice, Client, Config, Connection, Delivery, Destination, Handler, Keep,
    Merged, Publisher, Request, Server, ShardStart, StartError, Subscription, Timestamp,
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);

fn count(taken: usize, given: usize) {
    ALLOCATIONS.fetch_add(u64::from(taken > 0), Ordering::Relaxed);
    LIVE_BYTES.fetch_add(taken.cast_signed() - given.cast_signed(), Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: `pointer` came from `System` with this layout, by the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: `pointer` came from `System` with this layout, by the caller's contract.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Echoes, and subscribes to one topic, by publication or by value, if that is what it echoes.
struct Application(Publisher);

impl Handler for Application {
    type State = ();

    fn request(&mut self, _request: &Request<'_>) -> Answer<()> {
        Answer::upgrade(())
    }

    fn message(&mut self, connection: &mut Connection<'_, ()>, message: Message<'_>) {
        if message.payload == b"subscribe" {
            connection.subscribe(&self.0.topic("news"));
        }
        if message.payload == b"newest" {
            let subscription = Subscription::of(Delivery::Merge).with_view(7);
            connection.subscribe_with(&self.0.topic("news"), subscription);
        }
        connection.send(message.kind, message.payload);
    }

    fn merged(&mut self, merged: &Merged<'_>, out: &mut Vec<u8>) -> Option<Kind> {
        assert_eq!((merged.view, merged.seq), (7, merged.prev + 1));
        out.extend_from_slice(&merged.payload[..200]);
        Some(merged.kind)
    }
}

const PEERS: usize = 1_024;

#[test]
fn steady_state_takes_nothing_and_connections_little() {
    for backend in [BackendChoice::Epoll, BackendChoice::IoUring] {
        let mut config = Config::default();
        config.shards = 1;
        config.backend = backend;
        match Server::builder().config(config.clone()).bind() {
            Ok(bound) => drop(bound),
            Err(error @ StartError::Backend { .. }) => {
                let required = std::env::var_os("TICKWIRE_REQUIRE_IO_URING").is_some();
                assert!(!required, "io_uring is required: {error}");
                eprintln!("skipped: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        steady_state(&config);
    }
}

fn steady_state(config: &Config) {
    let descriptors = open_descriptors();
    let server = Server::builder()
        .config(config.clone())
        .route("/{*path}", |shard| Application(shard.publisher))
        .start()
        .expect("a port of this machine, and a thread");

    let mut peer = Peer::open(server.local_addr());
    let text = wire::frame(wire::TEXT, &[b'x'; 127]);
    echo_allocates_nothing(&mut peer, &text);
    publishing_allocates_nothing(&server.publisher(), &mut peer);
    values_allocate_nothing(&server.publisher(), &mut peer);

    masked_echo_allocates_nothing(config);

    let mut peers = Vec::with_capacity(PEERS);
    idle_connections_hold_little(&server, &mut peers);
    lengths_within_the_limit_hold_nothing(&server, &mut peers);
    drop(peers);
    wait_until(|| server.metrics().total().connections_now == 1);
    lengths_beyond_the_limit_hold_nothing(&server);
    wait_until(|| server.metrics().total().connections_now == 1);
    drop((peer, server));
    assert_eq!(open_descriptors(), descriptors, "every descriptor is given back");
}

fn echo_allocates_nothing(peer: &mut Peer, text: &[u8]) {
    let mut run = |count| {
        for _ in 0..count {
            peer.send(text);
            assert!(peer.receive(4 + 127)[4..].iter().all(|byte| *byte == b'x'));
        }
    };
    run(500);
    assert_eq!(allocations_of(|| run(2_000)), 0);
}

/// The engine is the client here, and echoes what a server of the test says.
fn masked_echo_allocates_nothing(config: &Config) {
    let far = TcpListener::bind(("127.0.0.1", 0)).expect("a port of this machine");
    let address = far.local_addr().expect("it is bound");
    let start = |shard: ShardStart| Application(shard.publisher);
    let client = Client::start(config, start).expect("a thread can be started");
    client.connect(Destination::new(address, "/"), ());
    let (stream, _) = far.accept().expect("the engine connects");
    let mut peer = Peer { stream, buffer: [0; 256] };
    peer.accept();
    let text = wire::unmasked(wire::TEXT, &[b'x'; 127]);
    // More than one block of masks.
    let mut run = |count| {
        for _ in 0..count {
            peer.send(&text);
            let echo = peer.receive(8 + 127);
            let (key, payload) = echo[4..].split_at(4);
            let mut masked = payload.iter().zip(key.iter().cycle());
            assert!(masked.all(|(byte, key)| byte ^ key == b'x'));
        }
    };
    run(500);
    assert_eq!(allocations_of(|| run(2_000)), 0);
}

fn publishing_allocates_nothing(publisher: &Publisher, peer: &mut Peer) {
    peer.send(&wire::text("subscribe"));
    assert_eq!(&peer.receive(2 + 9)[2..], b"subscribe");
    let news = publisher.topic("news");
    let mut run = |count| {
        for _ in 0..count {
            publisher.publish_with(&news, Kind::Text, |_, message, retained| {
                message.extend_from_slice(&[b'x'; 127]);
                retained.extend_from_slice(&[b'y'; 500]);
            });
            assert!(peer.receive(4 + 127)[4..].iter().all(|byte| *byte == b'x'));
        }
    };
    run(500);
    assert_eq!(allocations_of(|| run(2_000)), 0);
    // Nor does one that keeps the last publications, once it keeps as many as it may.
    news.keep(Keep { messages: 64, bytes: 100_000 });
    run(500);
    assert_eq!(allocations_of(|| run(2_000)), 0);
    news.forget();
}

/// The same topic by value, with a message of the handler's making for each.
fn values_allocate_nothing(publisher: &Publisher, peer: &mut Peer) {
    peer.send(&wire::text("newest"));
    assert_eq!(&peer.receive(2 + 6)[2..], b"newest");
    let news = publisher.topic("news");
    let mut run = |count| {
        for _ in 0..count {
            publisher.publish_with(&news, Kind::Text, |_, message, retained| {
                message.extend_from_slice(&[b'x'; 127]);
                retained.extend_from_slice(&[b'y'; 500]);
            });
            assert!(peer.receive(4 + 200)[4..].iter().all(|byte| *byte == b'y'));
        }
    };
    run(500);
    assert_eq!(allocations_of(|| run(2_000)), 0);
}

fn idle_connections_hold_little(server: &Server, peers: &mut Vec<Peer>) {
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    for _ in 1..PEERS {
        peers.push(Peer::open(server.local_addr()));
    }
    wait_until(|| server.metrics().total().upgraded == PEERS as u64);
    let held = LIVE_BYTES.load(Ordering::Relaxed) - before;
    let each = held / PEERS.cast_signed();
    assert!(each <= 272, "{each} bytes for each idle connection");
}

/// The peers declare a frame one byte under the limit and send nothing more.
fn lengths_within_the_limit_hold_nothing(server: &Server, peers: &mut [Peer]) {
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let received = server.metrics().total().received_bytes;
    let header = wire::header(wire::BINARY, 1024 * 1024 - 1);
    for peer in &mut *peers {
        peer.send(&header);
    }
    let sent = (header.len() * peers.len()) as u64;
    wait_until(|| server.metrics().total().received_bytes == received + sent);
    let held = LIVE_BYTES.load(Ordering::Relaxed) - before;
    assert!(held < 64 * 1024, "{held} bytes for lengths of which nothing has arrived");
}

/// As many peers again declare a frame that no machine could hold, and stay.
fn lengths_beyond_the_limit_hold_nothing(server: &Server) {
    let mut peers: Vec<Peer> = (1..PEERS).map(|_| Peer::open(server.local_addr())).collect();
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    for peer in &mut peers {
        peer.send(&wire::header(wire::BINARY, 1 << 62));
    }
    wait_until(|| server.metrics().total().failed == peers.len() as u64);
    let held = LIVE_BYTES.load(Ordering::Relaxed) - before;
    assert!(held < 64 * 1024, "{held} bytes for lengths that were refused");
    for peer in &mut peers {
        assert_eq!(peer.receive(4)[2..], 1009_u16.to_be_bytes());
    }
}

fn allocations_of(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    run();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

fn wait_until(done: impl Fn() -> bool) {
    let start = Timestamp::read();
    while !done() {
        assert!(Timestamp::read().since(start) < Duration::from_secs(30), "waited in vain");
        thread::yield_now();
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a Linux system").count()
}

/// A client with an open WebSocket.
struct Peer {
    stream: TcpStream,
    buffer: [u8; 256],
}

impl Peer {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
        let mut peer = Self { stream, buffer: [0; 256] };
        peer.send(&wire::request("/", &[]));
        // The answer to the sample key has always the same length.
        assert!(peer.receive(129).ends_with(b"\r\n\r\n"));
        peer
    }

    /// Answers the request of the engine.
    fn accept(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend_from_slice(self.receive(1));
        }
        let head = String::from_utf8(head).expect("it is text");
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let key = key.and_then(|key| key.as_bytes().try_into().ok()).expect("24 characters");
        let accept = accept_value(key);
        let accept = str::from_utf8(&accept).expect("it is base64");
        let start = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
        self.send(format!("{start}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    fn receive(&mut self, count: usize) -> &[u8] {
        let bytes = &mut self.buffer[..count];
        self.stream.read_exact(bytes).expect("the server answers");
        bytes
    }
}
