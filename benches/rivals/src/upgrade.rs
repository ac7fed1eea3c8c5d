//! The way from a hyper service to the connection behind it.
//!
//! hyper calls a service for each request of a connection; the first that is upgraded gets the work,
//! and there can be no second.

use std::sync::Mutex;

use crate::Work;

/// Work that is waiting for its connection.
#[derive(Debug)]
pub(crate) struct Handover(Mutex<Option<Work>>);

impl Handover {
    pub(crate) fn new(work: Work) -> Self {
        Self(Mutex::new(Some(work)))
    }

    /// The work, the first time.
    pub(crate) fn take(&self) -> Option<Work> {
        self.0.lock().ok().and_then(|mut work| work.take())
    }
}
