//! The simulation: boots, runs, crashes.
//!
//! ```text
//!            boot()            run(main)*            crash(kind)
//!   disk ──────────> handles ────────────> Outcome ─────────────> disk ──> ...
//! ```
//!
//! 1. A boot ends by a crash. Its tasks are dropped, its handles are dead for ever, and then the
//!    disk decides what survived.
//! 2. Everything is a function of the options and of what the code under test does.
//! 3. A fork has the same disk and the same streams: equal code has equal futures on both.
//!
//! Absent on purpose: an orderly shutdown. A process that has closed everything and ends is a
//! process that was killed while it did nothing.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use logstor_core::io::Environment;

use crate::counters::{Counters, FaultCounts};
use crate::device;
use crate::disk::{CrashReport, DiskImage, NameBias, SectorBias};
use crate::env::BootHandle;
use crate::executor::{Executor, Outcome};
use crate::faults::Faults;
use crate::options::{Latencies, SimOptions};
use crate::raw::RawDisk;
use crate::rng::{SimRng, Streams};
use crate::shared::Shared;
use crate::stops::StopAt;
use crate::trace::{Event, EventKind, Recording, digest};
use crate::world::World;

/// How a boot ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// Memory and cache are lost: of what was not synced, each sector and each name survives or
    /// not. A bias that is not given is drawn.
    PowerCut {
        /// For sectors and lengths.
        sectors: Option<SectorBias>,
        /// For names.
        names: Option<NameBias>,
    },
    /// Memory is lost, the cache is kept: what completed stays readable, and stays unsynced.
    ProcessKill,
}

impl CrashKind {
    /// A power cut that draws its biases.
    pub const POWER_CUT: Self = Self::PowerCut { sectors: None, names: None };
}

/// A simulated machine: one disk, one clock, one thread.
///
/// Everything that only looks or adjusts is in [`Handle`], which a `Sim` also is. All methods take
/// `&self`, so a main future may use the `Sim` that runs it; running or crashing from inside a
/// run panics.
#[derive(Debug)]
pub struct Sim {
    handle: Handle,
    executor: RefCell<Executor>,
}

impl Sim {
    /// An empty disk.
    #[must_use]
    pub fn new(options: &SimOptions) -> Self {
        Self::with_image(options, &DiskImage::default())
    }

    /// A disk on which these files lie, durable.
    #[must_use]
    pub fn with_image(options: &SimOptions, image: &DiskImage) -> Self {
        Self::around(World::new(options, image))
    }

    fn around(world: World) -> Self {
        let handle = Handle { shared: Arc::new(Shared::new(world)) };
        Self { handle, executor: RefCell::new(Executor::new()) }
    }

    /// Handles to this boot; after a crash, to the next one.
    ///
    /// Asked again without a crash in between it gives the same boot, with other entropy: as when
    /// a process closes a store and opens it again.
    #[must_use]
    pub fn boot(&self) -> Environment {
        let shared = &self.handle.shared;
        let mut world = shared.world();
        if !world.booted {
            world.booted = true;
            world.counters.boots += 1;
            let boot = world.boot;
            world.note(EventKind::Boot, &[boot], || format!("boot {boot}"));
        }
        let mut entropy = [0; 32];
        world.rng.boot.fill(&mut entropy);
        let handle = BootHandle::new(Arc::clone(shared), world.boot, world.disk.sector());
        drop(world);
        let handle = Arc::new(handle);
        let (storage, clock) = (Arc::clone(&handle), Arc::clone(&handle));
        Environment { storage, clock, spawn: handle, entropy }
    }

    /// Runs `main` and every task of this boot until `main` has ended, or nothing can go on.
    ///
    /// Tasks that are left go on in the next run of the same boot. If `main` did not end, it has
    /// been dropped half-way and the boot stands still for good: only a crash helps.
    ///
    /// # Panics
    ///
    /// If called from inside a run, and with whatever a task panics with.
    pub fn run<F: Future>(&self, main: F) -> Outcome<F::Output> {
        let mut executor = self.executor.try_borrow_mut().expect("a run is not inside a run");
        executor.run(&self.handle.shared, main)
    }

    /// Ends this boot: drops its tasks, kills its handles, and lets the disk decide what survived.
    /// Stops that were set and not reached are forgotten.
    ///
    /// # Panics
    ///
    /// If called from inside a run, and with whatever a destructor panics with.
    pub fn crash(&self, kind: CrashKind) -> CrashReport {
        let mut executor = self.executor.try_borrow_mut().expect("a crash is not inside a run");
        self.handle.end_boot();
        executor.clear();
        // What a destructor spawned before its boot was dead is dropped like the tasks.
        drop(self.handle.shared.take_spawned());
        self.handle.decide(kind)
    }

    /// How many spawned tasks have not ended.
    ///
    /// # Panics
    ///
    /// If called from inside a run.
    #[must_use]
    pub fn tasks_alive(&self) -> usize {
        self.executor.try_borrow().expect("not asked from inside a run").alive()
    }
}

