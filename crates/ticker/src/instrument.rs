//! Instruments: what is listed, under which symbol, and with how many decimals its prices are
//! written.
//!
//! A feed knows its instruments before its first event, so a listing is fixed once the server
//! runs: every part of the ticker names an instrument by its place in it, and a symbol is looked
//! up only where a client sends one.

use std::collections::HashMap;

/// An instrument that the feed brings events of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// What clients subscribe to, such as `AAPL`: 1 to [`SYMBOL_BYTES_MAX`] printable ASCII
    /// characters.
    pub symbol: String,
    /// What people call it.
    pub name: String,
    /// Decimals that its prices are written with, so that a column of them lines up.
    pub price_decimals: u32,
}

/// The place of an instrument in its [`Listing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(u32);

impl InstrumentId {
    /// The place as an index into tables that are kept per instrument.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All instruments of a feed, in the order in which they are shown.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    instruments: Vec<Instrument>,
    ids: HashMap<String, InstrumentId>,
}

impl Listing {
    /// Lists `instrument`, and returns its place; `None` if its symbol is listed already, is not
    /// a [`symbol`](is_symbol), or [`INSTRUMENTS_MAX`] are listed.
    pub fn add(&mut self, instrument: Instrument) -> Option<InstrumentId> {
        let known = self.ids.contains_key(&instrument.symbol);
        if known || !is_symbol(&instrument.symbol) || self.instruments.len() >= INSTRUMENTS_MAX {
            return None;
        }
        let id = InstrumentId(u32::try_from(self.instruments.len()).ok()?);
        self.ids.insert(instrument.symbol.clone(), id);
        self.instruments.push(instrument);
        Some(id)
    }

    /// Widens the decimals of an instrument's prices to at least `decimals`.
    pub fn widen(&mut self, id: InstrumentId, decimals: u32) {
        let instrument = &mut self.instruments[id.index()];
        instrument.price_decimals = instrument.price_decimals.max(decimals);
    }

    /// The instrument that is listed under `symbol`; case matters.
    #[must_use]
    pub fn find(&self, symbol: &str) -> Option<InstrumentId> {
        self.ids.get(symbol).copied()
    }

    /// The instrument at a place of this listing.
    #[must_use]
    pub fn instrument(&self, id: InstrumentId) -> &Instrument {
        &self.instruments[id.index()]
    }

    /// Places and instruments in their order.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentId, &Instrument)> {
        (0..).map(InstrumentId).zip(&self.instruments)
    }

    /// How many are listed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.instruments.len()
    }

    /// Whether nothing is listed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.instruments.is_empty()
    }
}

/// Whether `text` can be a symbol: 1 to [`SYMBOL_BYTES_MAX`] printable ASCII characters without
/// space, quote and backslash.
#[must_use]
pub fn is_symbol(text: &str) -> bool {
    (1..=SYMBOL_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// Longest symbol. Option symbols of the OCC take 21 characters, ISINs 12.
pub const SYMBOL_BYTES_MAX: usize = 32;

/// Most instruments of a listing: all that a large exchange lists. The message that names them all
/// then takes at most 900 KB, less than what a connection may have unsent.
pub const INSTRUMENTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn instrument(symbol: &str) -> Instrument {
        Instrument { symbol: symbol.to_owned(), name: "A name".to_owned(), price_decimals: 2 }
    }

    #[test]
    fn what_is_listed_is_found_under_its_symbol_only() {
        let mut listing = Listing::default();
        let first = listing.add(instrument("AAPL")).unwrap();
        let second = listing.add(instrument("MSFT")).unwrap();
        assert_eq!(listing.find("AAPL"), Some(first));
        assert_eq!(listing.find("MSFT"), Some(second));
        assert_eq!(listing.find("aapl"), None);
        assert_eq!(listing.instrument(second).symbol, "MSFT");
        let order: Vec<_> = listing.iter().map(|(id, _)| id).collect();
        assert_eq!(order, [first, second]);
    }

    #[test]
    fn a_symbol_is_listed_once() {
        let mut listing = Listing::default();
        assert!(listing.add(instrument("AAPL")).is_some());
        assert!(listing.add(instrument("AAPL")).is_none());
        assert_eq!(listing.len(), 1);
    }

    #[test]
    fn symbols_are_short_printable_ascii() {
        for good in ["A", "BTC-USD", "BRK.B", "EUR/USD", "X:BTCUSDT", &"A".repeat(32)] {
            assert!(is_symbol(good), "{good}");
        }
        for bad in ["", "A B", "A\"", "A\\", "Ä", "A\n", "A\0", &"A".repeat(33)] {
            assert!(!is_symbol(bad), "{bad:?}");
        }
    }

    #[test]
    fn decimals_only_widen() {
        let mut listing = Listing::default();
        let id = listing.add(instrument("AAPL")).unwrap();
        listing.widen(id, 4);
        listing.widen(id, 1);
        assert_eq!(listing.instrument(id).price_decimals, 4);
    }
}
