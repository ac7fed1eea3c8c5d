//! A shard's publications, once for each coding in which connections take them.
//!
//! Stands between the mailbox and the flush. Connections that take publications plain, and those
//! that agreed on permessage-deflate with the same window, are separate audiences: each has a
//! [`Fanout`] of its own, with the bytes as they go to it. So whatever the fan-out does with runs
//! and cursors knows nothing of compression, and a shard without compression has one of them.
//!
//! Invariant: a connection is in one audience for life, so it sees publications in one order.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use tickwire_fanout::{Fanout, FanoutLimits, Slot, TopicKey};

use crate::clock::Tick;
use crate::deflate::{Coding, Deflaters};
use crate::frame::Frame;
use crate::hub::Hub;
use crate::latency::{Published, Recorder, Stamps};

/// The audiences of a shard; the one without compression is first and always there.
#[derive(Debug)]
pub(crate) struct Fanouts {
    audiences: Vec<(Coding, Fanout)>,
    /// When was published what an audience was not given yet; by audience.
    stamps: Vec<Stamps>,
    limits: FanoutLimits,
}

/// Which audience a connection belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audience(u8);

impl Audience {
    /// Those who take publications uncompressed.
    pub(crate) const PLAIN: Self = Self(0);
}

impl Fanouts {
    pub(crate) fn new(limits: FanoutLimits) -> Self {
        let audiences = vec![(Coding::PLAIN, Fanout::new(limits))];
        Self { audiences, stamps: vec![Stamps::default()], limits }
    }

    /// The audience of those who take `coding`, made when it is asked for the first time.
    pub(crate) fn audience(&mut self, coding: Coding) -> Audience {
        let known = self.audiences.iter().position(|audience| audience.0 == coding);
        let index = known.unwrap_or_else(|| {
            self.audiences.push((coding, Fanout::new(self.limits)));
            self.stamps.push(Stamps::default());
            self.audiences.len() - 1
        });
        Audience(u8::try_from(index).expect("there are eight codings"))
    }

    /// All audiences.
    pub(crate) fn audiences(&self) -> impl Iterator<Item = Audience> + use<> {
        (0..).map(Audience).take(self.audiences.len())
    }

    /// Gives a publication to every audience that has a subscriber, in its coding; false if none has.
    pub(crate) fn publish(
        &mut self,
        topic: TopicKey,
        seq: u64,
        frame: &Frame,
        exclude: Option<(Audience, Slot)>,
        published: Published,
        deflaters: &mut Deflaters,
    ) -> bool {
        let mut anybody = false;
        let audiences = self.audiences.iter_mut().zip(&mut self.stamps);
        for (audience, ((coding, fanout), stamps)) in (0..).map(Audience).zip(audiences) {
            // Compressing is what costs, so it is not done for nobody. A fan-out without subscribers
            // must still hear the number: it is what a later subscriber is compared with, and what
            // those are owed who get values.
            let is_plain = audience == Audience::PLAIN || !fanout.has_subscribers(topic);
            let bytes = if is_plain { frame } else { frame.coded(*coding, deflaters) };
            let exclude = exclude.filter(|it| it.0 == audience).map(|it| it.1);
            if fanout.publish(topic, seq, bytes, exclude) {
                stamps.note(published, fanout.head());
                anybody = true;
            }
        }
        anybody
    }

    /// Records that what was published in this turn has left to those of an audience who keep up.
    pub(crate) fn sent(&self, audience: Audience, now_ns: u64, recorder: &Recorder) {
        self.stamps[usize::from(audience.0)].sent(now_ns, recorder);
    }

    /// Ends the turn, and records what nobody is owed any more. `sent_ns` is when this turn's
    /// publications left.
    pub(crate) fn end_turn(&mut self, sent_ns: u64, hub: &Hub, recorder: &Recorder) {
        for ((_, fanout), stamps) in self.audiences.iter_mut().zip(&mut self.stamps) {
            fanout.end_turn();
            if !stamps.is_empty() {
                let now_ns = || hub.clock.monotonic_ns();
                stamps.settle(fanout.delivered(), sent_ns, now_ns, recorder);
            }
        }
    }

    /// An audience, and how its bytes are coded.
    pub(crate) fn coded(&mut self, audience: Audience) -> (Coding, &mut Fanout) {
        let (coding, fanout) = &mut self.audiences[usize::from(audience.0)];
        (*coding, fanout)
    }

    /// Tells all what time it is.
    pub(crate) fn set_tick(&mut self, tick: Tick) {
        self.audiences.iter_mut().for_each(|(_, fanout)| fanout.set_tick(tick.0));
    }

    /// When somebody may be due a value without another publication.
    pub(crate) fn next_due(&self) -> Option<Tick> {
        let due = self.audiences.iter().filter_map(|(_, fanout)| fanout.next_due());
        due.map(Tick).min()
    }

