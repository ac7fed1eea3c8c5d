//! The io_uring back end: one ring per shard, on which everything is in flight at once.
//!
//! Each socket has one request to receive that goes on as long as the socket lives (multishot), into
//! buffers that all sockets share (`uring/buffers.rs`); the shard is lent the bytes where the kernel
//! put them. Sends are queued as a batch and are complete when the kernel has been entered once
//! (`uring/sends.rs`); a socket that did not take all is polled for room. Accepted sockets live in the
//! ring's own table of files, where the process's limit does not count them, and closing one is a
//! request like any other, behind the cancellation of what is in flight for it. What the kernel can do
//! is tried out before the first ring is made (`uring/features.rs`).
//!
//! Invariants: a completion names a slot and an incarnation of it, so one that comes late finds
//! nobody; a socket has at most one request of each kind in flight; memory that requests point to is
//! freed when none is in flight any more, or not at all.

mod accepts;
mod buffers;
mod features;
mod receive;
mod ring;
mod sends;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::IoUring;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use slab::Slab;
use socket2::{Domain, Protocol, SockRef, Socket as Dialed, Type};

pub(crate) use self::features::{Features, explain};

use self::accepts::{Accepts, descriptor};
use self::buffers::{Buffers, Piece};
use self::ring::{Completed, Operation, Ring, Tag, Target};
use self::sends::Sends;
use self::socket::{File, Socket};
use super::{Backend, Completion, Key, Newcomer, Outgoing, RandomSource, Sent, epoll};
use crate::clock::Timestamp;
use crate::listener;
use crate::mailbox::Wake;

/// A ring that is complete but for the thread that it is to be used on.
#[derive(Debug)]
pub(crate) struct Prepared {
    ring: Disabled,
    buffers: Buffers,
    accepts: Option<Accepts>,
    bell: Arc<OwnedFd>,
    /// Whether what is accepted is reported before it is adopted, for another shard may have it.
    shares_out: bool,
}

/// A ring that nobody can use yet.
struct Disabled(IoUring);

impl std::fmt::Debug for Disabled {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Disabled").field(self.0.params()).finish()
    }
}

/// Ends the wait of a shard.
#[derive(Debug)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Wake for Bell {
    fn wake(&self) {
        // It counts up and is polled for edges, so nobody has to read it; 2^64 rings are for ever.
        if let Err(error) = rustix::io::write(&*self.0, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "a shard could not be woken");
        }
    }
}

/// One ring, its listener if it has one, and its sockets, accepted or connected.
#[derive(Debug)]
pub(crate) struct Uring {
    ring: Ring,
    buffers: ManuallyDrop<Buffers>,
    accepts: ManuallyDrop<Option<Accepts>>,
    sends: Sends,
    bell: Arc<OwnedFd>,
    sockets: Slab<Socket>,
    /// Of slots' successive owners, and of their attempts to connect.
    incarnation: u32,
    /// No buffer was left for these; they receive again when some are.
    starved: VecDeque<Key>,
    /// Sockets that are received from again and have something held back.
    resumed: VecDeque<Key>,
    /// What the present completion lends.
    lent: Option<Piece>,
    /// What it lends that lies in no buffer: bytes that were held, or joined.
    lent_held: Vec<u8>,
    /// Completions left of this turn's share.
    left: usize,
    shares_out: bool,
    /// An accept has failed, and is tried again after a while.
    accept_failed: bool,
    /// No connection is waited for now, or any more.
    accept_paused: bool,
}

/// What there is to tell of a completion.
enum Found {
    Accepted(Key, SocketAddr),
    Arrived(OwnedFd, SocketAddr),
    NotAccepted(io::Error, bool),
    Connected(Key),
    /// In the buffers.
    Received(Key, Piece),
    /// In `lent_held`.
    Held(Key),
    Writable(Key),
    Ended(Key, Option<io::Error>),
}

