//! What a power cut would leave, looked at whenever the engine is about to destroy something.
//!
//! The engine announces each set of segments that it is about to erase. At that moment the
//! *durable image* is taken: every byte as it would be after a power cut that loses all that is
//! not synced. Then it is asked whether a later recovery could tell the difference.
//!
//! ```text
//!   announced ─┐
//!   erased, ───┼──> doubtful segments: any of them may be gone after a crash, in any combination
//!   not synced ┘
//!                   durable image ──> what recovery makes of it, with and without them
//! ```
//!
//! Definitions. A segment is *doubtful* if its erasing was announced in this opening, or if a
//! reader would not find the head block that is durable. A buffer *counts* if recovery would take
//! it: it is whole, and either the durable seal of its segment's life lists it, or its segment has
//! no seal and every buffer in front of it is whole; and a buffer of the log only below the *end
//! of the log*: the first number, from the highest watermark on, that no whole buffer carries. So
//! a void or erased head hides its segment, a void buffer hides what is behind it, and what a seal
//! leaves out (the buffers of a write that failed) is not there. A *record* is one of a buffer
//! that counts. A put is *visible* if it is the newest record of its key, its group exists, and it
//! is not older than the group's truncation.
//!
//! 1. Without the doubtful segments the log must not end before a buffer of it that remains:
//!    otherwise that buffer would be made void.
//! 2. A visible put must lie, under the same sequence, in a segment that is not doubtful.
//! 3. A put that is not visible must stay so whichever of the doubtful segments are gone. For a put
//!    in segment `s` the worst is that all of them are but `s` (and the one with the record that
//!    its group exists): something that hides it must remain.
//! 4. A torn buffer that recovery passes over because its number is whole elsewhere must not lose
//!    that other copy: below a watermark it would look like damage.
//!
//! 5. A visible put of a large value must have all of its pieces, whole, in segments that are not
//!    doubtful. That holds of every key: pieces have no records that would name one.
//!
//! The catalogue follows the same laws, record by record: that a group exists, and the next id, are
//! puts that must stay; a truncation may go as soon as it hides nothing.
//!
//! Only keys with a record in a doubtful segment can change, and those of a group whose truncation
//! lies there, so but for law 5 only these are looked at. Parsed segments are kept until a byte of
//! their file changes.
//!
//! Absent on purpose: the engine's own idea of what is live. This reads the disk and nothing else.

mod disk;
mod segment;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logstor_core::types::SegmentId;
use logstor_core::{AcceptedWrite, Observer};
use logstor_io_sim::Handle;

use self::disk::Disk;
use self::segment::{Catalogue, Found, Slot};
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::tally::Tally;

/// Parsed segments, kept from one look to the next, over all openings of a run.
pub type Cache = Arc<Mutex<Disk>>;

/// The observer of one opening: feeds the ledger, and looks at the disk before anything is erased.
#[derive(Debug)]
pub struct Watch {
    /// The facts.
    pub ledger: Ledger,
    /// The simulation.
    pub sim: Handle,
    /// The plan, whose keys are named in messages.
    pub plan: Arc<Plan>,
    /// What was done.
    pub tally: Arc<Mutex<Tally>>,
    /// What is known of the disk.
    pub cache: Cache,
    /// Segments announced in this opening, with the generation that they had on disk.
    pub announced: Mutex<BTreeMap<usize, u64>>,
    /// Whether the disk is looked at at all.
    pub looks: bool,
}

impl Observer for Watch {
    fn accepted(&self, write: AcceptedWrite<'_>) {
        self.ledger.lock().accepted(&write);
    }

