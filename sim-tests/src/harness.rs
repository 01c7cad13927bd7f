//! One seed from its first boot to its last: use, crash anywhere, recover, check.
//!
//! ```text
//!            ┌─────────── epoch ───────────┐
//!   open ──> check ──> clients at work ──> crash, close, drop of all handles ──> open ...
//!    │ crash                │ crash
//!    └──> open again        └──> on a fork as well: another recovery of the same disk
//! ```
//!
//! 1. After every opening all keys of all groups are read, with faults off, and one cut of the
//!    history must explain everything that was read. From then on nothing before it may vanish,
//!    and nothing behind it may come back.
//! 2. An opening fails only if a fault was injected into it; without faults it succeeds.
//! 3. A run never gets stuck, whatever failed.
//! 4. In the end, with the faults off and nobody at work, compaction comes to rest, and a store
//!    with room enough takes a put.
//! 5. After a clean close without faults the next opening needs no more than the dump.
//!
//! Absent on purpose: knowledge of the engine's insides, and of the simulated disk's.

mod damage;
mod epoch;
mod full;
mod look;
mod noise;
mod numbers;
mod opening;
mod rest;
mod shadow;
mod tears;

use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logstor_core::io::Environment;
use logstor_core::types::Generation;
use logstor_core::{Db, Options};
use logstor_io_sim::{CrashKind, Event, FaultCounts, Faults, Outcome, Recording, Sim, SimOptions};

use self::shadow::Shadow;
use crate::canary::lying;
use crate::guard::{Look, Lookers, Panicked, catch, guard_tasks, guarded};
use crate::image::{Cache, Watch};
use crate::ledger::{Canary, History, Ledger};
use crate::plan::{Mode, Plan};
use crate::sample::{Cause, Sample, Sampler};
use crate::tally::Tally;

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The first thing that went wrong.
    pub failure: Option<String>,
    /// What was done.
    pub tally: Tally,
    /// Virtual time.
    pub time: Duration,
    /// One number for everything that happened.
    pub trace_hash: u64,
    /// Landings of each epoch, and of the last opening.
    pub landings: Vec<Landings>,
    /// The lines of the trace, if they were asked for.
    pub trace: Vec<String>,
    /// The story, if it was asked for.
    pub story: Option<Box<Told>>,
}

/// How many operations took effect in one epoch, by what was going on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Landings {
    /// From the last attempt to open the store until it was open.
    pub opening: u64,
    /// While clients were at work, and until the end of the use.
    pub in_use: u64,
}

/// What the pictures of a run are made of.
#[derive(Clone, Debug)]
pub struct Told {
    /// Everything that happened.
    pub events: Vec<Event>,
    /// The store, now and then.
    pub samples: Vec<Sample>,
    /// When runs of compaction began, and what for.
    pub runs: Vec<(u64, Cause)>,
    /// What was accepted and may still exist, with what became of it.
    pub history: Vec<History>,
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, mode: Mode, recording: Recording) -> Report {
    run_plan(Plan::draw(seed, mode), &Watching { recording, ..Watching::default() })
}

/// Runs a plan, be it drawn, read or changed.
#[must_use]
pub fn run_plan(plan: Plan, watching: &Watching) -> Report {
    let mode = plan.mode;
    let mut run = Run::new(plan, watching);
    let ended = match mode {
        Mode::Mixed => run.all(),
        Mode::Full => run.all_full(),
        Mode::Damage => run.all_damaged(),
    };
    run.report(ended)
}

/// What is looked at in a run beside what always is. Only a disk that lies changes the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watching {
    /// Which lines of the trace are kept.
    pub recording: Recording,
    /// Keep the whole story: events, samples, history.
    pub story: bool,
    /// A further check of the history, after every record. With one that fails where the store is
    /// right, finding and shrinking of failures are tested.
    pub canary: Option<Canary>,
    /// Every so manyth sync of a file is said to be done, and is not: see
    /// [`canary`](crate::canary).
    pub syncs_left_undone: Option<u64>,
}

/// The run cannot go on: the ledger knows why.
#[derive(Clone, Copy, Debug)]
struct Over;

impl From<Panicked> for Over {
    fn from(Panicked: Panicked) -> Self {
        Self
    }
}

type Step<T = ()> = Result<T, Over>;

struct Run {
    plan: Arc<Plan>,
    sim: Sim,
    ledger: Ledger,
    tally: Arc<Mutex<Tally>>,
    db: Option<Db>,
    /// Power was lost since the last recovery that was shown.
    power_lost: bool,
    /// The last thing was a close that succeeded, and nothing failed in it.
    closed_well: bool,
    /// The faults before this opening of the store.
    before: FaultCounts,
    /// What each slot of the segment files showed at the last recovery: generation, erased.
    lives: BTreeMap<(String, u64), (Generation, bool)>,
    /// What crashes showed of the log.
    numbers: numbers::Numbers,
    /// What is known of the durable image.
    cache: Cache,
    /// Looks at the store while it is used, if that was asked for.
    sampler: Option<Sampler>,
    /// Recovers copies of the disk, if the plan has that.
    shadow: Option<Shadow>,
    /// All who look.
    lookers: Lookers,
    /// Power cuts so far, if they leave noise.
    power_cuts: u64,
    /// What landed so far.
    landings: Vec<Landings>,
    /// Syncs that the disk was asked for, and which of them it lies about.
    liar: Option<(u64, Arc<AtomicU64>)>,
    /// Writes that get lost in the opening that comes next.
    lost_early: Faults,
}

