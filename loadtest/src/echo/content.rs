//! What messages are made of: bytes that nothing confuses, or text that compresses.
//!
//! A run has one pattern, and each payload is a window of it behind its first bytes, which name
//! client and message.

use std::io::Write as _;

use rand::Rng;

/// What payloads are made of behind their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Random bytes: nothing that is lost or exchanged goes unseen.
    Random,
    /// Prices as JSON, which compress to about a quarter.
    Ticks,
}

impl Content {
    /// So many bytes of it.
    pub(super) fn pattern(self, len: usize) -> Vec<u8> {
        let mut random = rand::make_rng::<rand::rngs::SmallRng>();
        if self == Self::Random {
            let mut pattern = vec![0; len];
            random.fill_bytes(&mut pattern);
            return pattern;
        }
        let mut pattern = Vec::with_capacity(len + TICK_BYTES);
        while pattern.len() < len {
            let number = random.next_u32();
            let (symbol, price, volume) = (number % 26, number >> 5 & 0xffff, number >> 21);
            let letter = char::from_digit(10 + symbol, 36).unwrap_or('x');
            write!(
                pattern,
                r#"{{"symbol":"{letter}{letter}","price":{price}.{:02},"volume":{volume}}},"#,
                price % 100
            )
            .expect("writing to a Vec cannot fail");
        }
        pattern.truncate(len);
        pattern
    }
}

/// One price of [`Content::Ticks`] at most.
const TICK_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use tickwire_protocol::Deflater;

    use super::*;

    #[test]
    fn prices_compress_to_about_a_quarter_and_random_bytes_not_at_all() {
        let packed = |content: Content| {
            let pattern = content.pattern(10_000);
            assert_eq!(pattern.len(), 10_000);
            Deflater::new(1, 8, 15, false).compress(&pattern).len()
        };
        let ticks = packed(Content::Ticks);
        assert!((1_500..4_500).contains(&ticks), "{ticks} of 10000");
        assert!(packed(Content::Random) > 9_900);
    }
}
