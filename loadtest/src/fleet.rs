//! The loop that drives all connections of a run, on one thread.
//!
//! A turn waits for readiness (epoll through mio, edge-triggered) or for the moment at which the
//! scenario has something to do; for each ready connection it reads once into the one hot input
//! buffer, hands whole messages to the scenario, and sends what the scenario answered with one
//! system call. Nothing is allocated for a message, and a connection has no buffer of its own (see
//! [`Member`]). It shares no code with the server engine's loop, so that a fault of that one cannot
//! hide here.
//!
//! A run has five parts: *connecting* in bursts of at most [`PENDING_MAX`]; *running* the stages of
//! its plan; *draining*, waiting for answers that are still due; *closing* with Close 1000; and
//! done. A connection that fails or is lost is counted and the rest goes on; with none left the part
//! ends.
//!
//! Each wait has a bound, named at the end of this file. A client's number is its token. A socket
//! that takes the number of one that was closed may see an event of that one in the same turn, which
//! is why every reaction first tries and then believes.

mod connection;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token};
use tickwire_protocol::{DeflatePolicy, Inflater, Limits};

use crate::clock::{self, Nanoseconds};
use crate::fault::{Fault, Faults};
use crate::load::{Connections, Live, Outcome, Part};
use crate::measure::{Interval, Measure};
use crate::member::{Member, Spares};
use crate::plan::Stage;
use crate::scenario::{Action, Compressor, Masks, Scenario, Tally, Treatment};
use crate::timer::Timer;
use crate::tls::Security;

/// Where and how long, and who is told.
pub(crate) struct Orders<'a> {
    /// Servers, of which each client has the next one in turn.
    pub(crate) endpoints: &'a [Endpoint],
    /// Addresses to connect from, in turn; the system's choice if empty.
    pub(crate) sources: &'a [IpAddr],
    pub(crate) deflate: Option<&'a DeflatePolicy>,
    /// Whether clients whose server agrees compress what they send.
    pub(crate) compresses: bool,
    pub(crate) protocols: &'a [&'a str],
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// Clients in all, of which `initial` are open before the time starts.
    pub(crate) connections: usize,
    pub(crate) initial: usize,
    pub(crate) stages: &'a [Stage],
    /// Ends the run early when it becomes true.
    pub(crate) stop: &'a AtomicBool,
    pub(crate) observe: &'a mut dyn FnMut(&Live),
    /// Called when all initial connections are open; the time starts when it returns.
    pub(crate) gate: &'a mut dyn FnMut() -> io::Result<()>,
}

/// A server to connect to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
    /// How it is secured; none: it is plain.
    pub(crate) security: Option<Security>,
}

/// All connections of a run, and what they share.
pub(crate) struct Fleet<'a, S> {
    orders: Orders<'a>,
    scenario: S,
    poll: Poll,
    timer: Timer,
    part: Part,
    part_began: Nanoseconds,
    tick_at: Nanoseconds,
    /// When the poll last returned: from then to the next poll nobody listens.
    woken_at: Nanoseconds,
    /// By client number; `None` before the client starts and after it is gone.
    members: Vec<Option<Member>>,
    /// Clients that are being opened, in the order of their deadlines; some are open by now.
    deadlines: VecDeque<(Nanoseconds, usize)>,
    pending: usize,
    /// Connections that are open now, without those that we are closing.
    open: usize,
    /// Connections that we have closed and whose socket is still open.
    leaving: usize,
    /// Those of them whose Close was not answered yet.
    unanswered: usize,
    counts: Connections,
    /// The first client that no ramp has opened yet, and those that one may close again.
    unused: usize,
    joined: Vec<usize>,
    stage: usize,
    /// Clients whose socket had more than one turn may read.
    unfinished: Vec<usize>,
    input: Box<[u8]>,
    output: Vec<u8>,
    output_bytes_max: usize,
    spares: Spares,
    masks: Masks,
    limits: Limits,
    inflater: Inflater,
    compressor: Compressor,
    tally: Tally,
}

