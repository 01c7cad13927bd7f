//! What went to and came from the device, counted where it happens.
//!
//! Relaxed atomics: each number is right, and two of them read together may be a moment apart. No
//! decision depends on them, so there is no order to get wrong.
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
    /// Writes, of whatever kind.
    pub writes: u64,
    /// Bytes of those writes: the sum of `written`.
    pub written_bytes: u64,
    /// The same bytes by what they were for.
    pub written: WrittenBytes,
    /// Syncs of files.
    pub syncs: u64,
}

/// Bytes written, by what they were for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenBytes {
    /// Buffers of the log: what users wrote, with headers and padding.
    pub log: u64,
    /// Copies, by compaction and separator.
    pub copies: u64,
    /// Seals of full segments.
    pub seals: u64,
    /// Segments erased, and buffers made void.
    pub erased: u64,
    /// The mark.
    pub mark: u64,
    /// Zeros of new files.
    pub zeros: u64,
    /// Buffers that recovery wrote again.
    pub recovery: u64,
    /// The dump of a clean close.
    pub dump: u64,
    /// Pieces of large values.
    pub pieces: u64,
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Log,
    Copies,
    Seal,
    Erase,
    Mark,
    Zeros,
    Recovery,
    Dump,
    Piece,
}

const PURPOSES: usize = 9;

impl Purpose {
    const fn at(self) -> usize {
        match self {
            Self::Log => 0,
            Self::Copies => 1,
            Self::Seal => 2,
            Self::Erase => 3,
            Self::Mark => 4,
            Self::Zeros => 5,
            Self::Recovery => 6,
            Self::Dump => 7,
            Self::Piece => 8,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    written: [AtomicU64; PURPOSES],
    syncs: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self, bytes: usize) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read_bytes.fetch_add(to_u64(bytes), Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, purpose: Purpose, bytes: usize) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.written[purpose.at()].fetch_add(to_u64(bytes), Ordering::Relaxed);
    }

    pub(crate) fn synced(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> DeviceCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let of = |purpose: Purpose| load(&self.written[purpose.at()]);
        let written = WrittenBytes {
            log: of(Purpose::Log),
            copies: of(Purpose::Copies),
            seals: of(Purpose::Seal),
            erased: of(Purpose::Erase),
            mark: of(Purpose::Mark),
            zeros: of(Purpose::Zeros),
            recovery: of(Purpose::Recovery),
            dump: of(Purpose::Dump),
            pieces: of(Purpose::Piece),
        };
        DeviceCounts {
            reads: load(&self.reads),
            read_bytes: load(&self.read_bytes),
            writes: load(&self.writes),
            written_bytes: self.written.iter().map(load).sum(),
            written,
            syncs: load(&self.syncs),
        }
    }
}
