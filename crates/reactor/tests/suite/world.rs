//! Where a case runs: peers of an engine, over real sockets or simulated ones.
//!
//! A [`Place`] starts a [`World`]. A world has the few things that peers can do and that others
//! hold of a server; what cases build from them is in `session`. No world sleeps: the simulated one
//! turns until nothing moves any more, and finds then that an expected event cannot come; the real
//! one waits for the event itself, for at most [`PATIENCE`].

pub(crate) mod loopback;
pub(crate) mod over_tls;
pub(crate) mod simulated;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tickwire_reactor::{
    Balance, Config, Counters, Deflate, Latency, Limits, Metrics, Publisher, Timestamp, Tls, Trust,
};

use crate::application::Journal;

pub(crate) use loopback::Loopback;
pub(crate) use over_tls::OverTls;
pub(crate) use simulated::Seed;

/// How long a real world waits for something that must come: only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What an engine is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) shards: usize,
    pub(crate) limits: Limits,
    /// In their form for command lines.
    pub(crate) origins: &'static str,
    pub(crate) deflate: Option<Deflate>,
    pub(crate) balance: Balance,
    pub(crate) tls: Option<&'static Tls>,
    pub(crate) trust: Option<&'static Trust>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: 1,
            limits: Limits::default(),
            origins: "any",
            deflate: None,
            balance: Balance::Kernel,
            tls: None,
            trust: None,
        }
    }
}

impl Setup {
    /// The defaults but for some limits.
    pub(crate) fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        let mut setup = Self::default();
        change(&mut setup.limits);
        setup
    }

    pub(crate) const fn with_shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    pub(crate) fn config(self) -> Config {
        let mut config = Config::default();
        config.shards = self.shards;
        config.limits = self.limits;
        config.origins = self.origins.parse().expect("origins");
        config.deflate = self.deflate;
        config.balance = self.balance;
        config.tls = self.tls.cloned();
        config.trust = self.trust.cloned();
        config
    }
}

/// A way to start an engine.
pub(crate) trait Place {
    type World: World;

    fn start(&self, setup: Setup) -> Self::World;
}

/// A peer, by the order in which it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer(pub(crate) usize);

/// What a peer found when it waited for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// At least one byte.
    Bytes(Vec<u8>),
    /// The server ended its half of the stream.
    End,
    /// The connection was reset.
    Reset,
}

/// An engine and its peers.
pub(crate) trait World {
    /// A new peer connects.
    fn connect(&mut self) -> Peer;

    /// A new peer connects from an address of this machine, 127.0.0.1 to 127.255.255.254.
    fn connect_from(&mut self, address: Ipv4Addr) -> Peer;

    /// A new peer connects whose socket holds a few kilobytes only.
    fn connect_narrow(&mut self) -> Peer;

    /// The address of a server that the engine can connect to: a peer, once it has picked up.
    fn far(&mut self) -> SocketAddr;

    /// An address where nobody takes connections.
    fn nobody(&mut self) -> SocketAddr;

    /// Waits for the engine's next connection to [`World::far`], and takes it.
    fn pick_up(&mut self) -> Peer;

    /// `peer` sends bytes, all of them; they arrive when the peer or another next waits.
    fn send(&mut self, peer: Peer, bytes: &[u8]);

    /// `peer` sends `bytes`, while nobody reads; how much of that the server lets it. The rest leaves
    /// before what the peer sends next.
    fn push(&mut self, peer: Peer, bytes: &[u8]) -> usize;

    /// `peer` waits for the server.
    fn receive(&mut self, peer: Peer) -> Reading;

    /// `peer` ends its half of the stream.
    fn end(&mut self, peer: Peer);

    /// `peer` goes without a word.
    fn reset(&mut self, peer: Peer);

    /// Time passes; in a world where it does so by itself, waiting for what then happens is enough.
    fn let_time_pass(&mut self, duration: Duration);

    /// Lets happen what can without a peer or the test doing anything. `false`: all has happened that
    /// will, or was waited for since this instant for as long as anybody waits.
    fn linger(&mut self, since: Timestamp) -> bool;

    /// Waits until `done`, which must come true without anybody doing more.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let start = Timestamp::read();
        loop {
            let hopes = self.linger(start);
            if done(self) {
                return;
            }
            assert!(hopes, "waited in vain until {what}: {:?}", self.counters());
        }
    }

    /// The counters of each shard.
    fn metrics(&self) -> Metrics;

    /// How long publications took.
    fn latencies(&self) -> Vec<Latency>;

    fn counters(&self) -> Counters {
        self.metrics().total()
    }

    fn publisher(&self) -> Publisher;

    fn journal(&self) -> &Journal;

    fn shutdown(&mut self);

    /// Begins a shutdown that waits for nobody.
    fn shutdown_now(&mut self);

    /// Whether the server has ended.
    fn is_over(&self) -> bool;
}

/// Makes a test of each of the functions named, in each world, and in the simulated one over TLS too.
/// They are given the [`Place`].
macro_rules! in_each_world {
    ($($case:ident),+ $(,)?) => {
        crate::world::in_each_bare_world!($($case),+);
        mod simulated_over_tls {
            $(#[test]
            fn $case() {
                crate::world::simulated::for_few_seeds(|seed| {
                    super::$case(&crate::world::OverTls(*seed));
                });
            })+
        }
    };
}

/// Makes a test of each of the functions named, in each world, where peers speak no TLS but their
/// own.
macro_rules! in_each_bare_world {
    ($($case:ident),+ $(,)?) => {
        mod on_epoll {
            $(#[test]
            fn $case() {
                super::$case(&crate::world::Loopback::EPOLL);
            })+
        }
        mod on_io_uring {
            $(#[test]
            fn $case() {
                if let Some(place) = crate::world::Loopback::io_uring() {
                    super::$case(&place);
                }
            })+
        }
        mod simulated {
            $(#[test]
            fn $case() {
                crate::world::simulated::for_some_seeds(super::$case);
            })+
        }
    };
}

/// Makes a test of each of the functions named, in the simulated world only.
macro_rules! in_simulation {
    ($($case:ident),+ $(,)?) => {
        mod only_simulated {
            $(#[test]
            fn $case() {
                crate::world::simulated::for_some_seeds(super::$case);
            })+
        }
    };
}

pub(crate) use {in_each_bare_world, in_each_world, in_simulation};