impl Run {
    fn new(plan: Plan, watching: &Watching) -> Self {
        let options = SimOptions::new(plan.world)
            .sector_size(plan.sector)
            .latencies(plan.latencies)
            .recording(watching.recording)
            .max_steps(if plan.mode == Mode::Full { 2_000_000 } else { 400_000 });
        let ledger = Ledger::new(&plan.keys, watching.canary);
        let plan = Arc::new(plan);
        let mut run = Self::aside(&plan, Sim::new(&options), ledger, Arc::default());
        run.liar = watching.syncs_left_undone.map(|every| (every, Arc::default()));
        run.sampler = watching.story.then(Sampler::default);
        run.shadow = Shadow::new(&plan, &run.ledger, &run.tally);
        let sampler = run.sampler.iter().map(|sampler| Box::new(sampler.clone()) as Box<dyn Look>);
        let shadow = run.shadow.iter().map(|shadow| Box::new(shadow.clone()) as Box<dyn Look>);
        run.lookers = Arc::new(sampler.chain(shadow).collect());
        run
    }

    /// A run on this disk, with nobody to look at it.
    fn aside(plan: &Arc<Plan>, sim: Sim, ledger: Ledger, tally: Arc<Mutex<Tally>>) -> Self {
        Self {
            plan: Arc::clone(plan),
            sim,
            ledger,
            tally,
            db: None,
            power_lost: true,
            closed_well: false,
            before: FaultCounts::default(),
            lives: BTreeMap::new(),
            numbers: BTreeMap::new(),
            cache: Cache::default(),
            sampler: None,
            shadow: None,
            lookers: Lookers::default(),
            power_cuts: 0,
            landings: Vec::new(),
            liar: None,
            lost_early: Faults::none(),
        }
    }

    fn all(&mut self) -> Step {
        let plan = Arc::clone(&self.plan);
        for epoch in &plan.epochs {
            self.note(&format!("epoch {}", epoch.number));
            self.open(&epoch.opening)?;
            self.check()?;
            if let Some(again) = &epoch.again {
                // Nobody wrote: the next recovery must show the same.
                self.crash(again.crash)?;
                self.open(&again.opening)?;
                self.check()?;
            }
            self.work(epoch)?;
        }
        self.open(&plan.last)?;
        self.check()?;
        self.last_words()
    }

    fn note(&self, what: &str) {
        self.sim.note(what);
    }

    fn count(&self, what: &'static str) {
        self.tally.lock().expect("counting does not panic").one(what);
    }

    fn fail<T>(&self, what: impl Into<String>) -> Step<T> {
        self.ledger.fail(what);
        Err(Over)
    }

    fn environment(&self) -> Environment {
        let sim = self.sim.handle();
        let environment = guard_tasks(self.sim.boot(), &self.ledger, &sim, &self.lookers);
        match &self.liar {
            Some((every, asked)) => lying(environment, *every, asked),
            None => environment,
        }
    }

    /// Runs `main`; `None` if it was stopped.
    fn run<F: Future>(&self, main: F) -> Step<Option<F::Output>> {
        let main = guarded(&self.ledger, &self.sim.handle(), &self.lookers, main);
        let outcome = self.sim.run(main);
        if self.ledger.has_failed() {
            mem::forget(outcome);
            return Err(Over);
        }
        match outcome {
            Outcome::Done(output) => Ok(Some(output)),
            Outcome::Stopped => Ok(None),
            Outcome::Stuck { waiting } => self.fail(format!("stuck; these wait: {waiting:?}")),
            Outcome::Spins { task, polls } => {
                self.fail(format!("task {task} turns in circles: {polls} polls in one moment"))
            }
            Outcome::RanTooLong { waiting, .. } => {
                self.fail(format!("no end in sight; these had not ended: {waiting:?}"))
            }
        }
    }

