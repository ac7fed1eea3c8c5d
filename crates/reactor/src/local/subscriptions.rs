//! What the connections of a shard are subscribed to, by name and by pattern.
//!
//! Stands between handlers and two others that must agree: the fan-out, which knows who is to get what
//! a topic publishes, and the topic, which knows whether this shard has anybody. What is subscribed by
//! name keeps its topic; what is subscribed for a pattern alone does not, and is gone with it.
//!
//! Invariant: the topics in [`Local::topics`] are those that somebody here is subscribed to, and each of
//! them counts this shard among those that get its publications.

use std::sync::Arc;

use tickwire_fanout::{Slot, Subscribed, TopicKey, Unsubscribed};
use tickwire_protocol::Role;

use super::Local;
use crate::connection::{Link, Stage};
use crate::epoch::Epoch;
use crate::fanouts::Audience;
use crate::frame::Frame;
use crate::io::Key;
use crate::patterns::{PatternError, prefix};
use crate::topic::{Rejoined, Retained, Topic, WeakTopic};

/// A topic that somebody on this shard is subscribed to.
pub(crate) struct Wanted {
    name: Arc<str>,
    topic: WeakTopic,
    /// Present while somebody is subscribed to it by its name.
    by_name: Option<Topic>,
}

/// A topic that is gone, whose last publications may still be owed to somebody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    topic: TopicKey,
    /// Once so many of the shard's publications are delivered nothing of it is owed any more.
    behind: u64,
}

impl Wanted {
    fn new(topic: &Topic) -> Self {
        Self { name: topic.shared_name(), topic: topic.downgrade(), by_name: None }
    }

    /// This shard has nobody any more who wants it.
    fn leave(self, shard: usize) {
        if let Some(topic) = self.by_name.or_else(|| self.topic.upgrade()) {
            topic.leave(shard);
        }
    }
}

impl Local {
    pub(crate) fn subscribe(&mut self, key: Key, topic: &Topic) -> Retained {
        // Those who have a pattern for it come first: what is on its way is theirs.
        self.take_made();
        let retained = topic.join(usize::from(self.shard));
        self.enrol(key, topic, retained.seq);
        retained
    }

    /// As [`Local::subscribe`], but if all that the topic published after `seq` can be had it is given,
    /// and what follows it is what the connection is subscribed to.
    pub(crate) fn resume(&mut self, key: Key, topic: &Topic, epoch: Epoch, seq: u64) -> Rejoined {
        if self.audience(key).is_none() {
            return Rejoined::Lost(self.subscribe(key, topic));
        }
        self.take_made();
        let room = self.room(key);
        let rejoined = topic.rejoin(usize::from(self.shard), epoch, seq, room);
        self.enrol(key, topic, rejoined.seq());
        rejoined
    }

    /// Subscribes by name to what is published after `seq`, anew if the topic is held: so that what is
    /// up to `seq` and still on its way does not come again.
    fn enrol(&mut self, key: Key, topic: &Topic, seq: u64) {
        let Some(audience) = self.audience(key) else {
            if !self.topics.contains_key(&topic.key()) {
                topic.leave(usize::from(self.shard));
            }
            return;
        };
        let fanout = &mut self.fanouts[audience];
        fanout.unsubscribe(key.slot, topic.key());
        fanout.subscribe(key.slot, topic.key(), seq);
        let held = self.topics.entry(topic.key()).or_insert_with(|| Wanted::new(topic));
        held.by_name.get_or_insert_with(|| topic.clone());
        self.patterns.release(key.slot, topic.key());
    }

