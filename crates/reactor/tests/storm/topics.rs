//! The topics of a storm, and what was published to them: the ledger's pages on that.
//!
//! Some are there all the time, since the ledger has them. The others are rooms: whoever wants one looks
//! it up by its name, and it is gone when nobody has it, and comes again. Each time that a name is made
//! anew it has a record of its own, and messages say of which record they are.
//!
//! Invariant: the last record of a name is that of the topic that is there, if one is.

use std::collections::BTreeSet;

use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::{Epoch, Keep, Lagged, Publisher, Topic};

use crate::ledger::{Book, Invariant, Ledger};
use crate::note::Note;

/// The names; the first [`LASTING`] of them are always there.
pub(crate) const NAMES: [&str; 12] = [
    "gold", "iron", "zinc", "lead", "tin", "gold.a", "gold.b", "iron.a", "g", "tin.x", "rooms/1",
    "ü",
];

pub(crate) const LASTING: usize = 5;

pub(crate) const PATTERNS: [&str; 8] =
    ["*", "g*", "gold*", "gold.*", "iron.*", "ti*", "rooms/*", "nobody*"];

/// What may be said for those who are too slow.
pub(crate) const POLICIES: [Lagged; 4] = [
    Lagged::Skip,
    Lagged::Merge,
    Lagged::Close(CloseCode::POLICY_VIOLATION, "slow consumer"),
    Lagged::Close(CloseCode(4_905), "too slow"),
];

/// What is said from the beginning; for those that last it changes.
pub(crate) fn first_policy(name: usize) -> Lagged {
    if name < LASTING { Lagged::default() } else { POLICIES[name % POLICIES.len()] }
}

/// Whether a pattern takes in a name.
pub(crate) fn takes_in(pattern: usize, name: usize) -> bool {
    PATTERNS[pattern].strip_suffix('*').is_some_and(|prefix| NAMES[name].starts_with(prefix))
}

/// A topic, from when it was made until it was gone.
pub(crate) struct Record {
    /// Its place among the names.
    pub(crate) name: usize,
    /// Of one that lasts.
    topic: Option<Topic>,
    pub(crate) epoch: Epoch,
    /// The number of the publication by its place in the topic.
    pub(crate) tags: Vec<u32>,
    /// When something was published last.
    pub(crate) published_at: Duration,
    /// What a new subscriber is given.
    pub(crate) retained: Option<Note>,
    kept: Option<Kept>,
    /// Values of places up to this one may be forgotten.
    forgotten: u64,
    /// How many open sessions are subscribed to it by its name.
    named: usize,
    /// How many others have it.
    pub(crate) handles: usize,
}

/// What a topic keeps for those who come back.
#[derive(Clone, Copy, Debug)]
struct Kept {
    keep: Keep,
    /// Everything behind this place is there, unless values have travelled with it and taken room.
    after: u64,
    /// Everything behind this place is there.
    surely_after: u64,
}

/// One publication, or one that found a mailbox full and so is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publication {
    pub(crate) note: Note,
    /// 0: there is none.
    pub(crate) seq: u64,
    /// The session that is not to get it.
    pub(crate) except: Option<usize>,
    /// How many bytes its value is with a header; 0: the message is the value.
    value_bytes: usize,
}

/// How far a client had come with a topic when it was cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) name: usize,
    pub(crate) epoch: Epoch,
    pub(crate) seq: u64,
}

/// Memories that are not forgotten.
const MEMORIES: usize = 40;

/// The topic of this name, made if there is none, and its record.
pub(crate) fn find(book: &Book, publisher: &Publisher, name: usize) -> (usize, Topic) {
    let before = publisher.topics();
    let topic = publisher.topic(NAMES[name]);
    let is_made = publisher.topics() > before;
    if is_made {
        topic.set_lagged(first_policy(name));
    }
    let record = book.borrow_mut().found(name, &topic, is_made);
    (record, topic)
}

impl Record {
    /// Whether something is sure to hold it.
    fn is_there(&self) -> bool {
        let is_held = self.topic.is_some() || self.named + self.handles > 0;
        is_held || self.retained.is_some() || self.kept.is_some()
    }

    pub(crate) fn last(&self) -> u64 {
        self.tags.len() as u64
    }
}

