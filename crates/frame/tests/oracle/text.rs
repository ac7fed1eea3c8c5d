//! UTF-8 by `core::str::from_utf8` of the whole.

use std::str;

use tickwire_frame::utf8::{self, Validator};

use super::cut;

/// How many bytes of `text` prove that it is no UTF-8; `None` if all of it may begin a valid text.
pub(crate) fn proven_at(text: &[u8]) -> Option<usize> {
    let valid = str::from_utf8(text).err()?.valid_up_to();
    let is_proven = |len: &usize| {
        str::from_utf8(&text[valid..*len]).is_err_and(|error| error.error_len().is_some())
    };
    // A character has at most four bytes.
    (valid + 1..=text.len().min(valid + 4)).find(is_proven)
}

/// Pushes `parts`; how many of them it took until refused, and if none was, whether it was whole.
///
/// Parts that are ASCII are reported or pushed, in turn.
pub(crate) fn push_all<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<bool, usize> {
    let mut validator = Validator::new();
    for (index, part) in parts.into_iter().enumerate() {
        let pushed = if part.is_ascii() && index % 2 == 0 {
            validator.push_ascii(part.len())
        } else {
            validator.push(part)
        };
        pushed.map_err(|_| index)?;
    }
    Ok(validator.finish().is_ok())
}

/// What [`push_all`] has to give.
pub(crate) fn reference(parts: &[&[u8]]) -> Result<bool, usize> {
    let text = parts.concat();
    let Some(proven) = proven_at(&text) else { return Ok(str::from_utf8(&text).is_ok()) };
    let mut end = 0;
    let refused = parts.iter().position(|part| {
        end += part.len();
        proven <= end
    });
    Err(refused.expect("the proof lies in one of the parts"))
}

pub(crate) fn assert_like_reference(parts: &[&[u8]]) {
    assert_eq!(push_all(parts.iter().copied()), reference(parts), "{parts:02x?}");
}

/// Takes two lengths of parts, of which the second may be long, and the text.
pub(crate) fn check(data: &[u8]) {
    let [short, long, text @ ..] = data else { return };
    assert_eq!(utf8::check(text).ok(), str::from_utf8(text).ok());
    assert_like_reference(&[text]);
    assert_like_reference(&cut(text, &[1]));
    let lengths = [usize::from(short % 8) + 1, usize::from(*long) + 1];
    assert_like_reference(&cut(text, &lengths));
}
