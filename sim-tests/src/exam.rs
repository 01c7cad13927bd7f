//! The exam of the sweeps: bugs are planted in a copy of the engine, and each must be found.
//!
//! ```text
//!   mutants/*.bugs ──read──> bugs ──┐
//!   sources ────────────────────────┴──plant──> target/exam/sources ──build once──> candidate
//!                                                                                      │
//!   EXAM.md <──table── results <── one process a bug: seeds in order, until one fails <┘
//! ```
//!
//! 1. The sources of the engine know nothing of the exam: no switch, no feature. A bug is a file
//!    of data that says which text to put in the place of which.
//! 2. All bugs are in one build, each behind its number; a process wakes one of them.
//! 3. The copy is the engine: with no bug awake it leaves the same traces.
//! 4. Every bug is sat by a process of its own: it may hang, or end the process.
//! 5. The seeds of a bug are run in order by one thread. So what catches it, and after how many
//!    seeds, is the same whenever the exam is held; only the seconds differ.
//!
//! Absent on purpose: bugs of the simulator or of the checks. Who tests the tests of the tests is
//! the reader.

mod bugs;
mod candidate;
mod plant;
mod sit;
mod table;

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub use bugs::{Bug, BugsUnreadable, Edit, all, read};
pub use candidate::{Caught, Ended};
pub use plant::{NotPlanted, Planted, planted};
pub use sit::{Line, sit};
pub use table::{markdown, summary};

use crate::plan::Mode;

/// The seeds in which a bug must be caught: the default sweep of the exam.
#[must_use]
pub fn default_sweep(mode: Mode) -> Range<u64> {
    match mode {
        Mode::Mixed | Mode::Damage => 0..20_000,
        Mode::Full => 0..5_000,
    }
}

/// Seeds that the copy must run as the engine does, where no bug is awake.
fn compared(mode: Mode) -> Range<u64> {
    match mode {
        Mode::Mixed => 0..200,
        Mode::Full => 0..10,
        Mode::Damage => 0..50,
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Exam {
    /// Only bugs in whose name this is.
    pub only: Option<String>,
    /// Other seeds than those of the default sweep.
    pub seeds: Option<Range<u64>>,
    /// Bugs that are sat at the same time.
    pub jobs: usize,
}

/// One bug, and what became of it.
#[derive(Clone, Debug)]
pub struct Sat {
    /// The bug.
    pub bug: Bug,
    /// How it ended.
    pub ended: Ended,
}

/// Holds the exam; `progress` is told of each bug that was sat.
///
/// # Errors
///
/// In words: the bugs cannot be read or planted, the copy cannot be built, or is not the engine.
///
/// # Panics
///
/// If `progress` does.
pub fn hold(exam: &Exam, progress: impl Fn(&Sat) + Sync) -> Result<Vec<Sat>, String> {
    let bugs = all().map_err(|error| error.to_string())?;
    let candidate = candidate::build(&bugs)?;
    for mode in [Mode::Mixed, Mode::Full, Mode::Damage] {
        is_the_engine(&candidate, mode)?;
    }
    let wanted = |bug: &Bug| exam.only.as_ref().is_none_or(|part| bug.name.contains(part));
    // Numbers are places in the list of all, counted from one.
    let numbered = (1..).zip(bugs).filter(|(_, bug)| wanted(bug));
    let queue: Mutex<VecDeque<(u32, Bug)>> = Mutex::new(numbered.collect());
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some((number, bug)) = take(&queue) {
            let seeds = exam.seeds.clone().unwrap_or_else(|| default_sweep(bug.mode));
            let ended = candidate::sit(&candidate, number, seeds, bug.mode);
            let sat = Sat { bug, ended };
            progress(&sat);
            results.lock().expect("adding does not panic").push((number, sat));
        }
    };
    std::thread::scope(|scope| {
        (0..exam.jobs.max(1)).for_each(|_| drop(scope.spawn(work)));
    });
    let mut results = results.into_inner().expect("adding does not panic");
    results.sort_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, sat)| sat).collect())
}

fn take(queue: &Mutex<VecDeque<(u32, Bug)>>) -> Option<(u32, Bug)> {
    queue.lock().expect("taking does not panic").pop_front()
}

/// Law 3.
fn is_the_engine(candidate: &Path, mode: Mode) -> Result<(), String> {
    let seeds = compared(mode);
    let mut own = None;
    sit(seeds.clone(), mode, |line| {
        if let Line::Passed { hash, .. } = line {
            own = Some(hash);
        }
    });
    let copy = match candidate::sit(candidate, 0, seeds, mode) {
        Ended::Passed { hash, .. } => Some(hash),
        other => return Err(format!("no bug is awake, and the copy fails: {other:?}")),
    };
    if own.is_some() && own == copy {
        return Ok(());
    }
    Err(format!("the copy is not the engine: traces {copy:?} instead of {own:?}"))
}

/// The folder of the whole repository.
fn repository() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
