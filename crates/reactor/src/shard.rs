//! One shard: the loop over a back end, its connections, and one handler.
//!
//! A turn goes: wait; completions through protocol and handler; mailbox; deadlines; flush. It is
//! generic over the back end, so the loop that runs in production is the loop that is simulated.

mod closing;
mod deadlines;
mod dialing;
mod flush;
mod messages;
mod opening;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tickwire_protocol::{CloseCode, Inflater, Role};

pub(crate) use self::dialing::Attempt;

use self::closing::{abandon, close, ended, finish, keep_owed, lagged};
use self::dialing::{connected, fail};
use self::messages::{call, close_if_asked, received};
use self::opening::accepted;
use crate::clock::Tick;
use crate::connection::{Inbound, Stage};
use crate::connector::Connector;
use crate::error::ConnectError;
use crate::handler::Handler;
use crate::hub::Hub;
use crate::io::{Backend, Completion};
use crate::limits::Limits;
use crate::local::Local;
use crate::mailbox::Mail;
use crate::metrics::Shared;
use crate::random::Random;

/// The loop of one core.
pub(crate) struct Shard<H: Handler, B> {
    pub(crate) backend: B,
    handler: H,
    inbound: Vec<Inbound>,
    /// For all connections whose peers compress each message for itself.
    inflater: Inflater,
    local: Local<H::State>,
    flush: flush::Scratch,
    shared: Arc<Shared>,
    /// Something was published and not sent yet.
    unflushed: bool,
    /// Set by a shutdown: when connections that are left are dropped.
    shutdown: Option<Tick>,
}

impl<H: Handler, B: Backend> Shard<H, B> {
    pub(crate) fn new(
        index: u16,
        mut backend: B,
        handler: H,
        hub: Arc<Hub>,
        limits: Limits,
        shared: Arc<Shared>,
    ) -> Self {
        let start = backend.now();
        let random = Random::new(backend.random());
        let mut handler = handler;
        let mut local = Local::new(index, hub, limits, start, random);
        handler.start(&mut Connector::new(&mut local));
        Self {
            backend,
            handler,
            inbound: Vec::new(),
            inflater: Inflater::new(false),
            local,
            flush: flush::Scratch::default(),
            shared,
            unflushed: false,
            shutdown: None,
        }
    }

    /// Turns until the shard has been shut down.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        while !self.is_over() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Whether a shutdown is complete.
    pub(crate) fn is_over(&self) -> bool {
        let local = &self.local;
        self.shutdown.is_some() && local.counters.connections_now == 0 && local.wishes.is_empty()
    }

