//! Large bodies that many connections get: copied into a file of memory once, and sent from there.
//!
//! A send copies its bytes into the kernel, for each connection anew. Of a file the kernel sends the
//! pages themselves. So a run of some kilobytes that follows itself in a batch is written to a
//! memfd once, and the rest of the batch is sent from that by sendfile(2).
//!
//! Invariant: what was written is never written over, because TCP sends from these pages, and sends
//! them again, until the peer has acknowledged them, however slow it is. A run has a place of its own, behind all
//! others; a file that is full is closed, and its pages live on as long as a socket needs them.
//!
//! It decides by address and length: both slices are borrowed for the length of one batch, so equal
//! addresses are equal bytes there, and nothing is remembered from one batch to the next. Where the
//! kernel refuses it, everything is sent as it would be without it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use tracing::info;

use crate::io::Outgoing;

/// The file, and what is in it of the present batch.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    file: Option<File>,
    /// Bytes of the file that have been given out.
    end: u64,
    /// The kernel does not have it, or a sandbox forbids it.
    refused: bool,
    /// Sends of the present batch; 0 if nothing is to be looked for.
    sends: usize,
    run: Run,
    /// Bytes that were sent from the file, since the beginning.
    sent: u64,
}

/// The slice that came last, and how often in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    address: usize,
    length: usize,
    seen: usize,
    /// Where it is in the file, once it is.
    offset: Option<u64>,
}

impl Mirror {
    /// Shorter ones are cheaper to copy, where readers keep up: 4 and 8 KB by a tenth.
    const BYTES_MIN: usize = 16_000;

    /// The same for runs of so many messages that they pile up in sockets: what is copied there is cold
    /// when it is read, and a file's pages are not.
    const MANY_BYTES_MIN: usize = 4_000;

    /// From how many times its first message on a run counts as many.
    const MANY: usize = 16;

    /// Sends in a batch from which on it is looked for: to write a run down costs as much as it saves
    /// with some twenty connections.
    const SENDS_MIN: usize = 64;

    /// Bytes of a run, times sends in the batch, from which on it is written down: with 64 connections
    /// it gains for 16 KB and not for 4 KB, with 128 for 4 KB too.
    const BATCH_BYTES_MIN: usize = 500_000;

    /// How often in a row a run is sent as it is before it is written down: it may be of few.
    const SEEN_MIN: usize = 4;

    /// What a file holds before the next one is begun: memory that stays until then.
    const FILE_BYTES: u64 = 4 * 1024 * 1024;

    /// Runs begin on pages of their own, so that they have as few as can be.
    const PAGE_BYTES: u64 = 4096;

    /// A batch of so many sends begins: no address means anything any more.
    pub(super) const fn begin(&mut self, sends: usize) {
        self.run = Run { address: 0, length: 0, seen: 0, offset: None };
        self.sends = if sends < Self::SENDS_MIN || self.refused { 0 } else { sends };
    }

    /// Bytes that were sent from files, since the beginning.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends from the file what is in there. `None`: it is not, and is to be sent as it is.
    #[inline]
    pub(super) fn send(
        &mut self,
        socket: impl AsFd,
        outgoing: &Outgoing<'_>,
    ) -> Option<io::Result<usize>> {
        let length = outgoing.second.len();
        let is_worth_it = length >= Self::MANY_BYTES_MIN
            && length * self.sends >= Self::BATCH_BYTES_MIN
            && (length >= Self::BYTES_MIN || Self::is_many(outgoing.second));
        if !is_worth_it || !outgoing.first.is_empty() {
            return None;
        }
        self.send_large(socket, outgoing.second)
    }

    /// Whether a run is many messages, by the length of the first (RFC 6455 section 5.2).
    fn is_many(run: &[u8]) -> bool {
        let first = match run {
            [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
            [_, length @ ..126, ..] => 2 + usize::from(*length),
            _ => return false,
        };
        first * Self::MANY <= run.len()
    }

    fn send_large(&mut self, socket: impl AsFd, bytes: &[u8]) -> Option<io::Result<usize>> {
        let (address, length) = (bytes.as_ptr().addr(), bytes.len());
        if (self.run.address, self.run.length) != (address, length) {
            self.run = Run { address, length, seen: 0, offset: None };
        }
        self.run.seen += 1;
        if self.run.seen == Self::SEEN_MIN {
            self.run.offset = self.write(bytes);
        }
        let mut offset = self.run.offset?;
        let sent = sendfile(socket, self.file.as_ref()?, Some(&mut offset), length);
        self.sent += *sent.as_ref().unwrap_or(&0) as u64;
        Some(sent.map_err(io::Error::from))
    }

    /// Writes a run where nothing was written before.
    #[cold]
    fn write(&mut self, bytes: &[u8]) -> Option<u64> {
        match self.try_write(bytes) {
            Ok(offset) => Some(offset),
            Err(error) => {
                info!(%error, "large messages are copied for each connection: no file of memory");
                self.refused = true;
                None
            }
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let length = bytes.len() as u64;
        if self.file.is_none() || self.end + length > Self::FILE_BYTES {
            self.file = Some(memfd_create("tickwire", MemfdFlags::CLOEXEC)?.into());
            self.end = 0;
        }
        let offset = self.end;
        if let Some(file) = &self.file {
            file.write_all_at(bytes, offset)?;
        }
        self.end = (offset + length).next_multiple_of(Self::PAGE_BYTES);
        Ok(offset)
    }
}

#[cfg(test)]
mod tests {
    use tickwire_protocol::{Kind, encode};

    use super::*;

    #[test]
    fn many_is_what_the_first_message_is_a_sixteenth_of() {
        for (length, count, expected) in [
            (125, 15, false),
            (125, 16, true),
            (125, 128, true),
            (4_096, 1, false),
            (4_096, 15, false),
            (4_096, 16, true),
            (70_000, 20, false),
        ] {
            let mut run = Vec::new();
            (0..count).for_each(|_| encode::message(Kind::Binary, &vec![7; length], &mut run));
            assert_eq!(Mirror::is_many(&run), expected, "{count} of {length}");
        }
        assert!(!Mirror::is_many(&[]));
    }
}
