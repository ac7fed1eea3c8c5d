//! What others than handlers hold of a server, to publish from any thread.
//!
//! The beginning of the way of a publication: a [`Publisher`] is a reference to the hub, which encodes
//! the message and gives it to the shards. Who publishes faster than the shards take it waits here;
//! a shard's own thread never does, and goes by [`Connection::publish`](crate::Connection::publish).

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind, encode};

use crate::epoch::Epoch;
use crate::error::{Full, NotDelivered, TooManyClasses};
use crate::handler::ConnectionId;
use crate::hub::Hub;
use crate::mailbox::{Mail, Mailbox};
use crate::topic::Topic;

/// Publishes to the topics of one server from any thread.
///
/// A shard has room for so many letters ([`Limits::mailbox_letters_max`](crate::Limits)). What happens to
/// a publication for which there is none is its publisher's choice, each time: [`publish`] waits, so
/// that all that is published arrives and a publisher is slowed to its server's pace; [`try_publish`]
/// tells; [`publish_or_drop`] drops it, counted. In every case it is published to all shards with a
/// subscriber or to none, and a shard that is awake is not woken.
///
/// [`publish`]: Self::publish
/// [`try_publish`]: Self::try_publish
/// [`publish_or_drop`]: Self::publish_or_drop
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

    /// The topic of this name, made if there is none.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        self.hub.directory.topic(name)
    }

    /// How many topics there are: those that somebody has, is subscribed to, or that retain something.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.hub.directory.len()
    }

    /// What the sequence numbers of this server's topics are of; random for each start. A topic may have
    /// another one: [`Topic::epoch`](crate::Topic::epoch) is what clients are to be told.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.hub.directory.epoch
    }

    /// Publishes one message and gives its sequence number in the topic, which counts from 1. Where a
    /// shard with a subscriber has no room for it, waits until there is.
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
        let seq = self.hub.publish_waiting(topic, kind, self.now(), None, write);
        self.hub.wake();
        seq
    }

    /// As [`Publisher::publish`], but one connection does not get the message: that on whose behalf it is
    /// published, most often.
    pub fn publish_except(
        &self,
        topic: &Topic,
        kind: Kind,
        payload: &[u8],
        except: ConnectionId,
    ) -> u64 {
        let except = Some((except.shard(), except.key()));
        let write = |_, message: &mut Vec<u8>, _: &mut Vec<u8>| message.extend_from_slice(payload);
        let seq = self.hub.publish_waiting(topic, kind, self.now(), except, write);
        self.hub.wake();
        seq
    }

    /// As [`Publisher::publish`], but never waits.
    ///
    /// # Errors
    /// [`Full`] when a shard with a subscriber has no room for it: nothing was published, to no shard,
    /// and no sequence number is used.
    pub fn try_publish(&self, topic: &Topic, kind: Kind, payload: &[u8]) -> Result<u64, Full> {
        self.try_publish_with(topic, kind, |_, message, _| message.extend_from_slice(payload))
    }

    /// As [`Publisher::publish_with`], but never waits.
    ///
    /// # Errors
    /// As [`Publisher::try_publish`]; `write` has not run then.
    pub fn try_publish_with(
        &self,
        topic: &Topic,
        kind: Kind,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<u64, Full> {
        let seq = self.hub.try_publish(topic, kind, self.now(), None, write)?;
        self.hub.wake();
        Ok(seq)
    }

    /// As [`Publisher::publish`], but never waits: a message for which a shard with a subscriber has no
    /// room is dropped, for all shards. `None` then, and the shard that had no room counts it
    /// ([`Counters::publications_dropped`](crate::Counters::publications_dropped)); no sequence number is
    /// used.
    pub fn publish_or_drop(&self, topic: &Topic, kind: Kind, payload: &[u8]) -> Option<u64> {
        self.publish_or_drop_with(topic, kind, |_, message, _| message.extend_from_slice(payload))
    }

    /// As [`Publisher::publish_or_drop`], with a message that `write` makes if there is room for it.
    pub fn publish_or_drop_with(
        &self,
        topic: &Topic,
        kind: Kind,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Option<u64> {
        let seq = self.hub.publish_or_drop(topic, kind, self.now(), None, write)?;
        self.hub.wake();
        Some(seq)
    }

    /// Begins a batch: publications that shards are woken for once, when the batch ends, and not
    /// after the first of them. For a publisher that has many at hand.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch { hub: &self.hub, dated: Cell::default() }
    }

    /// Sets what new subscribers of the topic get, without publishing. `write` gets the sequence
    /// number of the last publication and the value to fill.
    pub fn retain_with(&self, topic: &Topic, kind: Kind, write: impl FnOnce(u64, &mut Vec<u8>)) {
        let mut locked = topic.lock();
        let state = &mut *locked;
        state.retained_payload.clear();
        write(state.seq, &mut state.retained_payload);
        let is_news = state.retain(kind, &self.hub) && topic.note_retention(state);
        drop(locked);
        if is_news {
            self.hub.directory.settle(topic);
        }
    }

    /// Counts the topic's latencies, from now on, as those of this class; they are told apart in
    /// [`Handle::latencies`](crate::Handle::latencies). For kinds of topics, not for single ones.
    ///
    /// # Errors
    /// [`TooManyClasses`] if it would be the 17th of the server; `default` is the first.
    pub fn set_class(&self, topic: &Topic, class: &str) -> Result<(), TooManyClasses> {
        topic.lock().class = self.hub.latencies.class(class)?;
        Ok(())
    }

    /// How many publications are on their way: published, and not yet given to the operating system
    /// for the slowest subscriber. The largest over the shards. One that was too slow and
    /// [stays all the same](crate::Lagged) does not count until it has caught up.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.hub.mailboxes.iter().map(Mailbox::outstanding).max().unwrap_or(0)
    }

    /// Waits until at most `at_most` publications are [outstanding](Self::outstanding): the way to
    /// publish as fast as the slowest subscriber takes it.
    ///
    /// # Errors
    /// [`NotDelivered`] when it is still more after `timeout`. Those who hold it up can be ended, or left
    /// behind, by [`Publisher::close_lagging`].
    pub fn wait_outstanding(&self, at_most: u64, timeout: Duration) -> Result<(), NotDelivered> {
        self.hub.progress.wait_until(timeout, || self.outstanding() <= at_most);
        match self.outstanding() {
            outstanding if outstanding <= at_most => Ok(()),
            outstanding => Err(NotDelivered { outstanding }),
        }
    }

    /// Asks every shard to end the connections that are more than `behind` publications behind now,
    /// each through [`Handler::lagged`](crate::Handler::lagged) and its
    /// policies. One that is to [skip](crate::Lagged::Skip) stays, nothing of what it is owed is left out
    /// yet, and publishers no longer wait for it.
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

    /// What a publication of now is dated.
    fn now(&self) -> u64 {
        self.hub.clock.monotonic_ns()
    }
}

