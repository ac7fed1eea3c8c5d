//! Unpredictable bytes for the keys of a client: handshake nonces and the masks of frames.
//!
//! On the way of a byte it stands where a frame to a server is encoded: each has a key of its own
//! that nobody who sees earlier ones can guess (RFC 6455 sections 5.3 and 10.3). The bytes come from
//! the back end, the operating system's or a seed's, and are drawn in blocks: a mask costs four
//! bytes of a copy instead of a system call.
//!
//! Invariant: no byte is given out twice. A shard that opens no connection draws nothing and holds
//! no block.

use std::fmt;
use std::io;

use crate::io::RandomSource;

/// What a shard has drawn from its source and not used yet.
pub(crate) struct Random {
    source: RandomSource,
    block: Vec<u8>,
    used: usize,
}

impl fmt::Debug for Random {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the bytes: they are secret until they are used.
        formatter.debug_struct("Random").finish_non_exhaustive()
    }
}

impl Random {
    /// A thousand masks: the system call that draws them costs less than one send.
    const BLOCK_BYTES: usize = 4 * 1024;

    pub(crate) const fn new(source: RandomSource) -> Self {
        Self { source, block: Vec::new(), used: 0 }
    }

    /// Draws a block if none is left. Connections are opened only where this has worked.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        if self.used == self.block.len() { self.refill() } else { Ok(()) }
    }

    /// A fresh mask key.
    pub(crate) fn mask(&mut self) -> [u8; 4] {
        self.draw()
    }

    /// Fresh bytes.
    ///
    /// # Panics
    /// If the source fails although it has worked when the first connection was opened.
    pub(crate) fn draw<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        if self.used + COUNT > self.block.len() {
            self.refill().expect("a source of randomness that has worked goes on working");
        }
        let mut bytes = [0; COUNT];
        bytes.copy_from_slice(&self.block[self.used..self.used + COUNT]);
        self.used += COUNT;
        bytes
    }

    fn refill(&mut self) -> io::Result<()> {
        self.block.resize(Self::BLOCK_BYTES, 0);
        self.used = self.block.len();
        (self.source)(&mut self.block)?;
        self.used = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A source whose bytes count up, in groups of four.
    fn counting() -> RandomSource {
        let mut next = 0_u32;
        Box::new(move |bytes| {
            for group in bytes.chunks_mut(4) {
                group.copy_from_slice(&next.to_be_bytes());
                next += 1;
            }
            Ok(())
        })
    }

    #[test]
    fn no_byte_is_given_out_twice_and_none_before_it_is_drawn() {
        let mut random = Random::new(counting());
        let masks: Vec<u32> = (0..5_000).map(|_| u32::from_be_bytes(random.mask())).collect();
        assert_eq!(masks, (0..5_000).collect::<Vec<_>>());
        let mut random = Random::new(counting());
        random.mask();
        assert_eq!(random.draw::<16>()[..8], [0, 0, 0, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn nothing_is_drawn_before_it_is_needed_and_a_source_that_fails_is_told() {
        let mut random = Random::new(Box::new(|_| Err(io::ErrorKind::Unsupported.into())));
        assert_eq!(random.block.capacity(), 0);
        assert!(random.prepare().is_err());
        assert!(random.prepare().is_err(), "and again");
    }

    #[test]
    fn the_operating_systems_bytes_differ() {
        let mut random = Random::new(Box::new(crate::io::epoll::random));
        random.prepare().expect("Linux has randomness");
        let masks: HashSet<[u8; 8]> = (0..2_000).map(|_| random.draw()).collect();
        assert_eq!(masks.len(), 2_000);
    }
}
