//! Every maximum of the engine, its default, the reason, and what happens when it is reached.
//!
//! Those of one connection's protocol (request head, message size) are
//! [`tickwire_protocol::Limits`], kept here as [`Limits::protocol`].

use std::time::Duration;

use tickwire_fanout::FanoutLimits;

use crate::memory;

/// The engine's maxima. Start from [`Limits::default`] and change what the application needs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Sizes within one connection's protocol.
    pub protocol: tickwire_protocol::Limits,

    /// Connections of the whole server, WebSockets and others; a further one is answered `503` with
    /// `Retry-After` and closed. 100,000 idle ones are half a gigabyte of kernel memory.
    pub connections_max: usize,

    /// Connections from one IPv4 address or one IPv6 network of 64 bits; a further one is answered
    /// `429` with `Retry-After` and closed. `None`: as many as the server takes. Off unless it is
    /// set, because behind a proxy all clients have its address.
    pub connections_per_address_max: Option<usize>,

    /// Connections that the whole server accepts in a second, in the long run; a tenth of it, or one,
    /// may come at once. Further ones wait in the kernel's queue, and whoever does not fit in there
    /// tries again by itself (TCP sends its SYN again after 1 s, then 2 s). `None`: as many as come,
    /// 64 in a turn of a shard, so that those that are open do not wait for
    /// a storm. For servers whose handlers do much when a connection opens.
    pub accepts_per_second_max: Option<u32>,

    /// From accepting a connection to its complete request head; then `408`. Slow senders of
    /// headers are cut, however regularly their bytes come. A server that we connect to has as long
    /// for its answer. 10 s.
    pub handshake_timeout: Duration,

    /// Connections to other servers of a shard, whether they are open or about to be. One more fails
    /// with [`ConnectError::TooMany`](crate::ConnectError::TooMany). 10,000: well below the number of
    /// ports that this machine has for them.
    pub outgoing_max: usize,

    /// Connections to other servers that handlers of a shard want and that were not begun: those that
    /// were asked for with a delay, mostly. One more is given back at once, with
    /// [`ConnectError::TooManyWaiting`](crate::ConnectError::TooManyWaiting). 10,000: as many as may be
    /// open, all of them waiting to be tried again.
    pub outgoing_waiting_max: usize,

    /// How long an address of another server may take to accept a connection; then the next address
    /// is tried, and after the last the connection fails. 10 s: the third retry of TCP has had its
    /// time.
    pub connect_timeout: Duration,

    /// From the first byte of a frame or a message to its last; then Close 1008. Bytes that trickle,
    /// in a header, a payload or between fragments, keep nothing open for longer. 60 s: one MiB in
    /// that time is 18 KB a second.
    pub message_timeout: Duration,

    /// Pings of one peer in one second; at one more it is closed with 1008. 100: each has to be
    /// answered, and nobody needs to know a hundred times a second that we are there.
    pub pings_per_second_max: u32,

    /// A connection that was silent for this long is sent a Ping. 20 s: shorter than what
    /// middleboxes on the way usually forget a connection after.
    pub ping_after: Duration,

    /// A connection that stays silent for this long after that Ping is dropped. 20 s.
    pub pong_timeout: Duration,

    /// From our Close, or from the last byte of an answer, to the peer's end of the connection;
    /// then it is dropped. 5 s: a peer that does not answer must not hold a descriptor.
    ///
    /// Also how long messages may wait ahead of a Close: if the peer has taken some of them by then,
    /// the Close leaves next and the others are forgotten, if none, the connection is dropped.
    pub close_timeout: Duration,

    /// From the end of a WebSocket, or from an HTTP answer, until the connection is dropped, however
    /// regularly the peer takes a byte of what it still has to get. 60 s: a page of 4 MB at 70 KB a
    /// second.
    pub farewell_timeout: Duration,

    /// How long a WebSocket that somebody opened to us may stay open, however well it does; then Close
    /// 1001, and what it still has to get. `None`, the default: as long as it likes. For servers behind
    /// a balancer, whose connections would otherwise stay where they are when servers are added, and
    /// for credentials that are looked at when a connection opens.
    ///
    /// Each connection has between nine tenths of it and all of it, evenly spread: a crowd that came
    /// together does not leave together. What we opened ourselves is ours to close.
    pub life_max: Option<Duration>,

    /// From the start of a shutdown until connections that did not take their Close are dropped.
    pub shutdown_timeout: Duration,

    /// Unsent bytes of one connection at which the shard stops receiving from it, until they are
    /// fewer again: a peer that does not read its replies is not asked for more requests. 64 KB.
    pub unsent_pause_bytes: usize,

    /// Unsent bytes of one connection, sent by handlers to it alone, at which it is closed with 1008.
    /// 1 MiB, and in any case room for two messages of the largest accepted size, so that an echo of
    /// such a message is possible. Publications do not count: they are not copied per connection.
    pub unsent_bytes_max: usize,

    /// Patterns of one connection; one more is refused with
    /// [`PatternError::TooManyPatterns`](crate::PatternError::TooManyPatterns). 64: each is looked at when
    /// a topic is made that it takes in.
    pub patterns_per_connection_max: usize,

    /// Topics that one pattern of a connection takes in. Where there are more already it is refused with
    /// [`PatternError::TooManyTopics`](crate::PatternError::TooManyTopics); where more are made later the
    /// connection is closed with 1008, since it would miss something. 4,096, of 24 bytes and more each.
    pub pattern_topics_max: usize,

    /// Letters in a shard's mailbox; a publisher then waits, or is told, or does without, as it chose
    /// ([`Publisher::publish`](crate::Publisher::publish)). Enough that a burst does not stop its
    /// publisher in a shard's turn, and at most some megabytes of small messages.
    pub mailbox_letters_max: usize,

    /// Letters that a shard takes in one turn: replies do not wait for a long burst to be sent.
    pub letters_per_turn_max: usize,

    /// Publications that a shard retains for connections that lag. The oldest then goes, and who
    /// still needed it is handed to [`Handler::lagged`](crate::Handler::lagged).
    pub log_entries_max: usize,

    /// The same as `log_entries_max` in bytes of encoded messages.
    pub log_bytes_max: usize,

    /// Bytes of memory that peers may make one shard hold: parts of requests and messages that have
    /// not come whole, what their sockets do not take, compressors and decompressors of their own,
    /// publications retained for those who lag. When a turn ends with more, the connection that
    /// holds most is closed with 1013, then the next, until it is less; what they held is given back
    /// at once. The limits of each connection alone times their number are far more than a machine has.
    ///
    /// `None`: for a [`Server`](crate::Server) half of the memory that the process may use, divided
    /// by the number of shards; the other half is for the kernel's socket buffers, for tables, and for
    /// the application. In a simulation there is no limit then. `Some(usize::MAX)`: no limit.
    pub memory_max: Option<usize>,
}

