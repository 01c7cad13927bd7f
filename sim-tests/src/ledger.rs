//! What is known while the store runs: accepted records, who made them, who was told what.
//!
//! The engine's observer writes the history; the wrapper around every operation says which one is
//! being polled, so each record is known by its operation. From what operations then return follows
//! what must survive, and what every reader must see.
//!
//! Definitions. `must_survive` is the least cut that a power cut may leave, `must_survive_kill`
//! that which the death of the process may leave.
//!
//! 1. Sequences rise, and no record is accepted for a group after its drop.
//! 2. A name is that of one group at a time, and each has an id of its own, for ever.
//!
//! What reads may give is said in [`reads`], what writes must be in [`writes`].
//!
//! Absent on purpose: calls of the engine. The lock here is taken inside the engine's steps.

pub mod compares;
mod large;
pub mod reads;
mod told;
pub mod writes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logstor_core::types::GroupId;
use logstor_core::{AcceptedWrite, Durability};

use self::compares::Required;
use crate::model::{Change, KeyNumber, Record, State, is_legal};
use crate::tally::Tally;
use crate::value;

pub use self::told::History;

/// An operation, by its number in the run.
pub type OpNumber = usize;

/// What is known of one operation.
#[derive(Clone, Debug)]
struct Op {
    what: String,
    durability: Durability,
    outcome: Option<String>,
    /// Records of keys that it means to make.
    intended: Vec<Change>,
    /// What must hold for that.
    required: Vec<Required>,
    records: Vec<usize>,
}

/// A check of the history: what is wrong with it, if anything.
pub type Canary = fn(&[Record]) -> Option<String>;

/// The facts.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub struct Facts {
    /// Every accepted record that may still exist.
    pub history: Vec<Record>,
    /// What was taken out of it, since no recovery shows whether it is there.
    pub forgotten: Vec<Record>,
    /// The least cut that a power cut may leave.
    pub must_survive: usize,
    /// The least cut that the death of the process may leave.
    pub must_survive_kill: usize,
    /// The store is being closed: `Closed` is an answer.
    pub closing: bool,
    /// The store takes no more writes, and had a reason.
    pub gave_up: bool,
    /// The last put found no room.
    pub was_full: bool,
    /// The capacity was changed, now or in an earlier opening.
    pub resized: bool,
    /// Guards that keep compaction from beginning by itself.
    pub pauses: u32,
    /// Calls that had segments compacted on demand.
    pub rewrites_asked: u64,
    /// The first thing that went wrong.
    pub failure: Option<String>,
    /// Checks made.
    pub checks: u64,
    /// What the history met.
    pub tally: Tally,
    /// Records before this one were shown by a recovery.
    recovered: usize,
    /// Records before this one are visible.
    visible: usize,
    canary: Option<Canary>,
    ops: Vec<Op>,
    polled: Option<OpNumber>,
    keys: BTreeMap<Vec<u8>, KeyNumber>,
    /// How long values are that have numbers, by these.
    lens: BTreeMap<u64, usize>,
    by_key: BTreeMap<(u32, KeyNumber), Vec<usize>>,
    floors: BTreeMap<(u32, KeyNumber), usize>,
    created: BTreeMap<u32, usize>,
    dropped: BTreeMap<u32, usize>,
}

/// The facts, shared between harness, clients and the engine's observer.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Mutex<Facts>>);

impl Ledger {
    /// Nothing happened yet. `keys` are all keys that will ever be used.
    #[must_use]
    pub fn new(keys: &[Vec<u8>], canary: Option<Canary>) -> Self {
        let keys = keys.iter().cloned().zip(0..).collect();
        Self(Arc::new(Mutex::new(Facts {
            history: Vec::new(),
            forgotten: Vec::new(),
            must_survive: 0,
            must_survive_kill: 0,
            closing: false,
            gave_up: false,
            was_full: false,
            resized: false,
            pauses: 0,
            rewrites_asked: 0,
            failure: None,
            checks: 0,
            tally: Tally::default(),
            recovered: 0,
            visible: 0,
            canary,
            ops: Vec::new(),
            polled: None,
            keys,
            lens: BTreeMap::new(),
            by_key: BTreeMap::new(),
            floors: BTreeMap::new(),
            created: BTreeMap::new(),
            dropped: BTreeMap::new(),
        })))
    }

