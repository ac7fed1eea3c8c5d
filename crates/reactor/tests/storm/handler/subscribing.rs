//! What a handler does with subscriptions: by name, by pattern, and taken up again.
//!
//! Each of them is told to the peer in a message, ahead of what comes of it, and held against what the
//! ledger says that there is.

use tickwire_protocol::Kind;
use tickwire_reactor::{Connection, PatternError, Resumed, Retained, Topic};

use super::{Application, Ticket};
use crate::fault::Fault;
use crate::ledger::{Invariant, unsent_max};
use crate::mode::Mode;
use crate::note::Note;
use crate::peer::told;
use crate::topics::{Memory, NAMES, PATTERNS, find, takes_in};

/// What may be unsent of a connection beside what the ledger has written down: control frames, and the
/// rest of a publication.
const UNSENT_APART: usize = 20 * 1024;

impl Application {
    /// Subscribes in a way that follows from the number of the note.
    pub(super) fn subscribe(&mut self, connection: &mut Connection<'_, Ticket>, note: Note) {
        let (record, topic) = self.topic(note.about);
        let (mut mode, mut known) = (Mode::chosen(note.number), None);
        let retained = if note.number.is_multiple_of(4) {
            mode = Mode::of(topic.delivery());
            connection.subscribe(&topic)
        } else {
            let mut subscription = self.hastened(mode).subscription();
            if note.number % 4 == 1 && mode.has_values() {
                known = Some(topic.seq().saturating_sub(note.number % 6));
                subscription = known.map_or(subscription, |seq| subscription.with_known(seq));
            }
            connection.subscribe_with(&topic, subscription)
        };
        self.book.borrow_mut().name(connection.state.number, record);
        self.joined(connection, record, &retained, (b's', mode, known));
    }

    /// Tells the peer that it has joined a topic, how, and what that retains; or, if it has a value
    /// already, which one.
    fn joined(
        &mut self,
        connection: &mut Connection<'_, Ticket>,
        record: usize,
        retained: &Retained,
        (lane, mode, known): (u8, Mode, Option<u64>),
    ) {
        let mut book = self.book.borrow_mut();
        let (seq, value) = (book.topics[record].last(), book.topics[record].retained);
        let is_seq = retained.seq == seq;
        book.check(is_seq, Invariant::Delivery, || {
            format!("topic {record} is joined at {} of {seq}", retained.seq)
        });
        let is_value = retained.frame.is_some() == value.is_some();
        book.check(is_value, Invariant::Delivery, || format!("{record} retains {retained:?}"));
        drop(book);
        self.say(connection, Note::new(lane, seq, mode.packed(record), 0), Kind::Text);
        if let Some(known) = known {
            let newest = told(record, value.map_or(0, |value| value.number));
            return self.say(connection, Note::new(b'n', known, newest, 0), Kind::Text);
        }
        if let Some((value, frame)) = value.zip(retained.frame.as_ref()) {
            // What is retained was checked to be what was written if it arrives as such.
            self.book.borrow_mut().send(connection.state.number, value, Kind::Text);
            connection.send_frame(frame);
        }
    }

    pub(super) fn unsubscribe(&mut self, connection: &mut Connection<'_, Ticket>, about: u64) {
        let (record, topic) = self.topic(about);
        let is_held = self.book.borrow_mut().unname(connection.state.number, record);
        let holds_on = self.fault == Some(Fault::HoldOn);
        let held = if holds_on { is_held } else { connection.unsubscribe(&topic) };
        let note = Note::new(b'u', record as u64, u64::from(held), 0);
        self.say(connection, note, Kind::Text);
    }

    /// Subscribes to a pattern.
    pub(super) fn watch(&mut self, connection: &mut Connection<'_, Ticket>, note: Note) {
        let number = connection.state.number;
        let pattern = usize::try_from(note.about).expect("small") % PATTERNS.len();
        let mode = (!note.number.is_multiple_of(4)).then(|| Mode::chosen(note.number));
        let subscription = mode.map(Mode::subscription).unwrap_or_default();
        let watched = connection.subscribe_pattern_with(PATTERNS[pattern], subscription);
        let topics = self.publisher.topics();
        let mut book = self.book.borrow_mut();
        let (limits, session) = (book.limits, &book.sessions[number]);
        let (is_held, count) = (session.patterns.contains(&pattern), session.patterns.len());
        let is_many = count >= limits.patterns_per_connection_max;
        let is_right = match &watched {
            Ok(joined) if is_held => joined.is_empty(),
            Ok(_) => !is_many && book.taken_in(pattern).len() <= limits.pattern_topics_max,
            Err(PatternError::TooManyPatterns { .. }) => is_many && !is_held,
            Err(PatternError::TooManyTopics { max }) => topics > *max && !is_held,
            Err(_) => false,
        };
        book.check(is_right, Invariant::Delivery, || {
            format!("{number} has {count} patterns, watches {pattern}, and is told {watched:?}")
        });
        let known = book.topics.len() as u64;
        drop(book);
        let Ok(mut joined) = watched else {
            return self.say(connection, Note::new(b'Q', known, pattern as u64, 0), Kind::Text);
        };
        if self.fault == Some(Fault::HideJoined) {
            joined.pop();
        }
        // Later ones are rooms, which say nothing themselves.
        let later = mode.unwrap_or_default().packed(pattern);
        self.say(connection, Note::new(b'q', known, later, 0), Kind::Text);
        if !is_held {
            self.check_joined(number, pattern, &joined);
            self.book.borrow_mut().sessions[number].patterns.insert(pattern);
        }
        for (topic, retained) in &joined {
            let record = self.record(topic);
            let mode = mode.unwrap_or_else(|| Mode::of(topic.delivery()));
            self.joined(connection, record, retained, (b'j', mode, None));
        }
    }

