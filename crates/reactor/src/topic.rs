//! A named stream of messages, as all shards and publishers of a server share it.
//!
//! Stands between publishers and the mailboxes of the shards. A topic knows which shards have a
//! subscriber, its last sequence number and its retained value, all under one lock: so every shard
//! gets the publications of a topic in the same order, and a new subscriber gets the retained value
//! and then exactly what follows it.
//!
//! It neither finds topics by name nor publishes: that is the hub's, which fills in the state here.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tickwire_fanout::TopicKey;
use tickwire_protocol::{Kind, encode};

use crate::delivery::Delivery;
use crate::directory::Directory;
use crate::epoch::Epoch;
use crate::frame::Frame;
use crate::hub::Hub;
use crate::lag::Lagged;
use crate::latency::Class;
use crate::ring::{Keep, Ring};

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
    /// [`Delivery`], packed.
    delivery: AtomicU32,
    lagged: Policy,
}

/// What becomes of a subscriber that is too slow for a topic. It outlives the topic: who has that for a
/// pattern may be behind with it when it is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy(Arc<Mutex<Lagged>>);

/// A topic that somebody else holds, as long as they do.
pub(crate) struct WeakTopic(Weak<Inner>);

pub(crate) struct State {
    /// What the sequence numbers are of.
    epoch: Epoch,
    /// The sequence number of the last publication; 0 before the first.
    pub(crate) seq: u64,
    pub(crate) retained: Option<Frame>,
    /// The sequence number of the publication that it was retained with.
    retained_seq: u64,
    /// The last publications, if they are kept.
    pub(crate) ring: Option<Ring>,
    /// What its latencies are counted as.
    pub(crate) class: Class,
    /// Shards with a subscriber, or with a pattern that makes one once they hear of the topic.
    pub(crate) interested: Vec<usize>,
    /// Of those the ones with a subscriber that gets values.
    pub(crate) valued: Vec<usize>,
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

/// What a connection that has come back is sent; see [`Connection::resume`](crate::Connection::resume).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Resumed {
    /// All that it missed, and then what follows.
    Recovered {
        /// How many publications it missed.
        count: u64,
        /// The sequence number of the last of them: the next one has `seq + 1`.
        seq: u64,
    },
    /// Nothing of what it missed: it was not kept, the number is not one of this numbering, or it would
    /// be more than half of what the connection may have unsent. It begins anew, as with a subscription.
    Lost(Retained),
}

/// What there is for a shard whose connection has come back.
pub(crate) enum Rejoined {
    /// All publications after the number that it named, the last of which is `seq`.
    Recovered {
        missed: Vec<Frame>,
        seq: u64,
    },
    Lost(Retained),
}

impl Rejoined {
    pub(crate) const fn seq(&self) -> u64 {
        match self {
            Self::Recovered { seq, .. } => *seq,
            Self::Lost(retained) => retained.seq,
        }
    }

    /// What the handler is told, and the frames that are to be sent.
    pub(crate) fn split(self) -> (Resumed, Vec<Frame>) {
        match self {
            Self::Recovered { missed, seq } => {
                (Resumed::Recovered { count: missed.len() as u64, seq }, missed)
            }
            Self::Lost(retained) => (Resumed::Lost(retained), Vec::new()),
        }
    }
}

impl Topic {
    /// A topic that `interested` shards are told of.
    pub(crate) fn new(
        key: TopicKey,
        name: Arc<str>,
        epoch: Epoch,
        interested: Vec<usize>,
        directory: Weak<Directory>,
    ) -> Self {
        let state = Mutex::new(State {
            epoch,
            seq: 0,
            retained: None,
            retained_seq: 0,
            ring: None,
            class: Class::default(),
            interested,
            valued: Vec::new(),
            payload: Vec::new(),
            retained_payload: Vec::new(),
            encoded: Vec::new(),
        });
        let (retains, delivery) = (AtomicBool::new(false), AtomicU32::default());
        Self(Arc::new(Inner {
            key,
            name,
            state,
            retains,
            directory,
            delivery,
            lagged: Policy::default(),
        }))
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
        self.lock().held()
    }

    /// Drops what the topic retains, and keeps nothing any more. Subscribers notice nothing; sequence
    /// numbers go on, as long as somebody has the topic.
    pub fn forget(&self) {
        let mut state = self.lock();
        let forgotten = (state.retained.take(), state.ring.take());
        state.retained_seq = 0;
        self.settle(state);
        drop(forgotten);
    }

    /// Keeps the last publications from now on, so that who comes back can be given what it missed
    /// ([`Connection::resume`](crate::Connection::resume)); and the topic with them. Asked for again, the
    /// new bounds hold. The messages are not copied, but each keeps its memory for as long as it is here.
    pub fn keep(&self, keep: Keep) {
        let mut state = self.lock();
        let seq = state.seq;
        match &mut state.ring {
            Some(ring) if keep.messages > 0 && keep.bytes > 0 => ring.set(keep),
            ring => *ring = Ring::new(keep, seq),
        }
        self.settle(state);
    }

