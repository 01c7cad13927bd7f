//! Every invariant, recounted from scratch: called after each step when the feature `verify` is
//! on, and nowhere else. In a large store only every so many steps, or a test of one would take
//! hours: how many depends on its size alone, so equal runs stay equal.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, Status};
use crate::log::Phase;
use crate::segments::{SegmentKind, SegmentState};
use crate::types::{GroupId, SegmentId};
use crate::value_cache::ValueCache;

/// Keys, groups and segments up to which a store is recounted after every step.
const SMALL: usize = 2048;
/// So many of them are recounted a step in a larger one, on average.
const RECOUNTED_A_STEP: usize = 16;
/// Of so many recounts one also looks into the index, which has laws of its own.
const LOOKED_INTO: u64 = 8;

impl State {
    /// Recounts, if it is time for it.
    pub(super) fn recount(&mut self) {
        if self.recount_after > 0 {
            self.recount_after -= 1;
            return;
        }
        self.assert_invariants();
        let held: usize = self.groups.iter().map(|(_, group)| 1 + group.index.len()).sum();
        let size = held + self.segments.len();
        self.recount_after = if size > SMALL { size / RECOUNTED_A_STEP } else { 0 };
    }

    fn assert_invariants(&self) {
        self.segments.assert_invariants();
        if matches!(self.status, Status::Failed(_)) || self.taken_out {
            return; // gave up, perhaps half-way through binding buffers; or closed and handed out
        }
        self.log.assert_invariants();
        self.rewrites.assert_invariants();
        self.assert_live_bytes();
        self.assert_open_segments();
        self.assert_pieces();
        self.assert_pending();
        self.cache.iter().for_each(ValueCache::assert_invariants);
    }

    /// The live bytes of every segment are those of the index entries that lie in it, group by
    /// group, and every group knows where it has a share.
    fn assert_live_bytes(&self) {
        let mut live = BTreeMap::<(SegmentId, GroupId), (u64, u32)>::new();
        let within = (self.log.next_sequence.get() ^ self.rewrites.next_number.get())
            .is_multiple_of(LOOKED_INTO);
        let memory: usize = self.groups.iter().map(|(_, group)| group.index.memory()).sum();
        assert_eq!(memory, self.index_bytes, "memory of the index does not add up");
        for (group, content) in self.groups.iter() {
            if within {
                content.index.assert_invariants();
            }
            for (_, at) in content.index.iter() {
                let share = live.entry((at.segment(), group)).or_default();
                share.0 += u64::from(at.len().get());
                share.1 += 1;
            }
            for pieces in content.large.values() {
                for &piece in &**pieces {
                    let share = live.entry((piece, group)).or_default();
                    share.0 += u64::from(self.segments.get(piece).records);
                    share.1 += 1;
                }
            }
        }
        let mut counted = 0;
        for (id, slot) in self.segments.iter() {
            for share in &slot.shares {
                let expected = live.get(&(id, share.group)).copied();
                let found = Some((share.bytes, share.records));
                assert_eq!(found, expected, "{id:?}: live bytes do not add up");
                counted += 1;
            }
        }
        assert_eq!(counted, live.len(), "live bytes do not add up");
        let known: usize = self.groups.iter().map(|(_, group)| group.segments.len()).sum();
        assert_eq!(known, live.len(), "a group does not know where it lies");
        for (id, group) in live.keys() {
            let group = self.groups.get(*group).expect("just walked");
            assert!(group.segments.contains(id), "{id:?}");
        }
    }

    /// Every piece that is live belongs to one key, whose record is in the index; every other one
    /// is being written, or is dead.
    fn assert_pieces(&self) {
        let mut claimed = BTreeSet::new();
        for (id, group) in self.groups.iter() {
            for (&hash, pieces) in &group.large {
                assert!(group.index.get(hash).is_some(), "{hash:?} is gone, and has pieces");
                for &piece in &**pieces {
                    let slot = self.segments.get(piece);
                    assert_eq!(slot.kind, SegmentKind::Large(id), "{piece:?}");
                    let there = [SegmentState::Sealed, SegmentState::Quarantined];
                    assert!(there.contains(&slot.state), "{piece:?}: {:?}", slot.state);
                    assert!(claimed.insert(piece), "{piece:?} belongs to two keys");
                }
            }
        }
        for (id, slot) in self.segments.iter().filter(|(_, slot)| slot.kind.is_large()) {
            assert_eq!(claimed.contains(&id), slot.live > 0, "{id:?}");
            let writing = slot.state == SegmentState::Active;
            assert_eq!(self.pieces.contains_key(&id), writing, "{id:?}");
            assert_eq!(slot.holds, u32::from(writing), "{id:?}");
        }
        let kinds = self.pieces.keys().map(|&id| self.segments.get(id).kind);
        assert!(kinds.into_iter().all(SegmentKind::is_large));
        let ring = self.log.ring.iter().flat_map(|buffer| &buffer.pieces);
        let head = self.log.head.iter().flat_map(|head| &head.pieces);
        let accepted = ring.chain(head).flat_map(|(_, pieces)| &**pieces);
        assert!(accepted.into_iter().all(|piece| self.pieces.contains_key(piece)));
    }

    /// A segment is held once for each incomplete buffer, and once for its seal.
    fn assert_open_segments(&self) {
        for (&id, open) in &self.open {
            let slot = self.segments.get(id);
            assert_eq!(slot.generation, open.generation, "{id:?}");
            assert_eq!(slot.holds, open.incomplete + 1, "{id:?}: holds do not add up");
            assert!(self.published.names(id), "{id:?} is written and the mark does not name it");
            let expected = if open.closed { SegmentState::Sealed } else { SegmentState::Active };
            assert_eq!(slot.state, expected, "{id:?}");
            let logs = self.log.ring.iter().filter(|buffer| buffer.place.segment == id);
            let copies = self.rewrites.ring.iter().filter(|buffer| buffer.place.segment == id);
            let incomplete = logs.count() + copies.count();
            assert_eq!(incomplete, crate::types::to_usize(open.incomplete), "{id:?}");
            assert!(slot.records + slot.fronts + slot.padding <= self.data_len(), "{id:?}");
        }
        let front = self.log.ring.front();
        assert!(front.is_none_or(|first| first.phase != Phase::Durable), "durable is complete");
        for output in self.rewrites.outputs.values() {
            assert!(self.open.get(&output.tail.segment).is_some_and(|open| !open.closed));
        }
        assert!(self.compaction.running.is_some() || self.rewrites.ring.is_empty());
    }

    fn data_len(&self) -> u32 {
        self.rules.geometry.data_len().get()
    }

    /// Every pending write is in the ring or in the head, unless its group was dropped.
    fn assert_pending(&self) {
        let pending: usize = self.groups.iter().map(|(_, group)| group.pending.count()).sum();
        let head = self.log.head.iter().flat_map(|head| head.entries.iter());
        let ring = self.log.ring.iter().flat_map(|buffer| buffer.entries.iter());
        let known = head.chain(ring).filter(|entry| self.groups.get(entry.group).is_some());
        assert_eq!(pending, known.count(), "pending writes do not add up");
    }
}
