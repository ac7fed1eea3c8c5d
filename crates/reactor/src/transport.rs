//! TLS between a back end and a shard.
//!
//! [`Secure`] is a back end around another: completions pass through it on their way in, batches on
//! their way out, and connections that have a [`Session`] come out plain and go in sealed. A shard
//! that knows of no TLS runs on its back end directly, so TLS costs such a shard not a branch and
//! such a connection not a byte.
//!
//! What a turn sends to a connection is one batch item, and becomes one record, or as many as 16 KB
//! each make it. Little is sealed ahead of the socket: at most [`PORTION_BYTES`]. What the socket does
//! not take of that waits here, as ciphertext; all else stays with the shard, where it is a cursor in
//! the log or an unsent message that a control frame can still overtake. The shard learns of both
//! from [`Sent`].
//!
//! Invariant: plain bytes never reach the socket of a connection with a session.

mod memory;
mod provider;
mod session;
mod tls;
mod trust;

use std::collections::VecDeque;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};

pub use self::tls::{Certificate, Tls};
pub use self::trust::Trust;

use self::memory::Memory;
use self::session::Session;
use crate::clock::Timestamp;
use crate::error::TlsError;
use crate::io::{Backend, Completion, Key, Newcomer, Outgoing, RandomSource, Sent};

/// What of TLS is configured.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    pub(crate) tls: Option<Tls>,
    pub(crate) trust: Option<Trust>,
}

impl Security {
    /// Whether there may be a connection with TLS.
    pub(crate) const fn is_some(&self) -> bool {
        self.tls.is_some() || self.trust.is_some()
    }
}

/// A back end whose connections may have TLS.
pub(crate) struct Secure<B> {
    sockets: B,
    /// What accepted connections are opened with; none: they are plain.
    server: Option<Arc<ServerConfig>>,
    client: Option<Arc<ClientConfig>>,
    /// By slot.
    sessions: Vec<Option<Box<Session>>>,
    memory: Memory,
    /// That of the connection which is begun next.
    dialed: Option<Box<Session>>,
    /// What the shard is to be told before anything else happens.
    notices: VecDeque<Notice>,
    /// Connections for which TLS has something to say of its own.
    listed: Vec<Key>,
    /// What has been received for [`Notice::Received`].
    plain: Vec<u8>,
    /// Two slices that are to be sealed as one.
    joined: Vec<u8>,
    /// Ciphertext of a batch, and which connection's lies where.
    sealed: Vec<u8>,
    items: Vec<Item>,
    results: Vec<Sent>,
}

/// A completion without what is lent.
#[derive(Debug)]
enum Notice {
    Secured { key: Key, resumed: bool },
    Connected { key: Key },
    Received { key: Key },
    Writable { key: Key },
    Ended { key: Key, error: Option<io::Error> },
}

/// A portion of what one connection is sent.
#[derive(Debug)]
struct Item {
    key: Key,
    /// Where its ciphertext is.
    sealed: Range<usize>,
    /// Plain bytes of the connection that have been sealed in this batch.
    given: usize,
    /// There are no more.
    is_last: bool,
}

impl<B: Backend> Secure<B> {
    /// Around `sockets`: accepted connections have TLS if there is a `tls`, and connections that are
    /// begun may have it if there is a `trust`.
    pub(crate) fn new(sockets: B, security: &Security) -> Self {
        Self {
            sockets,
            server: security.tls.as_ref().map(|it| Arc::clone(it.config())),
            client: security.trust.as_ref().map(|it| Arc::clone(it.config())),
            sessions: Vec::new(),
            memory: Memory::default(),
            dialed: None,
            notices: VecDeque::new(),
            listed: Vec::new(),
            plain: Vec::new(),
            joined: Vec::new(),
            sealed: Vec::new(),
            items: Vec::new(),
            results: Vec::new(),
        }
    }

    /// The back end below.
    pub(crate) const fn sockets(&self) -> &B {
        &self.sockets
    }

