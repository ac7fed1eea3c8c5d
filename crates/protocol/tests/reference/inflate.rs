//! DEFLATE (RFC 1951) bit by bit, and compressed messages (RFC 7692 section 7.2.2) made of it.

use tickwire_protocol::encode::frame;
use tickwire_protocol::{Connection, Event, Inflater, Limits, OpCode, Role};

/// What a compressed message comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is no sequence of whole blocks.
    Invalid,
    /// It has more than the bytes allowed.
    TooBig,
}

/// The messages of one sender, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// Everything that came out since the last final block, or the last message without context.
    history: Vec<u8>,
    /// The farthest that a message referred back, in bytes.
    pub(crate) farthest: usize,
}

impl Messages {
    /// What comes next refers to nothing before it.
    pub(crate) fn forget(&mut self) {
        self.history.clear();
    }

    /// Inflates `packed`, to which the tail is added, after the messages before it.
    pub(crate) fn next(&mut self, packed: &[u8], limit: usize) -> Result<Vec<u8>, Wrong> {
        if packed.is_empty() {
            return Ok(Vec::new());
        }
        let stream = [packed, b"\x00\x00\xff\xff"].concat();
        let mut bits = Bits { bytes: &stream, at: 0 };
        let mut message = Vec::new();
        loop {
            let last = bits.take(1).ok_or(Wrong::Invalid)? == 1;
            let start = self.history.len();
            let block = self.block(&mut bits, message.len(), limit);
            message.extend(&self.history[start..]);
            if message.len() > limit {
                // What only the tail makes too long should have ended before it.
                let cut = bits.at > packed.len() * 8;
                return Err(if cut { Wrong::Invalid } else { Wrong::TooBig });
            }
            block.ok_or(Wrong::Invalid)?;
            if last {
                bits.align();
                self.history.clear();
            }
            let end = if last && bits.at == packed.len() * 8 { bits.at } else { stream.len() * 8 };
            if bits.at == end {
                return Ok(message);
            }
        }
    }

    /// Inflates a block whose first bit is gone; stops soon after `limit` is passed.
    fn block(&mut self, bits: &mut Bits<'_>, before: usize, limit: usize) -> Option<()> {
        let most = self.history.len() + limit + 1 - before;
        match bits.take(2)? {
            0 => self.stored(bits, most),
            1 => {
                let lengths = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
                self.codes(bits, &Code::new(&lengths)?, &Code::new(&[5; 30])?, most)
            }
            2 => {
                let (literals, distances) = tables(bits)?;
                self.codes(bits, &literals, &distances, most)
            }
            _ => None,
        }
    }

    fn stored(&mut self, bits: &mut Bits<'_>, most: usize) -> Option<()> {
        bits.align();
        let len = bits.take(16)?;
        if bits.take(16)? != len ^ 0xffff {
            return None;
        }
        for _ in 0..len.min(most - self.history.len()) {
            self.history.push(u8::try_from(bits.take(8)?).ok()?);
        }
        Some(())
    }

    fn codes(
        &mut self,
        bits: &mut Bits<'_>,
        literals: &Code,
        distances: &Code,
        most: usize,
    ) -> Option<()> {
        while self.history.len() < most {
            let symbol = literals.symbol(bits)?;
            match symbol {
                0..256 => self.history.push(u8::try_from(symbol).ok()?),
                256 => return Some(()),
                _ => {
                    let (base, extra) = *LENGTHS.get(symbol - 257)?;
                    let len = base + bits.take(extra)?;
                    let (base, extra) = *DISTANCES.get(distances.symbol(bits)?)?;
                    let distance = base + bits.take(extra)?;
                    self.farthest = self.farthest.max(distance);
                    let from = self.history.len().checked_sub(distance)?;
                    for index in 0..len {
                        self.history.push(self.history[from + index]);
                    }
                }
            }
        }
        Some(())
    }
}

