//! What to rewrite next, and when: the whole policy of compaction and separator.
//!
//! | why | when | what |
//! |---|---|---|
//! | request | somebody asked | what was asked for, as it was then |
//! | separation | mixed segments pass a share of the store | all of them, oldest first |
//! | room | free slots run low, and there can be no more | the best, or as for tombstones |
//! | space | segments in use pass a share of what is needed in them | the best victims |
//! | shrink | a file is to go | what is in it |
//! | tombstones | they pass a few per cent of the store | the slot that they wait for |
//!
//! The value of a victim is what it gives back, times its age, over what it costs:
//! `(1 - n) / (1 + n) * age`, where `n` is the share of it that is needed.
//!
//! 1. A victim is taken only if rewriting it gives back more than the padding of its copies. So the
//!    room in the store grows with every run, and no load can make compaction go round in circles.
//! 2. A run is begun only if all of its copies find room for certain; in a store that is nearly
//!    full that is one victim and the shared output, and the last free slots are kept for it.
//! 3. Where nothing gives room back, tombstones may be what fills the store. Then the oldest slot
//!    is rewritten, whatever is in it, if any of them waits for it. Copies go to generations that
//!    no tombstone waits for yet: fewer slots are waited for after each such run, at last none.
//!    A put has this done only where tombstones are many. A delete must not be refused, so it has
//!    it done for any: where records are little but their keys, each slot of tombstones kills a
//!    slot of records, but so thinly spread that no segment is worth rewriting for itself.
//! 4. A victim that could not be read is left alone for a while, and one in which something is
//!    damaged for good, after a few attempts. What it needs stays where it is.
//! 5. Near the bound on space a run begins only when what the one before gave back is erased, so
//!    that the copies of one run at most are there beside its victims.
//!
//! Absent on purpose: I/O and waiting. One run at a time: the task that carries runs out asks here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::gather::Batch;
use super::requests::Request;
use super::suspects::{Suspect, pause_after};
use super::tombstones::{TOMBSTONE_PERCENT, tombstone_percent};
use super::{State, Status};
use crate::compact::CompactReport;
use crate::rewrites::Destination;
use crate::segments::Claim;
use crate::types::{Generation, GroupId, SegmentId, to_u32, to_u64};

/// Why a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    Request,
    Separation,
    /// Writers need room.
    Room,
    /// The store takes more than it should.
    Space,
    Tombstones,
    /// A file is to go.
    Shrink,
}

impl Why {
    /// Which slots its copies may take. Only what gives back more than it takes, for certain, may
    /// use what is kept for that.
    pub(super) fn claim(self) -> Claim {
        match self {
            Self::Room | Self::Space => Claim::Rewrite,
            Self::Request | Self::Separation | Self::Tombstones | Self::Shrink => Claim::Put,
        }
    }

    /// Whether a few records may stay in a victim for the next run. Not where somebody waits for
    /// this very victim to be empty.
    pub(super) fn may_leave(self) -> bool {
        matches!(self, Self::Room | Self::Space | Self::Separation)
    }
}

/// Some victims, and where their records go.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) why: Why,
    /// Pinned until the run has ended.
    pub(crate) victims: Vec<(SegmentId, Generation)>,
    /// Groups whose records go to a segment of their own.
    pub(super) own: BTreeSet<GroupId>,
    /// Only records of this group are moved.
    pub(super) only: Option<GroupId>,
}

impl Run {
    pub(super) fn destination(&self, group: GroupId) -> Destination {
        if self.own.contains(&group) { Destination::Group(group) } else { Destination::Shared }
    }

    /// Whether all of each victim is looked after, tombstones too.
    pub(crate) fn is_whole(&self) -> bool {
        self.only.is_none()
    }
}

/// What the rewriter should do now.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Nothing, until something happens or this time has come.
    Nothing(Option<Duration>),
    Run(Run),
}

/// What compaction and separator are up to.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// Guards that hold compaction back.
    pub(crate) pauses: u32,
    /// A run is under way.
    pub(crate) running: Option<Why>,
    /// A writer waits for room.
    pub(super) wanted: bool,
    /// And one of them only deletes.
    pub(super) deletes_wait: bool,
    /// Mixed segments that the separator has taken on.
    pub(super) separating: VecDeque<(SegmentId, Generation)>,
    pub(super) requests: VecDeque<Request>,
    /// Victims that could not be read.
    pub(super) suspects: BTreeMap<SegmentId, Suspect>,
    /// Runs that failed in a row, and when to try again.
    failures: u32,
    retry_at: Duration,
    /// Sums over all runs.
    pub(crate) done: CompactReport,
    pub(crate) runs: u64,
    pub(crate) runs_failed: u64,
    /// Runs that were begun.
    pub(crate) causes: BTreeMap<Why, u64>,
}