    fn erasing(&self, segments: &[SegmentId]) {
        if self.looks
            && let Err(what) = self.look(segments)
        {
            self.ledger.fail(format!("erasing {segments:?}: {what}"));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    fn look(&self, segments: &[SegmentId]) -> Result<(), String> {
        let mut disk = lock(&self.cache);
        let raw = self.sim.raw();
        disk.look(&raw.durable())?;
        let mut announced = lock(&self.announced);
        announced.retain(|&id, generation| disk.generation(id) == Some(*generation));
        for segment in segments {
            let id = usize::try_from(segment.get()).expect("segments of a simulation are few");
            if let Some(generation) = disk.generation(id) {
                announced.insert(id, generation);
            }
        }
        let mut doubtful: BTreeSet<usize> = announced.keys().copied().collect();
        doubtful.extend(disk.unlike_what_is_read(&raw));
        let view = View::new(&disk, &doubtful);
        let looked_at = view.check().map_err(|what| self.explain(&disk, &what))?;
        let mut tally = lock(&self.tally);
        tally.add("image/segments erased", u64::try_from(segments.len()).unwrap_or(u64::MAX));
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        if disk.published_rose() {
            tally.one("image/mark published before");
        }
        tally.add("image/keys checked", count(looked_at.keys));
        tally.add("image/pieces checked", count(looked_at.pieces));
        Ok(())
    }

    /// Says which keys the hashes in a message are of.
    fn explain(&self, disk: &Disk, what: &str) -> String {
        let named = self.plan.keys.iter().zip(0_usize..).filter_map(|(key, number)| {
            let hash = disk.hash_of(key)?;
            let hash = format!("{hash:032x}");
            what.contains(&hash).then(|| format!("\n    {hash} is key {number}"))
        });
        format!("{what}{}", named.collect::<String>())
    }
}

/// A record, and the segment that it lies in.
type Placed = (usize, Found);

/// What a check found to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LookedAt {
    keys: usize,
    pieces: usize,
}

/// The disk, and which of its segments may be gone.
struct View<'a> {
    disk: &'a Disk,
    doubtful: &'a BTreeSet<usize>,
    /// The end of the log with all segments.
    end: u64,
}

impl<'a> View<'a> {
    fn new(disk: &'a Disk, doubtful: &'a BTreeSet<usize>) -> Self {
        Self { disk, doubtful, end: disk.end_of_log(|_| true) }
    }

    fn stays(&self, segment: usize) -> bool {
        !self.doubtful.contains(&segment)
    }

    /// Checks all laws; says how much there was to look at.
    fn check(&self) -> Result<LookedAt, String> {
        self.check_end()?;
        self.check_torn()?;
        let slots = self.concerned();
        for &slot in &slots {
            self.check_key(slot)?;
        }
        let mut pieces = 0;
        for slot in self.disk.large_slots() {
            pieces += self.check_pieces(slot)?;
        }
        Ok(LookedAt { keys: slots.len(), pieces })
    }

    /// Law 1.
    fn check_end(&self) -> Result<(), String> {
        let end = self.disk.end_of_log(|id| self.stays(id));
        for (id, segment) in self.disk.segments().filter(|(id, _)| self.stays(*id)) {
            let lost = segment.logs.iter().find(|&&number| end <= number && number < self.end);
            if let Some(number) = lost {
                return Err(format!(
                    "the log would end at buffer {end} instead of {}, and buffer {number} in \
                     segment {id} would be void",
                    self.end
                ));
            }
        }
        Ok(())
    }

    /// Law 4.
    fn check_torn(&self) -> Result<(), String> {
        let watermark = self.disk.watermark(|id| self.stays(id));
        for (id, segment) in self.disk.segments().filter(|(id, _)| self.stays(*id)) {
            let Some(torn) = segment.torn.filter(|&torn| torn < watermark) else { continue };
            let whole = |stays: &dyn Fn(usize) -> bool| {
                let mut segments = self.disk.segments().filter(|(id, _)| stays(*id));
                segments.any(|(_, segment)| segment.logs.contains(&torn))
            };
            if whole(&|_| true) && !whole(&|id| self.stays(id)) {
                return Err(format!(
                    "torn buffer {torn} in segment {id} would look like damage: its other copy goes"
                ));
            }
        }
        Ok(())
    }

    /// The keys that could change.
    fn concerned(&self) -> BTreeSet<Slot> {
        let mut slots = BTreeSet::new();
        let mut truncated = BTreeSet::new();
        for (_, segment) in self.disk.segments().filter(|(id, _)| self.doubtful.contains(id)) {
            slots.extend(segment.records.iter().map(|found| found.slot));
            truncated.extend(segment.catalogue.values().filter_map(|what| match what {
                Catalogue::Truncation(group) => Some(*group),
                _ => None,
            }));
        }
        for group in truncated {
            for (_, segment) in self.disk.segments() {
                slots.extend(segment.of_group(group).map(|found| found.slot));
            }
        }
        slots
    }

    /// Every record of a key, the newest first.
    fn records(&self, slot: Slot) -> Vec<Placed> {
        let all = self.disk.segments().flat_map(|(id, segment)| {
            segment.of_key(slot).filter(|found| found.counts(self.end)).map(move |f| (id, *f))
        });
        let mut all: Vec<Placed> = all.collect();
        all.sort_by_key(|(id, found)| (std::cmp::Reverse(found.sequence), *id));
        all
    }

