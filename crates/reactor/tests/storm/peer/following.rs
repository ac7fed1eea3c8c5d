//! The values that a peer gets of a topic: held against what was published.
//!
//! They rise, none comes twice, and each says which one came before it where the peer has chosen that;
//! the last one arrives. What its publisher said before a value is there when that comes.

use std::collections::VecDeque;
use std::time::Duration;

use super::holding::{Held, Holding};
use crate::ledger::{Invariant, Ledger};
use crate::mode::{Mode, Pace, TERSE, is_bare, is_silent};
use crate::note::Note;

/// What is known of values beside the place of the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Following {
    /// The place of the topic's last publication when this began.
    pub(super) joined: u64,
    /// The place of the value that the topic retained then, if the peer has said that it has an older one.
    pub(super) owed: u64,
    /// When the last one came, or the subscription or its pace.
    pub(super) since: Duration,
    /// When the latest ones came.
    recent: VecDeque<Duration>,
}

impl Following {
    /// Begun when the topic's last publication had this place; with what it is owed of before.
    pub(super) fn begun(last: u64, book: &Ledger) -> Self {
        Self { joined: last, since: book.now, ..Self::default() }
    }
}

/// A value that has arrived.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    record: usize,
    seq: u64,
    /// The place of the one before, if that was told.
    prev: Option<u64>,
}

/// How much sooner than it was sent after the one before a value may be read after that: the one before
/// may have left in parts, with some turns between.
const SLACK: Duration = Duration::from_millis(200);

/// The longest that a value waits for its pace, if nothing else holds it up.
const PATIENCE: Duration = Duration::from_millis(2_200);

/// The bits of a place within the number that a value tells.
const PLACE_BITS: u32 = 24;

/// What a value tells of its topic and of the value before.
pub(crate) fn told(record: usize, prev: u64) -> u64 {
    (record as u64) << PLACE_BITS | prev
}

/// The topic and the place.
pub(super) fn untold(told: u64) -> (usize, u64) {
    (usize::try_from(told >> PLACE_BITS).unwrap_or(usize::MAX), told % (1 << PLACE_BITS))
}

impl Arrived {
    fn of(note: Note, book: &Ledger) -> Option<Self> {
        let Note { lane, number, about, .. } = note;
        let small = |number: u64| usize::try_from(number).ok();
        match lane {
            b'P' => {
                let known = book.publications.get(small(number)?)?;
                (known.note == note && known.seq > 0).then_some(Self {
                    record: small(about)?,
                    seq: known.seq,
                    prev: None,
                })
            }
            b'r' => {
                let record = small(about)?;
                let is_value = book.values.contains(&(record, number, note.bytes));
                is_value.then_some(Self { record, seq: number, prev: None })
            }
            _ => {
                let (record, prev) = untold(about);
                (record < book.topics.len()).then_some(Self {
                    record,
                    seq: number,
                    prev: Some(prev),
                })
            }
        }
    }
}

impl Holding {
    /// Whether what is published to a topic comes as values.
    pub(super) fn follows(&mut self, record: u64, book: &Ledger) -> bool {
        let record = usize::try_from(record).expect("small");
        if record < book.topics.len() {
            self.take_in(record + 1, book);
        }
        self.held.get(&record).is_some_and(|held| held.is_unsure || held.mode.has_values())
    }

