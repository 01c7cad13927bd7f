//! What callers asked compaction to do, and how far it has come.
//!
//! A request is a list of segments. It is worked off in batches by the rewriter, before anything
//! else; the caller waits for the answer, and dropping it stops nothing. Where there is no room for
//! the copies it waits like a writer, for as long as something under way may give room.
//!
//! What is to be compacted is listed when it is asked for. What is to be separated is listed when
//! the list before is worked off, until none is left: a run that was under way, or one that came in
//! between, may have moved records of the group to where others are. In a store that is nearly full
//! that could go on for ever, because there compaction puts the little that a group has together
//! with others; so after a few lists there is no room for a segment of its own.
//!
//! Absent on purpose: a second attempt. If a run of a request fails, the caller hears of it. And a
//! record that is damaged stays where it is.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use super::compaction::{Run, Why};
use super::gather::Batch;
use super::{Outlook, State};
use crate::compact::CompactReport;
use crate::log::Failure;
use crate::segments::{Claim, SegmentKind, SegmentState};
use crate::types::{Generation, GroupId, SegmentId, Sequence};

/// How a request ended.
pub(crate) type RequestDone = Result<CompactReport, RequestFailed>;

/// Why a request was not carried out to its end.
#[derive(Clone, Debug)]
pub(crate) enum RequestFailed {
    /// A segment could not be read or written.
    Io(Failure),
    /// There is no room for the copies.
    NoRoom,
}

/// Segments that somebody wants rewritten.
#[derive(Debug)]
pub(super) struct Request {
    victims: VecDeque<(SegmentId, Generation)>,
    /// Only records of this group, and of those the ones with a lower sequence.
    only: Option<(GroupId, Sequence)>,
    /// How often it was listed what is to be separated.
    lists: u32,
    report: CompactReport,
    done: oneshot::Sender<RequestDone>,
}

/// So many lists of what is to be separated, and the request is given up.
const LISTS_MAX: u32 = 8;

impl State {
    /// Asks for the rewriting of every sealed segment of which so much can be given back.
    pub(crate) fn request_compaction(
        &mut self,
        group: Option<GroupId>,
        percent: u32,
        done: oneshot::Sender<RequestDone>,
    ) {
        self.segments.note_passed_guards();
        let len = self.segments.data_len();
        let wanted = self.segments.iter().filter(|(_, slot)| {
            slot.is_rewritable()
                && group.is_none_or(|group| slot.share(group) > 0)
                && slot.reclaimable(len) * 100 >= len * u64::from(percent)
        });
        let mut victims: Vec<_> =
            wanted.map(|(id, slot)| (slot.needed(), id, slot.generation)).collect();
        victims.sort_unstable(); // what gives back most comes first
        let victims = victims.into_iter().map(|(_, id, generation)| (id, generation)).collect();
        self.request(Request {
            victims,
            only: None,
            lists: 0,
            report: CompactReport::default(),
            done,
        });
    }

    /// Asks for all live records of a group to be moved out of segments that it shares.
    pub(crate) fn request_separation(
        &mut self,
        group: GroupId,
        done: oneshot::Sender<RequestDone>,
    ) {
        let only = Some((group, self.log.next_sequence));
        let (victims, report) = (VecDeque::new(), CompactReport::default());
        self.request(Request { victims, only, lists: 0, report, done });
    }

    /// Where a group shares a segment, or may yet, with records accepted before `end`. Those that
    /// could not be read are left alone.
    fn shared(&self, group: GroupId, end: Sequence) -> VecDeque<(SegmentId, Generation)> {
        let segments = self.groups.get(group).into_iter().flat_map(|group| &group.segments);
        let lives = segments.map(|&id| (id, self.segments.get(id)));
        let shared = lives.filter(|&(id, slot)| {
            let log = slot.kind == SegmentKind::Log;
            let open = slot.state == SegmentState::Active && slot.kind != SegmentKind::Group(group);
            let filling = log && slot.holds > 0; // with what is on its way to the index
            let younger = log && slot.born >= end;
            let suspect = self.compaction.suspects.contains_key(&id);
            (slot.is_mixed() || open || filling) && !younger && !suspect
        });
        shared.map(|(id, slot)| (id, slot.generation)).collect()
    }

