//! Text without cut characters, checked by simdutf8 with the widest vectors of this CPU.
//!
//! simdutf8 looks for those itself only where there is `std`, so the choice is made here. Beside the
//! masking this is the only unsafe code of the crate: simdutf8's kernels rely on their callers to
//! know the CPU, and `str` on them to know that bytes are UTF-8.
//!
//! Invariant: what passes here passes `core::str::from_utf8`, and the other way round.

#![allow(unsafe_code, reason = "only here: see above")]

use core::str;

use crate::error::Utf8Error;

/// Checks all of `text`.
#[inline]
pub(super) fn check(text: &[u8]) -> Result<&str, Utf8Error> {
    validate(text)?;
    // SAFETY: `validate` has just found `text` to be UTF-8.
    Ok(unsafe { str::from_utf8_unchecked(text) })
}

/// Checks all of `text`, without giving it back.
#[inline]
pub(super) fn validate(text: &[u8]) -> Result<(), Utf8Error> {
    if text.len() < VECTORS_MIN {
        return str::from_utf8(text).map(drop).map_err(|_| Utf8Error);
    }
    validate_with_vectors(text)
}

/// Shortest text that is not left to `core`, which begins sooner but goes on byte by byte.
///
/// Measured on Sapphire Rapids, ns for text of few and of many characters beyond ASCII, `core` and
/// AVX2: 18, 10 and 15 at 16 bytes, 25, 14 and 15 at 24, 64, 42 and 15 at 63, 125, 72 and 17 at 125.
pub(super) const VECTORS_MIN: usize = 24;

#[cfg(target_arch = "x86_64")]
fn validate_with_vectors(text: &[u8]) -> Result<(), Utf8Error> {
    use simdutf8::basic::imp::x86;

    let checked = if has_avx2::get() {
        // SAFETY: AVX2 was found on this CPU.
        unsafe { x86::avx2::validate_utf8(text) }
    } else if has_sse42::get() {
        // SAFETY: SSE 4.2 was found on this CPU.
        unsafe { x86::sse42::validate_utf8(text) }
    } else {
        return str::from_utf8(text).map(drop).map_err(|_| Utf8Error);
    };
    checked.map_err(|_| Utf8Error)
}

// What CPUs differ in, asked once and kept in a byte each.
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(has_avx2, "avx2");
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(has_sse42, "sse4.2");

/// Elsewhere simdutf8 knows all it needs when it is compiled.
#[cfg(not(target_arch = "x86_64"))]
fn validate_with_vectors(text: &[u8]) -> Result<(), Utf8Error> {
    simdutf8::basic::from_utf8(text).map(drop).map_err(|_| Utf8Error)
}
