//! The ticker scenario: clients that subscribe to prices and believe nothing.
//!
//! Speaks `ticker.v1.json` (docs/ticker-protocol.md): each client subscribes to all symbols, expects
//! one acknowledgement, a snapshot of each symbol and then updates whose `prev` is the `seq` that it
//! holds and whose `n` is the number of events between, in both delivery modes; with `distinct` that is
//! one. What is wrong is told by kind: an update before its snapshot, a gap, a duplicate, a message that
//! was overtaken, a value older than the one before, a wrong count. Latency is from the event's own time `ts` to the moment after the read; both clocks are of one machine.
//!
//! A client costs 16 bytes for each symbol.

use std::collections::HashMap;

use serde::Deserialize;
use tickwire_protocol::Kind;

use crate::clock::{self, Nanoseconds};
use crate::fault::{Fault, Faults};
use crate::scenario::{Action, Outbox, PUBLISHED_WAIT, Received, Scenario, Tally};

/// What clients subscribe to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
#[non_exhaustive]
pub struct Subscription {
    /// The symbols.
    pub symbols: Vec<String>,
    /// `merge` (the latest value only) or `distinct` (every event).
    pub mode: Option<String>,
    /// Updates a second of one symbol at most.
    pub max_rate: Option<u32>,
}

impl Subscription {
    /// A subscription to these symbols.
    #[must_use]
    pub const fn new(symbols: Vec<String>, mode: Option<String>, max_rate: Option<u32>) -> Self {
        Self { symbols, mode, max_rate }
    }
}

/// State of all clients of a ticker run.
#[derive(Debug)]
pub(crate) struct Ticker {
    request: String,
    numbers: HashMap<String, usize>,
    /// What each client holds: a row of symbols for each.
    held: Vec<Held>,
    /// Every event is to be an update of its own.
    is_distinct: bool,
    /// By client: whether its acknowledgement is awaited.
    unanswered: Vec<bool>,
    unsubscribed: Vec<usize>,
    /// By client, the time of its newest price; `None` if it is not subscribed.
    newest: Vec<Option<Nanoseconds>>,
    /// Nanoseconds from the monotonic clock to the time of day.
    epoch: Nanoseconds,
    /// When the run's time was over, as time of day: what is published later has no figure.
    ended_at: Option<Nanoseconds>,
}

/// The newest message of one symbol; none if `seq` is 0 and `ts` is 0.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    seq: u64,
    ts: Nanoseconds,
}

/// The fields that matter here of any message.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    symbol: Option<&'a str>,
    seq: Option<u64>,
    prev: Option<u64>,
    n: Option<u64>,
    ts: Option<&'a str>,
    code: Option<&'a str>,
    results: Option<Vec<Answer<'a>>>,
}

/// What became of one symbol of a request.
#[derive(Deserialize)]
struct Answer<'a> {
    symbol: &'a str,
    ok: bool,
    code: Option<&'a str>,
}

impl Ticker {
    pub(crate) fn new(connections: usize, subscription: &Subscription) -> Self {
        let Subscription { symbols, mode, max_rate } = subscription;
        let mut params = serde_json::json!({"channel": "ticker", "symbols": symbols});
        if let Some(mode) = mode {
            params["mode"] = mode.as_str().into();
        }
        if let Some(rate) = max_rate {
            params["max_rate"] = (*rate).into();
        }
        let request =
            serde_json::json!({"id": REQUEST_ID, "method": "subscribe", "params": params});
        Self {
            request: request.to_string(),
            numbers: symbols.iter().cloned().zip(0..).collect(),
            held: vec![Held::default(); connections * symbols.len()],
            is_distinct: mode.as_deref() == Some("distinct"),
            unanswered: vec![false; connections],
            unsubscribed: Vec::new(),
            newest: vec![None; connections],
            epoch: clock::epoch_offset(),
            ended_at: None,
        }
    }

