//! The handler that all cases talk to: a peer chooses by the path, and on `/script` by words, what
//! it does. What no peer can see, it writes in a [`Journal`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tickwire_protocol::{CloseCode, Message, Request};
use tickwire_reactor::{
    Answer, ConnectionId, Context, Ended, Handler, Lagged, Limits, Publisher, Response, ShardStart,
};

/// One shard's share of the application.
pub(crate) struct Application {
    publisher: Publisher,
    journal: Journal,
}

/// What the application keeps of a connection: what its path asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each message goes back as it came.
    Echo,
    /// Each message is words that say what to do.
    Script,
    /// The same, and lost publications are skipped.
    Skip,
    /// It is closed when the first Ping of the engine is due.
    CloseByTimer,
    /// A panic in the callback of this name.
    Panic(&'static str),
    /// After the end it tries everything that it must not.
    Undead,
}

/// Something that happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Opened(ConnectionId),
    Message(ConnectionId),
    Timer(ConnectionId),
    Lagged(ConnectionId),
    Closed(ConnectionId, Ended),
}

impl Entry {
    /// Whose it is.
    pub(crate) const fn id(&self) -> ConnectionId {
        match self {
            Self::Opened(id)
            | Self::Message(id)
            | Self::Timer(id)
            | Self::Lagged(id)
            | Self::Closed(id, _) => *id,
        }
    }
}

