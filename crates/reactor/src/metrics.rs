//! What a shard counts, and how others read it.
//!
//! A shard counts in plain integers and copies them once a turn to atomics that only it writes:
//! nothing is shared on the way of a message.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($(#[doc = $doc:literal] $name:ident),* $(,)?) => {
        /// The counters of one shard, or their sums over all. All but those named `*_now` only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Counters {
            /// The sum of two shards' counters.
            #[must_use]
            pub const fn plus(self, other: Self) -> Self {
                Self { $($name: self.$name + other.$name,)* }
            }

            /// Each counter with its name and what it counts, for exporters.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $doc, self.$name)),*].into_iter()
            }
        }

        /// The same counters where other threads can read them.
        #[derive(Debug, Default)]
        pub(crate) struct Shared {
            $($name: AtomicU64,)*
        }

        impl Shared {
            /// The shard's own thread only.
            pub(crate) fn store(&self, counters: &Counters) {
                $(self.$name.store(counters.$name, Ordering::Relaxed);)*
            }

            pub(crate) fn load(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections open now, with those that are still in their handshake or closing.
    connections_now,
    /// Of them those that we opened to other servers, or are opening.
    outgoing_now,
    /// Connections that lag behind the publications now.
    lagging_now,
    /// Publications retained for connections that lag now.
    retained_now,
    /// Connections now that have, or have offered to have, a compressor or decompressor of their own.
    deflate_dedicated_now,
    /// Bytes of memory that compressors and decompressors hold now.
    deflate_bytes_now,
    /// Of them bytes of those that belong to single connections.
    deflate_dedicated_bytes_now,
    /// Bytes held now of requests, messages and control frames that have not come whole.
    receiving_bytes_now,
    /// Bytes held now that sockets did not take.
    unsent_bytes_now,
    /// Bytes held now by sessions of TLS: their state, about, and what they have buffered.
    tls_bytes_now,
    /// Bytes of publications retained for connections that lag now.
    retained_bytes_now,
    /// Connections accepted.
    accepted,
    /// Of those that the shard accepted, connections that it gave to one with fewer.
    handed_over,
    /// Times that the limit of accepted connections a second made others wait.
    accept_pauses,
    /// Times that a connection could not be accepted, for want of descriptors or memory.
    accept_failures,
    /// WebSocket handshakes completed.
    upgraded,
    /// Connections to other servers that became WebSockets.
    connected,
    /// Connections to other servers that did not.
    connect_failures,
    /// TLS handshakes completed, as a server and as a client.
    tls_handshakes,
    /// Of those, the ones that took up an earlier session.
    tls_resumed,
    /// Connections accepted whose peer broke TLS, or could not agree on it.
    tls_failures,
    /// Requests answered with HTTP by the application.
    answered,
    /// Requests and connections refused by the engine, for whatever reason.
    refused,
    /// Of those, connections for which the server had no place.
    refused_full,
    /// Of those, connections for which their address had no place.
    refused_address,
    /// Of those, upgrades asked for by a page of a foreign origin.
    refused_origin,
    /// Of those, connections closed unanswered because there was no descriptor or memory for them.
    refused_descriptors,
    /// Connections accepted that went before there was a request to answer.
    unanswered,
    /// Connections ended by the peer's Close or the answer to ours.
    closed,
    /// Connections ended by us because the peer broke the protocol.
    failed,
    /// Connections that went without a Close.
    lost,
    /// Connections that were still there when the time of a shutdown was over, and were dropped.
    cut,
    /// WebSockets dropped by us because no answer to our Close came in time, or too much else did.
    dropped,
    /// Connections closed because the peer sent too many Pings in a second.
    ping_floods,
    /// Connections closed because a message did not come whole in time.
    message_timeouts,
    /// Connections closed because they had lived as long as they may.
    expired,
    /// Connections ended because the shard held more than its budget of memory.
    evicted,
    /// Handler calls that panicked; each cost its own connection.
    panicked,
    /// Bytes received.
    received_bytes,
    /// Messages received.
    received_messages,
    /// Bytes sent.
    sent_bytes,
    /// Of them bytes of large publications that many connections got from one copy in the kernel.
    mirrored_bytes,
    /// Messages sent by handlers to one connection.
    sent_messages,
    /// Sends handed to the operating system.
    sends,
    /// Sends that a socket did not take whole.
    short_sends,
    /// Publications taken from the mailbox.
    publications,
    /// Publications that the mailbox had no room for, and whose publishers were told.
    publications_refused,
    /// Publications that the mailbox had no room for, and that were dropped as their publishers chose.
    publications_dropped,
    /// Times that other threads woke the shard, because it slept and had mail.
    wakes,
    /// Runs of publications given to connections that were up to date, one per connection and turn.
    runs,
    /// Values sent to connections that get the newest value of a topic.
    values_sent,
    /// Publications that those connections were not sent because a newer value took their place.
    values_merged,
    /// Connections that fell behind further than the shard retains, or than a publisher bears.
    overruns,
    /// Of those, the ones that went on without what they had lost.
    overruns_skipped,
    /// Of those, the ones that get the newest values since, of one topic or more.
    overruns_merged,
    /// Publications that those connections have lost, at most: all of the shard's since the first.
    publications_lost,
    /// Turns of the loop.
    turns,
}

/// A reading of a server's counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// One entry per shard, in order.
    pub shards: Vec<Counters>,
}

impl Metrics {
    /// The counters summed over the shards.
    #[must_use]
    pub fn total(&self) -> Counters {
        self.shards.iter().copied().fold(Counters::default(), Counters::plus)
    }

    /// How evenly connections are spread: those of the fullest shard over the mean of all. 1 is even,
    /// as many as there are shards is all on one; 1 too where there is none.
    #[must_use]
    pub fn imbalance(&self) -> f64 {
        let most = self.shards.iter().map(|shard| shard.connections_now).max().unwrap_or(0);
        match self.total().connections_now {
            0 => 1.0,
            #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 connections")]
            total => most as f64 * self.shards.len() as f64 / total as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imbalance_is_the_fullest_shard_over_the_mean() {
        for (counts, expected) in [
            (&[][..], 1.0),
            (&[0, 0], 1.0),
            (&[7], 1.0),
            (&[5, 5, 5], 1.0),
            (&[6, 2], 1.5),
            (&[0, 0, 0, 9], 4.0),
        ] {
            let shard = |count: &u64| Counters { connections_now: *count, ..Counters::default() };
            let metrics = Metrics { shards: counts.iter().map(shard).collect() };
            assert!((metrics.imbalance() - expected).abs() < 1e-9, "{counts:?}");
        }
    }
}
