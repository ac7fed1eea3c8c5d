//! The application of a storm: it does what peers ask it for, and some of what no application should
//! do, and writes all of it in the ledger.
//!
//! A peer asks by the lane of a note: for an echo, a subscription, a burst, a panic, the end of
//! another connection. What a session does unasked is its manner. What is done to others from here
//! goes through their mailboxes in the midst of a turn, as if other threads did it.
//!
//! Invariant: the ledger is never borrowed while the engine is called, which may call back.

mod lagging;
mod subscribing;
mod valuing;

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::Duration;

use tickwire_protocol::{Accepted, CloseCode, Kind, Message, Role};
use tickwire_reactor::{
    Answer, Connection, Connector, Destination, Ended, Handler, Lag, Lagged, Merged, PatternError,
    Publisher, Request, Response, ShardStart, Topic, Unconnected,
};

use crate::fault::Fault;
use crate::ledger::{Book, Invariant, Stage};
use crate::manner::{AtClose, AtOpen, AtRequest, AtShutdown, Manner};
use crate::note::Note;
use crate::topics::{NAMES, find};

/// One shard's share of the application.
pub(crate) struct Application {
    book: Book,
    publisher: Publisher,
    /// What it does wrong, planted to see that it is found.
    fault: Option<Fault>,
}

/// What it keeps of a connection: which session it is. It is counted from making it to dropping it.
pub(crate) struct Ticket {
    pub(crate) book: Book,
    pub(crate) number: usize,
}

impl Ticket {
    fn new(book: &Book, number: usize) -> Self {
        book.borrow_mut().tally.states += 1;
        Self { book: book.clone(), number }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut book = self.book.borrow_mut();
        book.tally.states -= 1;
        let panics = book.sessions[self.number].manner.close == AtClose::PanicLater;
        // Nobody catches it where a run is ended early.
        if panics && book.verdict().is_ok() && !std::thread::panicking() {
            book.tally.panics += 1;
            drop(book);
            panic_quietly();
        }
    }
}

/// A panic without the message that the panic hook would print for it.
fn panic_quietly() -> ! {
    resume_unwind(Box::new("asked for"))
}

/// Where far servers are: one that answers, one that refuses, one that says nothing.
pub(crate) const FAR: [u16; 3] = [1, 2, 3];

/// The most that one callback or letter sends to a connection.
pub(crate) const BURST_BYTES_MAX: usize = 20 * 1024;

/// The bytes of a page, and of the head before it.
pub(crate) const PAGE_BYTES: usize = 30_000;

impl Application {
    pub(crate) fn new(shard: &ShardStart, book: Book, fault: Option<Fault>) -> Self {
        Self { book, publisher: shard.publisher.clone(), fault }
    }

    /// Sends a message to the connection, and writes it down.
    fn say(&mut self, connection: &mut Connection<'_, Ticket>, note: Note, kind: Kind) {
        let number = connection.state.number;
        self.book.borrow_mut().send(number, note, kind);
        if self.fault == Some(Fault::ForgetSent) && note.number > 20 {
            self.fault = None;
            return;
        }
        connection.send(kind, &note.payload());
    }

    /// Does what a note asks for.
    fn obey(&mut self, connection: &mut Connection<'_, Ticket>, note: Note, kind: Kind) {
        let number = connection.state.number;
        let small = |lane, about| Note::new(lane, note.number, about, 0);
        match note.lane {
            b'e' => self.say(connection, note, kind),
            b'g' => {
                let many = 1 + note.number % 40;
                let bytes = BURST_BYTES_MAX / 40 - 20;
                for index in 0..many {
                    self.say(connection, Note::new(b'g', index, note.number, bytes), Kind::Text);
                }
            }
            b's' => self.subscribe(connection, note),
            b'z' => self.set_rate(connection, note),
            b'y' => self.set_policy(connection, note.about),
            b'u' => self.unsubscribe(connection, note.about),
            b'q' => self.watch(connection, note),
            b'v' => self.unwatch(connection, note.about),
            b'a' => self.resume(connection, note),
            b'p' | b'o' => self.publish(connection, number, note),
            b'c' => {
                let code = 4_000 + u16::try_from(note.about % 1_000).expect("small");
                self.book.borrow_mut().excuse_code(number, code);
                connection.close(CloseCode(code), "as asked");
            }
            b'!' => {
                self.panics(number);
                panic_quietly()
            }
            b't' => {
                let after = Duration::from_millis(note.about);
                let mut book = self.book.borrow_mut();
                let due = book.now + after;
                book.sessions[number].timer = Some(due);
                drop(book);
                connection.set_timer(after);
            }
            b'x' => {
                self.book.borrow_mut().sessions[number].timer = None;
                connection.clear_timer();
            }
            b'i' => self.ping(connection),
            b'w' | b'k' => self.reach_another(note),
            b'd' => {
                let (target, destination) = self.wish(note.about);
                let asked = connection.connect(destination, target);
                self.check_asked(asked.is_ok());
            }
            _ => {
                self.book.borrow_mut().check(false, Invariant::Delivery, || format!("{note:?}"));
                self.say(connection, small(b'?', 0), Kind::Text);
            }
        }
    }

