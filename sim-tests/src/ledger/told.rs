//! The facts in words, for messages and for the story of a run.
//!
//! Absent on purpose: judging.

use super::Facts;
use crate::model::{Change, KeyNumber};

/// One accepted record, with what became of its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its place in the history.
    pub at: usize,
    /// The group that it is of, if it is of one.
    pub group: Option<u32>,
    /// The key, if it is of one.
    pub key: Option<KeyNumber>,
    /// The operation's number.
    pub op: usize,
    /// What it says, in words.
    pub text: String,
    /// The operation in words, and its durability.
    pub by: String,
    /// What came of that.
    pub outcome: String,
}

impl Facts {
    /// A record, with what became of its operation.
    pub(super) fn told(&self, at: usize) -> String {
        let record = &self.history[at];
        let op = &self.ops[record.op];
        let outcome = op.outcome.as_deref().unwrap_or("under way");
        format!("{record}; {} ({:?}): {outcome}", op.what, op.durability)
    }

    /// The operations named in a message, with what became of them.
    #[must_use]
    pub fn explain_ops(&self, text: &str) -> String {
        let mut lines = String::new();
        for (number, op) in self.ops.iter().enumerate() {
            if text.contains(&format!("op {number})")) {
                let outcome = op.outcome.as_deref().unwrap_or("under way");
                let (what, durability) = (&op.what, op.durability);
                let line = format!("\n  op {number}: {what} ({durability:?}): {outcome}");
                lines.push_str(&line);
            }
        }
        lines
    }

    /// The whole history.
    #[must_use]
    pub fn told_all(&self) -> Vec<History> {
        let told = |at: usize| {
            let record = &self.history[at];
            let (group, key) = match record.change {
                Change::Put { group, key, .. } | Change::Delete { group, key } => {
                    (Some(group), Some(key))
                }
                Change::Create { group, .. }
                | Change::Drop { group }
                | Change::Truncate { group } => (Some(group), None),
                Change::Nothing | Change::NextId(_) => (None, None),
            };
            let op = &self.ops[record.op];
            History {
                at,
                group,
                key,
                op: record.op,
                text: format!("{}: {:?}", record.sequence, record.change),
                by: format!("{} ({:?})", op.what, op.durability),
                outcome: op.outcome.clone().unwrap_or_else(|| "under way".into()),
            }
        };
        (0..self.history.len()).map(told).collect()
    }
}
