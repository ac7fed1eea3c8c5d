//! The most naive fan-out that can work: every connection has a queue of copies of what it is owed.
//!
//! The oracle of `model.rs`. A publication is copied to each subscriber at once; a send takes bytes
//! off the front; unsubscribing throws the topic's copies away. No log, no cursor, nothing shared.
//! The log's bounds are computed from the lengths of everything ever published. Who follows the newest
//! value has a record of what it was sent last; who is to be looked at when is a set of ticks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug)]
pub(crate) struct Copied {
    pub(crate) position: usize,
    topic: u32,
    frame: Vec<u8>,
}

/// What a connection has lost.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) slot: u32,
    pub(crate) skipped: u64,
    pub(crate) topics: BTreeSet<u32>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    /// Topics held, each with the sequence number up to which nothing is owed.
    pub(crate) held: BTreeMap<u32, u64>,
    pub(crate) owed: VecDeque<Copied>,
    pub(crate) lagging: bool,
    /// What the turn gives it, fixed when the turn is sealed.
    pub(crate) run: Option<Vec<Copied>>,
    pub(crate) followed: BTreeMap<u32, Followed>,
    /// Topics whose values the turn gives it, fixed when the turn is sealed.
    pub(crate) due_values: BTreeSet<u32>,
    /// Those that were put into its run.
    gifts: Vec<Gift>,
}

/// A topic that is held by value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed {
    pub(crate) view: u32,
    pub(crate) sent_seq: u64,
    /// None before the first.
    sent_at: Option<u32>,
    pub(crate) interval: u32,
}

/// A value that was given, and how it was before.
#[derive(Clone, Debug)]
struct Gift {
    topic: u32,
    before: Followed,
    length: usize,
}

/// A value as a message, which tells all that it was made of.
pub(crate) fn rendered(topic: u32, view: u32, prev: u64, seq: u64) -> Vec<u8> {
    let mut frame = format!("<{topic} {view} {prev}:{seq}").into_bytes();
    frame.extend((0..seq * 7 % 30).map(|_| b'.'));
    frame.push(b'>');
    frame
}

/// The topics of the values in some bytes.
pub(crate) fn topics_of(bytes: &[u8]) -> Vec<u32> {
    let text = std::str::from_utf8(bytes).expect("values are text");
    let starts = text.split('<').skip(1);
    starts.map(|it| it.split(' ').next().and_then(|it| it.parse().ok()).expect("a topic")).collect()
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    pub(crate) connections: BTreeMap<u32, Connection>,
    /// Lengths of all publications that somebody held the topic of.
    pub(crate) lengths: Vec<usize>,
    /// Publications that belong to sealed turns.
    pub(crate) sealed: usize,
    pub(crate) delivered: usize,
    pub(crate) now: u32,
    /// By topic, of those that somebody holds by value.
    newest: BTreeMap<u32, u64>,
    changed: BTreeSet<u32>,
    is_sealed: bool,
    /// When a slot is to be looked at, whosever it is then.
    pub(crate) looks: BTreeMap<u32, BTreeSet<u32>>,
}

/// What is left of a cut frame, and whether the connection lags.
pub(crate) type Settled = Option<Vec<u8>>;

impl Naive {
    pub(crate) fn subscribe(&mut self, slot: u32, topic: u32, after_seq: u64) -> bool {
        let connection = self.connections.entry(slot).or_default();
        let new = !connection.holds(topic);
        if new {
            connection.held.insert(topic, after_seq);
        }
        new
    }

    pub(crate) fn follow(
        &mut self,
        slot: u32,
        topic: u32,
        (sent_seq, newest_seq): (u64, u64),
        view: u32,
        interval: u32,
    ) -> bool {
        let connection = self.connections.entry(slot).or_default();
        if connection.holds(topic) {
            return false;
        }
        let followed = Followed { view, sent_seq, sent_at: None, interval };
        connection.followed.insert(topic, followed);
        let newest = self.newest.entry(topic).or_default();
        let is_news = newest_seq > *newest;
        *newest = newest_seq.max(*newest);
        let newest = *newest;
        let followed = self.connections.iter().filter_map(|(&it, connection)| {
            let followed = connection.followed.get(&topic)?;
            (followed.sent_seq < newest && (is_news || it == slot)).then_some(it)
        });
        let owed: Vec<u32> = followed.collect();
        owed.into_iter().for_each(|slot| self.look(slot, self.now));
        true
    }

