//! What a shard is told of topics besides their publications: that one was made, that one is gone.
//!
//! Beside the mailbox, for shards with patterns alone. A topic that is made while a pattern takes it in
//! is noted here before anybody can have it, and so before anything is published to it. A shard reads
//! the notes when a publication comes that nobody seems to want, before it subscribes a connection by
//! name, and once a turn: so no publication costs a look, and none is missed.
//!
//! It is bounded by what it stands for: there is one note for each topic at most, of its beginning or of
//! its end. It keeps no order against the mailbox; who reads it does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tickwire_fanout::TopicKey;

use crate::topic::Topic;

/// The notes for one shard.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    has_made: AtomicBool,
    has_gone: AtomicBool,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    made: Vec<Topic>,
    gone: Vec<TopicKey>,
    /// The shard has ended and reads nothing any more.
    is_closed: bool,
}

impl Notices {
    /// A topic has been made. The note keeps it: what is published to it at once and then dropped is
    /// still to be delivered.
    pub(crate) fn made(&self, topic: &Topic) {
        let mut lists = self.lock();
        if !lists.is_closed {
            lists.made.push(topic.clone());
            self.has_made.store(true, Ordering::Release);
        }
    }

    /// Nobody has a topic any more but those that hold it for a pattern.
    pub(crate) fn gone(&self, topic: TopicKey) {
        let mut lists = self.lock();
        if !lists.is_closed {
            lists.gone.push(topic);
            self.has_gone.store(true, Ordering::Release);
        }
    }

    /// The topics made since the last look. The shard only.
    pub(crate) fn take_made(&self) -> Vec<Topic> {
        if !self.has_made.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut lists = self.lock();
        self.has_made.store(false, Ordering::Relaxed);
        std::mem::take(&mut lists.made)
    }

    /// The topics gone since the last look. All that was published to them is in the mailbox by now, or
    /// has been. The shard only.
    pub(crate) fn take_gone(&self) -> Vec<TopicKey> {
        if !self.has_gone.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut lists = self.lock();
        self.has_gone.store(false, Ordering::Relaxed);
        std::mem::take(&mut lists.gone)
    }

    /// The shard has ended: notes that are left and those to come are thrown away.
    pub(crate) fn close(&self) {
        let mut lists = self.lock();
        let left = std::mem::take(&mut *lists);
        lists.is_closed = true;
        drop(lists);
        // Topics are not dropped under a lock: the last handle leaves a note in turn.
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
