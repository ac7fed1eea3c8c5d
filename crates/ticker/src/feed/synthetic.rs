//! The synthetic feed: fifty invented instruments whose prices move believably, for ever.
//!
//! It yields events with offsets and reads no clock: the same seed gives the same events. Three
//! things make it look like a market. *When*: a Hawkes process per instrument, whose events beget
//! events, under a market that is calm or busy. *Where to*: a logarithmic random walk with a common
//! part, a volatility that comes and goes, and a weak pull back to where it began, so that it still
//! looks right after a week. *What*: quotes around that price on the instrument's tick grid, and
//! trades that hit them in runs of buying and selling and push the price a little.

mod universe;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Exp1, StandardNormal};
use rust_decimal::Decimal;

use crate::event::{Change, Event, Quote, Trade};
use crate::instrument::{Instrument, InstrumentId, Listing};
use universe::{Spec, UNIVERSE};

/// A feed of invented events.
#[derive(Debug)]
pub struct Synthetic {
    listing: Listing,
    markets: Vec<Walk>,
    climate: Climate,
    random: Xoshiro256PlusPlus,
    starts_at_unix_ns: u64,
    now_s: f64,
    /// The market's own logarithmic move since the beginning.
    common: f64,
    /// Events of the opening that were yielded: a quote and a trade of each instrument.
    opened: usize,
}

impl Synthetic {
    /// A feed whose events follow from `seed` alone; their times count from `starts_at_unix_ns`.
    #[must_use]
    pub fn new(seed: u64, starts_at_unix_ns: u64) -> Self {
        let mut listing = Listing::default();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut markets = Vec::with_capacity(UNIVERSE.len());
        for spec in UNIVERSE {
            let id = listing.add(Instrument {
                symbol: spec.symbol.to_owned(),
                name: spec.name.to_owned(),
                price_decimals: spec.kind.price_decimals,
            });
            markets.push(Walk::new(*spec, id.expect("invented symbols are listed once")));
        }
        let climate = Climate::new(&mut random);
        let (now_s, common, opened) = (0.0, 0.0, 0);
        Self { listing, markets, climate, random, starts_at_unix_ns, now_s, common, opened }
    }

    /// The next event. There always is one.
    pub fn next_event(&mut self) -> Event {
        let (index, change) = if self.opened < 2 * self.markets.len() {
            self.opening()
        } else {
            let index = self.advance();
            let walk = &mut self.markets[index];
            walk.advance(self.now_s, self.common, self.climate.roughness(), &mut self.random);
            (index, walk.act(&mut self.random))
        };
        let offset_ns = u64::try_from(whole(self.now_s * 1e9)).unwrap_or(0);
        let ts_ns = self.starts_at_unix_ns.saturating_add(offset_ns);
        Event { offset_ns, ts_ns, instrument: self.markets[index].id, change }
    }

    /// The invented instruments.
    #[must_use]
    pub const fn listing(&self) -> &Listing {
        &self.listing
    }

    /// A quote and a trade of each instrument, so that nobody looks at an empty row.
    fn opening(&mut self) -> (usize, Change) {
        let index = self.opened / 2;
        let quote = self.opened.is_multiple_of(2);
        self.opened += 1;
        let walk = &mut self.markets[index];
        let change =
            if quote { walk.quote(&mut self.random) } else { walk.trade(&mut self.random) };
        (index, change)
    }

    /// Moves time on to the next event, and returns the place of its instrument.
    ///
    /// Ogata's thinning: between events every rate only falls, so a candidate drawn at the rate of
    /// now is accepted with the share of that rate that is left when it comes.
    fn advance(&mut self) -> usize {
        loop {
            let bound = self.total_rate();
            let step_s = self.random.sample::<f64, _>(Exp1) / bound;
            if self.climate.until_s < self.now_s + step_s {
                let step_s = self.climate.until_s - self.now_s;
                self.pass(step_s);
                self.climate.turn(&mut self.random);
                continue;
            }
            self.pass(step_s);
            let mut drawn = self.random.random::<f64>() * bound;
            let base = self.climate.base_rate();
            for (index, walk) in self.markets.iter_mut().enumerate() {
                drawn -= base * walk.spec.activity + walk.excitation;
                if drawn < 0.0 {
                    walk.excitation += OFFSPRING * EXCITATION_DECAY;
                    return index;
                }
            }
        }
    }

