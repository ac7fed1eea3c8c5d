//! What is written in the messages of a storm: enough to know each of them again, and every byte.
//!
//! A note says on which lane a message goes, its number there and what it is about; behind that it
//! is filled up with bytes that follow from these three. So whoever reads one knows which message it
//! is and that it came unchanged, without keeping a copy.
//!
//! Invariant: `read` of what `write` made gives the same note, and of nothing else any note at all.

use std::io::Write as _;
use std::sync::LazyLock;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// A letter: for what it is sent, or what it asks for.
    pub(crate) lane: u8,
    pub(crate) number: u64,
    pub(crate) about: u64,
    /// How long the whole message is.
    pub(crate) bytes: usize,
}

/// More than the longest message of a storm.
const FILLING_BYTES: usize = 128 * 1024;

/// Where the bytes behind the head come from: words of six letters, so that they can be compressed.
static FILLING: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = crate::random::Random::new(7);
    let letters = b"etaoin ";
    (0..FILLING_BYTES).map(|_| random.pick(letters)).collect()
});

impl Note {
    /// A note that is as long as `bytes`, or as its head.
    pub(crate) fn new(lane: u8, number: u64, about: u64, bytes: usize) -> Self {
        let digits = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
        let head = 3 + digits(number) + digits(about);
        Self { lane, number, about, bytes: bytes.max(head) }
    }

    /// Appends the message to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        write!(out, "{}{}.{};", char::from(self.lane), self.number, self.about).expect("a Vec");
        let rest = self.bytes - (out.len() - start);
        out.extend_from_slice(self.filling(rest));
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.bytes);
        self.write(&mut payload);
        payload
    }

    /// The note that a message is, if it is one and every byte of it is right.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (&lane, rest) = payload.split_first()?;
        let (number, rest) = digits(rest, b'.')?;
        let (about, filling) = digits(rest, b';')?;
        let note = Self { lane, number, about, bytes: payload.len() };
        (filling.len() < FILLING_BYTES / 2 && filling == note.filling(filling.len()))
            .then_some(note)
    }

    fn filling(&self, length: usize) -> &'static [u8] {
        let start = usize::try_from((self.number * 31 + self.about) % 60_000).expect("small");
        &FILLING[start..start + length]
    }
}

fn digits(bytes: &[u8], end: u8) -> Option<(u64, &[u8])> {
    let at = bytes.iter().take(21).position(|byte| *byte == end)?;
    let number = std::str::from_utf8(&bytes[..at]).ok()?.parse().ok()?;
    Some((number, &bytes[at + 1..]))
}

#[test]
fn a_note_is_read_as_it_was_written_and_not_with_another_byte() {
    for bytes in [0, 5, 6, 7, 100, 1_000] {
        for (number, about) in [(0, 0), (9, 10), (123_456, 7)] {
            let note = Note::new(b'e', number, about, bytes);
            let mut payload = note.payload();
            assert_eq!(Note::read(&payload), Some(note));
            for at in 0..payload.len() {
                payload[at] ^= 0x80;
                assert_ne!(Note::read(&payload), Some(note), "byte {at} of {note:?}");
                payload[at] ^= 0x80;
            }
            assert_ne!(Note::read(&payload[1..]), Some(note));
        }
    }
}
