//! Random turns, against the most naive fan-out that can work.
//!
//! Plays the reactor: sends what is due with any cut, keeps the rest of cut frames, drains those that
//! lag, removes connections and gives their slots to others, at any point of a turn. After each step
//! everything that can be asked is compared with the oracle in `model/naive.rs`, byte for byte.

#[path = "model/naive.rs"]
mod naive;

use std::collections::{BTreeMap, BTreeSet};

use naive::{Naive, rendered, topics_of};
use proptest::prelude::*;
use tickwire_fanout::{
    Fanout, FanoutLimits, Follow, Overrun, Pace, Settled, Subscribed, TopicKey, Unsubscribed, Value,
};

/// A part of something whose size is not known yet: 0 is nothing, 255 is all.
type Part = u8;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// What the connection knows is `ahead` of what the shard has taken, or behind it.
    Subscribe {
        slot: u32,
        topic: u32,
        ahead: i64,
    },
    /// The connection has a value that is `behind` what the shard has taken, and the newest that is
    /// known from elsewhere is `ahead` of that.
    Follow {
        slot: u32,
        topic: u32,
        behind: i64,
        ahead: i64,
        view: u32,
        interval: u16,
    },
    SetPace {
        slot: u32,
        topic: u32,
        interval: u16,
    },
    Tick {
        ticks: u32,
    },
    Unsubscribe {
        slot: u32,
        topic: u32,
    },
    Remove {
        slot: u32,
    },
    Publish {
        topic: u32,
        length: usize,
        exclude: Option<u32>,
    },
    /// The socket of a connection that lags takes bytes again.
    Drain {
        slot: u32,
        part: Part,
    },
    /// Seals, sends in batches of so many, and ends the turn. `parts` go round: how much of its run
    /// each connection takes; `late` happens between sealing and sending.
    Turn {
        batch: usize,
        parts: [Part; 4],
        late: Late,
    },
}

#[derive(Clone, Copy, Debug)]
enum Late {
    Nothing,
    Remove(u32),
    Unsubscribe(u32, u32),
    Subscribe(u32, u32),
    Drain(u32, Part),
}

struct Pair {
    fanout: Fanout,
    naive: Naive,
    limits: FanoutLimits,
    /// Newest sequence number by topic, taken by the shard.
    seqs: BTreeMap<u32, u64>,
    /// The rests of cut frames, which the reactor holds.
    rests: BTreeMap<u32, Vec<u8>>,
    published: u8,
}

impl Pair {
    fn new(limits: FanoutLimits) -> Self {
        Self {
            fanout: Fanout::new(limits),
            naive: Naive::default(),
            limits,
            seqs: BTreeMap::new(),
            rests: BTreeMap::new(),
            published: 0,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Subscribe { slot, topic, ahead } => self.subscribe(slot, topic, ahead),
            Step::Follow { slot, topic, behind, ahead, view, interval } => {
                self.follow(slot, topic, (behind, ahead), view, interval);
            }
            Step::SetPace { slot, topic, interval } => {
                let expected = self.naive.set_interval(slot, topic, u32::from(interval));
                let changed = self.fanout.set_pace(slot, TopicKey(topic.into()), pace(interval));
                assert_eq!(changed, expected);
            }
            Step::Tick { ticks } => {
                self.naive.now += ticks;
                self.fanout.set_tick(self.naive.now);
            }
            Step::Unsubscribe { slot, topic } => self.unsubscribe(slot, topic),
            Step::Remove { slot } => self.remove(slot),
            Step::Publish { topic, length, exclude } => self.publish(topic, length, exclude),
            Step::Drain { slot, part } => self.drain(slot, part),
            Step::Turn { batch, parts, late } => self.turn(batch, parts, late),
        }
    }

    fn subscribe(&mut self, slot: u32, topic: u32, ahead: i64) {
        let after_seq = self.seqs.get(&topic).unwrap_or(&0).saturating_add_signed(ahead);
        let others = self.naive.subscribers(topic);
        let expected = match (self.naive.subscribe(slot, topic, after_seq), others) {
            (false, _) => Subscribed::Already,
            (true, 0) => Subscribed::First,
            (true, _) => Subscribed::Joined,
        };
        assert_eq!(self.fanout.subscribe(slot, TopicKey(topic.into()), after_seq), expected);
    }

