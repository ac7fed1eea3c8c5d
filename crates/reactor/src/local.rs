//! What a handler can reach of its shard: the links of all connections, the bytes gathered in this
//! turn, topics, deadlines and the time.
//!
//! Everything here is changed by the shard's thread alone, between receiving and flushing. It does
//! no input or output: what the back end must do is left in [`Local::ending`], [`Local::writable`]
//! and the gathered bytes, for the flush.

mod subscriptions;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tickwire_fanout::{TopicKey, TopicMap};
use tickwire_protocol::{CloseCode, Kind, OpCode, Role, encode};

use self::subscriptions::{Gone, Wanted};
use crate::admission::Network;
use crate::clock::{Tick, Timestamp};
use crate::connection::{Link, Stage};
use crate::deflate::{Deflate, Deflaters};
use crate::error::ConnectError;
use crate::fanouts::Fanouts;
use crate::frame::Frame;
use crate::hub::Hub;
use crate::io::Key;
use crate::lag::Policies;
use crate::latency::Recorder;
use crate::limits::Limits;
use crate::memory::{Account, Held};
use crate::metrics::Counters;
use crate::newest::NewestValues;
use crate::outbound::Gather;
use crate::patterns::Patterns;
use crate::random::Random;
use crate::table::make_room;
use crate::timer::Wheel;

/// The part of a shard that handlers work on.
pub(crate) struct Local {
    pub(crate) shard: u16,
    pub(crate) hub: Arc<Hub>,
    pub(crate) limits: Limits,
    /// When the shard began, and the instant of the present turn.
    pub(crate) start: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) tick: Tick,
    /// By slot.
    pub(crate) links: Vec<Link>,
    /// Where they come from, by slot; empty unless connections per address are limited.
    pub(crate) networks: Vec<Option<Network>>,
    /// When the lives of connections end, by slot; empty unless lives are limited.
    pub(crate) lives: Vec<Tick>,
    pub(crate) gather: Gather,
    pub(crate) fanouts: Fanouts,
    pub(crate) deflaters: Deflaters,
    /// Bytes held of what has not come whole, and of what sockets did not take.
    pub(crate) receiving: usize,
    pub(crate) unsent: Account,
    /// A message on its way through a compressor.
    encoded: Vec<u8>,
    /// Topics that a connection of this shard is subscribed to.
    topics: TopicMap<Wanted>,
    pub(crate) values: NewestValues,
    patterns: Patterns,
    pub(crate) policies: Policies,
    /// Connections of whose patterns one takes in more topics than it may.
    pub(crate) overfull: Vec<Key>,
    /// Topics that nobody has any more but those with a pattern: those whose publications may still be
    /// in the mailbox, and then those that may still be owed some.
    pub(crate) going: Vec<TopicKey>,
    gone: VecDeque<Gone>,
    pub(crate) wheel: Wheel,
    /// Asked for by the handler that is running, for the connection it was called for.
    pub(crate) close: Option<(CloseCode, String)>,
    /// The handler that is running says its last to a connection: no limit of unsent bytes ends it.
    pub(crate) is_last_word: bool,
    /// Connections that are over once they are flushed.
    pub(crate) ending: Vec<Key>,
    /// Connections whose socket has room again.
    pub(crate) writable: Vec<Key>,
    /// Connections with so much unsent that nothing is to be received from them.
    pub(crate) pausing: Vec<Key>,
    pub(crate) counters: Counters,
    /// When the first of the connections to other servers that handlers want is due: the loop does not
    /// sleep past it, and the others are not looked at in every turn.
    pub(crate) next_wish: Tick,
    /// How many they are.
    pub(crate) wishes: usize,
    /// Connections to other servers that were begun and have failed.
    pub(crate) failed: Vec<(Key, ConnectError)>,
    pub(crate) random: Random,
    /// A shutdown has begun.
    pub(crate) is_ending: bool,
    /// Connections that have become open since.
    pub(crate) latecomers: Vec<Key>,
}

impl Local {
    /// Topics that are gone and of which those who lag may be owed something. With more of them the
    /// oldest is forgotten at once, and who still was owed something of it does not get it.
    const GONE_MAX: usize = 1 << 16;

