//! What the frame crate's kernels are measured against, as tight as each can be made.
//!
//! A kernel that is chosen when the program runs has to be called, so in most columns a frame is a
//! call. Those named `inlined` are the whole loop over the frames, compiled for its instruction set:
//! what a program is worth that is built for one CPU only.
//! [`Column::check`] holds each to what was masked before any is measured.
//!
//! Vectors reach memory through arrays of their own length only, so that loads and stores are the
//! only unsafe operations, besides the call of a column, which needs the CPU to have what it uses.

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_set1_epi32, _mm_storeu_si128, _mm_xor_si128,
    _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256,
    _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_set1_epi32,
    _mm512_storeu_si512, _mm512_xor_si512,
};
use std::hint::black_box;

use tickwire_benches::{Contents, Received};
use tickwire_frame::mask::{Key, rotate};

/// A way to unmask all payloads of a buffer.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) pass: fn(&mut Received) -> bool,
}

impl Column {
    /// Those for consecutive small frames that this CPU can run.
    pub(crate) fn small() -> impl Iterator<Item = Self> {
        let always = [
            Self { name: "byte loop", pass: byte_loop },
            Self { name: "u64", pass: words },
            Self { name: "u64 inlined", pass: words_inlined },
            Self { name: "words of 4", pass: words_of_4 },
            Self { name: "SSE2", pass: sse2 },
            Self { name: "SSE2 inlined", pass: sse2_inlined },
        ];
        let avx2 = has_avx2().then_some([
            Self { name: "words of 4, AVX2", pass: words_of_4_avx2 },
            Self { name: "AVX2, overlapping tail", pass: avx2 },
            Self { name: "AVX2, overlapping tail inlined", pass: avx2_inlined },
        ]);
        let avx512 = has_avx512().then_some([Self { name: "AVX-512, masked tail", pass: avx512 }]);
        let columns = always.into_iter().chain(avx2.into_iter().flatten());
        columns.chain(avx512.into_iter().flatten())
    }

    /// Those for one large payload that this CPU can run: passes that read, modify and write.
    pub(crate) fn large() -> impl Iterator<Item = Self> {
        let avx2 = has_avx2().then_some(Self { name: "read-modify-write AVX2", pass: plain_avx2 });
        let avx512 =
            has_avx512().then_some(Self { name: "read-modify-write AVX-512", pass: plain_avx512 });
        [Self { name: "read-modify-write", pass: plain }].into_iter().chain(avx2).chain(avx512)
    }

    /// # Panics
    ///
    /// If the column unmasks otherwise than the sender masked, for any length below 300.
    pub(crate) fn check(&self) {
        for payload_len in 1..300 {
            let mut received = Received::new(Contents::Binary, payload_len);
            (self.pass)(&mut received);
            let expected: Vec<_> =
                (0..).map(|number| received.payload(number)).take(received.frames()).collect();
            let unmasked = received.payloads().map(|(_, payload)| payload);
            assert!(unmasked.eq(&expected), "{} at {payload_len} bytes", self.name);
        }
    }
}

fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

#[inline(always)]
fn pass(received: &mut Received, apply: impl Fn(Key, &mut [u8])) -> bool {
    received.payloads().for_each(|(key, payload)| apply(key, payload));
    true
}

/// RFC 6455 section 5.3 as it is written.
fn byte_loop(received: &mut Received) -> bool {
    #[inline(never)]
    fn apply(key: Key, payload: &mut [u8]) {
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[index % 4];
            // Or the compiler makes vectors of it, and it is no loop over bytes any more.
            black_box(());
        }
    }
    pass(received, apply)
}

fn words(received: &mut Received) -> bool {
    #[inline(never)]
    fn apply(key: Key, payload: &mut [u8]) {
        in_words(key, payload);
    }
    pass(received, apply)
}

fn words_inlined(received: &mut Received) -> bool {
    pass(received, in_words)
}

/// Words of eight bytes, which the compiler is kept from making vectors of, then bytes.
#[inline(always)]
fn in_words(key: Key, payload: &mut [u8]) {
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ double(key)).to_le_bytes();
        black_box(());
    }
    bytes(key, rest);
}

fn words_of_4(received: &mut Received) -> bool {
    #[inline(never)]
    fn apply(key: Key, payload: &mut [u8]) {
        in_words_of_4(key, payload);
    }
    pass(received, apply)
}

