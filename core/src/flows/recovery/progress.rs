//! Telling whoever waits how far an opening has come.
//!
//! Absent on purpose: time left. Who is told knows when the opening began, and how far it is.

use crate::options::{OpenPhase, Progress, ProgressFn};

/// Tells it, if anybody asked.
pub(super) struct Teller {
    tell: Option<ProgressFn>,
    now: Progress,
}

impl Teller {
    pub(super) fn new(tell: Option<ProgressFn>) -> Self {
        let now = Progress { phase: OpenPhase::Dump, done: 0, total: 0, bytes_read: 0, records: 0 };
        Self { tell, now }
    }

    /// Another phase begins, with nothing of so much done.
    pub(super) fn begin(&mut self, phase: OpenPhase, total: u64) {
        self.now = Progress { phase, done: 0, total, ..self.now };
        if phase == OpenPhase::Segments {
            (self.now.bytes_read, self.now.records) = (0, 0); // a dump was not believed
        }
    }

    /// So much more is done, read and found.
    pub(super) fn add(&mut self, done: u64, bytes_read: u64, records: u64) {
        self.now.done += done;
        self.now.bytes_read += bytes_read;
        self.now.records += records;
        if let Some(tell) = &self.tell {
            tell(self.now);
        }
    }
}
