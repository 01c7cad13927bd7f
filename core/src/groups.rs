//! Which groups exist, and what each one owns.
//!
//! The catalogue of groups is kept as records of group 0, the system group. The table here is
//! derived from them: a change takes effect when its record is durable, in log order, at run time
//! and at recovery alike.
//!
//! | key of group 0 | value | meaning |
//! |---|---|---|
//! | `g` and the id, four bytes, little-endian | the name | the group exists |
//! | `n` | an id, four bytes, little-endian | ids below it were given out |
//! | `t` and the id, four bytes, little-endian | nothing | all with a lower sequence is dead |
//!
//! 1. Ids are never reused: the `n` record is written in the same batch as each new group.
//! 2. A record whose group is not in the table is dead.
//! 3. The `t` record stays as long as its group, because dead records may lie about for as long.
//! 4. A group knows the segments that its live records lie in, so that dropping it takes no look
//!    at its keys.
//!
//! Absent on purpose: settings of a group; and names in memory for groups that were dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{Index, Packing, Pending};
use crate::format::geometry::Geometry;
use crate::types::{GroupId, KeyHash, SegmentId, Sequence};

/// The longest name of a group, in bytes.
pub(crate) const NAME_LEN_MAX: usize = 255;

/// Of keys with a large value the segments of its pieces, in order; by what the index knows of the
/// hash, so that it and this agree on what is one key.
pub(crate) type LargeValues = BTreeMap<KeyHash, Arc<[SegmentId]>>;

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    pub(crate) index: Index,
    pub(crate) pending: Pending,
    // Invariant: only keys of the index, and of each at least one piece.
    pub(crate) large: LargeValues,
    // Invariant: the segments that have a share of this group.
    pub(crate) segments: BTreeSet<SegmentId>,
    /// Its drop is accepted: no new writes, and it is gone when the drop is durable.
    pub(crate) dropping: bool,
    /// The number of its truncation that is accepted and on its way.
    pub(crate) truncating: Option<Sequence>,
}

/// All groups, the system group included.
#[derive(Debug)]
pub(crate) struct Groups {
    // Invariant: holds `GroupId::SYSTEM`.
    by_id: BTreeMap<GroupId, Group>,
    // Invariant: every name of `by_id` but the system group's, and nothing else.
    by_name: BTreeMap<Arc<str>, GroupId>,
    next_id: u32,
    packing: Packing,
}

impl Groups {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let packing = Packing::new(geometry);
        let (by_id, by_name) = (BTreeMap::new(), BTreeMap::new());
        let mut groups = Self { by_id, by_name, next_id: 1, packing };
        groups.by_id.insert(GroupId::SYSTEM, Group::named("".into(), packing));
        groups
    }

    pub(crate) fn get(&self, id: GroupId) -> Option<&Group> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn find(&self, name: &str) -> Option<GroupId> {
        self.by_name.get(name).copied()
    }

    /// The groups that a user created, by name.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, GroupId)> {
        self.by_name.iter().map(|(name, &id)| (name, id))
    }

    /// Every group, the system group first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        self.by_id.iter().map(|(&id, group)| (id, group))
    }

    /// An id that no group ever had, or `None` when all are used up.
    pub(crate) fn issue_id(&mut self) -> Option<GroupId> {
        let id = GroupId::new(self.next_id);
        if id == GroupId::MIXED {
            return None;
        }
        self.next_id += 1;
        Some(id)
    }

    /// This id was given out once.
    pub(crate) fn note_id(&mut self, id: GroupId) {
        self.next_id = self.next_id.max(id.get().saturating_add(1));
    }

    pub(crate) fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Carries out a durable change; what died by it is handed out: a dropped group, or of a
    /// truncated one what it held.
    pub(crate) fn apply(&mut self, change: &GroupChange) -> Option<Emptied> {
        match change {
            GroupChange::Created { id, name } => {
                self.by_name.insert(Arc::clone(name), *id);
                self.by_id.insert(*id, Group::named(Arc::clone(name), self.packing));
                self.next_id = self.next_id.max(id.get().saturating_add(1));
                None
            }
            GroupChange::Dropped { id } => {
                assert!(*id != GroupId::SYSTEM);
                let group = self.by_id.remove(id)?;
                self.by_name.remove(&group.name);
                let Group { segments, index, large, .. } = group;
                Some(Emptied { id: *id, segments, index, large })
            }
            GroupChange::Truncated { id } => {
                let group = self.by_id.get_mut(id)?;
                group.truncating = None;
                let segments = std::mem::take(&mut group.segments);
                let empty = group.index.empty();
                let index = std::mem::replace(&mut group.index, empty);
                let large = std::mem::take(&mut group.large);
                Some(Emptied { id: *id, segments, index, large })
            }
            GroupChange::NextId(next) => {
                self.next_id = self.next_id.max(*next);
                None
            }
            GroupChange::Nothing => None,
        }
    }
}

