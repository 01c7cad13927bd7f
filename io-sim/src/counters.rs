//! What a simulation counted, over all its boots.
//!
//! A sweep that never tore a write or never failed a sync proves nothing; these numbers show it.

use std::time::Duration;

/// Injected faults, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FaultCounts {
    /// Reads that failed once.
    pub reads: u64,
    /// Reads that failed because of a bad sector, the first one of it included.
    pub latent_reads: u64,
    /// Writes, punches, shrinks and reservations of room that failed.
    pub writes: u64,
    /// Syncs of a file that failed, and kept the data readable.
    pub syncs_kept: u64,
    /// Syncs of a file that failed, and dropped the data.
    pub syncs_dropped: u64,
    /// Syncs of a file that failed, and kept the data readable for a while.
    pub syncs_evicted: u64,
    /// Openings of existing files that failed, and questions for a length.
    pub opens: u64,
    /// Lists that failed.
    pub lists: u64,
    /// Creations that failed.
    pub creates: u64,
    /// Renames that failed.
    pub renames: u64,
    /// Removals that failed.
    pub removes: u64,
    /// Syncs of the folder that failed.
    pub folder_syncs: u64,
    /// Writes, reservations and creations that were refused because the disk was full.
    pub full: u64,
    /// Writes, punches, shrinks and reservations that were told so though it was not.
    pub no_room_writes: u64,
    /// Syncs of a file that were told so.
    pub no_room_syncs: u64,
    /// Creations, renames, removals and syncs of the folder that were told so.
    pub no_room_names: u64,
}

impl FaultCounts {
    /// All kinds together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.all_reads() + self.storing() + self.names()
    }

    /// Reads that failed, for whatever reason.
    #[must_use]
    pub const fn all_reads(&self) -> u64 {
        self.reads + self.latent_reads
    }

    /// Syncs of a file that failed, for whatever reason.
    #[must_use]
    pub const fn all_syncs(&self) -> u64 {
        self.syncs_kept + self.syncs_dropped + self.syncs_evicted + self.no_room_syncs
    }

    /// Calls that were to store data, or to make room for it, and failed.
    #[must_use]
    pub const fn storing(&self) -> u64 {
        self.writes + self.no_room_writes + self.full + self.all_syncs()
    }

    /// Calls about names that failed.
    #[must_use]
    pub const fn names(&self) -> u64 {
        self.opens
            + self.lists
            + self.creates
            + self.renames
            + self.removes
            + self.folder_syncs
            + self.no_room_names
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
    /// Writes into room that was given back by a punch and not reserved again, of other bytes than
    /// zeros. A device that filled up meanwhile would refuse them.
    pub writes_into_holes: u64,
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
    /// Reads and writes that were done in several parts.
    pub in_parts: u64,
    /// Operations that hung while others went on.
    pub stalls: u64,
    /// Times that the whole device hung.
    pub device_stalls: u64,
    /// Timers that were late by far.
    pub late_timers: u64,
    /// Writes that failed where [`Faults::write_error_at`](crate::Faults) says; they are among the
    /// faults as well.
    pub failed_there: u64,
    /// Reads that gave other bytes than those that lay there.
    pub misreads: u64,
    /// Writes some sectors of which were reported as written, and never arrived.
    pub lost_writes: u64,
    /// The same, and the sectors arrived elsewhere.
    pub astray_writes: u64,
    /// Jumps of the wall clock while a boot lasted.
    pub wall_jumps: u64,
    /// Evictions of data that a failed sync had left readable.
    pub evictions: u64,
    /// Sectors that became bad.
    pub bad_sectors: u64,
    /// Calls that were refused in a spell without room.
    pub in_spells: u64,
    /// Faults.
    pub faults: FaultCounts,
}

impl Counters {
    /// Writes that did something else than was reported.
    #[must_use]
    pub const fn silent_writes(&self) -> u64 {
        self.lost_writes + self.astray_writes
    }
}
