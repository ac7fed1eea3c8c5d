//! One connection's side of `ticker.v1` as a state machine: requests in, replies out.
//!
//! It stands between the application's handler and what only the engine can do, which it asks of a
//! [`Link`]: send, close, subscribe. It reads no clock and owns no socket, so that every rule of
//! the protocol can be tried with scripted time. It knows on which terms symbols are held; what is
//! delivered and when is the engine's knowledge. A session takes 64 bytes, and eight for each symbol.
//!
//! Order is its promise: exactly one reply to a request, in the order of the requests; an ack
//! before the snapshots it announces; a snapshot before its updates; nothing of a symbol after the
//! ack of its end.

mod subscribing;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tickwire::{CloseCode, Timestamp};

use crate::allowance::{Allowance, REQUESTS_PER_S, Verdict};
use crate::field::Fields;
use crate::holdings::Holdings;
use crate::instrument::{InstrumentId, Listing};
use crate::reply::{
    self, Ack, Authorized, ErrorCode, ExpiryNotice, Heartbeat, Listed, Nanoseconds, Pong,
    ResyncNotice, ShutdownNotice, TICKER, Welcome, close,
};
use crate::request::{Id, Method, Reader, Refused, Request};
use crate::terms::Terms;
use crate::tokens::{FOR_EVER, Tokens};
use crate::value::Value;

/// What a session asks of its connection.
pub trait Link {
    /// The [`Value`] of an instrument, as bytes.
    type Value: AsRef<[u8]>;

    /// Sends a text message.
    fn send(&mut self, text: &[u8]);
    /// Closes the connection. Nothing that is sent after it leaves.
    fn close(&mut self, code: CloseCode, reason: &str);
    /// How long ago something was last sent.
    fn silent_for(&self) -> Duration;
    /// Delivers an instrument's updates after those up to the number that is returned, and returns
    /// its value as of that number. A delivery that was going on begins anew.
    fn subscribe(&mut self, instrument: InstrumentId, terms: Terms) -> (u64, Option<Self::Value>);
    /// Delivers an instrument's updates after event number `seq`, which the client has. Returns the
    /// number with which nothing is missing; none if that cannot be had: then nothing of it is
    /// delivered. What was missed is sent with [`send_missed`](Self::send_missed) or later.
    fn take_up(&mut self, instrument: InstrumentId, terms: Terms, seq: u64) -> Option<u64>;
    /// Sends what was missed of all that was [taken up](Self::take_up).
    fn send_missed(&mut self);
    /// Changes how many updates a second a delivery in the mode merge has at most; 0: as they come.
    fn set_rate(&mut self, instrument: InstrumentId, max_rate: u16);
    /// Delivers an instrument's updates no more.
    fn unsubscribe(&mut self, instrument: InstrumentId);
    /// The number of an instrument's last event.
    fn newest(&self, instrument: InstrumentId) -> u64;
}

/// What all sessions of a thread share.
#[derive(Debug)]
pub struct Desk {
    rules: Rules,
    listing: Arc<Listing>,
    epoch: Arc<str>,
    /// None: nobody has to show one.
    tokens: Option<Arc<Tokens>>,
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
    /// What happens to a client that gets every event and reads too slowly for that.
    pub slow_consumer: SlowConsumer,
}

/// What happens to a client that gets every event and has not read what is no longer kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumer {
    /// It is closed with 4410.
    #[default]
    Close,
    /// What it was not sent is dropped, and it is told to subscribe anew.
    Drop,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            // Coinbase gives 5 s; a page on a bad line needs longer.
            subscribe_within: Duration::from_secs(30),
            // What Binance grants a connection.
            symbols_max: 1024,
            slow_consumer: SlowConsumer::Close,
        }
    }
}