/// What a group held before it was dropped or truncated.
#[derive(Debug)]
pub(crate) struct Emptied {
    pub(crate) id: GroupId,
    pub(crate) segments: BTreeSet<SegmentId>,
    /// Long perhaps, and so better freed outside of the lock; the next one as well.
    pub(crate) index: Index,
    pub(crate) large: LargeValues,
}

impl Group {
    fn named(name: Arc<str>, packing: Packing) -> Self {
        Self {
            name,
            index: Index::new(packing),
            pending: Pending::default(),
            large: LargeValues::new(),
            segments: BTreeSet::new(),
            dropping: false,
            truncating: None,
        }
    }

    /// The segments with the pieces of a key's large value.
    pub(crate) fn pieces_of(&self, hash: KeyHash) -> Option<&Arc<[SegmentId]>> {
        self.large.get(&self.index.known(hash))
    }

    /// The record of a large value is in the index; these are its pieces.
    pub(crate) fn keep_pieces(&mut self, hash: KeyHash, pieces: Arc<[SegmentId]>) {
        self.large.insert(self.index.known(hash), pieces);
    }

    /// The record is in the index no more; returns its pieces, if it had any.
    pub(crate) fn take_pieces(&mut self, hash: KeyHash) -> Option<Arc<[SegmentId]>> {
        self.large.remove(&self.index.known(hash))
    }
}

/// What a record of the system group says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupChange {
    Created {
        id: GroupId,
        name: Arc<str>,
    },
    Dropped {
        id: GroupId,
    },
    Truncated {
        id: GroupId,
    },
    NextId(u32),
    /// A record that was needed only as long as its group.
    Nothing,
}

/// Key of the record that says that a group exists.
pub(crate) fn group_key(id: GroupId) -> [u8; 5] {
    let [a, b, c, d] = id.get().to_le_bytes();
    [b'g', a, b, c, d]
}

/// Key of the record that says up to where a group was truncated: its own sequence.
pub(crate) fn truncation_key(id: GroupId) -> [u8; 5] {
    let [a, b, c, d] = id.get().to_le_bytes();
    [b't', a, b, c, d]
}

/// Whether this is the key of such a record.
pub(crate) fn is_truncation(key: &[u8]) -> bool {
    matches!(key, [b't', _, _, _, _])
}

/// Key of the record that holds the next id.
pub(crate) const NEXT_ID_KEY: [u8; 1] = *b"n";

impl GroupChange {
    /// Reads a record of the system group; `value` is `None` for a tombstone.
    pub(crate) fn parse(key: &[u8], value: Option<&[u8]>) -> Option<Self> {
        match (key, value) {
            (&[b'g', a, b, c, d], Some(name)) => {
                let id = GroupId::new(u32::from_le_bytes([a, b, c, d]));
                let name = std::str::from_utf8(name).ok()?;
                Some(Self::Created { id, name: name.into() })
            }
            (&[b'g', a, b, c, d], None) => {
                Some(Self::Dropped { id: GroupId::new(u32::from_le_bytes([a, b, c, d])) })
            }
            (&[b't', a, b, c, d], Some([])) => {
                Some(Self::Truncated { id: GroupId::new(u32::from_le_bytes([a, b, c, d])) })
            }
            (&[b't', ..], None) => Some(Self::Nothing),
            (b"n", Some(&[a, b, c, d])) => Some(Self::NextId(u32::from_le_bytes([a, b, c, d]))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_created_again_gets_another_id() {
        let mut groups = Groups::new(Geometry::new(1 << 16, 1).unwrap());
        let first = groups.issue_id().unwrap();
        groups.apply(&GroupChange::Created { id: first, name: "a".into() });
        groups.apply(&GroupChange::Dropped { id: first });
        assert_eq!(groups.find("a"), None);
        let second = groups.issue_id().unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn records_of_the_system_group_are_read_back() {
        let id = GroupId::new(0x0102_0304);
        let key = group_key(id);
        let created = GroupChange::Created { id, name: "users".into() };
        assert_eq!(GroupChange::parse(&key, Some(b"users")), Some(created));
        assert_eq!(GroupChange::parse(&key, None), Some(GroupChange::Dropped { id }));
        let next = GroupChange::parse(&NEXT_ID_KEY, Some(&9_u32.to_le_bytes()));
        assert_eq!(next, Some(GroupChange::NextId(9)));
        assert_eq!(GroupChange::parse(b"n", Some(b"abc")), None);
        assert_eq!(GroupChange::parse(b"", None), None);
        assert_eq!(GroupChange::parse(&key, Some(&[0xff])), None);
    }
}
