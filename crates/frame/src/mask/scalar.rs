//! The kernel for any CPU: words of eight bytes, in safe code.
//!
//! Its [`short`] is also what the vector kernels do for payloads shorter than one of their vectors.
//!
//! Two words that overlap cover any length from 8 to 16: both are loaded before either is stored,
//! so that no byte is XORed twice. Every kernel ends its payload in this way: a tail done byte by
//! byte costs more than all of a small frame.

use super::{Key, rotate};

/// Masks payloads of any length.
pub(super) fn apply(key: Key, payload: &mut [u8]) -> bool {
    let len = payload.len();
    let Some(&tail) = payload.last_chunk::<8>() else { return short(key, payload) };
    let wide = widen(key);
    let mut seen = 0;
    // All words but the last, which the tail covers.
    let (words, _) = payload[..len - 1].as_chunks_mut::<8>();
    for word in words {
        let masked = u64::from_ne_bytes(*word) ^ wide;
        *word = masked.to_ne_bytes();
        seen |= masked;
    }
    let masked = u64::from_ne_bytes(tail) ^ widen(rotate(key, len));
    if let Some(tail) = payload.last_chunk_mut() {
        *tail = masked.to_ne_bytes();
    }
    is_ascii(seen | masked)
}

/// Masks payloads of at most 16 bytes.
#[inline(always)]
pub(super) fn short(key: Key, payload: &mut [u8]) -> bool {
    debug_assert!(payload.len() <= 16, "a short payload has at most 16 bytes");
    let len = payload.len();
    if let (Some(&head), Some(&tail)) = (payload.first_chunk(), payload.last_chunk()) {
        let head = u64::from_ne_bytes(head) ^ widen(key);
        let tail = u64::from_ne_bytes(tail) ^ widen(rotate(key, len));
        store(payload, &head.to_ne_bytes(), &tail.to_ne_bytes());
        is_ascii(head | tail)
    } else if let (Some(&head), Some(&tail)) = (payload.first_chunk(), payload.last_chunk()) {
        let head = u32::from_ne_bytes(head) ^ u32::from_ne_bytes(key);
        let tail = u32::from_ne_bytes(tail) ^ u32::from_ne_bytes(rotate(key, len));
        store(payload, &head.to_ne_bytes(), &tail.to_ne_bytes());
        is_ascii(u64::from(head | tail))
    } else {
        let mut seen = 0;
        for (byte, key) in payload.iter_mut().zip(key) {
            *byte ^= key;
            seen |= *byte;
        }
        is_ascii(u64::from(seen))
    }
}

/// Stores `head` to the front and `tail` to the end of `payload`, which may overlap.
#[inline(always)]
fn store<const LEN: usize>(payload: &mut [u8], head: &[u8; LEN], tail: &[u8; LEN]) {
    if let Some(front) = payload.first_chunk_mut() {
        *front = *head;
    }
    if let Some(end) = payload.last_chunk_mut() {
        *end = *tail;
    }
}

/// The key twice, as a word in memory order.
#[inline(always)]
fn widen([a, b, c, d]: Key) -> u64 {
    u64::from_ne_bytes([a, b, c, d, a, b, c, d])
}

#[inline(always)]
fn is_ascii(seen: u64) -> bool {
    seen & 0x8080_8080_8080_8080 == 0
}