impl Limits {
    /// Bytes of a pattern with its `*`; a longer one is refused with
    /// [`PatternError::NotAPattern`](crate::PatternError::NotAPattern). Peers may choose patterns, and a
    /// connection keeps its own.
    pub const PATTERN_BYTES_MAX: usize = 1_024;

    /// The most that a shard gathers in a turn before it sends, so that what it gathered is still
    /// in the cache when it is sent. Not a limit that a user meets.
    pub(crate) const GATHER_BYTES: usize = 128 * 1024;

    /// Sends that are handed to the back end at once: from 64 to 256 a completion back end gains
    /// nothing more, and their results are still in the first-level cache.
    pub(crate) const BATCH_SENDS: usize = 256;

    /// Deadlines looked at in one turn: when ten thousand peers that drip are cut at the same time, each
    /// for some ten microseconds, others do not wait for all of them.
    pub(crate) const DEADLINES_PER_TURN: usize = 256;

    /// What one lagging connection is given in one go when its socket has room again.
    pub(crate) const CATCH_UP_BYTES: usize = 256 * 1024;

    /// How often in a turn one connection that keeps taking all it is given is served again.
    pub(crate) const CATCH_UPS_PER_TURN: usize = 4;

    /// Unsent control frames of one connection; then the newest Pong replaces all older ones,
    /// because a peer that does not read its Pongs must not make them pile up (RFC 6455 §5.5.3).
    pub(crate) const UNSENT_CONTROL_BYTES_MAX: usize = 4 * 1024;

