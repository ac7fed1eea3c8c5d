//! Which back end a server runs on: asked for, or the one that was measured to be better.
//!
//! The choice is made once, when a server is bound, so that what cannot run is told there. Each shard
//! then gets its own, on its own thread, and is compiled for it: nothing asks again.

use std::io;
use std::net::TcpListener;
use std::thread;

use rustix::process::{Resource, getrlimit};
use tracing::info;

use super::epoll::Epoll;
use super::uring::{self, Features, explain};
use crate::config::BackendChoice;
use crate::error::StartError;
use crate::limits::Limits;
use crate::mailbox::Wake;

/// What all shards of a server run on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chosen {
    Epoll,
    Uring(Features),
}

/// One shard's back end, on its way to the shard's thread.
#[derive(Debug)]
pub(crate) enum Prepared {
    Epoll(Epoll),
    Uring(uring::Prepared),
}

impl Chosen {
    /// What `choice` comes to on this machine.
    pub(crate) fn new(choice: BackendChoice) -> Result<Self, StartError> {
        match choice {
            BackendChoice::Auto => {
                info!(backend = "epoll", why = Self::WHY_EPOLL, "the back end is chosen");
                Ok(Self::Epoll)
            }
            BackendChoice::Epoll => Ok(Self::Epoll),
            BackendChoice::IoUring => match elsewhere(Features::find) {
                Ok(features) => {
                    info!(backend = "io_uring", with = features.describe(), "as asked for");
                    Ok(Self::Uring(features))
                }
                Err(error) => Err(no_uring(&error)),
            },
        }
    }

    /// As it is called in options.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Uring(_) => "io_uring",
        }
    }

    /// One shard's back end with its listener, if it has one, and what ends its waits. With
    /// `shares_out`, what is accepted may be handed to another shard.
    pub(crate) fn prepare(
        &self,
        listener: Option<TcpListener>,
        shares_out: bool,
        limits: &Limits,
    ) -> Result<(Prepared, Box<dyn Wake>), StartError> {
        match self {
            Self::Epoll => {
                let (epoll, waker) = Epoll::new(listener, shares_out).map_err(|error| {
                    StartError::Backend { name: "epoll", reason: error.to_string() }
                })?;
                Ok((Prepared::Epoll(epoll), Box::new(waker)))
            }
            Self::Uring(features) => {
                let table = files_max(limits);
                let prepared =
                    elsewhere(|| uring::Prepared::new(features, listener, shares_out, table));
                let (prepared, bell) = prepared.map_err(|error| no_uring(&error))?;
                Ok((Prepared::Uring(prepared), Box::new(bell)))
            }
        }
    }

    /// Measured with `tickwire-load compare`: docs/performance.md, "epoll or io_uring".
    const WHY_EPOLL: &str =
        "short messages cost about the same on both, long ones less than on io_uring";
}

/// Files that a shard's own table is to hold: all connections may come to one shard. The kernel makes
/// none larger than the limit of open files.
fn files_max(limits: &Limits) -> usize {
    let open_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let open_max = usize::try_from(open_max).unwrap_or(usize::MAX);
    limits.connections_max.saturating_add(Limits::TURNED_AWAY_MAX).min(open_max)
}

/// Makes rings on a thread of its own, which ends. The kernel interrupts whatever a thread that has
/// made one waits for when that one is gone: not what a program expects of having bound a server.
fn elsewhere<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("tickwire-start".to_owned());
        let worked = thread.spawn_scoped(scope, work)?.join();
        worked.unwrap_or_else(|_| Err(io::Error::other("it panicked")))
    })
}

fn no_uring(error: &io::Error) -> StartError {
    StartError::Backend { name: "io_uring", reason: explain(error) }
}
