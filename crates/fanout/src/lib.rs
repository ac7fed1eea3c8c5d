//! Publish and subscribe for one shard, as plain data: topics, one log, a cursor per slow subscriber.
//!
//! Stands between the mailbox of a shard and the sends of a turn. Publications of a turn are appended
//! to one log; when the turn is sealed it is known which connections are owed which bytes, in slot
//! order, and connections that are owed the same share one contiguous run. What a socket does not
//! take is not copied: the connection *lags*, which is a position in the log, and it reads on from
//! there when its socket takes bytes again. The log keeps what somebody still needs, up to a bound.
//!
//! Guarantees: a subscriber gets every publication of its topics once, whole and in the order in
//! which the shard took them, across all its topics; except an overrun, which is reported. Nothing
//! is stored for a subscriber that keeps up except its subscriptions. The steady state allocates
//! nothing. Frames are bytes here: no WebSocket, no socket, no clock, no thread.
//!
//! ```
//! use tickwire_fanout::{Fanout, FanoutLimits, Settled, TopicKey};
//!
//! let mut fanout = Fanout::new(FanoutLimits::default());
//! let (gold, silver) = (TopicKey(0), TopicKey(1));
//! fanout.subscribe(7, gold, 0);
//! fanout.subscribe(9, gold, 0);
//! fanout.subscribe(9, silver, 0);
//!
//! // One turn: publish, seal, send batch by batch, end.
//! fanout.publish(gold, 1, b"G1", None);
//! fanout.publish(silver, 1, b"S1", None);
//! fanout.seal();
//! let mut from = 0;
//! while from < fanout.due().len() {
//!     let batch = from..fanout.compose(from, 256, &mut |_, _| ());
//!     for index in batch.clone() {
//!         let due = fanout.due()[index];
//!         let bytes = fanout.run(due.run);
//!         assert_eq!(bytes, if due.slot == 7 { &b"G1"[..] } else { b"G1S1" });
//!     }
//!     for index in batch.clone() {
//!         // Slot 9 takes three bytes only: the reactor keeps "1", and the slot lags.
//!         let due = fanout.due()[index];
//!         match fanout.settle(due, due.slot as usize - 5 - usize::from(due.slot == 9)) {
//!             Settled::CaughtUp => assert_eq!(due.slot, 7),
//!             Settled::Lagging { rest } => assert_eq!((due.slot, rest), (9, &b"1"[..])),
//!         }
//!     }
//!     from = batch.end;
//! }
//! fanout.end_turn();
//! ```
#![forbid(unsafe_code)]

mod active;
mod bundle;
mod key;
mod lag;
mod limits;
mod log;
mod owed;
mod rendering;
mod run;
mod schedule;
mod subscription;
mod topic;
mod turn;
mod value;
mod values;

use std::fmt;

pub use crate::bundle::ValueCounts;
pub use crate::key::{KeyHasher, TopicKey, TopicMap};
pub use crate::limits::FanoutLimits;
pub use crate::run::Run;
pub use crate::value::{Pace, Render, Value};
pub use crate::values::Follow;

use crate::lag::{Laggard, Laggards, NOTHING};
use crate::log::{Log, NOBODY};
use crate::subscription::{Subscription, Subscriptions};
use crate::topic::Topics;
use crate::turn::{Shard, Turn};
use crate::values::Values;

/// A connection, by its number in the shard: dense from zero, reused after [`Fanout::remove`].
pub type Slot = u32;

/// The publish and subscribe of one shard.
///
/// A turn is: any of [`subscribe`](Self::subscribe), [`unsubscribe`](Self::unsubscribe),
/// [`publish`](Self::publish) and, for sockets that became writable, [`owed`](Self::owed) with
/// [`settle_owed`](Self::settle_owed); then [`seal`](Self::seal); then, for [`due`](Self::due),
/// [`compose`](Self::compose), [`run`](Self::run) and [`settle`](Self::settle) batch by batch; then
/// [`end_turn`](Self::end_turn) and [`next_overrun`](Self::next_overrun).
/// [`remove`](Self::remove) may come at any time.
pub struct Fanout {
    limits: FanoutLimits,
    topics: Topics,
    /// What each connection holds, by slot.
    connections: Vec<Subscriptions>,
    log: Log,
    laggards: Laggards,
    turn: Turn,
    values: Values,
    overruns: Vec<Overrun>,
}