    /// Those that are sure to be there, and that it does not have, must be in the list.
    fn check_joined(&self, number: usize, pattern: usize, joined: &[(Topic, Retained)]) {
        let mut missing = self.book.borrow().taken_in(pattern);
        for (topic, _) in joined {
            missing.remove(&self.record(topic));
        }
        let mut book = self.book.borrow_mut();
        let session = &book.sessions[number];
        missing.retain(|record| {
            let name = book.topics[*record].name;
            let is_watched = session.patterns.iter().any(|it| takes_in(*it, name));
            !session.named.contains(record) && !is_watched
        });
        book.check(missing.is_empty(), Invariant::Delivery, || {
            format!("{number} watches {} and is not given {missing:?}", PATTERNS[pattern])
        });
    }

    /// The record of a topic that somebody has.
    fn record(&self, topic: &Topic) -> usize {
        let name = NAMES.iter().position(|name| *name == topic.name()).expect("a known name");
        find(&self.book, &self.publisher, name).0
    }

    pub(super) fn unwatch(&mut self, connection: &mut Connection<'_, Ticket>, about: u64) {
        let number = connection.state.number;
        let pattern = usize::try_from(about).expect("small") % PATTERNS.len();
        let was_held = if self.fault == Some(Fault::WatchOn) {
            self.book.borrow().sessions[number].patterns.contains(&pattern)
        } else {
            connection.unsubscribe_pattern(PATTERNS[pattern])
        };
        let mut book = self.book.borrow_mut();
        book.sessions[number].patterns.remove(&pattern);
        let known = book.topics.len() as u64;
        drop(book);
        let said = 2 * pattern as u64 + u64::from(was_held);
        self.say(connection, Note::new(b'v', known, said, 0), Kind::Text);
    }

    /// Takes a subscription up again where a client that is gone has left it, or says that it did.
    pub(super) fn resume(&mut self, connection: &mut Connection<'_, Ticket>, note: Note) {
        let number = connection.state.number;
        let Some(Memory { name, mut epoch, mut seq }) = self.memory(note) else { return };
        let (record, topic) = find(&self.book, &self.publisher, name);
        let book = self.book.borrow();
        let missed = book.missed(record, epoch, seq);
        let (max, owed) = (unsent_max(&book.limits), book.sessions[number].owed_bytes);
        drop(book);
        match self.fault {
            Some(Fault::BelieveEpoch) => epoch = topic.epoch(),
            Some(Fault::ResumeLate) if seq < topic.seq() => seq += 1,
            _ => {}
        }
        connection.resume_with(&topic, epoch, seq, |connection, resumed| match resumed {
            Resumed::Recovered { count, seq } => {
                let (missed, bytes, _) = missed.unwrap_or_default();
                let mut book = self.book.borrow_mut();
                let last = book.topics[record].last();
                let is_all = (*count, *seq) == (missed.len() as u64, last) && bytes <= max / 2;
                book.check(is_all, Invariant::Delivery, || {
                    format!("{number} is told {resumed:?} of {record}, and misses {missed:?}")
                });
                drop(book);
                let about = Mode::default().packed(record);
                self.say(connection, Note::new(b'a', last, about, 0), Kind::Text);
                self.book.borrow_mut().send_missed(number, &missed);
            }
            Resumed::Lost(retained) => {
                let is_lost = missed.is_none_or(|it| !it.2 || it.1 + owed + UNSENT_APART > max / 2);
                self.book.borrow_mut().check(is_lost, Invariant::Delivery, || {
                    format!("{number} is told {resumed:?} of {record}, which keeps it")
                });
                self.joined(connection, record, retained, (b's', Mode::default(), None));
            }
            _ => {}
        });
        self.book.borrow_mut().name(number, record);
    }

    /// What a client says that it has, which need not be true.
    fn memory(&self, note: Note) -> Option<Memory> {
        let book = self.book.borrow();
        let place = note.about.checked_rem(book.memories.len() as u64)?;
        let mut memory = book.memories[usize::try_from(place).expect("small")];
        match note.number % 12 {
            0 => memory.epoch.0 ^= 1,
            1 => memory.seq += 3,
            _ => {}
        }
        Some(memory)
    }
}
