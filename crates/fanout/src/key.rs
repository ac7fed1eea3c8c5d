//! The names of topics among shards, and maps by them.
//!
//! Stands at the beginning of `publish`: the one look-up that a publication costs a shard. The process
//! counts topics up and never uses a number again, so a shard that still has entries, or letters on
//! their way, of a topic that is gone can never take them for another's.
//!
//! Invariant: a key says nothing but which topic it is. Whoever meets one that it does not know has
//! nobody who wants it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A topic, by its number in the process: given once and never to another topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey(pub u64);

/// A map by topics, for those that somebody holds among the many that come and go.
pub type TopicMap<V> = HashMap<TopicKey, V, BuildHasherDefault<KeyHasher>>;

/// Hashes a [`TopicKey`] with one multiplication.
///
/// Keys are ours and count up, so nobody can choose those that collide; and hashing each publication's
/// key as strangers' input would cost more than the rest of the look-up.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    #[inline]
    fn write_u64(&mut self, key: u64) {
        // Odd, so keys that follow each other have different low bits, by which the map finds the
        // place; its bits are mixed well, so they differ in the high ones too, by which it compares.
        self.0 = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Gives back memory that a map has no more use for, so that many topics at one time are not paid for
/// ever after.
pub(crate) fn shrink<V>(map: &mut TopicMap<V>) {
    if map.len() * 4 < map.capacity() {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn keys_that_follow_each_other_share_neither_places_nor_tags() {
        let hash = |key| BuildHasherDefault::<KeyHasher>::default().hash_one(TopicKey(key));
        for first in [0, 1, 1_000, 1 << 40] {
            // A map of as many places finds one for each, and sees at a glance whose it is.
            let places: std::collections::HashSet<u64> =
                (first..first + 4_096).map(|key| hash(key) % 4_096).collect();
            assert_eq!(places.len(), 4_096);
            let tags: std::collections::HashSet<u64> =
                (first..first + 4_096).map(|key| hash(key) >> 57).collect();
            assert_eq!(tags.len(), 128);
        }
    }

    #[test]
    fn a_map_that_was_large_gives_its_memory_back() {
        let mut map: TopicMap<u32> = (0..10_000).map(|key| (TopicKey(key), 0)).collect();
        for key in 0..9_990 {
            map.remove(&TopicKey(key));
            shrink(&mut map);
        }
        assert_eq!(map.len(), 10);
        assert!(map.capacity() < 100, "{}", map.capacity());
    }
}