    /// Gets a value; `in_time` if it reads whatever comes at once.
    pub(super) fn hear_value(
        &mut self,
        number: usize,
        note: Note,
        in_time: bool,
        book: &mut Ledger,
    ) {
        let arrived = Arrived::of(note, book);
        if let Some(arrived) = arrived {
            self.take_in(arrived.record + 1, book);
        }
        let held = arrived.and_then(|it| Some((it, self.held.get(&it.record)?)));
        let Some((arrived, held)) =
            held.filter(|(_, held)| held.is_unsure || held.mode.has_values())
        else {
            return book.check(false, Invariant::Delivery, || {
                format!("{number} gets {note:?}, and no values of the topic")
            });
        };
        let Arrived { record, seq, prev } = arrived;
        let is_unsure = held.is_unsure;
        let last = book.topics[record].last();
        let is_newer = held.last < seq && seq <= last;
        let view = held.mode.view;
        let is_value = note.lane != b'P' || book.is_value(note, seq);
        let is_form = is_value && prev.is_none() == is_bare(view, seq) && !is_silent(view, seq);
        let is_behind = prev.is_none_or(|prev| is_before(held, prev, number, record, book));
        // Who says that it has an older one is believed, even if the newest is its own.
        let is_old = seq <= held.following.joined || note.lane != b'P';
        let is_for_it = is_old || book.place(record, seq).except != Some(number);
        let before = held.clone();
        let is_right = is_unsure || is_form && is_behind && is_for_it;
        book.check(is_newer && is_right, Invariant::Delivery, || {
            format!("{number} gets {arrived:?} of {last} after {before:?}")
        });
        if is_newer {
            self.check_order(number, record, seq, book);
        }
        let now = book.now;
        let Some(held) = self.held.get_mut(&record) else { return };
        held.last = seq;
        held.following.since = now;
        if let Pace::Sampled(per_second) = held.mode.pace {
            let recent = &mut held.following.recent;
            recent.push_back(now);
            if recent.len() > usize::from(per_second) {
                let passed = now - recent.pop_front().unwrap_or_default();
                let is_slow = !in_time || passed + SLACK >= Duration::from_secs(1);
                book.check(is_slow, Invariant::Delivery, || {
                    format!("{number} gets more than {per_second} values of {record} in {passed:?}")
                });
            }
        }
    }

    /// Whatever was published before this value, and comes by publication, is there. A value that the
    /// topic has retained may be ahead of what is in the mailbox, where somebody has subscribed.
    fn check_order(&self, number: usize, record: usize, seq: u64, book: &mut Ledger) {
        if book.was_retained(record, seq) {
            return;
        }
        let tag = book.tag(record, seq);
        for (other, held) in &self.held {
            if held.mode.has_values() || held.may_skip || held.is_unsure {
                continue;
            }
            let end = book.topics[*other].last() + 1;
            let missing = held.missing(book, *other, number, end);
            let is_late = missing.is_some_and(|seq| book.tag(*other, seq) < tag);
            book.check(!is_late, Invariant::Delivery, || {
                format!("{number} gets value {seq} of {record} before {missing:?} of {other}")
            });
        }
    }

    /// The pace of values was to be changed; `is_done` if it was.
    pub(super) fn set_pace(&mut self, number: usize, is_done: bool, about: u64, book: &mut Ledger) {
        let (record, mode) = Mode::unpacked(about);
        self.take_in(record + 1, book);
        let is_unsure = self.held.get(&record).is_some_and(|held| held.is_unsure);
        let held = self.held.get_mut(&record).filter(|held| held.mode.has_values());
        let can_be_done = held.is_some() && mode.has_values();
        // A topic that was just made may not be known to the shard yet.
        let may_be_new = held.as_ref().is_some_and(|held| held.last == 0);
        let is_right = can_be_done == is_done || !is_done && may_be_new || is_unsure;
        book.check(is_right, Invariant::Delivery, || {
            format!("{number} is told {is_done} of {mode:?} for {record}")
        });
        if let Some(held) = held.filter(|_| is_done) {
            held.mode.pace = mode.pace;
            held.following.recent.clear();
            held.following.since = book.now;
        }
    }
}

impl Held {
    /// The place of the value that must have come when nothing moves any more.
    pub(super) fn value_due(&self, book: &Ledger, record: usize, number: usize) -> u64 {
        let (topic, Following { joined, owed, since, .. }) =
            (&book.topics[record], &self.following);
        let waited = book.now - topic.published_at.max(*since);
        let last = topic.last();
        if matches!(self.mode.pace, Pace::Sampled(_))
            && (waited < PATIENCE || self.mode.view == TERSE)
        {
            return 0;
        }
        let due = if last == *joined { *owed } else { last };
        // What it has published itself takes the place of what it is owed.
        let is_own = |seq| book.place(record, seq).except == Some(number);
        let is_replaced = (due.max(1)..=last).any(is_own);
        if is_replaced || is_silent(self.mode.view, due) { 0 } else { due }
    }
}

/// Whether a value before is the last that the peer has, or one that it was not told, since it is its own
/// publication or not worth a word.
fn is_before(held: &Held, prev: u64, number: usize, record: usize, book: &Ledger) -> bool {
    let is_untold = || {
        let is_own = || book.place(record, prev).except == Some(number);
        prev <= book.topics[record].last() && (is_silent(held.mode.view, prev) || is_own())
    };
    prev == held.last || prev > held.last && is_untold()
}
