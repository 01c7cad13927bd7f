//! Writes that are reported as done and are not there, or not where they should be.
//!
//! Some sectors of a write are hit, one, eight or all:
//!
//! | way | the place that was meant | another place |
//! |---|---|---|
//! | lost | keeps its old bytes | - |
//! | astray | keeps its old bytes | is written over: 64 KiB off or more, or in another file |
//!
//! 1. No call errs. A file that such a write should have made longer is longer.
//! 2. Only a write that would have succeeded is hit. One that is in flight at a crash is torn.
//! 3. Another place is whole blocks from where the write belongs, and within its file.
//! 4. The disk keeps beside each file that is hit the one that was meant ([`Disk::land_wrong`]).
//!
//! Absent on purpose: punches and operations on names that get lost.
//!
//! [`Disk::land_wrong`]: crate::disk::Disk::land_wrong

use std::ops::Range;

use logstor_core::types::{to_u64, to_usize};

use super::misread::BLOCK;
use crate::disk::{FileId, Stray};
use crate::trace::EventKind;
use crate::world::World;

/// A write goes astray at least so far. Nearer by, both places may lie in what proves itself as a
/// whole, and then they are damage to one thing.
const FAR: u64 = 64 << 10;

/// Whether a write of `bytes` at `at` did something else than it should, and was done so.
pub(super) fn goes_wrong(world: &mut World, file: FileId, at: u64, bytes: &[u8]) -> bool {
    let (lost, astray) = (world.faults.lost_write, world.faults.astray_write);
    let done = world.counters.silent_writes();
    if lost + astray == 0 || world.faults.silent_max.is_some_and(|most| done >= most) {
        return false;
    }
    let draw = world.rng.faults.below(1_000_000);
    if bytes.is_empty() || draw >= u64::from(lost) + u64::from(astray) {
        return false;
    }
    let hit = some_of(world, bytes.len());
    let place = at + to_u64(hit.start);
    let stray = if draw < u64::from(lost) {
        None
    } else {
        let Some((file, at)) = another_place(world, file, place, to_u64(hit.len())) else {
            return false;
        };
        Some(Stray { file, at })
    };
    let counters = &mut world.counters;
    let count =
        if stray.is_some() { &mut counters.astray_writes } else { &mut counters.lost_writes };
    *count += 1;
    let words = [5, file, place, to_u64(hit.len())];
    world.note(EventKind::Fault, &words, || {
        let to = stray.map(|to| format!("file {} +{:#x}", to.file, to.at));
        let to = to.unwrap_or_else(|| "nowhere".into());
        format!("fault: {} bytes of file {file} +{place:#x} arrive {to}", hit.len())
    });
    world.disk.land_wrong(file, (at, bytes), hit, stray);
    true
}

/// Some sectors that follow each other.
fn some_of(world: &mut World, len: usize) -> Range<usize> {
    let sector = to_usize(world.disk.sector());
    let sectors = len / sector;
    let rng = &mut world.rng.faults;
    let first = rng.index(sectors);
    let count = (*rng.pick(&[1, 1, 8, sectors])).min(sectors - first);
    first * sector..(first + count) * sector
}

/// A place for `len` bytes that belong at `place`; `None` if there is none, or it is too near.
fn another_place(world: &mut World, file: FileId, place: u64, len: u64) -> Option<(FileId, u64)> {
    let files = world.disk.files_with_names();
    let rng = &mut world.rng.faults;
    let other = if rng.coin() { file } else { *rng.pick(&files) };
    let last = world.disk.file(other).len().checked_sub(len + place % BLOCK)?;
    let at = rng.below(last / BLOCK + 1) * BLOCK + place % BLOCK;
    (other != file || at.abs_diff(place) >= FAR).then_some((other, at))
}
