//! A store that lives on after damage: one client at work, then an end, then another opening.
//!
//! Absent on purpose: many clients. What they see of each other is checked elsewhere; here every
//! answer has to have one reason.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use logstor_core::{CompactRequest, Db, Error, ErrorKind, Group, RecoveryMode};
use logstor_io_sim::{CrashKind, Faults, Handle, SimRng};

use super::model::{Answer, Key, Model};
use super::{Case, Run, Step};
use crate::guard::{catch, tagged};
use crate::ledger::Ledger;
use crate::plan::{Plan, draw_stop};
use crate::value::{self, Value};

/// Time in which a store does what it has to do.
const SETTLING: Duration = Duration::from_secs(300);
/// How long nothing may happen after that.
const RESTING: Duration = Duration::from_secs(120);

/// The most that an opening misreads, per million. It looks twice at what nothing vouches for, and
/// three times where the two differ: more would be two misreads of one block that agree.
const OPENING_MISREADS: u32 = 10_000;

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Crash,
    Kill,
}

impl Run {
    /// One use of the store, its end, and the next opening.
    pub(super) fn round(&mut self, case: &mut Case, round: u64, ops: u64) -> Step {
        let rng = &mut SimRng::new(self.plan.seed, &format!("round {round}"));
        let end = *rng.pick(&[End::Close, End::Crash, End::Kill]);
        if rng.chance(1, 3) {
            self.sim.stop_at(draw_stop(rng, 9, 8));
        }
        self.note(&format!("round {round}"));
        let Some(db) = self.db.clone() else { return self.fail("the store is not open") };
        let model = Arc::new(Mutex::new(std::mem::take(&mut case.model)));
        let client = Survivor {
            misreads: case.misread > 0,
            db,
            plan: Arc::clone(&self.plan),
            sim: self.sim.handle(),
            ledger: self.ledger.clone(),
            model: Arc::clone(&model),
            rng: rng.clone(),
            name: format!("new in round {round}"),
        };
        let clock = self.sim.boot().clock;
        // A victim that cannot be read right is tried again and again.
        let settle = rng.coin() && case.misread == 0;
        self.sim.set_faults(Faults { misread: case.misread, ..Faults::none() });
        let ended = self.run(async move {
            let client = client.work(ops).await;
            if settle {
                clock.sleep(SETTLING).await;
                let before = client.db.stats().compaction;
                clock.sleep(RESTING).await;
                let after = client.db.stats().compaction;
                if (before.runs, before.runs_failed) != (after.runs, after.runs_failed) {
                    client.ledger.fail(format!(
                        "compaction does not come to rest: {before:?}, then {after:?}"
                    ));
                }
            }
            if end == End::Close
                && let Err(error) = client.db.close().await
            {
                client.ledger.fail(format!("the store does not close: {error:?}"));
            }
        })?;
        self.sim.clear_stops();
        case.model = std::mem::take(&mut model.lock().unwrap_or_else(PoisonError::into_inner));
        self.count(if ended.is_some() { "damage/rounds" } else { "damage/rounds cut short" });
        match (ended, end) {
            (Some(()), End::Close) => {
                let db = self.take_db();
                catch(&self.ledger, move || drop(db))?;
            }
            (_, End::Kill) => self.crash(CrashKind::ProcessKill)?,
            _ => self.crash(CrashKind::POWER_CUT)?,
        }
        self.open_again(case)
    }

    /// An opening that reads other bytes than those that lie there; whether it came to its end. If
    /// it did, the store shows what it must.
    fn open_misreading(&mut self, case: &mut Case) -> Step<bool> {
        match self.open_as(case.mode, case.misread.min(OPENING_MISREADS))? {
            Ok(db) => {
                self.count("damage/opened, misreading");
                // What seemed damaged seems so until the next opening.
                let mut shown = self.show(&db)?;
                shown.keys.retain(|_, answer| *answer != Answer::Corrupt);
                case.model.settle(&shown);
                self.judge(case, &shown)?;
                self.db = Some(db);
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Corruption | ErrorKind::Invalid | ErrorKind::Io
                ) =>
            {
                self.count("damage/refused, misreading");
                Ok(false)
            }
            Err(error) => self.fail(format!("refused for another reason: {error:?}")),
        }
    }

    fn open_again(&mut self, case: &mut Case) -> Step {
        if case.misread > 0 && self.open_misreading(case)? {
            return Ok(());
        }
        match self.open_as(case.mode, 0)? {
            Ok(db) => {
                if case.mode == RecoveryMode::Salvage {
                    let losses = db.recovery_report().losses.clone();
                    self.loosen(case, &losses, true);
                    if !losses.is_empty() {
                        Self::loosen_torn(case);
                    }
                }
                let shown = self.show(&db)?;
                case.model.settle(&shown);
                self.judge(case, &shown)?;
                self.db = Some(db);
                Ok(())
            }
            Err(error) if case.mode == RecoveryMode::Normal => {
                self.count("damage/refused later");
                self.refused(case, &error, true)
            }
            Err(error) => self.fail(format!("it cannot be salvaged again: {error:?}")),
        }
    }
}

/// The one who uses the store after the damage.
struct Survivor {
    /// Reads may give anything.
    misreads: bool,
    db: Db,
    plan: Arc<Plan>,
    sim: Handle,
    ledger: Ledger,
    model: Arc<Mutex<Model>>,
    rng: SimRng,
    name: String,
}

impl Survivor {
    async fn work(mut self, ops: u64) -> Self {
        for op in 0..ops {
            if self.ledger.has_failed() {
                return self;
            }
            self.act(op).await;
        }
        self
    }