    fn follow(
        &mut self,
        slot: u32,
        topic: u32,
        (behind, ahead): (i64, i64),
        view: u32,
        interval: u16,
    ) {
        let seq = *self.seqs.get(&topic).unwrap_or(&0);
        let sent_seq = seq.saturating_add_signed(-behind);
        let newest_seq = seq.saturating_add_signed(ahead);
        let others = self.naive.subscribers(topic);
        let known = (sent_seq, newest_seq);
        let is_new = self.naive.follow(slot, topic, known, view, u32::from(interval));
        let expected = match (is_new, others) {
            (false, _) => Subscribed::Already,
            (true, 0) => Subscribed::First,
            (true, _) => Subscribed::Joined,
        };
        let follow = Follow { sent_seq, newest_seq, view, renderer: 0, pace: pace(interval) };
        assert_eq!(self.fanout.follow(slot, TopicKey(topic.into()), follow), expected);
    }

    fn unsubscribe(&mut self, slot: u32, topic: u32) {
        let expected = match (self.naive.unsubscribe(slot, topic), self.naive.subscribers(topic)) {
            (false, _) => Unsubscribed::NotHeld,
            (true, 0) => Unsubscribed::Last,
            (true, _) => Unsubscribed::Left,
        };
        assert_eq!(self.fanout.unsubscribe(slot, TopicKey(topic.into())), expected);
    }

    fn remove(&mut self, slot: u32) {
        self.rests.remove(&slot);
        let mut last = Vec::new();
        self.fanout.remove(slot, |topic| last.push(u32::try_from(topic.0).expect("one of few")));
        last.sort_unstable();
        assert_eq!(last, Vec::from_iter(self.naive.remove(slot)));
    }

    fn publish(&mut self, topic: u32, length: usize, exclude: Option<u32>) {
        let seq = self.seqs.entry(topic).or_default();
        *seq += 1;
        self.published = self.published.wrapping_add(1);
        let frame = publication(self.published, length);
        let wanted = self.fanout.publish(TopicKey(topic.into()), *seq, &frame, exclude);
        assert_eq!(wanted, self.naive.subscribers(topic) > 0);
        self.naive.publish(topic, *seq, &frame, exclude);
    }

    fn drain(&mut self, slot: u32, part: Part) {
        if !self.fanout.is_lagging(slot) {
            return;
        }
        let mut out = vec![b'-'];
        let owed = self.fanout.owed(slot, &mut out, &mut render);
        let (distinct, mut more) = self.naive.owed(slot, self.limits.owed_chunk_bytes);
        assert_eq!((out[1..].len(), &out[1..=distinct.len()]), (owed.bytes, &distinct[..]));
        let values = self.check_owed_values(slot, &out[1..], distinct.len(), &mut more);
        assert_eq!(owed.more, more);
        let bytes = &out[1..];
        let rest = self.rests.entry(slot).or_default();
        let sent = part_of(part, rest.len() + bytes.len());
        if let Some(sent) = sent.checked_sub(rest.len()) {
            let settled = rest_of(self.fanout.settle_owed(slot, sent));
            let expected = self.naive.settle_owed(slot, sent, &values);
            check_rest(settled.as_deref(), expected.as_deref(), bytes, sent);
            *rest = settled.unwrap_or_default();
        } else {
            rest.drain(..sent);
        }
    }

    /// Checks the values that stand behind `distinct` bytes of publications; their topics. `more` says
    /// whether there are more publications, and then whether there are more values.
    fn check_owed_values(
        &self,
        slot: u32,
        bytes: &[u8],
        distinct: usize,
        more: &mut bool,
    ) -> Vec<u32> {
        let topics = topics_of(&bytes[distinct..]);
        if *more {
            assert!(topics.is_empty(), "publications come first");
            return topics;
        }
        let mut owed = self.naive.owed_values(slot);
        let given = topics.iter().map(|topic| owed.remove(topic).expect("each once, and owed"));
        assert_eq!(bytes[distinct..], given.flatten().collect::<Vec<u8>>());
        assert!(
            bytes.len() <= self.limits.owed_chunk_bytes
                || distinct == 0 && topics.len() == 1
                || topics.is_empty()
        );
        *more = !owed.is_empty();
        topics
    }

