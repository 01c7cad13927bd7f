//! What gives room back where tombstones are in the way: the slot that they wait for, and what is
//! open although much of it is dead.
//!
//! 1. Closed, an output is a victim like any other.
//! 2. A put has the slot rewritten only where tombstones are many; a delete, which must not be
//!    refused, for any.
//!
//! Absent on purpose: when that is looked at; compaction asks, and whoever waits for room.

use std::time::Duration;

use super::State;
use super::compaction::{Run, Why};
use super::gather::Batch;
use crate::rewrites::{Destination, Output};
use crate::segments::{SegmentState, worth_rewriting};
use crate::types::SegmentId;

/// Tombstones of this share of the store in use, in percent, make the slot they wait for a victim.
pub(super) const TOMBSTONE_PERCENT: u64 = 5;

/// The same where somebody waits for room.
pub(super) fn tombstone_percent(deletes: bool) -> u64 {
    if deletes { 0 } else { TOMBSTONE_PERCENT }
}

impl State {
    /// When tombstones have piled up: the slot whose generation is the lowest, so that they need
    /// not wait for it any more.
    pub(super) fn next_for_tombstones(&self, now: Duration, why: Why, percent: u64) -> Option<Run> {
        let oldest = self.waited_for(percent).filter(|&id| self.is_ready(id, now))?;
        let mut batch = Batch::new(self, why);
        batch.add(self, oldest);
        batch.run(self, 0) // to a segment with others: this is not about sorting
    }

    /// The slot whose generation is the lowest, if many tombstones wait for it or for others.
    fn waited_for(&self, percent: u64) -> Option<SegmentId> {
        let waiting = self.segments.totals().tombstones * 100;
        let many = waiting > self.used_bytes() * percent;
        let oldest = self.segments.oldest().filter(|_| many)?;
        self.segments.oldest_is_waited_for(self.open.keys().copied()).then_some(oldest)
    }

    /// Closes what tombstones wait for, if that is open: then it can be rewritten. `false` if there
    /// was nothing to close.
    pub(super) fn close_waited_for(&mut self, deletes: bool) -> bool {
        let waited_for = self.waited_for(tombstone_percent(deletes));
        let Some(oldest) = waited_for.filter(|_| self.compaction.running.is_none()) else {
            return false;
        };
        let open = self.segments.get(oldest).state == SegmentState::Active;
        if open {
            self.close_if_open(oldest);
        }
        open
    }

    /// Closes outputs in which so much is dead that rewriting them is worth it: what is open is no
    /// victim. `false` if there was nothing to close.
    pub(super) fn close_spent_outputs(&mut self, now: Duration) -> bool {
        if self.compaction.running.is_some() || !self.may_compact(now) {
            return false;
        }
        let worth = worth_rewriting(self.segments.data_len());
        let spent = |output: &Output| {
            let id = output.tail.segment;
            let passed = self.segments.guard_has_passed(id);
            self.segments.get(id).spent_before(output.tail.offset, passed) >= worth
        };
        let outputs = self.rewrites.outputs.iter().filter(|(_, output)| spent(output));
        let outputs: Vec<Destination> = outputs.map(|(&at, _)| at).collect();
        for &destination in &outputs {
            self.close_output(destination);
        }
        !outputs.is_empty()
    }
}
