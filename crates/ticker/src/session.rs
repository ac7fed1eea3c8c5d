//! One connection's side of `ticker.v1` as a state machine: requests in, replies out.
//!
//! It stands between the application's handler and what only the engine can do, which it asks of a
//! [`Link`]: send, close, subscribe. It reads no clock and owns no socket, so that every rule of
//! the protocol can be tried with scripted time. What a connection holds is the engine's
//! knowledge; a session only keeps what the protocol needs beside it, in 32 bytes.
//!
//! Order is its promise: exactly one reply to a request, in the order of the requests; an ack
//! before the snapshots it announces; a snapshot before its updates; nothing of a symbol after the
//! ack of its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tickwire::{CloseCode, Timestamp};

use crate::allowance::{Allowance, REQUESTS_PER_S, Verdict};
use crate::instrument::{InstrumentId, Listing};
use crate::reply::{
    self, Ack, ErrorCode, Heartbeat, Held, Listed, Mode, Nanoseconds, Pong, ShutdownNotice,
    SymbolResult, TICKER, Welcome, close,
};
use crate::request::{Id, Method, Reader, Refused, Request, Subscribe, excerpt};

/// What a session asks of its connection.
pub trait Link {
    /// The last value of an instrument, ready to be sent.
    type Snapshot;

    /// Sends a text message.
    fn send(&mut self, text: &[u8]);
    /// Sends a snapshot that [`subscribe`](Self::subscribe) gave.
    fn send_snapshot(&mut self, snapshot: &Self::Snapshot);
    /// Closes the connection. Nothing that is sent after it leaves.
    fn close(&mut self, code: CloseCode, reason: &str);
    /// How long ago something was last sent.
    fn silent_for(&self) -> Duration;
    /// Whether an instrument's updates are delivered.
    fn holds(&self, instrument: InstrumentId) -> bool;
    /// Delivers an instrument's updates after those up to the number that is returned, and returns
    /// the snapshot as of that number. A delivery that was going on begins anew.
    fn subscribe(&mut self, instrument: InstrumentId) -> (u64, Option<Self::Snapshot>);
    /// Delivers an instrument's updates no more; whether they were.
    fn unsubscribe(&mut self, instrument: InstrumentId) -> bool;
}

/// What all sessions of a thread share.
#[derive(Debug)]
pub struct Desk {
    rules: Rules,
    listing: Arc<Listing>,
    epoch: Arc<str>,
    reader: Reader,
    out: Vec<u8>,
}

/// What the protocol leaves to the server.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Longest silence of the server.
    pub heartbeat: Duration,
    /// A connection that holds no subscription by then is closed.
    pub subscribe_within: Duration,
    /// Symbols that a connection may hold.
    pub symbols_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            // Coinbase gives 5 s; a page on a bad line needs longer.
            subscribe_within: Duration::from_secs(30),
            // What Binance grants a connection.
            symbols_max: 1024,
        }
    }
}

impl Desk {
    /// A desk for the instruments of `listing`. `epoch` names the numbering of their events.
    #[must_use]
    pub fn new(rules: Rules, listing: Arc<Listing>, epoch: Arc<str>) -> Self {
        Self { rules, listing, epoch, reader: Reader::new(), out: Vec::new() }
    }

    /// The instruments that can be subscribed to.
    #[must_use]
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    fn send(&mut self, link: &mut impl Link, message: &impl Serialize) {
        self.out.clear();
        reply::write(message, &mut self.out);
        link.send(&self.out);
    }

    fn refuse(&mut self, link: &mut impl Link, id: Option<&Id<'_>>, code: ErrorCode, why: &str) {
        self.send(link, &reply::Error { id, code, message: why });
    }
}

/// The protocol's state of one connection.
#[derive(Debug, Default)]
pub struct Session {
    /// When the connection must hold a subscription, on the monotonic clock; [`FULFILLED`] once it
    /// did.
    subscribe_by_ns: u64,
    /// Symbols that it holds.
    held: u32,
    heartbeats: u32,
    allowance: Allowance,
}

impl Session {
    /// Begins the session and greets the client, which the log knows as `name`. Returns after what
    /// time [`timer`](Self::timer) is to be called.
    pub fn open(
        &mut self,
        desk: &mut Desk,
        link: &mut impl Link,
        now: Timestamp,
        name: &str,
    ) -> Duration {
        self.subscribe_by_ns = now.monotonic_ns() + nanoseconds(desk.rules.subscribe_within);
        let epoch = Arc::clone(&desk.epoch);
        let heartbeat_ms = u32::try_from(desk.rules.heartbeat.as_millis()).unwrap_or(u32::MAX);
        let limits = reply::Limits { symbols: desk.rules.symbols_max, req_per_s: REQUESTS_PER_S };
        let welcome = Welcome {
            proto: reply::PROTO,
            conn: name,
            epoch: &epoch,
            heartbeat_ms,
            limits,
            ts: Nanoseconds(now.unix_ns()),
        };
        desk.send(link, &welcome);
        desk.rules.heartbeat.min(desk.rules.subscribe_within)
    }

