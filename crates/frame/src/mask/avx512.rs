//! The kernel for CPUs with AVX-512 F and BW: vectors of 64 bytes.
//!
//! The shape is that of AVX2: no loop up to two vectors; beyond, an aligned loop between a first and
//! a last vector that are loaded before it stores. There are no masked loads and stores: those of a
//! small frame hit the ones of the frame before it, and waiting for them costs 6 ns (7.5 ns a frame
//! of 8 or 20 bytes, against 1.5).
//!
//! No function here may run on a CPU without AVX-512 F and BW: the compiler has every caller outside
//! say why it does not.

use core::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_movepi8_mask, _mm512_or_si512, _mm512_set1_epi32,
    _mm512_storeu_si512, _mm512_xor_si512,
};

use super::{Key, avx2, ends, last_mut, rotate};

/// Masks payloads of any length.
#[target_feature(enable = "avx2,avx512f,avx512bw")]
pub(super) fn apply(key: Key, payload: &mut [u8]) -> bool {
    match payload.len() {
        0..=64 => avx2::apply(key, payload),
        65..=128 => two_vectors(key, payload),
        129.. => long(key, payload),
    }
}

/// Masks payloads of 64 to 128 bytes.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn two_vectors(key: Key, payload: &mut [u8]) -> bool {
    let Some((head, tail)) = ends(payload) else { return avx2::apply(key, payload) };
    let head = load_xor(head, splat(key));
    let tail = load_xor(tail, splat(rotate(key, payload.len())));
    if let Some(front) = payload.first_chunk_mut() {
        store(front, head);
    }
    store(last_mut(payload), tail);
    is_ascii(_mm512_or_si512(head, tail))
}

/// Masks payloads of at least 64 bytes.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn long(key: Key, payload: &mut [u8]) -> bool {
    let Some((head, tail)) = ends(payload) else { return avx2::apply(key, payload) };
    let head = load_xor(head, splat(key));
    let tail = load_xor(tail, splat(rotate(key, payload.len())));
    let mut seen = _mm512_or_si512(head, tail);
    // Aligned, since else every store would cross a cache line. Without the last byte, so that the
    // loop leaves at least that to the tail.
    let (at, end) = (payload.as_ptr().align_offset(64), payload.len() - 1);
    if let Some(middle) = payload.get_mut(at..end) {
        let key = splat(rotate(key, at));
        for vector in middle.as_chunks_mut().0 {
            let masked = load_xor(vector, key);
            store(vector, masked);
            seen = _mm512_or_si512(seen, masked);
        }
    }
    if let Some(front) = payload.first_chunk_mut() {
        store(front, head);
    }
    store(last_mut(payload), tail);
    is_ascii(seen)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(key: Key) -> __m512i {
    _mm512_set1_epi32(i32::from_ne_bytes(key))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_xor(bytes: &[u8; 64], key: __m512i) -> __m512i {
    // SAFETY: `bytes` are 64 readable bytes, and the load needs no alignment.
    let vector = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    _mm512_xor_si512(vector, key)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(bytes: &mut [u8; 64], vector: __m512i) {
    // SAFETY: `bytes` are 64 writable bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}

/// Whether the top bit of every byte is clear.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn is_ascii(seen: __m512i) -> bool {
    _mm512_movepi8_mask(seen) == 0
}
