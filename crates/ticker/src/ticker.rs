//! A running ticker: a feed, the server that delivers it, and the thread between them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tickwire::{Handle, Response, Server, ShardFailed, Timestamp};

use crate::app::{App, Shared, topics};
use crate::audience::Audience;
use crate::config::{FeedChoice, Settings};
use crate::feed::{Feed, Replay, ReplayError, Synthetic};
use crate::metrics::Metrics;
use crate::page;
use crate::player::Player;

/// A ticker that serves.
#[derive(Debug)]
pub struct Ticker {
    server: Server,
    player: JoinHandle<()>,
    audience: Arc<Audience>,
}

/// Ends a ticker from another thread.
#[derive(Clone, Debug)]
pub struct Stop {
    engine: Handle,
    audience: Arc<Audience>,
}

impl Ticker {
    /// Reads the feed's instruments, listens, and begins to serve.
    ///
    /// # Errors
    ///
    /// When the feed cannot be read, the address cannot be listened on, or the machine has no more
    /// threads.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let now = Timestamp::read();
        let feed = match &settings.feed {
            FeedChoice::Synthetic => {
                Feed::Synthetic(Box::new(Synthetic::new(settings.seed, now.unix_ns())))
            }
            FeedChoice::Replay(paths) => Feed::Replay(Replay::open(paths)?),
        };
        let listing = Arc::new(feed.listing().clone());
        let (metrics, audience) = (Arc::new(Metrics::new()), Arc::new(Audience::default()));
        metrics.skipped.inc_by(feed.skipped());
        tracing::info!(instruments = listing.len(), skipped = feed.skipped(), "feed");
        let shared = Arc::new(Shared {
            rules: settings.rules,
            listing: Arc::clone(&listing),
            epoch: epoch(now).into(),
            audience: Arc::clone(&audience),
            metrics: Arc::clone(&metrics),
            shutdown_timeout: settings.engine.limits.shutdown_timeout,
        });
        let (app, exported) = (Arc::clone(&shared), Arc::clone(&metrics));
        let builder = Server::builder()
            .config(settings.engine.clone())
            .route("/ticker", move |shard| App::new(Arc::clone(&app), &shard.publisher))
            .get("/healthz", |_| Response::text(200, "ok"))
            .get("/metrics", move |_| Response::new(OPEN_METRICS, exported.text()));
        let bound = page::serve(builder).bind()?;
        let (publisher, topics) = (bound.publisher(), topics(&listing, &bound.publisher()));
        let (listeners, pace, epoch) = (Arc::clone(&audience), settings.pace, &shared.epoch);
        let player =
            Player::new(feed, epoch, publisher, topics, listeners, Arc::clone(&metrics), pace);
        let server = bound.start()?;
        metrics.show_engine(server.handle());
        let thread = thread::Builder::new().name("tickwire-feed".to_owned());
        let player = thread.spawn(move || player.run()).map_err(StartError::Thread)?;
        Ok(Self { server, player, audience })
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

    /// What ends this ticker.
    #[must_use]
    pub fn stop(&self) -> Stop {
        Stop { engine: self.server.handle(), audience: Arc::clone(&self.audience) }
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
        self.audience.end();
        self.engine.shutdown();
    }
}

/// Why a ticker does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The feed cannot be read.
    Feed(ReplayError),
    /// The engine cannot run.
    Engine(tickwire::StartError),
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
            Self::Engine(error) => error.fmt(formatter),
            Self::Thread(error) => write!(formatter, "the feed's thread cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Feed(error) => Some(error),
            Self::Engine(error) => Some(error),
            Self::Thread(error) => Some(error),
        }
    }
}

/// A name for the numbering of events that begins now: two starts never share one, since the clock
/// has moved on.
fn epoch(now: Timestamp) -> String {
    format!("{:x}", now.unix_ns())
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
