//! The fan-out with many topics: each client has some of them, as users have lists of what they watch.
//!
//! Before the run's time starts each client says `subscribe 3,17,…`, numbers of topics from 0, and the
//! server answers `subscribed distinct` or `subscribed merge`: whether it will send every publication,
//! or may leave out values that newer ones have replaced. Then one client says `start`. What is
//! published is that of the plain [fan-out](crate::fanout), with the sequence number of its topic, and
//! in bytes 16 to 20 the number of the topic, little-endian.
//!
//! Which client has which topics is drawn from a fixed seed: it is the same in each run. In each topic
//! numbers rise; where everything is to come none may be left out, and elsewhere what was left out is
//! counted as merged. With a server that publishes nothing the clients are idle subscribers.
//!
//! A client costs 8 bytes for each of its topics, and 16 for each 64 of all.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};
use tickwire_protocol::Kind;

use crate::clock::Nanoseconds;
use crate::fanout::{STAMP, stamp, unreadable};
use crate::fault::{Fault, Faults};
use crate::scenario::{Action, Outbox, PUBLISHED_WAIT, Received, Scenario, Tally};

/// To what each client of a run subscribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Topics {
    /// How many topics there are, 1 to 65,536.
    pub all: usize,
    /// How many of them each client has, 1 to `all`.
    pub of_each: usize,
    /// Two runs with the same seed have the same clients.
    pub seed: u64,
}

impl Topics {
    /// So many topics for each client, out of so many.
    #[must_use]
    pub const fn new(all: usize, of_each: usize) -> Self {
        Self { all, of_each, seed: 0 }
    }

    /// Whether the numbers are within their bounds.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (1..=TOPICS_MAX).contains(&self.all) && (1..=self.all).contains(&self.of_each)
    }

    /// The topics of one client, in no order.
    fn chosen(&self, client: usize) -> Vec<usize> {
        // Clients have neighbouring numbers, and processes neighbouring seeds.
        let mut random = SmallRng::seed_from_u64(self.seed << 32 | client as u64);
        rand::seq::index::sample(&mut random, self.all, self.of_each).into_vec()
    }
}

/// State of all clients of a run.
#[derive(Debug)]
pub(crate) struct Watchlist {
    topics: Topics,
    clients: Vec<Client>,
    /// Which topics a client has: a row of words for each client.
    chosen: Vec<Word>,
    /// The sequence number that is due, 0 before the first: a row for each client, in the order of its
    /// topics' numbers.
    due: Vec<u64>,
    /// By topic, when the first publication of which a client knows was made.
    first: Vec<Option<Nanoseconds>>,
    /// Size of the first message, which all others must have.
    size: Option<usize>,
    /// Clients that have not subscribed yet.
    fresh: Vec<usize>,
    /// Clients that have, and were not answered.
    unanswered: usize,
    /// The one that is to say `start`, as long as it has not.
    starter: Option<usize>,
    /// Whether a client of this process says it.
    starts: bool,
    is_running: bool,
    ended_at: Nanoseconds,
}

/// How far a client is.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    standing: Standing,
    /// Whether the server may leave out values.
    merges: bool,
    /// Whether it subscribed when publications may have begun, so that its first numbers may be any.
    joined_late: bool,
    /// When the newest message was published.
    published: Nanoseconds,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    /// It was not opened, or it is gone.
    #[default]
    Absent,
    /// It is open and has said nothing.
    Fresh,
    /// It has said what it wants.
    Asking,
    /// It was answered.
    Subscribed,
}

/// 64 topics: those that a client has, and how many it has of those before.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    bits: u64,
    before: usize,
}