/// Segments that a store may use beside what is needed, however small it is.
const SPARE: u64 = 2;
/// Bytes that are kept free at most beyond what puts may not take: a run goes on while these last.
const AHEAD: u64 = 4 << 20;
impl State {
    /// What to rewrite next. Its victims are pinned; the run must be ended.
    pub(crate) fn plan_rewrite(&mut self, now: Duration) -> Plan {
        assert!(self.compaction.running.is_none(), "one run at a time");
        if !matches!(self.status, Status::Open) {
            self.drop_requests(); // who asked is told the state of the store
            return Plan::Nothing(None);
        }
        if now < self.compaction.retry_at {
            return Plan::Nothing(Some(self.compaction.retry_at));
        }
        self.segments.note_passed_guards();
        let run = if self.waits_for_erasing() {
            self.calls.reclaim = true; // a guard may have passed just now
            None
        } else {
            self.requested(now).or_else(|| self.due(now))
        };
        let Some(run) = run else {
            // A request that waits for room calls for compaction, which was just looked at.
            self.calls.rewriter = false;
            let retries = self.compaction.suspects.values().filter_map(Suspect::retry_at);
            return Plan::Nothing(retries.filter(|&at| at > now).min());
        };
        for &(victim, generation) in &run.victims {
            assert_eq!(self.segments.get(victim).generation, generation);
            self.segments.pin(victim);
        }
        self.compaction.running = Some(run.why);
        *self.compaction.causes.entry(run.why).or_default() += 1;
        self.rewrites.run += 1;
        Plan::Run(run)
    }

    fn due(&mut self, now: Duration) -> Option<Run> {
        if self.compaction.pauses > 0 || self.gives_nothing_back() {
            return None;
        }
        let wanted = std::mem::take(&mut self.compaction.wanted);
        let deletes = std::mem::take(&mut self.compaction.deletes_wait);
        if wanted || self.runs_low() && !self.may_grow(now) {
            let soon = self.segments.free() + self.segments.coming();
            if self.runs_low() && soon >= self.low_mark() {
                return None; // what the last run gave back is being erased
            }
            let run = self.next_for_room(now, tombstone_percent(deletes));
            if run.is_none() {
                self.close_group_outputs();
            }
            return run;
        }
        let separation = self.next_separation(now);
        if separation.is_some() {
            return separation;
        }
        if self.is_over_bound()
            && let Some(run) = self.pick(now, Why::Space)
        {
            return Some(run);
        }
        self.next_to_shrink(now).or_else(|| {
            if self.runs_low() {
                return None;
            }
            self.next_for_tombstones(now, Why::Tombstones, TOMBSTONE_PERCENT)
        })
    }

    /// Near the bound there is room for the copies of one run: its victims are erased first.
    fn waits_for_erasing(&self) -> bool {
        let erasing = self.seals_owed == 0 && self.segments.coming() > 0;
        erasing && !self.gives_nothing_back() && self.presses_bound()
    }

    /// What gives room back; if there is nothing, what tombstones wait for that take more of the
    /// store than so many percent.
    fn next_for_room(&self, now: Duration, percent: u64) -> Option<Run> {
        let tombstones = || self.next_for_tombstones(now, Why::Room, percent);
        self.pick(now, Why::Room).or_else(tombstones)
    }

    /// What lies in a file that is to go, the last segment first; or what makes room for it
    /// elsewhere.
    fn next_to_shrink(&mut self, now: Duration) -> Option<Run> {
        if !self.segments.shrinks() {
            let too_many = self.growth.files > self.growth.files_max;
            return if too_many { self.pick(now, Why::Shrink) } else { None };
        }
        if self.runs_low() {
            return None;
        }
        let limit = self.segments.limit();
        self.close_beyond(limit);
        let mut batch = Batch::new(self, Why::Shrink);
        for id in (limit.get()..to_u32(self.segments.len())).rev().map(SegmentId::new) {
            if self.is_ready(id, now) && !batch.add(self, id) {
                break;
            }
        }
        batch.run(self, u64::MAX)
    }

    /// Nothing is worth rewriting and room is short: what groups have open may be half empty, and
    /// can go together once it is sealed.
    fn close_group_outputs(&mut self) {
        let groups = self.rewrites.outputs.keys().copied();
        let groups: Vec<Destination> = groups.filter(|&at| at != Destination::Shared).collect();
        for destination in groups {
            self.close_output(destination);
        }
    }

