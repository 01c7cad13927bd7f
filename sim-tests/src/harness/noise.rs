//! Noise in torn sectors: what was being written when the power went is neither old nor new.
//!
//! The contract says that a sector is old or new, and the engine relies on that where it writes
//! over what counts. Where nothing counts it relies on nothing, and that is what is tried here.
//!
//! | what is written | over | noise |
//! |---|---|---|
//! | a buffer, a seal, a piece | zeros, or what a life that has ended left | yes |
//! | a mark | the older of two marks, or one that is there twice | yes |
//! | any other file | zeros, or nothing | yes |
//! | a mark that recovery writes again | the only newest one | no |
//! | a buffer or seal that recovery writes again | the same bytes, which may count | no |
//! | "void", "erased" | a header that may be all that says what the block is | no |
//!
//! 1. Noise is only where a write was in flight when the power went, and only at a power cut.
//! 2. It is only where nothing that is durable counts, by the table. What counts is read from the
//!    durable disk, not asked of the engine: see [`counts`].
//! 3. Then every promise of a crash holds, and nothing errs.
//! 4. It comes from a stream of its own: how a seed goes on after it differs, what was drawn not.
//!
//! Absent on purpose: noise after the death of the process alone, and beside a write in flight.

use std::ops::Range;

use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::format::mark::Mark;
use logstor_core::types::BLOCK;
use logstor_io_sim::{InFlight, RawDisk, SimRng};

use super::Run;
use super::tears::Files;
use crate::plan::{SEGMENT, geometry};

/// What may hold noise after the power cut that comes now.
#[derive(Debug, Default)]
pub(super) struct Torn(Vec<(String, Range<u64>)>);

impl Run {
    /// The sectors that are being written and hold nothing that counts, some of them, in some of
    /// the crashes of a plan that has noise.
    pub(super) fn torn(&mut self, durable: &Files) -> Torn {
        let Some(percent) = self.plan.noise else { return Torn::default() };
        self.power_cuts += 1;
        let name = format!("noise {}", self.power_cuts);
        let rng = &mut SimRng::new(self.sim.rng("noise").bits(), &name);
        if !rng.chance(percent, 100) {
            return Torn::default();
        }
        let sector = u64::from(self.plan.sector);
        let mut torn = Vec::new();
        let says_ended = |write: &InFlight| {
            let header = BufferHeader::parse(&write.bytes);
            is_of_segments(&write.name)
                && header.is_ok_and(|header| header.kind == BufferKind::Void)
        };
        let writes = self.sim.raw().in_flight().into_iter().filter(|write| !says_ended(write));
        for InFlight { name, at, bytes } in writes {
            let end = at + u64::try_from(bytes.len()).expect("a write fits the disk");
            for start in (at..end).step_by(to_usize(sector)) {
                let place = start..start + sector;
                if rng.coin() && !counts(durable, &name, &place) {
                    torn.push((name.clone(), place));
                }
            }
        }
        // One, or many.
        if torn.len() > 1 && rng.coin() {
            torn = vec![torn.swap_remove(rng.index(torn.len()))];
        }
        Torn(torn)
    }

    /// The power is gone.
    pub(super) fn make_noise(&self, torn: Torn) {
        let rng = &mut SimRng::new(self.sim.rng("noise").bits(), "bytes");
        for (name, place) in torn.0 {
            self.noise_at(&self.sim.raw(), rng, &name, place);
        }
    }

    fn noise_at(&self, raw: &RawDisk, rng: &mut SimRng, name: &str, place: Range<u64>) {
        // Names and lengths may have gone with the power.
        if raw.corrupt(name, place.clone(), |bytes| rng.fill(bytes)).is_err() {
            return;
        }
        self.count(match name {
            "mark" => "noise/in a mark",
            _ if !is_of_segments(name) => "noise/in another file",
            _ if place.start.is_multiple_of(SEGMENT) => "noise/in the first sector of a segment",
            _ if place.start % SEGMENT >= seal_offset() => "noise/in a seal",
            _ => "noise/in a segment",
        });
    }
}

/// Whether these bytes, a sector, hold anything that is durable and may count.
fn counts(durable: &Files, name: &str, place: &Range<u64>) -> bool {
    let read = |at: u64, len: u64| {
        let mut bytes = vec![0; to_usize(len)];
        if let Some(file) = durable.get(name) {
            file.read(at, &mut bytes);
        }
        bytes
    };
    let bytes = read(place.start, place.end - place.start);
    if name == "mark" {
        let mark = |slot: u64| parse_mark(&read(slot * u64::from(BLOCK), BLOCK.into()));
        let (first, second) = (mark(0), mark(1));
        let (here, other) =
            if place.start < BLOCK.into() { (first, second) } else { (second, first) };
        return here.is_some() && here > other;
    }
    if !is_of_segments(name) {
        return bytes.iter().any(|byte| *byte != 0);
    }
    let slot = place.start / SEGMENT * SEGMENT;
    counts_in_slot(&read(slot, SEGMENT), place.start - slot)
}

/// The same of a sector at `at` of a segment: it counts if it is part of a buffer, a piece or a
/// seal of the life that the first block shows, or if a seal shows a life and the first block none.
fn counts_in_slot(bytes: &[u8], at: u64) -> bool {
    let header = |at: u64| BufferHeader::parse(&bytes[to_usize(at)..]).ok();
    let seal = header(seal_offset()).filter(|seal| seal.kind == BufferKind::Seal);
    let head = header(0);
    let Some(head) = head.filter(|head| head.kind != BufferKind::Void) else {
        let ended = header(0).map(|head| head.generation);
        return seal.is_some_and(|seal| Some(seal.generation) > ended);
    };
    let blocks = (0..SEGMENT).step_by(to_usize(BLOCK.into()));
    let mut own = blocks.filter_map(|at| Some((at, header(at)?)));
    own.any(|(start, header)| {
        let len = u64::from(header.total_len().get()).max(BLOCK.into());
        header.generation >= head.generation && (start..start + len).contains(&at)
    })
}

/// The number of a mark, of whatever store.
fn parse_mark(block: &[u8]) -> Option<u64> {
    let store = u64::from_le_bytes(block.get(8..16)?.try_into().ok()?);
    Mark::parse(block, store).ok().map(|mark| mark.ordinal)
}

fn is_of_segments(name: &str) -> bool {
    name.starts_with("segments-") && !name.contains(".new")
}

fn seal_offset() -> u64 {
    geometry().seal_offset().get().into()
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).expect("lengths of a simulation are small")
}
