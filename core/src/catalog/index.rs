//! Where each key of a group lies.
//!
//! ```text
//! branches   │ 0.. │ 2f0.. │ .. │                     some hundred leaves each
//!               │      └──────────────┐
//! leaves     │ 0.. │ 001.. │ .. │  │ 2f0.. │ .. │      some hundred entries each
//!               │
//! entries    │ hash, location │ hash, location │ .. │
//! ```
//!
//! Everything is in order of hash, and hashes are spread evenly: so a search guesses where to look
//! and looks around there, and going from entry to entry is going from token to token. About 17
//! bytes a key, whatever their number; `packing` says what they hold, `branch` how they grow, and
//! `builder` how many come in at once.
//!
//! 1. At most one entry a hash, as far as [`Packing::known`] goes.
//! 2. `insert` and `remove` return what was there, because somebody must count it as dead.
//! 3. No step takes long: a leaf or a branch that is full splits, one with little in it is joined
//!    with the next, and nothing else ever moves. Only the list of branches grows with the number
//!    of keys, by 80 bytes for some ten thousand of them.
//! 4. `memory` is exact: all that was asked of the allocator, and what it needs for itself.
//! 5. Same entries by the same steps, same leaves: no chance, no seed.
//!
//! Absent on purpose: the whole hash. Two keys that agree in all known bits are one key here; the
//! record tells which, when it is read.

mod branch;
mod builder;
mod leaf;
mod packing;
#[cfg(test)]
mod tests;

pub(crate) use builder::IndexBuilder;
pub(crate) use packing::Packing;

use branch::Branch;
use leaf::{Entries, Leaf};

use crate::types::{KeyHash, Location, to_u64};

/// What an allocator adds to an allocation: a header, and rounding.
const ALLOCATION: usize = 16;

/// How much leaves and branches hold at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Entries of a leaf, at least 4.
    pub(crate) leaf: u16,
    /// Leaves of a branch, at least 2.
    pub(crate) branch: u16,
}

impl Shape {
    /// What measured best; see ARCHITECTURE.md.
    const MEASURED: Self = Self { leaf: 256, branch: 128 };

    fn leaf(self) -> usize {
        self.leaf.into()
    }

    fn branch(self) -> usize {
        self.branch.into()
    }
}

/// The index of one group.
#[derive(Debug)]
pub(crate) struct Index {
    packing: Packing,
    shape: Shape,
    // Invariant: in order, and without gaps; each with the lowest hash of its first leaf, which is
    // zero in the first. None for no entries.
    branches: Vec<(u128, Branch)>,
    // Invariant: entries in all leaves.
    len: usize,
    // Invariant: the memory of all leaves and lists.
    memory: usize,
}

/// The leaf in whose range a hash is.
#[derive(Clone, Copy, Debug)]
struct Spot {
    branch: usize,
    leaf: usize,
    /// The last hash of its range.
    last: u128,
}

impl Index {
    pub(crate) fn new(packing: Packing) -> Self {
        Self::with_shape(packing, Shape::MEASURED)
    }

    /// With leaves and branches of other lengths: small ones, to see them split and join.
    pub(crate) fn with_shape(packing: Packing, shape: Shape) -> Self {
        assert!(shape.leaf >= 4);
        assert!(shape.branch >= 2);
        Self { packing, shape, branches: Vec::new(), len: 0, memory: 0 }
    }

    /// An empty one that packs its entries alike.
    pub(crate) fn empty(&self) -> Self {
        Self::with_shape(self.packing, self.shape)
    }

    /// What the index knows of a hash: whoever has an entry for it has one for every hash of which
    /// it knows the same.
    pub(crate) fn known(&self, hash: KeyHash) -> KeyHash {
        self.packing.known(hash)
    }

    /// Begins one of entries that come in order, which packs them alike.
    pub(crate) fn builder(&self) -> IndexBuilder {
        IndexBuilder::with_shape(self.packing, self.shape)
    }

