//! The simulated world: one thread, virtual time, a network that cuts everything anywhere.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tickwire_reactor::io::sim::{self, Simulation};
use tickwire_reactor::{Latency, Metrics, Publisher, Timestamp};

use super::{Peer, Place, Reading, Setup, World};
use crate::application::{Application, Journal};

/// A simulation that is played from this seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    /// Every case is run with this many seeds.
    pub(crate) const TRIED: u64 = 16;
}

/// A simulated server and its peers.
pub(crate) struct Simulated {
    pub(crate) simulation: Simulation<Application>,
    journal: Journal,
    peers: Vec<sim::Peer>,
    reset: Vec<bool>,
    /// Connections of the engine to [`FAR`] that nobody has picked up.
    calls: VecDeque<sim::Peer>,
}

/// Where somebody takes connections, where nobody does, and where nobody even says so.
const FAR: SocketAddr = address(1);
const NOBODY: SocketAddr = address(2);
const DEAF: SocketAddr = address(3);

const fn address(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), port))
}

/// Runs a case for several seeds; if it fails, says for which.
pub(crate) fn for_some_seeds(case: impl Fn(&Seed)) {
    for seed in 0..Seed::TRIED {
        let told = TellSeed(seed);
        case(&Seed(seed));
        drop(told);
    }
}

/// The same for fewer seeds, where each takes its time.
pub(crate) fn for_few_seeds(case: impl Fn(&Seed)) {
    for seed in 0..Seed::TRIED / 4 {
        let told = TellSeed(seed);
        case(&Seed(seed));
        drop(told);
    }
}

/// Names the seed if a panic passes by.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the simulation with seed {}", self.0);
        }
    }
}

impl Place for Seed {
    type World = Simulated;

    fn start(&self, setup: Setup) -> Simulated {
        let journal = Journal::default();
        let simulation = Simulation::with_config(self.0, &setup.config(), |shard| {
            Application::new(&shard, journal.clone())
        });
        Simulated {
            simulation,
            journal,
            peers: Vec::new(),
            reset: Vec::new(),
            calls: VecDeque::new(),
        }
    }
}

impl Simulated {
    /// An address that never answers.
    pub(crate) const fn deaf(&self) -> SocketAddr {
        DEAF
    }

    /// Whether a connection of the engine waits to be picked up.
    pub(crate) fn is_called(&mut self) -> bool {
        self.settle();
        !self.calls.is_empty()
    }

    /// Lets happen what can.
    pub(crate) fn settle(&mut self) {
        self.simulation.settle();
        while let Some((peer, address)) = self.simulation.dialed() {
            match address {
                NOBODY => self.simulation.refuse(peer),
                FAR => self.calls.push_back(peer),
                _ => {}
            }
            self.simulation.settle();
        }
    }

    /// Lets time pass in which nobody says anything.
    pub(crate) fn advance(&mut self, duration: Duration) {
        self.settle();
        self.simulation.advance(duration);
        self.settle();
    }

    /// How many bytes the peer may leave unread.
    pub(crate) fn set_window(&mut self, peer: Peer, bytes: usize) {
        self.simulation.set_window(self.peers[peer.0], bytes);
    }

    /// What has arrived at the peer by now, perhaps nothing.
    pub(crate) fn arrived(&mut self, peer: Peer) -> Vec<u8> {
        self.settle();
        self.simulation.receive(self.peers[peer.0])
    }

    /// Whether the engine has ended its half of the stream.
    pub(crate) fn has_ended(&self, peer: Peer) -> bool {
        self.simulation.is_ended(self.peers[peer.0])
    }

    /// Whether the server has given the peer's socket back.
    pub(crate) fn is_closed(&self, peer: Peer) -> bool {
        self.simulation.is_closed(self.peers[peer.0])
    }
}

impl World for Simulated {
    fn connect(&mut self) -> Peer {
        self.connect_from(Ipv4Addr::LOCALHOST)
    }

    fn connect_from(&mut self, address: Ipv4Addr) -> Peer {
        self.peers.push(self.simulation.connect_from((address, 1).into()));
        self.reset.push(false);
        Peer(self.peers.len() - 1)
    }

    fn connect_narrow(&mut self) -> Peer {
        let peer = self.connect();
        self.set_window(peer, 4 * 1024);
        peer
    }

    fn far(&mut self) -> SocketAddr {
        FAR
    }

    fn nobody(&mut self) -> SocketAddr {
        NOBODY
    }

    fn pick_up(&mut self) -> Peer {
        self.settle();
        let peer = self.calls.pop_front().expect("the engine has connected");
        self.simulation.accept(peer);
        self.settle();
        self.peers.push(peer);
        self.reset.push(false);
        Peer(self.peers.len() - 1)
    }

    fn send(&mut self, peer: Peer, bytes: &[u8]) {
        self.simulation.send(self.peers[peer.0], bytes);
    }

    fn push(&mut self, peer: Peer, bytes: &[u8]) -> usize {
        // A simulated peer's own buffer has no end; what the server took of it is what counts.
        let before = self.counters().received_bytes;
        self.send(peer, bytes);
        self.settle();
        let taken = self.counters().received_bytes - before;
        usize::try_from(taken).expect("a length")
    }

    fn receive(&mut self, peer: Peer) -> Reading {
        let bytes = self.arrived(peer);
        if !bytes.is_empty() {
            return Reading::Bytes(bytes);
        }
        if self.reset[peer.0] {
            return Reading::Reset;
        }
        let ended = self.simulation.is_ended(self.peers[peer.0]);
        assert!(ended, "{peer:?} waits for what will never come");
        Reading::End
    }

    fn end(&mut self, peer: Peer) {
        self.simulation.end(self.peers[peer.0]);
    }

    fn reset(&mut self, peer: Peer) {
        self.reset[peer.0] = true;
        self.simulation.reset(self.peers[peer.0]);
    }

    fn let_time_pass(&mut self, duration: Duration) {
        self.advance(duration);
    }

    fn linger(&mut self, _since: Timestamp) -> bool {
        self.settle();
        false
    }

    fn metrics(&self) -> Metrics {
        self.simulation.metrics()
    }

    fn latencies(&self) -> Vec<Latency> {
        self.simulation.latencies()
    }

    fn publisher(&self) -> Publisher {
        self.simulation.publisher()
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    fn shutdown(&mut self) {
        self.simulation.shutdown();
    }

    fn shutdown_now(&mut self) {
        self.simulation.shutdown_now();
    }

    fn is_over(&self) -> bool {
        self.simulation.is_over()
    }
}
