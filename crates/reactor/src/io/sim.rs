//! The simulated back end: scripted sockets, virtual time, everything from one seed.
//!
//! A [`Simulation`] runs the same shards as a server does, on one thread and without the operating
//! system. Its network is as unkind as a network may be: what a peer sends arrives in pieces cut
//! anywhere, a send is taken in part or not at all, a socket that is said to have room has none,
//! shards take their turns in any order. The same seed and the same calls give the same bytes, so
//! whatever goes wrong can be run again. Time moves only by [`Simulation::advance`].
//!
//! It is public because an application's handlers are tested with it the same way.

mod held;
mod random;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use slab::Slab;

pub use self::held::Held;

use self::random::Random;

use super::{Backend, Completion, Key, Newcomer, Outgoing, RandomSource, Sent};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::epoch::Epoch;
use crate::handler::Handler;
use crate::hub::Hub;
use crate::latency::Latency;
use crate::limits::Limits;
use crate::mailbox::{Mail, Mailbox, Wake};
use crate::metrics::{Counters, Metrics, Shared};
use crate::publisher::Publisher;
use crate::server::ShardStart;
use crate::shard::Shard;
#[cfg(feature = "tls")]
use crate::transport::Secure;

/// A server in a simulated world.
pub struct Simulation<H: Handler> {
    shards: Vec<Shard<H, Transport>>,
    shared: Vec<Arc<Shared>>,
    hub: Arc<Hub>,
    /// The time of the world, for those who publish.
    now_ns: Arc<AtomicU64>,
    world: Rc<RefCell<World>>,
}

/// TLS may be between the simulated sockets and a shard, too. Its randomness is not of the seed: the
/// same seed gives the same cuts then, and other bytes.
#[cfg(feature = "tls")]
type Transport = Secure<Sim>;
#[cfg(not(feature = "tls"))]
type Transport = Sim;

/// The sockets below the transport.
const fn sockets(transport: &Transport) -> &Sim {
    #[cfg(feature = "tls")]
    let transport = transport.sockets();
    transport
}

/// A peer of the simulated server, by the order in which it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(usize);

impl<H: Handler> fmt::Debug for Simulation<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Simulation").field("shards", &self.shards.len()).finish()
    }
}

impl<H: Handler> Simulation<H> {
    /// When a simulation begins: a fixed instant, so that two runs are the same.
    pub const START: Timestamp = START;

    /// A server of `shards` shards whose world is played from `seed`.
    pub fn new(
        seed: u64,
        shards: usize,
        limits: Limits,
        handler: impl Fn(ShardStart) -> H,
    ) -> Self {
        let config = Config { shards, limits, ..Config::default() };
        Self::with_config(seed, &config, handler)
    }

    /// A server as `config` says, but that it listens nowhere: of 0 shards it makes one, since no
    /// run may depend on the machine.
    pub fn with_config(seed: u64, config: &Config, handler: impl Fn(ShardStart) -> H) -> Self {
        let (shards, limits) = (config.shards.max(1), config.limits);
        let world = Rc::new(RefCell::new(World::new(seed, shards)));
        let mailbox = || Mailbox::new(limits.mailbox_letters_max, Box::new(NeverAsleep));
        let mailboxes: Box<[Mailbox]> = (0..shards).map(|_| mailbox()).collect();
        let now_ns = Arc::new(AtomicU64::new(START.monotonic_ns()));
        let clock = Clock::Simulated(Arc::clone(&now_ns));
        let hub = Arc::new(Hub::new(mailboxes, config, Epoch(seed)).with_clock(clock));
        let shares_out = hub.loads.is_some();
        let shared: Vec<Arc<Shared>> = (0..shards).map(|_| Arc::default()).collect();
        let shards = (0..shards)
            .map(|index| {
                let publisher = Publisher::new(Arc::clone(&hub));
                let handler = handler(ShardStart { index, count: shards, publisher });
                let world = Rc::clone(&world);
                let backend = Sim { world, shard: index, shares_out, ..Sim::default() };
                #[cfg(feature = "tls")]
                let backend = Secure::new(backend, &config.security());
                let number = u16::try_from(index).expect("few shards");
                let shared = Arc::clone(&shared[index]);
                Shard::new(number, backend, handler, Arc::clone(&hub), limits, shared)
            })
            .collect();
        Self { shards, shared, hub, now_ns, world }
    }

