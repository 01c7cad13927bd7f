//! Which calls fail, and with which error.
//!
//! 1. A call fails because the disk is full by its capacity, because it is told so though it is
//!    not, or by a fault of its own kind; in this order, and each is counted by itself.
//! 2. A kind with a rate of 0 draws nothing: switching one kind off leaves the draws of the others
//!    as they are.
//!
//! Absent on purpose: what a failed call leaves behind; that is for each of them to say.

use std::io;
use std::ops::Range;
use std::time::Duration;

use logstor_core::types::to_u64;

use crate::disk::FileId;
use crate::trace::EventKind;
use crate::world::World;

/// Why something that stores data fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The device says that it failed.
    Fault,
    /// The file system says that there is no room, though there is.
    NoRoom,
}

impl Trouble {
    /// The error of a write, a punch, a shrink or a reservation.
    pub(super) fn of_a_write(self, world: &mut World, what: &str) -> io::Error {
        let counts = &mut world.counters.faults;
        match self {
            Self::Fault => counts.writes += 1,
            Self::NoRoom => counts.no_room_writes += 1,
        }
        self.error(world, what)
    }

    /// The error, which is counted elsewhere.
    pub(super) fn error(self, world: &mut World, what: &str) -> io::Error {
        match self {
            Self::Fault => fault(world, what),
            Self::NoRoom => told_full(world, what),
        }
    }
}

/// Whether something that stores data, or the room for it, fails; `rate`: that of its own kind.
pub(super) fn trouble(world: &mut World, rate: u32) -> Option<Trouble> {
    if refuses_room(world) {
        return Some(Trouble::NoRoom);
    }
    world.rng.faults.per_million(rate).then_some(Trouble::Fault)
}

/// Whether a call is told that there is no room, though there is.
fn refuses_room(world: &mut World) -> bool {
    let now = Duration::from_nanos(world.now);
    if world.faults.no_room_spell.is_some_and(|spell| spell.covers(now)) {
        world.counters.in_spells += 1;
        return true;
    }
    world.rng.faults.per_million(world.faults.no_room)
}

/// A read may fail once, or because of a sector that went bad.
pub(super) fn read_fault(world: &mut World, file: FileId, range: &Range<u64>) -> io::Result<()> {
    let latent = world.faults.latent_error;
    if latent > 0 && world.disk.is_bad(file, range) {
        world.counters.faults.latent_reads += 1;
        return Err(fault(world, "read, bad sector"));
    }
    if world.rng.faults.per_million(latent) && spoil(world, file, range) {
        world.counters.faults.latent_reads += 1;
        return Err(fault(world, "read, a sector went bad"));
    }
    if world.rng.faults.per_million(world.faults.read_error) {
        world.counters.faults.reads += 1;
        return Err(fault(world, "read"));
    }
    Ok(())
}

/// One sector or some that follow each other go bad, within the range and the file.
fn spoil(world: &mut World, file: FileId, range: &Range<u64>) -> bool {
    let size = u64::from(world.disk.sector());
    let end = range.end.min(world.disk.file(file).len());
    if end <= range.start {
        return false;
    }
    let (first, end) = (range.start / size, end.div_ceil(size));
    let from = world.rng.faults.between(first, end - 1);
    let most = *world.rng.faults.pick(&[1, 1, 8]);
    let mut any = false;
    for sector in from..end.min(from + most) {
        let spoiled = world.disk.spoil(file, sector);
        world.counters.bad_sectors += u64::from(spoiled);
        any |= spoiled;
    }
    any
}

/// Whether the disk has what it takes to write all of `range`.
pub(super) fn has_room(world: &World, file: FileId, range: &Range<u64>) -> bool {
    let Some(capacity) = world.faults.capacity else { return true };
    let needs = world.disk.file(file).needs(range);
    needs == 0 || world.disk.used().saturating_add(needs) <= capacity
}

pub(super) fn make_room(world: &mut World, file: FileId, range: &Range<u64>) -> io::Result<()> {
    if has_room(world, file, range) { Ok(()) } else { Err(no_room(world)) }
}

pub(super) fn no_room(world: &mut World) -> io::Error {
    world.counters.faults.full += 1;
    world.note(EventKind::Fault, &[1], || "fault: disk full".to_owned());
    io::Error::from(io::ErrorKind::StorageFull)
}

/// What is done to a name and may fail, or to all of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    Create,
    Rename,
    Remove,
    SyncFolder,
}

pub(super) fn name_fault(world: &mut World, name: Name) -> io::Result<()> {
    let rate = world.faults.name_error;
    let Some(trouble) = trouble(world, rate) else { return Ok(()) };
    let counts = &mut world.counters.faults;
    let (count, what) = match name {
        Name::Create => (&mut counts.creates, "create"),
        Name::Rename => (&mut counts.renames, "rename"),
        Name::Remove => (&mut counts.removes, "remove"),
        Name::SyncFolder => (&mut counts.folder_syncs, "sync folder"),
    };
    match trouble {
        Trouble::Fault => *count += 1,
        Trouble::NoRoom => counts.no_room_names += 1,
    }
    Err(trouble.error(world, what))
}

/// Opening a file that exists, and asking for its length.
pub(super) fn open_fault(world: &mut World, what: &str) -> io::Result<()> {
    if world.rng.faults.per_million(world.faults.open_error) {
        world.counters.faults.opens += 1;
        return Err(fault(world, what));
    }
    Ok(())
}

pub(super) fn list_fault(world: &mut World) -> io::Result<()> {
    if world.rng.faults.per_million(world.faults.list_error) {
        world.counters.faults.lists += 1;
        return Err(fault(world, "list"));
    }
    Ok(())
}

pub(super) fn fault(world: &mut World, what: &str) -> io::Error {
    world.note(EventKind::Fault, &[2, to_u64(what.len())], || format!("fault: {what}"));
    io::Error::other(format!("injected: {what}"))
}

fn told_full(world: &mut World, what: &str) -> io::Error {
    world.note(EventKind::Fault, &[4, to_u64(what.len())], || {
        format!("fault: no room, says {what}")
    });
    io::Error::new(io::ErrorKind::StorageFull, format!("injected: no room, says {what}"))
}

/// The kind of an error as a number, for the hash of the trace.
pub(super) fn error_word(error: &io::Error) -> u64 {
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