impl Watchlist {
    /// Clients of which one `starts` the server, if it is not another generator's.
    pub(crate) fn new(connections: usize, topics: Topics, starts: bool) -> Self {
        let words = topics.all.div_ceil(64);
        let mut chosen = vec![Word::default(); connections * words];
        for (client, row) in chosen.chunks_exact_mut(words).enumerate() {
            for topic in topics.chosen(client) {
                row[topic / 64].bits |= 1 << (topic % 64);
            }
            let mut before = 0;
            for word in row {
                word.before = before;
                before += word.bits.count_ones() as usize;
            }
        }
        Self {
            topics,
            clients: vec![Client::default(); connections],
            chosen,
            due: vec![0; connections * topics.of_each],
            first: vec![None; topics.all],
            size: None,
            fresh: Vec::new(),
            unanswered: 0,
            starter: None,
            starts,
            is_running: false,
            ended_at: Nanoseconds::MAX,
        }
    }

    /// Where the number that is due in a topic stands, if the client has it.
    #[inline]
    fn place(&self, client: usize, topic: usize) -> Option<usize> {
        let words = self.topics.all.div_ceil(64);
        let word = self.chosen[client * words..][..words].get(topic / 64)?;
        let bit = 1 << (topic % 64);
        let before = word.before + (word.bits & (bit - 1)).count_ones() as usize;
        (word.bits & bit != 0).then_some(client * self.topics.of_each + before)
    }

    /// The topics of a client with the places of their numbers.
    fn list(&self, client: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..self.topics.all).filter_map(move |topic| Some((topic, self.place(client, topic)?)))
    }

    /// Judges a sequence number other than the one that was due; returns whether it is news.
    #[cold]
    fn out_of_order(
        &mut self,
        (client, topic, place): (usize, usize, usize),
        sequence: u64,
        tally: &mut Tally,
    ) -> bool {
        let due = self.due[place];
        let Client { merges, joined_late, .. } = self.clients[client];
        let example = || format!("client {client}: number {sequence} of {topic}, due was {due}");
        let Some(skipped) = sequence.checked_sub(due) else {
            let is_last = sequence + 1 == due;
            let fault = if is_last { Fault::Duplicate } else { Fault::Reordered };
            tally.faults.count(fault, example);
            return false;
        };
        match due {
            0 if joined_late => {}
            _ if merges => tally.measure.merged(skipped),
            0 => tally.faults.count(Fault::LateStart, example),
            _ => tally.faults.count_many(Fault::Gap, skipped, example),
        }
        self.due[place] = sequence.saturating_add(1);
        true
    }

    /// Takes the answer to a subscription.
    #[cold]
    fn answered(&mut self, client: usize, message: Received<'_>, faults: &mut Faults) {
        let merges = match message.payload {
            b"subscribed distinct" => false,
            b"subscribed merge" => true,
            _ => return unreadable(client, message, faults),
        };
        let client = &mut self.clients[client];
        if client.standing == Standing::Asking {
            self.unanswered -= 1;
            client.standing = Standing::Subscribed;
        }
        client.merges = merges;
    }

    /// Takes a message that was published.
    #[inline]
    fn published(
        &mut self,
        client: usize,
        message: Received<'_>,
        now: Nanoseconds,
        tally: &mut Tally,
    ) {
        let payload = message.payload;
        let stamped = stamp(payload).zip(payload[STAMP.min(payload.len())..].first_chunk());
        let Some(((published, sequence), topic)) = stamped else {
            return unreadable(client, message, &mut tally.faults);
        };
        let topic = u32::from_le_bytes(*topic) as usize;
        let Some(place) = self.place(client, topic) else {
            return tally.faults.count(Fault::Unasked, || {
                format!("client {client}: number {sequence} of {topic}, which it does not have")
            });
        };
        if self.size != Some(payload.len()) {
            let size = *self.size.get_or_insert(payload.len());
            if size != payload.len() {
                let example = || format!("client {client}: {} bytes, not {size}", payload.len());
                tally.faults.count(Fault::SizeChanged, example);
            }
        }
        if self.due[place] == 0 {
            let first = self.first[topic].get_or_insert(published);
            *first = published.min(*first);
        }
        if sequence == self.due[place] {
            self.due[place] += 1;
        } else if !self.out_of_order((client, topic, place), sequence, tally) {
            return;
        }
        let client_of = &mut self.clients[client];
        client_of.published = client_of.published.max(published);
        match now.checked_sub(published) {
            Some(_) if published > self.ended_at => {}
            Some(latency) => tally.measure.record(latency, payload.len()),
            None => tally.faults.count(Fault::Future, || {
                let ahead = published - now;
                format!("client {client}: number {sequence} is dated {ahead} ns from now")
            }),
        }
    }
}