    fn turn(&mut self, batch: usize, parts: [Part; 4], late: Late) {
        self.fanout.seal();
        let due = self.naive.seal();
        assert_eq!(Vec::from_iter(self.fanout.due().iter().map(|due| due.slot)), slots(&due));
        self.late(late);
        self.send(batch, &due, parts);
        if let Late::Drain(slot, part) = late {
            self.drain(slot, part);
        }
        self.end_turn();
    }

    fn late(&mut self, late: Late) {
        match late {
            Late::Nothing | Late::Drain(..) => {}
            Late::Remove(slot) => self.remove(slot),
            Late::Unsubscribe(slot, topic) => self.unsubscribe(slot, topic),
            Late::Subscribe(slot, topic) => self.subscribe(slot, topic, 0),
        }
    }

    fn send(&mut self, batch: usize, due: &[(u32, Vec<u8>)], parts: [Part; 4]) {
        let mut from = 0;
        while from < due.len() {
            let end = self.fanout.compose(from, batch, &mut render);
            let mut lengths = Vec::new();
            assert!(from < end && end <= from + batch);
            for (&due, (slot, bytes)) in self.fanout.due()[from..end].iter().zip(&due[from..end]) {
                let gone = !self.naive.connections.contains_key(slot);
                let run = self.fanout.run(due.run);
                lengths.push(run.to_vec());
                if gone {
                    assert!(run.is_empty());
                } else {
                    let mut gifts = self.naive.gifts(*slot);
                    assert_eq!(&run[..bytes.len()], bytes);
                    let topics = topics_of(&run[bytes.len()..]);
                    let given = topics.iter().map(|topic| gifts.remove(topic).expect("due once"));
                    assert_eq!(run[bytes.len()..], given.flatten().collect::<Vec<u8>>());
                    assert!(gifts.is_empty(), "{slot} is due {gifts:?} too");
                    self.naive.give(*slot, &topics);
                }
                assert_eq!(self.fanout.due_index(*slot).map(|at| self.fanout.due()[at]), Some(due));
            }
            for ((index, (slot, _)), bytes) in (from..end).zip(&due[from..end]).zip(&lengths) {
                self.settle(index, *slot, bytes, parts[index % 4]);
            }
            from = end;
        }
    }

    fn settle(&mut self, index: usize, slot: u32, bytes: &[u8], part: Part) {
        let due = self.fanout.due()[index];
        let gone = !self.naive.connections.contains_key(&slot);
        let sent = if gone { 0 } else { part_of(part, bytes.len()) };
        let hold = part == 1;
        let expected = self.naive.settle(slot, if hold { 0 } else { sent }, hold);
        if hold {
            self.fanout.hold(due);
            assert!(expected.is_none_or(|rest| rest.is_empty()));
            return;
        }
        let settled = rest_of(self.fanout.settle(due, sent));
        check_rest(settled.as_deref(), expected.as_deref(), bytes, sent);
        self.rests.insert(slot, settled.unwrap_or_default());
    }

    fn end_turn(&mut self) {
        self.fanout.end_turn();
        let FanoutLimits { log_entries_max, log_bytes_max, .. } = self.limits;
        let expected = self.naive.end_turn(log_entries_max, log_bytes_max);
        let mut overruns = Vec::new();
        while let Some(Overrun { slot, skipped, from }) = self.fanout.next_overrun() {
            let topics = self.fanout.published_since(slot, from);
            let topics: BTreeSet<u32> =
                topics.map(|topic| u32::try_from(topic.0).expect("small")).collect();
            let held = &self.naive.connections[&slot];
            let loss = expected.iter().find(|loss| loss.slot == slot).expect("it lost something");
            assert!(loss.topics.is_subset(&topics), "{loss:?} {topics:?}");
            // It may have published the others itself, or known of them.
            assert!(topics.iter().all(|topic| held.held.contains_key(topic)));
            overruns.push((slot, skipped));
        }
        overruns.sort_unstable();
        let expected: Vec<_> = expected.iter().map(|loss| (loss.slot, loss.skipped)).collect();
        assert_eq!(overruns, expected);
        assert_eq!(self.fanout.delivered(), self.naive.delivered as u64);
        let kept = &self.naive.lengths[self.naive.delivered..];
        assert_eq!(self.fanout.log_size(), (kept.len(), kept.iter().sum()));
        assert!(self.fanout.due().is_empty());
        for &slot in self.naive.connections.keys() {
            assert_eq!(self.naive.forgotten(slot), [], "values of {slot} that nobody looks at");
        }
    }

