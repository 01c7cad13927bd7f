//! Numbers of a store.
//!
//! Absent on purpose: rates and histograms. A reader takes two of these and subtracts.

use crate::catalog::Index;
use crate::io::StorageInfo;
use crate::memory::State;
use crate::segment_io::DeviceCounts;
use crate::types::{to_u32, to_u64};

/// Numbers of a store at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What the store runs on, and whether it passes the system's cache by.
    pub storage: StorageInfo,
    /// Device operations since the store was opened.
    pub device: DeviceCounts,
    /// Groups.
    pub groups: u64,
    /// Keys of all groups.
    pub keys: u64,
    /// Bytes of memory that the index takes.
    pub index_bytes: u64,
    /// Bytes of one segment.
    pub segment_len: u64,
    /// Segments by state.
    pub segments: SegmentCounts,
    /// Bytes of records that are the newest of their key.
    pub live_bytes: u64,
    /// Bytes of tombstones.
    pub tombstone_bytes: u64,
    /// Bytes of the segment files.
    pub file_bytes: u64,
    /// Bytes that the segment files may take; `None` if only the device bounds them.
    pub capacity: Option<u64>,
    /// The next sequence to be given out: how many writes were accepted, over all time.
    pub next_sequence: u64,
}

/// Segments by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentCounts {
    /// Erased, ready for use.
    pub free: u32,
    /// Taking writes.
    pub active: u32,
    /// Full.
    pub sealed: u32,
    /// Dead, about to be erased.
    pub retired: u32,
    /// Not used in this opening: part of it is lost, or erasing it failed.
    pub quarantined: u32,
}

impl Stats {
    pub(crate) fn of(state: &State, device: DeviceCounts, storage: StorageInfo) -> Self {
        let [free, active, sealed, retired, quarantined] = state.count_states();
        let slots = || state.segments.iter().map(|(_, slot)| slot);
        let indexes = || state.groups.iter().map(|(_, group)| &group.index);
        let users = state.groups.names().filter_map(|(_, id)| state.groups.get(id));
        let segment_len = u64::from(state.rules.geometry.segment_len().get());
        Self {
            storage,
            device,
            groups: to_u64(state.groups.names().count()),
            keys: to_u64(users.map(|group| group.index.len()).sum()),
            index_bytes: to_u64(indexes().map(Index::memory).sum()),
            segment_len,
            segments: SegmentCounts { free, active, sealed, retired, quarantined },
            live_bytes: slots().map(|slot| slot.live).sum(),
            tombstone_bytes: slots().map(|slot| slot.tombstones).sum(),
            file_bytes: u64::from(to_u32(state.segments.len())) * segment_len,
            capacity: state.capacity(),
            next_sequence: state.log.next_sequence.get(),
        }
    }
}
