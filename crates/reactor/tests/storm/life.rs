//! One life of a server: it starts, storms pass over it, it ends, and nothing is left.
//!
//! A step is a few acts of peers, publishers and other threads, then some turns of the shards in an
//! order of its own, then those who read do so. Now and then everything calms down and is held
//! against what was promised. `checks` is what is looked at, `publishing` what is done to topics,
//! `setting` with what limits a life is lived.

mod checks;
mod publishing;
mod setting;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind, Role};
use tickwire_reactor::io::sim::Simulation;
use tickwire_reactor::{Counters, Publisher, Topic};

use crate::fault::Fault;
use crate::handler::{Application, FAR, Ticket};
use crate::ledger::{Book, Ledger, Violation};
use crate::manner::Manner;
use crate::note::Note;
use crate::peer::{Peer, Request, Temper};
use crate::random::Random;
use crate::storm::{Outcome, hashed};
use crate::topics::{LASTING, find};

/// A server, and all who have to do with it.
pub(crate) struct Life {
    random: Random,
    simulation: Simulation<Application>,
    publisher: Publisher,
    book: Book,
    peers: Vec<Peer>,
    /// Rooms that somebody has, by their records.
    rooms: Vec<(usize, Topic)>,
    shards: usize,
    /// Peers that it has at most, but for storms of connections.
    peers_max: usize,
    fault: Option<Fault>,
    steps: u64,
    hash: u64,
    /// Clients that have connected, and connections that one shard has given to another.
    connected: usize,
    handed_over: u64,
    /// As they were when they were last looked at.
    counters: Counters,
}

/// Letters that other threads number.
const DIRECT_BYTES_MAX: usize = 6_000;

/// Rooms that others than shards have at a time.
const ROOMS_HELD: usize = 4;

