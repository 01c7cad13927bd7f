//! One seed from its first boot to its last: use, crash anywhere, recover, check.
//!
//! ```text
//!            ┌──────────────── epoch ─────────────────┐
//!   open ──> check ──> clients at work ──> crash, close, or drop of all handles ──> open ...
//!    │ crash                │ crash
//!    └──> open again        └──> on a fork as well: another recovery of the same disk
//! ```
//!
//! 1. After every opening all keys of all groups are read, with faults off, and one cut of the
//!    history must explain everything that was read. From then on nothing before it may vanish,
//!    and nothing behind it may come back.
//! 2. An opening fails only if a fault was injected into it; without faults it succeeds.
//! 3. A run never gets stuck, whatever failed.
//! 4. After a clean close without faults the next opening needs no more than the dump.
//!
//! Absent on purpose: knowledge of the engine's insides, and of the simulated disk's.

use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::join_all;
use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::io::Environment;
use logstor_core::types::Generation;
use logstor_core::{Db, Durability, Error, ErrorKind, Options};
use logstor_io_sim::{CrashKind, FaultCounts, Faults, Outcome, Recording, Sim, SimOptions, SimRng};

use crate::client::{Client, Shared, flush};
use crate::guard::{Panicked, catch, guard_tasks, guarded};
use crate::ledger::Ledger;
use crate::model::{GroupState, State, explain};
use crate::ops::GiveUp;
use crate::plan::{Plan, SEGMENT, draw_stop};
use crate::tally::Tally;
use crate::value;

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
    /// The lines of the trace, if they were asked for.
    pub trace: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, recording: Recording) -> Report {
    let mut run = Run::new(Plan::draw(seed), recording);
    let ended = run.all();
    run.report(ended)
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
    rng: SimRng,
    db: Option<Db>,
    /// Power was lost since the last recovery that was shown.
    power_lost: bool,
    /// The last thing was a close that succeeded, and nothing failed in it.
    closed_well: bool,
    /// The faults before this opening of the store.
    before: FaultCounts,
    /// What each slot of the segment files showed at the last recovery: generation, erased.
    lives: BTreeMap<(String, u64), (Generation, bool)>,
}

/// How an epoch ends, if it is not cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Crash,
    FlushThenCrash,
    CloseThenCrash,
    CloseThenOpen,
    DropThenOpen,
}

impl Run {
    fn new(plan: Plan, recording: Recording) -> Self {
        let options = SimOptions::new(plan.seed)
            .latencies(plan.latencies)
            .recording(recording)
            .max_steps(400_000);
        Self {
            sim: Sim::new(&options),
            ledger: Ledger::new(&plan.keys),
            tally: Arc::default(),
            rng: SimRng::new(plan.seed, "epochs"),
            db: None,
            power_lost: true,
            closed_well: false,
            before: FaultCounts::default(),
            lives: BTreeMap::new(),
            plan: Arc::new(plan),
        }
    }

    fn all(&mut self) -> Step {
        for epoch in 0..self.plan.epochs {
            self.note(&format!("epoch {epoch}"));
            self.open()?;
            self.check()?;
            if self.rng.chance(1, 4) {
                // Nobody wrote: the next recovery must show the same.
                let crash = self.plan.draw_crash(&mut self.rng);
                self.crash(crash)?;
                self.open()?;
                self.check()?;
            }
            self.work(epoch)?;
        }
        self.open()?;
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
        guard_tasks(self.sim.boot(), &self.ledger, &self.sim.handle())
    }

    /// Runs `main`; `None` if it was stopped.
    fn run<F: Future>(&self, main: F) -> Step<Option<F::Output>> {
        let main = guarded(&self.ledger, &self.sim.handle(), main);
        let outcome = self.sim.run(main);
        if self.ledger.has_failed() {
            mem::forget(outcome);
            return Err(Over);
        }
        match outcome {
            Outcome::Done(output) => Ok(Some(output)),
            Outcome::Stopped => Ok(None),
            Outcome::Stuck { waiting } => self.fail(format!("stuck; these wait: {waiting:?}")),
            Outcome::RanTooLong { waiting, .. } => {
                self.fail(format!("no end in sight; these had not ended: {waiting:?}"))
            }
        }
    }

    fn crash(&mut self, kind: CrashKind) -> Step {
        let sim = &self.sim;
        catch(&self.ledger, || sim.crash(kind))?;
        let db = self.db.take();
        catch(&self.ledger, move || drop(db))?;
        let killed = kind == CrashKind::ProcessKill;
        self.power_lost |= !killed;
        self.count(if killed { "crashes/process kill" } else { "crashes/power cut" });
        Ok(())
    }

