//! An instant on the monotonic and on the wall clock.

/// An instant as read once per turn: the same moment on the monotonic and on the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    monotonic_ns: u64,
    unix_ns: u64,
}

impl Timestamp {
    /// A timestamp from its two readings, in nanoseconds.
    #[must_use]
    pub const fn new(monotonic_ns: u64, unix_ns: u64) -> Self {
        Self { monotonic_ns, unix_ns }
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`: for intervals.
    #[must_use]
    pub const fn monotonic_ns(self) -> u64 {
        self.monotonic_ns
    }

    /// Nanoseconds since the Unix epoch: for people and for messages.
    #[must_use]
    pub const fn unix_ns(self) -> u64 {
        self.unix_ns
    }
}
