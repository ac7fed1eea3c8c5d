//! Topics by name for the whole server, and publishing to them from any thread.
//!
//! A topic knows which shards have a subscriber, its last sequence number and its retained value,
//! all under one lock: so every shard gets the publications of a topic in the same order, and a
//! new subscriber gets the retained value and then exactly what follows it. A message is encoded
//! once, here; the shards share its bytes. A shard without a subscriber is neither written to nor
//! woken.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tickwire_fanout::TopicKey;
use tickwire_protocol::{CloseCode, Kind, encode};

use crate::admission::Admission;
use crate::config::{Balance, Config};
use crate::deflate::Deflate;
use crate::error::{Full, NotDelivered};
use crate::frame::Frame;
use crate::frames::Frames;
use crate::handler::ConnectionId;
use crate::io::Key;
use crate::loads::Loads;
use crate::mailbox::{Mail, Mailbox};
use crate::pace::Pace;

/// A named stream of messages. Cheap to clone; keep it rather than look it up by name each time.
#[derive(Clone)]
pub struct Topic(Arc<Inner>);

struct Inner {
    key: TopicKey,
    name: Box<str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The sequence number of the last publication; 0 before the first.
    seq: u64,
    retained: Option<Frame>,
    /// Shards with a subscriber.
    interested: Vec<usize>,
    /// Kept from one publication to the next so that encoding does not allocate.
    payload: Vec<u8>,
    retained_payload: Vec<u8>,
    encoded: Vec<u8>,
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

    fn lock(&self) -> MutexGuard<'_, State> {
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

/// Publishes to the topics of one server from any thread.
///
/// Waiting for room is the answer to a full mailbox: all that is published arrives, and a publisher
/// that is faster than its server is slowed to the server's pace.
#[derive(Clone)]
pub struct Publisher {
    hub: Arc<Hub>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Publisher").field("outstanding", &self.outstanding()).finish()
    }
}

impl Publisher {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// The topic of this name, made when it is asked for the first time.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        self.hub.topic(name)
    }

    /// Publishes one message and gives its sequence number in the topic, which counts from 1.
    ///
    /// # Panics
    /// On a shard's own thread it could wait for itself: use
    /// [`Connection::publish`](crate::Connection::publish) in a handler.
    pub fn publish(&self, topic: &Topic, kind: Kind, payload: &[u8]) -> u64 {
        self.publish_with(topic, kind, |_, message, _| message.extend_from_slice(payload))
    }

    /// Publishes the message that `write` makes of its sequence number.
    ///
    /// `write` gets the sequence number, the message to fill and the new retained value to fill,
    /// both empty; a retained value that stays empty leaves the old one. It runs under the topic's
    /// lock and must not use the topic.
    ///
    /// # Panics
    /// As [`Publisher::publish`].
    pub fn publish_with(
        &self,
        topic: &Topic,
        kind: Kind,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> u64 {
        let seq = self.hub.publish_waiting(topic, kind, write);
        self.hub.wake();
        seq
    }

    /// Begins a batch: publications that shards are woken for once, when the batch ends, and not
    /// after the first of them. For a publisher that has many at hand.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch { hub: &self.hub }
    }

    /// Sets what new subscribers of the topic get, without publishing. `write` gets the sequence
    /// number of the last publication and the value to fill.
    pub fn retain_with(&self, topic: &Topic, kind: Kind, write: impl FnOnce(u64, &mut Vec<u8>)) {
        let state = &mut *topic.lock();
        state.retained_payload.clear();
        write(state.seq, &mut state.retained_payload);
        state.retain(kind, &self.hub);
    }

    /// How many publications are on their way: published, and not yet given to the operating system
    /// for the slowest subscriber. The largest over the shards.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.hub.mailboxes.iter().map(Mailbox::outstanding).max().unwrap_or(0)
    }

    /// Waits until at most `at_most` publications are [outstanding](Self::outstanding): the way to
    /// publish as fast as the slowest subscriber takes it.
    ///
    /// # Errors
    /// [`NotDelivered`] when it is still more after `timeout`. Those who hold it up can be ended by
    /// [`Publisher::close_lagging`].
    pub fn wait_outstanding(&self, at_most: u64, timeout: Duration) -> Result<(), NotDelivered> {
        self.hub.progress.wait_until(timeout, || self.outstanding() <= at_most);
        match self.outstanding() {
            outstanding if outstanding <= at_most => Ok(()),
            outstanding => Err(NotDelivered { outstanding }),
        }
    }

    /// Asks every shard to end the connections that are more than `behind` publications behind now,
    /// each through [`Handler::lagged`](crate::Handler::lagged).
    pub fn close_lagging(&self, behind: u64) {
        self.hub.deliver_to_all(|| Mail::CloseLagging { behind });
    }

    /// Sends one message to one connection; nothing happens if that is gone.
    pub fn send(&self, to: ConnectionId, kind: Kind, payload: &[u8]) {
        let mut encoded = Vec::with_capacity(payload.len() + 10);
        encode::message(kind, payload, &mut encoded);
        let frame = self.hub.frame(&encoded);
        if let Some(mailbox) = self.hub.mailboxes.get(to.shard()) {
            self.hub.deliver(mailbox, Mail::Send { key: to.key(), frame });
        }
    }

    /// Closes one connection with a code and a reason; nothing happens if that is gone.
    pub fn close(&self, connection: ConnectionId, code: CloseCode, reason: &str) {
        if let Some(mailbox) = self.hub.mailboxes.get(connection.shard()) {
            let mail = Mail::Close { key: connection.key(), code, reason: reason.into() };
            self.hub.deliver(mailbox, mail);
        }
    }
}