    fn pass(&mut self, step_s: f64) {
        self.now_s += step_s;
        let kept = (-EXCITATION_DECAY * step_s).exp();
        for walk in &mut self.markets {
            walk.excitation *= kept;
        }
        let sigma = COMMON_VOLATILITY / YEAR_S.sqrt() * self.climate.roughness();
        self.common += sigma * step_s.sqrt() * self.random.sample::<f64, _>(StandardNormal);
        self.common *= 1.0 - step_s / PULL_S;
    }

    /// Events a second that are to be expected now.
    fn total_rate(&self) -> f64 {
        let base = self.climate.base_rate();
        self.markets.iter().map(|walk| base * walk.spec.activity + walk.excitation).sum()
    }
}

/// Whether the whole market is calm or busy.
#[derive(Debug)]
struct Climate {
    busy: bool,
    until_s: f64,
    /// Of all instruments together.
    activity: f64,
}

impl Climate {
    fn new(random: &mut Xoshiro256PlusPlus) -> Self {
        let activity = UNIVERSE.iter().map(|spec| spec.activity).sum();
        let mut climate = Self { busy: true, until_s: 0.0, activity };
        climate.turn(random);
        climate
    }

    fn turn(&mut self, random: &mut Xoshiro256PlusPlus) {
        self.busy = !self.busy;
        let mean_s = if self.busy { BUSY_S } else { CALM_S };
        self.until_s += mean_s * random.sample::<f64, _>(Exp1);
    }

    /// Events a second that come of themselves, for an activity of one.
    fn base_rate(&self) -> f64 {
        CALM_RATE * if self.busy { BUSY_RATE } else { 1.0 } / self.activity
    }

    const fn roughness(&self) -> f64 {
        if self.busy { BUSY_ROUGHNESS } else { 1.0 }
    }
}

/// One instrument on its way.
#[derive(Debug)]
struct Walk {
    spec: Spec,
    id: InstrumentId,
    /// Events a second that earlier events beget.
    excitation: f64,
    last_s: f64,
    common: f64,
    /// Logarithm of the fair price over where it began.
    log_price: f64,
    /// Logarithm of the volatility over its usual one.
    log_volatility: f64,
    buying: bool,
    bid_ticks: i64,
    ask_ticks: i64,
}

impl Walk {
    fn new(spec: Spec, id: InstrumentId) -> Self {
        Self {
            spec,
            id,
            excitation: 0.0,
            last_s: 0.0,
            common: 0.0,
            log_price: 0.0,
            log_volatility: 0.0,
            buying: true,
            bid_ticks: 0,
            ask_ticks: 0,
        }
    }

    /// Lets the price and its volatility move to `now_s`.
    fn advance(&mut self, now_s: f64, common: f64, roughness: f64, random: &mut impl RngExt) {
        let step_s = now_s - self.last_s;
        self.last_s = now_s;
        let kept = (-step_s / MOOD_S).exp();
        let noise = MOOD_SPREAD * (1.0 - kept * kept).sqrt();
        self.log_volatility = self.log_volatility * kept + noise * normal(random);
        let volatility = self.spec.volatility * self.log_volatility.exp() * roughness;
        let step = volatility / YEAR_S.sqrt() * step_s.sqrt() * normal(random);
        self.log_price = self.log_price * (-step_s / PULL_S).exp() + step;
        self.log_price += self.spec.beta * (common - self.common);
        self.common = common;
    }

    fn act(&mut self, random: &mut impl RngExt) -> Change {
        if random.random::<f64>() < TRADE_SHARE { self.trade(random) } else { self.quote(random) }
    }

