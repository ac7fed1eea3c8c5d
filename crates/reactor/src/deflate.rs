//! permessage-deflate (RFC 7692) as a shard runs it: which connections compress how, and with what.
//!
//! Beside the way out: a message to one connection, and a publication to many, pass here when their
//! connection has agreed on compression. By default no connection keeps a compressor or a window of
//! its own: a shard has one compressor for each size of window, starts it afresh for each message,
//! and so a publication is compressed once for everybody. Connections with *dedicated* compressors,
//! which remember earlier messages, are limited in number; they take publications uncompressed,
//! because bytes that another compressor made do not fit into what theirs remembers.
//!
//! Invariant: bytes of a shared compressor never go to a connection with a dedicated one.

use tickwire_protocol::mask::Key as MaskKey;
use tickwire_protocol::{DeflateParams, DeflatePolicy, Deflater, Kind, Role, encode};

/// Compression of messages, offered to every client that asks for it (permessage-deflate, RFC 7692).
///
/// Start from [`Deflate::shared`] or [`Deflate::dedicated`] and change what the application needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deflate {
    /// From 1, fast, to 9, small; 0 stores.
    pub level: u8,
    /// From 1 to 9: how much memory a compressor uses besides its window, `2^(mem_level + 9)` bytes.
    /// Less makes it worse for long messages and faster to start afresh for short ones.
    pub mem_level: u8,
    /// The largest window in bits, 9 to 15, that we compress with; a client may ask for less.
    pub window_bits: u8,
    /// Messages shorter than this are sent as they are: there is little to gain, and the header of
    /// a compressed block alone costs some bytes.
    pub threshold_bytes: usize,
    /// How many connections of a shard may have a compressor and a decompressor of their own, which
    /// remember earlier messages: better for a stream of alike messages to few connections, at up
    /// to 330 KB each. Further connections share.
    pub dedicated_max: usize,
}

impl Deflate {
    /// One compressor for all connections of a shard, and no memory per connection.
    ///
    /// Level 3 with little memory: each message starts afresh, so what a compressor has to clear
    /// before it counts for short messages more than what a higher level finds.
    #[must_use]
    pub const fn shared() -> Self {
        Self { level: 3, mem_level: 5, window_bits: 15, threshold_bytes: 256, dedicated_max: 0 }
    }

    /// A compressor and a decompressor of its own for each of the first `connections_max`
    /// connections of a shard.
    #[must_use]
    pub const fn dedicated(connections_max: usize) -> Self {
        Self { dedicated_max: connections_max, ..Self::shared() }
    }

    /// Reads the form for command lines: `off`, `shared`, `dedicated` (for up to 1,000 connections
    /// of each shard) or `dedicated:N`.
    ///
    /// ```
    /// use tickwire_reactor::Deflate;
    ///
    /// assert!(Deflate::parse("off").is_ok_and(|off| off.is_none()));
    /// assert_eq!(Deflate::parse("dedicated:5").map(|it| it.map(|it| it.dedicated_max)), Ok(Some(5)));
    /// ```
    ///
    /// # Errors
    /// What may be chosen, if `choice` is something else.
    pub fn parse(choice: &str) -> Result<Option<Self>, String> {
        let (mode, connections) = choice.split_once(':').unwrap_or((choice, "1000"));
        match (mode, connections.parse()) {
            ("off", _) if mode == choice => Ok(None),
            ("shared", _) if mode == choice => Ok(Some(Self::shared())),
            ("dedicated", Ok(connections_max)) => Ok(Some(Self::dedicated(connections_max))),
            _ => Err("choose off, shared, dedicated or dedicated:N".to_owned()),
        }
    }

    /// What a connection may be given when `dedicated` have theirs already.
    pub(crate) fn policy(&self, dedicated: u64) -> DeflatePolicy {
        let keeps_context = dedicated < self.dedicated_max as u64;
        let mut policy = DeflatePolicy::default();
        policy.server_context = keeps_context;
        policy.client_context = keeps_context;
        policy.server_window_bits = self.window_bits;
        policy
    }
}

