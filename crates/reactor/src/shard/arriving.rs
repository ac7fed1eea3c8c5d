//! Connections at the door: which shard each becomes one of, and how many come in.
//!
//! Where shards share newcomers out, the socket of one that another shard is to have goes there
//! through its mailbox, before it has a name here and before anything is read from it. A connection that
//! cannot be handed over, because that mailbox is full, stays: balance is wished for, not promised.
//!
//! Nothing here is on the way of a message.

use std::io;
use std::net::SocketAddr;

use tracing::warn;

use super::Shard;
use super::opening::accepted;
use crate::clock::Tick;
use crate::handler::Handler;
use crate::io::{Backend, Newcomer};
use crate::limits::Limits;
use crate::mailbox::Mail;

/// What a shard keeps of how connections come in.
#[derive(Debug)]
pub(super) struct Intake {
    /// While the door is shut to keep the pace: when it opens.
    again: Tick,
    /// Failures to accept are not logged before.
    log_after: Tick,
    /// Failures since the last that was logged.
    failures: u64,
}

impl Default for Intake {
    fn default() -> Self {
        Self { again: Tick::NEVER, log_after: Tick(0), failures: 0 }
    }
}

impl Intake {
    /// Until when the loop may sleep; `NEVER`: for ever.
    pub(super) const fn next_due(&self) -> Tick {
        self.again
    }
}

impl<H: Handler, B: Backend> Shard<H, B> {
    /// A connection was accepted here that may be any shard's.
    pub(super) fn arrived(&mut self, newcomer: Newcomer, peer: SocketAddr) {
        let own = usize::from(self.local.shard);
        let hub = &self.local.hub;
        let Some(loads) = &hub.loads else { return self.take_in(newcomer, peer) };
        let shard = loads.place(own);
        if shard == own {
            return self.take_in(newcomer, peer);
        }
        match hub.mailboxes[shard].push(Mail::Arrived(Box::new((newcomer, peer)))) {
            Ok(()) => self.local.counters.handed_over += 1,
            Err(Mail::Arrived(arrived)) => {
                loads.keep(own);
                loads.leave(shard);
                self.take_in(arrived.0, arrived.1);
            }
            Err(_) => unreachable!("a mailbox gives back what it does not take"),
        }
    }

    /// Makes a connection that was counted as this shard's one of its own.
    pub(super) fn take_in(&mut self, newcomer: Newcomer, peer: SocketAddr) {
        match self.backend.adopt(newcomer) {
            Ok(key) => accepted(&mut self.local, &mut self.inbound, key, peer),
            Err(error) => {
                if let Some(loads) = &self.local.hub.loads {
                    loads.leave(usize::from(self.local.shard));
                }
                self.not_accepted(&error, true);
            }
        }
    }

    /// After an accept: shuts the door if the server has had its share of this second.
    pub(super) fn keep_pace(&mut self) {
        let Some(pace) = &self.local.hub.pace else { return };
        let wait = pace.take(self.local.now);
        if wait.is_zero() {
            return;
        }
        if self.intake.again == Tick::NEVER {
            self.local.counters.accept_pauses += 1;
            self.backend.pause_accepting();
        }
        self.intake.again = self.local.tick.after(wait);
    }

    /// Opens the door again if it is time.
    pub(super) fn accept_again(&mut self) {
        if self.intake.again <= self.local.tick {
            self.intake.again = Tick::NEVER;
            if self.shutdown.is_none() {
                self.backend.resume_accepting();
            }
        }
    }

    /// A connection could not be accepted; `refused`: it was closed.
    pub(super) fn not_accepted(&mut self, error: &io::Error, refused: bool) {
        let counters = &mut self.local.counters;
        counters.accept_failures += 1;
        if refused {
            counters.accepted += 1;
            counters.refused += 1;
            counters.refused_descriptors += 1;
        }
        self.intake.failures += 1;
        if self.local.tick >= self.intake.log_after {
            let failures = std::mem::take(&mut self.intake.failures);
            warn!(%error, failures, "connections cannot be accepted; raise the limit of open files");
            self.intake.log_after = self.local.tick.after(Limits::ACCEPT_LOG_EVERY);
        }
    }
}