    /// A copy of all facts, for a fork.
    #[must_use]
    pub fn fork(&self) -> Self {
        let facts = self.lock();
        Self(Arc::new(Mutex::new(Facts {
            history: facts.history.clone(),
            forgotten: facts.forgotten.clone(),
            ops: facts.ops.clone(),
            failure: facts.failure.clone(),
            tally: facts.tally.clone(),
            keys: facts.keys.clone(),
            lens: facts.lens.clone(),
            by_key: facts.by_key.clone(),
            floors: facts.floors.clone(),
            created: facts.created.clone(),
            dropped: facts.dropped.clone(),
            ..*facts
        })))
    }

    /// The facts; never held across a call of the engine.
    pub fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the first failure; later ones follow from it.
    pub fn fail(&self, what: impl Into<String>) {
        self.lock().fail(what);
    }

    /// Whether anything failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// A new operation.
    #[must_use]
    pub fn begin(&self, what: impl Into<String>, durability: Durability) -> OpNumber {
        let mut facts = self.lock();
        facts.ops.push(Op {
            what: what.into(),
            durability,
            outcome: None,
            intended: Vec::new(),
            required: Vec::new(),
            records: Vec::new(),
        });
        facts.ops.len() - 1
    }

    /// The number that the next operation will have, if nothing comes in between.
    #[must_use]
    pub fn next_op(&self) -> OpNumber {
        self.lock().ops.len()
    }

    /// Which operation is polled right now.
    pub fn polling(&self, op: Option<OpNumber>) {
        self.lock().polled = op;
    }
}

impl Facts {
    /// Takes note of the first failure; later ones follow from it.
    pub fn fail(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.failure.get_or_insert(what);
    }

    /// A write was accepted.
    pub fn accepted(&mut self, write: &AcceptedWrite<'_>) {
        match self.read(write) {
            Ok(change) => {
                self.note_len(&change, write.value);
                self.append(write, change);
            }
            Err(what) => self.fail(format!("accepted {write:?}: {what}")),
        }
    }

    fn read(&self, write: &AcceptedWrite<'_>) -> Result<Change, String> {
        if write.group == GroupId::SYSTEM {
            let change = catalogue_change(write.key, write.value)?;
            if let Change::Truncate { group } = change {
                self.check_group(group)?;
            }
            return Ok(change);
        }
        let group = write.group.get();
        self.check_group(group)?;
        let key = *self.keys.get(write.key).ok_or("nobody wrote this key")?;
        Ok(match write.value {
            Some(bytes) => Change::Put { group, key, value: value::parse(bytes)? },
            None => Change::Delete { group, key },
        })
    }

    fn check_group(&self, group: u32) -> Result<(), String> {
        if !self.created.contains_key(&group) {
            return Err("the group was never created".into());
        }
        if self.dropped.contains_key(&group) {
            return Err("the group was dropped before".into());
        }
        Ok(())
    }

