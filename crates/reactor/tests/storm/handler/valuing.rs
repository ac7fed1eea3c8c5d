//! What a handler does with values: how often they come, and what they look like.
//!
//! A value that is told says which one came before it; what it was made of is held against what was
//! published.

use tickwire_protocol::Kind;
use tickwire_reactor::{Connection, Merged};

use super::{Application, Ticket, panic_quietly};
use crate::fault::Fault;
use crate::ledger::Invariant;
use crate::mode::{BARE, Mode, Pace, is_hasty, is_silent};
use crate::note::Note;
use crate::peer::told;
use crate::topics::NAMES;

/// A told value is no longer than this, unless its numbers are.
const TOLD_BYTES_MAX: usize = 300;

impl Application {
    /// Changes how often values come, if they do.
    pub(super) fn set_rate(&mut self, connection: &mut Connection<'_, Ticket>, note: Note) {
        let (record, topic) = self.topic(note.about);
        let mode = Mode::chosen(note.number);
        let is_done = connection.set_rate(&topic, self.hastened(mode).delivery());
        let note = Note::new(b'z', u64::from(is_done), mode.packed(record), 0);
        self.say(connection, note, Kind::Text);
    }

    /// The same, but faster, where that is the fault.
    pub(super) fn hastened(&self, mut mode: Mode) -> Mode {
        if let (Some(Fault::Hasten), Pace::Sampled(per_second)) = (self.fault, &mut mode.pace) {
            *per_second *= 3;
        }
        mode
    }

    /// Tells of a value.
    pub(super) fn tell(&self, merged: &Merged<'_>, out: &mut Vec<u8>) -> Option<Kind> {
        let Merged { topic, prev, seq, .. } = *merged;
        let view = u8::try_from(merged.view).expect("a known view");
        let note = Note::read(merged.payload);
        let mut book = self.book.borrow_mut();
        let value = note.and_then(|note| match note.lane {
            b'P' => book.is_value(note, seq).then(|| usize::try_from(note.about).expect("small")),
            _ => {
                let record = usize::try_from(note.about).ok()?;
                book.values.contains(&(record, seq, note.bytes)).then_some(record)
            }
        });
        let record = value.filter(|it| NAMES[book.topics[*it].name] == topic && prev < seq);
        book.check(record.is_some(), Invariant::Delivery, || {
            format!("value {seq} of {topic} after {prev} is {note:?}")
        });
        if view == BARE {
            return None;
        }
        if is_hasty(view, seq) {
            book.tally.panics += 1;
            drop(book);
            panic_quietly()
        }
        let said = if self.fault == Some(Fault::RepeatValue) { prev } else { seq };
        if !is_silent(view, seq) {
            let bytes = merged.payload.len().min(TOLD_BYTES_MAX);
            let about = told(record.unwrap_or(0), prev);
            Note::new(b'V', said, about, bytes).write(out);
        }
        Some(Kind::Text)
    }
}
