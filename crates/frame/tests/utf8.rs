//! The streaming validator against `core::str::from_utf8` of the whole.

mod oracle;

use oracle::cut;
use oracle::text::{assert_like_reference, push_all};
use proptest::prelude::*;
use tickwire_frame::utf8::Validator;

fn assert_every_cut_like_reference(text: &[u8]) {
    assert_like_reference(&cut(text, &[1]));
    for at in 0..=text.len() {
        let (front, back) = text.split_at(at);
        assert_like_reference(&[front, back]);
    }
}

#[test]
fn a_connection_pays_at_most_8_bytes() {
    assert!(size_of::<Validator>() <= 8);
}

/// Each byte value at which a rule of RFC 3629 begins or ends, in every combination of four.
#[test]
fn all_sequences_of_boundary_bytes_are_judged_like_the_oracle() {
    const EDGES: [u8; 23] = [
        0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec,
        0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff,
    ];
    for a in EDGES {
        assert_every_cut_like_reference(&[a]);
        for b in EDGES {
            assert_every_cut_like_reference(&[a, b]);
            for c in EDGES {
                assert_every_cut_like_reference(&[a, b, c]);
                for d in EDGES {
                    assert_every_cut_like_reference(&[a, b, c, d]);
                }
            }
        }
    }
}

#[test]
fn every_character_is_accepted_however_it_is_cut() {
    for character in ('\0'..=char::MAX).step_by(7).chain(['\u{d7ff}', '\u{e000}', char::MAX]) {
        let mut bytes = [0; 4];
        let text = character.encode_utf8(&mut bytes).as_bytes();
        assert_eq!(push_all(text.chunks(1)), Ok(true), "{character:?}");
    }
}

#[test]
fn named_faults_are_refused_at_the_byte_that_proves_them() {
    let table: [(&str, &[u8], usize); 9] = [
        ("a lone continuation byte", &[0x80], 1),
        ("an overlong slash, C0 AF", &[0xc0, 0xaf], 1),
        ("an overlong slash of three bytes", &[0xe0, 0x80, 0xaf], 2),
        ("an overlong slash of four bytes", &[0xf0, 0x80, 0x80, 0xaf], 2),
        ("a high surrogate", &[0xed, 0xa0, 0x80], 2),
        ("a low surrogate", &[0xed, 0xbf, 0xbf], 2),
        ("beyond U+10FFFF", &[0xf4, 0x90, 0x80, 0x80], 2),
        ("a five-byte form", &[0xf8, 0x88, 0x80, 0x80, 0x80], 1),
        ("Autobahn 6.4: kosme, then beyond U+10FFFF", "κόσμε".as_bytes(), usize::MAX),
    ];
    for (name, bytes, proven) in table {
        for prefix in [0, 1, 3, 60, 64, 65, 127, 128, 1000] {
            let mut text = vec![b' '; prefix];
            text.extend(bytes);
            if proven == usize::MAX {
                text.extend([0xf4, 0x90, 0x80, 0x80]);
            }
            let proven = if proven == usize::MAX { bytes.len() + 2 } else { proven };
            assert_eq!(push_all(text.chunks(1)), Err(prefix + proven - 1), "{name}");
            // In one push up to the proof, and not before.
            assert_eq!(push_all([&text[..prefix + proven]]), Err(0), "{name}");
            assert!(push_all([&text[..prefix + proven - 1]]).is_ok(), "{name}");
        }
    }
}

#[test]
fn ascii_parts_may_be_reported_instead_of_pushed() {
    let mut validator = Validator::new();
    assert_eq!(validator.push_ascii(5), Ok(()));
    assert_eq!(validator.push("é".as_bytes()), Ok(()));
    assert_eq!(validator.push_ascii(5), Ok(()));
    assert_eq!(validator.push(&[0xc3]), Ok(()));
    assert_eq!(validator.push_ascii(0), Ok(()), "an empty part breaks into nothing");
    assert!(validator.push_ascii(1).is_err());
}

#[test]
fn finish_begins_the_next_text() {
    let mut validator = Validator::new();
    assert_eq!(validator.push(&[0xe2, 0x82]), Ok(()));
    assert!(validator.finish().is_err(), "a text must not end within a character");
    assert_eq!(validator.push("€".as_bytes()), Ok(()));
    assert_eq!(validator.finish(), Ok(()));
    assert_eq!(validator.push_ascii(1), Ok(()));
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<String>().prop_map(String::into_bytes),
        "[a-zé€\u{10348}]{0,400}".prop_map(String::into_bytes),
        ("[a-zé€\u{10348}]{0,200}", any::<u8>(), any::<prop::sample::Index>()).prop_map(
            |(text, byte, at)| {
                let mut bytes = text.into_bytes();
                let at = at.index(bytes.len() + 1);
                bytes.insert(at, byte);
                bytes
            }
        ),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_text_in_any_parts_is_judged_like_the_oracle(
        text in text(),
        lengths in prop::collection::vec(1usize..90, 1..20),
    ) {
        assert_like_reference(&cut(&text, &lengths));
        assert_like_reference(&[&text]);
        prop_assert_eq!(tickwire_frame::utf8::check(&text).ok(), std::str::from_utf8(&text).ok());
    }
}
