//! UTF-8, checked as it arrives (RFC 6455 sections 5.6 and 8.1).
//!
//! After unmasking, before a text message is joined or delivered. Characters may be cut by reads
//! and by fragments, so up to three bytes are carried over. What the unmasking has found to be
//! ASCII need not come here at all, save to say that it came ([`Validator::push_ascii`]).
//!
//! Invariant: a byte that cannot be part of valid text is refused in the push that brings it, also
//! when it only makes a carried character impossible. Where a message ends is told from outside.

mod bulk;

use core::{mem, str};

use crate::error::Utf8Error;

/// Checks a whole text at once.
///
/// # Errors
///
/// If `text` is not UTF-8.
#[inline]
pub fn check(text: &[u8]) -> Result<&str, Utf8Error> {
    bulk::check(text)
}

/// Checks text that arrives in parts, cut anywhere.
///
/// ```
/// use tickwire_frame::utf8::Validator;
///
/// let mut validator = Validator::new();
/// validator.push(b"5 \xe2\x82")?; // a euro sign, less its last byte
/// validator.push(b"\xac")?;
/// validator.finish()?;
///
/// // Fail-fast: no third byte could make this a character.
/// assert!(validator.push(b"\xed\xa0").is_err());
/// # Ok::<(), tickwire_frame::Utf8Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Validator {
    /// The first bytes of a character whose other bytes have not come.
    carry: [u8; 3],
    carry_len: u8,
}

impl Validator {
    /// A validator that expects the beginning of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self { carry: [0; 3], carry_len: 0 }
    }

    /// Checks the next part of the text.
    ///
    /// # Errors
    ///
    /// If the text so far cannot be the beginning of any UTF-8; the validator is then of no
    /// further use.
    pub fn push(&mut self, mut part: &[u8]) -> Result<(), Utf8Error> {
        while self.carry_len > 0 {
            let Some((&byte, rest)) = part.split_first() else { return Ok(()) };
            self.complete(byte)?;
            part = rest;
        }
        if part.len() < bulk::VECTORS_MIN {
            return self.push_short(part);
        }
        let (whole, cut) = part.split_at(part.len() - cut_character_len(part));
        bulk::validate(whole)?;
        if cut.is_empty() { Ok(()) } else { self.push_short(cut) }
    }

    /// Takes note of a part of `len` bytes that are known to be ASCII.
    ///
    /// # Errors
    ///
    /// If the part is not empty and breaks into a character that an earlier part began.
    #[inline]
    pub fn push_ascii(&mut self, len: usize) -> Result<(), Utf8Error> {
        if self.carry_len > 0 && len > 0 { Err(Utf8Error) } else { Ok(()) }
    }

    /// Ends the text; the validator then expects the next one.
    ///
    /// # Errors
    ///
    /// If the text ends within a character.
    #[inline]
    pub fn finish(&mut self) -> Result<(), Utf8Error> {
        if mem::take(&mut self.carry_len) > 0 { Err(Utf8Error) } else { Ok(()) }
    }

    /// Adds one byte to the carried character.
    fn complete(&mut self, byte: u8) -> Result<(), Utf8Error> {
        let carried = usize::from(self.carry_len);
        let mut character = [0; 4];
        character[..carried].copy_from_slice(&self.carry[..carried]);
        character[carried] = byte;
        self.carry_len = 0;
        self.push_short(&character[..=carried])
    }

    /// Checks a part where no character is carried, and carries the one that it cuts.
    fn push_short(&mut self, part: &[u8]) -> Result<(), Utf8Error> {
        let Err(error) = str::from_utf8(part) else { return Ok(()) };
        // An error without a length: valid as far as it goes, and cut by the end.
        if error.error_len().is_some() {
            return Err(Utf8Error);
        }
        for (kept, byte) in self.carry.iter_mut().zip(&part[error.valid_up_to()..]) {
            *kept = *byte;
            self.carry_len += 1;
        }
        Ok(())
    }
}

/// How many bytes at the end of `part` begin a character that needs more bytes than there are.
fn cut_character_len(part: &[u8]) -> usize {
    for (index, byte) in part.iter().rev().take(3).enumerate() {
        let needed = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => 1,
        };
        let present = index + 1;
        return if needed > present { present } else { 0 };
    }
    0
}
