//! The kernel for any x86-64 CPU: vectors of 16 bytes.
//!
//! Its [`short`] also does the small payloads for the wider kernels: it can be inlined into ordinary
//! code, which no function that needs more than the baseline can, and so saves them a call.
//!
//! Every x86-64 CPU has SSE2 and the compiler assumes it; it is only that the functions that stand
//! for the instructions ask to be told so.

use core::arch::x86_64::{
    __m128i, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi32, _mm_storeu_si128,
    _mm_xor_si128,
};

use super::{Key, ends, last_mut, rotate, scalar};

/// Longest payload for [`short`]: two vectors.
pub(super) const SHORT_MAX: usize = 32;

/// Masks payloads of any length.
#[target_feature(enable = "sse2")]
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
        seen = _mm_or_si128(seen, masked);
    }
    store(last_mut(payload), tail);
    is_ascii(seen)
}

/// Masks payloads of at most [`SHORT_MAX`] bytes.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn short(key: Key, payload: &mut [u8]) -> bool {
    debug_assert!(payload.len() <= SHORT_MAX, "a short payload has at most 32 bytes");
    let Some((head, tail)) = ends(payload) else { return scalar::short(key, payload) };
    let head = load_xor(head, splat(key));
    let tail = load_xor(tail, splat(rotate(key, payload.len())));
    if let Some(front) = payload.first_chunk_mut() {
        store(front, head);
    }
    store(last_mut(payload), tail);
    is_ascii(_mm_or_si128(head, tail))
}

#[inline]
#[target_feature(enable = "sse2")]
fn splat(key: Key) -> __m128i {
    _mm_set1_epi32(i32::from_ne_bytes(key))
}

#[inline]
#[target_feature(enable = "sse2")]
fn load_xor(bytes: &[u8; 16], key: __m128i) -> __m128i {
    // SAFETY: `bytes` are 16 readable bytes, and the load needs no alignment.
    let vector = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm_xor_si128(vector, key)
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(bytes: &mut [u8; 16], vector: __m128i) {
    // SAFETY: `bytes` are 16 writable bytes, and the store needs no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) }
}

/// Whether the top bit of every byte is clear.
#[inline]
#[target_feature(enable = "sse2")]
fn is_ascii(seen: __m128i) -> bool {
    _mm_movemask_epi8(seen) == 0
}
