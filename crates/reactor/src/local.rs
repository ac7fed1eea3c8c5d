//! What a handler can reach of its shard: the links of all connections, the bytes gathered in this
//! turn, topics, deadlines and the time.
//!
//! Everything here is changed by the shard's thread alone, between receiving and flushing. It does
//! no input or output: what the back end must do is left in [`Local::ending`], [`Local::writable`]
//! and the gathered bytes, for the flush.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tickwire_fanout::{Fanout, Subscribed, TopicKey, Unsubscribed};
use tickwire_protocol::CloseCode;

use crate::admission::Network;
use crate::clock::{Tick, Timestamp};
use crate::connection::{Link, Stage};
use crate::hub::{Hub, Retained, Topic};
use crate::io::Key;
use crate::limits::Limits;
use crate::metrics::Counters;
use crate::outbound::Gather;
use crate::timer::Wheel;

/// The part of a shard that handlers work on.
pub(crate) struct Local<S> {
    pub(crate) shard: u16,
    pub(crate) hub: Arc<Hub>,
    pub(crate) limits: Limits,
    /// When the shard began, and the instant of the present turn.
    pub(crate) start: Timestamp,
    pub(crate) now: Timestamp,
    pub(crate) tick: Tick,
    /// By slot.
    pub(crate) links: Vec<Link<S>>,
    /// Where they come from, by slot; empty unless connections per address are limited.
    pub(crate) networks: Vec<Option<Network>>,
    pub(crate) gather: Gather,
    pub(crate) fanout: Fanout,
    /// Topics that a connection of this shard is subscribed to.
    topics: HashMap<TopicKey, Topic>,
    pub(crate) wheel: Wheel,
    /// Asked for by the handler that is running, for the connection it was called for.
    pub(crate) close: Option<(CloseCode, String)>,
    /// Connections that are over once they are flushed.
    pub(crate) ending: Vec<Key>,
    /// Connections whose socket has room again.
    pub(crate) writable: Vec<Key>,
    /// Connections with so much unsent that nothing is to be received from them.
    pub(crate) pausing: Vec<Key>,
    pub(crate) counters: Counters,
}

impl<S> Local<S> {
    pub(crate) fn new(shard: u16, hub: Arc<Hub>, limits: Limits, start: Timestamp) -> Self {
        let fanout = Fanout::new(limits.fanout());
        Self {
            shard,
            hub,
            limits,
            start,
            now: start,
            tick: Tick(0),
            links: Vec::new(),
            networks: Vec::new(),
            gather: Gather::default(),
            fanout,
            topics: HashMap::new(),
            wheel: Wheel::new(),
            close: None,
            ending: Vec::new(),
            writable: Vec::new(),
            pausing: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// The link of a connection that is still there.
    pub(crate) fn link(&mut self, key: Key) -> Option<&mut Link<S>> {
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
            || !matches!(link.stage, Stage::Handshake | Stage::Open)
        {
            return;
        }
        link.sent = tick;
        let unsent = if let Some(unsent) = &mut link.unsent {
            unsent.data(write);
            unsent.len()
        } else {
            self.gather.append(key.slot, &mut link.segment, write);
            link.segment.len()
        };
        if unsent > limits.unsent_pause_bytes && link.is_blocked() && !link.paused {
            link.paused = true;
            self.pausing.push(key);
        }
        if unsent > limits.unsent_max() && self.close.is_none() {
            let reason = "too much unsent: read faster or ask for less".to_owned();
            self.close = Some((CloseCode::POLICY_VIOLATION, reason));
        }
    }

    /// Appends one whole control frame, ahead of messages that wait.
    pub(crate) fn control(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(link) = self.links.get_mut(key.index()) else { return };
        match &mut link.unsent {
            Some(unsent) => unsent.control(Limits::UNSENT_CONTROL_BYTES_MAX, write),
            None => self.gather.append(key.slot, &mut link.segment, write),
        }
    }

    pub(crate) fn subscribe(&mut self, key: Key, topic: &Topic) -> Retained {
        let retained = topic.join(usize::from(self.shard));
        // Anew, so that what is in the retained value and still on its way is not sent again.
        self.fanout.unsubscribe(key.slot, topic.key());
        if self.link(key).is_some_and(|link| link.stage == Stage::Open) {
            let subscribed = self.fanout.subscribe(key.slot, topic.key(), retained.seq);
            if subscribed == Subscribed::First {
                self.topics.insert(topic.key(), topic.clone());
            }
        } else if !self.topics.contains_key(&topic.key()) {
            topic.leave(usize::from(self.shard));
        }
        retained
    }

    pub(crate) fn unsubscribe(&mut self, key: Key, topic: TopicKey) -> bool {
        let unsubscribed = self.fanout.unsubscribe(key.slot, topic);
        if unsubscribed == Unsubscribed::Last
            && let Some(topic) = self.topics.remove(&topic)
        {
            topic.leave(usize::from(self.shard));
        }
        unsubscribed != Unsubscribed::NotHeld
    }

    /// Ends all subscriptions: nothing published goes to `slot` any more.
    pub(crate) fn unsubscribe_all(&mut self, slot: u32) {
        let Self { fanout, topics, shard, .. } = self;
        fanout.remove(slot, |topic| {
            if let Some(topic) = topics.remove(&topic) {
                topic.leave(usize::from(*shard));
            }
        });
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
        if at < link.armed {
            link.armed = at;
            self.wheel.arm(key, at);
        }
    }
}