    /// Puts a connection on the list of those with something pending.
    fn list(listed: &mut Vec<Key>, session: &mut Session, key: Key) {
        if !session.pending.is_empty() && !session.is_blocked && !session.is_listed {
            session.is_listed = true;
            listed.push(key);
        }
    }

    /// Sends what TLS has to say of its own: its handshakes, above all.
    fn speak(&mut self) {
        let Self { sockets, sessions, memory, notices, listed, results, .. } = self;
        listed.retain(|key| {
            let Some(session) = find(sessions, *key) else { return false };
            session.is_listed = false;
            if session.has_ended {
                session.pending = Vec::new();
                memory.note(session);
            }
            !session.pending.is_empty() && !session.is_blocked
        });
        if listed.is_empty() {
            return;
        }
        let pending = |key: Key| sessions[key.index()].as_ref().map_or(&[][..], |it| &it.pending);
        let batch = listed.iter().map(|&key| Outgoing { key, first: pending(key), second: &[] });
        sockets.send(batch, results);
        for (key, sent) in listed.drain(..).zip(results.drain(..)) {
            let Some(session) = find(sessions, key) else { continue };
            match sent {
                Sent::Taken(taken) | Sent::Held(taken) => {
                    session.pending.drain(..taken);
                    session.is_blocked = !session.pending.is_empty();
                    if !session.is_blocked {
                        emptied(session, key, sockets, notices);
                        memory.note(session);
                    }
                }
                Sent::Broken(kind) => {
                    notices.push_back(Notice::Ended { key, error: Some(kind.into()) });
                }
            }
        }
    }

    /// Seals all that one connection is sent; what becomes of it is found out with the batch, or at
    /// once where it is more than a portion.
    fn seal(&mut self, outgoing: &Outgoing<'_>, results: &mut Vec<Sent>) {
        let (key, length) = (outgoing.key, outgoing.first.len() + outgoing.second.len());
        let mut given = 0;
        while given < length {
            let Some(session) = find(&mut self.sessions, key) else { return };
            if session.is_blocked || !session.can_send() {
                let sent = match session.has_failed() {
                    true => Sent::Broken(io::ErrorKind::NotConnected),
                    false => Sent::Taken(given),
                };
                session.is_awaited = true;
                self.transmit(results);
                return results.push(sent);
            }
            let start = self.sealed.len();
            if !session.pending.is_empty() {
                // With its memory, which an idle connection does not need.
                self.sealed.extend_from_slice(&std::mem::take(&mut session.pending));
                self.memory.note(session);
            }
            let end = length.min(given + PORTION_BYTES);
            let portion = portion(outgoing, given..end, &mut self.joined);
            if !session.seal(portion, &mut self.sealed) {
                // The keys are used up, which a connection of TLS 1.2 does not outlive.
                self.sealed.truncate(start);
                self.transmit(results);
                return results.push(Sent::Broken(io::ErrorKind::NotConnected));
            }
            given = end;
            let is_last = given == length;
            self.items.push(Item { key, sealed: start..self.sealed.len(), given, is_last });
            // A portion more is made only when the socket has taken this one.
            if !is_last && !self.transmit(results) {
                return;
            }
        }
        if length == 0 {
            self.transmit(results);
            results.push(Sent::Taken(0));
        } else if self.sealed.len() > 2 * PORTION_BYTES {
            self.transmit(results);
        }
    }

    /// Sends what is sealed. Gives whether the last item has left whole; what became of an item is
    /// told, unless there is more to come of it.
    fn transmit(&mut self, results: &mut Vec<Sent>) -> bool {
        let Self { sockets, sessions, memory, sealed, items, results: sent, .. } = self;
        if items.is_empty() {
            return true;
        }
        let batch = items.iter().map(|item| Outgoing {
            key: item.key,
            first: &sealed[item.sealed.clone()],
            second: &[],
        });
        sockets.send(batch, sent);
        let mut is_whole = true;
        for (item, sent) in items.drain(..).zip(sent.drain(..)) {
            let taken = match sent {
                Sent::Taken(taken) | Sent::Held(taken) => taken,
                Sent::Broken(kind) => {
                    is_whole = false;
                    results.push(Sent::Broken(kind));
                    continue;
                }
            };
            is_whole = taken == item.sealed.len();
            if is_whole && item.is_last {
                results.push(Sent::Taken(item.given));
            } else if !is_whole {
                if let Some(session) = find(sessions, item.key) {
                    session
                        .pending
                        .extend_from_slice(&sealed[item.sealed.start + taken..item.sealed.end]);
                    session.is_blocked = true;
                    session.is_awaited = true;
                    memory.note(session);
                }
                results.push(match item.is_last {
                    true => Sent::Held(item.given),
                    false => Sent::Taken(item.given),
                });
            }
        }
        sealed.clear();
        is_whole
    }
}