    /// A handle that publishes. A full mailbox would never be emptied while it waits: a simulation
    /// publishes less than a mailbox holds between two turns.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.hub))
    }

    /// A new peer connects, to a shard chosen by the seed. Its socket buffer holds 64 KB.
    pub fn connect(&mut self) -> Peer {
        self.connect_from(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
    }

    /// As [`Simulation::connect`], from this address.
    pub fn connect_from(&mut self, address: SocketAddr) -> Peer {
        self.world.borrow_mut().connect(address)
    }

    /// The next connection that the engine has begun to another server, and the address that it goes
    /// to. It comes about with [`Simulation::accept`], fails with [`Simulation::refuse`], and until
    /// then waits.
    pub fn dialed(&mut self) -> Option<(Peer, SocketAddr)> {
        self.world.borrow_mut().dialed.pop_front()
    }

    /// `peer`, which the engine has dialed, takes the connection. Its socket buffer holds 64 KB.
    pub fn accept(&mut self, peer: Peer) {
        self.world.borrow_mut().streams[peer.0].dialed = Dialed::Accepted;
    }

    /// `peer`, which the engine has dialed, refuses the connection.
    pub fn refuse(&mut self, peer: Peer) {
        self.world.borrow_mut().streams[peer.0].dialed = Dialed::Refused;
    }

    /// `peer` sends bytes.
    pub fn send(&mut self, peer: Peer, bytes: &[u8]) {
        self.world.borrow_mut().streams[peer.0].to_server.extend(bytes);
    }

    /// Takes what has arrived at `peer`, which makes room for more.
    pub fn receive(&mut self, peer: Peer) -> Vec<u8> {
        std::mem::take(&mut self.world.borrow_mut().streams[peer.0].to_peer)
    }

    /// How many bytes `peer` may have unread before the server's sends are refused.
    pub fn set_window(&mut self, peer: Peer, bytes: usize) {
        self.world.borrow_mut().streams[peer.0].window = bytes;
    }

    /// `peer` ends its half of the stream, behind what it has sent.
    pub fn end(&mut self, peer: Peer) {
        self.world.borrow_mut().streams[peer.0].peer_ended = true;
    }

    /// `peer` is gone at once: what is on its way in either direction is lost.
    pub fn reset(&mut self, peer: Peer) {
        let stream = &mut self.world.borrow_mut().streams[peer.0];
        stream.reset = true;
        stream.to_server.clear();
        stream.to_peer.clear();
    }

    /// Whether the server has ended its half of the stream to `peer`, or closed it.
    #[must_use]
    pub fn is_ended(&self, peer: Peer) -> bool {
        let stream = &self.world.borrow().streams[peer.0];
        stream.server_ended || stream.closed
    }

    /// Whether the server has given the socket back.
    #[must_use]
    pub fn is_closed(&self, peer: Peer) -> bool {
        self.world.borrow().streams[peer.0].closed
    }

    /// Every shard takes as many turns as the seed says, in the order that it says.
    ///
    /// # Errors
    /// None: the simulated back end does not fail as a whole.
    ///
    /// # Panics
    /// When an invariant of the engine is broken; that is what it is for.
    pub fn turn(&mut self) {
        for _ in 0..self.shards.len() {
            let index = self.world.borrow_mut().random.below(self.shards.len());
            self.turn_of(index);
        }
    }

    /// Turns until everything that can happen without time passing or a peer acting has happened.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 8 {
            let before = self.progress();
            for index in 0..self.shards.len() {
                self.turn_of(index);
            }
            quiet = if self.progress() == before { quiet + 1 } else { 0 };
        }
    }

    /// Time passes: deadlines are met in the turns that follow.
    pub fn advance(&mut self, duration: Duration) {
        let now = self.world.borrow().now.after(duration);
        self.world.borrow_mut().now = now;
        self.now_ns.store(now.monotonic_ns(), Ordering::Relaxed);
    }

    /// Begins the shutdown of all shards.
    pub fn shutdown(&mut self) {
        self.shutdown_over(Duration::ZERO);
    }

    /// As [`Handle::shutdown_over`](crate::Handle::shutdown_over).
    pub fn shutdown_over(&mut self, spread: Duration) {
        self.hub.deliver_to_all(|| Mail::Shutdown { spread });
    }

    /// As [`Handle::shutdown_now`](crate::Handle::shutdown_now).
    pub fn shutdown_now(&mut self) {
        self.hub.deliver_to_all(|| Mail::ShutdownNow);
    }

    /// The counters of each shard.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics { shards: self.shared.iter().map(|shared| shared.load()).collect() }
    }

    /// As [`Handle::latencies`](crate::Handle::latencies), in virtual time.
    #[must_use]
    pub fn latencies(&self) -> Vec<Latency> {
        self.hub.latencies.read()
    }

    /// Whether the shutdown is complete.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shards.iter().all(Shard::is_over)
    }

    /// The counters, summed over the shards.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.iter().map(|shared| shared.load()).fold(Counters::default(), Counters::plus)
    }

    /// What the shards hold now; it takes a look at every connection.
    #[must_use]
    pub fn held(&self) -> Held {
        let mut held = Held::by_hub(&self.hub);
        self.shards.iter().for_each(|shard| held.add(shard));
        held
    }

    /// How much has happened so far: completions that the shards were given.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.world.borrow().events
    }

    /// One shard takes a turn, unless it is over: for an order that the caller chooses.
    ///
    /// # Panics
    /// If there is no shard with this `index`, and as [`Simulation::turn`].
    pub fn turn_of(&mut self, index: usize) {
        let shard = &mut self.shards[index];
        if shard.is_over() {
            return;
        }
        shard.turn(Some(Duration::ZERO)).expect("a simulation does not fail");
        if shard.is_over() {
            self.hub.close(index);
        }
    }

    /// Everything that changes when something happens, in one number each.
    fn progress(&self) -> (u64, usize, Counters) {
        let counters = Counters { turns: 0, sends: 0, short_sends: 0, ..self.counters() };
        let letters = self.hub.mailboxes.iter().map(Mailbox::len).sum();
        (self.world.borrow().events, letters, counters)
    }
}

