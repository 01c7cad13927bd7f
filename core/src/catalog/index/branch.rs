//! A branch: some hundred leaves, and their entries in one piece of memory.
//!
//! ```text
//! leaves  │ 0.. │ 31.. │ 7f.. │          where each begins, and how many entries it has
//!           │      │      └─────────────────────┐
//!           │      └──────────┐                 │
//! bytes   │ entries .. room │ entries .. room │ entries .. room │
//! ```
//!
//! 1. Leaves are in order, in the list and in the bytes; a leaf may use what lies between its
//!    entries and the next leaf.
//! 2. Two to six hundredths of the bytes are room. A leaf without any takes some of a neighbour
//!    nearby; if those have none, all leaves are moved to give each the same, and if there is
//!    little in all, the branch gets more.
//!
//! One allocation for thousands of keys, and a large one: small ones of many lengths that all grow
//! at the same time leave holes behind, and a sixth of the memory was lost in these.

use super::leaf::{Entries, Leaf};
use super::packing::{Packing, WORD_LEN};
use super::{insert_tightly, memory_of, shrink};
use crate::types::Location;

/// How many leaves away from one without room some is looked for.
const NEARBY: usize = 6;

/// Leaves next to each other.
#[derive(Debug)]
pub(super) struct Branch {
    // Invariant: not empty, in order, and without gaps: a range ends where the next begins.
    leaves: Vec<Leaf>,
    bytes: Vec<u8>,
    // Invariant: bytes of all entries.
    used: usize,
}

impl Branch {
    /// One empty leaf, of all hashes.
    pub(super) fn new() -> Self {
        let mut leaves = Vec::new();
        insert_tightly(&mut leaves, 0, Leaf::new(0, u128::MAX, 0));
        Self { leaves, bytes: Vec::new(), used: 0 }
    }

    /// Leaves whose entries follow each other in `bytes` without room, and room for each.
    pub(super) fn of(leaves: &[Leaf], bytes: &[u8]) -> Self {
        let mut branch = Self { leaves: leaves.to_vec(), bytes: Vec::new(), used: bytes.len() };
        branch.bytes.reserve_exact(grown(branch.used));
        branch.bytes.extend_from_slice(bytes);
        branch.spread(grown(branch.used), 0, 0);
        branch
    }

