//! The grammar of HTTP header fields: tokens, comma lists, quoted strings, what may be written.
//!
//! Request and answer heads are read with it, and every value of ours or of the application
//! passes [`is_writable_value`] on the way out, so that no CR or LF reaches the wire (RFC 9110
//! section 5.5). All functions look at each byte once, whatever the value holds: a list of 8 KB
//! of quotes, spaces or backslashes costs as much as 8 KB of letters.
//!
//! Finding the lines of a head is `head`'s work, not this file's.

/// Whether `byte` may stand in a token (RFC 9110 section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
        | b'`' | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

/// Whether `text` is a token: at least one byte, all of them token bytes.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `value` may be written as a field value by us: visible ASCII, spaces and tabs.
///
/// Stricter than what is accepted from a peer, where bytes from 0x80 on are opaque: no one who
/// writes an answer needs them.
pub(crate) fn is_writable_value(value: &[u8]) -> bool {
    value.iter().all(|&byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// Cuts optional whitespace (space and tab) off both ends (RFC 9110 section 5.6.3).
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The elements of a comma list that has no quoted strings, trimmed; empty ones included.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// Whether the comma list `value` has the element `token`, in any case.
pub(crate) fn has_token(value: &[u8], token: &str) -> bool {
    elements(value).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

/// Where the first byte for which `wanted` holds is.
///
/// Looks at 16 bytes at a time, which the compiler turns into vector instructions: three times as
/// fast as `Iterator::position` on the lines of a browser's request.
#[inline]
pub(crate) fn position(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut passed = 0;
    for chunk in bytes.chunks_exact(16) {
        if chunk.iter().fold(false, |found, &byte| found | wanted(byte)) {
            break;
        }
        passed += chunk.len();
    }
    let rest = bytes.get(passed..)?;
    rest.iter().position(|&byte| wanted(byte)).map(|index| passed + index)
}

/// Takes a token off the front of `text`, or nothing if there is none.
pub(crate) fn take_token<'a>(text: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = text.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(text.len());
    let (token, rest) = text.split_at(len);
    *text = rest;
    (len > 0).then_some(token)
}

/// Takes `byte` and the whitespace on both sides of it off the front of `text`, if it is there.
pub(crate) fn take_delimiter(text: &mut &[u8], byte: u8) -> bool {
    skip_whitespace(text);
    let Some((&first, rest)) = text.split_first() else { return false };
    if first != byte {
        return false;
    }
    *text = rest;
    skip_whitespace(text);
    true
}

/// Takes whitespace off the front of `text`.
pub(crate) fn skip_whitespace(text: &mut &[u8]) {
    while let [b' ' | b'\t', rest @ ..] = *text {
        *text = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_bytes_are_those_of_rfc_9110() {
        let delimiters = b"\"(),/:;<=>?@[\\]{} \t\r\n\x00\x7f";
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_graphic() && !delimiters.contains(&byte);
            assert_eq!(is_token_byte(byte), expected, "byte {byte:#04x}");
        }
    }

    #[test]
    fn a_list_is_compared_by_token_and_not_by_substring() {
        let cases: &[(&[u8], bool)] = &[
            (b"websocket", true),
            (b"WebSocket", true),
            (b"h2c, websocket", true),
            (b"h2c ,\twebsocket ,x", true),
            (b"websocket/13", false),
            (b"notwebsocketx", false),
            (b"web socket", false),
            (b"", false),
            (b",,,", false),
        ];
        for (value, expected) in cases {
            assert_eq!(has_token(value, "websocket"), *expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_value_that_could_end_its_line_is_not_writable() {
        assert!(is_writable_value(b"chat; v=\"1\", \ttext"));
        for byte in (0..b' ').filter(|&byte| byte != b'\t').chain(0x7f..=u8::MAX) {
            assert!(!is_writable_value(&[b'a', byte, b'b']), "byte {byte:#04x}");
        }
    }

    #[test]
    fn a_byte_is_found_wherever_it_is() {
        for len in 0..70 {
            let mut bytes = vec![b'x'; len];
            assert_eq!(position(&bytes, |byte| byte == b'\r'), None, "{len} bytes");
            for at in (0..len).rev() {
                bytes[at] = b'\r';
                assert_eq!(position(&bytes, |byte| byte == b'\r'), Some(at), "{len} bytes");
            }
        }
    }

    #[test]
    fn whitespace_is_cut_at_both_ends_only() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b""), b"");
    }
}
