//! The target `index`: what the engine keeps of keys in memory, against maps of the standard
//! library.
//!
//! 1. The index is a map: at every step it says of the key at hand what the map says, and in the
//!    end it has the same entries, in order. What it does not know of hashes makes no difference.
//! 2. Its own laws hold after every few steps, also with so little in a leaf and in a branch that
//!    they split and join all the time: the first bytes say how little.
//! 3. Its memory is within a bound of the entries that it has.
//! 4. Pending writes show the newest that shows anything, and end in their order.

use std::collections::{BTreeMap, VecDeque};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use logstor_core::format::geometry::Geometry;
use logstor_core::fuzzing::{Index, Pending, Shown};
use logstor_core::types::{ByteLen, KeyHash, Location, SegmentId, SegmentOffset, Sequence};

use crate::Verdict;

const MOST_STEPS: usize = 4000;
/// Leaves of four entries, branches of two leaves, and half of them empty.
const MOST_BYTES_OF_AN_ENTRY: usize = 200;
const LEAST_BYTES: usize = 512;

/// What a hash is made of: few bits differ, so that hashes crowd in one place, and some differ only
/// in what the index does not know.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Key {
    low: u8,
    high: u8,
    shift: u8,
}

/// How the index is made.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Shape {
    segment: u8,
    leaf: u8,
    branch: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Insert {
        key: Key,
        to: u16,
    },
    Remove {
        key: Key,
    },
    Relocate {
        key: Key,
        from: u16,
        to: u16,
    },
    /// From where the key is now: it succeeds.
    Move {
        key: Key,
        to: u16,
    },
    Fill {
        key: Key,
        count: u8,
    },
    Empty {
        key: Key,
        count: u8,
    },
    Push {
        key: Key,
        shown: Option<u8>,
    },
    Delete {
        key: Key,
    },
    Complete {
        key: Key,
    },
}

/// Both sides.
#[derive(Debug)]
struct Both {
    index: Index,
    map: BTreeMap<KeyHash, Location>,
    pending: Pending,
    writes: BTreeMap<KeyHash, VecDeque<(Sequence, Option<Shown>)>>,
    sequence: u64,
}

/// The bytes are steps.
///
/// # Panics
///
/// If a law is broken: that is what it is for.
#[must_use]
pub fn index(data: &[u8]) -> Verdict {
    let mut source = Unstructured::new(data);
    let Ok(shape) = Shape::arbitrary(&mut source) else { return Verdict::Refused };
    let mut both = Both::new(shape);
    let mut steps = 0;
    while !source.is_empty() && steps < MOST_STEPS {
        let Ok(step) = Step::arbitrary(&mut source) else { break };
        both.take(step);
        if steps % 16 == 0 {
            both.index.assert_invariants();
        }
        steps += 1;
    }
    both.check_all();
    if steps > 0 { Verdict::Decoded } else { Verdict::Refused }
}

impl Key {
    fn hash(self, add: u8) -> KeyHash {
        let low = u128::from(self.low.wrapping_add(add));
        KeyHash::new((low << (self.shift % 121)) ^ (u128::from(self.high) << 120))
    }
}

fn at(place: u16) -> Location {
    let segment = SegmentId::new(u32::from(place >> 4));
    Location::new(segment, SegmentOffset::new(u32::from(place % 4096) * 8), ByteLen::new(40))
}

impl Both {
    fn new(shape: Shape) -> Self {
        let geometry = Geometry::new(1 << (16 + shape.segment % 7), 1).expect("16 to 22 bits");
        let (leaf, branch) = (4 + shape.leaf % 60, 2 + shape.branch % 30);
        Self {
            index: Index::with_shape(geometry, leaf.into(), branch.into()),
            map: BTreeMap::new(),
            pending: Pending::default(),
            writes: BTreeMap::new(),
            sequence: 0,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Insert { key, to } => self.insert(key.hash(0), at(to)),
            Step::Remove { key } => self.remove(key.hash(0)),
            Step::Relocate { key, from, to } => {
                let (hash, from, to) = (key.hash(0), at(from), at(to));
                self.relocate(hash, from, to);
            }
            Step::Move { key, to } => {
                let hash = key.hash(0);
                let from = self.map.get(&self.index.known(hash)).copied().unwrap_or_else(|| at(to));
                self.relocate(hash, from, at(to));
            }
            Step::Fill { key, count } => {
                (0..count).for_each(|add| self.insert(key.hash(add), at(add.into())));
            }
            Step::Empty { key, count } => {
                (0..count).for_each(|add| self.remove(key.hash(add)));
            }
            Step::Push { key, shown } => {
                let shown = shown.map(|byte| Shown::Value(Bytes::from(vec![byte])));
                self.push(key.hash(0), shown);
            }
            Step::Delete { key } => self.push(key.hash(0), Some(Shown::Deleted)),
            Step::Complete { key } => self.complete(key.hash(0)),
        }
    }

    fn insert(&mut self, hash: KeyHash, to: Location) {
        let known = self.index.known(hash);
        assert_eq!(self.index.insert(hash, to), self.map.insert(known, to));
        self.check(hash);
    }

    fn remove(&mut self, hash: KeyHash) {
        let known = self.index.known(hash);
        assert_eq!(self.index.remove(hash), self.map.remove(&known));
        self.check(hash);
    }

    fn relocate(&mut self, hash: KeyHash, from: Location, to: Location) {
        let known = self.index.known(hash);
        let entry = self.map.get_mut(&known).filter(|place| **place == from);
        let moves = entry.map(|place| *place = to).is_some();
        assert_eq!(self.index.relocate(hash, from, to), moves);
        self.check(hash);
    }

    fn push(&mut self, hash: KeyHash, shown: Option<Shown>) {
        self.sequence += 1;
        let sequence = Sequence::new(self.sequence);
        self.pending.push(hash, sequence, shown.clone());
        self.writes.entry(hash).or_default().push_back((sequence, shown));
        self.check_pending(hash);
    }

    fn complete(&mut self, hash: KeyHash) {
        let Some(writes) = self.writes.get_mut(&hash) else { return };
        let (sequence, _) = writes.pop_front().expect("a key without writes is not kept");
        if writes.is_empty() {
            self.writes.remove(&hash);
        }
        self.pending.complete(hash, sequence);
        self.check_pending(hash);
    }

    fn check(&self, hash: KeyHash) {
        let known = self.index.known(hash);
        assert_eq!(self.index.get(hash), self.map.get(&known).copied());
        assert_eq!(self.index.len(), self.map.len());
    }

    fn check_pending(&self, hash: KeyHash) {
        let writes = self.writes.get(&hash);
        let newest =
            writes.and_then(|writes| writes.iter().rev().find_map(|(_, shown)| shown.clone()));
        assert_eq!(self.pending.newest(hash), newest);
        assert_eq!(self.pending.contains(hash), writes.is_some());
        assert_eq!(self.pending.is_empty(), self.writes.is_empty());
    }

    fn check_all(&self) {
        self.index.assert_invariants();
        assert!(self.index.iter().eq(self.map.iter().map(|(&hash, &place)| (hash, place))));
        let (memory, keys) = (self.index.memory(), self.map.len());
        let bound = keys * MOST_BYTES_OF_AN_ENTRY + LEAST_BYTES;
        assert!(memory <= bound, "{memory} bytes, {keys} keys");
        self.writes.keys().for_each(|&hash| self.check_pending(hash));
    }
}
