//! The reference: what the store must hold, given the order in which writes were accepted.
//!
//! Definitions. The *history* is the list of accepted records in order of acceptance. A *cut* is a
//! number of records from its start; it is *legal* if it does not part a batch. The state *at* a
//! cut is what the records before it make of an empty store.
//!
//! 1. After a crash the store equals the state at one legal cut, for all keys and groups at once.
//! 2. That cut is not before anything that had to survive.
//!
//! Absent on purpose: the engine. This module never calls it, so its own tests can plant every
//! violation and see it found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::value::Value;

/// A key, by its number in the plan.
pub type KeyNumber = usize;

/// What one accepted record changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key got a value.
    Put {
        /// The group's id.
        group: u32,
        /// The key.
        key: KeyNumber,
        /// What it got.
        value: Value,
    },
    /// A key was removed.
    Delete {
        /// The group's id.
        group: u32,
        /// The key.
        key: KeyNumber,
    },
    /// A group was created.
    Create {
        /// Its id.
        group: u32,
        /// Its name.
        name: Arc<str>,
    },
    /// A group was dropped.
    Drop {
        /// Its id.
        group: u32,
    },
    /// A group lost all its keys.
    Truncate {
        /// Its id.
        group: u32,
    },
    /// Something that only mattered to a group that was dropped with it.
    Nothing,
    /// The store took note of which ids it gave out.
    NextId(u32),
}

/// One accepted record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its sequence.
    pub sequence: u64,
    /// The first sequence of its batch.
    pub batch: u64,
    /// The operation that made it, for messages.
    pub op: usize,
    /// What it says.
    pub change: Change,
}

/// Something that a state says about: a group, or a key in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The group with this id: whether it exists, and under which name.
    Group(u32),
    /// A key of a group.
    Key(u32, KeyNumber),
}

/// One group of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Its name.
    pub name: Arc<str>,
    /// Its keys with their values.
    pub keys: BTreeMap<KeyNumber, Value>,
}

/// What a store holds: groups by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The groups.
    pub groups: BTreeMap<u32, GroupState>,
}

impl State {
    /// Applies one record. Records of groups that do not exist change nothing.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { group, key, value } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.keys.insert(*key, *value);
                }
            }
            Change::Delete { group, key } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.keys.remove(key);
                }
            }
            Change::Create { group, name } => {
                let state = GroupState { name: Arc::clone(name), keys: BTreeMap::new() };
                self.groups.insert(*group, state);
            }
            Change::Drop { group } => drop(self.groups.remove(group)),
            Change::Truncate { group } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.keys.clear();
                }
            }
            Change::NextId(_) | Change::Nothing => {}
        }
    }

    /// The state after `records`.
    #[must_use]
    pub fn after(records: &[Record]) -> Self {
        let mut state = Self::default();
        for record in records {
            state.apply(&record.change);
        }
        state
    }

    /// The value of a key, if its group and it exist.
    #[must_use]
    pub fn value(&self, group: u32, key: KeyNumber) -> Option<Value> {
        self.groups.get(&group)?.keys.get(&key).copied()
    }

    /// The names of all groups, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.groups.values().map(|group| Arc::clone(&group.name)).collect();
        names.sort();
        names
    }

    /// Keys of all groups.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.groups.values().map(|group| group.keys.len()).sum()
    }

    /// Every slot that says something.
    fn slots(&self) -> BTreeSet<Slot> {
        let mut slots = BTreeSet::new();
        for (&id, group) in &self.groups {
            slots.insert(Slot::Group(id));
            slots.extend(group.keys.keys().map(|&key| Slot::Key(id, key)));
        }
        slots
    }

    fn agrees(&self, other: &Self, slot: Slot) -> bool {
        match slot {
            Slot::Group(id) => {
                let name = |state: &Self| state.groups.get(&id).map(|g| Arc::clone(&g.name));
                name(self) == name(other)
            }
            Slot::Key(id, key) => self.value(id, key) == other.value(id, key),
        }
    }
}

/// Whether `cut` parts no batch.
#[must_use]
pub fn is_legal(history: &[Record], cut: usize) -> bool {
    match (cut.checked_sub(1).and_then(|last| history.get(last)), history.get(cut)) {
        (Some(before), Some(after)) => before.batch != after.batch,
        _ => true,
    }
}

/// Finds the cuts that explain `observed`, and takes the first one: what lies between it and the
/// others cannot be seen, and may be lost.
///
/// # Errors
///
/// No legal cut from `required` on explains it; the error says what comes closest.
pub fn explain(
    history: &[Record],
    required: usize,
    observed: &State,
) -> Result<usize, Unexplained> {
    let mut state = State::default();
    let mut differing = observed.slots();
    let mut verdict = Search::default();
    for cut in 0..=history.len() {
        verdict.look(history, required, cut, &differing);
        let Some(record) = history.get(cut) else { break };
        let touched = slots_of(&record.change, &state);
        state.apply(&record.change);
        for slot in touched {
            if state.agrees(observed, slot) {
                differing.remove(&slot);
            } else {
                differing.insert(slot);
            }
        }
    }
    verdict.explained.ok_or_else(|| verdict.unexplained(history, required, observed))
}