    fn model(&self) -> std::sync::MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn act(&mut self, op: u64) {
        let name = if op == 0 && self.rng.coin() {
            self.name.clone()
        } else {
            let names = self.db.groups();
            if names.is_empty() { self.name.clone() } else { self.rng.pick(&names).clone() }
        };
        let Some(group) = self.group(&name).await else { return };
        let key = (group.id().get(), self.rng.index(self.plan.keys.len()));
        match self.rng.below(20) {
            0..8 => self.put(&group, key).await,
            8..11 => self.delete(&group, key).await,
            11..17 => self.get(&group, key).await,
            17 => self.compact().await,
            18 => {
                if let Err(error) = self.db.flush().await {
                    self.ledger.fail(format!("it does not flush: {error:?}"));
                }
            }
            _ => {
                drop(self.db.stats());
                self.scan(&group).await;
            }
        }
    }

    async fn group(&mut self, name: &str) -> Option<Group> {
        let known = self.db.groups().iter().any(|known| known == name);
        let op = self.ledger.begin("group", logstor_core::Durability::Synced);
        if !known {
            self.model().being_made = Some(name.to_owned());
        }
        let db = self.db.clone();
        match tagged(&self.ledger, op, None, db.group(name)).await? {
            Ok(group) => {
                let id = group.id().get();
                let mut model = self.model();
                model.being_made = None;
                if !known {
                    self.sim.note(format!("group {name:?} is {id}"));
                    if !model.ids.insert(id) && !model.ids_lost {
                        self.ledger.fail(format!("the id of group {id} was given out before"));
                    }
                    model.groups.insert(id, Some(name.to_owned()));
                }
                drop(model);
                Some(group)
            }
            Err(error) => {
                self.may_be_full("group", &error);
                self.model().being_made = None;
                None
            }
        }
    }

    /// A write was refused: for lack of room, and for nothing else.
    fn may_be_full(&self, what: &str, error: &Error) {
        if error.kind() != ErrorKind::Full {
            self.ledger.fail(format!("{what}: {error:?}"));
        }
    }

    async fn put(&mut self, group: &Group, key: Key) {
        let most = self.db.limits().value_len;
        let len = match self.rng.below(4) {
            0 => self.rng.index(20),
            1 => self.rng.index(most + 1),
            _ => self.rng.index(3000),
        };
        let bytes = value::make(self.rng.bits(), len);
        let value = value::parse(&bytes).ok();
        self.write(group, key, value, Some(bytes)).await;
    }

    async fn delete(&mut self, group: &Group, key: Key) {
        self.write(group, key, None, None).await;
    }

    async fn write(
        &mut self,
        group: &Group,
        key: Key,
        value: Option<Value>,
        bytes: Option<bytes::Bytes>,
    ) {
        let name = self.plan.keys[key.1].clone();
        self.sim.note(format!("write {key:?}: {value:?}"));
        let before = self.model().keys.get(&key).cloned();
        self.model().is_written(key, value);
        let mut options = logstor_core::WriteOptions::default();
        options.durability = Some(logstor_core::Durability::Synced);
        let written = match bytes {
            Some(bytes) => group.put_with(&name, bytes, options).await,
            None => group.delete_with(&name, options).await,
        };
        match written {
            Ok(()) => self.model().was_written(key, value),
            Err(error) => {
                self.may_be_full("write", &error);
                if let Some(before) = before {
                    self.model().keys.insert(key, before);
                }
            }
        }
    }

    async fn get(&mut self, group: &Group, key: Key) {
        let answer = match group.get(&self.plan.keys[key.1]).await {
            Ok(value) => match value.as_deref().map(value::parse).transpose() {
                Ok(value) => Answer::Is(value),
                Err(what) => return self.ledger.fail(format!("{key:?}: {what}")),
            },
            Err(error) if error.kind() == ErrorKind::Corruption => Answer::Corrupt,
            Err(error) => return self.ledger.fail(format!("get {key:?}: {error:?}")),
        };
        if self.misreads && answer == Answer::Corrupt {
            return;
        }
        let judged = self.model().judge(key, answer);
        if let Err(what) = judged {
            self.ledger.fail(what);
        }
    }

    /// What a scan shows is right, and what is damaged does not end it. What it does not show may
    /// be what it could not read.
    async fn scan(&mut self, group: &Group) {
        let mut scan = group.scan();
        while let Some(next) = scan.next().await {
            let entry = match next {
                Ok(entry) => entry,
                Err(error) if error.kind() == ErrorKind::Corruption => continue,
                Err(error) => return self.ledger.fail(format!("a scan: {error:?}")),
            };
            let key = self.plan.keys.iter().position(|key| **key == *entry.key);
            let value = entry.value.whole().map(|value| value::parse(value)).transpose();
            let (Some(key), Ok(value)) = (key, value) else {
                return self.ledger.fail(format!("a scan shows what nobody wrote: {entry:?}"));
            };
            let Some(value) = value else { continue }; // large
            let judged = self.model().judge((group.id().get(), key), Answer::Is(Some(value)));
            if let Err(what) = judged {
                return self.ledger.fail(format!("a scan: {what}"));
            }
        }
    }

    async fn compact(&mut self) {
        let percent = *self.rng.pick(&[0, 6, 50]);
        let request = CompactRequest::default().reclaimable_percent(percent);
        match self.db.compact(request).await {
            Ok(report) => self.sim.note(format!("compacted: {report:?}")),
            Err(error) if matches!(error.kind(), ErrorKind::Full | ErrorKind::Io) => {
                self.sim.note(format!("compacted: {error}"));
            }
            Err(error) if self.misreads && error.kind() == ErrorKind::Corruption => {
                self.sim.note(format!("compacted: {error}"));
            }
            Err(error) => self.ledger.fail(format!("it does not compact: {error:?}")),
        }
    }
}
