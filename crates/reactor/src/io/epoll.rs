//! The epoll back end, through mio, edge-triggered.
//!
//! Each socket is registered once, for both directions, when it is accepted: with edges that costs
//! nothing more than reading alone, and no send ever needs a call to change the registration. A
//! send is tried at once; only if the socket refuses is the next writable edge reported. All
//! sockets of a shard are received into one buffer, which stays in the cache: limits of memory
//! bandwidth made this faster than any ring of buffers. A read that did not fill the buffer has
//! emptied the socket, so it is not repeated, unless the peer has already ended its stream, because
//! an end that is queued behind data gives no edge of its own.

mod door;
mod mirror;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::rand::{GetRandomFlags, getrandom};
use slab::Slab;
use socket2::SockRef;
use tracing::warn;

use self::door::{Door, Knock};
use self::mirror::Mirror;
use super::{Backend, Completion, Key, Newcomer, Outgoing, RandomSource, Sent};
use crate::clock::Timestamp;
use crate::listener;

/// One epoll instance, its listener if it has one, and its sockets, accepted or connected.
#[derive(Debug)]
pub(crate) struct Epoll {
    poll: Poll,
    events: Events,
    door: Door,
    sockets: Slab<Socket>,
    generation: u32,
    ready: VecDeque<Ready>,
    /// Work that this turn left: a socket that had more than a buffer, a listener with a longer
    /// queue. It comes first in the next turn, which then does not sleep.
    again: VecDeque<Ready>,
    buffer: Box<[u8]>,
    mirror: Mirror,
}

#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    generation: u32,
    /// Ours, and it has not come about yet.
    connecting: bool,
    /// An earlier send was not taken whole.
    blocked: bool,
    /// The shard does not want to receive now.
    paused: bool,
    /// There was a readable edge while paused.
    readable: bool,
    /// The peer has ended its stream: read until the end is seen.
    read_closed: bool,
}

/// One thing to look at, from an epoll event.
#[derive(Clone, Copy, Debug)]
enum Ready {
    Listener,
    Connecting(Key),
    Writable(Key),
    Readable(Key),
}

impl Epoll {
    /// One buffer per shard; larger ones save system calls only for bulk uploads, this one still
    /// fits the second-level cache beside everything else.
    const BUFFER_BYTES: usize = 64 * 1024;

    /// Events taken from the kernel at once: enough that the wait costs little per event, few
    /// enough that replies do not wait for a long turn.
    const EVENTS_MAX: usize = 256;

    const LISTENER: Token = Token(usize::MAX);
    const WAKER: Token = Token(usize::MAX - 1);

    /// Takes over a listening socket, if there is one, and gives the waker that other threads end its
    /// waits with. With `shares_out`, connections are reported as [`Completion::Arrived`].
    pub(crate) fn new(
        listener: Option<std::net::TcpListener>,
        shares_out: bool,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let mut listener = listener.map(TcpListener::from_std);
        if let Some(listener) = &mut listener {
            poll.registry().register(listener, Self::LISTENER, Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry(), Self::WAKER)?;
        let epoll = Self {
            poll,
            events: Events::with_capacity(Self::EVENTS_MAX),
            door: Door::new(listener, shares_out),
            sockets: Slab::new(),
            generation: 0,
            ready: VecDeque::with_capacity(Self::EVENTS_MAX),
            again: VecDeque::new(),
            buffer: vec![0; Self::BUFFER_BYTES].into_boxed_slice(),
            mirror: Mirror::default(),
        };
        Ok((epoll, waker))
    }

    fn socket(&mut self, key: Key) -> Option<&mut Socket> {
        find(&mut self.sockets, key)
    }

    /// What comes of looking at the door, if anything.
    fn knock(&mut self) -> Option<Completion<'static>> {
        let knock = self.door.knock();
        match knock {
            Knock::Nobody => return None,
            Knock::Later => {
                self.again.push_back(Ready::Listener);
                return None;
            }
            Knock::Accepted(..) | Knock::Refused(_) => self.ready.push_front(Ready::Listener),
            Knock::Failed(_) => {}
        }
        Some(match knock {
            Knock::Accepted(stream, peer) if self.door.shares_out() => {
                Completion::Arrived { newcomer: Newcomer::Socket(stream.into()), peer }
            }
            Knock::Accepted(stream, peer) => match self.adopt_stream(stream, false) {
                Ok(key) => Completion::Accepted { key, peer },
                Err(error) => Completion::NotAccepted { error, refused: true },
            },
            Knock::Refused(error) => Completion::NotAccepted { error, refused: true },
            Knock::Failed(error) => Completion::NotAccepted { error, refused: false },
            Knock::Nobody | Knock::Later => return None,
        })
    }