/// Publications that leave together; see [`Publisher::batch`].
#[derive(Debug)]
pub struct Batch<'a> {
    hub: &'a Hub,
    /// When its latest dated publication was made, and how many may still have that date.
    dated: Cell<(u64, u32)>,
}

impl Batch<'_> {
    /// Publications between two looks at the clock, of which the later ones count as old as the first:
    /// they leave together, and one look costs a tenth of a publication.
    const DATED_ALIKE: u32 = 32;

    /// As [`Publisher::publish_with`].
    pub fn publish_with(
        &self,
        topic: &Topic,
        kind: Kind,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> u64 {
        self.hub.publish_waiting(topic, kind, self.date(), None, write)
    }

    /// As [`Publisher::try_publish_with`].
    ///
    /// # Errors
    /// As [`Publisher::try_publish`].
    pub fn try_publish_with(
        &self,
        topic: &Topic,
        kind: Kind,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<u64, Full> {
        self.hub.try_publish(topic, kind, self.date(), None, write)
    }

    /// As [`Publisher::publish_or_drop_with`].
    pub fn publish_or_drop_with(
        &self,
        topic: &Topic,
        kind: Kind,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Option<u64> {
        self.hub.publish_or_drop(topic, kind, self.date(), None, write)
    }

    fn date(&self) -> u64 {
        let (at_ns, left) = match self.dated.get() {
            (_, 0) => (self.hub.clock.monotonic_ns(), Self::DATED_ALIKE),
            dated => dated,
        };
        self.dated.set((at_ns, left - 1));
        at_ns
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.hub.wake();
    }
}