/// A fixed instant.
const START: Timestamp = Timestamp::new(1_000_000_000, 1_700_000_000_000_000_000);

/// What all shards of a simulation share.
struct World {
    now: Timestamp,
    seed: u64,
    random: Random,
    streams: Vec<Stream>,
    /// Peers that were not accepted yet, by shard.
    queues: Vec<VecDeque<usize>>,
    /// Connections that shards have begun and nobody has looked at yet.
    dialed: VecDeque<(Peer, SocketAddr)>,
    /// Completions that were reported.
    events: u64,
}

/// How far a connection is that was begun by the engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialed {
    Waiting,
    Accepted,
    Refused,
}

/// Both directions between one peer and the server.
struct Stream {
    address: SocketAddr,
    to_server: VecDeque<u8>,
    to_peer: Vec<u8>,
    window: usize,
    peer_ended: bool,
    reset: bool,
    server_ended: bool,
    closed: bool,
    /// Accepted from the beginning where the peer was the one to connect.
    dialed: Dialed,
}

impl World {
    fn new(seed: u64, shards: usize) -> Self {
        Self {
            now: START,
            seed,
            random: Random(seed),
            streams: Vec::new(),
            queues: vec![VecDeque::new(); shards],
            dialed: VecDeque::new(),
            events: 0,
        }
    }

    fn connect(&mut self, address: SocketAddr) -> Peer {
        let Peer(peer) = self.stream(address, Dialed::Accepted);
        let shard = self.random.below(self.queues.len());
        self.queues[shard].push_back(peer);
        Peer(peer)
    }

    fn stream(&mut self, address: SocketAddr, dialed: Dialed) -> Peer {
        self.streams.push(Stream {
            address,
            to_server: VecDeque::new(),
            to_peer: Vec::new(),
            window: 64 * 1024,
            peer_ended: false,
            reset: false,
            server_ended: false,
            closed: false,
            dialed,
        });
        Peer(self.streams.len() - 1)
    }
}

/// One shard's back end.
#[derive(Default)]
pub(crate) struct Sim {
    world: Rc<RefCell<World>>,
    shard: usize,
    sockets: Slab<Socket>,
    generation: u32,
    /// Slots still to be looked at in this turn.
    left: Vec<usize>,
    shares_out: bool,
    paused: bool,
    stopped: bool,
    buffer: Vec<u8>,
}

