//! The end of a connection, from whatever side it comes (RFC 6455 section 7).
//!
//! A Close of ours ([`close`]), the end of the stream or of the socket ([`ended`]), a connection
//! that lags ([`lagged`]): each tells the handler once, through [`over`], and leaves the rest to the
//! flush, which ends the socket when everything is sent.

use tickwire_protocol::{CloseCode, Role};

use super::dialing::fail;
use super::hosted::Hosted;
use super::messages::{call, close_if_asked};
use crate::clock::Tick;
use crate::connection::{Inbound, Stage};
use crate::error::ConnectError;
use crate::handler::{Ended, Handler};
use crate::io::Key;
use crate::lag::{Lag, Lagged};
use crate::local::Local;

/// Sends our Close and waits for the peer's, for as long as `close_timeout`.
pub(super) fn close<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut [Inbound],
    key: Key,
    code: CloseCode,
    reason: &str,
) {
    if local.link(key).is_some_and(|link| link.stage == Stage::Open) {
        keep_owed(local, handler, key);
    }
    close_behind(local, handler, inbound, key, code, reason);
}

/// As [`close`], behind what is kept for the connection already.
pub(super) fn close_behind<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut [Inbound],
    key: Key,
    code: CloseCode,
    reason: &str,
) {
    local.close = None;
    if local.link(key).is_none_or(|link| link.stage != Stage::Open) {
        return;
    }
    let Some(Inbound::Open { connection, .. }) = inbound.get_mut(key.index()) else { return };
    let held = connection.memory();
    local.control_masked(key, |mask, out| connection.close(code, reason, mask, out));
    // Amid a message of it, what it holds is not in the account: `received` has the last word.
    local.receiving = local.receiving.saturating_sub(held - connection.memory());
    over(local, handler, key, Ended::ByUs(code));
    local.links[key.index()].stage = Stage::Closing;
    local.set_deadline(key, local.limits.close_timeout);
}

/// What waits for the socket leaves before what is said from now on, and before the Close: messages,
/// and publications too, as many as fit in a portion. If it is more than a connection may leave
/// unsent, it would not leave in time.
pub(super) fn keep_owed<H: Handler>(local: &mut Local, handler: &mut Hosted<H>, key: Key) {
    let most = local.limits.unsent_max();
    let Local { links, fanouts, values, deflaters, .. } = local;
    let link = &mut links[key.index()];
    let (coding, fanout) = fanouts.coded(link.audience);
    let Some(unsent) = &mut link.unsent else { return };
    if unsent.len() > most {
        // Nor may what is said from now on refer back to it.
        let own = link.deflater.take();
        deflaters.dedicated_bytes -= own.map_or(0, |own| own.memory());
        return unsent.drop_data();
    }
    let mut kept = 0;
    let mut render = values.renderer(handler.handler(), coding, deflaters);
    unsent.data(|data| kept = fanout.owed(key.slot, data, &mut render).bytes);
    fanout.settle_owed(key.slot, kept);
}

/// The WebSocket is over for the application: no more publications, no more calls but this last.
pub(super) fn over<H: Handler>(local: &mut Local, handler: &mut Hosted<H>, key: Key, ended: Ended) {
    let link = &mut local.links[key.index()];
    if link.stage != Stage::Open {
        return;
    }
    link.stage = Stage::Closing;
    link.timer = Tick::NEVER;
    link.tally = 0;
    link.latest = local.tick.after(local.limits.farewell_timeout);
    local.end_life(key);
    local.policies.forget(key.slot);
    local.unsubscribe_all(key.slot);
    call(local, handler, key, |handler, connection| handler.close(connection, ended));
    // It is closed already; and a subscription that `close` made would be nobody's.
    local.close = None;
    local.unsubscribe_all(key.slot);
}

/// Nothing more will be said: the connection ends when it is flushed, or at its deadline.
pub(super) fn finish(local: &mut Local, key: Key, stage: Stage) {
    let link = &mut local.links[key.index()];
    if link.stage == Stage::Handshake {
        link.latest = local.tick.after(local.limits.farewell_timeout);
    }
    link.stage = stage;
    local.set_deadline(key, local.limits.close_timeout);
    local.ending.push(key);
}

/// Both sides have said their last, or we do not listen any more: `stage` is what follows for a
/// server. A client waits for the server to end the stream (RFC 6455 section 7.1.1).
pub(super) fn part(local: &mut Local, key: Key, stage: Stage) {
    match local.links[key.index()].role {
        Role::Server => finish(local, key, stage),
        Role::Client => finish(local, key, Stage::Parting),
    }
}

/// The stream of the peer has ended, or the socket is broken.
pub(super) fn ended<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    key: Key,
    broken: bool,
) {
    let Some(link) = local.link(key) else { return };
    if broken {
        link.unsent = None;
    }
    if link.stage == Stage::Connecting {
        return fail(local, key, ConnectError::NoAnswer);
    }
    match link.stage {
        Stage::Open | Stage::Closing => {
            link.unsent = None;
            local.counters.lost += 1;
            over(local, handler, key, Ended::Lost);
        }
        Stage::Handshake => local.counters.unanswered += 1,
        _ => {}
    }
    finish(local, key, Stage::Ending);
}

/// A connection is behind from position `from` of its log on, and `skipped` publications since then are
/// gone.
pub(super) fn lagged<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut [Inbound],
    key: Key,
    (from, skipped): (u64, u64),
) {
    if local.link(key).is_none_or(|link| link.stage != Stage::Open) {
        return;
    }
    local.counters.overruns += 1;
    local.counters.publications_lost += skipped;
    let lost = local.lost_topics(key, from);
    let lag = Lag::new(&lost, skipped);
    let mut decision = None;
    call(local, handler, key, |handler, connection| decision = handler.lagged(connection, &lag));
    if let Some(Lagged::Close(code, reason)) = decision {
        local.close.get_or_insert_with(|| (code, reason.to_owned()));
    }
    let mut has_merged = false;
    for (topic, policy) in lost.iter().map(|lost| (lost.topic, decision.unwrap_or(lost.policy))) {
        match policy {
            Lagged::Close(code, reason) => {
                local.close.get_or_insert_with(|| (code, reason.to_owned()));
            }
            Lagged::Merge if local.close.is_none() => {
                has_merged |= local.merge_from_here(key, topic, lag.handler.get());
            }
            Lagged::Merge | Lagged::Skip => {}
        }
    }
    if local.close.is_some() {
        // What it is still owed has a hole in front, and is what it was too slow for.
        local.unsubscribe_all(key.slot);
    } else {
        // Publishers that go by the slowest have waited for it long enough.
        let audience = local.links[key.index()].audience;
        local.fanouts[audience].leave_behind(key.slot);
        let counters = &mut local.counters;
        counters.overruns_merged += u64::from(has_merged);
        counters.overruns_skipped += u64::from(!has_merged);
    }
    close_if_asked(local, handler, inbound, key);
}

/// Closes the socket whatever is still unsent.
pub(super) fn abandon(local: &mut Local, key: Key) {
    let link = &mut local.links[key.index()];
    link.unsent = None;
    // Every other end has been counted as what it is.
    local.counters.dropped += u64::from(link.stage == Stage::Closing);
    finish(local, key, Stage::Ending);
}
