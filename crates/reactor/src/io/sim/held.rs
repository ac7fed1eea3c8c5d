//! What the shards of a simulation hold at one moment, summed or at its largest.
//!
//! Beside the way of a byte: nothing here runs unless a test asks. Two things are read from it: that
//! no bound is passed while peers do what they like, and that nothing is left when all have gone.
//!
//! Invariant: it changes nothing, so a run that was looked at gives the same bytes as one that was
//! not.

use super::{Transport, sockets};
use crate::connection::Stage;
use crate::handler::Handler;
use crate::hub::Hub;
use crate::shard::Shard;

/// What all shards hold. When every connection has gone and every deadline has passed all of it is
/// zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Sockets that were not given back.
    pub sockets: usize,
    /// Slots with a connection.
    pub connections: usize,
    /// Bytes that sockets did not take, without publications.
    pub unsent_bytes: usize,
    /// Of these, those of the connection that has most.
    pub unsent_bytes_most: usize,
    /// Publications kept for connections that lag, of the shard and coding that keep most.
    pub log_entries_most: usize,
    /// The same in bytes.
    pub log_bytes_most: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Letters in mailboxes.
    pub letters: usize,
    /// Connections that are on the wheel with a deadline.
    pub deadlines: usize,
    /// Connections to other servers that are wanted and were not begun.
    pub wishes: usize,
    /// Connections that wait for the end of the turn for something to be done about them.
    pub pending: usize,
    /// Places of the server that are taken, and of the addresses that have some.
    pub places: usize,
    /// Connections that are being told that there is no place.
    pub turned_away: usize,
}

impl Held {
    pub(super) fn by_hub(hub: &Hub) -> Self {
        let (places, turned_away) = hub.admission.taken();
        let letters = hub.mailboxes.iter().map(|mailbox| mailbox.len()).sum();
        Self { places, turned_away, letters, ..Self::default() }
    }

    pub(super) fn add<H: Handler>(&mut self, shard: &Shard<H, Transport>) {
        let local = &shard.local;
        self.sockets += sockets(&shard.backend).sockets.len();
        for (slot, link) in (0..).zip(&local.links) {
            let unsent = link.unsent.as_ref().map_or(0, |unsent| unsent.len());
            self.unsent_bytes += unsent;
            self.unsent_bytes_most = self.unsent_bytes_most.max(unsent);
            self.connections += usize::from(link.stage != Stage::Vacant);
            for audience in local.fanouts.audiences() {
                self.subscriptions += local.fanouts[audience].subscriptions(slot).len();
            }
        }
        for audience in local.fanouts.audiences() {
            let (entries, bytes) = local.fanouts[audience].log_size();
            self.log_entries_most = self.log_entries_most.max(entries);
            self.log_bytes_most = self.log_bytes_most.max(bytes);
        }
        self.deadlines += local.wheel.len();
        self.wishes += shard.handler.wishes.len();
        self.pending += local.pausing.len()
            + local.ending.len()
            + local.writable.len()
            + local.failed.len()
            + local.gather.slots().count();
    }
}
