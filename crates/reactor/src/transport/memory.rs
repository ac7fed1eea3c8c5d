//! What sessions of TLS make a shard hold in memory.
//!
//! Beside the way of a byte: a session costs what its keys and the state of rustls take, and two buffers
//! that are empty in the steady state: of a record that has not come whole, and of ciphertext that the
//! socket did not take. Buffers are counted to the byte, the rest by what was measured, since rustls
//! does not tell.
//!
//! Invariant: `held` and `leaving` together are the sum over the sessions that are there; with the last
//! of them both are zero.

use super::session::Session;
use crate::limits::Limits;

/// The account of a shard's sessions.
#[derive(Debug, Default)]
pub(super) struct Memory {
    held: usize,
    /// Of connections that have been told to go for want of memory: counted on until they have, and no
    /// reason to end others.
    leaving: usize,
}

/// What one session has in the account.
#[derive(Debug, Default)]
pub(super) struct Entry {
    bytes: usize,
    is_leaving: bool,
}

impl Memory {
    /// Brings the account of a session up to date.
    #[inline]
    pub(super) fn note(&mut self, session: &mut Session) {
        let now = session.memory();
        if now != session.entry.bytes {
            let part = if session.entry.is_leaving { &mut self.leaving } else { &mut self.held };
            *part = *part - session.entry.bytes + now;
            session.entry.bytes = now;
        }
    }

    /// Takes a session out that is gone.
    pub(super) const fn forget(&mut self, session: &Session) {
        let Entry { bytes, is_leaving } = session.entry;
        let part = if is_leaving { &mut self.leaving } else { &mut self.held };
        *part -= bytes;
    }

    /// From now on this session is one of those that leave. `false`: it cannot leave with a last word,
    /// because its handshake is not over, or because too much would have to be sent before that; or it
    /// keeps more than the one unfinished record behind which the peer's Close may come.
    pub(super) fn write_off(&mut self, session: &mut Session) -> bool {
        self.note(session);
        let Entry { bytes, is_leaving } = &mut session.entry;
        if !std::mem::replace(is_leaving, true) {
            self.held -= *bytes;
            self.leaving += *bytes;
        }
        let can_be_told = session.can_send()
            && session.unsent() <= Limits::EVICTED_BYTES_MAX
            && session.unread() <= Session::WHOLE_RECORD_BYTES_MAX;
        if !can_be_told {
            session.give_up();
            self.note(session);
        }
        can_be_told
    }

    pub(super) const fn held(&self) -> usize {
        self.held
    }

    pub(super) const fn leaving(&self) -> usize {
        self.leaving
    }
}

impl Entry {
    /// What the session's end would free of what is held.
    pub(super) const fn held(&self) -> usize {
        if self.is_leaving { 0 } else { self.bytes }
    }
}
