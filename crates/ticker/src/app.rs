//! The application as the engine sees it: one handler per shard, which lends each connection to its
//! protocol session, and has what is merged for many written once.
//!
//! It is the joint between [`Session`], which knows the rules, and the engine's [`Connection`], which
//! can send and subscribe. What handlers of different shards share is read-only, or counted with
//! atomics; a message from a client touches its own shard only.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tickwire::{
    Answer, CloseCode, Connection, Delivery, Ended, Frame, Handler, Kind, Lag, Lagged, Merged,
    Message, Missed, Publisher, Request, Response, Resumed, Subscription, Timestamp, Topic,
};

use crate::audience::Audience;
use crate::field::Fields;
use crate::instrument::{InstrumentId, Listing};
use crate::metrics::Metrics;
use crate::reply::{self, SUBPROTOCOL, close};
use crate::session::{Desk, Link, Rules, Session};
use crate::terms::{Mode, Terms};
use crate::tokens::{FOR_EVER, Tokens};
use crate::value::Value;

/// What the handlers of all shards share.
#[derive(Debug)]
pub struct Shared {
    /// What the protocol leaves to the server.
    pub rules: Rules,
    /// The instruments of the feed.
    pub listing: Arc<Listing>,
    /// Who is served; none: everybody.
    pub tokens: Option<Arc<Tokens>>,
    /// Told who listens.
    pub audience: Arc<Audience>,
    /// Told what happens.
    pub metrics: Arc<Metrics>,
    /// How long a shutdown may take.
    pub shutdown_timeout: Duration,
    /// Whether a successor serves already when this ticker ends.
    pub hands_over: Arc<AtomicBool>,
}

/// The ticker on one shard.
#[derive(Debug)]
pub struct App {
    desk: Desk,
    shared: Arc<Shared>,
    topics: Arc<[Topic]>,
    random: RandomState,
}

impl App {
    /// A handler for one shard.
    #[must_use]
    pub fn new(shared: Arc<Shared>, publisher: &Publisher) -> Self {
        let listing = Arc::clone(&shared.listing);
        // That of every topic: they were made before there was anything else, and stay.
        let epoch = publisher.epoch().to_string().into();
        let desk = Desk::new(shared.rules, listing, epoch, shared.tokens.clone());
        let topics = topics(&shared.listing, publisher);
        Self { desk, shared, topics, random: RandomState::new() }
    }

    /// Lends a connection to its session, and tells what became of its subscriptions.
    fn lend<T>(
        &mut self,
        connection: &mut Connection<'_, Session>,
        act: impl FnOnce(&mut Session, &mut Desk, &mut Wire<'_, '_>) -> T,
    ) -> T {
        let mut session = std::mem::take(connection.state);
        let held = session.held();
        let topics = Arc::clone(&self.topics);
        let mut wire = Wire { connection, topics: &topics, missed: Missed::default() };
        let done = act(&mut session, &mut self.desk, &mut wire);
        self.tell(held, session.held());
        *connection.state = session;
        done
    }

    fn tell(&self, before: usize, after: usize) {
        let change = after.cast_signed() - before.cast_signed();
        self.shared.metrics.subscriptions.inc_by(change as i64);
        match (before, after) {
            (0, 1..) => self.shared.audience.join(),
            (1.., 0) => self.shared.audience.leave(),
            _ => {}
        }
    }
}