impl Life {
    pub(crate) fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut random = Random::new(seed);
        let mut config = setting::config(&mut random, fault);
        let handlers = Random::new(random.next());
        let book = Rc::new(RefCell::new(Ledger::new(config.limits, config.shards, handlers)));
        setting::spoil(&mut config, fault);
        let make =
            |shard: tickwire_reactor::ShardStart| Application::new(&shard, book.clone(), fault);
        let simulation = Simulation::with_config(random.next(), &config, make);
        let publisher = simulation.publisher();
        for name in 0..LASTING {
            find(&book, &publisher, name);
        }
        Self {
            peers_max: random.pick(&[4, 12, 40]),
            random,
            simulation,
            publisher,
            book,
            peers: Vec::new(),
            rooms: Vec::new(),
            shards: config.shards,
            fault,
            steps: 0,
            hash: seed,
            connected: 0,
            handed_over: 0,
            counters: Counters::default(),
        }
    }

    /// Lives until so many events have happened, and then ends.
    pub(crate) fn run(mut self, events: u64) -> Result<Outcome, Violation> {
        let calm_every = self.random.pick(&[50, 300, 1_500]);
        while self.simulation.events() < events {
            self.step();
            if self.steps.is_multiple_of(64) {
                self.check_running();
            }
            if self.random.one_in(calm_every) {
                self.calm_down();
            }
            self.verdict()?;
        }
        match self.random.below(4) {
            0 | 1 => self.shut_down(),
            2 => self.all_go(false),
            _ => self.all_go(true),
        }
        self.check_nothing_is_left();
        self.verdict()?;
        let counters = self.simulation.counters();
        Ok(Outcome { events: self.simulation.events(), lives: 1, hash: self.hash, counters })
    }

    fn verdict(&self) -> Result<(), Violation> {
        self.book.borrow().verdict()
    }

    fn step(&mut self) {
        self.steps += 1;
        for _ in 0..=self.random.below(5) {
            self.act();
        }
        let ms = self.random.pick(&[0, 0, 1, 5, 20]);
        self.advance(Duration::from_millis(ms));
        for _ in 0..self.random.pick(&[0, 1, 1, 2]) {
            self.turn();
        }
        self.answer_calls();
        self.read(false);
    }

    fn act(&mut self) {
        match self.random.below(400) {
            0..=9 if self.peers.len() < self.peers_max => self.connect(),
            10..=49 => self.publish(),
            50..=64 => self.send_directly(),
            65 => self.close_somebody(),
            66..=85 => self.change_window(),
            86 if self.random.one_in(8) => self.storm_of_connections(),
            87 if self.random.one_in(8) => self.stall(),
            88 if self.random.one_in(4) => self.wait_politely(),
            89 if self.random.one_in(4) => self.close_lagging(),
            90 => self.retain(),
            91..=92 => self.keep(),
            93..=94 => self.forget(),
            95..=97 => self.let_go(),
            98..=101 => self.publish_hastily(),
            106 => self.set_delivery(),
            107 => self.set_policy(),
            102..=105 => self.publish_to_all_but_one(),
            _ if self.peers.is_empty() => self.connect(),
            _ => {
                let index = self.random.below(self.peers.len());
                self.peers[index].act(&mut self.simulation, &self.book, &mut self.random);
            }
        }
    }

    fn connect(&mut self) {
        let address = [127, 0, 0, self.random.pick(&[1, 1, 2, 3])];
        let manner = Manner::of(&mut self.random, false);
        let request = match self.random.below(30) {
            0 => Request::WrongVersion,
            1 => Request::NoKey,
            2 => Request::Post,
            3 => Request::Nonsense,
            4 => Request::OtherPath,
            _ => Request::WebSocket { deflate: self.random.one_in(3) },
        };
        let number = self.book.borrow_mut().begin(Role::Server, manner);
        let socket = self.simulation.connect_from((address, 1).into());
        self.connected += 1;
        self.book.borrow_mut().at_the_door += 1;
        let temper = self.temper();
        if temper == Temper::Steady {
            self.simulation.set_window(socket, usize::MAX);
        }
        let now = self.book.borrow().now;
        self.peers.push(Peer::client(socket, number, request, temper, now));
    }

    fn temper(&mut self) -> Temper {
        match self.random.below(10) {
            0 => Temper::Mute,
            1..=3 => Temper::Slow,
            _ => Temper::Steady,
        }
    }

    /// Many connect at once; half of them are gone before anybody looks at them.
    fn storm_of_connections(&mut self) {
        for _ in 0..20 + self.random.below(40) {
            self.connect();
            let is_gone = self.random.one_in(2);
            if let Some(peer) = self.peers.last_mut().filter(|_| is_gone) {
                peer.reset(&mut self.simulation, &self.book);
            }
        }
    }

    fn send_directly(&mut self) {
        let number = self.random.next() % 1_000_000;
        let note = Note::new(b'D', number, 0, self.random.length(DIRECT_BYTES_MAX));
        let mut book = self.book.borrow_mut();
        let Some((session, id)) = book.somebody(number) else { return };
        if !book.post(id.shard()) {
            return;
        }
        book.send_directly(session, note, Kind::Binary);
        drop(book);
        self.publisher.send(id, Kind::Binary, &note.payload());
    }

    fn close_somebody(&mut self) {
        let mut book = self.book.borrow_mut();
        let Some((session, id)) = book.somebody(self.random.next()) else { return };
        if book.post(id.shard()) {
            book.excuse_code(session, 4_900);
            drop(book);
            self.publisher.close(id, CloseCode(4_900), "by another thread");
        }
    }

    fn close_lagging(&mut self) {
        if self.book.borrow().has_room_everywhere() {
            self.book.borrow_mut().letters.iter_mut().for_each(|letters| *letters += 1);
            self.publisher.close_lagging(self.random.below(40) as u64);
        }
    }

    fn change_window(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let index = self.random.below(self.peers.len());
        let peer = &self.peers[index];
        if !peer.is_steady() {
            let window = self.random.pick(&[0, 0, 1, 10, 500, 5_000, 100_000]);
            self.simulation.set_window(peer.socket, window);
        }
    }

    fn advance(&mut self, duration: Duration) {
        self.simulation.advance(duration);
        self.book.borrow_mut().now += duration;
    }

    /// The loop stands still, as where the machine is suspended: time passes for all at once.
    fn stall(&mut self) {
        let stall = Duration::from_millis(self.random.pick(&[1_000, 6_000, 41_000, 100_000]));
        self.advance(stall);
        for session in &mut self.book.borrow_mut().sessions {
            session.stall += stall;
        }
        self.peers.iter_mut().for_each(|peer| peer.is_jolted = true);
    }

    /// Time passes when those who read have read and answered, so that none of them is to blame.
    fn wait_politely(&mut self) {
        self.settle(false);
        let ms = self.random.pick(&[100, 1_000, 4_000, 15_000]);
        self.advance(Duration::from_millis(ms));
    }

    /// The shards take a turn each, or one of them two, in an order of the seed.
    fn turn(&mut self) {
        for _ in 0..self.shards {
            let shard = self.random.below(self.shards);
            let before = self.book.borrow().letters[shard];
            self.simulation.turn_of(shard);
            self.count_newcomers();
            let mut book = self.book.borrow_mut();
            let taken = before.min(book.limits.letters_per_turn_max);
            book.letters[shard] -= taken;
        }
    }

    /// Who comes in may have done so through the mailbox of any shard.
    fn count_newcomers(&mut self) {
        let counters = self.simulation.counters();
        let mut book = self.book.borrow_mut();
        let handed_over = small(counters.handed_over - self.handed_over);
        self.handed_over = counters.handed_over;
        book.letters.iter_mut().for_each(|letters| *letters += handed_over);
        book.at_the_door = self.connected - small(counters.accepted);
        if counters.evicted > book.evicted {
            book.evicted = counters.evicted;
            book.evicted_at = book.now;
        }
    }

    /// The engine has called far servers: they take the call or do not, or let it ring.
    fn answer_calls(&mut self) {
        while let Some((socket, address)) = self.simulation.dialed() {
            if address.port() == FAR[1] {
                self.simulation.refuse(socket);
            } else if address.port() == FAR[0] && !self.random.one_in(8) {
                self.simulation.accept(socket);
                let temper = self.temper();
                if temper == Temper::Steady {
                    self.simulation.set_window(socket, usize::MAX);
                }
                let now = self.book.borrow().now;
                self.peers.push(Peer::far(socket, temper, now));
            }
        }
    }

    /// Those who read do so, with `all` everybody; whether anything came. Who has gone is forgotten.
    fn read(&mut self, all: bool) -> bool {
        let mut came = false;
        let mut index = 0;
        while index < self.peers.len() {
            let peer = &mut self.peers[index];
            let is_closed = self.simulation.is_closed(peer.socket);
            if all || is_closed || peer.is_steady() || self.random.one_in(6) {
                let mut bytes = self.simulation.receive(peer.socket);
                came |= !bytes.is_empty();
                if let Some(fault) = self.fault {
                    peer.suffer(fault, &mut bytes, &self.book, &mut self.random);
                }
                if !bytes.is_empty() || is_closed || self.simulation.is_ended(peer.socket) {
                    self.hash = hashed(self.hash, &bytes);
                    peer.take(&mut self.simulation, &self.book, &mut self.random, &bytes);
                }
            }
            if is_closed {
                self.peers[index].check_end(&self.book);
                self.peers[index].remember(&self.book);
                self.peers.swap_remove(index);
            } else {
                index += 1;
            }
        }
        came
    }

    /// Lets happen what can without time passing, while those who read do so; with `all` everybody.
    fn settle(&mut self, all: bool) {
        loop {
            for peer in self.peers.iter_mut().filter(|peer| all || peer.is_steady()) {
                if all {
                    self.simulation.set_window(peer.socket, usize::MAX);
                }
                peer.say_the_rest(&mut self.simulation, &self.book);
            }
            self.simulation.settle();
            self.count_newcomers();
            self.book.borrow_mut().letters.fill(0);
            self.answer_calls();
            if !self.read(all) && !self.read(all) {
                break;
            }
        }
    }

    /// Everybody says what was begun and reads all there is, and misses nothing that was promised.
    fn calm_down(&mut self) {
        self.settle(true);
        for peer in &mut self.peers {
            peer.check_calm(&self.book);
        }
        self.check_calm();
        for peer in self.peers.iter().filter(|peer| !peer.is_steady()) {
            self.simulation.set_window(peer.socket, 64 * 1024);
        }
    }

    /// Everybody goes, with `rudely` without a word, and those who come late do, too.
    fn all_go(&mut self, rudely: bool) {
        for round in 0..200 {
            for peer in &mut self.peers {
                if rudely || round > 20 {
                    peer.reset(&mut self.simulation, &self.book);
                } else {
                    peer.leave(&mut self.simulation, &self.book);
                }
            }
            self.settle(true);
            self.advance(Duration::from_secs(2));
            let is_over = self.peers.is_empty() && self.is_idle();
            if is_over {
                return;
            }
        }
    }

    fn is_idle(&self) -> bool {
        let held = self.simulation.held();
        held.connections == 0 && held.deadlines == 0 && held.wishes == 0
    }

    /// The server shuts down while the storm goes on.
    fn shut_down(&mut self) {
        while !self.book.borrow().has_room_everywhere() {
            self.turn();
        }
        let spread = Duration::from_secs(self.random.pick(&[0, 0, 3]));
        let is_now = self.random.one_in(4);
        let mut book = self.book.borrow_mut();
        let patience = spread + book.limits.shutdown_timeout;
        book.shutdown_at = Some(book.now);
        book.shutdown_patience = if is_now { Duration::ZERO } else { patience };
        book.letters.iter_mut().for_each(|letters| *letters += 1);
        drop(book);
        if is_now {
            self.simulation.shutdown_now();
        } else {
            self.simulation.shutdown_over(spread);
        }
        for _ in 0..40 {
            self.step();
        }
        for _ in 0..patience.as_secs() + 2 {
            self.settle(false);
            self.advance(Duration::from_secs(1));
        }
        self.settle(true);
    }
}

/// A count of a shard as a length.
fn small(count: u64) -> usize {
    usize::try_from(count).expect("it fits into memory")
}

/// What keeps a state alive for ever, where that is the fault.
pub(super) fn keep_state(book: &Book) {
    book.borrow_mut().tally.states += 1;
    std::mem::forget(Ticket { book: book.clone(), number: 0 });
}
