//! Subscriptions to the newest value: who joins, at what pace, and who is due when a turn is sealed.
//!
//! Stands beside [`turn`](crate::turn): that one finds who is due publications, this one who is due
//! values, and joins the two so that a connection is due once. It goes through the followers of the
//! topics that were published to, and through the connections that wait for their pace and whose tick
//! has come; nobody else is looked at.
//!
//! Invariant: between two turns a connection that is owed a value lags, or is looked at in a tick that
//! is at most two of its intervals away, or in the next turn. So the last value always arrives.
//! It does not render, and copies nothing.

use crate::bundle::{Bundles, DueValue, ValueCounts};
use crate::key::TopicKey;
use crate::lag::Laggards;
use crate::run::Run;
use crate::schedule::Schedule;
use crate::subscription::{Subscription, Subscriptions};
use crate::topic::{Topics, number};
use crate::turn::Marks;
use crate::value::{Follower, Newest, Pace};
use crate::{Due, Fanout, Slot, Subscribed};

/// What a shard keeps of values beside its topics.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) now: u32,
    /// Topics with followers that were published to in the running turn.
    pub(crate) changed: Vec<u32>,
    /// Connections to look at when the turn is sealed, whatever was published.
    pub(crate) looks: Vec<Slot>,
    pub(crate) schedule: Schedule,
    pub(crate) offered: Offer,
    /// Values were found to be due, or rendered, in the running turn.
    pub(crate) is_served: bool,
    /// Room for the two lists of who is due to become one.
    joined: Vec<Due>,
}

/// How a connection follows the newest value of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Sequence number of the value that it has, or gets by itself; 0 if none.
    pub sent_seq: u64,
    /// Sequence number of the newest value that is known from elsewhere than
    /// [`publish`](Fanout::publish), such as from what the process retains; 0 if none.
    pub newest_seq: u64,
    /// Handed to whoever renders; those with the same view share renderings.
    pub view: u32,
    /// The same where there are several who render: renderings are not shared between them.
    pub renderer: u16,
    /// How often it takes a value.
    pub pace: Pace,
}

/// The values that [`Fanout::owed`] gave last.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    pub(crate) slot: Slot,
    pub(crate) values: Vec<Offered>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered {
    pub(crate) topic: u32,
    pub(crate) rendering: u32,
    pub(crate) prev: u64,
    pub(crate) seq: u64,
}

impl Offer {
    pub(crate) fn begin(&mut self, slot: Slot) {
        self.slot = slot;
        self.values.clear();
    }
}

impl Fanout {
    /// Subscribes a connection to the newest value of a topic: at most one message in a turn, which
    /// [`Render`](crate::Render) makes, and none while its socket takes nothing. If the newest value is
    /// not the one that it has, it is due that in this turn.
    ///
    /// A topic that is held already, whether by publication or by value, stays as it is held.
    pub fn follow(&mut self, slot: Slot, topic: TopicKey, follow: Follow) -> Subscribed {
        let Follow { sent_seq, newest_seq, view, renderer, pace } = follow;
        let topic = self.topics.obtain(topic);
        let held = self.held_mut(slot);
        if !held.insert(Subscription { topic, after_seq: Subscription::FOLLOWS }) {
            return Subscribed::Already;
        }
        // What it gets with its subscription is not counted as a value of ours.
        let sent_at = self.values.now.wrapping_sub(2 * u32::from(Pace::TICKS_MAX));
        let state = &mut self.topics[topic];
        let first = state.is_vacant();
        let newest = state.newest.get_or_insert_default();
        newest.join(Follower { sent_seq, slot, view, sent_at, pace, renderer });
        if newest_seq > newest.seq {
            self.values.offer(newest, newest_seq);
        } else if sent_seq < newest.seq {
            self.values.looks.push(slot);
        }
        if first { Subscribed::First } else { Subscribed::Joined }
    }

    /// Tells that a topic's newest value is known from elsewhere than
    /// [`publish`](Self::publish), see [`Follow::newest_seq`]; whoever follows it is due it in this turn.
    pub fn offer(&mut self, topic: TopicKey, newest_seq: u64) {
        let newest = self.topics.number(topic).and_then(|topic| self.topics.newest_mut(topic));
        let newest = newest.map(|(_, newest)| newest);
        if let Some(newest) = newest.filter(|it| it.seq < newest_seq && !it.followers.is_empty()) {
            self.values.offer(newest, newest_seq);
        }
    }

