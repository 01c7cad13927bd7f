//! The one door to the facts: everything the engine knows, changed in uninterrupted steps.
//!
//! ```text
//!   flows ──step(|state| ..)──> State ── groups: index and pending writes of each
//!                                    ├── log: head buffer, ring, counters
//!                                    ├── rewrites: copies on their way
//!                                    ├── segments: states, free slots, pins
//!                                    ├── open: what each segment's seal will list
//!                                    └── growth, published mark, status
//! ```
//!
//! A step is a plain closure under a mutex. It cannot wait, so no borrow survives an `await` and
//! every invariant holds at every suspension point. With the feature `verify` each step ends with
//! a recount of all of them; in a large store, every so many steps.
//!
//! Absent on purpose: I/O and waiting. A step says what should be done; a flow does it. And a
//! second lock: all facts share one. The index shards and the log will get their own when a
//! measurement shows that this one is waited for; steps already say what they touch.

mod accept;
mod allowance;
mod compaction;
mod compare;
mod complete;
mod gather;
mod groups;
#[cfg(feature = "verify")]
mod invariants;
mod large;
mod naming;
mod read;
mod requests;
mod rewrite;
mod scan;
mod space;
mod suspects;
mod tombstones;
mod verify;
mod writer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
#[cfg(feature = "verify")]
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

pub(crate) use accept::{Accepted, LargeValue, NewBatch, NewWrite, Refused};
pub(crate) use allowance::Allowance;
pub(crate) use compaction::{Compaction, Plan as RewritePlan, Run, Why};
pub(crate) use compare::{Evidence, Expected, Requirement, Verdict};
pub(crate) use groups::GroupRefused;
pub(crate) use large::TakenPiece;
use naming::Named;
pub(crate) use naming::next_slots;
pub(crate) use read::{Found, Known, LookupRefused};
pub(crate) use requests::{RequestDone, RequestFailed};
pub(crate) use rewrite::Candidate;
pub(crate) use scan::{Most, Sight, Sighted, Sights, Span};
pub(crate) use space::{Grow, Growth, Outlook, Reclaim, files_max};
pub(crate) use verify::{ToVerify, Written};
pub(crate) use writer::{Plan, SealJob};

use crate::catalog::Index;
use crate::format::geometry::Geometry;
use crate::format::mark::{Mark, OpenSegment as MarkedOpen};
use crate::format::seal::SealEntry;
use crate::groups::{Groups, LargeValues};
use crate::log::{Failure, Log, Watermarks};
use crate::options::Options;
use crate::rewrites::Rewrites;
use crate::segments::Segments;
use crate::types::{ByteLen, Generation, SegmentId, SegmentOffset};
use crate::value_cache::ValueCache;

/// Whether the store takes writes.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    Open,
    /// Closing or closed: nothing new is accepted.
    Closed,
    /// Writing failed, and writing again elsewhere failed too. Reads go on.
    Failed(Failure),
}

/// A segment that has no seal yet.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    generation: Generation,
    /// The buffers that count, in order.
    entries: Vec<SealEntry>,
    /// Buffers sealed and not yet complete.
    incomplete: u32,
    /// Takes no more buffers.
    closed: bool,
}

/// What steps need to know and never change.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) geometry: Geometry,
    /// The store was opened to be read: nothing new is accepted.
    pub(crate) read_only: bool,
    pub(crate) buffer_len: u32,
    pub(crate) writes_in_flight: usize,
    pub(crate) flush_after: Duration,
    pub(crate) sync_bytes: u64,
    pub(crate) sync_after: Duration,
    /// What segments in use may take, in percent of what is needed in them.
    pub(crate) space_percent: u64,
    /// Mixed segments that start the separator, in percent of all.
    pub(crate) mixed_percent: u64,
    /// Bytes of copies that may be in memory.
    pub(crate) rewrite_memory: usize,
    /// Bytes that the index may take.
    pub(crate) index_memory: usize,
    /// Bytes that values read lately may take.
    pub(crate) value_cache: u64,
    /// Bytes a second that rewrites may write.
    pub(crate) compaction_rate: Option<u64>,
    #[cfg(feature = "verify")]
    pub(crate) observer: Option<Observer>,
}

/// The observer of a simulation, if any.
#[cfg(feature = "verify")]
#[derive(Clone)]
pub(crate) struct Observer(pub(crate) Arc<dyn crate::options::Observer>);

#[cfg(feature = "verify")]
impl std::fmt::Debug for Observer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Observer")
    }
}

