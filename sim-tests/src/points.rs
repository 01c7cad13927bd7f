//! Crash points, enumerated: a small script crashes at every landing that it has, on every side.
//!
//! ```text
//!   script ──run──> landings     1   2   3   ...   n      of each opening and each use
//!                                │
//!               before, after, heard  ×  none, all, some, kill          depth 1: all of them
//!                                │
//!                    recovery ──run──> landings ──> the same there      depth 2
//!                                                      └─ and there     depth 3
//! ```
//!
//! Definitions. A *landing* is the moment in which an operation on the device takes effect; see
//! [`StopAt::Landing`]. A *point* is a place in the script and a list of cuts: the first one there,
//! each further one in the recovery from the one before. Its *depth* is the number of its cuts.
//!
//! 1. A point is a plan: whoever can run, shrink or show a plan can do so with a point.
//! 2. After the last cut the store is opened and checked, used a little, crashes once more, is
//!    opened and checked, comes to rest and closes; all of it under the oracle of the sweeps.
//! 3. Points of depth 1 are all visited. Of those below at most so many of each depth are, drawn
//!    evenly from all by the seed; how many there are is counted, not guessed. Of depth 3 only
//!    those below a visited point of depth 2 can be counted.
//! 4. What is visited, and in which order it is told, depends on the seed alone.
//!
//! Absent on purpose: faults. They are the sweep's; here every error is a bug.

mod script;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use logstor_io_sim::{CrashKind, NameBias, SectorBias, Side, SimRng, StopAt};

pub use self::script::{LANDINGS_MAX, Place, Script};
use crate::harness::{Watching, run_plan};
use crate::plan::{Cut, Plan};
use crate::tally::Tally;

/// After so many failures the search ends.
const FAILURES_MAX: usize = 10;

/// What a search that proves anything has done at least once.
pub const MUST_HAPPEN: [&str; 15] = [
    "crashes/amid unsynced writes",
    "points/after a landing",
    "points/at a hearing",
    "points/before a landing",
    "points/depth 1",
    "points/depth 2",
    "points/depth 3",
    "points/in a first opening",
    "points/in a later opening",
    "points/in use",
    "points/process kill",
    "points/some sectors",
    "disk/torn writes",
    "marks/slot erased",
    "marks/slot reused",
];

/// Where and how a script crashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Where the first cut is.
    pub place: Place,
    /// The first cut, and those in the recoveries from it.
    pub cuts: Vec<Cut>,
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Cuts of a point, at most.
    pub depth: usize,
    /// Points of each depth from 2 on, at most.
    pub nested: u64,
    /// Threads.
    pub jobs: usize,
}

/// Points of one depth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// So many were visited.
    pub visited: u64,
    /// So many there are.
    pub of: u64,
}

/// A point at which something is wrong.
#[derive(Clone, Debug)]
pub struct Found {
    /// The point.
    pub point: Point,
    /// It as a plan.
    pub plan: Plan,
    /// What is wrong.
    pub failure: String,
}

/// What came of a search.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The seed of the script.
    pub seed: u64,
    /// Its landings.
    pub landings: u64,
    /// Depth 1 and further.
    pub depths: Vec<Depth>,
    /// Points whose cuts were not all reached.
    pub not_reached: u64,
    /// What was done.
    pub tally: Tally,
    /// What is wrong.
    pub found: Vec<Found>,
}

/// What came of one point.
struct Visit {
    failure: Option<String>,
    /// Landings of the recovery behind its last cut.
    recovery: u64,
    reached: bool,
    tally: Tally,
}

/// Visits the points of a script; `progress` is told the depth and how many it has.
///
/// # Panics
///
/// If `progress` does.
pub fn explore(script: &Script, limits: Limits, progress: impl Fn(usize, u64)) -> Summary {
    let seed = script.seed();
    let landings = script.places().iter().map(|&(_, count)| count).sum();
    let mut summary = Summary { seed, landings, ..Summary::default() };
    if let Some(failure) = script.failure() {
        let nowhere = Point { place: Place::Opening(0), cuts: Vec::new() };
        let plan = script.plan().clone();
        summary.found.push(Found { point: nowhere, plan, failure: failure.into() });
        return summary;
    }
    let mut points = all_points(script);
    let mut of = count(points.len());
    for depth in 1..=limits.depth {
        progress(depth, count(points.len()));
        let visits = visit_all(script, &points, limits.jobs);
        summary.depths.push(Depth { visited: count(visits.len()), of });
        for (at, visit) in &visits {
            summary.add(script, &points[*at], visit);
        }
        if !summary.found.is_empty() || depth == limits.depth {
            break;
        }
        let recoveries = visits.iter().map(|(at, visit)| (&points[*at], visit.recovery));
        let below = Below { seed, depth: depth + 1, parents: recoveries.collect() };
        of = below.len();
        points = below.choose(limits.nested);
    }
    summary
}

