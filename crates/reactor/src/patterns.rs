//! Who on a shard has which pattern, and which topics are held for one alone.
//!
//! Beside the way of a byte: a pattern is resolved to topics when a connection subscribes to it and when
//! a topic is made, never when something is published. What is resolved is an ordinary subscription in
//! the fan-out; here stands only why it is there, so that it goes with its last reason.
//!
//! Invariant: a connection without a pattern has no entry, and costs nothing. A connection holds a topic
//! for patterns alone exactly if that is in its `only`; then the name begins with one of its prefixes.

use std::collections::{HashMap, HashSet};
use std::fmt;

use tickwire_fanout::{Slot, TopicKey, TopicMap};

use crate::delivery::Mode;
use crate::limits::Limits;

/// The patterns of a shard's connections.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    /// Who has a pattern, by what its names begin with.
    holders: HashMap<Box<str>, Vec<Slot>>,
    connections: HashMap<Slot, Watch>,
    /// How many connections have a topic for patterns alone.
    only: TopicMap<usize>,
}

/// The patterns of one connection.
#[derive(Debug, Default)]
struct Watch {
    prefixes: Vec<Watched>,
    /// Topics that it holds, and not by their names.
    only: HashSet<TopicKey>,
}

#[derive(Debug)]
struct Watched {
    prefix: Box<str>,
    /// How many topics it takes in.
    topics: usize,
    mode: Mode,
}

/// Why a connection is not subscribed to a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// It is none: it has no `*`, one that is not at its end, or is longer than
    /// [`Limits::PATTERN_BYTES_MAX`].
    NotAPattern,
    /// The connection has as many already as [`Limits::patterns_per_connection_max`] allows.
    TooManyPatterns {
        /// The limit.
        max: usize,
    },
    /// It takes in more topics than [`Limits::pattern_topics_max`] allows.
    TooManyTopics {
        /// The limit.
        max: usize,
    },
    /// This connection cannot be subscribed to anything: it is over, or we opened it ourselves.
    NoSubscriber,
}

impl fmt::Display for PatternError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPattern => write!(
                formatter,
                "a pattern ends with its only *, and is at most {} bytes long",
                Limits::PATTERN_BYTES_MAX
            ),
            Self::TooManyPatterns { max } => write!(
                formatter,
                "a connection has at most {max} patterns; unsubscribe one or raise the limit"
            ),
            Self::TooManyTopics { max } => write!(
                formatter,
                "a pattern takes in at most {max} topics; choose a longer one or raise the limit"
            ),
            Self::NoSubscriber => formatter.write_str("this connection cannot be subscribed"),
        }
    }
}

impl std::error::Error for PatternError {}

/// What the names that a pattern takes in begin with.
pub(crate) fn prefix(pattern: &str) -> Result<&str, PatternError> {
    let prefix = pattern.strip_suffix('*').filter(|prefix| !prefix.contains('*'));
    prefix.filter(|_| pattern.len() <= Limits::PATTERN_BYTES_MAX).ok_or(PatternError::NotAPattern)
}

/// Everything that a name begins with, from nothing to all of it.
pub(crate) fn prefixes(name: &str) -> impl Iterator<Item = &str> {
    (0..=name.len()).filter_map(|end| name.get(..end))
}

impl Patterns {
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether a connection has a pattern.
    pub(crate) fn has(&self, slot: Slot, prefix: &str) -> bool {
        self.holders.get(prefix).is_some_and(|slots| slots.contains(&slot))
    }

    /// How many patterns a connection has.
    pub(crate) fn count(&self, slot: Slot) -> usize {
        self.connections.get(&slot).map_or(0, |watch| watch.prefixes.len())
    }

    /// Gives a connection a pattern that takes in so many topics now.
    pub(crate) fn insert(&mut self, slot: Slot, prefix: &str, topics: usize, mode: Mode) {
        self.holders.entry(prefix.into()).or_default().push(slot);
        let watch = self.connections.entry(slot).or_default();
        watch.prefixes.push(Watched { prefix: prefix.into(), topics, mode });
    }

    /// How a connection gets a topic of this name for its patterns; none if it has none for it.
    pub(crate) fn mode(&self, slot: Slot, name: &str) -> Option<Mode> {
        let mut prefixes = self.connections.get(&slot)?.prefixes.iter();
        prefixes.find(|it| name.starts_with(&*it.prefix)).map(|it| it.mode)
    }

    /// A connection that has the topic, or gets it, from now on has it for its patterns alone.
    pub(crate) fn hold(&mut self, slot: Slot, topic: TopicKey) {
        if self.connections.entry(slot).or_default().only.insert(topic) {
            *self.only.entry(topic).or_default() += 1;
        }
    }

    /// Whether a connection has a topic for its patterns alone.
    pub(crate) fn is_only(&self, slot: Slot, topic: TopicKey) -> bool {
        self.connections.get(&slot).is_some_and(|watch| watch.only.contains(&topic))
    }

    /// A connection does not have the topic for its patterns alone any more: it has it by its name now,
    /// or not at all.
    pub(crate) fn release(&mut self, slot: Slot, topic: TopicKey) {
        let held = self.connections.get_mut(&slot);
        if held.is_some_and(|watch| watch.only.remove(&topic)) {
            self.release_one(topic);
        }
    }

    /// How many connections have a topic for patterns alone.
    pub(crate) fn only(&self, topic: TopicKey) -> usize {
        self.only.get(&topic).copied().unwrap_or(0)
    }

    /// Whether one of a connection's patterns takes in a name.
    pub(crate) fn covers(&self, slot: Slot, name: &str) -> bool {
        self.mode(slot, name).is_some()
    }

