//! The market: the last state of every instrument, and what each event changed in it.
//!
//! It stands between the feed and the publisher, on the feed's thread, and is the only writer of
//! updates and snapshots. An update carries the fields that changed, a snapshot all that are
//! known, both under one schema, so that a client merges either into what it has. Sequence numbers
//! come from the publisher; the market only writes them.

use std::fmt::Write;

use rust_decimal::Decimal;

use crate::event::{Change, Event};
use crate::instrument::{InstrumentId, Listing};
use crate::reply::{self, Data, Nanoseconds, Snapshot, TICKER, Update};

/// The last state of every instrument of a listing.
#[derive(Debug)]
pub struct Market {
    epoch: String,
    states: Vec<State>,
}

impl Market {
    /// A market in which nothing has happened yet. `epoch` names this numbering of events.
    #[must_use]
    pub fn new(epoch: &str, listing: &Listing) -> Self {
        let states = listing.iter().map(|(_, instrument)| State {
            symbol: instrument.symbol.clone(),
            price_decimals: instrument.price_decimals,
            ts_ns: 0,
            fields: Default::default(),
        });
        Self { epoch: epoch.to_owned(), states: states.collect() }
    }

    /// Takes an event in, and returns which fields it changed.
    pub fn apply(&mut self, event: &Event) -> Changed {
        let state = &mut self.states[event.instrument.index()];
        state.ts_ns = event.ts_ns;
        match &event.change {
            Change::Trade(trade) => state.trade(trade.price, trade.size),
            Change::Quote(quote) => {
                let prices = [quote.bid, quote.ask];
                state.quote(prices, [quote.bid_size, quote.ask_size])
            }
        }
    }

    /// Appends the update of the event that was applied last to `instrument`, as number `seq`.
    pub fn write_update(
        &self,
        instrument: InstrumentId,
        seq: u64,
        changed: Changed,
        out: &mut Vec<u8>,
    ) {
        let state = &self.states[instrument.index()];
        let update = Update {
            channel: TICKER,
            symbol: &state.symbol,
            seq,
            prev: seq - 1,
            n: 1,
            ts: Nanoseconds(state.ts_ns),
            data: state.data(changed),
            crc: seq.is_multiple_of(UPDATES_PER_CRC).then(|| state.crc()),
        };
        reply::write(&update, out);
    }

    /// Appends all that is known of `instrument`, as of event number `seq`.
    pub fn write_snapshot(&self, instrument: InstrumentId, seq: u64, out: &mut Vec<u8>) {
        let state = &self.states[instrument.index()];
        let snapshot = Snapshot {
            channel: TICKER,
            symbol: &state.symbol,
            epoch: &self.epoch,
            seq,
            ts: Nanoseconds(state.ts_ns),
            data: state.data(Changed::ALL),
            crc: state.crc(),
        };
        reply::write(&snapshot, out);
    }
}

/// A set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed(u8);

impl Changed {
    const NONE: Self = Self(0);
    const ALL: Self = Self(u8::MAX);

    const fn insert(&mut self, field: Field) {
        self.0 |= 1 << field as u8;
    }

    const fn contains(self, field: Field) -> bool {
        self.0 & 1 << field as u8 != 0
    }
}

/// A field of the channel.
#[derive(Clone, Copy, Debug)]
enum Field {
    Bid,
    BidSize,
    Ask,
    AskSize,
    Last,
    LastSize,
    Vol,
    Open,
}

/// What is known of one instrument.
#[derive(Debug)]
struct State {
    symbol: String,
    price_decimals: u32,
    ts_ns: u64,
    fields: [Option<Value>; 8],
}

impl State {
    fn trade(&mut self, price: Decimal, size: Option<Decimal>) -> Changed {
        let mut changed = Changed::NONE;
        self.set_price(Field::Last, price, &mut changed);
        if let Some(size) = size {
            self.set(Field::LastSize, size.normalize(), &mut changed);
            let volume = self.value(Field::Vol).unwrap_or_default();
            // A sum beyond 28 digits stays where it is: no market trades that much.
            self.set(Field::Vol, volume.saturating_add(size).normalize(), &mut changed);
        }
        self.open(price, &mut changed);
        changed
    }

