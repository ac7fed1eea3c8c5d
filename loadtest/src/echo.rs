//! The echo scenario: each client sends messages and checks every answer.
//!
//! In the closed model each client keeps `depth` messages on their way: the next leaves when an
//! answer comes. In the open model a [`Pace`] says when each message is due, clients take turns, and
//! `depth` is only a bound: a message that is due while its client has no room waits in the client's
//! own queue and keeps its intended time, from which its latency counts.
//!
//! A payload is a pure function of client and sequence number, so an answer is checked byte for
//! byte against what must come without keeping what was sent: its first bytes are the sequence
//! number and the client's number (as many of them as its size has room for), and the rest is a
//! window of one random pattern that moves with the sequence number. So an echo that was cut,
//! repeated, exchanged between clients or shifted by a byte is seen.
//!
//! What is kept for a client is two counters and two times of each message on its way. Latency is
//! from the moment before the send to the moment after the read.

mod content;

use std::collections::VecDeque;

use tickwire_protocol::Kind;

use crate::clock::Nanoseconds;
use crate::fault::{Fault, Faults};
use crate::pace::Pace;
use crate::scenario::{Action, Outbox, Received, Scenario, Tally};
use crate::size::{Size, Sizes};
pub(crate) use content::Content;

/// State of all clients of an echo run.
#[derive(Debug)]
pub(crate) struct Echo {
    sizes: Sizes,
    size_max: usize,
    depth: usize,
    clients: Vec<Client>,
    /// The messages on their way: `depth` cells for each client, message `n` in cell `n % depth`.
    on_the_way: Vec<Times>,
    /// Payload bytes; messages are windows of it at offsets below [`OFFSETS`].
    pattern: Vec<u8>,
    /// How many messages are on their way.
    awaited: usize,
    model: Model,
    stopped: bool,
}

/// When messages leave.
#[derive(Debug)]
enum Model {
    /// Clients that were opened and have not sent yet.
    Closed {
        unprimed: VecDeque<usize>,
    },
    Open(Open),
}

/// The open model.
#[derive(Debug)]
struct Open {
    pace: Pace,
    /// Clients that are open, who take turns.
    rota: Vec<usize>,
    turn: usize,
    /// By client, the intended times of messages that found no room.
    owed: Vec<VecDeque<Nanoseconds>>,
    /// How many they are in all.
    owed_count: usize,
}

/// Sequence numbers of one client: those in between are on their way.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    answered: usize,
    sent: usize,
}

/// The times of one message.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    intended: Nanoseconds,
    sent: Nanoseconds,
}

impl Echo {
    /// Clients that each keep `depth` messages on their way, or follow `pace` and keep at most so
    /// many on their way.
    pub(crate) fn new(
        connections: usize,
        size: &Size,
        depth: usize,
        pace: Option<Pace>,
        content: Content,
    ) -> Self {
        let size_max = size.max();
        let model = match pace {
            None => Model::Closed { unprimed: VecDeque::new() },
            Some(pace) => Model::Open(Open {
                pace,
                rota: Vec::new(),
                turn: 0,
                owed: vec![VecDeque::new(); connections],
                owed_count: 0,
            }),
        };
        Self {
            sizes: Sizes::new(size),
            size_max,
            depth,
            clients: vec![Client::default(); connections],
            on_the_way: vec![Times::default(); connections * depth],
            pattern: content.pattern(size_max + OFFSETS),
            awaited: 0,
            model,
            stopped: false,
        }
    }

    /// Sends the client's next message, which was due at `intended`.
    #[inline]
    fn send(
        &mut self,
        client: usize,
        intended: Nanoseconds,
        now: Nanoseconds,
        outbox: &mut Outbox<'_>,
    ) {
        let sequence = self.clients[client].sent;
        self.clients[client].sent += 1;
        self.awaited += 1;
        let cell = self.cell(client, sequence);
        self.on_the_way[cell] = Times { intended, sent: now };
        let (prefix, rest) = self.payload(client, sequence);
        outbox.binary(&[prefix.used(), rest]);
    }

    /// The payload of a message: its prefix, of which as much is used as has room, and the rest.
    #[inline]
    fn payload(&self, client: usize, sequence: usize) -> (Prefix, &[u8]) {
        let size = self.sizes.of(client, sequence);
        let mut bytes = [0; PREFIX];
        bytes[..8].copy_from_slice(&(sequence as u64).to_le_bytes());
        bytes[8..].copy_from_slice(&(client as u64).to_le_bytes());
        let start = sequence % OFFSETS;
        let end = start + size.saturating_sub(PREFIX);
        (Prefix { bytes, len: PREFIX.min(size) }, &self.pattern[start..end])
    }

