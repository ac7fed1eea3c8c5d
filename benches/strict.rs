//! What does it cost to hold a peer to RFC 6455?
//!
//! `strict` is the frame crate's parser. `lax` has the same structure and unmasks with the same
//! kernel, but believes every header: any reserved bit, any opcode, a mask or none, a length in any
//! form, a control frame of any length. Both go through the same 16 KB of valid masked frames in
//! place; masking twice is the identity, so that every second pass finds them as they were received.
//!
//! What is compared is the way that nearly all frames take: whole in the input, with a length of at
//! most 16 bits. For other frames `lax` asks the strict parser, as the strict parser's own fast way
//! asks its slow one.

use std::hint::black_box;
use std::mem;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tickwire_benches::{Contents, CpuTime, PAYLOAD_LENS, Received};
use tickwire_frame::mask::{self, Key};
use tickwire_frame::{FrameError, OpCode, Parser, Piece, Role, Rules};

fn strict(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("strict");
    for payload_len in PAYLOAD_LENS {
        let mut received = Received::new(Contents::Binary, payload_len);
        check(&received);
        group.throughput(Throughput::Elements(received.frames() as u64));
        group.bench_function(BenchmarkId::new("strict", payload_len), |bencher| {
            let mut parser = black_box(Parser::new(Rules::new(Role::Server)));
            bencher.iter(|| strict_pass(&mut parser, &mut received.bytes));
        });
        group.bench_function(BenchmarkId::new("lax", payload_len), |bencher| {
            let mut parser = black_box(LaxParser::new());
            bencher.iter(|| lax_pass(&mut parser, &mut received.bytes));
        });
    }
    group.finish();
}

/// The loop around a parser that a connection has, once for each parser.
macro_rules! pass {
    ($name:ident, $parser:ty) => {
        #[inline(never)]
        fn $name(parser: &mut $parser, bytes: &mut [u8]) -> (usize, usize) {
            let (mut input, mut frames, mut payload_bytes) = (bytes, 0, 0);
            while let Ok(Some(piece)) = parser.next(&mut input) {
                frames += usize::from(piece.last && piece.opcode == OpCode::Binary);
                payload_bytes += piece.payload.len();
                black_box(piece.ascii);
            }
            (frames, payload_bytes)
        }
    };
}

pass!(strict_pass, Parser);
pass!(lax_pass, LaxParser);

/// Holds both parsers to the same frames.
fn check(received: &Received) {
    let (mut strict, mut lax) = (received.bytes.clone(), received.bytes.clone());
    let expected = (received.frames(), received.frames() * received.payload_len);
    assert_eq!(strict_pass(&mut Parser::new(Rules::new(Role::Server)), &mut strict), expected);
    assert_eq!(lax_pass(&mut LaxParser::new(), &mut lax), expected);
    assert!(strict != received.bytes && strict == lax, "both have unmasked");
}

/// A parser that believes what it is told.
struct LaxParser {
    is_between: bool,
    careful: Parser,
}

impl LaxParser {
    fn new() -> Self {
        Self { is_between: true, careful: Parser::new(Rules::new(Role::Server)) }
    }

    #[inline]
    fn next<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Piece<'a>>, FrameError> {
        if let Some(piece) = self.next_whole(input) {
            return Ok(Some(piece));
        }
        let (rest, piece) = self.next_part(mem::take(input));
        *input = rest;
        piece
    }

    #[inline(always)]
    fn next_whole<'a>(&self, input: &mut &'a mut [u8]) -> Option<Piece<'a>> {
        if !self.is_between {
            return None;
        }
        let glance = Glance::decode(*input.first_chunk()?)?;
        let frame_end = glance.header_len + glance.payload_len;
        if frame_end > input.len() {
            return None;
        }
        let (frame, rest) = mem::take(input).split_at_mut(frame_end);
        *input = rest;
        let payload = &mut frame[glance.header_len..];
        let ascii = mask::apply(glance.key, payload);
        Some(Piece {
            opcode: OPCODES[usize::from(glance.first & 0x0f)],
            fin: glance.first & 0x80 != 0,
            rsv1: glance.first & 0x40 != 0,
            frame_len: glance.payload_len as u64,
            first: true,
            last: true,
            ascii,
            payload,
        })
    }

    #[inline(never)]
    fn next_part<'a>(&mut self, mut input: &'a mut [u8]) -> (&'a mut [u8], Next<'a>) {
        let piece = self.careful.next(&mut input);
        self.is_between = matches!(piece, Ok(None | Some(Piece { last: true, .. })));
        (input, piece)
    }
}

/// What [`LaxParser::next`] returns.
type Next<'a> = Result<Option<Piece<'a>>, FrameError>;

/// A header of the two short length forms, as it is.
struct Glance {
    first: u8,
    key: Key,
    payload_len: usize,
    header_len: usize,
}

impl Glance {
    #[inline(always)]
    fn decode(bytes: [u8; 8]) -> Option<Self> {
        let word = u64::from_le_bytes(bytes);
        let [first, second, high, low, ..] = bytes;
        let (payload_len, length_end, after) = match second & 0x7f {
            127 => return None,
            126 => (usize::from(u16::from_be_bytes([high, low])), 4, low_bytes(word >> 32)),
            short => (usize::from(short), 2, low_bytes(word >> 16)),
        };
        let masked = second & 0x80 != 0;
        let (key, header_len) = if masked { (after, length_end + 4) } else { ([0; 4], length_end) };
        Some(Self { first, key, payload_len, header_len })
    }
}

#[inline(always)]
fn low_bytes(word: u64) -> Key {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    let low = word as u32;
    low.to_le_bytes()
}

/// Opcodes by the low four bits of a first byte; the reserved ones are taken for Continuation.
const OPCODES: [OpCode; 16] = {
    let mut opcodes = [OpCode::Continuation; 16];
    opcodes[1] = OpCode::Text;
    opcodes[2] = OpCode::Binary;
    opcodes[8] = OpCode::Close;
    opcodes[9] = OpCode::Ping;
    opcodes[10] = OpCode::Pong;
    opcodes
};

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = strict
}
criterion_main!(benches);
