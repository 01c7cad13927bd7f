//! Which errors a store may give, and when.
//!
//! Absent on purpose: what is different for large values; see [`super::large`].

use std::mem;

use logstor_core::{Error, ErrorKind, Stats};

use super::Shared;
use crate::ledger::OpNumber;
use crate::plan::Mode;

impl Shared {
    /// Judges an error of a write; `puts`: it adds data.
    pub(crate) fn judge(&self, op: OpNumber, error: &Error, puts: bool, groups: &[u32]) {
        let made = self.ledger.lock().records_of(op);
        if made > 0 && error.kind() != ErrorKind::Failed {
            self.ledger.fail(format!("op {op} was refused, and made {made} records: {error}"));
        }
        if let Error::IndexFull { limit } = error {
            return self.judge_index_full(op, puts, *limit);
        }
        match error.kind() {
            ErrorKind::Full => self.judge_full(op, puts, error),
            ErrorKind::Failed => self.judge_failed(op, error),
            ErrorKind::Closed => self.judge_closed(op),
            ErrorKind::NotFound => {
                let facts = self.ledger.lock();
                let dropped = groups.iter().any(|&group| facts.is_dropped(group));
                drop(facts);
                if !dropped {
                    self.ledger.fail(format!("op {op}: {error}, and nobody dropped it"));
                }
            }
            // What depends on what is there reads it first.
            ErrorKind::Corruption if self.was_lied_to() => self.count("damage/corrupt in use"),
            _ => self.ledger.fail(format!("op {op}: {error:?}")),
        }
    }

    /// Judges an error of a read of `group`; `before`: reads that had failed when it began.
    pub(super) fn judge_read(&self, op: OpNumber, error: &Error, group: u32, before: u64) {
        match error.kind() {
            ErrorKind::Io if self.faults().all_reads() > before => self.count("marks/read failed"),
            ErrorKind::Io => self.ledger.fail(format!("op {op}: no read failed: {error}")),
            ErrorKind::NotFound => self.ledger.lock().was_told_dropped(group, true),
            ErrorKind::Closed => self.judge_closed(op),
            ErrorKind::Corruption if self.was_lied_to() => self.count("damage/corrupt in use"),
            _ => self.ledger.fail(format!("op {op}: {error:?}")),
        }
    }

    /// Whether a write did something else than was reported.
    pub(super) fn was_lied_to(&self) -> bool {
        self.sim.counters().silent_writes() > 0
    }

    pub(super) fn judge_closed(&self, op: OpNumber) {
        if !self.ledger.lock().closing {
            self.ledger.fail(format!("op {op}: closed, and nobody closed it"));
        }
    }

    /// Judges that the store takes no more writes.
    pub fn judge_failed(&self, op: OpNumber, error: &Error) {
        let now = self.faults();
        if now.storing() == self.before.storing() {
            self.ledger.fail(format!("op {op}: {error}, and no write or sync failed"));
        }
        if !mem::replace(&mut self.ledger.lock().gave_up, true) {
            self.count("marks/store failed");
        }
    }

    /// `Full` is true only if nothing can give room: no free slot that the write may take, no file
    /// to be made, nothing on its way to be free, and nothing that compaction could give back.
    fn judge_full(&self, op: OpNumber, puts: bool, error: &Error) {
        self.count(if puts { "marks/full for a put" } else { "marks/full for a delete" });
        let stats = self.db.stats();
        let failed = self.met_faults();
        let paused = self.ledger.lock().pauses > 0;
        let why = if let Some(why) = has_free_slot(&stats, puts) {
            Some(why)
        } else if self.plan.mode == Mode::Full && !puts && !paused {
            Some("a full store takes deletes".to_string())
        } else if failed {
            None // a file that could not be made, a slot that could not be erased
        } else if self.may_grow(&stats) {
            Some("another file may be made".to_string())
        } else if stats.segments.retired > 0 {
            Some("slots are about to be erased".to_string())
        } else if self.was_lied_to() {
            None // what is damaged is not rewritten
        } else if paused {
            self.count("marks/full because of a pause");
            None
        } else {
            reclaimable(&stats)
        };
        if let Some(why) = why {
            self.ledger.fail(format!("op {op}: {error}, but {why}: {}", numbers(&stats)));
        }
    }

    /// `IndexFull` is true only of the memory that the plan allows, and only for what puts. Whether
    /// one of its keys is a new one is not judged: writes of it may be on their way.
    fn judge_index_full(&self, op: OpNumber, puts: bool, limit: u64) {
        self.count("marks/index full");
        let taken = self.db.stats().index_bytes;
        if !puts || self.plan.options.index_memory != Some(limit) || taken < limit {
            self.ledger.fail(format!("op {op}: the index takes {taken} of {limit}, and is full"));
        }
    }

    /// Whether the capacity leaves room for another file, or for what was given back.
    pub(crate) fn may_grow(&self, stats: &Stats) -> bool {
        let per_file = u64::from(self.plan.options.segments_per_file.unwrap_or(1));
        let grown = stats.file_bytes + per_file * stats.segment_len;
        let room = |bytes: u64| stats.capacity.is_none_or(|capacity| bytes <= capacity);
        room(grown) || (stats.segments.hollow > 0 && room(stats.file_bytes))
    }
}

/// Free slots that deletes leave to compaction and to writing again what failed.
const LEFT_BY_DELETES: u32 = 3;

fn has_free_slot(stats: &Stats, puts: bool) -> Option<String> {
    let Stats { space, segments, .. } = stats;
    let usable = if puts { space.free > 0 } else { segments.free > LEFT_BY_DELETES };
    // In a store that shrinks the last ones are on their way out.
    let shrinks = stats.capacity.is_some_and(|capacity| stats.file_bytes > capacity);
    (usable && !shrinks).then(|| format!("{} slots are free", segments.free))
}

/// Twentieths of a segment of which compaction must be able to gain something: the rest of it is
/// more than the padding of copies and the room behind a longest record, at the smallest segment.
const SURELY_WORTH_IT: usize = 7;

/// Dead records in one segment, in bytes, from which on rewriting it is worth it: a fifth of the
/// smallest segment, and what the summary of a copy may take more than that of its original.
const DEAD_WORTH_IT: u64 = 18 << 10;

/// What compaction could surely give back, if anything.
pub(crate) fn reclaimable(stats: &Stats) -> Option<String> {
    let empty: u32 = stats.utilization[..SURELY_WORTH_IT].iter().sum();
    // Dead pieces of large values stay as long as somebody reads them.
    let pinned = stats.space.pinned / stats.segment_len - u64::from(stats.segments.retired);
    if u64::from(empty) > pinned {
        return Some(format!("{empty} sealed segments are hardly needed"));
    }
    // Large values are not rewritten; and in few segments that much is less than one slot.
    let in_use = stats.segments.active + stats.segments.sealed - stats.kinds.large;
    let in_use = u64::from(in_use.max(4));
    let dead = stats.space.dead > in_use * DEAD_WORTH_IT;
    dead.then(|| format!("{} bytes are dead", stats.space.dead))
}

/// What matters of the numbers of a store, for messages.
pub(crate) fn numbers(stats: &Stats) -> String {
    let Stats { segments, space, utilization, compaction, file_bytes, capacity, .. } = stats;
    format!(
        "files of {file_bytes}, capacity {capacity:?}\n    {segments:?}\n    {space:?}\n    needed \
         {utilization:?}\n    {compaction:?}"
    )
}