    fn crash(&mut self, kind: CrashKind) -> Step {
        let killed = kind == CrashKind::ProcessKill;
        let before = if killed { tears::Files::new() } else { self.sim.raw().durable() };
        let torn = if killed { noise::Torn::default() } else { self.torn(&before) };
        if self.sim.counters().writes_into_holes > 0 {
            return self.fail("something was written into room that had been given back");
        }
        let report = catch(&self.ledger, || self.sim.crash(kind))?;
        if report.in_flight + report.sectors_kept + report.sectors_lost > 0 {
            self.count("crashes/amid unsynced writes");
        }
        let db = self.take_db();
        catch(&self.ledger, move || drop(db))?;
        if !killed {
            let mut tally = self.tally.lock().expect("counting does not panic");
            tears::count_tears(&before, &self.sim.raw().durable(), self.plan.sector, &mut tally);
        }
        self.make_noise(torn);
        self.note_numbers();
        self.power_lost |= !killed;
        self.count(if killed { "crashes/process kill" } else { "crashes/power cut" });
        Ok(())
    }

    /// The store, if it is open; from here on it is not.
    fn take_db(&mut self) -> Option<Db> {
        if let Some(sampler) = &self.sampler {
            sampler.look_at(None);
        }
        self.db.take()
    }

    fn options(&self) -> Options {
        let watch = Watch {
            ledger: self.ledger.clone(),
            sim: self.sim.handle(),
            plan: Arc::clone(&self.plan),
            tally: Arc::clone(&self.tally),
            cache: Arc::clone(&self.cache),
            announced: Mutex::default(),
            // What lies on a disk that lies is not what the engine can answer for.
            looks: self.plan.damage.as_ref().is_none_or(|damage| !damage.lies()),
        };
        let value_cache = self.plan.reads.map_or(0, |reads| reads.cache);
        Options { observer: Some(Arc::new(watch)), value_cache, ..self.plan.options.clone() }
    }

    fn report(mut self, ended: Step) -> Report {
        let time = self.sim.time();
        let injected = self.sim.fault_counts().total();
        if injected > 0 && self.plan.is_faultless() {
            self.ledger.fail(format!("{injected} faults in a run that should have none"));
        }
        let failure = self.ledger.lock().failure.clone();
        let mut tally = mem::take(&mut *self.tally.lock().expect("counting does not panic"));
        tally.add("checks", self.ledger.lock().checks);
        tally.merge(&self.ledger.lock().tally);
        count_sim(&self.sim, &mut tally);
        if let Some(scenario) = self.plan.scenario.filter(|scenario| scenario.is_met(&tally)) {
            tally.one(scenario.mark);
        }
        let report = Report {
            seed: self.plan.seed,
            failure,
            tally,
            time,
            trace_hash: self.sim.trace_hash(),
            landings: mem::take(&mut self.landings),
            trace: self.sim.trace_lines(),
            story: self.sampler.take().map(|sampler| {
                sampler.look_at(None);
                let history = self.ledger.lock().told_all();
                let (samples, runs) = (sampler.take(), sampler.take_runs());
                Box::new(Told { events: self.sim.trace_events(), samples, runs, history })
            }),
        };
        if ended.is_err() && report.failure.is_some() {
            // What failed may be half-way; it is not touched again.
            mem::forget(mem::take(&mut self.db));
            mem::forget(self);
        }
        report
    }
}

fn count_sim(sim: &Sim, tally: &mut Tally) {
    let counters = sim.counters();
    let faults = counters.faults;
    tally.add("faults/reads", faults.reads);
    tally.add("faults/reads of bad sectors", faults.latent_reads);
    tally.add("faults/writes", faults.writes);
    tally.add("faults/writes at a place", counters.failed_there);
    tally.add("faults/syncs", faults.all_syncs());
    tally.add("faults/syncs, data kept", faults.syncs_kept);
    tally.add("faults/syncs, data dropped", faults.syncs_dropped);
    tally.add("faults/syncs, data evicted", faults.syncs_evicted);
    tally.add("faults/opens", faults.opens);
    tally.add("faults/lists", faults.lists);
    tally.add("faults/creates", faults.creates);
    tally.add("faults/renames", faults.renames);
    tally.add("faults/removes", faults.removes);
    tally.add("faults/folder syncs", faults.folder_syncs);
    tally.add("faults/disk full", faults.full);
    tally.add("faults/writes told full", faults.no_room_writes);
    tally.add("faults/syncs told full", faults.no_room_syncs);
    tally.add("faults/names told full", faults.no_room_names);
    tally.add("disk/misreads", counters.misreads);
    tally.add("disk/writes lost", counters.lost_writes);
    tally.add("disk/writes astray", counters.astray_writes);
    tally.add("slow/operations hung", counters.stalls);
    tally.add("slow/device hung", counters.device_stalls);
    tally.add("slow/in parts", counters.in_parts);
    tally.add("slow/timers late", counters.late_timers);
    tally.add("disk/sectors gone bad", counters.bad_sectors);
    tally.add("disk/told full in a spell", counters.in_spells);
    tally.add("disk/evictions", counters.evictions);
    tally.add("disk/torn writes", counters.torn_writes);
    tally.add("disk/sectors lost", counters.sectors_lost);
    tally.add("disk/names lost", counters.names_lost);
    tally.add("disk/writes", counters.writes);
    tally.add("disk/syncs", counters.syncs);
    tally.add("boots", counters.boots);
}
