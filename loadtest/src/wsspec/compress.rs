//! Deflate streams written token by token, for what a compressor would not write (RFC 1951).
//!
//! Cases need matches of exact distances (to the edge of a window, into the message before, beyond
//! what there is) and blocks of every kind. So this writes literals and matches as it is told, in
//! blocks of the fixed code; real data goes through a library instead.
//!
//! Invariant: the stream ends on a byte, with the tail `00 00 ff ff` left off (RFC 7692 section
//! 7.2.1). Whether a match makes sense is up to the caller.

use flate2::{Compress, Compression, FlushCompress};

use crate::inflate::{DISTANCES, LENGTHS, TAIL, fixed_length};

/// What stands in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token<'a> {
    /// Bytes as they are.
    Literals(&'a [u8]),
    /// `length` bytes, 3 to 258, that stand `distance` bytes back, 1 to 32,768.
    Match { length: u16, distance: u16 },
}

/// A message of one block with the fixed code.
pub(crate) fn fixed(tokens: &[Token<'_>]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.push(0b010, 3);
    for token in tokens {
        match token {
            Token::Literals(literals) => {
                for literal in *literals {
                    bits.symbol(u16::from(*literal));
                }
            }
            Token::Match { length, distance } => {
                bits.extended(&LENGTHS, *length, |bits, symbol| bits.symbol(257 + symbol));
                bits.extended(&DISTANCES, *distance, |bits, symbol| bits.code(symbol, 5));
            }
        }
    }
    bits.symbol(256);
    // The empty stored block whose length is the tail: its three bits, and the byte is full.
    bits.push(0, 3);
    bits.bytes
}

/// A message of stored blocks.
pub(crate) fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in data.chunks(usize::from(u16::MAX)) {
        let length = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out.push(0);
    out
}

/// A message as a common compressor writes it, leaning on no other.
pub(crate) fn library(data: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(data.len() + data.len() / 8 + 64);
    // The room is more than deflate ever needs, so one call takes all.
    let _ = compress.compress_vec(data, &mut out, FlushCompress::Sync);
    out.truncate(out.len() - if out.ends_with(TAIL) { TAIL.len() } else { 0 });
    out
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u8,
}

impl Bits {
    /// Pushes the lowest `count` bits of `value`, the lowest first.
    fn push(&mut self, value: u16, count: u8) {
        for place in 0..count {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let bit = u8::from(value >> place & 1 == 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << self.used;
            }
            self.used = (self.used + 1) % 8;
        }
    }

    /// Pushes a Huffman code, which goes with its highest bit first.
    fn code(&mut self, code: u16, length: u8) {
        for place in (0..length).rev() {
            self.push(code >> place, 1);
        }
    }

    /// Pushes a literal or length symbol in the fixed code (RFC 1951 section 3.2.6).
    fn symbol(&mut self, symbol: u16) {
        let code = match symbol {
            0..144 => 0x30 + symbol,
            144..256 => 0x190 + symbol - 144,
            256..280 => symbol - 256,
            280.. => 0xc0 + symbol - 280,
        };
        self.code(code, fixed_length(symbol));
    }

    fn extended(&mut self, table: &[(u16, u8)], value: u16, push: impl Fn(&mut Self, u16)) {
        let found = (0_u16..).zip(table).filter(|(_, (base, _))| *base <= value).last();
        if let Some((symbol, (base, extra))) = found {
            push(self, symbol);
            self.push(value - base, *extra);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inflate::Inflater;

    #[test]
    fn the_example_of_rfc_7692_section_7_2_3_1_is_written_byte_for_byte() {
        assert_eq!(fixed(&[Token::Literals(b"Hello")]), b"\xf2\x48\xcd\xc9\xc9\x07\x00");
        assert_eq!(stored(b"Hello"), b"\x00\x05\x00\xfa\xffHello\x00");
    }

    #[test]
    fn every_length_and_distance_is_read_as_it_was_written() {
        let data: Vec<u8> =
            (0..32_768_u32).map(|number| (number * 7 / 3).to_le_bytes()[0]).collect();
        for distance in [1, 2, 4, 5, 6, 256, 257, 512, 513, 1024, 24_576, 24_577, 32_767, 32_768] {
            for length in [3, 4, 10, 11, 12, 34, 35, 130, 131, 257, 258] {
                let tokens = [Token::Literals(&data), Token::Match { length, distance }];
                let mut inflater = Inflater::default();
                let out = inflater.message(&fixed(&tokens), false).unwrap();
                assert_eq!(inflater.farthest, usize::from(distance));
                assert_eq!(out.len(), data.len() + usize::from(length));
                let back = out.len() - usize::from(length) - usize::from(distance);
                assert_eq!(out[data.len()], data[back]);
            }
        }
    }

    #[test]
    fn long_data_is_stored_in_several_blocks() {
        let data = vec![9; 100_000];
        assert_eq!(Inflater::default().message(&stored(&data), false), Ok(data));
    }

    #[test]
    fn the_library_writes_what_can_be_read() {
        for data in [vec![], b"Hello".repeat(1000), (0..=255).collect()] {
            assert_eq!(Inflater::default().message(&library(&data), false), Ok(data));
        }
    }
}
