//! Writes that are accepted and not yet durable, by key.
//!
//! A key may have several of them. `Buffered` and `Written` ones are readable at once and keep
//! their value here; a `Synced` one keeps only its sequence, because nobody may see it before it
//! is durable (promise P5).
//!
//! 1. The writes of a key are in order of sequence.
//! 2. They leave in that order, each in the step that completes its buffer.
//! 3. A read takes the newest readable one; if there is none, the index answers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::position;
use crate::types::{KeyHash, SegmentId, Sequence};

/// What a pending write that readers may see says of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readable {
    Value(Bytes),
    /// The list of the pieces of a large value, and the segments in which they lie, durable.
    Large(Bytes, Arc<[SegmentId]>),
    Deleted,
}

#[derive(Debug)]
struct Write {
    sequence: Sequence,
    readable: Option<Readable>,
}

#[derive(Debug)]
struct Key {
    hash: KeyHash,
    // Invariant: not empty, and in order of sequence.
    writes: VecDeque<Write>,
}

impl Key {
    fn newest_readable(&self) -> Option<&Readable> {
        self.writes.iter().rev().find_map(|write| write.readable.as_ref())
    }
}

/// The pending writes of one group.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    keys: HashTable<Key>,
    // Invariant: the writes that readers may see, of all keys.
    readable: usize,
}

impl Pending {
    /// Takes note of an accepted write.
    pub(crate) fn push(&mut self, hash: KeyHash, sequence: Sequence, readable: Option<Readable>) {
        self.readable += usize::from(readable.is_some());
        let write = Write { sequence, readable };
        let same = |key: &Key| key.hash == hash;
        match self.keys.entry(position(hash), same, |key| position(key.hash)) {
            Entry::Occupied(mut entry) => {
                let writes = &mut entry.get_mut().writes;
                assert!(writes.back().is_some_and(|last| last.sequence < sequence));
                writes.push_back(write);
            }
            Entry::Vacant(entry) => {
                entry.insert(Key { hash, writes: VecDeque::from([write]) });
            }
        }
    }

    /// Forgets the oldest pending write of the key, which must be `sequence`.
    pub(crate) fn complete(&mut self, hash: KeyHash, sequence: Sequence) {
        let found = self.keys.find_entry(position(hash), |key| key.hash == hash);
        let mut entry = found.expect("a write completes once, and was pending until then");
        let first = entry.get_mut().writes.pop_front();
        assert_eq!(first.as_ref().map(|write| write.sequence), Some(sequence));
        self.readable -= usize::from(first.is_some_and(|write| write.readable.is_some()));
        if entry.get().writes.is_empty() {
            entry.remove();
        }
    }

    /// The newest write of the key that readers may see.
    pub(crate) fn newest_readable(&self, hash: KeyHash) -> Option<&Readable> {
        self.keys.find(position(hash), |key| key.hash == hash)?.newest_readable()
    }

    /// How many writes readers may see.
    pub(crate) fn readable(&self) -> usize {
        self.readable
    }

    /// Of every key that has one, the newest write that readers may see; in no order.
    pub(crate) fn newest_of_each(&self) -> impl Iterator<Item = (KeyHash, &Readable)> {
        let all = self.keys.iter();
        all.filter_map(|key| key.newest_readable().map(|readable| (key.hash, readable)))
    }

    /// Whether any write of the key is on its way, readable or not.
    pub(crate) fn contains(&self, hash: KeyHash) -> bool {
        self.keys.find(position(hash), |key| key.hash == hash).is_some()
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Pending writes in all. Recounts those that readers may see.
    #[cfg(feature = "verify")]
    pub(crate) fn count(&self) -> usize {
        let writes = || self.keys.iter().flat_map(|key| &key.writes);
        let readable = writes().filter(|write| write.readable.is_some()).count();
        assert_eq!(readable, self.readable, "readable writes do not add up");
        writes().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyHash = KeyHash::new(7);

    fn value(text: &'static str) -> Readable {
        Readable::Value(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_synced_write_hides_nothing_and_shows_nothing() {
        let mut pending = Pending::default();
        pending.push(KEY, Sequence::new(1), Some(value("old")));
        pending.push(KEY, Sequence::new(2), None);
        assert_eq!(pending.newest_readable(KEY), Some(&value("old")));
        pending.complete(KEY, Sequence::new(1));
        assert_eq!(pending.newest_readable(KEY), None);
        assert!(pending.contains(KEY));
        pending.complete(KEY, Sequence::new(2));
        assert!(!pending.contains(KEY));
    }

    #[test]
    fn only_what_readers_may_see_is_counted_for_them() {
        let mut pending = Pending::default();
        pending.push(KEY, Sequence::new(1), Some(value("old")));
        pending.push(KEY, Sequence::new(2), Some(Readable::Deleted));
        pending.push(KeyHash::new(8), Sequence::new(3), None);
        assert_eq!(pending.readable(), 2);
        let newest: Vec<_> = pending.newest_of_each().collect();
        assert_eq!(newest, [(KEY, &Readable::Deleted)]);
        pending.complete(KEY, Sequence::new(1));
        pending.complete(KEY, Sequence::new(2));
        pending.complete(KeyHash::new(8), Sequence::new(3));
        assert_eq!(pending.readable(), 0);
    }

    #[test]
    fn the_newest_readable_write_wins() {
        let mut pending = Pending::default();
        pending.push(KEY, Sequence::new(1), Some(value("one")));
        pending.push(KEY, Sequence::new(2), Some(Readable::Deleted));
        assert_eq!(pending.newest_readable(KEY), Some(&Readable::Deleted));
        pending.push(KEY, Sequence::new(3), Some(value("three")));
        assert_eq!(pending.newest_readable(KEY), Some(&value("three")));
    }
}
