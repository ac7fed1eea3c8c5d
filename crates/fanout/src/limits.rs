//! How much a shard keeps for connections that fell behind, and in what portions it gives it back.
//!
//! Stands beside the log: the bounds say when the oldest publications go although somebody is still
//! owed them. Every maximum of this crate is in this file, with its reason and what happens when it
//! is reached. It decides nothing by itself.

/// The bounds of one shard's log.
///
/// What a publication costs in the log is its frame plus 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanoutLimits {
    /// Publications kept for connections that lag. Counted at the end of a turn: a turn may stand
    /// above it while it lasts. When it is reached the oldest go, and those that were owed them are
    /// overrun ([`Fanout::next_overrun`](crate::Fanout::next_overrun)).
    pub log_entries_max: usize,
    /// Bytes of frames kept for connections that lag; same rule. The memory behind it may be twice
    /// as much, because room in front is reclaimed only when it is half of the whole.
    pub log_bytes_max: usize,
    /// Bytes that one call of [`Fanout::owed`](crate::Fanout::owed) gives at most, except that one
    /// frame is always given. More than a socket takes at once is copied in vain.
    pub owed_chunk_bytes: usize,
}

impl Default for FanoutLimits {
    /// 65,536 publications, 16 MiB, portions of 64 KiB: at 125 bytes a message the two bounds meet
    /// at about the same time, and a portion is what a socket buffer of Linux' default size takes.
    fn default() -> Self {
        Self { log_entries_max: 1 << 16, log_bytes_max: 16 << 20, owed_chunk_bytes: 64 << 10 }
    }
}

/// Bytes of runs that [`Fanout::compose`](crate::Fanout::compose) lays out at a time, except that
/// one run is always laid out: half of a 2 MiB second-level cache, so that the kernel finds the
/// bytes there when it copies them. When it is reached the batch is shorter. The same again for
/// values, in a turn that has some.
pub(crate) const COMPOSED_BYTES_MAX: usize = 1 << 20;

/// Different sets of topics whose runs are remembered for sharing while a batch is composed. When
/// two sets fall on the same place the older is forgotten, and composed again if it comes back.
pub(crate) const SHARED_SETS_MAX: usize = 256;

/// Renderings of a topic that are looked at before a value is rendered once more. Those who keep up
/// share the last one; further back are those of who was behind, and of other views. A few
/// comparisons cost less than a rendering, a list of thousands does not.
pub(crate) const RENDERINGS_TRIED: usize = 8;