    pub(crate) fn set_interval(&mut self, slot: u32, topic: u32, interval: u32) -> bool {
        let connection = self.connections.get_mut(&slot);
        let followed = connection.and_then(|connection| connection.followed.get_mut(&topic));
        let Some(followed) = followed else { return false };
        followed.interval = interval;
        self.look(slot, self.now);
        true
    }

    pub(crate) fn unsubscribe(&mut self, slot: u32, topic: u32) -> bool {
        let connection = self.connections.entry(slot).or_default();
        connection.owed.retain(|copied| copied.topic != topic);
        let held = connection.held.remove(&topic).is_some();
        let followed = connection.followed.remove(&topic).is_some();
        self.forget_newest();
        held || followed
    }

    /// The topics that nobody holds now but somebody did before.
    pub(crate) fn remove(&mut self, slot: u32) -> BTreeSet<u32> {
        let Some(gone) = self.connections.remove(&slot) else { return BTreeSet::new() };
        self.forget_newest();
        let topics = gone.held.into_keys().chain(gone.followed.into_keys());
        topics.filter(|&topic| self.subscribers(topic) == 0).collect()
    }

    pub(crate) fn publish(&mut self, topic: u32, seq: u64, frame: &[u8], exclude: Option<u32>) {
        if let Some(newest) = self.newest.get_mut(&topic) {
            *newest = seq.max(*newest);
            self.changed.insert(topic);
            let own = exclude.and_then(|slot| self.connections.get_mut(&slot));
            if let Some(own) = own.and_then(|own| own.followed.get_mut(&topic)) {
                own.sent_seq = own.sent_seq.max(seq);
            }
        }
        if !self.connections.values().any(|connection| connection.held.contains_key(&topic)) {
            return;
        }
        let position = self.lengths.len();
        self.lengths.push(frame.len());
        for (&slot, connection) in &mut self.connections {
            let newer = connection.held.get(&topic).is_some_and(|&after_seq| seq > after_seq);
            if newer && exclude != Some(slot) {
                connection.owed.push_back(Copied { position, topic, frame: frame.to_vec() });
            }
        }
    }

    /// Who is due, with its publications.
    pub(crate) fn seal(&mut self) -> Vec<(u32, Vec<u8>)> {
        self.sealed = self.lengths.len();
        self.is_sealed = true;
        let has_values = self.seal_values();
        let mut due = Vec::new();
        for (&slot, connection) in &mut self.connections {
            let has_values = has_values.contains(&slot);
            if !connection.lagging && (!connection.owed.is_empty() || has_values) {
                let run: Vec<Copied> = connection.owed.iter().cloned().collect();
                due.push((slot, run.iter().flat_map(|copied| copied.frame.clone()).collect()));
                connection.run = Some(run);
            }
        }
        due
    }

    /// The values that are put into a run that is due now, by topic.
    pub(crate) fn gifts(&self, slot: u32) -> BTreeMap<u32, Vec<u8>> {
        let Some(connection) = self.connections.get(&slot) else { return BTreeMap::new() };
        let due = connection.due_values.iter();
        due.filter_map(|&topic| Some((topic, self.render(connection, topic)?))).collect()
    }

    /// They are put in in this order.
    pub(crate) fn give(&mut self, slot: u32, topics: &[u32]) {
        let gifts: Vec<Gift> = topics.iter().map(|&topic| self.gift(slot, topic)).collect();
        self.connections.get_mut(&slot).expect("it is due").gifts = gifts;
    }

    /// The socket took `sent` bytes of what was due.
    pub(crate) fn settle(&mut self, slot: u32, sent: usize, hold: bool) -> Settled {
        let connection = self.connections.get_mut(&slot)?;
        let run = connection.run.take()?;
        let distinct = run.iter().map(|copied| copied.frame.len()).sum();
        let (begun, mut rest) = take(&run, sent.min(distinct));
        let (mut at, mut is_short) = (distinct, sent < distinct);
        for gift in std::mem::take(&mut connection.gifts) {
            let end = at + gift.length;
            if at >= sent {
                connection.followed.insert(gift.topic, gift.before);
            } else if sent < end {
                rest = vec![b'.'; end - sent];
            }
            is_short |= sent < end;
            at = end;
        }
        connection.lagging = is_short || hold;
        let begun: BTreeSet<usize> = run[..begun].iter().map(|copied| copied.position).collect();
        connection.owed.retain(|copied| !begun.contains(&copied.position));
        connection.lagging.then_some(rest)
    }

