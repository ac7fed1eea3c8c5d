//! The handler that all cases talk to: a peer chooses by the path, and on `/script` by words, what
//! it does. What no peer can see, it writes in a [`Journal`].

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tickwire_protocol::{Accepted, CloseCode, Kind, Message};
use tickwire_reactor::{
    Answer, Connection, ConnectionId, Connector, Delivery, Destination, Ended, Handler, Lag,
    Lagged, Limits, Merged, Missed, Publisher, Request, Response, Resumed, Retained, ShardStart,
    Subscription, Topic, Unconnected,
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
    /// The same, and it is told what is lost; what becomes of it is as the policies say.
    Tell,
    /// It is closed when the first Ping of the engine is due.
    CloseByTimer,
    /// A panic in the callback of this name.
    Panic(&'static str),
    /// After the end it tries everything that it must not.
    Undead,
    /// A connection of ours that is tried again after a second when it fails.
    Again,
}

impl Mode {
    /// That which a path asks for, if it is one of a WebSocket.
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/echo" => Self::Echo,
            "/script" => Self::Script,
            "/skip" => Self::Skip,
            "/tell" => Self::Tell,
            "/undead" => Self::Undead,
            "/again" => Self::Again,
            "/close-by-timer" => Self::CloseByTimer,
            "/panic/open" => Self::Panic("open"),
            "/panic/message" => Self::Panic("message"),
            "/panic/timer" => Self::Panic("timer"),
            "/panic/lagged" => Self::Panic("lagged"),
            "/panic/shutdown" => Self::Panic("shutdown"),
            "/panic/close" => Self::Panic("close"),
            "/panic/connect-failed" => Self::Panic("connect_failed"),
            _ => return None,
        })
    }
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
pub(crate) struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
    /// Of connections of ours: what was agreed on, or why there is none.
    outgoing: Arc<Mutex<Vec<String>>>,
}

