//! A raw inflater that says how far back a stream reaches (RFC 1951).
//!
//! What a server compressed is taken apart here: slow, simple, and with two things that libraries
//! do not tell. It knows the farthest distance of any match, so a stream that leaves the window
//! which was negotiated is found out (zlib itself lets such matches pass while they lie in one
//! piece of output). And it keeps as many bytes of history as the case allows, so a message that
//! leans on an earlier one although it must not cannot be read.
//!
//! Invariant: what it returns is exactly what the blocks say, or an error. Data comes from the
//! server under test, so every step is checked and output is bounded.

/// Inflates the messages of one connection, in order.
#[derive(Debug, Default)]
pub(crate) struct Inflater {
    history: Vec<u8>,
    /// The farthest that any match reached back, in bytes.
    pub(crate) farthest: usize,
}

impl Inflater {
    /// Inflates the payload of one message, to which the tail `00 00 ff ff` is appended first
    /// (RFC 7692 section 7.2.2). With `takeover` the messages before it are its history.
    pub(crate) fn message(&mut self, payload: &[u8], takeover: bool) -> Result<Vec<u8>, String> {
        if !takeover {
            self.history.clear();
        }
        let start = self.history.len();
        let input = [payload, TAIL].concat();
        let mut out = std::mem::take(&mut self.history);
        let mut bits = Bits { input: &input, at: 0 };
        while !bits.is_done() {
            let is_final = bits.take(1)? == 1;
            self.block(&mut bits, &mut out)?;
            if is_final {
                // What follows begins with the next byte (RFC 7692 section 7.2.3.4).
                bits.align();
            }
        }
        let message = out[start..].to_vec();
        out.drain(..out.len().saturating_sub(WINDOW_MAX));
        self.history = out;
        Ok(message)
    }

    fn block(&mut self, bits: &mut Bits<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        match bits.take(2)? {
            0 => bits.stored(out),
            1 => {
                let lengths: Vec<u8> = (0..288).map(fixed_length).collect();
                self.codes(bits, out, &Code::new(&lengths), &Code::new(&[5; 30]))
            }
            2 => {
                let (literals, distances) = dynamic(bits)?;
                self.codes(bits, out, &literals, &distances)
            }
            _ => Err("a block of the reserved type 3".to_owned()),
        }
    }

    fn codes(
        &mut self,
        bits: &mut Bits<'_>,
        out: &mut Vec<u8>,
        literals: &Code,
        distances: &Code,
    ) -> Result<(), String> {
        loop {
            let symbol = literals.decode(bits)?;
            let Ok(literal) = u8::try_from(symbol) else {
                if symbol == 256 {
                    return Ok(());
                }
                let length = extended(bits, &LENGTHS, symbol - 257)?;
                let distance = distances.decode(bits)?;
                let distance = extended(bits, &DISTANCES, distance)?;
                if distance > out.len() {
                    let len = out.len();
                    return Err(format!("a match {distance} bytes back, where there are {len}"));
                }
                self.farthest = self.farthest.max(distance);
                for _ in 0..length {
                    out.push(out[out.len() - distance]);
                }
                check_size(out)?;
                continue;
            };
            out.push(literal);
            check_size(out)?;
        }
    }
}

fn check_size(out: &[u8]) -> Result<(), String> {
    if out.len() > OUTPUT_MAX { Err("more than 64 MB in a message".to_owned()) } else { Ok(()) }
}

/// The code lengths of a dynamic block (RFC 1951 section 3.2.7).
fn dynamic(bits: &mut Bits<'_>) -> Result<(Code, Code), String> {
    let literals = usize::from(bits.take(5)?) + 257;
    let distances = usize::from(bits.take(5)?) + 1;
    let count = usize::from(bits.take(4)?) + 4;
    let mut lengths = [0; 19];
    for position in &ORDER[..count] {
        lengths[*position] = bits.take(3)?.to_le_bytes()[0];
    }
    let code = Code::new(&lengths);
    let mut lengths: Vec<u8> = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match code.decode(bits)? {
            16 => {
                let last = *lengths.last().ok_or("a repetition of nothing")?;
                (last, 3 + bits.take(2)?)
            }
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length.to_le_bytes()[0], 1),
        };
        lengths.extend(std::iter::repeat_n(length, usize::from(times)));
    }
    if lengths.len() > literals + distances {
        return Err("more code lengths than announced".to_owned());
    }
    Ok((Code::new(&lengths[..literals]), Code::new(&lengths[literals..])))
}

/// The value that a symbol and its extra bits stand for.
fn extended(bits: &mut Bits<'_>, table: &[(u16, u8)], symbol: u16) -> Result<usize, String> {
    let (base, extra) = table.get(usize::from(symbol)).ok_or("a symbol beyond the last")?;
    Ok(usize::from(*base) + usize::from(bits.take(*extra)?))
}

/// A canonical Huffman code (RFC 1951 section 3.2.2).
struct Code {
    /// How many codes there are of each length, 0 to 15.
    counts: [u16; 16],
    /// Symbols in the order of their codes.
    symbols: Vec<u16>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; 16];
        let mut symbols = Vec::new();
        for length in 1..=15_u8 {
            let of_length = (0_u16..).zip(lengths).filter(|(_, its)| **its == length);
            symbols.extend(of_length.map(|(symbol, _)| symbol));
            counts[usize::from(length)] = lengths.iter().map(|its| u16::from(*its == length)).sum();
        }
        Self { counts, symbols }
    }

    fn decode(&self, bits: &mut Bits<'_>) -> Result<u16, String> {
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for count in self.counts.iter().skip(1) {
            code = code << 1 | u32::from(bits.take(1)?);
            let count = u32::from(*count);
            if code.wrapping_sub(first) < count {
                let at = (index + code - first) as usize;
                return self.symbols.get(at).copied().ok_or_else(|| "no such code".to_owned());
            }
            index += count;
            first = (first + count) << 1;
        }
        Err("no such code".to_owned())
    }
}

