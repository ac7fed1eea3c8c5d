//! How a server comes about: options, routes, then a socket, then shards that serve.
//!
//! [`Builder`] gathers what the application wants and touches nothing; whatever is wrong in it is told
//! by [`Builder::bind`], in words. The options are a [`Config`], the one home of each.
//!
//! Invariant: when `bind` has succeeded the port is taken, and clients that connect wait in the kernel's
//! queue until [`Bound::start`].

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;

use tickwire_protocol::Message;

use crate::config::{BackendChoice, Balance, Config, Steering};
use crate::deflate::Deflate;
use crate::error::{Error, StartError};
use crate::handler::{Connection, Handler, Request, Response};
use crate::io::sim::Simulation;
use crate::limits::Limits;
use crate::origin::Origins;
use crate::publisher::Publisher;
use crate::route::{Both, File, Nobody, OnMessage, Router, Table, Target};
use crate::server::{self, Server, ShardStart, Unstarted};
#[cfg(feature = "tls")]
use crate::transport::{Tls, Trust};

/// A server that is being put together; made by [`Server::builder`].
///
/// ```
/// use tickwire_reactor::{Response, Server};
///
/// let server = Server::builder()
///     .listen("127.0.0.1:0")
///     .file("/", Response::html("<!doctype html><title>Echo</title>"))
///     .on_message("/echo", |connection, message| connection.send(message.kind, message.payload))
///     .start()?;
/// println!("http://{}/", server.local_addr());
/// # Ok::<(), tickwire_reactor::Error>(())
/// ```
///
/// `H` is what the handlers of all routes are together; nobody needs to write it down.
#[must_use = "a builder does nothing before it is started"]
pub struct Builder<H = Nobody> {
    config: Config,
    /// Sockets that listen already; empty: those of the address.
    inherited: Vec<TcpListener>,
    /// The first thing that is wrong.
    fault: Option<StartError>,
    table: Table,
    handlers: Make<H>,
}

/// Makes the handlers of a shard.
type Make<H> = Arc<dyn Fn(ShardStart) -> H + Send + Sync>;

impl<H> fmt::Debug for Builder<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Builder")
            .field("config", &self.config)
            .field("routes", &self.table)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            inherited: Vec::new(),
            fault: None,
            table: Table::default(),
            handlers: Arc::new(|_| Nobody),
        }
    }
}

/// Options, each that of [`Config`].
impl<H: Handler> Builder<H> {
    /// All options at once, for a program that reads its configuration; those that were set before are
    /// forgotten.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The address to listen on, such as `127.0.0.1:9001`, `[::]:9001` or `localhost:9001`. Port 0 lets
    /// the system choose, and so does a server that does not say, on 127.0.0.1.
    pub fn listen(mut self, address: impl ToSocketAddrs + fmt::Display) -> Self {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        match address.to_socket_addrs().and_then(|mut all| all.next().ok_or_else(none)) {
            Ok(address) => self.config.listen = address,
            Err(source) => {
                let given = address.to_string();
                self.fault.get_or_insert(StartError::Address { given, source });
            }
        }
        self
    }

    /// Serves sockets that listen already, such as those of the server that this one follows
    /// ([`Bound::listeners`]), or of a service manager. What waits in their queues is served. The address
    /// is not looked at; shards are as many as [`Builder::shards`] says, and no fewer than there are
    /// sockets where it says 0. Fewer sockets than shards are shared by several, which costs each of those
    /// a wake for each connection. No sockets: as if this had not been said.
    pub fn inherit(mut self, listeners: Vec<TcpListener>) -> Self {
        self.inherited = listeners;
        self
    }

    /// How many shards, each with a thread of its own; 0, the default: one for each core that this
    /// process may use.
    pub const fn shards(mut self, shards: usize) -> Self {
        self.config.shards = shards;
        self
    }

    /// What to wait for events with.
    pub const fn backend(mut self, backend: BackendChoice) -> Self {
        self.config.backend = backend;
        self
    }

    /// Keeps each shard's thread on one core.
    pub const fn pin(mut self, pin: bool) -> Self {
        self.config.pin = pin;
        self
    }

    /// Whether a connection goes to the shard of the core that it arrives on.
    pub const fn steering(mut self, steering: Steering) -> Self {
        self.config.steering = steering;
        self
    }

    /// Which shard a new connection becomes one of.
    pub const fn balance(mut self, balance: Balance) -> Self {
        self.config.balance = balance;
        self
    }

    /// Whose web pages may open a WebSocket.
    pub fn origins(mut self, origins: Origins) -> Self {
        self.config.origins = origins;
        self
    }

    /// What to offer of compression.
    pub fn deflate(mut self, deflate: impl Into<Option<Deflate>>) -> Self {
        self.config.deflate = deflate.into();
        self
    }

    /// The certificates with which it speaks TLS, `wss://`; usually it does not.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: impl Into<Option<Tls>>) -> Self {
        self.config.tls = tls.into();
        self
    }

    /// Whose certificates are believed where a handler connects to a `wss://` server; usually
    /// nobody's, and such connections fail.
    #[cfg(feature = "tls")]
    pub fn trust(mut self, trust: impl Into<Option<Trust>>) -> Self {
        self.config.trust = trust.into();
        self
    }

    /// Changes the maxima.
    ///
    /// ```
    /// # use tickwire_reactor::Server;
    /// # let builder =
    /// Server::builder().limits(|limits| limits.protocol.message_bytes_max = 4_096)
    /// # ;
    /// ```
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.config.limits);
        self
    }
}

