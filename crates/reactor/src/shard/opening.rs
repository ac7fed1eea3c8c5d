//! From an accepted socket to an open WebSocket or an HTTP answer: the opening handshake.
//!
//! The request is read by the protocol, the handler says what it is to become, and what does not
//! conform is refused. Whatever is answered goes out with the turn's other bytes.
//!
//! Invariant: a connection leaves [`Stage::Handshake`] once, to `Open` with the 101 queued before
//! anything else is looked at, or to `Finishing` with the answer that ends it.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tickwire_protocol::{Connection, Refusal, Request, RequestReader, Role};
use tracing::error;

use super::closing::finish;
use super::messages::call;
use crate::connection::{Inbound, Link, Stage};
use crate::handler::{Answer, Handler, Response};
use crate::io::Key;
use crate::local::Local;

pub(super) fn accepted<S>(
    local: &mut Local<S>,
    inbound: &mut Vec<Inbound>,
    key: Key,
    peer: SocketAddr,
) {
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

/// Feeds the request; when it is whole, `inbound` moves on to what follows it.
pub(super) fn request<H: Handler>(
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

pub(super) fn refuse<S>(local: &mut Local<S>, key: Key, refusal: &Refusal) {
    local.counters.refused += 1;
    local.send(key, |out| refusal.encode(out));
    finish(local, key, Stage::Finishing);
}
