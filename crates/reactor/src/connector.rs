//! What a handler may do outside of a connection: open connections to other servers.
//!
//! A [`Connector`] is lent where no connection is at hand, before the first turn and when a
//! connection could not be opened. It only notes what is wanted; the shard opens the sockets when
//! the turn has come so far (`shard/dialing.rs`).

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::destination::Destination;
use crate::error::ConnectError;
use crate::local::Local;
use crate::shard::Wish;

/// The means of a shard to open connections, lent to a [`Handler`](crate::Handler) for one call.
pub struct Connector<'a, S> {
    pub(crate) local: &'a mut Local,
    pub(crate) wishes: &'a mut Vec<Wish<S>>,
}

impl<S> fmt::Debug for Connector<'_, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").field("shard", &self.local.shard).finish()
    }
}

impl<S> Connector<'_, S> {
    /// Opens a connection to another server, on this shard.
    ///
    /// Exactly one of two calls follows: [`Handler::connected`](crate::Handler::connected) with the
    /// open WebSocket, whose state `state` is, or
    /// [`Handler::connect_failed`](crate::Handler::connect_failed) with both arguments back.
    ///
    /// # Errors
    /// Both arguments, with [`ConnectError::TooManyWaiting`], when the shard's handlers want as many as
    /// [`Limits::outgoing_waiting_max`](crate::Limits::outgoing_waiting_max) already; no call follows.
    pub fn connect(
        &mut self,
        destination: Destination,
        state: S,
    ) -> Result<(), Box<Unconnected<S>>> {
        self.connect_after(Duration::ZERO, destination, state)
    }

    /// As [`Connector::connect`], but not before `delay` has passed: for trying again after a
    /// failure. Grain: 16 ms.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub fn connect_after(
        &mut self,
        delay: Duration,
        destination: Destination,
        state: S,
    ) -> Result<(), Box<Unconnected<S>>> {
        let Some(at) = self.local.wish_after(delay) else {
            let error = ConnectError::TooManyWaiting;
            return Err(Box::new(Unconnected { destination, state, error }));
        };
        self.wishes.push(Wish { at, destination, state });
        Ok(())
    }

    /// The index of the shard.
    #[must_use]
    pub fn shard(&self) -> usize {
        usize::from(self.local.shard)
    }

    /// The instant of the present turn.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.local.now
    }
}

/// A connection that did not come to be, with everything that it takes to try again.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unconnected<S> {
    /// Where it was to go.
    pub destination: Destination,
    /// The state that it would have had.
    pub state: S,
    /// Why there is no connection.
    pub error: ConnectError,
}
