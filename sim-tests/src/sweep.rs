//! Many seeds on several threads, and what came of them in one table.
//!
//! 1. Every seed is run by one thread alone; threads only share the next seed's number.
//! 2. With `twice` each seed runs twice, and both runs must leave the same trace (promise P8).
//! 3. After [`FAILURES_MAX`] failures no further seed is begun.
//!
//! Absent on purpose: an order. Seeds end when they end; failures are sorted in the summary.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use logstor_io_sim::Recording;

use crate::harness::{Report, run_seed};
use crate::plan::Mode;
use crate::tally::Tally;

/// After so many failures a sweep ends.
pub const FAILURES_MAX: usize = 10;

/// What to sweep, and how.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Threads.
    pub jobs: usize,
    /// Run each seed twice and compare.
    pub twice: bool,
    /// What the seeds are for.
    pub mode: Mode,
}

/// What came of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that ran.
    pub seeds: u64,
    /// Virtual time of all of them.
    pub time: Duration,
    /// What was done.
    pub tally: Tally,
    /// The seeds that failed, and how; sorted.
    pub failures: Vec<(u64, String)>,
    /// What the seeds were for.
    pub mode: Mode,
}

/// What a sweep of everything that proves anything has done at least once.
pub const MUST_HAPPEN: [&str; 64] = [
    "compaction/emptied",
    "compaction/moved",
    "compaction/segments",
    "compaction/shared",
    "compaction/superseded",
    "compaction/tombstones dropped",
    "crashes/amid unsynced writes",
    "crashes/in recovery",
    "crashes/in use",
    "crashes/on a fork",
    "crashes/power cut",
    "crashes/process kill",
    "disk/torn writes",
    "faults/disk full",
    "faults/creates",
    "faults/folder syncs",
    "faults/lists",
    "faults/names told full",
    "faults/opens",
    "faults/reads",
    "faults/reads of bad sectors",
    "faults/renames",
    "faults/syncs told full",
    "faults/syncs, data dropped",
    "faults/syncs, data evicted",
    "faults/syncs, data kept",
    "faults/writes",
    "faults/writes told full",
    "image/keys checked",
    "image/pieces checked",
    "large/accounted for",
    "large/given up",
    "large/no room",
    "large/put",
    "large/put at the end",
    "large/put by stream",
    "large/read after its end",
    "large/read to the end",
    "large/reader left",
    "large/stream broke off",
    "large/write failed",
    "marks/a failed write was outlived",
    "marks/at rest",
    "marks/buffers made durable",
    "marks/buffers made void",
    "marks/full because of a pause",
    "marks/full for a put",
    "marks/group made again",
    "marks/group truncated",
    "marks/no longer full",
    "marks/put at the end",
    "marks/recovered less",
    "marks/reserve in use",
    "marks/resized",
    "marks/rewritten",
    "marks/separated",
    "marks/slot reused",
    "recoveries/from dump",
    "shadows/recovered",
    "shadows/recovered less",
    "slow/device hung",
    "slow/in parts",
    "slow/operations hung",
    "slow/timers late",
];

/// The same of a sweep of full stores.
pub const MUST_HAPPEN_WHEN_FULL: [&str; 8] = [
    "compaction/segments",
    "compaction/tombstones dropped",
    "crashes/in use",
    "full/and back",
    "large/no room",
    "large/put",
    "marks/full for a put",
    "marks/group truncated",
];

/// Runs a sweep; `progress` is told after each seed.
///
/// # Panics
///
/// If `progress` does.
pub fn run(sweep: &Sweep, progress: impl Fn(&Report) + Sync) -> Summary {
    let next = AtomicU64::new(sweep.seeds.start);
    let enough = AtomicBool::new(false);
    let summary = Mutex::new(Summary { mode: sweep.mode, ..Summary::default() });
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= sweep.seeds.end {
                return;
            }
            let report = run_one(seed, sweep.mode, sweep.twice);
            progress(&report);
            let mut summary = summary.lock().expect("adding up does not panic");
            summary.add(report);
            enough.fetch_or(summary.failures.len() >= FAILURES_MAX, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        (0..sweep.jobs.max(1)).for_each(|_| drop(scope.spawn(work)));
    });
    let mut summary = summary.into_inner().expect("adding up does not panic");
    summary.failures.sort();
    summary
}

/// One seed; twice, if so asked, and then the same.
#[must_use]
pub fn run_one(seed: u64, mode: Mode, twice: bool) -> Report {
    let mut report = run_seed(seed, mode, Recording::Off);
    if twice && report.failure.is_none() {
        let again = run_seed(seed, mode, Recording::Off);
        report.tally.one("runs compared");
        if again.trace_hash != report.trace_hash {
            report.failure = Some("two runs of this seed differ".into());
        }
    }
    report
}

impl Summary {
    /// What should have happened at least once, and did not.
    pub fn never(&self) -> impl Iterator<Item = &'static str> {
        let must = match self.mode {
            Mode::Mixed => &MUST_HAPPEN[..],
            Mode::Full => &MUST_HAPPEN_WHEN_FULL,
        };
        must.iter().copied().filter(|what| self.tally.get(what) == 0)
    }

    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.time += report.time;
        self.tally.merge(&report.tally);
        if let Some(what) = report.failure {
            self.failures.push((report.seed, what));
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in self.tally.iter() {
            writeln!(out, "{what:<32} {count:>14}")?;
        }
        let hours = self.time.as_secs() / 3600;
        writeln!(out, "{:<32} {hours:>14}", "simulated hours")?;
        writeln!(out, "{:<32} {:>14}", "seeds", self.seeds)?;
        for what in self.never() {
            writeln!(out, "{:<32} {what:>14}", "never happened")?;
        }
        let mode = if self.mode == Mode::Full { " --full" } else { "" };
        for (seed, what) in &self.failures {
            writeln!(out, "\nseed {seed}: {what}")?;
            let run = "cargo run --release -p logstor-sim-tests --";
            writeln!(out, "  again: {run} replay {seed} --trace{mode}")?;
            writeln!(out, "  less:  {run} shrink {seed}{mode}")?;
        }
        Ok(())
    }
}
