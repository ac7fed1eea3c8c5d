//! RFC 6455 section 5.3, one byte at a time.

use tickwire_frame::mask::{self, Kernel, Key};

/// The masked payload, and whether it is ASCII.
pub(crate) fn reference(key: Key, payload: &[u8]) -> (Vec<u8>, bool) {
    let masked: Vec<u8> =
        payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]).collect();
    let ascii = masked.iter().all(|byte| *byte < 0x80);
    (masked, ascii)
}

/// Runs every kernel on `payload` at `alignment`, 0 to 63, beyond a multiple of 64.
pub(crate) fn assert_all_like_reference(key: Key, payload: &[u8], alignment: usize) {
    assert_like_reference("apply", mask::apply, key, payload, alignment);
    for kernel in Kernel::available() {
        let apply = |key: Key, payload: &mut [u8]| kernel.apply(key, payload);
        assert_like_reference(&format!("{kernel:?}"), apply, key, payload, alignment);
    }
}

/// Runs `apply` on `payload` within a larger buffer, and looks at every byte of that.
fn assert_like_reference(
    name: &str,
    apply: impl Fn(Key, &mut [u8]) -> bool,
    key: Key,
    payload: &[u8],
    alignment: usize,
) {
    const CANARY: u8 = 0xc5;
    const MARGIN: usize = 128;
    let mut buffer = vec![CANARY; payload.len() + 3 * MARGIN];
    let start = buffer.as_ptr().align_offset(64) + MARGIN / 2 + alignment;
    let end = start + payload.len();
    buffer[start..end].copy_from_slice(payload);

    let ascii = apply(key, &mut buffer[start..end]);

    let (expected, expected_ascii) = reference(key, payload);
    let context = format!("{name}, key {key:x?}, length {}, alignment {alignment}", payload.len());
    assert_eq!(buffer[start..end], expected, "payload: {context}");
    assert_eq!(ascii, expected_ascii, "ascii: {context}");
    assert!(buffer[..start].iter().all(|byte| *byte == CANARY), "bytes before: {context}");
    assert!(buffer[end..].iter().all(|byte| *byte == CANARY), "bytes after: {context}");

    // In memory of exactly its length, where AddressSanitizer sees reads beyond the payload too.
    let mut alone = payload.to_vec().into_boxed_slice();
    assert_eq!(apply(key, &mut alone), expected_ascii, "ascii, alone: {context}");
    assert_eq!(*alone, expected, "payload, alone: {context}");
}

/// Takes four bytes of key, one of alignment, one that says where to cut, and the payload.
pub(crate) fn check(data: &[u8]) {
    let [a, b, c, d, alignment, cut, payload @ ..] = data else { return };
    let key = [*a, *b, *c, *d];
    assert_all_like_reference(key, payload, usize::from(*alignment % 64));

    // In two parts, with the key turned, is the same as at once.
    let mut parts = payload.to_vec();
    let cut = usize::from(*cut).min(parts.len());
    let (front, back) = parts.split_at_mut(cut);
    let ascii = mask::apply(key, front) & mask::apply(mask::rotate(key, cut), back);
    assert_eq!((parts, ascii), reference(key, payload), "cut at {cut}");
}