    fn quote(&mut self, random: &mut impl RngExt) -> Change {
        let kind = self.spec.kind;
        let wide = (0.5 * self.log_volatility + 0.25 * normal(random)).exp();
        let half = 0.5 * kind.spread * wide;
        let fair = self.fair_ticks();
        self.bid_ticks = whole((fair - half).round()).max(1);
        self.ask_ticks = whole((fair + half).round()).max(self.bid_ticks + 1);
        Change::Quote(Quote {
            bid: self.price(self.bid_ticks),
            bid_size: Some(self.size(1.0, random)),
            ask: self.price(self.ask_ticks),
            ask_size: Some(self.size(1.0, random)),
        })
    }

    fn trade(&mut self, random: &mut impl RngExt) -> Change {
        if random.random::<f64>() < TURN_SHARE {
            self.buying = !self.buying;
        }
        let (ticks, direction) =
            if self.buying { (self.ask_ticks, 1.0) } else { (self.bid_ticks, -1.0) };
        let push = IMPACT * self.spec.kind.spread / self.fair_ticks() * random.random::<f64>();
        self.log_price += direction * push;
        let size = Some(self.size(TRADE_SIZE, random));
        Change::Trade(Trade { price: self.price(ticks), size })
    }

    /// What it is worth, in ticks.
    fn fair_ticks(&self) -> f64 {
        let kind = self.spec.kind;
        let unit = 10_f64.powi(-kind.price_decimals.cast_signed());
        self.spec.price * self.log_price.exp() / (unit * self.tick())
    }

    #[expect(clippy::cast_precision_loss, reason = "a tick is a small number")]
    const fn tick(&self) -> f64 {
        self.spec.kind.tick as f64
    }

    fn price(&self, ticks: i64) -> Decimal {
        Decimal::new(ticks * self.spec.kind.tick, self.spec.kind.price_decimals)
    }

    fn size(&self, share: f64, random: &mut impl RngExt) -> Decimal {
        let kind = self.spec.kind;
        let lots = kind.lots * share * (SIZE_SPREAD * normal(random)).exp();
        let lots = whole(lots.round()).clamp(1, LOTS_MAX);
        Decimal::new(lots * kind.lot, kind.size_decimals)
    }
}

fn normal(random: &mut impl RngExt) -> f64 {
    random.sample(StandardNormal)
}

#[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
const fn whole(value: f64) -> i64 {
    value as i64
}

/// Seconds that a market trades in a year: 252 days of six and a half hours.
const YEAR_S: f64 = 252.0 * 6.5 * 3600.0;

/// Standard deviation of the market's own move over a year.
const COMMON_VOLATILITY: f64 = 0.15;

/// Over what time a price forgets where it went: with this pull a share of 30 % a year strays
/// about 1 % from where it began.
const PULL_S: f64 = 4.0 * 3600.0;

/// Over what time a volatility comes and goes, and how far.
const MOOD_S: f64 = 300.0;
const MOOD_SPREAD: f64 = 0.45;

/// Events a second that come of themselves while the market is calm, of all instruments together;
/// with their offspring that is about 150.
const CALM_RATE: f64 = 60.0;

/// How many times as many come while it is busy, and how many times as far prices move.
const BUSY_RATE: f64 = 2.5;
const BUSY_ROUGHNESS: f64 = 2.0;

/// Mean length of a calm and of a busy time.
const CALM_S: f64 = 80.0;
const BUSY_S: f64 = 12.0;

/// Events that an event begets of its own instrument, on average; below 1, or they explode.
const OFFSPRING: f64 = 0.6;

/// How quickly it does: most within half a second.
const EXCITATION_DECAY: f64 = 2.0;

/// Share of events that are trades.
const TRADE_SHARE: f64 = 0.3;

/// Share of trades after which buyers and sellers change places.
const TURN_SHARE: f64 = 0.35;

/// How far a trade pushes the price, in usual spreads.
const IMPACT: f64 = 0.3;

/// Size of a trade over that of a quote.
const TRADE_SIZE: f64 = 0.5;

/// Spread of the logarithm of sizes.
const SIZE_SPREAD: f64 = 0.9;