    #[inline]
    fn is_message(&self, client: usize, sequence: usize, payload: &[u8]) -> bool {
        let (prefix, rest) = self.payload(client, sequence);
        payload
            .split_at_checked(prefix.len)
            .is_some_and(|(head, tail)| head == prefix.used() && tail == rest)
    }

    #[inline]
    fn cell(&self, client: usize, sequence: usize) -> usize {
        client * self.depth + sequence % self.depth
    }

    #[inline]
    fn has_room(&self, client: usize) -> bool {
        let Client { answered, sent } = self.clients[client];
        sent - answered < self.depth
    }

    /// Sends what the client owes, as far as there is room; `held` says that there was none before.
    #[inline]
    fn pay(
        &mut self,
        client: usize,
        now: Nanoseconds,
        held: bool,
        outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    ) {
        while self.has_room(client) {
            let Model::Open(open) = &mut self.model else { return };
            let Some(intended) = open.owed[client].pop_front() else { return };
            open.owed_count -= 1;
            tally.measure.sent(now.saturating_sub(intended), held);
            self.send(client, intended, now, outbox);
        }
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
        let claimed = payload.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let claimed = claimed.and_then(|claimed| usize::try_from(claimed).ok());
        match claimed.filter(|claimed| self.is_message(client, *claimed, payload)) {
            Some(claimed) if claimed > due && claimed < sent => {
                let example =
                    || format!("client {client}: echo {claimed} came while {due} was due");
                faults.count_many(Fault::EchoSkipped, (claimed - due) as u64, example);
                return claimed + 1;
            }
            Some(claimed) if claimed < due => {
                let example =
                    || format!("client {client}: echo {claimed} came again, {due} is due");
                faults.count(Fault::EchoStale, example);
                return due;
            }
            _ => {}
        }
        let size = self.sizes.of(client, due);
        if came == size {
            let example = || format!("client {client}: the echo of message {due} differs");
            faults.count(Fault::EchoContent, example);
        } else {
            let example =
                || format!("client {client}: the echo of message {due}: {came} bytes, not {size}");
            faults.count(Fault::EchoLength, example);
        }
        due + 1
    }
}

impl Open {
    /// Hands out what is due, in turns; gives the next client that has something to send.
    fn next(&mut self, now: Nanoseconds, has_room: impl Fn(usize) -> bool) -> Option<usize> {
        if self.rota.is_empty() {
            return None;
        }
        while let Some(intended) = self.pace.take(now) {
            self.turn = if self.turn + 1 < self.rota.len() { self.turn + 1 } else { 0 };
            let client = self.rota[self.turn];
            let ready = self.owed[client].is_empty() && has_room(client);
            self.owed[client].push_back(intended);
            self.owed_count += 1;
            if self.owed_count > OWED_MAX {
                self.pace.stop();
            }
            if ready {
                return Some(client);
            }
        }
        None
    }

    fn lost(&mut self, client: usize) {
        self.rota.retain(|open| *open != client);
        self.owed_count -= self.owed[client].len();
        self.owed[client] = VecDeque::new();
    }
}

impl Scenario for Echo {
    fn opened(&mut self, client: usize, _now: Nanoseconds, _tally: &mut Tally) {
        match &mut self.model {
            Model::Closed { unprimed } => unprimed.push_back(client),
            Model::Open(open) => open.rota.push(client),
        }
    }

    fn start(&mut self, now: Nanoseconds) {
        if let Model::Open(open) = &mut self.model {
            open.pace.start(now);
        }
    }

    #[inline]
    fn next(&mut self, now: Nanoseconds) -> Option<Action> {
        if self.stopped {
            return None;
        }
        let (clients, depth) = (&self.clients, self.depth);
        let has_room = |client: usize| clients[client].sent - clients[client].answered < depth;
        match &mut self.model {
            Model::Closed { unprimed } => unprimed.pop_front(),
            Model::Open(open) => open.next(now, has_room),
        }
        .map(Action::Send)
    }

    #[inline]
    fn due(&self) -> Nanoseconds {
        match &self.model {
            Model::Open(open) if !open.rota.is_empty() => open.pace.due(),
            _ => Nanoseconds::MAX,
        }
    }