    fn append(&mut self, write: &AcceptedWrite<'_>, change: Change) {
        let (sequence, batch) = (write.sequence.get(), write.batch.get());
        if self.history.last().is_some_and(|last| last.sequence >= sequence) {
            self.fail(format!("sequence {sequence} was given out before"));
        }
        let Some(op) = self.polled else {
            return self.fail(format!("sequence {sequence} was accepted outside of any operation"));
        };
        let at = self.history.len();
        self.history.push(Record { sequence, batch, op, change });
        self.ops[op].records.push(at);
        self.was_intended(op);
        if self.ops[op].records.len() == 1 {
            self.requirements_hold(op);
        }
        self.note(at);
        if self.ops[op].durability < Durability::Synced {
            self.is_visible(at);
        }
        if let Some(what) = self.canary.and_then(|canary| canary(&self.history)) {
            self.fail(what);
        }
        if let Change::Create { group, name } = self.history[at].change.clone() {
            self.is_free(&name);
            let highest = self.created.last_key_value().and_then(|(id, _)| self.dropped.get(id));
            if highest.is_some_and(|&dropped| dropped < self.recovered) {
                // Nothing but the next id, which the catalogue keeps, says which ids were used.
                self.tally.one("groups/made after the highest id was dropped");
            }
            let before = self.created.insert(group, at);
            if before.is_some() {
                self.fail(format!("the id of group {group} was given out twice"));
            }
        }
    }

    /// A group is created: no other one has its name.
    fn is_free(&mut self, name: &str) {
        let same = |at: usize| match &self.history[at].change {
            Change::Create { name: other, .. } => **other == *name,
            _ => false,
        };
        let live = |id: &u32| !self.dropped.contains_key(id);
        let other = self.created.iter().find(|(id, at)| live(id) && same(**at));
        if let Some((other, _)) = other {
            self.fail(format!("group {name:?} is made, and group {other} has that name"));
        }
    }

    fn note(&mut self, at: usize) {
        match &self.history[at].change {
            Change::Put { group, key, .. } | Change::Delete { group, key } => {
                self.by_key.entry((*group, *key)).or_default().push(at);
            }
            Change::Drop { group } => {
                self.dropped.entry(*group).or_insert(at);
            }
            // A truncation is a record of every key that was ever written before it.
            Change::Truncate { group } => {
                let keys = self.by_key.range_mut((*group, 0)..=(*group, KeyNumber::MAX));
                keys.for_each(|(_, known)| known.push(at));
            }
            Change::Create { .. } | Change::NextId(_) | Change::Nothing => {}
        }
    }

    /// A power cut must leave at least this many records. They are known to be durable, so every
    /// later read sees them.
    pub fn require(&mut self, cut: usize) {
        self.must_survive = self.must_survive.max(cut);
        self.must_survive_kill = self.must_survive_kill.max(cut);
        self.are_visible(cut);
    }

    /// The operation returned `Ok`.
    pub fn succeeded(&mut self, op: OpNumber) {
        self.ops[op].outcome = Some("ok".into());
        let records = self.ops[op].records.clone();
        for &at in &records {
            self.is_visible(at);
        }
        let Some(end) = records.last().map(|last| last + 1) else { return };
        self.came_to(end, self.ops[op].durability);
    }

    /// So many records have come to this level.
    pub fn came_to(&mut self, cut: usize, level: Durability) {
        match level {
            Durability::Buffered => {}
            Durability::Written => self.must_survive_kill = self.must_survive_kill.max(cut),
            Durability::Synced => self.require(cut),
        }
    }

    /// The operation ended otherwise.
    pub fn ended(&mut self, op: OpNumber, outcome: impl Into<String>) {
        self.ops[op].outcome = Some(outcome.into());
        self.is_whole(op);
    }

    /// How many records the operation made.
    #[must_use]
    pub fn records_of(&self, op: OpNumber) -> usize {
        self.ops[op].records.len()
    }

    /// The sequence of the first record that the operation made.
    #[must_use]
    pub fn first_of(&self, op: OpNumber) -> Option<u64> {
        self.ops[op].records.first().map(|&at| self.history[at].sequence)
    }

    /// Whether the group was dropped, and that must survive.
    #[must_use]
    pub fn is_gone(&self, group: u32) -> bool {
        self.dropped.get(&group).is_some_and(|&at| at < self.must_survive)
    }

