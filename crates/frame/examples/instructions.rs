//! A thousand masked frames through the parser, for `scripts/check-instructions` to count what they
//! cost: instructions are the same on a busy machine and on a quiet one.
//!
//! `instructions PAYLOAD_LEN`; what is to be counted is all within [`parse_all`].

use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use tickwire_frame::mask::{self, Kernel};
use tickwire_frame::{Header, OpCode, Parser, Role, Rules};

const FRAMES: usize = 1000;

/// Said when the counts could not be compared with those of other machines.
const OTHER_MACHINE: u8 = 77;

fn main() -> ExitCode {
    let Some(payload_len) = env::args().nth(1).and_then(|len| len.parse().ok()) else {
        eprintln!("usage: instructions PAYLOAD_LEN");
        return ExitCode::FAILURE;
    };
    // Also has the CPU asked what it can do, which is not a frame's cost.
    if !Kernel::Avx2.is_available() {
        eprintln!("the counts are for CPUs with AVX2, which this one is not");
        return ExitCode::from(OTHER_MACHINE);
    }
    mask::apply([0; 4], &mut [0; 1000]);
    let mut bytes = frames(payload_len);
    assert_eq!(parse_all(&mut bytes), (FRAMES, FRAMES * payload_len));
    ExitCode::SUCCESS
}

/// The loop around the parser that a connection has; gives the number of frames and bytes.
#[inline(never)]
fn parse_all(mut input: &mut [u8]) -> (usize, usize) {
    let mut parser = Parser::new(black_box(Rules::new(Role::Server)));
    let (mut frames, mut bytes) = (0, 0);
    while let Ok(Some(piece)) = parser.next(&mut input) {
        frames += usize::from(piece.last && piece.opcode == OpCode::Binary);
        bytes += piece.payload.len();
        black_box(piece.ascii);
    }
    (frames, bytes)
}

fn frames(payload_len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..FRAMES {
        let header = Header {
            fin: true,
            rsv1: false,
            opcode: OpCode::Binary,
            mask: Some([0x37, 0xfa, 0x21, 0x3d]),
            payload_len: payload_len as u64,
        };
        let mut out = [0; Header::LEN_MAX];
        let header_len = header.encode(&mut out);
        bytes.extend_from_slice(&out[..header_len]);
        bytes.resize(bytes.len() + payload_len, b'x');
    }
    bytes
}
