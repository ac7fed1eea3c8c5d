//! Connections of ours to other servers: from the wish of a handler to an open WebSocket, or to the
//! word that there is none (RFC 6455 section 4.1).
//!
//! What handlers ask for is begun once a turn, by [`Shard::dial`]: the request is made, a socket is
//! opened to the first address. When it has come about ([`connected`]) the request is sent; the
//! answer ([`answered`]) makes it a WebSocket of the role of a client. Everything that can go wrong
//! ends in [`fail`], which `dial` follows up: with the next address, or with
//! [`Handler::connect_failed`].
//!
//! Invariant: each wish ends in exactly one call of the handler, `connected` or `connect_failed`.
//! Redirects are told, never followed.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tickwire_protocol::{ClientError, ClientHandshake, DeflatePolicy, Role};
use tracing::debug;

use super::Shard;
use super::closing::finish;
use super::hosted::{Hosted, Wish};
use super::messages::{call, discard};
use super::opening::{count_dedicated, opened, seat};
use crate::clock::Tick;
use crate::connection::{Inbound, Stage};
use crate::connector::Unconnected;
use crate::destination::Destination;
use crate::error::ConnectError;
use crate::handler::Handler;
use crate::io::{Backend, Key};
use crate::local::Local;

/// A connection of ours that is not open yet.
#[derive(Debug)]
pub(crate) struct Attempt {
    destination: Destination,
    /// How many of its addresses have been tried, with the present one.
    tried: usize,
    handshake: ClientHandshake,
    /// What is sent as soon as the socket is connected.
    request: Vec<u8>,
    /// The socket is connected; the request is on its way.
    connected: bool,
}

impl Attempt {
    fn next_address(&mut self) -> Option<SocketAddr> {
        let address = self.destination.addresses.get(self.tried).copied();
        self.tried += usize::from(address.is_some());
        address
    }
}

/// The handshake with a destination, and its request, which offers `deflate`. [`answered`] is the one
/// place that sees what was agreed on.
fn request(
    local: &mut Local,
    destination: &Destination,
    deflate: Option<&DeflatePolicy>,
) -> Result<(ClientHandshake, Vec<u8>), ConnectError> {
    local.random.prepare().map_err(ConnectError::System)?;
    let mut handshake = ClientHandshake::with_limits(local.random.draw(), local.limits.protocol);
    let Destination { host, target, protocols, headers, .. } = destination;
    let protocols: Vec<&str> = protocols.iter().map(String::as_str).collect();
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    if let Some(policy) = deflate {
        handshake.offer_deflate(policy);
    }
    let mut request = Vec::new();
    handshake
        .request(host, target, &protocols, &headers, &mut request)
        .map_err(ConnectError::Request)?;
    Ok((handshake, request))
}

impl<H: Handler, B: Backend> Shard<H, B> {
    /// Follows up what has failed, and begins what is wanted and due.
    pub(super) fn dial(&mut self) {
        if !self.local.is_dialing() && self.shutdown.is_none() {
            return;
        }
        for (key, error) in std::mem::take(&mut self.local.failed) {
            self.follow_up(key, error);
        }
        if self.shutdown.is_some() {
            return self.forget_wishes();
        }
        let tick = self.local.tick;
        let wishes = &mut self.handler.wishes;
        let due: Vec<_> = wishes.extract_if(.., |wish| wish.at <= tick).collect();
        self.local.wishes -= due.len();
        self.local.next_wish = wishes.iter().map(|wish| wish.at).min().unwrap_or(Tick::NEVER);
        for Wish { destination, state, .. } in due {
            self.begin(destination, state);
        }
    }

    /// Tells of every connection that is wanted and will not be begun any more. What is wanted in
    /// answer to that is not told of, or it would have no end.
    fn forget_wishes(&mut self) {
        for Wish { destination, state, .. } in std::mem::take(&mut self.handler.wishes) {
            self.give_up(destination, state, ConnectError::ShuttingDown);
        }
        for wish in std::mem::take(&mut self.handler.wishes) {
            discard(&mut self.local, wish);
        }
        self.local.wishes = 0;
        self.local.next_wish = Tick::NEVER;
    }

    fn begin(&mut self, destination: Destination, state: H::State) {
        let local = &mut self.local;
        if local.counters.outgoing_now >= local.limits.outgoing_max as u64 {
            return self.give_up(destination, state, ConnectError::TooMany);
        }
        let dedicated = local.counters.deflate_dedicated_now;
        let deflate = local.hub.deflate.map(|deflate| deflate.policy(dedicated));
        // Before any socket, so that none is opened for what cannot be written.
        let (handshake, request) = match request(local, &destination, deflate.as_ref()) {
            Ok(both) => both,
            Err(error) => return self.give_up(destination, state, error),
        };
        let mut attempt = Attempt { destination, tried: 0, handshake, request, connected: false };
        match self.open(&mut attempt, None) {
            Ok(key) => {
                self.seat(key, attempt, state);
                // What is offered is kept for it: the server may agree to it any time.
                let offers_context = deflate.is_some_and(|it| it.server_context);
                count_dedicated(&mut self.local, key, offers_context);
            }
            Err(error) => self.give_up(attempt.destination, state, error),
        }
    }

