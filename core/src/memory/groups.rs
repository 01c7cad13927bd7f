//! The steps that create groups and look them up: they only prepare records of the system group.

use super::State;
use crate::groups::{NEXT_ID_KEY, group_key};
use crate::types::{GroupId, KeyHash};

/// Why a group cannot be dropped or truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupRefused {
    NoSuchGroup,
}

/// The records that create a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewGroup {
    pub(crate) id: GroupId,
    /// The record that says that it exists; its value is the name.
    pub(crate) key: [u8; 5],
    pub(crate) next_id_key: [u8; 1],
    pub(crate) next_id: [u8; 4],
}

impl State {
    /// Whether a change of the catalogue is on its way.
    pub(crate) fn catalogue_changes(&self) -> bool {
        self.groups.get(GroupId::SYSTEM).is_some_and(|system| !system.pending.is_empty())
    }

    /// Issues an id for a new group. If its records are never written, the id is lost.
    pub(crate) fn new_group(&mut self) -> Option<NewGroup> {
        let id = self.groups.issue_id()?;
        let next_id = self.groups.next_id().to_le_bytes();
        Some(NewGroup { id, key: group_key(id), next_id_key: NEXT_ID_KEY, next_id })
    }

    /// Whether the index has a key, or a write of it is on its way.
    pub(crate) fn knows(&self, group: GroupId, hash: KeyHash) -> bool {
        let group = self.groups.get(group);
        group.is_some_and(|group| group.index.get(hash).is_some() || group.pending.contains(hash))
    }

    /// The group that `name` stands for.
    pub(crate) fn group_named(&self, name: &str) -> Result<GroupId, GroupRefused> {
        self.groups.find(name).ok_or(GroupRefused::NoSuchGroup)
    }
}
