//! What other threads do to topics: they publish, have them retain and keep, and let go of them.
//!
//! Topics are looked up by their names each time, so rooms come and go with this.

use tickwire_protocol::Kind;
use tickwire_reactor::Keep;

use super::{Life, ROOMS_HELD};
use crate::fault::Fault;
use crate::mode::Mode;
use crate::note::Note;
use crate::topics::{LASTING, NAMES, POLICIES, find};

impl Life {
    /// One or several publications of another thread to one of the topics.
    pub(super) fn publish(&mut self) {
        let name = self.random.below(NAMES.len());
        let (record, topic) = find(&self.book, &self.publisher, name);
        let batch = self.publisher.batch();
        for _ in 0..=self.random.below(12) {
            if !self.book.borrow().has_room_everywhere() {
                break;
            }
            let bytes = self.random.length(12_000);
            let tag = self.book.borrow_mut().publication(record, bytes, None);
            let retains = self.random.one_in(4) && (name < LASTING || self.random.one_in(4));
            let value = |seq| Note::new(b'r', seq, record as u64, bytes / 2);
            let note = self.book.borrow().publications[tag].note;
            let seq = batch.publish_with(&topic, Kind::Text, |seq, message, retained| {
                note.write(message);
                if retains {
                    value(seq).write(retained);
                }
            });
            let mut book = self.book.borrow_mut();
            if retains {
                book.retain(record, value(seq), Some(tag));
            }
            book.published(tag, seq);
        }
        drop(batch);
        if self.rooms.len() < ROOMS_HELD && self.random.one_in(3) {
            self.book.borrow_mut().topics[record].handles += 1;
            self.rooms.push((record, topic));
        }
    }

    /// Publications of another thread that does not wait for room.
    pub(super) fn publish_hastily(&mut self) {
        let name = self.random.below(NAMES.len());
        let (record, topic) = find(&self.book, &self.publisher, name);
        let drops = self.random.one_in(2);
        for _ in 0..self.random.pick(&[3, 30, 300]) {
            let bytes = self.random.length(200);
            let tag = self.book.borrow_mut().publication(record, bytes, None);
            let payload = self.book.borrow().publications[tag].note.payload();
            let published = if drops {
                self.publisher.publish_or_drop(&topic, Kind::Text, &payload)
            } else {
                self.publisher.try_publish(&topic, Kind::Text, &payload).ok()
            };
            let mut book = self.book.borrow_mut();
            match published {
                Some(seq) => book.published(tag, seq),
                None if self.fault == Some(Fault::PretendToPublish) => {
                    let last = book.topics[record].last();
                    book.published(tag, last + 1);
                }
                None => book.turned_down(drops),
            }
        }
    }

    /// A publication of another thread that one connection does not get; that may be gone.
    pub(super) fn publish_to_all_but_one(&mut self) {
        let sessions = self.book.borrow().sessions.len();
        if sessions == 0 || !self.book.borrow().has_room_everywhere() {
            return;
        }
        let number = sessions - 1 - self.random.below(sessions.min(30));
        let Some(id) = self.book.borrow().sessions[number].id else { return };
        let name = self.random.below(NAMES.len());
        let (record, topic) = find(&self.book, &self.publisher, name);
        let bytes = self.random.length(2_000);
        let tag = self.book.borrow_mut().publication(record, bytes, Some(number));
        let payload = self.book.borrow().publications[tag].note.payload();
        let seq = if self.fault == Some(Fault::SpareNobody) {
            self.publisher.publish(&topic, Kind::Text, &payload)
        } else {
            self.publisher.publish_except(&topic, Kind::Text, &payload, id)
        };
        self.book.borrow_mut().published(tag, seq);
    }

    pub(super) fn retain(&mut self) {
        let name = self.random.below(NAMES.len());
        let (record, topic) = find(&self.book, &self.publisher, name);
        let mut value = Note::new(b'r', 0, record as u64, 0);
        self.publisher.retain_with(&topic, Kind::Text, |seq, out| {
            value = Note::new(b'r', seq, record as u64, 40);
            value.write(out);
        });
        self.book.borrow_mut().retain(record, value, None);
    }

    /// A topic is to keep more, or less, or nothing, of what is published to it.
    pub(super) fn keep(&mut self) {
        let name = self.random.below(NAMES.len());
        let (record, topic) = find(&self.book, &self.publisher, name);
        let mut keep = Keep {
            messages: self.random.pick(&[0, 1, 5, 40, 1_000]),
            bytes: self.random.pick(&[300, 5_000, 50_000, 1_000_000]),
        };
        self.book.borrow_mut().keep(record, keep);
        match self.fault {
            Some(Fault::KeepMore) => keep.messages = 2 * keep.messages + 5,
            Some(Fault::KeepLess) => keep.messages /= 2,
            _ => {}
        }
        topic.keep(keep);
    }

    /// A topic says how it is delivered from now on. Those who have a pattern for a room could not know.
    pub(super) fn set_delivery(&mut self) {
        let (_, topic) = find(&self.book, &self.publisher, self.random.below(LASTING));
        topic.set_delivery(Mode::chosen(self.random.next() % 40).delivery());
    }

    /// Something else is said for those who are too slow for a topic.
    pub(super) fn set_policy(&mut self) {
        let name = self.random.below(LASTING);
        let (_, topic) = find(&self.book, &self.publisher, name);
        let policy = self.random.pick(&POLICIES);
        topic.set_lagged(policy);
        self.book.borrow_mut().policies[name] = policy;
    }

    pub(super) fn forget(&mut self) {
        let name = self.random.below(NAMES.len());
        let (record, topic) = find(&self.book, &self.publisher, name);
        topic.forget();
        self.book.borrow_mut().forget(record);
    }

    /// Somebody has no use for a room any more.
    pub(super) fn let_go(&mut self) {
        if self.rooms.is_empty() {
            return;
        }
        let index = self.random.below(self.rooms.len());
        let (record, topic) = self.rooms.swap_remove(index);
        drop(topic);
        self.book.borrow_mut().topics[record].handles -= 1;
    }

    /// Nobody has or keeps anything of a room any more.
    pub(super) fn leave_all_rooms(&mut self) {
        while !self.rooms.is_empty() {
            self.let_go();
        }
        for name in LASTING..NAMES.len() {
            let (record, topic) = find(&self.book, &self.publisher, name);
            topic.forget();
            self.book.borrow_mut().forget(record);
        }
    }
}