impl<'a, S: Scenario> Fleet<'a, S> {
    pub(crate) fn new(orders: Orders<'a>, scenario: S) -> io::Result<Self> {
        let mut limits = Limits::default();
        limits.message_bytes_max = scenario.message_bytes_max();
        let now = clock::now();
        let poll = Poll::new()?;
        Ok(Self {
            timer: Timer::new(poll.registry(), TIMER)?,
            poll,
            part: Part::Connecting,
            part_began: now,
            tick_at: now + TICK,
            woken_at: now,
            members: (0..orders.connections).map(|_| None).collect(),
            deadlines: VecDeque::new(),
            pending: 0,
            open: 0,
            leaving: 0,
            unanswered: 0,
            counts: Connections::default(),
            unfinished: Vec::new(),
            input: vec![0; INPUT_BYTES].into_boxed_slice(),
            output: Vec::new(),
            output_bytes_max: scenario.outbox_bytes_max() + CONTROL_BYTES_MAX,
            spares: Spares::default(),
            masks: Masks::new(),
            limits,
            inflater: Inflater::new(false),
            compressor: Compressor::new(),
            tally: Tally {
                measure: Measure::new(orders.stages),
                faults: Faults::default(),
                treatment: Treatment::new(),
            },
            unused: orders.initial,
            joined: (0..orders.initial).collect(),
            stage: 0,
            orders,
            scenario,
        })
    }

