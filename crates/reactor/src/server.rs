//! A server: its listeners, its shards' threads, and what others hold of it.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tracing::{info, warn};

use crate::admission::Admission;
use crate::config::{BackendChoice, Config};
use crate::error::{ShardFailed, StartError};
use crate::handler::Handler;
use crate::hub::{Hub, Publisher};
use crate::io::epoll::Epoll;
use crate::limits::Limits;
use crate::listener;
use crate::mailbox::{Mail, Mailbox};
use crate::metrics::{Metrics, Shared};
use crate::shard::Shard;

/// A server that listens and does not serve yet: connections wait in the kernel's queue.
///
/// Between [`Server::bind`] and [`Bound::start`] an application takes its [`Publisher`], makes its
/// topics and sets their retained values.
#[derive(Debug)]
pub struct Bound {
    /// None: it listens nowhere, and is a client's.
    address: Option<SocketAddr>,
    backends: Vec<Epoll>,
    hub: Arc<Hub>,
    pin: bool,
    limits: Limits,
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
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens as `config` says.
    ///
    /// # Errors
    /// [`StartError`] when the address cannot be listened on or the back end cannot run.
    pub fn bind(config: &Config) -> Result<Bound, StartError> {
        let listeners = listener::listen(config.listen, config.shard_count())
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let address = listeners[0]
            .local_addr()
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let listeners = listeners.into_iter().map(Some);
        Bound::new(config, Some(address), listeners)
    }

    /// The address that is listened on, with the port that was chosen.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address.expect("what listens nowhere is not given out")
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
        Handle { hub: Arc::clone(&self.hub), shared: self.shared.clone() }
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
    hub: Arc<Hub>,
    shared: Vec<Arc<Shared>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Handle").field("shards", &self.shared.len()).finish()
    }
}

impl Handle {
    /// The counters as of each shard's last turn.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics { shards: self.shared.iter().map(|shared| shared.load()).collect() }
    }

    /// Begins the shutdown: no connection is accepted any more, every open one is sent Close 1001
    /// and what it still has to get, for at most [`Limits::shutdown_timeout`].
    pub fn shutdown(&self) {
        for mailbox in &self.hub.mailboxes {
            self.hub.deliver(mailbox, Mail::Shutdown);
        }
    }
}

/// Shards as `config` says, but one where it says 0, without a door.
pub(crate) fn without_listener(config: &Config) -> Result<Bound, StartError> {
    let count = if config.shards == 0 { 1 } else { config.shard_count() };
    Bound::new(config, None, (0..count).map(|_| None))
}

impl Bound {
    fn new(
        config: &Config,
        address: Option<SocketAddr>,
        listeners: impl Iterator<Item = Option<TcpListener>>,
    ) -> Result<Self, StartError> {
        if config.backend == BackendChoice::IoUring {
            let reason = "this version has none; use epoll or auto".to_owned();
            return Err(StartError::Backend { name: "io_uring", reason });
        }
        let mut backends = Vec::new();
        let mut mailboxes = Vec::new();
        for listener in listeners {
            let (backend, waker) = Epoll::new(listener).map_err(|error| StartError::Backend {
                name: "epoll",
                reason: error.to_string(),
            })?;
            backends.push(backend);
            mailboxes.push(Mailbox::new(config.limits.mailbox_letters_max, Box::new(waker)));
        }
        let admission = Admission::new(&config.limits, config.origins.clone());
        let hub = Arc::new(Hub::new(mailboxes.into(), admission, config.deflate));
        Ok(Self { address, backends, hub, pin: config.pin, limits: config.limits })
    }

    /// The address that is listened on, with the port that was chosen.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address.expect("what listens nowhere is not given out")
    }

    /// How many shards there will be.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.backends.len()
    }

    /// A handle that publishes from any thread.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.hub))
    }

    /// Serves: `handler` is called once on each shard's thread to make that shard's handler.
    ///
    /// # Errors
    /// [`StartError::Thread`] when the system gives no more threads; nothing runs then.
    pub fn start<H: Handler>(
        self,
        handler: impl Fn(ShardStart) -> H + Send + Sync + 'static,
    ) -> Result<Server, StartError> {
        let handler = Arc::new(handler);
        let count = self.backends.len();
        let mut server = Server {
            address: self.address,
            hub: self.hub,
            shared: Vec::new(),
            threads: Vec::new(),
        };
        for (index, backend) in self.backends.into_iter().enumerate() {
            let shared = Arc::new(Shared::default());
            let start = ShardStart { index, count, publisher: server.publisher() };
            let (hub, handler) = (Arc::clone(&server.hub), Arc::clone(&handler));
            let mailboxes = Arc::clone(&server.hub);
            server.shared.push(Arc::clone(&shared));
            let run = move || {
                if self.pin {
                    pin_to_core(index);
                }
                let number = u16::try_from(index).expect("at most 1,024 shards");
                let handler = handler(start);
                Shard::new(number, backend, handler, hub, self.limits, shared).run()
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
            Some(address) => info!(%address, shards = count, backend = "epoll", "serving"),
            None => info!(shards = count, backend = "epoll", "listening nowhere"),
        }
        Ok(server)
    }
}

/// Runs a shard; whatever ends it early is told.
fn supervise(shard: usize, run: impl FnOnce() -> std::io::Result<()>) -> Result<(), ShardFailed> {
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
    let pinned = sched_getaffinity(None).and_then(|allowed| {
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|it| allowed.is_set(*it)).collect();
        let mut core = CpuSet::new();
        core.set(cores[shard % cores.len()]);
        sched_setaffinity(None, &core)
    });
    if let Err(error) = pinned {
        warn!(%error, shard, "the shard's thread could not be kept on one core");
    }
}
