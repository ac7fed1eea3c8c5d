//! The terms of a subscription: how its updates are delivered, how often, and of which fields.
//!
//! A request says what it wants of them, and here is decided whether that can be had together. What
//! a connection has agreed on is kept by its session, in four bytes for each symbol.

use std::str::FromStr;

use serde::Serialize;

use crate::field::Fields;

/// How updates are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The newest state.
    Merge,
    /// Every event.
    Distinct,
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "merge" => Ok(Self::Merge),
            "distinct" => Ok(Self::Distinct),
            _ => Err(()),
        }
    }
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How updates are delivered.
    pub mode: Mode,
    /// Most of them in a second; 0: as they come.
    pub max_rate: u16,
    /// What they have.
    pub fields: Fields,
}

impl Terms {
    /// This mode, and nothing less than all of it.
    #[must_use]
    pub const fn of(mode: Mode) -> Self {
        Self { mode, max_rate: 0, fields: Fields::ALL }
    }

    /// Whether a subscription goes on when these become `others`: nothing but the rate is another.
    #[must_use]
    pub fn go_on_as(self, others: Self) -> bool {
        (self.mode, self.fields) == (others.mode, others.fields)
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self::of(Mode::Merge)
    }
}

/// What a request wants; `None`: as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How updates are to be delivered.
    pub mode: Option<Mode>,
    /// Most of them in a second; 0: as they come.
    pub max_rate: Option<u16>,
    /// What they are to have.
    pub fields: Option<Fields>,
}

impl Wanted {
    /// What becomes of `terms`.
    ///
    /// # Errors
    ///
    /// When that cannot be had together, in words for people.
    pub fn over(self, terms: Terms) -> Result<Terms, &'static str> {
        let mode = self.mode.unwrap_or(terms.mode);
        // A rate and a choice of fields end with the mode that they are of.
        let before = if mode == terms.mode { terms } else { Terms::of(mode) };
        let max_rate = self.max_rate.unwrap_or(before.max_rate);
        let fields = self.fields.unwrap_or(before.fields);
        match mode {
            Mode::Distinct if max_rate > 0 => {
                Err("`max_rate` is for the mode merge: distinct is every event")
            }
            Mode::Distinct if fields != Fields::ALL => {
                Err("`fields` is for the mode merge: distinct is every event, whole")
            }
            _ => Ok(Terms { mode, max_rate, fields }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    #[test]
    fn what_is_not_said_stays_and_ends_with_its_mode() {
        let bid: Fields = [Field::Bid].into_iter().collect();
        let held = Terms { mode: Mode::Merge, max_rate: 10, fields: bid };
        let nothing = Wanted::default();
        let distinct = Wanted { mode: Some(Mode::Distinct), ..nothing };
        for (wanted, terms, expected) in [
            (nothing, held, Ok(held)),
            (Wanted { max_rate: Some(2), ..nothing }, held, Ok(Terms { max_rate: 2, ..held })),
            (
                Wanted { fields: Some(Fields::ALL), ..nothing },
                held,
                Ok(Terms { fields: Fields::ALL, ..held }),
            ),
            (distinct, held, Ok(Terms::of(Mode::Distinct))),
            (distinct, Terms::default(), Ok(Terms::of(Mode::Distinct))),
            (Wanted { max_rate: Some(0), ..distinct }, held, Ok(Terms::of(Mode::Distinct))),
            (Wanted { max_rate: Some(1), ..distinct }, held, Err("`max_rate`")),
            (Wanted { fields: Some(bid), ..distinct }, held, Err("`fields`")),
            (Wanted { max_rate: Some(1), ..nothing }, Terms::of(Mode::Distinct), Err("`max_rate`")),
        ] {
            let given = wanted.over(terms);
            match (given, expected) {
                (Err(words), Err(first)) => assert!(words.starts_with(first), "{words}"),
                (given, expected) => assert_eq!(given, expected, "{wanted:?} over {terms:?}"),
            }
        }
    }

    #[test]
    fn only_another_rate_lets_a_subscription_go_on() {
        let held = Terms::default();
        assert!(held.go_on_as(Terms { max_rate: 5, ..held }));
        assert!(!held.go_on_as(Terms::of(Mode::Distinct)));
        assert!(!held.go_on_as(Terms { fields: Fields::default(), ..held }));
    }

    #[test]
    fn terms_take_four_bytes() {
        assert_eq!(size_of::<Terms>(), 4);
    }
}
