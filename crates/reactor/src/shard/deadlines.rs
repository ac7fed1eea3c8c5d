//! What the wheel fires: the engine's deadlines of a connection, and the application's timer.

use tickwire_protocol::Refusal;

use super::Shard;
use super::closing::{abandon, over};
use super::dialing::timed_out;
use super::messages::{call, close_if_asked};
use super::opening::refuse;
use crate::clock::Tick;
use crate::connection::{Inbound, Stage};
use crate::handler::{Ended, Handler};
use crate::io::{Backend, Key};
use crate::local::Local;

impl<H: Handler, B: Backend> Shard<H, B> {
    pub(super) fn deadlines(&mut self) {
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
        Stage::Closing | Stage::Parting | Stage::Finishing | Stage::Ending => abandon(local, key),
    }
}