    /// Changes how often a connection takes values of a topic; false if it does not follow it. What
    /// waits is looked at again in this turn.
    pub fn set_pace(&mut self, slot: Slot, topic: TopicKey, pace: Pace) -> bool {
        let Some(topic) = self.topics.number(topic) else { return false };
        let newest = self.topics[topic].newest.as_deref_mut();
        let Some(follower) = newest.and_then(|newest| newest.follower_mut(slot)) else {
            return false;
        };
        follower.pace = pace;
        self.values.looks.push(slot);
        true
    }

    /// The time: ticks, of any length, that count up and may wrap. It stays until it is told again.
    #[inline]
    pub fn set_tick(&mut self, now: u32) {
        self.values.now = now;
    }

    /// The first tick in which somebody may be due a value without another publication.
    pub fn next_due(&self) -> Option<u32> {
        let is_now = !self.values.looks.is_empty();
        if is_now { Some(self.values.now) } else { self.values.schedule.next() }
    }

    /// Whether a connection follows the newest value of a topic.
    pub fn follows(&self, slot: Slot, topic: TopicKey) -> bool {
        let newest = self.topics.number(topic).and_then(|topic| self.topics[topic].newest.as_ref());
        newest.is_some_and(|newest| newest.find(slot).is_ok())
    }

    /// Whether anybody holds a topic by publication.
    pub fn has_subscribers(&self, topic: TopicKey) -> bool {
        let topic = self.topics.number(topic).map(|topic| &self.topics[topic]);
        topic.is_some_and(|topic| !topic.subscribers.is_empty())
    }

    /// Whether anybody follows the newest value of a topic.
    pub fn has_followers(&self, topic: TopicKey) -> bool {
        let newest = self.topics.number(topic).and_then(|topic| self.topics[topic].newest.as_ref());
        newest.is_some_and(|newest| !newest.followers.is_empty())
    }

    /// Whether anybody who follows a topic has not got its newest value yet.
    pub fn is_value_owed(&self, topic: TopicKey) -> bool {
        let newest = self.topics.number(topic).and_then(|topic| self.topics[topic].newest.as_ref());
        newest.is_some_and(|it| it.followers.iter().any(|follower| follower.is_owed(it.seq)))
    }

    /// What became of values, from the beginning on.
    pub fn value_counts(&self) -> ValueCounts {
        self.turn.bundles.counts()
    }

    /// Bytes of memory that followers cost beside their subscriptions.
    pub fn value_bytes(&self) -> usize {
        let newest = self.topics.iter().filter_map(|topic| topic.newest.as_deref());
        let followers = newest.map(|newest| newest.followers.capacity() * size_of::<Follower>());
        followers.sum::<usize>() + self.values.schedule.memory()
    }
}

impl Values {
    /// A topic with followers was published to.
    #[cold]
    pub(crate) fn publish(&mut self, topic: u32, newest: &mut Newest, seq: u64, exclude: Slot) {
        if !std::mem::replace(&mut newest.changed, true) {
            self.changed.push(topic);
        }
        newest.seq = newest.seq.max(seq);
        // It knows what it has published.
        if let Some(follower) = newest.follower_mut(exclude) {
            follower.sent_seq = follower.sent_seq.max(seq);
        }
    }

    /// A newer value is known than was published here so far.
    fn offer(&mut self, newest: &mut Newest, seq: u64) {
        newest.seq = seq;
        let owed = newest.followers.iter().filter(|follower| follower.is_owed(seq));
        self.looks.extend(owed.map(|follower| follower.slot));
    }

    /// Whether anybody may be due a value.
    #[inline]
    pub(crate) fn is_awake(&self) -> bool {
        !self.changed.is_empty() || !self.looks.is_empty() || !self.schedule.is_empty()
    }

    /// Whether anything of the running turn is to be forgotten with it.
    #[inline]
    pub(crate) fn has_turn(&self) -> bool {
        self.is_served || !self.changed.is_empty()
    }

    /// Finds who is due a value, and joins them with those who are due publications.
    pub(crate) fn seal(
        &mut self,
        topics: &mut Topics,
        connections: &[Subscriptions],
        laggards: &Laggards,
        (due, bundles, marks): (&mut Vec<Due>, &mut Bundles, &mut Marks),
    ) {
        self.schedule.take(self.now, &mut self.looks);
        let found = &mut bundles.values;
        for &topic in &self.changed {
            let Some((_, newest)) = topics.newest_mut(topic) else { continue };
            for (place, follower) in (0..).zip(&newest.followers) {
                if follower.is_owed(newest.seq) && !laggards.contains(follower.slot) {
                    let value = DueValue { slot: follower.slot, topic, place };
                    find(follower, value, self.now, &mut self.schedule, found);
                }
            }
        }
        // Whoever pushes values in the order of the slots needs no sorting.
        let in_order = self.looks.is_empty() && self.changed.len() <= 1;
        self.look(topics, connections, laggards, found);
        if !bundles.values.is_empty() {
            self.is_served = true;
            self.join(connections.len(), in_order, due, bundles, marks);
        }
    }

