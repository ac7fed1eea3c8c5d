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
use crate::destination::Destination;
use crate::error::Full;
use crate::frame::Frame;
use crate::handler::ConnectionId;
use crate::io::Key;
use crate::local::Local;
use crate::shard::Wish;
use crate::topic::{Retained, Topic};

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
    pub fn subscribe(&mut self, topic: &Topic) -> Retained {
        self.local.subscribe(self.key, topic)
    }

    /// Ends a subscription; `false` if there was none. Nothing of the topic leaves after this.
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
    /// [`Full`] when a shard's mailbox has no room; nothing was published.
    pub fn publish(&self, topic: &Topic, kind: Kind, payload: &[u8]) -> Result<u64, Full> {
        self.publish_to(topic, kind, payload, None)
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
        let me = (usize::from(self.local.shard), self.key);
        self.publish_to(topic, kind, payload, Some(me))
    }

    fn publish_to(
        &self,
        topic: &Topic,
        kind: Kind,
        payload: &[u8],
        exclude: Option<(usize, Key)>,
    ) -> Result<u64, Full> {
        let mut write = |_, message: &mut Vec<u8>, _: &mut Vec<u8>| {
            message.extend_from_slice(payload);
        };
        let seq = self.local.hub.publish(topic, kind, exclude, &mut write)?;
        self.local.hub.wake();
        Ok(seq)
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
