//! A server: its listeners, its shards' threads, and what others hold of it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tracing::{debug, info, warn};

use crate::builder::Builder;
use crate::config::{Balance, Config, Steering};
use crate::epoch::Epoch;
use crate::error::{ShardFailed, StartError};
use crate::handler::Handler;
use crate::hub::Hub;
use crate::io::Backend;
use crate::io::choice::{Chosen, Prepared};
use crate::io::epoll::random;
use crate::latency::Latency;
use crate::limits::Limits;
use crate::listener;
use crate::mailbox::{Mail, Mailbox};
use crate::metrics::{Metrics, Shared};
use crate::publisher::Publisher;
use crate::shard::Shard;
#[cfg(feature = "tls")]
use crate::transport::{Secure, Security};

/// Shards that are about to run.
#[derive(Debug)]
pub(crate) struct Unstarted {
    /// None: it listens nowhere, and is a client's.
    address: Option<SocketAddr>,
    /// None: as before. The back ends have descriptors of their own.
    listeners: Vec<TcpListener>,
    backends: Vec<Prepared>,
    /// The name of the back end.
    backend: &'static str,
    hub: Arc<Hub>,
    pin: bool,
    limits: Limits,
    #[cfg(feature = "tls")]
    security: Security,
}

/// What a shard's handler is made from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardStart {
    /// The index of the shard, from 0.
    pub index: usize,
    /// How many shards there are.
    pub count: usize,
    /// To find topics by name.
    pub publisher: Publisher,
}

/// A server that runs. Dropping it shuts it down and waits.
pub struct Server {
    /// None: it listens nowhere, and is a client's.
    address: Option<SocketAddr>,
    /// The name of the back end.
    backend: &'static str,
    hub: Arc<Hub>,
    shared: Vec<Arc<Shared>>,
    threads: Vec<JoinHandle<Result<(), ShardFailed>>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("address", &self.address)
            .field("shards", &self.threads.len())
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// The way to every server: where it listens, what it does with requests, how it is to run.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The address that is listened on, with the port that was chosen.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address.expect("what listens nowhere is not given out")
    }

    /// The back end that runs, by its name among the [choices](crate::BackendChoice): `epoll` or
    /// `io_uring`.
    #[must_use]
    pub const fn backend(&self) -> &'static str {
        self.backend
    }

    /// A handle that publishes from any thread.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.hub))
    }

    /// The counters as of each shard's last turn.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.handle().metrics()
    }

    /// A handle for other threads: to read the counters, and to shut down.
    #[must_use]
    pub fn handle(&self) -> Handle {
        let (backend, hub) = (self.backend, Arc::clone(&self.hub));
        Handle { backend, hub, shared: self.shared.clone() }
    }

    /// Waits until the server has ended: after a shutdown, or because a shard failed.
    ///
    /// # Errors
    /// [`ShardFailed`] for the first shard that ended although it was not asked to.
    pub fn join(mut self) -> Result<(), ShardFailed> {
        self.join_threads()
    }

    /// What all shards share.
    pub(crate) const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn join_threads(&mut self) -> Result<(), ShardFailed> {
        let mut result = Ok(());
        for (shard, thread) in self.threads.drain(..).enumerate() {
            let ended = thread.join().unwrap_or_else(|_| {
                Err(ShardFailed { shard, reason: "its thread panicked".to_owned() })
            });
            result = result.and(ended);
        }
        result
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.handle().shutdown();
            if let Err(error) = self.join_threads() {
                warn!(%error, "while the server was dropped");
            }
        }
    }
}

/// A running server as other threads hold it.
#[derive(Clone)]
pub struct Handle {
    backend: &'static str,
    hub: Arc<Hub>,
    shared: Vec<Arc<Shared>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handle").field("shards", &self.shared.len()).finish()
    }
}

impl Handle {
    /// The back end that runs; as [`Server::backend`].
    #[must_use]
    pub const fn backend(&self) -> &'static str {
        self.backend
    }

    /// The counters as of each shard's last turn.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics { shards: self.shared.iter().map(|shared| shared.load()).collect() }
    }

    /// How long publications took inside, from the call that published to the last byte in the kernel:
    /// an entry for each shard and class of topics, in this order.
    #[must_use]
    pub fn latencies(&self) -> Vec<Latency> {
        self.hub.latencies.read()
    }

    /// Begins the shutdown: no connection is accepted any more, every open one is sent Close 1001
    /// and what it still has to get, for at most [`Limits::shutdown_timeout`].
    ///
    /// A connection that is still in its handshake has a second for the rest of its request, and is
    /// answered.
    pub fn shutdown(&self) {
        self.shutdown_over(Duration::ZERO);
    }

    /// As [`Handle::shutdown`], but connections are told one after the other over `spread`, and served
    /// as ever until then, so that not all of them come back to another server at once. Their time,
    /// [`Limits::shutdown_timeout`], begins when the last is told. Asked for again, the sooner end
    /// counts.
    pub fn shutdown_over(&self, spread: Duration) {
        self.hub.deliver_to_all(|| Mail::Shutdown { spread });
    }

    /// Ends the server at once: every open connection is sent Close 1001 if its socket has room, and
    /// is dropped. Also while a shutdown is under way.
    pub fn shutdown_now(&self) {
        self.hub.deliver_to_all(|| Mail::ShutdownNow);
    }
}

