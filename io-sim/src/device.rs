//! The device: what an operation does when it is issued, when it completes, and when the power
//! goes while it is in flight.
//!
//! 1. A write takes effect when it completes; until then a crash, or a read, may find any of its
//!    sectors. A punch is a write of zeros.
//! 2. Two writes in flight to one sector: the one that completes last stays.
//! 3. A read takes its bytes at its issue or at its completion; a sector with a write in flight is
//!    old or new, drawn for each sector and each read.
//! 4. A fault is drawn when the operation completes, so that faults switched off stop at once.
//! 5. A failed sync strikes every write that is not durable, those in flight included: such a
//!    write may already have been part of what could not be stored (contract, 3).
//! 6. A failed write leaves any of its sectors, and those may be lost again at a crash even after
//!    a sync (contract, 4).
//! 7. Room is asked for when an operation completes. A write that needs more than there is fails;
//!    into a hole, any of its sectors in front of the first block without room may be there. What a
//!    crash lets happen is not asked.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use logstor_core::io::IoBuf;
use logstor_core::types::{to_u64, to_usize};

use crate::disk::{Arrival, CrashReport, FileId, Landing, NameBias, SectorBias};
use crate::op::{Answer, Op, Taint};
use crate::options::FailedSync;
use crate::rng::SimRng;
use crate::trace::EventKind;
use crate::world::{Ticket, World};

/// An operation arrives at the device.
pub(crate) fn begin(world: &mut World, op: &mut Op) {
    if let Op::Punch { file, at, len, .. } = op
        && !world.punches
    {
        *op = Op::RefusedPunch { file: *file, at: *at, len: *len };
    }
    let counters = &mut world.counters;
    match op {
        Op::Write { bytes, .. } => {
            counters.writes += 1;
            counters.written_bytes += to_u64(bytes.len());
        }
        Op::Sync { upto, .. } => {
            counters.syncs += 1;
            *upto = world.disk.latest();
        }
        Op::SyncFolder { upto } => {
            counters.folder_syncs += 1;
            *upto = world.disk.latest();
        }
        Op::Read { file, at, into, early } => {
            counters.reads += 1;
            counters.read_bytes += to_u64(into.len());
            if world.rng.device.coin() {
                *early = Some(sample(world, *file, *at, into));
            }
        }
        Op::Punch { .. } | Op::RefusedPunch { .. } => counters.punches += 1,
        Op::Timer => {}
        Op::Len { .. }
        | Op::Preallocate { .. }
        | Op::Shrink { .. }
        | Op::Allocate { .. }
        | Op::Open { .. }
        | Op::Create { .. }
        | Op::List
        | Op::Rename { .. }
        | Op::Remove { .. } => counters.name_ops += 1,
    }
}

/// An operation completes: it takes effect, or fails.
pub(crate) fn complete(world: &mut World, ticket: Ticket, op: Op) -> io::Result<Answer> {
    // A timer's line would say nothing that the poll after it does not.
    if matches!(op, Op::Timer) {
        return Ok(Answer::Unit);
    }
    let answer = perform(world, op);
    let digest = answer.as_ref().map_or_else(error_word, Answer::word);
    let failed = u64::from(answer.is_err());
    world.note(EventKind::Complete, &[ticket, failed, digest], || match &answer {
        Ok(_) => format!("#{ticket} done"),
        Err(error) => format!("#{ticket} failed: {error}"),
    });
    answer
}