    /// The next portion for a connection that lags: its frames, and whether there is more.
    pub(crate) fn owed(&self, slot: u32, chunk_bytes: usize) -> (Vec<u8>, bool) {
        let mut chunk = Vec::new();
        for copied in self.sealed_owed(slot) {
            if !chunk.is_empty() && chunk.len() + copied.frame.len() > chunk_bytes {
                return (chunk, true);
            }
            chunk.extend_from_slice(&copied.frame);
        }
        (chunk, false)
    }

    /// The values that a connection that lags is owed now, by topic.
    pub(crate) fn owed_values(&self, slot: u32) -> BTreeMap<u32, Vec<u8>> {
        let Some(connection) = self.connections.get(&slot) else { return BTreeMap::new() };
        let sealed = |topic: &u32| self.is_sealed || !self.changed.contains(topic);
        let allowed = |topic: &u32| connection.followed[topic].allows(slot, self.now);
        let topics = connection.followed.keys().copied();
        let topics = topics.filter(|topic| sealed(topic) && allowed(topic));
        topics.filter_map(|topic| Some((topic, self.render(connection, topic)?))).collect()
    }

    /// `values` are the topics of the values behind the publications.
    pub(crate) fn settle_owed(&mut self, slot: u32, sent: usize, values: &[u32]) -> Settled {
        let frames: Vec<Copied> = self.sealed_owed(slot).cloned().collect();
        let distinct = frames.iter().map(|copied| copied.frame.len()).sum();
        let connection = self.connections.get_mut(&slot)?;
        let (begun, mut rest) = take(&frames, sent.min(distinct));
        connection.owed.drain(..begun);
        let mut waits = begun < frames.len() || !rest.is_empty();
        let mut at = distinct;
        for &topic in values {
            if at >= sent {
                waits = true;
                break;
            }
            at += self.gift(slot, topic).length;
            if sent < at {
                waits = true;
                rest = vec![b'.'; at - sent];
            }
        }
        if !waits {
            waits = !self.owed_values(slot).is_empty();
            self.look_at_slow(slot);
        }
        self.connections.get_mut(&slot)?.lagging &= waits;
        waits.then_some(rest)
    }

    /// Who is overrun, by how many publications, and of which topics.
    pub(crate) fn end_turn(&mut self, entries_max: usize, bytes_max: usize) -> Vec<Loss> {
        let head = self.lengths.len();
        let fits = |base: &usize| {
            head - base <= entries_max && self.lengths[*base..].iter().sum::<usize>() <= bytes_max
        };
        let base = (0..=head).find(fits).expect("an empty log fits");
        let mut overruns = Vec::new();
        self.delivered = head;
        self.is_sealed = false;
        self.changed.clear();
        for (&slot, connection) in &mut self.connections {
            connection.run = None;
            connection.due_values.clear();
            let Some(first) = connection.owed.front().map(|copied| copied.position) else {
                continue;
            };
            assert!(connection.lagging, "the test settles everybody");
            if first < base {
                let topics = connection.owed.drain(..).map(|copied| copied.topic).collect();
                overruns.push(Loss { slot, skipped: (head - first) as u64, topics });
            } else {
                self.delivered = self.delivered.min(first);
            }
        }
        overruns
    }

    pub(crate) fn subscribers(&self, topic: u32) -> usize {
        self.connections.values().filter(|connection| connection.holds(topic)).count()
    }

    /// Values that a connection that keeps up is owed and will be looked at for by nobody.
    pub(crate) fn forgotten(&self, slot: u32) -> Vec<u32> {
        let Some(connection) = self.connections.get(&slot).filter(|it| !it.lagging) else {
            return Vec::new();
        };
        let owed = connection.followed.iter().filter(|(topic, followed)| {
            let by = self.now + 2 * followed.interval;
            let look = self.looks.get(&slot).and_then(BTreeSet::first);
            let is_looked_at = look.is_some_and(|look| *look <= by);
            followed.sent_seq < self.newest[topic] && !is_looked_at && !self.changed.contains(topic)
        });
        owed.map(|(&topic, _)| topic).collect()
    }

