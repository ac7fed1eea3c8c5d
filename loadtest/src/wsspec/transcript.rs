//! What went over the wire in a case, shortened for a reader.
//!
//! Kept for every case and shown for the ones that fail (or for all, if asked): bytes that were
//! sent, events that came. Only the beginning is kept of what is long, with the count of the whole.
//!
//! Invariant: what is shown fits into a few lines, and every byte of it is printable.

use std::fmt::Write as _;

/// Sent bytes and received events of one case.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    sent: Vec<u8>,
    sent_total: usize,
    received: Vec<String>,
    received_total: usize,
}

impl Transcript {
    /// Notes bytes that were sent.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        let room = SENT_MAX - self.sent.len();
        self.sent.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.sent_total += bytes.len();
    }

    /// Notes something that came.
    pub(crate) fn received(&mut self, what: String) {
        self.received_total += 1;
        if self.received.len() < RECEIVED_MAX {
            self.received.push(what);
        }
    }

    /// Forgets what was sent and received before the matter of the case.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What was sent, as one line.
    pub(crate) fn sent_words(&self) -> String {
        if self.sent_total == 0 { "nothing".to_owned() } else { shown(&self.sent, self.sent_total) }
    }

    /// What came, as one line.
    pub(crate) fn received_words(&self) -> String {
        if self.received.is_empty() {
            return "nothing".to_owned();
        }
        let more = self.received_total - self.received.len();
        let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
        format!("{}{rest}", self.received.join(", "))
    }
}

/// Bytes in quotes with escapes; of long ones the beginning and the count.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    shown(&bytes[..bytes.len().min(ESCAPED_MAX)], bytes.len())
}

fn shown(bytes: &[u8], total: usize) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    if total > bytes.len() {
        let _ = write!(out, "… ({total} bytes)");
    }
    out
}

/// Enough for any request of a case that is about its lines.
const SENT_MAX: usize = 480;

/// Enough to see where an answer went wrong.
const RECEIVED_MAX: usize = 8;

/// Enough to know a payload again.
const ESCAPED_MAX: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_shortened_and_what_is_unprintable_escaped() {
        let mut transcript = Transcript::default();
        assert_eq!((transcript.sent_words(), transcript.received_words()), both("nothing"));
        transcript.sent(b"GET \"\\\r\n\x00\xff");
        assert_eq!(transcript.sent_words(), r#""GET \"\\\r\n\x00\xff""#);
        transcript.sent(&[b'a'; 10_000]);
        assert!(transcript.sent_words().ends_with("a\"… (10010 bytes)"));
        assert!(transcript.sent_words().len() < 520);
        for _ in 0..100 {
            transcript.received("Pong".to_owned());
        }
        assert!(transcript.received_words().ends_with("Pong, and 92 more"));
    }

    fn both(words: &str) -> (String, String) {
        (words.to_owned(), words.to_owned())
    }
}