    /// Outputs and the log go on elsewhere, if they are in a file that is to go.
    fn close_beyond(&mut self, limit: SegmentId) {
        let outputs = self.rewrites.outputs.iter();
        let beyond = outputs.filter(|(_, output)| output.tail.segment >= limit);
        let beyond: Vec<Destination> = beyond.map(|(&destination, _)| destination).collect();
        for destination in beyond {
            self.close_output(destination);
        }
        if self.log.tail.is_some_and(|tail| tail.segment >= limit) && self.log.head.is_none() {
            self.close_tail(false);
        }
    }

    /// Whether a look at what to rewrite is worth it: cheap, and sometimes a look too many.
    pub(super) fn compaction_is_due(&self) -> bool {
        self.runs_low() || self.is_over_bound() || self.mixed_pass_their_share()
    }

    /// Free slots below which compaction makes new ones: what puts may not take, and enough ahead
    /// of them for a run to be worth its syncs.
    pub(super) fn low_mark(&self) -> usize {
        let most = usize::try_from(AHEAD / self.segment_len()).unwrap_or(usize::MAX);
        Claim::Put.leaves() + 1 + (self.segments.len() / 96).min(most)
    }

    fn runs_low(&self) -> bool {
        self.segments.free() < self.low_mark()
    }

    /// Bytes of a segment.
    pub(super) fn segment_len(&self) -> u64 {
        self.rules.geometry.segment_len().get().into()
    }

    /// Bytes of segments that are not free, without large values.
    pub(crate) fn used_bytes(&self) -> u64 {
        let empty = self.segments.free() + self.segments.hollow();
        to_u64(self.segments.len() - empty) * self.segment_len() - self.large_bytes()
    }

    /// Bytes that the segments in use may take: the bound over what is live; in a small store, or
    /// one of tombstones, at least what is needed, the segments that are open, which cannot be
    /// full, and a few more.
    pub(super) fn bound_bytes(&self) -> u64 {
        let totals = self.segments.totals();
        let live = totals.live - totals.large_live;
        let open = (to_u64(self.open.len()) + SPARE) * self.segment_len();
        (live / 100 * self.rules.space_percent).max(live + totals.tombstones + open)
    }

    /// Whether the segments in use are near their bound: an eighth of it is left for what is
    /// written until compaction has done something about it.
    fn is_over_bound(&self) -> bool {
        self.used_bytes() > self.bound_bytes() / 8 * 7
    }

    fn mixed_pass_their_share(&self) -> bool {
        let mixed = self.segments.totals().mixed * 100;
        mixed > to_u64(self.segments.len()) * self.rules.mixed_percent
    }

    /// Outputs that may stay open between runs.
    pub(super) fn outputs_max(&self) -> usize {
        (self.segments.len() / 32).clamp(2, 256)
    }

    /// The next mixed segments to be sorted. The queue is switched for an empty one when it is
    /// begun: what becomes mixed meanwhile waits for the next time.
    fn next_separation(&mut self, now: Duration) -> Option<Run> {
        if self.compaction.separating.is_empty() && self.mixed_pass_their_share() {
            let mixed = self.segments.iter().filter(|(_, slot)| slot.awaits_separation());
            let mut mixed: Vec<_> = mixed.map(|(id, slot)| (slot.generation, id)).collect();
            mixed.sort_unstable();
            self.compaction.separating = mixed.into_iter().map(|(life, id)| (id, life)).collect();
        }
        if self.runs_low() {
            return None; // the mixed segments are victims like any other meanwhile
        }
        let mut batch = Batch::new(self, Why::Separation);
        while let Some(&(id, generation)) = self.compaction.separating.front() {
            let stays = self.segments.is_in_life(id, generation)
                && self.segments.get(id).awaits_separation();
            let ready = stays && self.is_ready(id, now);
            if ready && !batch.add(self, id) {
                break;
            }
            self.compaction.separating.pop_front();
        }
        batch.run(self, u64::MAX)
    }

    /// Whether a segment may be a victim now.
    pub(super) fn is_ready(&self, id: SegmentId, now: Duration) -> bool {
        let slot = self.segments.get(id);
        let suspect = self.compaction.suspects.get(&id);
        slot.is_rewritable()
            && slot.holds == 0
            && suspect.is_none_or(|suspect| suspect.is_ready(now))
            && !(slot.live == 0 && self.segments.guard_has_passed(id)) // goes by itself
    }

