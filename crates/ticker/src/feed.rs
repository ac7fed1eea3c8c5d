//! Feeds: where market events come from.
//!
//! A feed knows its instruments before its first event and yields events in order of their
//! offset; it neither waits nor reads a clock. Pacing and publishing are the
//! [player](crate::player)'s.

pub mod replay;
pub mod synthetic;

use crate::event::Event;
use crate::instrument::Listing;
pub use replay::{Replay, ReplayError};
pub use synthetic::Synthetic;

/// A source of market events.
#[derive(Debug)]
pub enum Feed {
    /// Invented instruments that never end.
    Synthetic(Box<Synthetic>),
    /// Recorded events.
    Replay(Replay),
}

impl Feed {
    /// The next event; `None` when there is none any more.
    pub fn next_event(&mut self) -> Option<Event> {
        match self {
            Self::Synthetic(synthetic) => Some(synthetic.next_event()),
            Self::Replay(replay) => replay.next_event(),
        }
    }

    /// Begins again after the end, with offsets that go on.
    ///
    /// # Errors
    ///
    /// When a recorded file cannot be opened again.
    pub fn rewind(&mut self) -> Result<(), ReplayError> {
        match self {
            Self::Synthetic(_) => Ok(()),
            Self::Replay(replay) => replay.rewind(),
        }
    }

    /// All instruments that it has events of.
    #[must_use]
    pub const fn listing(&self) -> &Listing {
        match self {
            Self::Synthetic(synthetic) => synthetic.listing(),
            Self::Replay(replay) => replay.listing(),
        }
    }

    /// Lines that were skipped because they are no events.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        match self {
            Self::Synthetic(_) => 0,
            Self::Replay(replay) => replay.skipped(),
        }
    }
}