impl Ledger {
    /// A topic was looked up; gives its record.
    fn found(&mut self, name: usize, topic: &Topic, is_made: bool) -> usize {
        let known = self.current(name).filter(|_| !is_made);
        let record = known.unwrap_or_else(|| self.made(name, topic));
        let (now, last) = ((topic.epoch(), topic.seq()), &self.topics[record]);
        let expected = (last.epoch, last.last());
        let is_same = now == expected && topic.name() == NAMES[name];
        self.check(is_same, Invariant::Delivery, || {
            format!("{topic:?} is at {now:?}, and should be at {expected:?}")
        });
        record
    }

    fn made(&mut self, name: usize, topic: &Topic) -> usize {
        let epoch = topic.epoch();
        let before = self.current(name).map(|it| &self.topics[it]);
        let is_gone = before.is_none_or(|it| !it.is_there());
        let is_new =
            self.topics.iter().all(|it| it.name != name || it.tags.is_empty() || it.epoch != epoch);
        self.check(is_gone, Invariant::Delivery, || format!("{topic:?} is lost and made anew"));
        self.check(is_new, Invariant::Delivery, || format!("{topic:?} has {epoch} once more"));
        self.topics.push(Record {
            name,
            topic: (name < LASTING).then(|| topic.clone()),
            epoch,
            tags: Vec::new(),
            published_at: Duration::ZERO,
            retained: None,
            kept: None,
            forgotten: 0,
            named: 0,
            handles: 0,
        });
        self.latest.insert(name, self.topics.len() - 1);
        self.topics.len() - 1
    }

    /// The last record of a name.
    fn current(&self, name: usize) -> Option<usize> {
        self.latest.get(&name).copied()
    }

    /// The last record of a name that there was.
    pub(crate) fn latest_of(&self, name: usize) -> &Record {
        &self.topics[self.latest[&name]]
    }

    /// Whether the topic of a record may still be there.
    pub(crate) fn is_current(&self, record: usize) -> bool {
        self.current(self.topics[record].name) == Some(record)
    }

    /// How many topics are sure to be there.
    pub(crate) fn topics_least(&self) -> usize {
        self.latest.values().filter(|record| self.topics[**record].is_there()).count()
    }

    /// The topics that are sure to be there and that a pattern takes in.
    pub(crate) fn taken_in(&self, pattern: usize) -> BTreeSet<usize> {
        let matching = self.latest.iter().filter(|(name, _)| takes_in(pattern, **name));
        matching.map(|(_, record)| *record).filter(|it| self.topics[*it].is_there()).collect()
    }

    /// Takes note of a publication that is about to be made; gives its number.
    pub(crate) fn publication(
        &mut self,
        record: usize,
        bytes: usize,
        except: Option<usize>,
    ) -> usize {
        let tag = self.publications.len();
        let note = Note::new(b'P', tag as u64, record as u64, bytes);
        self.publications.push(Publication { note, seq: 0, except, value_bytes: 0 });
        tag
    }

    /// A publication was made, and this is its place in its topic.
    pub(crate) fn published(&mut self, tag: usize, seq: u64) {
        let publication = &mut self.publications[tag];
        publication.seq = seq;
        let record = usize::try_from(publication.note.about).expect("small");
        self.topics[record].published_at = self.now;
        let tags = &mut self.topics[record].tags;
        tags.push(u32::try_from(tag).expect("less than 2^32 publications"));
        let expected = tags.len() as u64;
        self.letters.iter_mut().for_each(|letters| *letters += 1);
        self.trim(record);
        self.check(seq == expected, Invariant::Delivery, || {
            format!("a publication is number {seq} of its topic, and should be {expected}")
        });
    }

    /// A topic is to keep so much from now on.
    pub(crate) fn keep(&mut self, record: usize, keep: Keep) {
        let topic = &mut self.topics[record];
        let last = topic.last();
        let kept = topic.kept.unwrap_or(Kept { keep, after: last, surely_after: last });
        topic.kept = (keep.messages > 0 && keep.bytes > 0).then_some(Kept { keep, ..kept });
        self.trim(record);
    }

    /// A topic retains nothing any more.
    pub(crate) fn forget(&mut self, record: usize) {
        let topic = &mut self.topics[record];
        (topic.retained, topic.kept, topic.forgotten) = (None, None, topic.last());
    }

    /// Forgets what a topic does not keep, the oldest first.
    fn trim(&mut self, record: usize) {
        let Some(Kept { keep, after, surely_after }) = self.topics[record].kept else { return };
        let after = self.trimmed(record, keep, after, false);
        let surely_after = self.trimmed(record, keep, surely_after, true);
        self.topics[record].kept = Some(Kept { keep, after, surely_after });
    }

