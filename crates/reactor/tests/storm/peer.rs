//! One peer of a storm: a client of the engine, or a far server that the engine has connected to.
//!
//! What it says is made in `speech` and sent in pieces; what it gets is read strictly by `stream` and
//! held against the ledger in `hearing`. This file is its life: it connects, talks, stops reading,
//! goes, and looks back at how it ended.
//!
//! Invariant: a peer that has not said otherwise keeps to RFC 6455, so whatever the engine does to it
//! needs a reason that is in the ledger.

mod following;
mod hearing;
mod holding;
mod speech;

use std::time::Duration;

use tickwire_reactor::Ended;
use tickwire_reactor::io::sim::{self, Simulation};

pub(crate) use self::following::told;
use self::holding::Holding;
use crate::fault::Fault;
use crate::handler::Application;
use crate::ledger::{Book, Invariant, Stage};
use crate::manner::AtRequest;
use crate::random::Random;
use crate::stream::Stream;

/// How a peer behaves as a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Reads at once whatever comes, and answers what it is asked.
    Steady,
    /// Reads now and then, with a window that changes.
    Slow,
    /// As `Slow`, and it never answers a Ping or a Close.
    Mute,
}

/// What a client asks for when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    WebSocket { deflate: bool },
    WrongVersion,
    NoKey,
    Post,
    Nonsense,
    OtherPath,
}

/// Deadlines are met in ticks of 16 ms, not before the one behind them.
const GRAIN: Duration = Duration::from_millis(50);

/// How far a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A client that waits for its answer, or a far server that waits for the request.
    Asking,
    Open,
    /// It has an answer that is no WebSocket, with a body of so many bytes.
    Answered {
        body: usize,
    },
}

/// A peer.
pub(crate) struct Peer {
    /// Its session; a far server knows it when it has read the request.
    pub(crate) number: Option<usize>,
    pub(crate) socket: sim::Peer,
    /// It is a client.
    masks: bool,
    request: Request,
    pub(crate) temper: Temper,
    since: Duration,
    phase: Phase,
    stream: Stream,
    /// The rest of what it has begun to say; ends with a whole frame.
    rest: Vec<u8>,
    /// How many messages it has said.
    said: u64,
    /// Its Pings, and the last of them that was answered.
    pings: u64,
    pongs: u64,
    /// The last Ping of its handler.
    pinged: u64,
    holding: Holding,
    /// The code of the engine's Close.
    closed: Option<Option<u16>>,
    /// It has sent its Close, or broken a rule: it says nothing new.
    is_done: bool,
    /// It has ended its half of the stream.
    has_ended: bool,
    /// It has reset the connection.
    has_reset: bool,
    /// Time has passed in which the engine could not serve it.
    pub(crate) is_jolted: bool,
    /// The server was seen to end its half.
    has_seen_end: bool,
}

impl Peer {
    /// A client that connects.
    pub(crate) fn client(
        socket: sim::Peer,
        number: usize,
        request: Request,
        temper: Temper,
        now: Duration,
    ) -> Self {
        let mut peer = Self::new(socket, temper, true, now);
        peer.number = Some(number);
        peer.request = request;
        peer.rest = speech::request(request, number);
        peer
    }

    /// A far server that has been connected to.
    pub(crate) fn far(socket: sim::Peer, temper: Temper, now: Duration) -> Self {
        Self::new(socket, temper, false, now)
    }

    fn new(socket: sim::Peer, temper: Temper, masks: bool, since: Duration) -> Self {
        Self {
            number: None,
            socket,
            masks,
            request: Request::WebSocket { deflate: false },
            temper,
            since,
            phase: Phase::Asking,
            stream: Stream::new(!masks),
            rest: Vec::new(),
            said: 0,
            pings: 0,
            pongs: 0,
            pinged: 0,
            holding: Holding::default(),
            closed: None,
            is_done: false,
            has_ended: false,
            has_reset: false,
            is_jolted: false,
            has_seen_end: false,
        }
    }

    pub(crate) fn is_steady(&self) -> bool {
        self.temper == Temper::Steady
    }

    /// Whether it reads everything in time, so that nothing may be kept from it for want of that.
    fn is_attentive(&self) -> bool {
        self.is_steady() && !self.is_jolted
    }

    /// Whether it has gone without the word that is due (RFC 6455 section 7.1.5: 1006).
    fn has_left(&self) -> bool {
        self.has_ended || self.has_reset
    }

