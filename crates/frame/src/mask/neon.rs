//! The kernel for any AArch64 CPU: vectors of 16 bytes.
//!
//! A loop and a last vector that is loaded before the loop stores, as in the kernel for SSE2.
//!
//! Every AArch64 CPU that runs ordinary programs has NEON and the compiler assumes it; it is only
//! that the functions that stand for the instructions ask to be told so.

use core::arch::aarch64::{
    uint8x16_t, vdupq_n_u32, veorq_u8, vld1q_u8, vmaxvq_u8, vorrq_u8, vreinterpretq_u8_u32,
    vst1q_u8,
};

use super::{Key, ends, last_mut, rotate, scalar};

/// Masks payloads of any length.
#[target_feature(enable = "neon")]
pub(super) fn apply(key: Key, payload: &mut [u8]) -> bool {
    let Some((_, tail)) = ends(payload) else { return scalar::short(key, payload) };
    // Loaded before the loop stores: the last two vectors may overlap.
    let tail = load_xor(tail, splat(rotate(key, payload.len())));
    let mut seen = tail;
    let key = splat(key);
    // Without the last byte, so that the loop leaves at least that to the tail.
    let end = payload.len() - 1;
    for vector in payload[..end].as_chunks_mut().0 {
        let masked = load_xor(vector, key);
        store(vector, masked);
        seen = vorrq_u8(seen, masked);
    }
    store(last_mut(payload), tail);
    is_ascii(seen)
}

#[inline]
#[target_feature(enable = "neon")]
fn splat(key: Key) -> uint8x16_t {
    vreinterpretq_u8_u32(vdupq_n_u32(u32::from_ne_bytes(key)))
}

#[inline]
#[target_feature(enable = "neon")]
fn load_xor(bytes: &[u8; 16], key: uint8x16_t) -> uint8x16_t {
    // SAFETY: `bytes` are 16 readable bytes, and the load needs no alignment.
    let vector = unsafe { vld1q_u8(bytes.as_ptr()) };
    veorq_u8(vector, key)
}

#[inline]
#[target_feature(enable = "neon")]
fn store(bytes: &mut [u8; 16], vector: uint8x16_t) {
    // SAFETY: `bytes` are 16 writable bytes, and the store needs no alignment.
    unsafe { vst1q_u8(bytes.as_mut_ptr(), vector) }
}

/// Whether the top bit of every byte is clear.
#[inline]
#[target_feature(enable = "neon")]
fn is_ascii(seen: uint8x16_t) -> bool {
    vmaxvq_u8(seen) < 0x80
}
