//! Every kernel against the simplest code that can work: one byte at a time.

mod oracle;

use oracle::masking::{assert_all_like_reference, reference};
use proptest::prelude::*;
use tickwire_frame::mask::{self, Kernel, Key};

#[test]
fn every_length_up_to_4096_is_masked_like_the_oracle() {
    let payload: Vec<u8> = (0..4096u32).map(|index| (index * 31 % 251) as u8).collect();
    for len in 0..=payload.len() {
        assert_all_like_reference([0x37, 0xfa, 0x21, 0x3d], &payload[..len], len % 64);
    }
}

#[test]
fn every_alignment_is_masked_like_the_oracle() {
    let payload: Vec<u8> = (0..1024u32).map(|index| (index * 7 % 253) as u8).collect();
    for alignment in 0..64 {
        for len in [0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300, 1000]
        {
            assert_all_like_reference([0x80, 0x01, 0xff, 0x00], &payload[..len], alignment);
        }
    }
}

#[test]
fn zero_key_changes_nothing_and_still_tells_ascii() {
    for len in 0..300 {
        assert_all_like_reference([0; 4], &vec![b'a'; len], len % 64);
    }
}

/// One bad byte anywhere in otherwise clean text must be seen: a kernel that forgets to look at
/// one of its vectors fails here.
#[test]
fn a_single_high_byte_is_seen_at_every_position() {
    let key = [0x12, 0x34, 0x56, 0x78];
    for len in [1, 2, 3, 5, 8, 13, 16, 20, 32, 33, 60, 64, 65, 100, 128, 129, 200, 257, 300, 600] {
        for position in 0..len {
            let (mut payload, _) = reference(key, &vec![b'a'; len]);
            payload[position] ^= 0x80;
            assert_all_like_reference(key, &payload, position % 64);
        }
    }
}

#[test]
fn masking_in_parts_with_rotated_keys_is_masking_at_once() {
    let payload: Vec<u8> = (0..200).collect();
    let key = [1, 2, 3, 4];
    for cut in 0..=payload.len() {
        let mut parts = payload.clone();
        let (front, back) = parts.split_at_mut(cut);
        mask::apply(key, front);
        mask::apply(mask::rotate(key, cut), back);
        assert_eq!(parts, reference(key, &payload).0, "cut at {cut}");
    }
}

#[test]
fn the_best_kernel_is_one_that_runs_here() {
    assert!(Kernel::available().any(|kernel| kernel == Kernel::best()));
    assert!(Kernel::Scalar.is_available());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_payload_is_masked_like_the_oracle(
        key: Key,
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..140),
            prop::collection::vec(any::<u8>(), 0..4200),
            prop::collection::vec(0u8..0x80, 0..400),
        ],
        alignment in 0usize..64,
        ascii_key: bool,
    ) {
        let key = if ascii_key { key.map(|byte| byte & 0x7f) } else { key };
        assert_all_like_reference(key, &payload, alignment);
    }

    #[test]
    fn masking_twice_restores(key: Key, payload in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut masked = payload.clone();
        mask::apply(key, &mut masked);
        mask::apply(key, &mut masked);
        prop_assert_eq!(masked, payload);
    }
}