/// Tells the kernel which shard's core is which, as far as `config` asks for that.
fn steer(config: &Config, listeners: &[TcpListener]) -> Result<(), StartError> {
    let steered = match (config.steering, listeners.len()) {
        (Steering::Off, _) => Err(None),
        _ if !config.pin => Err(Some("the shards are not pinned to cores".to_owned())),
        (_, 0 | 1) => Err(Some("there is one shard only".to_owned())),
        (_, shards) => allowed_cores()
            .and_then(|cores| match cores.get(..shards) {
                Some(cores) => listener::steer(listeners, cores),
                None => Err(io::Error::other("there are more shards than cores")),
            })
            .map_err(|error| Some(error.to_string())),
    };
    let Err(reason) = steered else {
        info!("connections are steered to the shard of the core that they arrive on");
        return Ok(());
    };
    match reason {
        Some(reason) if config.steering == Steering::On => {
            return Err(StartError::Steering { reason });
        }
        Some(reason) if config.pin => info!(reason, "connections are not steered to cores"),
        _ => {}
    }
    // Whoever listened before may have steered them.
    if let Err(error) = listener::steer_no_more(listeners) {
        debug!(%error, "the steering of connections is left as it is");
    }
    Ok(())
}

/// Shards as `config` says, which listen where it says.
///
/// # Errors
/// [`StartError`] when the address cannot be listened on or the back end cannot run.
pub(crate) fn listen(config: &Config) -> Result<Unstarted, StartError> {
    let failed = |source| StartError::Listen { address: config.listen, source };
    let listeners = listener::listen(config.listen, config.shard_count()).map_err(failed)?;
    let address = listeners[0].local_addr().map_err(failed)?;
    steer(config, &listeners)?;
    Unstarted::new(config, Some(address), listeners)
}

/// Shards as `config` says, for sockets that listen already.
///
/// # Errors
/// [`StartError::Inherit`] when they are none, more than the shards asked for, or do not listen for
/// TCP; otherwise as [`listen`].
pub(crate) fn inherit(config: &Config, listeners: &[TcpListener]) -> Result<Unstarted, StartError> {
    let count = match config.shards {
        0 => config.shard_count().max(listeners.len()),
        _ => config.shard_count(),
    };
    let is_one_each = listeners.len() == count;
    let listeners = listener::inherit(listeners, count).map_err(StartError::Inherit)?;
    let address = listeners[0].local_addr().map_err(StartError::Inherit)?;
    if is_one_each {
        steer(config, &listeners)?;
    } else if config.steering == Steering::On {
        let reason = "the shards share listening sockets".to_owned();
        return Err(StartError::Steering { reason });
    }
    Unstarted::new(config, Some(address), listeners)
}

/// Shards as `config` says, but one where it says 0, without a door.
pub(crate) fn without_listener(config: &Config) -> Result<Unstarted, StartError> {
    Unstarted::new(config, None, Vec::new())
}

impl Unstarted {
    fn new(
        config: &Config,
        address: Option<SocketAddr>,
        listeners: Vec<TcpListener>,
    ) -> Result<Self, StartError> {
        let chosen = Chosen::new(config.backend)?;
        let shards = match (listeners.len(), config.shards) {
            // A client has one unless it is told how many.
            (0, 0) => 1,
            (0, _) => config.shard_count(),
            (shards, _) => shards,
        };
        let shares_out = config.balance == Balance::LeastLoaded && shards > 1;
        let backend = chosen.name();
        let failed =
            |error: io::Error| StartError::Backend { name: backend, reason: error.to_string() };
        let mut backends = Vec::new();
        let mut mailboxes = Vec::new();
        for shard in 0..shards {
            let listener = listeners.get(shard).map(TcpListener::try_clone);
            let listener = listener.transpose().map_err(failed)?;
            let (prepared, waker) = chosen.prepare(listener, shares_out, &config.limits)?;
            backends.push(prepared);
            mailboxes.push(Mailbox::new(config.limits.mailbox_letters_max, waker));
        }
        let mut epoch = [0; 8];
        random(&mut epoch).map_err(failed)?;
        let epoch = Epoch(u64::from_ne_bytes(epoch));
        let hub = Arc::new(Hub::new(mailboxes.into(), config, epoch));
        let limits = config.limits.with_memory_max(backends.len());
        Ok(Self {
            address,
            listeners,
            backends,
            backend,
            hub,
            pin: config.pin,
            limits,
            #[cfg(feature = "tls")]
            security: config.security(),
        })
    }

