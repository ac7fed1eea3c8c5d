//! One shard: the loop over a back end, its connections, and one handler.
//!
//! A turn goes: wait; completions through protocol and handler; mailbox; deadlines; flush. It is
//! generic over the back end, so the loop that runs in production is the loop that is simulated.

mod flush;

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tickwire_protocol::{
    CloseCode, Connection, Event, OpCode, Refusal, Request, RequestReader, Role, encode,
};
use tracing::error;

use crate::clock::Tick;
use crate::connection::{Inbound, Link, Stage};
use crate::context::Context;
use crate::handler::{Answer, Ended, Handler, Lagged, Response};
use crate::hub::Hub;
use crate::io::{Backend, Completion, Key};
use crate::limits::Limits;
use crate::local::Local;
use crate::mailbox::Mail;
use crate::metrics::Shared;

/// The loop of one core.
pub(crate) struct Shard<H: Handler, B> {
    pub(crate) backend: B,
    handler: H,
    inbound: Vec<Inbound>,
    local: Local<H::State>,
    flush: flush::Scratch,
    fired: Vec<(Key, Tick)>,
    shared: Arc<Shared>,
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
        Self {
            backend,
            handler,
            inbound: Vec::new(),
            local: Local::new(index, hub, limits, start),
            flush: flush::Scratch::default(),
            fired: Vec::new(),
            shared,
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
        self.shutdown.is_some() && self.local.counters.connections_now == 0
    }

