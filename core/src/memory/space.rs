//! Where room comes from: files to be made, segments to be erased, and when there is none.
//!
//! 1. A store is full only when nothing that is under way can give it room.
//! 2. A segment is erased only once the *published* watermarks are above every log buffer in it,
//!    otherwise the gap would end the log too early at the next recovery, and above every copy made
//!    from it and every record that something in it died of, otherwise damage to one of these would
//!    pass for a torn write, and what came before it would be gone as well.
//! 3. While the seal of a failed segment is not durable, nothing is erased: what was written again
//!    elsewhere must stay, or the failed write would look like damage.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::naming::Named;
use super::{GENERATIONS_AHEAD, State};
use crate::format::geometry::{Geometry, MAX_STORE_LEN};
use crate::format::mark::Mark;
use crate::options::BadOption;
use crate::segments::{Claim, SegmentState};
use crate::types::{SegmentId, to_u32, to_u64, to_usize};

/// The files of the store, and what keeps it from having more.
#[derive(Clone, Debug)]
pub(crate) struct Growth {
    /// Files that exist, durably.
    pub(crate) files: u32,
    /// Files that there may be.
    pub(crate) files_max: u32,
    /// Room of free slots may have been given back to the device.
    pub(crate) hollow: bool,
    /// The storage cannot give room inside of files back.
    pub(crate) keeps_room: bool,
    /// The file with this index is forgotten, and its name is still to go.
    pub(crate) leaving: Option<u32>,
    /// Making a file failed; not to be tried again before this time.
    pub(crate) blocked: Option<(Duration, Arc<io::Error>)>,
}

impl Growth {
    pub(crate) fn new(files: u32, files_max: u32, hollow: bool) -> Self {
        Self { files, files_max, hollow, keeps_room: false, leaving: None, blocked: None }
    }
}

/// The fewest segments that a store works with: the log, two outputs, and what is kept for deletes
/// and compaction.
pub(crate) const SEGMENTS_MIN: u32 = 8;

/// Files that a capacity allows; an error if too few segments fit into it.
pub(crate) fn files_max(capacity: Option<u64>, geometry: Geometry) -> Result<u32, BadOption> {
    let Some(value) = capacity else { return Ok(geometry.max_files()) };
    let least = SEGMENTS_MIN.div_ceil(geometry.segments_per_file());
    let least = u64::from(least) * geometry.file_len();
    if !(least..=MAX_STORE_LEN).contains(&value) {
        return Err(BadOption { name: "capacity", value, least, most: MAX_STORE_LEN });
    }
    Ok(u32::try_from(value / geometry.file_len()).expect("a file has 64 KiB or more"))
}

/// How long to wait after a file could not be made.
const GROW_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Whether waiting for room helps.
#[derive(Clone, Debug)]
pub(crate) enum Outlook {
    /// Something is under way that may give room.
    Wait,
    /// Nothing is: every allowed file exists and nothing in them is dead.
    Full { capacity: Option<u64> },
    /// The device did not let the store have another file.
    NoMoreFiles(Arc<io::Error>),
}

/// What there is to grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grow {
    Nothing,
    /// A file is there that the mark does not know yet: publish it.
    Publish,
    /// Make the file with this index.
    Make(u32),
    /// Give these hollow slots their room again.
    Fill(Vec<SegmentId>),
    /// Give the room of these slots, which are hollow now, back to the device.
    Punch(Vec<SegmentId>),
    /// Give the file with this index back: the store has forgotten it.
    Remove(u32),
}

/// What there is to reclaim.
#[derive(Debug)]
pub(crate) enum Reclaim {
    Nothing,
    /// Publish the mark, then ask again.
    Publish,
    /// Erase these; they are retired.
    Erase(Vec<SegmentId>),
}

impl State {
    /// Whether it helps to wait for room that `claim` may take. Sees to it that what could help
    /// gets going.
    pub(super) fn outlook(&mut self, claim: Claim, now: Duration) -> Outlook {
        let deletes = claim == Claim::Delete;
        self.calls.grow = true;
        self.calls.reclaim = true;
        self.segments.note_passed_guards(); // as whoever plans a run does: both must agree
        let generations = self.segments.next_generation() >= self.published.next_generation;
        // A file that was made has its slots once the mark says so.
        let unpublished = self.growth.files > self.published.files && !self.growth_is_blocked(now);
        if generations || unpublished || !self.next_is_named() || self.may_grow(now) {
            return Outlook::Wait;
        }
        if !self.log.is_idle() {
            self.calls.writer = true;
            self.log.demand_all();
            return Outlook::Wait;
        }
        if self.could_compact(now, deletes) {
            self.compaction.wanted = true;
            self.compaction.deletes_wait |= deletes;
            self.calls.rewriter = true;
            return Outlook::Wait;
        }
        if self.close_waited_for(deletes) || self.close_spent_outputs(now) {
            return Outlook::Wait;
        }
        let erasable = self.segments.can_retire()
            || self.segments.will_retire()
            || self.segments.retired().next().is_some();
        let seals_under_way = self.seals_owed > self.seals_lost || self.segments.waits_for_seal();
        if seals_under_way || (self.seals_owed == 0 && erasable) {
            return Outlook::Wait;
        }
        match &self.growth.blocked {
            Some((_, error)) if self.growth.files < self.growth.files_max => {
                Outlook::NoMoreFiles(Arc::clone(error))
            }
            _ => {
                let all = self.growth.files == self.rules.geometry.max_files();
                Outlook::Full { capacity: self.capacity().or(all.then_some(MAX_STORE_LEN)) }
            }
        }
    }

