//! The loop that drives all connections of a run, on one thread.
//!
//! A turn waits for readiness (epoll through mio, edge-triggered), and for each ready connection
//! reads once into the one hot input buffer, hands whole messages to the scenario, and sends what
//! the scenario answered with one system call. Nothing is allocated for a message, and a connection
//! has no buffer of its own (see [`Member`]). It shares no code with the server engine's loop, so
//! that a fault of that one cannot hide here.
//!
//! A run is five stages: *connecting* in bursts of at most [`PENDING_MAX`]; *running* until the
//! time is over; *draining*, waiting for answers that are still due; *closing* with Close 1000; and
//! done. A connection that fails or is lost is counted and the rest goes on; with none left the
//! stage ends.
//!
//! Each wait has a bound, named at the end of this file. A client's number is its token and is
//! never used twice, so an event can never reach another connection than its own.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::event::Event as Readiness;
use mio::{Events, Poll, Token};
use tickwire_protocol::{
    ClientError, ClientHandshake, CloseCode, Connection, Event, Inflater, Limits, Role, State,
};

use crate::clock::{self, Nanoseconds};
use crate::fault::{Fault, Faults};
use crate::load::{Connections, Live, Outcome, Stage};
use crate::measure::{Interval, Measure};
use crate::member::{Member, Phase, Spares};
use crate::scenario::{Masks, Outbox, Received, Scenario, Tally};

/// Where and how long, and who is told.
pub(crate) struct Orders<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) protocols: &'a [&'a str],
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// Ends the run early when it becomes true.
    pub(crate) stop: &'a AtomicBool,
    pub(crate) observe: &'a mut dyn FnMut(&Live),
}

/// All connections of a run, and what they share.
pub(crate) struct Fleet<'a, S> {
    orders: Orders<'a>,
    scenario: S,
    poll: Poll,
    stage: Stage,
    stage_began: Nanoseconds,
    tick_at: Nanoseconds,
    /// By client number; `None` before the client starts and after it is gone.
    members: Vec<Option<Member>>,
    /// Clients that are being opened, in the order of their deadlines; some are open by now.
    deadlines: VecDeque<(Nanoseconds, usize)>,
    pending: usize,
    /// Connections that are open now.
    open: usize,
    /// Open connections whose Close was not answered yet, while closing.
    unanswered: usize,
    counts: Connections,
    /// Clients whose socket had more than one turn may read.
    unfinished: Vec<usize>,
    input: Box<[u8]>,
    output: Vec<u8>,
    output_bytes_max: usize,
    spares: Spares,
    masks: Masks,
    limits: Limits,
    tally: Tally,
}

/// Why a connection is gone.
struct Loss {
    fault: Fault,
    words: String,
}

impl<'a, S: Scenario> Fleet<'a, S> {
    pub(crate) fn new(orders: Orders<'a>, scenario: S) -> io::Result<Self> {
        let mut limits = Limits::default();
        limits.message_bytes_max = scenario.message_bytes_max();
        let now = clock::now();
        Ok(Self {
            poll: Poll::new()?,
            stage: Stage::Connecting,
            stage_began: now,
            tick_at: now + TICK,
            members: (0..orders.connections).map(|_| None).collect(),
            deadlines: VecDeque::new(),
            pending: 0,
            open: 0,
            unanswered: 0,
            counts: Connections::default(),
            unfinished: Vec::new(),
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            output: Vec::new(),
            output_bytes_max: scenario.outbox_bytes_max() + CONTROL_BYTES_MAX,
            spares: Spares::default(),
            masks: Masks::new(),
            limits,
            tally: Tally { measure: Measure::new(), faults: Faults::default() },
            orders,
            scenario,
        })
    }