    fn quote(&mut self, [bid, ask]: [Decimal; 2], sizes: [Option<Decimal>; 2]) -> Changed {
        let mut changed = Changed::NONE;
        self.set_price(Field::Bid, bid, &mut changed);
        self.set_price(Field::Ask, ask, &mut changed);
        for (field, size) in [Field::BidSize, Field::AskSize].into_iter().zip(sizes) {
            if let Some(size) = size {
                self.set(field, size.normalize(), &mut changed);
            }
        }
        if self.value(Field::Open).is_none() {
            let middle = bid.saturating_add(ask) / Decimal::TWO;
            self.open(middle.normalize(), &mut changed);
        }
        changed
    }

    /// The first price seen, whether it was paid or lies between bid and ask, is what a day's
    /// change is measured against.
    fn open(&mut self, price: Decimal, changed: &mut Changed) {
        if self.value(Field::Open).is_none() {
            self.set_price(Field::Open, price, changed);
        }
    }

    fn set_price(&mut self, field: Field, mut price: Decimal, changed: &mut Changed) {
        if price.scale() < self.price_decimals {
            price.rescale(self.price_decimals);
        }
        self.set(field, price, changed);
    }

    fn set(&mut self, field: Field, decimal: Decimal, changed: &mut Changed) {
        let value = self.fields[field as usize].get_or_insert_with(Value::default);
        if value.text.is_empty() || value.decimal != decimal {
            value.replace(decimal);
            changed.insert(field);
        }
    }

    fn value(&self, field: Field) -> Option<Decimal> {
        self.fields[field as usize].as_ref().map(|value| value.decimal)
    }

    fn text(&self, field: Field) -> Option<&str> {
        self.fields[field as usize].as_ref().map(|value| value.text.as_str())
    }

    fn data(&self, changed: Changed) -> Data<'_> {
        let text = |field| changed.contains(field).then(|| self.text(field)).flatten();
        Data {
            bid: text(Field::Bid),
            bid_size: text(Field::BidSize),
            ask: text(Field::Ask),
            ask_size: text(Field::AskSize),
            last: text(Field::Last),
            last_size: text(Field::LastSize),
            vol: text(Field::Vol),
            open: text(Field::Open),
        }
    }

    /// CRC-32 (IEEE) over `symbol:bid:ask:last:vol` as sent; a field not known is empty.
    fn crc(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.symbol.as_bytes());
        for field in [Field::Bid, Field::Ask, Field::Last, Field::Vol] {
            hasher.update(b":");
            hasher.update(self.text(field).unwrap_or_default().as_bytes());
        }
        hasher.finalize()
    }
}

/// A decimal and how it is written: written once when it changes, read by every message after.
#[derive(Debug, Default)]
struct Value {
    decimal: Decimal,
    text: String,
}

impl Value {
    fn replace(&mut self, decimal: Decimal) {
        self.decimal = decimal;
        self.text.clear();
        write!(self.text, "{decimal}").expect("a String takes every byte");
    }
}

/// Every update whose number is a multiple of this carries a checksum.
const UPDATES_PER_CRC: u64 = 100;

#[cfg(test)]
mod tests {
    use rust_decimal::dec;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::event::{Quote, Trade};
    use crate::instrument::Instrument;

    struct Fixture {
        market: Market,
        id: InstrumentId,
        seq: u64,
    }

    impl Fixture {
        fn new() -> Self {
            let mut listing = Listing::default();
            let (symbol, name) = ("AAPL".to_owned(), "Apple".to_owned());
            let id = listing.add(Instrument { symbol, name, price_decimals: 2 }).unwrap();
            Self { market: Market::new("k3Zq", &listing), id, seq: 0 }
        }

        fn update(&mut self, change: Change) -> Json {
            let event = Event { offset_ns: 0, ts_ns: 77, instrument: self.id, change };
            let changed = self.market.apply(&event);
            self.seq += 1;
            let mut out = Vec::new();
            self.market.write_update(self.id, self.seq, changed, &mut out);
            serde_json::from_slice(&out).unwrap()
        }

        fn trade(&mut self, price: Decimal, size: Option<Decimal>) -> Json {
            self.update(Change::Trade(Trade { price, size }))["data"].clone()
        }

        fn quote(&mut self, bid: Decimal, ask: Decimal, size: Option<Decimal>) -> Json {
            let quote = Quote { bid, bid_size: size, ask, ask_size: size };
            self.update(Change::Quote(quote))["data"].clone()
        }