    /// Opens a socket to the next address that can be tried at all.
    fn open(&mut self, attempt: &mut Attempt, again: Option<Key>) -> Result<Key, ConnectError> {
        let mut result = Err(ConnectError::NoAddress);
        while result.is_err()
            && let Some(address) = attempt.next_address()
        {
            let name = attempt.destination.tls_name.as_deref();
            let secured = name.map_or(Ok(()), |name| self.backend.secure_next(name));
            result = secured
                .and_then(|()| self.backend.connect(address, again))
                .map_err(ConnectError::of_socket);
        }
        result
    }

    fn seat(&mut self, key: Key, attempt: Attempt, state: H::State) {
        let local = &mut self.local;
        local.counters.outgoing_now += 1;
        let link = seat(local, &mut self.inbound, key);
        link.role = Role::Client;
        link.stage = Stage::Connecting;
        self.handler.keep(key, state);
        self.inbound[key.index()] = Inbound::Outgoing(Box::new(attempt));
        local.set_deadline(key, local.limits.connect_timeout);
    }

    /// An attempt has failed: the next address, or the word that there is none.
    fn follow_up(&mut self, key: Key, error: ConnectError) {
        if self.local.link(key).is_none() {
            return;
        }
        let inbound = std::mem::replace(&mut self.inbound[key.index()], Inbound::Discard);
        let Inbound::Outgoing(mut attempt) = inbound else { return };
        let mut error = error;
        if !attempt.connected && self.shutdown.is_none() {
            match self.open(&mut attempt, Some(key)) {
                Ok(_) => {
                    debug!(%error, "the next address is tried");
                    self.inbound[key.index()] = Inbound::Outgoing(attempt);
                    self.local.links[key.index()].stage = Stage::Connecting;
                    return self.local.set_deadline(key, self.local.limits.connect_timeout);
                }
                Err(ConnectError::NoAddress) => {}
                Err(last) => error = last,
            }
        }
        let state = self.handler.take(key);
        finish(&mut self.local, key, Stage::Ending);
        if let Some(state) = state {
            self.give_up(attempt.destination, state, error);
        }
    }

    pub(super) fn give_up(
        &mut self,
        destination: Destination,
        state: H::State,
        error: ConnectError,
    ) {
        self.local.counters.connect_failures += 1;
        let (handler, mut connector) = self.handler.lend_connector(&mut self.local);
        let unconnected = Unconnected { destination, state, error };
        let told = || handler.connect_failed(&mut connector, unconnected);
        if catch_unwind(AssertUnwindSafe(told)).is_err() {
            // There is no connection that it could cost.
            self.local.counters.panicked += 1;
        }
    }
}

/// The socket is connected: the request leaves.
pub(super) fn connected(local: &mut Local, inbound: &mut [Inbound], key: Key) {
    let is_awaited = local.link(key).is_some_and(|link| link.stage == Stage::Connecting);
    if let (true, Inbound::Outgoing(attempt)) = (is_awaited, &mut inbound[key.index()]) {
        attempt.connected = true;
        let request = std::mem::take(&mut attempt.request);
        local.send(key, |out| out.extend_from_slice(&request));
        // It may be larger than what a connection may leave unsent; nothing is sent before the answer.
        local.close = None;
        local.set_deadline(key, local.limits.handshake_timeout);
    }
}

/// Feeds the answer; when it is whole and right, `inbound` moves on to what follows it.
pub(super) fn answered<H: Handler>(
    local: &mut Local,
    handler: &mut Hosted<H>,
    inbound: &mut Inbound,
    key: Key,
    bytes: &mut &mut [u8],
) {
    let Inbound::Outgoing(attempt) = inbound else { return };
    match attempt.handshake.receive(bytes) {
        Ok(None) => {}
        Ok(Some(accepted)) => {
            *inbound = opened(local, key, accepted.deflate.as_ref());
            local.counters.connected += 1;
            local.links[key.index()].stage = Stage::Open;
            local.set_deadline(key, local.limits.ping_after);
            call(local, handler, key, |handler, connection| {
                handler.connected(connection, &accepted)
            });
        }
        Err(ClientError::Status(status @ 300..=399)) => {
            let location = attempt.handshake.location().map(Box::from);
            fail(local, key, ConnectError::Redirect { status, location });
        }
        Err(error) => fail(local, key, ConnectError::Answer(error)),
    }
}

/// Its deadline has come; which one depends on how far it is.
pub(super) fn timed_out(local: &mut Local, inbound: &Inbound, key: Key) {
    let Inbound::Outgoing(attempt) = inbound else { return };
    let error = match attempt.connected {
        false => ConnectError::ConnectTimeout,
        true => ConnectError::HandshakeTimeout,
    };
    fail(local, key, error);
}

/// An attempt has failed. What follows from that is done by [`Shard::dial`], which has the back end.
pub(super) fn fail(local: &mut Local, key: Key, error: ConnectError) {
    let Some(link) = local.link(key) else { return };
    link.stage = Stage::Ending;
    link.deadline = Tick::NEVER;
    link.unsent = None;
    local.failed.push((key, error));
}