fn slots_of(change: &Change, before: &State) -> Vec<Slot> {
    match change {
        Change::Put { group, key, .. } | Change::Delete { group, key } => {
            vec![Slot::Key(*group, *key)]
        }
        Change::Create { group, .. } | Change::Drop { group } | Change::Truncate { group } => {
            let keys = before.groups.get(group).into_iter().flat_map(|state| state.keys.keys());
            let keys = keys.map(|&key| Slot::Key(*group, key));
            std::iter::once(Slot::Group(*group)).chain(keys).collect()
        }
        Change::NextId(_) | Change::Nothing => Vec::new(),
    }
}

#[derive(Debug, Default)]
struct Search {
    explained: Option<usize>,
    too_early: Option<usize>,
    in_a_batch: Option<usize>,
    closest: Option<(usize, BTreeSet<Slot>)>,
}

impl Search {
    fn look(
        &mut self,
        history: &[Record],
        required: usize,
        cut: usize,
        differing: &BTreeSet<Slot>,
    ) {
        let legal = is_legal(history, cut);
        match (differing.is_empty(), legal, cut >= required) {
            (true, true, true) => self.explained = self.explained.or(Some(cut)),
            (true, true, false) => self.too_early = Some(cut),
            (true, false, _) => self.in_a_batch = Some(cut),
            (false, true, true) => {
                let closer =
                    self.closest.as_ref().is_none_or(|best| differing.len() <= best.1.len());
                if closer {
                    self.closest = Some((cut, differing.clone()));
                }
            }
            (false, ..) => {}
        }
    }

    fn unexplained(self, history: &[Record], required: usize, observed: &State) -> Unexplained {
        let why = match (self.in_a_batch, self.too_early) {
            (Some(cut), _) if cut >= required => Why::PartOfABatch { cut },
            (_, Some(cut)) => Why::LostWrites { cut, required },
            (Some(cut), None) => Why::PartOfABatch { cut },
            (None, None) => Why::NoPrefix,
        };
        let (cut, slots) = self.closest.unwrap_or_default();
        let expected = State::after(&history[..cut]);
        let lines = slots.iter().take(SHOWN).map(|&slot| {
            let mut line =
                format!("{}; recovered: {}", said(&expected, slot), said(observed, slot));
            for (at, record) in history.iter().enumerate().filter(|(_, r)| touches(r, slot)) {
                line = format!("{line}\n      {at}: {record}");
            }
            format!("{slot:?} should be {line}")
        });
        Unexplained { why, cut, of: history.len(), required, lines: lines.collect() }
    }
}

/// How many differing slots a message shows.
const SHOWN: usize = 4;

fn touches(record: &Record, slot: Slot) -> bool {
    match (&record.change, slot) {
        (Change::Put { group, key, .. } | Change::Delete { group, key }, Slot::Key(id, other)) => {
            (*group, *key) == (id, other)
        }
        (Change::Truncate { group }, Slot::Key(id, _))
        | (Change::Create { group, .. } | Change::Drop { group }, Slot::Group(id)) => *group == id,
        _ => false,
    }
}

fn said(state: &State, slot: Slot) -> String {
    match slot {
        Slot::Group(id) => match state.groups.get(&id) {
            Some(group) => format!("there as {:?}", group.name),
            None => "absent".into(),
        },
        Slot::Key(id, key) => match state.value(id, key) {
            Some(value) => format!("{value:?}"),
            None => "absent".into(),
        },
    }
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, batch, op, change } = self;
        write!(out, "sequence {sequence} (batch {batch}, op {op}): {change:?}")
    }
}

/// Why a recovered store is not what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is an earlier state: writes that had to survive did not (promises P1, P2).
    LostWrites {
        /// Equal to the state at this cut.
        cut: usize,
        /// But at least this one was due.
        required: usize,
    },
    /// Part of a batch is there (promise P3).
    PartOfABatch {
        /// Equal to the state at this cut, which parts a batch.
        cut: usize,
    },
    /// It is the state of no prefix (promise P2).
    NoPrefix,
}

/// A recovered store that no prefix explains, with what comes closest.
#[derive(Clone, Debug)]
pub struct Unexplained {
    /// In one word.
    pub why: Why,
    cut: usize,
    of: usize,
    required: usize,
    lines: Vec<String>,
}

impl fmt::Display for Unexplained {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, cut, of, required, lines } = self;
        write!(
            out,
            "no prefix explains the recovered store: {why:?}; required {required} of {of}"
        )?;
        write!(out, "; closest is {cut}, where")?;
        lines.iter().try_for_each(|line| write!(out, "\n    {line}"))
    }
}

#[cfg(test)]
mod tests;
