//! The index against a map, with short leaves and with hashes that nobody would hope for.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::format::geometry::Geometry;
use crate::types::{ByteLen, SegmentId, SegmentOffset};

fn packing() -> Packing {
    Packing::new(Geometry::new(256 << 10, 1).unwrap())
}

fn at(place: u32) -> Location {
    let offset = SegmentOffset::new((place % 32768) * 8);
    Location::new(SegmentId::new(place / 32768), offset, ByteLen::new(40))
}

/// The index and what it should be.
#[derive(Debug)]
struct Both {
    index: Index,
    map: BTreeMap<KeyHash, Location>,
}

impl Both {
    fn new(leaf: u16, branch: u16) -> Self {
        let index = Index::with_shape(packing(), Shape { leaf, branch });
        Self { index, map: BTreeMap::new() }
    }

    fn insert(&mut self, hash: KeyHash, to: Location) {
        let before = self.map.insert(packing().known(hash), to);
        assert_eq!(self.index.insert(hash, to), before);
    }

    fn remove(&mut self, hash: KeyHash) {
        assert_eq!(self.index.remove(hash), self.map.remove(&packing().known(hash)));
    }

    fn relocate(&mut self, hash: KeyHash, from: Location, to: Location) {
        let entry = self.map.get_mut(&packing().known(hash)).filter(|place| **place == from);
        let moves = entry.map(|place| *place = to).is_some();
        assert_eq!(self.index.relocate(hash, from, to), moves);
    }

    fn check(&self, hash: KeyHash) {
        assert_eq!(self.index.get(hash), self.map.get(&packing().known(hash)).copied());
        assert_eq!(self.index.len(), self.map.len());
    }

    /// From every hash on that there is, and from beside it.
    fn check_walks(&self) {
        let keys = self.map.keys().flat_map(|hash| {
            let around = [hash.get().saturating_sub(1), hash.get(), hash.get().saturating_add(1)];
            around.map(KeyHash::new)
        });
        for first in keys.chain([KeyHash::new(0), KeyHash::new(u128::MAX)]) {
            let behind = self.map.range(packing().known(first)..);
            let walked = self.index.iter_from(first);
            assert!(walked.eq(behind.map(|(&hash, &place)| (hash, place))), "from {first:?}");
        }
    }

    fn check_all(&self) {
        self.index.assert_invariants();
        assert!(self.index.iter().eq(self.map.iter().map(|(&hash, &place)| (hash, place))));
    }
}

