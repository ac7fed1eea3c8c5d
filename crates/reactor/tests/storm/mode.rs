//! How a session gets a topic: every publication, or values, how often and in what form.
//!
//! A mode is chosen by a number and told to the peer within a number, with the topic or the pattern
//! that it is of, so that both know it.

use tickwire_reactor::{Delivery, Subscription};

/// How a session gets a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) pace: Pace,
    pub(crate) view: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Every publication.
    #[default]
    Distinct,
    /// Values, as they come.
    Merge,
    /// So many values a second.
    Sampled(u16),
}

/// Values as they were published.
pub(crate) const BARE: u8 = 0;
/// Values that are told with the one before.
pub(crate) const TOLD: u8 = 1;
/// The same, and some of them are not worth a word.
pub(crate) const TERSE: u8 = 2;
/// The same, and making some of them panics.
pub(crate) const HASTY: u8 = 3;

/// Whether nothing is said of a value.
pub(crate) const fn is_silent(view: u8, seq: u64) -> bool {
    view == TERSE && seq.is_multiple_of(3)
}

/// Whether a value goes as it was published.
pub(crate) const fn is_bare(view: u8, seq: u64) -> bool {
    view == BARE || is_hasty(view, seq)
}

/// Whether telling of a value panics.
pub(crate) const fn is_hasty(view: u8, seq: u64) -> bool {
    view == HASTY && seq.is_multiple_of(8)
}

impl Mode {
    /// One by a number.
    pub(crate) fn chosen(number: u64) -> Self {
        let view = [BARE, TOLD, TOLD, TERSE, HASTY][usize::try_from(number % 5).expect("small")];
        let pace = match number / 5 % 8 {
            0..=2 => Pace::Distinct,
            3 | 4 => Pace::Merge,
            5 => Pace::Sampled(1),
            6 => Pace::Sampled(5),
            _ => Pace::Sampled(20),
        };
        Self { pace, view }
    }

    /// As a topic says.
    pub(crate) fn of(delivery: Delivery) -> Self {
        let pace = match delivery {
            Delivery::Merge => Pace::Merge,
            Delivery::Sampled { per_second } => Pace::Sampled(per_second.get()),
            _ => Pace::Distinct,
        };
        Self { pace, view: BARE }
    }

    pub(crate) fn has_values(self) -> bool {
        self.pace != Pace::Distinct
    }

    pub(crate) fn delivery(self) -> Delivery {
        match self.pace {
            Pace::Distinct => Delivery::Distinct,
            Pace::Merge => Delivery::Merge,
            Pace::Sampled(per_second) => Delivery::sampled(per_second),
        }
    }

    pub(crate) fn subscription(self) -> Subscription {
        Subscription::of(self.delivery()).with_view(self.view.into())
    }

    /// The mode of something with this number, in one number.
    pub(crate) fn packed(self, number: usize) -> u64 {
        let pace = match self.pace {
            Pace::Distinct => 0,
            Pace::Merge => 1,
            Pace::Sampled(per_second) => 1 + u64::from(per_second),
        };
        (number as u64 * 64 + pace) * 4 + u64::from(self.view)
    }

    pub(crate) fn unpacked(packed: u64) -> (usize, Self) {
        let pace = match packed / 4 % 64 {
            0 => Pace::Distinct,
            1 => Pace::Merge,
            more => Pace::Sampled(u16::try_from(more - 1).expect("small")),
        };
        let view = u8::try_from(packed % 4).expect("small");
        (usize::try_from(packed / 256).expect("small"), Self { pace, view })
    }
}

#[test]
fn packing_loses_nothing() {
    for number in 0..40 {
        let mode = Mode::chosen(number);
        assert_eq!(Mode::unpacked(mode.packed(1_234)), (1_234, mode));
    }
}
