//! Which syncs of a file have begun, and how many failed: numbers that are read without a lock.
//!
//! ```text
//!   who wrote                                 who syncs, in turn
//!   its writes end                            begin: number n
//!   asked: the last number begun              the device
//! ```
//!
//! 1. A sync whose number is above what [`Syncs::asked`] said covers the writes that had ended by
//!    then: either the one who asked sees its number, or it sees what the other wrote. Both look
//!    after they told (this is the pattern *store buffering*), so between telling and looking there
//!    is a fence on either side; with acquire and release alone both may miss the other.
//! 2. A failure is counted before the turn to sync passes on, so whoever has had a turn since then
//!    has it in [`Syncs::failures`]; who began to write before reads a lower count.
//!
//! The test `orderings` of the package `logstor` goes through all interleavings of both.
//!
//! Absent on purpose: the turn itself, which is a lock (`segment_file`).

use super::atomic::{AtomicU64, Ordering, fence};

/// The syncs of one file.
#[derive(Debug)]
pub(super) struct Syncs {
    failures: AtomicU64,
    /// The number of the last one that has begun.
    begun: AtomicU64,
}

impl Syncs {
    pub(super) fn new() -> Self {
        Self { failures: AtomicU64::new(0), begun: AtomicU64::new(0) }
    }

    /// How many have failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// After writes that ended: a sync with a higher number than this covers them.
    pub(super) fn asked(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.begun.load(Ordering::Relaxed)
    }

    /// Before the device is asked, by who has the turn: the number of this sync.
    pub(super) fn begin(&self) -> u64 {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        fence(Ordering::SeqCst);
        number
    }

    /// It failed; before the turn passes on.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Release);
    }
}
