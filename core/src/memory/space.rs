//! Where room comes from: files to be made, segments to be erased, and when there is none.
//!
//! 1. A store is full only when nothing that is under way can give it room.
//! 2. A segment is erased only once the *published* watermarks are above every log buffer in it,
//!    otherwise the gap would end the log too early at the next recovery, and above every copy made
//!    from it, otherwise damage to a copy would pass for a torn write.
//! 3. While the seal of a failed segment is not durable, nothing is erased: what was written again
//!    elsewhere must stay, or the failed write would look like damage.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{GENERATIONS_AHEAD, State};
use crate::format::mark::Mark;
use crate::segments::{SegmentState, Slot};
use crate::types::{SegmentId, to_u32, to_u64, to_usize};

/// The files of the store, and what keeps it from having more.
#[derive(Clone, Debug)]
pub(crate) struct Growth {
    /// Files that exist, durably.
    pub(crate) files: u32,
    /// Files that there may be.
    pub(crate) files_max: u32,
    /// Making a file failed; not to be tried again before this time.
    pub(crate) blocked: Option<(Duration, Arc<io::Error>)>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grow {
    Nothing,
    /// A file is there that the mark does not know yet: publish it.
    Publish,
    /// Make the file with this index.
    Make(u32),
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
    /// Whether it helps to wait for room. Sees to it that what could help gets going.
    pub(super) fn outlook(&mut self, now: Duration) -> Outlook {
        self.calls.grow = true;
        self.calls.reclaim = true;
        let generations = self.segments.next_generation() >= self.published.next_generation;
        // A file that was made has its slots once the mark says so.
        let unpublished = self.growth.files > self.published.files && !self.growth_is_blocked(now);
        if generations || unpublished || self.may_grow(now) {
            return Outlook::Wait;
        }
        if !self.log.is_idle() {
            self.calls.writer = true;
            self.log.demand_all();
            return Outlook::Wait;
        }
        if self.could_compact(now) {
            self.compaction.wanted = true;
            self.calls.rewriter = true;
            return Outlook::Wait;
        }
        let erasable = self.segments.can_retire()
            || self.segments.will_retire()
            || self.segments.retired().next().is_some();
        let seals_under_way = self.seals_owed > self.seals_lost;
        if seals_under_way || (self.seals_owed == 0 && erasable) {
            return Outlook::Wait;
        }
        match &self.growth.blocked {
            Some((_, error)) if self.growth.files < self.growth.files_max => {
                Outlook::NoMoreFiles(Arc::clone(error))
            }
            _ => Outlook::Full { capacity: self.capacity() },
        }
    }

    /// Changes how many files there may be; never fewer than there are.
    pub(crate) fn resize(&mut self, capacity: Option<u64>) {
        let fitting = capacity.map_or(u32::MAX, |capacity| {
            let files = capacity / self.rules.geometry.file_len();
            u32::try_from(files).unwrap_or(u32::MAX)
        });
        self.growth.files_max = fitting.max(self.growth.files).max(1);
        self.calls.grow = true;
        self.calls.room = true;
    }

    /// Bytes that the files may take; `None` if only the device bounds them.
    pub(crate) fn capacity(&self) -> Option<u64> {
        let files = self.growth.files_max;
        (files < u32::MAX).then(|| u64::from(files) * self.rules.geometry.file_len())
    }

    /// Whether another file may be made. Not if the store takes more than its bound already, and
    /// compaction can give room instead.
    pub(super) fn may_grow(&self, now: Duration) -> bool {
        self.growth.files < self.growth.files_max
            && !self.growth_is_blocked(now)
            && !(self.growth_is_over_bound() && self.could_compact(now))
    }

    fn growth_is_over_bound(&self) -> bool {
        let file_len = self.rules.geometry.file_len();
        u64::from(self.growth.files) * file_len > self.bound_bytes() + file_len
    }

    fn growth_is_blocked(&self, now: Duration) -> bool {
        self.growth.blocked.as_ref().is_some_and(|(until, _)| now < *until)
    }

    /// What should be done now, so that there is always room ahead.
    pub(crate) fn plan_growth(&self, now: Duration) -> Grow {
        if self.growth.files > self.published.files {
            return Grow::Publish;
        }
        let ahead = to_usize(self.rules.geometry.segments_per_file()).div_ceil(4);
        let ahead = ahead.max(self.low_mark());
        if self.segments.free() < ahead && self.may_grow(now) && self.accepts_writes() {
            return Grow::Make(self.growth.files);
        }
        Grow::Nothing
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
        let slots = u64::from(mark.files) * u64::from(self.rules.geometry.segments_per_file());
        while to_u64(self.segments.len()) < slots {
            self.segments.push(Slot::fresh());
        }
        self.published = mark;
        self.calls.reclaim = true;
        self.calls.room = true;
    }

    /// Retires what may go, and says what to do with it.
    pub(crate) fn plan_reclaim(&mut self) -> Reclaim {
        if self.generations_run_low() {
            return Reclaim::Publish;
        }
        if self.seals_owed > 0 {
            return Reclaim::Nothing;
        }
        self.segments.retire_dead();
        let retired: Vec<SegmentId> = self.segments.retired().collect();
        if retired.is_empty() {
            return Reclaim::Nothing;
        }
        let covered = |id: &SegmentId| {
            let slot = self.segments.get(*id);
            slot.log_end <= self.published.log_watermark
                && slot.rewrite_end <= self.published.rewrite_watermark
        };
        if !retired.iter().all(covered) {
            return Reclaim::Publish;
        }
        #[cfg(feature = "verify")]
        if let Some(observer) = &self.rules.observer {
            observer.0.erasing(&retired);
        }
        Reclaim::Erase(retired)
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
        self.calls.room = true;
    }

    /// Segments by state, for the numbers: free, active, sealed, retired, quarantined.
    pub(crate) fn count_states(&self) -> [u32; 5] {
        let count =
            |state| to_u32(self.segments.iter().filter(|(_, slot)| slot.state == state).count());
        [
            count(SegmentState::Free),
            count(SegmentState::Active),
            count(SegmentState::Sealed),
            count(SegmentState::Retired),
            count(SegmentState::Quarantined),
        ]
    }
}