    fn options(&self) -> Options {
        Options { observer: Some(Arc::new(self.ledger.clone())), ..self.plan.options.clone() }
    }

    /// Opens the store, crashing on the way if so drawn, until it is open.
    fn open(&mut self) -> Step {
        let mut crashes = [0, 0, 1, 3][self.rng.index(4)];
        let mut with_faults = self.rng.index(3);
        loop {
            let faulty = with_faults > 0;
            self.sim.set_faults(if faulty { self.plan.faults } else { self.calm() });
            if crashes > 0 {
                self.sim.stop_at(draw_stop(&mut self.rng, 6, 4));
            }
            self.before = self.sim.fault_counts();
            let open = Db::open(self.environment(), self.options());
            let closed_well = mem::take(&mut self.closed_well);
            let opened = self.run(open)?;
            let failed = self.sim.fault_counts() != self.before;
            self.sim.clear_stops();
            match opened {
                None => {
                    crashes -= 1;
                    self.count("crashes/in recovery");
                    let kind = self.plan.draw_crash(&mut self.rng);
                    self.crash(kind)?;
                }
                Some(Ok(db)) => return self.opened(db, closed_well && !failed),
                Some(Err(error)) => {
                    with_faults = with_faults.saturating_sub(1);
                    self.open_failed(&error, failed)?;
                }
            }
        }
    }

    /// Faults that remain when everything else is calm: a full disk stays full.
    fn calm(&self) -> Faults {
        Faults { capacity: self.plan.faults.capacity, ..Faults::none() }
    }

    fn open_failed(&self, error: &Error, failed: bool) -> Step {
        self.note(&format!("open: {error}"));
        if error.kind() != ErrorKind::Io || !failed {
            return self.fail(format!("the store does not open: {error:?}"));
        }
        self.count("recoveries/failed");
        Ok(())
    }

    fn opened(&mut self, db: Db, dumped: bool) -> Step {
        let report = db.recovery_report();
        self.note(&format!("opened: {report:?}"));
        let what =
            if report.from_dump { "recoveries/from dump" } else { "recoveries/from segments" };
        self.count(what);
        let mut tally = self.tally.lock().expect("counting does not panic");
        tally.add("marks/buffers made void", report.buffers_voided);
        tally.add("marks/buffers made durable", report.buffers_made_durable);
        drop(tally);
        if !report.losses.is_empty() || !report.damaged.is_empty() {
            return self.fail(format!("damage is reported, and there is none: {report:?}"));
        }
        if dumped && !report.from_dump {
            return self.fail(format!("a clean close left no dump: {report:?}"));
        }
        self.db = Some(db);
        Ok(())
    }

    /// Reads everything, and finds the cut that explains it.
    fn check(&mut self) -> Step {
        self.sim.set_faults(self.calm());
        self.count_reused();
        let db = self.db.clone().expect("the store is open");
        let observed = match self.run(read_all(db, Arc::clone(&self.plan)))? {
            Some(Ok(observed)) => observed,
            Some(Err(what)) => return self.fail(what),
            None => return self.fail("stopped, and nobody asked for it"),
        };
        let mut facts = self.ledger.lock();
        facts.checks += 1;
        // After a failed sync the cache may have lost what was `Written`.
        let faults = self.sim.fault_counts();
        let cache_lost = self.power_lost || faults.syncs_kept + faults.syncs_dropped > 0;
        let required = facts.required(cache_lost);
        match explain(&facts.history, required, &observed) {
            Ok(cut) => {
                let (of, lost) = (facts.history.len(), facts.history.len() - cut);
                facts.recovered(cut);
                drop(facts);
                self.note(&format!("recovered {cut} of {of} records, {required} required"));
                self.power_lost = false;
                self.count(if lost > 0 { "marks/recovered less" } else { "marks/recovered all" });
                Ok(())
            }
            Err(unexplained) => {
                let text = unexplained.to_string();
                let text = format!("{text}{}", facts.explain_ops(&text));
                drop(facts);
                self.fail(text)
            }
        }
    }

    /// Counts the slots that show another life than at the last recovery.
    fn count_reused(&mut self) {
        let mut lives = BTreeMap::new();
        for entry in self.sim.raw().list() {
            if !entry.name.starts_with("segments-") || !entry.name.ends_with(".log") {
                continue;
            }
            for at in (0..entry.len).step_by(usize::try_from(SEGMENT).expect("it is small")) {
                let head = self.sim.raw().read(&entry.name, at..at + 512).unwrap_or_default();
                if let Ok(header) = BufferHeader::parse(&head) {
                    let life = (header.generation, header.kind == BufferKind::Void);
                    lives.insert((entry.name.clone(), at), life);
                }
            }
        }
        for (slot, (generation, erased)) in &lives {
            if let Some((before, _)) = self.lives.get(slot) {
                let what = if *erased { "marks/slot erased" } else { "marks/slot reused" };
                if *erased || generation != before {
                    self.count(what);
                }
            }
        }
        self.lives = lives;
    }