/// A caught-up connection that is owed something in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The connection.
    pub slot: Slot,
    /// What it is owed; [`Fanout::run`] has the bytes.
    pub run: Run,
}

/// How a connection stands after a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled<'a> {
    /// It was given all that it is owed.
    CaughtUp,
    /// It lags: what it is owed from the next frame on stays in the log until
    /// [`Fanout::owed`] gives it.
    Lagging {
        /// What is missing of the frame that the send cut, which must leave before anything else;
        /// empty if the send ended between two frames.
        rest: &'a [u8],
    },
}

/// What [`Fanout::owed`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Bytes appended.
    pub bytes: usize,
    /// Whether the connection is owed more than that.
    pub more: bool,
}

/// What [`Fanout::subscribe`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// The connection holds the topic since before; nothing changed.
    Already,
    /// The connection joined others on this shard.
    Joined,
    /// The connection is the topic's first subscriber on this shard.
    First,
}

/// What [`Fanout::unsubscribe`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribed {
    /// The connection did not hold the topic; nothing changed.
    NotHeld,
    /// The connection left, others stay.
    Left,
    /// The connection was the topic's last subscriber on this shard.
    Last,
}

/// A connection that lagged until the log had to forget something that it is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The connection. It lags still, and is owed what is published from now on.
    pub slot: Slot,
    /// Publications of the shard, of whatever topic, from the first one that it lost up to now: at
    /// least one of them, and at most all, were owed to it. The exact number would cost a look at
    /// each of them for each connection, in the turn that is the busiest anyway.
    pub skipped: u64,
    /// Position of the first one that it lost; see [`Fanout::published_since`].
    pub from: u64,
}

impl Fanout {
    /// An empty shard.
    pub fn new(limits: FanoutLimits) -> Self {
        Self {
            limits,
            topics: Topics::default(),
            connections: Vec::new(),
            log: Log::default(),
            laggards: Laggards::default(),
            turn: Turn::default(),
            values: Values::default(),
            overruns: Vec::new(),
        }
    }

    /// Subscribes a connection to what is published of a topic from now on, except what has a
    /// sequence number up to `after_seq`: that much the connection knows already, from a snapshot
    /// that may be newer than what the shard has taken.
    ///
    /// A topic that is held already keeps its one stream, and its `after_seq`.
    pub fn subscribe(&mut self, slot: Slot, topic: TopicKey, after_seq: u64) -> Subscribed {
        let topic = self.topics.obtain(topic);
        let after_seq = after_seq.max(self.topics[topic].last_seq);
        if !self.held_mut(slot).insert(Subscription { topic, after_seq }) {
            return Subscribed::Already;
        }
        let state = &mut self.topics[topic];
        state.joined_seq = state.joined_seq.max(after_seq);
        let first = state.is_vacant();
        self.topics.join(topic, slot);
        if first { Subscribed::First } else { Subscribed::Joined }
    }

    /// Ends a subscription: nothing of the topic is owed any more, neither of the running turn
    /// (unless it is sealed) nor of what a connection that lags has before it.
    pub fn unsubscribe(&mut self, slot: Slot, topic: TopicKey) -> Unsubscribed {
        let held = self.connections.get_mut(slot as usize);
        let Some((held, topic)) = held.zip(self.topics.number(topic)) else {
            return Unsubscribed::NotHeld;
        };
        if !held.remove(topic) {
            return Unsubscribed::NotHeld;
        }
        let last = self.topics.leave(topic, slot, self.log.head());
        if self.laggards.contains(slot) {
            let next = self.owed_entries(slot).next();
            let cursor = next.map_or(NOTHING, |(position, _)| position);
            self.laggards.set_cursor(slot, cursor);
        }
        if last { Unsubscribed::Last } else { Unsubscribed::Left }
    }

    /// Forgets a connection that is gone: its subscriptions, its cursor, and what it is due. Its
    /// slot may be used again.
    ///
    /// `last` is called with each topic that lost its last subscriber on this shard.
    pub fn remove(&mut self, slot: Slot, mut last: impl FnMut(TopicKey)) {
        let Some(held) = self.connections.get_mut(slot as usize).map(std::mem::take) else {
            return;
        };
        for subscription in held.as_slice() {
            if self.topics.leave(subscription.topic, slot, self.log.head()) {
                last(self.topics[subscription.topic].key);
            }
        }
        self.laggards.remove(slot);
        self.overruns.retain(|overrun| overrun.slot != slot);
        if let Some(index) = self.turn.due_index(slot) {
            let run = std::mem::replace(&mut self.turn.due[index].run, Run::GONE);
            self.turn.bundles.drop(run);
        }
    }