/// Opens the session of a connection that was accepted.
fn accept(
    server: Option<&Arc<ServerConfig>>,
    sessions: &mut Vec<Option<Box<Session>>>,
    memory: &mut Memory,
    notices: &mut VecDeque<Notice>,
    key: Key,
) {
    match server.map(|it| Session::accepting(key.generation, it)) {
        None => {}
        Some(Ok(session)) => install(sessions, memory, key, Box::new(session)),
        Some(Err(error)) => {
            // Never with the configuration that a `Tls` has.
            let error = Some(TlsError::Peer(error.to_string()).into());
            notices.push_back(Notice::Ended { key, error });
        }
    }
}

fn install(
    sessions: &mut Vec<Option<Box<Session>>>,
    memory: &mut Memory,
    key: Key,
    mut session: Box<Session>,
) {
    memory.note(&mut session);
    if sessions.len() <= key.index() {
        sessions.resize_with(key.index() + 1, || None);
    }
    sessions[key.index()] = Some(session);
}

/// The session of a connection; none if it is plain.
fn find(sessions: &mut [Option<Box<Session>>], key: Key) -> Option<&mut Session> {
    let session = sessions.get_mut(key.index())?.as_deref_mut()?;
    (session.generation == key.generation).then_some(session)
}

fn is_secure(sessions: &[Option<Box<Session>>], key: Key) -> bool {
    let session = sessions.get(key.index()).and_then(Option::as_ref);
    session.is_some_and(|session| session.generation == key.generation)
}

/// The bytes `range` of what a connection is sent, in one piece.
fn portion<'a>(outgoing: &Outgoing<'a>, range: Range<usize>, joined: &'a mut Vec<u8>) -> &'a [u8] {
    let Outgoing { first, second, .. } = *outgoing;
    if range.end <= first.len() {
        return &first[range];
    }
    if range.start >= first.len() {
        return &second[range.start - first.len()..range.end - first.len()];
    }
    joined.clear();
    joined.extend_from_slice(&first[range.start..]);
    joined.extend_from_slice(&second[..range.end - first.len()]);
    joined
}

/// A socket has taken all that was pending: what waited for that comes next.
fn emptied<B: Backend>(
    session: &mut Session,
    key: Key,
    sockets: &mut B,
    notices: &mut VecDeque<Notice>,
) {
    session.pending = Vec::new();
    if session.is_ending {
        session.is_ending = false;
        session.has_ended = true;
        sockets.finish(key);
    }
    if session.is_awaited && session.is_settled() {
        session.is_awaited = false;
        notices.push_back(Notice::Writable { key });
    }
}

