//! A running ticker: a feed, the server that delivers it, and the thread between them.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tickwire::{Handle, Response, Server, ShardFailed, Timestamp, TlsError};

use crate::app::{App, Shared, topics};
use crate::audience::Audience;
use crate::config::{FeedChoice, Settings};
use crate::feed::{Feed, Replay, ReplayError, Synthetic};
use crate::metrics::Metrics;
use crate::page;
use crate::player::Player;
use crate::tls::Certificates;
use crate::tokens::{Tokens, TokensError};

/// A ticker that serves.
#[derive(Debug)]
pub struct Ticker {
    server: Server,
    door: Arc<Door>,
    player: JoinHandle<()>,
    audience: Arc<Audience>,
    certificates: Option<Certificates>,
}

/// Ends a ticker from another thread.
#[derive(Clone, Debug)]
pub struct Stop {
    engine: Handle,
    audience: Arc<Audience>,
    door: Arc<Door>,
}

/// The listening sockets, for as long as a successor may want them.
#[derive(Debug)]
struct Door {
    listeners: Mutex<Vec<TcpListener>>,
    /// Clients are to come back to a successor, which serves already.
    hands_over: Arc<AtomicBool>,
}

impl Door {
    fn listeners(&self) -> MutexGuard<'_, Vec<TcpListener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticker {
    /// Reads the feed's instruments, listens, and begins to serve.
    ///
    /// # Errors
    ///
    /// When the feed, a certificate or the tokens cannot be read, the address cannot be listened on, or the machine has no more
    /// threads.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        Self::start_with(settings, Vec::new())
    }

    /// As [`Ticker::start`], on sockets that listen already, if there are any.
    ///
    /// # Errors
    ///
    /// As [`Ticker::start`], and when these sockets cannot be served.
    pub fn start_with(
        settings: &Settings,
        inherited: Vec<TcpListener>,
    ) -> Result<Self, StartError> {
        let now_ns = Timestamp::read().unix_ns();
        let feed = match &settings.feed {
            FeedChoice::Synthetic => {
                Feed::Synthetic(Box::new(Synthetic::new(settings.seed, now_ns)))
            }
            FeedChoice::Replay(paths) => Feed::Replay(Replay::open(paths)?),
        };
        let certificates = settings.certificates.clone().open().map_err(StartError::Tls)?;
        let tokens = settings.tokens.as_deref().map(Tokens::read).transpose();
        let tokens = tokens.map_err(StartError::Tokens)?.map(Arc::new);
        let listing = Arc::new(feed.listing().clone());
        let (metrics, audience) = (Arc::new(Metrics::new()), Arc::new(Audience::default()));
        metrics.skipped.inc_by(feed.skipped());
        tracing::info!(instruments = listing.len(), skipped = feed.skipped(), "feed");
        let hands_over = Arc::<AtomicBool>::default();
        let shared = Arc::new(Shared {
            rules: settings.rules,
            listing: Arc::clone(&listing),
            tokens,
            audience: Arc::clone(&audience),
            metrics: Arc::clone(&metrics),
            shutdown_timeout: settings.engine.limits.shutdown_timeout,
            hands_over: Arc::clone(&hands_over),
        });
        let (app, exported) = (Arc::clone(&shared), Arc::clone(&metrics));
        let builder = Server::builder()
            .config(settings.engine.clone())
            .inherit(inherited)
            .tls(certificates.as_ref().map(|it| it.tls().clone()))
            .route("/ticker", move |shard| App::new(Arc::clone(&app), &shard.publisher))
            .get("/healthz", |_| Response::text(200, "ok"))
            .get("/metrics", move |_| Response::new(OPEN_METRICS, exported.text()));
        let bound = page::serve(builder).bind()?;
        let (publisher, topics) = (bound.publisher(), topics(&listing, &bound.publisher()));
        let listeners = bound.listeners().map_err(StartError::Listeners)?;
        let (listening, pace) = (Arc::clone(&audience), settings.pace);
        let player = Player::new(feed, publisher, topics, listening, Arc::clone(&metrics), pace);
        let server = bound.start()?;
        metrics.show_engine(server.handle());
        let thread = thread::Builder::new().name("tickwire-feed".to_owned());
        let player = thread.spawn(move || player.run()).map_err(StartError::Thread)?;
        let door = Arc::new(Door { listeners: Mutex::new(listeners), hands_over });
        Ok(Self { server, door, player, audience, certificates })
    }

    /// The address that is listened on, with the port that was chosen.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The engine's counters.
    #[must_use]
    pub fn engine(&self) -> Handle {
        self.server.handle()
    }

    /// What it shows its clients; `None`: it does not speak TLS.
    #[must_use]
    pub const fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// What ends this ticker.
    #[must_use]
    pub fn stop(&self) -> Stop {
        let (audience, door) = (Arc::clone(&self.audience), Arc::clone(&self.door));
        Stop { engine: self.server.handle(), audience, door }
    }

    /// Waits until the ticker has ended.
    ///
    /// # Errors
    ///
    /// When a shard of the engine ended although it was not asked to.
    pub fn join(self) -> Result<(), ShardFailed> {
        let result = self.server.join();
        self.audience.end();
        if self.player.join().is_err() {
            tracing::error!("the feed's thread panicked");
        }
        result
    }
}

impl Stop {
    /// Ends the feed and begins the shutdown of the server: every client is told, closed with 1001
    /// and given what it still has to get.
    pub fn stop(&self) {
        self.door.listeners().clear();
        self.audience.end();
        self.engine.shutdown();
    }

    /// Has a successor take over: `succeed` is lent the listening sockets and returns when another
    /// process serves them. Then clients are told, one after the other over `spread`, and closed with
    /// 1012; until then each has its updates.
    ///
    /// # Errors
    ///
    /// What `succeed` returns: this ticker goes on then.
    pub fn hand_over<T, E>(
        &self,
        spread: Duration,
        succeed: impl FnOnce(&[TcpListener]) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut listeners = self.door.listeners();
        let successor = succeed(&listeners)?;
        listeners.clear();
        self.door.hands_over.store(true, Ordering::Relaxed);
        self.engine.shutdown_over(spread);
        Ok(successor)
    }
}

/// Why a ticker does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The feed cannot be read.
    Feed(ReplayError),
    /// The certificates cannot be used.
    Tls(TlsError),
    /// The tokens cannot be used.
    Tokens(TokensError),
    /// The engine cannot run.
    Engine(tickwire::StartError),
    /// There are no descriptors to keep the listening sockets with.
    Listeners(io::Error),
    /// The feed's thread cannot be started.
    Thread(io::Error),
}

impl From<ReplayError> for StartError {
    fn from(error: ReplayError) -> Self {
        Self::Feed(error)
    }
}

impl From<tickwire::StartError> for StartError {
    fn from(error: tickwire::StartError) -> Self {
        Self::Engine(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feed(error) => write!(formatter, "the feed cannot be replayed: {error}"),
            Self::Tls(error) => error.fmt(formatter),
            Self::Tokens(error) => error.fmt(formatter),
            Self::Engine(error) => error.fmt(formatter),
            Self::Listeners(error) => {
                write!(formatter, "the listening sockets cannot be kept: {error}")
            }
            Self::Thread(error) => write!(formatter, "the feed's thread cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Feed(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Tokens(error) => Some(error),
            Self::Engine(error) => Some(error),
            Self::Listeners(error) | Self::Thread(error) => Some(error),
        }
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
