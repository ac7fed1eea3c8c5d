//! What the connections of a shard are subscribed to, by name and by pattern.
//!
//! Stands between handlers and two others that must agree: the fan-out, which knows who is to get what
//! a topic publishes, and the topic, which knows whether this shard has anybody. What is subscribed by
//! name keeps its topic; what is subscribed for a pattern alone does not, and is gone with it.
//!
//! Invariant: the topics in [`Local::topics`] are those that somebody here is subscribed to, and each of
//! them counts this shard among those that get its publications.

use std::sync::Arc;

use tickwire_fanout::{Follow, Pace, Slot, TopicKey, Unsubscribed};
use tickwire_protocol::Role;

use super::Local;
use crate::connection::{Link, Stage};
use crate::delivery::{Mode, Subscription};
use crate::epoch::Epoch;
use crate::fanouts::Audience;
use crate::frame::Frame;
use crate::io::Key;
use crate::lag::Lost;
use crate::patterns::{PatternError, prefix};
use crate::topic::{Policy, Rejoined, Retained, Topic, WeakTopic};

/// A topic that somebody on this shard is subscribed to.
pub(crate) struct Wanted {
    name: Arc<str>,
    topic: WeakTopic,
    /// Present while somebody is subscribed to it by its name.
    by_name: Option<Topic>,
    policy: Policy,
}

/// A topic that is gone, whose last publications may still be owed to somebody.
#[derive(Clone, Debug)]
pub(crate) struct Gone {
    topic: TopicKey,
    /// Once every audience is given everything up to here nothing of it is owed any more.
    behind: Arc<[u64]>,
}

impl Wanted {
    fn new(topic: &Topic) -> Self {
        let (name, policy) = (topic.shared_name(), topic.policy());
        Self { name, topic: topic.downgrade(), by_name: None, policy }
    }

    /// The topic, unless it is gone.
    fn topic(&self) -> Option<Topic> {
        self.by_name.clone().or_else(|| self.topic.upgrade())
    }

    /// This shard has nobody any more who wants it.
    fn leave(self, shard: usize) {
        if let Some(topic) = self.topic() {
            topic.leave(shard);
        }
    }
}

impl Local {
    /// Subscribes by name, anew if the topic is held already. `known`: the value that the peer has.
    pub(crate) fn subscribe(
        &mut self,
        key: Key,
        topic: &Topic,
        mode: Mode,
        known: Option<u64>,
    ) -> Retained {
        let Some(audience) = self.audience(key) else { return topic.retained() };
        // Those who have a pattern for it come first: what is on its way is theirs.
        self.take_made();
        let retained = match mode.pace(topic) {
            None => self.begin(audience, key.slot, topic, None),
            Some(pace) => self.follow(audience, key.slot, topic, (mode, pace), known),
        };
        self.hold_by_name(key.slot, topic);
        retained
    }

    /// As [`Local::subscribe`], but if all that the topic published after `seq` can be had it is given,
    /// and what follows it is what the connection is subscribed to.
    pub(crate) fn resume(&mut self, key: Key, topic: &Topic, epoch: Epoch, seq: u64) -> Rejoined {
        let Some(audience) = self.audience(key) else { return Rejoined::Lost(topic.retained()) };
        self.take_made();
        let room = self.room(key);
        let rejoined = topic.rejoin(usize::from(self.shard), epoch, seq, room);
        self.begin(audience, key.slot, topic, Some(rejoined.seq()));
        self.hold_by_name(key.slot, topic);
        rejoined
    }

    /// Begins a stream of publications, anew if the topic is held: so that what is up to the number after
    /// which it begins, and still on its way, does not come again. Without `after` it begins now.
    fn begin(
        &mut self,
        audience: Audience,
        slot: Slot,
        topic: &Topic,
        after: Option<u64>,
    ) -> Retained {
        let retained = topic.join(usize::from(self.shard));
        let fanout = &mut self.fanouts[audience];
        fanout.unsubscribe(slot, topic.key());
        fanout.subscribe(slot, topic.key(), after.unwrap_or(retained.seq));
        self.topics.entry(topic.key()).or_insert_with(|| Wanted::new(topic));
        self.end_values(topic.key());
        retained
    }

    /// Begins a stream of values, anew if the topic is held.
    fn follow(
        &mut self,
        audience: Audience,
        slot: Slot,
        topic: &Topic,
        (mode, pace): (Mode, Pace),
        known: Option<u64>,
    ) -> Retained {
        let (retained, retained_seq) = topic.join_values(usize::from(self.shard));
        let newest_seq = self.values.begin(topic, retained_seq, retained.frame.as_ref());
        self.fanouts.offer(topic.key(), newest_seq);
        let Mode { view, renderer, .. } = mode;
        let sent_seq = known.unwrap_or(retained.seq);
        let follow = Follow { sent_seq, newest_seq, view, renderer, pace };
        let fanout = &mut self.fanouts[audience];
        fanout.unsubscribe(slot, topic.key());
        fanout.follow(slot, topic.key(), follow);
        self.topics.entry(topic.key()).or_insert_with(|| Wanted::new(topic));
        retained
    }