/// Publications that leave together; see [`Publisher::batch`].
#[derive(Debug)]
pub struct Batch<'a> {
    hub: &'a Hub,
}

impl Batch<'_> {
    /// As [`Publisher::publish_with`].
    pub fn publish_with(
        &self,
        topic: &Topic,
        kind: Kind,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> u64 {
        self.hub.publish_waiting(topic, kind, write)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.hub.wake();
    }
}

/// What all shards and publishers of a server share.
pub(crate) struct Hub {
    topics: RwLock<HashMap<Box<str>, Topic>>,
    pub(crate) mailboxes: Box<[Mailbox]>,
    pub(crate) admission: Admission,
    pub(crate) progress: Progress,
    /// What publications are made of.
    frames: Frames,
    /// What the server offers of compression.
    pub(crate) deflate: Option<Deflate>,
    /// How fast connections are accepted, if that is limited.
    pub(crate) pace: Option<Pace>,
    /// Present where shards share newcomers out.
    pub(crate) loads: Option<Loads>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hub").field("mailboxes", &self.mailboxes).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub of these shards for a server as `config` says.
    pub(crate) fn new(mailboxes: Box<[Mailbox]>, config: &Config) -> Self {
        let shares_out = config.balance == Balance::LeastLoaded && mailboxes.len() > 1;
        Self {
            topics: RwLock::default(),
            admission: Admission::new(&config.limits, config.origins.clone()),
            progress: Progress::default(),
            frames: Frames::default(),
            deflate: config.deflate,
            pace: config.limits.accepts_per_second_max.map(Pace::new),
            loads: shares_out.then(|| Loads::new(mailboxes.len())),
            mailboxes,
        }
    }

    fn frame(&self, encoded: &[u8]) -> Frame {
        Frame::new(encoded, self.may_deflate(encoded))
    }

    fn may_deflate(&self, encoded: &[u8]) -> bool {
        self.deflate.is_some_and(|deflate| encoded.len() > deflate.threshold_bytes)
    }

