//! Values that were read lately, in memory.
//!
//! ```text
//!   key ──index──> location, generation ──same as in the entry?──yes──> its value: a hit
//!                                              └──no, or no entry──> the device, then an entry
//! ```
//!
//! 1. An entry says where its value was read. It is believed only if the index says the same at
//!    that moment: whatever was overwritten, deleted or moved, or lies in another life of its
//!    segment, is no hit. So nobody has to take anything out of here, and nobody can forget to.
//! 2. Entries have the whole hash of their key. Two keys that are one to the index are two here,
//!    and a read of the wrong one goes to the device and is told.
//! 3. Values, and what an entry takes beside them, are within the bound. A value that would take
//!    more than a quarter of it is not kept.
//! 4. Same calls, same content: no clock, no chance; what is hashed is a keyed hash already.
//!
//! Which entry goes when room is needed is the business of `quick_cache` (Clock-PRO: one look at a
//! value does not drive out what is looked at often). Entries that cannot be hit any more go like
//! others that nobody looks at.
//!
//! Absent on purpose: values that are written, lists of pieces and pieces of large values, and that
//! a key is not there, which the index knows.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use bytes::Bytes;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::types::{Generation, GroupId, KeyHash, Location, Sequence, to_u64};

/// What an entry takes beside its value: its place in the list and the table, the count of those
/// who share the value, and what an allocator adds.
const BESIDE: u64 = 200;
/// What the trace of an entry that went takes.
const TRACE: u64 = 128;
/// Bytes of a value and what it takes beside, as a guess of how many traces are worth keeping.
const GUESS: u64 = 1024;
/// The share of the bound that one value may take.
const SHARE: u64 = 4;

/// Values by key.
pub(crate) struct ValueCache {
    // Invariant: the weight of all entries is at most what the caller allowed.
    entries: Cache<Key, Entry, Bytewise, BuildHasherDefault<AsItIs>>,
    longest: u64,
    hits: u64,
    misses: u64,
}

/// Where a value lies: the same for no other value, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) at: Location,
    pub(crate) generation: Generation,
}

/// A value and the memory that it keeps.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) value: Bytes,
    /// The write that made it.
    pub(crate) sequence: Sequence,
    /// Bytes that go only when the value goes.
    pub(crate) memory: usize,
}

/// What a cache did since the store was opened, and what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    group: GroupId,
    hash: KeyHash,
}

#[derive(Clone, Debug)]
struct Entry {
    origin: Origin,
    kept: Kept,
}

#[derive(Clone, Copy, Debug)]
struct Bytewise;

impl Weighter<Key, Entry> for Bytewise {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        to_u64(entry.kept.memory) + BESIDE
    }
}

impl ValueCache {
    /// One of so many bytes, or none at all.
    pub(crate) fn of(bytes: u64) -> Option<Self> {
        if bytes == 0 {
            return None;
        }
        // Half as many traces of values that went as there are entries: the default of the crate.
        let guess = usize::try_from(bytes / GUESS).unwrap_or(usize::MAX).max(2);
        let room = bytes - bytes / GUESS / 2 * TRACE;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(guess)
            .weight_capacity(room)
            .build()
            .expect("both capacities were given");
        let hasher = BuildHasherDefault::default();
        let entries = Cache::with_options(options, Bytewise, hasher, DefaultLifecycle::default());
        Some(Self { entries, longest: bytes / SHARE, hits: 0, misses: 0 })
    }

    /// The value of a key whose record lies there, and the write that made it.
    pub(crate) fn get(
        &mut self,
        group: GroupId,
        hash: KeyHash,
        origin: Origin,
    ) -> Option<(Bytes, Sequence)> {
        let entry = self.entries.get(&Key { group, hash });
        let found = entry.filter(|entry| entry.origin == origin);
        let found = found.map(|entry| (entry.kept.value.clone(), entry.kept.sequence));
        self.hits += u64::from(found.is_some());
        self.misses += u64::from(found.is_none());
        found
    }

    /// A value was read from there.
    pub(crate) fn put(&mut self, group: GroupId, hash: KeyHash, origin: Origin, kept: Kept) {
        if to_u64(kept.memory) <= self.longest {
            self.entries.insert(Key { group, hash }, Entry { origin, kept });
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            hits: self.hits,
            misses: self.misses,
            entries: to_u64(self.entries.len()),
            bytes: self.entries.weight(),
        }
    }

