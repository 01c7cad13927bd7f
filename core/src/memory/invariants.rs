//! Every invariant, recounted from scratch: called after each step when the feature `verify` is
//! on, and nowhere else.

use std::collections::BTreeMap;

use super::{State, Status};
use crate::log::Phase;
use crate::segments::SegmentState;
use crate::types::SegmentId;

impl State {
    pub(super) fn assert_invariants(&self) {
        self.segments.assert_invariants();
        if matches!(self.status, Status::Failed(_)) || self.taken_out {
            return; // gave up, perhaps half-way through binding buffers; or closed and handed out
        }
        self.log.assert_invariants();
        self.assert_live_bytes();
        self.assert_open_segments();
        self.assert_pending();
    }

    /// The live bytes of every segment are those of the index entries that lie in it.
    fn assert_live_bytes(&self) {
        let mut live = BTreeMap::<SegmentId, u64>::new();
        for (_, group) in self.groups.iter() {
            for (_, at) in group.index.iter() {
                *live.entry(at.segment()).or_default() += u64::from(at.len().get());
            }
        }
        for (id, slot) in self.segments.iter() {
            let counted = live.get(&id).copied().unwrap_or(0);
            assert_eq!(slot.live, counted, "{id:?}: live bytes do not add up");
        }
    }

    /// A segment is held once for each incomplete buffer, and once for its seal.
    fn assert_open_segments(&self) {
        for (&id, open) in &self.open {
            let slot = self.segments.get(id);
            assert_eq!(slot.generation, open.generation, "{id:?}");
            assert_eq!(slot.holds, open.incomplete + 1, "{id:?}: holds do not add up");
            let expected = if open.closed { SegmentState::Sealed } else { SegmentState::Active };
            assert_eq!(slot.state, expected, "{id:?}");
            let here = self.log.ring.iter().filter(|buffer| buffer.place.segment == id);
            assert_eq!(here.count(), crate::types::to_usize(open.incomplete), "{id:?}");
        }
        let front = self.log.ring.front();
        assert!(front.is_none_or(|first| first.phase != Phase::Durable), "durable is complete");
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
