//! The values of a turn as messages, each rendered once for all that are sent the same.
//!
//! Stands between followers and bundles. Connections that keep up were all sent the same value last,
//! so one rendering serves them all; those that were behind for different times have a few more.
//!
//! Invariant: a rendering is given only to who has the very same view and previous value. Its bytes
//! stay where they are until all are forgotten, which is between two batches. It does not know how a
//! value is rendered.

use std::ops::Range;

use crate::limits::{COMPOSED_BYTES_MAX, RENDERINGS_TRIED};
use crate::topic::{NONE, Topics, number};
use crate::value::{Render, Value};

#[derive(Debug, Default)]
pub(crate) struct Renderings {
    renderings: Vec<Rendering>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Rendering {
    topic: u32,
    value: Value,
    /// The one of the same topic that was made before, or [`NONE`].
    older: u32,
    start: usize,
    end: usize,
}

impl Renderings {
    /// The number of the rendering of a value, made if there is none.
    pub(crate) fn obtain(
        &mut self,
        topics: &mut Topics,
        topic: u32,
        value: Value,
        render: &mut Render<'_>,
    ) -> u32 {
        let Some(newest) = topics[topic].newest.as_deref_mut() else { return NONE };
        let mut tried = newest.rendering;
        for _ in 0..RENDERINGS_TRIED {
            match self.renderings.get(tried as usize) {
                None => break,
                Some(made) if made.value == value => return tried,
                Some(other) => tried = other.older,
            }
        }
        let start = self.bytes.len();
        render(value, &mut self.bytes);
        debug_assert!(self.bytes.len() >= start, "rendering appends");
        let made = number(self.renderings.len());
        let (older, end) = (newest.rendering, self.bytes.len());
        self.renderings.push(Rendering { topic, value, older, start, end });
        newest.rendering = made;
        made
    }

    /// Where a rendering's bytes are among [`Self::bytes`].
    pub(crate) fn range(&self, rendering: u32) -> Range<usize> {
        self.renderings.get(rendering as usize).map_or(0..0, |made| made.start..made.end)
    }

    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Bytes that all of them are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn forget(&mut self, topics: &mut Topics) {
        for made in self.renderings.drain(..) {
            if let Some(newest) = topics[made.topic].newest.as_deref_mut() {
                newest.rendering = NONE;
            }
        }
        self.bytes.clear();
        // A turn in which thousands came back after different times is not the rule.
        self.bytes.shrink_to(COMPOSED_BYTES_MAX);
        self.renderings.shrink_to(COMPOSED_BYTES_MAX / size_of::<Rendering>());
    }
}