    /// Recounts what is in it.
    #[cfg(feature = "verify")]
    pub(crate) fn assert_invariants(&self) {
        let weights = self.entries.iter().map(|(key, entry)| Bytewise.weight(key, entry));
        assert_eq!(weights.sum::<u64>(), self.entries.weight(), "cached bytes do not add up");
        assert!(self.entries.weight() <= self.entries.capacity());
    }
}

impl fmt::Debug for ValueCache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ValueCache({:?})", self.counts())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The low half. The same key has the same one in every group, so that takes part.
        let bytes = self.hash.get().to_le_bytes();
        let low = bytes.first_chunk().map_or(0, |low| u64::from_le_bytes(*low));
        state.write_u64(low ^ u64::from(self.group.get()));
    }
}

/// Takes what is a hash already for one.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ByteLen, SegmentId, SegmentOffset};

    const GROUP: GroupId = GroupId::new(1);

    fn origin(offset: u32, generation: u64) -> Origin {
        let at = Location::new(SegmentId::new(3), SegmentOffset::new(offset), ByteLen::new(48));
        Origin { at, generation: Generation::new(generation) }
    }

    fn kept(len: usize) -> Kept {
        Kept { value: vec![7; len].into(), sequence: Sequence::new(9), memory: len }
    }

    #[test]
    fn a_value_is_found_only_where_it_was_read() {
        let mut cache = ValueCache::of(1 << 16).unwrap();
        let key = KeyHash::new(5);
        cache.put(GROUP, key, origin(8, 1), kept(10));
        assert_eq!(cache.get(GROUP, key, origin(8, 1)), Some((kept(10).value, Sequence::new(9))));
        assert_eq!(cache.get(GROUP, key, origin(16, 1)), None, "overwritten or moved");
        assert_eq!(cache.get(GROUP, key, origin(8, 2)), None, "another life of the segment");
        assert_eq!(cache.get(GroupId::new(2), key, origin(8, 1)), None);
        assert_eq!(cache.get(GROUP, KeyHash::new(5 | 1 << 100), origin(8, 1)), None);
        let counts = cache.counts();
        assert_eq!((counts.hits, counts.misses, counts.entries), (1, 4, 1));
        assert_eq!(counts.bytes, 10 + BESIDE);
    }

    #[test]
    fn all_bytes_stay_within_the_bound_whatever_is_put() {
        for bytes in [1 << 14, 100_000, 1 << 20] {
            for longest in [1, 300, 70_000] {
                let mut cache = ValueCache::of(bytes).unwrap();
                for number in 0..5000_u32 {
                    let len = usize::try_from(number * 7919 % longest).unwrap();
                    cache.put(GROUP, KeyHash::new(number.into()), origin(8, 1), kept(len));
                }
                let (counts, memory) = (cache.counts(), cache.entries.memory_used());
                let values = counts.bytes - counts.entries * BESIDE;
                assert!(counts.entries > 0);
                assert!(values <= counts.bytes && counts.bytes <= bytes);
                // The list grows by doubling, so a little of it may be room for more.
                let all = values + to_u64(memory.entries + memory.map);
                assert!(all <= bytes * 9 / 8 + 4096, "{all} of {bytes}, up to {longest}");
            }
        }
    }

    #[test]
    fn equal_calls_make_equal_caches() {
        let run = || {
            let mut cache = ValueCache::of(1 << 15).unwrap();
            for number in 0..2000_u128 {
                let key = KeyHash::new(number * number % 97);
                if cache.get(GROUP, key, origin(8, 1)).is_none() {
                    cache.put(GROUP, key, origin(8, 1), kept(900));
                }
            }
            let key = |hash| Key { group: GROUP, hash: KeyHash::new(hash) };
            let is_there = |hash| cache.entries.peek(&key(hash)).is_some();
            (cache.counts(), (0..97).map(is_there).collect::<Vec<_>>())
        };
        let (counts, content) = run();
        assert!(counts.hits > 0 && counts.misses > 0, "{counts:?}");
        assert_eq!(run(), (counts, content));
    }
}
