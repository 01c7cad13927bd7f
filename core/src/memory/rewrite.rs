//! The steps of a rewrite: giving copies their place, and repointing the index to them.
//!
//! 1. A record is copied only if it is needed at the moment its copy gets its place: the index
//!    points at it, or it is a tombstone that something on disk may still wait for.
//! 2. The index is repointed only from the very place that was copied: a newer write wins.
//! 3. Nothing is repointed before all copies of the run are durable.
//!
//! What happens if the power goes out: before the sync, copies that count for nothing or are copies
//! of what is there; after it, two copies with one sequence, of which either will do.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use super::compaction::Run;
use super::complete::{Counted, places};
use crate::compact::CompactReport;
use crate::format::buffer::BufferKind;
use crate::format::record::RecordKind;
use crate::format::summary::SummaryEntry;
use crate::log::WriteJob;
use crate::rewrites::{Destination, Draft, Move, Output, RewriteBuffer};
use crate::segments::{Claim, SegmentKind};
use crate::types::{BufferNumber, ByteLen, Generation, GroupId, Location, SegmentId};

/// A record found in a victim, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) from: Location,
    pub(crate) entry: SummaryEntry,
    pub(crate) record: &'a [u8],
}

/// What came of giving some candidates their places.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// Buffers that are full, to be written.
    pub(crate) jobs: Vec<WriteJob>,
    /// Candidates looked at: all, unless there was no more room.
    pub(crate) seen: usize,
    pub(crate) tombstones_dropped: u64,
}

/// Copies of the run are handed to the device when they reach this.
const BUFFER_LEN: u32 = 256 << 10;

impl State {
    /// Whether the index still needs the record at `from`.
    pub(crate) fn is_needed(&self, run: &Run, from: Location, entry: &SummaryEntry) -> bool {
        let Some(group) = self.groups.get(entry.group) else { return false };
        match entry.kind {
            RecordKind::Put | RecordKind::Large => {
                run.only.is_none_or(|only| only == entry.group)
                    && group.index.get(entry.hash) == Some(from)
            }
            RecordKind::Delete => {
                run.only.is_none()
                    && group.index.get(entry.hash).is_none()
                    && !self.segments.guard_has_passed(from.segment())
            }
        }
    }

