//! What is kept beside the slots, so that nobody need look at all of them: sums, and in which lists
//! a slot stands. Both follow from the slot alone.
//!
//! Absent on purpose: the lists themselves; they belong to all slots together.

use super::slot::{SegmentState, Slot};
use super::victims::Rank;
use crate::types::Generation;

/// Sums over all slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Bytes of live records.
    pub(crate) live: u64,
    /// Bytes of tombstones that are still needed.
    pub(crate) tombstones: u64,
    /// Sealed segments of the log with live records of several groups.
    pub(crate) mixed: u64,
    /// Segments with a live piece of a large value.
    pub(crate) large: u64,
    /// Bytes of these pieces, which are in `live` as well.
    pub(crate) large_live: u64,
}

impl Totals {
    pub(super) fn add(&mut self, slot: &Slot) {
        self.live += slot.live;
        self.tombstones += slot.waiting_tombstones();
        self.mixed += u64::from(slot.awaits_separation());
        let large = slot.live_piece();
        self.large += u64::from(large > 0);
        self.large_live += large;
    }

    pub(super) fn sub(&mut self, slot: &Slot) {
        self.live -= slot.live;
        self.tombstones -= slot.waiting_tombstones();
        self.mixed -= u64::from(slot.awaits_separation());
        let large = slot.live_piece();
        self.large -= u64::from(large > 0);
        self.large_live -= large;
    }
}

/// In which lists a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Sealed and dead: what retiring it waits for, zero without tombstones.
    pub(super) dead: Option<Generation>,
    /// Sealed, with tombstones that wait for this.
    pub(super) guarded: Option<Generation>,
    /// Sealed, with records.
    pub(super) rank: Option<Rank>,
}

impl Listing {
    pub(super) fn of(slot: &Slot, data_len: u64) -> Self {
        if slot.state != SegmentState::Sealed {
            return Self { dead: None, guarded: None, rank: None };
        }
        let guard = if slot.tombstones == 0 { Generation::ZERO } else { slot.guard };
        let dead = (slot.live == 0).then_some(guard);
        let guarded = (slot.waiting_tombstones() > 0).then_some(slot.guard);
        let rank = (!slot.kind.is_large()).then(|| Rank::of(slot, data_len));
        Self { dead, guarded, rank }
    }
}