    /// Changes how many files there may be.
    pub(crate) fn resize(&mut self, capacity: Option<u64>) -> Result<(), BadOption> {
        self.growth.files_max = files_max(capacity, self.rules.geometry)?;
        self.set_limit();
        self.calls.grow = true;
        self.calls.rewriter = true;
        self.calls.room = true;
        Ok(())
    }

    /// Which files are to go: those over the capacity, and the last one if far more is free than
    /// the store needs ahead.
    fn set_limit(&mut self) {
        let per_file = self.rules.geometry.segments_per_file();
        let mut files = self.growth.files.min(self.growth.files_max);
        let used = self.segments.len() - self.segments.free() - self.segments.hollow();
        let slack = self.segments.len().saturating_sub(used + self.kept_free());
        let goes = self.segments.shrinks();
        let enough = to_usize(per_file) * if goes { 1 } else { 3 };
        if slack > enough && files > SEGMENTS_MIN.div_ceil(per_file) {
            files = files.min(self.growth.files - 1);
        }
        // What is live beyond the limit needs somewhere to go.
        let first = SegmentId::new(files * per_file);
        if !goes && self.segments.free_below(first) <= Claim::Put.leaves() {
            files = self.growth.files;
        }
        let limit = if files == self.growth.files { u32::MAX } else { files * per_file };
        if self.segments.limit() != SegmentId::new(limit) {
            self.segments.set_limit(SegmentId::new(limit));
            self.calls.rewriter = true;
        }
    }

    /// Free slots that are there before they are needed. What somebody wants moved may be a full
    /// segment, whose copies take two.
    fn ahead(&self) -> usize {
        let quarter = to_usize(self.rules.geometry.segments_per_file()).div_ceil(4);
        quarter.max(self.low_mark() + usize::from(self.is_requested()))
    }

    /// Free slots that keep their room on the device.
    fn kept_free(&self) -> usize {
        self.ahead() + self.ahead() / 2 + 1
    }

    /// Bytes that the files may take; `None` if only the device bounds them.
    pub(crate) fn capacity(&self) -> Option<u64> {
        let files = self.growth.files_max;
        (files < self.rules.geometry.max_files())
            .then(|| u64::from(files) * self.rules.geometry.file_len())
    }

    /// Whether there may be more free slots, from hollow ones or in another file. Not if the store
    /// takes more than its bound already, and compaction can give room instead.
    pub(super) fn may_grow(&self, now: Duration) -> bool {
        let more =
            self.growth.files < self.growth.files_max || self.segments.fillable().next().is_some();
        more && !self.growth_is_blocked(now)
            && !(self.growth_is_over_bound() && self.could_compact(now, false))
    }

    /// Whether the segments in use, and those that are free ahead of need, pass the bound.
    fn growth_is_over_bound(&self) -> bool {
        self.used_bytes() + to_u64(self.low_mark()) * self.segment_len() > self.bound_bytes()
    }

    fn growth_is_blocked(&self, now: Duration) -> bool {
        self.growth.blocked.as_ref().is_some_and(|(until, _)| now < *until)
    }

    /// What should be done now, so that there is always room ahead, and not far more of it.
    pub(crate) fn plan_growth(&mut self, now: Duration) -> Grow {
        if self.growth.files > self.published.files || self.growth.hollow && !self.published.hollow
        {
            return Grow::Publish;
        }
        if !self.accepts_writes() {
            return Grow::Nothing;
        }
        // Before anything else: a file that is there although one before it is not would look like
        // the loss of that one.
        if let Some(index) = self.growth.leaving {
            return if self.growth_is_blocked(now) { Grow::Nothing } else { Grow::Remove(index) };
        }
        self.set_limit();
        if self.segments.free() < self.ahead() && self.may_grow(now) {
            let hollow: Vec<SegmentId> = self.segments.fillable().take(64).collect();
            if !hollow.is_empty() {
                return Grow::Fill(hollow);
            }
            if self.growth.files < self.growth.files_max {
                return Grow::Make(self.growth.files);
            }
        }
        self.plan_giving_back()
    }

