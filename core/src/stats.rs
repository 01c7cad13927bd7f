//! Numbers of a store, and of one group.
//!
//! Absent on purpose: rates and histograms. A reader takes two of these and subtracts.

mod segment;

use crate::compact::CompactReport;
use crate::format::geometry::Geometry;
use crate::io::StorageInfo;
use crate::memory::{State, Why};
use crate::segment_io::DeviceCounts;
use crate::segments::{Claim, SegmentKind, SegmentState, Slot};
use crate::types::{GroupId, to_u32, to_u64};
use crate::value_cache::{Counts, ValueCache};

pub use segment::{SegmentInfo, SegmentUse, SegmentWriter};

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
    /// Segments in use by who wrote them.
    pub kinds: KindCounts,
    /// Every byte of the segment files, by what it is for.
    pub space: SpaceStats,
    /// Sealed segments by the share of them that is needed, in twentieths: the first counts those
    /// of which less than a twentieth is. A live piece of a large value needs all of its segment.
    pub utilization: [u32; 20],
    /// Bytes of records that are the newest of their key, and of large values: `space.live`.
    pub live_bytes: u64,
    /// Bytes of tombstones that are still needed: `space.tombstones`.
    pub tombstone_bytes: u64,
    /// Bytes of records and large values that users wrote since the store was opened.
    /// `device.written` over this is the write amplification, source by source.
    pub user_bytes: u64,
    /// Values in memory that were read lately: `Options::value_cache`.
    pub cache: CacheStats,
    /// Writes that had to wait, since the store was opened.
    pub waits: WaitCounts,
    /// Compaction and separator.
    pub compaction: CompactionStats,
    /// Bytes of the segment files.
    pub file_bytes: u64,
    /// Bytes that the segment files may take; `None` if only the device bounds them.
    pub capacity: Option<u64>,
    /// The next sequence to be given out: how many writes were accepted, over all time.
    pub next_sequence: u64,
}

/// Values in memory that were read lately. All zero where the store was opened without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Bytes that they may take.
    pub capacity: u64,
    /// Bytes that they take, with what their entries do.
    pub bytes: u64,
    /// Values.
    pub entries: u64,
    /// Reads of durable values that were answered from here, since the store was opened.
    pub hits: u64,
    /// Those that were not, large values included.
    pub misses: u64,
}

/// Segments by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentCounts {
    /// Erased, ready for use.
    pub free: u32,
    /// Erased, and given back to the device, or on the way there.
    pub hollow: u32,
    /// Taking writes.
    pub active: u32,
    /// Full.
    pub sealed: u32,
    /// Dead, about to be erased.
    pub retired: u32,
    /// Not used in this opening: part of it is lost, or erasing it failed.
    pub quarantined: u32,
}

/// Segments in use, by who wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindCounts {
    /// By the log.
    pub log: u32,
    /// Of those, the full ones with live records of more than one group.
    pub mixed: u32,
    /// By compaction or separator, for one group.
    pub group: u32,
    /// By compaction or separator, for groups that have too little for one of their own.
    pub shared: u32,
    /// With pieces of large values.
    pub large: u32,
}

/// Every byte of the segment files, by what it is for; the sum is `file_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceStats {
    /// Records that are the newest of their key, and pieces of large values.
    pub live: u64,
    /// Records that are not needed any more, what failed writes left, and lost segments.
    pub dead: u64,
    /// Tombstones that are still needed.
    pub tombstones: u64,
    /// Between the records of a buffer and the next block, and behind the last buffer.
    pub padding: u64,
    /// Headers and summaries of buffers.
    pub headers: u64,
    /// Room at the end of each segment in use for its seal.
    pub seals: u64,
    /// Slots ready for writes.
    pub free: u64,
    /// Slots whose room was given back to the device, but for their first block.
    pub given_back: u64,
    /// Slots that only deletes and compaction may take, and room in segments that are open.
    pub reserved: u64,
    /// Dead segments that are being erased, or wait for a reader.
    pub pinned: u64,
}

impl SpaceStats {
    /// All of them together: the bytes of the segment files.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.live
            + self.dead
            + self.tombstones
            + self.padding
            + self.headers
            + self.seals
            + self.free
            + self.given_back
            + self.reserved
            + self.pinned
    }
}