    /// Few enough connections are wanted that none is given back.
    fn check_asked(&self, is_wanted: bool) {
        let detail = || "more connections are wanted than may wait".to_owned();
        self.book.borrow_mut().check(is_wanted, Invariant::Budget, detail);
    }

    /// The topic that a note is about, and its record.
    fn topic(&self, about: u64) -> (usize, Topic) {
        let name = usize::try_from(about).expect("small") % NAMES.len();
        find(&self.book, &self.publisher, name)
    }

    fn publish(&self, connection: &Connection<'_, Ticket>, number: usize, note: Note) {
        let (record, topic) = self.topic(note.about);
        let to_others = note.lane == b'o';
        let except = to_others.then_some(number);
        let tag = self.book.borrow_mut().publication(record, note.bytes, except);
        let payload = self.book.borrow().publications[tag].note.payload();
        let drops = !to_others && note.number % 2 == 1;
        let published = if to_others {
            connection.publish_to_others(&topic, Kind::Text, &payload).ok()
        } else if drops {
            connection.publish_or_drop(&topic, Kind::Text, &payload)
        } else {
            connection.publish(&topic, Kind::Text, &payload).ok()
        };
        let mut book = self.book.borrow_mut();
        match published {
            Some(seq) => book.published(tag, seq),
            None => book.turned_down(drops),
        }
    }

    fn ping(&self, connection: &mut Connection<'_, Ticket>) {
        let number = connection.state.number;
        let mut book = self.book.borrow_mut();
        book.sessions[number].pings += 1;
        let payload = book.sessions[number].pings.to_string();
        drop(book);
        connection.ping(payload.as_bytes());
    }

    /// Sends to another connection, or closes it, as any thread may.
    fn reach_another(&self, note: Note) {
        let mut book = self.book.borrow_mut();
        let Some((number, id)) = book.somebody(note.number) else { return };
        if !book.post(id.shard()) {
            return;
        }
        if note.lane == b'w' {
            let direct = Note::new(b'D', note.number, 0, note.bytes);
            book.send_directly(number, direct, Kind::Text);
            drop(book);
            self.publisher.send(id, Kind::Text, &direct.payload());
        } else {
            book.excuse_code(number, 4_901);
            drop(book);
            self.publisher.close(id, CloseCode(4_901), "by another");
        }
    }

    /// A session to a far server, and where that is.
    fn wish(&self, about: u64) -> (Ticket, Destination) {
        let mut book = self.book.borrow_mut();
        let manner = Manner::of(&mut book.random, true);
        let number = book.begin(Role::Client, manner);
        drop(book);
        let address = |index: u64| {
            let port = FAR[usize::try_from(index % 3).expect("small")];
            SocketAddr::from(([192, 0, 2, 1], port))
        };
        let mut destination = Destination::new(address(about), format!("/far?{number}"));
        match about / 3 % 4 {
            0 => destination.addresses.push(address(0)),
            1 => destination.addresses.clear(),
            _ => {}
        }
        (Ticket::new(&self.book, number), destination)
    }

    /// This call will cost the connection Close 1011.
    fn panics(&self, number: usize) {
        let mut book = self.book.borrow_mut();
        book.tally.panics += 1;
        book.excuse_code(number, 1011);
    }
}

impl Handler for Application {
    type State = Ticket;

    fn request(&mut self, request: &Request<'_>) -> Answer<Ticket> {
        let number = request.query().and_then(|query| query.parse::<usize>().ok());
        let Some(number) = number else { return Answer::Http(Response::not_found()) };
        let manner = self.book.borrow().sessions[number].manner;
        match manner.request {
            AtRequest::Page => {
                let mut page = Response::text(200, "");
                page.body = vec![b'.'; PAGE_BYTES].into();
                Answer::Http(page)
            }
            AtRequest::Panic => {
                self.book.borrow_mut().tally.panics += 1;
                panic_quietly()
            }
            AtRequest::BadHeader => Answer::upgrade(Ticket::new(&self.book, number))
                .with_header("X", "ends\r\nits line"),
            AtRequest::Upgrade => Answer::upgrade(Ticket::new(&self.book, number)),
        }
    }