    /// Takes a snapshot or an update.
    fn price(
        &mut self,
        client: usize,
        message: &Message<'_>,
        now: Nanoseconds,
        bytes: usize,
        tally: &mut Tally,
    ) {
        let number = message.symbol.and_then(|symbol| self.numbers.get(symbol));
        let time = message.ts.and_then(|ts| ts.parse::<Nanoseconds>().ok());
        let (Some(number), Some(seq), Some(ts)) = (number, message.seq, time) else {
            return unreadable(client, message.kind, &mut tally.faults);
        };
        let held = &mut self.held[client * self.numbers.len() + number];
        let is_news = judge(client, message, seq, ts, *held, &mut tally.faults);
        if !is_news {
            return;
        }
        let events = seq.saturating_sub(held.seq);
        if message.kind == "update" && message.prev == Some(held.seq) {
            count(client, message, events, self.is_distinct, &mut tally.faults);
        }
        let is_snapshot = message.kind == "snapshot";
        *held = Held { seq, ts };
        self.newest[client] = self.newest[client].max(Some(ts));
        // A snapshot is as old as its value; only an update was just made.
        match (now + self.epoch).checked_sub(ts) {
            Some(_) if self.ended_at.is_some_and(|ended_at| ts > ended_at) => {}
            _ if is_snapshot => tally.measure.count(bytes),
            Some(latency) => tally.measure.record(latency, bytes),
            None => tally.faults.count(Fault::Future, || {
                format!(
                    "client {client}: number {seq} of {:?} is dated later than now",
                    message.symbol
                )
            }),
        }
    }

    fn acknowledged(&mut self, client: usize, message: &Message<'_>, faults: &mut Faults) {
        self.unanswered[client] = false;
        for answer in message.results.iter().flatten().filter(|answer| !answer.ok) {
            let code = answer.code.unwrap_or("no code");
            faults.count(Fault::NotSubscribed, || {
                format!("client {client}: {}: {code}", answer.symbol.escape_debug())
            });
        }
    }
}

/// Compares a message with what the client holds; returns whether it is to be kept.
fn judge(
    client: usize,
    message: &Message<'_>,
    seq: u64,
    ts: Nanoseconds,
    held: Held,
    faults: &mut Faults,
) -> bool {
    let symbol = message.symbol.unwrap_or_default();
    let mut fault = |fault| {
        let (prev, mine) = (message.prev, held.seq);
        faults.count(fault, || {
            let prev = prev.map_or(String::new(), |prev| format!(" with prev {prev}"));
            format!("client {client}: {symbol}: number {seq}{prev} came, {mine} was held")
        });
    };
    let has_snapshot = held.ts > 0;
    if message.kind == "snapshot" {
        if has_snapshot && seq < held.seq {
            fault(Fault::Reordered);
        }
        return true;
    }
    if !has_snapshot {
        fault(Fault::NoSnapshot);
        return true;
    }
    if seq <= held.seq {
        fault(if seq == held.seq { Fault::Duplicate } else { Fault::Reordered });
        return false;
    }
    if message.prev != Some(held.seq) {
        fault(Fault::Gap);
    }
    if ts < held.ts {
        fault(Fault::Stale);
    }
    true
}

/// Compares the number of events that an update says are in it with what it must be; it follows what the
/// client holds. A server may leave it out.
fn count(
    client: usize,
    message: &Message<'_>,
    events: u64,
    is_distinct: bool,
    faults: &mut Faults,
) {
    let said = message.n.unwrap_or(events);
    if said == events && (events == 1 || !is_distinct) {
        return;
    }
    faults.count(Fault::Miscounted, || {
        let symbol = message.symbol.unwrap_or_default();
        let what = if is_distinct { "one event" } else { "what is new" };
        format!("client {client}: {symbol}: {events} events are new, n is {said}, {what} is due")
    });
}

impl Scenario for Ticker {
    fn opened(&mut self, client: usize, _now: Nanoseconds, _tally: &mut Tally) {
        let symbols = self.numbers.len();
        self.held[client * symbols..][..symbols].fill(Held::default());
        self.unsubscribed.push(client);
    }

    fn next(&mut self, _now: Nanoseconds) -> Option<Action> {
        self.unsubscribed.pop().filter(|_| self.ended_at.is_none()).map(Action::Send)
    }