    /// The groups that are being separated, or wait for it.
    pub(super) fn being_separated(&self) -> BTreeSet<GroupId> {
        let only = self.compaction.requests.iter().filter_map(|request| request.only);
        only.map(|(group, _)| group).collect()
    }

    /// Whether somebody waits for a request that may need room.
    pub(super) fn is_requested(&self) -> bool {
        !self.compaction.requests.is_empty()
    }

    fn request(&mut self, request: Request) {
        self.compaction.requests.push_back(request);
        self.calls.rewriter = true;
    }

    /// The next run of the first request; answers those that are done.
    pub(super) fn requested(&mut self, now: Duration) -> Option<Run> {
        loop {
            let mut request = self.compaction.requests.pop_front()?;
            let mut batch = Batch::new(self, Why::Request);
            let mut complete = true;
            if let Some((group, end)) = request.only {
                batch.only(self, group);
                complete = request.victims.is_empty();
                if complete {
                    request.victims = self.shared(group, end);
                    request.lists += 1;
                }
            }
            let no_room = self.gather(&mut request, &mut batch, now);
            let done = request.victims.is_empty() && batch.is_empty();
            // A caller who left does not hear it.
            if done && complete {
                #[cfg(feature = "verify")]
                if let Some((group, end)) = request.only {
                    assert!(self.shared(group, end).is_empty(), "{group:?} was to be separated");
                }
                let _ = request.done.send(Ok(request.report));
                continue;
            }
            let mut waits = || matches!(self.outlook(Claim::Put, now), Outlook::Wait);
            let stuck = no_room && batch.is_empty() && !waits();
            if stuck || request.lists > LISTS_MAX {
                let _ = request.done.send(Err(RequestFailed::NoRoom));
                continue;
            }
            self.compaction.requests.push_front(request);
            if !done {
                return batch.run(self, u64::MAX);
            }
        }
    }

    /// Moves victims that are ready from the request to the batch, and leaves those that wait for
    /// buffers or a seal, or for another attempt; `true` if one found no room.
    fn gather(&mut self, request: &mut Request, batch: &mut Batch, now: Duration) -> bool {
        let mut waiting = VecDeque::new();
        let mut no_room = false;
        while let Some((id, generation)) = request.victims.pop_front() {
            if !self.segments.is_in_life(id, generation) {
                continue; // it went by itself
            }
            let slot = self.segments.get(id);
            if slot.state == SegmentState::Active && !batch.fits(slot) {
                waiting.push_back((id, generation));
                no_room = true; // and nothing is closed for the sake of it
                break;
            }
            self.close_if_open(id);
            let slot = self.segments.get(id);
            if slot.state == SegmentState::Sealed && slot.holds > 0 {
                waiting.push_back((id, generation));
                continue;
            }
            let needed = |(group, _)| slot.is_mixed() && slot.share(group) > 0;
            if request.only.is_some_and(|only| !needed(only)) {
                continue; // it needs nothing any more
            }
            if self.is_ready(id, now) && !batch.add(self, id) {
                waiting.push_back((id, generation));
                no_room = true;
                break;
            }
        }
        waiting.append(&mut request.victims);
        request.victims = waiting;
        no_room
    }

    /// A segment that somebody wants rewritten takes no more buffers.
    pub(super) fn close_if_open(&mut self, id: SegmentId) {
        if self.segments.get(id).state != SegmentState::Active {
            return;
        }
        if self.log.tail.is_some_and(|tail| tail.segment == id) {
            self.seal_head();
            self.close_tail(false);
            self.log.demand_all();
            self.calls.writer = true;
            return;
        }
        let outputs = &self.rewrites.outputs;
        let output = outputs.iter().find(|(_, output)| output.tail.segment == id);
        if let Some((&destination, _)) = output {
            self.close_output(destination);
        }
    }

    /// What a run for the first request came to.
    pub(crate) fn requested_run_ended(&mut self, result: Result<CompactReport, Failure>) {
        let Some(mut request) = self.compaction.requests.pop_front() else { return };
        match result {
            Ok(report) => {
                request.report.add(&report);
                self.compaction.requests.push_front(request);
            }
            Err(failure) => drop(request.done.send(Err(RequestFailed::Io(failure)))),
        }
    }

    /// The store ends: nobody is kept waiting.
    pub(crate) fn drop_requests(&mut self) {
        self.compaction.requests.clear();
    }
}