impl Scenario for Watchlist {
    fn opened(&mut self, client: usize, _now: Nanoseconds, _tally: &mut Tally) {
        let of_each = self.topics.of_each;
        self.due[client * of_each..][..of_each].fill(0);
        let joined_late = self.is_running || !self.starts;
        let standing = Standing::Fresh;
        self.clients[client] = Client { standing, joined_late, ..Client::default() };
        self.fresh.push(client);
    }

    fn introduce(&mut self) -> Option<usize> {
        self.fresh.pop()
    }

    fn introducing(&self) -> usize {
        self.unanswered
    }

    fn start(&mut self, _now: Nanoseconds) {
        self.is_running = true;
        let is_there = |client: &Client| client.standing != Standing::Absent;
        self.starter = self.clients.iter().position(is_there).filter(|_| self.starts);
    }

    fn next(&mut self, _now: Nanoseconds) -> Option<Action> {
        if self.ended_at != Nanoseconds::MAX {
            return None;
        }
        self.fresh.pop().or_else(|| self.starter.take()).map(Action::Send)
    }

    fn due(&self) -> Nanoseconds {
        if self.fresh.is_empty() { Nanoseconds::MAX } else { 0 }
    }

    fn compose(
        &mut self,
        client: usize,
        _now: Nanoseconds,
        outbox: &mut Outbox<'_>,
        _tally: &mut Tally,
    ) {
        if self.clients[client].standing != Standing::Fresh {
            return outbox.text("start");
        }
        let names: Vec<String> = self.list(client).map(|(topic, _)| topic.to_string()).collect();
        outbox.text(&format!("subscribe {}", names.join(",")));
        self.clients[client].standing = Standing::Asking;
        self.unanswered += 1;
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
        match message.kind {
            Kind::Binary => self.published(client, message, now, tally),
            Kind::Text => self.answered(client, message, &mut tally.faults),
        }
    }

    fn lost(&mut self, client: usize) {
        let standing = std::mem::take(&mut self.clients[client].standing);
        self.unanswered -= usize::from(standing == Standing::Asking);
        self.fresh.retain(|fresh| *fresh != client);
    }

    fn stop(&mut self, now: Nanoseconds) {
        self.ended_at = now;
    }

    /// Clients for which something of the run's time may be on its way, as in the plain fan-out.
    fn awaited(&self) -> u64 {
        if self.first.iter().all(Option::is_none) {
            return 0;
        }
        let is_behind = |client: &&Client| {
            client.standing == Standing::Subscribed && client.published <= self.ended_at
        };
        self.clients.iter().filter(is_behind).count() as u64
    }

    fn drain_wait(&self) -> Nanoseconds {
        PUBLISHED_WAIT
    }

    fn finish(&mut self, now: Nanoseconds, tally: &mut Tally) {
        for (client, state) in self.clients.iter().enumerate() {
            if state.standing == Standing::Asking {
                let example = || format!("client {client}: no answer to its subscription");
                tally.faults.count(Fault::NotSubscribed, example);
            }
            if state.standing != Standing::Subscribed || state.joined_late {
                continue;
            }
            let heard_of = |topic: usize| self.first[topic].is_some_and(|at| at + SLOWEST <= now);
            let silent = |&(topic, place): &(usize, usize)| self.due[place] == 0 && heard_of(topic);
            if let Some((topic, _)) = self.list(client).find(silent) {
                let example = || format!("client {client}: nothing of {topic}, as others had");
                tally.faults.count(Fault::Silent, example);
            }
        }
    }

