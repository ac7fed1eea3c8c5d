//! The kernel for any CPU: words of eight bytes, in safe code.
//!
//! Its [`short`] is also what the other kernels do for payloads shorter than one of their vectors.
//! Two words that may overlap cover any length from 8 to 16: both are loaded before either is
//! stored, so that no byte is XORed twice. All kernels end payloads in this way: a tail done byte by
//! byte would cost more than all the rest of a small frame.

use super::{Key, ends, last_mut, rotate};

/// Masks payloads of any length.
pub(super) fn apply(key: Key, payload: &mut [u8]) -> bool {
    let Some((_, tail)) = ends(payload) else { return short(key, payload) };
    let tail = u64::from_le_bytes(*tail) ^ widen_rotated(key, payload.len());
    let mut seen = tail;
    let key = widen(key);
    // Without the last byte, so that the loop leaves at least that to the tail.
    let end = payload.len() - 1;
    for word in payload[..end].as_chunks_mut().0 {
        let masked = u64::from_le_bytes(*word) ^ key;
        *word = masked.to_le_bytes();
        seen |= masked;
    }
    *last_mut(payload) = tail.to_le_bytes();
    is_ascii(seen)
}

/// Masks payloads of at most 16 bytes.
#[inline(always)]
pub(super) fn short(key: Key, payload: &mut [u8]) -> bool {
    debug_assert!(payload.len() <= 16, "a short payload has at most 16 bytes");
    if let Some((head, tail)) = ends(payload) {
        let head = u64::from_le_bytes(*head) ^ widen(key);
        let tail = u64::from_le_bytes(*tail) ^ widen_rotated(key, payload.len());
        if let Some(front) = payload.first_chunk_mut() {
            *front = head.to_le_bytes();
        }
        *last_mut(payload) = tail.to_le_bytes();
        is_ascii(head | tail)
    } else if let Some((head, tail)) = ends(payload) {
        let head = u32::from_le_bytes(*head) ^ u32::from_le_bytes(key);
        let tail = u32::from_le_bytes(*tail) ^ u32::from_le_bytes(rotate(key, payload.len()));
        if let Some(front) = payload.first_chunk_mut() {
            *front = head.to_le_bytes();
        }
        *last_mut(payload) = tail.to_le_bytes();
        is_ascii(u64::from(head | tail))
    } else {
        tiny(key, payload)
    }
}

/// Masks payloads of at most 3 bytes.
#[inline(always)]
fn tiny(key: Key, payload: &mut [u8]) -> bool {
    let mut seen = 0;
    for (byte, key) in payload.iter_mut().zip(key) {
        *byte ^= key;
        seen |= *byte;
    }
    seen < 0x80
}

/// The key twice, as a word in the order of memory.
#[inline(always)]
fn widen(key: Key) -> u64 {
    let word = u64::from(u32::from_le_bytes(key));
    word << 32 | word
}

/// The key for a word `by` bytes later, twice. The two halves are alike, so that turning the word
/// turns the key, and no remainder is needed.
#[inline(always)]
fn widen_rotated(key: Key, by: usize) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits turn the word")]
    let by = by as u32;
    widen(key).rotate_right(by.wrapping_mul(8))
}

/// Whether the top bit of every byte is clear.
#[inline(always)]
fn is_ascii(seen: u64) -> bool {
    seen & 0x8080_8080_8080_8080 == 0
}
