//! An encoded message that many share.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The bytes of one whole message as they go over the wire, encoded once and shared by every shard
/// and connection that is to get it. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(Arc<[u8]>);

impl Frame {
    pub(crate) fn new(encoded: &[u8]) -> Self {
        Self(Arc::from(encoded))
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Frame({} bytes)", self.0.len())
    }
}
