//! One shard: the loop over a back end, its connections, and one handler.
//!
//! A turn goes: wait; completions through protocol and handler; mailbox; deadlines; flush. It is
//! generic over the back end, so the loop that runs in production is the loop that is simulated.

mod arriving;
mod closing;
mod deadlines;
mod dialing;
mod flush;
mod hosted;
mod messages;
mod opening;
mod relief;
mod shutdown;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tickwire_protocol::{CloseCode, Inflater};

pub(crate) use self::dialing::Attempt;
pub(crate) use self::hosted::Wish;

use self::arriving::Intake;
use self::closing::{close, ended, lagged};
use self::dialing::{connected, fail};
use self::hosted::Hosted;
use self::messages::{close_if_asked, received};
use self::opening::accepted;
use self::shutdown::Shutdown;
use crate::clock::Tick;
use crate::connection::Inbound;
use crate::connector::Unconnected;
use crate::error::{ConnectError, TlsError};
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
    pub(crate) handler: Hosted<H>,
    inbound: Vec<Inbound>,
    /// For all connections whose peers compress each message for itself.
    inflater: Inflater,
    pub(crate) local: Local,
    flush: flush::Scratch,
    shared: Arc<Shared>,
    /// Something was published and not sent yet.
    unflushed: bool,
    /// Since one has begun.
    shutdown: Option<Shutdown>,
    intake: Intake,
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
        let mut handler = Hosted::new(handler);
        let mut local = Local::new(index, hub, limits, start, random);
        let (starting, mut connector) = handler.lend_connector(&mut local);
        starting.start(&mut connector);
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
            intake: Intake::default(),
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
        let is_empty = local.counters.connections_now == 0 && self.handler.wishes.is_empty();
        // Last, since it closes: nothing may be on its way here.
        let loads = local.hub.loads.as_ref();
        self.shutdown.is_some()
            && is_empty
            && self.backend.has_stopped()
            && loads.is_none_or(|loads| loads.close(usize::from(local.shard)))
    }

    /// One pass of the loop, waiting for at most `patience`.
    pub(crate) fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.wait(patience)?;
        self.accept_again();
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
        let ending = self.shutdown.as_ref().map(|shutdown| shutdown.next_due(local.tick));
        let intake = Some(self.intake.next_due());
        let value = local.fanouts.next_due();
        let due = [local.wheel.next_due(), Some(local.next_wish), ending, intake, value];
        let due = due.into_iter().flatten().min().filter(|due| *due != Tick::NEVER);
        let due = due.map(|due| due.until(local.start, local.now));
        let mut timeout = match (due, patience) {
            (Some(due), Some(patience)) => Some(due.min(patience)),
            (one, other) => one.or(other),
        };
        let busy = !local.writable.is_empty()
            || local.wheel.is_due()
            || local.is_dialing()
            || self.shutdown.is_some() && !self.handler.wishes.is_empty()
            || !mailbox.fall_asleep();
        if busy {
            timeout = Some(Duration::ZERO);
        }
        let result = self.backend.wait(timeout);
        self.local.hub.mailboxes[usize::from(self.local.shard)].wake_up();
        self.local.now = self.backend.now();
        self.local.tick = Tick::at(self.local.start, self.local.now);
        self.local.fanouts.set_tick(self.local.tick);
        self.local.counters.turns += 1;
        result
    }

    fn completions(&mut self) {
        while let Some(completion) = self.backend.next() {
            let (local, handler) = (&mut self.local, &mut self.handler);
            match completion {
                Completion::Arrived { newcomer, peer } => {
                    self.arrived(newcomer, peer);
                    self.keep_pace();
                }
                Completion::NotAccepted { error, refused } => self.not_accepted(&error, refused),
                Completion::Accepted { key, peer } => {
                    accepted(local, &mut self.inbound, key, peer);
                    self.keep_pace();
                }
                Completion::Connected { key } => connected(local, &mut self.inbound, key),
                Completion::Received { key, bytes } => {
                    let inflater = &mut self.inflater;
                    received(local, handler, &mut self.inbound, inflater, key, bytes);
                }
                Completion::Writable { key } => local.writable.push(key),
                Completion::Ended { key, error: Some(error) } if local.is_connecting(key) => {
                    fail(local, key, ConnectError::of_socket(error));
                }
                Completion::Ended { key, error } => {
                    local.counters.tls_failures +=
                        u64::from(error.as_ref().is_some_and(is_tls_fault));
                    ended(local, handler, key, error.is_some());
                }
                Completion::Secured { resumed, .. } => {
                    local.counters.tls_handshakes += 1;
                    local.counters.tls_resumed += u64::from(resumed);
                }
                Completion::Nothing => {}
            }
            if self.local.gather.len() > Limits::GATHER_BYTES {
                self.flush_own();
            }
        }
    }

    fn mailbox(&mut self) {
        let shard = usize::from(self.local.shard);
        // Before the letters: what was published to these topics is in the mailbox, or has been.
        let gone = self.local.hub.directory.notices(shard).take_gone();
        self.local.going.extend(gone);
        for _ in 0..self.local.limits.letters_per_turn_max {
            let Some(mail) = self.local.hub.mailboxes[shard].take() else {
                self.local.note_gone();
                break;
            };
            self.letter(mail);
            if self.local.gather.len() > Limits::GATHER_BYTES {
                self.flush_own();
            }
        }
        self.local.take_made();
        for key in std::mem::take(&mut self.local.overfull) {
            let (local, handler) = (&mut self.local, &mut self.handler);
            let reason = "a pattern takes in too many topics";
            close(local, handler, &mut self.inbound, key, CloseCode::POLICY_VIOLATION, reason);
        }
    }

    fn letter(&mut self, mail: Mail) {
        let (local, handler) = (&mut self.local, &mut self.handler);
        match mail {
            Mail::Publish { topic, seq, frame, exclude, published } => {
                local.counters.publications += 1;
                let exclude = exclude.filter(|key| local.link(*key).is_some());
                let exclude = exclude.map(|key| (local.links[key.index()].audience, key.slot));
                self.unflushed |= loop {
                    let Local { fanouts, values, deflaters, .. } = &mut *local;
                    if !values.is_empty() {
                        values.publish(topic, seq, &frame);
                    }
                    if fanouts.publish(topic, seq, &frame, exclude, published, deflaters) {
                        break true;
                    }
                    // Nobody wants it, unless it was made for a pattern and is not known here yet.
                    if !local.take_made() {
                        break false;
                    }
                };
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
                for (slot, from) in local.fanouts.further_behind_than(behind) {
                    let key = local.links[slot as usize].key(slot);
                    lagged(local, handler, &mut self.inbound, key, (from, 0));
                }
            }
            Mail::Connect { destination, state } => {
                let state = state.downcast().expect("a client's state is its handler's");
                let (_, mut connector) = handler.lend_connector(local);
                if let Err(refused) = connector.connect(*destination, *state) {
                    let Unconnected { destination, state, error } = *refused;
                    self.give_up(destination, state, error);
                }
            }
            Mail::Arrived(arrived) => {
                let (newcomer, peer) = *arrived;
                self.take_in(newcomer, peer);
            }
            Mail::Notices => {}
            Mail::Shutdown { spread } => self.begin_shutdown(spread),
            Mail::ShutdownNow => self.shutdown_now(),
        }
    }

    /// Tells other threads how far this shard is.
    fn report(&mut self) {
        let counters = &mut self.local.counters;
        counters.lagging_now = self.local.fanouts.lagging() as u64;
        counters.retained_now = self.local.fanouts.retained();
        let deflate_bytes = self.local.deflaters.memory() + self.inflater.memory();
        (counters.values_sent, counters.values_merged) = self.local.fanouts.value_counts();
        counters.panicked += std::mem::take(&mut self.local.values.panicked);
        counters.deflate_bytes_now = deflate_bytes as u64;
        counters.deflate_dedicated_bytes_now = self.local.deflaters.dedicated_bytes as u64;
        counters.receiving_bytes_now = self.local.receiving as u64;
        counters.unsent_bytes_now = self.local.unsent.bytes() as u64;
        let tls_bytes = self.backend.held_bytes() + self.backend.leaving_bytes();
        counters.tls_bytes_now = tls_bytes as u64;
        counters.retained_bytes_now = self.local.fanouts.retained_bytes() as u64;
        counters.mirrored_bytes = self.backend.mirrored_bytes();
        let mailbox = &self.local.hub.mailboxes[usize::from(self.local.shard)];
        (counters.publications_refused, counters.publications_dropped, counters.wakes) =
            mailbox.pressure();
        self.shared.store(counters);
        mailbox.set_delivered(counters.publications - self.local.fanouts.awaited());
        self.local.hub.progress.notify();
        self.local.forget_gone();
    }
}

/// Whether a connection has ended because its peer, or somebody on the way, broke TLS.
fn is_tls_fault(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|it| it.downcast_ref::<TlsError>());
    error.is_some_and(TlsError::is_fault)
}