    /// Runs all stages.
    pub(crate) fn run(mut self) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.connect(&mut events)?;
        let connecting = clock::now() - self.stage_began;
        if self.open > 0 && !self.is_stopped() {
            self.load(&mut events)?;
            self.drain(&mut events)?;
            self.scenario.finish(&mut self.tally.faults);
        }
        self.close(&mut events)?;
        Ok(Outcome {
            connections: self.counts,
            connecting: Duration::from_nanos(connecting),
            measured: self.tally.measure.finish(),
            faults: self.tally.faults,
            interrupted: self.orders.stop.load(Ordering::Relaxed),
        })
    }

    /// Opens all connections, or finds out which do not open.
    fn connect(&mut self, events: &mut Events) -> io::Result<()> {
        let mut next = 0;
        while !self.is_stopped() && !self.is_hopeless() {
            while self.pending < PENDING_MAX && next < self.members.len() {
                self.start(next);
                next += 1;
            }
            if self.pending == 0 {
                break;
            }
            self.turn(events, clock::now() + TICK)?;
            self.expire();
        }
        Ok(())
    }

    /// Lets the scenario work until the time is over or no connection is left.
    fn load(&mut self, events: &mut Events) -> io::Result<()> {
        self.enter(Stage::Running);
        self.tally.measure.begin();
        let end = clock::now().saturating_add(clock::span(self.orders.duration));
        for client in 0..self.members.len() {
            let outcome = self.begin(client);
            self.settle(client, outcome);
        }
        while self.open > 0 && clock::now() < end && !self.is_stopped() {
            self.turn(events, end)?;
        }
        self.tally.measure.end();
        Ok(())
    }

    /// Waits for what is due yet, within a bound.
    fn drain(&mut self, events: &mut Events) -> io::Result<()> {
        self.enter(Stage::Draining);
        self.scenario.stop();
        let end = self.stage_began + DRAIN_WAIT;
        while self.scenario.awaited() > 0 && clock::now() < end {
            self.turn(events, end)?;
        }
        Ok(())
    }

    /// Closes all connections, and lets the server end TCP first (RFC 6455 section 7.1.1): so
    /// TIME_WAIT is its own, and the next run finds its ports free.
    fn close(&mut self, events: &mut Events) -> io::Result<()> {
        self.enter(Stage::Closing);
        for client in 0..self.members.len() {
            let outcome = self.say_close(client);
            self.settle(client, outcome);
        }
        let end = self.stage_began + CLOSE_WAIT;
        while self.unanswered > 0 && clock::now() < end {
            self.turn(events, end)?;
        }
        let unanswered = self.unanswered as u64;
        self.tally.faults.count_many(Fault::CloseUnanswered, unanswered, || {
            format!("no Close within {} s", CLOSE_WAIT / 1_000_000_000)
        });
        let end = clock::now() + END_WAIT;
        while self.unanswered == 0 && self.open > 0 && clock::now() < end {
            self.turn(events, end)?;
        }
        Ok(())
    }

    /// One pass: wait, at most until `until`, then deal with each connection that is ready.
    fn turn(&mut self, events: &mut Events, until: Nanoseconds) -> io::Result<()> {
        let now = clock::now();
        if now >= self.tick_at {
            self.tick(now);
        }
        let timeout = match self.unfinished.is_empty() {
            true => until.min(self.tick_at).saturating_sub(now),
            false => 0,
        };
        match self.poll.poll(events, Some(Duration::from_nanos(timeout))) {
            // A signal: whoever catches it sets `stop`, which the caller looks at.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let unfinished = std::mem::take(&mut self.unfinished);
        for readiness in events.iter() {
            let client = readiness.token().0;
            let outcome = self.ready(client, readiness);
            self.settle(client, outcome);
        }
        for client in unfinished {
            let outcome = self.read(client, true);
            self.settle(client, outcome);
        }
        Ok(())
    }
}