    fn compose(
        &mut self,
        client: usize,
        now: Nanoseconds,
        outbox: &mut Outbox<'_>,
        tally: &mut Tally,
    ) {
        match self.model {
            Model::Open(_) => self.pay(client, now, false, outbox, tally),
            Model::Closed { .. } => {
                while self.has_room(client) {
                    self.send(client, now, now, outbox);
                }
            }
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
            && self.is_message(client, due, message.payload);
        let is_open = matches!(self.model, Model::Open(_));
        let next = if right {
            let Times { intended, sent } = self.on_the_way[self.cell(client, due)];
            let latency = now.saturating_sub(intended);
            let (raw, size) = (now.saturating_sub(sent), message.payload.len());
            match is_open {
                true => tally.measure.record_due(latency, raw, size),
                false => tally.measure.record(latency, size),
            }
            due + 1
        } else {
            self.wrong(client, message, &mut tally.faults)
        };
        self.clients[client].answered = next;
        self.awaited -= next - due;
        if self.stopped {
            return;
        }
        if is_open {
            return self.pay(client, now, true, outbox, tally);
        }
        for _ in due..next {
            self.send(client, now, now, outbox);
        }
    }

    fn lost(&mut self, client: usize) {
        let Client { answered, sent } = &mut self.clients[client];
        self.awaited -= *sent - *answered;
        *answered = *sent;
        match &mut self.model {
            Model::Closed { unprimed } => unprimed.retain(|open| *open != client),
            Model::Open(open) => open.lost(client),
        }
    }

    fn stop(&mut self, now: Nanoseconds) {
        self.stopped = true;
        if let Model::Open(open) = &mut self.model {
            // What was due and not looked at yet never leaves either.
            while open.next(now, |_| false).is_some() {}
            open.pace.stop();
        }
    }

    fn awaited(&self) -> u64 {
        self.awaited as u64
    }

    fn finish(&mut self, now: Nanoseconds, tally: &mut Tally) {
        for (number, client) in self.clients.iter().enumerate() {
            let missing = client.sent - client.answered;
            let example = || format!("client {number}: message {} has no echo", client.answered);
            tally.faults.count_many(Fault::EchoMissing, missing as u64, example);
        }
        if let Model::Open(open) = &mut self.model {
            for intended in open.owed.iter_mut().flat_map(std::mem::take) {
                tally.measure.unsent(now.saturating_sub(intended));
            }
        }
    }

    fn outbox_bytes_max(&self) -> usize {
        self.depth * (self.size_max + tickwire_frame::Header::LEN_MAX)
    }

    fn message_bytes_max(&self) -> u64 {
        // An echo that is longer than the message is a fault of its own and must arrive to be seen.
        (self.size_max as u64).max(1) * 2 + 1024
    }
}

/// The first bytes of a payload.
struct Prefix {
    bytes: [u8; PREFIX],
    len: usize,
}

impl Prefix {
    #[inline]
    fn used(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Messages that may wait for room in all clients together: 8 MB. Beyond it the server is hopeless
/// at this rate, and the schedule ends; what was due counts as never sent.
const OWED_MAX: usize = 1 << 20;

/// Sequence number and client number, 8 bytes each.
const PREFIX: usize = 16;

/// Offsets of the window: a prime, so that it never keeps step with a power of two.
const OFFSETS: usize = 251;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::{Measure, Sends};
    use crate::pace::Arrivals;
    use crate::plan::{Ramp, Stage};
    use crate::scenario::{Masks, Treatment};

    /// One client with everything sent, and what is wrong with the answers that it is given.
    struct Exchange {
        echo: Echo,
        tally: Tally,
        wire: Vec<u8>,
        masks: Masks,
    }

    impl Exchange {
        fn new(size: usize, depth: usize) -> Self {
            Self::with(Echo::new(2, &Size::Fixed(size), depth, None, Content::Random))
        }

        fn with(echo: Echo) -> Self {
            let mut measure = Measure::new(&[Stage::new(Duration::from_secs(1))]);
            measure.begin(0);
            let tally = Tally { measure, faults: Faults::default(), treatment: Treatment::new() };
            let mut exchange = Self { echo, tally, wire: Vec::new(), masks: Masks::new() };
            exchange.echo.opened(1, 50, &mut exchange.tally);
            exchange.echo.start(100);
            exchange.advance(100);
            exchange
        }

        /// Does what is due, and returns how many messages are on their way then.
        fn advance(&mut self, now: Nanoseconds) -> u64 {
            while let Some(action) = self.echo.next(now) {
                assert_eq!(action, Action::Send(1));
                let mut outbox =
                    Outbox { bytes: &mut self.wire, masks: &mut self.masks, compressor: None };
                self.echo.compose(1, now, &mut outbox, &mut self.tally);
            }
            self.echo.awaited()
        }

        fn payload(&self, client: usize, sequence: usize) -> Vec<u8> {
            let (prefix, rest) = self.echo.payload(client, sequence);
            [prefix.used(), rest].concat()
        }

        fn answer_at(&mut self, now: Nanoseconds, sequence: usize) {
            let payload = self.payload(1, sequence);
            let mut outbox =
                Outbox { bytes: &mut self.wire, masks: &mut self.masks, compressor: None };
            let message = Received { kind: Kind::Binary, payload: &payload };
            self.echo.received(1, message, now, &mut outbox, &mut self.tally);
        }

        fn answer(&mut self, kind: Kind, payload: &[u8]) {
            let mut outbox =
                Outbox { bytes: &mut self.wire, masks: &mut self.masks, compressor: None };
            let message = Received { kind, payload };
            self.echo.received(1, message, 700, &mut outbox, &mut self.tally);
        }

        fn faults(&mut self) -> Vec<(Fault, u64)> {
            self.echo.finish(1_000, &mut self.tally);
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
            exchange.echo.stop(400);
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
        exchange.echo.stop(400);
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
        exchange.echo.stop(400);
        let first = exchange.payload(1, 0);
        exchange.answer(Kind::Binary, &first);
        assert_eq!(exchange.echo.awaited(), 2);
        assert_eq!(exchange.faults(), [(Fault::EchoMissing, 2)]);
    }

    /// Ten messages, 100 ns apart, and at most `depth` on their way.
    fn paced(depth: usize) -> Exchange {
        let stage = Stage::new(Duration::from_micros(1)).with_rate(Ramp::constant(1e7));
        let pace = Pace::new(&[stage], Arrivals::Even);
        Exchange::with(Echo::new(2, &Size::Fixed(40), depth, pace, Content::Random))
    }

    #[test]
    fn the_open_model_sends_on_time_whatever_comes_back() {
        let mut exchange = paced(64);
        assert_eq!((exchange.echo.awaited(), exchange.echo.due()), (1, 200));
        assert_eq!(exchange.advance(199), 1);
        assert_eq!(exchange.advance(450), 4);
        exchange.answer_at(500, 0);
        assert_eq!(exchange.echo.awaited(), 3, "an answer does not make it send more");
        assert_eq!(exchange.advance(100_000), 9);
        assert_eq!(exchange.echo.due(), Nanoseconds::MAX);
    }

    #[test]
    fn latency_counts_from_the_intended_time_and_the_raw_figure_from_the_send() {
        let mut exchange = paced(1);
        // Numbers 0 to 4 were due by now; four wait for the first one's answer.
        assert_eq!(exchange.advance(599), 1);
        exchange.answer_at(700, 0);
        exchange.answer_at(710, 1);
        let measured = exchange.tally.measure.finish();
        let mut latencies = measured.latency.iter_recorded();
        let mut next = || latencies.next().map(|it| it.value_iterated_to());
        assert_eq!((next(), next()), (Some(510), Some(600)), "from 200 to 710 and from 100 to 700");
        assert_eq!((measured.raw.min(), measured.raw.max()), (10, 600), "number 1 left at 700");
        assert_eq!(measured.sends, Sends { sent: 3, held: 2, ..Sends::default() });
    }

    #[test]
    fn what_never_left_counts_with_the_time_that_it_waited() {
        let mut exchange = paced(1);
        exchange.advance(249);
        exchange.echo.stop(349);
        exchange.answer_at(400, 0);
        exchange.echo.finish(1_000, &mut exchange.tally);
        let measured = exchange.tally.measure.finish();
        assert_eq!(measured.sends.unsent, 2);
        assert_eq!((measured.latency.len(), measured.latency.max()), (3, 800));
        assert_eq!(measured.raw.len(), 1);
    }

    #[test]
    fn echoes_of_many_sizes_are_told_apart() {
        let size = "8:50,20..1000".parse::<Size>();
        assert!(size.is_err());
        let size = "8:50,20:30,1000:20".parse().unwrap();
        let mut exchange = Exchange::with(Echo::new(2, &size, 2, None, Content::Ticks));
        for sequence in 0..2_000 {
            exchange.answer_at(700, sequence);
        }
        exchange.answer_at(700, 2_001);
        exchange.echo.lost(1);
        assert_eq!(exchange.faults(), [(Fault::EchoSkipped, 1)]);
    }
}
