//! Scans against what lookups say, with keys that share tokens.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::catalog::{PendingWrite, Readable};
use crate::groups::GroupChange;
use crate::types::{Location, SegmentOffset};

const G: GroupId = GroupId::new(1);

/// A few tokens, and on each of them a few keys.
fn hash(key: u8) -> KeyHash {
    KeyHash::new((u128::from(key / 3) << 100) | (u128::from(key % 3) << 50) | 5)
}

const KEYS: u8 = 24;

fn all() -> Span {
    Span::new(KeyHash::new(0), KeyHash::new(u128::MAX)).unwrap()
}

fn most(keys: usize) -> Most {
    Most { keys, bytes: u64::MAX }
}

/// What may become of a key.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A durable record of it is there.
    Insert,
    Remove,
    /// A write of it is on its way: a value, that it is deleted, or what nobody may see.
    Push(Option<bool>),
    Complete,
}

fn step() -> impl Strategy<Value = (u8, Step)> {
    let step = prop_oneof![
        4 => Just(Step::Insert),
        2 => Just(Step::Remove),
        3 => prop::option::of(any::<bool>()).prop_map(Step::Push),
        2 => Just(Step::Complete),
    ];
    (0..KEYS, step)
}

fn with_group() -> State {
    let mut state = state(1 << 20);
    state.groups.apply(&GroupChange::Created { id: G, name: "g".into() });
    state
}

/// A group whose keys change, and the pending writes of each.
struct Changing {
    state: State,
    pending: BTreeMap<u8, Vec<Sequence>>,
    next: Sequence,
}

impl Changing {
    fn take(&mut self, (key, step): (u8, Step)) {
        let group = self.state.groups.get_mut(G).unwrap();
        let pending = self.pending.entry(key).or_default();
        match step {
            Step::Insert => {
                let offset = SegmentOffset::new(u32::from(key) * 64);
                let at = Location::new(SegmentId::new(0), offset, ByteLen::new(40));
                group.index.insert(hash(key), at);
            }
            Step::Remove => drop(group.index.remove(hash(key))),
            Step::Push(seen) => {
                let shown = seen.map(|value| {
                    let readable = if value {
                        Readable::Value(Bytes::from_static(b"some"))
                    } else {
                        Readable::Deleted
                    };
                    (Bytes::copy_from_slice(&[key]), readable)
                });
                let deletes = seen == Some(false);
                group.pending.push(hash(key), PendingWrite { sequence: self.next, deletes, shown });
                pending.push(self.next);
                self.next = self.next.next();
            }
            Step::Complete if pending.is_empty() => {}
            Step::Complete => group.pending.complete(hash(key), pending.remove(0)),
        }
    }

    /// The keys that a lookup finds.
    fn there(&self) -> BTreeSet<KeyHash> {
        let group = self.state.groups.get(G).unwrap();
        let is_there = |key: &u8| match group.pending.newest_shown(hash(*key)) {
            Some(shown) => *shown.readable != Readable::Deleted,
            None => group.index.get(hash(*key)).is_some(),
        };
        (0..KEYS).filter(is_there).map(|key| group.index.known(hash(key))).collect()
    }
}

proptest! {
    #[test]
    fn what_is_there_throughout_is_listed_once_and_nothing_is_listed_twice(
        steps in prop::collection::vec(step(), 0..60),
        lists in prop::collection::vec((1..5_usize, prop::collection::vec(step(), 0..4)), 0..40),
    ) {
        let state = with_group();
        let mut group =
            Changing { state, pending: BTreeMap::new(), next: Sequence::new(1) };
        for step in steps {
            group.take(step);
        }
        let (mut throughout, mut listed) = (group.there(), Vec::new());
        let (mut rest, mut lists) = (Some(all()), lists.into_iter());
        while let Some(span) = rest {
            let (keys, steps) = lists.next().unwrap_or((3, Vec::new()));
            let sights = group.state.sight(G, span, most(keys)).unwrap();
            prop_assert!(sights.found.len() <= keys);
            let there = group.there();
            prop_assert!(sights.found.iter().all(|sight| there.contains(&sight.hash)));
            listed.extend(sights.found.iter().map(|sight| sight.hash));
            rest = sights.rest;
            for step in steps {
                group.take(step);
                throughout = &throughout & &group.there();
            }
        }
        prop_assert!(listed.is_sorted_by(|one, next| one < next), "{listed:?}");
        prop_assert!(throughout.iter().all(|hash| listed.contains(hash)));
    }
}

