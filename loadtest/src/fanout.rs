//! The fan-out scenario: one client says `start`, all clients check what is published.
//!
//! A server that takes part waits for the text message `start` and then publishes binary messages
//! of one size to every connection: bytes 0 to 8 are the moment of publication in nanoseconds of
//! `CLOCK_MONOTONIC`, bytes 8 to 16 a sequence number from 0, both little-endian. Latency is from
//! that moment to the moment after the client's read, so server and generator must share a machine.
//!
//! Each client costs two numbers: the sequence number that is due, and a bit for each of the 64
//! before it, which tells a duplicate from a message that was overtaken.

use tickwire_protocol::Kind;

use crate::clock::Nanoseconds;
use crate::fault::{Fault, Faults};
use crate::scenario::{Action, Outbox, PUBLISHED_WAIT, Received, Scenario, Tally};

/// State of all clients of a fan-out run.
#[derive(Debug)]
pub(crate) struct Fanout {
    clients: Vec<Client>,
    /// Size of the first message, which all others must have.
    size: Option<usize>,
    /// Whether a client is to say `start`.
    starts: bool,
    /// The one that says it.
    starter: Option<usize>,
    phase: Phase,
    /// When the run's time was over: what is published later has no figure.
    ended_at: Nanoseconds,
}

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Connections are opened.
    Before,
    /// `start` is to be said.
    Due,
    /// It was said.
    Started,
}

/// What one client has received.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    /// The sequence number that is due.
    due: u64,
    /// Bit `n` says that `due - 1 - n` was received.
    seen: u64,
    /// When the newest message was published.
    published: Nanoseconds,
    /// Whether it counts as gone, so that its silence means nothing.
    lost: bool,
    /// Whether it was opened at all.
    opened: bool,
    /// Whether it was opened after the start, so that its first number may be any.
    joined_late: bool,
}

impl Fanout {
    /// Clients that listen, of which one `starts` the server.
    pub(crate) fn new(connections: usize, starts: bool) -> Self {
        Self {
            clients: vec![Client::default(); connections],
            size: None,
            starts,
            starter: None,
            phase: Phase::Before,
            ended_at: Nanoseconds::MAX,
        }
    }

    /// Takes the size of the first message; holds every other one to it.
    #[cold]
    fn resized(&mut self, client: usize, len: usize, faults: &mut Faults) {
        let size = *self.size.get_or_insert(len);
        if size != len {
            let example = || format!("client {client}: {len} bytes came after {size}");
            faults.count(Fault::SizeChanged, example);
        }
    }

    /// Judges a sequence number other than the one that was due; returns whether it is news.
    #[cold]
    fn out_of_order(&mut self, client: usize, sequence: u64, faults: &mut Faults) -> bool {
        let Client { due, seen, joined_late, .. } = &mut self.clients[client];
        if let Some(skipped) = sequence.checked_sub(*due) {
            let (fault, count) = match *seen {
                0 => (Fault::LateStart, u64::from(!*joined_late)),
                _ => (Fault::Gap, skipped),
            };
            faults.count_many(fault, count, || {
                format!("client {client}: number {sequence} came while {due} was due")
            });
            let shift = u32::try_from(skipped.saturating_add(1)).unwrap_or(u32::MAX);
            *seen = seen.checked_shl(shift).unwrap_or(0) | 1;
            *due = sequence.saturating_add(1);
            return true;
        }
        let age = u32::try_from(*due - 1 - sequence).unwrap_or(u32::MAX);
        let bit = 1_u64.checked_shl(age).unwrap_or(0);
        let fault = if *seen & bit == 0 { Fault::Reordered } else { Fault::Duplicate };
        faults.count(fault, || {
            format!("client {client}: number {sequence} came while {due} was due")
        });
        *seen |= bit;
        false
    }
}

impl Client {
    /// Takes the sequence number that was due.
    #[inline]
    fn advance(&mut self) {
        self.due = self.due.saturating_add(1);
        self.seen = self.seen << 1 | 1;
    }
}