/// Routes. A path is literal segments, `{name}` for any one segment, and at its end `{*name}` for all
/// that follow: `/`, `/rooms/{room}`, `/files/{*path}`. Of several that take a path the first decides,
/// so the special ones come before the general ones. What no route takes is answered `404`, a method
/// other than GET and HEAD `405`.
impl<H: Handler> Builder<H> {
    /// WebSockets at `path`, which a handler of their own serves; `handler` makes one on each shard's
    /// thread. A plain request there is answered `426`, unless [`Builder::get`] or [`Builder::file`] have
    /// the same path.
    pub fn route<I: Handler>(
        mut self,
        path: &str,
        handler: impl Fn(ShardStart) -> I + Send + Sync + 'static,
    ) -> Builder<Both<H, I>> {
        let number = self.table.next_handler();
        self.add(path, Target::Handler(number)).with_handler(number, handler)
    }

    /// WebSockets at `path` that keep nothing: `act` is called with each message, on the thread of
    /// whichever shard it came to.
    pub fn on_message<F>(self, path: &str, act: F) -> Builder<Both<H, OnMessage<F>>>
    where
        F: Fn(&mut Connection<'_>, Message<'_>) + Clone + Send + Sync + 'static,
    {
        self.route(path, move |_| OnMessage(act.clone()))
    }

    /// A handler for all that has no route, plain requests too.
    pub fn fallback<I: Handler>(
        mut self,
        handler: impl Fn(ShardStart) -> I + Send + Sync + 'static,
    ) -> Builder<Both<H, I>> {
        let number = self.table.next_handler();
        self.table.set_fallback(number);
        self.with_handler(number, handler)
    }

    /// An answer for each plain request at `path`. It is made on a shard's thread and must not block.
    pub fn get(
        self,
        path: &str,
        answer: impl Fn(&Request<'_>) -> Response + Send + Sync + 'static,
    ) -> Self {
        self.add(path, Target::Get(Box::new(answer)))
    }

    /// The same answer for everybody at `path`: a page, a script, an icon. Browsers ask each time
    /// whether theirs is still the one, and get it only if it is not (`ETag`, RFC 9110 section 8.8.3).
    pub fn file(self, path: &str, file: Response) -> Self {
        self.add(path, Target::File(File::new(file)))
    }

    fn add(mut self, path: &str, target: Target) -> Self {
        if let Err(fault) = self.table.add(path, target) {
            self.fault.get_or_insert(fault);
        }
        self
    }

    fn with_handler<I: Handler>(
        self,
        number: usize,
        handler: impl Fn(ShardStart) -> I + Send + Sync + 'static,
    ) -> Builder<Both<H, I>> {
        let Self { config, inherited, fault, table, handlers } = self;
        let handlers =
            move |shard: ShardStart| Both::new(handlers(shard.clone()), handler(shard), number);
        Builder { config, inherited, fault, table, handlers: Arc::new(handlers) }
    }
}

/// Ends.
impl<H: Handler> Builder<H> {
    /// Listens, and does not serve yet.
    ///
    /// # Errors
    /// [`StartError`] for the first thing that was wrong with a route or the address, or when the
    /// address cannot be listened on or the back end cannot run.
    pub fn bind(self) -> Result<Bound<H>, StartError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let shards = match &*self.inherited {
            [] => server::listen(&self.config)?,
            listeners => server::inherit(&self.config, listeners)?,
        };
        Ok(Bound { shards, table: self.table, handlers: self.handlers })
    }

    /// Listens and serves.
    ///
    /// # Errors
    /// As [`Builder::bind`] and [`Bound::start`].
    pub fn start(self) -> Result<Server, StartError> {
        self.bind()?.start()
    }

    /// Listens, serves, and waits until the server has ended.
    ///
    /// # Errors
    /// As [`Builder::start`] and [`Server::join`].
    pub fn run(self) -> Result<(), Error> {
        Ok(self.start()?.join()?)
    }

    /// The same server in a simulated world that is played from `seed`, for tests: without sockets, and
    /// in a time of its own. It has one shard unless [`Builder::shards`] says more.
    ///
    /// # Panics
    /// If a route is wrong.
    pub fn simulate(self, seed: u64) -> Simulation<Router<H>> {
        if let Some(fault) = self.fault {
            panic!("{fault}");
        }
        let (table, handlers) = (Arc::new(self.table), self.handlers);
        Simulation::with_config(seed, &self.config, |shard| {
            Router::new(Arc::clone(&table), handlers(shard))
        })
    }
}

/// A server that listens and does not serve yet: connections wait in the kernel's queue.
///
/// Between [`Builder::bind`] and [`Bound::start`] an application takes its [`Publisher`], makes its
/// topics and sets their retained values.
pub struct Bound<H = Nobody> {
    shards: Unstarted,
    table: Table,
    handlers: Make<H>,
}

impl<H> fmt::Debug for Bound<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Bound")
            .field("shards", &self.shards)
            .field("routes", &self.table)
            .finish_non_exhaustive()
    }
}

impl<H: Handler> Bound<H> {
    /// The address that is listened on, with the port that was chosen.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.shards.local_addr()
    }

    /// The listening sockets, one for each shard, as descriptors of their own: to be handed to the
    /// server that is to follow this one, in another process ([`Builder::inherit`]). The port is open
    /// for as long as somebody holds one: connections then wait to be served. So whoever has no
    /// successor drops them before the shutdown.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn listeners(&self) -> io::Result<Vec<TcpListener>> {
        self.shards.listeners()
    }

    /// How many shards there will be.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.shards()
    }

    /// A handle that publishes from any thread.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.shards.publisher()
    }

    /// Serves.
    ///
    /// # Errors
    /// [`StartError::Thread`] when the system gives no more threads; nothing runs then.
    pub fn start(self) -> Result<Server, StartError> {
        let (table, handlers) = (Arc::new(self.table), self.handlers);
        self.shards.start(move |shard| Router::new(Arc::clone(&table), handlers(shard)))
    }
}