    pub(crate) fn topic(&self, name: &str) -> Topic {
        let known = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(topic) = known {
            return topic;
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have made it between the two locks; topics are never taken out, so their
        // number is the next key.
        let next = u32::try_from(topics.len()).expect("fewer than 2^32 topics");
        topics
            .entry(name.into())
            .or_insert_with(|| {
                let state = Mutex::default();
                Topic(Arc::new(Inner { key: TopicKey(next), name: name.into(), state }))
            })
            .clone()
    }

    /// Publishes without waking anybody, unless it has to wait for room.
    fn publish_waiting(
        &self,
        topic: &Topic,
        kind: Kind,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> u64 {
        let mut write = Some(write);
        let mut once = |seq, message: &mut Vec<u8>, retained: &mut Vec<u8>| {
            if let Some(write) = write.take() {
                write(seq, message, retained);
            }
        };
        loop {
            match self.publish(topic, kind, None, &mut once) {
                Ok(seq) => return seq,
                Err(Full) => {
                    self.wake();
                    // Bounded, because a notice between the refusal and the wait would be missed.
                    self.progress.wait(Duration::from_millis(1));
                }
            }
        }
    }

    /// Wakes the shards that sleep and have mail.
    pub(crate) fn wake(&self) {
        for mailbox in &self.mailboxes {
            mailbox.wake();
        }
    }

    /// Gives the publication to every interested shard, or to none: `Full`, and `write` has not run.
    pub(crate) fn publish(
        &self,
        topic: &Topic,
        kind: Kind,
        exclude: Option<(usize, Key)>,
        write: Write<'_>,
    ) -> Result<u64, Full> {
        let state = &mut *topic.lock();
        let room = Reservation::of(&self.mailboxes, &state.interested)?;
        let seq = state.seq + 1;
        state.payload.clear();
        state.retained_payload.clear();
        // If it panics, nothing was published and the room is given back.
        write(seq, &mut state.payload, &mut state.retained_payload);
        room.use_up();
        state.seq = seq;
        state.retain(kind, self);
        if let [first @ .., last] = &*state.interested {
            state.encoded.clear();
            encode::message(kind, &state.payload, &mut state.encoded);
            let frame = self.frames.frame(&state.encoded, self.may_deflate(&state.encoded));
            let mail = |shard: usize, frame| {
                let exclude = exclude.filter(|it| it.0 == shard).map(|it| it.1);
                Mail::Publish { topic: topic.key(), seq, frame, exclude }
            };
            for shard in first {
                self.mailboxes[*shard].push_reserved(mail(*shard, frame.clone()));
            }
            self.mailboxes[*last].push_reserved(mail(*last, frame));
        }
        Ok(seq)
    }

    /// Shard `index` has ended: nobody waits for it any more.
    pub(crate) fn close(&self, index: usize) {
        self.mailboxes[index].close();
        self.progress.notify();
    }

    /// Pushes a letter to each shard, waiting for room.
    pub(crate) fn deliver_to_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in &self.mailboxes {
            self.deliver(mailbox, mail());
        }
    }

    /// Pushes a letter that is not a publication, waiting for room.
    pub(crate) fn deliver(&self, mailbox: &Mailbox, mail: Mail) {
        let mut mail = mail;
        while let Err(back) = mailbox.push(mail) {
            mail = back;
            self.progress.wait(Duration::from_millis(1));
        }
    }
}

/// Makes a message and, if it wants, a new retained value of a sequence number.
type Write<'a> = &'a mut dyn FnMut(u64, &mut Vec<u8>, &mut Vec<u8>);

/// Room for one letter in several mailboxes, given back when it is dropped unused.
struct Reservation<'a> {
    mailboxes: &'a [Mailbox],
    /// Of these shards' mailboxes the first `count` have room for us.
    shards: &'a [usize],
    count: usize,
}

impl<'a> Reservation<'a> {
    fn of(mailboxes: &'a [Mailbox], shards: &'a [usize]) -> Result<Self, Full> {
        let mut room = Self { mailboxes, shards, count: 0 };
        for shard in shards {
            if !mailboxes[*shard].reserve() {
                return Err(Full);
            }
            room.count += 1;
        }
        Ok(room)
    }

    /// Each place will be taken by `Mailbox::push_reserved`.
    fn use_up(mut self) {
        self.count = 0;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        for shard in &self.shards[..self.count] {
            self.mailboxes[*shard].release();
        }
    }
}

impl State {
    fn retain(&mut self, kind: Kind, hub: &Hub) {
        if !self.retained_payload.is_empty() {
            self.encoded.clear();
            encode::message(kind, &self.retained_payload, &mut self.encoded);
            let may_deflate = hub.may_deflate(&self.encoded);
            let retained = self.retained.as_mut();
            // The one before is usually nobody's any more.
            if !retained.is_some_and(|frame| frame.rewrite(&self.encoded, may_deflate)) {
                self.retained = Some(Frame::new(&self.encoded, may_deflate));
            }
        }
    }
}

/// Where publishers wait for shards: for room in a mailbox, or for deliveries.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    waiting: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Progress {
    /// Tells those who wait, if any, that something has moved. A shard calls it at most once a turn.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_all();
        }
    }

    fn wait(&self, timeout: Duration) {
        let mut first = true;
        self.wait_until(timeout, || !std::mem::take(&mut first));
    }

    /// Waits until `done`, for at most `timeout`. `done` is asked under the lock that `notify`
    /// takes, after this waiter has announced itself: no notice is missed.
    fn wait_until(&self, timeout: Duration, mut done: impl FnMut() -> bool) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(guard, timeout, |()| !done()));
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