    pub(crate) fn new(
        shard: u16,
        hub: Arc<Hub>,
        limits: Limits,
        start: Timestamp,
        random: Random,
    ) -> Self {
        let deflaters = Deflaters::new(hub.deflate.unwrap_or(Deflate::shared()));
        Self {
            shard,
            hub,
            limits,
            start,
            now: start,
            tick: Tick(0),
            links: Vec::new(),
            networks: Vec::new(),
            lives: Vec::new(),
            gather: Gather::default(),
            fanouts: Fanouts::new(limits.fanout()),
            deflaters,
            receiving: 0,
            unsent: Account::default(),
            encoded: Vec::new(),
            topics: TopicMap::default(),
            values: NewestValues::default(),
            patterns: Patterns::default(),
            policies: Policies::default(),
            overfull: Vec::new(),
            going: Vec::new(),
            gone: VecDeque::new(),
            wheel: Wheel::new(),
            close: None,
            is_last_word: false,
            ending: Vec::new(),
            writable: Vec::new(),
            pausing: Vec::new(),
            counters: Counters::default(),
            next_wish: Tick::NEVER,
            wishes: 0,
            failed: Vec::new(),
            random,
            is_ending: false,
            latecomers: Vec::new(),
        }
    }

    /// Where this shard's latencies go.
    pub(crate) fn recorder(&self) -> &Recorder {
        self.hub.latencies.recorder(self.shard)
    }

    /// Ends the turn of the publications, which left at `sent_ns`.
    pub(crate) fn end_turn(&mut self, sent_ns: u64) {
        let Self { hub, fanouts, shard, .. } = self;
        fanouts.end_turn(sent_ns, hub, hub.latencies.recorder(*shard));
    }

    /// Notes that the handler wants something in `delay`, and gives the tick of that; none if as much
    /// is wanted already as may be.
    pub(crate) fn wish_after(&mut self, delay: Duration) -> Option<Tick> {
        if self.wishes >= self.limits.outgoing_waiting_max {
            return None;
        }
        self.wishes += 1;
        let at = if delay.is_zero() { self.tick } else { self.tick.after(delay) };
        self.next_wish = self.next_wish.min(at);
        Some(at)
    }

    /// Whether a connection to another server is to be begun or followed up now.
    pub(crate) fn is_dialing(&self) -> bool {
        !self.failed.is_empty() || self.next_wish <= self.tick
    }

    /// Whether this is a connection of ours that is not open yet.
    pub(crate) fn is_connecting(&mut self, key: Key) -> bool {
        self.link(key).is_some_and(|link| link.stage == Stage::Connecting)
    }

    /// The link of a connection that is still there.
    pub(crate) fn link(&mut self, key: Key) -> Option<&mut Link> {
        self.links
            .get_mut(key.index())
            .filter(|link| link.generation == key.generation && link.stage != Stage::Vacant)
    }

    /// Appends whole messages, or an HTTP answer, to what `key` is sent. Nothing if it is not there
    /// or past its Close.
    pub(crate) fn send(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        let (tick, limits) = (self.tick, &self.limits);
        let Some(link) = self.links.get_mut(key.index()) else { return };
        if link.generation != key.generation
            || !matches!(link.stage, Stage::Handshake | Stage::Connecting | Stage::Open)
        {
            return;
        }
        link.sent = tick;
        let unsent = if let Some(unsent) = &mut link.unsent {
            unsent.data(write);
            unsent.len()
        } else {
            self.gather.append(key.slot, &mut link.share, write)
        };
        if unsent > limits.unsent_pause_bytes && link.is_blocked() && !link.paused {
            link.paused = true;
            self.pausing.push(key);
        }
        if unsent > limits.unsent_max() && self.close.is_none() && !self.is_last_word {
            let reason = "too much unsent: read faster or ask for less".to_owned();
            self.close = Some((CloseCode::POLICY_VIOLATION, reason));
        }
    }

    /// Sends one message: the one place where messages to one connection are encoded. It is
    /// compressed if the connection has agreed on that.
    pub(crate) fn message(&mut self, key: Key, kind: Kind, payload: &[u8]) {
        self.counters.sent_messages += 1;
        let mask = self.mask(key);
        let Some(link) = self.links.get_mut(key.index()) else { return };
        if !link.deflates() || link.generation != key.generation || link.stage != Stage::Open {
            return match mask {
                None => self.send(key, |out| encode::message(kind, payload, out)),
                Some(mask) => {
                    self.send(key, |out| encode::masked_message(kind, mask, payload, out));
                }
            };
        }
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        match &mut link.deflater {
            Some(deflater) => {
                self.deflaters.dedicated_message(deflater, kind, mask, payload, &mut encoded);
            }
            None => self.deflaters.message(link.coding, kind, mask, payload, &mut encoded),
        }
        self.send(key, |out| out.extend_from_slice(&encoded));
        encoded.shrink_to(Limits::GATHER_BYTES);
        self.encoded = encoded;
    }