fn perform(world: &mut World, op: Op) -> io::Result<Answer> {
    match op {
        Op::Timer => Ok(Answer::Unit),
        Op::Read { file, at, into, early } => read(world, file, at, into, early),
        Op::Write { file, at, bytes, taint } => {
            write(world, file, at, &bytes, taint).map(|()| Answer::Unit)
        }
        Op::Sync { file, upto } => sync(world, file, upto).map(|()| Answer::Unit),
        Op::Len { file } => Ok(Answer::Len(world.disk.file(file).len())),
        Op::Preallocate { file, len } => preallocate(world, file, len).map(|()| Answer::Unit),
        Op::Punch { file, at, len, taint } => {
            punch(world, file, at, len, taint).map(|()| Answer::Unit)
        }
        Op::RefusedPunch { file, at, len } => match within(world, file, at, len)? {
            Some(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
            None => Ok(Answer::Unit),
        },
        Op::Shrink { file, len } => shrink(world, file, len).map(|()| Answer::Unit),
        Op::Allocate { file, at, len } => allocate(world, file, at, len).map(|()| Answer::Unit),
        Op::Open { name } => {
            name_fault(world)?;
            world.disk.open(&name).map(Answer::File)
        }
        Op::Create { name } => {
            name_fault(world)?;
            let full = world.faults.capacity.is_some_and(|limit| world.disk.used() >= limit);
            if full && world.disk.open(&name).is_err() {
                return Err(no_room(world));
            }
            world.disk.create(&name).map(Answer::File)
        }
        Op::List => {
            name_fault(world)?;
            Ok(Answer::Entries(world.disk.list()))
        }
        Op::Rename { from, to } => {
            name_fault(world)?;
            world.disk.rename(&from, &to).map(|()| Answer::Unit)
        }
        Op::Remove { name } => {
            name_fault(world)?;
            world.disk.remove(&name).map(|()| Answer::Unit)
        }
        Op::SyncFolder { upto } => {
            name_fault(world)?;
            world.disk.sync_folder(upto);
            Ok(Answer::Unit)
        }
    }
}

fn read(
    world: &mut World,
    file: FileId,
    at: u64,
    mut into: IoBuf,
    early: Option<io::Result<()>>,
) -> io::Result<Answer> {
    if world.rng.faults.per_million(world.faults.read_error) {
        world.counters.faults.reads += 1;
        return Err(fault(world, "read"));
    }
    match early {
        Some(outcome) => outcome?,
        None => sample(world, file, at, &mut into)?,
    }
    Ok(Answer::Buf(into))
}

/// Takes the bytes as the device has them now: the cache, and some of what is in flight.
fn sample(world: &mut World, file: FileId, at: u64, into: &mut IoBuf) -> io::Result<()> {
    world.disk.file(file).read(at, into)?;
    let size = world.disk.sector();
    let (rng, ops) = world.in_flight_mut();
    for op in ops {
        let Some((other, range)) = op.written() else { continue };
        let end = at + to_u64(into.len());
        let overlaps = other == file && range.start < end && at < range.end;
        if !overlaps {
            continue;
        }
        for (sector, piece) in (at / u64::from(size)..).zip(into.chunks_mut(to_usize(size))) {
            if let Some(new) = op.written_sector(file, sector, size)
                && rng.device.coin()
            {
                piece.copy_from_slice(new);
            }
        }
    }
    Ok(())
}

fn write(world: &mut World, file: FileId, at: u64, bytes: &IoBuf, taint: Taint) -> io::Result<()> {
    let range = at..at.saturating_add(to_u64(bytes.len()));
    if !has_room(world, file, &range) {
        write_what_fits(world, file, &range, bytes, taint);
        return Err(no_room(world));
    }
    let sectors = bytes.len() / to_usize(world.disk.sector());
    if world.rng.faults.per_million(world.faults.write_error) {
        world.counters.faults.writes += 1;
        let live = some_sectors(&mut world.rng.faults, sectors);
        world.counters.torn_writes += u64::from(is_torn(&live));
        let tainted = taint != Taint::Clean || world.rng.faults.coin();
        world.disk.land(file, Landing { at, bytes, live: Some(live), tainted });
        return Err(fault(world, "write"));
    }
    let live = (taint == Taint::Drops).then(|| vec![false; sectors]);
    let tainted = taint != Taint::Clean;
    world.disk.land(file, Landing { at, bytes, live, tainted });
    Ok(())
}

fn sync(world: &mut World, file: FileId, upto: u64) -> io::Result<()> {
    if !world.rng.faults.per_million(world.faults.sync_error) {
        world.disk.sync(file, upto);
        return Ok(());
    }
    let drops = match world.faults.failed_sync {
        FailedSync::Keeps => false,
        FailedSync::Drops => true,
        FailedSync::Either => world.rng.faults.coin(),
    };
    let counts = &mut world.counters.faults;
    *(if drops { &mut counts.syncs_dropped } else { &mut counts.syncs_kept }) += 1;
    world.disk.fail_sync(file, drops);
    let (rng, ops) = world.in_flight_mut();
    for op in ops {
        if let Op::Write { file: other, taint, .. } | Op::Punch { file: other, taint, .. } = op
            && *other == file
            && rng.faults.coin()
        {
            *taint = if drops { Taint::Drops } else { Taint::Keeps };
        }
    }
    Err(fault(world, if drops { "sync, data dropped" } else { "sync, data kept" }))
}

fn preallocate(world: &mut World, file: FileId, len: u64) -> io::Result<()> {
    make_room(world, file, &(0..len))?;
    let fails = world.rng.faults.per_million(world.faults.write_error);
    if !fails || world.rng.faults.coin() {
        world.disk.preallocate(file, len);
    }
    if fails {
        world.counters.faults.writes += 1;
        return Err(fault(world, "preallocate"));
    }
    Ok(())
}

fn punch(world: &mut World, file: FileId, at: u64, len: u64, taint: Taint) -> io::Result<()> {
    let Some(range) = within(world, file, at, len)? else { return Ok(()) };
    let sectors = sectors_of(world, &range);
    if world.rng.faults.per_million(world.faults.write_error) {
        world.counters.faults.writes += 1;
        let live = Some(some_sectors(&mut world.rng.faults, sectors));
        let tainted = taint != Taint::Clean || world.rng.faults.coin();
        world.disk.punch(file, Arrival { range, live, tainted });
        return Err(fault(world, "punch"));
    }
    let live = (taint == Taint::Drops).then(|| vec![false; sectors]);
    world.disk.punch(file, Arrival { range, live, tainted: taint != Taint::Clean });
    Ok(())
}

fn shrink(world: &mut World, file: FileId, len: u64) -> io::Result<()> {
    let fails = world.rng.faults.per_million(world.faults.write_error);
    if !fails || world.rng.faults.coin() {
        world.disk.shrink(file, len);
    }
    if fails {
        world.counters.faults.writes += 1;
        return Err(fault(world, "shrink"));
    }
    Ok(())
}

fn allocate(world: &mut World, file: FileId, at: u64, len: u64) -> io::Result<()> {
    let Some(range) = within(world, file, at, len)? else { return Ok(()) };
    make_room(world, file, &range)?;
    if world.rng.faults.per_million(world.faults.write_error) {
        world.counters.faults.writes += 1;
        let sectors = sectors_of(world, &range);
        let live = Some(some_sectors(&mut world.rng.faults, sectors));
        world.disk.reserve(file, Arrival { range, live, tainted: true });
        return Err(fault(world, "allocate"));
    }
    world.disk.reserve(file, Arrival { range, live: None, tainted: false });
    Ok(())
}

/// The range, if there is anything in it; an error if the file ends before it does.
fn within(world: &World, file: FileId, at: u64, len: u64) -> io::Result<Option<Range<u64>>> {
    let inside = |end: &u64| *end <= world.disk.file(file).len();
    match at.checked_add(len).filter(inside) {
        _ if len == 0 => Ok(None),
        Some(end) => Ok(Some(at..end)),
        None => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

fn sectors_of(world: &World, range: &Range<u64>) -> usize {
    let sectors = (range.end - range.start) / u64::from(world.disk.sector());
    usize::try_from(sectors).expect("a file fits memory")
}

/// Whether the disk has what it takes to write all of `range`.
fn has_room(world: &World, file: FileId, range: &Range<u64>) -> bool {
    let Some(capacity) = world.faults.capacity else { return true };
    let needs = world.disk.file(file).needs(range);
    needs == 0 || world.disk.used().saturating_add(needs) <= capacity
}

fn make_room(world: &mut World, file: FileId, range: &Range<u64>) -> io::Result<()> {
    if has_room(world, file, range) { Ok(()) } else { Err(no_room(world)) }
}

/// Some of what a refused write into a hole could write before the room ended.
fn write_what_fits(
    world: &mut World,
    file: FileId,
    range: &Range<u64>,
    bytes: &IoBuf,
    taint: Taint,
) {
    let body = world.disk.file(file);
    if range.end > body.len() || taint == Taint::Drops {
        return;
    }
    let left = world.faults.capacity.map_or(0, |all| all.saturating_sub(world.disk.used()));
    let reach = body.holes().reach(range, left);
    let fits = sectors_of(world, &(range.start..reach));
    let mut live = some_sectors(&mut world.rng.faults, fits);
    live.resize(sectors_of(world, range), false);
    world.counters.torn_writes += u64::from(is_torn(&live));
    let tainted = taint != Taint::Clean || world.rng.faults.coin();
    world.disk.land(file, Landing { at: range.start, bytes, live: Some(live), tainted });
}

fn no_room(world: &mut World) -> io::Error {
    world.counters.faults.full += 1;
    world.note(EventKind::Fault, &[1], || "fault: disk full".to_owned());
    io::Error::from(io::ErrorKind::StorageFull)
}

fn name_fault(world: &mut World) -> io::Result<()> {
    if world.rng.faults.per_million(world.faults.name_error) {
        world.counters.faults.names += 1;
        return Err(fault(world, "name"));
    }
    Ok(())
}

fn fault(world: &mut World, what: &str) -> io::Error {
    world.note(EventKind::Fault, &[2, to_u64(what.len())], || format!("fault: {what}"));
    io::Error::other(format!("injected: {what}"))
}

fn error_word(error: &io::Error) -> u64 {
    match error.kind() {
        io::ErrorKind::NotFound => 1,
        io::ErrorKind::AlreadyExists => 2,
        io::ErrorKind::UnexpectedEof => 3,
        io::ErrorKind::StorageFull => 4,
        io::ErrorKind::Unsupported => 6,
        io::ErrorKind::InvalidInput => 7,
        _ => 5,
    }
}

/// All, none, or any of the sectors.
fn some_sectors(rng: &mut SimRng, count: usize) -> Vec<bool> {
    match rng.below(4) {
        0 => vec![true; count],
        1 => vec![false; count],
        _ => (0..count).map(|_| rng.coin()).collect(),
    }
}

fn is_torn(live: &[bool]) -> bool {
    live.contains(&true) && live.contains(&false)
}

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
            Op::Write { file, at, bytes, taint } if taint != Taint::Drops => {
                in_flight += 1;
                land_whole(world, file, at, &bytes);
            }
            Op::Punch { file, at, len, taint } if taint != Taint::Drops => {
                in_flight += 1;
                let range = at..at.saturating_add(len);
                let tainted = taint != Taint::Clean;
                world.disk.punch(file, Arrival { range, live: None, tainted });
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
    let mut report = CrashReport::new();
    for op in world.take_in_flight() {
        match op {
            Op::Write { taint: Taint::Drops, .. } | Op::Punch { taint: Taint::Drops, .. } => {}
            Op::Write { file, at, bytes, taint } => {
                let range = at..at + to_u64(bytes.len());
                let live = Some(fate_at_kill(world, &mut report, file, &range));
                let tainted = taint != Taint::Clean;
                world.disk.land(file, Landing { at, bytes: &bytes, live, tainted });
            }
            Op::Punch { file, at, len, taint } => {
                let range = at..at.saturating_add(len);
                let live = Some(fate_at_kill(world, &mut report, file, &range));
                world.disk.punch(file, Arrival { range, live, tainted: taint != Taint::Clean });
            }
            op if op.is_effect() && world.rng.crash.coin() => happen(world, op),
            _ => {}
        }
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

fn land_whole(world: &mut World, file: FileId, at: u64, bytes: &Arc<IoBuf>) {
    world.disk.land(file, Landing { at, bytes, live: None, tainted: false });
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
            world.disk.reserve(file, Arrival { range, live: None, tainted: false });
        }
        Op::Sync { file, upto } => world.disk.sync(file, upto),
        Op::SyncFolder { upto } => world.disk.sync_folder(upto),
        Op::Timer
        | Op::Read { .. }
        | Op::Write { .. }
        | Op::Punch { .. }
        | Op::RefusedPunch { .. }
        | Op::Len { .. }
        | Op::Open { .. }
        | Op::List => unreachable!("these have no effect that a crash could let happen"),
    }
}