    fn seal_values(&mut self) -> BTreeSet<u32> {
        let mut has_values = BTreeSet::new();
        let now = self.now;
        let slots: Vec<u32> = self.connections.keys().copied().collect();
        for slot in slots {
            let looks = self.looks.entry(slot).or_default();
            let is_looked_at = looks.first().is_some_and(|look| *look <= now);
            looks.retain(|look| *look > now);
            let connection = &self.connections[&slot];
            if connection.lagging {
                continue;
            }
            let topics = connection.followed.keys().copied();
            let topics: Vec<u32> = topics
                .filter(|topic| is_looked_at || self.changed.contains(topic))
                .filter(|topic| connection.followed[topic].sent_seq < self.newest[topic])
                .collect();
            let (due, slow): (BTreeSet<u32>, BTreeSet<u32>) =
                topics.into_iter().partition(|topic| connection.followed[topic].allows(slot, now));
            for topic in slow {
                let at = self.connections[&slot].followed[&topic].beat(slot);
                self.look(slot, at);
            }
            if !due.is_empty() {
                has_values.insert(slot);
            }
            self.connections.get_mut(&slot).expect("it is there").due_values = due;
        }
        // Slots without a connection are looked at too.
        self.looks.values_mut().for_each(|looks| looks.retain(|look| *look > now));
        has_values
    }

    /// Whatever a connection is owed and may not be given yet is looked at in time.
    fn look_at_slow(&mut self, slot: u32) {
        let connection = &self.connections[&slot];
        let slow = connection.followed.iter().filter(|(topic, followed)| {
            let sealed = self.is_sealed || !self.changed.contains(topic);
            sealed && followed.sent_seq < self.newest[topic] && !followed.allows(slot, self.now)
        });
        let beats: Vec<u32> = slow.map(|(_, followed)| followed.beat(slot)).collect();
        beats.into_iter().for_each(|beat| self.look(slot, beat));
    }

    fn look(&mut self, slot: u32, tick: u32) {
        self.looks.entry(slot).or_default().insert(tick);
    }

    fn gift(&mut self, slot: u32, topic: u32) -> Gift {
        let length = self.render(&self.connections[&slot], topic).expect("it is owed").len();
        let connection = self.connections.get_mut(&slot).expect("it is there");
        let followed = connection.followed.get_mut(&topic).expect("it follows");
        let before = *followed;
        let waited = before.sent_at.map_or(u32::MAX, |sent_at| self.now - sent_at);
        assert!(waited >= before.interval, "more often than was asked for");
        followed.sent_seq = self.newest[&topic];
        followed.sent_at = Some(self.now);
        Gift { topic, before, length }
    }

    fn render(&self, connection: &Connection, topic: u32) -> Option<Vec<u8>> {
        let followed = connection.followed.get(&topic)?;
        let (prev, seq) = (followed.sent_seq, self.newest[&topic]);
        (prev < seq).then(|| rendered(topic, followed.view, prev, seq))
    }

    fn forget_newest(&mut self) {
        let connections = &self.connections;
        let is_followed = |topic: &u32| {
            connections.values().any(|connection| connection.followed.contains_key(topic))
        };
        self.newest.retain(|topic, _| is_followed(topic));
    }

    pub(crate) fn lag_of(&self, slot: u32) -> u64 {
        let lagging = self.connections.get(&slot).is_some_and(|connection| connection.lagging);
        let first = self.sealed_owed(slot).next().filter(|_| lagging);
        first.map_or(0, |copied| (self.lengths.len() - copied.position) as u64)
    }

    fn sealed_owed(&self, slot: u32) -> impl Iterator<Item = &Copied> {
        let owed = self.connections.get(&slot).map(|connection| &connection.owed);
        owed.into_iter().flatten().filter(|copied| copied.position < self.sealed)
    }
}

impl Connection {
    fn holds(&self, topic: u32) -> bool {
        self.held.contains_key(&topic) || self.followed.contains_key(&topic)
    }
}

impl Followed {
    fn allows(&self, slot: u32, now: u32) -> bool {
        self.interval == 0 || self.sent_at.is_none() || now >= self.beat(slot)
    }

    /// The first tick of the slot's own beat in which the next value may leave.
    fn beat(&self, slot: u32) -> u32 {
        let earliest = self.sent_at.expect("it was sent something") + self.interval;
        (earliest..).find(|tick| tick % self.interval == slot % self.interval).expect("a beat")
    }
}

/// How many frames a send of so many bytes begins, and what is missing of the last one.
fn take(frames: &[Copied], sent: usize) -> (usize, Vec<u8>) {
    let mut left = sent;
    for (index, copied) in frames.iter().enumerate() {
        if left == 0 {
            return (index, Vec::new());
        }
        if left < copied.frame.len() {
            return (index + 1, copied.frame[left..].to_vec());
        }
        left -= copied.frame.len();
    }
    (frames.len(), Vec::new())
}
