//! The echo scenario: each client keeps `depth` messages on their way and checks every answer.
//!
//! A payload is a pure function of client and sequence number, so an answer is checked byte for
//! byte against what must come without keeping what was sent: its first bytes are the sequence
//! number and the client's number (as many of them as `size` has room for), and the rest is a
//! window of one random pattern that moves with the sequence number. So an echo that was cut,
//! repeated, exchanged between clients or shifted by a byte is seen.
//!
//! What is kept for a client is two counters and the time at which each message on its way was
//! sent. Latency is from the moment before the send to the moment after the read.

use rand::Rng;
use tickwire_protocol::Kind;

use crate::clock::Nanoseconds;
use crate::fault::{Fault, Faults};
use crate::scenario::{Outbox, Received, Scenario, Tally};

/// State of all clients of an echo run.
#[derive(Debug)]
pub(crate) struct Echo {
    size: usize,
    depth: usize,
    clients: Vec<Client>,
    /// When each message on its way was sent: `depth` cells for each client, message `n` in cell
    /// `n % depth`.
    sent_at: Vec<Nanoseconds>,
    /// Payload bytes; messages are windows of `size` bytes at offsets below [`OFFSETS`].
    pattern: Vec<u8>,
    on_their_way: usize,
    stopped: bool,
}

/// Sequence numbers of one client: those in between are on their way.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    answered: usize,
    sent: usize,
}

impl Echo {
    /// Clients that each keep `depth` messages of `size` bytes on their way.
    pub(crate) fn new(connections: usize, size: usize, depth: usize) -> Self {
        let mut pattern = vec![0; size + OFFSETS];
        rand::make_rng::<rand::rngs::SmallRng>().fill_bytes(&mut pattern);
        Self {
            size,
            depth,
            clients: vec![Client::default(); connections],
            sent_at: vec![0; connections * depth],
            pattern,
            on_their_way: 0,
            stopped: false,
        }
    }

    /// Sends the client's next message.
    #[inline]
    fn send(&mut self, client: usize, now: Nanoseconds, outbox: &mut Outbox<'_>) {
        let sequence = self.clients[client].sent;
        self.clients[client].sent += 1;
        self.on_their_way += 1;
        let cell = self.cell(client, sequence);
        self.sent_at[cell] = now;
        let (prefix, rest) = self.payload(client, sequence);
        outbox.binary(&[&prefix[..PREFIX.min(self.size)], rest]);
    }

    /// The payload of a message: its prefix, of which as much is used as has room, and the rest.
    #[inline]
    fn payload(&self, client: usize, sequence: usize) -> ([u8; PREFIX], &[u8]) {
        let mut prefix = [0; PREFIX];
        prefix[..8].copy_from_slice(&(sequence as u64).to_le_bytes());
        prefix[8..].copy_from_slice(&(client as u64).to_le_bytes());
        let start = sequence % OFFSETS;
        let end = start + self.size.saturating_sub(PREFIX);
        (prefix, &self.pattern[start..end])
    }

    #[inline]
    fn is_message(&self, client: usize, sequence: usize, payload: &[u8]) -> bool {
        let (prefix, rest) = self.payload(client, sequence);
        let (head, tail) = payload.split_at(PREFIX.min(self.size));
        head == &prefix[..head.len()] && tail == rest
    }

    #[inline]
    fn cell(&self, client: usize, sequence: usize) -> usize {
        client * self.depth + sequence % self.depth
    }

    /// Tells what is wrong with an answer that is not the echo that was due, and returns the
    /// sequence number that is due next.
    ///
    /// The echo of a later message is taken, so that one lost echo counts once and does not make
    /// every following one wrong; what has another content stands for the echo that was due.
    #[cold]
    fn wrong(&self, client: usize, message: Received<'_>, faults: &mut Faults) -> usize {
        let Client { answered: due, sent } = self.clients[client];
        let Received { kind, payload } = message;
        let came = payload.len();
        if due == sent {
            let example = || format!("client {client}: {came} bytes came, nothing was awaited");
            faults.count(Fault::EchoUnexpected, example);
            return due;
        }
        if kind != Kind::Binary {
            let example = || format!("client {client}: message {due} was binary, its echo is text");
            faults.count(Fault::WrongKind, example);
            return due + 1;
        }
        if came != self.size {
            let example = || {
                format!(
                    "client {client}: the echo of message {due}: {came} bytes, not {}",
                    self.size
                )
            };
            faults.count(Fault::EchoLength, example);
            return due + 1;
        }
        let claimed = payload.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let claimed = claimed.and_then(|claimed| usize::try_from(claimed).ok());
        match claimed.filter(|claimed| self.is_message(client, *claimed, payload)) {
            Some(claimed) if claimed > due && claimed < sent => {
                let example =
                    || format!("client {client}: echo {claimed} came while {due} was due");
                faults.count_many(Fault::EchoSkipped, (claimed - due) as u64, example);
                claimed + 1
            }
            Some(claimed) if claimed < due => {
                let example =
                    || format!("client {client}: echo {claimed} came again, {due} is due");
                faults.count(Fault::EchoStale, example);
                due
            }
            _ => {
                let example = || format!("client {client}: the echo of message {due} differs");
                faults.count(Fault::EchoContent, example);
                due + 1
            }
        }
    }
}