    /// Does something: says more of what was begun, or something new, or goes.
    pub(crate) fn act(
        &mut self,
        simulation: &mut Simulation<Application>,
        book: &Book,
        random: &mut Random,
    ) {
        if self.has_left() {
            return;
        }
        match random.below(240) {
            0 => return self.end(simulation, book),
            1 => return self.reset(simulation, book),
            _ => {}
        }
        if self.rest.is_empty() {
            self.say_something(book, random);
        }
        let mut count = self.rest.len();
        if count > 0 && random.one_in(3) {
            count = 1 + random.below(count);
        }
        self.say(simulation, book, count);
    }

    /// Says something new where that is possible.
    fn say_something(&mut self, book: &Book, random: &mut Random) {
        match (self.phase, self.number) {
            (Phase::Open, Some(number)) if !self.is_done => {
                self.speak(number, book, random);
            }
            _ => {}
        }
    }

    /// Sends so many bytes of what it has to say.
    fn say(&mut self, simulation: &mut Simulation<Application>, book: &Book, count: usize) {
        if count == 0 || self.has_left() {
            return;
        }
        simulation.send(self.socket, &self.rest[..count]);
        self.rest.drain(..count);
        if let Some(number) = self.number {
            book.borrow_mut().said(number, self.rest.is_empty());
        }
    }

    /// Says all that it has begun to say.
    pub(crate) fn say_the_rest(&mut self, simulation: &mut Simulation<Application>, book: &Book) {
        self.say(simulation, book, self.rest.len());
    }

    /// Ends its half of the stream.
    pub(crate) fn end(&mut self, simulation: &mut Simulation<Application>, book: &Book) {
        self.has_ended = true;
        self.may_be_lost(book);
        simulation.end(self.socket);
    }

    pub(crate) fn reset(&mut self, simulation: &mut Simulation<Application>, book: &Book) {
        self.has_reset = true;
        self.may_be_lost(book);
        simulation.reset(self.socket);
    }

    fn may_be_lost(&self, book: &Book) {
        if let Some(number) = self.number {
            book.borrow_mut().excuse(number, Ended::Lost);
        }
    }

    /// Begins the closing handshake, if it is not under way.
    pub(crate) fn leave(&mut self, simulation: &mut Simulation<Application>, book: &Book) {
        match (self.phase, self.number) {
            (Phase::Open, Some(number)) if !self.is_done && !self.has_left() => {
                self.close_with(number, Some(1000), book);
                self.say_the_rest(simulation, book);
            }
            (Phase::Open, Some(_)) => {}
            _ => self.end(simulation, book),
        }
    }

    /// A fault strikes what it is to get, or what it has said.
    pub(crate) fn suffer(
        &self,
        fault: Fault,
        bytes: &mut Vec<u8>,
        book: &Book,
        random: &mut Random,
    ) {
        let Some(number) = self.number.filter(|_| self.phase == Phase::Open) else { return };
        if !self.is_attentive() || self.has_left() || self.is_done {
            return;
        }
        if fault == Fault::LoseAsked && random.one_in(50) {
            book.borrow_mut().sessions[number].said.pop_front();
        }
        let is_plain = self.masks && self.stream.zlib.is_none() && self.stream.is_empty();
        fault.strike(bytes, is_plain, random);
    }

    /// Takes what has come, which is `bytes`, and answers what is to be answered.
    pub(crate) fn take(
        &mut self,
        simulation: &mut Simulation<Application>,
        book: &Book,
        random: &mut Random,
        bytes: &[u8],
    ) {
        self.stream.push(bytes);
        if let Some(number) = self.number.filter(|_| !bytes.is_empty()) {
            let mut book = book.borrow_mut();
            book.sessions[number].last_read = book.now;
        }
        if let Err(error) = self.read(simulation, book, random) {
            let number = self.number;
            book.borrow_mut().check(false, Invariant::Framing, || format!("{number:?}: {error}"));
        }
        let is_over = simulation.is_ended(self.socket) && !self.has_seen_end;
        if is_over {
            self.has_seen_end = !self.has_left();
            // Nobody waits for a peer that sees the end and stays, but until a deadline.
            if !self.has_left() && self.temper != Temper::Mute {
                self.has_ended = true;
                simulation.end(self.socket);
            }
        }
    }

