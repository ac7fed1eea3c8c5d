//! The attackers of `slow`: many sockets, one thread, a byte for each now and then.
//!
//! A connection counts as cut when a byte of it cannot be sent any more: then the server has given
//! its descriptor back. That the server ended its own half of the stream is not enough.

use std::io::{ErrorKind, Read, Write};
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tickwire::Timestamp;

use crate::peer::PATIENCE;

/// A phase of a connection, and how it is drawn out.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    /// What begins it.
    pub(crate) opening: Vec<u8>,
    /// What is dripped, over and over.
    pub(crate) drip: Vec<u8>,
    /// How long the server lets it go on.
    pub(crate) deadline: Duration,
    /// What the server then has said, from its end.
    pub(crate) last_words: Vec<u8>,
}

/// An attack under way.
pub(crate) struct Attack {
    attackers: JoinHandle<Vec<Attacker>>,
    connected: Arc<AtomicBool>,
}

impl Attack {
    /// Starts it: for each phase that many peers, which drip a byte after each `pause`.
    pub(crate) fn start(server: SocketAddr, phases: Vec<(&Phase, usize)>, pause: Duration) -> Self {
        let phases: Vec<(Phase, usize)> =
            phases.into_iter().map(|(phase, count)| (phase.clone(), count)).collect();
        let connected = Arc::new(AtomicBool::new(false));
        let all = Arc::clone(&connected);
        Self { attackers: thread::spawn(move || run(server, &phases, pause, &all)), connected }
    }

    /// Whether all peers are connected by now, or it has failed.
    pub(crate) fn is_complete(&self) -> bool {
        self.connected.load(Ordering::Relaxed) || self.attackers.is_finished()
    }

    /// Calls `meanwhile` until all peers are cut, at least once, and checks how they were.
    pub(crate) fn watch(self, mut meanwhile: impl FnMut()) {
        meanwhile();
        while !self.attackers.is_finished() {
            meanwhile();
        }
        let attackers = self.attackers.join().expect("the attackers are told why they end");
        for attacker in &attackers {
            attacker.check();
        }
        let dripped: usize = attackers.iter().map(|attacker| attacker.dripped).sum();
        println!("{} peers have dripped {dripped} bytes", attackers.len());
        // How often each comes to it is the machine's business.
        for phase in attackers.iter().map(|attacker| attacker.phase.name) {
            let mut others = attackers.iter().filter(|attacker| attacker.phase.name == phase);
            assert!(others.any(|attacker| attacker.dripped > 0), "{phase}: that was no dripping");
        }
    }
}

struct Attacker {
    phase: Phase,
    stream: TcpStream,
    connected: Timestamp,
    arrived: Vec<u8>,
    dripped: usize,
    /// When it was cut.
    cut: Option<Timestamp>,
}

impl Attacker {
    fn connect(server: SocketAddr, phase: &Phase) -> Self {
        let connected = Timestamp::read();
        let mut stream = std::net::TcpStream::connect(server).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.write_all(&phase.opening).expect("there is room for it");
        stream.set_nonblocking(true).expect("a socket");
        let (stream, phase, arrived) = (TcpStream::from_std(stream), phase.clone(), Vec::new());
        Self { phase, stream, connected, arrived, dripped: 0, cut: None }
    }

    fn read(&mut self) {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                // Its half of the stream is over, and no more; ours goes on.
                Ok(0) => return,
                Ok(count) => self.arrived.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.cut.get_or_insert_with(Timestamp::read);
                    return;
                }
            }
        }
    }

    fn drip(&mut self) {
        if self.cut.is_some() {
            return;
        }
        let byte = self.phase.drip[self.dripped % self.phase.drip.len()];
        match self.stream.write(&[byte]) {
            Ok(_) => self.dripped += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                // What has come before the reset is still there to be read.
                self.read();
                self.cut.get_or_insert_with(Timestamp::read);
            }
        }
    }

    /// Whether it was told why, and not before its time was over.
    fn check(&self) {
        let Phase { name, last_words, deadline, .. } = &self.phase;
        let said = String::from_utf8_lossy(&self.arrived);
        assert!(self.arrived.ends_with(last_words), "{name}: {said:?}");
        let lasted = self.cut.expect("all are cut").since(self.connected);
        assert!(lasted >= *deadline, "{name}: it had {lasted:?}");
    }
}

/// Connects all, some at a time, and drips until all are cut.
fn run(
    server: SocketAddr,
    phases: &[(Phase, usize)],
    pause: Duration,
    connected: &AtomicBool,
) -> Vec<Attacker> {
    let mut poll = Poll::new().expect("epoll");
    let mut events = Events::with_capacity(1024);
    let count = phases.iter().map(|(_, count)| count).sum();
    let mut waiting = phases.iter().flat_map(|(phase, count)| iter::repeat_n(phase, *count));
    let mut attackers: Vec<Attacker> = Vec::with_capacity(count);
    let longest = phases.iter().map(|(phase, _)| phase.deadline).max().unwrap_or_default();
    let patience = Timestamp::read().after(2 * longest + PATIENCE);
    let (mut next, mut turn) = (Timestamp::read(), 0);
    while attackers.len() < count || attackers.iter().any(|attacker| attacker.cut.is_none()) {
        for phase in waiting.by_ref().take(CONNECTS_AT_ONCE) {
            let mut attacker = Attacker::connect(server, phase);
            let token = Token(attackers.len());
            let registered =
                poll.registry().register(&mut attacker.stream, token, Interest::READABLE);
            registered.expect("epoll takes it");
            attackers.push(attacker);
        }
        let now = Timestamp::read();
        assert!(now < patience, "some are never cut");
        if now >= next {
            let turns = TURNS as usize;
            attackers.iter_mut().skip(turn % turns).step_by(turns).for_each(Attacker::drip);
            (next, turn) = (now.after(pause / TURNS), turn + 1);
        }
        let all = attackers.len() == count;
        connected.store(all, Ordering::Relaxed);
        let timeout = if all { next.since(now) } else { Duration::ZERO };
        match poll.poll(&mut events, Some(timeout)) {
            // The process was stopped and goes on.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.expect("epoll waits"),
        }
        for event in &events {
            attackers[event.token().0].read();
        }
    }
    attackers
}

/// They do not all drip at once: in so many turns each has dripped.
const TURNS: u32 = 50;

/// Between two looks at those that are connected already.
const CONNECTS_AT_ONCE: usize = 100;