    /// A read or write was told that its group was dropped; `durable`: and that this is durable.
    pub fn was_told_dropped(&mut self, group: u32, durable: bool) {
        self.checks += 1;
        match self.dropped.get(&group) {
            Some(&at) if durable => self.require(at + 1),
            Some(_) => {}
            None => self.fail(format!("group {group} is said to be dropped, and nobody did")),
        }
    }

    /// Whether a drop of the group was accepted.
    #[must_use]
    pub fn is_dropped(&self, group: u32) -> bool {
        self.dropped.contains_key(&group)
    }

    /// A handle of a group was given out.
    pub fn was_given(&mut self, name: &str, group: u32) {
        self.checks += 1;
        let found = self.created.get(&group).copied();
        let named = found.filter(|&at| match &self.history[at].change {
            Change::Create { name: created, .. } => **created == *name,
            _ => false,
        });
        match named {
            Some(_) if self.is_dropped(group) => {
                self.fail(format!("group {name:?} was given as id {group}, which was dropped"));
            }
            Some(at) => self.require(at + 1), // created in the step that found it durable
            None => self.fail(format!("group {name:?} was given as id {group}, never created so")),
        }
    }

    /// Whether another group had the name before.
    #[must_use]
    pub fn was_there_before(&self, name: &str, group: u32) -> bool {
        self.created.iter().any(|(&id, &at)| {
            let create = &self.history[at].change;
            let same = matches!(create, Change::Create { name: created, .. } if **created == *name);
            same && id < group
        })
    }

    /// Finds the first cut from `must_survive` on at which `holds`; it is visible, so it must
    /// survive from now on.
    pub fn witness(&mut self, what: &str, holds: impl Fn(&State) -> bool) {
        self.checks += 1;
        let mut state = State::after(&self.history[..self.must_survive]);
        for cut in self.must_survive..=self.history.len() {
            if is_legal(&self.history, cut) && holds(&state) {
                return self.require(cut);
            }
            if let Some(record) = self.history.get(cut) {
                state.apply(&record.change);
            }
        }
        self.fail(format!("{what} fits no state from cut {} on", self.must_survive));
    }

    /// The first cut that the next recovery may show.
    #[must_use]
    pub fn required(&self, power_was_lost: bool) -> usize {
        if power_was_lost { self.must_survive } else { self.must_survive_kill }
    }

    /// Recovery showed the state at `cut`: that stays, and nothing else is left.
    pub fn recovered(&mut self, cut: usize) {
        self.forgotten.extend(self.history.drain(cut..));
        self.must_survive = cut;
        self.must_survive_kill = cut;
        self.recovered = cut;
        self.closing = false;
        self.gave_up = false;
        self.was_full = false;
        self.pauses = 0;
        self.visible = 0;
        self.by_key.clear();
        self.floors.clear();
        self.created.clear();
        self.dropped.clear();
        for at in 0..cut {
            self.note(at);
            self.are_visible(at + 1);
            if let Change::Create { group, .. } = self.history[at].change {
                self.created.insert(group, at);
            }
        }
    }
}

/// What a record of the catalogue says; see the engine's `groups` module.
fn catalogue_change(key: &[u8], value: Option<&[u8]>) -> Result<Change, String> {
    match (key, value) {
        (&[b'g', a, b, c, d], value) => {
            let group = u32::from_le_bytes([a, b, c, d]);
            let Some(name) = value else { return Ok(Change::Drop { group }) };
            let name = std::str::from_utf8(name).map_err(|error| error.to_string())?;
            Ok(Change::Create { group, name: name.into() })
        }
        (&[b't', a, b, c, d], Some([])) => {
            Ok(Change::Truncate { group: u32::from_le_bytes([a, b, c, d]) })
        }
        (&[b't', _, _, _, _], None) => Ok(Change::Nothing),
        (b"n", Some(&[a, b, c, d])) => Ok(Change::NextId(u32::from_le_bytes([a, b, c, d]))),
        _ => Err("the catalogue has no such record".into()),
    }
}

#[cfg(test)]
mod tests;
