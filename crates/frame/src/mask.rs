//! Masking and unmasking: the payload XORed with its four-byte key (RFC 6455 section 5.3).
//!
//! The only work that is done on each byte received, so there is a kernel for each instruction set,
//! chosen at run time by what the CPU has. Each also tells whether its result is ASCII, which costs
//! nothing while the bytes are in a register and spares most text a validation of its own.
//!
//! Invariant: all kernels give what [`Kernel::Scalar`] gives, for any length, key and alignment,
//! and touch no byte outside the payload: they reach memory through slices of proven length only.

#![allow(unsafe_code)] // Calls of kernels, loads and stores: here and in this module's files only.

#[cfg(target_arch = "x86_64")]
mod avx2;
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

    /// The kernel that [`apply`] uses for all but small payloads.
    #[must_use]
    pub fn best() -> Self {
        if Self::Neon.is_available() {
            Self::Neon
        } else if Self::Avx2.is_available() {
            Self::Avx2
        } else if Self::Sse2.is_available() {
            Self::Sse2
        } else {
            Self::Scalar
        }
    }

    /// Whether this CPU can run the kernel.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Sse2 => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => has_avx2::get(),
            _ => false,
        }
    }

    /// Like [`apply`](self::apply), with this kernel.
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
            _ => scalar::apply(key, payload),
        }
    }
}

#[cfg(target_arch = "x86_64")]
cpufeatures::new!(has_avx2, "avx2");

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn dispatch(key: Key, payload: &mut [u8]) -> bool {
    if payload.len() <= sse2::SHORT_MAX {
        // SAFETY: every x86-64 CPU has SSE2.
        unsafe { sse2::short(key, payload) }
    } else if has_avx2::get() {
        // SAFETY: AVX2 was found on this CPU.
        unsafe { avx2::apply(key, payload) }
    } else {
        // SAFETY: every x86-64 CPU has SSE2.
        unsafe { sse2::apply(key, payload) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn dispatch(key: Key, payload: &mut [u8]) -> bool {
    Kernel::best().apply(key, payload)
}