    fn plan_giving_back(&mut self) -> Grow {
        let per_file = self.rules.geometry.segments_per_file();
        let goes = self.segments.shrinks();
        if goes && self.segments.end_is_hollow(per_file) {
            self.segments.forget_end(per_file);
            self.growth.files -= 1;
            self.growth.leaving = Some(self.growth.files);
            return Grow::Remove(self.growth.files);
        }
        let surplus = self.segments.free().saturating_sub(self.kept_free());
        if surplus < to_usize(per_file).div_ceil(2) || self.growth.keeps_room {
            return Grow::Nothing;
        }
        if !self.published.hollow {
            self.growth.hollow = true;
            return Grow::Publish; // before the first one, so that an opening knows
        }
        Grow::Punch(self.segments.hollow_out(surplus.min(64)))
    }

    /// Hollow slots have their room again, and zeros in it.
    pub(crate) fn filled(&mut self, segments: &[SegmentId]) {
        for &id in segments {
            self.segments.filled(id);
        }
        self.growth.blocked = None;
        self.slots_changed();
    }

    /// There are more or fewer free slots: whoever decides by their number looks again.
    fn slots_changed(&mut self) {
        self.calls.room = true;
        self.calls.grow = true;
        self.calls.rewriter = true;
        self.calls.reclaim |= self.names_run_low();
    }

    /// The name of the last file that was given back is gone, durably.
    pub(crate) fn file_has_left(&mut self) {
        self.growth.leaving = None;
    }

    /// The storage cannot give room inside of files back.
    pub(crate) fn room_is_kept(&mut self) {
        self.growth.keeps_room = true;
    }

    fn accepts_writes(&self) -> bool {
        matches!(self.status, super::Status::Open)
    }

    /// A file was made: zeroed, durable, and under its name. Its slots are used once the mark
    /// says that it exists.
    pub(crate) fn file_made(&mut self) {
        self.growth.files += 1;
        self.growth.blocked = None;
    }

    pub(crate) fn file_not_made(&mut self, error: io::Error, now: Duration) {
        self.growth.blocked = Some((now + GROW_AGAIN_AFTER, Arc::new(error)));
        self.calls.room = true; // those who wait may have to be told that the store is full
    }

    /// A mark is durable on disk.
    pub(crate) fn mark_published(&mut self, mark: Mark) {
        // A file may have been given back since this mark was made.
        let files = mark.files.min(self.growth.files);
        let slots = u64::from(files) * u64::from(self.rules.geometry.segments_per_file());
        while to_u64(self.segments.len()) < slots {
            self.segments.push_fresh();
        }
        self.named = Named::by(&mark);
        self.published = mark;
        self.calls.reclaim = true;
        self.slots_changed();
    }

    /// Retires what may go, and says what to do with it.
    pub(crate) fn plan_reclaim(&mut self) -> Reclaim {
        let names = self.accepts_writes() && self.names_run_low();
        if self.generations_run_low() || names {
            return Reclaim::Publish;
        }
        if self.seals_owed > 0 {
            return Reclaim::Nothing;
        }
        let durable = self.log.watermark();
        for id in self.segments.retire_dead() {
            self.segments.note_log_end(id, durable);
        }
        if self.segments.retired().next().is_none() {
            return Reclaim::Nothing;
        }
        let covered = |id: &SegmentId| {
            let slot = self.segments.get(*id);
            slot.log_end <= self.published.log_watermark
                && slot.rewrite_end <= self.published.rewrite_watermark
        };
        let covered: Vec<SegmentId> = self.segments.retired().filter(covered).collect();
        if covered.is_empty() {
            return Reclaim::Publish;
        }
        #[cfg(feature = "verify")]
        if let Some(observer) = &self.rules.observer {
            observer.0.erasing(&covered);
        }
        Reclaim::Erase(covered)
    }

    pub(super) fn generations_run_low(&self) -> bool {
        let half = self.segments.next_generation().advance(GENERATIONS_AHEAD / 2);
        half > self.published.next_generation
    }

    /// The erasing of a retired segment ended.
    pub(crate) fn erase_ended(&mut self, id: SegmentId, durable: bool) {
        assert_eq!(self.segments.get(id).state, SegmentState::Retired);
        if durable {
            self.segments.erased(id);
        } else {
            self.segments.quarantine(id);
        }
        self.slots_changed();
    }

    /// Segments by state, for the numbers: free, hollow, active, sealed, retired, quarantined.
    pub(crate) fn count_states(&self) -> [u32; 6] {
        let count =
            |state| to_u32(self.segments.iter().filter(|(_, slot)| slot.state == state).count());
        [
            count(SegmentState::Free),
            count(SegmentState::Hollow),
            count(SegmentState::Active),
            count(SegmentState::Sealed),
            count(SegmentState::Retired),
            count(SegmentState::Quarantined),
        ]
    }

    /// Free slots that are missing to where compaction rests.
    pub(crate) fn missing_slots(&self) -> usize {
        self.low_mark().saturating_sub(self.segments.free())
    }

    /// Mixed segments that the separator has taken on and not sorted.
    pub(crate) fn separation_debt(&self) -> usize {
        self.compaction.separating.len()
    }
}