impl Scenario for Echo {
    fn begin(&mut self, client: usize, now: Nanoseconds, outbox: &mut Outbox<'_>) {
        for _ in 0..self.depth {
            self.send(client, now, outbox);
        }
    }

    #[inline]
    fn received(
        &mut self,
        client: usize,
        message: Received<'_>,
        now: Nanoseconds,
        outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    ) {
        let Client { answered: due, sent } = self.clients[client];
        let right = due < sent
            && message.kind == Kind::Binary
            && message.payload.len() == self.size
            && self.is_message(client, due, message.payload);
        let next = if right {
            let sent_at = self.sent_at[self.cell(client, due)];
            tally.measure.record(now.saturating_sub(sent_at), self.size);
            due + 1
        } else {
            self.wrong(client, message, &mut tally.faults)
        };
        self.clients[client].answered = next;
        self.on_their_way -= next - due;
        if !self.stopped {
            for _ in due..next {
                self.send(client, now, outbox);
            }
        }
    }

    fn lost(&mut self, client: usize) {
        let Client { answered, sent } = &mut self.clients[client];
        self.on_their_way -= *sent - *answered;
        *answered = *sent;
    }

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn awaited(&self) -> u64 {
        self.on_their_way as u64
    }

    fn finish(&mut self, faults: &mut Faults) {
        for (number, client) in self.clients.iter().enumerate() {
            let missing = client.sent - client.answered;
            let example = || format!("client {number}: message {} has no echo", client.answered);
            faults.count_many(Fault::EchoMissing, missing as u64, example);
        }
    }

    fn outbox_bytes_max(&self) -> usize {
        self.depth * (self.size + tickwire_frame::Header::LEN_MAX)
    }

    fn message_bytes_max(&self) -> u64 {
        // An echo that is longer than the message is a fault of its own and must arrive to be seen.
        (self.size as u64).max(1) * 2 + 1024
    }
}

/// Sequence number and client number, 8 bytes each.
const PREFIX: usize = 16;