    fn due(&self) -> Nanoseconds {
        if self.unsubscribed.is_empty() { Nanoseconds::MAX } else { 0 }
    }

    fn compose(
        &mut self,
        client: usize,
        _now: Nanoseconds,
        outbox: &mut Outbox<'_>,
        _tally: &mut Tally,
    ) {
        self.unanswered[client] = true;
        self.newest[client] = Some(0);
        outbox.text(&self.request);
    }

    fn received(
        &mut self,
        client: usize,
        message: Received<'_>,
        now: Nanoseconds,
        _outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    ) {
        let Received { kind, payload } = message;
        if kind != Kind::Text {
            let example = || format!("client {client}: a binary message came");
            return tally.faults.count(Fault::WrongKind, example);
        }
        let Ok(message) = serde_json::from_slice::<Message<'_>>(payload) else {
            return unreadable(client, &String::from_utf8_lossy(payload), &mut tally.faults);
        };
        match message.kind {
            "update" | "snapshot" => self.price(client, &message, now, payload.len(), tally),
            "ack" => self.acknowledged(client, &message, &mut tally.faults),
            "error" => tally.faults.count(Fault::Refused, || {
                let code = message.code.unwrap_or("no code");
                format!("client {client}: {}", code.escape_debug())
            }),
            "notice" if message.code == Some("resync_required") => {
                let symbol = message.symbol.unwrap_or_default();
                tally
                    .faults
                    .count(Fault::Gap, || format!("client {client}: {symbol}: told to resync"));
            }
            // A client ignores what it does not know, and has no use for greetings and heartbeats.
            _ => {}
        }
    }

    fn lost(&mut self, client: usize) {
        self.unanswered[client] = false;
        self.newest[client] = None;
        self.unsubscribed.retain(|open| *open != client);
    }

    fn stop(&mut self, now: Nanoseconds) {
        self.ended_at = Some(now + self.epoch);
    }

    /// Clients that had nothing newer than the run's time: something of it may be on its way.
    fn awaited(&self) -> u64 {
        let Some(ended_at) = self.ended_at else { return 0 };
        self.newest.iter().flatten().filter(|newest| **newest <= ended_at).count() as u64
    }

    fn drain_wait(&self) -> Nanoseconds {
        PUBLISHED_WAIT
    }

    fn finish(&mut self, _now: Nanoseconds, tally: &mut Tally) {
        for (client, _) in self.unanswered.iter().enumerate().filter(|(_, waits)| **waits) {
            let example = || format!("client {client}: no answer to its subscription");
            tally.faults.count(Fault::NotSubscribed, example);
        }
    }

    fn outbox_bytes_max(&self) -> usize {
        tickwire_frame::Header::LEN_MAX + self.request.len()
    }

    fn message_bytes_max(&self) -> u64 {
        1 << 20
    }
}

#[cold]
fn unreadable(client: usize, words: &str, faults: &mut Faults) {
    faults.count(Fault::Unreadable, || {
        let words: String = words.chars().take(60).collect();
        format!("client {client}: {}", words.escape_debug())
    });
}