    /// The listening sockets, one for each shard, as descriptors of their own.
    pub(crate) fn listeners(&self) -> io::Result<Vec<TcpListener>> {
        self.listeners.iter().map(TcpListener::try_clone).collect()
    }

    /// The address that is listened on, with the port that was chosen.
    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.address.expect("what listens nowhere is not given out")
    }

    /// How many shards there will be.
    pub(crate) fn shards(&self) -> usize {
        self.backends.len()
    }

    /// A handle that publishes from any thread.
    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.hub))
    }

    /// Serves: `handler` is called once on each shard's thread to make that shard's handler.
    ///
    /// # Errors
    /// [`StartError::Thread`] when the system gives no more threads; nothing runs then.
    pub(crate) fn start<H: Handler>(
        self,
        handler: impl Fn(ShardStart) -> H + Send + Sync + 'static,
    ) -> Result<Server, StartError> {
        let handler = Arc::new(handler);
        let count = self.backends.len();
        let mut server = Server {
            address: self.address,
            backend: self.backend,
            hub: self.hub,
            shared: Vec::new(),
            threads: Vec::new(),
        };
        for (index, backend) in self.backends.into_iter().enumerate() {
            let shared = Arc::new(Shared::default());
            let start = ShardStart { index, count, publisher: server.publisher() };
            let (hub, handler) = (Arc::clone(&server.hub), Arc::clone(&handler));
            let mailboxes = Arc::clone(&server.hub);
            #[cfg(feature = "tls")]
            let security = self.security.clone();
            server.shared.push(Arc::clone(&shared));
            let run = move || {
                if self.pin {
                    pin_to_core(index);
                }
                let number = u16::try_from(index).expect("at most 1,024 shards");
                let handler = handler(start);
                let limits = self.limits;
                let parts = Parts {
                    number,
                    handler,
                    hub,
                    limits,
                    shared,
                    #[cfg(feature = "tls")]
                    security,
                };
                match backend {
                    Prepared::Epoll(epoll) => parts.run(epoll),
                    Prepared::Uring(uring) => parts.run(uring.enable()?),
                }
            };
            let thread = thread::Builder::new().name(format!("tickwire-{index}"));
            let supervised = move || {
                let ended = supervise(index, run);
                mailboxes.close(index);
                ended
            };
            let thread = thread.spawn(supervised).map_err(StartError::Thread)?;
            server.threads.push(thread);
        }
        match self.address {
            Some(address) => info!(%address, shards = count, backend = self.backend, "serving"),
            None => info!(shards = count, backend = self.backend, "listening nowhere"),
        }
        Ok(server)
    }
}

/// What a shard is made of, but for its back end.
struct Parts<H> {
    number: u16,
    handler: H,
    hub: Arc<Hub>,
    limits: Limits,
    shared: Arc<Shared>,
    #[cfg(feature = "tls")]
    security: Security,
}

impl<H: Handler> Parts<H> {
    /// Runs the shard until it has been shut down, with TLS around `backend` if there is to be any.
    fn run<B: Backend>(self, backend: B) -> io::Result<()> {
        let Self { number, handler, hub, limits, shared, .. } = self;
        #[cfg(feature = "tls")]
        if self.security.is_some() {
            let backend = Secure::new(backend, &self.security);
            return Shard::new(number, backend, handler, hub, limits, shared).run();
        }
        Shard::new(number, backend, handler, hub, limits, shared).run()
    }
}

/// Runs a shard; whatever ends it early is told.
fn supervise(shard: usize, run: impl FnOnce() -> io::Result<()>) -> Result<(), ShardFailed> {
    let failed = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => ShardFailed { shard, reason: error.to_string() },
        Err(_) => ShardFailed { shard, reason: "it panicked".to_owned() },
    };
    tracing::error!(error = %failed, "a shard has ended");
    Err(failed)
}

/// Keeps this thread on the core that is the shard's among those that the process may use.
fn pin_to_core(shard: usize) {
    let pinned = allowed_cores().and_then(|cores| {
        let mut core = CpuSet::new();
        core.set(cores[shard % cores.len()]);
        sched_setaffinity(None, &core).map_err(io::Error::from)
    });
    if let Err(error) = pinned {
        warn!(%error, shard, "the shard's thread could not be kept on one core");
    }
}

/// The cores that this process may use.
fn allowed_cores() -> io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}
