//! What the fleet does with one connection: from the handshake to the last byte.
//!
//! Every step returns why the connection is gone, if it is, and [`Fleet::settle`] alone takes it out
//! and counts why. So a client is counted exactly once, whatever it failed at.

use std::io;

use mio::Token;
use mio::event::Event as Readiness;
use tickwire_protocol::{ClientError, ClientHandshake, CloseCode, Connection, Event, Role, State};

use super::{Endpoint, Fleet, OPEN_WAIT, Orders};
use crate::clock::{self, Nanoseconds};
use crate::fault::Fault;
use crate::load::Part;
use crate::member::{Member, Phase};
use crate::scenario::{Outbox, Received, Scenario};
use crate::tls::Security;

/// Why a connection is gone.
pub(super) struct Loss {
    fault: Fault,
    words: String,
}

impl<S: Scenario> Fleet<'_, S> {
    /// Begins to open a connection.
    pub(super) fn start(&mut self, client: usize) {
        let deadline = clock::now() + OPEN_WAIT;
        let Orders { endpoints, sources, .. } = self.orders;
        let Endpoint { address, security, .. } = &endpoints[client % endpoints.len()];
        let source = sources.get(client % sources.len().max(1)).copied();
        let registry = self.poll.registry();
        let tls = security.as_ref().map(Security::open).transpose();
        let member = tls.and_then(|tls| {
            Member::connect(*address, source, tls, registry, Token(client), deadline)
        });
        match member {
            Ok(member) => {
                self.members[client] = Some(member);
                self.pending += 1;
                self.deadlines.push_back((deadline, client));
            }
            Err(error) => {
                self.counts.failed += 1;
                let example = || format!("client {client}: {error}");
                self.tally.faults.count(Fault::of_connect(&error), example);
                self.scenario.lost(client);
                self.scenario.vacated(client);
            }
        }
    }

    /// Gives up connections that were not open in time.
    pub(super) fn expire(&mut self, now: Nanoseconds) {
        while let Some((deadline, client)) = self.deadlines.front().copied() {
            let member = self.members[client].as_ref();
            let is_pending =
                member.is_some_and(|member| member.deadline == deadline && !member.phase.is_open());
            if is_pending && deadline > now {
                return;
            }
            self.deadlines.pop_front();
            if is_pending {
                let words = format!("not open after {} s", OPEN_WAIT / 1_000_000_000);
                self.settle(client, Err(Loss { fault: Fault::ConnectTimedOut, words }));
            }
        }
    }

    /// Deals with a connection that is ready for something.
    #[inline]
    pub(super) fn ready(&mut self, client: usize, readiness: &Readiness) -> Result<(), Loss> {
        // Gone in this very turn.
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        // The end of the stream may lie behind the data, and no further event tells of it.
        let ended = readiness.is_read_closed() || readiness.is_error();
        // A client that did not care to read learns how it ended all the same.
        member.paused &= !ended;
        if matches!(member.phase, Phase::Connecting) {
            self.request_upgrade(client)?;
        } else if readiness.is_writable() {
            member.flush(&mut self.spares).map_err(broken)?;
        }
        if ended || readiness.is_readable() {
            self.read(client, ended)?;
        }
        Ok(())
    }

    /// Sends the handshake if TCP is connected by now.
    fn request_upgrade(&mut self, client: usize) -> Result<(), Loss> {
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        let not_connected =
            |error: io::Error| Loss { fault: Fault::of_connect(&error), words: error.to_string() };
        if !member.is_connected().map_err(not_connected)? {
            return Ok(());
        }
        let mut handshake = Box::new(ClientHandshake::new(self.masks.nonce()));
        let Orders { endpoints, protocols, headers, .. } = self.orders;
        let Endpoint { host, path, .. } = &endpoints[client % endpoints.len()];
        if let Some(policy) = self.orders.deflate {
            handshake.offer_deflate(policy);
        }
        self.output.clear();
        handshake
            .request(host, path, protocols, headers, &mut self.output)
            .expect("the same request was written once before the run");
        member.phase = Phase::Upgrading(handshake);
        member.send(&self.output, &mut self.spares).map_err(broken)
    }

    /// Reads until the socket is empty, or has had its share of the turn.
    ///
    /// Less than a full buffer means that the socket was empty, which saves asking once more;
    /// unless `to_end` says that there is more to come to light.
    #[inline]
    pub(super) fn read(&mut self, client: usize, to_end: bool) -> Result<(), Loss> {
        for _ in 0..READS_MAX {
            let Some(member) = &mut self.members[client] else { return Ok(()) };
            if member.paused {
                return Ok(());
            }
            match member.read(&mut self.input).map_err(broken)? {
                None => return Ok(()),
                Some(0) => return Err(ended()),
                Some(read) => {
                    self.received(client, read)?;
                    if read < self.input.len() && !to_end {
                        return Ok(());
                    }
                }
            }
        }
        self.unfinished.push(client);
        Ok(())
    }

    /// Reads a little for a client that is paused.
    pub(super) fn sip(&mut self, client: usize) -> Result<(), Loss> {
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        match member.read(&mut self.input[..SIP_BYTES]).map_err(broken)? {
            None => Ok(()),
            Some(0) => Err(ended()),
            Some(read) => self.received(client, read),
        }
    }

    /// Deals with the first `read` bytes of the input, and sends the answers to them.
    #[inline]
    fn received(&mut self, client: usize, read: usize) -> Result<(), Loss> {
        let now = clock::now();
        self.tally.measure.took_in(read);
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        let mut input = &mut self.input[..read];
        self.output.clear();
        if let Phase::Upgrading(handshake) = &mut member.phase {
            let Some(accepted) = handshake.receive(&mut input).map_err(refused)? else {
                return Ok(());
            };
            member.phase = Phase::Open(match accepted.deflate {
                None => Connection::new(Role::Client),
                Some(agreed) => {
                    self.counts.deflated += 1;
                    member.compresses = self.orders.compresses;
                    self.compressor.narrow(agreed.client_max_window_bits);
                    Connection::with_deflate(Role::Client)
                }
            });
            let resumed = member.is_resumed();
            self.pending -= 1;
            self.open += 1;
            self.counts.opened += 1;
            self.counts.resumed += usize::from(resumed);
            self.scenario.opened(client, now, &mut self.tally);
        }
        let Phase::Open(connection) = &mut member.phase else { return Ok(()) };
        let compresses = member.compresses;
        let mut end = None;
        loop {
            let masks = &mut self.masks;
            let mut mask = || masks.key();
            let (limits, output) = (&self.limits, &mut self.output);
            let event =
                connection.receive(&mut input, limits, &mut self.inflater, &mut mask, output);
            match event {
                None => break,
                Some(Event::Message(message)) => {
                    let received = Received { kind: message.kind, payload: message.payload };
                    let compressor = compresses.then_some(&mut self.compressor);
                    let mut outbox =
                        Outbox { bytes: &mut self.output, masks: &mut self.masks, compressor };
                    self.scenario.received(client, received, now, &mut outbox, &mut self.tally);
                }
                Some(Event::Ping(_) | Event::Pong(_)) => {}
                Some(Event::Closed(..)) if member.leaving => self.unanswered -= 1,
                Some(Event::Closed(code, reason)) => end = Some(closed(code, reason)),
                Some(Event::Failed(error)) => {
                    let fault = Fault::Protocol(error.close_code().0);
                    end = Some(Loss { fault, words: error.to_string() });
                }
            }
        }
        self.send(client)?;
        end.map_or(Ok(()), Err)
    }

    /// Sends the output.
    #[inline]
    fn send(&mut self, client: usize) -> Result<(), Loss> {
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        if self.output.is_empty() {
            return Ok(());
        }
        if member.waiting() + self.output.len() > self.output_bytes_max {
            let words = format!("{} bytes wait to be sent", member.waiting());
            return Err(Loss { fault: Fault::NotReading, words });
        }
        member.send(&self.output, &mut self.spares).map_err(broken)
    }

    /// Lets the scenario say something of its own accord.
    #[inline]
    pub(super) fn compose(&mut self, client: usize, now: Nanoseconds) -> Result<(), Loss> {
        let Some(member) = &self.members[client] else { return Ok(()) };
        if member.paused && member.waiting() > 0 {
            return Ok(());
        }
        self.output.clear();
        let compressor = member.compresses.then_some(&mut self.compressor);
        let mut outbox = Outbox { bytes: &mut self.output, masks: &mut self.masks, compressor };
        self.scenario.compose(client, now, &mut outbox, &mut self.tally);
        self.send(client)
    }

    /// Sends our Close; a connection that is not open yet is given up.
    pub(super) fn say_close(&mut self, client: usize) -> Result<(), Loss> {
        let Some(member) = &mut self.members[client] else { return Ok(()) };
        let Phase::Open(connection) = &mut member.phase else {
            self.pending -= 1;
            self.members[client] = None;
            return Ok(());
        };
        if member.leaving {
            return Ok(());
        }
        member.leaving = true;
        self.output.clear();
        let masks = &mut self.masks;
        connection.close(CloseCode::NORMAL, "", &mut || masks.key(), &mut self.output);
        self.open -= 1;
        self.leaving += 1;
        self.unanswered += 1;
        if self.part != Part::Closing {
            self.scenario.lost(client);
        }
        self.send(client)
    }

    /// Takes a connection out of the fleet if it is lost, and counts why.
    #[inline]
    pub(super) fn settle(&mut self, client: usize, outcome: Result<(), Loss>) {
        if let Err(loss) = outcome {
            self.lose(client, loss);
        }
    }

    #[cold]
    fn lose(&mut self, client: usize, loss: Loss) {
        let Some(member) = self.members[client].take() else { return };
        if let Some(kind) = self.scenario.tolerates(client).filter(|_| member.phase.is_open()) {
            return self.treat(client, &member, kind, &loss);
        }
        if let Some((fault, words)) = self.blame(client, member, loss) {
            self.tally.faults.count(fault, || format!("client {client}: {words}"));
        }
        if self.part != Part::Closing {
            self.scenario.vacated(client);
        }
    }

    /// Counts what the server did to a client that was bad on purpose.
    fn treat(&mut self, client: usize, member: &Member, kind: &str, loss: &Loss) {
        if member.leaving {
            self.leaving -= 1;
            let answered = matches!(&member.phase, Phase::Open(it) if it.state() == State::Closed);
            self.unanswered -= usize::from(!answered);
        } else {
            self.open -= 1;
            self.scenario.lost(client);
            let treated = (kind.to_owned(), loss.fault.to_string());
            *self.tally.treatment.entry(treated).or_default() += 1;
        }
        if self.part != Part::Closing {
            self.scenario.vacated(client);
        }
    }

    /// Counts a connection that is gone, and tells what was wrong with its end.
    fn blame(&mut self, client: usize, member: Member, loss: Loss) -> Option<(Fault, String)> {
        let Loss { fault, words } = loss;
        let by_transport = matches!(fault, Fault::Ended | Fault::Reset | Fault::Broken);
        let Phase::Open(connection) = member.phase else {
            self.pending -= 1;
            self.counts.failed += 1;
            self.scenario.lost(client);
            return Some((if by_transport { Fault::UpgradeEnded } else { fault }, words));
        };
        if !member.leaving {
            self.open -= 1;
            self.counts.lost += 1;
            self.scenario.lost(client);
            return Some((fault, words));
        }
        self.leaving -= 1;
        if by_transport && connection.state() == State::Closed {
            // Close was said and answered: that TCP ends now is as it should be.
            return None;
        }
        self.unanswered -= 1;
        Some((if by_transport { Fault::CloseUnanswered } else { fault }, words))
    }
}

fn broken(error: io::Error) -> Loss {
    Loss { fault: Fault::of_connection(&error), words: error.to_string() }
}

fn ended() -> Loss {
    Loss { fault: Fault::Ended, words: "the stream ended without a Close".to_owned() }
}

fn refused(error: ClientError) -> Loss {
    let fault = match error {
        ClientError::Status(status) => Fault::UpgradeRefused(status),
        _ => Fault::UpgradeInvalid,
    };
    Loss { fault, words: error.to_string() }
}

fn closed(code: Option<CloseCode>, reason: &str) -> Loss {
    // The reason is the server's text, and may end up on a terminal.
    let words = match (code, reason) {
        (None, _) => "the server closed without a code".to_owned(),
        (Some(code), "") => format!("the server closed with {code}"),
        (Some(code), reason) => format!("the server closed with {code}: {}", reason.escape_debug()),
    };
    Loss { fault: Fault::Closed(code.map(|code| code.0)), words }
}

/// Reads of one connection in one turn, so that one that never runs dry leaves time for the others.
const READS_MAX: usize = 4;

/// What a slow client reads at a time.
const SIP_BYTES: usize = 4096;
