//! What a session does with the requests about subscriptions: begin, change, end and list them.
//!
//! Each symbol of a request succeeds or fails by itself. First all of them are done, then one ack tells
//! what became of each, then comes what it announced: snapshots, and what was missed by those who come
//! back.

use std::collections::HashMap;
use std::sync::Arc;

use tickwire::Timestamp;

use super::{Desk, FULFILLED, Link, Session, ack};
use crate::field::Fields;
use crate::instrument::InstrumentId;
use crate::reply::{ErrorCode, Held, SymbolResult, TICKER};
use crate::request::{Id, Set, Subscribe, excerpt};
use crate::terms::Terms;

/// Why a symbol of a request is refused.
type Refusal = (ErrorCode, String);

/// What one request has begun so far.
struct Begun<V> {
    /// What is told of each stream, in case that its symbol is named again.
    streams: HashMap<InstrumentId, Stream>,
    /// Those that are to follow the ack.
    snapshots: Vec<Snapshot<V>>,
}

/// A stream that was begun: see [`SymbolResult`].
#[derive(Clone, Copy)]
struct Stream {
    recovered: Option<bool>,
    seq: Option<u64>,
}

struct Snapshot<V> {
    instrument: InstrumentId,
    seq: u64,
    fields: Fields,
    value: V,
}

impl<V: AsRef<[u8]>> Begun<V> {
    fn new() -> Self {
        Self { streams: HashMap::new(), snapshots: Vec::new() }
    }

    /// Sends what was announced.
    fn send(self, desk: &mut Desk, link: &mut impl Link) {
        for Snapshot { instrument, seq, fields, value } in self.snapshots {
            desk.send_snapshot(link, instrument, seq, fields, value.as_ref());
        }
        link.send_missed();
    }
}

impl Session {
    pub(super) fn subscribe<L: Link>(
        &mut self,
        desk: &mut Desk,
        link: &mut L,
        now: Timestamp,
        id: &Id<'_>,
        asked: &Subscribe<'_>,
    ) {
        let mut begun = Begun::new();
        let mut results = Vec::with_capacity(asked.symbols.len());
        for symbol in &asked.symbols {
            let result = self.subscribe_one(desk, link, asked, symbol, &mut begun);
            results.push(result.unwrap_or_else(|(code, why)| refused(symbol, code, why)));
        }
        desk.send(link, &ack(id, "subscribe", now, &results));
        begun.send(desk, link);
    }

    /// Changes terms. Where more than the rate changes the stream begins anew, with a snapshot.
    pub(super) fn set<L: Link>(
        &mut self,
        desk: &mut Desk,
        link: &mut L,
        now: Timestamp,
        id: &Id<'_>,
        asked: &Set<'_>,
    ) {
        let mut begun = Begun::new();
        let mut results = Vec::with_capacity(asked.symbols.len());
        for symbol in &asked.symbols {
            let result = self.set_one(desk, link, asked, symbol, &mut begun);
            results.push(result.unwrap_or_else(|(code, why)| refused(symbol, code, why)));
        }
        desk.send(link, &ack(id, "set", now, &results));
        begun.send(desk, link);
    }

