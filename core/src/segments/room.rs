//! Slots whose room goes back to the device, and comes again.
//!
//! 1. A hollow slot is erased: what its first block says is what a free slot's says.
//! 2. It is handed out only after it was filled again.
//! 3. Slots at or above the limit are in files that are to go: none of them becomes free.
//!
//! Absent on purpose: when that is worth it; that is decided above.

use super::{SegmentState, Segments, Slot};
use crate::types::{Generation, SegmentId, to_u32, to_usize};

impl Segments {
    /// Whether the slot is there, its file not given back, and still in this life.
    pub(crate) fn is_in_life(&self, id: SegmentId, generation: Generation) -> bool {
        self.slots.get(to_usize(id.get())).is_some_and(|slot| slot.generation == generation)
    }

    /// Adds the slot of a new file after the last one. It is not free if its file is to go already.
    pub(crate) fn push_fresh(&mut self) {
        let goes = self.slots.len() >= to_usize(self.limit.get());
        let state = if goes { SegmentState::Hollow } else { SegmentState::Free };
        self.push(Slot { state, ..Slot::fresh() });
    }

    /// Free slots before this one.
    pub(crate) fn free_below(&self, end: SegmentId) -> usize {
        self.free.iter().filter(|&&id| id < end).count()
    }

    /// Whether some segment that takes no more buffers has no seal yet.
    pub(crate) fn waits_for_seal(&self) -> bool {
        self.slots.iter().any(|slot| slot.state == SegmentState::Sealed && slot.holds > 0)
    }

    /// Hollow slots, whether they may be filled or not.
    pub(crate) fn hollow(&self) -> usize {
        self.hollow.len()
    }

    /// Hollow slots that may be filled, the first ones first.
    pub(crate) fn fillable(&self) -> impl Iterator<Item = SegmentId> {
        self.hollow.range(..self.limit).copied()
    }

    /// Takes up to `count` free slots out, from the end of the files: their room is to go.
    pub(crate) fn hollow_out(&mut self, count: usize) -> Vec<SegmentId> {
        let mut last: Vec<SegmentId> = self.free.iter().copied().collect();
        last.sort_unstable_by(|a, b| b.cmp(a));
        last.truncate(count);
        for &id in &last {
            self.make_hollow(id);
        }
        last
    }

    fn make_hollow(&mut self, id: SegmentId) {
        self.free.retain(|&free| free != id);
        self.change(id, |slot| slot.enter(SegmentState::Hollow, id));
        self.hollow.insert(id);
    }

    /// `id` has room on the device again, and zeros behind its first block.
    pub(crate) fn filled(&mut self, id: SegmentId) {
        if id >= self.limit {
            return; // its file is to go meanwhile
        }
        self.hollow.remove(&id);
        self.change(id, |slot| slot.enter(SegmentState::Free, id));
        self.free.push_back(id);
    }

    /// Slots from here on are not handed out any more, because their files are to go.
    pub(crate) fn set_limit(&mut self, limit: SegmentId) {
        self.limit = limit;
        let beyond: Vec<SegmentId> = self.free.iter().copied().filter(|&id| id >= limit).collect();
        for id in beyond {
            self.make_hollow(id);
        }
    }

    pub(crate) fn limit(&self) -> SegmentId {
        self.limit
    }

    /// Whether some file is to go.
    pub(crate) fn shrinks(&self) -> bool {
        self.limit < SegmentId::new(to_u32(self.slots.len()))
    }

    /// Whether the last `count` slots hold nothing.
    pub(crate) fn end_is_hollow(&self, count: u32) -> bool {
        let first = to_u32(self.slots.len()).saturating_sub(count);
        self.hollow.range(SegmentId::new(first)..).count() == to_usize(count)
    }

    /// Forgets the last `count` slots, which are hollow: their file goes.
    pub(crate) fn forget_end(&mut self, count: u32) {
        assert!(self.end_is_hollow(count));
        let left = to_u32(self.slots.len()) - count;
        self.slots.truncate(to_usize(left));
        self.hollow.split_off(&SegmentId::new(left));
    }
}