/// Writes that had to wait before they were accepted, by what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitCounts {
    /// For a segment that was about to be free; pieces of large values count one by one.
    pub room: u64,
    /// For writes before them to reach the device: `Options::write_memory` was used up.
    pub memory: u64,
}

/// Runs of compaction and separator, by why they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunCauses {
    /// Somebody asked.
    pub requests: u64,
    /// Mixed segments passed their share of the store.
    pub separation: u64,
    /// Free segments ran low.
    pub room: u64,
    /// The store took more than it should.
    pub space: u64,
    /// Tombstones were too many, and waited for an old segment.
    pub tombstones: u64,
    /// A file is to go, since the capacity became smaller.
    pub shrink: u64,
}

/// What compaction and separator are doing, and how far they are behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionStats {
    /// Segments are being rewritten right now.
    pub running: bool,
    /// Guards of [`Db::pause_compaction`](crate::Db::pause_compaction) that hold it back.
    pub pauses: u32,
    /// Runs so far, in this opening.
    pub runs: u64,
    /// Of those, runs whose copies could not be written.
    pub runs_failed: u64,
    /// Runs that were begun, by why.
    pub causes: RunCauses,
    /// What all of them did.
    pub done: CompactReport,
    /// Free slots that are missing to where compaction stops.
    pub debt_segments: u64,
    /// Mixed segments that the separator has still to sort.
    pub separator_segments: u64,
    /// How long a writer is held up for every KiB that it adds.
    pub throttle_per_kib: std::time::Duration,
}

/// Numbers of one group at one moment, of the writes that are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStats {
    /// Keys.
    pub keys: u64,
    /// Bytes of records that are the newest of their key, and of large values.
    pub live_bytes: u64,
    /// Segments in which any of that lies.
    pub segments: u64,
    /// Of those, segments in which something of another group lives as well;
    /// [`Group::separate`](crate::Group::separate) makes them none.
    pub shared_segments: u64,
    /// Keys with a large value.
    pub large_values: u64,
    /// Bytes of these values: a part of `live_bytes`.
    pub large_bytes: u64,
}

impl GroupStats {
    /// Takes a step for each segment of the group, none for a key.
    pub(crate) fn of(state: &State, id: GroupId) -> Option<Self> {
        let group = state.groups.get(id)?;
        let mut counts = Self {
            keys: to_u64(group.index.len()),
            segments: to_u64(group.segments.len()),
            large_values: to_u64(group.large.len()),
            ..Self::default()
        };
        for &segment in &group.segments {
            let slot = state.segments.get(segment);
            let share = slot.share(id);
            counts.live_bytes += share;
            counts.shared_segments += u64::from(slot.is_mixed());
            counts.large_bytes += if slot.kind.is_large() { share } else { 0 };
        }
        Some(counts)
    }
}

impl Stats {
    pub(crate) fn of(state: &State, device: DeviceCounts, storage: StorageInfo) -> Self {
        let [free, hollow, active, sealed, retired, quarantined] = state.count_states();
        let (mut keys, mut index_bytes) = (0, 0);
        for (id, group) in state.groups.iter() {
            keys += if id == GroupId::SYSTEM { 0 } else { group.index.len() };
            index_bytes += group.index.memory();
        }
        let space = SpaceStats::of(state);
        let segment_len = u64::from(state.rules.geometry.segment_len().get());
        Self {
            storage,
            device,
            groups: to_u64(state.groups.names().len()),
            keys: to_u64(keys),
            index_bytes: to_u64(index_bytes),
            segment_len,
            segments: SegmentCounts { free, hollow, active, sealed, retired, quarantined },
            kinds: KindCounts::of(state),
            space,
            utilization: utilization(state),
            live_bytes: space.live,
            tombstone_bytes: space.tombstones,
            user_bytes: state.user_bytes,
            cache: CacheStats::of(state),
            waits: WaitCounts { room: state.waits_for_room, memory: state.waits_for_memory },
            compaction: CompactionStats::of(state),
            file_bytes: u64::from(to_u32(state.segments.len())) * segment_len,
            capacity: state.capacity(),
            next_sequence: state.log.next_sequence.get(),
        }
    }
}

