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
//! 8. An operation in several parts does one at a time, and each part is as an operation of its
//!    own: it may fail, and then the parts before it are done.
//! 9. A bad sector fails every read until it is written again, or its file ends before it.
//!
//! What fails, and with which error, is in `refuse`; what a read may give instead of what lies
//! there, in `misread`; what a write may do instead of what it says, in `silent`; what a crash
//! does, in `crash`.

mod crash;
mod misread;
mod refuse;
mod silent;

use std::io;
use std::ops::Range;
use std::time::Duration;

use logstor_core::types::{to_u64, to_usize};

pub(crate) use self::crash::{cut_power, kill_process};
use self::refuse::{
    Name, Trouble, error_word, has_room, list_fault, make_room, name_fault, no_room, open_fault,
    read_fault, trouble,
};
use crate::disk::{Arrival, FileId, Landing};
use crate::faults::FailedSync;
use crate::op::{Answer, Op, Progress, Taint};
use crate::rng::SimRng;
use crate::trace::EventKind;
use crate::world::{Ticket, World};

/// What came of an operation that was due.
pub(crate) enum Came {
    /// It is over.
    Answer(io::Result<Answer>),
    /// A part of it is done, and this is the rest.
    Part(Op),
}

/// An operation arrives at the device.
pub(crate) fn begin(world: &mut World, op: &mut Op) {
    if let Op::Punch { file, at, len, .. } = op
        && !world.punches
    {
        *op = Op::RefusedPunch { file: *file, at: *at, len: *len };
    }
    let counters = &mut world.counters;
    match op {
        Op::Write { bytes, progress, .. } => {
            counters.writes += 1;
            counters.written_bytes += to_u64(bytes.len());
            let len = bytes.len();
            *progress = plan_parts(world, len);
        }
        Op::Sync { upto, .. } => {
            counters.syncs += 1;
            *upto = world.disk.latest();
        }
        Op::SyncFolder { upto } => {
            counters.folder_syncs += 1;
            *upto = world.disk.latest();
        }
        Op::Read { file, at, into, early, progress } => {
            counters.reads += 1;
            counters.read_bytes += to_u64(into.len());
            *progress = plan_parts(world, into.len());
            if *progress == Progress::NONE && world.rng.device.coin() {
                *early = Some(sample(world, *file, *at, into));
            }
        }
        Op::Punch { .. } | Op::RefusedPunch { .. } => counters.punches += 1,
        Op::Timer | Op::Evict { .. } => {}
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

/// In how many parts something of `len` bytes is done.
fn plan_parts(world: &mut World, len: usize) -> Progress {
    let several =
        len > to_usize(world.disk.sector()) && world.rng.device.per_million(world.faults.in_parts);
    if !several {
        return Progress::NONE;
    }
    world.counters.in_parts += 1;
    Progress { done: 0, parts: world.rng.device.between(2, 4) }
}

/// The end of the part that is due now, of something of `len` bytes.
fn end_of_part(world: &mut World, progress: Progress, len: usize) -> usize {
    let sector = to_usize(world.disk.sector());
    let sectors = (len - progress.done) / sector;
    if progress.parts < 2 || sectors < 2 {
        return len;
    }
    progress.done + (1 + world.rng.device.index(sectors - 1)) * sector
}

/// An operation is due: it takes effect, or fails, or a part of it does.
pub(crate) fn complete(world: &mut World, ticket: Ticket, op: Op) -> Came {
    // A timer's line would say nothing that the poll after it does not.
    if matches!(op, Op::Timer) {
        return Came::Answer(Ok(Answer::Unit));
    }
    let answer = match perform(world, op) {
        Came::Answer(answer) => answer,
        Came::Part(rest) => {
            world.note(EventKind::Part, &[ticket], || format!("#{ticket} a part of it is done"));
            return Came::Part(rest);
        }
    };
    let digest = answer.as_ref().map_or_else(error_word, Answer::word);
    let failed = u64::from(answer.is_err());
    world.note(EventKind::Complete, &[ticket, failed, digest], || match &answer {
        Ok(_) => format!("#{ticket} done"),
        Err(error) => format!("#{ticket} failed: {error}"),
    });
    Came::Answer(answer)
}

fn perform(world: &mut World, op: Op) -> Came {
    let whole = match op {
        Op::Write { file, at, bytes, taint, progress } => {
            let end = end_of_part(world, progress, bytes.len());
            let start = at.saturating_add(to_u64(progress.done));
            let written = write(world, file, start, &bytes[progress.done..end], taint);
            if written.is_ok() && end < bytes.len() {
                let progress = Progress { done: end, parts: progress.parts - 1 };
                return Came::Part(Op::Write { file, at, bytes, taint, progress });
            }
            written.map(|()| Answer::Unit)
        }
        Op::Read { file, at, mut into, early, progress } => {
            let end = end_of_part(world, progress, into.len());
            let start = at.saturating_add(to_u64(progress.done));
            let read = read(world, file, start, &mut into[progress.done..end], early);
            if read.is_ok() && end < into.len() {
                let progress = Progress { done: end, parts: progress.parts - 1 };
                return Came::Part(Op::Read { file, at, into, early: None, progress });
            }
            read.map(|()| Answer::Buf(into))
        }
        op => at_once(world, op),
    };
    Came::Answer(whole)
}

/// What is always done in one part.
fn at_once(world: &mut World, op: Op) -> io::Result<Answer> {
    match op {
        Op::Timer => Ok(Answer::Unit),
        Op::Evict { file } => {
            evict(world, file);
            Ok(Answer::Unit)
        }
        Op::Sync { file, upto } => sync(world, file, upto).map(|()| Answer::Unit),
        Op::Len { file } => {
            open_fault(world, "len")?;
            Ok(Answer::Len(world.disk.file(file).len()))
        }
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
            open_fault(world, "open")?;
            world.disk.open(&name).map(Answer::File)
        }
        Op::Create { name } => {
            name_fault(world, Name::Create)?;
            let full = world.faults.capacity.is_some_and(|limit| world.disk.used() >= limit);
            if full && world.disk.open(&name).is_err() {
                return Err(no_room(world));
            }
            world.disk.create(&name).map(Answer::File)
        }
        Op::List => {
            list_fault(world)?;
            Ok(Answer::Entries(world.disk.list()))
        }
        Op::Rename { from, to } => {
            name_fault(world, Name::Rename)?;
            world.disk.rename(&from, &to).map(|()| Answer::Unit)
        }
        Op::Remove { name } => {
            name_fault(world, Name::Remove)?;
            world.disk.remove(&name).map(|()| Answer::Unit)
        }
        Op::SyncFolder { upto } => {
            name_fault(world, Name::SyncFolder)?;
            world.disk.sync_folder(upto);
            Ok(Answer::Unit)
        }
        Op::Read { .. } | Op::Write { .. } => unreachable!("these may come in parts"),
    }
}

fn read(
    world: &mut World,
    file: FileId,
    at: u64,
    into: &mut [u8],
    early: Option<io::Result<()>>,
) -> io::Result<()> {
    read_fault(world, file, &(at..at.saturating_add(to_u64(into.len()))))?;
    match early {
        Some(outcome) => outcome?,
        None => sample(world, file, at, into)?,
    }
    misread::misread(world, file, at, into);
    Ok(())
}

/// Takes the bytes as the device has them now: the cache, and some of what is in flight.
fn sample(world: &mut World, file: FileId, at: u64, into: &mut [u8]) -> io::Result<()> {
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

fn write(world: &mut World, file: FileId, at: u64, bytes: &[u8], taint: Taint) -> io::Result<()> {
    let range = at..at.saturating_add(to_u64(bytes.len()));
    if !has_room(world, file, &range) {
        write_what_fits(world, file, &range, bytes, taint);
        return Err(no_room(world));
    }
    if world.disk.file(file).holes().touched(&range) > 0 && bytes.iter().any(|byte| *byte != 0) {
        world.counters.writes_into_holes += 1;
    }
    let sectors = bytes.len() / to_usize(world.disk.sector());
    let rate = world.faults.write_error_in(&range);
    if let Some(trouble) = trouble(world, rate) {
        let there = world.faults.write_error_at.is_some_and(|stretch| stretch.covers(&range));
        world.counters.failed_there += u64::from(there);
        let live = some_sectors(&mut world.rng.faults, sectors);
        world.counters.torn_writes += u64::from(is_torn(&live));
        let tainted = taint != Taint::Clean || world.rng.faults.coin();
        world.disk.land(file, &Landing { at, bytes, live: Some(live), tainted });
        return Err(trouble.of_a_write(world, "write"));
    }
    if taint == Taint::Clean && silent::goes_wrong(world, file, at, bytes) {
        return Ok(());
    }
    let live = (taint == Taint::Drops).then(|| vec![false; sectors]);
    let tainted = taint != Taint::Clean;
    world.disk.land(file, &Landing { at, bytes, live, tainted });
    Ok(())
}

fn sync(world: &mut World, file: FileId, upto: u64) -> io::Result<()> {
    let rate = world.faults.sync_error;
    let Some(trouble) = trouble(world, rate) else {
        world.disk.sync(file, upto);
        return Ok(());
    };
    let ways = [FailedSync::Keeps, FailedSync::Drops, FailedSync::Evicts];
    let way = match world.faults.failed_sync {
        FailedSync::Either => *world.rng.faults.pick(&ways),
        way => way,
    };
    let drops = way == FailedSync::Drops;
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
    if way == FailedSync::Evicts {
        stays_for_a_while(world, file);
    }
    let counts = &mut world.counters.faults;
    let (count, what) = match way {
        FailedSync::Drops => (&mut counts.syncs_dropped, "sync, data dropped"),
        FailedSync::Evicts => (&mut counts.syncs_evicted, "sync, data kept for a while"),
        FailedSync::Keeps | FailedSync::Either => (&mut counts.syncs_kept, "sync, data kept"),
    };
    if trouble == Trouble::NoRoom {
        counts.no_room_syncs += 1;
    } else {
        *count += 1;
    }
    Err(trouble.error(world, what))
}

/// What a failed sync left readable is evicted before long.
fn stays_for_a_while(world: &mut World, file: FileId) {
    let most = *world.rng.faults.pick(&[1, 100, 10_000]);
    let millis = world.rng.faults.between(0, most);
    world.happens_later(Op::Evict { file }, Duration::from_millis(millis));
}

/// All of it goes from the cache, or any of the writes.
fn evict(world: &mut World, file: FileId) {
    world.counters.evictions += 1;
    let all = world.rng.faults.coin();
    let rng = &mut world.rng.faults;
    world.disk.evict(file, || all || rng.coin());
}

fn preallocate(world: &mut World, file: FileId, len: u64) -> io::Result<()> {
    make_room(world, file, &(0..len))?;
    let rate = world.faults.write_error;
    let trouble = trouble(world, rate);
    if trouble.is_none() || world.rng.faults.coin() {
        world.disk.preallocate(file, len);
    }
    trouble.map_or(Ok(()), |trouble| Err(trouble.of_a_write(world, "preallocate")))
}

fn punch(world: &mut World, file: FileId, at: u64, len: u64, taint: Taint) -> io::Result<()> {
    let Some(range) = within(world, file, at, len)? else { return Ok(()) };
    let sectors = sectors_of(world, &range);
    let rate = world.faults.write_error;
    if let Some(trouble) = trouble(world, rate) {
        let live = Some(some_sectors(&mut world.rng.faults, sectors));
        let tainted = taint != Taint::Clean || world.rng.faults.coin();
        world.disk.punch(file, &Arrival { range, live, tainted });
        return Err(trouble.of_a_write(world, "punch"));
    }
    let live = (taint == Taint::Drops).then(|| vec![false; sectors]);
    world.disk.punch(file, &Arrival { range, live, tainted: taint != Taint::Clean });
    Ok(())
}

fn shrink(world: &mut World, file: FileId, len: u64) -> io::Result<()> {
    let rate = world.faults.write_error;
    let trouble = trouble(world, rate);
    if trouble.is_none() || world.rng.faults.coin() {
        world.disk.shrink(file, len);
    }
    trouble.map_or(Ok(()), |trouble| Err(trouble.of_a_write(world, "shrink")))
}

fn allocate(world: &mut World, file: FileId, at: u64, len: u64) -> io::Result<()> {
    let Some(range) = within(world, file, at, len)? else { return Ok(()) };
    make_room(world, file, &range)?;
    let rate = world.faults.write_error;
    if let Some(trouble) = trouble(world, rate) {
        let sectors = sectors_of(world, &range);
        let live = Some(some_sectors(&mut world.rng.faults, sectors));
        world.disk.reserve(file, &Arrival { range, live, tainted: true });
        return Err(trouble.of_a_write(world, "allocate"));
    }
    world.disk.reserve(file, &Arrival { range, live: None, tainted: false });
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

/// Some of what a refused write into a hole could write before the room ended.
fn write_what_fits(
    world: &mut World,
    file: FileId,
    range: &Range<u64>,
    bytes: &[u8],
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
    world.disk.land(file, &Landing { at: range.start, bytes, live: Some(live), tainted });
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
