//! Completion: durable buffers reach the index, in order of number.
//!
//! This is the only place where user writes enter the index. It runs in the log writer's steps,
//! not in the callers' futures, so a dropped future cannot break it.
//!
//! A crash here costs nothing: what completes is durable already, and recovery redoes it.

use std::sync::Arc;

use super::{OpenSegment, SealJob, State};
use crate::format::buffer::records_offset;
use crate::format::record::RecordKind;
use crate::format::seal::SealEntry;
use crate::format::summary::SummaryEntry;
use crate::groups::GroupChange;
use crate::log::{Buffer, Phase};
use crate::options::Durability;
use crate::types::{BufferNumber, GroupId, Location, SegmentId};

impl State {
    /// Completes every durable buffer at the front of the ring.
    pub(super) fn complete(&mut self) {
        while self.log.ring.front().is_some_and(|first| first.phase == Phase::Durable) {
            let buffer = self.log.ring.pop_front().expect("the front was just looked at");
            self.complete_buffer(buffer);
            self.calls.room = true;
            self.calls.reclaim |= self.segments.can_retire();
        }
    }

    fn complete_buffer(&mut self, mut buffer: Buffer) {
        self.apply_records(&buffer);
        let segment = buffer.place.segment;
        self.segments.note_log_buffer(segment, buffer.number);
        self.segments.release(segment);
        let open = self.open.get_mut(&segment).expect("a segment stays open for its buffers");
        open.entries.push(SealEntry {
            offset: buffer.place.offset,
            records: crate::types::to_u32(buffer.entries.len()),
            number: buffer.number,
            first_sequence: buffer.first_sequence(),
        });
        open.incomplete -= 1;
        self.seal_if_complete(segment);
        self.calls.released += buffer.charge;
        buffer.wake(Durability::Synced, &Ok(()));
    }

    fn apply_records(&mut self, buffer: &Buffer) {
        let mixed = buffer.group == GroupId::MIXED;
        let mut at = buffer
            .place
            .offset
            .checked_add(records_offset(buffer.entries.len(), mixed))
            .expect("records lie in their segment");
        let mut changes = buffer.changes.iter().peekable();
        for (position, entry) in buffer.entries.iter().enumerate() {
            self.apply_record(entry, Location::new(buffer.place.segment, at, entry.len));
            if let Some((_, change)) = changes.next_if(|change| change.0 == position) {
                self.apply_change(change);
            }
            at = at.checked_add(entry.len).expect("records lie in their segment");
        }
    }

    fn apply_record(&mut self, entry: &SummaryEntry, at: Location) {
        if entry.kind == RecordKind::Delete {
            self.segments.add_tombstone(at.segment(), entry.len);
        }
        // A record of a group that was dropped meanwhile is dead from the start.
        let Some(group) = self.groups.get_mut(entry.group) else { return };
        group.pending.complete(entry.hash, entry.sequence);
        let before = match entry.kind {
            RecordKind::Put => {
                self.segments.add_live(at.segment(), entry.len);
                group.index.insert(entry.hash, at)
            }
            RecordKind::Delete => group.index.remove(entry.hash),
        };
        if let Some(dead) = before {
            self.segments.sub_live(dead.segment(), dead.len());
        }
    }

    fn apply_change(&mut self, change: &GroupChange) {
        let Some(dropped) = self.groups.apply(change) else { return };
        for (_, dead) in dropped.index.iter() {
            self.segments.sub_live(dead.segment(), dead.len());
        }
    }

    /// The segment in use takes no more buffers.
    pub(super) fn close_tail(&mut self) {
        let Some(tail) = self.log.tail.take() else { return };
        self.segments.seal(tail.segment);
        let open = self.open.get_mut(&tail.segment).expect("the tail is an open segment");
        open.closed = true;
        self.seal_if_complete(tail.segment);
    }

    fn seal_if_complete(&mut self, segment: SegmentId) {
        let ready = |open: &OpenSegment| open.closed && open.incomplete == 0;
        if self.open.get(&segment).is_some_and(ready) {
            self.seal_is_due(segment, false);
        }
    }

    /// Has the seal of `segment` written, listing the buffers that count. `owed`: the segment
    /// failed, and its seal must be durable before anything is erased.
    pub(super) fn seal_is_due(&mut self, segment: SegmentId, owed: bool) {
        let open = self.open.remove(&segment).expect("a segment is sealed once");
        for _ in 0..open.incomplete {
            self.segments.release(segment); // its buffers go elsewhere
        }
        self.seals_owed += usize::from(owed);
        self.seals_due.push(SealJob {
            segment,
            generation: open.generation,
            entries: Arc::new(open.entries),
            owed,
            failed: 0,
            after: if owed { self.log.next_number } else { BufferNumber::ZERO },
        });
    }
}