    fn hold_by_name(&mut self, slot: Slot, topic: &Topic) {
        if let Some(held) = self.topics.get_mut(&topic.key()) {
            held.by_name.get_or_insert_with(|| topic.clone());
        }
        self.patterns.release(slot, topic.key());
    }

    /// Changes how often a connection gets values of a topic; `false`: it does not get values.
    pub(crate) fn set_pace(&mut self, key: Key, topic: TopicKey, pace: Pace) -> bool {
        let audience = self.links[key.index()].audience;
        self.fanouts[audience].set_pace(key.slot, topic, pace)
    }

    /// The topics that a connection is behind with from a position of its log on, and what is to become
    /// of it for that.
    pub(crate) fn lost_topics(&self, key: Key, from: u64) -> Vec<Lost> {
        let audience = self.links[key.index()].audience;
        let own = self.policies.get(key.slot);
        let topics = self.fanouts[audience].published_since(key.slot, from);
        let held = topics.filter_map(|topic| Some((topic, self.topics.get(&topic)?)));
        let lost = held.map(|(topic, held)| {
            let policy = own.unwrap_or_else(|| held.policy.says());
            Lost { topic, name: Arc::clone(&held.name), policy }
        });
        lost.collect()
    }

    /// What a connection gets by publication it gets by value from now on; `false`: there is no value of
    /// the topic.
    pub(crate) fn merge_from_here(&mut self, key: Key, topic: TopicKey, renderer: u16) -> bool {
        let audience = self.links[key.index()].audience;
        let topic = self.topics.get(&topic).and_then(Wanted::topic);
        let Some(topic) = topic.filter(|it| it.retained().frame.is_some()) else { return false };
        if !self.fanouts[audience].is_subscribed(key.slot, topic.key()) {
            return false;
        }
        let mode = Subscription::default().mode(renderer);
        self.follow(audience, key.slot, &topic, (mode, Pace::EVERY_TURN), Some(0));
        true
    }

    /// Forgets the value of a topic that nobody gets values of any more.
    fn end_values(&mut self, topic: TopicKey) {
        if !self.values.is_empty()
            && self.fanouts.is_without_followers(topic)
            && let Some(topic) = self.values.end(topic).and_then(|topic| topic.upgrade())
        {
            topic.leave_values(usize::from(self.shard));
        }
    }

    /// Subscribes to all topics that a pattern takes in, now and later; gives those that the connection
    /// did not hold before, and what they held.
    pub(crate) fn subscribe_pattern(
        &mut self,
        key: Key,
        pattern: &str,
        mode: Mode,
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
        self.patterns.insert(key.slot, prefix, topics.len(), mode);
        // What was made since the look above may be known from both sides; the first to come counts.
        self.take_made();
        let mut joined = Vec::new();
        for topic in topics {
            if self.fanouts[audience].is_subscribed(key.slot, topic.key()) {
                continue;
            }
            let retained = match mode.pace(&topic) {
                None => self.begin(audience, key.slot, &topic, None),
                Some(pace) => self.follow(audience, key.slot, &topic, (mode, pace), None),
            };
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
        let Self { fanouts, topics, values, patterns, shard, hub, .. } = self;
        let shard = usize::from(*shard);
        let mut others = Vec::new();
        let mut followed = Vec::new();
        if !values.is_empty() {
            followed = fanouts.followed(audience, slot);
        }
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
        for topic in followed {
            self.end_values(topic);
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
            let audience = link.audience;
            let Some(mode) = self.patterns.mode(slot, topic.name()) else { continue };
            if self.fanouts[audience].is_subscribed(slot, topic.key()) {
                continue;
            }
            // From its first publication: all of them are still to come to this shard, or the newest of
            // them is what the topic retains.
            match mode.pace(topic) {
                None => self.begin(audience, slot, topic, Some(0)),
                Some(pace) => self.follow(audience, slot, topic, (mode, pace), Some(0)),
            };
            self.patterns.hold(slot, topic.key());
        }
        if self.fanouts.is_deserted(topic.key()) {
            topic.leave(usize::from(self.shard));
        } else {
            self.topics.entry(topic.key()).or_insert_with(|| Wanted::new(topic));
        }
    }

    /// Takes note of topics that are gone, all of whose publications have been taken from the mailbox.
    pub(crate) fn note_gone(&mut self) {
        if self.going.is_empty() {
            return;
        }
        let behind = self.fanouts.heads();
        let gone = |topic| Gone { topic, behind: Arc::clone(&behind) };
        self.gone.extend(self.going.drain(..).map(gone));
    }

    /// Forgets topics that are gone and of which nothing is owed any more; and others if they are too
    /// many.
    pub(crate) fn forget_gone(&mut self) {
        while let Some(gone) = self.gone.front() {
            let topic = gone.topic;
            let is_owed =
                !self.fanouts.has_delivered(&gone.behind) || self.fanouts.is_value_owed(topic);
            if is_owed && self.gone.len() <= Self::GONE_MAX {
                return;
            }
            self.gone.pop_front();
            self.forget_topic(topic);
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
        self.end_values(topic);
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
        self.end_values(topic);
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
    pub(crate) fn room(&self, key: Key) -> usize {
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