/// One connection.
impl<S: Scenario> Fleet<'_, S> {
    /// Begins to open a connection.
    fn start(&mut self, client: usize) {
        match Member::connect(self.orders.address, self.poll.registry(), Token(client)) {
            Ok(member) => {
                self.members[client] = Some(member);
                self.pending += 1;
                self.deadlines.push_back((clock::now() + OPEN_WAIT, client));
            }
            Err(error) => {
                self.counts.failed += 1;
                let example = || format!("client {client}: {error}");
                self.tally.faults.count(Fault::of_connect(&error), example);
            }
        }
    }

    /// Gives up connections that were not open in time.
    fn expire(&mut self) {
        let now = clock::now();
        while let Some((deadline, client)) = self.deadlines.front().copied() {
            let member = self.members[client].as_ref();
            let is_pending = member.is_some_and(|member| !matches!(member.phase, Phase::Open(_)));
            if is_pending && deadline > now {
                return;
            }
            self.deadlines.pop_front();
            if is_pending {
                let words = format!("not open after {} s", OPEN_WAIT / 1_000_000_000);
                self.settle(client, Err(Loss { fault: Fault::ConnectTimedOut, words }));
            }
        }
    }

    /// Deals with a connection that is ready for something.
    #[inline]
    fn ready(&mut self, client: usize, readiness: &Readiness) -> Result<(), Loss> {
        // Gone in this very turn.
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        if matches!(member.phase, Phase::Connecting) {
            self.request_upgrade(client)?;
        } else if readiness.is_writable() {
            member.flush(&mut self.spares).map_err(broken)?;
        }
        // The end of the stream may lie behind the data, and no further event tells of it.
        let ended = readiness.is_read_closed() || readiness.is_error();
        if ended || readiness.is_readable() {
            self.read(client, ended)?;
        }
        Ok(())
    }

    /// Sends the handshake if TCP is connected by now.
    fn request_upgrade(&mut self, client: usize) -> Result<(), Loss> {
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        let not_connected =
            |error: io::Error| Loss { fault: Fault::of_connect(&error), words: error.to_string() };
        if !member.is_connected().map_err(not_connected)? {
            return Ok(());
        }
        let mut handshake = Box::new(ClientHandshake::new(self.masks.nonce()));
        let Orders { host, path, protocols, headers, .. } = self.orders;
        self.output.clear();
        handshake
            .request(host, path, protocols, headers, &mut self.output)
            .expect("the same request was written once before the run");
        member.phase = Phase::Upgrading(handshake);
        member.send(&self.output, &mut self.spares).map_err(broken)
    }

    /// Reads until the socket is empty, or has had its share of the turn.
    ///
    /// Less than a full buffer means that the socket was empty, which saves asking once more;
    /// unless `to_end` says that there is more to come to light.
    #[inline]
    fn read(&mut self, client: usize, to_end: bool) -> Result<(), Loss> {
        for _ in 0..READS_MAX {
            let Some(member) = &mut self.members[client] else { return Ok(()) };
            match member.read(&mut self.input).map_err(broken)? {
                None => return Ok(()),
                Some(0) => return Err(ended()),
                Some(read) => {
                    self.received(client, read)?;
                    if read < self.input.len() && !to_end {
                        return Ok(());
                    }
                }
            }
        }
        self.unfinished.push(client);
        Ok(())
    }

    /// Deals with the first `read` bytes of the input, and sends the answers to them.
    #[inline]
    fn received(&mut self, client: usize, read: usize) -> Result<(), Loss> {
        let now = clock::now();
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        let mut input = &mut self.input[..read];
        self.output.clear();
        if let Phase::Upgrading(handshake) = &mut member.phase {
            if handshake.receive(&mut input).map_err(refused)?.is_none() {
                return Ok(());
            }
            member.phase = Phase::Open(Connection::new(Role::Client));
            self.pending -= 1;
            self.open += 1;
            self.counts.opened += 1;
        }
        let Phase::Open(connection) = &mut member.phase else { return Ok(()) };
        let mut end = None;
        let mut inflater = Inflater::new(false);
        loop {
            let masks = &mut self.masks;
            let mut mask = || masks.key();
            let event = connection.receive(
                &mut input,
                &self.limits,
                &mut inflater,
                &mut mask,
                &mut self.output,
            );
            match event {
                None => break,
                Some(Event::Message(message)) => {
                    let received = Received { kind: message.kind, payload: message.payload };
                    let mut outbox = Outbox { bytes: &mut self.output, masks: &mut self.masks };
                    self.scenario.received(client, received, now, &mut outbox, &mut self.tally);
                }
                Some(Event::Ping(_) | Event::Pong(_)) => {}
                Some(Event::Closed(..)) if self.stage == Stage::Closing => self.unanswered -= 1,
                Some(Event::Closed(code, reason)) => end = Some(closed(code, reason)),
                Some(Event::Failed(error)) => {
                    let fault = Fault::Protocol(error.close_code().0);
                    end = Some(Loss { fault, words: error.to_string() });
                }
            }
        }
        self.send(client)?;
        end.map_or(Ok(()), Err)
    }

    /// Sends the output.
    #[inline]
    fn send(&mut self, client: usize) -> Result<(), Loss> {
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        if self.output.is_empty() {
            return Ok(());
        }
        if member.waiting() + self.output.len() > self.output_bytes_max {
            let words = format!("{} bytes wait to be sent", member.waiting());
            return Err(Loss { fault: Fault::NotReading, words });
        }
        member.send(&self.output, &mut self.spares).map_err(broken)
    }

    /// Lets the scenario send its first messages.
    fn begin(&mut self, client: usize) -> Result<(), Loss> {
        if self.members[client].is_none() {
            return Ok(());
        }
        self.output.clear();
        let mut outbox = Outbox { bytes: &mut self.output, masks: &mut self.masks };
        self.scenario.begin(client, clock::now(), &mut outbox);
        self.send(client)
    }

    /// Sends our Close; a connection that is not open yet is given up.
    fn say_close(&mut self, client: usize) -> Result<(), Loss> {
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        let Phase::Open(connection) = &mut member.phase else {
            self.members[client] = None;
            return Ok(());
        };
        self.output.clear();
        let masks = &mut self.masks;
        connection.close(CloseCode::NORMAL, "", &mut || masks.key(), &mut self.output);
        self.unanswered += 1;
        self.send(client)
    }

    /// Takes a connection out of the fleet if it is lost, and counts why.
    #[inline]
    fn settle(&mut self, client: usize, outcome: Result<(), Loss>) {
        if let Err(loss) = outcome {
            self.lose(client, loss);
        }
    }

    #[cold]
    fn lose(&mut self, client: usize, loss: Loss) {
        let Some(member) = self.members[client].take() else { return };
        let Loss { mut fault, words } = loss;
        let by_transport = matches!(fault, Fault::Ended | Fault::Reset | Fault::Broken);
        let Phase::Open(connection) = member.phase else {
            self.pending -= 1;
            self.counts.failed += 1;
            let fault = if by_transport { Fault::UpgradeEnded } else { fault };
            return self.tally.faults.count(fault, || format!("client {client}: {words}"));
        };
        self.open -= 1;
        self.scenario.lost(client);
        if self.stage != Stage::Closing {
            self.counts.lost += 1;
        } else if by_transport && connection.state() == State::Closed {
            // Close was said and answered: that TCP ends now is as it should be.
            return;
        } else {
            self.unanswered -= 1;
            fault = if by_transport { Fault::CloseUnanswered } else { fault };
        }
        self.tally.faults.count(fault, || format!("client {client}: {words}"));
    }
}