impl<B: Backend> Backend for Secure<B> {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.speak();
        let timeout = if self.notices.is_empty() { timeout } else { Some(Duration::ZERO) };
        self.sockets.wait(timeout)
    }

    fn next(&mut self) -> Option<Completion<'_>> {
        if self.notices.is_empty() {
            let Self { sockets, server, sessions, memory, notices, listed, plain, .. } = self;
            match sockets.next()? {
                Completion::Accepted { key, peer } => {
                    accept(server.as_ref(), sessions, memory, notices, key);
                    return Some(Completion::Accepted { key, peer });
                }
                Completion::Connected { key } => match find(sessions, key) {
                    None => return Some(Completion::Connected { key }),
                    Some(session) => {
                        session.greet();
                        memory.note(session);
                        Self::list(listed, session, key);
                    }
                },
                Completion::Received { key, bytes } => match find(sessions, key) {
                    None => return Some(Completion::Received { key, bytes }),
                    Some(session) => {
                        plain.clear();
                        received(session, key, bytes, plain, notices);
                        memory.note(session);
                        Self::list(listed, session, key);
                    }
                },
                Completion::Writable { key } => match find(sessions, key) {
                    None => return Some(Completion::Writable { key }),
                    Some(session) => {
                        session.is_blocked = false;
                        Self::list(listed, session, key);
                        if !session.is_listed && session.is_awaited && session.is_settled() {
                            session.is_awaited = false;
                            return Some(Completion::Writable { key });
                        }
                    }
                },
                Completion::Ended { key, error } => match find(sessions, key) {
                    None => return Some(Completion::Ended { key, error }),
                    Some(session) if session.is_deaf() => {}
                    Some(session) => {
                        let cut = session.end();
                        memory.note(session);
                        let error = error.or_else(|| cut.map(io::Error::from));
                        return Some(Completion::Ended { key, error });
                    }
                },
                other => return Some(other),
            }
        }
        Some(match self.notices.pop_front() {
            None => Completion::Nothing,
            Some(Notice::Secured { key, resumed }) => Completion::Secured { key, resumed },
            Some(Notice::Connected { key }) => Completion::Connected { key },
            Some(Notice::Received { key }) => Completion::Received { key, bytes: &mut self.plain },
            Some(Notice::Writable { key }) => Completion::Writable { key },
            Some(Notice::Ended { key, error }) => Completion::Ended { key, error },
        })
    }

    fn secure_next(&mut self, name: &str) -> io::Result<()> {
        let config = self.client.as_ref().ok_or(TlsError::NoTrust)?;
        let session = Session::dialing(config, trust::server_name(name)?)
            .map_err(|error| TlsError::Peer(error.to_string()))?;
        self.dialed = Some(Box::new(session));
        Ok(())
    }

    fn connect(&mut self, address: SocketAddr, again: Option<Key>) -> io::Result<Key> {
        let dialed = self.dialed.take();
        if let Some(key) = again {
            self.forget(key);
        }
        let key = self.sockets.connect(address, again)?;
        if let Some(mut session) = dialed {
            session.generation = key.generation;
            install(&mut self.sessions, &mut self.memory, key, session);
        }
        Ok(key)
    }

    fn adopt(&mut self, newcomer: Newcomer) -> io::Result<Key> {
        let key = self.sockets.adopt(newcomer)?;
        let Self { server, sessions, memory, notices, .. } = self;
        accept(server.as_ref(), sessions, memory, notices, key);
        Ok(key)
    }

    fn send<'a>(&mut self, batch: impl Iterator<Item = Outgoing<'a>>, results: &mut Vec<Sent>) {
        let mut batch = batch.peekable();
        loop {
            while let Some(outgoing) = batch.next_if(|it| is_secure(&self.sessions, it.key)) {
                self.seal(&outgoing, results);
            }
            self.transmit(results);
            if batch.peek().is_none() {
                return;
            }
            let Self { sockets, sessions, .. } = self;
            let plain = iter::from_fn(|| batch.next_if(|it| !is_secure(sessions, it.key)));
            sockets.send(plain, results);
        }
    }

    fn mirrored_bytes(&self) -> u64 {
        self.sockets.mirrored_bytes()
    }

    fn pause(&mut self, key: Key) {
        self.sockets.pause(key);
    }

    fn resume(&mut self, key: Key) {
        self.sockets.resume(key);
    }

    fn finish(&mut self, key: Key) {
        if let Some(session) = find(&mut self.sessions, key) {
            session.part();
            session.is_ending = true;
        }
        if self.push(key) {
            match find(&mut self.sessions, key) {
                None => self.sockets.finish(key),
                Some(session) => {
                    emptied(session, key, &mut self.sockets, &mut self.notices);
                    self.memory.note(session);
                }
            }
        }
    }

    fn part(&mut self, key: Key) -> bool {
        if let Some(session) = find(&mut self.sessions, key) {
            session.part();
        }
        if self.push(key) {
            return true;
        }
        // Asked again while it is waited for: the shard has given up.
        find(&mut self.sessions, key)
            .is_none_or(|session| std::mem::replace(&mut session.is_awaited, true))
    }

    fn close(&mut self, key: Key) {
        self.forget(key);
        self.sockets.close(key);
    }

    fn pause_accepting(&mut self) {
        self.sockets.pause_accepting();
    }

    fn resume_accepting(&mut self) {
        self.sockets.resume_accepting();
    }

    fn stop_accepting(&mut self) {
        self.sockets.stop_accepting();
    }

    fn has_stopped(&self) -> bool {
        self.sockets.has_stopped()
    }

    fn held_bytes(&self) -> usize {
        self.memory.held()
    }

    fn leaving_bytes(&self) -> usize {
        self.memory.leaving()
    }

    fn held_by(&self, key: Key) -> usize {
        let session = self.sessions.get(key.index()).and_then(Option::as_deref);
        session.filter(|it| it.generation == key.generation).map_or(0, |it| it.entry.held())
    }

    fn write_off(&mut self, key: Key) -> bool {
        let Self { sessions, memory, .. } = self;
        find(sessions, key).is_none_or(|session| memory.write_off(session))
    }

    fn now(&mut self) -> Timestamp {
        self.sockets.now()
    }

    fn random(&mut self) -> RandomSource {
        self.sockets.random()
    }
}

