//! How long messages are: one size, a range, or sizes with weights.
//!
//! What a server costs depends on the sizes as much as on the rate, and traffic of one size flatters
//! buffers that fit it. The size of a message is a pure function of client and sequence number, so
//! that an echo can be checked without keeping what was sent: a table of sizes is drawn from the
//! distribution once, and each message looks its own up.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

/// A distribution of payload sizes in bytes: `20`, `20..1000`, or `20:90,1024:9,16384:1` (sizes
/// with weights).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
#[non_exhaustive]
pub enum Size {
    /// Always the same.
    Fixed(usize),
    /// Each from the first to the second, both included, equally often.
    Range(usize, usize),
    /// These, as often as their weights say.
    Weighted(Vec<(usize, u32)>),
}

/// A size as configuration files have it: a number or text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(usize),
    Text(String),
}

impl Size {
    /// The longest that can come.
    #[must_use]
    pub fn max(&self) -> usize {
        match self {
            Self::Fixed(size) | Self::Range(_, size) => *size,
            Self::Weighted(sizes) => sizes.iter().map(|(size, _)| *size).max().unwrap_or(0),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = |text: &str| match text.trim().parse::<usize>() {
            Ok(size) if size <= SIZE_MAX => Ok(size),
            Ok(_) => Err(format!("a payload has at most {SIZE_MAX} bytes")),
            Err(_) => Err(format!(
                "`{text}` is no size: write 20, 20..1000, or 20:90,1024:9,16384:1 (size:weight)"
            )),
        };
        if let Some((least, most)) = text.split_once("..") {
            let (least, most) = (bytes(least)?, bytes(most.trim_start_matches('='))?);
            return match least <= most {
                true => Ok(Self::Range(least, most)),
                false => Err(format!("{least} is more than {most}")),
            };
        }
        if !text.contains(':') {
            return bytes(text).map(Self::Fixed);
        }
        let mut sizes = Vec::new();
        for part in text.split(',') {
            let (size, weight) = part.split_once(':').ok_or("each size needs its weight")?;
            let weight = weight.trim().parse::<u32>();
            let weight = weight.ok().filter(|weight| *weight > 0 && *weight <= WEIGHT_MAX);
            sizes.push((
                bytes(size)?,
                weight.ok_or_else(|| format!("a weight is a number from 1 to {WEIGHT_MAX}"))?,
            ));
        }
        match sizes.len() {
            ..=SIZES_MAX => Ok(Self::Weighted(sizes)),
            _ => Err(format!("at most {SIZES_MAX} sizes can have weights")),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(formatter, "{size}"),
            Self::Range(least, most) => write!(formatter, "{least}..{most}"),
            Self::Weighted(sizes) => {
                for (index, (size, weight)) in sizes.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(formatter, "{comma}{size}:{weight}")?;
                }
                Ok(())
            }
        }
    }
}

impl TryFrom<Written> for Size {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(size) => size.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

/// The sizes of a run's messages.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// A power of two of them, so that a lookup is a mask.
    table: Box<[usize]>,
}

impl Sizes {
    pub(crate) fn new(size: &Size) -> Self {
        let mut random: SmallRng = rand::make_rng();
        let mut below = |bound: usize| {
            usize::try_from(random.next_u64() % (bound.max(1) as u64)).expect("less than a usize")
        };
        let table = match size {
            Size::Fixed(size) => vec![*size],
            Size::Range(least, most) => {
                (0..TABLE).map(|_| least + below(most - least + 1)).collect()
            }
            Size::Weighted(sizes) => {
                let total: usize = sizes.iter().map(|(_, weight)| *weight as usize).sum();
                (0..TABLE).map(|_| weighted(sizes, below(total))).collect()
            }
        };
        Self { table: table.into_boxed_slice() }
    }

    /// The size of a client's message.
    #[inline]
    pub(crate) fn of(&self, client: usize, sequence: usize) -> usize {
        // Neighbouring clients begin at places far apart.
        self.table[client.wrapping_mul(STRIDE).wrapping_add(sequence) & (self.table.len() - 1)]
    }
}

/// The size that the ticket's place among the weights stands for.
fn weighted(sizes: &[(usize, u32)], mut ticket: usize) -> usize {
    for (size, weight) in sizes {
        match ticket.checked_sub(*weight as usize) {
            None => return *size,
            Some(rest) => ticket = rest,
        }
    }
    unreachable!("a ticket is less than the sum of the weights")
}

/// Servers take 1 MB or 16 MB at most by default; the clients' buffers grow with it.
pub const SIZE_MAX: usize = 16 << 20;

/// So that the sum of all weights fits everywhere.
const WEIGHT_MAX: u32 = 1_000_000;

/// More would be a table to look up, not a mix to describe.
const SIZES_MAX: usize = 64;

/// Sizes drawn: a weight of one in a thousand appears some 60 times.
const TABLE: usize = 65_536;

/// A prime near the table's golden section.
const STRIDE: usize = 40_503;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_read_and_written_alike() {
        for text in ["20", "0", "20..1000", "20:90,1024:9,16384:1"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["", "x", "20..", "30..20", "20:0", "20:1,30", "16777217", "1:2:3", "-1"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_come_as_often_as_they_should() {
        let sizes = Sizes::new(&"20:90,1024:10".parse().unwrap());
        let long = (0..10_000).filter(|sequence| sizes.of(3, *sequence) == 1024).count();
        assert!(long.abs_diff(1_000) < 200, "{long} of 10000 are long, a tenth should be");
        let sizes = Sizes::new(&"10..12".parse().unwrap());
        for size in 10..=12 {
            let count = (0..9_000).filter(|sequence| sizes.of(0, *sequence) == size).count();
            assert!(count.abs_diff(3_000) < 400, "{size}: {count}");
        }
        let sizes = Sizes::new(&Size::Fixed(7));
        assert!((0..100).all(|number| sizes.of(number, number * 31) == 7));
    }
}
