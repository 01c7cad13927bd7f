//! Operations that are about room: compaction, separation, truncation, capacity.
//!
//! Absent on purpose: what a segment holds afterwards. That it holds enough is seen by the image
//! check and by every later read; that it holds no more, by `Full` and by the numbers at rest.

use logstor_core::{
    CompactReport, CompactRequest, CompactionPause, Durability, Error, ErrorKind, Group, RunCauses,
    Stats,
};

use super::{Client, numbers};
use crate::ledger::{Ledger, OpNumber};
use crate::plan::{Mode, SEGMENT};

/// A capacity of so many segments, and as many as fill up a file, is always enough.
const SMALLEST: u64 = 8 + 3;

/// Compaction is held back while this lives, and the ledger knows.
#[derive(Debug)]
pub(super) struct Pause {
    ledger: Ledger,
    _guard: CompactionPause,
    /// Runs that compaction had begun by itself.
    begun: u64,
}

/// Runs that nobody asked for.
fn begun_by_itself(stats: &Stats) -> u64 {
    let RunCauses { separation, room, space, tombstones, shrink, .. } = stats.compaction.causes;
    separation + room + space + tombstones + shrink
}

impl Drop for Pause {
    fn drop(&mut self) {
        let mut facts = self.ledger.lock();
        facts.pauses = facts.pauses.saturating_sub(1);
    }
}

/// What happened until some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SoFar {
    accepted: usize,
    asked: u64,
    begun: u64,
    failed: u64,
}

/// With so many free slots, the reserve among them, a request finds room for its copies.
const ROOM_TO_REWRITE: u32 = 8;

impl Client {
    pub(super) async fn compact(&mut self) {
        let (group, percent) = self.draw.compaction();
        let name = group.map(|group| self.shared.plan.groups[group]);
        let request = CompactRequest::default().reclaimable_percent(percent);
        let request = match name {
            Some(name) => request.group(name),
            None => request,
        };
        self.shared.ledger.lock().rewrites_asked += 1;
        let give_up = self.draw.give_up();
        let what = format!("{}: compact {name:?} from {percent} % on", self.name);
        let db = self.shared.db.clone();
        let call = self.shared.call(what, Durability::Buffered, give_up, db.compact(request));
        match (call.await, name) {
            ((_, Some(Err(Error::NoSuchGroup { .. }))), Some(name)) => self.no_such_group(name),
            ((op, result), _) => self.rewritten(op, result, &[]),
        }
    }

    pub(super) async fn separate(&mut self) {
        let group = self.draw.group();
        let Some(group) = self.handle(group).await else { return };
        let give_up = self.draw.give_up();
        let id = group.id().get();
        let before = self.so_far();
        let what = format!("{}: separate group {id}", self.name);
        let call = self.shared.call(what, Durability::Buffered, give_up, group.separate());
        let (op, result) = call.await;
        if matches!(result, Some(Ok(_))) {
            self.shared.count("marks/separated");
            self.is_apart(&group, &before);
        }
        self.rewritten(op, result, &[id]);
    }

    /// What must be the same behind a separation for what it did to be seen: nothing was accepted
    /// meanwhile, no other run was made, and nothing failed in this opening.
    fn so_far(&self) -> SoFar {
        let stats = self.shared.db.stats();
        let accepted = self.shared.ledger.lock().history.len();
        let asked = self.shared.ledger.lock().rewrites_asked;
        let failed = self.shared.faults().total() - self.shared.before.total();
        SoFar { accepted, asked, begun: begun_by_itself(&stats), failed }
    }

    /// A separation is done: the group shares no segment with another one.
    fn is_apart(&self, group: &Group, before: &SoFar) {
        let now = self.so_far();
        if now != *before || now.failed > 0 || self.shared.plan.mode == Mode::Damage {
            return;
        }
        let Ok(stats) = group.stats() else { return };
        if stats.shared_segments > 0 {
            let (id, shared) = (group.id(), stats.shared_segments);
            self.shared.ledger.fail(format!(
                "group {id} was separated, and shares {shared} segments: {}",
                numbers(&self.shared.db.stats())
            ));
        }
        self.shared.count("marks/seen apart");
    }