    fn shared(&self) -> Shared {
        Shared {
            db: self.db.clone().expect("the store is open"),
            sim: self.sim.handle(),
            clock: self.sim.boot().clock,
            ledger: self.ledger.clone(),
            plan: Arc::clone(&self.plan),
            tally: Arc::clone(&self.tally),
            before: self.before,
        }
    }

    /// Lets the clients work, and ends the epoch.
    fn work(&mut self, epoch: u64) -> Step {
        let end = *self.rng.pick(&[
            End::Crash,
            End::Crash,
            End::FlushThenCrash,
            End::CloseThenCrash,
            End::CloseThenOpen,
            End::DropThenOpen,
        ]);
        let ops = self.rng.between(10, 80);
        let close_early = matches!(end, End::CloseThenCrash | End::CloseThenOpen)
            .then(|| self.rng.chance(1, 4))
            .unwrap_or_default();
        let calm_end = self.rng.coin();
        if self.rng.chance(3, 5) {
            let stop = draw_stop(&mut self.rng, 11, 10);
            self.sim.stop_at(stop);
        }
        self.sim.set_faults(self.plan.faults);
        let shared = self.shared();
        let clients = (0..self.plan.clients)
            .map(|number| Client::new(shared.clone(), format!("client {epoch}.{number}")));
        let working = at_work(self.sim.boot(), clients.collect(), ops);
        let sim = self.sim.handle();
        let calm = self.calm();
        let main = async move {
            let mut working = Some(working);
            if !close_early {
                working.take().expect("just made").await;
            }
            if calm_end {
                sim.set_faults(calm);
            }
            let good = finish(&shared, end).await;
            if let Some(working) = working {
                working.await;
            }
            good
        };
        let ended = self.run(main)?;
        self.sim.clear_stops();
        let faults = self.sim.fault_counts();
        let failures = |f: &FaultCounts| f.writes + f.syncs_kept + f.syncs_dropped;
        if failures(&faults) > failures(&self.before) && !self.ledger.lock().gave_up {
            self.count("marks/a failed write was outlived");
        }
        match ended {
            None => self.cut_short(),
            Some(good) => self.end(end, good),
        }
    }

    fn cut_short(&mut self) -> Step {
        self.count("crashes/in use");
        let crash = self.plan.draw_crash(&mut self.rng);
        if self.rng.chance(1, 4) {
            self.fork(crash)?;
        }
        self.crash(crash)
    }

    fn end(&mut self, end: End, good: bool) -> Step {
        match end {
            End::Crash | End::FlushThenCrash | End::CloseThenCrash => {
                self.closed_well = end == End::CloseThenCrash && good;
                let crash = self.plan.draw_crash(&mut self.rng);
                self.crash(crash)
            }
            End::CloseThenOpen => {
                self.closed_well = good;
                self.db = None;
                Ok(())
            }
            End::DropThenOpen => self.drop_handles(),
        }
    }

    /// All handles are gone: the store must bring what it accepted to the device, and end.
    fn drop_handles(&mut self) -> Step {
        let clock = self.sim.boot().clock;
        let db = self.db.take();
        catch(&self.ledger, move || drop(db))?;
        let before = self.sim.fault_counts();
        self.sim.set_faults(self.calm());
        self.run(async move { clock.sleep(Duration::from_secs(60)).await })?;
        let failed = self.sim.fault_counts().total() > 0 || before.total() > 0;
        if self.sim.tasks_alive() > 0 {
            return self.fail(format!("{} tasks outlive the store", self.sim.tasks_alive()));
        }
        if !failed {
            let mut facts = self.ledger.lock();
            let accepted = facts.history.len();
            facts.require(accepted);
        }
        Ok(())
    }

    /// The same disk, crashed and recovered apart from this run.
    fn fork(&mut self, crash: CrashKind) -> Step {
        self.count("crashes/on a fork");
        let sim = self.sim.fork();
        sim.reseed(self.rng.bits());
        let mut fork = Self {
            plan: Arc::clone(&self.plan),
            sim,
            ledger: self.ledger.fork(),
            tally: Arc::clone(&self.tally),
            rng: self.rng.clone(),
            db: None,
            power_lost: self.power_lost,
            closed_well: false,
            before: FaultCounts::default(),
            lives: BTreeMap::new(),
        };
        let ended = fork.crash(crash).and_then(|()| fork.open()).and_then(|()| fork.check());
        let failure = fork.ledger.lock().failure.clone();
        if let (Err(Over), Some(what)) = (ended, failure) {
            mem::forget(fork);
            return self.fail(format!("on a fork: {what}"));
        }
        Ok(())
    }

