//! A socket as its ring keeps it: which file it is, and what is in flight for it.
//!
//! What it owns beyond this entry is what came while the shard did not want it, and only then.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

use super::ring::{Operation, Tag, Target};

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) file: File,
    pub(super) generation: u32,
    /// What completions call this socket.
    pub(super) incarnation: u32,
    /// Ours, and it has not come about yet.
    pub(super) connecting: bool,
    /// The request to receive is in flight.
    pub(super) receiving: bool,
    /// Nothing will be received any more, and the shard has been told.
    pub(super) ended: bool,
    /// An earlier send was not taken whole.
    pub(super) blocked: bool,
    /// The request that waits for room is in flight.
    pub(super) polling: bool,
    /// The shard does not want to receive now.
    pub(super) paused: bool,
    /// The end of our half of the stream is being told.
    pub(super) finishing: bool,
    /// Nobody's any more; it waits for that to have been told.
    pub(super) closed: bool,
    /// What came while it was paused.
    pub(super) held: Option<Box<Held>>,
}

#[derive(Debug)]
pub(super) enum File {
    /// In the ring's table.
    Direct(u32),
    Plain(OwnedFd),
}

/// What a paused socket is still owed: at most what fits in the buffers.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    pub(super) end: Option<Option<Errno>>,
}

impl Socket {
    pub(super) const fn new(file: File, incarnation: u32, connecting: bool) -> Self {
        Self {
            file,
            generation: incarnation,
            incarnation,
            connecting,
            receiving: false,
            ended: false,
            blocked: false,
            polling: false,
            paused: false,
            finishing: false,
            closed: false,
            held: None,
        }
    }

    pub(super) fn target(&self) -> Target {
        match &self.file {
            File::Direct(index) => Target::Direct(*index),
            File::Plain(file) => Target::Plain(file.as_raw_fd()),
        }
    }

    pub(super) const fn tag(&self, slot: u32, operation: Operation) -> Tag {
        Tag { operation, slot, incarnation: self.incarnation }
    }
}
