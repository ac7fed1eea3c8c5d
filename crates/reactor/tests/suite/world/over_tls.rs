//! The world of peers that speak TLS, within another world.
//!
//! Every case that knows nothing of TLS is a case for this world: a peer that connects has finished
//! its handshake, and what it sends and receives is sealed on the way. Connections that the engine
//! opens are plain here; `tls::dialing` has the others.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use tickwire_reactor::{Latency, Metrics, Publisher, Timestamp, Tls};

use super::{Peer, Place, Reading, Setup, World};
use crate::application::Journal;
use crate::tls::{Authority, TlsClient};

/// A place where peers speak TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverTls<P>(pub(crate) P);

/// Another world, with TLS on the way.
pub(crate) struct Secured<W> {
    within: W,
    /// By peer; none for one that the engine has connected to.
    clients: Vec<Option<TlsClient>>,
}

/// The same for all: making a key takes longer than most cases.
fn identity() -> &'static Tls {
    static IDENTITY: OnceLock<Tls> = OnceLock::new();
    IDENTITY.get_or_init(|| Authority::usual().server())
}

fn config() -> &'static Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| Arc::new(Authority::usual().client(rustls::ALL_VERSIONS)))
}

impl<P: Place> Place for OverTls<P> {
    type World = Secured<P::World>;

    fn start(&self, setup: Setup) -> Self::World {
        let setup = Setup { tls: Some(identity()), ..setup };
        Secured { within: self.0.start(setup), clients: Vec::new() }
    }
}

impl<W: World> Secured<W> {
    fn greet(&mut self, peer: Peer) -> Peer {
        let mut client = TlsClient::new(config(), "localhost");
        while client.connection.is_handshaking() {
            self.within.send(peer, &client.output());
            match self.within.receive(peer) {
                Reading::Bytes(bytes) => client.input(&bytes),
                // It is not let in; what it then waits for is told in the same way.
                Reading::End | Reading::Reset => break,
            }
            assert!(client.error.is_none(), "{:?}", client.error);
        }
        self.within.send(peer, &client.output());
        self.clients.push(Some(client));
        peer
    }
}

impl<W: World> World for Secured<W> {
    fn connect(&mut self) -> Peer {
        let peer = self.within.connect();
        self.greet(peer)
    }

    fn connect_from(&mut self, address: Ipv4Addr) -> Peer {
        let peer = self.within.connect_from(address);
        self.greet(peer)
    }

    fn connect_narrow(&mut self) -> Peer {
        let peer = self.within.connect_narrow();
        self.greet(peer)
    }

    fn far(&mut self) -> SocketAddr {
        self.within.far()
    }

    fn nobody(&mut self) -> SocketAddr {
        self.within.nobody()
    }

    fn pick_up(&mut self) -> Peer {
        self.clients.push(None);
        self.within.pick_up()
    }

    fn send(&mut self, peer: Peer, bytes: &[u8]) {
        let sealed = match &mut self.clients[peer.0] {
            Some(client) => client.say(bytes),
            None => bytes.to_vec(),
        };
        self.within.send(peer, &sealed);
    }

    fn push(&mut self, peer: Peer, bytes: &[u8]) -> usize {
        let Some(client) = &mut self.clients[peer.0] else {
            return self.within.push(peer, bytes);
        };
        let sealed = client.say(bytes);
        if self.within.push(peer, &sealed) == sealed.len() { bytes.len() } else { 0 }
    }

    fn receive(&mut self, peer: Peer) -> Reading {
        let Some(client) = &mut self.clients[peer.0] else { return self.within.receive(peer) };
        loop {
            if !client.plain.is_empty() {
                return Reading::Bytes(std::mem::take(&mut client.plain));
            }
            if client.is_over {
                return Reading::End;
            }
            match self.within.receive(peer) {
                Reading::Bytes(bytes) => client.input(&bytes),
                end => return end,
            }
            assert!(client.error.is_none(), "{peer:?}: {:?}", client.error);
        }
    }

    fn end(&mut self, peer: Peer) {
        if let Some(client) = &mut self.clients[peer.0] {
            let goodbye = client.part();
            self.within.send(peer, &goodbye);
        }
        self.within.end(peer);
    }

    fn reset(&mut self, peer: Peer) {
        self.within.reset(peer);
    }

    fn let_time_pass(&mut self, duration: Duration) {
        self.within.let_time_pass(duration);
    }

    fn linger(&mut self, since: Timestamp) -> bool {
        self.within.linger(since)
    }

    fn metrics(&self) -> Metrics {
        self.within.metrics()
    }

    fn latencies(&self) -> Vec<Latency> {
        self.within.latencies()
    }

    fn publisher(&self) -> Publisher {
        self.within.publisher()
    }

    fn journal(&self) -> &Journal {
        self.within.journal()
    }

    fn shutdown(&mut self) {
        self.within.shutdown();
    }

    fn shutdown_now(&mut self) {
        self.within.shutdown_now();
    }

    fn is_over(&self) -> bool {
        self.within.is_over()
    }
}
