//! The life of segments: who may append, who may read, who may reuse.
//!
//! ```text
//!          take            seal              retire            erased
//!  Free ─────────> Active ──────> Sealed ────────────> Retired ───────> Free
//!   │ ^                              │                     │              │
//!   v │ filled                       │ part of it is lost  │ erasing      │ its file
//!  Hollow                            └───> Quarantined <───┘ failed       v is to go
//!                                                                       Hollow
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
//! 4. The last free slots are kept: see [`Claim`].
//! 5. A segment with a piece of a large value holds no records: no tombstone waits for it, and it
//!    is never rewritten. It lives as long as the record that lists it.
//!
//! Why a guard is what it is: any older version of a key lies in a segment that was opened before
//! the tombstone was applied. A write of a user came before it in the log, and a copy was given its
//! place while the original was live. So the highest generation given out when the tombstone was
//! applied will do; a copy of the tombstone takes the guard along. After a crash the highest
//! generation on disk will do.
//!
//! Absent on purpose: this module never touches the device. Which victim is worth more is decided
//! above; here is only where to look ([`Victims`]).

mod lists;
mod room;
mod slot;
mod victims;

use std::collections::{BTreeSet, VecDeque};

use lists::{Listing, Totals};
pub(crate) use slot::{Content, SegmentKind, SegmentState, Slot, worth_rewriting};
use victims::Victims;

use crate::types::{BufferNumber, ByteLen, Generation, GroupId, SegmentId, Sequence};

/// Free slots that puts may not take.
pub(crate) const RESERVE: usize = 4;

/// Who asks for a free slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Writes that add data.
    Put,
    /// Writes that only delete; they may use the reserve, but for what rewrites need.
    Delete,
    /// Buffers whose first writing failed; they leave the last slot, or a store that is opened
    /// again could not compact.
    Again,
    /// Rewrites, which give back more than they take.
    Rewrite,
}

impl Claim {
    /// Free slots that must remain after the claim took one.
    pub(crate) fn leaves(self) -> usize {
        match self {
            Self::Put => RESERVE,
            Self::Delete => RESERVE / 2,
            Self::Again => 1,
            Self::Rewrite => 0,
        }
    }
}

/// All slots of the store.
#[derive(Debug)]
pub(crate) struct Segments {
    slots: Vec<Slot>,
    // Invariant: exactly the slots in state `Free`, all below `limit`.
    free: VecDeque<SegmentId>,
    // Invariant: exactly the slots in state `Hollow`.
    hollow: BTreeSet<SegmentId>,
    // Invariant: exactly the slots in state `Retired`.
    retired: BTreeSet<SegmentId>,
    /// Slots from here on are in files that are to go.
    limit: SegmentId,
    // Invariant: the generation of every slot that has one on disk, or may have, and in which
    // records may lie.
    on_disk: BTreeSet<(Generation, SegmentId)>,
    // Invariant: sealed, dead segments, by guard (zero without tombstones): those to look at for
    // retiring.
    dead: BTreeSet<(Generation, SegmentId)>,
    // Invariant: the sealed segments with records.
    victims: Victims,
    // Invariant: sealed segments with tombstones that wait, by guard.
    guarded: BTreeSet<(Generation, SegmentId)>,
    totals: Totals,
    data_len: u64,
    next_generation: Generation,
}

impl Segments {
    /// No slots; segments will have `data_len` bytes for buffers.
    pub(crate) fn new(next_generation: Generation, data_len: ByteLen) -> Self {
        Self {
            victims: Victims::default(),
            guarded: BTreeSet::new(),
            totals: Totals::default(),
            data_len: data_len.get().into(),
            slots: Vec::new(),
            free: VecDeque::new(),
            hollow: BTreeSet::new(),
            retired: BTreeSet::new(),
            limit: SegmentId::new(u32::MAX),
            on_disk: BTreeSet::new(),
            dead: BTreeSet::new(),
            next_generation,
        }
    }

