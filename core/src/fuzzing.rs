//! Private parts of the engine where a fuzzer can reach them. Only with the feature `fuzzing`.
//!
//! Law: a cover hands on, and does nothing else; what is tested is what the engine uses.
//!
//! Absent on purpose: any promise. None of this is part of the API, and it may change with every
//! release. And segments: who lives in them is recounted after every step under `verify`.

use bytes::Bytes;

use crate::catalog;
use crate::format::geometry::Geometry;
use crate::types::{KeyHash, Location, Sequence};

/// Where each key of a group lies.
#[derive(Debug)]
pub struct Index(catalog::Index);

impl Index {
    /// An empty one, as the engine makes it.
    #[must_use]
    pub fn new(geometry: Geometry) -> Self {
        Self(catalog::Index::new(catalog::Packing::new(geometry)))
    }

    /// One with at most so many entries in a leaf, 4 or more, and leaves in a branch, 2 or more.
    #[must_use]
    pub fn with_shape(geometry: Geometry, leaf: u16, branch: u16) -> Self {
        let shape = catalog::Shape { leaf, branch };
        Self(catalog::Index::with_shape(catalog::Packing::new(geometry), shape))
    }

    /// What it knows of a hash: two hashes of which it knows the same are one key.
    #[must_use]
    pub fn known(&self, hash: KeyHash) -> KeyHash {
        self.0.known(hash)
    }

    /// Recounts what must be true of it.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn assert_invariants(&self) {
        self.0.assert_invariants();
    }

    /// Where the key lies.
    #[must_use]
    pub fn get(&self, hash: KeyHash) -> Option<Location> {
        self.0.get(hash)
    }

    /// Points the key at `to`; returns where it pointed before.
    pub fn insert(&mut self, hash: KeyHash, to: Location) -> Option<Location> {
        self.0.insert(hash, to)
    }

    /// Points the key at `to` if it still points at `from`; says whether it did.
    pub fn relocate(&mut self, hash: KeyHash, from: Location, to: Location) -> bool {
        self.0.relocate(hash, from, to)
    }

    /// Forgets the key; returns where it pointed.
    pub fn remove(&mut self, hash: KeyHash) -> Option<Location> {
        self.0.remove(hash)
    }

    /// How many keys there are.
    #[expect(clippy::len_without_is_empty, reason = "the index has none either")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All entries, in order of hash; of the hashes, what it [`knows`](Self::known).
    pub fn iter(&self) -> impl Iterator<Item = (KeyHash, Location)> {
        self.0.iter()
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.memory()
    }
}

/// What a pending write shows to readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// That the key is gone.
    Deleted,
    /// This value.
    Value(Bytes),
}

/// The writes of a group that are accepted and not yet durable.
#[derive(Debug, Default)]
pub struct Pending(catalog::Pending);

impl Pending {
    /// Takes note of an accepted write; of one that shows nothing, readers see what was before.
    pub fn push(&mut self, hash: KeyHash, sequence: Sequence, shown: Option<Shown>) {
        let deletes = matches!(shown, Some(Shown::Deleted));
        let readable = shown.map(|shown| match shown {
            Shown::Deleted => catalog::Readable::Deleted,
            Shown::Value(value) => catalog::Readable::Value(value),
        });
        let shown = readable.map(|readable| (Bytes::new(), readable));
        self.0.push(hash, catalog::PendingWrite { sequence, deletes, shown });
    }

    /// Forgets the oldest pending write of the key, which must be `sequence`.
    pub fn complete(&mut self, hash: KeyHash, sequence: Sequence) {
        self.0.complete(hash, sequence);
    }

    /// What readers see of the key, if a pending write shows anything.
    ///
    /// # Panics
    ///
    /// If it is the list of a large value, which [`push`](Self::push) never takes.
    #[must_use]
    pub fn newest(&self, hash: KeyHash) -> Option<Shown> {
        self.0.newest_shown(hash).map(|shown| match shown.readable {
            catalog::Readable::Deleted => Shown::Deleted,
            catalog::Readable::Value(value) => Shown::Value(value.clone()),
            catalog::Readable::Large(..) => unreachable!("nobody pushed a large value"),
        })
    }

    /// Whether any write of the key is on its way.
    #[must_use]
    pub fn contains(&self, hash: KeyHash) -> bool {
        self.0.contains(hash)
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