    /// Looks back when the engine has given its socket up.
    pub(crate) fn check_end(&self, book: &Book) {
        let mut book = book.borrow_mut();
        let Some(number) = self.number else { return };
        let stage = book.sessions[number].stage;
        if self.masks {
            book.check(stage != Stage::Open, Invariant::Calls, || {
                format!("the socket of {number} is given back, and no handler was told")
            });
        }
        if self.has_left() && !self.has_seen_end {
            return;
        }
        let excused = book.may_end_without_close(number, self.is_attentive());
        let (temper, now, limits) = (self.temper, book.now, book.limits);
        match self.phase {
            Phase::Open => {
                let closed = self.closed.is_some();
                book.check(closed || excused, Invariant::Ending, || {
                    format!("{number}, {temper:?}, ends without a code")
                });
                let whole = self.stream.is_empty();
                book.check(whole || excused, Invariant::Framing, || {
                    format!("{number} ends in the midst of a frame: {:?}", self.stream.rest())
                });
            }
            Phase::Asking if self.masks => {
                let was_slow = !self.is_attentive() && now >= self.since + limits.close_timeout;
                let excused =
                    was_slow || book.shutdown_at.is_some() || book.evicted_since(self.since);
                book.check(excused, Invariant::Ending, || {
                    let (since, rest) = (self.since, self.stream.rest().escape_ascii());
                    format!("{number}, {temper:?} since {since:?}, has no answer: {rest}")
                });
            }
            Phase::Asking => {}
            Phase::Answered { body } => {
                let whole = self.stream.rest().len() == body
                    || !self.is_attentive()
                    || book.is_cut_short()
                    || book.evicted_since(self.since);
                book.check(whole, Invariant::Delivery, || {
                    format!("{number} is answered {} bytes of {body}", self.stream.rest().len())
                });
            }
        }
    }

    /// When nothing moves any more: nothing is missing that nobody has dropped.
    pub(crate) fn check_calm(&mut self, book: &Book) {
        let mut book = book.borrow_mut();
        let Some(number) = self.number else { return };
        let session = &book.sessions[number];
        let is_open = self.phase == Phase::Open && session.stage == Stage::Open;
        if !is_open || self.is_done || self.has_left() || self.closed.is_some() {
            return;
        }
        let is_doomed = session.is_doomed;
        let waiting = (session.on_the_way(), session.said.len());
        let (timer, now) = (session.timer, book.now);
        let life = book.limits.life_max.filter(|_| self.masks);
        let age = now - session.opened_at;
        let is_over = life.is_some_and(|life| age > life + GRAIN);
        book.check(!is_over, Invariant::Ending, || format!("{number} lives since {age:?}"));
        book.check(waiting == ((0, 0), 0), Invariant::Delivery, || {
            format!("{number} misses (own, direct), unheard: {waiting:?}")
        });
        book.check(!is_doomed, Invariant::Ending, || format!("{number} is too slow, and goes on"));
        book.check(self.stream.is_empty(), Invariant::Framing, || {
            format!("{number} has a part of a frame: {:?}", self.stream.rest())
        });
        book.check(self.pings == self.pongs, Invariant::Delivery, || {
            format!("{number}: the last Ping is always answered: {} of {}", self.pongs, self.pings)
        });
        let is_late = timer.is_some_and(|due| due + Duration::from_secs(1) < now);
        book.check(!is_late, Invariant::Calls, || format!("{number}: {timer:?} has not fired"));
        self.holding.check_calm(number, &mut book);
    }

    /// What it has got is known when it comes back, as another peer.
    pub(crate) fn remember(&self, book: &Book) {
        self.holding.remember(&mut book.borrow_mut());
    }

    /// Whether the handler's answer to the request is what `status` says.
    fn is_right_answer(&self, number: usize, status: u16, book: &Book) -> bool {
        let book = book.borrow();
        let asked_for = book.now - self.since;
        let is_late = asked_for >= book.limits.handshake_timeout;
        match (status, self.request, book.sessions[number].manner.request) {
            (503 | 429, ..) => true,
            (408, ..) => is_late,
            (404, Request::OtherPath, _) => true,
            (405, Request::Post, _) => true,
            (
                400,
                Request::NoKey | Request::Nonsense,
                AtRequest::Upgrade | AtRequest::BadHeader,
            ) => true,
            (400, Request::Nonsense, _) => true,
            (426, Request::WrongVersion, AtRequest::Upgrade | AtRequest::BadHeader) => true,
            (200, _, AtRequest::Page) => true,
            (500, _, AtRequest::Panic | AtRequest::BadHeader) => true,
            _ => false,
        }
    }
}
