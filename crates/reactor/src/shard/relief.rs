//! What happens when peers make a shard hold more than its budget: the worst offender goes first.
//!
//! At the end of each turn the accounts of [`memory`](crate::memory) are added up, which are four
//! numbers. Only if that is more than the budget the connections are looked at: each with what it
//! holds for itself, and with its part of the publications that those who lag hold back together.
//! They are ended in that order, with Close 1013 (RFC 6455 section 7.4, IANA registry), until it is
//! enough. What they held goes at once, not when they have seen their Close. Those of whom no more is
//! left than a Close that is owed come last, and are dropped if even that is too much.
//!
//! Invariant: no frame is cut by another. Who is amid one that is too long to be kept is dropped
//! without a Close.
//!
//! Within a turn the budget may be passed, by what one turn receives and sends.

use std::cmp::Reverse;
use std::io;

use tickwire_protocol::{CloseCode, Refusal};

use super::Shard;
use super::closing::{abandon, close};
use super::dialing::fail;
use super::opening::refuse;
use crate::connection::{Inbound, Stage};
use crate::error::ConnectError;
use crate::handler::Handler;
use crate::io::{Backend, Key};
use crate::limits::Limits;

impl<H: Handler, B: Backend> Shard<H, B> {
    /// Brings the shard back within its budget.
    #[inline]
    pub(super) fn relieve(&mut self) {
        let most = self.local.limits.memory_max.unwrap_or(usize::MAX);
        if self.held_bytes() > most {
            self.evict_until(most);
        }
    }

    /// What all connections make the shard hold: what the budget is for.
    fn held_bytes(&self) -> usize {
        self.local.held_bytes() + self.backend.held_bytes()
    }

    #[cold]
    fn evict_until(&mut self, most: usize) {
        for (_, key) in self.offenders() {
            self.evict(key);
            for audience in self.local.fanouts.audiences() {
                // Publications that nobody else is owed go with it.
                self.local.fanouts[audience].end_turn();
            }
            if self.held_bytes() <= most {
                break;
            }
        }
    }

    /// All that hold something, who holds most first; behind them those with nothing but last words.
    fn offenders(&self) -> Vec<((bool, Reverse<usize>), Key)> {
        let local = &self.local;
        let halves = local.links.iter().zip(&self.inbound);
        let mut held: Vec<usize> =
            halves.map(|(link, inbound)| link.held() + inbound.held().bytes()).collect();
        local.fanouts.retained_by(|slot, bytes| held[slot as usize] += bytes);
        for ((slot, link), held) in (0..).zip(&local.links).zip(&mut held) {
            *held += self.backend.held_by(link.key(slot));
        }
        let holders = (0..).zip(held).filter(|(_, bytes)| *bytes > 0);
        let named = |(slot, bytes): (u32, usize)| {
            let rank = (self.has_last_words_only(slot), Reverse(bytes));
            (rank, local.links[slot as usize].key(slot))
        };
        let mut offenders: Vec<_> = holders.map(named).collect();
        // In slot order where they hold the same.
        offenders.sort_by_key(|(rank, _)| *rank);
        offenders
    }

    /// Whether a connection is over, and holds nothing that is not needed for its last words.
    fn has_last_words_only(&self, slot: u32) -> bool {
        let index = slot as usize;
        let link = &self.local.links[index];
        let is_over = !matches!(link.stage, Stage::Handshake | Stage::Connecting | Stage::Open);
        let inflates = matches!(self.inbound[index], Inbound::Open { inflater: Some(_), .. });
        is_over
            && self.backend.held_by(link.key(slot)) == 0
            && !inflates
            && link.deflater.is_none()
            && link.unsent.as_ref().is_none_or(|unsent| unsent.is_bare())
    }

    fn evict(&mut self, key: Key) {
        let is_last_resort = self.has_last_words_only(key.slot);
        let can_be_told = self.backend.write_off(key) && !is_last_resort;
        let (local, handler) = (&mut self.local, &mut self.handler);
        local.counters.evicted += 1;
        match local.links[key.index()].stage {
            Stage::Open => {
                let reason = "the server is short of memory: try again later";
                close(local, handler, &mut self.inbound, key, CloseCode::TRY_AGAIN_LATER, reason);
                self.strip(key);
            }
            Stage::Handshake => {
                local.release(self.inbound[key.index()].held());
                self.inbound[key.index()] = Inbound::Discard;
                let refusal = Refusal::new(503, "the server is short of memory; try later");
                refuse(local, key, &refusal.with_retry_after(Limits::RETRY_AFTER_S));
            }
            Stage::Connecting => {
                return fail(local, key, ConnectError::Socket(io::ErrorKind::OutOfMemory.into()));
            }
            Stage::Vacant | Stage::Closing | Stage::Parting | Stage::Finishing | Stage::Ending => {
                self.strip(key);
            }
        }
        if !can_be_told {
            abandon(&mut self.local, key);
        }
    }

    /// Takes from a connection whose Close is said whatever is not needed to send that.
    fn strip(&mut self, key: Key) {
        let local = &mut self.local;
        let link = &mut local.links[key.index()];
        let own = link.deflater.take();
        local.deflaters.dedicated_bytes -= own.map_or(0, |own| own.memory());
        if let Inbound::Open { inflater, .. } = &mut self.inbound[key.index()] {
            let own = inflater.take();
            local.deflaters.dedicated_bytes -= own.map_or(0, |own| own.memory());
        }
        if let Some(unsent) = &mut link.unsent {
            unsent.drop_data();
            // The rest of a large frame that has begun to leave would have to leave before the Close.
            if !unsent.is_bare() {
                abandon(local, key);
            }
        }
    }
}
