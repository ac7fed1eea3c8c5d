//! What a peer is subscribed to, as far as it was told, and what it has got of that.
//!
//! A message of its handler tells of each subscription and of its end, by name and by pattern; between
//! the two all that was published comes, each topic from the place that was named, and a topic that a
//! pattern takes in later from its first publication; or values of it, as `following` says.
//!
//! Invariant: of the records up to `known` those are in `held` that it holds; of the others those are
//! to be held that its patterns take in.

use std::collections::BTreeMap;

use super::following::{Following, untold};
use crate::ledger::{Invariant, Ledger};
use crate::mode::{BARE, Mode, Pace};
use crate::note::Note;
use crate::topics::{NAMES, PATTERNS, takes_in};

#[derive(Debug, Default)]
pub(super) struct Holding {
    /// By the record of the topic.
    pub(super) held: BTreeMap<usize, Held>,
    /// In the order in which it has subscribed to them.
    patterns: Vec<(usize, Mode)>,
    known: usize,
    /// The number of the last publication.
    last: Option<usize>,
}

/// A subscription.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// The place of the last publication that it has got, or did not have to get.
    pub(super) last: u64,
    /// Publications may be missing before the next.
    pub(super) may_skip: bool,
    /// By its name, and not for a pattern alone.
    is_named: bool,
    pub(super) mode: Mode,
    /// It may be another one.
    pub(super) is_unsure: bool,
    pub(super) following: Following,
}

impl Held {
    fn new(last: u64, is_named: bool, mode: Mode, book: &Ledger) -> Self {
        let following = Following::begun(last, book);
        Self { last, may_skip: false, is_named, mode, is_unsure: false, following }
    }

    /// The first publication behind the last and before `seq` that `number` should have got.
    pub(super) fn missing(
        &self,
        book: &Ledger,
        record: usize,
        number: usize,
        seq: u64,
    ) -> Option<u64> {
        (self.last + 1..seq).find(|seq| {
            let place = usize::try_from(*seq - 1).expect("small");
            let tag = book.topics[record].tags[place];
            book.publications[tag as usize].except != Some(number)
        })
    }
}

impl Holding {
    /// Hears of a subscription, or of its end.
    pub(super) fn hear(&mut self, number: usize, note: Note, book: &mut Ledger) {
        let Note { lane, number: said, about, .. } = note;
        let place = small(said);
        match lane {
            b's' | b'a' => {
                let (record, mode) = Mode::unpacked(about);
                let before = self.held.get(&record);
                let is_forward = lane == b'a' || before.is_none_or(|held| held.last <= said);
                book.check(is_forward, Invariant::Delivery, || {
                    format!("{number} joins {record} at {said}, after {before:?}")
                });
                self.held.insert(record, Held::new(said, true, mode, book));
            }
            b'n' => {
                let (record, owed) = untold(about);
                if let Some(held) = self.held.get_mut(&record) {
                    held.last = said;
                    held.following.owed = if owed > said { owed } else { 0 };
                }
            }
            b'z' => self.set_pace(number, said == 1, about, book),
            b'u' => self.leave(number, place, about == 1, book),
            b'q' => {
                self.take_in(place, book);
                let (pattern, mode) = Mode::unpacked(about);
                if self.patterns.iter().all(|it| it.0 != pattern) {
                    self.patterns.push((pattern, mode));
                }
            }
            b'j' => {
                let (record, mode) = Mode::unpacked(about);
                // A pattern that takes in too much has left some out, and ends the connection.
                let may_be_full = book.limits.pattern_topics_max < NAMES.len();
                let is_new = !self.held.contains_key(&record) || may_be_full;
                book.check(is_new, Invariant::Delivery, || {
                    format!("{number} is given topic {record}, which it has")
                });
                self.held.insert(record, Held::new(said, false, mode, book));
            }
            b'v' => self.unwatch(number, place, small(about), book),
            b'l' => self.take_in(place, book),
            b'm' => self.skip(place, book),
            b'M' => self.merge(number, said, about, book),
            _ => {}
        }
    }

    /// Publications of the topics of this name are left out.
    fn skip(&mut self, name: usize, book: &Ledger) {
        for (record, held) in &mut self.held {
            held.may_skip |= book.topics[*record].name == name;
        }
    }

    /// A topic comes as values from now on.
    fn merge(&mut self, number: usize, last: u64, about: u64, book: &mut Ledger) {
        let (record, owed) = untold(about);
        let is_distinct = |held: &&mut Held| held.is_unsure || !held.mode.has_values();
        let held = self.held.get_mut(&record).filter(is_distinct);
        let is_held = held.is_some();
        book.check(is_held, Invariant::Delivery, || {
            format!("{number} loses something of {record}, which it does not get")
        });
        if let Some(held) = held {
            let mode = Mode { pace: Pace::Merge, view: BARE };
            let mut following = Following::begun(last, book);
            following.owed = owed;
            *held = Held { is_named: held.is_named, mode, following, ..Held::default() };
        }
    }