    /// Appends a publication to the running turn; false if nobody here holds the topic, and then
    /// nothing is kept.
    ///
    /// `seq` rises with each publication of a topic; `frame` is a whole message as it goes on the
    /// wire; `exclude` is a connection that is not to get it, its own publisher for one.
    ///
    /// # Panics
    ///
    /// If the turn is sealed: what comes after belongs to the next turn. If the frame is empty.
    pub fn publish(
        &mut self,
        topic: TopicKey,
        seq: u64,
        frame: &[u8],
        exclude: Option<Slot>,
    ) -> bool {
        assert!(!self.turn.sealed, "publish comes before seal or after end_turn");
        assert!(!frame.is_empty(), "a frame has at least a header");
        let Some(topic) = self.topics.number(topic) else { return false };
        let state = &mut self.topics[topic];
        state.last_seq = seq;
        let exclude = exclude.unwrap_or(NOBODY);
        let mut is_wanted = false;
        if let Some(newest) = &mut state.newest
            && !newest.followers.is_empty()
        {
            is_wanted = true;
            self.values.publish(topic, newest, seq, exclude);
        }
        if state.subscribers.is_empty() {
            return is_wanted;
        }
        state.last_position = self.log.head();
        self.log.push(topic, seq, frame, exclude);
        self.turn.push(&mut self.topics, topic, seq, exclude);
        true
    }

    /// Closes the turn for publications and works out who is due.
    pub fn seal(&mut self) {
        let shard = Shard { topics: &self.topics, connections: &self.connections, log: &self.log };
        self.turn.seal(shard, &mut self.laggards);
        if self.values.is_awake() {
            let Turn { due, bundles, marks, .. } = &mut self.turn;
            let into = (due, bundles, marks);
            self.values.seal(&mut self.topics, &self.connections, &self.laggards, into);
        }
    }

    /// The caught-up connections that are owed something in this turn, each once, in slot order;
    /// none before [`seal`](Self::seal).
    #[inline]
    pub fn due(&self) -> &[Due] {
        &self.turn.due
    }

    /// Where a connection stands in [`due`](Self::due), found by halving.
    pub fn due_index(&self, slot: Slot) -> Option<usize> {
        self.turn.due_index(slot)
    }

    /// Makes the runs of `due()[from..end]` readable, at most `most` of them, and returns `end`:
    /// larger than `from` as long as `from` is not the end and `most` not zero.
    ///
    /// Bytes that several connections share are laid out already; a connection that is owed a
    /// mixture of its own gets a copy here, and with the next call that copy is gone. So a batch is
    /// settled before the next is composed, and a turn needs memory for one batch only: at most
    /// 1 MiB and one run.
    pub fn compose(&mut self, from: usize, most: usize, render: &mut Render<'_>) -> usize {
        let end = self.turn.compose(from, most, &self.log);
        if self.turn.bundles.is_empty() {
            return end;
        }
        let (now, of) = (self.values.now, (&mut self.topics, &self.log));
        self.turn.compose_bundles(from, end, now, of, render)
    }

    /// The bytes of a run: whole frames, in order. Empty if the connection is gone since.
    ///
    /// # Panics
    ///
    /// If the run was not composed, or another batch was since.
    #[inline]
    pub fn run(&self, run: Run) -> &[u8] {
        self.turn.bytes(run, &self.log)
    }