/// What was agreed on for one direction of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direction {
    /// Each message may refer to earlier ones.
    pub(crate) keeps_context: bool,
    window_bits: u8,
}

impl Direction {
    /// Of our side in `role`: what we compress, and what we inflate.
    pub(crate) fn of(role: Role, params: &DeflateParams) -> (Self, Self) {
        let server = Self {
            keeps_context: !params.server_no_context_takeover,
            window_bits: params.server_max_window_bits,
        };
        let client = Self {
            keeps_context: !params.client_no_context_takeover,
            window_bits: params.client_max_window_bits,
        };
        match role {
            Role::Server => (server, client),
            Role::Client => (client, server),
        }
    }

    /// The form that a shared compressor gives messages.
    pub(crate) const fn coding(self) -> Coding {
        Coding { window_bits: self.window_bits }
    }
}

/// The form in which a connection takes what is encoded once for many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coding {
    /// 0: uncompressed.
    window_bits: u8,
}

impl Coding {
    /// Uncompressed.
    pub(crate) const PLAIN: Self = Self { window_bits: 0 };

    /// How many compressed ones there are: windows of 9 to 15 bits.
    pub(crate) const COMPRESSED: usize = 7;

    /// Its place among the compressed ones.
    pub(crate) fn index(self) -> Option<usize> {
        usize::from(self.window_bits).checked_sub(9).filter(|index| *index < Self::COMPRESSED)
    }
}

/// The compressors that a shard's connections share. None has memory before it is first used.
#[derive(Debug)]
pub(crate) struct Deflaters {
    settings: Deflate,
    shared: [Deflater; Coding::COMPRESSED],
    /// Bytes of compressors and decompressors that belong to single connections.
    pub(crate) dedicated_bytes: usize,
}

impl Deflaters {
    pub(crate) fn new(settings: Deflate) -> Self {
        let shared = std::array::from_fn(|index| {
            let window_bits = u8::try_from(index + 9).expect("at most 15");
            Deflater::new(settings.level, settings.mem_level, window_bits, false)
        });
        Self { settings, shared, dedicated_bytes: 0 }
    }

    /// A compressor for one connection alone.
    pub(crate) fn dedicated(&self, role: Role, params: &DeflateParams) -> Box<Deflater> {
        let Deflate { level, mem_level, .. } = self.settings;
        Box::new(params.deflater(role, level, mem_level))
    }

    /// Appends a whole message as `coding` has it.
    pub(crate) fn message(
        &mut self,
        coding: Coding,
        kind: Kind,
        mask: Option<MaskKey>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        match coding.index() {
            Some(index) if payload.len() >= self.settings.threshold_bytes => {
                encode::deflated_message(kind, mask, payload, &mut self.shared[index], out);
            }
            _ => plain(kind, mask, payload, out),
        }
    }

    /// Appends a whole message as a connection's own compressor makes it.
    pub(crate) fn dedicated_message(
        &mut self,
        deflater: &mut Deflater,
        kind: Kind,
        mask: Option<MaskKey>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        if payload.len() < self.settings.threshold_bytes {
            // What is not compressed is not part of what either side remembers (RFC 7692 section 7.2).
            return plain(kind, mask, payload, out);
        }
        // It may well hold less afterwards: what a large message has made it take is given back.
        self.dedicated_bytes -= deflater.memory();
        encode::deflated_message(kind, mask, payload, deflater, out);
        self.dedicated_bytes += deflater.memory();
    }

    /// Bytes that all compressors and decompressors of the shard hold.
    pub(crate) fn memory(&self) -> usize {
        self.dedicated_bytes + self.shared.iter().map(Deflater::memory).sum::<usize>()
    }
}

fn plain(kind: Kind, mask: Option<MaskKey>, payload: &[u8], out: &mut Vec<u8>) {
    match mask {
        None => encode::message(kind, payload, out),
        Some(key) => encode::masked_message(kind, key, payload, out),
    }
}
