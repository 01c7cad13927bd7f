//! What a sweep that proves anything has met at least once.
//!
//! Every law of the engine that only matters in a corner has a mark here, and the name of the mark
//! is counted where the corner is met. A sweep that is large enough fails if it misses one: then
//! the seeds have stopped looking somewhere, and their silence says nothing.
//!
//! | prefix | counted by |
//! |---|---|
//! | `tears` | the durable files before and after a power cut, where recovery will walk |
//! | `recoveries` | what the engine says of an opening |
//! | `compaction` | what the engine says of its runs |
//! | `crashes`, `faults`, `slow`, `disk` | the harness and the simulated disk |
//! | `noise` | the sectors that a power cut filled with noise |
//! | `scenario` | runs in which the accident of a scenario happened |
//! | `image` | the look at what is about to be erased |
//! | `reads`, `groups` | the ledger |
//! | `large`, `scans`, `compares`, `full`, `marks` | clients and harness, each where it happens |
//!
//! Absent on purpose: what simulated stores are too small for. Writers are held up by the KiB only
//! in stores of some hundred segments; and what takes silent damage, which is drawn apart.

use crate::plan::Mode;

/// What every sweep does.
const MIXED: &[&str] = &[
    "compaction/emptied",
    "compaction/for a request",
    "compaction/for room",
    "compaction/for separation",
    "compaction/for space",
    "compaction/moved",
    "compaction/segments",
    "compaction/shared",
    "compaction/superseded",
    "compaction/tombstones dropped",
    "compares/made",
    "compares/made with others",
    "compares/unmet",
    "crashes/amid unsynced writes",
    "crashes/in recovery",
    "crashes/in recovery, again",
    "crashes/in use",
    "crashes/on a fork",
    "crashes/power cut",
    "crashes/process kill",
    "disk/names lost",
    "disk/torn writes",
    "faults/creates",
    "faults/disk full",
    "faults/folder syncs",
    "faults/lists",
    "faults/names told full",
    "faults/opens",
    "faults/reads",
    "faults/reads of bad sectors",
    "faults/renames",
    "faults/syncs told full",
    "faults/syncs, data dropped",
    "faults/syncs, data evicted",
    "faults/syncs, data kept",
    "faults/writes",
    "faults/writes told full",
    "groups/made after the highest id was dropped",
    "image/keys checked",
    "image/mark published before",
    "image/pieces checked",
    "large/accounted for",
    "large/given up",
    "large/no room",
    "large/put",
    "large/put at the end",
    "large/put by stream",
    "large/read after its end",
    "large/read to the end",
    "large/reader left",
    "large/stream broke off",
    "large/write failed",
    "marks/a failed write was outlived",
    "marks/at rest",
    "marks/buffers made durable",
    "marks/buffers made void",
    "marks/full because of a pause",
    "marks/full for a put",
    "marks/group made again",
    "marks/group truncated",
    "marks/index full",
    "marks/no longer full",
    "marks/put at the end",
    "marks/recovered less",
    "marks/reserve in use",
    "marks/resized",
    "marks/rewritten",
    "marks/separated",
    "marks/slot reused",
    "noise/in a mark",
    "noise/in a seal",
    "noise/in a segment",
    "noise/in another file",
    "reads/from the cache",
    "reads/known",
    "reads/of many",
    "reads/of several versions",
    "recoveries/failed",
    "recoveries/from dump",
    "recoveries/segments by their seal",
    "recoveries/segments walked",
    "scans/beside writes",
    "scans/broken off",
    "scans/entries",
    "scans/given up",
    "scans/of a range",
    "scans/past a failed read",
    "scans/to the end",
    "shadows/looked at first",
    "shadows/recovered",
    "shadows/recovered less",
    "slow/device hung",
    "slow/in parts",
    "slow/operations hung",
    "slow/timers late",
    "tears/first sector",
    "tears/last sector",
    "tears/middle sector",
    "tears/of copies",
    "waits/for memory",
    "waits/for room",
];

/// What is too rare for a small sweep: from how many seeds on it is due.
const RARE: &[(&str, u64)] = &[
    ("compaction/for tombstones", 20_000),
    ("compaction/to shrink", 2000),
    ("noise/in the first sector of a segment", 2000),
    ("reads/that show a batch", 2000),
    ("reads/that show other writes", 2000),
    ("scenario/compares", 1000),
    ("scenario/late", 1000),
    ("scenario/openings", 1000),
    ("scenario/overwrites", 1000),
    ("scenario/pieces", 1000),
    ("scenario/seals", 1000),
    ("scenario/syncs", 1000),
    ("scenario/tiny", 1000),
];

/// What every sweep of full stores does.
const FULL: &[&str] = &[
    "compaction/for room",
    "compaction/segments",
    "compaction/tombstones dropped",
    "crashes/in use",
    "full/and back",
    "large/no room",
    "large/put",
    "marks/full for a put",
    "marks/group truncated",
];

/// Of these, what is rare, and in how many seeds it is due.
const FULL_RARE: &[(&str, u64)] = &[
    ("scenario/brim", 500),
    ("scenario/crashes", 500),
    ("scenario/readers", 5000),
    ("scenario/tombstones", 500),
];

/// The same of a sweep of damaged disks.
const DAMAGED: &[&str] = &[
    "damage/corruption reported",
    "damage/done",
    "damage/hit erased slot",
    "damage/hit header",
    "damage/hit key",
    "damage/hit mark",
    "damage/hit record header",
    "damage/hit seal",
    "damage/hit summary",
    "damage/hit superblock",
    "damage/hit value",
    "damage/mark lost",
    "damage/opened",
    "damage/opened, misreading",
    "damage/refused",
    "damage/refused later",
    "damage/refused, misreading",
    "damage/rounds",
    "damage/rounds cut short",
    "damage/salvaged",
    "damage/superblock lost",
    "damage/window",
    "disk/writes astray",
    "disk/writes lost",
];

/// Of these, what is rare, and in how many seeds it is due.
const DAMAGED_RARE: &[(&str, u64)] = &[
    ("damage/corrupt in use", 3000),
    ("damage/hit dump", 3000),
    ("damage/hit piece", 2000),
    ("damage/hit piece header", 3000),
    ("damage/hit void header", 20_000),
];

/// What a sweep of so many seeds must have done; of few seeds, what it should have.
pub fn must_happen(mode: Mode, seeds: u64) -> impl Iterator<Item = &'static str> {
    let (often, rare) = match mode {
        Mode::Mixed => (MIXED, RARE),
        Mode::Full => (FULL, FULL_RARE),
        Mode::Damage => (DAMAGED, DAMAGED_RARE),
    };
    let rare = rare.iter().filter(move |(_, due)| *due <= seeds).map(|(mark, _)| *mark);
    often.iter().copied().chain(rare)
}

/// So many seeds meet what is not rare. A smaller sweep is not judged by its marks.
#[must_use]
pub const fn seeds_enough(mode: Mode) -> u64 {
    match mode {
        Mode::Mixed => 300,
        Mode::Full => 60,
        Mode::Damage => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_sorted_and_none_is_there_twice() {
        for marks in [MIXED, FULL, DAMAGED] {
            assert!(marks.is_sorted_by(|a, b| a < b), "{marks:?}");
        }
        assert!(RARE.is_sorted_by(|a, b| a.0 < b.0));
        assert!(RARE.iter().all(|(mark, _)| !MIXED.contains(mark)));
    }
}
