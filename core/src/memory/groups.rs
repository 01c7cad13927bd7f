//! The steps that create and drop groups: they only prepare records of the system group.

use super::State;
use crate::groups::{NEXT_ID_KEY, group_key};
use crate::types::GroupId;

/// Why a group cannot be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropRefused {
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

    /// The group that `name` stands for, and the key of its record.
    pub(crate) fn group_to_drop(&self, name: &str) -> Result<(GroupId, [u8; 5]), DropRefused> {
        let id = self.groups.find(name).ok_or(DropRefused::NoSuchGroup)?;
        Ok((id, group_key(id)))
    }
}
