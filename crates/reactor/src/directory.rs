//! Which topics there are, by name: found, made, and gone when nobody needs them; and which shards have
//! patterns for names.
//!
//! Beside the way of a byte: publishing goes by [`Topic`] handles, names are looked up when a handle is
//! wanted. The directory itself holds a topic only while that retains something. What keeps the others
//! are the handles: applications', publishers', and one of each shard with a subscriber. With the last
//! one the name, the key and the memory are gone; who asks for the name then gets a new topic with a new
//! key, so nothing that is still on its way for the old one can be taken for the new one's. Those who
//! hold a topic for a pattern alone do not keep it: they are told when it is made and when it is gone.
//!
//! Locks: a topic's is never taken under the directory's, so that a publisher's closure, which runs under
//! the topic's, may look up names and drop handles. And no handle is dropped under the directory's,
//! because dropping the last takes it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tickwire_fanout::TopicKey;

use crate::epoch::Epoch;
use crate::mailbox::{Mail, Mailbox};
use crate::notices::Notices;
use crate::patterns::prefixes;
use crate::topic::{Topic, WeakTopic};

/// The topics of a server.
pub(crate) struct Directory {
    /// That of topics made before any is gone.
    pub(crate) epoch: Epoch,
    names: RwLock<Names>,
    /// By shard.
    notices: Box<[Notices]>,
    /// By shard, to wake it for a notice.
    mailboxes: Arc<[Mailbox]>,
}

#[derive(Default)]
struct Names {
    topics: BTreeMap<Arc<str>, Entry>,
    /// The key of the topic that is made next.
    next: u64,
    /// Shards with a pattern, by what its names begin with.
    patterns: HashMap<Box<str>, Vec<usize>>,
    /// Topics that are gone and had publications.
    gone: u64,
}

struct Entry {
    key: TopicKey,
    topic: WeakTopic,
    /// Present while the topic retains something.
    kept: Option<Topic>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Directory").field("topics", &self.len()).finish()
    }
}

impl Directory {
    pub(crate) fn new(epoch: Epoch, mailboxes: Arc<[Mailbox]>) -> Self {
        let notices = mailboxes.iter().map(|_| Notices::default()).collect();
        Self { epoch, names: RwLock::default(), notices, mailboxes }
    }

    /// The topic of this name, made if there is none.
    pub(crate) fn topic(self: &Arc<Self>, name: &str) -> Topic {
        let known = self.read().find(name);
        if let Some(topic) = known {
            return topic;
        }
        let mut names = self.write();
        // Somebody may have made it between the two locks.
        if let Some(topic) = names.find(name) {
            return topic;
        }
        let (key, shards) = (TopicKey(names.next), names.shards_for(name));
        names.next += 1;
        let (name, epoch) = (Arc::from(name), self.epoch.after(names.gone));
        let topic = Topic::new(key, Arc::clone(&name), epoch, shards.clone(), Arc::downgrade(self));
        // Before anybody else can have it, and so before anything is published.
        for shard in &shards {
            self.notices[*shard].made(&topic);
        }
        // There may be an entry of a topic that is just going: it finds that this is not its own.
        names.topics.insert(name, Entry { key, topic: topic.downgrade(), kept: None });
        drop(names);
        self.wake(&shards);
        topic
    }

    /// From now on `shard` has a pattern for names that begin with `prefix`; gives those that there are,
    /// and hears of those to come. If they are more than `most` nothing is changed.
    pub(crate) fn watch(&self, prefix: &str, shard: usize, most: usize) -> Option<Vec<Topic>> {
        let mut names = self.write();
        let found: Vec<Topic> = names.beginning(prefix).take(most.saturating_add(1)).collect();
        let fit = found.len() <= most;
        if fit {
            let shards = names.patterns.entry(prefix.into()).or_default();
            if !shards.contains(&shard) {
                shards.push(shard);
            }
        }
        // Before the handles may go.
        drop(names);
        fit.then_some(found)
    }

    /// `shard` has no such pattern any more.
    pub(crate) fn unwatch(&self, prefix: &str, shard: usize) {
        let names = &mut *self.write();
        if let Some(shards) = names.patterns.get_mut(prefix) {
            shards.retain(|it| *it != shard);
            if shards.is_empty() {
                names.patterns.remove(prefix);
            }
        }
    }

    /// What `shard` is told of topics.
    pub(crate) fn notices(&self, shard: usize) -> &Notices {
        &self.notices[shard]
    }

    /// `shard` has ended.
    pub(crate) fn close(&self, shard: usize) {
        let mut names = self.write();
        names.patterns.retain(|_, shards| {
            shards.retain(|it| *it != shard);
            !shards.is_empty()
        });
        drop(names);
        self.notices[shard].close();
    }

    /// Keeps a topic, or lets it go, as what it retains now says.
    pub(crate) fn settle(&self, topic: &Topic) {
        let mut names = self.write();
        let Some(entry) = names.topics.get_mut(topic.name()) else { return };
        let kept = topic.retains().then(|| topic.clone());
        let before = std::mem::replace(&mut entry.kept, kept);
        drop(names);
        drop(before);
    }

    /// The last handle of a topic is gone. Those `shards` have it for patterns alone.
    pub(crate) fn forget(&self, name: &str, key: TopicKey, had_any: bool, shards: &[usize]) {
        let mut names = self.write();
        if names.topics.get(name).is_some_and(|entry| entry.key == key) {
            names.topics.remove(name);
        }
        names.gone += u64::from(had_any);
        drop(names);
        for shard in shards {
            self.notices[*shard].gone(key);
        }
        self.wake(shards);
    }

