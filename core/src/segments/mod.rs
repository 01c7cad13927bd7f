//! The life of segments: who may append, who may read, who may reuse.
//!
//! ```text
//!          take            seal              retire            erased
//!  Free ─────────> Active ──────> Sealed ────────────> Retired ───────> Free
//!                                    │                     │
//!                                    │ part of it is lost  │ erasing failed
//!                                    └───> Quarantined <───┘
//! ```
//!
//! Definitions: a segment is *dead* when nothing in it is live. It is *held* while a buffer in it
//! is not yet known to the index or its seal is still to be written. Its *guard* is the highest
//! generation that may hold an older version of a key that it has a tombstone of.
//!
//! 1. Only a free slot is handed out, and a slot is free only after it was durably erased.
//! 2. A segment is retired only when it is sealed, dead, not held and not pinned.
//! 3. With tombstones in it, it is retired only when no other slot has a generation at or below
//!    its guard on disk. *Freed is not gone*: a retired slot counts until it is erased.
//! 4. The last [`RESERVE`] free slots are for deletes and for writing again what failed.
//!
//! There are no copies of records yet, and buffers written again go to newer segments in log
//! order. So an older version of a key lies in the same or an older segment than its tombstone,
//! and a segment's guard is its own generation. Rewrites will widen it.
//!
//! Absent on purpose: this module never touches the device, and picks no victims.

mod slot;

use std::collections::{BTreeSet, VecDeque};

pub(crate) use slot::{SegmentState, Slot};

use crate::types::{BufferNumber, ByteLen, Generation, SegmentId};

/// Free slots that puts may not take.
pub(crate) const RESERVE: usize = 2;

/// Who asks for a free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Writes that add data.
    Put,
    /// Writes that only delete; they may use the reserve, but for its last slot.
    Delete,
    /// Buffers whose first writing failed.
    Again,
}

impl Claim {
    /// Free slots that must remain after the claim took one.
    fn leaves(self) -> usize {
        match self {
            Self::Put => RESERVE,
            Self::Delete => 1,
            Self::Again => 0,
        }
    }
}

/// All slots of the store.
#[derive(Debug)]
pub(crate) struct Segments {
    slots: Vec<Slot>,
    // Invariant: exactly the slots in state `Free`.
    free: VecDeque<SegmentId>,
    // Invariant: the generation of every slot that has one on disk, or may have.
    on_disk: BTreeSet<(Generation, SegmentId)>,
    // Invariant: sealed, dead segments; the ones to look at for retiring.
    dead: BTreeSet<SegmentId>,
    next_generation: Generation,
}

impl Segments {
    pub(crate) fn new(next_generation: Generation) -> Self {
        Self {
            slots: Vec::new(),
            free: VecDeque::new(),
            on_disk: BTreeSet::new(),
            dead: BTreeSet::new(),
            next_generation,
        }
    }

    /// Adds the slot after the last one. Recovery and growth know what is on it.
    pub(crate) fn push(&mut self, slot: Slot) {
        let id = self.next_id();
        if slot.state == SegmentState::Free {
            self.free.push_back(id);
        }
        if slot.generation > Generation::ZERO {
            self.on_disk.insert((slot.generation, id));
        }
        self.slots.push(slot);
        self.note_if_dead(id);
    }

    fn next_id(&self) -> SegmentId {
        SegmentId::new(crate::types::to_u32(self.slots.len()))
    }

    pub(crate) fn get(&self, id: SegmentId) -> &Slot {
        &self.slots[crate::types::to_usize(id.get())]
    }