impl Scenario for Fanout {
    fn opened(&mut self, client: usize, _now: Nanoseconds, _tally: &mut Tally) {
        self.starter.get_or_insert(client);
        self.clients[client] =
            Client { opened: true, joined_late: self.phase != Phase::Before, ..Client::default() };
    }

    fn start(&mut self, _now: Nanoseconds) {
        self.phase = Phase::Due;
    }

    fn next(&mut self, _now: Nanoseconds) -> Option<Action> {
        let starter = self.starter.filter(|_| self.starts && self.phase == Phase::Due)?;
        self.phase = Phase::Started;
        Some(Action::Send(starter))
    }

    fn compose(
        &mut self,
        _client: usize,
        _now: Nanoseconds,
        outbox: &mut Outbox<'_>,
        _tally: &mut Tally,
    ) {
        outbox.text("start");
    }

    #[inline]
    fn received(
        &mut self,
        client: usize,
        message: Received<'_>,
        now: Nanoseconds,
        _outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    ) {
        let Received { kind, payload } = message;
        let Some((published, sequence)) = stamp(payload).filter(|_| kind == Kind::Binary) else {
            return unreadable(client, message, &mut tally.faults);
        };
        if self.size != Some(payload.len()) {
            self.resized(client, payload.len(), &mut tally.faults);
        }
        if sequence == self.clients[client].due {
            self.clients[client].advance();
        } else if !self.out_of_order(client, sequence, &mut tally.faults) {
            return;
        }
        let newest = std::mem::replace(&mut self.clients[client].published, published);
        if published < newest {
            let older = newest - published;
            tally.faults.count(Fault::Stale, || {
                format!(
                    "client {client}: number {sequence} is {older} ns older than the one before"
                )
            });
        }
        match now.checked_sub(published) {
            Some(_) if published > self.ended_at => {}
            Some(latency) => tally.measure.record(latency, payload.len()),
            None => tally.faults.count(Fault::Future, || {
                let ahead = published - now;
                format!("client {client}: number {sequence} is dated {ahead} ns from now")
            }),
        }
    }

    fn lost(&mut self, client: usize) {
        self.clients[client].lost = true;
    }

    fn stop(&mut self, now: Nanoseconds) {
        self.ended_at = now;
    }

    /// Clients for which something of the run's time may be on its way: all but those that have had
    /// something newer.
    fn awaited(&self) -> u64 {
        let is_behind =
            |client: &&Client| client.opened && !client.lost && client.published <= self.ended_at;
        self.clients.iter().filter(is_behind).count() as u64
    }

    fn drain_wait(&self) -> Nanoseconds {
        PUBLISHED_WAIT
    }

    fn finish(&mut self, _now: Nanoseconds, tally: &mut Tally) {
        if self.clients.iter().all(|client| client.seen == 0) {
            return;
        }
        for (number, client) in self.clients.iter().enumerate() {
            let silent = client.seen == 0 && client.opened && !client.lost;
            if silent && !client.joined_late {
                let example = || format!("client {number}: nothing came");
                tally.faults.count(Fault::Silent, example);
            }
        }
    }

    fn outbox_bytes_max(&self) -> usize {
        tickwire_frame::Header::LEN_MAX + "start".len()
    }

    fn message_bytes_max(&self) -> u64 {
        MESSAGE_BYTES_MAX
    }
}

/// Time of publication and sequence number, if the payload has room for them.
#[inline]
pub(crate) fn stamp(payload: &[u8]) -> Option<(Nanoseconds, u64)> {
    let (published, rest) = payload.split_first_chunk()?;
    let sequence = rest.first_chunk()?;
    Some((u64::from_le_bytes(*published), u64::from_le_bytes(*sequence)))
}