impl Deref for Sim {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.handle.end_boot();
        self.executor.get_mut().clear();
        drop(self.handle.shared.take_spawned());
    }
}

/// What may be asked of a simulation and changed in it at any time, also by its tasks.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.shared.world();
        write!(out, "Handle(seed {}, {:?})", world.seed, world.elapsed())
    }
}

impl Handle {
    /// A copy of this handle, for a task.
    #[must_use]
    pub fn handle(&self) -> Self {
        self.clone()
    }

    /// The seed of the options.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.world().seed
    }

    /// A further stream of the same seed, for the harness. The names of the simulation's own
    /// streams are taken: schedule, latency, faults, device, crash, boot, sector.
    #[must_use]
    pub fn rng(&self, concern: &str) -> SimRng {
        SimRng::new(self.seed(), concern)
    }

    /// Bytes in a sector.
    #[must_use]
    pub fn sector_size(&self) -> u32 {
        self.shared.world().disk.sector()
    }

    /// Virtual time since the simulation began, over all boots.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.shared.world().elapsed()
    }

    /// What goes wrong now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.world().faults
    }

    /// From now on this goes wrong; also for what is in flight.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.world().set_faults(faults);
    }

    /// From now on operations take this long.
    pub fn set_latencies(&self, latencies: Latencies) {
        self.shared.world().latencies = latencies;
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let world = self.shared.world();
        Counters { time: world.elapsed(), ..world.counters }
    }

    /// The faults that were injected so far.
    #[must_use]
    pub fn fault_counts(&self) -> FaultCounts {
        self.shared.world().counters.faults
    }

    /// Stops the run when this is reached, exactly there: what comes after it has no effect.
    /// Several may be set; the first one reached stops.
    pub fn stop_at(&self, stop: StopAt) {
        self.shared.world().stop_at(stop);
    }

    /// Forgets the stops that were set and not reached.
    pub fn clear_stops(&self) {
        self.shared.world().clear_stops();
    }

    /// Stops the run now.
    pub fn stop(&self) {
        self.shared.world().stop("asked to");
    }

    /// Whether this boot stands still.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.world().stopped
    }

    /// Adds a line of the harness's own to the trace, and to its hash.
    pub fn note(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let mut world = self.shared.world();
        world.note(EventKind::Note, &[digest(text.as_bytes())], || text.to_owned());
    }

    /// One number for everything that happened so far.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.shared.world().trace.hash()
    }

    /// The lines of the trace that were kept, see [`SimOptions::recording`].
    #[must_use]
    pub fn trace_lines(&self) -> Vec<String> {
        self.shared.world().trace.lines()
    }

    /// The events behind the lines of [`trace_lines`](Self::trace_lines).
    #[must_use]
    pub fn trace_events(&self) -> Vec<Event> {
        self.shared.world().trace.events()
    }

    /// Keeps these lines from now on; those kept so far are forgotten.
    pub fn record(&self, recording: Recording) {
        self.shared.world().trace.record(recording);
    }

    /// The medium itself, past every handle.
    #[must_use]
    pub fn raw(&self) -> RawDisk {
        RawDisk::new(Arc::clone(&self.shared))
    }

    /// Draws from another seed from now on: a fork that is to have another future than its
    /// original.
    pub fn reseed(&self, seed: u64) {
        let mut world = self.shared.world();
        world.rng = Streams::new(seed);
        world.note(EventKind::Note, &[seed], || format!("reseeded with {seed}"));
    }

    /// The same disk, time, streams and trace, without the tasks. What is in flight is in flight
    /// there too. Cheap: bytes are shared until one side writes.
    ///
    /// Allowed at any time, also from inside a run: to crash a copy and see what would come back.
    #[must_use]
    pub fn fork(&self) -> Sim {
        Sim::around(self.shared.world().fork())
    }

    /// From now on nothing reaches the disk of this boot.
    fn end_boot(&self) {
        let mut world = self.shared.world();
        world.boot += 1;
        world.booted = false;
        world.stopped = false;
        world.clear_stops();
    }

    fn decide(&self, kind: CrashKind) -> CrashReport {
        let mut world = self.shared.world();
        let boot = world.boot;
        world.note(EventKind::Crash, &[boot], || format!("crash: {kind:?}"));
        let report = match kind {
            CrashKind::PowerCut { sectors, names } => {
                world.counters.power_cuts += 1;
                device::cut_power(&mut world, sectors, names)
            }
            CrashKind::ProcessKill => {
                world.counters.process_kills += 1;
                device::kill_process(&mut world)
            }
        };
        let counters = &mut world.counters;
        counters.sectors_kept += report.sectors_kept;
        counters.sectors_lost += report.sectors_lost;
        counters.torn_writes += report.torn_writes;
        counters.names_lost += report.names_lost;
        world.next_boot();
        report
    }
}