    /// A topic was made. Calls `each` with the connections that have a pattern for it, perhaps several
    /// times, and whether that pattern takes in more than `most` now.
    pub(crate) fn made(&mut self, name: &str, most: usize, mut each: impl FnMut(Slot, bool)) {
        for slot in prefixes(name).filter_map(|prefix| self.holders.get(prefix)).flatten() {
            let is_full = |it: &Watched| name.starts_with(&*it.prefix) && it.topics >= most;
            let watch = self.connections.get(slot);
            each(*slot, watch.is_some_and(|watch| watch.prefixes.iter().any(is_full)));
        }
        self.count_topic(name, 1);
    }

    /// A topic is gone that the connections `slots` had for patterns alone.
    pub(crate) fn gone(&mut self, name: &str, topic: TopicKey, slots: &[Slot]) {
        for slot in slots {
            self.release(*slot, topic);
        }
        self.count_topic(name, -1);
    }

    /// Takes a pattern from a connection that has it. Gives the topics that it has for patterns alone,
    /// and whether nobody has this pattern any more.
    pub(crate) fn remove(&mut self, slot: Slot, prefix: &str) -> (Vec<TopicKey>, bool) {
        let is_last = self.remove_holder(slot, prefix);
        let Some(watch) = self.connections.get_mut(&slot) else { return (Vec::new(), is_last) };
        watch.prefixes.retain(|watched| *watched.prefix != *prefix);
        // In an order that is the same in every run: a simulation is to give the same bytes.
        let mut only: Vec<TopicKey> = watch.only.iter().copied().collect();
        only.sort_unstable();
        (only, is_last)
    }

    /// Forgets a connection that has no pattern any more.
    pub(crate) fn tidy(&mut self, slot: Slot) {
        if self.count(slot) == 0 {
            self.connections.remove(&slot);
        }
    }

    /// Forgets a connection that is gone, and calls `last` with each pattern that nobody has any more.
    pub(crate) fn forget(&mut self, slot: Slot, mut last: impl FnMut(&str)) {
        let Some(watch) = self.connections.remove(&slot) else { return };
        for Watched { prefix, .. } in &watch.prefixes {
            if self.remove_holder(slot, prefix) {
                last(prefix);
            }
        }
        for topic in watch.only {
            self.release_one(topic);
        }
    }

    fn remove_holder(&mut self, slot: Slot, prefix: &str) -> bool {
        let Some(slots) = self.holders.get_mut(prefix) else { return false };
        slots.retain(|it| *it != slot);
        let is_last = slots.is_empty();
        if is_last {
            self.holders.remove(prefix);
        }
        is_last
    }

    fn release_one(&mut self, topic: TopicKey) {
        if let Some(count) = self.only.get_mut(&topic) {
            *count -= 1;
            if *count == 0 {
                self.only.remove(&topic);
            }
        }
    }

    /// Every pattern that takes in a name takes in one topic more, or less.
    fn count_topic(&mut self, name: &str, change: isize) {
        let Self { holders, connections, .. } = self;
        for prefix in prefixes(name) {
            for slot in holders.get(prefix).into_iter().flatten() {
                let watch = connections.get_mut(slot);
                let watched =
                    watch.and_then(|it| it.prefixes.iter_mut().find(|it| *it.prefix == *prefix));
                if let Some(watched) = watched {
                    watched.topics = watched.topics.saturating_add_signed(change);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_what_ends_with_its_only_star() {
        let long = "x".repeat(Limits::PATTERN_BYTES_MAX);
        for (pattern, expected) in [
            ("quotes.*", Some("quotes.")),
            ("*", Some("")),
            ("ü*", Some("ü")),
            ("", None),
            ("quotes", None),
            ("quotes.*.bid", None),
            ("*.bid", None),
            ("quotes.**", None),
            ("*quotes.*", None),
            (&format!("{long}*"), None),
            (&format!("{}*", &long[1..]), Some(&long[1..])),
        ] {
            assert_eq!(prefix(pattern).ok(), expected, "{pattern:.20}");
        }
    }

    #[test]
    fn a_name_begins_with_itself_and_with_whole_characters() {
        assert_eq!(Vec::from_iter(prefixes("aü.")), ["", "a", "aü", "aü."]);
        assert_eq!(Vec::from_iter(prefixes("")), [""]);
    }

    #[test]
    fn what_goes_leaves_nothing() {
        let mut patterns = Patterns::default();
        for slot in 0..3 {
            patterns.insert(slot, "a", 1, Mode::default());
            patterns.insert(slot, "ab", 0, Mode::default());
            patterns.hold(slot, TopicKey(1));
            patterns.hold(slot, TopicKey(1));
        }
        assert_eq!(patterns.only(TopicKey(1)), 3);
        let mut seen = Vec::new();
        patterns.made("abc", 1, |slot, is_full| seen.push((slot, is_full)));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [(0, true), (1, true), (2, true)], "`a` takes in one already");
        patterns.release(0, TopicKey(1));
        patterns.gone("abc", TopicKey(1), &[1]);
        assert_eq!(patterns.only(TopicKey(1)), 1);
        assert_eq!(patterns.remove(2, "a"), (vec![TopicKey(1)], false));
        let mut last = Vec::new();
        for slot in 0..3 {
            patterns.forget(slot, |prefix| last.push(prefix.to_owned()));
        }
        last.sort();
        assert_eq!(last, ["a", "ab"]);
        assert!(patterns.is_empty() && patterns.holders.is_empty() && patterns.only.is_empty());
    }
}
