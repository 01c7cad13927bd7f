//! What goes wrong, and how often.
//!
//! 1. A call errs because of a fault that is drawn for it, or because of what an earlier fault left
//!    behind: a bad sector. With every rate at 0 nothing errs but a disk that is full by its
//!    capacity.
//! 2. What only takes long, or comes in pieces, errs never; see [`Faults::may_err`].
//! 3. Switched off, a fault stops at once: bad sectors can be read, what hung goes on. Only what a
//!    failed sync did to the data cannot be taken back, be it that the data is still to go.
//!
//! 4. Silent faults break the contract. What they did to the disk is known: beside the disk that is
//!    there, [`RawDisk::meant`](crate::RawDisk::meant) gives the one that should be.
//!
//! Absent on purpose: decay of what lies there. That is done past the handles, to the medium:
//! [`RawDisk`](crate::RawDisk).

use std::ops::Range;
use std::time::Duration;

/// What a failed sync does to the data it should have made durable (contract, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FailedSync {
    /// The data stays readable and never becomes durable: after a power cut it is there or not,
    /// whatever later syncs said.
    Keeps,
    /// The data is gone at once: reads give what was durable before.
    Drops,
    /// The data stays readable until it is evicted from the cache, within seconds; from then on
    /// reads give what was durable before.
    Evicts,
    /// One of them, drawn at each failure.
    #[default]
    Either,
}

/// A time that comes again and again: the end of each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// How long a period is, counted from the beginning of the simulation.
    pub every: Duration,
    /// How much of its end is meant.
    pub lasts: Duration,
}

impl Spell {
    /// Whether this moment, counted from the beginning of the simulation, is in it.
    #[must_use]
    pub fn covers(&self, moment: Duration) -> bool {
        let Some(whole) = moment.as_nanos().checked_rem(self.every.as_nanos()) else {
            return false;
        };
        whole + self.lasts.as_nanos() >= self.every.as_nanos()
    }
}

/// A place that comes again and again in every file: the end of each stretch of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Bytes of a stretch, counted from the beginning of the file.
    pub every: u64,
    /// How many at its end are meant.
    pub last: u64,
    /// Writes that fail there, per million.
    pub rate: u32,
}

impl Stretch {
    /// Whether a write of this range lies in it.
    #[must_use]
    pub fn covers(&self, range: &Range<u64>) -> bool {
        let Some(at) = range.start.checked_rem(self.every) else { return false };
        at + self.last >= self.every && at + (range.end - range.start) <= self.every
    }
}

/// What goes wrong, and how often. Rates are per million operations.
///
/// ```
/// use logstor_io_sim::Faults;
/// let faults = Faults { write_error: 2_000, capacity: Some(1 << 20), ..Faults::none() };
/// assert_ne!(faults, Faults::none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Faults {
    /// Reads that fail once; the data is intact.
    pub read_error: u32,
    /// Reads that find some of their sectors bad. These fail every read until they are written
    /// again, over crashes as well, as long as this rate is not 0.
    pub latent_error: u32,
    /// Writes, punches, shrinks and reservations of room that fail; any part of them may be there
    /// (contract, 4).
    pub write_error: u32,
    /// Where writes fail more often than elsewhere: another rate holds there.
    pub write_error_at: Option<Stretch>,
    /// Syncs of a file that fail; the next one succeeds and proves nothing (contract, 3).
    pub sync_error: u32,
    /// What a failed sync does to the data.
    pub failed_sync: FailedSync,
    /// Creations, renames, removals and syncs of the folder that fail without any effect.
    pub name_error: u32,
    /// Openings of files that exist, and questions for the length of one, that fail.
    pub open_error: u32,
    /// Lists of the folder that fail.
    pub list_error: u32,
    /// Operations that may need room, if only for metadata, and are told that there is none:
    /// writes, punches, shrinks, reservations, creations, renames, removals, syncs.
    pub no_room: u32,
    /// While this lasts all of these are told so.
    pub no_room_spell: Option<Spell>,
    /// How many bytes all files together may hold, without the blocks that were punched and not
    /// written or reserved since; without it, as many as they like.
    pub capacity: Option<u64>,
    /// Operations that hang for 1 to 30 seconds, while others go on.
    pub stall: u32,
    /// Operations with which the whole device hangs for 1 to 30 seconds.
    pub device_stall: u32,
    /// Reads and writes that are done in several parts: one of them is done, time passes, the next
    /// one is; a crash or an error may come in between (contract, 8).
    pub in_parts: u32,
    /// Timers that are late by up to 10 seconds.
    pub late_timer: u32,
    /// Reads that give other bytes than those that lie there, and say nothing. No
    /// contract allows it: a store is to find out, and not to go on as if nothing were wrong.
    pub misread: u32,
    /// Writes that are reported as done, and later as durable, some sectors of which never arrive.
    /// No contract allows it, nor the next one.
    pub lost_write: u32,
    /// The same, and these sectors arrive elsewhere: 64 KiB off or more, or in another file.
    pub astray_write: u32,
    /// After so many lost writes and writes that went astray, counted over all boots, there are no
    /// more of them; without it there is no limit.
    pub silent_max: Option<u64>,
    /// Askings for the wall time before which it jumps, by up to 40 years in either direction.
    pub wall_jump: u32,
}

