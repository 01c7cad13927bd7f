//! Writes that were to be made only if keys are as expected.
//!
//! 1. Where the records of such a call are accepted, each key that it requires something of is as
//!    expected, in the order of acceptance: the newest record of the key before them says so,
//!    whether anybody could see it or not.
//! 2. A call that says that something does not hold is a read of what it says the key is, and that
//!    is not as expected.
//! 3. A call that made nothing and says that all holds wanted a key deleted that was absent, or
//!    nothing at all.
//!
//! Absent on purpose: whether a call should have succeeded. One that is told of a change that came
//! just before it was looked at may be unlucky as often as it likes.

use super::{Facts, OpNumber};
use crate::model::{Change, KeyNumber};
use crate::value::Value;

/// What is expected of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It has no value.
    Absent,
    /// It has one.
    Present,
    /// It has the value of this write.
    Version(u64),
    /// It has this value.
    Value(Value),
}

/// What a call requires of a key in the group with this id.
pub type Required = ((u32, KeyNumber), Expected);

/// What a call means to write, and what it requires for that.
#[derive(Clone, Debug, Default)]
pub struct Meant {
    /// The records of keys, in order.
    pub changes: Vec<Change>,
    /// What must hold of keys.
    pub required: Vec<Required>,
}

impl From<Vec<Change>> for Meant {
    fn from(changes: Vec<Change>) -> Self {
        Self { changes, required: Vec::new() }
    }
}

impl Expected {
    fn holds(self, present: Option<(u64, Value)>) -> bool {
        match (self, present) {
            (Self::Absent, present) => present.is_none(),
            (_, None) => false,
            (Self::Present, Some(_)) => true,
            (Self::Version(version), Some((found, _))) => version == found,
            (Self::Value(value), Some((_, found))) => value == found,
        }
    }
}

impl Facts {
    /// What record `at` makes of its key.
    fn present(&self, at: usize) -> Option<(u64, Value)> {
        let record = &self.history[at];
        match record.change {
            Change::Put { value, .. } => Some((record.sequence, value)),
            _ => None,
        }
    }

    /// Law 1. The first record of the operation was accepted just now.
    pub(super) fn requirements_hold(&mut self, op: OpNumber) {
        let newest = |slot| self.by_key.get(slot).and_then(|known| known.last().copied());
        let broken = self.ops[op].required.iter().find(|(slot, expected)| {
            let present = newest(slot).and_then(|at| self.present(at));
            !expected.holds(present)
        });
        if let Some(&((group, key), expected)) = broken {
            let told = self.told_of((group, key));
            self.fail(format!(
                "op {op} was accepted, and key {key} of group {group} was not {expected:?}:{told}"
            ));
        }
    }

    /// Law 2. `present` is the version that the key is said to have.
    pub fn was_unmet(
        &mut self,
        op: OpNumber,
        (slot, expected): Required,
        (floor, accepted): (Option<usize>, usize),
        present: Option<u64>,
    ) {
        if self.records_of(op) > 0 {
            self.fail(format!("op {op} made records, and says that {expected:?} does not hold"));
        }
        let records = self.by_key.get(&slot).map_or(&[][..], Vec::as_slice);
        let mut found = records.iter().filter_map(|&at| self.present(at));
        let found = found.find(|(version, _)| Some(*version) == present);
        // A version that the key never had is found out below.
        let known = found.is_some() == present.is_some();
        if known && expected.holds(found) {
            self.fail(format!("op {op}: {present:?} is {expected:?}, and was told that it is not"));
        }
        match present {
            Some(version) => self.seen_version(slot, floor, accepted, (version, None)),
            None => self.seen(slot, floor, accepted, None),
        }
    }
}