    /// How many topics there are.
    pub(crate) fn len(&self) -> usize {
        self.read().topics.len()
    }

    /// Shards that sleep are to take their notices. One without room for a letter is awake, and takes
    /// them anyway.
    fn wake(&self, shards: &[usize]) {
        for shard in shards {
            if self.mailboxes[*shard].len() == 0 {
                let _ = self.mailboxes[*shard].push(Mail::Notices);
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn find(&self, name: &str) -> Option<Topic> {
        self.topics.get(name)?.topic.upgrade()
    }

    /// The topics whose names begin with `prefix`.
    fn beginning(&self, prefix: &str) -> impl Iterator<Item = Topic> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let names = self.topics.range::<str, _>(from);
        let matching = names.take_while(move |(name, _)| name.starts_with(prefix));
        matching.filter_map(|(_, entry)| entry.topic.upgrade())
    }

    /// The shards with a pattern for a name, each once.
    fn shards_for(&self, name: &str) -> Vec<usize> {
        if self.patterns.is_empty() {
            return Vec::new();
        }
        let matching = prefixes(name).filter_map(|prefix| self.patterns.get(prefix));
        let mut shards: Vec<usize> = matching.flatten().copied().collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tickwire_protocol::Kind;

    use super::*;
    use crate::config::Config;
    use crate::hub::Hub;
    use crate::publisher::Publisher;

    fn publisher() -> (Publisher, Arc<Directory>) {
        let hub = Hub::new(Box::default(), &Config::default(), Epoch(1));
        let directory = Arc::clone(&hub.directory);
        (Publisher::new(Arc::new(hub)), directory)
    }

    #[test]
    fn a_topic_is_the_same_while_somebody_has_it_and_another_afterwards() {
        let (publisher, directory) = publisher();
        let topic = publisher.topic("gold");
        assert_eq!(publisher.publish(&topic, Kind::Text, b"1"), 1);
        let (again, key) = (publisher.topic("gold"), topic.key());
        drop(topic);
        assert_eq!((again.seq(), again.key(), directory.len()), (1, key, 1));
        drop(again);
        assert_eq!(directory.len(), 0);
        let anew = publisher.topic("gold");
        assert_eq!(anew.seq(), 0);
        assert_ne!(anew.epoch(), publisher.epoch(), "its numbers are others");
        assert_ne!(anew.key(), key, "a key is never used again");
    }

    #[test]
    fn a_topic_that_retains_stays_until_it_forgets() {
        let (publisher, directory) = publisher();
        let price = publisher.topic("price");
        publisher.retain_with(&price, Kind::Text, |_, value| value.extend(b"7"));
        drop(price);
        assert_eq!(publisher.topic("price").retained().frame.as_deref(), Some(&b"\x81\x017"[..]));
        publisher.topic("price").forget();
        assert_eq!(directory.len(), 0);
        assert!(publisher.topic("price").retained().frame.is_none());

        let price = publisher.topic("price");
        publisher.publish_with(&price, Kind::Text, |_, message, value| {
            message.extend(b"8");
            value.extend(b"8");
        });
        drop(price);
        assert_eq!(publisher.topic("price").seq(), 1);
    }

    #[test]
    fn a_topic_that_outlives_its_server_is_dropped_as_any_other() {
        let (publisher, directory) = publisher();
        let (held, kept) = (publisher.topic("held"), publisher.topic("kept"));
        publisher.retain_with(&kept, Kind::Text, |_, value| value.extend(b"7"));
        drop((kept, publisher));
        drop(directory);
        held.forget();
        drop(held);
    }

    /// Threads take the name up and drop it as fast as they can. Whoever holds it at the same time as
    /// another holds the same topic: publications that both count are never counted apart.
    #[test]
    fn the_end_of_a_topic_and_its_new_beginning_never_meet() {
        const ROUNDS: u64 = 20_000;
        let (publisher, directory) = publisher();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let publisher = publisher.clone();
                thread::spawn(move || {
                    let mut last = (TopicKey(0), 0);
                    for round in 0..ROUNDS {
                        let topic = publisher.topic("busy");
                        let seq = publisher.publish(&topic, Kind::Text, b"");
                        let other = publisher.topic("busy");
                        assert_eq!(topic, other, "one name has two topics at a time");
                        if round % 16 == 0 {
                            publisher.retain_with(&topic, Kind::Text, |_, value| value.push(b'x'));
                        } else if round % 16 == 7 {
                            topic.forget();
                        }
                        let now = (topic.key(), seq);
                        assert!(now > last, "{now:?} comes after {last:?}");
                        last = now;
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no assertion fails"));
        publisher.topic("busy").forget();
        assert_eq!(directory.len(), 0);
    }

    #[test]
    fn a_million_topics_that_come_and_go_leave_nothing() {
        let (publisher, directory) = publisher();
        let resident = publisher.topic("resident");
        for number in 0..1_000_000 {
            let topic = publisher.topic(&format!("room {number}"));
            publisher.publish(&topic, Kind::Text, b"x");
        }
        assert_eq!(directory.len(), 1);
        assert_eq!(publisher.topic("resident"), resident);
    }
}