    fn compare(&self, slots: u32, topics: u32) {
        assert_eq!(self.fanout.head(), self.naive.lengths.len() as u64);
        let now = self.naive.now;
        let look = self.naive.looks.values().flatten().min();
        let next = self.fanout.next_due();
        assert_eq!(next.map(|at| at.max(now)), look.map(|at| *at.max(&now)));
        let mut lagging = Vec::from_iter(self.fanout.lagging());
        lagging.sort_unstable();
        let expected = self.naive.connections.iter().filter(|(_, each)| each.lagging);
        assert_eq!(lagging, Vec::from_iter(expected.map(|(&slot, _)| slot)));
        for slot in 0..slots {
            assert_eq!(self.fanout.is_lagging(slot), lagging.contains(&slot));
            assert_eq!(self.fanout.lag_of(slot), self.naive.lag_of(slot), "lag of {slot}");
            let mut topics = Vec::from_iter(self.fanout.subscriptions(slot).map(|topic| topic.0));
            topics.sort_unstable();
            let naive = self.naive.connections.get(&slot);
            let held = naive.into_iter().flat_map(|each| each.held.keys());
            let followed = naive.into_iter().flat_map(|each| each.followed.keys());
            let mut expected = Vec::from_iter(held.chain(followed).copied().map(u64::from));
            expected.sort_unstable();
            assert_eq!(topics, expected);
            for &topic in &topics {
                let follows = naive
                    .is_some_and(|each| each.followed.keys().any(|it| u64::from(*it) == topic));
                assert_eq!(self.fanout.follows(slot, TopicKey(topic)), follows);
            }
            assert!(topics.iter().all(|&topic| self.fanout.is_subscribed(slot, TopicKey(topic))));
        }
        for topic in 0..topics {
            assert_eq!(
                self.fanout.subscribers(TopicKey(topic.into())),
                self.naive.subscribers(topic)
            );
        }
    }
}

/// Publications are bytes of any kind but those that mark a value.
fn publication(number: u8, length: usize) -> Vec<u8> {
    vec![number % 26 + b'a'; length]
}

fn render(value: Value, out: &mut Vec<u8>) {
    let topic = u32::try_from(value.topic.0).expect("one of few");
    out.extend(rendered(topic, value.view, value.prev, value.seq));
}

fn pace(interval: u16) -> Pace {
    if interval == 0 { Pace::EVERY_TURN } else { Pace::every(interval) }
}

/// The oracle knows how much of a value is missing, and of a publication what.
fn check_rest(rest: Option<&[u8]>, expected: Option<&[u8]>, bytes: &[u8], sent: usize) {
    assert_eq!(rest.map(<[u8]>::len), expected.map(<[u8]>::len));
    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
        assert_eq!(rest, &bytes[sent..sent + rest.len()]);
    }
}

fn slots(due: &[(u32, Vec<u8>)]) -> Vec<u32> {
    due.iter().map(|(slot, _)| *slot).collect()
}

fn part_of(part: Part, whole: usize) -> usize {
    whole * usize::from(part) / 255
}

fn rest_of(settled: Settled<'_>) -> Option<Vec<u8>> {
    match settled {
        Settled::CaughtUp => None,
        Settled::Lagging { rest } => Some(rest.to_vec()),
    }
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![4 => Just(255), 2 => any::<u8>(), 1 => Just(0), 1 => Just(1)]
}