    fn check_key(&self, slot: Slot) -> Result<(), String> {
        let records = self.records(slot);
        let Some(&(_, newest)) = records.first() else { return Ok(()) };
        let catalogue = self.disk.catalogue(slot);
        if let Some(Catalogue::Truncation(_)) = catalogue {
            return Ok(()); // by itself it shows nothing; what it hides is looked at key by key
        }
        let visible = match catalogue {
            Some(_) => newest.put,
            None => self.is_visible(slot.0, newest),
        };
        if visible {
            return self.check_visible(slot, &records);
        }
        for &(at, put) in records.iter().filter(|(_, found)| found.put) {
            self.check_hidden(slot, (at, put), &records)?;
        }
        Ok(())
    }

    /// Whether the newest record of a key shows a value.
    fn is_visible(&self, group: u32, newest: Found) -> bool {
        newest.put && self.exists(group, |_| true) && !self.is_cut(group, newest)
    }

    /// Law 5.
    fn check_pieces(&self, slot: Slot) -> Result<usize, String> {
        let records = self.records(slot);
        let newest = records.first().map(|newest| newest.1);
        let Some(newest) = newest.filter(|&newest| self.is_visible(slot.0, newest)) else {
            return Ok(0);
        };
        let Some(list) = self.disk.list_of(slot, newest.sequence) else { return Ok(0) };
        let bad = self.disk.pieces(list, slot.0).find(|&(id, whole)| !whole || !self.stays(id));
        let Some((id, whole)) = bad else { return Ok(list.entries().len()) };
        let what = if whole { "goes" } else { "is not there" };
        let (told, list) = (told(slot), list_records(&records));
        Err(format!("a piece of {told} in segment {id} {what}{list}"))
    }

    /// Law 2.
    fn check_visible(&self, slot: Slot, records: &[Placed]) -> Result<(), String> {
        let newest = records[0].1.sequence;
        let mut copies = records.iter().filter(|(_, found)| found.sequence == newest);
        if copies.any(|&(id, _)| self.stays(id)) {
            return Ok(());
        }
        Err(format!("the newest put of {} lives nowhere else{}", told(slot), list_records(records)))
    }

    /// Law 3.
    fn check_hidden(&self, slot: Slot, put: Placed, records: &[Placed]) -> Result<(), String> {
        let (at, found) = put;
        let hides = |with: Option<usize>| {
            records.iter().any(|&(id, other)| {
                let there = self.stays(id) || id == at || Some(id) == with;
                there && other.sequence > found.sequence
            })
        };
        if hides(None) {
            return Ok(());
        }
        if self.disk.catalogue(slot).is_some() {
            return Err(format!("what {} said would be back{}", told(slot), list_records(records)));
        }
        let (group, _) = slot;
        for (with, _) in self.records(self.disk.group_slot(group)).iter().filter(|g| g.1.put) {
            let there = |id: usize| self.stays(id) || id == at || id == *with;
            if self.exists(group, there)
                && !self.is_cut_by(group, found, there)
                && !hides(Some(*with))
            {
                return Err(format!(
                    "a dead put of {} would be back{}",
                    told(slot),
                    list_records(records)
                ));
            }
        }
        Ok(())
    }

    /// Whether the catalogue in these segments knows the group.
    fn exists(&self, group: u32, there: impl Fn(usize) -> bool) -> bool {
        let records = self.records(self.disk.group_slot(group));
        records.iter().find(|(id, _)| there(*id)).is_some_and(|(_, found)| found.put)
    }

    fn is_cut(&self, group: u32, found: Found) -> bool {
        self.is_cut_by(group, found, |_| true)
    }

    /// Whether the catalogue in these segments says that the record was truncated away.
    fn is_cut_by(&self, group: u32, found: Found, there: impl Fn(usize) -> bool) -> bool {
        let records = self.records(self.disk.truncation_slot(group));
        let newest = records.iter().find(|(id, _)| there(*id));
        newest.is_some_and(|(_, cut)| cut.put && cut.sequence > found.sequence)
    }
}

fn told((group, hash): Slot) -> String {
    format!("key {hash:032x} of group {group}")
}

fn list_records(records: &[Placed]) -> String {
    let line = |(id, found): &Placed| {
        let what = if found.put { "put" } else { "tombstone" };
        let (sequence, by) = (found.sequence, found.told());
        format!("\n    {what} {sequence} in segment {id}, {by}")
    };
    records.iter().map(line).collect()
}

#[cfg(test)]
mod tests;