    /// Gives candidates their places, in order, while there is room.
    pub(crate) fn place(&mut self, run: &Run, candidates: &[Candidate<'_>]) -> Placed {
        let mut placed = Placed::default();
        for candidate in candidates {
            if self.is_needed(run, candidate.from, &candidate.entry) {
                let destination = run.destination(candidate.entry.group);
                let (len, claim) = (candidate.entry.len, run.why.claim());
                if !self.make_room_for_copy(destination, len, claim, &mut placed.jobs) {
                    break;
                }
                self.copy(destination, candidate);
            } else if candidate.entry.kind == RecordKind::Delete && run.only.is_none() {
                placed.tombstones_dropped += 1;
            }
            placed.seen += 1;
        }
        while self.rewrites.drafted() > self.rules.rewrite_memory / 2 {
            let Some(largest) = self.rewrites.largest_draft() else { break };
            placed.jobs.extend(self.issue(largest));
        }
        placed
    }

    /// Sees to it that the draft of `destination` takes a record of `len` bytes more.
    fn make_room_for_copy(
        &mut self,
        destination: Destination,
        len: ByteLen,
        claim: Claim,
        jobs: &mut Vec<WriteJob>,
    ) -> bool {
        if let Some(output) = self.rewrites.outputs.get(&destination) {
            let room = self.room_behind(output.tail);
            let fits = output.draft.len_with(len, destination);
            let full = fits.is_none_or(|fits| fits.get() > BUFFER_LEN);
            if fits.is_some_and(|fits| fits <= room) && (!full || output.draft.is_empty()) {
                return true;
            }
            jobs.extend(self.issue(destination));
            let tail = self.rewrites.outputs[&destination].tail;
            let alone = Draft::default().len_with(len, destination);
            if alone.is_some_and(|alone| alone <= self.room_behind(tail)) {
                return true;
            }
        }
        self.open_output(destination, claim)
    }

    /// Goes on in a fresh segment; the one before is full.
    fn open_output(&mut self, destination: Destination, claim: Claim) -> bool {
        let kind = match destination {
            Destination::Group(group) => SegmentKind::Group(group),
            Destination::Shared => SegmentKind::Shared,
        };
        let Some(tail) = self.take_segment(claim, kind) else { return false };
        let output = Output { tail, draft: Draft::default(), used: self.rewrites.run };
        if let Some(before) = self.rewrites.outputs.insert(destination, output) {
            assert!(before.draft.is_empty());
            self.close_segment(before.tail, true);
        }
        true
    }

    fn copy(&mut self, destination: Destination, candidate: &Candidate<'_>) {
        let guard = self.segments.get(candidate.from.segment()).guard;
        let run = self.rewrites.run;
        let output = self.rewrites.outputs.get_mut(&destination).expect("room was made in it");
        output.used = run;
        let moved = Move { from: candidate.from, guard };
        output.draft.push(candidate.entry, candidate.record, moved);
    }

    /// Hands the draft of a destination out to be written.
    fn issue(&mut self, destination: Destination) -> Option<WriteJob> {
        let watermarks = self.watermarks();
        let job = self.rewrites.issue(destination, watermarks)?;
        self.buffer_is_coming(job.place.segment);
        Some(job)
    }

    /// Hands out what is left in all drafts: the run has seen everything, or there is no more room.
    /// Also the victims that are still needed, because a few records of them would have been copied
    /// for the sake of padding; see [`crate::rewrites`], law 4.
    pub(crate) fn issue_rest(
        &mut self,
        run: &Run,
        full: bool,
    ) -> (Vec<WriteJob>, BTreeSet<SegmentId>) {
        let most = if full || !run.why.may_leave() { 0 } else { run.victims.len() / 4 };
        let segments = &self.segments;
        let may_stay = |victim| segments.get(victim).tombstones == 0;
        let left = self.rewrites.leave_remainders(most, may_stay);
        let destinations: Vec<Destination> = self.rewrites.outputs.keys().copied().collect();
        let jobs = destinations.into_iter().filter_map(|destination| self.issue(destination));
        (jobs.collect(), left)
    }

    /// Everything of the run is durable: the index is repointed to the copies in its next buffer,
    /// in order of number. `false` when there is none left. One buffer a step: others wait for the
    /// lock meanwhile.
    pub(crate) fn complete_next(&mut self, report: &mut CompactReport) -> bool {
        let Some(buffer) = self.rewrites.ring.pop_front() else {
            self.close_idle_outputs();
            return false;
        };
        self.complete_copies(&buffer, report);
        self.buffer_counts(&Counted {
            kind: BufferKind::Rewrite,
            number: buffer.number,
            place: buffer.place,
            len: buffer.len,
            group: buffer.group,
            entries: &buffer.entries,
        });
        self.segments.note_rewrite_buffer(buffer.place.segment, buffer.number);
        true
    }

    fn complete_copies(&mut self, buffer: &RewriteBuffer, report: &mut CompactReport) {
        let (place, group) = (buffer.place, buffer.group);
        let places = places(BufferKind::Rewrite, place, group, &buffer.entries);
        for ((entry, moved), to) in buffer.entries.iter().zip(&buffer.moves).zip(places) {
            self.segments.note_rewrite_buffer(moved.from.segment(), buffer.number);
            match entry.kind {
                // The pieces of a large value stay where they are.
                RecordKind::Put | RecordKind::Large => {
                    if self.relocate(entry, moved.from, to) {
                        report.records_moved += 1;
                        report.bytes_moved += u64::from(entry.len.get());
                        report.records_shared += u64::from(group == GroupId::MIXED);
                    } else {
                        report.records_superseded += 1;
                    }
                }
                RecordKind::Delete => {
                    self.segments.add_tombstone(to.segment(), entry.len, moved.guard);
                }
            }
        }
    }

    /// Repoints a key, if it still points where the copy was made from.
    fn relocate(&mut self, entry: &SummaryEntry, from: Location, to: Location) -> bool {
        let Some(group) = self.groups.get_mut(entry.group) else { return false };
        if !group.index.relocate(entry.hash, from, to) {
            return false; // superseded or deleted meanwhile; the copy is dead from the start
        }
        self.add_live(entry.group, to);
        self.sub_live(entry.group, from);
        true
    }

    /// Nothing of the run counts: its segments are sealed with what was complete before it.
    pub(crate) fn abandon_run(&mut self) {
        let mut touched = BTreeMap::<SegmentId, BufferNumber>::new();
        for buffer in std::mem::take(&mut self.rewrites.ring) {
            touched.entry(buffer.place.segment).or_insert(buffer.number);
        }
        let outputs = std::mem::take(&mut self.rewrites.outputs);
        for (destination, mut output) in outputs {
            output.draft = Draft::default();
            if touched.contains_key(&output.tail.segment) {
                self.segments.seal(output.tail.segment, 0);
            } else {
                self.rewrites.outputs.insert(destination, output);
            }
        }
        for (segment, first) in touched {
            self.rewrites.abandoned.insert(segment, first);
            self.seal_is_due(segment, true);
        }
        self.calls.room = true;
    }

    /// Closes outputs of groups that are gone or have nothing in them any more, and those used
    /// longest ago if there are too many.
    fn close_idle_outputs(&mut self) {
        let gone = |destination: &Destination, output: &Output| match destination {
            Destination::Group(group) => {
                let slot = self.segments.get(output.tail.segment);
                self.groups.get(*group).is_none() || slot.live == 0 && slot.tombstones == 0
            }
            Destination::Shared => false,
        };
        let outputs = self.rewrites.outputs.iter();
        let mut idle: BTreeSet<Destination> =
            outputs.filter(|(at, output)| gone(at, output)).map(|(&at, _)| at).collect();
        let left = self.rewrites.outputs.len() - idle.len();
        let most = self.outputs_max();
        if left > most {
            let mut by_use: Vec<(u64, Destination)> =
                self.rewrites.outputs.iter().map(|(&at, output)| (output.used, at)).collect();
            by_use.sort_unstable();
            idle.extend(by_use.iter().take(left - most).map(|entry| entry.1));
        }
        for destination in idle {
            self.close_output(destination);
        }
    }

    /// The output of a destination takes no more copies.
    pub(crate) fn close_output(&mut self, destination: Destination) {
        if let Some(output) = self.rewrites.outputs.remove(&destination) {
            assert!(output.draft.is_empty());
            self.close_segment(output.tail, false);
        }
    }

    /// No more runs: every output is sealed.
    pub(crate) fn close_outputs(&mut self) {
        let destinations: Vec<Destination> = self.rewrites.outputs.keys().copied().collect();
        for destination in destinations {
            self.close_output(destination);
        }
    }

    /// A victim was read to its end, and what it needed was copied or is not needed any more.
    pub(crate) fn victim_done(&mut self, victim: SegmentId, generation: Generation) {
        let slot = self.segments.get(victim);
        assert_eq!(slot.generation, generation);
        self.compaction.suspects.remove(&victim);
        self.segments.tombstones_left(victim);
    }
}
