//! The most naive fan-out that can work: every connection has a queue of copies of what it is owed.
//!
//! The oracle of `model.rs`. A publication is copied to each subscriber at once; a send takes bytes
//! off the front; unsubscribing throws the topic's copies away. No log, no cursor, nothing shared.
//! The log's bounds are computed from the lengths of everything ever published.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug)]
pub(crate) struct Copied {
    pub(crate) position: usize,
    topic: u32,
    frame: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    /// Topics held, each with the sequence number up to which nothing is owed.
    pub(crate) held: BTreeMap<u32, u64>,
    pub(crate) owed: VecDeque<Copied>,
    pub(crate) lagging: bool,
    /// What the turn gives it, fixed when the turn is sealed.
    pub(crate) run: Option<Vec<Copied>>,
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    pub(crate) connections: BTreeMap<u32, Connection>,
    /// Lengths of all publications that somebody held the topic of.
    pub(crate) lengths: Vec<usize>,
    /// Publications that belong to sealed turns.
    pub(crate) sealed: usize,
    pub(crate) delivered: usize,
}

/// What is left of a cut frame, and whether the connection lags.
pub(crate) type Settled = Option<Vec<u8>>;

impl Naive {
    pub(crate) fn subscribe(&mut self, slot: u32, topic: u32, after_seq: u64) -> bool {
        let held = &mut self.connections.entry(slot).or_default().held;
        let new = !held.contains_key(&topic);
        held.entry(topic).or_insert(after_seq);
        new
    }

    pub(crate) fn unsubscribe(&mut self, slot: u32, topic: u32) -> bool {
        let connection = self.connections.entry(slot).or_default();
        connection.owed.retain(|copied| copied.topic != topic);
        connection.held.remove(&topic).is_some()
    }

    /// The topics that nobody holds now but somebody did before.
    pub(crate) fn remove(&mut self, slot: u32) -> BTreeSet<u32> {
        let Some(gone) = self.connections.remove(&slot) else { return BTreeSet::new() };
        gone.held.into_keys().filter(|&topic| self.subscribers(topic) == 0).collect()
    }

    pub(crate) fn publish(&mut self, topic: u32, seq: u64, frame: &[u8], exclude: Option<u32>) {
        if self.subscribers(topic) == 0 {
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

    /// Who is due, with all its bytes.
    pub(crate) fn seal(&mut self) -> Vec<(u32, Vec<u8>)> {
        self.sealed = self.lengths.len();
        let mut due = Vec::new();
        for (&slot, connection) in &mut self.connections {
            if !connection.lagging && !connection.owed.is_empty() {
                let run: Vec<Copied> = connection.owed.iter().cloned().collect();
                due.push((slot, run.iter().flat_map(|copied| copied.frame.clone()).collect()));
                connection.run = Some(run);
            }
        }
        due
    }

    /// The socket took `sent` bytes of what was due.
    pub(crate) fn settle(&mut self, slot: u32, sent: usize, hold: bool) -> Settled {
        let connection = self.connections.get_mut(&slot)?;
        let run = connection.run.take()?;
        let (begun, rest) = take(&run, sent);
        connection.lagging = begun < run.len() || !rest.is_empty() || hold;
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

    pub(crate) fn settle_owed(&mut self, slot: u32, sent: usize) -> Settled {
        let frames: Vec<Copied> = self.sealed_owed(slot).cloned().collect();
        let connection = self.connections.get_mut(&slot)?;
        let (begun, rest) = take(&frames, sent);
        connection.owed.drain(..begun);
        connection.lagging &= begun < frames.len() || !rest.is_empty();
        connection.lagging.then_some(rest)
    }

    /// Who is overrun, and by how many publications.
    pub(crate) fn end_turn(&mut self, entries_max: usize, bytes_max: usize) -> Vec<(u32, u64)> {
        let head = self.lengths.len();
        let fits = |base: &usize| {
            head - base <= entries_max && self.lengths[*base..].iter().sum::<usize>() <= bytes_max
        };
        let base = (0..=head).find(fits).expect("an empty log fits");
        let mut overruns = Vec::new();
        self.delivered = head;
        for (&slot, connection) in &mut self.connections {
            connection.run = None;
            let Some(first) = connection.owed.front().map(|copied| copied.position) else {
                continue;
            };
            assert!(connection.lagging, "the test settles everybody");
            if first < base {
                connection.owed.clear();
                overruns.push((slot, (head - first) as u64));
            } else {
                self.delivered = self.delivered.min(first);
            }
        }
        overruns
    }

    pub(crate) fn subscribers(&self, topic: u32) -> usize {
        self.connections.values().filter(|connection| connection.held.contains_key(&topic)).count()
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