/// Offsets of the window: a prime, so that it never keeps step with a power of two.
const OFFSETS: usize = 251;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measure;
    use crate::scenario::Masks;

    /// One client with everything sent, and what is wrong with the answers that it is given.
    struct Exchange {
        echo: Echo,
        tally: Tally,
        wire: Vec<u8>,
        masks: Masks,
    }

    impl Exchange {
        fn new(size: usize, depth: usize) -> Self {
            let tally = Tally { measure: Measure::new(), faults: Faults::default() };
            let mut exchange = Self {
                echo: Echo::new(2, size, depth),
                tally,
                wire: Vec::new(),
                masks: Masks::new(),
            };
            let mut outbox = Outbox { bytes: &mut exchange.wire, masks: &mut exchange.masks };
            exchange.echo.begin(1, 100, &mut outbox);
            exchange
        }

        fn payload(&self, client: usize, sequence: usize) -> Vec<u8> {
            let (prefix, rest) = self.echo.payload(client, sequence);
            [&prefix[..PREFIX.min(self.echo.size)], rest].concat()
        }

        fn answer(&mut self, kind: Kind, payload: &[u8]) {
            let mut outbox = Outbox { bytes: &mut self.wire, masks: &mut self.masks };
            let message = Received { kind, payload };
            self.echo.received(1, message, 700, &mut outbox, &mut self.tally);
        }

        fn faults(&mut self) -> Vec<(Fault, u64)> {
            self.echo.finish(&mut self.tally.faults);
            self.tally.faults.iter().map(|(fault, seen)| (fault, seen.count)).collect()
        }
    }

    #[test]
    fn right_echoes_of_every_size_pass_and_keep_the_depth() {
        for size in [0, 1, 7, 8, 9, 15, 16, 17, 20, 125, 126, 70_000] {
            let mut exchange = Exchange::new(size, 3);
            for sequence in 0..600 {
                assert_eq!(exchange.echo.awaited(), 3);
                let payload = exchange.payload(1, sequence);
                exchange.answer(Kind::Binary, &payload);
                exchange.wire.clear();
            }
            exchange.echo.lost(1);
            assert_eq!(exchange.faults(), [], "{size} bytes");
            assert_eq!(exchange.echo.awaited(), 0);
            let latency = exchange.tally.measure.finish().latency;
            assert_eq!((latency.len(), latency.max()), (600, 600));
        }
    }

    #[test]
    fn what_is_sent_is_what_must_come_back() {
        let mut exchange = Exchange::new(40, 1);
        let tickwire_frame::Decoded::Complete { header, header_len } =
            tickwire_frame::Header::decode(
                &exchange.wire,
                tickwire_frame::Rules::new(tickwire_frame::Role::Server),
            )
            .unwrap()
        else {
            panic!("the whole header was written")
        };
        let mut payload = exchange.wire.split_off(header_len);
        tickwire_frame::mask::apply(header.mask.unwrap(), &mut payload);
        assert_eq!((header.fin, payload.len()), (true, 40));
        assert_eq!(payload, exchange.payload(1, 0));
    }

    #[test]
    fn every_wrong_echo_is_told_by_kind() {
        type Answer = fn(&Exchange) -> (Kind, Vec<u8>);
        type Counts = [(Fault, u64)];
        let cases: [(&str, Answer, &Counts); 8] = [
            ("text", |run| (Kind::Text, run.payload(1, 0)), &[(Fault::WrongKind, 1)]),
            (
                "short",
                |run| (Kind::Binary, run.payload(1, 0)[1..].to_vec()),
                &[(Fault::EchoLength, 1)],
            ),
            ("other client's", |run| (Kind::Binary, run.payload(0, 0)), &[(Fault::EchoContent, 1)]),
            ("later", |run| (Kind::Binary, run.payload(1, 2)), &[(Fault::EchoSkipped, 2)]),
            ("not yet sent", |run| (Kind::Binary, run.payload(1, 4)), &[(Fault::EchoContent, 1)]),
            (
                "one bit at the end",
                |run| {
                    let mut payload = run.payload(1, 0);
                    payload[39] ^= 1;
                    (Kind::Binary, payload)
                },
                &[(Fault::EchoContent, 1)],
            ),
            (
                "one bit at the start",
                |run| {
                    let mut payload = run.payload(1, 0);
                    payload[0] ^= 0x80;
                    (Kind::Binary, payload)
                },
                &[(Fault::EchoContent, 1)],
            ),
            ("empty", |_| (Kind::Binary, Vec::new()), &[(Fault::EchoLength, 1)]),
        ];
        for (name, answer, faults) in cases {
            let mut exchange = Exchange::new(40, 4);
            exchange.echo.stop();
            let (kind, payload) = answer(&exchange);
            exchange.answer(kind, &payload);
            while exchange.echo.awaited() > 0 {
                let payload = exchange.payload(1, exchange.echo.clients[1].answered);
                exchange.answer(Kind::Binary, &payload);
            }
            assert_eq!(exchange.faults(), faults, "{name}");
        }
    }

    #[test]
    fn an_echo_twice_is_stale_and_one_too_many_is_unexpected() {
        let mut exchange = Exchange::new(40, 2);
        exchange.echo.stop();
        let (first, second) = (exchange.payload(1, 0), exchange.payload(1, 1));
        exchange.answer(Kind::Binary, &first);
        exchange.answer(Kind::Binary, &first);
        exchange.answer(Kind::Binary, &second);
        exchange.answer(Kind::Binary, &second);
        assert_eq!(exchange.faults(), [(Fault::EchoStale, 1), (Fault::EchoUnexpected, 1)]);
    }

    #[test]
    fn echoes_that_never_come_are_missing_at_the_end() {
        let mut exchange = Exchange::new(40, 3);
        exchange.echo.stop();
        let first = exchange.payload(1, 0);
        exchange.answer(Kind::Binary, &first);
        assert_eq!(exchange.echo.awaited(), 2);
        assert_eq!(exchange.faults(), [(Fault::EchoMissing, 2)]);
    }
}
