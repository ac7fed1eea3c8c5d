//! Received bytes: through the protocol to the handler.
//!
//! Every call of the handler goes through [`call`], which turns a panic into Close 1011, and is
//! followed by [`close_if_asked`], so that a Close which the handler asked for takes effect before
//! the next event of the connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tickwire_protocol::{CloseCode, Event, Inflater};

use super::closing::{abandon, close, over, part};
use super::dialing::answered;
use super::hosted::Hosted;
use super::opening::request;
use crate::clock::Tick;
use crate::connection::{Inbound, Stage};
use crate::handler::{Connection, Ended, Handler};
use crate::io::Key;
use crate::local::Local;

pub(super) fn received<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut [Inbound],
    inflater: &mut Inflater,
    key: Key,
    bytes: &mut [u8],
) {
    local.counters.received_bytes += bytes.len() as u64;
    if is_ignored_for_too_long(local, key, bytes.len()) {
        return abandon(local, key);
    }
    // A send that broke in this turn may have ended the connection before its last bytes are seen.
    if local.link(key).is_none_or(|link| matches!(link.stage, Stage::Finishing | Stage::Ending)) {
        return;
    }
    local.heard(key);
    let (before, receiving) = (inbound[key.index()].held(), local.receiving);
    let mut bytes = bytes;
    match &mut inbound[key.index()] {
        waiting @ Inbound::Request { .. } => request(local, handler, waiting, key, &mut bytes),
        waiting @ Inbound::Outgoing(_) => answered(local, handler, waiting, key, &mut bytes),
        Inbound::Vacant | Inbound::Open { .. } | Inbound::Discard => {}
    }
    if let Inbound::Open { .. } = &inbound[key.index()] {
        messages(local, handler, inbound, inflater, key, &mut bytes);
    }
    let now = inbound[key.index()].held();
    // In place of what a Close on the way has taken off: that was this connection's too.
    local.receiving = receiving - before.receiving + now.receiving;
    let deflaters = &mut local.deflaters;
    deflaters.dedicated_bytes = deflaters.dedicated_bytes - before.inflating + now.inflating;
}

/// Counts what comes behind our last word; whether it is more than a peer can have had on its way.
fn is_ignored_for_too_long(local: &mut Local, key: Key, bytes: usize) -> bool {
    let most = local.limits.ignored_max();
    let Some(link) = local.link(key) else { return false };
    if !matches!(link.stage, Stage::Closing | Stage::Parting | Stage::Finishing) {
        return false;
    }
    link.tally = link.tally.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    link.tally > most
}

/// Runs whatever whole messages `bytes` complete.
fn messages<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut [Inbound],
    shared: &mut Inflater,
    key: Key,
    bytes: &mut &mut [u8],
) {
    close_if_asked(local, handler, inbound, key);
    while let Inbound::Open { connection, inflater } = &mut inbound[key.index()] {
        let protocol = local.limits.protocol;
        let mut event = None;
        local.control_masked(key, |mask, out| {
            let inflater = inflater.as_deref_mut().unwrap_or(shared);
            event = connection.receive(bytes, &protocol, inflater, mask, out);
        });
        match event {
            None => {
                let is_amid = connection.is_amid();
                return await_rest(local, key, is_amid);
            }
            Some(Event::Message(message)) => {
                local.counters.received_messages += 1;
                await_rest(local, key, false);
                call(local, handler, key, |handler, connection| {
                    handler.message(connection, message)
                });
                close_if_asked(local, handler, inbound, key);
            }
            Some(event @ (Event::Ping(_) | Event::Pong(_))) => {
                let is_ping = matches!(event, Event::Ping(_));
                // The time of the message around it goes on.
                let is_amid = connection.is_amid();
                await_rest(local, key, is_amid);
                if is_ping && is_flood(local, key) {
                    local.counters.ping_floods += 1;
                    let (code, reason) =
                        (CloseCode::POLICY_VIOLATION, "too many pings in a second");
                    close(local, handler, inbound, key, code, reason);
                }
            }
            Some(Event::Closed(code, _)) => {
                local.counters.closed += 1;
                over(local, handler, key, Ended::ByPeer(code));
                part(local, key, Stage::Ending);
                inbound[key.index()] = Inbound::Discard;
            }
            Some(Event::Failed(error)) => {
                local.counters.failed += 1;
                let code = error.close_code();
                over(local, handler, key, Ended::ByUs(code));
                part(local, key, Stage::Finishing);
                inbound[key.index()] = Inbound::Discard;
            }
        }
    }
}

/// Takes note of whether the rest of a frame or message is due: it is, at the same time, until the
/// frame or message that has begun is complete.
fn await_rest(local: &mut Local, key: Key, is_amid: bool) {
    let link = &mut local.links[key.index()];
    if link.stage != Stage::Open {
        return;
    }
    if !is_amid {
        link.latest = Tick::NEVER;
    } else if link.latest == Tick::NEVER {
        link.latest = local.tick.after(local.limits.message_timeout);
        local.arm(key);
    }
}

/// Counts a Ping of the peer; whether it is one too many in its second.
fn is_flood(local: &mut Local, key: Key) -> bool {
    let link = &mut local.links[key.index()];
    if link.tally == 0 || local.tick.since(link.pings_since) >= Duration::from_secs(1) {
        link.pings_since = local.tick;
        link.tally = 0;
    }
    link.tally = link.tally.saturating_add(1);
    link.tally > local.limits.pings_per_second_max
}

/// Calls the handler for a connection. If it panics, the connection is to be closed with 1011.
pub(super) fn call<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    key: Key,
    run: impl FnOnce(&mut H, &mut Connection<'_, H::State>),
) {
    let (handler, mut connection) = handler.lend(local, key);
    if catch_unwind(AssertUnwindSafe(|| run(handler, &mut connection))).is_err() {
        local.counters.panicked += 1;
        local.close = Some((CloseCode::INTERNAL_ERROR, "internal error".to_owned()));
    }
}

/// Drops something of the application's, which may panic like any other code of it.
pub(super) fn discard<T>(local: &mut Local, value: T) {
    if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
        local.counters.panicked += 1;
    }
}

pub(super) fn close_if_asked<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut [Inbound],
    key: Key,
) {
    if let Some((code, reason)) = local.close.take() {
        close(local, handler, inbound, key, code, &reason);
    }
}
