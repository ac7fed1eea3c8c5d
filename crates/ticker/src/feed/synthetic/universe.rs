//! The invented instruments of the synthetic feed.
//!
//! No company, coin or currency here exists. Prices, tick sizes, spreads, sizes and volatilities
//! are those of real markets of each kind, so that a page looks as it will look at work.

/// What the synthetic feed needs to know of an instrument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) symbol: &'static str,
    pub(super) name: &'static str,
    /// Where its price begins and what it is pulled back to over hours.
    pub(super) price: f64,
    pub(super) kind: Kind,
    /// Standard deviation of its logarithmic price over a year.
    pub(super) volatility: f64,
    /// How much of the market's move is its own.
    pub(super) beta: f64,
    /// Its share of all events, relative to the others.
    pub(super) activity: f64,
}

/// What instruments of one market have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) price_decimals: u32,
    /// Smallest step of a price, in units of the last decimal.
    pub(super) tick: i64,
    /// Usual distance of ask and bid, in ticks.
    pub(super) spread: f64,
    pub(super) size_decimals: u32,
    /// Smallest step of a size, in units of the last decimal.
    pub(super) lot: i64,
    /// Usual size at the best price, in lots.
    pub(super) lots: f64,
}

const fn kind(
    (price_decimals, tick, spread): (u32, i64, f64),
    (size_decimals, lot, lots): (u32, i64, f64),
) -> Kind {
    Kind { price_decimals, tick, spread, size_decimals, lot, lots }
}

const SHARE: Kind = kind((2, 1, 1.6), (0, 100, 4.0));
const DEAR_SHARE: Kind = kind((2, 1, 14.0), (0, 10, 6.0));
const CHEAP_SHARE: Kind = kind((4, 1, 12.0), (0, 100, 60.0));
const FUND: Kind = kind((2, 1, 1.1), (0, 100, 40.0));
const FUTURE: Kind = kind((2, 25, 1.1), (0, 1, 45.0));
const METAL: Kind = kind((1, 1, 2.0), (0, 1, 12.0));
const ENERGY: Kind = kind((2, 1, 1.5), (0, 1, 20.0));
const BOND: Kind = kind((3, 5, 1.2), (0, 1, 300.0));
const PAIR: Kind = kind((5, 1, 3.0), (0, 100_000, 12.0));
const BIG_PAIR: Kind = kind((3, 1, 4.0), (0, 100_000, 10.0));
const COIN: Kind = kind((2, 1, 30.0), (5, 1, 40_000.0));
const SMALL_COIN: Kind = kind((4, 1, 6.0), (2, 1, 60_000.0));
const DUST_COIN: Kind = kind((6, 1, 9.0), (0, 1, 50_000.0));

/// A table of instruments: symbol, name, price, kind; volatility, beta, activity.
macro_rules! universe {
    ($($symbol:literal $name:literal $price:literal $kind:ident
       $volatility:literal $beta:literal $activity:literal;)*) => {
        &[$(Spec {
            symbol: $symbol,
            name: $name,
            price: $price,
            kind: $kind,
            volatility: $volatility,
            beta: $beta,
            activity: $activity,
        }),*]
    };
}

