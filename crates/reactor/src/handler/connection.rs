//! What a handler may do with the connection it was called for: send, subscribe, publish, close.
//!
//! A [`Connection`] is lent for one call. What it sends is gathered in the shard and leaves when the
//! turn ends, so nothing here waits or touches the operating system; what it wants of the back end is
//! noted in [`Local`] and done by the shard afterwards.

use std::fmt;
use std::time::Duration;

use tickwire_fanout::Fanout;
use tickwire_protocol::{CloseCode, Kind, Role};

use crate::clock::{Tick, Timestamp};
use crate::connection::Stage;
use crate::connector::{Connector, Unconnected};
use crate::delivery::{Delivery, Subscription};
use crate::destination::Destination;
use crate::epoch::Epoch;
use crate::error::Full;
use crate::frame::Frame;
use crate::handler::ConnectionId;
use crate::io::Key;
use crate::lag::Lagged;
use crate::local::Local;
use crate::patterns::PatternError;
use crate::ring::Missed;
use crate::shard::Wish;
use crate::topic::{Resumed, Retained, Topic};

/// One connection, lent to a [`Handler`](crate::Handler) for one call.
///
/// Nothing here waits: what is sent is gathered, and leaves with everything else for this
/// connection when the turn ends.
///
/// `S` is what the application keeps for it, [`Handler::State`](crate::Handler::State).
pub struct Connection<'a, S = ()> {
    /// The application's state of this connection.
    pub state: &'a mut S,
    pub(crate) local: &'a mut Local,
    pub(crate) wishes: &'a mut Vec<Wish<S>>,
    pub(crate) key: Key,
    /// Which of several handlers it is lent to.
    pub(crate) handler: u16,
}

impl<S> fmt::Debug for Connection<'_, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Connection").field(&self.id()).finish()
    }
}