    /// Subscribes to all topics that a pattern takes in, now and later; gives those that the connection
    /// did not hold before, and what they held.
    pub(crate) fn subscribe_pattern(
        &mut self,
        key: Key,
        pattern: &str,
    ) -> Result<Vec<(Topic, Retained)>, PatternError> {
        let prefix = prefix(pattern)?;
        let audience = self.audience(key).ok_or(PatternError::NoSubscriber)?;
        if self.patterns.has(key.slot, prefix) {
            return Ok(Vec::new());
        }
        let max = self.limits.patterns_per_connection_max;
        if self.patterns.count(key.slot) >= max {
            return Err(PatternError::TooManyPatterns { max });
        }
        // What was made before belongs to those who had a pattern for it before.
        self.take_made();
        let (shard, max) = (usize::from(self.shard), self.limits.pattern_topics_max);
        let watched = self.hub.directory.watch(prefix, shard, max);
        let topics = watched.ok_or(PatternError::TooManyTopics { max })?;
        self.patterns.insert(key.slot, prefix, topics.len());
        // What was made since the look above may be known from both sides; the first to come counts.
        self.take_made();
        let mut joined = Vec::new();
        for topic in topics {
            if self.fanouts[audience].is_subscribed(key.slot, topic.key()) {
                continue;
            }
            let retained = topic.join(shard);
            self.fanouts[audience].subscribe(key.slot, topic.key(), retained.seq);
            self.topics.entry(topic.key()).or_insert_with(|| Wanted::new(&topic));
            self.patterns.hold(key.slot, topic.key());
            joined.push((topic, retained));
        }
        Ok(joined)
    }

    /// Ends a subscription by name; the topic stays if a pattern takes it in.
    pub(crate) fn unsubscribe(&mut self, key: Key, topic: TopicKey) -> bool {
        let audience = self.links[key.index()].audience;
        if !self.fanouts[audience].is_subscribed(key.slot, topic)
            || self.patterns.is_only(key.slot, topic)
        {
            return false;
        }
        let name = self.topics.get(&topic).map(|held| &*held.name);
        if name.is_some_and(|name| self.patterns.covers(key.slot, name)) {
            self.patterns.hold(key.slot, topic);
            self.tend(topic);
        } else {
            self.leave(audience, key.slot, topic);
        }
        true
    }

    /// Ends a subscription to a pattern, with all topics that are held for nothing else.
    pub(crate) fn unsubscribe_pattern(&mut self, key: Key, pattern: &str) -> bool {
        let Ok(prefix) = prefix(pattern) else { return false };
        if self.link(key).is_none() || !self.patterns.has(key.slot, prefix) {
            return false;
        }
        let (held, is_last) = self.patterns.remove(key.slot, prefix);
        if is_last {
            self.hub.directory.unwatch(prefix, usize::from(self.shard));
        }
        let audience = self.links[key.index()].audience;
        for topic in held {
            let name = self.topics.get(&topic).map(|held| &*held.name);
            if name.is_none_or(|name| !self.patterns.covers(key.slot, name)) {
                self.patterns.release(key.slot, topic);
                self.leave(audience, key.slot, topic);
            }
        }
        self.patterns.tidy(key.slot);
        true
    }

    /// Ends all subscriptions: nothing published goes to `slot` any more.
    pub(crate) fn unsubscribe_all(&mut self, slot: Slot) {
        let audience = self.links[slot as usize].audience;
        let Self { fanouts, topics, patterns, shard, hub, .. } = self;
        let shard = usize::from(*shard);
        let mut others = Vec::new();
        if !patterns.is_empty() {
            others.extend(fanouts[audience].subscriptions(slot));
            patterns.forget(slot, |prefix| hub.directory.unwatch(prefix, shard));
        }
        fanouts.remove(audience, slot, |topic| {
            if let Some(held) = topics.remove(&topic) {
                held.leave(shard);
            }
        });
        for topic in others {
            self.tend(topic);
        }
    }

    /// Subscribes those who have a pattern to the topics that were made since the last look; whether
    /// there was one.
    pub(crate) fn take_made(&mut self) -> bool {
        let made = self.hub.directory.notices(usize::from(self.shard)).take_made();
        for topic in &made {
            self.take_in(topic);
        }
        !made.is_empty()
    }