impl Desk {
    /// A desk for the instruments of `listing`. `epoch` names the numbering of their events; where there
    /// are `tokens`, only who shows one is served.
    #[must_use]
    pub fn new(
        rules: Rules,
        listing: Arc<Listing>,
        epoch: Arc<str>,
        tokens: Option<Arc<Tokens>>,
    ) -> Self {
        Self { rules, listing, epoch, tokens, reader: Reader::new(), out: Vec::new() }
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

    /// Sends the snapshot of `fields` that `value` makes, as of event number `seq`.
    fn send_snapshot(
        &mut self,
        link: &mut impl Link,
        instrument: InstrumentId,
        seq: u64,
        fields: Fields,
        value: &[u8],
    ) {
        let (listing, epoch) = (Arc::clone(&self.listing), Arc::clone(&self.epoch));
        let value = Value::parse(value).expect("the market writes the values that topics retain");
        let symbol = &listing.instrument(instrument).symbol;
        self.send(link, &value.snapshot(symbol, &epoch, seq, fields));
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
    /// Until when it may ask, in nanoseconds since the Unix epoch; 0: it has not shown why.
    granted_until_ns: u64,
    holdings: Holdings,
    allowance: Allowance,
    heartbeats: u32,
    /// It has been told that its token is about to end.
    is_warned: bool,
}

impl Session {
    /// A session that may ask until then, in nanoseconds since the Unix epoch; with 0 not before it has
    /// shown a token.
    #[must_use]
    pub fn granted_until(granted_until_ns: u64) -> Self {
        Self { granted_until_ns, ..Self::default() }
    }

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
        if let Some((code, reason)) = self.overdue(now) {
            link.close(code, reason);
            return None;
        }
        self.warn_of_expiry(desk, link, now);
        let heartbeat_ns = nanoseconds(desk.rules.heartbeat);
        let mut next_ns = heartbeat_ns.saturating_sub(nanoseconds(link.silent_for()));
        if next_ns == 0 {
            // 136 years of seconds; then it counts from 0.
            self.heartbeats = self.heartbeats.wrapping_add(1);
            let (n, ts) = (self.heartbeats, Nanoseconds(now.unix_ns()));
            desk.send(link, &Heartbeat { n, ts });
            next_ns = heartbeat_ns;
        }
        if self.granted_until_ns != FOR_EVER {
            next_ns = next_ns.min(GRANT_CHECK_NS);
        }
        Some(Duration::from_nanos(next_ns.min(self.subscribe_by_ns - now_ns)))
    }

    /// Why the connection is to be closed now, if it is.
    const fn overdue(&self, now: Timestamp) -> Option<(CloseCode, &'static str)> {
        match self.granted_until_ns {
            until_ns if until_ns > 0 && until_ns <= now.unix_ns() => {
                Some((close::UNAUTHORIZED, "the token has ended"))
            }
            _ if self.subscribe_by_ns > now.monotonic_ns() => None,
            0 => Some((close::UNAUTHORIZED, "no token in time")),
            _ => Some((close::NO_SUBSCRIPTION, "no subscription in time")),
        }
    }

    fn warn_of_expiry(&mut self, desk: &mut Desk, link: &mut impl Link, now: Timestamp) {
        let left_ns = self.granted_until_ns.saturating_sub(now.unix_ns());
        if self.is_warned || self.granted_until_ns == 0 || left_ns > EXPIRY_NOTICE_NS {
            return;
        }
        self.is_warned = true;
        let expires_ms = u32::try_from(left_ns / 1_000_000).unwrap_or(u32::MAX);
        desk.send(link, &ExpiryNotice { code: "token_expires", expires_ms });
    }

    /// Events of the instruments in `lost` that the client has not been sent are gone. Says whether the
    /// connection goes on; then these are held no more, and the client is told so.
    pub fn lagged(&mut self, desk: &mut Desk, link: &mut impl Link, lost: &[InstrumentId]) -> bool {
        if desk.rules.slow_consumer == SlowConsumer::Close {
            return false;
        }
        let listing = Arc::clone(&desk.listing);
        for &instrument in lost {
            self.holdings.remove(instrument);
            link.unsubscribe(instrument);
            let symbol = &listing.instrument(instrument).symbol;
            let current = link.newest(instrument);
            let code = "resync_required";
            desk.send(link, &ResyncNotice { code, channel: TICKER, symbol, current });
        }
        true
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
    pub const fn held(&self) -> usize {
        self.holdings.len()
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
        let is_open_to_all = matches!(request.method, Method::Ping | Method::Auth(_));
        if self.granted_until_ns == 0 && !is_open_to_all {
            let why = "show a token first: `auth`";
            return desk.refuse(link, Some(id), ErrorCode::Unauthorized, why);
        }
        match &request.method {
            Method::Ping => desk.send(link, &Pong { id, ts: Nanoseconds(now.unix_ns()) }),
            Method::List => self.list(desk, link, now, id),
            Method::Instruments => instruments(desk, link, now, id),
            Method::Subscribe(asked) => self.subscribe(desk, link, now, id, asked),
            Method::Unsubscribe(symbols) => self.unsubscribe(desk, link, now, id, symbols),
            Method::Set(asked) => self.set(desk, link, now, id, asked),
            Method::Auth(token) => self.authorize(desk, link, now, id, token),
        }
    }

    fn authorize(
        &mut self,
        desk: &mut Desk,
        link: &mut impl Link,
        now: Timestamp,
        id: &Id<'_>,
        token: &str,
    ) {
        let Some(tokens) = desk.tokens.clone() else {
            return desk.send(link, &ack::<Authorized<'_>>(id, "auth", now, &[]));
        };
        let Some(grant) = tokens.grant(token, now.unix_ns()) else {
            let why = "the token is not known, or has ended";
            return desk.refuse(link, Some(id), ErrorCode::Unauthorized, why);
        };
        (self.granted_until_ns, self.is_warned) = (grant.until_ns, false);
        let expires = Some(grant.until_ns).filter(|until_ns| *until_ns != FOR_EVER);
        let results = [Authorized { name: grant.name, expires: expires.map(Nanoseconds) }];
        desk.send(link, &ack(id, "auth", now, &results));
    }
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

/// How long before a token ends its client is told.
const EXPIRY_NOTICE_NS: u64 = 30 * SECOND_NS;

/// How often it is looked whether a token has ended.
const GRANT_CHECK_NS: u64 = SECOND_NS;

const SECOND_NS: u64 = 1_000_000_000;

/// The deadline of a connection that has held a subscription.
const FULFILLED: u64 = u64::MAX;

#[cfg(test)]
mod tests;
