//! What a read may give, with clients that share keys and the order of acceptance known.
//!
//! ```text
//!   records of a key:   a1 ──── a2 ──── a3 ──── a4 ──── a5        in order of acceptance
//!                               ^ floor                 ^ accepted when the read takes effect
//!                               a2, a3 or a4: one of them was current at that moment
//! ```
//!
//! Definitions. A write takes effect where it is accepted, in a poll of its own call. A read takes
//! effect in its first poll, where the engine looks the key up. Both lie within the interval from
//! call to return, so a run that passes is linearizable key by key, in the order of acceptance; a
//! call that was given up took effect before that, or never. A record is *visible* if every read
//! that takes effect from now on gives it or a newer one of its key; the newest visible record of a
//! key is its *floor*.
//!
//! 1. A `Buffered` or `Written` record is visible once it is accepted.
//! 2. A `Synced` one is so at the latest when its call returned, or when anybody saw it.
//! 3. Writes become durable in order. So where a `Synced` record was seen, or anything else that is
//!    durable, all records before it are visible, of whatever key and group. That holds of those of
//!    its own batch, too: who saw one key of a batch cannot miss the others afterwards.
//! 4. A read gives the floor of its key, or a newer record that was accepted when it took effect.
//!    So reads that follow each other never go back, whoever makes them.
//! 5. A `Synced` record that was seen must survive, with all before it (promise P5).
//!
//! Of several records that fit what was read (absence, short values) the oldest one is taken: it
//! asks the least of later reads and of crashes, so whatever any choice explains, this one does.
//! A read costs a look at the records of its key from the floor on; every record becomes visible
//! once.
//!
//! Entries of a scan are reads of moments that are known less well: see [`crate::client`]. They
//! tell the version of what they show, so of them it is known which record it was.
//!
//! Absent on purpose: when a `Synced` write becomes
//! durable, which only the disk knows: that it was shown too early is seen when a crash takes it.

use std::fmt;

use logstor_core::Durability;

use super::{Facts, OpNumber};
use crate::model::{Change, KeyNumber, Record};
use crate::value::{self, Value};

/// What a read showed of the value of a key; of one that is not there, `None`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// All of it.
    Value(Option<Value>),
    /// That it has at least and at most so many bytes.
    Size(Option<(u64, u64)>),
}

impl fmt::Debug for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(out, "{value:?}"),
            Self::Size(None) => out.write_str("no size"),
            Self::Size(Some((least, most))) => write!(out, "{least} to {most} bytes"),
        }
    }
}

impl Facts {
    /// Whether a value that was written, or none, shows itself so.
    fn fits(&self, seen: Seen, written: Option<&Value>) -> bool {
        match (seen, written) {
            (Seen::Value(value), written) => value.as_ref() == written,
            (Seen::Size(size), None) => size.is_none(),
            (Seen::Size(size), Some(written)) => {
                let len = self.len_of(written);
                size.zip(len).is_some_and(|((least, most), len)| (least..=most).contains(&len))
            }
        }
    }

    /// Every later read must see record `at`, or a newer one of its key.
    pub(super) fn is_visible(&mut self, at: usize) {
        let mut raise = |slot: (u32, KeyNumber)| {
            let floor = self.floors.entry(slot).or_default();
            *floor = (*floor).max(at);
        };
        match self.history[at].change {
            Change::Put { group, key, .. } | Change::Delete { group, key } => raise((group, key)),
            Change::Truncate { group } => {
                let keys = self.by_key.range((group, 0)..=(group, KeyNumber::MAX));
                let known_then = keys.filter(|(_, known)| known.binary_search(&at).is_ok());
                known_then.for_each(|(&slot, _)| raise(slot));
            }
            _ => {}
        }
    }

    /// Something that is durable was seen: all records before `cut` are visible (law 3).
    pub(super) fn are_visible(&mut self, cut: usize) {
        for at in self.visible..cut {
            self.is_visible(at);
        }
        self.visible = self.visible.max(cut);
    }

    /// The end of the batch that record `at` is of.
    fn batch_end(&self, at: usize) -> usize {
        let batch = self.history[at].batch;
        let rest = self.history[at..].iter();
        at + rest.take_while(|record| record.batch == batch).count()
    }

    /// What every read that begins now must see, or newer.
    #[must_use]
    pub fn floor(&self, group: u32, key: KeyNumber) -> Option<usize> {
        self.floors.get(&(group, key)).copied()
    }

    /// What is to be noted when a read of a key begins: its floor, how many records were accepted
    /// by then, and whether its group is durably dropped.
    #[must_use]
    pub fn read_begins(&self, (group, key): (u32, KeyNumber)) -> (Option<usize>, usize, bool) {
        (self.floor(group, key), self.history.len(), self.is_gone(group))
    }

    /// Judges the bytes that a read gave; see [`Facts::seen`].
    pub fn gave(
        &mut self,
        op: OpNumber,
        slot: (u32, KeyNumber),
        (floor, accepted): (Option<usize>, usize),
        bytes: Option<&[u8]>,
    ) {
        match bytes.map(value::parse).transpose() {
            Ok(value) => self.seen(slot, floor, accepted, value),
            Err(what) => self.fail(format!("op {op}: {what}")),
        }
    }

