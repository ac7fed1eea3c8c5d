//! What the wheel fires: the engine's deadlines of a connection, and the application's timer.
//!
//! A connection is looked at when the soonest of them may have come, and armed again for the next.
//!
//! Invariant: only an open WebSocket has an end of its life in [`Local::lives`]; whatever else ends it
//! takes that out.

use tickwire_protocol::{CloseCode, Refusal};

use super::Shard;
use super::closing::{abandon, close, ended};
use super::dialing::timed_out;
use super::hosted::Hosted;
use super::messages::{call, close_if_asked};
use super::opening::refuse;
use crate::clock::Tick;
use crate::connection::{Inbound, Stage};
use crate::handler::Handler;
use crate::io::{Backend, Key};
use crate::limits::Limits;
use crate::local::Local;

impl<H: Handler, B: Backend> Shard<H, B> {
    pub(super) fn deadlines(&mut self) {
        self.local.wheel.fire(self.local.tick);
        if self.local.wheel.is_due() {
            // Sockets with room take some first: after a turn that was long in coming, nobody is to
            // be dropped for what could have left.
            self.catch_up();
        }
        for _ in 0..Limits::DEADLINES_PER_TURN {
            let Some(slot) = self.local.wheel.take_due() else { break };
            let tick = self.local.tick;
            let key = self.local.links[slot as usize].key(slot);
            let (local, handler) = (&mut self.local, &mut self.handler);
            if local.links[key.index()].timer <= tick {
                local.links[key.index()].timer = Tick::NEVER;
                call(local, handler, key, |handler, connection| handler.timer(connection));
                close_if_asked(local, handler, &mut self.inbound, key);
            }
            if local.life_end(key) <= tick {
                expired(local, handler, &mut self.inbound, key);
            }
            // Asked after these: a close there sets another deadline.
            if local.links[key.index()].deadline <= tick {
                deadline(local, handler, &mut self.inbound, key);
            }
            if local.links[key.index()].latest <= tick {
                outlasted(local, handler, &mut self.inbound, key);
            }
            local.arm(key);
        }
        self.drain();
    }
}

/// The engine's deadline of a connection has come.
fn deadline<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut [Inbound],
    key: Key,
) {
    let (tick, limits) = (local.tick, local.limits);
    let Some(link) = local.link(key) else { return };
    link.deadline = Tick::NEVER;
    match link.stage {
        Stage::Vacant => {}
        Stage::Handshake => {
            local.release(inbound[key.index()].held());
            inbound[key.index()] = Inbound::Discard;
            refuse(local, key, &Refusal::new(408, "the request did not come in time"));
        }
        Stage::Connecting => timed_out(local, &inbound[key.index()], key),
        Stage::Open => {
            let ping_due = link.received.after(limits.ping_after);
            if ping_due > tick {
                link.deadline = ping_due;
            } else if !link.pinged {
                link.pinged = true;
                link.deadline = tick.after(limits.pong_timeout);
                local.ping(key, &[]);
            } else {
                ended(local, handler, key, false);
            }
        }
        Stage::Closing | Stage::Parting | Stage::Finishing | Stage::Ending => {
            let due = link.sent.after(limits.close_timeout);
            match &mut link.unsent {
                // The peer reads, but not so fast that it will get all and see the Close in time.
                Some(unsent) if due > tick => {
                    unsent.drop_data();
                    link.deadline = due;
                }
                _ => abandon(local, key),
            }
        }
    }
}

/// Something has been under way for as long as it may be, however regularly it moved.
fn outlasted<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut [Inbound],
    key: Key,
) {
    let (tick, timeout) = (local.tick, local.limits.message_timeout);
    let Some(link) = local.link(key) else { return };
    link.latest = Tick::NEVER;
    match link.stage {
        Stage::Vacant | Stage::Handshake | Stage::Connecting => {}
        // It is us who do not receive: the rest may have been there for long.
        Stage::Open if link.paused => link.latest = tick.after(timeout),
        Stage::Open => {
            local.counters.message_timeouts += 1;
            let (code, reason) = (CloseCode::POLICY_VIOLATION, "the message did not come in time");
            close(local, handler, inbound, key, code, reason);
        }
        Stage::Closing | Stage::Parting | Stage::Finishing | Stage::Ending => abandon(local, key),
    }
}

/// An open WebSocket has lived as long as it may.
fn expired<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut [Inbound],
    key: Key,
) {
    local.counters.expired += 1;
    let reason = "this connection has lasted as long as it may: connect again";
    close(local, handler, inbound, key, CloseCode::GOING_AWAY, reason);
}
