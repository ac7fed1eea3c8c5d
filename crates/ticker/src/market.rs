//! The market: the last state of every instrument, and when each of its fields changed.
//!
//! It stands between the feed and the publisher, on the feed's thread, and is the only writer of
//! what is published: of each event the update for those who get every event, and the instrument's
//! [`Value`], of which everything else is made where it is sent. Sequence numbers come from the
//! publisher; the market only notes them.

use std::fmt::Write;

use rust_decimal::Decimal;

use crate::event::{Change, Event};
use crate::field::{Field, Fields};
use crate::instrument::{InstrumentId, Listing};
use crate::reply;
use crate::value::{Known, Value};

/// The last state of every instrument of a listing.
#[derive(Debug)]
pub struct Market {
    states: Vec<State>,
}

impl Market {
    /// A market in which nothing has happened yet.
    #[must_use]
    pub fn new(listing: &Listing) -> Self {
        let states = listing.iter().map(|(_, instrument)| State {
            symbol: instrument.symbol.clone(),
            price_decimals: instrument.price_decimals,
            ts_ns: 0,
            fields: Default::default(),
        });
        Self { states: states.collect() }
    }

    /// Takes an event in as number `seq` of its instrument, and appends its update and the value that
    /// the instrument has then.
    pub fn publish(&mut self, event: &Event, seq: u64, update: &mut Vec<u8>, value: &mut Vec<u8>) {
        let state = &mut self.states[event.instrument.index()];
        state.take(event, seq);
        let now = state.value();
        reply::write(&now.update(&state.symbol, seq - 1, seq, Fields::ALL), update);
        now.write(value);
    }

    /// What is known of an instrument.
    #[must_use]
    pub fn value(&self, instrument: InstrumentId) -> Value<'_> {
        self.states[instrument.index()].value()
    }
}

/// What is known of one instrument.
#[derive(Debug)]
struct State {
    symbol: String,
    price_decimals: u32,
    ts_ns: u64,
    fields: [Option<Written>; Field::COUNT],
}

impl State {
    fn take(&mut self, event: &Event, seq: u64) {
        self.ts_ns = event.ts_ns;
        match &event.change {
            Change::Trade(trade) => self.trade(trade.price, trade.size, seq),
            Change::Quote(quote) => {
                let prices = [quote.bid, quote.ask];
                self.quote(prices, [quote.bid_size, quote.ask_size], seq);
            }
        }
    }

    fn trade(&mut self, price: Decimal, size: Option<Decimal>, seq: u64) {
        self.set_price(Field::Last, price, seq);
        if let Some(size) = size {
            self.set(Field::LastSize, size.normalize(), seq);
            let volume = self.decimal(Field::Vol).unwrap_or_default();
            // A sum beyond 28 digits stays where it is: no market trades that much.
            self.set(Field::Vol, volume.saturating_add(size).normalize(), seq);
        }
        self.open(price, seq);
    }

    fn quote(&mut self, [bid, ask]: [Decimal; 2], sizes: [Option<Decimal>; 2], seq: u64) {
        self.set_price(Field::Bid, bid, seq);
        self.set_price(Field::Ask, ask, seq);
        for (field, size) in [Field::BidSize, Field::AskSize].into_iter().zip(sizes) {
            if let Some(size) = size {
                self.set(field, size.normalize(), seq);
            }
        }
        if self.decimal(Field::Open).is_none() {
            let middle = bid.saturating_add(ask) / Decimal::TWO;
            self.open(middle.normalize(), seq);
        }
    }

    /// The first price seen, whether it was paid or lies between bid and ask, is what a day's
    /// change is measured against.
    fn open(&mut self, price: Decimal, seq: u64) {
        if self.decimal(Field::Open).is_none() {
            self.set_price(Field::Open, price, seq);
        }
    }

    fn set_price(&mut self, field: Field, mut price: Decimal, seq: u64) {
        if price.scale() < self.price_decimals {
            price.rescale(self.price_decimals);
        }
        self.set(field, price, seq);
    }

    fn set(&mut self, field: Field, decimal: Decimal, seq: u64) {
        let written = self.fields[field as usize].get_or_insert_with(Written::default);
        if written.text.is_empty() || written.decimal != decimal {
            written.replace(decimal, seq);
        }
    }

    fn decimal(&self, field: Field) -> Option<Decimal> {
        self.fields[field as usize].as_ref().map(|written| written.decimal)
    }

    fn value(&self) -> Value<'_> {
        Value { ts_ns: self.ts_ns, fields: self.fields.each_ref().map(Written::known) }
    }
}

/// A decimal and how it is written: written once when it changes, read by every message after.
#[derive(Debug, Default)]
struct Written {
    decimal: Decimal,
    text: String,
    /// Number of the event that changed it last.
    changed_at: u64,
}

impl Written {
    fn known(field: &Option<Self>) -> Option<Known<'_>> {
        field.as_ref().map(|it| Known { changed_at: it.changed_at, text: &it.text })
    }

    fn replace(&mut self, decimal: Decimal, seq: u64) {
        self.decimal = decimal;
        self.changed_at = seq;
        self.text.clear();
        write!(self.text, "{decimal}").expect("a String takes every byte");
    }
}

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
            Self { market: Market::new(&listing), id, seq: 0 }
        }

        fn update(&mut self, change: Change) -> Json {
            let event = Event { offset_ns: 0, ts_ns: 77, instrument: self.id, change };
            self.seq += 1;
            let (mut update, mut value) = (Vec::new(), Vec::new());
            self.market.publish(&event, self.seq, &mut update, &mut value);
            assert_eq!(Value::parse(&value), Some(self.market.value(self.id)));
            serde_json::from_slice(&update).unwrap()
        }

        fn trade(&mut self, price: Decimal, size: Option<Decimal>) -> Json {
            self.update(Change::Trade(Trade { price, size }))["data"].clone()
        }

        fn quote(&mut self, bid: Decimal, ask: Decimal, size: Option<Decimal>) -> Json {
            let quote = Quote { bid, bid_size: size, ask, ask_size: size };
            self.update(Change::Quote(quote))["data"].clone()
        }

        fn snapshot(&self) -> Json {
            let value = self.market.value(self.id);
            serde_json::to_value(value.snapshot("AAPL", "k3Zq", self.seq, Fields::ALL)).unwrap()
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
    fn one_update_of_many_events_is_all_of_them_merged() {
        let mut fixture = Fixture::new();
        let mut every = vec![json!({})];
        for step in 0..40_i64 {
            let price = Decimal::new(18_900 + (step * 7) % 13, 2);
            every.push(match step % 3 {
                0 => fixture.trade(price, (step % 2 == 0).then_some(dec!(1.5))),
                1 => fixture.quote(price, price + dec!(0.02), Some(Decimal::from(step % 5))),
                _ => fixture.quote(price, price + dec!(0.01), None),
            });
        }
        for prev in 0..=40 {
            let mut merged = json!({});
            for data in &every[prev + 1..] {
                merged.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
            }
            let value = fixture.market.value(fixture.id);
            let update = value.update("AAPL", prev as u64, 40, Fields::ALL);
            let update = serde_json::to_value(update).unwrap();
            assert_eq!(update["data"], merged, "after {prev}");
            assert_eq!((&update["seq"], &update["n"]), (&json!(40), &json!(40 - prev)));
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