    fn take_in(&mut self, topic: &Topic) {
        let mut slots = Vec::new();
        let most = self.limits.pattern_topics_max;
        self.patterns.made(topic.name(), most, |slot, is_full| slots.push((slot, is_full)));
        for (slot, is_full) in slots {
            let link = &self.links[slot as usize];
            if is_full {
                self.overfull.push(link.key(slot));
                continue;
            }
            // From its first publication: all of them are still to come to this shard.
            let fanout = &mut self.fanouts[link.audience];
            if fanout.subscribe(slot, topic.key(), 0) != Subscribed::Already {
                self.patterns.hold(slot, topic.key());
            }
        }
        if self.fanouts.is_deserted(topic.key()) {
            topic.leave(usize::from(self.shard));
        } else {
            self.topics.entry(topic.key()).or_insert_with(|| Wanted::new(topic));
        }
    }

    /// Takes note of topics that are gone, all of whose publications have been taken from the mailbox.
    pub(crate) fn note_gone(&mut self) {
        let behind = self.counters.publications;
        self.gone.extend(self.going.drain(..).map(|topic| Gone { topic, behind }));
    }

    /// Forgets topics that are gone and of which nothing is owed any more, once so many publications
    /// are delivered; and others if they are too many.
    pub(crate) fn forget_gone(&mut self, delivered: u64) {
        while let Some(gone) = self.gone.front().copied()
            && (gone.behind <= delivered || self.gone.len() > Self::GONE_MAX)
        {
            self.gone.pop_front();
            self.forget_topic(gone.topic);
        }
    }

    fn forget_topic(&mut self, topic: TopicKey) {
        let Some(held) = self.topics.remove(&topic) else { return };
        let mut slots = Vec::new();
        for audience in self.fanouts.audiences() {
            let first = slots.len();
            slots.extend(self.fanouts[audience].holders(topic));
            for slot in &slots[first..] {
                self.fanouts[audience].unsubscribe(*slot, topic);
            }
        }
        self.patterns.gone(&held.name, topic, &slots);
    }

    /// Ends one subscription, whatever it was for.
    fn leave(&mut self, audience: Audience, slot: Slot, topic: TopicKey) {
        let unsubscribed = self.fanouts[audience].unsubscribe(slot, topic);
        if unsubscribed == Unsubscribed::Last && self.fanouts.is_deserted(topic) {
            if let Some(held) = self.topics.remove(&topic) {
                held.leave(usize::from(self.shard));
            }
        } else if !self.patterns.is_empty() {
            self.tend(topic);
        }
    }

    /// Lets go of a topic that all who hold it hold for patterns alone.
    fn tend(&mut self, topic: TopicKey) {
        if let Some(held) = self.topics.get_mut(&topic)
            && self.fanouts.subscribers(topic) == self.patterns.only(topic)
        {
            held.by_name = None;
        }
    }

    /// With whom a connection that can be subscribed shares publications.
    fn audience(&mut self, key: Key) -> Option<Audience> {
        // What is published is encoded once, so it cannot be masked for each server that gets it.
        let can = |link: &&mut Link| link.stage == Stage::Open && link.role == Role::Server;
        self.link(key).filter(can).map(|link| link.audience)
    }

    /// How many bytes a connection that comes back may be sent: with them it has half of what it may
    /// have unsent, so that the rest of the turn's replies do not end it.
    fn room(&self, key: Key) -> usize {
        let max = self.limits.unsent_max();
        let Some(link) = self.links.get(key.index()) else { return 0 };
        let unsent =
            link.unsent.as_ref().map_or_else(|| self.gather.held(link.share), |it| it.len());
        (max / 2).saturating_sub(unsent)
    }

    /// What was published while a connection was away.
    pub(crate) fn send_missed(&mut self, key: Key, missed: &[Frame]) {
        for frame in missed {
            self.frame(key, frame);
        }
    }
}