    fn get_mut(&mut self, id: SegmentId) -> &mut Slot {
        &mut self.slots[crate::types::to_usize(id.get())]
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SegmentId, &Slot)> {
        (0_u32..).map(SegmentId::new).zip(&self.slots)
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn next_generation(&self) -> Generation {
        self.next_generation
    }

    /// Whether `claim` would get a slot, as far as free slots go.
    pub(crate) fn has_room_for(&self, claim: Claim) -> bool {
        self.free.len() > claim.leaves()
    }

    /// Whether puts may go on using a segment that is already open: the reserve is whole.
    pub(crate) fn reserve_is_whole(&self) -> bool {
        self.free.len() >= RESERVE
    }

    /// Opens a free slot for writing, under the next generation.
    pub(crate) fn take(&mut self, claim: Claim) -> Option<(SegmentId, Generation)> {
        if !self.has_room_for(claim) {
            return None;
        }
        let id = self.free.pop_front()?;
        let generation = self.next_generation;
        self.next_generation = generation.next();
        let slot = self.get_mut(id);
        let before = slot.generation;
        slot.enter(SegmentState::Active, id);
        slot.open(generation);
        self.on_disk.remove(&(before, id));
        self.on_disk.insert((generation, id));
        Some((id, generation))
    }

    /// No more appends to `id`.
    pub(crate) fn seal(&mut self, id: SegmentId) {
        self.get_mut(id).enter(SegmentState::Sealed, id);
        self.note_if_dead(id);
    }

    /// A buffer in `id` is on its way, or its seal is to be written: it may not be retired.
    pub(crate) fn hold(&mut self, id: SegmentId) {
        self.get_mut(id).holds += 1;
    }

    /// One hold less.
    pub(crate) fn release(&mut self, id: SegmentId) {
        let slot = self.get_mut(id);
        assert!(slot.holds > 0, "{id:?} is released once a hold");
        slot.holds -= 1;
    }

    /// A reader is about to read from `id`.
    pub(crate) fn pin(&mut self, id: SegmentId) {
        let slot = self.get_mut(id);
        assert!(!matches!(slot.state, SegmentState::Free | SegmentState::Retired));
        slot.pins += 1;
    }

    /// A reader is done; `true` if the segment may now be ready to retire.
    pub(crate) fn unpin(&mut self, id: SegmentId) -> bool {
        let slot = self.get_mut(id);
        assert!(slot.pins > 0, "{id:?} is unpinned once a pin");
        slot.pins -= 1;
        slot.pins == 0 && self.dead.contains(&id)
    }

    /// `len` bytes of `id` became live.
    pub(crate) fn add_live(&mut self, id: SegmentId, len: ByteLen) {
        self.get_mut(id).live += u64::from(len.get());
        self.dead.remove(&id);
    }

    /// `len` bytes of `id` died; `true` if that was the last of it.
    pub(crate) fn sub_live(&mut self, id: SegmentId, len: ByteLen) -> bool {
        let slot = self.get_mut(id);
        let left = slot.live.checked_sub(u64::from(len.get()));
        slot.live = left.expect("a record dies once, and was counted live until then");
        self.note_if_dead(id)
    }

    /// `id` holds a tombstone of `len` bytes more.
    pub(crate) fn add_tombstone(&mut self, id: SegmentId, len: ByteLen) {
        let slot = self.get_mut(id);
        slot.tombstones += u64::from(len.get());
        slot.guard = slot.guard.max(slot.generation);
    }

    /// The buffer `number` lies in `id` and is known to the index.
    pub(crate) fn note_log_buffer(&mut self, id: SegmentId, number: BufferNumber) {
        let slot = self.get_mut(id);
        slot.log_end = slot.log_end.max(number.next());
    }

    fn note_if_dead(&mut self, id: SegmentId) -> bool {
        let slot = self.get(id);
        let dead = slot.state == SegmentState::Sealed && slot.live == 0;
        if dead {
            self.dead.insert(id);
        }
        dead
    }

    /// Retires every segment that may go now, and says which.
    ///
    /// Each call retires at most one segment with tombstones: the next one needs this one erased.
    pub(crate) fn retire_dead(&mut self) -> Vec<SegmentId> {
        let ready: Vec<SegmentId> =
            self.dead.iter().copied().filter(|&id| self.may_retire(id)).collect();
        for &id in &ready {
            self.dead.remove(&id);
            self.get_mut(id).enter(SegmentState::Retired, id);
        }
        ready
    }

    /// Whether some segment may be retired now.
    pub(crate) fn can_retire(&self) -> bool {
        self.dead.iter().any(|&id| self.may_retire(id))
    }

    /// Whether some dead segment only waits for a reader, or for a buffer or seal on its way.
    pub(crate) fn will_retire(&self) -> bool {
        self.dead.iter().any(|&id| {
            let slot = self.get(id);
            (slot.pins > 0 || slot.holds > 0) && self.guard_has_passed(id)
        })
    }

    fn may_retire(&self, id: SegmentId) -> bool {
        let slot = self.get(id);
        slot.pins == 0 && slot.holds == 0 && self.guard_has_passed(id)
    }

    /// Law 3.
    fn guard_has_passed(&self, id: SegmentId) -> bool {
        let slot = self.get(id);
        if slot.tombstones == 0 {
            return true;
        }
        let mut lowest = self.on_disk.iter().filter(|entry| entry.1 != id);
        lowest.next().is_none_or(|&(generation, _)| generation > slot.guard)
    }

    /// Slots being erased.
    pub(crate) fn retired(&self) -> impl Iterator<Item = SegmentId> {
        self.iter().filter(|(_, slot)| slot.state == SegmentState::Retired).map(|(id, _)| id)
    }

    /// `id` was durably erased: it may be handed out.
    pub(crate) fn erased(&mut self, id: SegmentId) {
        let slot = self.get_mut(id);
        slot.enter(SegmentState::Free, id);
        let generation = std::mem::take(&mut slot.generation);
        slot.clear();
        self.on_disk.remove(&(generation, id));
        self.free.push_back(id);
    }

    /// What is on `id` is not what it should be, or not known: it is not reused in this opening.
    pub(crate) fn quarantine(&mut self, id: SegmentId) {
        self.dead.remove(&id);
        self.get_mut(id).enter(SegmentState::Quarantined, id);
    }

    /// Recounts what can be recounted here.
    #[cfg(feature = "verify")]
    pub(crate) fn assert_invariants(&self) {
        let free: BTreeSet<SegmentId> = self.free.iter().copied().collect();
        assert_eq!(free.len(), self.free.len(), "a slot is free once");
        for (id, slot) in self.iter() {
            assert_eq!(free.contains(&id), slot.state == SegmentState::Free, "{id:?}");
            let on_disk = self.on_disk.contains(&(slot.generation, id));
            assert_eq!(on_disk, slot.generation > Generation::ZERO, "{id:?}");
            let dead = slot.state == SegmentState::Sealed && slot.live == 0;
            assert_eq!(dead, self.dead.contains(&id), "{id:?}");
            assert!(slot.generation < self.next_generation);
            slot.assert_invariants(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(slots: usize) -> Segments {
        let mut segments = Segments::new(Generation::new(1));
        (0..slots).for_each(|_| segments.push(Slot::fresh()));
        segments
    }

    const RECORD: ByteLen = ByteLen::new(40);

    #[test]
    fn the_reserve_is_not_for_puts() {
        let mut segments = store(RESERVE + 1);
        assert!(segments.take(Claim::Put).is_some());
        assert!(segments.take(Claim::Put).is_none());
        assert!(segments.take(Claim::Delete).is_some());
        assert!(segments.take(Claim::Delete).is_none());
        assert!(segments.take(Claim::Again).is_some());
        assert!(segments.take(Claim::Again).is_none());
    }

    #[test]
    fn a_dead_segment_waits_for_readers_and_buffers() {
        let mut segments = store(4);
        let (id, _) = segments.take(Claim::Put).unwrap();
        segments.add_live(id, RECORD);
        segments.pin(id);
        segments.hold(id);
        segments.seal(id);
        segments.sub_live(id, RECORD);
        assert!(segments.retire_dead().is_empty());
        segments.release(id);
        assert!(segments.retire_dead().is_empty());
        assert!(segments.unpin(id));
        assert_eq!(segments.retire_dead(), [id]);
        segments.erased(id);
        assert_eq!(segments.free(), 4);
    }

    #[test]
    fn tombstones_go_only_behind_everything_older() {
        let mut segments = store(6);
        let (old, _) = segments.take(Claim::Put).unwrap();
        segments.add_live(old, RECORD);
        segments.seal(old);
        let (young, _) = segments.take(Claim::Put).unwrap();
        segments.add_tombstone(young, RECORD);
        segments.seal(young);
        assert!(segments.retire_dead().is_empty(), "the old version is still on disk");
        segments.sub_live(old, RECORD);
        assert_eq!(segments.retire_dead(), [old]);
        assert!(segments.retire_dead().is_empty(), "freed is not gone");
        segments.erased(old);
        assert_eq!(segments.retire_dead(), [young]);
    }
}