impl Rules {
    pub(crate) fn new(options: &Options, geometry: Geometry) -> Self {
        Self {
            geometry,
            read_only: false,
            buffer_len: options.buffer_len,
            writes_in_flight: crate::types::to_usize(options.writes_in_flight),
            flush_after: options.flush_after,
            sync_bytes: options.sync_bytes.into(),
            sync_after: options.sync_after,
            space_percent: options.space_percent.into(),
            mixed_percent: options.mixed_percent.into(),
            rewrite_memory: crate::types::to_usize(options.rewrite_memory),
            index_memory: options
                .index_memory
                .map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            value_cache: options.value_cache,
            compaction_rate: options.compaction_rate,
            #[cfg(feature = "verify")]
            observer: options.observer.clone().map(Observer),
        }
    }
}

/// Everything the engine knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) rules: Rules,
    pub(crate) status: Status,
    pub(crate) groups: Groups,
    // Invariant: the memory of the indexes of all groups.
    pub(crate) index_bytes: usize,
    /// None if the caller wants none.
    pub(crate) cache: Option<ValueCache>,
    pub(crate) log: Log,
    pub(crate) rewrites: Rewrites,
    pub(crate) compaction: Compaction,
    pub(crate) segments: Segments,
    // Invariant: a segment is in here from its opening until its seal is due.
    pub(crate) open: BTreeMap<SegmentId, OpenSegment>,
    /// Segments that lost their first block, as recovery found them.
    lost_heads: Vec<MarkedOpen>,
    /// Whose seals were written last.
    sealed_lately: VecDeque<(Generation, SegmentId)>,
    // Invariant: the active segments with pieces of large values, and how long these are; each is
    // held once, until the record that lists it is complete or its writing was given up.
    pub(crate) pieces: BTreeMap<SegmentId, ByteLen>,
    /// Seals that the writer should write next.
    pub(crate) seals_due: Vec<SealJob>,
    /// Seals of failed segments that are not durable yet: until then nothing is erased.
    pub(crate) seals_owed: usize,
    /// How many of those are given up in this opening.
    pub(crate) seals_lost: usize,
    pub(crate) growth: Growth,
    /// The mark as it is durable on disk.
    pub(crate) published: Mark,
    /// Slots that it lets be taken.
    named: Named,
    /// What the step under way wants done by others.
    pub(crate) calls: Calls,
    /// Why the last write or sync of the log failed.
    pub(crate) last_failure: Option<Failure>,
    /// Everything that is on its way should be finished, because the store closes.
    pub(crate) draining: bool,
    /// Nothing is rewritten any more, and every output is sealed.
    pub(crate) rewriter_ended: bool,
    /// The store is closed, and its groups were handed out for the dump.
    pub(crate) taken_out: bool,
    /// Bytes of records that were accepted in this opening.
    pub(crate) user_bytes: u64,
    /// Writes, and pieces of large values, that had to wait for a segment in this opening.
    pub(crate) waits_for_room: u64,
    /// Writes that had to wait for write memory.
    pub(crate) waits_for_memory: u64,
    /// Steps until the next recount.
    #[cfg(feature = "verify")]
    pub(crate) recount_after: usize,
}

impl State {
    pub(crate) fn new(rules: Rules, parts: Parts) -> Self {
        let Parts { groups, segments, published, growth } = parts;
        let log = Log::new(published.next_sequence, published.next_log);
        let rewrites = Rewrites::new(published.next_rewrite);
        let index_bytes = groups.iter().map(|(_, group)| group.index.memory()).sum();
        Self {
            cache: ValueCache::of(rules.value_cache),
            rules,
            status: Status::Open,
            groups,
            index_bytes,
            log,
            rewrites,
            compaction: Compaction::default(),
            segments,
            open: BTreeMap::new(),
            lost_heads: published.open.clone(),
            sealed_lately: VecDeque::new(),
            pieces: BTreeMap::new(),
            seals_due: Vec::new(),
            seals_owed: 0,
            seals_lost: 0,
            growth,
            named: Named::by(&published),
            published,
            calls: Calls::default(),
            last_failure: None,
            draining: false,
            rewriter_ended: false,
            taken_out: false,
            user_bytes: 0,
            waits_for_room: 0,
            waits_for_memory: 0,
            #[cfg(feature = "verify")]
            recount_after: 0,
        }
    }

    /// What every buffer and seal made now says of the ones before it.
    pub(crate) fn watermarks(&self) -> Watermarks {
        Watermarks { log: self.log.watermark(), rewrite: self.rewrites.watermark() }
    }

    /// The mark that is to be published now, after the one that is. From here on no slot is taken
    /// that it does not name.
    pub(crate) fn next_mark(&mut self) -> Mark {
        let (open, begun) = self.unsealed();
        let mut mark = Mark {
            ordinal: self.published.ordinal + 1,
            log_watermark: self.log.watermark(),
            rewrite_watermark: self.rewrites.watermark(),
            next_sequence: self.log.next_sequence,
            next_log: self.log.next_number,
            next_rewrite: self.rewrites.next_number,
            next_generation: self.segments.next_generation().advance(GENERATIONS_AHEAD),
            files: self.growth.files,
            hollow: self.growth.hollow,
            open,
            next: Vec::new(),
        };
        self.name_next(&mut mark, begun);
        mark
    }