    /// Sends one message that was encoded as a server's, in the form that the connection takes.
    pub(crate) fn frame(&mut self, key: Key, frame: &Frame) {
        let link = self.links.get(key.index()).filter(|it| it.generation == key.generation);
        let Some(link) = link else { return };
        if link.role == Role::Client {
            let (kind, payload) = frame.message();
            return self.message(key, kind, payload);
        }
        self.counters.sent_messages += 1;
        let bytes = frame.coded(link.coding, &mut self.deflaters);
        self.send(key, |out| out.extend_from_slice(bytes));
    }

    /// Sends a Ping.
    pub(crate) fn ping(&mut self, key: Key, payload: &[u8]) {
        let mask = self.mask(key);
        self.control_masked(key, |_, out| encode::frame(true, OpCode::Ping, mask, payload, out));
    }

    /// The key of a frame to `key`; none where we are the server (RFC 6455 section 5.1).
    fn mask(&mut self, key: Key) -> Option<[u8; 4]> {
        match self.links.get(key.index())?.role {
            Role::Server => None,
            Role::Client => Some(self.random.mask()),
        }
    }

    /// Appends one whole control frame, ahead of messages that wait. `write` is given what draws the
    /// key that a client masks it with.
    pub(crate) fn control_masked(
        &mut self,
        key: Key,
        write: impl FnOnce(&mut dyn FnMut() -> [u8; 4], &mut Vec<u8>),
    ) {
        let Self { links, random, gather, .. } = self;
        let Some(link) = links.get_mut(key.index()) else { return };
        let write = |out: &mut Vec<u8>| write(&mut || random.mask(), out);
        match &mut link.unsent {
            Some(unsent) => unsent.control(Limits::UNSENT_CONTROL_BYTES_MAX, write),
            None => drop(gather.append(key.slot, &mut link.share, write)),
        }
    }

    /// What all connections make the shard hold, in bytes: what the budget is for.
    pub(crate) fn held_bytes(&self) -> usize {
        let own = self.receiving + self.unsent.bytes() + self.deflaters.dedicated_bytes;
        own + self.fanouts.retained_bytes()
    }

    /// What was received and held of a connection is gone.
    pub(crate) fn release(&mut self, held: Held) {
        self.receiving -= held.receiving;
        self.deflaters.dedicated_bytes -= held.inflating;
    }

    /// Sets the engine's deadline of a connection.
    pub(crate) fn set_deadline(&mut self, key: Key, after: Duration) {
        let at = self.tick.after(after);
        if let Some(link) = self.link(key) {
            link.deadline = at;
            self.arm(key);
        }
    }

    /// The peer is there: bytes have come from it, or it has taken some while none are asked of it.
    pub(crate) fn heard(&mut self, key: Key) {
        let (tick, ping_after) = (self.tick, self.limits.ping_after);
        let Some(link) = self.link(key) else { return };
        link.received = tick;
        // The deadline was that for the Pong; it moves only here, once per Ping.
        if std::mem::take(&mut link.pinged) && link.stage == Stage::Open {
            link.deadline = tick.after(ping_after);
            self.arm(key);
        }
    }

    /// Makes sure that the wheel fires for a connection no later than its next deadline.
    pub(crate) fn arm(&mut self, key: Key) {
        let Some(link) = self.link(key) else { return };
        let at = link.next_deadline();
        let at = at.min(self.life_end(key));
        self.wheel.arm(key.slot, at);
    }

    /// A WebSocket has been opened to us: if lives are limited, its begins. To be armed.
    pub(crate) fn begin_life(&mut self, key: Key) {
        let Some(life) = self.limits.life(self.counters.upgraded) else { return };
        if self.lives.len() <= key.index() {
            make_room(&mut self.lives, key.index());
            self.lives.resize(key.index() + 1, Tick::NEVER);
        }
        self.lives[key.index()] = self.tick.after(life);
    }

    /// When the life of a connection ends.
    pub(crate) fn life_end(&self, key: Key) -> Tick {
        self.lives.get(key.index()).copied().unwrap_or(Tick::NEVER)
    }

    /// Its life is over, or it is about something else that it ends.
    pub(crate) fn end_life(&mut self, key: Key) {
        if let Some(end) = self.lives.get_mut(key.index()) {
            *end = Tick::NEVER;
        }
    }
}