/// Until when somebody may ask who wants to connect, in nanoseconds since the Unix epoch; 0: not before
/// a token was shown. `None`: the one that was shown is of no use.
fn granted_until(tokens: Option<&Tokens>, request: &Request<'_>) -> Option<u64> {
    let Some(tokens) = tokens else { return Some(FOR_EVER) };
    let bearer = request.header("Authorization").and_then(|it| it.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
    let in_query = request.query_value("token");
    let shown = bearer.map(|(_, token)| token).or(in_query.as_deref());
    let Some(token) = shown else { return Some(0) };
    tokens.grant(token.trim(), Timestamp::read().unix_ns()).map(|grant| grant.until_ns)
}

/// The topics of all instruments, in the order of the listing.
#[must_use]
pub fn topics(listing: &Listing, publisher: &Publisher) -> Arc<[Topic]> {
    let topic = |symbol: &str| publisher.topic(&format!("{TOPIC_PREFIX}{symbol}"));
    listing.iter().map(|(_, instrument)| topic(&instrument.symbol)).collect()
}

impl Handler for App {
    type State = Session;

    fn request(&mut self, request: &Request<'_>) -> Answer<Session> {
        let Some(until_ns) = granted_until(self.shared.tokens.as_deref(), request) else {
            let answer = Response::text(401, "the token is not known, or has ended");
            return Answer::Http(answer.with_header("WWW-Authenticate", "Bearer"));
        };
        let protocol = request.choose_protocol(&[SUBPROTOCOL]);
        Answer::upgrade(Session::granted_until(until_ns)).with_protocol(protocol)
    }

    fn open(&mut self, connection: &mut Connection<'_, Session>) {
        self.shared.metrics.clients.inc();
        let (now, name) = (connection.now(), format!("c-{}", connection.id()));
        let next =
            self.lend(connection, |session, desk, wire| session.open(desk, wire, now, &name));
        connection.set_timer(next);
    }

    fn message(&mut self, connection: &mut Connection<'_, Session>, message: Message<'_>) {
        let now = connection.now();
        self.lend(connection, |session, desk, wire| match message.kind {
            Kind::Text => session.text(desk, wire, now, message.payload),
            Kind::Binary => Session::binary(wire),
        });
    }

    fn timer(&mut self, connection: &mut Connection<'_, Session>) {
        let now = connection.now();
        let next = self.lend(connection, |session, desk, wire| session.timer(desk, wire, now));
        if let Some(next) = next {
            connection.set_timer(next);
        }
    }

    fn merged(&mut self, merged: &Merged<'_>, out: &mut Vec<u8>) -> Option<Kind> {
        let symbol = merged.topic.strip_prefix(TOPIC_PREFIX).unwrap_or_default();
        let &Merged { prev, seq, view, payload, .. } = merged;
        let value = Value::parse(payload).expect("the market writes the values of topics");
        reply::write(&value.update(symbol, prev, seq, fields_of(view)), out);
        Some(Kind::Text)
    }

    fn lagged(
        &mut self,
        connection: &mut Connection<'_, Session>,
        lag: &Lag<'_>,
    ) -> Option<Lagged> {
        // Nothing is gone: the feed waits for this one no longer.
        let is_asked = lag.skipped() == 0;
        let listing = Arc::clone(&self.shared.listing);
        let symbols = lag.topics().filter_map(|(name, _)| name.strip_prefix(TOPIC_PREFIX));
        let lost: Vec<_> = symbols.filter_map(|symbol| listing.find(symbol)).collect();
        let goes_on = !is_asked
            && self.lend(connection, |session, desk, wire| session.lagged(desk, wire, &lost));
        let close = Lagged::Close(close::SLOW_CONSUMER, "slow consumer");
        Some(if goes_on { Lagged::Skip } else { close })
    }

    fn shutdown(&mut self, connection: &mut Connection<'_, Session>) {
        // Each client gets a time of its own: all at once would be a storm.
        let spread = self.random.hash_one(connection.id()) % RETRY_SPREAD_MS;
        let hands_over = self.shared.hands_over.load(Ordering::Relaxed);
        // Where a successor serves already, clients are told one after the other.
        let retry = if hands_over { Duration::ZERO } else { RETRY + Duration::from_millis(spread) };
        let deadline = self.shared.shutdown_timeout;
        self.lend(connection, |_, desk, wire| Session::shutdown(desk, wire, retry, deadline));
        if hands_over {
            connection
                .close(CloseCode::SERVICE_RESTART, "the server is followed by another: come back");
        }
    }

    fn close(&mut self, connection: &mut Connection<'_, Session>, ended: Ended) {
        self.shared.metrics.clients.dec();
        self.shared.metrics.count_end(ended);
        let held = connection.state.held();
        self.tell(held, 0);
    }
}

/// A connection as its session sees it.
struct Wire<'a, 'c> {
    connection: &'a mut Connection<'c, Session>,
    topics: &'a [Topic],
    missed: Missed,
}

/// What a topic retains: a frame around a [`Value`].
struct Retained(Frame);

impl AsRef<[u8]> for Retained {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

impl Link for Wire<'_, '_> {
    type Value = Retained;

    fn send(&mut self, text: &[u8]) {
        self.connection.send(Kind::Text, text);
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.connection.close(code, reason);
    }

    fn silent_for(&self) -> Duration {
        self.connection.silent_for()
    }

    fn subscribe(&mut self, instrument: InstrumentId, terms: Terms) -> (u64, Option<Retained>) {
        let topic = &self.topics[instrument.index()];
        let retained = self.connection.subscribe_with(topic, subscription(terms));
        (retained.seq, retained.frame.map(Retained))
    }

    fn take_up(&mut self, instrument: InstrumentId, terms: Terms, seq: u64) -> Option<u64> {
        let topic = &self.topics[instrument.index()];
        match terms.mode {
            // It tells what has changed since any number that there was.
            Mode::Merge if seq <= topic.seq() => {
                let known = subscription(terms).with_known(seq);
                Some(self.connection.subscribe_with(topic, known).seq)
            }
            Mode::Merge => None,
            Mode::Distinct => {
                let epoch = topic.epoch();
                match self.connection.resume_into(topic, epoch, seq, &mut self.missed) {
                    Resumed::Recovered { seq, .. } => Some(seq),
                    _ => None,
                }
            }
        }
    }

    fn send_missed(&mut self) {
        self.connection.send_missed(std::mem::take(&mut self.missed));
    }

    fn set_rate(&mut self, instrument: InstrumentId, max_rate: u16) {
        self.connection.set_rate(&self.topics[instrument.index()], by_value(max_rate));
    }

    fn unsubscribe(&mut self, instrument: InstrumentId) {
        self.connection.unsubscribe(&self.topics[instrument.index()]);
    }

    fn newest(&self, instrument: InstrumentId) -> u64 {
        self.topics[instrument.index()].seq()
    }
}

/// The terms of a subscription as the engine's words.
fn subscription(terms: Terms) -> Subscription {
    let delivery = match terms.mode {
        Mode::Distinct => Delivery::Distinct,
        Mode::Merge => by_value(terms.max_rate),
    };
    Subscription::of(delivery).with_view(terms.fields.bits().into())
}

fn by_value(max_rate: u16) -> Delivery {
    if max_rate == 0 { Delivery::Merge } else { Delivery::sampled(max_rate) }
}

/// The fields of a view, which was made of them.
const fn fields_of(view: u32) -> Fields {
    Fields::from_bits(view.to_le_bytes()[0])
}

/// What the name of each topic begins with; the rest is the symbol.
const TOPIC_PREFIX: &str = "ticker:";

/// After a shutdown a client is to come back within this and [`RETRY_SPREAD_MS`]: a restart takes
/// about a second, and RFC 6455 section 7.2.3 asks for a random delay of up to 5 s.
const RETRY: Duration = Duration::from_secs(1);

const RETRY_SPREAD_MS: u64 = 4_000;
