//! From an accepted socket to an open WebSocket or an HTTP answer: the opening handshake.
//!
//! The request is read by the protocol, the handler says what it is to become, and what does not
//! conform is refused. Whatever is answered goes out with the turn's other bytes.
//!
//! Invariant: a connection leaves [`Stage::Handshake`] once, to `Open` with the 101 queued before
//! anything else is looked at, or to `Finishing` with the answer that ends it.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tickwire_protocol::{Connection, DeflateParams, Refusal, RequestReader, Role};
use tracing::error;

use super::closing::{abandon, finish};
use super::hosted::Hosted;
use super::messages::{call, discard};
use crate::admission::{Network, Place, Taken};
use crate::connection::{Inbound, Link, Stage};
use crate::deflate::Direction;
use crate::handler::{Accept, Answer, Handler, Request, Response};
use crate::io::Key;
use crate::limits::Limits;
use crate::local::Local;
use crate::table::make_room;

pub(super) fn accepted(local: &mut Local, inbound: &mut Vec<Inbound>, key: Key, peer: SocketAddr) {
    local.counters.accepted += 1;
    seat(local, inbound, key).stage = Stage::Handshake;
    if let Err(taken) = admit(local, key, Network::of(peer.ip())) {
        inbound[key.index()] = Inbound::Discard;
        return turn_away(local, key, taken);
    }
    inbound[key.index()] = Inbound::Request { reader: None, peer };
    local.set_deadline(key, local.limits.handshake_timeout);
}

/// Makes room in the tables for a connection that the back end has named, and gives its link.
pub(super) fn seat<'a>(local: &'a mut Local, inbound: &mut Vec<Inbound>, key: Key) -> &'a mut Link {
    local.counters.connections_now += 1;
    make_room(&mut local.links, key.index());
    make_room(inbound, key.index());
    while local.links.len() <= key.index() {
        local.links.push(Link::vacant());
        inbound.push(Inbound::Vacant);
    }
    let link = &mut local.links[key.index()];
    *link = Link::vacant();
    link.generation = key.generation;
    link.received = local.tick;
    link.sent = local.tick;
    link
}

/// Takes a place of the server for the connection; it is given back with the slot.
fn admit(local: &mut Local, key: Key, network: Network) -> Result<(), Taken> {
    let admission = &local.hub.admission;
    admission.admit(network)?;
    if admission.counts_networks() {
        if local.networks.len() <= key.index() {
            make_room(&mut local.networks, key.index());
            local.networks.resize(key.index() + 1, None);
        }
        local.networks[key.index()] = Some(network);
    }
    local.links[key.index()].place = Place::Admitted;
    Ok(())
}

/// Tells a connection that there is no place for it, before anything was read from it.
fn turn_away(local: &mut Local, key: Key, taken: Taken) {
    let refusal = match taken {
        Taken::Server => {
            local.counters.refused_full += 1;
            Refusal::new(503, "the server has as many connections as it takes; try later")
        }
        Taken::Address => {
            local.counters.refused_address += 1;
            Refusal::new(429, "your address has as many connections as it may; close one")
        }
    };
    if local.hub.admission.turn_away() {
        local.links[key.index()].place = Place::TurnedAway;
        refuse(local, key, &refusal.with_retry_after(Limits::RETRY_AFTER_S));
    } else {
        local.counters.refused += 1;
        abandon(local, key);
    }
}