impl Journal {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// What has become of each connection that the engine was to open, in this order.
    pub(crate) fn outgoing(&self) -> Vec<String> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, entry: Entry) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    fn write_outgoing(&self, line: String) {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl Application {
    pub(crate) fn new(shard: &ShardStart, journal: Journal) -> Self {
        Self { publisher: shard.publisher.clone(), journal }
    }

    /// Writes down a connection that could not even be asked for.
    fn note_refused(&self, asked: Result<(), Box<Unconnected<Mode>>>) {
        if let Err(refused) = asked {
            self.journal.write_outgoing(format!("{:?}", refused.error));
        }
    }

    /// Does what the words of a message say.
    fn obey(&self, connection: &mut Connection<'_, Mode>, text: &str) {
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
            ("connect", addresses, target) => {
                let mode = Mode::of(target).unwrap_or(Mode::Script);
                let asked = connection.connect(destination(addresses, target), mode);
                self.note_refused(asked);
            }
            ("connect-after", seconds, target) => {
                let wait = Duration::from_secs(number(seconds));
                let nowhere = destination("", target);
                self.note_refused(connection.connect_after(wait, nowhere, Mode::Script));
            }
            words => self.obey_about_topics(connection, words),
        }
    }

    /// The same for words about topics; others go back as they came.
    fn obey_about_topics(&self, connection: &mut Connection<'_, Mode>, words: (&str, &str, &str)) {
        let number = |word: &str| word.parse::<u64>().expect("a number");
        match words {
            ("subscribe", topic, _) => {
                let topic = self.publisher.topic(topic);
                let retained = connection.subscribe(&topic);
                connection.send_text(&format!("subscribed after {}", retained.seq));
                if let Some(frame) = &retained.frame {
                    connection.send_frame(frame);
                }
            }
            (word @ ("value" | "rate"), topic, how) => {
                Self::deliver(connection, word, &self.publisher.topic(topic), subscription(how));
            }
            ("unsubscribe", topic, _) => {
                let held = connection.unsubscribe(&self.publisher.topic(topic));
                connection.send_text(&format!("unsubscribed {held}"));
            }
            ("watch", pattern, how) => {
                let watched = watch(connection, pattern, how);
                connection.send_text(&watched);
            }
            ("subscriptions", ..) => {
                let count = connection.subscriptions();
                connection.send_text(&format!("subscriptions {count}"));
            }
            ("unwatch", pattern, _) => {
                let held = connection.unsubscribe_pattern(pattern);
                connection.send_text(&format!("unwatched {held}"));
            }
            ("resume", topic, place) => {
                let topic = self.publisher.topic(topic);
                let (epoch, seq) = place.split_once(':').expect("an epoch and a number");
                let epoch = match epoch {
                    "-" => topic.epoch(),
                    epoch => epoch.parse().expect("an epoch"),
                };
                connection.resume_with(&topic, epoch, number(seq), |connection, resumed| {
                    connection.send_text(&match resumed {
                        Resumed::Recovered { count, seq } => format!("recovered {count} to {seq}"),
                        Resumed::Lost(retained) => format!("lost to {}", retained.seq),
                        _ => unreachable!("there is no third"),
                    });
                });
            }
            ("resume-all", topics, seq) => self.resume_all(connection, topics, number(seq)),
            words => self.obey_about_publications(connection, words),
        }
    }

    /// Takes up several topics, with commas between, at the same number, and answers once.
    fn resume_all(&self, connection: &mut Connection<'_, Mode>, topics: &str, seq: u64) {
        let (mut answer, mut missed) = (String::new(), Missed::default());
        for topic in topics.split(',').map(|name| self.publisher.topic(name)) {
            answer += &match connection.resume_into(&topic, topic.epoch(), seq, &mut missed) {
                Resumed::Recovered { count, seq } => format!("recovered {count} to {seq};"),
                Resumed::Lost(retained) => format!("lost to {};", retained.seq),
                _ => unreachable!("there is no third"),
            };
        }
        connection.send_text(&answer);
        connection.send_missed(missed);
    }

    fn obey_about_publications(
        &self,
        connection: &mut Connection<'_, Mode>,
        words: (&str, &str, &str),
    ) {
        match words {
            ("publish", topic, payload) => {
                let topic = self.publisher.topic(topic);
                let published = connection.publish(&topic, Kind::Text, payload.as_bytes());
                connection.send_text(&format!("published {published:?}"));
            }
            ("policy", word, _) => {
                connection.set_lagged(lagged(word));
                connection.send_text("policy");
            }
            ("ephemeral", count, round) => {
                let count: u64 = count.parse().expect("a number");
                for index in 0..count {
                    let topic = self.publisher.topic(&format!("ephemeral {round} {index}"));
                    connection.subscribe(&topic);
                    connection.publish(&topic, Kind::Text, b"gone").expect("there is room");
                    connection.unsubscribe(&topic);
                }
                connection.send_text(&format!("ephemeral {count}"));
            }
            ("fill", count, topic) => {
                let topic = self.publisher.topic(topic);
                let publish =
                    |_: &u64| connection.publish(&topic, Kind::Text, b"full of news").is_err();
                let refused = (0..count.parse::<u64>().expect("a number")).filter(publish).count();
                connection.send_text(&format!("refused {refused} of {count}"));
            }
            ("tell-others", topic, payload) => {
                let topic = self.publisher.topic(topic);
                let told = connection.publish_to_others(&topic, Kind::Text, payload.as_bytes());
                connection.send_text(&format!("told {told:?}"));
            }
            ("publish-or-drop", topic, payload) => {
                let topic = self.publisher.topic(topic);
                let published = connection.publish_or_drop(&topic, Kind::Text, payload.as_bytes());
                connection.send_text(&format!("published {published:?}"));
            }
            (echo, ..) => connection.send_text(echo),
        }
    }

    /// Subscribes to a topic in some way, or changes the rate of a subscription.
    fn deliver(
        connection: &mut Connection<'_, Mode>,
        word: &str,
        topic: &Topic,
        subscription: Subscription,
    ) {
        if word == "rate" {
            let delivery = subscription.delivery.expect("a delivery");
            let changed = connection.set_rate(topic, delivery);
            return connection.send_text(&format!("rate {changed}"));
        }
        let retained = connection.subscribe_with(topic, subscription);
        connection.send_text(&format!("following after {}", retained.seq));
        if let Some(frame) = retained.frame.filter(|_| subscription.known.is_none()) {
            connection.send_frame(&frame);
        }
    }
}

