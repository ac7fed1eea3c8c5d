//! The end of a shard: no connection is refused that was accepted, none is dropped that is quick.
//!
//! It begins with the door. Connections that are in their handshake then have a moment to complete it:
//! they were accepted, so they are answered, and may learn from a Close that they are to go elsewhere.
//! Those that are open are told and closed, all at once or spread over a time, so that thousands do
//! not come back in the same instant; until it is their turn they are served as ever. What is left
//! when the time is over is dropped and counted.
//!
//! Invariant: once it has begun, a connection that becomes open is closed in the same turn.

use std::time::Duration;

use tickwire_protocol::{CloseCode, Role};

use super::Shard;
use super::closing::{abandon, close_behind, finish, keep_owed};
use super::dialing::fail;
use super::messages::call;
use crate::clock::Tick;
use crate::connection::Stage;
use crate::error::ConnectError;
use crate::handler::Handler;
use crate::io::{Backend, Key};
use crate::limits::Limits;
use crate::local::Local;

/// A shutdown under way.
#[derive(Debug)]
pub(super) struct Shutdown {
    begun: Tick,
    /// When the last connection is told.
    told_by: Tick,
    /// The first slot that is not told yet.
    next: usize,
    /// When those still in their handshake go; `NEVER` once they are gone.
    last_requests: Tick,
    /// When connections that are left are dropped.
    deadline: Tick,
}

impl Shutdown {
    /// Until when the loop may sleep.
    pub(super) fn next_due(&self, tick: Tick) -> Tick {
        let soon = Tick(tick.0 + 1);
        if tick < self.told_by { soon } else { self.last_requests.min(self.deadline).max(soon) }
    }

    /// How many of `slots` are to be told by now.
    fn due(&self, tick: Tick, slots: usize) -> usize {
        if tick >= self.told_by {
            return slots;
        }
        let (elapsed, all) = (tick.0 - self.begun.0, self.told_by.0 - self.begun.0);
        slots * elapsed as usize / all as usize
    }
}

impl<H: Handler, B: Backend> Shard<H, B> {
    /// Begins the end; if it has begun, it is to come no later than this.
    pub(super) fn begin_shutdown(&mut self, spread: Duration) {
        let local = &mut self.local;
        let told_by = if spread.is_zero() { local.tick } else { local.tick.after(spread) };
        let deadline = told_by.after(local.limits.shutdown_timeout);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.told_by = shutdown.told_by.min(told_by);
            shutdown.deadline = shutdown.deadline.min(deadline);
            return;
        }
        let begun = local.tick;
        let last_requests = begun.after(Limits::LAST_REQUESTS);
        self.shutdown = Some(Shutdown { begun, told_by, next: 0, last_requests, deadline });
        local.is_ending = true;
        self.backend.stop_accepting();
        // What was published before leaves first.
        self.flush();
        for slot in 0..self.local.links.len() {
            let key = key_of(&self.local, slot);
            if self.local.links[slot].stage == Stage::Connecting {
                fail(&mut self.local, key, ConnectError::ShuttingDown);
            }
        }
    }

    /// Ends at once: a Close to each that is open, and no waiting.
    pub(super) fn shutdown_now(&mut self) {
        self.begin_shutdown(Duration::ZERO);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.deadline = self.local.tick;
        }
    }

    /// What a shutdown has to do in this turn.
    pub(super) fn drain(&mut self) {
        let tick = self.local.tick;
        let Some(shutdown) = &mut self.shutdown else { return };
        let slots = self.local.links.len();
        let due = shutdown.due(tick, slots);
        let told = shutdown.next..due.max(shutdown.next);
        shutdown.next = told.end;
        let is_last = tick >= shutdown.last_requests;
        if is_last {
            shutdown.last_requests = Tick::NEVER;
        }
        let is_over = tick >= shutdown.deadline;
        if self.unflushed && !told.is_empty() {
            // Published before they are told.
            self.flush();
        }
        for slot in told {
            self.send_away(key_of(&self.local, slot));
        }
        for key in std::mem::take(&mut self.local.latecomers) {
            self.send_away(key);
        }
        if is_last {
            self.end_handshakes();
        }
        if is_over {
            self.cut();
        }
    }

    /// The last words to a connection that is open, and its Close.
    fn send_away(&mut self, key: Key) {
        let (local, handler) = (&mut self.local, &mut self.handler);
        let timeout = local.limits.shutdown_timeout;
        let Some(link) = local.link(key).filter(|link| link.stage == Stage::Open) else { return };
        let reason = match link.role {
            Role::Server => "the server shuts down",
            Role::Client => "the client shuts down",
        };
        keep_owed(local, handler, key);
        // Publications that are kept do not count, and what comes behind them is the last.
        local.is_last_word = true;
        call(local, handler, key, |handler, connection| handler.shutdown(connection));
        local.is_last_word = false;
        let going_away = || (CloseCode::GOING_AWAY, reason.to_owned());
        let (code, reason) = local.close.take().unwrap_or_else(going_away);
        close_behind(local, handler, &mut self.inbound, key, code, &reason);
        if local.links[key.index()].is_blocked() {
            // Messages wait ahead of the Close: half of the time for them.
            local.set_deadline(key, local.limits.close_timeout.min(timeout / 2));
        }
    }

    /// Whoever has not asked for anything by now was not going to.
    fn end_handshakes(&mut self) {
        for slot in 0..self.local.links.len() {
            if self.local.links[slot].stage == Stage::Handshake {
                let key = key_of(&self.local, slot);
                self.local.counters.unanswered += 1;
                finish(&mut self.local, key, Stage::Ending);
            }
        }
    }

    /// Drops whoever still holds up the end.
    fn cut(&mut self) {
        for slot in 0..self.local.links.len() {
            let stage = self.local.links[slot].stage;
            if stage != Stage::Vacant {
                let key = key_of(&self.local, slot);
                self.local.counters.cut += u64::from(stage != Stage::Ending);
                self.local.counters.unanswered += u64::from(stage == Stage::Handshake);
                abandon(&mut self.local, key);
            }
        }
    }
}

fn key_of(local: &Local, slot: usize) -> Key {
    let number = u32::try_from(slot).expect("slots are 32 bits");
    local.links[slot].key(number)
}