struct Socket {
    generation: u32,
    stream: usize,
    /// Ours, and it has not come about yet.
    connecting: bool,
    blocked: bool,
    paused: bool,
    /// The end of the peer's stream has been reported; there may still be room to send.
    ended: bool,
    /// The reset of the connection has been reported: there is nothing more of it.
    broken: bool,
}

impl Default for World {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl Sim {
    /// The longest piece in which received bytes arrive at once.
    const PIECE_BYTES_MAX: usize = 4 * 1024;

    /// One in so many looks at a socket without room finds it writable all the same, as happens where
    /// memory for sockets is short.
    const FALSE_ALARMS: usize = 8;

    fn socket(&mut self, key: Key) -> Option<&mut Socket> {
        self.sockets.get_mut(key.index()).filter(|it| it.generation == key.generation)
    }

    fn accept(&mut self) -> Option<Completion<'static>> {
        if self.stopped || self.paused {
            return None;
        }
        let stream = self.world.borrow_mut().queues[self.shard].pop_front()?;
        let peer = self.world.borrow().streams[stream].address;
        if self.shares_out {
            return Some(Completion::Arrived { newcomer: Newcomer::Simulated(stream), peer });
        }
        Some(Completion::Accepted { key: self.seat(stream, false), peer })
    }

    fn seat(&mut self, stream: usize, connecting: bool) -> Key {
        self.generation += 1;
        let generation = self.generation;
        let socket = Socket::new(generation, stream, connecting);
        let slot = u32::try_from(self.sockets.insert(socket)).expect("few sockets");
        Key { slot, generation }
    }
}

impl Socket {
    const fn new(generation: u32, stream: usize, connecting: bool) -> Self {
        Self {
            generation,
            stream,
            connecting,
            blocked: false,
            paused: false,
            ended: false,
            broken: false,
        }
    }
}

/// What there is to report of one socket.
enum Found {
    Connected,
    Writable { has_room: bool },
    Received,
    Ended(Option<io::Error>),
}

/// The one place where a socket of the simulation is looked at: room first, then bytes, then ends.
fn look(socket: &mut Socket, world: &mut World, buffer: &mut Vec<u8>) -> Option<Found> {
    let stream = &mut world.streams[socket.stream];
    if socket.broken {
        return None;
    }
    if stream.reset {
        socket.broken = true;
        return Some(Found::Ended(Some(ErrorKind::ConnectionReset.into())));
    }
    if socket.connecting {
        socket.connecting = stream.dialed == Dialed::Waiting;
        socket.broken = stream.dialed == Dialed::Refused;
        return match stream.dialed {
            Dialed::Waiting => None,
            Dialed::Accepted => Some(Found::Connected),
            Dialed::Refused => Some(Found::Ended(Some(ErrorKind::ConnectionRefused.into()))),
        };
    }
    if socket.blocked {
        let has_room = stream.to_peer.len() < stream.window;
        if has_room || world.random.below(Sim::FALSE_ALARMS) == 0 {
            // After a false alarm it is blocked again by the send that nothing is taken of.
            socket.blocked = false;
            return Some(Found::Writable { has_room });
        }
    }
    if socket.paused || socket.ended {
        return None;
    }
    if !stream.to_server.is_empty() {
        let most = stream.to_server.len().min(Sim::PIECE_BYTES_MAX);
        let piece = 1 + world.random.skewed(most);
        buffer.clear();
        buffer.extend(stream.to_server.drain(..piece));
        return Some(Found::Received);
    }
    if stream.peer_ended {
        socket.ended = true;
        return Some(Found::Ended(None));
    }
    None
}