    /// Takes note that a socket took the first `sent` bytes of what was due.
    ///
    /// # Panics
    ///
    /// If the run was not composed, or another batch was since.
    #[inline]
    pub fn settle(&mut self, due: Due, sent: usize) -> Settled<'_> {
        let len = self.turn.len(due.run, &self.log);
        if sent >= len {
            debug_assert!(sent == len, "more was sent than was due");
            return Settled::CaughtUp;
        }
        match self.lag(due, sent) {
            Some(begun) => Settled::Lagging { rest: &self.run(due.run)[sent..begun] },
            None => Settled::CaughtUp,
        }
    }

    /// Takes note that nothing of what was due was sent: something else blocks the socket. The
    /// connection lags from the first frame on. The run need not be composed.
    pub fn hold(&mut self, due: Due) {
        self.lag(due, 0);
    }

    /// Ends the turn: forgets what nobody is owed any more, and the oldest of what is beyond the
    /// bounds of the log. Those that were owed it are overrun.
    ///
    /// Whoever is due and was not settled counts as given everything.
    ///
    /// # Panics
    ///
    /// If something was published and the turn is not sealed.
    pub fn end_turn(&mut self) {
        let quiet = self.turn.active.topics().is_empty() && self.values.changed.is_empty();
        assert!(self.turn.sealed || quiet, "seal comes before end_turn");
        if self.values.has_turn() {
            self.values.end_turn(&mut self.topics, &mut self.turn.bundles);
        }
        self.turn.clear(&mut self.topics);
        let FanoutLimits { log_entries_max, log_bytes_max, .. } = self.limits;
        let bounded = self.log.bounded_base(log_entries_max, log_bytes_max);
        if self.laggards.smallest_cursor() < bounded {
            self.overrun(bounded);
        }
        self.log.trim(self.laggards.smallest_cursor().min(self.log.head()));
        self.log.begin_turn();
        self.topics.forget_retired(self.log.base());
    }

    /// A connection that was overrun and not told of yet. To be asked after each turn until there is
    /// none.
    pub fn next_overrun(&mut self) -> Option<Overrun> {
        self.overruns.pop()
    }

    /// Whether a connection lags: it was given less than it is owed, and is not due before
    /// [`settle_owed`](Self::settle_owed) says that it is caught up.
    #[inline]
    pub fn is_lagging(&self, slot: Slot) -> bool {
        self.laggards.contains(slot)
    }

    /// The connections that lag, in no order.
    pub fn lagging(&self) -> impl ExactSizeIterator<Item = Slot> {
        self.laggards.iter().map(|laggard| laggard.slot)
    }

    /// Position of the next publication: how many this shard has taken.
    pub fn head(&self) -> u64 {
        self.log.head()
    }

    /// Position below which every connection was given everything that it is owed, or overrun; as of
    /// the last [`end_turn`](Self::end_turn). The rest of a cut frame counts as given.
    pub fn delivered(&self) -> u64 {
        self.log.base()
    }

    /// Leaves a connection that lags behind, until it is caught up: nobody waits for it, which is to say
    /// that [`awaited`](Self::awaited) does without it. It is owed what it was.
    pub fn leave_behind(&mut self, slot: Slot) {
        self.laggards.leave(slot);
    }

    /// Publications that some connection was not given yet, of those that were not left behind; as of
    /// the last [`end_turn`](Self::end_turn).
    pub fn awaited(&self) -> u64 {
        let from = self.laggards.awaited_cursor().map_or(0, |cursor| cursor.min(self.log.head()));
        self.log.head() - from.max(self.log.base())
    }

    /// How many publications of the shard, of whatever topic, a connection is behind: those from the
    /// first one on that it is owed and was not given. Zero if it is owed nothing.
    pub fn lag_of(&self, slot: Slot) -> u64 {
        match self.laggards.cursor(slot) {
            None | Some(NOTHING) => 0,
            Some(cursor) => self.log.head() - cursor,
        }
    }

    /// The topics that a connection holds by publication and that were published to at this position or
    /// later: those of which a connection that is behind from there has lost something, or may. Not looked
    /// at is whether it was the publisher of all that, or subscribed since.
    pub fn published_since(&self, slot: Slot, position: u64) -> impl Iterator<Item = TopicKey> {
        let held = self.held(slot).iter().filter(|held| !held.follows());
        let topics = held.map(|held| &self.topics[held.topic]);
        let head = self.log.head();
        let published = topics.filter(move |topic| (position..head).contains(&topic.last_position));
        published.map(|topic| topic.key)
    }

    /// Publications in the log, and the bytes of their frames.
    pub fn log_size(&self) -> (usize, usize) {
        (self.log.kept().len(), self.log.kept_bytes())
    }

    /// What the log holds for connections that lag, in bytes of memory: their frames, and what each
    /// publication costs beside its frame.
    #[inline]
    pub fn retained_bytes(&self) -> usize {
        self.log.held_bytes(self.log.base())
    }

    /// Divides those bytes among the connections that lag, and calls `each` with what falls to one: of
    /// what several of them hold back each has the same part. The parts together are
    /// [`retained_bytes`](Self::retained_bytes), less the rounding, as of the last
    /// [`end_turn`](Self::end_turn).
    pub fn retained_by(&self, mut each: impl FnMut(Slot, usize)) {
        let mut holders: Vec<(u64, Slot)> = self
            .laggards
            .iter()
            .filter(|laggard| laggard.cursor != NOTHING)
            .map(|laggard| (laggard.cursor, laggard.slot))
            .collect();
        holders.sort_unstable();
        let (mut part, mut newer) = (0, self.log.head());
        // What is newer than a cursor is shared with all that are further behind.
        for (older, (cursor, slot)) in holders.into_iter().enumerate().rev() {
            let held = self.log.held_bytes(cursor) - self.log.held_bytes(newer);
            part += held / (older + 1);
            newer = cursor;
            each(slot, part);
        }
    }

    /// The topics that a connection holds, in no order.
    pub fn subscriptions(&self, slot: Slot) -> impl ExactSizeIterator<Item = TopicKey> {
        self.held(slot).iter().map(|subscription| self.topics[subscription.topic].key)
    }

    /// Whether a connection holds a topic.
    pub fn is_subscribed(&self, slot: Slot, topic: TopicKey) -> bool {
        self.topics
            .number(topic)
            .zip(self.connections.get(slot as usize))
            .is_some_and(|(topic, held)| held.after_seq(topic).is_some())
    }

    /// How many connections of this shard hold a topic, by publication or by value.
    pub fn subscribers(&self, topic: TopicKey) -> usize {
        let topic = self.topics.number(topic).map(|topic| &self.topics[topic]);
        topic.map_or(0, |topic| topic.subscribers.len() + topic.followers())
    }

    /// The connections that hold a topic, in whatever mode, in no order.
    pub fn holders(&self, topic: TopicKey) -> impl Iterator<Item = Slot> {
        let topic = self.topics.number(topic).map(|topic| &self.topics[topic]);
        topic.into_iter().flat_map(|topic| topic.holders())
    }

    /// Makes a connection lag from the first frame on of which the socket has nothing. Returns how
    /// much of the run the frames before it are; none if the connection is gone.
    #[cold]
    fn lag(&mut self, due: Due, sent: usize) -> Option<usize> {
        if self.turn.is_gone(due.slot) {
            return None;
        }
        let (log, turn) = (&self.log, &mut self.turn);
        let base = turn.bundles.base(due.run);
        let entries = if base == Run::GONE { &[] } else { turn.runs.list(base, &turn.active) };
        let entries = entries.iter();
        let mut entries = entries.map(|&entry| (u64::from(entry), &log.turn()[entry as usize]));
        let mut begun = 0;
        while begun < sent {
            // Behind them are the values.
            let Some((_, entry)) = entries.next() else { break };
            begun += log.frame(entry).len();
        }
        let held = &self.connections[due.slot as usize];
        let next = entries.find(|(_, entry)| held.owes(due.slot, entry));
        let cursor = next.map_or(NOTHING, |(entry, _)| log.turn_start() + entry);
        self.laggards.insert(due.slot, cursor);
        Some(turn.bundles.take_back(due.run, due.slot, sent, begun, &mut self.topics))
    }

    #[cold]
    fn overrun(&mut self, base: u64) {
        for laggard in self.laggards.iter_mut().filter(|laggard| laggard.cursor < base) {
            let skipped = self.log.head() - laggard.cursor;
            let Laggard { slot, cursor: from, .. } = *laggard;
            self.overruns.push(Overrun { slot, skipped, from });
            laggard.cursor = NOTHING;
        }
    }

    fn held_mut(&mut self, slot: Slot) -> &mut Subscriptions {
        if slot as usize >= self.connections.len() {
            self.connections.resize(slot as usize + 1, Subscriptions::None);
        }
        &mut self.connections[slot as usize]
    }

    fn held(&self, slot: Slot) -> &[Subscription] {
        self.connections.get(slot as usize).map_or(&[], Subscriptions::as_slice)
    }
}

impl fmt::Debug for Fanout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Fanout")
            .field("limits", &self.limits)
            .field("connections", &self.connections.len())
            .field("log", &(self.log.base()..self.log.head()))
            .field("lagging", &self.laggards.iter().len())
            .field("due", &self.turn.due.len())
            .finish_non_exhaustive()
    }
}