    /// The store must still work: with faults off it flushes and closes.
    fn last_words(&mut self) -> Step {
        self.sim.set_faults(self.calm());
        let shared = self.shared();
        let main = async move {
            flush(&shared, "last flush".into(), GiveUp::Never).await;
            finish(&shared, End::CloseThenOpen).await
        };
        match self.run(main)? {
            Some(_) => Ok(()),
            None => self.fail("stopped, and nobody asked for it"),
        }
    }

    fn report(mut self, ended: Step) -> Report {
        let time = self.sim.time();
        let failure = self.ledger.lock().failure.clone();
        let mut tally = mem::take(&mut *self.tally.lock().expect("counting does not panic"));
        tally.add("checks", self.ledger.lock().checks);
        count_sim(&self.sim, &mut tally);
        let report = Report {
            seed: self.plan.seed,
            failure,
            tally,
            time,
            trace_hash: self.sim.trace_hash(),
            trace: self.sim.trace_lines(),
        };
        if ended.is_err() {
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
    tally.add("faults/writes", faults.writes);
    tally.add("faults/syncs, data kept", faults.syncs_kept);
    tally.add("faults/syncs, data dropped", faults.syncs_dropped);
    tally.add("faults/names", faults.names);
    tally.add("faults/disk full", faults.full);
    tally.add("disk/torn writes", counters.torn_writes);
    tally.add("disk/sectors lost", counters.sectors_lost);
    tally.add("disk/names lost", counters.names_lost);
    tally.add("disk/writes", counters.writes);
    tally.add("disk/syncs", counters.syncs);
    tally.add("boots", counters.boots);
}

/// Spawns the clients; completes when all of them have ended.
fn at_work(environment: Environment, clients: Vec<Client>, ops: u64) -> impl Future<Output = ()> {
    let ends = clients.into_iter().map(|client| {
        let (done, ended) = oneshot::channel::<()>();
        let task = async move {
            client.run(ops).await;
            // Nobody waits any more if the main future was stopped.
            let _ = done.send(());
        };
        environment.spawn.spawn("client", Box::pin(task));
        ended
    });
    let ends: Vec<_> = ends.collect();
    async move { drop(join_all(ends).await) }
}

/// Ends the use of a store; `true` if it was closed and nothing failed on the way.
async fn finish(shared: &Shared, end: End) -> bool {
    match end {
        End::Crash | End::DropThenOpen => false,
        End::FlushThenCrash => {
            flush(shared, "flush at the end".into(), GiveUp::Never).await;
            false
        }
        End::CloseThenCrash | End::CloseThenOpen => close(shared).await,
    }
}

async fn close(shared: &Shared) -> bool {
    shared.ledger.lock().closing = true;
    shared.sim.note("close");
    let before = shared.sim.fault_counts().total();
    let closed = shared.db.close().await;
    let failed = shared.sim.fault_counts().total() > before;
    shared.sim.note(format!("closed: {closed:?}"));
    match closed {
        Ok(()) => {
            shared.count("marks/closed");
            let mut facts = shared.ledger.lock();
            let accepted = facts.history.len();
            facts.require(accepted);
            !failed && shared.plan.is_faultless()
        }
        Err(error) => {
            let op = shared.ledger.begin("close", Durability::Synced);
            if error.kind() == ErrorKind::Failed {
                shared.judge_failed(op, &error);
            } else {
                shared.ledger.fail(format!("the store does not close: {error:?}"));
            }
            false
        }
    }
}

/// The whole store, as a user sees it.
async fn read_all(db: Db, plan: Arc<Plan>) -> Result<State, String> {
    let mut state = State::default();
    for name in db.groups() {
        let group = db.group(&name).await.map_err(|error| format!("group {name:?}: {error}"))?;
        let mut keys = BTreeMap::new();
        for (number, key) in plan.keys.iter().enumerate() {
            let value = group.get(key).await;
            let value = value.map_err(|error| format!("key {number} of {name:?}: {error:?}"))?;
            let value = value.as_deref().map(value::parse).transpose();
            if let Some(value) =
                value.map_err(|what| format!("key {number} of {name:?}: {what}"))?
            {
                keys.insert(number, value);
            }
        }
        let state_of_group = GroupState { name: name.into(), keys };
        if state.groups.insert(group.id().get(), state_of_group).is_some() {
            return Err(format!("id {} has two names", group.id()));
        }
    }
    Ok(state)
}