/// Bits of the input, the lowest of each byte first.
struct Bits<'a> {
    input: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u8) -> Result<u16, String> {
        let mut value = 0;
        for place in 0..count {
            let byte = self.input.get(self.at / 8).ok_or("the data ends within a block")?;
            value |= u16::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Ok(value)
    }

    const fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    const fn is_done(&self) -> bool {
        self.at >= self.input.len() * 8
    }

    fn stored(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        self.align();
        let (length, complement) = (self.take(16)?, self.take(16)?);
        if length != !complement {
            return Err("a stored block whose length is not confirmed".to_owned());
        }
        let start = self.at / 8;
        let data = self.input.get(start..start + usize::from(length));
        out.extend_from_slice(data.ok_or("the data ends within a stored block")?);
        self.at += usize::from(length) * 8;
        check_size(out)
    }
}

/// Length of the fixed code of a literal (RFC 1951 section 3.2.6).
pub(crate) const fn fixed_length(symbol: u16) -> u8 {
    match symbol {
        0..144 | 280.. => 8,
        144..256 => 9,
        256..280 => 7,
    }
}

/// What a sender strips and a receiver appends (RFC 7692 section 7.2.1).
pub(crate) const TAIL: &[u8] = &[0, 0, 0xff, 0xff];

/// No deflate window is larger.
const WINDOW_MAX: usize = 32 * 1024;

/// No case asks a server for more.
const OUTPUT_MAX: usize = 64 << 20;

/// Order of the code lengths of the code lengths (RFC 1951 section 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Base and extra bits of the length symbols from 257 (RFC 1951 section 3.2.5).
#[rustfmt::skip]
pub(crate) const LENGTHS: [(u16, u8); 29] = [
    (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1), (15, 1),
    (17, 1), (19, 2), (23, 2), (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3), (67, 4),
    (83, 4), (99, 4), (115, 4), (131, 5), (163, 5), (195, 5), (227, 5), (258, 0),
];

/// Base and extra bits of the distance symbols (RFC 1951 section 3.2.5).
#[rustfmt::skip]
pub(crate) const DISTANCES: [(u16, u8); 30] = [
    (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (7, 1), (9, 2), (13, 2), (17, 3), (25, 3), (33, 4),
    (49, 4), (65, 5), (97, 5), (129, 6), (193, 6), (257, 7), (385, 7), (513, 8), (769, 8),
    (1025, 9), (1537, 9), (2049, 10), (3073, 10), (4097, 11), (6145, 11), (8193, 12), (12289, 12),
    (16385, 13), (24577, 13),
];

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    fn inflate(payload: &[u8]) -> Result<Vec<u8>, String> {
        Inflater::default().message(payload, true)
    }

    /// Numbers that look random, and are the same in every run.
    fn noise(length: usize) -> Vec<u8> {
        let step = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some(state.to_be_bytes()[0])
        };
        std::iter::successors(Some(1_u32), |state| Some(*state))
            .scan(7, |state, _| step(state))
            .take(length)
            .collect()
    }

    #[test]
    fn the_examples_of_rfc_7692_section_7_2_3_are_read() {
        for (payload, expected) in [
            (&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], &b"Hello"[..]),
            (b"\x00\x05\x00\xfa\xffHello\x00", b"Hello"),
            (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
            (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),
            (b"\x00", b""),
        ] {
            assert_eq!(inflate(payload).as_deref(), Ok(expected));
        }
        let mut inflater = Inflater::default();
        for payload in [&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], b"\xf2\x00\x11\x00\x00"] {
            assert_eq!(inflater.message(payload, true).as_deref(), Ok(&b"Hello"[..]));
        }
        assert_eq!(inflater.farthest, 5);
    }

    #[test]
    fn what_a_library_compresses_is_read_back() {
        for level in [0, 1, 6, 9] {
            let mut compress = Compress::new(Compression::new(level), false);
            let mut inflater = Inflater::default();
            for message in [noise(70_000), b"abcabcabc".repeat(9_000), vec![0; 300_000], vec![]] {
                let mut out = Vec::with_capacity(400_000);
                compress.compress_vec(&message, &mut out, FlushCompress::Sync).unwrap();
                let payload = out.strip_suffix(TAIL).unwrap();
                assert!(inflater.message(payload, true) == Ok(message), "level {level}");
            }
        }
    }

    #[test]
    fn a_message_that_leans_on_another_cannot_be_read_alone() {
        assert!(inflate(b"\xf2\x00\x11\x00\x00").unwrap_err().contains("5 bytes back"));
        let mut inflater = Inflater::default();
        inflater.message(b"\xf2\x48\xcd\xc9\xc9\x07\x00", true).unwrap();
        assert!(inflater.message(b"\xf2\x00\x11\x00\x00", false).is_err());
    }

    #[test]
    fn broken_data_is_an_error() {
        for (name, payload) in [
            ("reserved type", &b"\x06"[..]),
            ("stored length", b"\x00\x05\x00\x00\x00Hello"),
            ("cut short", b"\xf2\x48\xcd"),
            ("distance", b"\x02\x22\x00"),
        ] {
            assert!(inflate(payload).is_err(), "{name}");
        }
    }
}