impl Prepared {
    /// Takes over a listening socket, if there is one, for a ring with a table of `table` files; and
    /// gives the bell that other threads end its waits with. With `shares_out`, connections are reported
    /// as [`Completion::Arrived`], and are not in the table, out of which there is no way to another
    /// ring.
    pub(crate) fn new(
        features: &Features,
        listener: Option<TcpListener>,
        shares_out: bool,
        table: usize,
    ) -> io::Result<(Self, Bell)> {
        let ring = features.disabled_ring()?;
        let buffers = Buffers::new(&ring, features.buffers)?;
        let has_table = !shares_out && table > 0 && features.register_table(&ring, table);
        let accepts = listener.map(|it| Accepts::new(it, has_table));
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let prepared = Self { ring: Disabled(ring), buffers, accepts, bell, shares_out };
        let bell = Bell(Arc::clone(&prepared.bell));
        Ok((prepared, bell))
    }

    /// Enables the ring. From now on it is this thread's, and no other's.
    pub(crate) fn enable(self) -> io::Result<Uring> {
        let Self { ring: Disabled(ring), buffers, accepts, bell, shares_out } = self;
        ring.submitter().register_enable_rings()?;
        let mut uring = Uring {
            ring: Ring::new(ring),
            buffers: ManuallyDrop::new(buffers),
            accepts: ManuallyDrop::new(accepts),
            sends: Sends::new(),
            bell,
            sockets: Slab::new(),
            incarnation: 0,
            starved: VecDeque::new(),
            resumed: VecDeque::new(),
            lent: None,
            lent_held: Vec::with_capacity(Uring::SPARE_HELD_BYTES_MAX),
            left: 0,
            shares_out,
            accept_failed: false,
            accept_paused: false,
        };
        uring.await_bell();
        Ok(uring)
    }
}

impl Uring {
    /// How soon an accept that failed for want of descriptors or memory is tried again.
    const ACCEPT_RETRY: Duration = Duration::from_millis(50);

    /// Completions looked at in one turn: enough that entering the kernel costs little for each, few
    /// enough that replies do not wait for a long turn.
    const COMPLETIONS_MAX: usize = 256;

    /// Sockets that receive again in one turn after there was no buffer for them, for each buffer that
    /// there is. Those that have nothing to receive take none.
    const STARVED_FED_PER_BUFFER: usize = 4;

    /// What bytes that were held or joined leave behind for the next ones.
    const SPARE_HELD_BYTES_MAX: usize = 128 * 1024;