    /// Judges what a read gave, that looked the key up when there were `accepted` records and its
    /// floor was `floor`.
    pub fn seen(
        &mut self,
        slot: (u32, KeyNumber),
        floor: Option<usize>,
        accepted: usize,
        value: Option<Value>,
    ) {
        self.seen_as(slot, floor, accepted, Seen::Value(value));
    }

    /// The same of a read that perhaps showed less than the value.
    pub fn seen_as(
        &mut self,
        (group, key): (u32, KeyNumber),
        floor: Option<usize>,
        accepted: usize,
        seen: Seen,
    ) {
        self.checks += 1;
        let known = self.by_key.get(&(group, key)).map_or(&[][..], Vec::as_slice);
        let fits = |at: usize| match &self.history[at].change {
            Change::Put { value: written, .. } => self.fits(seen, Some(written)),
            _ => self.fits(seen, None),
        };
        let from = known.partition_point(|&at| Some(at) < floor);
        let until = known.partition_point(|&at| at < accepted);
        let candidates = known.get(from..until).unwrap_or_default();
        let choice = candidates.len() + usize::from(floor.is_none()) > 1;
        if floor.is_none() && self.fits(seen, None) {
            return self.tally.add("reads/of several versions", choice.into());
        }
        let Some(at) = candidates.iter().copied().find(|&at| fits(at)) else {
            let what = format!(
                "a read of key {key} in group {group} gave {seen:?}; it had to see record \
                 {floor:?} or one below {accepted}:{}",
                self.told_of((group, key))
            );
            return self.fail(what);
        };
        self.tally.add("reads/of several versions", choice.into());
        self.was_seen(at);
    }

    /// Judges an entry, which says of which write it is: its version, and the value if it has that.
    pub fn seen_version(
        &mut self,
        (group, key): (u32, KeyNumber),
        floor: Option<usize>,
        accepted: usize,
        (version, value): (u64, Option<Value>),
    ) {
        self.checks += 1;
        let known = self.by_key.get(&(group, key)).map_or(&[][..], Vec::as_slice);
        let in_time = |at: usize| Some(at) >= floor && at < accepted;
        let is_it = |at: usize| match &self.history[at] {
            Record { sequence, change: Change::Put { value: written, .. }, .. } => {
                *sequence == version && value.is_none_or(|value| value == *written)
            }
            _ => false,
        };
        match known.iter().copied().find(|&at| in_time(at) && is_it(at)) {
            Some(at) => self.was_seen(at),
            None => self.fail(format!(
                "an entry of key {key} in group {group} has version {version} and {value:?}; it \
                 had to be record {floor:?} or one below {accepted}:{}",
                self.told_of((group, key))
            )),
        }
    }

    /// Whether a read could have missed the key at some moment: its floor then was `floor`, and
    /// there were `accepted` records at the end.
    #[must_use]
    pub fn was_absent(
        &self,
        slot: (u32, KeyNumber),
        floor: Option<usize>,
        accepted: usize,
    ) -> bool {
        let known = self.by_key.get(&slot).map_or(&[][..], Vec::as_slice);
        let mut candidates = known.iter().filter(|&&at| Some(at) >= floor && at < accepted);
        let puts = |at: usize| matches!(self.history[at].change, Change::Put { .. });
        floor.is_none() || candidates.any(|&at| !puts(at))
    }

    /// The records of a key, in words.
    #[must_use]
    pub fn told_of(&self, slot: (u32, KeyNumber)) -> String {
        let known = self.by_key.get(&slot).map_or(&[][..], Vec::as_slice);
        let lines: Vec<String> =
            known.iter().map(|&at| format!("\n    {at}: {}", self.told(at))).collect();
        lines.concat()
    }

    /// A read showed record `at`.
    fn was_seen(&mut self, at: usize) {
        self.is_visible(at);
        if self.ops[self.history[at].op].durability == Durability::Synced {
            let end = self.batch_end(at);
            self.tally.add("reads/that show other writes", (self.visible < at).into());
            self.tally.add("reads/that show a batch", (self.visible < end && at + 1 < end).into());
            self.require(end);
        }
    }

    /// A delete was done without a record: the key was absent, and that is durable.
    pub fn seen_absent(&mut self, slot: (u32, KeyNumber), accepted: usize) {
        let known = self.by_key.get(&slot).map_or(&[][..], Vec::as_slice);
        let is = |at: usize, truncation: bool| {
            matches!(self.history[at].change, Change::Truncate { .. }) == truncation
        };
        // If the key's own last record is a put, the next truncation ended it. Others may be on
        // their way: they change nothing.
        let own = known.iter().rposition(|&at| is(at, false));
        let ended = match own.map(|own| &self.history[known[own]].change) {
            Some(Change::Put { .. }) => own.and_then(|own| known.get(own + 1).or(known.get(own))),
            Some(_) => own.and_then(|own| known.get(own)),
            None => None,
        }
        .copied();
        self.seen(slot, ended, accepted, None);
        self.require(ended.map_or(0, |ended| ended + 1));
    }
}