impl CacheStats {
    fn of(state: &State) -> Self {
        let counts = state.cache.as_ref().map(ValueCache::counts).unwrap_or_default();
        let Counts { hits, misses, entries, bytes } = counts;
        Self { capacity: state.rules.value_cache, bytes, entries, hits, misses }
    }
}

impl SpaceStats {
    fn of(state: &State) -> Self {
        let geometry = state.rules.geometry;
        let len = u64::from(geometry.segment_len().get());
        let mut space = Self::default();
        let mut reserve = Claim::Put.leaves();
        for (_, slot) in state.segments.iter() {
            if slot.state == SegmentState::Free && reserve > 0 {
                reserve -= 1;
                space.reserved += len;
            } else {
                space.add_slot(slot, geometry);
            }
        }
        space
    }

    fn add_slot(&mut self, slot: &Slot, geometry: Geometry) {
        let len = u64::from(geometry.segment_len().get());
        match slot.state {
            SegmentState::Free => self.free += len,
            SegmentState::Hollow => self.given_back += len,
            SegmentState::Retired => self.pinned += len,
            SegmentState::Quarantined => {
                self.live += slot.live;
                self.dead += len - slot.live;
            }
            SegmentState::Active | SegmentState::Sealed => self.add_used(slot, geometry),
        }
    }

    fn add_used(&mut self, slot: &Slot, geometry: Geometry) {
        let (data_len, records) = (u64::from(geometry.data_len().get()), u64::from(slot.records));
        let (fronts, padding) = (u64::from(slot.fronts), u64::from(slot.padding));
        let rest = data_len - records - fronts - padding;
        let open = slot.state == SegmentState::Active || slot.holds > 0;
        let tombstones = slot.waiting_tombstones();
        if slot.live == 0 && tombstones == 0 && slot.pins > 0 && !open {
            self.pinned += u64::from(geometry.segment_len().get());
            return;
        }
        self.live += slot.live;
        self.tombstones += tombstones;
        self.dead += records - slot.live - tombstones;
        self.headers += fronts;
        self.padding += padding + if open { 0 } else { rest };
        self.reserved += if open { rest } else { 0 };
        self.seals += u64::from(geometry.seal_len().get());
    }
}

impl KindCounts {
    fn of(state: &State) -> Self {
        let mut counts =
            Self { mixed: to_u32_from(state.segments.totals().mixed), ..Self::default() };
        for (_, slot) in state.segments.iter() {
            if !matches!(slot.state, SegmentState::Active | SegmentState::Sealed) {
                continue;
            }
            match slot.kind {
                SegmentKind::Log => counts.log += 1,
                SegmentKind::Group(_) => counts.group += 1,
                SegmentKind::Shared => counts.shared += 1,
                SegmentKind::Large(_) => counts.large += 1,
            }
        }
        counts
    }
}

impl RunCauses {
    fn of(state: &State) -> Self {
        let count = |why| state.compaction.causes.get(&why).copied().unwrap_or(0);
        Self {
            requests: count(Why::Request),
            separation: count(Why::Separation),
            room: count(Why::Room),
            space: count(Why::Space),
            tombstones: count(Why::Tombstones),
            shrink: count(Why::Shrink),
        }
    }
}

impl CompactionStats {
    fn of(state: &State) -> Self {
        let compaction = &state.compaction;
        Self {
            running: compaction.running.is_some(),
            pauses: compaction.pauses,
            runs: compaction.runs,
            runs_failed: compaction.runs_failed,
            causes: RunCauses::of(state),
            done: compaction.done,
            debt_segments: to_u64(state.missing_slots()),
            separator_segments: to_u64(state.separation_debt()),
            throttle_per_kib: state.throttle_per_kib(),
        }
    }
}

/// Sealed segments by twentieths of need.
fn utilization(state: &State) -> [u32; 20] {
    let mut histogram = [0; 20];
    let len = state.segments.data_len();
    let sealed = state.segments.iter().filter(|(_, slot)| slot.state == SegmentState::Sealed);
    for (_, slot) in sealed {
        let whole = slot.kind.is_large() && slot.live > 0;
        let needed = if whole { len } else { slot.needed() };
        let at = (needed * 20 / len).min(19);
        histogram[usize::try_from(at).expect("below twenty")] += 1;
    }
    histogram
}

fn to_u32_from(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