    /// Runs all parts.
    pub(crate) fn run(mut self) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.connect(&mut events)?;
        let connecting = clock::now() - self.part_began;
        (self.orders.gate)()?;
        if self.is_alive() && !self.is_stopped() {
            self.load(&mut events)?;
            let end = clock::now();
            self.drain(&mut events)?;
            self.scenario.finish(end, &mut self.tally);
        }
        // Closing keeps the loop from its sockets: what comes meanwhile has no figure.
        let measured = std::mem::replace(&mut self.tally.measure, Measure::new(&[])).finish();
        self.close(&mut events)?;
        Ok(Outcome {
            connections: self.counts,
            connecting: Duration::from_nanos(connecting),
            measured,
            faults: self.tally.faults,
            treatment: self.tally.treatment,
            server: None,
            interrupted: self.orders.stop.load(Ordering::Relaxed),
        })
    }

    /// Opens the connections that are to be open at the start, or finds out which do not open; and
    /// waits until those that have something to say before were answered.
    fn connect(&mut self, events: &mut Events) -> io::Result<()> {
        let (mut next, mut heard_by) = (0, Nanoseconds::MAX);
        while !self.is_stopped() && !self.is_hopeless() {
            while self.pending < PENDING_MAX && next < self.orders.initial {
                self.start(next);
                next += 1;
            }
            while let Some(client) = self.scenario.introduce() {
                let outcome = self.compose(client, clock::now());
                self.settle(client, outcome);
            }
            if self.pending == 0 {
                heard_by = heard_by.min(clock::now() + OPEN_WAIT);
                if self.scenario.introducing() == 0 || clock::now() > heard_by {
                    break;
                }
            }
            self.turn(events, clock::now() + TICK)?;
        }
        Ok(())
    }

    /// Lets the scenario work through all stages, or until no connection is left.
    fn load(&mut self, events: &mut Events) -> io::Result<()> {
        self.enter(Part::Running);
        for number in 0..self.orders.stages.len() {
            self.tally.measure.end(self.open);
            self.stage = number;
            if number > 0 {
                // Whoever observes may take a reading: that is no part of either stage.
                self.tick(clock::now());
            }
            self.tally.measure.begin(number);
            let begun = clock::now();
            if number == 0 {
                // Whoever observes took time; the schedule and the stages count from one moment.
                (self.part_began, self.woken_at) = (begun, begun);
                self.scenario.start(begun);
            }
            let stages = &self.orders.stages[..=number];
            let elapsed: Duration = stages.iter().map(|stage| stage.duration).sum();
            let end = self.part_began.saturating_add(clock::span(elapsed));
            while self.is_alive() && clock::now() < end && !self.is_stopped() {
                self.act();
                if let Some(wanted) = self.orders.stages[number].connections {
                    let over = (clock::now() - begun) as f64 / (end - begun).max(1) as f64;
                    self.populate(wanted.at(over));
                }
                self.turn(events, end)?;
            }
        }
        if self.is_alive() && !self.is_stopped() {
            // What was due in the last moment was not looked at yet.
            self.act();
        }
        self.tally.measure.end(self.open);
        Ok(())
    }

    /// Waits for what is due yet, within a bound.
    fn drain(&mut self, events: &mut Events) -> io::Result<()> {
        self.enter(Part::Draining);
        self.scenario.stop(self.part_began);
        let end = self.part_began + self.scenario.drain_wait();
        let heard = self.part_began + if self.hear_out() { HEAR_WAIT } else { 0 };
        while self.scenario.awaited() > 0 && clock::now() < end {
            self.turn(events, end)?;
        }
        while clock::now() < heard {
            self.turn(events, heard)?;
        }
        Ok(())
    }

    /// Reads on for clients that did not care to: what the server did to them meanwhile lies behind
    /// what it sent. Returns whether there are any.
    fn hear_out(&mut self) -> bool {
        let before = self.unfinished.len();
        for (client, member) in self.members.iter_mut().enumerate() {
            if let Some(member) = member.as_mut().filter(|member| member.paused) {
                member.paused = false;
                self.unfinished.push(client);
            }
        }
        self.unfinished.len() > before
    }

    /// Closes all connections, and lets the server end TCP first (RFC 6455 section 7.1.1): so
    /// TIME_WAIT is its own, and the next run finds its ports free.
    fn close(&mut self, events: &mut Events) -> io::Result<()> {
        self.enter(Part::Closing);
        for client in 0..self.members.len() {
            let outcome = self.say_close(client);
            self.settle(client, outcome);
        }
        let end = self.part_began + CLOSE_WAIT;
        while self.unanswered > 0 && clock::now() < end {
            self.turn(events, end)?;
        }
        let unanswered = self.unanswered as u64;
        self.tally.faults.count_many(Fault::CloseUnanswered, unanswered, || {
            format!("no Close within {} s", CLOSE_WAIT / 1_000_000_000)
        });
        let end = clock::now() + END_WAIT;
        while self.unanswered == 0 && self.leaving > 0 && clock::now() < end {
            self.turn(events, end)?;
        }
        Ok(())
    }

    /// Does what the scenario wants done by now.
    fn act(&mut self) {
        let mut now = clock::now();
        while let Some(action) = self.scenario.next(now) {
            match action {
                Action::Send(client) => {
                    let outcome = self.compose(client, now);
                    self.settle(client, outcome);
                }
                Action::Open(client) => self.start(client),
                Action::Close(client) => {
                    let outcome = self.say_close(client);
                    self.settle(client, outcome);
                }
                Action::Pause(client) => {
                    if let Some(member) = &mut self.members[client] {
                        member.paused = true;
                    }
                }
                Action::Sip(client) => {
                    let outcome = self.sip(client);
                    self.settle(client, outcome);
                }
            }
            now = clock::now();
        }
    }

    /// Opens or closes clients until as many are open as a stage wants now. Those that opened last
    /// are the first to go.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of connections that was checked before the run"
    )]
    fn populate(&mut self, wanted: f64) {
        let wanted = (wanted.round() as usize).min(self.members.len());
        while self.open + self.pending < wanted
            && self.pending < PENDING_MAX
            && self.unused < self.members.len()
        {
            self.joined.push(self.unused);
            self.start(self.unused);
            self.unused += 1;
        }
        while self.open > wanted {
            let Some(client) = self.joined.pop() else { return };
            let outcome = self.say_close(client);
            self.settle(client, outcome);
        }
    }

    /// One pass: wait, at most until `until`, then deal with each connection that is ready.
    fn turn(&mut self, events: &mut Events, until: Nanoseconds) -> io::Result<()> {
        let mut now = clock::now();
        if now >= self.tick_at {
            self.tick(now);
            now = clock::now();
        }
        let timeout = self.patience(now, until)?;
        // All that was done since the last poll: what came, what was due, and telling of it.
        self.tally.measure.turned(now.saturating_sub(self.woken_at));
        let polled = self.poll.poll(events, Some(Duration::from_nanos(timeout)));
        self.woken_at = clock::now();
        match polled {
            // A signal: whoever catches it sets `stop`, which the caller looks at.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let unfinished = std::mem::take(&mut self.unfinished);
        for readiness in events.iter().filter(|readiness| readiness.token() != TIMER) {
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

    /// How long the poll may wait, in nanoseconds. The timer sees to what is due before the whole
    /// millisecond that the poll can wait.
    fn patience(&mut self, now: Nanoseconds, until: Nanoseconds) -> io::Result<Nanoseconds> {
        if !self.unfinished.is_empty() {
            return Ok(0);
        }
        let due = match self.part {
            Part::Running => self.scenario.due(),
            _ => Nanoseconds::MAX,
        };
        let is_ramp = |stage: &Stage| stage.connections.is_some_and(|it| it.from != it.to);
        let ramps = self.part == Part::Running && is_ramp(&self.orders.stages[self.stage]);
        let until = until.min(self.tick_at).min(if ramps { now + RAMP } else { until });
        if due < until {
            if due <= now + WAKE_UP {
                return Ok(0);
            }
            self.timer.set(due)?;
        }
        Ok(until.saturating_sub(now))
    }
}

/// The run as a whole.
impl<S: Scenario> Fleet<'_, S> {
    fn enter(&mut self, part: Part) {
        self.part = part;
        self.part_began = clock::now();
        self.tick(self.part_began);
    }

    /// Tells how the run goes, and gives up what did not open in time.
    fn tick(&mut self, now: Nanoseconds) {
        self.tick_at = now + TICK;
        self.expire(now);
        let Interval { rate, p99 } = self.tally.measure.tick(now, self.open);
        (self.orders.observe)(&Live {
            part: self.part,
            stage: self.stage,
            elapsed: Duration::from_nanos(now - self.part_began),
            open: self.open + self.leaving,
            messages_per_second: rate,
            p99: Duration::from_nanos(p99),
            faults: self.tally.faults.total(),
        });
    }

    /// Whether there is a connection, or there may be one yet.
    const fn is_alive(&self) -> bool {
        self.open + self.pending > 0 || self.orders.initial == 0
    }

    fn is_stopped(&self) -> bool {
        self.orders.stop.load(Ordering::Relaxed)
    }

    /// Whether a whole burst failed and nothing ever opened: the rest would fare no better.
    fn is_hopeless(&self) -> bool {
        self.counts.opened == 0 && self.counts.failed >= PENDING_MAX
    }
}

/// The timer's token, which is no client's number.
const TIMER: Token = Token(usize::MAX);

/// What is due within this time, in nanoseconds, is worth no timer: setting one and waking up take
/// as long.
const WAKE_UP: Nanoseconds = 3_000;

/// Connections that are being opened at one time: as many as the accept backlog of most servers
/// holds (128 in Rust's standard library), beyond which the kernel drops and repeats after 1 s.
const PENDING_MAX: usize = 128;

/// How long a connection may take to open, handshake included, in nanoseconds; and how long the answers
/// to what is said before the start may take after that.
const OPEN_WAIT: Nanoseconds = 10_000_000_000;

/// How long clients that did not read are listened to, in nanoseconds.
const HEAR_WAIT: Nanoseconds = 500_000_000;

/// How long the server's Closes are waited for, in nanoseconds.
const CLOSE_WAIT: Nanoseconds = 5_000_000_000;

/// How long the server may then take to end TCP, in nanoseconds. Not a fault if it does not.
const END_WAIT: Nanoseconds = 1_000_000_000;

/// How often the number of connections follows its ramp, in nanoseconds.
const RAMP: Nanoseconds = 5_000_000;

/// How often the observer is told, in nanoseconds.
const TICK: Nanoseconds = 200_000_000;

/// The input buffer. Measured on fan-out: from 64 KB up a read takes what a blasting server sent in
/// one go, and each further read costs the server a window update.
const INPUT_BYTES: usize = 64 * 1024;

/// Events of one turn: about a millisecond of work, after which what is due is sent. With more ready
/// connections the next turn takes the rest, oldest first.
const EVENTS_MAX: usize = 256;

/// Bytes that may wait to be sent beyond what the scenario sends at most: Pongs, for a server that
/// sends Pings and does not read.
const CONTROL_BYTES_MAX: usize = 64 * 1024;