/// Largest size, far out in the tail.
const LOTS_MAX: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX_NS: u64 = 1_795_343_478_000_000_000;

    fn events(seed: u64, until_s: u64) -> Vec<Event> {
        let mut feed = Synthetic::new(seed, UNIX_NS);
        let within = |event: &Event| event.offset_ns < until_s * 1_000_000_000;
        std::iter::repeat_with(|| feed.next_event()).take_while(within).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_gives_others() {
        let first = events(7, 60);
        assert_eq!(first, events(7, 60));
        assert_ne!(first, events(8, 60));
    }

    #[test]
    fn there_are_about_fifty_instruments_and_each_opens_with_a_quote_and_a_trade() {
        let feed = Synthetic::new(1, 0);
        assert_eq!(feed.listing().len(), 50);
        let opening = events(1, 60);
        for (index, (id, instrument)) in feed.listing().iter().enumerate() {
            let [quote, trade] = &opening[2 * index..2 * index + 2] else { unreachable!() };
            assert!(quote.instrument == id && trade.instrument == id, "{}", instrument.symbol);
            assert!(matches!(quote.change, Change::Quote(_)));
            assert!(matches!(trade.change, Change::Trade(_)));
        }
    }

    #[test]
    fn events_come_in_order_a_hundred_to_three_hundred_a_second() {
        let events = events(3, 1_800);
        assert!(events.is_sorted_by_key(|event| event.offset_ns));
        assert!(events.iter().all(|event| event.ts_ns == UNIX_NS + event.offset_ns));
        let per_second = events.len() / 1_800;
        assert!((100..=300).contains(&per_second), "{per_second} events a second");
    }

    #[test]
    fn events_come_in_bursts() {
        let events = events(4, 1_800);
        let mut counts = vec![0.0; 18_000];
        for event in &events {
            counts[usize::try_from(event.offset_ns / 100_000_000).unwrap()] += 1.0;
        }
        let count = 18_000.0;
        let mean = counts.iter().sum::<f64>() / count;
        let variance = counts.iter().map(|n| (n - mean) * (n - mean)).sum::<f64>() / count;
        // Independent events would have a ratio of 1.
        assert!(variance / mean > 2.0, "variance {variance} of {mean} in a tenth of a second");
    }

    #[test]
    fn quotes_have_a_spread_and_trades_are_at_one_of_its_sides() {
        let mut quotes = vec![None; UNIVERSE.len()];
        for event in events(5, 600) {
            let index = event.instrument.index();
            match event.change {
                Change::Quote(quote) => {
                    assert!(Decimal::ZERO < quote.bid && quote.bid < quote.ask, "{quote:?}");
                    assert!(quote.bid_size.unwrap() > Decimal::ZERO);
                    quotes[index] = Some(quote);
                }
                Change::Trade(trade) => {
                    let quote = quotes[index].as_ref().unwrap();
                    assert!(trade.price == quote.bid || trade.price == quote.ask, "{trade:?}");
                    assert!(trade.size.unwrap() > Decimal::ZERO);
                }
            }
        }
    }

    #[test]
    fn prices_lie_on_the_tick_grid_and_move_but_do_not_run_away() {
        let mut ranges = vec![(Decimal::MAX, Decimal::ZERO); UNIVERSE.len()];
        for event in events(6, 3_600) {
            let spec = &UNIVERSE[event.instrument.index()];
            let Change::Quote(quote) = event.change else { continue };
            let tick = Decimal::new(spec.kind.tick, spec.kind.price_decimals);
            assert!((quote.bid % tick).is_zero() && (quote.ask % tick).is_zero(), "{quote:?}");
            let (low, high) = &mut ranges[event.instrument.index()];
            (*low, *high) = ((*low).min(quote.bid), (*high).max(quote.bid));
        }
        for (spec, (low, high)) in UNIVERSE.iter().zip(ranges) {
            assert!(low < high, "{} stood still", spec.symbol);
            let share = (high - low) / high;
            assert!(share < Decimal::new(25, 2), "{} moved by {share} in an hour", spec.symbol);
        }
    }
}