    fn adopt_stream(&mut self, mut stream: TcpStream, connecting: bool) -> io::Result<Key> {
        let entry = self.sockets.vacant_entry();
        let slot = u32::try_from(entry.key()).map_err(|_| io::Error::other("too many sockets"))?;
        self.generation = self.generation.wrapping_add(1);
        let key = Key { slot, generation: self.generation };
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token(key), interest)?;
        entry.insert(Socket::new(stream, key.generation, connecting));
        Ok(key)
    }

    /// Begins anew under the name of a connection that has not come about.
    fn replace(&mut self, mut stream: TcpStream, key: Key) -> io::Result<Key> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.socket(key).is_none() {
            return Err(ErrorKind::NotConnected.into());
        }
        self.poll.registry().register(&mut stream, token(key), interest)?;
        // What epoll has told of the old socket finds a new one that is still connecting.
        self.sockets[key.index()] = Socket::new(stream, key.generation, true);
        Ok(key)
    }

    /// Looks whether a connection of ours has come about. `None`: not yet.
    fn connecting(&mut self, key: Key) -> Option<io::Result<()>> {
        let socket = self.socket(key).filter(|socket| socket.connecting)?;
        if let Ok(Some(error)) | Err(error) = socket.stream.take_error() {
            return Some(Err(error));
        }
        match socket.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return None,
            Err(error) => return Some(Err(error)),
        }
        socket.connecting = false;
        // Bytes may have come with it, and their edge has been passed over.
        self.ready.push_back(Ready::Readable(key));
        Some(Ok(()))
    }

    /// Receives once. `None`: nothing was there.
    fn receive(&mut self, key: Key) -> Option<Received> {
        let socket =
            self.sockets.get_mut(key.index()).filter(|it| it.generation == key.generation)?;
        if socket.connecting {
            return None;
        }
        if socket.paused {
            socket.readable = true;
            return None;
        }
        loop {
            match (&socket.stream).read(&mut self.buffer) {
                Ok(0) => return Some(Received::End(None)),
                Ok(count) => {
                    if count == self.buffer.len() || socket.read_closed {
                        self.again.push_back(Ready::Readable(key));
                    }
                    return Some(Received::Bytes(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Some(Received::End(Some(error))),
            }
        }
    }
}

impl Socket {
    const fn new(stream: TcpStream, generation: u32, connecting: bool) -> Self {
        Self {
            stream,
            generation,
            connecting,
            blocked: false,
            paused: false,
            readable: false,
            read_closed: false,
        }
    }
}

enum Received {
    Bytes(usize),
    End(Option<io::Error>),
}

impl Backend for Epoll {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut timeout = self.door.open(timeout);
        if !self.again.is_empty() {
            timeout = Some(Duration::ZERO);
        }
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        self.ready.append(&mut self.again);
        if self.door.tries_again() {
            self.ready.push_back(Ready::Listener);
        }
        for event in &self.events {
            note(event, &mut self.sockets, &mut self.ready);
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Completion<'_>> {
        while let Some(ready) = self.ready.pop_front() {
            match ready {
                Ready::Listener => {
                    if let Some(completion) = self.knock() {
                        return Some(completion);
                    }
                }
                Ready::Connecting(key) => match self.connecting(key) {
                    Some(Ok(())) => return Some(Completion::Connected { key }),
                    Some(Err(error)) => return Some(Completion::Ended { key, error: Some(error) }),
                    None => {}
                },
                Ready::Writable(key) => {
                    if let Some(socket) = self.socket(key)
                        && socket.blocked
                    {
                        socket.blocked = false;
                        return Some(Completion::Writable { key });
                    }
                }
                Ready::Readable(key) => match self.receive(key) {
                    Some(Received::Bytes(count)) => {
                        let bytes = &mut self.buffer[..count];
                        return Some(Completion::Received { key, bytes });
                    }
                    Some(Received::End(error)) => return Some(Completion::Ended { key, error }),
                    None => {}
                },
            }
        }
        None
    }

    fn connect(&mut self, address: SocketAddr, again: Option<Key>) -> io::Result<Key> {
        let stream = TcpStream::connect(address)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(listener::UNSENT_IN_KERNEL_BYTES)?;
        match again {
            Some(key) => self.replace(stream, key),
            None => self.adopt_stream(stream, true),
        }
    }

    fn adopt(&mut self, newcomer: Newcomer) -> io::Result<Key> {
        match newcomer {
            Newcomer::Socket(stream) => self.adopt_stream(TcpStream::from_std(stream), false),
            Newcomer::Simulated(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    fn send<'a>(&mut self, batch: impl Iterator<Item = Outgoing<'a>>, results: &mut Vec<Sent>) {
        let Self { sockets, mirror, .. } = self;
        mirror.begin(batch.size_hint().0);
        for outgoing in batch {
            let Some(socket) = find(sockets, outgoing.key) else {
                results.push(Sent::Broken(ErrorKind::NotConnected));
                continue;
            };
            let length = outgoing.first.len() + outgoing.second.len();
            let mirrored = mirror.send(&socket.stream, &outgoing);
            let sent = match mirrored.unwrap_or_else(|| send_once(&socket.stream, &outgoing)) {
                Ok(count) => Sent::Taken(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Sent::Taken(0),
                Err(error) => Sent::Broken(error.kind()),
            };
            if let Sent::Taken(count) = sent {
                socket.blocked = count < length;
            }
            results.push(sent);
        }
    }

    fn pause(&mut self, key: Key) {
        if let Some(socket) = self.socket(key) {
            socket.paused = true;
        }
    }

    fn resume(&mut self, key: Key) {
        let Some(socket) = self.socket(key) else { return };
        socket.paused = false;
        if socket.readable {
            socket.readable = false;
            self.again.push_back(Ready::Readable(key));
        }
    }

    fn finish(&mut self, key: Key) {
        if let Some(socket) = self.socket(key) {
            // It can only fail when the peer has reset the connection: the next receive tells.
            let _ = socket.stream.shutdown(Shutdown::Write);
        }
    }

    fn close(&mut self, key: Key) {
        if self.socket(key).is_some() {
            // Closing the descriptor takes it out of epoll.
            drop(self.sockets.remove(key.index()));
        }
    }

    fn pause_accepting(&mut self) {
        self.door.pause();
    }

    fn resume_accepting(&mut self) {
        self.door.resume();
        // The edge of what came meanwhile has been passed over.
        self.again.push_back(Ready::Listener);
    }

    fn stop_accepting(&mut self) {
        if let Some(mut listener) = self.door.close()
            && let Err(error) = self.poll.registry().deregister(&mut listener)
        {
            warn!(%error, "the listener could not be taken out of epoll");
        }
    }

    fn has_stopped(&self) -> bool {
        // Nothing is accepted before it is reported.
        true
    }

    fn mirrored_bytes(&self) -> u64 {
        self.mirror.sent()
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::read()
    }

    fn random(&mut self) -> RandomSource {
        Box::new(random)
    }
}

/// Fills `bytes` from the operating system.
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match getrandom(&mut *rest, GetRandomFlags::empty()) {
            Ok(count) => rest = &mut rest[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn find(sockets: &mut Slab<Socket>, key: Key) -> Option<&mut Socket> {
    sockets.get_mut(key.index()).filter(|socket| socket.generation == key.generation)
}

fn send_once(mut stream: &TcpStream, outgoing: &Outgoing<'_>) -> io::Result<usize> {
    // A second slice costs 25 to 43 ns in the kernel: only where there is one.
    match (outgoing.first, outgoing.second) {
        (first, []) => stream.write(first),
        ([], second) => stream.write(second),
        (first, second) => stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
    }
}

/// Turns an epoll event into what there is to look at; sending goes first, it makes room.
fn note(event: &Event, sockets: &mut Slab<Socket>, ready: &mut VecDeque<Ready>) {
    let key = match event.token() {
        Epoll::LISTENER => return ready.push_back(Ready::Listener),
        // The mailbox is looked at in every turn; the wait is over, that is all.
        Epoll::WAKER => return,
        Token(number) => key(number),
    };
    let Some(socket) = sockets.get_mut(key.index()) else { return };
    if socket.generation != key.generation {
        return;
    }
    // Noted first: an end of stream that comes together with the connection gives no second edge.
    socket.read_closed |= event.is_read_closed() || event.is_error();
    if socket.connecting {
        return ready.push_back(Ready::Connecting(key));
    }
    if event.is_writable() && socket.blocked {
        ready.push_back(Ready::Writable(key));
    }
    if event.is_readable() || event.is_read_closed() || event.is_error() {
        ready.push_back(Ready::Readable(key));
    }
}

const fn token(key: Key) -> Token {
    Token((key.generation as usize) << 32 | key.slot as usize)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a token")]
const fn key(token: usize) -> Key {
    Key { slot: token as u32, generation: (token >> 32) as u32 }
}