    /// Whether an entry can point there. Every place that a store of this geometry has.
    pub(crate) fn takes(&self, at: Location) -> bool {
        self.packing.takes(at)
    }

    pub(crate) fn get(&self, hash: KeyHash) -> Option<Location> {
        let (spot, at) = self.find(hash)?;
        Some(self.entries(spot).location(at, self.packing))
    }

    /// Points `hash` at `to`; returns where it pointed before.
    pub(crate) fn insert(&mut self, hash: KeyHash, to: Location) -> Option<Location> {
        let (hash, packing) = (self.packing.known(hash).get(), self.packing);
        loop {
            let Some(spot) = self.spot(hash) else {
                self.plant();
                continue;
            };
            let room = self.leaves(spot)[spot.leaf].len() < self.shape.leaf();
            match self.entries(spot).search(hash, spot.last, packing) {
                Ok(at) => {
                    let before = self.entries(spot).location(at, packing);
                    self.branches[spot.branch].1.repoint(spot.leaf, at, to, packing);
                    return Some(before);
                }
                Err(at) if room => {
                    let entry = packing.entry(hash, to);
                    self.change(spot, |branch| branch.insert(spot.leaf, at, &entry));
                    self.len += 1;
                    return None;
                }
                Err(_) => self.split(spot),
            }
        }
    }

    /// Points `hash` at `to` if it still points at `from`; says whether it did.
    pub(crate) fn relocate(&mut self, hash: KeyHash, from: Location, to: Location) -> bool {
        let packing = self.packing;
        let Some((spot, at)) = self.find(hash) else { return false };
        let found = self.entries(spot).location(at, packing) == from;
        if found {
            self.branches[spot.branch].1.repoint(spot.leaf, at, to, packing);
        }
        found
    }