    /// Behind which place not before `least` everything is kept.
    fn trimmed(&self, record: usize, keep: Keep, least: u64, with_values: bool) -> u64 {
        let last = self.topics[record].last();
        let (mut after, mut bytes) = (last, 0);
        while after > least {
            let value = self.place(record, after).value_bytes;
            bytes += self.published_bytes(record, after) + if with_values { value } else { 0 };
            if bytes > keep.bytes || last - after >= keep.messages as u64 {
                break;
            }
            after -= 1;
        }
        after
    }

    /// A topic retains a value from now on; with `tag`, that is the value of this publication.
    pub(crate) fn retain(&mut self, record: usize, value: Note, tag: Option<usize>) {
        self.topics[record].retained = Some(value);
        self.values.insert((record, value.number, value.bytes));
        if let Some(tag) = tag {
            self.publications[tag].value_bytes = framed(value.bytes);
        }
    }

    /// Whether this message is the value of this place: where it has another one that may be forgotten.
    pub(crate) fn is_value(&self, note: Note, seq: u64) -> bool {
        let tag = usize::try_from(note.number).unwrap_or(usize::MAX);
        let Some(publication) = self.publications.get(tag) else { return false };
        let is_it = publication.note == note && publication.seq == seq && seq > 0;
        let record = usize::try_from(note.about).expect("small");
        is_it && (publication.value_bytes == 0 || seq <= self.topics[record].forgotten)
    }

    /// Whether a topic has retained a value of this place.
    pub(crate) fn was_retained(&self, record: usize, seq: u64) -> bool {
        self.values.range((record, seq, 0)..=(record, seq, usize::MAX)).next().is_some()
    }

    /// The number of a publication by its place.
    pub(crate) fn tag(&self, record: usize, seq: u64) -> usize {
        let place = usize::try_from(seq - 1).expect("small");
        self.topics[record].tags[place] as usize
    }

    pub(crate) fn place(&self, record: usize, seq: u64) -> &Publication {
        &self.publications[self.tag(record, seq)]
    }

    /// The bytes of a publication with its header.
    fn published_bytes(&self, record: usize, seq: u64) -> usize {
        framed(self.place(record, seq).note.bytes)
    }

    /// What was published to a topic behind a place of a numbering, if all of it is kept; with its bytes,
    /// and whether that is sure.
    pub(crate) fn missed(
        &self,
        record: usize,
        epoch: Epoch,
        seq: u64,
    ) -> Option<(Vec<Note>, usize, bool)> {
        let topic = &self.topics[record];
        let kept = topic.kept.filter(|it| it.after <= seq && seq <= topic.last())?;
        (epoch == topic.epoch).then(|| {
            let places = seq + 1..=topic.last();
            let bytes = places.clone().map(|seq| self.published_bytes(record, seq)).sum();
            let notes = places.map(|seq| self.place(record, seq).note).collect();
            (notes, bytes, kept.surely_after <= seq)
        })
    }

    /// A client is gone that had got a topic up to this place.
    pub(crate) fn remember(&mut self, record: usize, seq: u64) {
        let topic = &self.topics[record];
        self.memories.push_back(Memory { name: topic.name, epoch: topic.epoch, seq });
        if self.memories.len() > MEMORIES {
            self.memories.pop_front();
        }
    }

    /// A session has subscribed to a topic by its name.
    pub(crate) fn name(&mut self, number: usize, record: usize) {
        let is_new = self.sessions[number].named.insert(record);
        self.topics[record].named += usize::from(is_new);
    }

    /// A session is not subscribed to a topic by its name any more; whether it was.
    pub(crate) fn unname(&mut self, number: usize, record: usize) -> bool {
        let was_named = self.sessions[number].named.remove(&record);
        self.topics[record].named -= usize::from(was_named);
        was_named
    }

    /// A session is not subscribed to anything any more.
    pub(super) fn unname_all(&mut self, number: usize) {
        for record in std::mem::take(&mut self.sessions[number].named) {
            self.topics[record].named -= 1;
        }
    }

    /// A handler sends what was missed to its connection.
    pub(crate) fn send_missed(&mut self, number: usize, missed: &[Note]) {
        missed.iter().for_each(|note| self.send(number, *note, Kind::Text));
    }
}

/// How long a message is with its header.
const fn framed(bytes: usize) -> usize {
    bytes + if bytes < 126 { 2 } else { 4 }
}