    fn open(&mut self, connection: &mut Connection<'_, Ticket>) {
        let (number, role) = (connection.state.number, connection.role());
        self.book.borrow_mut().opened(number, connection.id(), role);
        let manner = self.book.borrow().sessions[number].manner;
        match manner.open {
            AtOpen::Nothing => {}
            AtOpen::Greet => self.say(connection, Note::new(b'h', 0, 0, 300), Kind::Binary),
            // Of no effect on a connection of ours, as its documentation says.
            AtOpen::Subscribe if role == Role::Server => {
                self.subscribe(connection, Note::new(b's', 0, 1, 0));
            }
            AtOpen::Close => {
                self.book.borrow_mut().excuse_code(number, 4_902);
                connection.close(CloseCode(4_902), "not you");
            }
            AtOpen::Panic => {
                self.panics(number);
                panic_quietly()
            }
            AtOpen::Timer | AtOpen::Subscribe => {
                self.obey(connection, Note::new(b't', 0, 1_500, 0), Kind::Text);
            }
        }
    }

    fn connected(&mut self, connection: &mut Connection<'_, Ticket>, _accepted: &Accepted) {
        self.open(connection);
    }

    fn connect_failed(
        &mut self,
        connector: &mut Connector<'_, Ticket>,
        unconnected: Unconnected<Ticket>,
    ) {
        let mut book = self.book.borrow_mut();
        let number = unconnected.state.number;
        let stage = book.sessions[number].stage;
        book.tally.unconnected += 1;
        book.check(stage == Stage::Asked, Invariant::Calls, || {
            format!("{number} is unconnected, and is {stage:?}")
        });
        book.sessions[number].stage = Stage::Failed;
        let again = book.shutdown_at.is_none() && book.random.one_in(3);
        let delay = Duration::from_millis(book.random.below(3_000) as u64);
        if again {
            let manner = book.sessions[number].manner;
            let number = book.begin(Role::Client, manner);
            drop(book);
            let Unconnected { mut destination, mut state, .. } = unconnected;
            state.number = number;
            destination.target = format!("/far?{number}");
            let asked = connector.connect_after(delay, destination, state);
            self.check_asked(asked.is_ok());
        }
    }

    fn message(&mut self, connection: &mut Connection<'_, Ticket>, message: Message<'_>) {
        let number = connection.state.number;
        let Some(note) = Note::read(message.payload) else {
            let text = message.payload.escape_ascii().to_string();
            let mut book = self.book.borrow_mut();
            book.tally.heard += 1;
            return book.check(false, Invariant::Delivery, || text);
        };
        self.book.borrow_mut().heard(number, note, message.kind);
        self.obey(connection, note, message.kind);
    }

    fn timer(&mut self, connection: &mut Connection<'_, Ticket>) {
        let number = connection.state.number;
        let mut book = self.book.borrow_mut();
        book.expect_open(number, "a timer");
        let (due, now) = (book.sessions[number].timer.take(), book.now);
        book.check(due.is_some_and(|due| due <= now), Invariant::Calls, || {
            format!("the timer of {number} fires, and is due at {due:?}")
        });
        drop(book);
        self.say(connection, Note::new(b't', 0, 0, 0), Kind::Text);
    }

    fn merged(&mut self, merged: &Merged<'_>, out: &mut Vec<u8>) -> Option<Kind> {
        self.tell(merged, out)
    }

    fn lagged(&mut self, connection: &mut Connection<'_, Ticket>, lag: &Lag<'_>) -> Option<Lagged> {
        self.overrun(connection, lag)
    }

    fn shutdown(&mut self, connection: &mut Connection<'_, Ticket>) {
        let number = connection.state.number;
        self.book.borrow_mut().expect_open(number, "the shutdown");
        let manner = self.book.borrow().sessions[number].manner;
        match manner.shutdown {
            AtShutdown::Nothing => {}
            AtShutdown::Goodbye => {
                self.say(connection, Note::new(b'b', 0, 0, 0), Kind::Text);
            }
            AtShutdown::OtherCode => {
                self.book.borrow_mut().excuse_code(number, 4_904);
                connection.close(CloseCode(4_904), "over");
            }
            AtShutdown::Panic => {
                self.panics(number);
                panic_quietly()
            }
        }
    }

    fn close(&mut self, connection: &mut Connection<'_, Ticket>, ended: Ended) {
        let number = connection.state.number;
        self.book.borrow_mut().over(number, ended);
        let manner = self.book.borrow().sessions[number].manner;
        match manner.close {
            AtClose::Nothing | AtClose::PanicLater => {}
            AtClose::Undead => {
                let (record, topic) = self.topic(0);
                let epoch = topic.epoch();
                connection.send_text("boo");
                connection.ping(b"boo");
                connection.subscribe(&topic);
                connection.resume(&topic, epoch, 0);
                let watched = connection.subscribe_pattern("*");
                let is_refused = matches!(watched, Err(PatternError::NoSubscriber));
                self.book.borrow_mut().check(is_refused, Invariant::Calls, || {
                    format!("{number}, which is over, watches {watched:?} and {record}")
                });
                connection.set_timer(Duration::from_millis(1));
                connection.close(CloseCode::NORMAL, "boo");
            }
            AtClose::Panic => {
                self.book.borrow_mut().tally.panics += 1;
                panic_quietly()
            }
        }
    }
}