fn step(slots: u32, topics: u32) -> impl Strategy<Value = Step> {
    let late = prop_oneof![
        6 => Just(Late::Nothing),
        1 => (0..slots).prop_map(Late::Remove),
        1 => (0..slots, 0..topics).prop_map(|(slot, topic)| Late::Unsubscribe(slot, topic)),
        1 => (0..slots, 0..topics).prop_map(|(slot, topic)| Late::Subscribe(slot, topic)),
        2 => (0..slots, part()).prop_map(|(slot, part)| Late::Drain(slot, part)),
    ];
    let ahead = prop_oneof![5 => Just(0), 1 => -4..4_i64];
    let exclude = prop_oneof![4 => Just(None), 1 => (0..slots + 2).prop_map(Some)];
    let interval = || prop_oneof![3 => Just(0), 1 => 1..5_u16, 1 => 1..65_u16];
    let behind = prop_oneof![4 => Just(0), 1 => -3..4_i64];
    let known = prop_oneof![4 => Just(0), 1 => -3..4_i64];
    let ticks = prop_oneof![4 => 1..8_u32, 1 => 0..200_u32];
    let length = prop_oneof![8 => 1..20_usize, 1 => 20..90_usize];
    prop_oneof![
        6 => (0..slots, 0..topics, ahead)
            .prop_map(|(slot, topic, ahead)| Step::Subscribe { slot, topic, ahead }),
        6 => (0..slots, 0..topics, behind, known, 0..2_u32, interval()).prop_map(
            |(slot, topic, behind, ahead, view, interval)| {
                Step::Follow { slot, topic, behind, ahead, view, interval }
            }
        ),
        1 => (0..slots, 0..topics, interval())
            .prop_map(|(slot, topic, interval)| Step::SetPace { slot, topic, interval }),
        3 => ticks.prop_map(|ticks| Step::Tick { ticks }),
        2 => (0..slots, 0..topics).prop_map(|(slot, topic)| Step::Unsubscribe { slot, topic }),
        1 => (0..slots).prop_map(|slot| Step::Remove { slot }),
        12 => (0..topics, length, exclude)
            .prop_map(|(topic, length, exclude)| Step::Publish { topic, length, exclude }),
        3 => (0..slots, part()).prop_map(|(slot, part)| Step::Drain { slot, part }),
        4 => (1..9_usize, [part(), part(), part(), part()], late)
            .prop_map(|(batch, parts, late)| Step::Turn { batch, parts, late }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_byte_is_what_the_naive_model_says(
        steps in prop::collection::vec(step(6, 4), 1..160),
        log_entries_max in 1..40_usize,
        log_bytes_max in 1..600_usize,
        owed_chunk_bytes in 1..100_usize,
    ) {
        let limits = FanoutLimits { log_entries_max, log_bytes_max, owed_chunk_bytes };
        let mut pair = Pair::new(limits);
        for step in steps {
            pair.take(step);
            pair.compare(8, 4);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(40) })]

    /// Enough of everything for sets to repeat, groups of slots to stay empty, and turns to have more
    /// than 64 entries.
    #[test]
    fn wide_turns_are_what_the_naive_model_says(
        held in prop::collection::vec((0..400_u32, 0..40_u32), 0..3000),
        alike in prop::collection::vec((0..400_u32, 0..5_u32), 0..300),
        turns in prop::collection::vec(
            (prop::collection::vec(step(400, 40), 1..300), [part(), part(), part(), part()]),
            1..8,
        ),
    ) {
        let limits = FanoutLimits { log_entries_max: 400, ..FanoutLimits::default() };
        let mut pair = Pair::new(limits);
        for (slot, topic) in held {
            pair.subscribe(slot, topic, 0);
        }
        for (slot, group) in alike {
            (0..20).for_each(|topic| pair.subscribe(slot, (group * 7 + topic) % 40, 0));
        }
        for (steps, parts) in turns {
            for step in steps.into_iter().filter(|step| !matches!(step, Step::Turn { .. })) {
                pair.take(step);
            }
            pair.turn(100, parts, Late::Nothing);
            pair.compare(400, 40);
        }
    }
}
