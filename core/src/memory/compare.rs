//! What must hold of keys when a batch is accepted.
//!
//! A batch with requirements is checked and accepted in one step, so nothing comes between. What is
//! checked is the newest *accepted* write of each key, whether readers may see it or not: two
//! callers that both want a key to be absent cannot both be right, however long the first one takes
//! to be durable.
//!
//! | the newest accepted write is | what is known |
//! |---|---|
//! | a truncation of the group, on its way | the key is absent |
//! | on its way, readable | everything; of a large value, what was read of it |
//! | on its way, `Synced` | its number, and whether it deletes; its value once it is durable |
//! | in the index | its place; number and value once its record was read |
//! | nowhere | the key is absent |
//!
//! 1. What was read of a record holds for as long as it is the newest: the step looks whether the
//!    index points at the same place in the same life, or the pending write has the same number.
//! 2. An answer that follows from a write that nobody may see yet waits until that is durable
//!    (promise P5): [`Verdict`] says so.
//!
//! Absent on purpose: reading. A step says what it does not know, and is asked again.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Accepted, NewBatch, Refused, State};
use crate::catalog::{PendingWrite, Readable};
use crate::log::Failure;
use crate::options::Durability;
use crate::types::{Generation, GroupId, KeyHash, Location, Sequence};

/// What must hold of one key.
#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    pub(crate) group: GroupId,
    pub(crate) hash: KeyHash,
    pub(crate) key: Bytes,
    pub(crate) expected: Expected,
    /// What was read of the key.
    pub(crate) evidence: Option<Evidence>,
}

/// What the key is expected to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Absent,
    Present,
    Version(Sequence),
    Value(Bytes),
}

/// What was read of a write of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) sequence: Sequence,
    /// Where its record lay, and the generation that it had there, unless it was on its way.
    pub(crate) place: Option<(Location, Generation)>,
    /// Whether its value is the one that is expected.
    pub(crate) is_value: bool,
}

/// What came of a batch with requirements, whose numbers are their places in the list.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// All hold, and the batch was accepted.
    Accepted(Accepted),
    /// One does not hold: the key has this version, or none. The answer may be given when `done`
    /// says so.
    Fails {
        number: usize,
        present: Option<Sequence>,
        done: Option<oneshot::Receiver<Result<(), Failure>>>,
    },
    /// Whether one holds is not known before its key was read.
    Unread { number: usize },
    /// Whether one holds is not known before what is on its way is durable.
    OnItsWay { number: usize },
}

/// What is known of the newest accepted write of a key.
struct Newest {
    /// Its number, if it is no delete.
    present: Option<Sequence>,
    /// Whether it has the value that is expected, if that is known.
    is_value: Option<bool>,
    /// Readers may not see it yet.
    unseen: bool,
}

impl Expected {
    /// Whether a key with this version, or none, is as expected; `is_value`: it has the value.
    pub(crate) fn holds(&self, present: Option<Sequence>, is_value: bool) -> bool {
        match self {
            Self::Absent => present.is_none(),
            Self::Present => present.is_some(),
            Self::Version(version) => present == Some(*version),
            Self::Value(_) => present.is_some() && is_value,
        }
    }
}

impl Newest {
    const fn absent(unseen: bool) -> Self {
        Self { present: None, is_value: Some(false), unseen }
    }
}

impl State {
    /// Accepts a batch if everything that is required holds, in one step.
    pub(crate) fn accept_if(
        &mut self,
        batch: &NewBatch,
        requirements: &[Requirement],
        now: Duration,
    ) -> Result<Verdict, Refused> {
        self.check_open()?;
        for group in requirements.iter().map(|one| one.group) {
            self.check_group(group)?;
        }
        let mut level = batch.durability;
        for (number, one) in requirements.iter().enumerate() {
            let Some(newest) = self.newest(one) else { return Ok(Verdict::Unread { number }) };
            let Newest { present, is_value, unseen } = newest;
            if let (Expected::Value(_), Some(_), None) = (&one.expected, present, is_value) {
                return Ok(Verdict::OnItsWay { number });
            }
            if !one.expected.holds(present, is_value.unwrap_or(false)) {
                let done = if unseen { self.all_synced() } else { None };
                return Ok(Verdict::Fails { number, present, done });
            }
            if unseen {
                level = Durability::Synced;
            }
        }
        self.accept_to(batch, level, now).map(Verdict::Accepted)
    }

    /// `None` if the record must be read first.
    fn newest(&self, one: &Requirement) -> Option<Newest> {
        let group = self.groups.get(one.group).expect("the group was looked up before");
        let known = |sequence| one.evidence.filter(|evidence| evidence.sequence == sequence);
        let newest = group.pending.newest(one.hash);
        if let Some(write) = newest.filter(|write| group.truncating < Some(write.sequence)) {
            let PendingWrite { sequence, deletes, shown } = write;
            if *deletes {
                return Some(Newest::absent(shown.is_none()));
            }
            let is_value = match (shown, &one.expected) {
                (Some((_, Readable::Value(value))), Expected::Value(expected)) => {
                    Some(value == expected)
                }
                (Some((_, Readable::Large(..))), Expected::Value(_)) => {
                    Some(known(*sequence)?.is_value)
                }
                _ => None,
            };
            return Some(Newest { present: Some(*sequence), is_value, unseen: shown.is_none() });
        }
        if group.truncating.is_some() {
            return Some(Newest::absent(true));
        }
        let Some(at) = group.index.get(one.hash) else { return Some(Newest::absent(false)) };
        let place = (at, self.segments.get(at.segment()).generation);
        let evidence = one.evidence.filter(|evidence| evidence.place == Some(place))?;
        let present = Some(evidence.sequence);
        Some(Newest { present, is_value: Some(evidence.is_value), unseen: false })
    }

    /// Completes when everything accepted so far is durable; `None` if it is.
    fn all_synced(&mut self) -> Option<oneshot::Receiver<Result<(), Failure>>> {
        let (sender, done) = oneshot::channel();
        self.calls.writer = true;
        self.log.wait_for_all(Durability::Synced, sender).then_some(done)
    }
}