    /// Takes a text message, which it uses up.
    pub fn text(&mut self, desk: &mut Desk, link: &mut impl Link, now: Timestamp, text: &mut [u8]) {
        let verdict = self.allowance.request(now.monotonic_ns());
        let read = desk.reader.read(text);
        match (read, verdict) {
            (Err(refused), Verdict::Granted) => self.refused(desk, link, now, &refused),
            (Ok(None), Verdict::Granted) => {}
            (Ok(Some(request)), Verdict::Granted) => self.request(desk, link, now, &request),
            (read, verdict) => {
                let id = match &read {
                    Ok(request) => request.as_ref().map(|request| &request.id),
                    Err(refused) => refused.id.as_ref(),
                };
                let why = format!("more than {REQUESTS_PER_S} requests a second");
                desk.refuse(link, id, ErrorCode::RateLimited, &why);
                if verdict == Verdict::Excessive {
                    link.close(close::TOO_MANY_REQUESTS, "too many requests");
                }
            }
        }
    }

    /// Takes a binary message: none is served.
    pub fn binary(link: &mut impl Link) {
        link.close(CloseCode::UNSUPPORTED_DATA, "ticker.v1.json is text");
    }

    /// Does what is due, and returns after what time it is to be called again; `None` if the
    /// connection has been closed.
    pub fn timer(
        &mut self,
        desk: &mut Desk,
        link: &mut impl Link,
        now: Timestamp,
    ) -> Option<Duration> {
        let now_ns = now.monotonic_ns();
        if self.subscribe_by_ns <= now_ns {
            link.close(close::NO_SUBSCRIPTION, "no subscription in time");
            return None;
        }
        let heartbeat_ns = nanoseconds(desk.rules.heartbeat);
        let mut next_ns = heartbeat_ns.saturating_sub(nanoseconds(link.silent_for()));
        if next_ns == 0 {
            // 136 years of seconds; then it counts from 0.
            self.heartbeats = self.heartbeats.wrapping_add(1);
            let (n, ts) = (self.heartbeats, Nanoseconds(now.unix_ns()));
            desk.send(link, &Heartbeat { n, ts });
            next_ns = heartbeat_ns;
        }
        Some(Duration::from_nanos(next_ns.min(self.subscribe_by_ns - now_ns)))
    }

    /// Tells the client that the server goes down.
    pub fn shutdown(desk: &mut Desk, link: &mut impl Link, retry: Duration, deadline: Duration) {
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let notice = ShutdownNotice {
            code: "server_shutdown",
            retry_ms: milliseconds(retry),
            deadline_ms: milliseconds(deadline),
        };
        desk.send(link, &notice);
    }

    /// How many symbols the connection holds.
    #[must_use]
    pub const fn held(&self) -> u32 {
        self.held
    }

    fn refused(
        &mut self,
        desk: &mut Desk,
        link: &mut impl Link,
        now: Timestamp,
        refused: &Refused<'_>,
    ) {
        desk.refuse(link, refused.id.as_ref(), refused.code, &refused.message);
        let unreadable = refused.code == ErrorCode::BadRequest;
        if unreadable && !self.allowance.unreadable(now.monotonic_ns()) {
            link.close(close::UNREADABLE, "too many messages that cannot be read");
        }
    }

    fn request(
        &mut self,
        desk: &mut Desk,
        link: &mut impl Link,
        now: Timestamp,
        request: &Request<'_>,
    ) {
        let id = &request.id;
        match &request.method {
            Method::Ping => desk.send(link, &Pong { id, ts: Nanoseconds(now.unix_ns()) }),
            Method::List => list(desk, link, now, id),
            Method::Instruments => instruments(desk, link, now, id),
            Method::Subscribe(wanted) => self.subscribe(desk, link, now, id, wanted),
            Method::Unsubscribe(symbols) => self.unsubscribe(desk, link, now, id, symbols),
        }
    }

    fn subscribe<L: Link>(
        &mut self,
        desk: &mut Desk,
        link: &mut L,
        now: Timestamp,
        id: &Id<'_>,
        wanted: &Subscribe<'_>,
    ) {
        let mut begun = Begun::new();
        let mut results = Vec::with_capacity(wanted.symbols.len());
        for symbol in &wanted.symbols {
            results.push(match self.admit(desk, link, wanted, symbol) {
                Ok(instrument) => SymbolResult {
                    mode: Some(Mode::Distinct),
                    recovered: wanted.resume.then_some(false),
                    seq: self.begin(link, wanted, instrument, &mut begun),
                    ..SymbolResult::done(symbol)
                },
                Err((code, message)) => SymbolResult::refused(symbol, code, message),
            });
        }
        desk.send(link, &ack(id, "subscribe", now, &results));
        for snapshot in &begun.snapshots {
            link.send_snapshot(snapshot);
        }
    }