    fn socket(&mut self, key: Key) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(key.index())?;
        (socket.generation == key.generation && !socket.closed).then_some(socket)
    }

    /// The socket that a completion is about, unless it is gone.
    fn addressee(&mut self, tag: Tag) -> Option<(Key, &mut Socket)> {
        let socket = self.sockets.get_mut(tag.slot as usize)?;
        let key = Key { slot: tag.slot, generation: socket.generation };
        (socket.incarnation == tag.incarnation).then_some((key, socket))
    }

    fn await_bell(&mut self) {
        let tag = Tag { operation: Operation::Wake, slot: 0, incarnation: 0 };
        self.ring.poll_readable(tag, self.bell.as_raw_fd());
    }

    fn await_connections(&mut self) {
        if !self.accept_paused
            && !self.accept_failed
            && let Some(accepts) = &mut *self.accepts
        {
            accepts.arm(&mut self.ring);
        }
    }

    fn seat(&mut self, file: File, connecting: bool) -> io::Result<Key> {
        let entry = self.sockets.vacant_entry();
        let slot = u32::try_from(entry.key()).ok().filter(|slot| *slot < Tag::SLOTS_MAX);
        let Some(slot) = slot else {
            self.release(file);
            return Err(io::Error::other("too many sockets"));
        };
        self.incarnation = self.incarnation.wrapping_add(1);
        let socket = Socket::new(file, self.incarnation, connecting);
        let key = Key { slot, generation: socket.generation };
        entry.insert(socket);
        if connecting {
            self.await_connected(key);
        } else {
            self.receive(key);
        }
        Ok(key)
    }

    /// Receives from now on, if nothing speaks against it.
    fn receive(&mut self, key: Key) {
        let Self { sockets, ring, .. } = self;
        let Some(socket) = sockets.get_mut(key.index()) else { return };
        let is_idle = !(socket.receiving || socket.paused || socket.ended || socket.connecting);
        if socket.generation == key.generation && !socket.closed && is_idle {
            socket.receiving = true;
            let tag = socket.tag(key.slot, Operation::Receive);
            ring.receive(tag, socket.target(), Buffers::GROUP);
        }
    }

    fn await_connected(&mut self, key: Key) {
        let Self { sockets, ring, .. } = self;
        let socket = &mut sockets[key.index()];
        ring.poll_writable(socket.tag(key.slot, Operation::Connect), socket.target());
    }

    /// Gives a file back, behind all requests for it.
    fn release(&mut self, file: File) {
        match file {
            File::Direct(index) => self.ring.close(Target::Direct(index)),
            File::Plain(file) => {
                // Not before what is queued has reached the kernel: the number could be another's.
                let number = std::os::fd::IntoRawFd::into_raw_fd(file);
                self.ring.close(Target::Plain(number));
            }
        }
    }

    /// Takes back what is in flight for a socket that is no slot's any more, and closes it.
    fn discard(&mut self, slot: u32, socket: Socket) {
        if socket.receiving {
            self.ring.cancel(socket.tag(slot, Operation::Receive));
        }
        if socket.polling {
            self.ring.cancel(socket.tag(slot, Operation::Writable));
        }
        if socket.connecting {
            self.ring.cancel(socket.tag(slot, Operation::Connect));
        }
        self.release(socket.file);
    }

    /// What has been lent may be used again.
    fn take_back(&mut self) {
        if let Some(piece) = self.lent.take() {
            self.buffers.done(piece);
        }
        if self.lent_held.capacity() > 0 {
            self.lent_held.clear();
            self.lent_held.shrink_to(Self::SPARE_HELD_BYTES_MAX);
        }
    }

    /// Lets some of those receive again that found no buffer.
    fn feed_starved(&mut self) {
        for _ in 0..Self::STARVED_FED_PER_BUFFER * self.buffers.count() {
            let Some(key) = self.starved.pop_front() else { return };
            self.receive(key);
        }
    }

    /// The next thing that there is to tell.
    fn find(&mut self) -> Option<Found> {
        while let Some(key) = self.resumed.pop_front() {
            if let Some(found) = self.unhold(key) {
                return Some(found);
            }
        }
        while self.left > 0 {
            self.left -= 1;
            let Some(completed) = self.ring.next() else { break };
            if let Some(found) = self.completed(&completed) {
                return Some(found);
            }
        }
        None
    }

    fn completed(&mut self, completed: &Completed) -> Option<Found> {
        let tag = completed.tag;
        match tag.operation {
            Operation::Receive => self.received(completed),
            Operation::Accept => self.accepted(tag.slot, completed.result),
            Operation::Writable => {
                let (key, socket) = self.addressee(tag)?;
                socket.polling = false;
                let is_awaited = std::mem::take(&mut socket.blocked) && !socket.closed;
                is_awaited.then_some(Found::Writable(key))
            }
            Operation::Connect => self.connected(tag),
            Operation::Finish => {
                let (key, socket) = self.addressee(tag)?;
                socket.finishing = false;
                if socket.closed {
                    let socket = self.sockets.remove(key.index());
                    self.discard(key.slot, socket);
                }
                None
            }
            Operation::Wake => {
                if !completed.more {
                    self.await_bell();
                }
                None
            }
            Operation::Send | Operation::Aside => None,
        }
    }

    /// Looks whether a connection of ours has come about.
    fn connected(&mut self, tag: Tag) -> Option<Found> {
        let (key, socket) = self.addressee(tag).filter(|(_, socket)| socket.connecting)?;
        let File::Plain(file) = &socket.file else { return None };
        let dialed = SockRef::from(file);
        let error = match (dialed.take_error(), dialed.peer_addr()) {
            (Ok(None), Ok(_)) => {
                // A request to receive is to wait where there is nothing yet.
                dialed.set_nonblocking(false).err()
            }
            (Ok(None), Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                self.await_connected(key);
                return None;
            }
            (Ok(Some(error)) | Err(error), _) | (Ok(None), Err(error)) => Some(error),
        };
        socket.connecting = false;
        if let Some(error) = error {
            socket.ended = true;
            return Some(Found::Ended(key, Some(error)));
        }
        self.receive(key);
        Some(Found::Connected(key))
    }

    /// Makes the socket of a connection that is begun.
    fn dial(address: SocketAddr) -> io::Result<OwnedFd> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let dialed = Dialed::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        dialed.set_tcp_nodelay(true)?;
        dialed.set_tcp_notsent_lowat(listener::UNSENT_IN_KERNEL_BYTES)?;
        match dialed.connect(&address.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
            _ => Ok(dialed.into()),
        }
    }

    /// Begins anew under the name of a connection that has not come about.
    fn replace(&mut self, file: OwnedFd, key: Key) -> io::Result<Key> {
        self.incarnation = self.incarnation.wrapping_add(1);
        let incarnation = self.incarnation;
        let Some(socket) = self.socket(key) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        // What is still told of the old socket finds another incarnation.
        let mut new = Socket::new(File::Plain(file), incarnation, true);
        new.generation = key.generation;
        let old = std::mem::replace(socket, new);
        self.discard(key.slot, old);
        self.await_connected(key);
        Ok(key)
    }

    /// Sends what has been noted, and looks after those that did not take all of theirs.
    ///
    /// # Safety
    /// As [`Sends::run`].
    unsafe fn run_sends(&mut self, results: &mut [Sent]) {
        let Self { ring, sends, sockets, .. } = self;
        // SAFETY: passed on.
        unsafe { sends.run(ring, results) };
        for item in sends.items() {
            let Sent::Taken(taken) = results[item.index] else { continue };
            let socket = &mut sockets[item.slot as usize];
            socket.blocked = taken < item.length;
            if socket.blocked && !socket.polling {
                socket.polling = true;
                let tag = socket.tag(item.slot, Operation::Writable);
                ring.poll_writable(tag, socket.target());
            }
        }
        sends.clear();
    }
}