    /// Adds the slot after the last one. Recovery and growth know what is on it.
    pub(crate) fn push(&mut self, slot: Slot) {
        let id = self.next_id();
        match slot.state {
            SegmentState::Free => self.free.push_back(id),
            SegmentState::Hollow => drop(self.hollow.insert(id)),
            SegmentState::Retired => drop(self.retired.insert(id)),
            _ => {}
        }
        if slot.may_hold_records() {
            self.on_disk.insert((slot.generation, id));
        }
        let listing = Listing::of(&slot, self.data_len);
        self.totals.add(&slot);
        self.slots.push(slot);
        self.list(id, listing);
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

    /// Free slots, in the order in which they are handed out.
    pub(crate) fn free_slots(&self) -> impl Iterator<Item = SegmentId> {
        self.free.iter().copied()
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

    /// Opens a free slot for writing, under the next generation. `now`: the next sequence.
    pub(crate) fn take(
        &mut self,
        claim: Claim,
        kind: SegmentKind,
        now: Sequence,
    ) -> Option<(SegmentId, Generation)> {
        if !self.has_room_for(claim) {
            return None;
        }
        let id = self.free.pop_front()?;
        let generation = self.next_generation;
        self.next_generation = generation.next();
        let before = self.change(id, |slot| {
            let before = slot.generation;
            slot.enter(SegmentState::Active, id);
            slot.open(generation, kind, now);
            before
        });
        self.on_disk.remove(&(before, id));
        if !kind.is_large() {
            self.on_disk.insert((generation, id));
        }
        Some((id, generation))
    }

    /// Changes a slot whose listing may change with it.
    fn change<R>(&mut self, id: SegmentId, change: impl FnOnce(&mut Slot) -> R) -> R {
        let before = Listing::of(self.get(id), self.data_len);
        let slot = &mut self.slots[crate::types::to_usize(id.get())];
        self.totals.sub(slot);
        let result = change(slot);
        self.totals.add(slot);
        let after = Listing::of(slot, self.data_len);
        if before != after {
            self.unlist(id, before);
            self.list(id, after);
        }
        result
    }

    fn unlist(&mut self, id: SegmentId, listing: Listing) {
        if let Some(guard) = listing.dead {
            self.dead.remove(&(guard, id));
        }
        if let Some(guard) = listing.guarded {
            self.guarded.remove(&(guard, id));
        }
        if let Some(rank) = listing.rank {
            self.victims.remove(id, rank);
        }
    }

    fn list(&mut self, id: SegmentId, listing: Listing) {
        if let Some(guard) = listing.dead {
            self.dead.insert((guard, id));
        }
        if let Some(guard) = listing.guarded {
            self.guarded.insert((guard, id));
        }
        if let Some(rank) = listing.rank {
            self.victims.insert(id, rank);
        }
    }

    /// No more appends to `id`. `tail`: bytes at its end that stayed unused because the next record
    /// did not fit.
    pub(crate) fn seal(&mut self, id: SegmentId, tail: u32) {
        self.change(id, |slot| {
            slot.enter(SegmentState::Sealed, id);
            slot.tail = tail;
        });
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

    /// Somebody is about to read from `id`.
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
        slot.pins == 0 && slot.state == SegmentState::Sealed && slot.live == 0
    }

    /// A record of `group` in `id` became live; `true` if it is the group's first one there.
    pub(crate) fn add_live(&mut self, id: SegmentId, group: GroupId, len: ByteLen) -> bool {
        self.change(id, |slot| slot.add_live(group, len))
    }

    /// A record of `group` in `id` died or moved; `true` if it was the group's last one there.
    pub(crate) fn sub_live(&mut self, id: SegmentId, group: GroupId, len: ByteLen) -> bool {
        self.change(id, |slot| slot.sub_live(group, len))
    }

    /// Everything of `group` in `id` died: records and, where they are known to be the group's,
    /// tombstones. What these hide is dead by the end of its group or by its truncation.
    pub(crate) fn drop_group(&mut self, id: SegmentId, group: GroupId) {
        self.change(id, |slot| {
            slot.drop_group(group);
            if slot.kind == SegmentKind::Group(group) {
                slot.tombstones = 0;
            }
        });
    }

    /// `id` holds a tombstone of `len` bytes more, which waits for `guard`.
    pub(crate) fn add_tombstone(&mut self, id: SegmentId, len: ByteLen, guard: Generation) {
        self.change(id, |slot| {
            slot.tombstones += u64::from(len.get());
            slot.guard = slot.guard.max(guard);
            slot.guard_passed = false;
        });
    }

    /// Takes note of the tombstones that nothing is left to wait for.
    pub(crate) fn note_passed_guards(&mut self) {
        for id in self.passed(&self.guarded, |listing| listing.guarded) {
            self.change(id, |slot| slot.guard_passed = true);
        }
        #[cfg(feature = "verify")]
        assert!(self.passed(&self.guarded, |listing| listing.guarded).is_empty());
    }

    /// Whether tombstones wait for the slot whose generation on disk is the lowest; those in the
    /// slots `open` too.
    pub(crate) fn oldest_is_waited_for(&self, open: impl Iterator<Item = SegmentId>) -> bool {
        let Some(&(lowest, _)) = self.on_disk.first() else { return false };
        let guarded = self.guarded.last().is_some_and(|&(guard, _)| lowest <= guard);
        let waits = |slot: &Slot| slot.waiting_tombstones() > 0 && lowest <= slot.guard;
        guarded || open.into_iter().any(|id| waits(self.get(id)))
    }

    /// Sums over all slots.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Every tombstone of `id` was copied or is not needed any more.
    pub(crate) fn tombstones_left(&mut self, id: SegmentId) {
        self.change(id, |slot| slot.tombstones = 0);
    }

    /// A buffer that counts lies in `id`.
    pub(crate) fn note_buffer(&mut self, id: SegmentId, content: Content) {
        self.change(id, |slot| slot.add_buffer(content));
    }

    /// Log buffers below `end` lie in `id` and are known to the index, or have records that
    /// something in `id` died of.
    pub(crate) fn note_log_end(&mut self, id: SegmentId, end: BufferNumber) {
        let slot = self.get_mut(id);
        slot.log_end = slot.log_end.max(end);
    }

    /// The rewrite buffer `number` lies in `id`, or has copies from there.
    pub(crate) fn note_rewrite_buffer(&mut self, id: SegmentId, number: BufferNumber) {
        let slot = self.get_mut(id);
        slot.rewrite_end = slot.rewrite_end.max(number.next());
    }

    /// Sealed segments, where to look for one to rewrite.
    pub(crate) fn victims(&self) -> &Victims {
        &self.victims
    }

    /// Bytes of a segment that buffers may use.
    pub(crate) fn data_len(&self) -> u64 {
        self.data_len
    }

    /// The slot whose generation on disk is the lowest of all.
    pub(crate) fn oldest(&self) -> Option<SegmentId> {
        self.on_disk.first().map(|entry| entry.1)
    }

    /// Retires every segment that may go now, and says which.
    ///
    /// Each call retires at most one segment with tombstones: the next one needs this one erased.
    pub(crate) fn retire_dead(&mut self) -> Vec<SegmentId> {
        let mut ready = self.unguarded();
        ready.retain(|&id| self.may_retire(id));
        for &id in &ready {
            self.change(id, |slot| slot.enter(SegmentState::Retired, id));
            self.retired.insert(id);
        }
        ready
    }

    /// Slots that are being erased, or can be.
    pub(crate) fn coming(&self) -> usize {
        let dead = self.unguarded().into_iter().filter(|&id| self.may_retire(id));
        self.retired.len() + dead.count()
    }

    /// Whether some segment may be retired now.
    pub(crate) fn can_retire(&self) -> bool {
        self.unguarded().into_iter().any(|id| self.may_retire(id))
    }

    /// Whether some dead segment only waits for a reader, or for a buffer or seal on its way. A
    /// large value may be read for as long as its reader likes: nobody should wait for that.
    pub(crate) fn will_retire(&self) -> bool {
        let awaited = |id| self.get(id).pins == 0 || !self.get(id).kind.is_large();
        self.unguarded().into_iter().any(|id| !self.may_retire(id) && awaited(id))
    }

    fn may_retire(&self, id: SegmentId) -> bool {
        let slot = self.get(id);
        slot.pins == 0 && slot.holds == 0
    }

    /// Dead segments whose guard has passed.
    fn unguarded(&self) -> Vec<SegmentId> {
        self.passed(&self.dead, |listing| listing.dead)
    }

    /// Of segments listed by guard, those whose guard has passed. Behind the first one that waits
    /// all others wait for the same slot, but for that slot itself.
    fn passed(
        &self,
        list: &BTreeSet<(Generation, SegmentId)>,
        guard_in: impl Fn(Listing) -> Option<Generation>,
    ) -> Vec<SegmentId> {
        let ids = list.iter().map(|entry| entry.1);
        let mut ids: Vec<_> = ids.take_while(|&id| self.guard_has_passed(id)).collect();
        if let Some(oldest) = self.oldest()
            && guard_in(Listing::of(self.get(oldest), self.data_len)).is_some()
            && self.guard_has_passed(oldest)
            && !ids.contains(&oldest)
        {
            ids.push(oldest);
        }
        ids
    }

    /// Law 3: no other slot has anything on disk that a tombstone in `id` could wait for.
    pub(crate) fn guard_has_passed(&self, id: SegmentId) -> bool {
        let slot = self.get(id);
        if slot.tombstones == 0 {
            return true;
        }
        let mut lowest = self.on_disk.iter().filter(|entry| entry.1 != id);
        lowest.next().is_none_or(|&(generation, _)| generation > slot.guard)
    }

    /// Slots being erased.
    pub(crate) fn retired(&self) -> impl Iterator<Item = SegmentId> {
        self.retired.iter().copied()
    }

    /// `id` was durably erased: it may be handed out, or filled first.
    pub(crate) fn erased(&mut self, id: SegmentId) {
        let goes = id >= self.limit;
        let (generation, state) = self.change(id, |slot| {
            let next = if goes || slot.unsure { SegmentState::Hollow } else { SegmentState::Free };
            slot.enter(next, id);
            let generation = std::mem::take(&mut slot.generation);
            slot.clear();
            (generation, next)
        });
        self.on_disk.remove(&(generation, id));
        self.retired.remove(&id);
        if state == SegmentState::Free {
            self.free.push_back(id);
        } else {
            self.hollow.insert(id);
        }
    }

    /// What is on `id` is not what it should be, or not known: it is not reused in this opening.
    pub(crate) fn quarantine(&mut self, id: SegmentId) {
        self.change(id, |slot| slot.enter(SegmentState::Quarantined, id));
        self.retired.remove(&id);
    }

    /// Recounts what can be recounted here.
    #[cfg(feature = "verify")]
    pub(crate) fn assert_invariants(&self) {
        let mut totals = Totals::default();
        self.slots.iter().for_each(|slot| totals.add(slot));
        assert_eq!(totals, self.totals, "totals do not add up");
        let free: BTreeSet<SegmentId> = self.free.iter().copied().collect();
        assert_eq!(free.len(), self.free.len(), "a slot is free once");
        for (id, slot) in self.iter() {
            assert_eq!(free.contains(&id), slot.state == SegmentState::Free, "{id:?}");
            assert!(slot.state != SegmentState::Free || id < self.limit, "{id:?}");
            assert_eq!(self.hollow.contains(&id), slot.state == SegmentState::Hollow, "{id:?}");
            assert_eq!(self.retired.contains(&id), slot.state == SegmentState::Retired, "{id:?}");
            let on_disk = self.on_disk.contains(&(slot.generation, id));
            assert_eq!(on_disk, slot.may_hold_records(), "{id:?}");
            let Listing { dead, guarded, rank } = Listing::of(slot, self.data_len);
            assert_eq!(dead.is_some(), self.dead.iter().any(|entry| entry.1 == id), "{id:?}");
            assert!(dead.is_none_or(|guard| self.dead.contains(&(guard, id))), "{id:?}");
            assert!(guarded.is_none_or(|guard| self.guarded.contains(&(guard, id))), "{id:?}");
            assert!(rank.is_none_or(|rank| self.victims.contains(id, rank)), "{id:?}");
            assert!(slot.generation < self.next_generation);
            slot.assert_invariants(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: GroupId = GroupId::new(1);
    const RECORD: ByteLen = ByteLen::new(40);

    fn store(slots: usize) -> Segments {
        let mut segments = Segments::new(Generation::new(1), ByteLen::new(60 << 10));
        (0..slots).for_each(|_| segments.push(Slot::fresh()));
        segments
    }

    fn take(segments: &mut Segments, claim: Claim) -> Option<SegmentId> {
        segments.take(claim, SegmentKind::Log, Sequence::ZERO).map(|taken| taken.0)
    }

    #[test]
    fn each_claim_leaves_what_the_stronger_ones_need() {
        let mut segments = store(RESERVE + 1);
        assert!(take(&mut segments, Claim::Put).is_some());
        assert!(take(&mut segments, Claim::Put).is_none());
        assert!(take(&mut segments, Claim::Delete).is_some());
        assert!(take(&mut segments, Claim::Delete).is_some());
        assert!(take(&mut segments, Claim::Delete).is_none());
        assert!(take(&mut segments, Claim::Again).is_some());
        assert!(take(&mut segments, Claim::Again).is_none());
        assert!(take(&mut segments, Claim::Rewrite).is_some());
        assert!(take(&mut segments, Claim::Rewrite).is_none());
    }

    #[test]
    fn a_dead_segment_waits_for_readers_and_buffers() {
        let mut segments = store(6);
        let id = take(&mut segments, Claim::Put).unwrap();
        segments.add_live(id, G, RECORD);
        segments.pin(id);
        segments.hold(id);
        segments.seal(id, 0);
        segments.sub_live(id, G, RECORD);
        assert!(segments.retire_dead().is_empty());
        segments.release(id);
        assert!(segments.retire_dead().is_empty());
        assert!(segments.unpin(id));
        assert_eq!(segments.retire_dead(), [id]);
        segments.erased(id);
        assert_eq!(segments.free(), 6);
    }

    #[test]
    fn tombstones_go_only_behind_everything_older() {
        let mut segments = store(8);
        let old = take(&mut segments, Claim::Put).unwrap();
        segments.add_live(old, G, RECORD);
        segments.seal(old, 0);
        let young = take(&mut segments, Claim::Put).unwrap();
        segments.add_tombstone(young, RECORD, Generation::new(2));
        segments.seal(young, 0);
        assert!(segments.retire_dead().is_empty(), "the old version is still on disk");
        segments.sub_live(old, G, RECORD);
        assert_eq!(segments.retire_dead(), [old]);
        assert!(segments.retire_dead().is_empty(), "freed is not gone");
        segments.erased(old);
        assert_eq!(segments.retire_dead(), [young]);
    }

    #[test]
    fn no_tombstone_waits_for_a_piece_and_no_rewrite_takes_it() {
        let mut segments = store(8);
        let (piece, _) = segments.take(Claim::Put, SegmentKind::Large(G), Sequence::ZERO).unwrap();
        segments.note_buffer(piece, Content::of_piece(ByteLen::new(4096), RECORD));
        segments.add_live(piece, G, RECORD);
        segments.seal(piece, 0);
        assert_eq!(segments.totals().large, 1);
        let log = take(&mut segments, Claim::Put).unwrap();
        segments.add_tombstone(log, RECORD, Generation::new(2));
        segments.seal(log, 0);
        assert!(segments.victims().buckets().flatten().all(|id| id == log));
        assert_eq!(segments.retire_dead(), [log], "the piece is older, and holds no record");
        segments.pin(piece);
        segments.sub_live(piece, G, RECORD);
        assert!(!segments.will_retire(), "nobody waits for the reader of a large value");
        segments.unpin(piece);
        assert_eq!(segments.retire_dead(), [piece]);
        segments.erased(piece);
        assert_eq!((segments.totals().large, segments.totals().live), (0, 0));
    }

    #[test]
    fn a_copy_made_before_a_delete_holds_the_tombstone_back() {
        let mut segments = store(8);
        let log = take(&mut segments, Claim::Put).unwrap();
        segments.seal(log, 0);
        let copy = take(&mut segments, Claim::Rewrite).unwrap();
        segments.seal(copy, 0);
        segments.add_live(copy, G, RECORD);
        // Applied when generation 2 was given out already: the copy may be an older version.
        segments.add_tombstone(log, RECORD, Generation::new(2));
        assert!(segments.retire_dead().is_empty());
        segments.sub_live(copy, G, RECORD);
        assert_eq!(segments.retire_dead(), [copy]);
    }
}