    /// Begins an instrument's stream, and returns the number that it begins after; `None` if it goes
    /// on as it was.
    ///
    /// A stream that is held already and whose snapshot is asked for begins anew: so the snapshot
    /// stands between its updates where it belongs, and a client that lost count can ask for
    /// it. A symbol that is named twice in a request is begun once.
    fn begin<L: Link>(
        &mut self,
        link: &mut L,
        wanted: &Subscribe<'_>,
        instrument: InstrumentId,
        begun: &mut Begun<L::Snapshot>,
    ) -> Option<u64> {
        let snapshot_wanted = wanted.snapshot || wanted.resume;
        if let Some(seq) = begun.seqs.get(&instrument) {
            return Some(*seq);
        }
        if !link.holds(instrument) {
            self.held += 1;
            self.subscribe_by_ns = FULFILLED;
        } else if !snapshot_wanted {
            return None;
        }
        let (seq, snapshot) = link.subscribe(instrument);
        begun.seqs.insert(instrument, seq);
        begun.snapshots.extend(snapshot.filter(|_| snapshot_wanted));
        Some(seq)
    }

    fn admit(
        &self,
        desk: &Desk,
        link: &impl Link,
        wanted: &Subscribe<'_>,
        symbol: &str,
    ) -> Result<InstrumentId, (ErrorCode, String)> {
        if let Some(why) = not_served(wanted) {
            return Err((ErrorCode::BadRequest, why));
        }
        let Some(instrument) = desk.listing.find(symbol) else {
            let message = format!("{} is not listed", excerpt(symbol));
            return Err((ErrorCode::UnknownSymbol, message));
        };
        let max = desk.rules.symbols_max;
        if self.held as usize >= max && !link.holds(instrument) {
            let message = format!("a connection holds at most {max} symbols");
            return Err((ErrorCode::TooManySymbols, message));
        }
        Ok(instrument)
    }

    fn unsubscribe(
        &mut self,
        desk: &mut Desk,
        link: &mut impl Link,
        now: Timestamp,
        id: &Id<'_>,
        symbols: &[&str],
    ) {
        let mut results = Vec::with_capacity(symbols.len());
        for symbol in symbols {
            let instrument = desk.listing.find(symbol);
            let ended = instrument.is_some_and(|instrument| link.unsubscribe(instrument));
            results.push(if ended {
                self.held -= 1;
                SymbolResult::done(symbol)
            } else {
                let message = format!("{} is not subscribed to", excerpt(symbol));
                SymbolResult::refused(symbol, ErrorCode::NotSubscribed, message)
            });
        }
        desk.send(link, &ack(id, "unsubscribe", now, &results));
    }
}

/// What one request has begun so far: the number that each stream begins after, and the snapshots
/// that are to follow the ack.
struct Begun<S> {
    seqs: HashMap<InstrumentId, u64>,
    snapshots: Vec<S>,
}

impl<S> Begun<S> {
    fn new() -> Self {
        Self { seqs: HashMap::new(), snapshots: Vec::new() }
    }
}

fn not_served(wanted: &Subscribe<'_>) -> Option<String> {
    match wanted.mode {
        None | Some("distinct") => {}
        Some(other) => {
            let other = excerpt(other);
            return Some(format!("mode {other} is not served yet: only distinct is, every event"));
        }
    }
    let option = match () {
        () if wanted.rate => "`max_rate`",
        () if wanted.crop => "`fields`",
        () => return None,
    };
    Some(format!("{option} is not served yet: every update is sent whole"))
}

fn list(desk: &mut Desk, link: &mut impl Link, now: Timestamp, id: &Id<'_>) {
    let listing = Arc::clone(&desk.listing);
    let held = listing.iter().filter(|(instrument, _)| link.holds(*instrument));
    let results: Vec<_> = held
        .map(|(_, instrument)| Held {
            channel: TICKER,
            symbol: &instrument.symbol,
            mode: Mode::Distinct,
        })
        .collect();
    desk.send(link, &ack(id, "list", now, &results));
}

fn instruments(desk: &mut Desk, link: &mut impl Link, now: Timestamp, id: &Id<'_>) {
    let listing = Arc::clone(&desk.listing);
    let results: Vec<_> = listing
        .iter()
        .map(|(_, instrument)| Listed { symbol: &instrument.symbol, name: &instrument.name })
        .collect();
    desk.send(link, &ack(id, "instruments", now, &results));
}

/// Both times are those of the turn in which the request came and was answered.
fn ack<'a, R>(
    id: &'a Id<'a>,
    method: &'static str,
    now: Timestamp,
    results: &'a [R],
) -> Ack<'a, R> {
    let (time_in, time_out) = (Nanoseconds(now.unix_ns()), Nanoseconds(now.unix_ns()));
    Ack { id, method, results, time_in, time_out }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The deadline of a connection that has held a subscription.
const FULFILLED: u64 = u64::MAX;

#[cfg(test)]
mod tests;
