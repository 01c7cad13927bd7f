//! Which errors a store may give, and when.
//!
//! Absent on purpose: errors of reads. There is one that may be, and the read knows it.

use std::mem;

use logstor_core::{Error, ErrorKind};
use logstor_io_sim::FaultCounts;

use super::Shared;
use crate::ledger::OpNumber;

impl Shared {
    /// Judges an error of a write; `puts`: it adds data.
    pub(super) fn judge(&self, op: OpNumber, error: &Error, puts: bool, groups: &[u32]) {
        let made = self.ledger.lock().records_of(op);
        if made > 0 && error.kind() != ErrorKind::Failed {
            self.ledger.fail(format!("op {op} was refused, and made {made} records: {error}"));
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
            _ => self.ledger.fail(format!("op {op}: {error:?}")),
        }
    }

    pub(super) fn judge_closed(&self, op: OpNumber) {
        if !self.ledger.lock().closing {
            self.ledger.fail(format!("op {op}: closed, and nobody closed it"));
        }
    }

    /// Judges that the store takes no more writes.
    pub fn judge_failed(&self, op: OpNumber, error: &Error) {
        let now = self.faults();
        let failures = |faults: &FaultCounts| {
            faults.writes + faults.syncs_kept + faults.syncs_dropped + faults.full
        };
        if failures(&now) == failures(&self.before) {
            self.ledger.fail(format!("op {op}: {error}, and no write or sync failed"));
        }
        if !mem::replace(&mut self.ledger.lock().gave_up, true) {
            self.count("marks/store failed");
        }
    }

    fn judge_full(&self, op: OpNumber, puts: bool, error: &Error) {
        self.count(if puts { "marks/full for a put" } else { "marks/full for a delete" });
        let stats = self.db.stats();
        let (segments, faults) = (stats.segments, self.faults().total() - self.before.total());
        let usable = segments.free.saturating_sub(if puts { 2 } else { 1 });
        let per_file = u64::from(self.plan.options.segments_per_file.unwrap_or(1));
        let grown = stats.file_bytes + per_file * stats.segment_len;
        let may_grow = stats.capacity.is_none_or(|capacity| grown <= capacity);
        if usable > 0 || (faults == 0 && (may_grow || segments.retired > 0)) {
            self.ledger.fail(format!("op {op}: {error}, but {segments:?}, may grow: {may_grow}"));
        }
    }
}
