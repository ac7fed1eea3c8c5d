//! The idle scenario: connections that are open and do nothing.
//!
//! What such a connection costs in memory is the price of a service with many users. The clients
//! answer Pings, as every client does, and count what comes unasked; the figures are the server's
//! memory for each connection, what it spends on connections that do nothing, and the client's own.

use crate::clock::Nanoseconds;
use crate::scenario::{Outbox, Received, Scenario, Tally};

/// Nothing is kept for an idle client.
#[derive(Debug, Default)]
pub(crate) struct Idle;

impl Scenario for Idle {
    fn received(
        &mut self,
        _client: usize,
        message: Received<'_>,
        _now: Nanoseconds,
        _outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    ) {
        tally.measure.count(message.payload.len());
    }

    fn message_bytes_max(&self) -> u64 {
        MESSAGE_BYTES_MAX
    }
}

/// A server may greet or publish; longer messages would fill the client's memory.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