    /// Has a connection that is owed a value looked at when its pace allows it.
    pub(crate) fn look_later(&mut self, follower: &Follower) {
        self.schedule.take(self.now, &mut self.looks);
        self.schedule.look(follower.next_at(), follower.slot);
    }

    /// Takes note that the turn is over.
    pub(crate) fn end_turn(&mut self, topics: &mut Topics, bundles: &mut Bundles) {
        for topic in self.changed.drain(..) {
            if let Some((_, newest)) = topics.newest_mut(topic) {
                newest.changed = false;
            }
        }
        self.is_served = false;
        self.looks.extend(bundles.uncomposed());
        self.offered.values.clear();
        bundles.clear(topics);
    }

    /// Looks at the connections whose tick has come, for topics that nothing was published to.
    fn look(
        &mut self,
        topics: &mut Topics,
        connections: &[Subscriptions],
        laggards: &Laggards,
        found: &mut Vec<DueValue>,
    ) {
        self.looks.sort_unstable();
        self.looks.dedup();
        for slot in self.looks.drain(..).filter(|&slot| !laggards.contains(slot)) {
            let held = connections.get(slot as usize).map_or(&[][..], Subscriptions::as_slice);
            for topic in held.iter().filter(|held| held.follows()).map(|held| held.topic) {
                let Some((_, newest)) = topics.newest_mut(topic) else { continue };
                let Ok(place) = newest.find(slot) else { continue };
                let follower = &newest.followers[place];
                if !newest.changed && follower.is_owed(newest.seq) {
                    let value = DueValue { slot, topic, place: number(place) };
                    find(follower, value, self.now, &mut self.schedule, found);
                }
            }
        }
    }

    /// Bundles the values of each connection, with its distinct run if it has one.
    fn join(
        &mut self,
        slots: usize,
        in_order: bool,
        due: &mut Vec<Due>,
        bundles: &mut Bundles,
        marks: &mut Marks,
    ) {
        let mut joined = Joined { distinct: std::mem::take(due), next: 0, due: &mut self.joined };
        if in_order {
            for index in 0..bundles.values.len() {
                joined.add(bundles, bundles.values[index].slot, 1);
            }
            let order = bundles.order_mut();
            (0..).zip(order).for_each(|(index, place)| *place = index);
        } else {
            marks.fit(slots);
            bundles.values.iter().for_each(|value| marks.count(value.slot));
            marks.drain(|slot, count| Some(joined.add(bundles, slot, count)));
            let values = std::mem::take(&mut bundles.values);
            let order = bundles.order_mut();
            (0..).zip(&values).for_each(|(index, value)| marks.fill(value.slot, index, order));
            values.iter().for_each(|value| marks.reset(value.slot));
            bundles.values = values;
        }
        let Joined { mut distinct, next, due: all } = joined;
        all.extend(distinct.drain(next..));
        distinct.clear();
        std::mem::swap(due, all);
        self.joined = distinct;
    }
}

/// A follower is owed: due now, or looked at when its pace allows it.
fn find(
    follower: &Follower,
    value: DueValue,
    now: u32,
    schedule: &mut Schedule,
    found: &mut Vec<DueValue>,
) {
    if follower.may_take(now) {
        found.push(value);
    } else {
        schedule.look(follower.next_at(), follower.slot);
    }
}

/// Joins two lists in slot order.
struct Joined<'a> {
    distinct: Vec<Due>,
    /// The first of `distinct` that is not joined yet.
    next: usize,
    due: &'a mut Vec<Due>,
}

impl Joined<'_> {
    /// Adds a connection that is due values, behind those before it; where its values are filled in.
    fn add(&mut self, bundles: &mut Bundles, slot: Slot, count: u32) -> u32 {
        while let Some(distinct) = self.distinct.get(self.next).filter(|due| due.slot < slot) {
            self.due.push(*distinct);
            self.next += 1;
        }
        let mut base = Run::GONE;
        if let Some(own) = self.distinct.get(self.next).filter(|due| due.slot == slot) {
            base = own.run;
            self.next += 1;
        }
        let (run, start) = bundles.reserve(base, count);
        self.due.push(Due { slot, run });
        start
    }
}
