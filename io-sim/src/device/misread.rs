//! Reads that give other bytes than those that lie there, and say nothing.
//!
//! The bytes on the disk stay as they are: the next read may be right. Some sectors of what was
//! read are exchanged, all in the same way, for one of these:
//!
//! | way | what is read instead |
//! |---|---|
//! | elsewhere | what lies anywhere else in the file, as far from a block: a read went astray |
//! | stale | what the last sync left there; what lies elsewhere, if that is the same |
//! | flipped | the same bytes, but for one bit |
//! | zeros | nothing |
//! | noise | any bytes |
//!
//! Absent on purpose: writes that go astray or get lost; see [`super::silent`].

use logstor_core::types::{to_u64, to_usize};

use crate::disk::FileId;
use crate::trace::EventKind;
use crate::world::World;

/// Files are laid out in blocks of this length, so a read that goes astray finds a whole one.
pub(super) const BLOCK: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Elsewhere,
    Stale,
    Flipped,
    Zeros,
    Noise,
}

const WAYS: [Way; 5] = [Way::Elsewhere, Way::Stale, Way::Flipped, Way::Zeros, Way::Noise];

/// Exchanges some of what was read at `at`, if that is drawn.
pub(super) fn misread(world: &mut World, file: FileId, at: u64, into: &mut [u8]) {
    if into.is_empty() || !world.rng.faults.per_million(world.faults.misread) {
        return;
    }
    let sector = to_usize(world.disk.sector());
    let (rng, body) = (&mut world.rng.faults, world.disk.file(file));
    let sectors = into.len().div_ceil(sector);
    let first = rng.index(sectors);
    let count = (*rng.pick(&[1, 1, 8, sectors])).min(sectors - first);
    let way = *rng.pick(&WAYS);
    let (from, end) = (first * sector, ((first + count) * sector).min(into.len()));
    let place = at + to_u64(from);
    let hit = &mut into[from..end];
    let before = hit.to_vec();
    match way {
        Way::Elsewhere | Way::Stale => {
            if way == Way::Stale {
                body.read_synced(place, hit);
            }
            let blocks = body.len() / BLOCK;
            if *hit == *before && blocks > 0 {
                let other = rng.below(blocks) * BLOCK + place % BLOCK;
                // Past the end there is nothing to find.
                let _ = body.read(other, hit);
            }
        }
        Way::Flipped => {
            let bit = rng.index(hit.len() * 8);
            hit[bit / 8] ^= 1 << (bit % 8);
        }
        Way::Zeros => hit.fill(0),
        Way::Noise => rng.fill(hit),
    }
    if *hit == *before {
        return;
    }
    world.counters.misreads += 1;
    let words = [2, place, to_u64(end - from)];
    world.note(EventKind::Fault, &words, || {
        format!("fault: misread of {} bytes at {place:#x}: {way:?}", end - from)
    });
}