/// Hashes as a keyed hash gives them, from a counter.
fn even(number: u32) -> KeyHash {
    let mixed = |salt: u64| {
        let mut bits = (u64::from(number) + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u128::from(bits ^ (bits >> 31))
    };
    KeyHash::new((mixed(1) << 64) | mixed(1 << 40))
}

/// Hashes that crowd: few bits differ, in one place of the hash, the bits not kept included.
fn crowded() -> impl Strategy<Value = KeyHash> {
    let bits = (0..64_u128, 0..122_u32).prop_map(|(few, at)| few << at);
    let fronts = prop_oneof![Just(0_u128), Just(u128::MAX << 40), Just(0x80_0000_00ff_u128 << 88)];
    (bits, fronts).prop_map(|(bits, front)| KeyHash::new(bits ^ front))
}

#[derive(Clone, Debug)]
enum Step {
    Insert(KeyHash, u32),
    Remove(KeyHash),
    Relocate(KeyHash, u32, u32),
    /// Of hashes spread evenly: from, and how many.
    Fill(u32, u32),
    Empty(u32, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let hash = || prop_oneof![crowded(), (0..400_u32).prop_map(even)];
    prop_oneof![
        6 => (hash(), 0..8_u32).prop_map(|(hash, to)| Step::Insert(hash, to)),
        4 => hash().prop_map(Step::Remove),
        2 => (hash(), 0..8_u32, 0..8_u32)
            .prop_map(|(hash, from, to)| Step::Relocate(hash, from, to)),
        1 => (0..400_u32, 0..200_u32).prop_map(|(from, count)| Step::Fill(from, count)),
        1 => (0..400_u32, 0..300_u32).prop_map(|(from, count)| Step::Empty(from, count)),
    ]
}

proptest! {
    #[test]
    fn the_index_agrees_with_a_map(
        (leaf, branch) in (4..40_u16, 2..20_u16),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut both = Both::new(leaf, branch);
        for step in steps {
            match step {
                Step::Insert(hash, to) => {
                    both.insert(hash, at(to));
                    both.check(hash);
                }
                Step::Remove(hash) => {
                    both.remove(hash);
                    both.check(hash);
                }
                Step::Relocate(hash, from, to) => both.relocate(hash, at(from), at(to)),
                Step::Fill(from, count) => {
                    (from..from + count).for_each(|one| both.insert(even(one), at(one)));
                }
                Step::Empty(from, count) => {
                    (from..from + count).for_each(|one| both.remove(even(one)));
                }
            }
            both.index.assert_invariants();
        }
        both.check_all();
        both.check_walks();
    }

    #[test]
    fn an_index_built_in_order_is_one_like_any_other(
        (leaf, branch) in (4..40_u16, 2..20_u16),
        crowd in prop::collection::vec(crowded(), 0..300),
        (count, more) in (0..3000_u32, 0..100_u32),
    ) {
        let hashes = crowd.into_iter().chain((0..count).map(even));
        let known = hashes.map(|hash| packing().known(hash));
        let map: BTreeMap<_, _> = known.zip((0..).map(at)).collect();
        let mut builder = IndexBuilder::with_shape(packing(), Shape { leaf, branch });
        let mut last = None;
        for (&hash, &place) in &map {
            prop_assert!(builder.push(hash, place));
            prop_assert!(!builder.push(last.unwrap_or(hash), place), "it is not behind the last");
            last = Some(hash);
        }
        let mut both = Both { index: builder.finish(), map };
        both.check_all();
        (count..count + more).for_each(|one| both.insert(even(one), at(one)));
        (0..more).for_each(|one| both.remove(even(one)));
        both.check_all();
    }

    #[test]
    fn what_comes_before_is_counted_wherever_the_search_begins(len in 1..600_usize, seed: usize) {
        let (start, count) = (seed % len, (seed / len) % (len + 1));
        let found = partition(len, start, |at| {
            assert!(at < len);
            at < count
        });
        prop_assert_eq!(found, count);
    }
}

#[test]
fn an_empty_index_takes_no_memory_and_a_small_one_little() {
    let mut both = Both::new(384, 512);
    assert_eq!(both.index.memory(), 0);
    (0..3).for_each(|one| both.insert(even(one), at(one)));
    assert!(both.index.memory() <= 256, "{} bytes", both.index.memory());
    (0..3).for_each(|one| both.remove(even(one)));
    assert_eq!(both.index.memory(), 0);
    both.check_all();
}

#[test]
fn a_key_takes_eighteen_bytes_at_most() {
    let mut index = Index::new(packing());
    for one in 0..300_000 {
        assert_eq!(index.insert(even(one), at(one)), None);
    }
    index.assert_invariants();
    let each = index.memory() * 10 / index.len();
    assert!(each <= 180, "{each} tenths of a byte a key");
}

#[test]
fn a_key_takes_as_little_where_all_come_in_order() {
    let mut hashes: Vec<_> = (0..300_000).map(even).collect();
    hashes.sort_unstable();
    let mut builder = Index::new(packing()).builder();
    assert!(hashes.iter().zip(0..).all(|(&hash, place)| builder.push(hash, at(place))));
    let index = builder.finish();
    index.assert_invariants();
    let each = index.memory() * 10 / index.len();
    assert!(each <= 180, "{each} tenths of a byte a key");
}

#[test]
fn memory_comes_back_when_keys_go() {
    let (count, left) = (200_000, 2_000);
    let mut index = Index::new(packing());
    (0..count).for_each(|one| assert_eq!(index.insert(even(one), at(one)), None));
    (left..count).for_each(|one| assert_eq!(index.remove(even(one)), Some(at(one))));
    index.assert_invariants();
    assert!((0..left).all(|one| index.get(even(one)) == Some(at(one))));
    let each = index.memory() / index.len();
    assert!(each <= 24, "{each} bytes a key");
}

/// Found by the fuzz target `index`: a branch of three leaves had no quarter, and never joined.
#[test]
fn branches_of_few_leaves_join_as_well() {
    for branch in 2..8 {
        let mut both = Both::new(10, branch);
        (0..500).for_each(|one| both.insert(even(one), at(one)));
        (25..500).for_each(|one| both.remove(even(one)));
        both.check_all();
        let memory = both.index.memory();
        assert!(memory <= 25 * 100, "{memory} bytes with {branch} leaves in a branch");
    }
}

#[test]
fn hashes_that_ascend_or_descend_fill_leaves_as_well_as_others() {
    let count = 100_000_u32;
    let hash = |one: u32| KeyHash::new(u128::from(one) << 96);
    for descending in [false, true] {
        let mut index = Index::new(packing());
        for one in 0..count {
            let one = if descending { count - one } else { one };
            assert_eq!(index.insert(hash(one), at(one)), None);
        }
        index.assert_invariants();
        let each = index.memory() / index.len();
        assert!(each <= 19, "{each} bytes a key");
    }
}

#[test]
fn keys_that_agree_in_what_is_known_are_one_key() {
    let mut both = Both::new(4, 2);
    let bits = packing().hash_bits();
    let one = KeyHash::new(7 << 100);
    let other = KeyHash::new((7 << 100) | ((1 << (128 - bits)) - 1));
    let third = KeyHash::new((7 << 100) | (1 << (128 - bits)));
    assert_eq!(both.index.known(one), both.index.known(other));
    both.insert(one, at(1));
    both.insert(other, at(2));
    both.insert(third, at(3));
    assert_eq!(both.index.get(one), Some(at(2)));
    assert_eq!(both.index.get(third), Some(at(3)));
    both.check_all();
}

#[test]
fn walking_goes_from_token_to_token() {
    let mut index = Index::with_shape(packing(), Shape { leaf: 16, branch: 8 });
    (0..5000).for_each(|one| assert_eq!(index.insert(even(one), at(one)), None));
    assert!(index.iter().map(|entry| entry.0.token()).is_sorted());
    assert_eq!(index.iter().count(), 5000);
}
