//! A shard's handler, with everything whose type is the application's: the state of each connection
//! and the connections to other servers that it wants.
//!
//! What else a shard has knows nothing of the application's types, so that it is compiled once. The
//! handler is called with a [`Connection`] or a [`Connector`], which [`Hosted::lend`] and
//! [`Hosted::lend_connector`] put together of both sides.
//!
//! Invariant: a connection has a state from its upgrade, or from the attempt to open it, to the end of
//! its slot.

use crate::clock::Tick;
use crate::connector::Connector;
use crate::destination::Destination;
use crate::handler::{Connection, Handler};
use crate::io::Key;
use crate::local::Local;
use crate::table::make_room;

/// The application on one shard.
pub(crate) struct Hosted<H: Handler> {
    handler: H,
    /// By slot.
    states: Vec<Option<H::State>>,
    /// Connections to other servers that are wanted and were not begun.
    pub(crate) wishes: Vec<Wish<H::State>>,
}

/// A connection to another server that a handler wants.
#[derive(Debug)]
pub(crate) struct Wish<S> {
    /// Not before.
    pub(crate) at: Tick,
    pub(crate) destination: Destination,
    pub(crate) state: S,
}

impl<H: Handler> Hosted<H> {
    pub(super) const fn new(handler: H) -> Self {
        Self { handler, states: Vec::new(), wishes: Vec::new() }
    }

    /// Keeps the state of a connection.
    pub(super) fn keep(&mut self, key: Key, state: H::State) {
        if self.states.len() <= key.index() {
            make_room(&mut self.states, key.index());
            self.states.resize_with(key.index() + 1, || None);
        }
        self.states[key.index()] = Some(state);
    }

    /// Gives the state of a connection back, if it had one.
    pub(super) fn take(&mut self, key: Key) -> Option<H::State> {
        self.states.get_mut(key.index()).and_then(Option::take)
    }

    /// The handler, and a connection to call it for.
    ///
    /// # Panics
    /// If the connection has no state: it is neither open nor was it ever.
    pub(super) fn lend<'a>(
        &'a mut self,
        local: &'a mut Local,
        key: Key,
    ) -> (&'a mut H, Connection<'a, H::State>) {
        let Self { handler, states, wishes } = self;
        let state = states[key.index()].as_mut().expect("set by the upgrade");
        (handler, Connection { local, wishes, state, key, handler: 0 })
    }

    /// The handler, and what to call it with where there is no connection.
    pub(super) const fn lend_connector<'a>(
        &'a mut self,
        local: &'a mut Local,
    ) -> (&'a mut H, Connector<'a, H::State>) {
        (&mut self.handler, Connector { local, wishes: &mut self.wishes })
    }

    /// The handler, for a request, which is nobody's connection yet.
    pub(super) const fn handler(&mut self) -> &mut H {
        &mut self.handler
    }
}