/// The run as a whole.
impl<S: Scenario> Fleet<'_, S> {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.stage_began = clock::now();
        self.tick(self.stage_began);
    }

    /// Tells how the run goes.
    fn tick(&mut self, now: Nanoseconds) {
        self.tick_at = now + TICK;
        let Interval { rate, p99 } = self.tally.measure.tick(now);
        (self.orders.observe)(&Live {
            stage: self.stage,
            elapsed: Duration::from_nanos(now - self.stage_began),
            open: self.open,
            messages_per_second: rate,
            p99: Duration::from_nanos(p99),
            faults: self.tally.faults.total(),
        });
    }

    fn is_stopped(&self) -> bool {
        self.orders.stop.load(Ordering::Relaxed)
    }

    /// Whether a whole burst failed and nothing ever opened: the rest would fare no better.
    fn is_hopeless(&self) -> bool {
        self.counts.opened == 0 && self.counts.failed >= PENDING_MAX
    }
}

fn broken(error: io::Error) -> Loss {
    Loss { fault: Fault::of_connection(&error), words: error.to_string() }
}

fn ended() -> Loss {
    Loss { fault: Fault::Ended, words: "the stream ended without a Close".to_owned() }
}

fn refused(error: ClientError) -> Loss {
    let fault = match error {
        ClientError::Status(status) => Fault::UpgradeRefused(status),
        _ => Fault::UpgradeInvalid,
    };
    Loss { fault, words: error.to_string() }
}

fn closed(code: Option<CloseCode>, reason: &str) -> Loss {
    // The reason is the server's text, and may end up on a terminal.
    let words = match (code, reason) {
        (None, _) => "the server closed without a code".to_owned(),
        (Some(code), "") => format!("the server closed with {code}"),
        (Some(code), reason) => format!("the server closed with {code}: {}", reason.escape_debug()),
    };
    Loss { fault: Fault::Closed(code.map(|code| code.0)), words }
}

/// Connections that are being opened at one time: as many as the accept backlog of most servers
/// holds (128 in Rust's standard library), beyond which the kernel drops and repeats after 1 s.
const PENDING_MAX: usize = 128;

/// How long a connection may take to open, handshake included, in nanoseconds.
const OPEN_WAIT: Nanoseconds = 10_000_000_000;

/// How long answers that are due are waited for after the end, in nanoseconds.
const DRAIN_WAIT: Nanoseconds = 5_000_000_000;

/// How long the server's Closes are waited for, in nanoseconds.
const CLOSE_WAIT: Nanoseconds = 5_000_000_000;

/// How long the server may then take to end TCP, in nanoseconds. Not a fault if it does not.
const END_WAIT: Nanoseconds = 1_000_000_000;

/// How often the observer is told, in nanoseconds.
const TICK: Nanoseconds = 200_000_000;

/// The input buffer. Measured on fan-out: from 64 KB up a read takes what a blasting server sent in
/// one go, and each further read costs the server a window update.
const INPUT_BYTES: usize = 64 * 1024;

/// Events of one turn. With more ready connections the next turn takes the rest, oldest first.
const EVENTS_MAX: usize = 1024;

/// Reads of one connection in one turn, so that one that never runs dry leaves time for the others.
const READS_MAX: usize = 4;

/// Bytes that may wait to be sent beyond what the scenario sends at most: Pongs, for a server that
/// sends Pings and does not read.
const CONTROL_BYTES_MAX: usize = 64 * 1024;
