//! A program that only connects to others: shards without a listener.
//!
//! The loop, the handler and the limits are those of a [`Server`](crate::Server); what is missing is
//! the door. Connections are opened from other threads with [`Client::connect`], or by the handler
//! itself, in [`Handler::start`] and wherever it has a [`Connection`](crate::Connection).

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::Config;
use crate::destination::Destination;
use crate::error::{ShardFailed, StartError};
use crate::handler::Handler;
use crate::mailbox::Mail;
use crate::publisher::Publisher;
use crate::server::{self, Handle, Server, ShardStart};

/// Shards that run and listen nowhere. Dropping it shuts them down and waits.
///
/// `S` is the handler's state of a connection.
///
/// ```
/// use tickwire_reactor::{Client, Config, Connection, Connector, Destination, Handler, Unconnected};
/// use tickwire_protocol::Message;
///
/// struct Prices;
///
/// impl Handler for Prices {
///     type State = ();
///
///     fn open(&mut self, connection: &mut Connection<'_, ()>) {
///         connection.send_text("subscribe gold");
///     }
///
///     fn message(&mut self, _connection: &mut Connection<'_, ()>, message: Message<'_>) {
///         println!("{} bytes of news", message.payload.len());
///     }
///
///     fn connect_failed(&mut self, _: &mut Connector<'_, ()>, unconnected: Unconnected<()>) {
///         println!("no news from {}: {}", unconnected.destination.host, unconnected.error);
///     }
/// }
///
/// let client = Client::start(&Config::default(), |_shard| Prices)?;
/// client.connect(Destination::resolve("ws://127.0.0.1:9/prices")?, ());
/// client.handle().shutdown();
/// client.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client<S> {
    shards: Server,
    /// Of connections asked for; they go to the shards in turn.
    count: AtomicUsize,
    state: PhantomData<fn(S)>,
}

impl<S> fmt::Debug for Client<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Client").field(&self.shards).finish()
    }
}

impl<S: Send + 'static> Client<S> {
    /// Starts as many shards as `config` says, but only one where it says 0; its `listen` is not
    /// looked at. `handler` is called once on each shard's thread to make that shard's handler.
    ///
    /// # Errors
    /// [`StartError`] when the back end cannot run or the system gives no more threads.
    pub fn start<H: Handler<State = S>>(
        config: &Config,
        handler: impl Fn(ShardStart) -> H + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let shards = server::without_listener(config)?.start(handler)?;
        Ok(Self { shards, count: AtomicUsize::new(0), state: PhantomData })
    }

    /// Opens a connection, with `state` as the handler's state of it. What comes of it is the
    /// handler's to see: [`Handler::connected`], or [`Handler::connect_failed`].
    ///
    /// Waits for room while the mailbox of the shard is full, so it is not for a shard's own thread:
    /// a handler uses [`Connection::connect`](crate::Connection::connect).
    pub fn connect(&self, destination: Destination, state: S) {
        let hub = self.shards.hub();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let state: Box<dyn Any + Send> = Box::new(state);
        let mailbox = &hub.mailboxes[count % hub.mailboxes.len()];
        hub.deliver(mailbox, Mail::Connect { destination: Box::new(destination), state });
    }

    /// A handle that sends to connections and closes them, by their names, from any thread.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(self.shards.hub()))
    }

    /// A handle for other threads: to read the counters, and to shut down.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.shards.handle()
    }

    /// Waits until the client has ended: after a shutdown, or because a shard failed.
    ///
    /// # Errors
    /// [`ShardFailed`] for the first shard that ended although it was not asked to.
    pub fn join(self) -> Result<(), ShardFailed> {
        self.shards.join()
    }
}
