//! Opening the store, whatever happens, and checking what it shows.
//!
//! Absent on purpose: writes. Between an opening and its check nobody writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::{fmt, mem};

use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::{Db, Error, ErrorKind};
use logstor_io_sim::{CrashKind, Faults};

use super::{Landings, Run, Step};
use crate::model::{Change, GroupState, KeyNumber, Record, State, explain};
use crate::plan::{Fork, Opening, Plan, SEGMENT};
use crate::value;

impl Run {
    /// Opens the store, crashing on the way if so drawn, until it is open.
    pub(super) fn open(&mut self, opening: &Opening) -> Step {
        let mut cuts = &opening.cuts[..];
        let all = cuts.len();
        let mut with_faults = opening.faulty;
        loop {
            let faulty = with_faults > 0;
            self.sim.set_faults(if faulty { self.plan.faults } else { self.calm() });
            if let Some(cut) = cuts.first() {
                self.sim.stop_at(cut.stop);
            }
            self.before = self.sim.fault_counts();
            self.note("open");
            let landed = self.sim.counters().landings;
            let open = Db::open(self.environment(), self.options());
            let closed_well = mem::take(&mut self.closed_well);
            let mut opened = self.run(open)?;
            if self.sim.is_stopped() {
                // Open, and cut short in that very moment.
                self.db = opened.take().and_then(Result::ok);
            }
            let failed = self.sim.fault_counts() != self.before;
            self.sim.clear_stops();
            match opened {
                None => {
                    let Some((cut, rest)) = cuts.split_first() else {
                        return self.fail("stopped, and nobody asked for it");
                    };
                    self.count("crashes/in recovery");
                    if cuts.len() < all {
                        self.count("crashes/in recovery, again");
                    }
                    self.crash(cut.crash)?;
                    cuts = rest;
                }
                Some(Ok(db)) => {
                    let opening = self.sim.counters().landings - landed;
                    self.landings.push(Landings { opening, in_use: 0 });
                    return self.opened(db, closed_well && !failed);
                }
                Some(Err(error)) => {
                    with_faults = with_faults.saturating_sub(1);
                    self.open_failed(&error, failed)?;
                }
            }
        }
    }

    /// Faults that remain when everything else is calm: a full disk stays full.
    pub(super) fn calm(&self) -> Faults {
        let Faults { capacity, in_parts, .. } = self.plan.faults;
        Faults { capacity, in_parts, ..self.lost_early }
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
        tally.add("recoveries/segments by their seal", report.segments_sealed);
        tally.add("recoveries/segments walked", report.segments_walked);
        tally.add("recoveries/dump ignored", report.dump_ignored.into());
        drop(tally);
        if !report.losses.is_empty() || !report.damaged.is_empty() {
            return self.fail(format!("damage is reported, and there is none: {report:?}"));
        }
        if dumped && !report.from_dump {
            return self.fail(format!("a clean close left no dump: {report:?}"));
        }
        if let Some(sampler) = &self.sampler {
            sampler.look_at(Some(db.clone()));
        }
        self.db = Some(db);
        Ok(())
    }

    /// Reads everything, and finds the cut that explains it.
    pub(super) fn check(&mut self) -> Step {
        self.sim.set_faults(self.calm());
        self.count_reused();
        let db = self.db.clone().expect("the store is open");
        let (observed, versions) = match self.run(read_all(db, Arc::clone(&self.plan)))? {
            Some(Ok(observed)) => observed,
            Some(Err(what)) => return self.fail(what),
            None => return self.fail("stopped, and nobody asked for it"),
        };
        let mut facts = self.ledger.lock();
        facts.checks += 1;
        // After a failed sync the cache may have lost what was `Written`.
        let faults = self.sim.fault_counts();
        let cache_lost = self.power_lost || faults.all_syncs() > 0;
        let required = facts.required(cache_lost);
        // What is shown with its version is there, though its value may be that of one before it.
        let shown = versions
            .values()
            .max()
            .map_or(0, |&newest| facts.history.partition_point(|record| record.sequence <= newest));
        match explain(&facts.history, required.max(shown), &observed) {
            Ok(cut) => {
                if let Some(what) = other_version(&facts.history[..cut], &versions) {
                    drop(facts);
                    return self.fail(what);
                }
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
            if !entry.name.starts_with("segments-") || entry.name.contains(".new") {
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

    /// The same disk, crashed and recovered apart from this run.
    pub(super) fn fork(&mut self, crash: CrashKind, how: &Fork) -> Step {
        self.count("crashes/on a fork");
        let sim = self.sim.fork();
        sim.reseed(how.world);
        let mut fork = Self::aside(&self.plan, sim, self.ledger.fork(), Arc::clone(&self.tally));
        fork.power_lost = self.power_lost;
        fork.liar.clone_from(&self.liar);
        if let Some(what) = fork.recovers(crash, &how.opening) {
            mem::forget(fork);
            return self.fail(format!("on a fork: {what}"));
        }
        Ok(())
    }

    /// Crashes, opens and checks; what is wrong, if anything.
    pub(super) fn recovers(&mut self, crash: CrashKind, opening: &Opening) -> Option<String> {
        let ended = self.crash(crash).and_then(|()| self.open(opening)).and_then(|()| self.check());
        let failure = self.ledger.lock().failure.clone();
        ended.err().and(failure)
    }
}

/// The version of each key of each group that is there.
type Versions = BTreeMap<(u32, KeyNumber), u64>;

/// A whole store, as a user sees it.
pub(super) type Seen = (State, Versions);

/// A key that is shown with another version than that of the newest record of it.
fn other_version(history: &[Record], shown: &Versions) -> Option<String> {
    let puts = history.iter().filter_map(|record| match record.change {
        Change::Put { group, key, .. } => Some(((group, key), record.sequence)),
        _ => None,
    });
    let newest: Versions = puts.collect();
    let other = shown.iter().find(|(slot, version)| newest.get(slot) != Some(version));
    other.map(|((group, key), version)| {
        let expected = newest.get(&(*group, *key));
        format!("key {key} of group {group} is shown as version {version} instead of {expected:?}")
    })
}

/// Reads everything.
pub(super) async fn read_all(db: Db, plan: Arc<Plan>) -> Result<Seen, String> {
    let (mut state, mut versions) = (State::default(), Versions::new());
    for name in db.groups() {
        let group = db.group(&name).await.map_err(|error| format!("group {name:?}: {error}"))?;
        let mut keys = BTreeMap::new();
        for (number, key) in plan.keys.iter().enumerate() {
            let wrong = |what: &dyn fmt::Display| format!("key {number} of {name:?}: {what}");
            let entry = group.get_entry(key).await.map_err(|error| wrong(&error))?;
            let Some(entry) = entry else { continue };
            let value = match entry.value.whole() {
                Some(value) => Some(value.clone()),
                None => group.get(key).await.map_err(|error| wrong(&error))?,
            };
            let value = value.ok_or_else(|| wrong(&"there, and not there"))?;
            keys.insert(number, value::parse(&value).map_err(|what| wrong(&what))?);
            versions.insert((group.id().get(), number), entry.version.get());
        }
        let state_of_group = GroupState { name: name.into(), keys };
        if state.groups.insert(group.id().get(), state_of_group).is_some() {
            return Err(format!("id {} has two names", group.id()));
        }
    }
    Ok((state, versions))
}