impl Backend for Uring {
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.take_back();
        self.await_connections();
        self.feed_starved();
        let mut timeout = timeout;
        if self.accept_failed && !self.accept_paused {
            timeout = Some(timeout.map_or(Self::ACCEPT_RETRY, |it| it.min(Self::ACCEPT_RETRY)));
        }
        if !self.resumed.is_empty() || !self.starved.is_empty() || self.ring.completed() > 0 {
            timeout = Some(Duration::ZERO);
        }
        self.ring.wait(timeout)?;
        self.accept_failed = false;
        self.left = self.ring.completed().min(Self::COMPLETIONS_MAX);
        Ok(())
    }

    fn next(&mut self) -> Option<Completion<'_>> {
        self.take_back();
        Some(match self.find()? {
            Found::Accepted(key, peer) => Completion::Accepted { key, peer },
            Found::Arrived(file, peer) => {
                Completion::Arrived { newcomer: Newcomer::Socket(file.into()), peer }
            }
            Found::NotAccepted(error, refused) => Completion::NotAccepted { error, refused },
            Found::Connected(key) => Completion::Connected { key },
            Found::Received(key, piece) => {
                self.lent = Some(piece);
                Completion::Received { key, bytes: self.buffers.bytes(piece) }
            }
            Found::Held(key) => Completion::Received { key, bytes: &mut self.lent_held },
            Found::Writable(key) => Completion::Writable { key },
            Found::Ended(key, error) => Completion::Ended { key, error },
        })
    }

    fn connect(&mut self, address: SocketAddr, again: Option<Key>) -> io::Result<Key> {
        let file = Self::dial(address)?;
        match again {
            Some(key) => self.replace(file, key),
            None => self.seat(File::Plain(file), true),
        }
    }

    fn adopt(&mut self, newcomer: Newcomer) -> io::Result<Key> {
        match newcomer {
            Newcomer::Socket(stream) => self.seat(File::Plain(stream.into()), false),
            Newcomer::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn send<'a>(&mut self, batch: impl Iterator<Item = Outgoing<'a>>, results: &mut Vec<Sent>) {
        // Slices of a batch that was interrupted by a panic are borrowed no more.
        self.sends.clear();
        for outgoing in batch {
            let index = results.len();
            results.push(Sent::Broken(io::ErrorKind::NotConnected));
            let Some(socket) = self.socket(outgoing.key) else { continue };
            let target = socket.target();
            self.sends.add(outgoing.key.slot, target, index, &outgoing);
            if self.sends.len() == Sends::MAX {
                // SAFETY: what the batch has given is borrowed for 'a, which outlives this call.
                unsafe { self.run_sends(results) };
            }
        }
        if self.sends.len() > 0 {
            // SAFETY: as above.
            unsafe { self.run_sends(results) };
        }
    }

    fn pause(&mut self, key: Key) {
        let Some(socket) = self.socket(key) else { return };
        socket.paused = true;
        if socket.receiving {
            let tag = socket.tag(key.slot, Operation::Receive);
            self.ring.cancel(tag);
        }
    }

    fn resume(&mut self, key: Key) {
        let Some(socket) = self.socket(key) else { return };
        socket.paused = false;
        if socket.held.is_some() {
            self.resumed.push_back(key);
        }
        // Behind what is held: the turn's completions are looked at after it.
        self.receive(key);
    }

    fn finish(&mut self, key: Key) {
        let Self { sockets, ring, .. } = self;
        let socket = sockets.get_mut(key.index()).filter(|it| it.generation == key.generation);
        let Some(socket) = socket.filter(|it| !it.closed && !it.finishing) else { return };
        match &socket.file {
            File::Direct(_) => {
                socket.finishing = true;
                ring.shutdown(socket.tag(key.slot, Operation::Finish), socket.target());
            }
            File::Plain(file) => {
                // It can only fail when the peer has reset the connection: the next receive tells.
                let _ = rustix::net::shutdown(file, rustix::net::Shutdown::Write);
            }
        }
    }

    fn close(&mut self, key: Key) {
        let Some(socket) = self.socket(key) else { return };
        if socket.finishing {
            // The kernel looks for the file when it comes to it, and must not find another one there.
            socket.closed = true;
            return;
        }
        let socket = self.sockets.remove(key.index());
        self.discard(key.slot, socket);
    }

    fn pause_accepting(&mut self) {
        self.accept_paused = true;
        if let Some(accepts) = &*self.accepts {
            accepts.cancel(&mut self.ring);
        }
    }

    fn resume_accepting(&mut self) {
        self.accept_paused = false;
    }

    fn stop_accepting(&mut self) {
        self.accept_paused = true;
        if let Some(accepts) = &mut *self.accepts {
            accepts.close(&mut self.ring);
        }
    }

    fn has_stopped(&self) -> bool {
        self.accepts.as_ref().is_none_or(Accepts::is_quiet)
    }

    fn now(&mut self) -> Timestamp {
        Timestamp::read()
    }

    fn random(&mut self) -> RandomSource {
        Box::new(epoll::random)
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        for (slot, socket) in std::mem::take(&mut self.sockets) {
            let slot = u32::try_from(slot).expect("slots are 28 bits");
            self.discard(slot, socket);
        }
        let into_table = self.accepts.as_ref().is_some_and(Accepts::is_into_table);
        let ended = self.ring.end(|completed| {
            // Nobody will hear of a connection that was accepted in the last moment.
            if let (Operation::Accept, Ok(number), false) =
                (completed.tag.operation, completed.result, into_table)
            {
                drop(descriptor(number));
            }
        });
        if !ended {
            // The kernel may still write there: that memory is nobody's any more.
            return;
        }
        // SAFETY: nothing is in flight, so nobody else looks at it; it is not used again.
        unsafe { ManuallyDrop::drop(&mut self.buffers) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.accepts) };
    }
}
