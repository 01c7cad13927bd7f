//! One use of the store: clients at work, cut short or ended in one of several ways.
//!
//! Absent on purpose: judging what clients see; they do that themselves.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::join_all;
use logstor_core::io::Environment;
use logstor_core::{Durability, ErrorKind};
use logstor_io_sim::Faults;

use super::{Run, Step, rest};
use crate::client::{Client, Shared, flush};
use crate::guard::catch;
use crate::ops::GiveUp;
use crate::plan::{End, Epoch, Part};

impl Run {
    pub(super) fn shared(&self) -> Shared {
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

    pub(super) fn clients(&self, epoch: &Epoch) -> Vec<Client> {
        let shared = self.shared();
        let client = |part: &Part| Client::new(shared.clone(), epoch.number, part);
        epoch.clients.iter().map(client).collect()
    }

    /// Lets the clients work, and ends the epoch.
    pub(super) fn work(&mut self, epoch: &Epoch) -> Step {
        let &Epoch { end, close_early, calm_end, settle, .. } = epoch;
        if let Some(stop) = epoch.stop {
            self.sim.stop_at(stop);
        }
        self.sim.set_faults(self.faults_of(epoch));
        let shared = self.shared();
        let working = at_work(&self.environment(), self.clients(epoch));
        let sim = self.sim.handle();
        let calm = self.calm();
        let landed = self.sim.counters().landings;
        self.shadows(true);
        let main = async move {
            let mut working = Some(working);
            if !close_early {
                working.take().expect("just made").await;
            }
            if calm_end {
                sim.set_faults(calm);
            }
            if settle && working.is_none() {
                rest::settles(&shared).await;
            }
            let good = finish(&shared, end).await;
            if let Some(working) = working {
                working.await;
            }
            good
        };
        // What it heard of last may be what it waited for; nothing it did then had any effect.
        let ended = self.run(main)?.filter(|_| !self.sim.is_stopped());
        self.shadows(false);
        if let Some(landings) = self.landings.last_mut() {
            landings.in_use = self.sim.counters().landings - landed;
        }
        self.sim.clear_stops();
        self.count_compaction();
        let faults = self.sim.fault_counts();
        if faults.storing() > self.before.storing() && !self.ledger.lock().gave_up {
            self.count("marks/a failed write was outlived");
        }
        match ended {
            None => self.cut_short(epoch),
            Some(good) => self.end(epoch, good),
        }
    }

    /// What goes wrong while clients are at work: a disk that lies does so in the last epoch.
    fn faults_of(&self, epoch: &Epoch) -> Faults {
        let plan = &self.plan;
        let last = plan.epochs.last().is_some_and(|last| last.number == epoch.number);
        match &plan.damage {
            Some(damage) if last => Faults {
                lost_write: damage.lost,
                astray_write: damage.astray,
                silent_max: Some(damage.silent_max),
                ..plan.faults
            },
            _ => plan.faults,
        }
    }

    /// What gets lost while a disk that lies is opened for the last time before it is looked at.
    pub(super) fn lost_in_opening(&self, epoch: &Epoch) -> Faults {
        let faults = self.faults_of(epoch);
        let early = self.plan.damage.as_ref().is_some_and(|damage| damage.lost_early);
        Faults {
            lost_write: if early { faults.lost_write } else { 0 },
            silent_max: faults.silent_max,
            ..Faults::none()
        }
    }

    fn shadows(&self, at_work: bool) {
        if let Some(shadow) = &self.shadow {
            shadow.at_work(at_work, self.sim.counters().effects);
        }
    }

    fn cut_short(&mut self, epoch: &Epoch) -> Step {
        self.count("crashes/in use");
        if let Some(fork) = &epoch.fork {
            self.fork(epoch.crash, fork)?;
        }
        self.crash(epoch.crash)
    }

    fn end(&mut self, epoch: &Epoch, good: bool) -> Step {
        match epoch.end {
            End::Crash | End::FlushThenCrash | End::CloseThenCrash => {
                self.closed_well = epoch.end == End::CloseThenCrash && good;
                self.crash(epoch.crash)
            }
            End::CloseThenOpen => {
                self.closed_well = good;
                drop(self.take_db());
                Ok(())
            }
            End::DropThenOpen => self.drop_handles(),
        }
    }

    /// All handles are gone: the store must bring what it accepted to the device, and end.
    fn drop_handles(&mut self) -> Step {
        let clock = self.sim.boot().clock;
        let db = self.take_db();
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

    /// What compaction did in this opening, as the store says.
    pub(super) fn count_compaction(&self) {
        let Some(db) = &self.db else { return };
        let Ok(stats) = catch(&self.ledger, || db.stats()) else { return };
        let (done, written) = (stats.compaction.done, stats.device.written);
        let mut tally = self.tally.lock().expect("counting does not panic");
        tally.add("compaction/runs", stats.compaction.runs);
        tally.add("compaction/runs failed", stats.compaction.runs_failed);
        tally.add("compaction/segments", done.segments);
        tally.add("compaction/emptied", done.segments_emptied);
        tally.add("compaction/moved", done.records_moved);
        tally.add("compaction/shared", done.records_shared);
        tally.add("compaction/superseded", done.records_superseded);
        tally.add("compaction/tombstones dropped", done.tombstones_dropped);
        tally.add("compaction/KiB copied", written.copies >> 10);
        let causes = stats.compaction.causes;
        tally.add("compaction/for a request", causes.requests);
        tally.add("compaction/for separation", causes.separation);
        tally.add("compaction/for room", causes.room);
        tally.add("compaction/for space", causes.space);
        tally.add("compaction/for tombstones", causes.tombstones);
        tally.add("compaction/to shrink", causes.shrink);
        tally.add("waits/for room", stats.waits.room);
        tally.add("waits/for memory", stats.waits.memory);
        tally.add("reads/from the cache", stats.cache.hits);
    }

    /// The store must still work: with faults off it flushes, comes to rest, and closes.
    pub(super) fn last_words(&mut self) -> Step {
        self.sim.set_faults(self.calm());
        let shared = self.shared();
        let main = async move {
            flush(&shared, "last flush".into(), GiveUp::Never).await;
            rest::comes_to_rest(&shared).await;
            finish(&shared, End::CloseThenOpen).await
        };
        match self.run(main)? {
            Some(_) => Ok(()),
            None => self.fail("stopped, and nobody asked for it"),
        }
    }
}

/// Spawns the clients; completes when all of them have ended.
fn at_work(environment: &Environment, clients: Vec<Client>) -> impl Future<Output = ()> + use<> {
    let ends = clients.into_iter().map(|client| {
        let (done, ended) = oneshot::channel::<()>();
        let task = async move {
            client.run().await;
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