/// What becomes of those who are too slow: `skip`, `merge`, or the code of a Close; anything else: nothing
/// is said.
pub(crate) fn lagged(word: &str) -> Option<Lagged> {
    match word {
        "skip" => Some(Lagged::Skip),
        "merge" => Some(Lagged::Merge),
        code => code.parse().ok().map(|code| Lagged::Close(CloseCode(code), "too slow")),
    }
}

/// Subscribes to a pattern, in the topics' way or in another; gives what it took in.
fn watch(connection: &mut Connection<'_, Mode>, pattern: &str, how: &str) -> String {
    let topics = match how {
        "" => connection.subscribe_pattern(pattern),
        how => connection.subscribe_pattern_with(pattern, subscription(how)),
    };
    let held = |(topic, retained): (Topic, Retained)| format!(" {}@{}", topic.name(), retained.seq);
    match topics {
        Ok(topics) => format!("watching{}", topics.into_iter().map(held).collect::<String>()),
        Err(error) => format!("refused {error:?}"),
    }
}

/// `merge`, `distinct` or so many a second; then perhaps `view N` or `known N`.
fn subscription(how: &str) -> Subscription {
    let mut words = how.split(' ');
    let mut subscription = Subscription::of(match words.next() {
        Some("merge") => Delivery::Merge,
        Some("distinct") => Delivery::Distinct,
        rate => Delivery::sampled(rate.and_then(|rate| rate.parse().ok()).expect("a rate")),
    });
    while let Some((word, number)) = words.next().zip(words.next()) {
        subscription = match word {
            "view" => subscription.with_view(number.parse().expect("a view")),
            _ => subscription.with_known(number.parse().expect("a number")),
        };
    }
    subscription
}

/// Where the words of a message want to connect to: addresses with commas between, and a target.
fn destination(addresses: &str, target: &str) -> Destination {
    let addresses = addresses.split(',').filter(|it| !it.is_empty());
    let addresses: Vec<SocketAddr> = addresses.map(|it| it.parse().expect("an address")).collect();
    let first = addresses.first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 80).into());
    let mut destination = Destination::new(first, target)
        .with_host("server.example.com")
        .with_protocol("chat")
        .with_protocol("superchat")
        .with_header("X-Feed", "gold");
    destination.addresses = addresses;
    destination
}