    /// Segments whose seals may not be durable. Those with buffers that are complete, and first of
    /// all those that lost their first block; the youngest, if they are more than a mark can list.
    /// And those without, unless some were left out.
    fn unsealed(&self) -> (Vec<MarkedOpen>, Option<Vec<SegmentId>>) {
        let open = self.open.iter().map(|(&segment, open)| (open.generation, segment));
        let sealed = self.sealed_lately.iter().copied();
        let all: BTreeSet<(Generation, SegmentId)> = open.chain(sealed).collect();
        let lives = all.into_iter().rev().filter(|&(life, id)| self.segments.is_in_life(id, life));
        let (begun, marked): (Vec<MarkedOpen>, Vec<MarkedOpen>) = lives
            .map(|(generation, segment)| {
                let slot = self.segments.get(segment);
                let end = SegmentOffset::new(slot.records + slot.fronts + slot.padding);
                MarkedOpen { segment, end, generation }
            })
            .partition(|one| one.end == SegmentOffset::ZERO);
        let lost = self.lost_heads.iter().copied();
        let lost = lost.filter(|one| self.segments.is_in_life(one.segment, one.generation));
        let mut listed: Vec<MarkedOpen> = lost.chain(marked).collect();
        let all_listed = listed.len() <= Mark::OPEN_MAX;
        listed.truncate(Mark::OPEN_MAX);
        (listed, all_listed.then(|| begun.iter().map(|one| one.segment).collect()))
    }

    /// The seal of a segment was written, and may not be durable for a while.
    fn note_sealed(&mut self, segment: SegmentId) {
        if self.sealed_lately.len() == SEALED_LATELY {
            self.sealed_lately.pop_front();
        }
        let generation = self.segments.get(segment).generation;
        self.sealed_lately.push_back((generation, segment));
    }
}

/// So many seals are counted as not durable: they are synced with whatever is synced next.
const SEALED_LATELY: usize = 16;

/// Who should be woken because of a step. Collected while it runs, carried out after it.
#[expect(clippy::struct_excessive_bools, reason = "five bells, each rung or not")]
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// The log writer has something to look at.
    pub(crate) writer: bool,
    /// A file may have to be made.
    pub(crate) grow: bool,
    /// A segment may have to be erased, or the mark published.
    pub(crate) reclaim: bool,
    /// Something may have to be rewritten.
    pub(crate) rewriter: bool,
    /// Writers that wait for room should look again.
    pub(crate) room: bool,
    /// What dropped groups held, to be freed outside of the lock.
    pub(crate) garbage: Vec<(Index, LargeValues)>,
    /// Bytes of write memory that became free.
    pub(crate) released: usize,
}

/// Generations that a published mark sets aside. Its floor must be above every generation that is
/// ever used under it: a segment whose first write was lost in a crash leaves no other trace, and
/// its generation given out again would bring its later blocks back to life.
pub(crate) const GENERATIONS_AHEAD: u64 = 4096;

/// What recovery hands over.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) groups: Groups,
    pub(crate) segments: Segments,
    pub(crate) published: Mark,
    pub(crate) growth: Growth,
}

/// The state, behind its mutex.
#[derive(Debug)]
pub(crate) struct Memory(Mutex<State>);

impl Memory {
    pub(crate) fn new(state: State) -> Self {
        Self(Mutex::new(state))
    }

    /// Runs one uninterrupted step. `step` is not async, so no flow can wait in the middle of it.
    /// Flows come in by `Store::step`, which also carries out the calls.
    pub(crate) fn step<R>(&self, step: impl FnOnce(&mut State) -> R) -> (R, Calls) {
        Self::run(&mut self.0.lock().expect("a step never panics half-way"), step)
    }

    /// A step of a destructor; `None` if an earlier step panicked half-way. The destructor may run
    /// while that panic unwinds, and a second one would end the process.
    pub(crate) fn last_step<R>(&self, step: impl FnOnce(&mut State) -> R) -> Option<(R, Calls)> {
        self.0.lock().ok().map(|mut state| Self::run(&mut state, step))
    }

    fn run<R>(state: &mut State, step: impl FnOnce(&mut State) -> R) -> (R, Calls) {
        let result = step(state);
        // Requests may wait for room, as writers do.
        state.calls.rewriter |= state.calls.room && state.is_requested();
        #[cfg(feature = "verify")]
        state.recount();
        (result, std::mem::take(&mut state.calls))
    }
}

#[cfg(test)]
mod tests;
