//! The application as the engine sees it: one handler per shard, which lends each connection to its
//! protocol session.
//!
//! It is the joint between [`Session`], which knows the rules, and the engine's [`Connection`], which
//! can send and subscribe. What handlers of different shards share is read-only, or counted with
//! atomics; a message from a client touches its own shard only.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tickwire::{
    Answer, CloseCode, Connection, Ended, Frame, Handler, Kind, Lag, Lagged, Message, Publisher,
    Request, Topic,
};

use crate::audience::Audience;
use crate::instrument::{InstrumentId, Listing};
use crate::metrics::Metrics;
use crate::reply::{SUBPROTOCOL, TICKER, close};
use crate::session::{Desk, Link, Rules, Session};

/// What the handlers of all shards share.
#[derive(Debug)]
pub struct Shared {
    /// What the protocol leaves to the server.
    pub rules: Rules,
    /// The instruments of the feed.
    pub listing: Arc<Listing>,
    /// Names the numbering of their events.
    pub epoch: Arc<str>,
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
        let (listing, epoch) = (Arc::clone(&shared.listing), Arc::clone(&shared.epoch));
        let desk = Desk::new(shared.rules, listing, epoch);
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
        let done = act(&mut session, &mut self.desk, &mut Wire { connection, topics: &topics });
        self.tell(held, session.held());
        *connection.state = session;
        done
    }

    fn tell(&self, before: u32, after: u32) {
        self.shared.metrics.subscriptions.inc_by(i64::from(after) - i64::from(before));
        match (before, after) {
            (0, 1..) => self.shared.audience.join(),
            (1.., 0) => self.shared.audience.leave(),
            _ => {}
        }
    }
}

/// The topics of all instruments, in the order of the listing.
#[must_use]
pub fn topics(listing: &Listing, publisher: &Publisher) -> Arc<[Topic]> {
    let topic = |symbol: &str| publisher.topic(&format!("{TICKER}:{symbol}"));
    listing.iter().map(|(_, instrument)| topic(&instrument.symbol)).collect()
}

impl Handler for App {
    type State = Session;

    fn request(&mut self, request: &Request<'_>) -> Answer<Session> {
        let protocol = request.choose_protocol(&[SUBPROTOCOL]);
        Answer::upgrade(Session::default()).with_protocol(protocol)
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

    fn lagged(
        &mut self,
        _connection: &mut Connection<'_, Session>,
        _lag: &Lag<'_>,
    ) -> Option<Lagged> {
        Some(Lagged::Close(close::SLOW_CONSUMER, "slow consumer"))
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
}

impl Link for Wire<'_, '_> {
    type Snapshot = Frame;

    fn send(&mut self, text: &[u8]) {
        self.connection.send(Kind::Text, text);
    }

    fn send_snapshot(&mut self, snapshot: &Frame) {
        self.connection.send_frame(snapshot);
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.connection.close(code, reason);
    }

    fn silent_for(&self) -> Duration {
        self.connection.silent_for()
    }

    fn holds(&self, instrument: InstrumentId) -> bool {
        self.connection.is_subscribed(&self.topics[instrument.index()])
    }

    fn subscribe(&mut self, instrument: InstrumentId) -> (u64, Option<Frame>) {
        let retained = self.connection.subscribe(&self.topics[instrument.index()]);
        (retained.seq, retained.frame)
    }

    fn unsubscribe(&mut self, instrument: InstrumentId) -> bool {
        self.connection.unsubscribe(&self.topics[instrument.index()])
    }
}

/// After a shutdown a client is to come back within this and [`RETRY_SPREAD_MS`]: a restart takes
/// about a second, and RFC 6455 section 7.2.3 asks for a random delay of up to 5 s.
const RETRY: Duration = Duration::from_secs(1);

const RETRY_SPREAD_MS: u64 = 4_000;
