//! A market event: one trade or one quote of one instrument, as a feed yields it.
//!
//! Feeds make events, the player paces them, the market turns each into one update. Prices and
//! sizes are decimals from here to the wire: no binary fraction touches them after the feed.

use rust_decimal::Decimal;

use crate::instrument::InstrumentId;

/// Something that happened to an instrument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds between the feed's first event and this one; what the player paces by. Never
    /// less than that of the event before.
    pub offset_ns: u64,
    /// When it happened, in nanoseconds since the Unix epoch; what clients are told.
    pub ts_ns: u64,
    /// What it happened to.
    pub instrument: InstrumentId,
    /// What happened.
    pub change: Change,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Somebody bought from somebody.
    Trade(Trade),
    /// The best prices that somebody would pay or take.
    Quote(Quote),
}

/// A trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trade {
    /// What was paid for one.
    pub price: Decimal,
    /// How many changed hands, where the feed says so.
    pub size: Option<Decimal>,
}

/// The best bid and the best ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The highest price that a buyer offers.
    pub bid: Decimal,
    /// How many at that price, where the feed says so.
    pub bid_size: Option<Decimal>,
    /// The lowest price that a seller asks.
    pub ask: Decimal,
    /// How many at that price, where the feed says so.
    pub ask_size: Option<Decimal>,
}