    fn outbox_bytes_max(&self) -> usize {
        // Of a topic at most five digits and a comma.
        tickwire_frame::Header::LEN_MAX + "subscribe ".len() + 6 * self.topics.of_each
    }

    fn message_bytes_max(&self) -> u64 {
        crate::fanout::MESSAGE_BYTES_MAX
    }
}

/// A subscription of this many topics is a message of some 400 KB.
const TOPICS_MAX: usize = 65_536;

/// Whoever has heard nothing of a topic so long after another has, in nanoseconds, will not: twice the
/// interval of a server that sends a value a second.
const SLOWEST: Nanoseconds = 2_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::Measure;
    use crate::plan::Stage;
    use crate::scenario::{Masks, Treatment};

    /// Two clients that have both of two topics.
    struct Exchange {
        watchlist: Watchlist,
        tally: Tally,
        wire: Vec<u8>,
        masks: Masks,
    }

    impl Exchange {
        fn new(answer: &str) -> Self {
            let mut measure = Measure::new(&[Stage::new(Duration::from_secs(1))]);
            measure.begin(0);
            let tally = Tally { measure, faults: Faults::default(), treatment: Treatment::new() };
            let watchlist = Watchlist::new(2, Topics::new(2, 2), true);
            let (wire, masks) = (Vec::new(), Masks::new());
            let mut exchange = Self { watchlist, tally, wire, masks };
            for client in [0, 1] {
                exchange.watchlist.opened(client, 0, &mut exchange.tally);
            }
            while let Some(client) = exchange.watchlist.introduce() {
                exchange.compose(client);
            }
            assert_eq!(exchange.watchlist.introducing(), 2);
            for client in [0, 1] {
                exchange.take(client, Kind::Text, answer.as_bytes());
            }
            exchange.watchlist.start(0);
            exchange
        }

        /// The length of what a client says.
        fn compose(&mut self, client: usize) -> usize {
            self.wire.clear();
            let mut outbox =
                Outbox { bytes: &mut self.wire, masks: &mut self.masks, compressor: None };
            self.watchlist.compose(client, 0, &mut outbox, &mut self.tally);
            self.wire.len() - 6
        }

        fn take(&mut self, client: usize, kind: Kind, payload: &[u8]) {
            let mut outbox =
                Outbox { bytes: &mut self.wire, masks: &mut self.masks, compressor: None };
            let message = Received { kind, payload };
            self.watchlist.received(client, message, NOW, &mut outbox, &mut self.tally);
        }

        fn publish(&mut self, client: usize, topic: u32, sequence: u64) {
            let mut payload = vec![0; 125];
            payload[..8].copy_from_slice(&(NOW - 1_000).to_le_bytes());
            payload[8..16].copy_from_slice(&sequence.to_le_bytes());
            payload[16..20].copy_from_slice(&topic.to_le_bytes());
            self.take(client, Kind::Binary, &payload);
        }

        /// What was wrong, the right messages and those that were merged away.
        fn judge(mut self, now: Nanoseconds) -> (Vec<(Fault, u64)>, u64, u64) {
            self.watchlist.finish(now, &mut self.tally);
            let faults = self.tally.faults.iter().map(|(fault, seen)| (fault, seen.count));
            let faults = faults.collect();
            let window = self.tally.measure.finish().window;
            (faults, window.messages, window.merged)
        }
    }

    const NOW: Nanoseconds = 10_000;

    #[test]
    fn each_topic_has_an_order_of_its_own() {
        type Published = &'static [(u32, u64)];
        type Expected = (&'static [(Fault, u64)], u64, u64);
        let cases: [(&str, Published, Expected); 8] = [
            ("distinct", &[(0, 0), (1, 0), (0, 1), (1, 1)], (&[], 4, 0)),
            ("distinct", &[(0, 0), (0, 3)], (&[(Fault::Gap, 2)], 2, 0)),
            ("distinct", &[(0, 0), (1, 1)], (&[(Fault::LateStart, 1)], 2, 0)),
            ("distinct", &[(0, 0), (0, 0)], (&[(Fault::Duplicate, 1)], 1, 0)),
            ("merge", &[(0, 4), (1, 0), (0, 9)], (&[], 3, 8)),
            ("merge", &[(0, 4), (0, 4)], (&[(Fault::Duplicate, 1)], 1, 4)),
            ("merge", &[(0, 4), (0, 2)], (&[(Fault::Reordered, 1)], 1, 4)),
            ("merge", &[(2, 0)], (&[(Fault::Unasked, 1)], 0, 0)),
        ];
        for (mode, published, (faults, messages, merged)) in cases {
            let mut exchange = Exchange::new(&format!("subscribed {mode}"));
            for (topic, sequence) in published {
                exchange.publish(0, *topic, *sequence);
            }
            let judged = exchange.judge(NOW);
            assert_eq!(judged, (faults.to_vec(), messages, merged), "{mode} {published:?}");
        }
    }

    #[test]
    fn a_topic_that_one_client_alone_hears_nothing_of_is_told() {
        for (heard, after, faults) in [
            (&[(0, 0), (0, 1), (1, 0), (1, 1)][..], SLOWEST, &[][..]),
            (&[(0, 0), (0, 1), (1, 0)], SLOWEST, &[(Fault::Silent, 1)]),
            (&[(0, 0), (0, 1), (1, 0)], SLOWEST / 2, &[]),
            (&[], SLOWEST, &[]),
        ] {
            let mut exchange = Exchange::new("subscribed distinct");
            for (client, topic) in heard {
                exchange.publish(*client, *topic, 0);
            }
            assert_eq!(exchange.judge(NOW + after).0, faults, "{heard:?}");
        }
    }

    #[test]
    fn answers_are_awaited_and_then_one_says_start() {
        let mut exchange = Exchange::new("subscribed merge");
        assert_eq!((exchange.watchlist.introducing(), exchange.watchlist.introduce()), (0, None));
        assert_eq!(exchange.watchlist.next(0), Some(Action::Send(0)));
        assert_eq!((exchange.compose(0), exchange.watchlist.next(0)), ("start".len(), None));
        let mut exchange = Exchange::new("what?");
        assert_eq!(exchange.watchlist.introducing(), 2);
        exchange.watchlist.lost(0);
        let expected = [(Fault::WrongKind, 2), (Fault::NotSubscribed, 1)];
        assert_eq!(exchange.judge(NOW).0, expected);
    }

    #[test]
    fn lists_are_drawn_evenly_and_the_same_each_time() {
        let topics = Topics::new(500, 50);
        let watchlist = Watchlist::new(2_000, topics, true);
        let mut subscribers = vec![0_usize; 500];
        for client in 0..2_000 {
            let mut places = watchlist.list(client).map(|(_, place)| place);
            assert!((client * 50..(client + 1) * 50).all(|place| places.next() == Some(place)));
            assert_eq!(places.next(), None);
            watchlist.list(client).for_each(|(topic, _)| subscribers[topic] += 1);
        }
        // 200 are the mean, and 13 the deviation.
        let (least, most) = (subscribers.iter().min(), subscribers.iter().max());
        assert!(least > Some(&120) && most < Some(&280), "{least:?} to {most:?}");
        assert_eq!(topics.chosen(7), topics.chosen(7));
        assert_ne!(topics.chosen(7), Topics { seed: 1, ..topics }.chosen(7));
        assert!(
            topics.is_valid() && !Topics::new(5, 6).is_valid() && !Topics::new(0, 0).is_valid()
        );
    }
}
