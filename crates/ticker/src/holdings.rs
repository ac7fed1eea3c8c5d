//! What a connection holds: its symbols, and the terms of each.
//!
//! Kept by the session, in the order of the listing, in eight bytes for each symbol; a connection
//! without any has none. The engine knows the same subscriptions, but not on which terms.

use crate::instrument::InstrumentId;
use crate::terms::Terms;

/// The subscriptions of a connection.
#[derive(Debug, Default)]
pub struct Holdings(Vec<Holding>);

#[derive(Clone, Copy, Debug)]
struct Holding {
    instrument: InstrumentId,
    terms: Terms,
}

impl Holdings {
    /// Holds an instrument on these terms, whatever they were before.
    pub fn insert(&mut self, instrument: InstrumentId, terms: Terms) {
        match self.place(instrument) {
            Ok(place) => self.0[place].terms = terms,
            Err(place) => self.0.insert(place, Holding { instrument, terms }),
        }
    }

    /// Holds an instrument no more; whether it was held.
    pub fn remove(&mut self, instrument: InstrumentId) -> bool {
        self.place(instrument).map(|place| self.0.remove(place)).is_ok()
    }

    /// The terms on which an instrument is held; none: it is not.
    #[must_use]
    pub fn terms(&self, instrument: InstrumentId) -> Option<Terms> {
        self.place(instrument).ok().map(|place| self.0[place].terms)
    }

    /// All of them, in the order of the listing.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentId, Terms)> {
        self.0.iter().map(|holding| (holding.instrument, holding.terms))
    }

    /// How many are held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, instrument: InstrumentId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&instrument, |holding| holding.instrument)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::instrument::{Instrument, Listing};
    use crate::terms::Mode;

    proptest! {
        #[test]
        fn it_is_a_map_in_order(acts in prop::collection::vec((0_usize..8, 0_u16..4), 0..60)) {
            let mut listing = Listing::default();
            let ids: Vec<_> = (0..8).map(|index| {
                let symbol = format!("S{index}");
                listing.add(Instrument { symbol, name: String::new(), price_decimals: 2 }).unwrap()
            }).collect();
            let (mut holdings, mut map) = (Holdings::default(), BTreeMap::new());
            for (index, rate) in acts {
                if rate == 0 {
                    prop_assert_eq!(holdings.remove(ids[index]), map.remove(&ids[index]).is_some());
                } else {
                    let terms = Terms { max_rate: rate, ..Terms::of(Mode::Merge) };
                    holdings.insert(ids[index], terms);
                    map.insert(ids[index], terms);
                }
                prop_assert!(holdings.iter().eq(map.iter().map(|(id, terms)| (*id, *terms))));
                prop_assert_eq!(holdings.terms(ids[index]), map.get(&ids[index]).copied());
                prop_assert_eq!((holdings.len(), holdings.is_empty()), (map.len(), map.is_empty()));
            }
        }
    }
}
