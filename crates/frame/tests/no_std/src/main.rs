//! A program without `std` and without an allocator that parses, masks, checks and encodes.
//!
//! If the crate or anything that it depends on came to need `std`, there would be two panic handlers
//! and this would not compile; if it came to need `alloc`, there would be no allocator and it would
//! not link. Only the C library is there, to start it and to copy bytes. Its exit status says whether
//! what it did was right.

#![no_std]
#![no_main]

use core::ffi::c_int;
use core::panic::PanicInfo;

use tickwire_frame::utf8::Validator;
use tickwire_frame::{CloseCode, Header, OpCode, Parser, Role, Rules, close, mask};

/// Called by the C library in place of Rust's own start.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    c_int::from(!(parses() && masks() && validates() && encodes()))
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    abort()
}

#[link(name = "c")]
unsafe extern "C" {
    safe fn abort() -> !;
}

/// `core` is compiled for unwinding and names this; `std` would define it. Nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// The masked "Hello" of RFC 6455 section 5.7.
fn parses() -> bool {
    let mut bytes = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let mut input = &mut bytes[..];
    let mut parser = Parser::new(Rules::new(Role::Server));
    let whole = match parser.next(&mut input) {
        Ok(Some(piece)) => piece.last && piece.ascii && piece.payload == b"Hello",
        _ => false,
    };
    whole && matches!(parser.next(&mut input), Ok(None))
}

/// Lengths for which each way through the masking is taken.
fn masks() -> bool {
    let mut payload = [b'x'; 2000];
    for len in [3, 7, 15, 31, 63, 127, 300, 2000] {
        let payload = &mut payload[..len];
        mask::apply([1, 2, 3, 4], payload);
        if !mask::apply([1, 2, 3, 4], payload) || payload.iter().any(|byte| *byte != b'x') {
            return false;
        }
    }
    true
}

fn validates() -> bool {
    let mut validator = Validator::new();
    let text = "π is not three, and the rest of this is long enough for vectors: κόσμε".as_bytes();
    validator.push(&text[..1]).is_ok()
        && validator.push(&text[1..]).is_ok()
        && validator.finish().is_ok()
        && validator.push(&[0xff]).is_err()
}

fn encodes() -> bool {
    let mut body = [0; close::BODY_LEN_MAX];
    let body_len = close::encode(CloseCode::NORMAL, "bye", &mut body);
    let header = Header {
        fin: true,
        rsv1: false,
        opcode: OpCode::Close,
        mask: None,
        payload_len: body_len as u64,
    };
    let mut out = [0; Header::LEN_MAX];
    header.encode(&mut out) == 2
        && out[..2] == [0x88, 5]
        && matches!(close::decode(&body[..body_len]), Ok(Some((CloseCode::NORMAL, "bye"))))
}
