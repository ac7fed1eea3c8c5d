//! Which numbering a sequence number is of.
//!
//! Beside the way of a byte: a client that comes back says how far it had come, as an epoch and a
//! sequence number. Numbers begin anew when a server starts, and when a topic is made again after it
//! was gone; each of these has an epoch of its own, so that a number is never taken for one of another
//! numbering.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// The name of a numbering: a number without a meaning, random unless it was chosen.
///
/// Clients are told it as text, 16 hexadecimal digits, and give it back; it does not fit in a number of
/// JavaScript.
///
/// ```
/// # use tickwire_reactor::Epoch;
/// let epoch = Epoch(0x1f);
/// assert_eq!(epoch.to_string(), "000000000000001f");
/// assert_eq!("000000000000001f".parse(), Ok(epoch));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// That of a topic that is made after so many topics are gone that had publications. It is a
    /// server's own for those that are made before.
    pub(crate) const fn after(self, gone: u64) -> Self {
        if gone == 0 {
            return self;
        }
        // The finalizer of SplitMix64, a bijection: no two counts give the same.
        let mut mixed = self.0 ^ gone.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_has_an_epoch_of_its_own() {
        for server in [0, 1, u64::MAX] {
            let epochs: std::collections::HashSet<Epoch> =
                (0..10_000).map(|gone| Epoch(server).after(gone)).collect();
            assert_eq!(epochs.len(), 10_000);
            assert!(epochs.contains(&Epoch(server)));
        }
    }
}
