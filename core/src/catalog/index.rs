//! Where each key of a group lies.
//!
//! A hash table without a hasher of its own: the stored 128 bits are the keyed hash of the key, so
//! their low half is as good a table position as any, and no seed can differ between two runs.
//! 32 bytes an entry. The compact index in hash order takes its place behind the same methods.
//!
//! 1. At most one entry a key.
//! 2. `insert` and `remove` return what was there, because somebody must count it as dead.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::position;
use crate::types::{KeyHash, Location};

/// The index of one group.
#[derive(Debug, Default)]
pub(crate) struct Index {
    table: HashTable<(KeyHash, Location)>,
}

impl Index {
    pub(crate) fn get(&self, hash: KeyHash) -> Option<Location> {
        self.table.find(position(hash), |entry| entry.0 == hash).map(|entry| entry.1)
    }

    /// Points `hash` at `to`; returns where it pointed before.
    pub(crate) fn insert(&mut self, hash: KeyHash, to: Location) -> Option<Location> {
        match self.table.entry(position(hash), |entry| entry.0 == hash, |entry| position(entry.0)) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(&mut entry.get_mut().1, to)),
            Entry::Vacant(entry) => {
                entry.insert((hash, to));
                None
            }
        }
    }

    /// Points `hash` at `to` if it still points at `from`; says whether it did.
    pub(crate) fn relocate(&mut self, hash: KeyHash, from: Location, to: Location) -> bool {
        let found = self.table.find_mut(position(hash), |entry| entry.0 == hash);
        let Some(entry) = found.filter(|entry| entry.1 == from) else { return false };
        entry.1 = to;
        true
    }

    /// Forgets `hash`; returns where it pointed.
    pub(crate) fn remove(&mut self, hash: KeyHash) -> Option<Location> {
        let entry = self.table.find_entry(position(hash), |entry| entry.0 == hash).ok()?;
        Some(entry.remove().0.1)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// All entries, in an order that the entries alone decide.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyHash, Location)> {
        self.table.iter().copied()
    }

    /// Bytes of memory that the table takes.
    pub(crate) fn memory(&self) -> usize {
        self.table.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ByteLen, SegmentId, SegmentOffset};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(offset: u32) -> Location {
        Location::new(SegmentId::new(1), SegmentOffset::new(offset), ByteLen::new(40))
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_a_map(
            steps in prop::collection::vec((0_u128..40, prop::option::of(0_u32..1000)), 0..300)
        ) {
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (key, to) in steps {
                let hash = KeyHash::new(key);
                if let Some(offset) = to {
                    let before = model.insert(hash, at(offset));
                    prop_assert_eq!(index.insert(hash, at(offset)), before);
                } else {
                    prop_assert_eq!(index.remove(hash), model.remove(&hash));
                }
                prop_assert_eq!(index.get(hash), model.get(&hash).copied());
                prop_assert_eq!(index.len(), model.len());
            }
            let all: BTreeMap<_, _> = index.iter().collect();
            prop_assert_eq!(all, model);
        }
    }
}