/// Every point of depth 1.
fn all_points(script: &Script) -> Vec<Point> {
    let mut points = Vec::new();
    for &(place, landings) in script.places() {
        for index in 0..landings * WAYS {
            points.push(Point { place, cuts: vec![cut(script.seed(), 1, index)] });
        }
    }
    points
}

/// Ways to crash at one landing.
const WAYS: u64 = 3 * 4;

/// The cut with this index among those of a run.
fn cut(seed: u64, depth: usize, index: u64) -> Cut {
    let count = index / WAYS + 1;
    let side = match index % WAYS / 4 {
        0 => Side::Before,
        1 => Side::After,
        _ => Side::Heard,
    };
    let power = |sectors, names| CrashKind::PowerCut { sectors: Some(sectors), names: Some(names) };
    let crash = match index % 4 {
        0 => power(SectorBias::None, NameBias::None),
        1 => power(SectorBias::All, NameBias::All),
        2 => {
            // The crash draws from its own stream, which every point of a script meets alike.
            let rng = &mut SimRng::new(seed, &format!("bias {depth} {index}"));
            power(*rng.pick(&SOME_SECTORS), *rng.pick(&NameBias::EVERY))
        }
        _ => CrashKind::ProcessKill,
    };
    Cut { stop: StopAt::Landing { count, side }, crash }
}

/// The biases between none and all.
const SOME_SECTORS: [SectorBias; 6] = [
    SectorBias::Half,
    SectorBias::Whole,
    SectorBias::Prefix,
    SectorBias::AllButFirst,
    SectorBias::OnlyFirst,
    SectorBias::OnlyLast,
];

/// The points one deeper than these, without making all of them.
struct Below<'a> {
    seed: u64,
    depth: usize,
    /// Points, with the landings of their recovery.
    parents: Vec<(&'a Point, u64)>,
}

impl Below<'_> {
    fn len(&self) -> u64 {
        self.parents.iter().map(|(_, landings)| landings * WAYS).sum()
    }

    /// All of them, or `most`: one from each of `most` equal parts.
    fn choose(&self, most: u64) -> Vec<Point> {
        let (all, rng) =
            (self.len(), &mut SimRng::new(self.seed, &format!("depth {}", self.depth)));
        if all <= most {
            return self.take((0..all).collect());
        }
        let bound = |part: u64| {
            let at = u128::from(part) * u128::from(all) / u128::from(most);
            u64::try_from(at).expect("a part of a number is below it")
        };
        self.take((0..most).map(|part| rng.between(bound(part), bound(part + 1) - 1)).collect())
    }

    /// Those with these indices, which rise.
    fn take(&self, indices: Vec<u64>) -> Vec<Point> {
        let (mut points, mut indices) = (Vec::new(), indices.into_iter().peekable());
        let mut start = 0;
        for (parent, landings) in &self.parents {
            let end = start + landings * WAYS;
            while let Some(index) = indices.next_if(|&index| index < end) {
                let mut point = (*parent).clone();
                point.cuts.push(cut(self.seed, self.depth, index - start));
                points.push(point);
            }
            start = end;
        }
        points
    }
}

/// Visits these points, on several threads; in their order, with their places in the list.
fn visit_all(script: &Script, points: &[Point], jobs: usize) -> Vec<(usize, Visit)> {
    let (next, failures) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let enough = AtomicBool::new(false);
    let visits = Mutex::new(Vec::new());
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(point) = points.get(at) else { return };
            let visit = visit(script, point);
            if visit.failure.is_some() {
                let before = failures.fetch_add(1, Ordering::Relaxed);
                enough.fetch_or(before + 1 >= FAILURES_MAX, Ordering::Relaxed);
            }
            visits.lock().expect("keeping what came does not panic").push((at, visit));
        }
    };
    std::thread::scope(|scope| {
        (0..jobs.max(1)).for_each(|_| drop(scope.spawn(work)));
    });
    let mut visits = visits.into_inner().expect("keeping what came does not panic");
    visits.sort_by_key(|&(at, _)| at);
    visits
}