impl Faults {
    /// Nothing fails and the disk never fills.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            read_error: 0,
            latent_error: 0,
            write_error: 0,
            write_error_at: None,
            sync_error: 0,
            failed_sync: FailedSync::Either,
            name_error: 0,
            open_error: 0,
            list_error: 0,
            no_room: 0,
            no_room_spell: None,
            capacity: None,
            stall: 0,
            device_stall: 0,
            in_parts: 0,
            late_timer: 0,
            misread: 0,
            lost_write: 0,
            astray_write: 0,
            silent_max: None,
            wall_jump: 0,
        }
    }

    /// Whether any call may err because of it; otherwise it only takes long, or comes in parts.
    #[must_use]
    pub const fn may_err(&self) -> bool {
        let rates = [
            self.read_error,
            self.latent_error,
            self.write_error,
            self.sync_error,
            self.name_error,
            self.open_error,
            self.list_error,
            self.no_room,
        ];
        let mut at = 0;
        while at < rates.len() {
            if rates[at] > 0 {
                return true;
            }
            at += 1;
        }
        self.no_room_spell.is_some() || self.capacity.is_some() || self.write_error_at.is_some()
    }

    /// How many writes of this range fail, per million.
    pub(crate) fn write_error_in(&self, range: &Range<u64>) -> u32 {
        let there = self.write_error_at.filter(|stretch| stretch.covers(range));
        there.map_or(self.write_error, |stretch| stretch.rate)
    }

    /// Whether anything may be held up for longer than the latencies say.
    pub(crate) const fn holds_up(&self) -> bool {
        self.stall > 0 || self.device_stall > 0 || self.late_timer > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_is_the_end_of_each_period() {
        let seconds = Duration::from_secs;
        let spell = Spell { every: seconds(10), lasts: seconds(3) };
        let covered: Vec<u64> = (0..22).filter(|&at| spell.covers(seconds(at))).collect();
        assert_eq!(covered, [7, 8, 9, 17, 18, 19]);
        let never = Spell { every: Duration::ZERO, lasts: seconds(1) };
        assert!(!never.covers(seconds(5)));
    }

    #[test]
    fn a_stretch_is_met_by_what_lies_at_its_end() {
        let seals = Stretch { every: 100, last: 10, rate: 1 };
        assert!(seals.covers(&(90..100)) && seals.covers(&(395..397)));
        assert!(!seals.covers(&(80..100)) && !seals.covers(&(0..10)) && !seals.covers(&(90..110)));
        assert!(!Stretch { every: 0, ..seals }.covers(&(0..10)));
    }

    #[test]
    fn what_takes_long_may_not_err() {
        let slow =
            Faults { stall: 1, device_stall: 1, in_parts: 1, late_timer: 1, ..Faults::none() };
        assert!(!slow.may_err() && !Faults::none().may_err());
        assert!(Faults { list_error: 1, ..slow }.may_err());
        assert!(Faults { capacity: Some(1), ..slow }.may_err());
    }
}
