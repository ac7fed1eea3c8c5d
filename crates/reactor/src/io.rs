//! What a shard knows of the operating system: a back end that reports completions.
//!
//! A back end owns the sockets of one shard. The shard waits, then takes completions one by one;
//! received bytes are lent for the length of one completion, from wherever the back end let the
//! kernel put them, so a payload can be unmasked and read in place. Sends are handed over as a
//! batch of borrowed slices and are over when the call returns, each with how many bytes the
//! socket took: a readiness back end performs one system call each, a completion back end submits
//! the batch at once. What a socket did not take stays with the shard, which is told by
//! [`Completion::Writable`] when to try again.
//!
//! A connection is named by slot and generation, so a late event can never reach its slot's next
//! owner.

pub(crate) mod choice;
pub(crate) mod epoll;
mod reserve;
pub mod sim;
#[expect(unsafe_code, reason = "the kernel is told addresses; see its files")]
pub(crate) mod uring;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::clock::Timestamp;

/// A connection of one shard: a slot, and which of the slot's successive owners is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The index in the shard's tables; dense, used again after the connection is gone.
    pub slot: u32,
    /// Differs for each connection that ever used the slot.
    pub generation: u32,
}

impl Key {
    /// The slot as an index.
    pub(crate) const fn index(self) -> usize {
        self.slot as usize
    }
}

/// A connection that was accepted and is no shard's yet.
#[derive(Debug)]
pub enum Newcomer {
    /// A socket.
    Socket(TcpStream),
    /// The place of a simulated one in its world.
    Simulated(usize),
}

/// Something that happened, in the order in which the shard is to see it.
#[derive(Debug)]
pub enum Completion<'a> {
    /// A connection was accepted and named.
    Accepted {
        /// Its name from now on.
        key: Key,
        /// Where it comes from.
        peer: SocketAddr,
    },
    /// A connection was accepted that the shard may keep, with [`Backend::adopt`], or hand over to
    /// another. Instead of [`Completion::Accepted`], where shards share newcomers out.
    Arrived {
        /// To be adopted by one shard; dropping it closes it.
        newcomer: Newcomer,
        /// Where it comes from.
        peer: SocketAddr,
    },
    /// A connection could not be accepted, for want of descriptors or memory.
    NotAccepted {
        /// What the operating system said.
        error: io::Error,
        /// Whether it was closed. If not it waits in the kernel's queue, and the back end tries again
        /// by itself.
        refused: bool,
    },
    /// The connection asked for by [`Backend::connect`] has come about; bytes can go both ways. One
    /// that does not come about is [`Completion::Ended`] instead.
    Connected {
        /// Whose.
        key: Key,
    },
    /// TLS has been agreed on with a peer; what is received from now on came through it.
    Secured {
        /// Whose.
        key: Key,
        /// An earlier session was taken up again.
        resumed: bool,
    },
    /// Something came that is no business of the shard's, such as a message of a handshake.
    Nothing,
    /// Bytes arrived. They may be changed in place and are gone when the next completion is taken.
    Received {
        /// Whose.
        key: Key,
        /// At least one byte.
        bytes: &'a mut [u8],
    },
    /// The socket, which did not take all of an earlier send, has room again.
    Writable {
        /// Whose.
        key: Key,
    },
    /// Nothing will be received any more: end of stream, or an error of the socket. The slot stays
    /// taken until [`Backend::close`].
    Ended {
        /// Whose.
        key: Key,
        /// `None`: the peer ended its stream; else what went wrong.
        error: Option<io::Error>,
    },
}

/// One send of a batch: all that one connection gets in a turn, in up to two slices.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Whose.
    pub key: Key,
    /// What goes first; may be empty.
    pub first: &'a [u8],
    /// What follows; may be empty. Two slices, because what is shared by many connections must not
    /// be copied behind what is this connection's own.
    pub second: &'a [u8],
}

/// What became of one [`Outgoing`].
#[derive(Debug)]
pub enum Sent {
    /// The socket took this many bytes, perhaps none; if not all, a [`Completion::Writable`] follows.
    Taken(usize),
    /// All of it, this many bytes, has been taken, and some still waits on the way to the socket; a
    /// [`Completion::Writable`] follows.
    Held(usize),
    /// The socket is broken and takes nothing any more.
    Broken(io::ErrorKind),
}