/// Feeds the request; when it is whole, `inbound` moves on to what follows it.
pub(super) fn request<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut Inbound,
    key: Key,
    bytes: &mut &mut [u8],
) {
    let Inbound::Request { reader, peer } = inbound else { return };
    // Nearly always the request comes whole, and needs nobody to keep a part of it.
    let (is_first, mut first) = (reader.is_none(), RequestReader::new());
    match reader.as_deref_mut().unwrap_or(&mut first).push(bytes, &local.limits.protocol) {
        Ok(None) if is_first => *reader = Some(Box::new(first)),
        Ok(None) => {}
        Ok(Some(request)) => {
            *inbound = answer(local, handler, key, &Request::new(request, *peer));
            if matches!(inbound, Inbound::Open { .. }) {
                local.counters.upgraded += 1;
                local.links[key.index()].stage = Stage::Open;
                local.begin_life(key);
                local.set_deadline(key, local.limits.ping_after);
                call(local, handler, key, |handler, connection| handler.open(connection));
                if local.is_ending {
                    local.latecomers.push(key);
                }
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
    local: &mut Local,
    handler: &mut Hosted<H>,
    key: Key,
    request: &Request<'_>,
) -> Inbound {
    if request.wants_upgrade() && !local.hub.admission.origins.allows(request) {
        local.counters.refused_origin += 1;
        let refusal = Refusal::new(403, "pages of this origin may not connect here");
        refuse(local, key, &refusal.to_method(request.method()));
        return Inbound::Discard;
    }
    let asked = catch_unwind(AssertUnwindSafe(|| handler.handler().request(request)));
    let Ok(answer) = asked else {
        local.counters.panicked += 1;
        local.counters.refused += 1;
        http(local, key, request, &Response::text(500, "the server could not answer this"));
        return Inbound::Discard;
    };
    match answer {
        Answer::Http(response) => {
            local.counters.answered += 1;
            http(local, key, request, &response);
            Inbound::Discard
        }
        Answer::Upgrade(accept) => match upgrade(local, key, request, &accept) {
            Ok(agreed) => {
                handler.keep(key, accept.state);
                opened(local, key, agreed.as_ref())
            }
            Err(refusal) => {
                refuse(local, key, &refusal.to_method(request.method()));
                discard(local, accept);
                Inbound::Discard
            }
        },
    }
}

fn upgrade<S>(
    local: &mut Local,
    key: Key,
    request: &Request<'_>,
    accept: &Accept<S>,
) -> Result<Option<DeflateParams>, Refusal> {
    let upgrade = tickwire_protocol::upgrade(request)?;
    let dedicated = local.counters.deflate_dedicated_now;
    let agreed = local.hub.deflate.and_then(|deflate| upgrade.deflate(&deflate.policy(dedicated)));
    let headers = borrowed(&accept.headers);
    let mut accepted = Ok(());
    local.send(key, |out| {
        accepted = upgrade.accept_with(accept.protocol, agreed.as_ref(), &headers, out);
    });
    accepted.map(|()| agreed).map_err(|error| {
        error!(%error, "the handler's answer to an upgrade cannot be sent");
        Refusal::new(500, "the server could not answer this")
    })
}

/// An open connection, with what it needs for what it has agreed on of compression.
pub(super) fn opened(local: &mut Local, key: Key, agreed: Option<&DeflateParams>) -> Inbound {
    let role = local.links[key.index()].role;
    let Some(params) = agreed else {
        count_dedicated(local, key, false);
        return Inbound::Open { connection: Connection::new(role), inflater: None };
    };
    let (compress, inflate) = Direction::of(role, params);
    count_dedicated(local, key, compress.keeps_context || inflate.keeps_context);
    let link = &mut local.links[key.index()];
    if compress.keeps_context {
        link.deflater = Some(local.deflaters.dedicated(role, params));
    } else {
        link.coding = compress.coding();
        if role == Role::Server {
            // What we connect to is subscribed to nothing.
            link.audience = local.fanouts.audience(link.coding);
        }
    }
    let inflater = inflate.keeps_context.then(|| Box::new(params.inflater(role)));
    Inbound::Open { connection: Connection::with_deflate(role), inflater }
}

/// Takes note of whether a connection has, or has offered to have, a compressor or a decompressor of
/// its own.
pub(super) fn count_dedicated(local: &mut Local, key: Key, dedicated: bool) {
    let before = std::mem::replace(&mut local.links[key.index()].dedicated, dedicated);
    local.counters.deflate_dedicated_now += u64::from(dedicated);
    local.counters.deflate_dedicated_now -= u64::from(before);
}

fn http(local: &mut Local, key: Key, request: &Request<'_>, answer: &Response) {
    let headers = borrowed(&answer.headers);
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

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

pub(super) fn refuse(local: &mut Local, key: Key, refusal: &Refusal) {
    local.counters.refused += 1;
    local.send(key, |out| refusal.encode(out));
    finish(local, key, Stage::Finishing);
}