impl<S> Connection<'_, S> {
    /// Sends one text message.
    pub fn send_text(&mut self, text: &str) {
        self.send(Kind::Text, text.as_bytes());
    }

    /// Sends one binary message.
    pub fn send_binary(&mut self, payload: &[u8]) {
        self.send(Kind::Binary, payload);
    }

    /// Sends one message. A [`Kind::Text`] payload must be UTF-8, or the peer will fail the
    /// connection (RFC 6455 §8.1).
    pub fn send(&mut self, kind: Kind, payload: &[u8]) {
        self.local.message(self.key, kind, payload);
    }

    /// Sends a message that is already encoded, such as a retained value.
    pub fn send_frame(&mut self, frame: &Frame) {
        self.local.frame(self.key, frame);
    }

    /// Sends a Ping with up to 125 bytes of payload; more are cut off (RFC 6455 §5.5.2).
    pub fn ping(&mut self, payload: &[u8]) {
        if !self.is_open() {
            return;
        }
        let payload = &payload[..payload.len().min(125)];
        self.local.ping(self.key, payload);
    }

    /// Closes this connection with a code and a reason, which is cut to 123 bytes. What was sent
    /// before still leaves first, unless the peer has stopped reading.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.local.close.get_or_insert_with(|| (code, reason.to_owned()));
    }

    /// Calls [`Handler::timer`](crate::Handler::timer) once, at least `after` from now. A connection
    /// has one such timer: setting it again replaces it. Grain: 16 ms.
    pub fn set_timer(&mut self, after: Duration) {
        if !self.is_open() {
            return;
        }
        let at = self.local.tick.after(after);
        self.local.links[self.key.index()].timer = at;
        self.local.arm(self.key);
    }

    /// Takes the timer back.
    pub fn clear_timer(&mut self) {
        self.local.links[self.key.index()].timer = Tick::NEVER;
    }

    /// Subscribes this connection to a topic, and gives what the topic held at this instant.
    ///
    /// Every later publication will be sent, in order and once, behind whatever is sent here now:
    /// so sending `Retained::frame` makes the picture complete. Subscribing again begins the one
    /// stream anew at the present instant.
    ///
    /// A connection that we opened ourselves cannot be subscribed: publications are encoded once for
    /// all, and what goes to a server is masked for it alone (RFC 6455 §5.3). Nothing but what the
    /// topic held comes of it then; [`Connection::is_subscribed`] tells.
    ///
    /// How the topic is delivered, by publication as said here or by value, is the topic's own
    /// choice, [`Topic::set_delivery`].
    pub fn subscribe(&mut self, topic: &Topic) -> Retained {
        self.subscribe_with(topic, Subscription::default())
    }

    /// As [`Connection::subscribe`], in a way of its own.
    ///
    /// Where values are delivered, the first one that is sent is newer than [`Retained::seq`], or than
    /// [`Subscription::known`]; with that, what the topic holds needs not be sent from here.
    pub fn subscribe_with(&mut self, topic: &Topic, subscription: Subscription) -> Retained {
        self.local.subscribe(self.key, topic, subscription.mode(self.handler), subscription.known)
    }

    /// Changes how often this connection gets values of a topic, between [`Delivery::Merge`] and
    /// [`Delivery::Sampled`] of any rate. What waited for a slower rate leaves in this turn.
    ///
    /// `false` if it gets no values of the topic, or if that is what it is to become: to and from
    /// [`Delivery::Distinct`] is a new subscription, with what the topic holds.
    pub fn set_rate(&mut self, topic: &Topic, delivery: Delivery) -> bool {
        let pace = delivery.pace();
        pace.is_some_and(|pace| self.local.set_pace(self.key, topic.key(), pace))
    }

    /// What becomes of this connection when it is too slow for what it gets by publication, whatever its
    /// topics say about that; `None`: as they say, which is so at first.
    pub fn set_lagged(&mut self, policy: Option<Lagged>) {
        if self.is_open() {
            self.local.policies.set(self.key.slot, policy);
        }
    }

    /// Takes a subscription up again where it was left: the client has had everything up to publication
    /// `seq` of `epoch`, as it says.
    ///
    /// All that it missed is sent now, in order, and then what is published from now on: no gap, and
    /// nothing twice. If not all of that can be had ([`Topic::keep`]), or it is more than half of what
    /// the connection may have unsent ([`Limits::unsent_bytes_max`](crate::Limits::unsent_bytes_max)), or
    /// the number is not one of this numbering ([`Topic::epoch`]), nothing of it is sent, and the subscription begins
    /// anew as [`Connection::subscribe`] does.
    ///
    /// A connection is another one after it has come back: it gets what was
    /// [published to others](Self::publish_to_others) by the one that it was before.
    pub fn resume(&mut self, topic: &Topic, epoch: Epoch, seq: u64) -> Resumed {
        self.resume_with(topic, epoch, seq, |_, _| ())
    }

    /// As [`Connection::resume`], and calls `answer` before anything that was missed is sent: the place
    /// to tell the client what comes.
    pub fn resume_with(
        &mut self,
        topic: &Topic,
        epoch: Epoch,
        seq: u64,
        answer: impl FnOnce(&mut Self, &Resumed),
    ) -> Resumed {
        let (resumed, missed) = self.local.resume(self.key, topic, epoch, seq).split();
        answer(self, &resumed);
        self.local.send_missed(self.key, &missed);
        resumed
    }

    /// As [`Connection::resume`], but what was missed is not sent yet: it is added to `missed`, for
    /// [`Connection::send_missed`] before this call of the handler ends. The way to take up several
    /// topics and answer for all of them first. What is in `missed` counts as unsent.
    pub fn resume_into(
        &mut self,
        topic: &Topic,
        epoch: Epoch,
        seq: u64,
        missed: &mut Missed,
    ) -> Resumed {
        let (resumed, frames) = self.local.resume(self.key, topic, epoch, seq).split();
        if missed.extend(frames, self.local.room(self.key)) {
            return resumed;
        }
        Resumed::Lost(self.subscribe_with(topic, Subscription::of(Delivery::Distinct)))
    }

    /// Sends what [`Connection::resume_into`] gave.
    pub fn send_missed(&mut self, missed: Missed) {
        self.local.send_missed(self.key, missed.frames());
    }

    /// Subscribes this connection to all topics whose names begin with what stands before the `*` at the
    /// end of `pattern`: those that there are, and those that are made later, from their first
    /// publication on.
    ///
    /// Gives the topics that the connection did not hold before, and what they held at this instant, as
    /// [`Connection::subscribe`] does. What it held already goes on as it is: however many patterns take
    /// a topic in, and its own name, it is one stream. A pattern alone does not keep a topic: it is gone
    /// with the last who has it or is subscribed by its name, once all of it is delivered.
    ///
    /// A publication costs the same with and without patterns: names are compared here, and when a topic
    /// is made.
    ///
    /// # Errors
    /// [`PatternError`]; nothing is subscribed then. If a pattern takes in more than
    /// [`Limits::pattern_topics_max`](crate::Limits::pattern_topics_max) topics later, the connection is
    /// closed with 1008.
    pub fn subscribe_pattern(
        &mut self,
        pattern: &str,
    ) -> Result<Vec<(Topic, Retained)>, PatternError> {
        self.subscribe_pattern_with(pattern, Subscription::default())
    }

    /// As [`Connection::subscribe_pattern`], in a way of its own for all topics that are held for this
    /// pattern. Without [`Subscription::delivery`] each is delivered as it says itself when the connection
    /// gets it. [`Subscription::known`] means nothing here. A topic that several patterns take in is
    /// delivered as the first of them says.
    ///
    /// # Errors
    /// As [`Connection::subscribe_pattern`].
    pub fn subscribe_pattern_with(
        &mut self,
        pattern: &str,
        subscription: Subscription,
    ) -> Result<Vec<(Topic, Retained)>, PatternError> {
        self.local.subscribe_pattern(self.key, pattern, subscription.mode(self.handler))
    }

    /// Ends a subscription to a pattern; `false` if there was none. Topics stay that the connection
    /// subscribed to by their names, or that another pattern takes in.
    pub fn unsubscribe_pattern(&mut self, pattern: &str) -> bool {
        self.local.unsubscribe_pattern(self.key, pattern)
    }

    /// Ends a subscription; `false` if there was none. Nothing of the topic leaves after this, unless one
    /// of the connection's patterns takes it in: then it stays for that.
    pub fn unsubscribe(&mut self, topic: &Topic) -> bool {
        self.local.unsubscribe(self.key, topic.key())
    }

    /// Whether this connection is subscribed to a topic.
    #[must_use]
    pub fn is_subscribed(&self, topic: &Topic) -> bool {
        self.fanout().is_subscribed(self.key.slot, topic.key())
    }

    /// How many topics this connection is subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.fanout().subscriptions(self.key.slot).count()
    }

    /// Publishes one message to a topic, and gives its sequence number. It reaches the subscribers
    /// of every shard, this connection too if it is one.
    ///
    /// # Errors
    /// [`Full`] when a shard's mailbox has no room; nothing was published. A handler never waits: this
    /// shard's own mailbox is emptied only once it has returned.
    pub fn publish(&self, topic: &Topic, kind: Kind, payload: &[u8]) -> Result<u64, Full> {
        self.publish_with(topic, kind, |_, message, _| message.extend_from_slice(payload))
    }

    /// As [`Connection::publish`], with a message and a retained value that `write` makes; see
    /// [`Publisher::publish_with`](crate::Publisher::publish_with).
    ///
    /// # Errors
    /// As [`Connection::publish`]; `write` has not run then.
    pub fn publish_with(
        &self,
        topic: &Topic,
        kind: Kind,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<u64, Full> {
        let seq =
            self.local.hub.try_publish(topic, kind, self.local.now.monotonic_ns(), None, write)?;
        self.local.hub.wake();
        Ok(seq)
    }

    /// As [`Connection::publish`], but this connection does not get the message itself.
    ///
    /// # Errors
    /// As [`Connection::publish`].
    pub fn publish_to_others(
        &self,
        topic: &Topic,
        kind: Kind,
        payload: &[u8],
    ) -> Result<u64, Full> {
        let me = Some((usize::from(self.local.shard), self.key));
        let write = |_, message: &mut Vec<u8>, _: &mut Vec<u8>| message.extend_from_slice(payload);
        let seq =
            self.local.hub.try_publish(topic, kind, self.local.now.monotonic_ns(), me, write)?;
        self.local.hub.wake();
        Ok(seq)
    }

    /// As [`Connection::publish`], but a message for which there is no room is dropped and counted;
    /// `None` then. See [`Publisher::publish_or_drop`](crate::Publisher::publish_or_drop).
    pub fn publish_or_drop(&self, topic: &Topic, kind: Kind, payload: &[u8]) -> Option<u64> {
        let write = |_, message: &mut Vec<u8>, _: &mut Vec<u8>| message.extend_from_slice(payload);
        let seq = self.local.hub.publish_or_drop(
            topic,
            kind,
            self.local.now.monotonic_ns(),
            None,
            write,
        )?;
        self.local.hub.wake();
        Some(seq)
    }

    /// Opens a connection to another server, on this shard; it has nothing to do with this one.
    ///
    /// Exactly one of two calls follows: [`Handler::connected`](crate::Handler::connected) with the
    /// open WebSocket, whose state `state` is, or
    /// [`Handler::connect_failed`](crate::Handler::connect_failed) with both arguments back.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub fn connect(
        &mut self,
        destination: Destination,
        state: S,
    ) -> Result<(), Box<Unconnected<S>>> {
        self.connect_after(Duration::ZERO, destination, state)
    }

    /// As [`Connection::connect`], but not before `delay` has passed: for connecting again after an end.
    /// Grain: 16 ms.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub fn connect_after(
        &mut self,
        delay: Duration,
        destination: Destination,
        state: S,
    ) -> Result<(), Box<Unconnected<S>>> {
        let mut connector = Connector { local: self.local, wishes: self.wishes };
        connector.connect_after(delay, destination, state)
    }

    /// Which side of the protocol is ours: [`Role::Client`] if we opened this connection.
    #[must_use]
    pub fn role(&self) -> Role {
        self.local.links[self.key.index()].role
    }

    /// The name of this connection, by which a [`Publisher`](crate::Publisher) can reach it.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        ConnectionId::new(self.local.shard, self.key)
    }

    /// The index of the shard.
    #[must_use]
    pub fn shard(&self) -> usize {
        usize::from(self.local.shard)
    }

    /// The instant of the present turn.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.local.now
    }

    /// How long ago something was last sent to this connection. Grain: 16 ms.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.local.tick.since(self.local.links[self.key.index()].sent)
    }

    /// The fan-out that this connection's publications come from.
    fn fanout(&self) -> &Fanout {
        &self.local.fanouts[self.local.links[self.key.index()].audience]
    }

    /// Whether anything may still be said and called for: not in `Handler::close`.
    fn is_open(&self) -> bool {
        self.local.links[self.key.index()].stage == Stage::Open
    }
}
