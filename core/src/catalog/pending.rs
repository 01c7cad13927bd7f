//! Writes that are accepted and not yet durable, by key.
//!
//! A key may have several of them. `Buffered` and `Written` ones are readable at once and keep
//! their value here; a `Synced` one keeps only its sequence, because nobody may see it before it
//! is durable (promise P5).
//!
//! 1. The writes of a key are in order of sequence.
//! 2. They leave in that order, each in the step that completes its buffer.
//! 3. A read takes the newest readable one; if there is none, the index answers.
//! 4. Keys are in order of hash, as they are in the index: a scan walks both side by side. The key
//!    itself is kept with what readers may see, since the index has none and there is no record to
//!    read it from.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{KeyHash, SegmentId, Sequence};

/// What a pending write that readers may see says of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readable {
    Value(Bytes),
    /// The list of the pieces of a large value, and the segments in which they lie, durable.
    Large(Bytes, Arc<[SegmentId]>),
    Deleted,
}

/// An accepted write of a key.
#[derive(Debug)]
pub(crate) struct PendingWrite {
    pub(crate) sequence: Sequence,
    /// It removes the key.
    pub(crate) deletes: bool,
    /// The key, and what the write says of it, if readers may see that.
    pub(crate) shown: Option<(Bytes, Readable)>,
}

/// What readers see of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) sequence: Sequence,
    pub(crate) key: &'a Bytes,
    pub(crate) readable: &'a Readable,
}

/// The pending writes of one group.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    // Invariant: the writes of a key are not empty, and in order of sequence.
    keys: BTreeMap<KeyHash, VecDeque<PendingWrite>>,
    // Invariant: the writes that readers may see, of all keys.
    readable: usize,
}

impl Pending {
    /// Takes note of an accepted write.
    pub(crate) fn push(&mut self, hash: KeyHash, write: PendingWrite) {
        self.readable += usize::from(write.shown.is_some());
        let writes = self.keys.entry(hash).or_default();
        assert!(writes.back().is_none_or(|last| last.sequence < write.sequence));
        writes.push_back(write);
    }

    /// Forgets the oldest pending write of the key, which must be `sequence`.
    pub(crate) fn complete(&mut self, hash: KeyHash, sequence: Sequence) {
        let Entry::Occupied(mut entry) = self.keys.entry(hash) else {
            unreachable!("a write completes once, and was pending until then");
        };
        let first = entry.get_mut().pop_front();
        assert_eq!(first.as_ref().map(|write| write.sequence), Some(sequence));
        self.readable -= usize::from(first.is_some_and(|write| write.shown.is_some()));
        if entry.get().is_empty() {
            entry.remove();
        }
    }

    /// The newest write of the key, readable or not.
    pub(crate) fn newest(&self, hash: KeyHash) -> Option<&PendingWrite> {
        self.keys.get(&hash)?.back()
    }

    /// The newest write of the key that readers may see.
    pub(crate) fn newest_shown(&self, hash: KeyHash) -> Option<Shown<'_>> {
        newest_shown(self.keys.get(&hash)?)
    }

    /// The same, of every key from `first` to `last` that has one, in order of hash.
    pub(crate) fn range(
        &self,
        (first, last): (KeyHash, KeyHash),
    ) -> impl Iterator<Item = (KeyHash, Shown<'_>)> {
        let keys = self.keys.range(first..=last);
        keys.filter_map(|(&hash, writes)| newest_shown(writes).map(|shown| (hash, shown)))
    }

    /// The same, of every key that has one.
    pub(crate) fn newest_of_each(&self) -> impl Iterator<Item = (KeyHash, Shown<'_>)> {
        self.range((KeyHash::new(0), KeyHash::new(u128::MAX)))
    }

    /// How many writes readers may see.
    pub(crate) fn readable(&self) -> usize {
        self.readable
    }

    /// Whether any write of the key is on its way, readable or not.
    pub(crate) fn contains(&self, hash: KeyHash) -> bool {
        self.keys.contains_key(&hash)
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Pending writes in all. Recounts those that readers may see.
    #[cfg(feature = "verify")]
    pub(crate) fn count(&self) -> usize {
        let writes = || self.keys.values().flatten();
        let readable = writes().filter(|write| write.shown.is_some()).count();
        assert_eq!(readable, self.readable, "readable writes do not add up");
        writes().count()
    }
}

