//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1).
//!
//! Offers of a client and answers of a server are read with it: `handshake` refuses offers that
//! break the grammar, `deflate` looks for the ones that it knows. What an extension or a parameter
//! means is not known here, and every extension that nobody asks for is passed over.
//!
//! Each byte is looked at once, whatever it is: the parsers behind CVE-2020-7662, CVE-2020-7663
//! and CVE-2021-32640 went back over runs of quotes, backslashes and spaces.

use crate::field;

/// Whether `value`, one header line, is a list of extensions.
pub(crate) fn is_list(value: &[u8]) -> bool {
    Extensions::of(value).all(|extension| extension.is_ok())
}

/// The elements of one header line, in order; nothing comes after the first malformed one.
///
/// Elements that are empty (`a,,b`) are passed over as RFC 9110 section 5.6.1.2 asks of a
/// recipient.
pub(crate) struct Extensions<'a> {
    rest: &'a [u8],
}

/// An extension with its parameters, as it was offered or answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a [u8],
    /// From the first semicolon on; known to be well-formed.
    parameters: &'a [u8],
}

/// A parameter, with its value if it has one.
pub(crate) struct Parameter<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: Option<Value<'a>>,
}

/// The value of a parameter: a token, or what stood between quotes.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    escaped: &'a [u8],
}

/// The line breaks the grammar of RFC 6455 section 9.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Extensions<'a> {
    pub(crate) const fn of(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while field::take_delimiter(&mut self.rest, b',') {}
        if self.rest.is_empty() {
            return None;
        }
        let extension = take_extension(&mut self.rest).and_then(|extension| {
            let ends = self.rest.is_empty() || self.rest.starts_with(b",");
            ends.then_some(extension).ok_or(Malformed)
        });
        if extension.is_err() {
            self.rest = &[];
        }
        Some(extension)
    }
}

impl<'a> Extension<'a> {
    pub(crate) fn parameters(&self) -> impl Iterator<Item = Parameter<'a>> + use<'a> {
        let mut rest = self.parameters;
        core::iter::from_fn(move || take_parameter(&mut rest).ok().flatten())
    }
}

impl<'a> Value<'a> {
    /// The bytes that are meant: without the backslashes that escape them.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = u8> + use<'a> {
        let mut escaped = self.escaped.iter();
        core::iter::from_fn(move || match *escaped.next()? {
            b'\\' => escaped.next().copied(),
            byte => Some(byte),
        })
    }
}

/// Takes `token *( ";" parameter )` and the whitespace after it.
fn take_extension<'a>(rest: &mut &'a [u8]) -> Result<Extension<'a>, Malformed> {
    let name = field::take_token(rest).ok_or(Malformed)?;
    let from = *rest;
    while take_parameter(rest)?.is_some() {}
    field::skip_whitespace(rest);
    let (parameters, _) = from.split_at(from.len() - rest.len());
    Ok(Extension { name, parameters })
}

/// Takes `";" token [ "=" ( token | quoted-string ) ]`, or nothing if there is no semicolon.
fn take_parameter<'a>(rest: &mut &'a [u8]) -> Result<Option<Parameter<'a>>, Malformed> {
    if !field::take_delimiter(rest, b';') {
        return Ok(None);
    }
    let name = field::take_token(rest).ok_or(Malformed)?;
    if !field::take_delimiter(rest, b'=') {
        return Ok(Some(Parameter { name, value: None }));
    }
    let escaped = if rest.starts_with(b"\"") {
        take_quoted(rest).ok_or(Malformed)?
    } else {
        field::take_token(rest).ok_or(Malformed)?
    };
    Ok(Some(Parameter { name, value: Some(Value { escaped }) }))
}

/// Takes a quoted string whose content, escapes resolved, is a token (section 9.1), and gives what
/// stands between the quotes.
///
/// An empty one is let through: it is no value that any parameter could have, so its offer is
/// declined rather than the whole request refused.
fn take_quoted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let content = rest.get(1..)?;
    let mut bytes = content.iter();
    loop {
        let byte = match *bytes.next()? {
            b'"' => break,
            b'\\' => *bytes.next()?,
            byte => byte,
        };
        if !field::is_token_byte(byte) {
            return None;
        }
    }
    *rest = bytes.as_slice();
    content.get(..content.len() - rest.len() - 1)
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
            (b"a; b=\"\"", true),
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
            assert_eq!(is_list(value), *expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn parameters_are_given_as_they_are_meant() {
        let line = b"x, a ; b=c;d ; e = \"f\\g\" ; b=\"\",h;i";
        let all: Vec<_> = Extensions::of(line).map(|extension| extension.expect("valid")).collect();
        let names: Vec<_> = all.iter().map(|extension| extension.name).collect();
        assert_eq!(names, [b"x", b"a", b"h"]);
        let parameters: Vec<_> = all[1]
            .parameters()
            .map(|one| (one.name, one.value.map(|value| value.bytes().collect())))
            .collect();
        let expected: [(&[u8], Option<Vec<u8>>); 4] = [
            (b"b", Some(b"c".to_vec())),
            (b"d", None),
            (b"e", Some(b"fg".to_vec())),
            (b"b", Some(Vec::new())),
        ];
        assert_eq!(parameters, expected);
        assert_eq!(all[0].parameters().count(), 0);
        assert_eq!(all[2].parameters().count(), 1);
    }

    #[test]
    fn nothing_comes_after_a_malformed_element() {
        let mut extensions = Extensions::of(b"a, b;;, c");
        assert!(extensions.next().is_some_and(|extension| extension.is_ok()));
        assert!(extensions.next().is_some_and(|extension| extension.is_err()));
        assert!(extensions.next().is_none());
    }
}