    /// Segments were rewritten, or not.
    fn rewritten(
        &self,
        op: OpNumber,
        result: Option<Result<CompactReport, Error>>,
        groups: &[u32],
    ) {
        match result {
            None => {}
            Some(Ok(report)) => {
                let moved = report.records_moved > 0;
                self.shared.count(if moved { "marks/rewritten" } else { "marks/no rewrite" });
            }
            Some(Err(error)) => match error.kind() {
                ErrorKind::Io | ErrorKind::Corruption if self.shared.was_lied_to() => {
                    self.shared.count("damage/not rewritten");
                }
                ErrorKind::Io => {
                    self.shared.count("marks/rewrite failed");
                    if !self.shared.met_faults() {
                        let what = format!("op {op}: {error:?}, and nothing failed");
                        self.shared.ledger.fail(what);
                    }
                }
                // A copy needs room before its original gives any.
                ErrorKind::Full => {
                    self.shared.count("marks/no room to rewrite");
                    let stats = self.shared.db.stats();
                    if stats.segments.free >= ROOM_TO_REWRITE && !self.shared.met_faults() {
                        let what = format!("op {op}: {error}, and {}", numbers(&stats));
                        self.shared.ledger.fail(what);
                    }
                }
                _ => self.shared.judge(op, &error, false, groups),
            },
        }
    }

    /// Empties a group.
    pub(super) async fn truncate(&mut self) {
        let group = self.draw.group();
        self.truncate_one(group).await;
    }

    pub(super) async fn truncate_one(&mut self, group: usize) {
        let name = self.shared.plan.groups[group];
        let give_up = self.draw.give_up();
        let what = format!("{}: truncate group {name:?}", self.name);
        let db = self.shared.db.clone();
        let call = self.shared.call(what, Durability::Synced, give_up, db.truncate_group(name));
        match call.await {
            (_, None) => {}
            (op, Some(Ok(()))) => {
                self.shared.count("marks/group truncated");
                let mut facts = self.shared.ledger.lock();
                if facts.records_of(op) == 0 {
                    let empty = format!("an empty group {name:?}");
                    facts.witness(&empty, |state| {
                        state.groups.values().any(|g| *g.name == *name && g.keys.is_empty())
                    });
                }
                facts.succeeded(op);
            }
            (_, Some(Err(Error::NoSuchGroup { .. }))) => self.no_such_group(name),
            (op, Some(Err(error))) => self.shared.judge(op, &error, false, &[]),
        }
    }

    pub(super) async fn resize(&mut self) {
        if self.shared.ledger.lock().closing {
            return; // a closed store has no capacity
        }
        let stats = self.shared.db.stats();
        let per_file = u64::from(self.shared.plan.options.segments_per_file.unwrap_or(1));
        let capacity = self.draw.capacity(stats.capacity, per_file * stats.segment_len);
        self.set_capacity(capacity).await;
    }

    pub(super) async fn set_capacity(&mut self, capacity: Option<u64>) {
        let give_up = self.draw.give_up();
        let what = format!("{}: resize to {capacity:?}", self.name);
        let db = self.shared.db.clone();
        self.shared.ledger.lock().resized = true;
        let resize = async move { db.resize(capacity) };
        match self.shared.call(what, Durability::Buffered, give_up, resize).await {
            (_, None) => {}
            (_, Some(Ok(()))) => self.shared.count("marks/resized"),
            // Less than a store needs to work at all.
            (_, Some(Err(error)))
                if error.kind() == ErrorKind::Invalid
                    && capacity.is_some_and(|capacity| capacity < SMALLEST * SEGMENT) =>
            {
                self.shared.count("marks/too small a capacity");
            }
            (op, Some(Err(error))) => self.shared.judge(op, &error, false, &[]),
        }
    }

    /// Holds compaction back, or lets it go on.
    pub(super) fn pause(&mut self) {
        self.keeps_still();
        if self.pause.take().is_some() || self.shared.ledger.lock().closing {
            return;
        }
        let guard = self.shared.db.pause_compaction();
        self.shared.ledger.lock().pauses += 1;
        self.shared.sim.note(format!("{}: compaction is paused", self.name));
        let begun = begun_by_itself(&self.shared.db.stats());
        self.pause = Some(Pause { ledger: self.shared.ledger.clone(), _guard: guard, begun });
    }

    /// While it is held back compaction began nothing by itself.
    pub(super) fn keeps_still(&self) {
        let Some(pause) = &self.pause else { return };
        let stats = self.shared.db.stats();
        let now = begun_by_itself(&stats);
        if now != pause.begun {
            let (before, numbers) = (pause.begun, numbers(&stats));
            self.shared.ledger.fail(format!(
                "compaction began {now} runs by itself, {before} before the pause: {numbers}"
            ));
        }
        self.shared.count("marks/still in a pause");
    }
}