/// What happened, in the order of each shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// In the order of opening.
    pub(crate) fn opened(&self) -> Vec<ConnectionId> {
        let opened = |entry| if let Entry::Opened(id) = entry { Some(id) } else { None };
        self.entries().into_iter().filter_map(opened).collect()
    }

    pub(crate) fn closed(&self) -> Vec<Ended> {
        let closed = |entry| if let Entry::Closed(_, ended) = entry { Some(ended) } else { None };
        self.entries().into_iter().filter_map(closed).collect()
    }

    pub(crate) fn closed_ids(&self) -> Vec<ConnectionId> {
        let closed = |entry| if let Entry::Closed(id, _) = entry { Some(id) } else { None };
        self.entries().into_iter().filter_map(closed).collect()
    }

    fn write(&self, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

impl Application {
    pub(crate) fn new(shard: &ShardStart, journal: Journal) -> Self {
        Self { publisher: shard.publisher.clone(), journal }
    }

    /// Does what the words of a message say.
    fn obey(&self, connection: &mut Context<'_, Mode>, text: &str) {
        let mut words = text.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        let number = |word: &str| word.parse::<u64>().expect("a number");
        match (word(), word(), word()) {
            ("close", code, reason) => {
                let code = u16::try_from(number(code)).expect("16 bits");
                connection.close(CloseCode(code), reason);
            }
            ("ping", payload, _) => connection.ping(payload.as_bytes()),
            ("panic", ..) => panic!("asked for"),
            ("timer", ms, _) => connection.set_timer(Duration::from_millis(number(ms))),
            ("no-timer", ..) => connection.clear_timer(),
            ("send", count, bytes) => {
                for index in 0..number(count) {
                    connection.send_text(&numbered(index, number(bytes)));
                }
            }
            ("subscribe", topic, _) => {
                let topic = self.publisher.topic(topic);
                let retained = connection.subscribe(&topic);
                connection.send_text(&format!("subscribed after {}", retained.seq));
                if let Some(frame) = &retained.frame {
                    connection.send_frame(frame);
                }
            }
            ("unsubscribe", topic, _) => {
                let held = connection.unsubscribe(&self.publisher.topic(topic));
                connection.send_text(&format!("unsubscribed {held}"));
            }
            ("publish", topic, payload) => {
                let topic = self.publisher.topic(topic);
                let published =
                    connection.publish(&topic, tickwire_protocol::Kind::Text, payload.as_bytes());
                connection.send_text(&format!("published {published:?}"));
            }
            ("tell-others", topic, payload) => {
                let topic = self.publisher.topic(topic);
                let kind = tickwire_protocol::Kind::Text;
                let told = connection.publish_to_others(&topic, kind, payload.as_bytes());
                connection.send_text(&format!("told {told:?}"));
            }
            (echo, ..) => connection.send_text(echo),
        }
    }
}

/// A text of `bytes` bytes, or as many as it takes, that begins with a number.
pub(crate) fn numbered(number: u64, bytes: u64) -> String {
    let mut text = format!("{number} ");
    let padding = usize::try_from(bytes).expect("a length").saturating_sub(text.len());
    text.push_str(&".".repeat(padding));
    text
}

impl Handler for Application {
    type State = Mode;

    fn request(&mut self, request: &Request<'_>, _peer: SocketAddr) -> Answer<Mode> {
        let state = match request.path() {
            "/echo" => Mode::Echo,
            "/script" => Mode::Script,
            "/skip" => Mode::Skip,
            "/undead" => Mode::Undead,
            "/close-by-timer" => Mode::CloseByTimer,
            "/panic/open" => Mode::Panic("open"),
            "/panic/message" => Mode::Panic("message"),
            "/panic/timer" => Mode::Panic("timer"),
            "/panic/lagged" => Mode::Panic("lagged"),
            "/panic/shutdown" => Mode::Panic("shutdown"),
            "/panic/close" => Mode::Panic("close"),
            "/panic/request" => panic!("asked for"),
            "/page" => return Answer::Http(Response::text(200, "a page")),
            "/page-of-100-kilobytes" => {
                return Answer::Http(Response::text(200, numbered(0, 100_000)));
            }
            "/long-page" => return Answer::Http(Response::text(200, numbered(0, 4_000_000))),
            "/header-that-ends-its-line" => {
                let page = Response::text(200, "a page");
                return Answer::Http(page.with_header("X-Line", "one\r\nX-Two: two".to_owned()));
            }
            "/with-cookie" => {
                return Answer::upgrade(Mode::Echo).with_header("Set-Cookie", "a=1".into());
            }
            "/upgrade-header-that-ends-its-line" => {
                return Answer::upgrade(Mode::Echo)
                    .with_header("X-Line", "one\r\nX-Two: two".into());
            }
            "/handshake-header" => {
                return Answer::upgrade(Mode::Echo).with_header("sec-websocket-accept", "x".into());
            }
            "/protocol-not-offered" => {
                return Answer::upgrade(Mode::Echo).with_protocol("chess");
            }
            _ => return Answer::Http(Response::not_found()),
        };
        Answer::upgrade(state).with_protocol(request.choose_protocol(&["superchat"]))
    }

    fn open(&mut self, connection: &mut Context<'_, Mode>) {
        self.journal.write(Entry::Opened(connection.id()));
        match *connection.state() {
            Mode::Panic("open") => panic!("asked for"),
            Mode::CloseByTimer => connection.set_timer(Limits::default().ping_after),
            Mode::Panic("timer") => connection.set_timer(Duration::from_millis(1)),
            Mode::Panic("lagged") => drop(connection.subscribe(&self.publisher.topic("lagging"))),
            _ => {}
        }
    }

    fn message(&mut self, connection: &mut Context<'_, Mode>, message: Message<'_>) {
        self.journal.write(Entry::Message(connection.id()));
        match *connection.state() {
            Mode::Echo => connection.send(message.kind, message.payload),
            Mode::Panic("message") => panic!("asked for"),
            _ => self.obey(connection, std::str::from_utf8(message.payload).expect("words")),
        }
    }

    fn timer(&mut self, connection: &mut Context<'_, Mode>) {
        self.journal.write(Entry::Timer(connection.id()));
        match *connection.state() {
            Mode::Panic("timer") => panic!("asked for"),
            Mode::CloseByTimer => connection.close(CloseCode(4000), "time is up"),
            _ => connection.send_text("timer"),
        }
    }

    fn lagged(&mut self, connection: &mut Context<'_, Mode>) -> Lagged {
        self.journal.write(Entry::Lagged(connection.id()));
        match *connection.state() {
            Mode::Panic("lagged") => panic!("asked for"),
            Mode::Skip => {
                connection.send_text("skipped");
                Lagged::Skip
            }
            _ => Lagged::Close(CloseCode::POLICY_VIOLATION, "slow consumer"),
        }
    }

    fn shutdown(&mut self, connection: &mut Context<'_, Mode>) {
        assert_ne!(*connection.state(), Mode::Panic("shutdown"), "asked for");
        connection.send_text("goodbye");
    }

    fn close(&mut self, connection: &mut Context<'_, Mode>, ended: Ended) {
        self.journal.write(Entry::Closed(connection.id(), ended));
        match *connection.state() {
            Mode::Panic("close") => panic!("asked for"),
            Mode::Undead => {
                connection.send_text("boo");
                connection.ping(b"boo");
                connection.subscribe(&self.publisher.topic("graves"));
                connection.set_timer(Duration::from_millis(1));
                connection.close(CloseCode::NORMAL, "boo");
            }
            _ => {}
        }
    }
}