impl<B: Backend> Secure<B> {
    /// Sends what a connection has pending, if its socket takes something; whether all of it is gone.
    fn push(&mut self, key: Key) -> bool {
        let Some(session) = find(&mut self.sessions, key) else { return true };
        if session.has_ended || session.pending.is_empty() {
            return true;
        }
        if session.is_blocked {
            return false;
        }
        let outgoing = Outgoing { key, first: &session.pending, second: &[] };
        self.sockets.send(iter::once(outgoing), &mut self.results);
        match self.results.pop() {
            Some(Sent::Taken(taken) | Sent::Held(taken)) if taken < session.pending.len() => {
                session.pending.drain(..taken);
                session.is_blocked = true;
            }
            // All of it, or nobody is there to hear it.
            _ => session.pending = Vec::new(),
        }
        self.memory.note(session);
        !session.is_blocked
    }

    /// There is nothing more of this connection, but what its peer may still be told.
    fn forget(&mut self, key: Key) {
        if !is_secure(&self.sessions, key) {
            return;
        }
        self.push(key);
        if let Some(session) = self.sessions[key.index()].take() {
            self.memory.forget(&session);
        }
        self.notices.retain(|notice| notice.key() != key);
    }
}

/// Ciphertext has come: what the shard is to be told of it, in order.
fn received(
    session: &mut Session,
    key: Key,
    bytes: &mut [u8],
    plain: &mut Vec<u8>,
    notices: &mut VecDeque<Notice>,
) {
    let received = session.receive(bytes, plain);
    if let Some(resumed) = received.secured {
        notices.push_back(Notice::Secured { key, resumed });
        if session.is_client() {
            notices.push_back(Notice::Connected { key });
        }
        if std::mem::take(&mut session.is_awaited) {
            notices.push_back(Notice::Writable { key });
        }
    }
    if !plain.is_empty() {
        notices.push_back(Notice::Received { key });
    }
    if let Some(error) = received.ended {
        notices.push_back(Notice::Ended { key, error: error.map(io::Error::from) });
    }
}

impl Notice {
    const fn key(&self) -> Key {
        match self {
            Self::Secured { key, .. }
            | Self::Connected { key }
            | Self::Received { key }
            | Self::Writable { key }
            | Self::Ended { key, .. } => *key,
        }
    }
}

/// What is sealed of a connection before its socket has taken it: four full records. A message of
/// 16 KB with its header is two and should leave in one system call; and whoever stops reading leaves
/// no more than this here.
const PORTION_BYTES: usize = 64 * 1024;
