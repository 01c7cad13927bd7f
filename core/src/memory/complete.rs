//! Completion: durable buffers of the log reach the index, in order of number.
//!
//! This is the only place where writes of users enter the index. It runs in the log writer's steps,
//! not in the callers' futures, so a dropped future cannot break it.
//!
//! A crash here costs nothing: what completes is durable already, and recovery redoes it.

use std::sync::Arc;

use super::{OpenSegment, SealJob, State};
use crate::format::buffer::{BufferKind, records_offset};
use crate::format::record::RecordKind;
use crate::format::seal::SealEntry;
use crate::format::summary::{SummaryEntry, locations_from};
use crate::groups::GroupChange;
use crate::log::{Buffer, Phase, Place};
use crate::options::Durability;
use crate::rewrites::Destination;
use crate::segments::{Content, SegmentKind};
use crate::types::{BufferNumber, ByteLen, Generation, GroupId, Location, SegmentId, to_u32};

/// A buffer that became durable, in its turn.
pub(super) struct Counted<'a> {
    pub(super) kind: BufferKind,
    pub(super) number: BufferNumber,
    pub(super) place: Place,
    pub(super) len: ByteLen,
    pub(super) group: GroupId,
    pub(super) entries: &'a [SummaryEntry],
}

/// Where the records of a buffer lie.
pub(super) fn places(
    kind: BufferKind,
    place: Place,
    group: GroupId,
    entries: &[SummaryEntry],
) -> impl Iterator<Item = Location> {
    let front = records_offset(kind, entries.len(), group == GroupId::MIXED);
    let first = place.offset.checked_add(front).expect("records lie in their segment");
    locations_from(place.segment, first, entries)
}

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
        self.segments.note_log_end(segment, buffer.number.next());
        self.buffer_counts(&Counted {
            kind: BufferKind::Log,
            number: buffer.number,
            place: buffer.place,
            len: buffer.len,
            group: buffer.group,
            entries: &buffer.entries,
        });
        self.calls.released += buffer.charge;
        buffer.wake(Durability::Synced, &Ok(()));
    }

    /// A buffer was given its place in an open segment: neither is done with before it counts.
    pub(super) fn buffer_is_coming(&mut self, segment: SegmentId) {
        self.segments.hold(segment);
        let open = self.open.get_mut(&segment).expect("buffers go to open segments");
        open.incomplete += 1;
    }

    /// A durable buffer takes its place in its segment for good: in the accounts, and in the seal.
    pub(super) fn buffer_counts(&mut self, buffer: &Counted<'_>) {
        let (segment, entries) = (buffer.place.segment, buffer.entries);
        let mixed = buffer.group == GroupId::MIXED;
        let front = records_offset(buffer.kind, entries.len(), mixed);
        self.segments.note_buffer(segment, Content::of(buffer.len, front, entries));
        self.segments.release(segment);
        let first_sequence = entries.iter().map(|entry| entry.sequence).min();
        let open = self.open.get_mut(&segment).expect("a segment stays open for its buffers");
        open.entries.push(SealEntry {
            offset: buffer.place.offset,
            records: to_u32(entries.len()),
            number: buffer.number,
            first_sequence: first_sequence.expect("a buffer has records"),
        });
        open.incomplete -= 1;
        self.seal_if_complete(segment);
    }

    fn apply_records(&mut self, buffer: &Buffer) {
        let places = places(BufferKind::Log, buffer.place, buffer.group, &buffer.entries);
        let mut changes = buffer.changes.iter().peekable();
        let mut pieces = buffer.pieces.iter().peekable();
        for ((position, entry), at) in buffer.entries.iter().enumerate().zip(places) {
            self.apply_record(entry, at);
            if let Some((_, pieces)) = pieces.next_if(|pieces| pieces.0 == position) {
                self.adopt_pieces(entry, pieces);
            }
            if let Some((_, change)) = changes.next_if(|change| change.0 == position) {
                self.apply_change(change);
            }
        }
    }

    fn apply_record(&mut self, entry: &SummaryEntry, at: Location) {
        if entry.kind == RecordKind::Delete {
            let guard = self.highest_generation();
            self.segments.add_tombstone(at.segment(), entry.len, guard);
        }
        // A record of a group that was dropped meanwhile is dead from the start.
        let Some(group) = self.groups.get_mut(entry.group) else { return };
        group.pending.complete(entry.hash, entry.sequence);
        let memory = group.index.memory();
        let before = match entry.kind {
            RecordKind::Put | RecordKind::Large => group.index.insert(entry.hash, at),
            RecordKind::Delete => group.index.remove(entry.hash),
        };
        self.index_bytes = self.index_bytes - memory + group.index.memory();
        let pieces = group.take_pieces(entry.hash);
        if !entry.kind.is_delete() {
            self.add_live(entry.group, at);
        }
        if let Some(dead) = before {
            self.sub_live(entry.group, dead);
        }
        if let Some(pieces) = pieces {
            self.kill_pieces(entry.group, &pieces);
        }
    }

    /// The highest generation given out: what a tombstone applied now waits for.
    fn highest_generation(&self) -> Generation {
        Generation::new(self.segments.next_generation().get().saturating_sub(1))
    }

    /// The index of `group` points at `at` now.
    pub(super) fn add_live(&mut self, group: GroupId, at: Location) {
        if self.segments.add_live(at.segment(), group, at.len())
            && let Some(group) = self.groups.get_mut(group)
        {
            group.segments.insert(at.segment());
        }
    }

    /// The index of `group` points at `at` no more.
    pub(super) fn sub_live(&mut self, group: GroupId, at: Location) {
        if self.segments.sub_live(at.segment(), group, at.len())
            && let Some(group) = self.groups.get_mut(group)
        {
            group.segments.remove(&at.segment());
        }
    }

    /// A change of the catalogue is durable. Dropping and truncating take a step for each segment
    /// of the group, none for a key.
    fn apply_change(&mut self, change: &GroupChange) {
        let Some(emptied) = self.groups.apply(change) else { return };
        let id = emptied.id;
        self.index_bytes -= emptied.index.memory();
        for &segment in &emptied.segments {
            self.segments.drop_group(segment, id);
        }
        // During a run it may have copies on their way, and is closed after it.
        if self.compaction.running.is_none() {
            self.close_output(Destination::Group(id));
        }
        self.calls.garbage.push((emptied.index, emptied.large));
        self.calls.reclaim = true;
    }

    /// The segment of the log in use takes no more buffers. `full`: because the next record does
    /// not fit, so that what is left of it may never be of use.
    pub(super) fn close_tail(&mut self, full: bool) {
        let Some(tail) = self.log.tail.take() else { return };
        self.close_segment(tail, full);
    }

    /// An open segment takes no more buffers; `tail` is where the next one would have gone.
    pub(super) fn close_segment(&mut self, tail: Place, full: bool) {
        let room = self.room_behind(tail).get();
        self.segments.seal(tail.segment, if full { room } else { 0 });
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
        self.note_sealed(segment);
        for _ in 0..open.incomplete {
            self.segments.release(segment); // its buffers go elsewhere
        }
        self.seals_owed += usize::from(owed);
        self.calls.writer = true;
        let is_log = self.segments.get(segment).kind == SegmentKind::Log;
        self.seals_due.push(SealJob {
            segment,
            kind: if is_log { BufferKind::Log } else { BufferKind::Rewrite },
            generation: open.generation,
            entries: Arc::new(open.entries),
            owed,
            failed: 0,
            after: if owed && is_log { self.log.next_number } else { BufferNumber::ZERO },
        });
    }
}
