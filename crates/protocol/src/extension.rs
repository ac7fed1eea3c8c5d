//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1).
//!
//! Beside `handshake`, which refuses an offer that breaks the grammar. No extension is negotiated
//! yet: well-formed offers are ignored, which section 9.1 allows, and none is ever answered.
//!
//! Each byte is looked at once, whatever it is: the parsers behind CVE-2020-7662, CVE-2020-7663
//! and CVE-2021-32640 went back over runs of quotes, backslashes and spaces.

use crate::field;

/// Whether `value`, one header line, is a list of extension offers.
///
/// Elements that are empty (`a,,b`) are passed over as RFC 9110 section 5.6.1.2 asks of a
/// recipient. A quoted parameter value must be a token once its escapes are resolved.
pub(crate) fn is_offer_list(value: &[u8]) -> bool {
    let mut rest = value;
    loop {
        while field::take_delimiter(&mut rest, b',') {}
        if rest.is_empty() {
            return true;
        }
        if take_offer(&mut rest).is_none() {
            return false;
        }
        if !rest.is_empty() && !rest.starts_with(b",") {
            return false;
        }
    }
}

/// Takes `token *( ";" token [ "=" ( token | quoted-string ) ] )` and the whitespace after it.
fn take_offer(rest: &mut &[u8]) -> Option<()> {
    field::take_token(rest)?;
    while field::take_delimiter(rest, b';') {
        field::take_token(rest)?;
        if field::take_delimiter(rest, b'=') {
            if rest.starts_with(b"\"") {
                take_quoted_token(rest)?;
            } else {
                field::take_token(rest)?;
            }
        }
    }
    field::skip_whitespace(rest);
    Some(())
}

/// Takes a quoted string whose content, escapes resolved, is a token.
fn take_quoted_token(rest: &mut &[u8]) -> Option<()> {
    let mut bytes = rest.get(1..)?.iter();
    let mut empty = true;
    loop {
        let byte = match *bytes.next()? {
            b'"' => break,
            b'\\' => *bytes.next()?,
            byte => byte,
        };
        if !field::is_token_byte(byte) {
            return None;
        }
        empty = false;
    }
    *rest = bytes.as_slice();
    (!empty).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_offers_are_told_from_malformed_ones() {
        let cases: &[(&[u8], bool)] = &[
            (b"permessage-deflate; client_max_window_bits", true),
            (b"permessage-deflate;client_max_window_bits=10, permessage-deflate", true),
            (b"a; b=\"10\"", true),
            (b"a; b=\"\\1\\0\"", true),
            (b"a ; b = c , d", true),
            (b"a,,b", true),
            (b", a ,", true),
            (b"", true),
            (b"a;;b", false),
            (b"a;", false),
            (b"; a", false),
            (b"a; b=", false),
            (b"a; b=\"\"", false),
            (b"a; b=\"c", false),
            (b"a; b=\"c\\", false),
            (b"a; b=\"c\\\"", false),
            (b"a; b=\"c d\"", false),
            (b"a; b=\"c\\\"d\"", false),
            (b"a; b=\"c\"d", false),
            (b"a b", false),
            (b"a; b c", false),
            (b"a=b", false),
            (b"\"a\"", false),
            (b"a; \xff", false),
            (b"\xc3\xa9", false),
        ];
        for (value, expected) in cases {
            assert_eq!(is_offer_list(value), *expected, "{}", value.escape_ascii());
        }
    }
}