#[test]
fn keys_of_one_token_come_one_after_the_other_and_a_range_of_tokens_has_them_all() {
    let mut group =
        Changing { state: with_group(), pending: BTreeMap::new(), next: Sequence::ZERO };
    (0..KEYS).for_each(|key| group.take((key, Step::Insert)));
    let (mut rest, mut lists) = (Some(all()), 0);
    while let Some(span) = rest {
        let sights = group.state.sight(G, span, most(1)).unwrap();
        assert!(sights.found.len() <= 1);
        (rest, lists) = (sights.rest, lists + sights.found.len());
    }
    assert_eq!(lists, usize::from(KEYS));

    let token = hash(7).token();
    let one = Span::new(KeyHash::first_of(token), KeyHash::last_of(token));
    let sights = group.state.sight(G, one.unwrap(), most(100)).unwrap();
    assert_eq!((sights.found.len(), sights.rest), (3, None));
}

#[test]
fn a_list_is_bounded_in_bytes_and_holds_one_key_all_the_same() {
    let mut group =
        Changing { state: with_group(), pending: BTreeMap::new(), next: Sequence::ZERO };
    (0..KEYS).for_each(|key| group.take((key, Step::Insert)));
    let listed = |bytes| {
        let most = Most { keys: 100, bytes };
        group.state.sight(G, all(), most).unwrap().found.len()
    };
    assert_eq!((listed(0), listed(41), listed(80), listed(81)), (1, 2, 2, 3));
}

/// A list is one step under the lock; deleted keys cost it time and show nothing.
#[test]
fn a_list_ends_after_so_many_deleted_keys_and_the_next_one_goes_on() {
    let mut state = with_group();
    let group = state.groups.get_mut(G).unwrap();
    for number in 0..600_u16 {
        let shown = Some((Bytes::from_static(b"key"), Readable::Deleted));
        let sequence = Sequence::new(number.into());
        let write = PendingWrite { sequence, deletes: true, shown };
        group.pending.push(KeyHash::new(u128::from(number) << 100), write);
    }
    let (mut rest, mut lists) = (Some(all()), 0);
    while let Some(span) = rest {
        let sights = state.sight(G, span, most(1)).unwrap();
        assert!(sights.found.is_empty());
        (rest, lists) = (sights.rest, lists + 1);
    }
    assert_eq!(lists, 3);
}

#[test]
fn nothing_is_listed_of_a_dropped_group_nor_of_a_closed_store() {
    let mut state = with_group();
    assert!(state.sight(G, all(), most(1)).is_ok());
    state.groups.apply(&GroupChange::Dropped { id: G });
    assert_eq!(state.sight(G, all(), most(1)), Err(LookupRefused::GroupDropped));
    state.status = Status::Closed;
    assert_eq!(state.sight(G, all(), most(1)), Err(LookupRefused::Closed));
}

/// A record that moved while it was read is asked for by what the index knows of its hash. The
/// newer write that was on its way was not found by that, and the older value was shown.
#[test]
fn who_asks_for_a_hash_again_hears_what_a_lookup_says() {
    let mut group =
        Changing { state: with_group(), pending: BTreeMap::new(), next: Sequence::new(1) };
    let known = group.state.groups.get(G).unwrap().index.known(hash(4));
    assert_ne!(known, hash(4), "the index knows less of it");
    let again = |group: &Changing| group.state.sight_again(G, known).unwrap();
    assert_eq!(again(&group), None);
    group.take((4, Step::Push(Some(true))));
    assert!(matches!(again(&group), Some(Sighted::Pending(..))), "nothing but a write of it");
    group.take((4, Step::Insert));
    assert!(matches!(again(&group), Some(Sighted::Pending(..))), "newer than the record");
    group.take((4, Step::Push(Some(false))));
    assert_eq!(again(&group), None, "and deleted");
    group.take((4, Step::Complete));
    group.take((4, Step::Complete));
    assert!(matches!(again(&group), Some(Sighted::Durable(..))));
}