/// What a handler sees of a request.
fn seen(request: &Request<'_>) -> String {
    let headers: Vec<String> =
        request.headers().map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect();
    let (method, path, query) = (request.method(), request.path(), request.query());
    format!("{method} {path} {query:?} {headers:?} from {}", request.peer().ip())
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

    fn request(&mut self, request: &Request<'_>) -> Answer<Mode> {
        if let Some(state) = Mode::of(request.path()) {
            let protocol = request.choose_protocol(&["superchat"]);
            return Answer::upgrade(state).with_protocol(protocol);
        }
        Answer::Http(match request.path() {
            "/panic/request" => panic!("asked for"),
            "/page" => Response::text(200, "a page"),
            "/seen" => Response::text(200, seen(request)),
            "/private" if request.header("Authorization") == Some("Bearer sesame") => {
                return Answer::upgrade(Mode::Echo);
            }
            "/private" => {
                let refusal = Response::text(401, "say who you are");
                refusal.with_header("WWW-Authenticate", "Bearer")
            }
            "/forbidden" => Response::text(403, "nobody is let in here"),
            "/page-of-100-kilobytes" => Response::text(200, numbered(0, 100_000)),
            "/long-page" => Response::text(200, numbered(0, 4_000_000)),
            "/header-that-ends-its-line" => {
                let page = Response::text(200, "a page");
                page.with_header("X-Line", "one\r\nX-Two: two")
            }
            "/with-cookie" => {
                return Answer::upgrade(Mode::Echo).with_header("Set-Cookie", "a=1");
            }
            "/upgrade-header-that-ends-its-line" => {
                return Answer::upgrade(Mode::Echo).with_header("X-Line", "one\r\nX-Two: two");
            }
            "/handshake-header" => {
                return Answer::upgrade(Mode::Echo).with_header("sec-websocket-accept", "x");
            }
            "/protocol-not-offered" => {
                return Answer::upgrade(Mode::Echo).with_protocol("chess");
            }
            _ => Response::not_found(),
        })
    }

    fn open(&mut self, connection: &mut Connection<'_, Mode>) {
        self.journal.write(Entry::Opened(connection.id()));
        match *connection.state {
            Mode::Panic("open") => panic!("asked for"),
            Mode::CloseByTimer => connection.set_timer(Limits::default().ping_after),
            Mode::Panic("timer") => connection.set_timer(Duration::from_millis(1)),
            Mode::Panic("lagged") => drop(connection.subscribe(&self.publisher.topic("lagging"))),
            _ => {}
        }
    }

    fn connected(&mut self, connection: &mut Connection<'_, Mode>, accepted: &Accepted) {
        self.journal.write_outgoing(format!("connected {:?}", accepted.protocol));
        self.open(connection);
    }

    fn connect_failed(
        &mut self,
        connector: &mut Connector<'_, Mode>,
        unconnected: Unconnected<Mode>,
    ) {
        self.journal.write_outgoing(format!("{:?}", unconnected.error));
        let Unconnected { destination, state, .. } = unconnected;
        match state {
            Mode::Panic("connect_failed") => panic!("asked for"),
            Mode::Again => {
                let asked = connector.connect_after(Duration::from_secs(1), destination, state);
                self.note_refused(asked);
            }
            _ => {}
        }
    }

    fn message(&mut self, connection: &mut Connection<'_, Mode>, message: Message<'_>) {
        self.journal.write(Entry::Message(connection.id()));
        match *connection.state {
            Mode::Echo => connection.send(message.kind, message.payload),
            Mode::Panic("message") => panic!("asked for"),
            _ => self.obey(connection, std::str::from_utf8(message.payload).expect("words")),
        }
    }

    fn timer(&mut self, connection: &mut Connection<'_, Mode>) {
        self.journal.write(Entry::Timer(connection.id()));
        match *connection.state {
            Mode::Panic("timer") => panic!("asked for"),
            Mode::CloseByTimer => connection.close(CloseCode(4000), "time is up"),
            _ => connection.send_text("timer"),
        }
    }

    /// View 1 tells what it is made of, view 2 has nothing to say of odd values, view 3 panics.
    fn merged(&mut self, merged: &Merged<'_>, out: &mut Vec<u8>) -> Option<Kind> {
        let payload = String::from_utf8_lossy(merged.payload);
        match merged.view {
            0 => return None,
            1 => out.extend(format!("{}>{} {payload}", merged.prev, merged.seq).into_bytes()),
            2 if merged.seq % 2 == 1 => {}
            2 => out.extend(format!("{} {payload}", merged.topic).into_bytes()),
            _ => panic!("asked for"),
        }
        Some(merged.kind)
    }

    fn lagged(&mut self, connection: &mut Connection<'_, Mode>, lag: &Lag<'_>) -> Option<Lagged> {
        self.journal.write(Entry::Lagged(connection.id()));
        match *connection.state {
            Mode::Panic("lagged") => panic!("asked for"),
            Mode::Skip => {
                connection.send_text("skipped");
                Some(Lagged::Skip)
            }
            Mode::Tell => {
                let mut topics: Vec<_> = lag.topics().map(|(name, _)| name).collect();
                topics.sort_unstable();
                let some = if lag.skipped() > 0 { "lost" } else { "waits" };
                connection.send_text(&format!("{some} of {}", topics.join(" ")));
                None
            }
            _ => None,
        }
    }

    fn shutdown(&mut self, connection: &mut Connection<'_, Mode>) {
        assert_ne!(*connection.state, Mode::Panic("shutdown"), "asked for");
        connection.send_text("goodbye");
    }

    fn close(&mut self, connection: &mut Connection<'_, Mode>, ended: Ended) {
        self.journal.write(Entry::Closed(connection.id(), ended));
        match *connection.state {
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