#[cold]
pub(crate) fn unreadable(client: usize, message: Received<'_>, faults: &mut Faults) {
    let len = message.payload.len();
    match message.kind {
        Kind::Text => {
            let example = || format!("client {client}: a text of {len} bytes, not binary");
            faults.count(Fault::WrongKind, example);
        }
        Kind::Binary => {
            let example = || format!("client {client}: {len} bytes, fewer than {STAMP}");
            faults.count(Fault::TooShort, example);
        }
    }
}

/// Bytes of time and sequence number.
pub(crate) const STAMP: usize = 16;

/// What a server publishes may be long; above this a run measures memory copies and no server.
pub(crate) const MESSAGE_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::Measure;
    use crate::plan::Stage;
    use crate::scenario::{Masks, Treatment};

    /// Feeds one client of two with messages, and tells what is wrong with them.
    struct Exchange {
        fanout: Fanout,
        tally: Tally,
        wire: Vec<u8>,
        masks: Masks,
    }

    impl Exchange {
        fn new() -> Self {
            let mut measure = Measure::new(&[Stage::new(Duration::from_secs(1))]);
            measure.begin(0);
            let tally = Tally { measure, faults: Faults::default(), treatment: Treatment::new() };
            Self { fanout: Fanout::new(2, true), tally, wire: Vec::new(), masks: Masks::new() }
        }

        fn take(&mut self, kind: Kind, payload: &[u8]) {
            let mut outbox =
                Outbox { bytes: &mut self.wire, masks: &mut self.masks, compressor: None };
            let message = Received { kind, payload };
            self.fanout.received(0, message, NOW, &mut outbox, &mut self.tally);
        }

        fn publish(&mut self, published: Nanoseconds, sequence: u64, size: usize) {
            let mut payload = vec![0; size];
            payload[..8].copy_from_slice(&published.to_le_bytes());
            payload[8..16].copy_from_slice(&sequence.to_le_bytes());
            self.take(Kind::Binary, &payload);
        }

        fn faults(&self) -> Vec<(Fault, u64)> {
            self.tally.faults.iter().map(|(fault, seen)| (fault, seen.count)).collect()
        }
    }

    const NOW: Nanoseconds = 10_000;

    #[test]
    fn order_is_judged_by_kind() {
        type Counts = [(Fault, u64)];
        let cases: [(&[u64], &Counts); 12] = [
            (&[0, 1, 2, 3], &[]),
            (&[0, 2], &[(Fault::Gap, 1)]),
            (&[0, 5, 6], &[(Fault::Gap, 4)]),
            (&[0, 1, 1, 2], &[(Fault::Duplicate, 1)]),
            (&[0, 1, 2, 0], &[(Fault::Duplicate, 1)]),
            (&[0, 2, 1, 3], &[(Fault::Gap, 1), (Fault::Reordered, 1)]),
            (&[0, 2, 1, 1], &[(Fault::Gap, 1), (Fault::Duplicate, 1), (Fault::Reordered, 1)]),
            (&[3, 4], &[(Fault::LateStart, 1)]),
            (&[3, 4, 6], &[(Fault::LateStart, 1), (Fault::Gap, 1)]),
            (&[0, 100, 1], &[(Fault::Gap, 99), (Fault::Reordered, 1)]),
            (&[0, 64, 0], &[(Fault::Gap, 63), (Fault::Reordered, 1)]),
            (&[0, u64::MAX, u64::MAX], &[(Fault::Gap, u64::MAX - 1)]),
        ];
        for (sequences, faults) in cases {
            let mut exchange = Exchange::new();
            for sequence in sequences {
                exchange.publish(NOW, *sequence, 16);
            }
            assert_eq!(exchange.faults(), faults, "{sequences:?}");
        }
    }

    #[test]
    fn latency_is_from_publication_to_reading() {
        let mut exchange = Exchange::new();
        exchange.publish(NOW - 400, 0, 125);
        exchange.publish(NOW, 1, 125);
        let measured = exchange.tally.measure.finish();
        assert_eq!((measured.latency.len(), measured.latency.max()), (2, 400));
    }

    #[test]
    fn what_was_published_in_time_is_waited_for_and_what_came_later_has_no_figure() {
        let mut exchange = Exchange::new();
        exchange.fanout.opened(0, NOW - 900, &mut exchange.tally);
        exchange.publish(NOW - 500, 0, 125);
        exchange.fanout.stop(NOW - 300);
        assert_eq!(exchange.fanout.awaited(), 1);
        exchange.publish(NOW - 300, 1, 125);
        assert_eq!(exchange.fanout.awaited(), 1, "more of the same moment may follow");
        exchange.publish(NOW - 299, 2, 125);
        exchange.publish(NOW, 4, 125);
        assert_eq!((exchange.fanout.awaited(), exchange.faults()), (0, vec![(Fault::Gap, 1)]));
        let measured = exchange.tally.measure.finish();
        assert_eq!((measured.latency.len(), measured.latency.min()), (2, 300));
    }

    #[test]
    fn messages_that_break_the_format_are_told_by_kind() {
        let mut exchange = Exchange::new();
        exchange.take(Kind::Binary, &[0; 15]);
        exchange.take(Kind::Text, &[b'0'; 20]);
        exchange.publish(NOW, 0, 20);
        exchange.publish(NOW, 1, 21);
        exchange.publish(NOW + 1, 2, 20);
        let kinds = [Fault::WrongKind, Fault::TooShort, Fault::SizeChanged, Fault::Future];
        assert_eq!(exchange.faults(), kinds.map(|fault| (fault, 1)));
    }

    #[test]
    fn one_client_alone_says_start() {
        let mut exchange = Exchange::new();
        for client in [1, 0] {
            exchange.fanout.opened(client, NOW, &mut exchange.tally);
        }
        assert_eq!(exchange.fanout.next(NOW), None, "not before all are open");
        exchange.fanout.start(NOW);
        assert_eq!(exchange.fanout.next(NOW), Some(Action::Send(1)));
        assert_eq!(exchange.fanout.next(NOW), None);
        let mut outbox =
            Outbox { bytes: &mut exchange.wire, masks: &mut exchange.masks, compressor: None };
        exchange.fanout.compose(1, NOW, &mut outbox, &mut exchange.tally);
        assert_eq!((exchange.wire.len(), exchange.wire[0]), (2 + 4 + 5, 0x81));
    }

    #[test]
    fn silence_is_a_fault_if_others_heard_something() {
        let mut exchange = Exchange::new();
        for client in [0, 1] {
            exchange.fanout.opened(client, NOW, &mut exchange.tally);
        }
        exchange.fanout.finish(NOW, &mut exchange.tally);
        assert_eq!(exchange.faults(), []);
        exchange.publish(NOW, 0, 20);
        exchange.fanout.finish(NOW, &mut exchange.tally);
        assert_eq!(exchange.faults(), [(Fault::Silent, 1)]);
        exchange.fanout.lost(1);
        exchange.fanout.finish(NOW, &mut exchange.tally);
        assert_eq!(exchange.faults(), [(Fault::Silent, 1)]);
    }

    #[test]
    fn a_value_older_than_the_one_before_is_stale() {
        let mut exchange = Exchange::new();
        exchange.publish(NOW - 100, 0, 20);
        exchange.publish(NOW - 300, 1, 20);
        exchange.publish(NOW - 300, 2, 20);
        assert_eq!(exchange.faults(), [(Fault::Stale, 1)]);
    }

    #[test]
    fn a_client_that_joins_late_may_begin_anywhere() {
        let mut exchange = Exchange::new();
        exchange.fanout.start(NOW);
        exchange.fanout.opened(0, NOW, &mut exchange.tally);
        exchange.publish(NOW, 70, 20);
        exchange.publish(NOW, 72, 20);
        assert_eq!(exchange.faults(), [(Fault::Gap, 1)]);
    }
}