fn visit(script: &Script, point: &Point) -> Visit {
    let report = run_plan(script.at(point), &Watching::default());
    let crashed = report.tally.get("crashes/in use") + report.tally.get("crashes/in recovery");
    let recovery = report.landings.get(point.place.recovery());
    Visit {
        reached: crashed == count(point.cuts.len()),
        recovery: recovery.map_or(0, |landings| landings.opening),
        failure: report.failure,
        tally: report.tally,
    }
}

impl Summary {
    fn add(&mut self, script: &Script, point: &Point, visit: &Visit) {
        self.tally.merge(&visit.tally);
        self.not_reached += u64::from(!visit.reached && visit.failure.is_none());
        self.tally.one(match point.cuts.len() {
            1 => "points/depth 1",
            2 => "points/depth 2",
            _ => "points/depth 3",
        });
        self.tally.one(match point.place {
            Place::Opening(0) => "points/in a first opening",
            Place::Opening(_) => "points/in a later opening",
            Place::Use(_) => "points/in use",
        });
        let Some(last) = point.cuts.last() else { return };
        if let StopAt::Landing { side, .. } = last.stop {
            self.tally.one(match side {
                Side::Before => "points/before a landing",
                Side::After => "points/after a landing",
                Side::Heard => "points/at a hearing",
            });
        }
        self.tally.one(match last.crash {
            CrashKind::ProcessKill => "points/process kill",
            CrashKind::PowerCut { sectors: Some(SectorBias::None), .. } => "points/no sector",
            CrashKind::PowerCut { sectors: Some(SectorBias::All), .. } => "points/all sectors",
            CrashKind::PowerCut { .. } => "points/some sectors",
        });
        if let Some(failure) = visit.failure.clone() {
            self.found.push(Found { point: point.clone(), plan: script.at(point), failure });
        }
    }

    /// What should have happened at least once in all of `tally`, and did not.
    pub fn never(tally: &Tally) -> impl Iterator<Item = &'static str> {
        MUST_HAPPEN.into_iter().filter(|what| tally.get(what) == 0)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "script {}: {} landings", self.seed, self.landings)?;
        for (depth, Depth { visited, of }) in (1..).zip(&self.depths) {
            write!(out, "; depth {depth}: {visited} of {of}")?;
        }
        if self.depths.len() > 2 {
            write!(out, " below those of depth 2")?;
        }
        if self.not_reached > 0 {
            write!(out, "; not reached: {}", self.not_reached)?;
        }
        Ok(())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Opening(epoch) => write!(out, "in the opening of epoch {epoch}")?,
            Place::Use(epoch) => write!(out, "in the use of epoch {epoch}")?,
        }
        self.cuts.iter().try_for_each(|cut| write!(out, ", {cut}"))
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).expect("points fit memory")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_cuts_of_a_landing_are_twelve_and_all_different() {
        let cuts: Vec<Cut> = (0..3 * WAYS).map(|index| cut(1, 1, index)).collect();
        let told: BTreeSet<String> = cuts.iter().map(Cut::to_string).collect();
        assert_eq!(told.len(), 36);
        assert!(cuts.iter().all(|cut| matches!(cut.stop, StopAt::Landing { count: 1..=3, .. })));
    }

    #[test]
    fn what_is_chosen_is_spread_over_all_and_never_twice() {
        let point = |epoch| Point { place: Place::Use(epoch), cuts: vec![cut(1, 1, 0)] };
        let parents = [point(0), point(1), point(2)];
        let parents: Vec<_> = parents.iter().zip([3, 0, 50]).collect();
        let below = Below { seed: 7, depth: 2, parents };
        assert_eq!(below.len(), 53 * WAYS);
        assert_eq!(below.choose(10_000).len(), 53 * 12);
        let some = below.choose(100);
        let told: BTreeSet<String> = some.iter().map(Point::to_string).collect();
        assert_eq!((some.len(), told.len()), (100, 100));
        assert!(some.iter().any(|point| point.place == Place::Use(0)));
        assert!(some.iter().all(|point| point.place != Place::Use(1) && point.cuts.len() == 2));
        assert_eq!(some, below.choose(100));
    }
}
