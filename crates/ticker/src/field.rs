//! The fields of the channel `ticker`, and sets of them.
//!
//! A field is a bit: which fields are known of an instrument, which ones an event changed and which
//! ones a client wants are sets of eight, in one byte.

use serde::{Serialize, Serializer};

/// A field of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Best bid.
    Bid,
    /// Size at the best bid.
    BidSize,
    /// Best ask.
    Ask,
    /// Size at the best ask.
    AskSize,
    /// Price of the last trade.
    Last,
    /// Size of the last trade.
    LastSize,
    /// Sum of the sizes of all trades.
    Vol,
    /// First price seen.
    Open,
}

impl Field {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Bid,
        Self::BidSize,
        Self::Ask,
        Self::AskSize,
        Self::Last,
        Self::LastSize,
        Self::Vol,
        Self::Open,
    ];

    /// How many there are.
    pub const COUNT: usize = 8;

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bid => "bid",
            Self::BidSize => "bid_size",
            Self::Ask => "ask",
            Self::AskSize => "ask_size",
            Self::Last => "last",
            Self::LastSize => "last_size",
            Self::Vol => "vol",
            Self::Open => "open",
        }
    }

    /// The field of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// A set of fields; in messages the array of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(u8);

impl Fields {
    /// Every field.
    pub const ALL: Self = Self(u8::MAX);

    /// The set of these bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// A bit for each, in the order of [`Field::ALL`].
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether `field` is among them.
    #[must_use]
    pub const fn contains(self, field: Field) -> bool {
        self.0 & 1 << field as u8 != 0
    }

    /// Whether all of `others` are among them.
    #[must_use]
    pub const fn contains_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.contains(*field))
    }
}

impl FromIterator<Field> for Fields {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        Self(fields.into_iter().fold(0, |bits, field| bits | 1 << field as u8))
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Field::name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_name_and_a_bit_of_its_own() {
        let mut all = Fields::default();
        for (place, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!((field as usize, Field::named(field.name())), (place, Some(field)));
            assert!(!all.contains(field));
            all = all.iter().chain([field]).collect();
        }
        assert_eq!(all, Fields::ALL);
        assert_eq!(Field::named("price"), None);
    }

    #[test]
    fn a_set_is_written_as_names() {
        let fields: Fields = [Field::Last, Field::Bid].into_iter().collect();
        assert_eq!(serde_json::to_string(&fields).unwrap(), r#"["bid","last"]"#);
        assert!(Fields::ALL.contains_all(fields) && !fields.contains_all(Fields::ALL));
    }
}
