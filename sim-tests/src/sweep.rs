//! Many seeds on several threads, and what came of them in one table.
//!
//! 1. Every seed is run by one thread alone; threads only share the next seed's number.
//! 2. With `twice` each seed runs twice, and both runs must leave the same trace (promise P8).
//! 3. After [`FAILURES_MAX`] failures no further seed is begun. Those that are reported are the
//!    lowest seeds that fail, however many threads there were.
//! 4. One hash stands for all runs, from the first seed to the last one that is reported: another
//!    process, with other threads, gives the same one.
//! 5. A sweep passes if no seed failed, and if it met all that [`crate::marks`] names; of that a
//!    sweep of few seeds is excused.
//!
//! Absent on purpose: an order of running. Seeds end when they end. If there were too many
//! failures, the counts are of all seeds that ran, and then these depend on the threads.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use logstor_io_sim::Recording;

use crate::harness::{Report, run_seed};
use crate::marks::{must_happen, seeds_enough};
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
    /// The seeds that failed, and how; sorted, and at most [`FAILURES_MAX`].
    pub failures: Vec<(u64, String)>,
    /// The seeds that the hash stands for.
    pub hashed: u64,
    /// One number for all their traces, whatever the order in which they ran.
    pub hash: u64,
    /// What the seeds were for.
    pub mode: Mode,
}

/// Runs a sweep; `progress` is told after each seed.
///
/// # Panics
///
/// If `progress` does.
pub fn run(sweep: &Sweep, progress: impl Fn(&Report) + Sync) -> Summary {
    let next = AtomicU64::new(sweep.seeds.start);
    let enough = AtomicBool::new(false);
    let summary = Mutex::new(Summary { mode: sweep.mode, ..Summary::default() });
    let traces = Mutex::new(Vec::new());
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= sweep.seeds.end {
                return;
            }
            let report = run_one(seed, sweep.mode, sweep.twice);
            progress(&report);
            traces.lock().expect("adding up does not panic").push((seed, report.trace_hash));
            let mut summary = summary.lock().expect("adding up does not panic");
            summary.add(report);
            enough.fetch_or(summary.failures.len() >= FAILURES_MAX, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        (0..sweep.jobs.max(1)).for_each(|_| drop(scope.spawn(work)));
    });
    let mut summary = summary.into_inner().expect("adding up does not panic");
    summary.settle(&traces.into_inner().expect("adding up does not panic"));
    summary
}

/// A word about one seed, such that their sum is about all of them.
fn mixed(seed: u64, trace: u64) -> u64 {
    let mut word = trace ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2 {
        word = (word ^ (word >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
    word ^ (word >> 32)
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
        must_happen(self.mode, self.seeds).filter(|what| self.tally.get(what) == 0)
    }

    /// Whether it had seeds enough to meet everything that must happen.
    #[must_use]
    pub const fn is_large_enough(&self) -> bool {
        self.seeds >= seeds_enough(self.mode)
    }

    /// Whether nothing failed, and nothing was missed that a sweep of this size meets.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.failures.is_empty() && (!self.is_large_enough() || self.never().next().is_none())
    }

    /// All threads are done; these are the seeds that ran, with the hashes of their traces. What
    /// ran beyond the last failure to be told might as well not have been begun.
    fn settle(&mut self, traces: &[(u64, u64)]) {
        self.failures.sort();
        self.failures.truncate(FAILURES_MAX);
        let last = self.failures.get(FAILURES_MAX - 1).map(|failure| failure.0);
        for &(seed, trace) in traces.iter().filter(|run| last.is_none_or(|last| run.0 <= last)) {
            self.hashed += 1;
            self.hash = self.hash.wrapping_add(mixed(seed, trace));
        }
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
            writeln!(out, "{what:<44} {count:>14}")?;
        }
        let hours = self.time.as_secs() / 3600;
        writeln!(out, "{:<44} {hours:>14}", "simulated hours")?;
        writeln!(out, "{:<44} {:>14}", "seeds", self.seeds)?;
        writeln!(out, "{:<44} {:>14}", "seeds in the hash", self.hashed)?;
        writeln!(out, "{:<44} {:016x}", "hash of all runs", self.hash)?;
        for what in self.never() {
            writeln!(out, "{:<44} {what}", "never happened")?;
        }
        if self.failures.is_empty() && !self.has_passed() {
            writeln!(out, "\nfailed: seeds enough, and something that must happen never did")?;
        }
        let mode = match self.mode {
            Mode::Mixed => "",
            Mode::Full => " --full",
            Mode::Damage => " --damage",
        };
        for (seed, what) in &self.failures {
            writeln!(out, "\nseed {seed}: {what}")?;
            let run = "cargo run --release -p logstor-sim-tests --";
            writeln!(out, "  again: {run} replay {seed} --trace{mode}")?;
            writeln!(out, "  less:  {run} shrink {seed}{mode}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_that_missed_something_fails_if_it_had_seeds_enough() {
        let mut summary = Summary { seeds: seeds_enough(Mode::Mixed), ..Summary::default() };
        assert!(!summary.has_passed(), "nothing happened");
        for what in must_happen(Mode::Mixed, summary.seeds) {
            summary.tally.one(what);
        }
        assert!(summary.has_passed());
        summary.failures.push((7, "no".into()));
        assert!(!summary.has_passed());
        let few = Summary { seeds: seeds_enough(Mode::Mixed) - 1, ..Summary::default() };
        assert!(few.has_passed() && few.never().next().is_some());
    }

    #[test]
    fn the_same_failures_are_told_however_many_seeds_were_begun() {
        let told = |seeds: &[u64]| {
            let fails = |seed: &&u64| **seed % 2 == 1;
            let failures = seeds.iter().filter(fails).map(|&seed| (seed, seed.to_string()));
            let mut summary = Summary { failures: failures.collect(), ..Summary::default() };
            let traces: Vec<_> = seeds.iter().map(|&seed| (seed, seed * seed)).collect();
            summary.settle(&traces);
            (summary.failures, summary.hash, summary.hashed)
        };
        let one: Vec<u64> = (0..20).collect();
        let several: Vec<u64> = (0..27).rev().collect();
        assert_eq!(told(&one), told(&several));
        assert_eq!((told(&one).0.len(), told(&one).2), (FAILURES_MAX, 20));
        assert_ne!(told(&one[..18]), told(&one));
    }

    #[test]
    fn the_hash_is_of_all_runs_in_any_order() {
        let sweep = |jobs| Sweep { seeds: 0..12, jobs, twice: false, mode: Mode::Mixed };
        let (one, three) = (run(&sweep(1), |_| ()), run(&sweep(3), |_| ()));
        assert_eq!((one.hash, one.hashed), (three.hash, 12));
        let fewer = run(&Sweep { seeds: 0..11, ..sweep(1) }, |_| ());
        assert_ne!(one.hash, fewer.hash);
    }
}