/// The code tables of a dynamic block (RFC 1951 section 3.2.7).
fn tables(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let literal_count = bits.take(5)? + 257;
    let distance_count = bits.take(5)? + 1;
    let order_count = bits.take(4)? + 4;
    if literal_count > 286 || distance_count > 30 {
        return None;
    }
    let mut lengths = [0; 19];
    for &place in &ORDER[..order_count] {
        lengths[place] = bits.take(3)?;
    }
    let code = Code::new(&lengths).filter(|code| code.complete)?;
    let mut lengths = Vec::new();
    while lengths.len() < literal_count + distance_count {
        let (value, count) = match code.symbol(bits)? {
            16 => (*lengths.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            value => (value, 1),
        };
        lengths.extend(vec![value; count]);
    }
    if lengths.len() > literal_count + distance_count || lengths[256] == 0 {
        return None;
    }
    let (literals, distances) = lengths.split_at(literal_count);
    let usable = |lengths| Code::new(lengths).filter(|code| code.complete || code.longest <= 1);
    Some((usable(literals)?, usable(distances)?))
}

/// A prefix code as RFC 1951 section 3.2.2 makes it of its lengths: every codeword in full.
struct Code {
    /// Length, bits and symbol of each.
    words: Vec<(usize, usize, usize)>,
    longest: usize,
    /// Whether every sequence of bits begins with a codeword.
    complete: bool,
}

impl Code {
    /// `None` if there are more codewords than room for them.
    fn new(lengths: &[usize]) -> Option<Self> {
        let mut words = Vec::new();
        let mut next = 0;
        for len in 1..=15 {
            next *= 2;
            for symbol in (0..lengths.len()).filter(|&symbol| lengths[symbol] == len) {
                words.push((len, next, symbol));
                next += 1;
            }
            if next > 1 << len {
                return None;
            }
        }
        let longest = words.last().map_or(0, |&(len, ..)| len);
        Some(Self { words, longest, complete: next == 1 << 15 })
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut len, mut read) = (0, 0);
        while len < self.longest {
            read = read * 2 + bits.take(1)?;
            len += 1;
            let found =
                self.words.binary_search_by_key(&(len, read), |&(len, word, _)| (len, word));
            if let Ok(index) = found {
                return Some(self.words[index].2);
            }
        }
        None
    }
}

/// The bits of a stream, lowest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<usize> {
        let mut value = 0;
        for place in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value |= usize::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Some(value)
    }

    fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }
}

/// Base and extra bits of the symbols from 257 on (RFC 1951 section 3.2.5).
const LENGTHS: [(usize, usize); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The same of the distances.
const DISTANCES: [(usize, usize); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

/// Takes `bytes` as compressed messages, and holds the connection to what they come to: the first
/// byte says whether context is kept and how long messages are, the rest is split evenly.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let context = choice & 1 != 0;
    let messages = usize::from(choice >> 1 & 3) + 1;
    let mut limits = Limits::default();
    limits.message_bytes_max = if choice & 8 != 0 { 200 } else { 70_000 };
    let limit = usize::try_from(limits.message_bytes_max).expect("it is small");
    let mut connection = Connection::with_deflate(Role::Client);
    let mut inflater = Inflater::new(context);
    let mut reference = Messages::default();
    for packed in rest.chunks(rest.len().div_ceil(messages).max(1)) {
        if !context {
            reference.forget();
        }
        let most = limit + limit / 4 + 64;
        let expected =
            if packed.len() > most { Err(Wrong::TooBig) } else { reference.next(packed, limit) };
        let mut stream = Vec::new();
        frame(true, OpCode::Binary, None, packed, &mut stream);
        stream[0] |= 0x40;
        let (mut input, mut control) = (&mut stream[..], Vec::new());
        let mut mask = || [0; 4];
        let event = connection.receive(&mut input, &limits, &mut inflater, &mut mask, &mut control);
        match (event, expected) {
            (Some(Event::Message(message)), Ok(payload)) => assert_eq!(message.payload, payload),
            (Some(Event::Failed(error)), Err(wrong)) => {
                let code = if wrong == Wrong::Invalid { 1007 } else { 1009 };
                assert_eq!(error.close_code().0, code);
                return;
            }
            (event, expected) => {
                let seen =
                    if matches!(event, Some(Event::Message(_))) { "taken" } else { "refused" };
                panic!(
                    "{seen} where {:?} was due: {}",
                    expected.map(|_| ()),
                    packed.escape_ascii()
                );
            }
        }
    }
}