/// All of them, in the order in which they are listed: first what a visitor likes to see first.
pub(super) const UNIVERSE: &[Spec] = universe! {
    "ORVA"    "Orvane Systems"             214.60    SHARE        0.32 1.2 5.0;
    "TLMR"    "Talmar Semiconductors"      486.25    SHARE        0.46 1.5 6.0;
    "BRYN"    "Brynmoor Energy"             61.84    SHARE        0.28 0.7 2.0;
    "MRDX"    "Meridax 500 Future"        5214.25    FUTURE       0.16 1.0 9.0;
    "QUIL-C"  "Quill (coin)"             68412.50    COIN         0.62 0.6 8.0;
    "ALB/KRN" "Albish Mark / Krona"          1.08432 PAIR         0.08 0.1 4.0;
    "AURX"    "Auric Spot"                2388.4     METAL        0.15 0.1 3.0;
    "CDWL"    "Caldwell & Sons"            131.07    SHARE        0.22 0.8 2.0;
    "NVLT"    "Novalt Motors"              243.90    SHARE        0.58 1.6 6.0;
    "FENN"    "Fennimore Bank"              47.36    SHARE        0.27 1.1 3.0;
    "EMBR-C"  "Ember (coin)"              3521.80    COIN         0.78 0.7 5.0;
    "MRDX-F"  "Meridax 500 Fund"           521.42    FUND         0.16 1.0 7.0;
    "ZEPH"    "Zephyrine Airlines"          38.72    SHARE        0.41 1.3 2.0;
    "HALO"    "Halobrook Health"           318.15    SHARE        0.24 0.6 2.0;
    "LUMO"    "Lumora Media"                92.48    SHARE        0.37 1.1 2.5;
    "GRVL"    "Gravelle Stores"             74.93    SHARE        0.21 0.6 1.5;
    "PYXI"    "Pyxis Orbital"               17.26    SHARE        0.74 1.8 3.0;
    "WYRD"    "Wyrdstone Games"             54.11    SHARE        0.49 1.2 2.0;
    "CSPN"    "Caspian Wire"               166.80    SHARE        0.30 1.0 2.0;
    "OSTR"    "Osterlund Shipping"          29.58    SHARE        0.44 0.9 1.2;
    "VRTE"    "Vertena Cloud"              402.33    SHARE        0.38 1.4 4.0;
    "KELP"    "Kelpworks Foods"             12.94    SHARE        0.52 0.8 1.0;
    "HRTH"    "Hearthline Homes"           108.67    SHARE        0.33 1.1 1.4;
    "DUNE"    "Dunecrest Water"             83.20    SHARE        0.17 0.4 0.9;
    "IRON"    "Ironquay Steel"              41.75    SHARE        0.39 1.2 1.4;
    "SOLV"    "Solvane Chemicals"           58.02    SHARE        0.26 0.9 1.1;
    "MYRA"    "Myra Biolabs"                 7.83    SHARE        0.95 1.3 1.6;
    "TERN"    "Ternwick Insurance"         189.44    SHARE        0.19 0.7 1.2;
    "BELL"    "Bellweather Rail"           237.61    SHARE        0.20 0.8 1.0;
    "ARCA"    "Arcadian Holdings"         3142.00    DEAR_SHARE   0.25 0.9 0.8;
    "GLNT"    "Glint Payments"              65.09    SHARE        0.43 1.4 2.2;
    "NOOK"    "Nook & Cranny"                0.8425  CHEAP_SHARE  1.10 1.0 0.7;
    "RUST"    "Rustwater Mining"             0.3165  CHEAP_SHARE  1.30 0.8 0.6;
    "SPAN-F"  "Spanworld Shares Fund"      112.85    FUND         0.14 0.9 2.5;
    "BNDX-F"  "Brightwater Bond Fund"       97.42    FUND         0.06 -0.1 1.2;
    "SMLX"    "Smallex 2000 Future"       2064.75    FUTURE       0.22 1.2 4.0;
    "ARGX"    "Argent Spot"                 29.6     METAL        0.28 0.2 1.8;
    "BRNT"    "Brentholm Crude"             82.61    ENERGY       0.34 0.4 3.5;
    "GASX"    "Northgate Gas"                2.74    ENERGY       0.55 0.2 1.6;
    "TENY"    "Ten Year Note Future"       110.515   BOND         0.06 -0.2 3.0;
    "THTY"    "Thirty Year Bond Future"    118.905   BOND         0.11 -0.2 1.6;
    "KRN/ZLT" "Krona / Zelot"                0.65318 PAIR         0.10 0.2 2.2;
    "ALB/SEN" "Albish Mark / Sen"          162.845   BIG_PAIR     0.09 0.2 2.6;
    "KRN/SEN" "Krona / Sen"                150.172   BIG_PAIR     0.09 0.2 2.4;
    "ALB/TAL" "Albish Mark / Taler"          0.85714 PAIR         0.06 0.0 1.5;
    "TIDE-C"  "Tide (coin)"                148.3600  SMALL_COIN   0.92 0.8 3.0;
    "LARK-C"  "Lark (coin)"                  0.5244  SMALL_COIN   0.85 0.7 1.8;
    "FERN-C"  "Fern (coin)"                  7.1120  SMALL_COIN   0.90 0.7 1.4;
    "MOTE-C"  "Mote (coin)"                  0.124180 DUST_COIN   1.05 0.8 1.8;
    "GRIT-C"  "Grit (coin)"                  0.013972 DUST_COIN   1.20 0.8 1.0;
};