    /// Whether another segment of new data would take the store past its bound, although
    /// compaction could give one back.
    pub(super) fn must_compact_first(&self, now: Duration) -> bool {
        self.presses_bound() && self.could_compact(now, false)
    }

    /// Whether another segment of new data, and the copies of a run, which are there before it
    /// gives anything back, would take the store past its bound.
    pub(super) fn presses_bound(&self) -> bool {
        let outputs = self.rewrites.outputs.len(); // each may go on in a segment more
        let run = to_u64(Batch::victims_max(self) + outputs) * self.segment_len();
        let most = self.bound_bytes();
        self.used_bytes() + self.segment_len() > most - run.min(most / 16)
    }

    /// Whether compaction could give room now; `deletes`: to those who only delete.
    pub(super) fn could_compact(&self, now: Duration, deletes: bool) -> bool {
        let could = || self.next_for_room(now, tombstone_percent(deletes)).is_some();
        self.compaction.running.is_some() || self.may_compact(now) && could()
    }

    /// Whether nothing holds compaction back.
    pub(super) fn may_compact(&self, now: Duration) -> bool {
        let retry = self.compaction.retry_at > now;
        self.compaction.pauses == 0 && !retry && !self.gives_nothing_back()
    }

    /// Whether nothing will be erased any more in this opening: a seal that is owed is lost.
    fn gives_nothing_back(&self) -> bool {
        self.seals_lost > 0
    }

    /// The best victims there are, as many as one run takes.
    fn pick(&self, now: Duration, why: Why) -> Option<Run> {
        let mut batch = Batch::new(self, why);
        while let Some(best) = self.best_victim(now, &batch) {
            if !batch.add(self, best) {
                break;
            }
        }
        let gain = batch.gain;
        batch.run(self, gain)
    }

    /// The best victim that is not in the batch; where room is tight, of those that fit into it.
    fn best_victim(&self, now: Duration, batch: &Batch) -> Option<SegmentId> {
        let usable = |id: &SegmentId| {
            let slot = self.segments.get(*id);
            !batch.contains(*id)
                && (!batch.is_tight || batch.fits(slot))
                && self.is_ready(*id, now)
                && slot.is_worth_rewriting(self.segments.data_len())
        };
        let oldest = self.segments.victims().buckets().filter_map(|mut bucket| bucket.find(usable));
        oldest.max_by_key(|&id| (self.value_of(id), std::cmp::Reverse(id)))
    }

    fn value_of(&self, id: SegmentId) -> u128 {
        let slot = self.segments.get(id);
        let (len, gain) = (self.segments.data_len(), slot.reclaimable(self.segments.data_len()));
        let age = self.log.next_sequence.get().saturating_sub(slot.born.get()) + 1;
        u128::from(gain) * u128::from(age) * 1024 / u128::from(2 * len - gain)
    }

    /// A run has ended, its victims need no pin any more. `suspects` could not be read, and in
    /// `damaged` something is damaged.
    pub(crate) fn end_run(
        &mut self,
        run: &Run,
        report: CompactReport,
        (suspects, damaged): (&[SegmentId], &[SegmentId]),
        now: Duration,
    ) -> CompactReport {
        let mut report = report;
        for &(victim, _) in &run.victims {
            let slot = self.segments.get(victim);
            report.segments_emptied += u64::from(slot.live == 0 && slot.tombstones == 0);
            self.unpin(victim);
        }
        for &victim in suspects.iter().chain(damaged) {
            let fresh = Suspect::new(self.segments.get(victim).generation);
            let suspect = self.compaction.suspects.entry(victim).or_insert(fresh);
            suspect.failed(damaged.contains(&victim), now);
        }
        let segments = &self.segments;
        let stays =
            |id: SegmentId, suspect: &Suspect| segments.is_in_life(id, suspect.generation());
        self.compaction.suspects.retain(|&id, suspect| stays(id, suspect));
        self.compaction.running = None;
        self.compaction.runs += 1;
        self.compaction.done.add(&report);
        self.calls.rewriter = true;
        self.calls.reclaim = true;
        self.calls.room = true;
        report
    }

    /// Whether the last run could write its copies; if not, the next one waits.
    pub(crate) fn note_run(&mut self, failed: bool, now: Duration) {
        if failed {
            self.compaction.retry_at = now + pause_after(self.compaction.failures);
            self.compaction.failures += 1;
            self.compaction.runs_failed += 1;
        } else {
            self.compaction.failures = 0;
        }
    }
}