/// The operating system, or a simulation of it, under one shard.
pub trait Backend {
    /// Waits for completions, for at most `timeout` (`None`: until something happens). Returns at
    /// once if some are at hand already.
    ///
    /// # Errors
    /// Only if the back end itself is broken; the shard cannot go on.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// The next completion of this turn, `None` when the turn has had its share.
    fn next(&mut self) -> Option<Completion<'_>>;

    /// Makes the connection that [`Backend::connect`] begins next one with TLS, to a server whose
    /// certificate is for `name`. Its [`Completion::Connected`] comes when that has been verified.
    ///
    /// # Errors
    /// A [`TlsError`](crate::TlsError): nobody is trusted here, or `name` is none.
    fn secure_next(&mut self, name: &str) -> io::Result<()> {
        let _ = name;
        Err(crate::error::TlsError::NoTrust.into())
    }

    /// Begins a connection to `address`, and gives its name; a [`Completion::Connected`] follows, or a
    /// [`Completion::Ended`]. With `again`, a connection that has ended before it came about keeps
    /// its name and its slot, and begins anew.
    ///
    /// # Errors
    /// What can be told at once, such as a network that is not reachable. The connection `again`
    /// still has its slot.
    fn connect(&mut self, address: SocketAddr, again: Option<Key>) -> io::Result<Key>;

    /// Takes a connection that this shard or another has accepted, and names it.
    ///
    /// # Errors
    /// When the operating system has no room for it; the connection is closed.
    fn adopt(&mut self, newcomer: Newcomer) -> io::Result<Key>;

    /// Sends each item of `batch` and appends what became of it to `results`, in the same order.
    fn send<'a>(&mut self, batch: impl Iterator<Item = Outgoing<'a>>, results: &mut Vec<Sent>);

    /// Stops receiving from a connection, so that TCP makes its peer wait.
    fn pause(&mut self, key: Key);

    /// Receives again after [`Backend::pause`].
    fn resume(&mut self, key: Key);

    /// Ends our half of the stream after what was sent; the peer sees the end, we still receive.
    fn finish(&mut self, key: Key);

    /// Sends what has to be said before [`Backend::close`]. `false`: the socket does not take all of it
    /// now; a [`Completion::Writable`] follows, and then it is to be closed. Asking again before that
    /// gives it up.
    fn part(&mut self, key: Key) -> bool {
        let _ = key;
        true
    }

    /// Gives the socket and its slot back. The key is dead from now on.
    fn close(&mut self, key: Key);

    /// Accepts no more for now: connections wait in the kernel's queue. A back end that has accepted
    /// ahead may still report some.
    fn pause_accepting(&mut self);

    /// Accepts again after [`Backend::pause_accepting`].
    fn resume_accepting(&mut self);

    /// Stops listening. Connections already accepted stay.
    fn stop_accepting(&mut self);

    /// After [`Backend::stop_accepting`]: whether all that has been accepted has been reported. A
    /// completion follows while it has not.
    fn has_stopped(&self) -> bool;

    /// Bytes of memory that the back end holds for single connections: buffers, and sessions of TLS.
    fn held_bytes(&self) -> usize {
        0
    }

    /// The same of those that were written off.
    fn leaving_bytes(&self) -> usize {
        0
    }

    /// What [`Backend::held_bytes`] has of this connection.
    fn held_by(&self, key: Key) -> usize {
        let _ = key;
        0
    }

    /// The connection is being ended for want of memory: what is held for it counts no more. `false`: a
    /// last word would not leave now, so there is to be none.
    fn write_off(&mut self, key: Key) -> bool {
        let _ = key;
        true
    }

    /// Of the bytes that were sent, those that did not have to be copied for each connection.
    fn mirrored_bytes(&self) -> u64 {
        0
    }

    /// The present time. The shard asks once per turn, after [`Backend::wait`].
    fn now(&mut self) -> Timestamp;

    /// Where the shard's unpredictable bytes come from. The shard asks once.
    fn random(&mut self) -> RandomSource;
}

/// Fills a slice with bytes that nobody can predict; in a simulation, with those of its seed.
pub type RandomSource = Box<dyn FnMut(&mut [u8]) -> io::Result<()>>;