fn newest_shown(writes: &VecDeque<PendingWrite>) -> Option<Shown<'_>> {
    writes.iter().rev().find_map(PendingWrite::shown)
}

impl PendingWrite {
    fn shown(&self) -> Option<Shown<'_>> {
        let (key, readable) = self.shown.as_ref()?;
        Some(Shown { sequence: self.sequence, key, readable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyHash = KeyHash::new(7);

    fn value(text: &'static str) -> Readable {
        Readable::Value(Bytes::from_static(text.as_bytes()))
    }

    fn write(sequence: u64, readable: Option<Readable>) -> PendingWrite {
        let deletes = readable == Some(Readable::Deleted);
        let shown = readable.map(|readable| (Bytes::from_static(b"key"), readable));
        PendingWrite { sequence: Sequence::new(sequence), deletes, shown }
    }

    fn shown(pending: &Pending) -> Option<&Readable> {
        pending.newest_shown(KEY).map(|shown| shown.readable)
    }

    #[test]
    fn a_synced_write_hides_nothing_and_shows_nothing() {
        let mut pending = Pending::default();
        pending.push(KEY, write(1, Some(value("old"))));
        pending.push(KEY, write(2, None));
        assert_eq!(shown(&pending), Some(&value("old")));
        assert_eq!(pending.newest(KEY).map(|write| write.sequence), Some(Sequence::new(2)));
        pending.complete(KEY, Sequence::new(1));
        assert_eq!(shown(&pending), None);
        assert!(pending.contains(KEY));
        pending.complete(KEY, Sequence::new(2));
        assert!(!pending.contains(KEY));
    }

    #[test]
    fn the_newest_readable_write_wins() {
        let mut pending = Pending::default();
        pending.push(KEY, write(1, Some(value("one"))));
        pending.push(KEY, write(2, Some(Readable::Deleted)));
        assert_eq!(shown(&pending), Some(&Readable::Deleted));
        pending.push(KEY, write(3, Some(value("three"))));
        assert_eq!(shown(&pending), Some(&value("three")));
    }

    #[test]
    fn only_what_readers_may_see_is_counted_for_them() {
        let mut pending = Pending::default();
        pending.push(KEY, write(1, Some(value("old"))));
        pending.push(KEY, write(2, Some(Readable::Deleted)));
        pending.push(KeyHash::new(8), write(3, None));
        assert_eq!(pending.readable(), 2);
        let newest: Vec<_> =
            pending.newest_of_each().map(|(hash, shown)| (hash, shown.readable)).collect();
        assert_eq!(newest, [(KEY, &Readable::Deleted)]);
        pending.complete(KEY, Sequence::new(1));
        pending.complete(KEY, Sequence::new(2));
        pending.complete(KeyHash::new(8), Sequence::new(3));
        assert_eq!(pending.readable(), 0);
    }

    #[test]
    fn a_range_shows_what_readers_may_see_in_order_of_hash() {
        let mut pending = Pending::default();
        for (sequence, hash) in [9, 4, 6, 2].into_iter().enumerate() {
            let readable = (hash != 6).then(|| value("some"));
            pending.push(KeyHash::new(hash), write(sequence.try_into().unwrap(), readable));
        }
        let range = |first, last| -> Vec<u128> {
            let span = (KeyHash::new(first), KeyHash::new(last));
            pending.range(span).map(|(hash, _)| hash.get()).collect()
        };
        assert_eq!(range(0, u128::MAX), [2, 4, 9]);
        assert_eq!(range(3, 9), [4, 9]);
        assert_eq!(range(5, 8), [0; 0]);
    }
}
