//! Masking and unmasking: the payload XORed with its four-byte key (RFC 6455 section 5.3).
//!
//! The only work that is done on each byte received, so there is a kernel for each instruction set,
//! chosen at run time by what the CPU has. Each also tells whether its result is ASCII, which costs
//! nothing while the bytes are in a register and spares most text a validation of its own.
//!
//! Invariant: all kernels give what [`Kernel::Scalar`] gives, for any length, key and alignment,
//! and touch no byte outside the payload: they reach memory through slices of proven length only.

#![allow(unsafe_code, reason = "calls of kernels, loads and stores: only in this module's files")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod sse2;

/// What a payload is masked with: byte `i` of the payload is XORed with byte `i % 4`.
pub type Key = [u8; 4];

/// Masks or unmasks `payload` in place with the fastest kernel of this CPU; its first byte uses
/// `key[0]`.
///
/// Returns whether every resulting byte is below 0x80.
///
/// ```
/// use tickwire_frame::mask;
///
/// let mut payload = *b"\x7f\x9f\x4d\x51\x58"; // the masked "Hello" of RFC 6455 section 5.7
/// let ascii = mask::apply([0x37, 0xfa, 0x21, 0x3d], &mut payload);
/// assert!(ascii && payload == *b"Hello");
/// ```
#[inline]
pub fn apply(key: Key, payload: &mut [u8]) -> bool {
    dispatch(key, payload)
}

/// The key for the rest of a payload of which `by` bytes are done.
#[inline]
#[must_use]
pub fn rotate(key: Key, by: usize) -> Key {
    #[expect(clippy::cast_possible_truncation, reason = "a remainder below 4")]
    let bytes = (by % 4) as u32;
    u32::from_le_bytes(key).rotate_right(8 * bytes).to_le_bytes()
}

/// One implementation of the masking, for tests and benches; [`apply`] chooses by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// Words of eight bytes, on any CPU.
    Scalar,
    /// Vectors of 16 bytes, on any x86-64 CPU.
    Sse2,
    /// Vectors of 32 bytes, where an x86-64 CPU has AVX2.
    Avx2,
    /// Vectors of 64 bytes, where an x86-64 CPU has AVX-512 F and BW.
    Avx512,
    /// Vectors of 16 bytes, on any AArch64 CPU.
    Neon,
}

impl Kernel {
    /// Every kernel, whether this CPU has it or not.
    pub const ALL: [Self; 5] = [Self::Scalar, Self::Sse2, Self::Avx2, Self::Avx512, Self::Neon];

    /// The kernels that this CPU can run.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// The kernel that [`apply`] uses for long payloads; for shorter ones it may choose
    /// another that is faster there.
    #[must_use]
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if has_fast_avx512::get() {
            return Self::Avx512;
        }
        let best_first = [Self::Avx2, Self::Sse2, Self::Neon];
        best_first.into_iter().find(|kernel| kernel.is_available()).unwrap_or(Self::Scalar)
    }

    /// Whether this CPU can run the kernel.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Sse2 => cfg!(target_arch = "x86_64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => has_avx2::get(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => has_avx512::get(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
            Self::Neon => cfg!(target_arch = "aarch64"),
        }
    }

    /// Like [`apply`], with this kernel.
    ///
    /// # Panics
    ///
    /// If the CPU cannot run the kernel.
    #[inline]
    pub fn apply(self, key: Key, payload: &mut [u8]) -> bool {
        assert!(self.is_available(), "this CPU cannot run the mask kernel {self:?}");
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: every x86-64 CPU has SSE2.
            Self::Sse2 => unsafe { sse2::apply(key, payload) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the assertion above has found AVX2 on this CPU.
            Self::Avx2 => unsafe { avx2::apply(key, payload) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the assertion above has found AVX2, AVX-512 F and BW on this CPU.
            Self::Avx512 => unsafe { avx512::apply(key, payload) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: every AArch64 CPU has NEON.
            Self::Neon => unsafe { neon::apply(key, payload) },
            _ => scalar::apply(key, payload),
        }
    }
}

// What CPUs differ in, asked once and kept in a byte each.
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(has_avx2, "avx2");
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(has_avx512, "avx2", "avx512f", "avx512bw");
// VBMI2 itself is not used. It came with the first CPUs that do not lower their clock for vectors of
// 64 bytes (Ice Lake, Zen 4); on older ones a server would pay for them in all its other code.
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(has_fast_avx512, "avx2", "avx512f", "avx512bw", "avx512vbmi2");

/// Shortest payload for which [`apply`] takes AVX-512.
///
/// Measured on Sapphire Rapids, consecutive frames in 16 KB, ns a frame, AVX2 and AVX-512: 2.6 and
/// 2.5 at 125 bytes, 4.4 and 3.9 at 200, 5.6 and 4.8 at 300, 11.5 and 9.4 at 1000, 38 and 28 at 4000.
#[cfg(target_arch = "x86_64")]
const AVX512_MIN: usize = 129;

// Branches on a byte that never changes rather than a pointer to the kernel: they are predicted, and
// the small payloads that most frames have need no call at all.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn dispatch(key: Key, payload: &mut [u8]) -> bool {
    if payload.len() <= sse2::SHORT_MAX {
        // SAFETY: every x86-64 CPU has SSE2.
        unsafe { sse2::short(key, payload) }
    } else if payload.len() >= AVX512_MIN && has_fast_avx512::get() {
        // SAFETY: AVX2, AVX-512 F and BW were found on this CPU.
        unsafe { avx512::apply(key, payload) }
    } else if has_avx2::get() {
        // SAFETY: AVX2 was found on this CPU.
        unsafe { avx2::apply(key, payload) }
    } else {
        // SAFETY: every x86-64 CPU has SSE2.
        unsafe { sse2::apply(key, payload) }
    }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn dispatch(key: Key, payload: &mut [u8]) -> bool {
    // SAFETY: every AArch64 CPU has NEON.
    unsafe { neon::apply(key, payload) }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn dispatch(key: Key, payload: &mut [u8]) -> bool {
    scalar::apply(key, payload)
}

/// The first and the last `LEN` bytes of a payload, which may overlap; `None` if it has fewer.
#[inline(always)]
fn ends<const LEN: usize>(payload: &[u8]) -> Option<(&[u8; LEN], &[u8; LEN])> {
    let head = payload.first_chunk()?;
    // Not `last_chunk`, after which the compiler tests the address for zero.
    let tail = payload[payload.len() - LEN..].first_chunk()?;
    Some((head, tail))
}

/// The last `LEN` bytes of a payload for which there are [`ends`].
#[inline(always)]
fn last_mut<const LEN: usize>(payload: &mut [u8]) -> &mut [u8; LEN] {
    let start = payload.len() - LEN;
    match payload[start..].first_chunk_mut() {
        Some(last) => last,
        None => unreachable!("the rest from `start` has `LEN` bytes"),
    }
}
