//! What a simulation counted, over all its boots.
//!
//! A sweep that never tore a write or never failed a sync proves nothing; these numbers show it.

use std::time::Duration;

/// Injected faults, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FaultCounts {
    /// Reads that failed.
    pub reads: u64,
    /// Writes, punches, shrinks and reservations of room that failed.
    pub writes: u64,
    /// Syncs of a file that failed, and kept the data readable.
    pub syncs_kept: u64,
    /// Syncs of a file that failed, and dropped the data.
    pub syncs_dropped: u64,
    /// Operations on names that failed.
    pub names: u64,
    /// Writes, reservations and creations that were refused because the disk was full.
    pub full: u64,
}

impl FaultCounts {
    /// All kinds together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.reads + self.writes + self.syncs_kept + self.syncs_dropped + self.names + self.full
    }
}

/// What happened so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Virtual time since the simulation began.
    pub time: Duration,
    /// Polls of tasks, and events.
    pub steps: u64,
    /// Effects: issues and completions of everything that may change the disk.
    pub effects: u64,
    /// Landings: completions of everything that may change the disk.
    pub landings: u64,
    /// Tasks spawned.
    pub tasks: u64,
    /// Reads issued.
    pub reads: u64,
    /// Bytes of them.
    pub read_bytes: u64,
    /// Writes issued.
    pub writes: u64,
    /// Bytes of them.
    pub written_bytes: u64,
    /// Syncs of files issued.
    pub syncs: u64,
    /// Syncs of the folder issued.
    pub folder_syncs: u64,
    /// Punches issued.
    pub punches: u64,
    /// Other operations on names, lengths and room issued.
    pub name_ops: u64,
    /// Operations whose future was dropped before they completed.
    pub abandoned: u64,
    /// Boots.
    pub boots: u64,
    /// Crashes that lost the cache.
    pub power_cuts: u64,
    /// Crashes that kept the cache.
    pub process_kills: u64,
    /// Unsynced sector writes that survived a crash.
    pub sectors_kept: u64,
    /// Unsynced sector writes that a crash undid.
    pub sectors_lost: u64,
    /// Writes of which a crash or a fault kept some sectors and lost others.
    pub torn_writes: u64,
    /// Operations on names that a crash undid.
    pub names_lost: u64,
    /// Faults.
    pub faults: FaultCounts,
}
