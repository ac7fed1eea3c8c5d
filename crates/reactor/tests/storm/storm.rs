//! A run: lives of servers one after the other, until so many events have happened.
//!
//! Each life has its own shards, limits and end, all from the seed; `life` is what happens in one.
//! Everything that peers receive goes into one hash, so that two runs can be compared.

use tickwire_reactor::Counters;

use crate::fault::Fault;
use crate::ledger::Violation;
use crate::life::Life;
use crate::random::Random;

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) seed: u64,
    pub(crate) events: u64,
    pub(crate) fault: Option<Fault>,
}

/// What a run has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) events: u64,
    pub(crate) lives: u64,
    /// Of all that peers received.
    pub(crate) hash: u64,
    pub(crate) counters: Counters,
}

impl Storm {
    pub(crate) const fn new(seed: u64, events: u64) -> Self {
        Self { seed, events, fault: None }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(crate) fn run(self) -> Result<Outcome, Violation> {
        let mut random = Random::new(self.seed);
        let mut outcome = Outcome::default();
        while outcome.events < self.events {
            // As long as it would be in a longer run, so that a shorter one is its beginning.
            let mut events = 2_000 + random.below(40_000) as u64;
            if random.one_in(8) {
                events *= 5;
            }
            let life_seed = random.next();
            let left = self.events - outcome.events;
            let lived = Life::new(life_seed, self.fault).run(events.min(left))?;
            outcome.events += lived.events.max(1);
            outcome.lives += 1;
            outcome.hash = outcome.hash.rotate_left(1) ^ lived.hash;
            outcome.counters = outcome.counters.plus(lived.counters);
        }
        Ok(outcome)
    }
}

/// Adds `bytes` to a hash, eight at a time.
pub(crate) fn hashed(hash: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(hash ^ bytes.len() as u64, |hash, group| {
        let mut word = [0; 8];
        word[..group.len()].copy_from_slice(group);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    })
}