    /// Tells all that a newer value of a topic is known than was published so far.
    pub(crate) fn offer(&mut self, topic: TopicKey, seq: u64) {
        self.audiences.iter_mut().for_each(|(_, fanout)| fanout.offer(topic, seq));
    }

    /// The topics of which a connection gets values.
    pub(crate) fn followed(&self, audience: Audience, slot: Slot) -> Vec<TopicKey> {
        let fanout = &self[audience];
        fanout.subscriptions(slot).filter(|topic| fanout.follows(slot, *topic)).collect()
    }

    /// How much every audience has been given to deliver so far.
    pub(crate) fn heads(&self) -> Arc<[u64]> {
        self.audiences.iter().map(|(_, fanout)| fanout.head()).collect()
    }

    /// Whether all of that is delivered. An audience that was not there then owes nothing of it.
    pub(crate) fn has_delivered(&self, heads: &[u64]) -> bool {
        let mut audiences = self.audiences.iter().zip(heads);
        audiences.all(|((_, fanout), head)| fanout.delivered() >= *head)
    }

    /// Whether nobody gets the values of a topic.
    pub(crate) fn is_without_followers(&self, topic: TopicKey) -> bool {
        self.audiences.iter().all(|(_, fanout)| !fanout.has_followers(topic))
    }

    /// Whether somebody is owed the newest value of a topic.
    pub(crate) fn is_value_owed(&self, topic: TopicKey) -> bool {
        self.audiences.iter().any(|(_, fanout)| fanout.is_value_owed(topic))
    }

    /// Values that were sent, and publications that were left out for them.
    pub(crate) fn value_counts(&self) -> (u64, u64) {
        let counts = self.audiences.iter().map(|(_, fanout)| fanout.value_counts());
        counts.fold((0, 0), |(sent, merged), it| (sent + it.given, merged + it.merged))
    }

    /// Ends all subscriptions of a connection; calls `last` with each topic that nobody holds now.
    pub(crate) fn remove(
        &mut self,
        audience: Audience,
        slot: Slot,
        mut last: impl FnMut(TopicKey),
    ) {
        // All but one audience cannot have become any emptier, and they are few.
        let (before, rest) = self.audiences.split_at_mut(usize::from(audience.0));
        let Some(((_, fanout), after)) = rest.split_first_mut() else { return };
        fanout.remove(slot, |topic| {
            if before.iter().chain(&*after).all(|(_, other)| other.subscribers(topic) == 0) {
                last(topic);
            }
        });
    }

    /// Whether nobody holds a topic.
    pub(crate) fn is_deserted(&self, topic: TopicKey) -> bool {
        self.audiences.iter().all(|(_, fanout)| fanout.subscribers(topic) == 0)
    }

    /// How many connections hold a topic.
    pub(crate) fn subscribers(&self, topic: TopicKey) -> usize {
        self.audiences.iter().map(|(_, fanout)| fanout.subscribers(topic)).sum()
    }

    /// How many connections lag.
    pub(crate) fn lagging(&self) -> usize {
        self.audiences.iter().map(|(_, fanout)| fanout.lagging().len()).sum()
    }

    /// The connections that are more than `behind` publications behind, and from which position on.
    pub(crate) fn further_behind_than(&self, behind: u64) -> Vec<(Slot, u64)> {
        let fanouts = self.audiences.iter().map(|(_, fanout)| fanout);
        let lagging = fanouts.flat_map(|fanout| fanout.lagging().map(move |slot| (fanout, slot)));
        let late = lagging.filter(|(fanout, slot)| fanout.lag_of(*slot) > behind);
        late.map(|(fanout, slot)| (slot, fanout.head() - fanout.lag_of(slot))).collect()
    }

    /// Memory of what is kept for connections that lag, of all audiences.
    pub(crate) fn retained_bytes(&self) -> usize {
        self.audiences.iter().map(|(_, fanout)| fanout.retained_bytes()).sum()
    }

    /// Divides that memory among the connections that lag.
    pub(crate) fn retained_by(&self, mut each: impl FnMut(Slot, usize)) {
        for (_, fanout) in &self.audiences {
            fanout.retained_by(&mut each);
        }
    }

    /// How many publications are kept for connections that lag, in the audience that keeps most.
    pub(crate) fn retained(&self) -> u64 {
        let retained = |(_, fanout): &(Coding, Fanout)| fanout.head() - fanout.delivered();
        self.audiences.iter().map(retained).max().unwrap_or(0)
    }

    /// The same without what only those are not given whom nobody waits for.
    pub(crate) fn awaited(&self) -> u64 {
        self.audiences.iter().map(|(_, fanout)| fanout.awaited()).max().unwrap_or(0)
    }
}

impl Index<Audience> for Fanouts {
    type Output = Fanout;

    fn index(&self, audience: Audience) -> &Fanout {
        &self.audiences[usize::from(audience.0)].1
    }
}

impl IndexMut<Audience> for Fanouts {
    fn index_mut(&mut self, audience: Audience) -> &mut Fanout {
        &mut self.audiences[usize::from(audience.0)].1
    }
}
