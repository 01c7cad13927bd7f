//! What went to and came from the device, counted where it happens.
//!
//! Relaxed atomics: each number is right, and two of them read together may be a moment apart.
//!
//! Absent on purpose: resetting. A reader of the numbers takes differences.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::to_u64;

/// Device operations of one opening of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceCounts {
    /// Reads of segments.
    pub reads: u64,
    /// Bytes read from segments.
    pub read_bytes: u64,
    /// Writes: buffers, seals, erased blocks, marks and zeros of new files.
    pub writes: u64,
    /// Bytes of those writes.
    pub written_bytes: u64,
    /// Syncs of files.
    pub syncs: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
    syncs: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self, bytes: usize) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read_bytes.fetch_add(to_u64(bytes), Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.written_bytes.fetch_add(to_u64(bytes), Ordering::Relaxed);
    }

    pub(crate) fn synced(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> DeviceCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DeviceCounts {
            reads: load(&self.reads),
            read_bytes: load(&self.read_bytes),
            writes: load(&self.writes),
            written_bytes: load(&self.written_bytes),
            syncs: load(&self.syncs),
        }
    }
}