fn words_of_4_avx2(received: &mut Received) -> bool {
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    fn apply(key: Key, payload: &mut [u8]) {
        in_words_of_4(key, payload);
    }
    // SAFETY: this column is only offered where the CPU has AVX2.
    pass(received, |key, payload| unsafe { apply(key, payload) })
}

/// `chunks_exact(4)`, what a crate-free implementation writes, with the vectors that the compiler
/// makes of it.
#[inline(always)]
fn in_words_of_4(key: Key, payload: &mut [u8]) {
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
    bytes(key, rest);
}

#[inline(always)]
fn bytes(key: Key, rest: &mut [u8]) {
    for (byte, key) in rest.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

fn sse2(received: &mut Received) -> bool {
    #[inline(never)]
    fn apply(key: Key, payload: &mut [u8]) {
        in_128_bits(key, payload);
    }
    pass(received, apply)
}

fn sse2_inlined(received: &mut Received) -> bool {
    pass(received, in_128_bits)
}

/// Vectors of 16 bytes with an overlapping tail.
#[inline(always)]
fn in_128_bits(key: Key, payload: &mut [u8]) {
    if payload.len() < 16 {
        return below_16(key, payload);
    }
    let tail = load_128(last(payload), rotate(key, payload.len()));
    let end = payload.len() - 1;
    for vector in payload[..end].as_chunks_mut().0 {
        let unmasked = load_128(vector, key);
        store_128(vector, unmasked);
    }
    store_128(last_mut(payload), tail);
}

fn avx2(received: &mut Received) -> bool {
    #[inline(never)]
    #[target_feature(enable = "avx2")]
    fn apply(key: Key, payload: &mut [u8]) {
        in_256_bits(key, payload);
    }
    // SAFETY: this column is only offered where the CPU has AVX2.
    pass(received, |key, payload| unsafe { apply(key, payload) })
}

fn avx2_inlined(received: &mut Received) -> bool {
    #[target_feature(enable = "avx2")]
    fn run(received: &mut Received) -> bool {
        pass(received, |key, payload| in_256_bits(key, payload))
    }
    // SAFETY: this column is only offered where the CPU has AVX2.
    unsafe { run(received) }
}

/// Vectors of 32 bytes; the last one, which overlaps, is loaded before the loop stores.
#[inline]
#[target_feature(enable = "avx2")]
fn in_256_bits(key: Key, payload: &mut [u8]) {
    if payload.len() < 32 {
        return below_32(key, payload);
    }
    let tail = load_256(last(payload), rotate(key, payload.len()));
    let end = payload.len() - 1;
    for vector in payload[..end].as_chunks_mut().0 {
        let unmasked = load_256(vector, key);
        store_256(vector, unmasked);
    }
    store_256(last_mut(payload), tail);
}

/// Vectors of 64 bytes; the rest by a masked load and a masked store.
fn avx512(received: &mut Received) -> bool {
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn apply(key: Key, payload: &mut [u8]) {
        let (vectors, rest) = payload.as_chunks_mut();
        for vector in vectors {
            let unmasked = load_512(vector, key);
            store_512(vector, unmasked);
        }
        let present = (1u64 << rest.len()) - 1;
        // SAFETY: only the bytes of `rest` are read: the mask has a bit for each of them.
        let vector = unsafe { _mm512_maskz_loadu_epi8(present, rest.as_ptr().cast()) };
        let unmasked = _mm512_xor_si512(vector, splat_512(key));
        // SAFETY: only the bytes of `rest` are written, by the same mask.
        unsafe { _mm512_mask_storeu_epi8(rest.as_mut_ptr().cast(), present, unmasked) }
    }
    // SAFETY: this column is only offered where the CPU has AVX-512 F and BW.
    pass(received, |key, payload| unsafe { apply(key, payload) })
}

/// Reads, modifies and writes every byte, with the vectors that the compiler makes of it.
fn plain(received: &mut Received) -> bool {
    pass(received, flip)
}

fn plain_avx2(received: &mut Received) -> bool {
    #[target_feature(enable = "avx2")]
    fn run(received: &mut Received) -> bool {
        pass(received, flip)
    }
    // SAFETY: this column is only offered where the CPU has AVX2.
    unsafe { run(received) }
}

fn plain_avx512(received: &mut Received) -> bool {
    #[target_feature(enable = "avx512f,avx512bw")]
    fn run(received: &mut Received) -> bool {
        pass(received, |_, payload| {
            for vector in payload.as_chunks_mut().0 {
                let flipped = load_512(vector, [0xff; 4]);
                store_512(vector, flipped);
            }
        })
    }
    // SAFETY: this column is only offered where the CPU has AVX-512 F and BW.
    unsafe { run(received) }
}

#[inline(always)]
fn flip(_: Key, payload: &mut [u8]) {
    for byte in payload {
        *byte = !*byte;
    }
}

/// At most 31 bytes, in two overlapping loads of one length.
#[inline(always)]
fn below_32(key: Key, payload: &mut [u8]) {
    if payload.len() < 16 {
        return below_16(key, payload);
    }
    let tail = load_128(last(payload), rotate(key, payload.len()));
    if let Some(head) = payload.first_chunk_mut() {
        let unmasked = load_128(head, key);
        store_128(head, unmasked);
    }
    store_128(last_mut(payload), tail);
}

/// At most 15 bytes.
#[inline(always)]
fn below_16(key: Key, payload: &mut [u8]) {
    let len = payload.len();
    if len >= 8 {
        let tail = u64::from_le_bytes(*last(payload)) ^ double(rotate(key, len));
        if let Some(head) = payload.first_chunk_mut() {
            *head = (u64::from_le_bytes(*head) ^ double(key)).to_le_bytes();
        }
        *last_mut(payload) = tail.to_le_bytes();
    } else if len >= 4 {
        let tail = u32::from_le_bytes(*last(payload)) ^ u32::from_le_bytes(rotate(key, len));
        if let Some(head) = payload.first_chunk_mut() {
            *head = (u32::from_le_bytes(*head) ^ u32::from_le_bytes(key)).to_le_bytes();
        }
        *last_mut(payload) = tail.to_le_bytes();
    } else {
        bytes(key, payload);
    }
}

/// The key twice, as a word in the order of memory.
#[inline(always)]
fn double(key: Key) -> u64 {
    u64::from(u32::from_le_bytes(key)) * 0x1_0000_0001
}

/// The last `LEN` bytes, of which there are as many.
#[inline(always)]
fn last<const LEN: usize>(payload: &[u8]) -> &[u8; LEN] {
    payload[payload.len() - LEN..].first_chunk().expect("the rest has `LEN` bytes")
}

#[inline(always)]
fn last_mut<const LEN: usize>(payload: &mut [u8]) -> &mut [u8; LEN] {
    let start = payload.len() - LEN;
    payload[start..].first_chunk_mut().expect("the rest has `LEN` bytes")
}

#[inline(always)]
fn load_128(bytes: &[u8; 16], key: Key) -> __m128i {
    // SAFETY: `bytes` are 16 readable bytes, and the load needs no alignment.
    let vector = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    // SAFETY: every x86-64 CPU has SSE2.
    unsafe { xor_128(vector, key) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn xor_128(vector: __m128i, key: Key) -> __m128i {
    _mm_xor_si128(vector, _mm_set1_epi32(i32::from_ne_bytes(key)))
}

#[inline(always)]
fn store_128(bytes: &mut [u8; 16], vector: __m128i) {
    // SAFETY: `bytes` are 16 writable bytes, and the store needs no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_256(bytes: &[u8; 32], key: Key) -> __m256i {
    // SAFETY: `bytes` are 32 readable bytes, and the load needs no alignment.
    let vector = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    _mm256_xor_si256(vector, _mm256_set1_epi32(i32::from_ne_bytes(key)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_256(bytes: &mut [u8; 32], vector: __m256i) {
    // SAFETY: `bytes` are 32 writable bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat_512(key: Key) -> __m512i {
    _mm512_set1_epi32(i32::from_ne_bytes(key))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_512(bytes: &[u8; 64], key: Key) -> __m512i {
    // SAFETY: `bytes` are 64 readable bytes, and the load needs no alignment.
    let vector = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    _mm512_xor_si512(vector, splat_512(key))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_512(bytes: &mut [u8; 64], vector: __m512i) {
    // SAFETY: `bytes` are 64 writable bytes, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}
