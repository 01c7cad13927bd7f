//! The store as it changes: its numbers and its slots, looked at now and then while it runs.
//!
//! 1. Looking changes nothing: no draw, no note, no handle that outlives those of the run.
//! 2. A sample is taken between two polls, when so many more operations were done on the device.
//! 3. What a run of compaction is for is known from its first poll on: before every poll it is seen
//!    whether the poll before has begun one.
//!
//! Absent on purpose: the engine's view of a slot. What a slot shows is what a reader of the disk
//! would see in its first block.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::{Db, RunCauses, Stats};
use logstor_io_sim::Handle;

use crate::guard::Look;
use crate::plan::SEGMENT;

/// Operations of the device between two samples.
const EVERY: u64 = 4;
/// Samples of one run, at most.
const SAMPLES_MAX: usize = 6000;

/// The store at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// Its numbers.
    pub stats: Stats,
    /// What each slot shows, file by file.
    pub slots: Vec<Slot>,
}

/// What a slot of a segment file shows in its first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing that is known.
    Blank,
    /// That it was erased.
    Erased,
    /// User writes, of the life with this generation.
    Log(u64),
    /// Copies.
    Copies(u64),
    /// A piece of a large value.
    Piece(u64),
}

/// Takes samples of the store that it is shown.
#[derive(Clone, Debug, Default)]
pub struct Sampler(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The store, while it is open.
    db: Option<Db>,
    /// Operations at the last sample.
    operations: u64,
    samples: Vec<Sample>,
    /// When it was looked last, in nanoseconds, and what runs had been begun for.
    looked: (u64, RunCauses),
    runs: Vec<(u64, Cause)>,
}

/// What a run of compaction is for, as far as it has a lane of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// To sort mixed segments by group.
    Separation,
    /// Somebody asked for it.
    Request,
    /// To give room back.
    Room,
}

impl Cause {
    fn of(before: RunCauses, now: RunCauses) -> Option<Self> {
        if now == before {
            None
        } else if now.separation > before.separation {
            Some(Self::Separation)
        } else if now.requests > before.requests {
            Some(Self::Request)
        } else {
            Some(Self::Room)
        }
    }
}

impl Sampler {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this store is looked at, or none.
    pub fn look_at(&self, db: Option<Db>) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.db, db);
        state.looked.1 = RunCauses::default();
        drop(state);
        drop(before); // outside of the lock
    }

    /// All samples.
    #[must_use]
    pub fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut self.state().samples)
    }

    /// When runs of compaction began, in order, and what for.
    #[must_use]
    pub fn take_runs(&self) -> Vec<(u64, Cause)> {
        std::mem::take(&mut self.state().runs)
    }
}

impl Look for Sampler {
    /// Takes a sample, if it is time.
    fn look(&self, sim: &Handle) {
        let counters = sim.counters();
        let operations = counters.reads + counters.writes + counters.syncs + counters.punches;
        let mut state = self.state();
        let Some(db) = state.db.clone() else { return };
        let now = db.stats();
        let at = u64::try_from(counters.time.as_nanos()).unwrap_or(u64::MAX);
        let (before, causes) = std::mem::replace(&mut state.looked, (at, now.compaction.causes));
        if let Some(cause) = Cause::of(causes, now.compaction.causes) {
            state.runs.push((before, cause));
        }
        if operations >= state.operations + EVERY && state.samples.len() < SAMPLES_MAX {
            state.operations = operations;
            state.samples.push(Sample { at, stats: now, slots: slots(sim) });
        }
    }
}

fn slots(sim: &Handle) -> Vec<Slot> {
    let raw = sim.raw();
    let files = raw.list().into_iter();
    let files = files.filter(|file| file.name.starts_with("segments-"));
    let files = files.filter(|file| !file.name.contains(".new"));
    let slot = |name: &str, at: u64| {
        let head = raw.read(name, at..at + 512).unwrap_or_default();
        let Ok(header) = BufferHeader::parse(&head) else { return Slot::Blank };
        let generation = header.generation.get();
        match header.kind {
            BufferKind::Void => Slot::Erased,
            BufferKind::Rewrite => Slot::Copies(generation),
            BufferKind::Piece => Slot::Piece(generation),
            BufferKind::Log | BufferKind::Seal => Slot::Log(generation),
        }
    };
    files
        .flat_map(|file| {
            let places = 0..file.len / SEGMENT;
            places.map(|at| slot(&file.name, at * SEGMENT)).collect::<Vec<_>>()
        })
        .collect()
}