impl Backend for Sim {
    fn wait(&mut self, _timeout: Option<Duration>) -> io::Result<()> {
        self.left = self.sockets.iter().map(|(slot, _)| slot).collect();
        let random = &mut self.world.borrow_mut().random;
        for place in (1..self.left.len()).rev() {
            self.left.swap(place, random.below(place + 1));
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Completion<'_>> {
        if let Some(completion) = self.accept() {
            self.world.borrow_mut().events += 1;
            return Some(completion);
        }
        while let Some(slot) = self.left.pop() {
            let Some(socket) = self.sockets.get_mut(slot) else { continue };
            let world = &mut *self.world.borrow_mut();
            let Some(found) = look(socket, world, &mut self.buffer) else { continue };
            // What changes nothing is no event, or nothing would ever settle.
            world.events += u64::from(!matches!(found, Found::Writable { has_room: false }));
            let slot = u32::try_from(slot).expect("few sockets");
            let key = Key { slot, generation: socket.generation };
            return Some(match found {
                Found::Connected => Completion::Connected { key },
                Found::Writable { .. } => Completion::Writable { key },
                Found::Received => Completion::Received { key, bytes: &mut self.buffer },
                Found::Ended(error) => Completion::Ended { key, error },
            });
        }
        None
    }

    fn connect(&mut self, address: SocketAddr, again: Option<Key>) -> io::Result<Key> {
        let peer = self.world.borrow_mut().stream(address, Dialed::Waiting);
        self.world.borrow_mut().dialed.push_back((peer, address));
        let Some(key) = again else { return Ok(self.seat(peer.0, true)) };
        let socket = self.socket(key).ok_or(ErrorKind::NotConnected)?;
        let old = std::mem::replace(socket, Socket::new(key.generation, peer.0, true));
        self.world.borrow_mut().streams[old.stream].closed = true;
        Ok(key)
    }

    fn adopt(&mut self, newcomer: Newcomer) -> io::Result<Key> {
        match newcomer {
            Newcomer::Simulated(stream) => Ok(self.seat(stream, false)),
            Newcomer::Socket(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn send<'a>(&mut self, batch: impl Iterator<Item = Outgoing<'a>>, results: &mut Vec<Sent>) {
        let world = Rc::clone(&self.world);
        let world = &mut *world.borrow_mut();
        for outgoing in batch {
            let Some(socket) = self.socket(outgoing.key) else {
                results.push(Sent::Broken(ErrorKind::NotConnected));
                continue;
            };
            let stream = &mut world.streams[socket.stream];
            if stream.reset {
                results.push(Sent::Broken(ErrorKind::BrokenPipe));
                continue;
            }
            assert!(!stream.server_ended, "nothing is sent after the end of the stream");
            let length = outgoing.first.len() + outgoing.second.len();
            let room = stream.window.saturating_sub(stream.to_peer.len());
            let mut taken = length.min(room);
            if taken > 0 && world.random.below(4) == 0 {
                taken = world.random.skewed(taken + 1);
            }
            let stream = &mut world.streams[socket.stream];
            stream.to_peer.extend(outgoing.first.iter().chain(outgoing.second).take(taken));
            socket.blocked = taken < length;
            results.push(Sent::Taken(taken));
        }
    }

    fn pause(&mut self, key: Key) {
        if let Some(socket) = self.socket(key) {
            socket.paused = true;
        }
    }

    fn resume(&mut self, key: Key) {
        if let Some(socket) = self.socket(key) {
            socket.paused = false;
        }
    }

    fn finish(&mut self, key: Key) {
        if let Some(stream) = self.socket(key).map(|socket| socket.stream) {
            self.world.borrow_mut().streams[stream].server_ended = true;
        }
    }

    fn close(&mut self, key: Key) {
        if self.socket(key).is_some() {
            let socket = self.sockets.remove(key.index());
            self.world.borrow_mut().streams[socket.stream].closed = true;
        }
    }

    fn pause_accepting(&mut self) {
        self.paused = true;
    }

    fn resume_accepting(&mut self) {
        self.paused = false;
    }

    fn stop_accepting(&mut self) {
        self.stopped = true;
    }

    fn has_stopped(&self) -> bool {
        true
    }

    fn now(&mut self) -> Timestamp {
        self.world.borrow().now
    }

    fn random(&mut self) -> RandomSource {
        // Of its own, so that a mask more changes nothing of what the network does.
        let mut random = Random(self.world.borrow().seed ^ self.shard as u64);
        Box::new(move |bytes| {
            for group in bytes.chunks_mut(8) {
                group.copy_from_slice(&random.next().to_ne_bytes()[..group.len()]);
            }
            Ok(())
        })
    }
}

/// A simulated shard is given its turns; nobody has to wake it.
struct NeverAsleep;

impl Wake for NeverAsleep {
    fn wake(&self) {}
}