    /// Connections of the whole server that are being told that there is no place for them. Beyond
    /// these one is dropped unanswered: whoever connects in a storm must not take all descriptors.
    pub(crate) const TURNED_AWAY_MAX: usize = 1_024;

    /// The part of `life_max` over which the ends of lives are spread: a tenth, so that a crowd of ten
    /// thousand that has an hour comes back over six minutes.
    pub(crate) const LIFE_SPREAD: u32 = 10;

    /// What a connection that was closed for want of memory may still hold, so that its Close can
    /// leave: Pongs, and the rest of a small frame. With more it is dropped.
    pub(crate) const EVICTED_BYTES_MAX: usize = 16 * 1024;

    /// Seconds after which those are asked to try again.
    pub(crate) const RETRY_AFTER_S: u32 = 5;

    /// How long a connection that is in its handshake when a shutdown begins has for the rest of its
    /// request; one that completes it is answered, whatever comes then. A request is a packet: a
    /// second is its first retransmission, and not so long that connections which browsers open in
    /// advance hold up the end.
    pub(crate) const LAST_REQUESTS: Duration = Duration::from_secs(1);

    /// How often failures to accept are logged at most.
    pub(crate) const ACCEPT_LOG_EVERY: Duration = Duration::from_secs(1);

    /// The same, with a budget of memory where none was chosen, for one of so many shards.
    pub(crate) fn with_memory_max(mut self, shards: usize) -> Self {
        let share = |available: usize| available / 2 / shards.max(1);
        self.memory_max = self.memory_max.or_else(|| memory::available().map(share));
        self
    }

    /// Those of the shard's publications.
    pub(crate) fn fanout(&self) -> FanoutLimits {
        FanoutLimits {
            log_entries_max: self.log_entries_max,
            log_bytes_max: self.log_bytes_max,
            owed_chunk_bytes: Self::CATCH_UP_BYTES,
        }
    }

    /// Bytes that are received and ignored behind our Close or an answer; then the connection is
    /// dropped. A peer that has not seen it yet may have as much on its way as networks hold, and a
    /// message of the largest size; one that sends on and on would keep the shard busy until
    /// `close_timeout`. Where messages may be larger than 4 GiB that time alone is the limit.
    pub(crate) fn ignored_max(&self) -> u32 {
        let bytes = self.protocol.message_bytes_max.saturating_add(16 * 1024 * 1024);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// The life of the `number`th WebSocket of a shard, if it has an end.
    ///
    /// Multiples of the golden ratio, without their whole part, are as far from each other as can be,
    /// whichever of them are taken in a row: so few connections are spread as evenly as many, without
    /// a random number.
    pub(crate) fn life(&self, number: u64) -> Option<Duration> {
        const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
        let most = self.life_max?;
        #[expect(clippy::cast_precision_loss, reason = "of 64 bits 53 are enough")]
        let part = number.wrapping_mul(GOLDEN_RATIO) as f64 / u64::MAX as f64;
        Some(most - (most / Self::LIFE_SPREAD).mul_f64(part))
    }

    /// `unsent_bytes_max`, but never less than two of the largest messages with their headers.
    pub(crate) fn unsent_max(&self) -> usize {
        let message = usize::try_from(self.protocol.message_bytes_max).unwrap_or(usize::MAX / 4);
        self.unsent_bytes_max.max(message.saturating_add(16).saturating_mul(2))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            protocol: tickwire_protocol::Limits::default(),
            connections_max: 100_000,
            connections_per_address_max: None,
            accepts_per_second_max: None,
            handshake_timeout: Duration::from_secs(10),
            outgoing_max: 10_000,
            outgoing_waiting_max: 10_000,
            connect_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(60),
            pings_per_second_max: 100,
            ping_after: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
            farewell_timeout: Duration::from_secs(60),
            life_max: None,
            shutdown_timeout: Duration::from_secs(5),
            unsent_pause_bytes: 64 * 1024,
            unsent_bytes_max: 1024 * 1024,
            patterns_per_connection_max: 64,
            pattern_topics_max: 4_096,
            mailbox_letters_max: 16_384,
            letters_per_turn_max: 1_024,
            log_entries_max: 65_536,
            log_bytes_max: 16 * 1024 * 1024,
            memory_max: None,
        }
    }
}