    fn leave(&mut self, number: usize, record: usize, was_told: bool, book: &mut Ledger) {
        let was_named = self.held.get(&record).is_some_and(|held| held.is_named);
        book.check(was_named == was_told, Invariant::Delivery, || {
            format!("{number} leaves {record}, held {was_named}, and is told {was_told}")
        });
        if !was_named {
            return;
        }
        if self.covers(record, book) {
            self.held.entry(record).and_modify(|held| held.is_named = false);
        } else {
            self.held.remove(&record);
        }
    }

    fn unwatch(&mut self, number: usize, known: usize, said: usize, book: &mut Ledger) {
        let (pattern, was_told) = (said / 2, said % 2 == 1);
        self.take_in(known, book);
        let was_held = self.patterns.iter().any(|it| it.0 == pattern);
        self.patterns.retain(|it| it.0 != pattern);
        book.check(was_held == was_told, Invariant::Delivery, || {
            format!("{number} leaves {}: {was_held}, and is told {was_told}", PATTERNS[pattern])
        });
        let mut held = std::mem::take(&mut self.held);
        held.retain(|record, held| held.is_named || self.covers(*record, book));
        // A topic that was just made is taken in as those patterns say that there are when the shard
        // hears of it.
        for held in
            held.values_mut().filter(|it| !it.is_named && it.last + it.following.joined == 0)
        {
            held.is_unsure = true;
        }
        self.held = held;
    }

    fn covers(&self, record: usize, book: &Ledger) -> bool {
        self.mode_of(record, book).is_some()
    }

    /// What the first pattern that takes a topic in says.
    fn mode_of(&self, record: usize, book: &Ledger) -> Option<Mode> {
        let name = book.topics[record].name;
        self.patterns.iter().find(|it| takes_in(it.0, name)).map(|it| it.1)
    }

    /// Topics were made, up to this record.
    pub(super) fn take_in(&mut self, known: usize, book: &Ledger) {
        for record in self.known..known {
            if let Some(mode) = self.mode_of(record, book) {
                self.held.entry(record).or_insert_with(|| Held { mode, ..Held::default() });
            }
        }
        self.known = self.known.max(known);
    }

    /// Gets a publication.
    pub(super) fn hear_publication(&mut self, number: usize, note: Note, book: &mut Ledger) {
        let (tag, record) = (small(note.number), small(note.about));
        let known = book.publications.get(tag).copied().filter(|it| it.note == note);
        let (seq, except) = known.map_or((0, None), |it| (it.seq, it.except));
        if seq > 0 {
            self.take_in(record + 1, book);
        }
        let held = self.held.get_mut(&record);
        let Some(held) = held.filter(|_| seq > 0) else {
            return book.check(false, Invariant::Delivery, || {
                format!("{number} gets {note:?} at {seq}, and does not hold the topic")
            });
        };
        let before = held.clone();
        (held.last, held.may_skip) = (seq, false);
        let missing = before.missing(book, record, number, seq);
        let is_next = seq > before.last && (before.may_skip || missing.is_none());
        let is_for_it = except != Some(number);
        book.check(is_next && is_for_it, Invariant::Delivery, || {
            format!(
                "{number} gets {seq} of topic {record} after {before:?}, {missing:?} is missing"
            )
        });
        // All of them are of one thread, which publishes in the order of their numbers.
        let previous = self.last.replace(tag);
        book.check(previous.is_none_or(|it| it < tag), Invariant::Delivery, || {
            format!("{number} gets publication {tag} after {previous:?}")
        });
    }

    /// When nothing moves any more: nothing is missing.
    pub(super) fn check_calm(&mut self, number: usize, book: &mut Ledger) {
        self.take_in(book.topics.len(), book);
        for (record, held) in self.held.iter().filter(|(_, held)| !held.is_unsure) {
            if held.mode.has_values() {
                let due = held.value_due(book, *record, number);
                book.check(held.last >= due, Invariant::Delivery, || {
                    format!("{number} misses value {due} of topic {record}: {held:?}")
                });
                continue;
            }
            let missing = held.missing(book, *record, number, book.topics[*record].last() + 1);
            book.check(missing.is_none() || held.may_skip, Invariant::Delivery, || {
                format!("{number} misses {missing:?} of topic {record}")
            });
        }
        // Of a topic that is gone nothing comes any more but a value that waits for its pace.
        self.held.retain(|record, held| {
            let waits = held.mode.has_values() && held.last < book.topics[*record].last();
            waits || book.is_current(*record)
        });
    }

    /// The peer is gone, and will know how far it had come.
    pub(super) fn remember(&self, book: &mut Ledger) {
        let is_known = |held: &Held| !held.may_skip && !held.mode.has_values();
        for (record, held) in self.held.iter().filter(|(_, held)| is_known(held)) {
            book.remember(*record, held.last);
        }
    }
}

fn small(number: u64) -> usize {
    usize::try_from(number).expect("small")
}
