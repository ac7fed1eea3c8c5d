//! The body of a Close frame (RFC 6455 sections 5.5.1 and 7.4).

use tickwire_frame::CloseCode;
use tickwire_frame::FrameError;
use tickwire_frame::close::{self, BODY_LEN_MAX};

/// Every code of the table, and which may be on the wire.
const RANGES: [(u16, u16, bool); 12] = [
    (0, 999, false),
    (1000, 1003, true),
    (1004, 1006, false),
    (1007, 1011, true),
    (1012, 1014, true),
    (1015, 1015, false),
    (1016, 2999, false),
    (3000, 3999, true),
    (4000, 4999, true),
    (5000, 9999, false),
    (10000, 65534, false),
    (65535, 65535, false),
];

#[test]
fn every_code_is_taken_or_refused_as_the_registry_says() {
    let mut next = 0;
    for (from, to, valid) in RANGES {
        assert_eq!(u32::from(from), next, "the table covers every code");
        next = u32::from(to) + 1;
        for code in from..=to {
            let mut body = code.to_be_bytes().to_vec();
            body.extend(b"why");
            let expected = if valid {
                Ok(Some((CloseCode(code), "why")))
            } else {
                Err(FrameError::CloseCodeInvalid(code))
            };
            assert_eq!(close::decode(&body), expected);
            assert_eq!(CloseCode(code).is_valid_on_wire(), valid);
        }
    }
    assert_eq!(next, 65536);
}

#[test]
fn bodies_are_judged_with_the_close_code_of_their_fault() {
    let too_long = [&[0x03, 0xe8][..], &[b'x'; 124]].concat();
    type Body<'a> = Option<(u16, &'a str)>;
    let table: [(&str, &[u8], Result<Body<'_>, u16>); 9] = [
        ("empty", &[], Ok(None)),
        ("one byte", &[0x03], Err(1002)),
        ("code alone", &[0x03, 0xe8], Ok(Some((1000, "")))),
        ("code and reason", b"\x03\xe9bye", Ok(Some((1001, "bye")))),
        ("reason of several bytes a character", b"\x0f\xa0\xe2\x82\xac", Ok(Some((4000, "€")))),
        ("reason that is not UTF-8", b"\x03\xe8\xff", Err(1007)),
        ("reason that ends within a character", b"\x03\xe8\xe2\x82", Err(1007)),
        ("barred code before a bad reason", b"\x03\xed\xff", Err(1002)),
        ("longer than a control frame may be", &too_long, Err(1002)),
    ];
    for (name, body, expected) in table {
        let decoded = close::decode(body);
        let expected = expected.map(|body| body.map(|(code, reason)| (CloseCode(code), reason)));
        assert_eq!(decoded.map_err(|error| error.close_code().0), expected, "{name}");
    }
}

#[test]
fn longest_reason_fills_the_body() {
    let reason = "r".repeat(123);
    let mut body = [0; BODY_LEN_MAX];
    assert_eq!(close::encode(CloseCode::NORMAL, &reason, &mut body), 125);
    assert_eq!(close::decode(&body), Ok(Some((CloseCode::NORMAL, &*reason))));
}

#[test]
fn long_reasons_are_cut_at_a_character_boundary() {
    for (character, width) in [('x', 1), ('é', 2), ('€', 3), ('\u{10348}', 4)] {
        for shift in 0..width {
            let reason = "-".repeat(shift) + &character.to_string().repeat(130);
            let mut body = [0xee; BODY_LEN_MAX];
            let len = close::encode(CloseCode(4001), &reason, &mut body);
            assert!(len <= BODY_LEN_MAX && len + width > BODY_LEN_MAX, "no more is cut than must");
            assert!(body[len..].iter().all(|byte| *byte == 0xee), "no byte beyond");
            let (code, cut) = close::decode(&body[..len]).expect("valid").expect("a code");
            assert_eq!(code, CloseCode(4001));
            assert!(reason.starts_with(cut));
        }
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "must not be used on the wire")]
fn barred_codes_are_not_sent() {
    close::encode(CloseCode::NO_STATUS, "", &mut [0; BODY_LEN_MAX]);
}
