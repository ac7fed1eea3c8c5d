//! The kernel for CPUs with AVX2: vectors of 32 bytes.
//!
//! Up to 128 bytes, vectors that overlap in the middle cover the payload without a loop; beyond
//! that a loop of 128 bytes a round, and a tail of 128 bytes loaded before the loop stores.
//!
//! No function here may run on a CPU without AVX2: the compiler has every caller outside say why it
//! does not.

use core::arch::x86_64::{
    __m256i, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi32,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use super::{Key, rotate, sse2};

/// Masks payloads of any length.
#[target_feature(enable = "avx2")]
pub(super) fn apply(key: Key, payload: &mut [u8]) -> bool {
    match payload.len() {
        0..=32 => sse2::short(key, payload),
        33..=64 => ends::<1>(key, payload),
        65..=128 => ends::<2>(key, payload),
        _ => long(key, payload),
    }
}

/// Masks payloads of `VECTORS` to twice `VECTORS` vectors from both ends.
#[inline]
#[target_feature(enable = "avx2")]
fn ends<const VECTORS: usize>(key: Key, payload: &mut [u8]) -> bool {
    let len = payload.len();
    let (head, _) = payload.as_chunks();
    let (_, tail) = payload.as_rchunks();
    let (Some(head), Some(tail)) = (head.first_chunk::<VECTORS>(), tail.last_chunk::<VECTORS>())
    else {
        unreachable!("the caller matched the length")
    };
    let head = xor(head, splat(key));
    let tail = xor(tail, splat(rotate(key, len)));
    store_front(payload, head);
    store_end(payload, tail);
    is_ascii(_mm256_or_si256(gather(head), gather(tail)))
}

/// Masks payloads of more than one round.
#[target_feature(enable = "avx2")]
fn long(key: Key, payload: &mut [u8]) -> bool {
    let len = payload.len();
    let (_, tail) = payload.as_rchunks();
    let Some(tail) = tail.last_chunk::<ROUND>() else {
        unreachable!("the caller matched the length")
    };
    let tail = xor(tail, splat(rotate(key, len)));
    let mut seen = gather(tail);
    let key = splat(key);
    let (vectors, _) = payload[..len - 1].as_chunks_mut();
    let (rounds, _) = vectors.as_chunks_mut::<ROUND>();
    for round in rounds {
        let masked = xor(round, key);
        for (vector, masked) in round.iter_mut().zip(masked) {
            store(vector, masked);
        }
        seen = _mm256_or_si256(seen, gather(masked));
    }
    store_end(payload, tail);
    is_ascii(seen)
}

/// Vectors in a round of the loop, and in the tail that follows it.
const ROUND: usize = 4;

#[inline]
#[target_feature(enable = "avx2")]
fn xor<const VECTORS: usize>(bytes: &[[u8; 32]; VECTORS], key: __m256i) -> [__m256i; VECTORS] {
    let mut masked = [key; VECTORS];
    for (masked, bytes) in masked.iter_mut().zip(bytes) {
        *masked = _mm256_xor_si256(load(bytes), key);
    }
    masked
}

#[inline]
#[target_feature(enable = "avx2")]
fn gather<const VECTORS: usize>(vectors: [__m256i; VECTORS]) -> __m256i {
    let mut seen = vectors[0];
    for vector in vectors {
        seen = _mm256_or_si256(seen, vector);
    }
    seen
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_front<const VECTORS: usize>(payload: &mut [u8], vectors: [__m256i; VECTORS]) {
    let (front, _) = payload.as_chunks_mut();
    for (bytes, vector) in front.iter_mut().zip(vectors) {
        store(bytes, vector);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_end<const VECTORS: usize>(payload: &mut [u8], vectors: [__m256i; VECTORS]) {
    let (_, end) = payload.as_rchunks_mut();
    for (bytes, vector) in end.iter_mut().rev().zip(vectors.into_iter().rev()) {
        store(bytes, vector);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn splat(key: Key) -> __m256i {
    _mm256_set1_epi32(i32::from_ne_bytes(key))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: `bytes` are 32 readable bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8; 32], vector: __m256i) {
    // SAFETY: `bytes` are 32 writable bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
}

/// Whether the top bit of every byte is clear.
#[inline]
#[target_feature(enable = "avx2")]
fn is_ascii(seen: __m256i) -> bool {
    _mm256_movemask_epi8(seen) == 0
}