/// The id of the one request that each client makes.
const REQUEST_ID: u32 = 1;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::Measure;
    use crate::plan::Stage;
    use crate::scenario::{Masks, Treatment};

    /// Feeds one client with lines, and tells what is wrong with them.
    fn faults(lines: &[&str]) -> Vec<(Fault, u64)> {
        faults_of(None, lines)
    }

    /// The same of a client that asks for a mode.
    fn faults_of(mode: Option<&str>, lines: &[&str]) -> Vec<(Fault, u64)> {
        let symbols = vec!["A".to_owned(), "B".to_owned()];
        let mode = mode.map(str::to_owned);
        let mut ticker = Ticker::new(1, &Subscription { symbols, mode, max_rate: Some(10) });
        let mut measure = Measure::new(&[Stage::new(Duration::from_secs(1))]);
        measure.begin(0);
        let (faults, treatment) = (Faults::default(), Treatment::new());
        let mut tally = Tally { measure, faults, treatment };
        let (mut wire, mut masks) = (Vec::new(), Masks::new());
        ticker.opened(0, 0, &mut tally);
        assert_eq!(ticker.next(0), Some(Action::Send(0)));
        for line in lines {
            let mut payload = line.as_bytes().to_vec();
            let message = Received { kind: Kind::Text, payload: &mut payload };
            let mut outbox = Outbox { bytes: &mut wire, masks: &mut masks, compressor: None };
            ticker.received(0, message, clock::now(), &mut outbox, &mut tally);
        }
        ticker.finish(0, &mut tally);
        tally.faults.iter().map(|(fault, seen)| (fault, seen.count)).collect()
    }

    fn snapshot(seq: u64) -> String {
        format!(
            r#"{{"type":"snapshot","symbol":"A","seq":{seq},"ts":"{}","data":{{}}}}"#,
            100 + seq
        )
    }

    fn update(seq: u64, prev: u64, ts: u64) -> String {
        let n = seq - prev;
        format!(r#"{{"type":"update","symbol":"A","seq":{seq},"prev":{prev},"n":{n},"ts":"{ts}"}}"#)
    }

    /// What a case is about, what the server says, and the faults that are to be found in it.
    type Case = (&'static str, Vec<String>, &'static [(Fault, u64)]);

    #[test]
    fn every_wrong_order_is_told_by_kind() {
        let cases: [Case; 8] = [
            ("right", vec![snapshot(5), update(6, 5, 111), update(9, 6, 111)], &[]),
            ("no snapshot", vec![update(6, 5, 111)], &[(Fault::NoSnapshot, 1)]),
            ("gap", vec![snapshot(5), update(7, 6, 111)], &[(Fault::Gap, 1)]),
            (
                "twice",
                vec![snapshot(5), update(6, 5, 111), update(6, 5, 111)],
                &[(Fault::Duplicate, 1)],
            ),
            (
                "swapped",
                vec![snapshot(5), update(7, 6, 112), update(6, 5, 111)],
                &[(Fault::Gap, 1), (Fault::Reordered, 1)],
            ),
            ("stale", vec![snapshot(5), update(6, 5, 90)], &[(Fault::Stale, 1)]),
            (
                "other symbol",
                vec![snapshot(5).replace("\"A\"", "\"C\"")],
                &[(Fault::Unreadable, 1)],
            ),
            ("no JSON", vec!["{".to_owned()], &[(Fault::Unreadable, 1)]),
        ];
        for (name, lines, expected) in cases {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(faults(&lines), expected, "{name}");
        }
    }

    #[test]
    fn the_events_in_an_update_are_counted() {
        let with = |n: u64| update(9, 6, 111).replace("\"n\":3", &format!("\"n\":{n}"));
        let without = update(9, 6, 111).replace("\"n\":3,", "");
        let wrong: &[(Fault, u64)] = &[(Fault::Miscounted, 1)];
        for (line, as_values, as_events) in [
            (with(3), &[][..], wrong),
            (without, &[], wrong),
            (with(2), wrong, wrong),
            (with(1), wrong, wrong),
        ] {
            let (snapshot, one) = (snapshot(5), update(6, 5, 111));
            let lines = [&*snapshot, &one, &line];
            assert_eq!(faults_of(None, &lines), as_values, "{line}");
            assert_eq!(faults_of(Some("merge"), &lines), as_values, "{line}");
            assert_eq!(faults_of(Some("distinct"), &lines), as_events, "{line}");
        }
    }

    #[test]
    fn refused_symbols_and_requests_are_faults_and_greetings_are_not() {
        let refused = r#"{"type":"ack","id":1,"results":[{"symbol":"A","ok":true},
            {"symbol":"B","ok":false,"code":"unknown_symbol"}]}"#;
        assert_eq!(faults(&[refused]), [(Fault::NotSubscribed, 1)]);
        let error = r#"{"type":"error","id":null,"code":"bad_request"}"#;
        assert_eq!(faults(&[error]), [(Fault::Refused, 1)]);
        assert_eq!(faults(&[r#"{"type":"welcome"}"#, r#"{"type":"news","x":[1]}"#]), []);
    }
}