    /// One pass of the loop, waiting for at most `patience`.
    pub(crate) fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.wait(patience)?;
        self.completions();
        self.mailbox();
        self.deadlines();
        self.dial();
        self.flush();
        self.report();
        Ok(())
    }

    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let local = &self.local;
        let mailbox = &local.hub.mailboxes[usize::from(local.shard)];
        let due = [local.wheel.next_due(), Some(local.next_wish), self.shutdown];
        let due = due.into_iter().flatten().min().filter(|due| *due != Tick::NEVER);
        let due = due.map(|due| due.until(local.start, local.now));
        let mut timeout = match (due, patience) {
            (Some(due), Some(patience)) => Some(due.min(patience)),
            (one, other) => one.or(other),
        };
        let busy = !local.writable.is_empty()
            || local.wheel.is_due()
            || local.is_dialing()
            || self.shutdown.is_some() && !local.wishes.is_empty()
            || !mailbox.fall_asleep();
        if busy {
            timeout = Some(Duration::ZERO);
        }
        let result = self.backend.wait(timeout);
        self.local.hub.mailboxes[usize::from(self.local.shard)].wake_up();
        self.local.now = self.backend.now();
        self.local.tick = Tick::at(self.local.start, self.local.now);
        self.local.counters.turns += 1;
        result
    }

    fn completions(&mut self) {
        while let Some(completion) = self.backend.next() {
            let (local, handler) = (&mut self.local, &mut self.handler);
            match completion {
                Completion::Accepted { key, peer } => {
                    accepted(local, &mut self.inbound, key, peer);
                }
                Completion::Connected { key } => connected(local, &mut self.inbound, key),
                Completion::Received { key, bytes } => {
                    let inflater = &mut self.inflater;
                    received(local, handler, &mut self.inbound, inflater, key, bytes);
                }
                Completion::Writable { key } => local.writable.push(key),
                Completion::Ended { key, error: Some(error) } if local.is_connecting(key) => {
                    fail(local, key, ConnectError::Socket(error));
                }
                Completion::Ended { key, error } => {
                    ended(local, handler, key, error.is_some());
                }
            }
            if self.local.gather.len() > Limits::GATHER_BYTES {
                self.flush_own();
            }
        }
    }

    fn mailbox(&mut self) {
        for _ in 0..self.local.limits.letters_per_turn_max {
            let mailbox = &self.local.hub.mailboxes[usize::from(self.local.shard)];
            let Some(mail) = mailbox.take() else { break };
            self.letter(mail);
            if self.local.gather.len() > Limits::GATHER_BYTES {
                self.flush_own();
            }
        }
    }

    fn letter(&mut self, mail: Mail) {
        let (local, handler) = (&mut self.local, &mut self.handler);
        match mail {
            Mail::Publish { topic, seq, frame, exclude } => {
                local.counters.publications += 1;
                let exclude = exclude.filter(|key| local.link(*key).is_some());
                let exclude = exclude.map(|key| (local.links[key.index()].audience, key.slot));
                let Local { fanouts, deflaters, .. } = local;
                self.unflushed |= fanouts.publish(topic, seq, &frame, exclude, deflaters);
            }
            Mail::Send { key, frame } => {
                local.frame(key, &frame);
                close_if_asked(local, handler, &mut self.inbound, key);
            }
            Mail::Close { key, code, reason } => {
                let audience = local.link(key).map(|link| link.audience);
                let subscribes = |it| local.fanouts[it].subscriptions(key.slot).len() > 0;
                if self.unflushed && audience.is_some_and(subscribes) {
                    // The same thread may have published to it before.
                    self.flush();
                }
                let (local, handler) = (&mut self.local, &mut self.handler);
                close(local, handler, &mut self.inbound, key, code, &reason);
            }
            Mail::CloseLagging { behind } => {
                for slot in local.fanouts.further_behind_than(behind) {
                    let key = local.links[slot as usize].key(slot);
                    lagged(local, handler, &mut self.inbound, key);
                }
            }
            Mail::Connect { destination, state } => {
                let state = state.downcast().expect("a client's state is its handler's");
                local.connect_after(Duration::ZERO, *destination, *state);
            }
            Mail::Shutdown => self.begin_shutdown(),
        }
    }

    fn begin_shutdown(&mut self) {
        if self.shutdown.is_some() {
            return;
        }
        self.backend.stop_accepting();
        // What was published before leaves first.
        self.flush();
        let (local, handler) = (&mut self.local, &mut self.handler);
        let timeout = local.limits.shutdown_timeout;
        let deadline = local.tick.after(timeout);
        self.shutdown = Some(deadline);
        for slot in 0..local.links.len() {
            let slot = u32::try_from(slot).expect("slots are 32 bits");
            let key = local.links[slot as usize].key(slot);
            match local.links[slot as usize].stage {
                Stage::Open => {
                    keep_owed(local, key);
                    call(local, handler, key, |handler, context| handler.shutdown(context));
                    let reason = match local.links[slot as usize].role {
                        Role::Server => "the server shuts down",
                        Role::Client => "the client shuts down",
                    };
                    let going_away = || (CloseCode::GOING_AWAY, reason.to_owned());
                    let (code, reason) = local.close.take().unwrap_or_else(going_away);
                    close(local, handler, &mut self.inbound, key, code, &reason);
                    if local.links[slot as usize].is_blocked() {
                        // Messages wait ahead of the Close: half of the time for them.
                        local.set_deadline(key, local.limits.close_timeout.min(timeout / 2));
                    }
                }
                Stage::Handshake => finish(local, key, Stage::Ending),
                Stage::Connecting => fail(local, key, ConnectError::ShuttingDown),
                Stage::Vacant
                | Stage::Closing
                | Stage::Parting
                | Stage::Finishing
                | Stage::Ending => {}
            }
        }
    }

    /// Ends whoever still holds up a shutdown.
    fn end_shutdown(&mut self) {
        for slot in 0..self.local.links.len() {
            let slot = u32::try_from(slot).expect("slots are 32 bits");
            let link = &self.local.links[slot as usize];
            if link.stage != Stage::Vacant {
                let key = link.key(slot);
                abandon(&mut self.local, key);
            }
        }
    }

    /// Tells other threads how far this shard is.
    fn report(&mut self) {
        let counters = &mut self.local.counters;
        counters.lagging_now = self.local.fanouts.lagging() as u64;
        counters.retained_now = self.local.fanouts.retained();
        let deflate_bytes = self.local.deflaters.memory() + self.inflater.memory();
        counters.deflate_bytes_now = deflate_bytes as u64;
        self.shared.store(counters);
        let hub = &self.local.hub;
        let delivered = counters.publications - counters.retained_now;
        hub.mailboxes[usize::from(self.local.shard)].set_delivered(delivered);
        hub.progress.notify();
    }
}
