//! An index out of entries that come in order.
//!
//! ```text
//!  entries ──> the leaf being filled ──cut──> the branch being filled ──full──> the index
//! ```
//!
//! 1. What comes out has the laws of an index, whatever the hashes.
//! 2. A full leaf is cut at a number as round as any in its upper half, and the upper part goes on:
//!    so leaves share long beginnings, and are three quarters full. Branches get three quarters of
//!    the leaves that they may have. Neither splits at the first insertions that follow.
//! 3. An entry that does not come behind the last one is refused.
//!
//! About 20 ns an entry, where inserting takes ten times as long and moves what lies there.

use super::branch::Branch;
use super::leaf::Leaf;
use super::packing::{ENTRY_LEN, Packing};
use super::{Index, Shape, insert_tightly, memory_of};
use crate::types::{KeyHash, Location};

/// An index that grows at its end only.
#[derive(Debug)]
pub(crate) struct IndexBuilder {
    // Its account of memory leaves out the list of branches.
    index: Index,
    branch: Part<Leaf>,
    bytes: Vec<u8>,
    leaf: Part<(u128, [u8; ENTRY_LEN])>,
}

/// What is being filled, and the lowest hash of its range.
#[derive(Debug)]
struct Part<T> {
    low: u128,
    content: Vec<T>,
}

impl<T> Part<T> {
    fn new() -> Self {
        Self { low: 0, content: Vec::new() }
    }
}

impl IndexBuilder {
    pub(super) fn with_shape(packing: Packing, shape: Shape) -> Self {
        let index = Index::with_shape(packing, shape);
        Self { index, branch: Part::new(), bytes: Vec::new(), leaf: Part::new() }
    }

    /// Whether an entry can point there; see [`Index::takes`].
    pub(crate) fn takes(&self, at: Location) -> bool {
        self.index.takes(at)
    }

    /// Adds an entry, of a place that it [`takes`](Self::takes); `false` if its hash does not come
    /// behind the last one, as far as hashes are known. Then nothing has changed.
    #[must_use]
    pub(crate) fn push(&mut self, hash: KeyHash, at: Location) -> bool {
        let packing = self.index.packing;
        let hash = packing.known(hash).get();
        if self.leaf.content.last().is_some_and(|last| hash <= last.0) {
            return false;
        }
        if self.leaf.content.len() == self.index.shape.leaf() {
            self.cut();
        }
        self.leaf.content.push((hash, packing.entry(hash, at)));
        true
    }

    /// The index of all entries.
    pub(crate) fn finish(mut self) -> Index {
        let len = self.leaf.content.len();
        if len > 0 {
            self.end_leaf(len, u128::MAX);
            self.end_branch();
            self.index.memory += memory_of(&self.index.branches);
        }
        self.index
    }

    /// Ends the leaf in its upper half, and begins the next with what is behind.
    fn cut(&mut self) {
        let hashes = &self.leaf.content;
        let (middle, end) = (hashes[hashes.len() / 2].0, hashes[hashes.len() - 1].0);
        assert!(middle < end, "four different hashes have an upper half");
        let below = u128::BITS - (middle ^ end).leading_zeros() - 1;
        let low = (end >> below) << below;
        let len = hashes.partition_point(|entry| entry.0 < low);
        self.end_leaf(len, low - 1);
        self.leaf.low = low;
        let most = (self.index.shape.branch() / 4 * 3).max(1);
        if self.branch.content.len() >= most {
            self.end_branch();
            self.branch.low = low;
        }
    }

    /// The first `len` entries are a leaf, whose range ends with `last`.
    fn end_leaf(&mut self, len: usize, last: u128) {
        let mut leaf = Leaf::new(self.leaf.low, last, self.bytes.len());
        leaf.set_len(len);
        for (_, entry) in self.leaf.content.drain(..len) {
            self.bytes.extend_from_slice(&entry[leaf.cut()..]);
        }
        self.branch.content.push(leaf);
        self.index.len += len;
    }

    fn end_branch(&mut self) {
        let branch = Branch::of(&self.branch.content, &self.bytes);
        self.branch.content.clear();
        self.bytes.clear();
        self.index.memory += branch.memory();
        let end = self.index.branches.len();
        insert_tightly(&mut self.index.branches, end, (self.branch.low, branch));
    }
}