    /// Which numbering the topic's sequence numbers are of: the server's
    /// ([`Publisher::epoch`](crate::Publisher::epoch)), another one if the topic was made after topics
    /// with publications had gone, or the one that it continues. To be given to clients with the numbers.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.lock().epoch
    }

    /// Goes on with a numbering of before: the next publication has `seq + 1` in `epoch`. For those who
    /// keep both in a place that outlives the server. `false`: the topic has publications already, and
    /// nothing is changed.
    pub fn continue_from(&self, epoch: Epoch, seq: u64) -> bool {
        let state = &mut *self.lock();
        if state.seq != 0 {
            return false;
        }
        (state.epoch, state.seq) = (epoch, seq);
        if let Some(ring) = &mut state.ring {
            ring.begin_after(seq);
        }
        true
    }

    /// How those get it who subscribe from now on and do not say anything else; whoever subscribed
    /// before keeps what it has. Those with a pattern subscribe as soon as their shard has heard of the
    /// topic: to be sure of what they get they say it themselves
    /// ([`Connection::subscribe_pattern_with`](crate::Connection::subscribe_pattern_with)).
    pub fn set_delivery(&self, delivery: Delivery) {
        self.0.delivery.store(delivery.packed(), Ordering::Relaxed);
    }

    /// What [`Topic::set_delivery`] said last, [`Delivery::Distinct`] at first.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        Delivery::unpacked(self.0.delivery.load(Ordering::Relaxed))
    }

    /// What becomes of those who get every publication and are too slow for it, from now on; at first
    /// [`Lagged::default`]. A connection may have a policy of its own, which then holds.
    pub fn set_lagged(&self, policy: Lagged) {
        *self.0.lagged.lock() = policy;
    }

    /// What [`Topic::set_lagged`] said last.
    #[must_use]
    pub fn lagged(&self) -> Lagged {
        self.0.lagged.says()
    }

    pub(crate) fn key(&self) -> TopicKey {
        self.0.key
    }

    pub(crate) fn policy(&self) -> Policy {
        self.0.lagged.clone()
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.0.name)
    }

    /// The retained value and, from now on, everything after it for `shard`.
    pub(crate) fn join(&self, shard: usize) -> Retained {
        let mut state = self.lock();
        state.join(shard);
        state.held()
    }

    /// The same for a shard that gets values with the publications from now on; and the sequence number
    /// that the retained value was published with, 0 if there is none.
    pub(crate) fn join_values(&self, shard: usize) -> (Retained, u64) {
        let mut state = self.lock();
        state.join(shard);
        if !state.valued.contains(&shard) {
            state.valued.push(shard);
        }
        (state.held(), state.retained_seq)
    }

    /// As [`Topic::join`], but for all that was published after `seq`, if that can be had and is at most
    /// `room` bytes.
    ///
    /// A subscription that wants only the newest value needs nothing of what is kept: for it, any number
    /// of this epoch up to the present one is recovered by the value.
    pub(crate) fn rejoin(&self, shard: usize, epoch: Epoch, seq: u64, room: usize) -> Rejoined {
        let mut state = self.lock();
        state.join(shard);
        let ring = state.ring.as_ref().filter(|_| state.epoch == epoch);
        match ring.and_then(|ring| ring.after(seq, room)) {
            Some(missed) => Rejoined::Recovered { missed, seq: state.seq },
            None => Rejoined::Lost(state.held()),
        }
    }

    /// `shard` has no subscriber any more.
    pub(crate) fn leave(&self, shard: usize) {
        let mut state = self.lock();
        state.interested.retain(|it| *it != shard);
        state.valued.retain(|it| *it != shard);
    }

    /// `shard` has no subscriber any more that gets values.
    pub(crate) fn leave_values(&self, shard: usize) {
        self.lock().valued.retain(|it| *it != shard);
    }

    /// Takes note of whether something is retained; `true`: that is news, and the directory has to
    /// [settle](Directory::settle) it once the topic's lock is given back.
    pub(crate) fn note_retention(&self, state: &State) -> bool {
        let retains = state.retained.is_some() || state.ring.is_some();
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

    /// Gives the state back, and tells the directory if it has changed whether something is retained.
    fn settle(&self, state: MutexGuard<'_, State>) {
        let is_news = self.note_retention(&state);
        drop(state);
        if is_news && let Some(directory) = self.0.directory.upgrade() {
            directory.settle(self);
        }
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

impl Policy {
    pub(crate) fn says(&self) -> Lagged {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Lagged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeakTopic {
    pub(crate) fn upgrade(&self) -> Option<Topic> {
        self.0.upgrade().map(Topic)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.upgrade() {
            let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            directory.forget(&self.name, self.key, state.seq > 0, &state.interested);
        }
    }
}

impl State {
    fn join(&mut self, shard: usize) {
        if !self.interested.contains(&shard) {
            self.interested.push(shard);
        }
    }

    fn held(&self) -> Retained {
        Retained { seq: self.seq, frame: self.retained.clone() }
    }

    /// Takes over the new retained value; `false`: there is none.
    pub(crate) fn retain(&mut self, kind: Kind, hub: &Hub) -> bool {
        if !self.retained_payload.is_empty() {
            self.retained_seq = self.seq;
            self.encoded.clear();
            encode::message(kind, &self.retained_payload, &mut self.encoded);
            let may_deflate = hub.may_deflate(&self.encoded);
            let retained = self.retained.as_mut();
            // The one before is usually nobody's any more.
            let len = self.encoded.len();
            if !retained.is_some_and(|frame| frame.rewrite(&self.encoded, len, may_deflate)) {
                self.retained = Some(Frame::new(&self.encoded, may_deflate));
            }
            return true;
        }
        false
    }
}
