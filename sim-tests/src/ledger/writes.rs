//! What calls mean to write, against what the engine accepts for them.
//!
//! The history is what the engine says that it accepted. That this is what was asked for is seen
//! here, before anything is judged by it.
//!
//! 1. The records of a call are those that it meant to make, in that order, with their values.
//! 2. They are all there or none is, and they are one batch.
//! 3. A call that means to write nothing changes no key.
//!
//! Absent on purpose: records of the catalogue. Creating, dropping and truncating are known by the
//! name of the group only, and what they did is judged by that.

use super::compares::Meant;
use super::{Facts, OpNumber};
use crate::model::{Change, Record};

impl Facts {
    /// What the operation means to write, and requires for that.
    pub fn intends(&mut self, op: OpNumber, meant: impl Into<Meant>) {
        let Meant { changes, required } = meant.into();
        (self.ops[op].intended, self.ops[op].required) = (changes, required);
    }

    /// Judges the newest record.
    pub(super) fn was_intended(&mut self, op: OpNumber) {
        let Some(record) = self.history.last().filter(|record| is_of_key(record)) else { return };
        let mut made = self.made(op);
        let (first, before) = (made.next(), made.count());
        let meant = self.ops[op].intended.get(before);
        if meant != Some(&record.change) {
            return self.fail(format!("accepted {record}, and op {op} meant {meant:?}"));
        }
        if first.is_some_and(|first| first.batch != record.batch) {
            self.fail(format!("accepted {record}, and op {op} had begun another batch"));
        }
    }

    /// The records of keys that the operation made.
    fn made(&self, op: OpNumber) -> impl Iterator<Item = &Record> {
        let records = self.ops[op].records.iter().map(|&at| &self.history[at]);
        records.filter(|record| is_of_key(record))
    }

    /// Judges an operation that ended, in whatever way: it was accepted whole or not at all.
    pub(super) fn is_whole(&mut self, op: OpNumber) {
        let (made, meant) = (self.made(op).count(), self.ops[op].intended.len());
        if meant > 0 && made != 0 && made != meant {
            self.fail(format!("op {op} ended with {made} records of {meant}"));
        }
    }
}

fn is_of_key(record: &Record) -> bool {
    matches!(record.change, Change::Put { .. } | Change::Delete { .. })
}