    /// One pass of the loop, waiting for at most `patience`.
    pub(crate) fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.wait(patience)?;
        self.completions();
        self.mailbox();
        self.deadlines();
        self.flush();
        self.report();
        Ok(())
    }

    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let local = &self.local;
        let mailbox = &local.hub.mailboxes[usize::from(local.shard)];
        let due = local.wheel.next_due().map(|tick| tick.until(local.start, local.now));
        let mut timeout = match (due, patience) {
            (Some(due), Some(patience)) => Some(due.min(patience)),
            (one, other) => one.or(other),
        };
        let busy = !local.writable.is_empty() || !mailbox.fall_asleep();
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
                Completion::Received { key, bytes } => {
                    received(local, handler, &mut self.inbound, key, bytes);
                }
                Completion::Writable { key } => local.writable.push(key),
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
                local.fanout.publish(topic, seq, &frame, exclude.map(|key| key.slot));
            }
            Mail::Send { key, frame } => {
                local.counters.sent_messages += 1;
                local.send(key, |out| out.extend_from_slice(&frame));
                close_if_asked(local, handler, &mut self.inbound, key);
            }
            Mail::Close { key, code, reason } => {
                close(local, handler, &mut self.inbound, key, code, &reason);
            }
            Mail::CloseLagging { behind } => {
                let slots: Vec<u32> = local.fanout.lagging().collect();
                for slot in slots {
                    if local.fanout.lag_of(slot) > behind {
                        let key = local.links[slot as usize].key(slot);
                        lagged(local, handler, &mut self.inbound, key);
                    }
                }
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
        // So that the loop does not sleep past it.
        local.wheel.arm(Key { slot: u32::MAX, generation: 0 }, deadline);
        for slot in 0..local.links.len() {
            let slot = u32::try_from(slot).expect("slots are 32 bits");
            let key = local.links[slot as usize].key(slot);
            match local.links[slot as usize].stage {
                Stage::Open => {
                    call(local, handler, key, |handler, context| handler.shutdown(context));
                    let reason = "the server shuts down";
                    close(local, handler, &mut self.inbound, key, CloseCode::GOING_AWAY, reason);
                }
                Stage::Handshake => finish(local, key, Stage::Ending),
                Stage::Vacant | Stage::Closing | Stage::Finishing | Stage::Ending => {}
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

    fn deadlines(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        self.local.wheel.fire(self.local.tick, &mut fired);
        for (key, at) in fired.drain(..) {
            let tick = self.local.tick;
            let Some(link) = self.local.link(key) else { continue };
            // An entry that a sooner one has replaced is not this connection's any more.
            if link.armed != at {
                continue;
            }
            link.armed = Tick::NEVER;
            let (local, handler) = (&mut self.local, &mut self.handler);
            if local.links[key.index()].timer <= tick {
                local.links[key.index()].timer = Tick::NEVER;
                call(local, handler, key, |handler, context| handler.timer(context));
                close_if_asked(local, handler, &mut self.inbound, key);
            }
            // Asked after the timer: a close there sets another deadline.
            if local.links[key.index()].deadline <= tick {
                deadline(local, handler, &mut self.inbound, key);
            }
            local.arm(key);
        }
        self.fired = fired;
        if self.shutdown.is_some_and(|deadline| self.local.tick >= deadline) {
            self.end_shutdown();
        }
    }

    /// Tells other threads how far this shard is.
    fn report(&mut self) {
        let counters = &mut self.local.counters;
        counters.lagging_now = self.local.fanout.lagging().len() as u64;
        counters.retained_now = self.local.fanout.head() - self.local.fanout.delivered();
        self.shared.store(counters);
        let hub = &self.local.hub;
        let delivered = counters.publications - counters.retained_now;
        hub.mailboxes[usize::from(self.local.shard)].set_delivered(delivered);
        hub.progress.notify();
    }
}

fn accepted<S>(local: &mut Local<S>, inbound: &mut Vec<Inbound>, key: Key, peer: SocketAddr) {
    local.counters.accepted += 1;
    local.counters.connections_now += 1;
    while local.links.len() <= key.index() {
        local.links.push(Link::vacant());
        inbound.push(Inbound::Vacant);
    }
    let link = &mut local.links[key.index()];
    *link = Link::vacant();
    link.generation = key.generation;
    link.stage = Stage::Handshake;
    link.received = local.tick;
    link.sent = local.tick;
    if local.counters.connections_now > local.limits.connections_max as u64 {
        inbound[key.index()] = Inbound::Discard;
        let full = Refusal::new(503, "the server has as many connections as it takes; try later");
        return refuse(local, key, &full.with_retry_after(5));
    }
    inbound[key.index()] = Inbound::Request { reader: RequestReader::new(), peer };
    local.set_deadline(key, local.limits.handshake_timeout);
}

fn received<H: Handler>(
    local: &mut Local<H::State>,
    handler: &mut H,
    inbound: &mut [Inbound],
    key: Key,
    bytes: &mut [u8],
) {
    local.counters.received_bytes += bytes.len() as u64;
    // A send that broke in this turn may have ended the connection before its last bytes are seen.
    if local.link(key).is_none_or(|link| matches!(link.stage, Stage::Finishing | Stage::Ending)) {
        return;
    }
    local.heard(key);
    let mut bytes = bytes;
    if let Inbound::Request { .. } = &inbound[key.index()] {
        request(local, handler, &mut inbound[key.index()], key, &mut bytes);
    }
    if let Inbound::Open(_) = &inbound[key.index()] {
        messages(local, handler, inbound, key, &mut bytes);
    }
}

/// Feeds the request; when it is whole, `inbound` moves on to what follows it.
fn request<H: Handler>(
    local: &mut Local<H::State>,
    handler: &mut H,
    inbound: &mut Inbound,
    key: Key,
    bytes: &mut &mut [u8],
) {
    let Inbound::Request { reader, peer } = inbound else { return };
    match reader.push(bytes, &local.limits.protocol) {
        Ok(None) => {}
        Ok(Some(request)) => {
            *inbound = answer(local, handler, key, &request, *peer);
            if matches!(inbound, Inbound::Open(_)) {
                local.counters.upgraded += 1;
                local.links[key.index()].stage = Stage::Open;
                local.set_deadline(key, local.limits.ping_after);
                call(local, handler, key, |handler, context| handler.open(context));
            }
        }
        Err(refusal) => {
            *inbound = Inbound::Discard;
            refuse(local, key, &refusal);
        }
    }
}

/// Answers a request; gives what the connection is from now on.
fn answer<H: Handler>(
    local: &mut Local<H::State>,
    handler: &mut H,
    key: Key,
    request: &Request<'_>,
    peer: SocketAddr,
) -> Inbound {
    let asked = catch_unwind(AssertUnwindSafe(|| handler.request(request, peer)));
    let Ok(answer) = asked else {
        local.counters.panicked += 1;
        http(local, key, request, &Response::text(500, "the server could not answer this"));
        return Inbound::Discard;
    };
    match answer {
        Answer::Http(response) => {
            local.counters.answered += 1;
            http(local, key, request, &response);
            Inbound::Discard
        }
        Answer::Upgrade { state, protocol } => match upgrade(local, key, request, protocol) {
            Ok(()) => {
                local.links[key.index()].state = Some(state);
                Inbound::Open(Connection::new(Role::Server))
            }
            Err(refusal) => {
                refuse(local, key, &refusal);
                Inbound::Discard
            }
        },
    }
}

fn upgrade<S>(
    local: &mut Local<S>,
    key: Key,
    request: &Request<'_>,
    protocol: Option<&str>,
) -> Result<(), Refusal> {
    let upgrade = tickwire_protocol::upgrade(request)?;
    let mut accepted = Ok(());
    local.send(key, |out| accepted = upgrade.accept(protocol, out));
    accepted.map_err(|error| {
        error!(%error, "the handler's answer to an upgrade cannot be sent");
        Refusal::new(500, "the server could not answer this")
    })
}

fn http<S>(local: &mut Local<S>, key: Key, request: &Request<'_>, answer: &Response) {
    let headers: Vec<(&str, &str)> =
        answer.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let response = tickwire_protocol::Response {
        status: answer.status,
        content_type: answer.content_type,
        headers: &headers,
        body: &answer.body,
    };
    let head_only = request.method() == "HEAD";
    local.send(key, |out| {
        if let Err(error) = response.encode(head_only, out) {
            error!(%error, "the handler's answer cannot be sent");
            Refusal::new(500, "the server could not answer this").encode(out);
        }
    });
    // An answer may be larger than what a connection may leave unsent; it is the last thing sent.
    local.close = None;
    finish(local, key, Stage::Finishing);
}

fn refuse<S>(local: &mut Local<S>, key: Key, refusal: &Refusal) {
    local.counters.refused += 1;
    local.send(key, |out| refusal.encode(out));
    finish(local, key, Stage::Finishing);
}

/// Runs whatever whole messages `bytes` complete.
fn messages<H: Handler>(
    local: &mut Local<H::State>,
    handler: &mut H,
    inbound: &mut [Inbound],
    key: Key,
    bytes: &mut &mut [u8],
) {
    close_if_asked(local, handler, inbound, key);
    while let Inbound::Open(connection) = &mut inbound[key.index()] {
        let protocol = local.limits.protocol;
        let mut event = None;
        local.control(key, |out| {
            event = connection.receive(bytes, &protocol, &mut no_mask, out);
        });
        match event {
            None => return,
            Some(Event::Message(message)) => {
                local.counters.received_messages += 1;
                call(local, handler, key, |handler, context| handler.message(context, message));
                close_if_asked(local, handler, inbound, key);
            }
            Some(Event::Ping(_) | Event::Pong(_)) => {}
            Some(Event::Closed(code, _)) => {
                local.counters.closed += 1;
                nothing_behind_close(local, key);
                over(local, handler, key, Ended::ByPeer(code));
                finish(local, key, Stage::Ending);
                inbound[key.index()] = Inbound::Discard;
            }
            Some(Event::Failed(error)) => {
                local.counters.failed += 1;
                nothing_behind_close(local, key);
                let code = error.close_code();
                over(local, handler, key, Ended::ByServer(code));
                finish(local, key, Stage::Finishing);
                inbound[key.index()] = Inbound::Discard;
            }
        }
    }
}

/// If the Close that the protocol has just said overtakes messages that wait, forgets those
/// (RFC 6455 §5.5.1). One of our own that went before may itself be among them.
fn nothing_behind_close<S>(local: &mut Local<S>, key: Key) {
    let link = &mut local.links[key.index()];
    if link.stage == Stage::Open
        && let Some(unsent) = &mut link.unsent
    {
        unsent.drop_data();
    }
}

/// A server's frames are not masked (RFC 6455 §5.1), so the protocol never asks.
fn no_mask() -> [u8; 4] {
    [0; 4]
}

/// Calls the handler for a connection. If it panics, the connection is to be closed with 1011.
fn call<H: Handler>(
    local: &mut Local<H::State>,
    handler: &mut H,
    key: Key,
    run: impl FnOnce(&mut H, &mut Context<'_, H::State>),
) {
    let mut context = Context::new(local, key);
    if catch_unwind(AssertUnwindSafe(|| run(handler, &mut context))).is_err() {
        local.counters.panicked += 1;
        local.close = Some((CloseCode::INTERNAL_ERROR, "internal error".to_owned()));
    }
}

fn close_if_asked<H: Handler>(
    local: &mut Local<H::State>,
    handler: &mut H,
    inbound: &mut [Inbound],
    key: Key,
) {
    if let Some((code, reason)) = local.close.take() {
        close(local, handler, inbound, key, code, &reason);
    }
}

/// Sends our Close and waits for the peer's, for as long as `close_timeout`.
fn close<H: Handler>(
    local: &mut Local<H::State>,
    handler: &mut H,
    inbound: &mut [Inbound],
    key: Key,
    code: CloseCode,
    reason: &str,
) {
    local.close = None;
    if local.link(key).is_none_or(|link| link.stage != Stage::Open) {
        return;
    }
    let Some(Inbound::Open(connection)) = inbound.get_mut(key.index()) else { return };
    if let Some(unsent) = &mut local.links[key.index()].unsent {
        // The peer has stopped reading: its Close must not wait behind messages.
        unsent.drop_data();
    }
    local.control(key, |out| connection.close(code, reason, &mut no_mask, out));
    over(local, handler, key, Ended::ByServer(code));
    local.links[key.index()].stage = Stage::Closing;
    local.set_deadline(key, local.limits.close_timeout);
}

/// The WebSocket is over for the application: no more publications, no more calls but this last.
fn over<H: Handler>(local: &mut Local<H::State>, handler: &mut H, key: Key, ended: Ended) {
    let link = &mut local.links[key.index()];
    if link.stage != Stage::Open {
        return;
    }
    link.stage = Stage::Closing;
    link.timer = Tick::NEVER;
    local.unsubscribe_all(key.slot);
    call(local, handler, key, |handler, context| handler.close(context, ended));
    // It is closed already; and a subscription that `close` made would be nobody's.
    local.close = None;
    local.unsubscribe_all(key.slot);
}

/// Nothing more will be said: the connection ends when it is flushed, or at its deadline.
fn finish<S>(local: &mut Local<S>, key: Key, stage: Stage) {
    local.links[key.index()].stage = stage;
    local.set_deadline(key, local.limits.close_timeout);
    local.ending.push(key);
}

/// The stream of the peer has ended, or the socket is broken.
fn ended<H: Handler>(local: &mut Local<H::State>, handler: &mut H, key: Key, broken: bool) {
    let Some(link) = local.link(key) else { return };
    if broken {
        link.unsent = None;
    }
    if matches!(link.stage, Stage::Open | Stage::Closing) {
        link.unsent = None;
        local.counters.lost += 1;
        over(local, handler, key, Ended::Lost);
    }
    finish(local, key, Stage::Ending);
}

fn lagged<H: Handler>(
    local: &mut Local<H::State>,
    handler: &mut H,
    inbound: &mut [Inbound],
    key: Key,
) {
    if local.link(key).is_none_or(|link| link.stage != Stage::Open) {
        return;
    }
    local.counters.overruns += 1;
    let mut decision = Lagged::Skip;
    call(local, handler, key, |handler, context| decision = handler.lagged(context));
    if let Lagged::Close(code, reason) = decision {
        local.close.get_or_insert_with(|| (code, reason.to_owned()));
    }
    close_if_asked(local, handler, inbound, key);
}

/// The engine's deadline of a connection has come.
fn deadline<H: Handler>(
    local: &mut Local<H::State>,
    handler: &mut H,
    inbound: &mut [Inbound],
    key: Key,
) {
    let (tick, limits) = (local.tick, local.limits);
    let Some(link) = local.link(key) else { return };
    link.deadline = Tick::NEVER;
    match link.stage {
        Stage::Vacant => {}
        Stage::Handshake => {
            inbound[key.index()] = Inbound::Discard;
            refuse(local, key, &Refusal::new(408, "the request did not come in time"));
        }
        Stage::Open => {
            let ping_due = link.received.after(limits.ping_after);
            if ping_due > tick {
                link.deadline = ping_due;
            } else if !link.pinged {
                link.pinged = true;
                link.deadline = tick.after(limits.pong_timeout);
                local.control(key, |out| encode::frame(true, OpCode::Ping, None, &[], out));
            } else {
                local.counters.lost += 1;
                over(local, handler, key, Ended::Lost);
                abandon(local, key);
            }
        }
        // The peer is still reading what it was to get before the end.
        Stage::Finishing | Stage::Ending
            if link.is_blocked() && link.sent.after(limits.close_timeout) > tick =>
        {
            link.deadline = link.sent.after(limits.close_timeout);
        }
        Stage::Closing | Stage::Finishing | Stage::Ending => abandon(local, key),
    }
}

/// Closes the socket whatever is still unsent.
fn abandon<S>(local: &mut Local<S>, key: Key) {
    local.links[key.index()].unsent = None;
    finish(local, key, Stage::Ending);
}
