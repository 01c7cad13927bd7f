//! What a crash does to what is in flight, before the disk decides about what is not durable.
//!
//! 1. At a power cut a write in flight counts as arrived and not durable, so any of its sectors
//!    survive; everything else in flight happened or not.
//! 2. When only the process dies, a write in flight lands wholly, partly or not, in the cache,
//!    which is kept; data that is to be evicted from it still goes.

use std::ops::Range;

use logstor_core::types::to_u64;

use super::{sectors_of, some_sectors, stays_for_a_while};
use crate::disk::{Arrival, CrashReport, FileId, Landing, NameBias, SectorBias};
use crate::op::{Op, Taint};
use crate::trace::EventKind;
use crate::world::World;

/// The power goes: what is in flight and what is not durable survives as chance decides.
pub(crate) fn cut_power(
    world: &mut World,
    sectors: Option<SectorBias>,
    names: Option<NameBias>,
) -> CrashReport {
    let rng = &mut world.rng.crash;
    let sectors = sectors.unwrap_or_else(|| *rng.pick(&SectorBias::EVERY));
    let names = names.unwrap_or_else(|| *rng.pick(&NameBias::EVERY));
    let mut in_flight = 0;
    for op in world.take_in_flight() {
        match op {
            Op::Write { file, at, bytes, taint, progress } if taint != Taint::Drops => {
                in_flight += 1;
                let (at, bytes) = (at + to_u64(progress.done), &bytes[progress.done..]);
                world.disk.land(file, &Landing { at, bytes, live: None, tainted: false });
            }
            Op::Punch { file, at, len, taint } if taint != Taint::Drops => {
                in_flight += 1;
                let range = at..at.saturating_add(len);
                let tainted = taint != Taint::Clean;
                world.disk.punch(file, &Arrival { range, live: None, tainted });
            }
            op if is_name_op(&op) && world.rng.crash.coin() => happen(world, op),
            _ => {}
        }
    }
    let (mut report, digest) = world.disk.cut_power(&mut world.rng.crash, sectors, names);
    report.in_flight = in_flight;
    world.note(EventKind::Sectors, &[sectors.word(), names.word(), digest], || {
        format!("power cut: sectors {sectors:?}, names {names:?}")
    });
    report
}

/// The process dies: the cache survives, what is in flight arrives wholly, partly, or not.
pub(crate) fn kill_process(world: &mut World) -> CrashReport {
    let (mut report, mut evictions) = (CrashReport::new(), Vec::new());
    for op in world.take_in_flight() {
        match op {
            Op::Write { taint: Taint::Drops, .. } | Op::Punch { taint: Taint::Drops, .. } => {}
            Op::Write { file, at, bytes, taint, progress } => {
                let (at, bytes) = (at + to_u64(progress.done), &bytes[progress.done..]);
                let range = at..at + to_u64(bytes.len());
                let live = Some(fate_at_kill(world, &mut report, file, &range));
                let tainted = taint != Taint::Clean;
                world.disk.land(file, &Landing { at, bytes, live, tainted });
            }
            Op::Punch { file, at, len, taint } => {
                let range = at..at.saturating_add(len);
                let live = Some(fate_at_kill(world, &mut report, file, &range));
                world.disk.punch(file, &Arrival { range, live, tainted: taint != Taint::Clean });
            }
            // The cache is kept, and so is what is to happen to it.
            Op::Evict { file } => evictions.push(file),
            op if op.is_effect() && world.rng.crash.coin() => happen(world, op),
            _ => {}
        }
    }
    for file in evictions {
        stays_for_a_while(world, file);
    }
    world.disk.sweep();
    report
}

/// Which sectors land of a write that is in flight when the process dies.
fn fate_at_kill(
    world: &mut World,
    report: &mut CrashReport,
    file: FileId,
    range: &Range<u64>,
) -> Vec<bool> {
    let sectors = sectors_of(world, range);
    let live = some_sectors(&mut world.rng.crash, sectors);
    report.in_flight += 1;
    report.count_sectors(&live);
    let fate = live.iter().fold(0, |fate: u64, &keep| fate.rotate_left(1) ^ u64::from(keep));
    let at = range.start;
    world.note(EventKind::Sectors, &[file, at, fate], || {
        format!("in flight at the kill: file {file} +{at:#x} lands as {live:?}")
    });
    live
}

const fn is_name_op(op: &Op) -> bool {
    matches!(
        op,
        Op::Create { .. }
            | Op::Rename { .. }
            | Op::Remove { .. }
            | Op::Preallocate { .. }
            | Op::Shrink { .. }
            | Op::Allocate { .. }
    )
}

/// An operation in flight at a crash took effect after all.
fn happen(world: &mut World, op: Op) {
    world
        .note(EventKind::Sectors, &op.words(), || format!("in flight at the crash, happens: {op}"));
    // It may meet a name that is gone or taken meanwhile: then it has no effect.
    match op {
        Op::Create { name } => drop(world.disk.create(&name)),
        Op::Rename { from, to } => drop(world.disk.rename(&from, &to)),
        Op::Remove { name } => drop(world.disk.remove(&name)),
        Op::Preallocate { file, len } => world.disk.preallocate(file, len),
        Op::Shrink { file, len } => world.disk.shrink(file, len),
        Op::Allocate { file, at, len } => {
            let range = at..at.saturating_add(len);
            world.disk.reserve(file, &Arrival { range, live: None, tainted: false });
        }
        Op::Sync { file, upto } => world.disk.sync(file, upto),
        Op::SyncFolder { upto } => world.disk.sync_folder(upto),
        Op::Timer
        | Op::Read { .. }
        | Op::Write { .. }
        | Op::Punch { .. }
        | Op::Evict { .. }
        | Op::RefusedPunch { .. }
        | Op::Len { .. }
        | Op::Open { .. }
        | Op::List => unreachable!("these have no effect that a crash could let happen"),
    }
}
