//! Peers that drip: a byte now and then, in each phase of a connection, so that they never seem idle.
//!
//! The classic is Slowloris, in the handshake; servers that guard that are dripped upon in a message,
//! and after their own Close (CVE-2024-23672). Each phase has a deadline that no byte moves, so that
//! all are cut; a client beside them is served while they try.
//!
//! The long version, with ten thousand peers and the deadlines of a real server, is what
//! `scripts/abuse` runs; it also tells what the client beside them noticed.

use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::process::{Resource, getrlimit};
use tickwire::Timestamp;

use crate::application::REASON;
use crate::drip::{Attack, Phase};
use crate::peer::{Peer, until};
use crate::server::Server;
use crate::wire;

/// The deadlines of the phases, and how often the peers drip.
#[derive(Clone, Copy)]
struct Times {
    handshake: Duration,
    message: Duration,
    close: Duration,
    pause: Duration,
}

impl Times {
    /// Those of a test: a peer has time for some fifteen bytes.
    const SHORT: Self = Self {
        handshake: Duration::from_millis(1_500),
        message: Duration::from_millis(1_500),
        close: Duration::from_millis(1_500),
        pause: Duration::from_millis(100),
    };

    /// Those that a server has unless it is told otherwise, and the attack of the textbook.
    const REAL: Self = Self {
        handshake: Duration::from_secs(10),
        message: Duration::from_secs(60),
        close: Duration::from_secs(5),
        pause: Duration::from_secs(5),
    };

    fn server(self) -> Server {
        let [handshake, message, close] = [self.handshake, self.message, self.close]
            .map(|time| u64::try_from(time.as_millis()).expect("a short time"));
        Server::start(&[("handshake_ms", handshake), ("message_ms", message), ("close_ms", close)])
    }
}

/// Each phase of a connection.
fn phases(times: Times) -> Vec<Phase> {
    let open = |path: &str, frames: &[u8]| [&wire::request(path, &[]), frames].concat();
    let late = wire::server_close(1008, "the message did not come in time");
    vec![
        Phase {
            name: "handshake",
            opening: b"GET / HTTP/1.1\r\nHost: server.example.com\r\nX: ".to_vec(),
            drip: b"x".to_vec(),
            deadline: times.handshake,
            last_words: b"\r\n\r\nthe request did not come in time\n".to_vec(),
        },
        Phase {
            name: "refused",
            opening: b"GET /nowhere HTTP/1.1\r\nHost: server.example.com\r\n\r\n".to_vec(),
            drip: b"x".to_vec(),
            deadline: times.close,
            last_words: b"\r\n\r\nthere is nothing at this path\n".to_vec(),
        },
        Phase {
            name: "frame",
            opening: open("/", &wire::header(wire::BINARY, 65_536)),
            drip: b"x".to_vec(),
            deadline: times.message,
            last_words: late.clone(),
        },
        Phase {
            name: "control frame",
            opening: open("/", &wire::header(wire::PING, 125)),
            drip: b"x".to_vec(),
            deadline: times.message,
            last_words: late.clone(),
        },
        Phase {
            name: "fragments",
            opening: open("/", &wire::frame(wire::BINARY_BEGINS, b"x")),
            drip: wire::frame(wire::GOES_ON, b"x"),
            deadline: times.message,
            last_words: late,
        },
        Phase {
            name: "close",
            opening: open("/close-in/open", &[]),
            drip: wire::text("still here"),
            deadline: times.close,
            last_words: wire::server_close(4000, REASON),
        },
    ]
}

/// How many peers there can be: each takes a descriptor here and one in the server.
fn peers(wanted: usize) -> usize {
    let allowed = getrlimit(Resource::Nofile).maximum.map_or(usize::MAX, |allowed| {
        usize::try_from(allowed).unwrap_or(usize::MAX).saturating_sub(100)
    });
    if allowed < wanted {
        println!("{allowed} peers instead of {wanted}: no more descriptors are allowed");
    }
    wanted.min(allowed)
}

#[test]
fn peers_that_drip_in_any_phase_are_cut_at_its_deadline_and_others_are_served() {
    const PEERS: usize = 3_000;
    let server = Times::SHORT.server();
    let descriptors = server.descriptors();
    let phases = phases(Times::SHORT);
    let peers = peers(PEERS) / phases.len();
    let attacks = phases.iter().map(|phase| (phase, peers)).collect();
    let attack = Attack::start(server.address(), attacks, Times::SHORT.pause);
    let mut beside = Beside::new(&server);
    attack.watch(|| beside.echo());
    println!("{}", beside.summary("beside them"));
    drop(beside);
    // What they held, the server has back.
    until("all are gone", || server.descriptors() == descriptors);
}

/// Each phase alone, between times of quiet, against a server with the deadlines of every day.
#[test]
#[ignore = "takes five minutes: scripts/abuse runs it"]
fn ten_thousand_peers_that_drip_are_not_noticed() {
    const PEERS: usize = 10_000;
    const QUIET: Duration = Duration::from_secs(15);
    let server = Times::REAL.server();
    let mut beside = Beside::new(&server);
    for phase in phases(Times::REAL) {
        let quiet_until = Timestamp::read().after(QUIET);
        while Timestamp::read() < quiet_until {
            beside.echo();
        }
        println!("{}", beside.summary("quiet"));
        // Short deadlines must leave time for some bytes.
        let pause = Times::REAL.pause.min(phase.deadline / 5);
        let attack = Attack::start(server.address(), vec![(&phase, peers(PEERS))], pause);
        println!("{}:", phase.name);
        while !attack.is_complete() {
            beside.echo();
        }
        println!("{}", beside.summary("they connect"));
        attack.watch(|| beside.echo());
        println!("{}", beside.summary("they drip"));
    }
    println!("{} bytes are resident in the end", server.memory().resident());
}

/// A client that keeps to the rules, and watches how long its echoes take.
struct Beside {
    peer: Peer,
    count: u64,
    times: Histogram<u64>,
}

impl Beside {
    /// Between two messages, so that it is a client and no load.
    const PAUSE: Duration = Duration::from_micros(500);

    fn new(server: &Server) -> Self {
        let minute = 60 * 1_000_000_000;
        let times = Histogram::new_with_max(minute, 3).expect("three digits");
        Self { peer: server.open("/"), count: 0, times }
    }

    /// Sends a message and waits for it to come back, in order.
    fn echo(&mut self) {
        thread::park_timeout(Self::PAUSE);
        self.count += 1;
        let text = format!("message {}", self.count);
        let sent = Timestamp::read();
        self.peer.send(&wire::text(&text));
        assert_eq!(self.peer.frame(), wire::Frame::new(wire::TEXT, text.as_bytes()));
        let took = Timestamp::read().since(sent).as_nanos();
        self.times.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
    }

    /// A row of what was since the last one.
    fn summary(&mut self, name: &str) -> String {
        let microseconds = |share| self.times.value_at_quantile(share).div_ceil(1_000);
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(microseconds);
        let (count, most) = (self.times.len(), self.times.max().div_ceil(1_000));
        self.times.reset();
        format!(
            "{name:14} {count:7} echoes: p50 {p50:5} µs, p99 {p99:5} µs, p99.9 {p999:6} µs, \
             at most {most:6} µs"
        )
    }
}