    pub(super) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    pub(super) fn entries(&self, leaf: usize) -> Entries<'_> {
        self.leaves[leaf].entries(&self.bytes)
    }

    /// Bytes that it has of the allocator.
    pub(super) fn memory(&self) -> usize {
        memory_of(&self.leaves) + memory_of(&self.bytes)
    }

    /// Points an entry elsewhere.
    pub(super) fn repoint(&mut self, leaf: usize, at: usize, to: Location, packing: Packing) {
        let word = packing.repointed(self.entries(leaf).word(at), to);
        let leaf = self.leaves[leaf];
        let end = leaf.start() + (at + 1) * leaf.stride();
        self.bytes[end - WORD_LEN..end].copy_from_slice(&word.to_be_bytes());
    }

    /// Puts an entry at a place in a leaf. `entry` is whole.
    pub(super) fn insert(&mut self, leaf: usize, at: usize, entry: &[u8]) {
        let stride = self.leaves[leaf].stride();
        self.make_room(leaf, stride);
        let one = &mut self.leaves[leaf];
        let (start, end) = (one.start() + at * stride, one.start() + one.used());
        self.bytes.copy_within(start..end, start + stride);
        self.bytes[start..start + stride].copy_from_slice(&entry[one.cut()..]);
        one.set_len(one.len() + 1);
        self.used += stride;
    }

    /// Takes an entry out of a leaf.
    pub(super) fn remove(&mut self, leaf: usize, at: usize) {
        let one = &mut self.leaves[leaf];
        let stride = one.stride();
        let (start, end) = (one.start() + at * stride, one.start() + one.used());
        self.bytes.copy_within(start + stride..end, start);
        one.set_len(one.len() - 1);
        self.used -= stride;
        self.give_back();
    }

    /// Makes two leaves of one, whose range ends with `last`. It is cut at a number as round as any
    /// in the middle half of the entries: so both leaves share long beginnings.
    pub(super) fn split(&mut self, leaf: usize, last: u128, packing: Packing) {
        let (entries, one) = (self.entries(leaf), self.leaves[leaf]);
        let len = one.len();
        let middle_half =
            (entries.hash(len / 4, packing), entries.hash(len - 1 - len / 4, packing));
        assert!(middle_half.0 < middle_half.1, "four different hashes have a middle half");
        let below = u128::BITS - (middle_half.0 ^ middle_half.1).leading_zeros() - 1;
        let low = (middle_half.1 >> below) << below;
        let (Ok(middle) | Err(middle)) = entries.search(low, last, packing);
        assert!(0 < middle && middle < len);

        let (start, stride) = (one.start(), one.stride());
        let mut lower = Leaf::new(one.low(), low - 1, start);
        lower.set_len(middle);
        let mut upper = Leaf::new(low, last, start + middle * stride);
        upper.set_len(len - middle);
        for part in [&lower, &upper] {
            self.narrow(part, stride);
        }
        self.leaves[leaf] = lower;
        insert_tightly(&mut self.leaves, leaf + 1, upper);
    }

    /// Leaves out of the entries of a leaf what it leaves out and they have, `stride` bytes each.
    fn narrow(&mut self, leaf: &Leaf, stride: usize) {
        let more = stride - leaf.stride();
        if more > 0 {
            for at in 0..leaf.len() {
                let from = leaf.start() + at * stride;
                self.bytes.copy_within(from + more..from + stride, from - at * more);
            }
            self.used -= leaf.len() * more;
        }
    }

    /// Makes one leaf of one and the next, whose range ends with `last`.
    pub(super) fn join(&mut self, leaf: usize, last: u128) {
        let (one, next) = (self.leaves[leaf], self.leaves[leaf + 1]);
        let mut joined = Leaf::new(one.low(), last, one.start());
        let mut entries = Vec::new();
        self.entries(leaf).append_to(&mut entries, joined.cut());
        self.entries(leaf + 1).append_to(&mut entries, joined.cut());

        self.used -= one.used() + next.used();
        self.leaves.remove(leaf + 1);
        self.leaves[leaf] = joined;
        shrink(&mut self.leaves);
        self.make_room(leaf, entries.len());
        joined = self.leaves[leaf];
        self.bytes[joined.start()..joined.start() + entries.len()].copy_from_slice(&entries);
        self.leaves[leaf].set_len(one.len() + next.len());
        self.used += entries.len();
        self.give_back();
    }

    /// Hands out the upper half of the leaves.
    pub(super) fn split_off(&mut self) -> Self {
        let middle = self.leaves.len() / 2;
        let start = self.leaves[middle].start();
        let mut leaves = self.leaves.split_off(middle);
        for leaf in &mut leaves {
            leaf.set_start(leaf.start() - start);
        }
        self.leaves.shrink_to_fit();
        let used = leaves.iter().map(Leaf::used).sum();
        let mut upper = Self { leaves, bytes: self.bytes[start..].to_vec(), used };
        self.bytes.truncate(start);
        self.used -= used;
        for branch in [self, &mut upper] {
            branch.spread(grown(branch.used), 0, 0);
        }
        upper
    }

    /// Takes in the leaves of the next branch.
    pub(super) fn append(&mut self, next: &Self) {
        let start = self.bytes.len();
        self.leaves.reserve_exact(next.leaves.len());
        for leaf in &next.leaves {
            let mut leaf = *leaf;
            leaf.set_start(leaf.start() + start);
            self.leaves.push(leaf);
        }
        self.bytes.reserve_exact(next.bytes.len());
        self.bytes.extend_from_slice(&next.bytes);
        self.used += next.used;
        self.give_back();
    }

    /// Where the bytes end that a leaf may use.
    fn end(&self, leaf: usize) -> usize {
        self.leaves.get(leaf + 1).map_or(self.bytes.len(), Leaf::start)
    }

    /// Bytes that a leaf may use and does not.
    fn room(&self, leaf: usize) -> usize {
        self.end(leaf) - self.leaves[leaf].start() - self.leaves[leaf].used()
    }

    /// Gives a leaf room for `needed` more bytes.
    fn make_room(&mut self, leaf: usize, needed: usize) {
        if self.room(leaf) >= needed || self.take_from_neighbour(leaf, needed) {
            return;
        }
        let free = self.bytes.len() - self.used;
        let enough = needed + self.used / 48;
        let len = if free < enough { grown(self.used + needed) } else { self.bytes.len() };
        self.spread(len, leaf, needed);
    }

    /// Moves half of the room of a leaf nearby to this one, and the leaves between with it.
    fn take_from_neighbour(&mut self, leaf: usize, needed: usize) -> bool {
        let farthest = NEARBY.min(self.leaves.len());
        for distance in 1..farthest {
            for from in [leaf.checked_sub(distance), leaf.checked_add(distance)] {
                let Some(from) = from.filter(|from| *from < self.leaves.len()) else { continue };
                let room = self.room(from);
                if room < needed {
                    continue;
                }
                let taken = needed.max(room / 2);
                let moved = if from < leaf { from + 1..leaf + 1 } else { leaf + 1..from + 1 };
                let (first, last) = (self.leaves[moved.start], self.leaves[moved.end - 1]);
                let bytes = first.start()..last.start() + last.used();
                let down = from < leaf;
                let to = if down { bytes.start - taken } else { bytes.start + taken };
                self.bytes.copy_within(bytes, to);
                for one in &mut self.leaves[moved] {
                    let start = one.start();
                    one.set_start(if down { start - taken } else { start + taken });
                }
                return true;
            }
        }
        false
    }

    /// Changes the bytes to so many, and gives every leaf the same of the room, and `needed` more
    /// to one. A leaf that moves down meets only leaves that have moved down before it, or are to
    /// move up; then the others move up, the last one first.
    fn spread(&mut self, len: usize, leaf: usize, needed: usize) {
        let each = (len - self.used - needed) / self.leaves.len();
        let mut start = 0;
        let mut starts = Vec::with_capacity(self.leaves.len());
        for (at, one) in self.leaves.iter().enumerate() {
            starts.push(start);
            start += one.used() + each + if at == leaf { needed } else { 0 };
        }
        assert!(start <= len);
        if len > self.bytes.len() {
            self.bytes.reserve_exact(len - self.bytes.len());
            self.bytes.resize(len, 0);
        }
        for (one, &to) in self.leaves.iter_mut().zip(&starts) {
            if to < one.start() {
                self.bytes.copy_within(one.start()..one.start() + one.used(), to);
                one.set_start(to);
            }
        }
        for (one, &to) in self.leaves.iter_mut().zip(&starts).rev() {
            if to > one.start() {
                self.bytes.copy_within(one.start()..one.start() + one.used(), to);
                one.set_start(to);
            }
        }
        self.bytes.truncate(len);
        self.bytes.shrink_to_fit();
    }

    /// Gives room back to the allocator, if there is far more than needed.
    fn give_back(&mut self) {
        let most = grown(self.used);
        if self.bytes.len() > most + most / 16 + 64 {
            self.spread(most, 0, 0);
        }
    }

    /// Recounts the laws. `last` ends the range of the branch.
    #[cfg(any(test, feature = "verify", feature = "fuzzing"))]
    pub(super) fn assert_invariants(&self, last: u128, packing: Packing) {
        let mut used = 0;
        for (at, leaf) in self.leaves.iter().enumerate() {
            assert!(leaf.start() + leaf.used() <= self.end(at), "leaves lie in each other");
            let last = self.leaves.get(at + 1).map_or(last, |next| next.low() - 1);
            self.entries(at).assert_invariants(last, packing);
            used += leaf.used();
        }
        assert_eq!(self.leaves[0].start(), 0);
        assert_eq!(self.used, used, "bytes do not add up");
        let most = grown(used);
        let len = self.bytes.len();
        assert!(len <= most + most / 16 + 64, "{len} bytes for {used}");
    }
}

/// The bytes that a branch with `used` bytes of entries gets.
fn grown(used: usize) -> usize {
    (used + used / 24).next_multiple_of(16)
}