        fn snapshot(&self) -> Json {
            let mut out = Vec::new();
            self.market.write_snapshot(self.id, self.seq, &mut out);
            serde_json::from_slice(&out).unwrap()
        }
    }

    #[test]
    fn an_update_carries_the_changed_fields_only() {
        let mut fixture = Fixture::new();
        let first = fixture.trade(dec!(189.4), Some(dec!(100)));
        let all = json!({"last": "189.40", "last_size": "100", "vol": "100", "open": "189.40"});
        assert_eq!(first, all);
        let same_price = fixture.trade(dec!(189.40), Some(dec!(100)));
        assert_eq!(same_price, json!({"vol": "200"}));
        let quote = fixture.quote(dec!(189.4), dec!(189.41), Some(dec!(3)));
        let sizes = json!({"bid": "189.40", "bid_size": "3", "ask": "189.41", "ask_size": "3"});
        assert_eq!(quote, sizes);
        assert_eq!(fixture.quote(dec!(189.40), dec!(189.41), Some(dec!(3.0))), json!({}));
        assert_eq!(fixture.quote(dec!(189.39), dec!(189.41), None), json!({"bid": "189.39"}));
    }

    #[test]
    fn updates_merged_into_a_snapshot_are_the_later_snapshot() {
        let mut fixture = Fixture::new();
        let mut held = fixture.snapshot()["data"].clone();
        assert_eq!(held, json!({}));
        for step in 0..300_i64 {
            let price = Decimal::new(18_900 + (step * 7) % 13, 2);
            let data = match step % 3 {
                0 => fixture.trade(price, (step % 2 == 0).then_some(dec!(1.5))),
                1 => fixture.quote(price, price + dec!(0.02), Some(Decimal::from(step % 5))),
                _ => fixture.quote(price, price + dec!(0.01), None),
            };
            let changes = data.as_object().unwrap().clone();
            held.as_object_mut().unwrap().extend(changes);
            assert_eq!(fixture.snapshot()["data"], held, "after step {step}");
        }
    }

    #[test]
    fn every_event_has_one_number_and_follows_the_one_before() {
        let mut fixture = Fixture::new();
        for seq in 1..=3_u64 {
            let update = fixture.update(Change::Trade(Trade { price: dec!(1), size: None }));
            assert_eq!((&update["seq"], &update["prev"]), (&json!(seq), &json!(seq - 1)));
            assert_eq!((&update["n"], &update["ts"]), (&json!(1), &json!("77")));
            assert_eq!(update["channel"], "ticker");
        }
        let snapshot = fixture.snapshot();
        assert_eq!((&snapshot["seq"], &snapshot["epoch"]), (&json!(3), &json!("k3Zq")));
    }

    #[test]
    fn the_crc_covers_what_was_sent_and_comes_with_every_hundredth_update() {
        let mut fixture = Fixture::new();
        fixture.quote(dec!(189.41), dec!(189.43), None);
        let empty_last = crc32fast::hash(b"AAPL:189.41:189.43::");
        assert_eq!(fixture.snapshot()["crc"], json!(empty_last));
        let expected = crc32fast::hash(b"AAPL:189.41:189.43:189.42:1203344");
        fixture.trade(dec!(189.42), Some(dec!(1203344)));
        assert_eq!(fixture.snapshot()["crc"], json!(expected));
        for seq in 3..=200_u64 {
            let update = fixture.update(Change::Trade(Trade { price: dec!(189.42), size: None }));
            let crc = if seq % 100 == 0 { json!(expected) } else { Json::Null };
            assert_eq!(update["crc"], crc, "update {seq}");
        }
    }

    #[test]
    fn the_open_of_an_instrument_that_only_quotes_lies_between_bid_and_ask() {
        let mut fixture = Fixture::new();
        let first = fixture.quote(dec!(86.655), dec!(86.728), None);
        assert_eq!(first["open"], "86.6915");
        fixture.trade(dec!(90), None);
        assert_eq!(fixture.snapshot()["data"]["open"], "86.6915");
    }

    #[test]
    fn a_volume_has_no_trailing_zeros() {
        let mut fixture = Fixture::new();
        fixture.trade(dec!(1), Some(dec!(0.75)));
        assert_eq!(fixture.trade(dec!(1), Some(dec!(0.250)))["vol"], "1");
    }
}
