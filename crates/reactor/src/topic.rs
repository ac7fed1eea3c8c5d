//! A named stream of messages, as all shards and publishers of a server share it.
//!
//! Stands between publishers and the mailboxes of the shards. A topic knows which shards have a
//! subscriber, its last sequence number and its retained value, all under one lock: so every shard
//! gets the publications of a topic in the same order, and a new subscriber gets the retained value
//! and then exactly what follows it.
//!
//! It neither finds topics by name nor publishes: that is the hub's, which fills in the state here.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tickwire_fanout::TopicKey;
use tickwire_protocol::{Kind, encode};

use crate::directory::Directory;
use crate::frame::Frame;
use crate::hub::Hub;

/// A named stream of messages. Cheap to clone; keep it rather than look it up by name each time.
///
/// It is there as long as somebody has it, a connection is subscribed to it, or it retains something.
/// Then it is gone with its sequence numbers, and its name is free.
#[derive(Clone)]
pub struct Topic(Arc<Inner>);

struct Inner {
    key: TopicKey,
    name: Arc<str>,
    state: Mutex<State>,
    /// Whether there is something in the state that is retained: changed under its lock, and read by
    /// the directory under its own.
    retains: AtomicBool,
    /// Where its name stands.
    directory: Weak<Directory>,
}

/// A topic that somebody else holds, as long as they do.
pub(crate) struct WeakTopic(Weak<Inner>);

#[derive(Default)]
pub(crate) struct State {
    /// The sequence number of the last publication; 0 before the first.
    pub(crate) seq: u64,
    pub(crate) retained: Option<Frame>,
    /// Shards with a subscriber.
    pub(crate) interested: Vec<usize>,
    /// Kept from one publication to the next so that encoding does not allocate.
    pub(crate) payload: Vec<u8>,
    pub(crate) retained_payload: Vec<u8>,
    pub(crate) encoded: Vec<u8>,
}

/// What a topic holds for a new subscriber.
#[derive(Clone, Debug)]
pub struct Retained {
    /// The sequence number of the last publication that the subscriber will *not* be sent: the next
    /// one has `seq + 1`.
    pub seq: u64,
    /// The value as of `seq`, encoded, if the publisher retains one.
    pub frame: Option<Frame>,
}

impl Topic {
    pub(crate) fn new(key: TopicKey, name: Arc<str>, directory: Weak<Directory>) -> Self {
        let (state, retains) = (Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Inner { key, name, state, retains, directory }))
    }

    /// The name by which it was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The sequence number of the last publication; 0 before the first.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.lock().seq
    }

    /// Whether any connection of any shard is subscribed.
    #[must_use]
    pub fn has_subscribers(&self) -> bool {
        !self.lock().interested.is_empty()
    }

    /// What a new subscriber would be given now.
    #[must_use]
    pub fn retained(&self) -> Retained {
        let state = self.lock();
        Retained { seq: state.seq, frame: state.retained.clone() }
    }

    /// Drops what the topic retains. Subscribers notice nothing; sequence numbers go on, as long as
    /// somebody has the topic.
    pub fn forget(&self) {
        let mut state = self.lock();
        let retained = state.retained.take();
        let is_changed = self.note_retention(&state);
        drop(state);
        drop(retained);
        if is_changed && let Some(directory) = self.0.directory.upgrade() {
            directory.settle(self);
        }
    }

    pub(crate) fn key(&self) -> TopicKey {
        self.0.key
    }

    /// The retained value and, from now on, everything after it for `shard`.
    pub(crate) fn join(&self, shard: usize) -> Retained {
        let mut state = self.lock();
        if !state.interested.contains(&shard) {
            state.interested.push(shard);
        }
        Retained { seq: state.seq, frame: state.retained.clone() }
    }

    /// `shard` has no subscriber any more.
    pub(crate) fn leave(&self, shard: usize) {
        self.lock().interested.retain(|it| *it != shard);
    }

    /// Takes note of whether something is retained; `true`: that is news, and the directory has to
    /// [settle](Directory::settle) it once the topic's lock is given back.
    pub(crate) fn note_retention(&self, state: &State) -> bool {
        let retains = state.retained.is_some();
        // Nobody else writes while we have the state.
        let is_news = self.0.retains.load(Ordering::Relaxed) != retains;
        if is_news {
            self.0.retains.store(retains, Ordering::Relaxed);
        }
        is_news
    }

    /// Whether something is retained, for the directory: whoever changes that settles it afterwards.
    pub(crate) fn retains(&self) -> bool {
        self.0.retains.load(Ordering::Relaxed)
    }

    pub(crate) fn downgrade(&self) -> WeakTopic {
        WeakTopic(Arc::downgrade(&self.0))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A publisher's closure that panicked left the last publication unpublished, no more.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Topic").field(&self.0.name).finish()
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Topic {}

impl WeakTopic {
    pub(crate) fn upgrade(&self) -> Option<Topic> {
        self.0.upgrade().map(Topic)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.upgrade() {
            directory.forget(&self.name, self.key);
        }
    }
}

impl State {
    /// Takes over the new retained value; `false`: there is none.
    pub(crate) fn retain(&mut self, kind: Kind, hub: &Hub) -> bool {
        if !self.retained_payload.is_empty() {
            self.encoded.clear();
            encode::message(kind, &self.retained_payload, &mut self.encoded);
            let may_deflate = hub.may_deflate(&self.encoded);
            let retained = self.retained.as_mut();
            // The one before is usually nobody's any more.
            if !retained.is_some_and(|frame| frame.rewrite(&self.encoded, may_deflate)) {
                self.retained = Some(Frame::new(&self.encoded, may_deflate));
            }
            return true;
        }
        false
    }
}