    pub(super) fn unsubscribe(
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
            match instrument.filter(|instrument| self.holdings.remove(*instrument)) {
                Some(instrument) => {
                    link.unsubscribe(instrument);
                    results.push(SymbolResult::done(symbol));
                }
                None => results.push(not_subscribed(symbol)),
            }
        }
        desk.send(link, &ack(id, "unsubscribe", now, &results));
    }

    pub(super) fn list(&self, desk: &mut Desk, link: &mut impl Link, now: Timestamp, id: &Id<'_>) {
        let listing = Arc::clone(&desk.listing);
        let held = |(instrument, terms): (InstrumentId, Terms)| {
            let symbol = &listing.instrument(instrument).symbol;
            Held { channel: TICKER, symbol, terms: terms.into() }
        };
        let results: Vec<_> = self.holdings.iter().map(held).collect();
        desk.send(link, &ack(id, "list", now, &results));
    }

    /// Begins the stream of a symbol.
    ///
    /// One that is held already and whose snapshot is asked for begins anew: so the snapshot stands
    /// between its updates where it belongs, and a client that lost count can ask for it. A symbol
    /// that is named twice in a request is begun once.
    fn subscribe_one<'a, L: Link>(
        &mut self,
        desk: &Desk,
        link: &mut L,
        asked: &Subscribe<'a>,
        symbol: &'a str,
        begun: &mut Begun<L::Value>,
    ) -> Result<SymbolResult<'a>, Refusal> {
        let instrument = self.admit(desk, symbol)?;
        let terms = asked.wanted.over(Terms::default()).map_err(bad_request)?;
        if let Some(stream) = begun.streams.get(&instrument) {
            return Ok(told(symbol, terms, *stream));
        }
        let held = self.holdings.terms(instrument);
        let goes_on = held.filter(|held| held.go_on_as(terms));
        let stream = match (&asked.resume, goes_on) {
            (None, Some(held)) if !asked.snapshot => {
                self.change_rate(link, instrument, held, terms);
                Stream { recovered: None, seq: None }
            }
            (None, _) => {
                // Another kind of updates builds on nothing that the client has.
                let wants_snapshot = asked.snapshot || held.is_some();
                let seq = self.begin(link, instrument, terms, wants_snapshot, begun);
                Stream { recovered: None, seq: Some(seq) }
            }
            (Some(resume), _) => {
                let had = resume.seqs.get(symbol).filter(|_| *resume.epoch == *desk.epoch);
                match had.and_then(|seq| link.take_up(instrument, terms, *seq)) {
                    Some(seq) => {
                        self.hold(instrument, terms);
                        Stream { recovered: Some(true), seq: Some(seq) }
                    }
                    None => {
                        let seq = self.begin(link, instrument, terms, true, begun);
                        Stream { recovered: Some(false), seq: Some(seq) }
                    }
                }
            }
        };
        begun.streams.insert(instrument, stream);
        Ok(told(symbol, terms, stream))
    }

    fn set_one<'a, L: Link>(
        &mut self,
        desk: &Desk,
        link: &mut L,
        asked: &Set<'a>,
        symbol: &'a str,
        begun: &mut Begun<L::Value>,
    ) -> Result<SymbolResult<'a>, Refusal> {
        let instrument = desk.listing.find(symbol);
        let held = instrument.and_then(|it| Some((it, self.holdings.terms(it)?)));
        let Some((instrument, held)) = held else { return Ok(not_subscribed(symbol)) };
        let terms = asked.wanted.over(held).map_err(bad_request)?;
        let seq = if held.go_on_as(terms) {
            self.change_rate(link, instrument, held, terms);
            None
        } else {
            Some(self.begin(link, instrument, terms, true, begun))
        };
        Ok(told(symbol, terms, Stream { recovered: None, seq }))
    }

    fn begin<L: Link>(
        &mut self,
        link: &mut L,
        instrument: InstrumentId,
        terms: Terms,
        wants_snapshot: bool,
        begun: &mut Begun<L::Value>,
    ) -> u64 {
        let (seq, value) = link.subscribe(instrument, terms);
        self.hold(instrument, terms);
        let snapshot = |value| Snapshot { instrument, seq, fields: terms.fields, value };
        begun.snapshots.extend(value.filter(|_| wants_snapshot).map(snapshot));
        seq
    }

    fn change_rate(
        &mut self,
        link: &mut impl Link,
        instrument: InstrumentId,
        held: Terms,
        terms: Terms,
    ) {
        if held.max_rate != terms.max_rate {
            link.set_rate(instrument, terms.max_rate);
            self.hold(instrument, terms);
        }
    }

    fn hold(&mut self, instrument: InstrumentId, terms: Terms) {
        self.holdings.insert(instrument, terms);
        self.subscribe_by_ns = FULFILLED;
    }

    fn admit(&self, desk: &Desk, symbol: &str) -> Result<InstrumentId, Refusal> {
        let Some(instrument) = desk.listing.find(symbol) else {
            let message = format!("{} is not listed", excerpt(symbol));
            return Err((ErrorCode::UnknownSymbol, message));
        };
        let max = desk.rules.symbols_max;
        if self.holdings.len() >= max && self.holdings.terms(instrument).is_none() {
            let message = format!("a connection holds at most {max} symbols");
            return Err((ErrorCode::TooManySymbols, message));
        }
        Ok(instrument)
    }
}

fn told(symbol: &str, terms: Terms, Stream { recovered, seq }: Stream) -> SymbolResult<'_> {
    SymbolResult { terms: Some(terms.into()), recovered, seq, ..SymbolResult::done(symbol) }
}

fn refused(symbol: &str, code: ErrorCode, message: String) -> SymbolResult<'_> {
    SymbolResult::refused(symbol, code, message)
}

fn not_subscribed(symbol: &str) -> SymbolResult<'_> {
    let message = format!("{} is not subscribed to", excerpt(symbol));
    SymbolResult::refused(symbol, ErrorCode::NotSubscribed, message)
}

fn bad_request(why: &str) -> Refusal {
    (ErrorCode::BadRequest, why.to_owned())
}