    /// Forgets `hash`; returns where it pointed.
    pub(crate) fn remove(&mut self, hash: KeyHash) -> Option<Location> {
        let (spot, at) = self.find(hash)?;
        let before = self.entries(spot).location(at, self.packing);
        self.change(spot, |branch| branch.remove(spot.leaf, at));
        self.len -= 1;
        if self.len == 0 {
            *self = self.empty();
        } else if self.leaves(spot)[spot.leaf].len() <= self.shape.leaf() / 4 {
            self.join(spot);
        }
        Some(before)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All entries, in order of hash. Of the hashes, what the index [`knows`](Self::known).
    pub(crate) fn iter(&self) -> impl Iterator<Item = (KeyHash, Location)> {
        self.iter_from(KeyHash::new(0))
    }

    /// The entries from `first` on, or from one of which the index knows the same.
    pub(crate) fn iter_from(&self, first: KeyHash) -> impl Iterator<Item = (KeyHash, Location)> {
        let (first, packing) = (self.packing.known(first).get(), self.packing);
        let start = self.spot(first).map(|spot| {
            let at = self.entries(spot).search(first, spot.last, packing);
            (spot.branch, spot.leaf, at.unwrap_or_else(|at| at))
        });
        let (branch, leaf, at) = start.unwrap_or_default();
        let leaves =
            self.branches.iter().skip(branch).enumerate().flat_map(move |(number, one)| {
                let (branch, skipped) = (&one.1, if number == 0 { leaf } else { 0 });
                (skipped..branch.leaves().len())
                    .map(|leaf| (branch.entries(leaf), branch.leaves()[leaf]))
            });
        leaves.enumerate().flat_map(move |(number, (entries, leaf))| {
            let skipped = if number == 0 { at } else { 0 };
            (skipped..leaf.len()).map(move |at| {
                (KeyHash::new(entries.hash(at, packing)), entries.location(at, packing))
            })
        })
    }

    /// The last hash of which the index knows the same as of this one.
    pub(crate) fn last_alike(&self, hash: KeyHash) -> KeyHash {
        self.packing.last_alike(hash)
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// The leaf to which a hash belongs; `None` if there is none yet.
    fn spot(&self, hash: u128) -> Option<Spot> {
        if self.branches.is_empty() {
            return None;
        }
        let token = KeyHash::new(hash).token();
        let branches = &self.branches;
        let start = guess((0, u64::MAX), branches.len(), token);
        let after = partition(branches.len(), start, |at| branches[at].0 <= hash);
        let (branch, last) = (after - 1, self.last_of(after - 1));

        let (low, leaves) = (branches[branch].0, branches[branch].1.leaves());
        let range = (KeyHash::new(low).token(), KeyHash::new(last).token());
        let start = guess(range, leaves.len(), token);
        let after = partition(leaves.len(), start, |at| leaves[at].low() <= hash);
        let last = leaves.get(after).map_or(last, |next| next.low() - 1);
        Some(Spot { branch, leaf: after - 1, last })
    }

    fn find(&self, hash: KeyHash) -> Option<(Spot, usize)> {
        let hash = self.packing.known(hash).get();
        let spot = self.spot(hash)?;
        let at = self.entries(spot).search(hash, spot.last, self.packing).ok()?;
        Some((spot, at))
    }

    fn leaves(&self, spot: Spot) -> &[Leaf] {
        self.branches[spot.branch].1.leaves()
    }

    fn entries(&self, spot: Spot) -> Entries<'_> {
        self.branches[spot.branch].1.entries(spot.leaf)
    }

    /// The last hash in the range of a branch.
    fn last_of(&self, branch: usize) -> u128 {
        self.branches.get(branch + 1).map_or(u128::MAX, |next| next.0 - 1)
    }

    /// Changes a branch, and the account of memory with it.
    fn change(&mut self, spot: Spot, change: impl FnOnce(&mut Branch)) {
        let branch = &mut self.branches[spot.branch].1;
        let before = branch.memory();
        change(branch);
        self.memory = self.memory - before + branch.memory();
    }

    /// The first leaf, of all hashes.
    fn plant(&mut self) {
        assert!(self.branches.is_empty());
        let branch = Branch::new();
        self.memory += branch.memory();
        insert_tightly(&mut self.branches, 0, (0, branch));
        self.memory += memory_of(&self.branches);
    }

    /// Makes two leaves of one, and of its branch too if that is full.
    fn split(&mut self, spot: Spot) {
        let packing = self.packing;
        self.change(spot, |branch| branch.split(spot.leaf, spot.last, packing));
        if self.leaves(spot).len() > self.shape.branch() {
            let list = memory_of(&self.branches);
            let mut upper = None;
            self.change(spot, |branch| upper = Some(branch.split_off()));
            let upper = upper.expect("it was just handed out");
            let low = upper.leaves()[0].low();
            self.memory += upper.memory();
            insert_tightly(&mut self.branches, spot.branch + 1, (low, upper));
            self.memory = self.memory - list + memory_of(&self.branches);
        }
    }

    /// Joins a leaf in which little is left with a neighbour, if both are not too much for one: the
    /// one with which more can be left out of the entries.
    fn join(&mut self, spot: Spot) {
        let (leaves, end) = (self.leaves(spot), self.last_of(spot.branch));
        let last_of = |at: usize| leaves.get(at + 1).map_or(end, |next| next.low() - 1);
        let most = self.shape.leaf() / 4 * 3;
        let fits = |at: &usize| {
            let (one, next) = (leaves[*at].len(), leaves[at + 1].len());
            one + next <= most || one == 0 || next == 0
        };
        let pairs = spot.leaf.saturating_sub(1)..(spot.leaf + 1).min(leaves.len() - 1);
        let shared = |at: &usize| common_bytes(leaves[*at].low(), last_of(at + 1));
        if let Some(at) = pairs.filter(fits).max_by_key(shared) {
            let last = last_of(at + 1);
            self.change(spot, |branch| branch.join(at, last));
        }
        if self.leaves(spot).len() <= (self.shape.branch() / 4).max(1) {
            self.join_branch(spot.branch);
        }
    }

    fn join_branch(&mut self, at: usize) {
        let most = (self.shape.branch() / 4 * 3).max(2);
        let branches = &self.branches;
        let count = |at: usize| branches[at].1.leaves().len();
        let mut pairs = at.saturating_sub(1)..(at + 1).min(branches.len() - 1);
        let Some(at) = pairs.find(|&at| count(at) + count(at + 1) <= most) else { return };

        let list = memory_of(&self.branches);
        let next = self.branches.remove(at + 1).1;
        shrink(&mut self.branches);
        self.memory = self.memory - list + memory_of(&self.branches) - next.memory();
        let branch = &mut self.branches[at].1;
        let before = branch.memory();
        branch.append(&next);
        self.memory = self.memory - before + branch.memory();
    }

    /// Recounts the laws.
    #[cfg(any(test, feature = "verify", feature = "fuzzing"))]
    pub(crate) fn assert_invariants(&self) {
        let (mut len, mut memory) = (0, memory_of(&self.branches));
        assert_eq!(self.branches.is_empty(), self.len == 0);
        assert!(self.branches.first().is_none_or(|first| first.0 == 0));
        for (at, (low, branch)) in self.branches.iter().enumerate() {
            let leaves = branch.leaves();
            assert!(leaves.len() <= self.shape.branch());
            assert_eq!(leaves[0].low(), *low);
            branch.assert_invariants(self.last_of(at), self.packing);
            memory += branch.memory();
            for leaf in leaves {
                assert!(leaf.len() <= self.shape.leaf());
                len += leaf.len();
            }
        }
        assert_eq!(self.len, len, "entries do not add up");
        assert_eq!(self.memory, memory, "memory does not add up");
    }
}

/// How many whole bytes two hashes have in common at their beginning.
fn common_bytes(one: u128, other: u128) -> usize {
    crate::types::to_usize((one ^ other).leading_zeros() / 8)
}

/// Where among `len` things spread evenly over a range the one at `looked_for` should be.
fn guess((first, last): (u64, u64), len: usize, looked_for: u64) -> usize {
    let share = last.saturating_sub(first) / to_u64(len);
    let at = looked_for.saturating_sub(first) / share.saturating_add(1);
    usize::try_from(at).unwrap_or(usize::MAX).min(len - 1)
}

/// How many of `len` things are before something, in an order in which those come first. Looks
/// around `start` first, farther away with every step.
fn partition(len: usize, start: usize, before: impl Fn(usize) -> bool) -> usize {
    assert!(start < len);
    let (mut from, mut to, mut step) = (0, len, 4);
    if before(start) {
        from = start + 1;
        while from + step < to {
            if !before(from + step) {
                to = from + step;
                break;
            }
            from += step + 1;
            step *= 2;
        }
    } else {
        to = start;
        while step < to {
            if before(to - step) {
                from = to - step + 1;
                break;
            }
            to -= step;
            step *= 2;
        }
    }
    while from < to {
        let middle = from + (to - from) / 2;
        if before(middle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

/// Bytes that a list has of the allocator.
fn memory_of<T>(list: &Vec<T>) -> usize {
    if list.capacity() == 0 { 0 } else { list.capacity() * size_of::<T>() + ALLOCATION }
}

/// Inserts into a list that grows by a sixteenth.
fn insert_tightly<T>(list: &mut Vec<T>, at: usize, one: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 16 + 1);
    }
    list.insert(at, one);
}

/// Gives back what a list has too much.
fn shrink<T>(list: &mut Vec<T>) {
    if list.capacity() > list.len() + list.len() / 8 + 4 {
        list.shrink_to(list.len() + list.len() / 16);
    }
}
