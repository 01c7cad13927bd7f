//! A client: does operations, and judges every answer.
//!
//! | answer | what must be true |
//! |---|---|
//! | `Ok` to a write | all its records were accepted; they survive as far as was promised |
//! | `Ok` to a read | the newest visible value, or one accepted later; never torn, never foreign |
//! | `Io` | a fault of the kind was injected meanwhile |
//! | `Full` | no room that the write may use, no more files to be had, nothing to compact |
//! | `IndexFull` | the index takes the memory that the plan allows, and the write puts something |
//! | `Failed` | a write or a sync of this boot failed |
//! | `GroupDropped`, `NoSuchGroup`, `Closed` | that is so |
//! | `Corruption` | a write did something else than was reported |
//!
//! Absent on purpose: looking at the disk. A client knows what a user knows, and the ledger.

mod compare;
mod full;
mod judge;
mod known;
mod large;
mod look;
mod scan;
mod space;

use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use logstor_core::io::Clock;
use logstor_core::{Db, Durability, Error, ErrorKind, Group, WriteBatch, WriteOptions};
use logstor_io_sim::{FaultCounts, Handle};

pub(crate) use self::judge::{numbers, reclaimable};
use crate::guard::tagged;
use crate::ledger::compares::Meant;
use crate::ledger::{Ledger, OpNumber};
use crate::ops::{Draw, GiveUp, Kind, Write};
use crate::plan::{Numbers, Part, Plan};
use crate::tally::Tally;
use crate::value;

/// What all clients of one opening share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The store.
    pub db: Db,
    /// The simulation.
    pub sim: Handle,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// The facts.
    pub ledger: Ledger,
    /// The plan.
    pub plan: Arc<Plan>,
    /// What was done.
    pub tally: Arc<Mutex<Tally>>,
    /// The faults before this boot.
    pub before: FaultCounts,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    shared: Shared,
    draw: Draw,
    name: String,
    /// The numbers of the operations that it does.
    ops: Numbers,
    /// In a full store: the number of the next one.
    next_op: u64,
    groups: Vec<Option<Group>>,
    /// The last write was refused for lack of room.
    met_full: bool,
    /// Holds compaction back.
    pause: Option<space::Pause>,
    /// A value of which only part was read.
    reading: Option<large::Reading>,
}

/// The longest that any call may take. Nothing is far away in a small store; but whoever waits for
/// room waits for compaction, which tries again less and less often where the device fails, and may
/// be bounded to some KiB a second.
const CALL_TAKES: Duration = Duration::from_secs(600);

/// What a call came to; `None` if it was given up.
type Called<T> = (OpNumber, Option<Result<T, Error>>);

impl Shared {
    /// One more of `what`.
    pub fn count(&self, what: &'static str) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).one(what);
    }

    fn faults(&self) -> FaultCounts {
        self.sim.fault_counts()
    }

    /// Whether anything has failed in this opening.
    pub(crate) fn met_faults(&self) -> bool {
        self.faults().total() > self.before.total()
    }

    /// Runs one operation that writes to no key, perhaps not to its end.
    async fn call<T>(
        &self,
        what: String,
        durability: Durability,
        give_up: GiveUp,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Called<T> {
        self.call_to_write(what, durability, Meant::default(), give_up, future).await
    }

    /// Runs one operation that means to make these changes, perhaps not to its end.
    async fn call_to_write<T>(
        &self,
        what: String,
        durability: Durability,
        meant: impl Into<Meant>,
        give_up: GiveUp,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Called<T> {
        let op = self.ledger.begin(what.as_str(), durability);
        self.ledger.lock().intends(op, meant);
        let began = self.clock.now();
        self.sim.note(format!("op {op}: {what} ({durability:?}, {give_up:?})"));
        let result = match give_up {
            GiveUp::Never => tagged(&self.ledger, op, None, future).await,
            GiveUp::Polls(polls) => tagged(&self.ledger, op, Some(polls), future).await,
            GiveUp::After(time) => {
                let tagged = tagged(&self.ledger, op, None, future);
                match select(tagged, self.clock.sleep(time)).await {
                    Either::Left((result, _)) => result,
                    Either::Right(_) => None,
                }
            }
        };
        let took = self.clock.now().saturating_sub(began);
        if took > CALL_TAKES {
            self.ledger.fail(format!("op {op} took {took:?}: {what}"));
        }
        let outcome = match &result {
            None => "dropped".to_string(),
            Some(Ok(_)) => "ok".to_string(),
            Some(Err(error)) => format!("{error}"),
        };
        self.sim.note(format!("op {op}: {outcome}"));
        self.count(match &result {
            None => "ops/dropped",
            Some(Ok(_)) => "ops/ok",
            Some(Err(_)) => "ops/refused",
        });
        if let Some(Err(error)) = &result
            && self.plan.is_faultless()
            && !self.was_lied_to()
            && matches!(error.kind(), ErrorKind::Io | ErrorKind::Failed)
        {
            self.ledger.fail(format!("op {op}: {error:?}, and nothing fails in this run"));
        }
        self.ledger.lock().ended(op, outcome);
        (op, result)
    }
}

impl Client {
    /// The client of an epoch that has this part in it.
    #[must_use]
    pub fn new(shared: Shared, epoch: u64, part: &Part) -> Self {
        let name = format!("client {epoch}.{}", part.client);
        let draw = Draw::new(Arc::clone(&shared.plan), name.clone(), shared.db.limits());
        let groups = vec![None; shared.plan.groups.len()];
        let ops = part.ops.clone();
        Self {
            shared,
            draw,
            name,
            ops,
            next_op: 0,
            groups,
            met_full: false,
            pause: None,
            reading: None,
        }
    }

    /// Does its operations.
    pub async fn run(mut self) {
        for op in self.ops.iter() {
            self.draw.begin(op);
            self.keeps_still();
            if self.shared.ledger.has_failed() {
                return;
            }
            if let Some(pause) = self.draw.pause() {
                self.shared.clock.sleep(pause).await;
            }
            let over = {
                let facts = self.shared.ledger.lock();
                facts.closing || facts.gave_up
            };
            if over && self.draw.rng.chance(1, 4) {
                return;
            }
            let kind = if mem::take(&mut self.met_full) && self.draw.rng.coin() {
                Kind::MakeRoom
            } else {
                self.draw.kind()
            };
            self.act(kind).await;
        }
    }

    async fn act(&mut self, kind: Kind) {
        match kind {
            Kind::Put => {
                let (write, feed) = self.draw.single();
                self.put_one(write, feed).await;
            }
            Kind::Delete => {
                let write = self.draw.delete();
                self.write(vec![write], false).await;
            }
            Kind::Batch => {
                let writes = self.draw.batch();
                self.write(writes, true).await;
            }
            Kind::Get => self.read().await,
            Kind::Flush => self.flush().await,
            Kind::Group => {
                let group = self.draw.group();
                self.group(group).await;
            }
            Kind::DropGroup => self.drop_group().await,
            Kind::List => self.list(),
            Kind::Stats => self.stats(),
            Kind::OverLimit => self.over_limit().await,
            Kind::Compact => self.compact().await,
            Kind::Separate => self.separate().await,
            Kind::Truncate => self.truncate().await,
            Kind::Resize => self.resize().await,
            Kind::Pause => self.pause(),
            Kind::Scan => self.scan().await,
            Kind::Compare => self.compare().await,
            Kind::MakeRoom => self.make_room().await,
        }
    }

    /// A handle of the group, asked for if there is none yet; now and then a stale one.
    async fn handle(&mut self, group: usize) -> Option<Group> {
        if let Some(handle) = &self.groups[group] {
            let dropped = self.shared.ledger.lock().is_dropped(handle.id().get());
            if !dropped || self.draw.rng.chance(1, 4) {
                return Some(handle.clone());
            }
        }
        self.group(group).await;
        self.groups[group].clone()
    }

    async fn group(&mut self, group: usize) {
        let name = self.shared.plan.groups[group];
        let give_up = self.draw.give_up();
        let what = format!("{}: group {name:?}", self.name);
        let db = self.shared.db.clone();
        let call = self.shared.call(what, Durability::Synced, give_up, db.group(name));
        self.groups[group] = None;
        match call.await {
            (_, None) => {}
            (op, Some(Ok(handle))) => {
                let mut facts = self.shared.ledger.lock();
                facts.succeeded(op);
                facts.was_given(name, handle.id().get());
                if facts.was_there_before(name, handle.id().get()) {
                    self.shared.count("marks/group made again");
                }
                self.groups[group] = Some(handle);
            }
            (op, Some(Err(error))) => {
                self.met_full = error.kind() == ErrorKind::Full;
                self.shared.judge(op, &error, true, &[]);
            }
        }
    }

    async fn drop_group(&mut self) {
        let name = self.shared.plan.groups[self.draw.group()];
        let give_up = self.draw.give_up();
        let what = format!("{}: drop group {name:?}", self.name);
        let db = self.shared.db.clone();
        let called = self.shared.call(what, Durability::Synced, give_up, db.drop_group(name)).await;
        match called {
            (_, None) => {}
            (op, Some(Ok(()))) => {
                self.shared.count("marks/group dropped");
                self.shared.ledger.lock().succeeded(op);
            }
            (_, Some(Err(Error::NoSuchGroup { .. }))) => self.no_such_group(name),
            (op, Some(Err(error))) => self.shared.judge(op, &error, false, &[]),
        }
    }

    /// The store says that there is no such group.
    fn no_such_group(&self, name: &str) {
        let without = format!("no group {name:?}");
        let mut facts = self.shared.ledger.lock();
        facts.witness(&without, |state| !state.names().iter().any(|n| **n == *name));
    }

    /// Writes; `true` if that is done.
    async fn write(&mut self, writes: Vec<Write>, batch: bool) -> bool {
        let mut resolved: Vec<(Group, Vec<u8>, Option<Bytes>)> = Vec::new();
        let mut changes = Vec::new();
        for write in &writes {
            let Some(group) = self.handle(write.group).await else {
                return false;
            };
            let key = self.shared.plan.keys[write.key].clone();
            let number = self.draw.rng.bits();
            changes.push(write.change(group.id().get(), number));
            resolved.push((group, key, write.len.map(|len| value::make(number, len))));
        }
        let mut options = WriteOptions::default();
        options.durability = self.draw.durability();
        let level = options.durability.unwrap_or(self.shared.plan.options.durability);
        let give_up = self.draw.give_up();
        let what = format!("{}: {}", self.name, told(&writes, &resolved));
        let ids: Vec<u32> = resolved.iter().map(|(group, ..)| group.id().get()).collect();
        let puts = writes.iter().any(|write| write.len.is_some());
        let db = self.shared.db.clone();
        let future = async move {
            let mut resolved = resolved;
            if batch {
                return db.write_with(batch_of(resolved), options).await;
            }
            let (group, key, value) = resolved.pop().expect("one write");
            match value {
                Some(value) => group.put_with(key, value, options).await,
                None => group.delete_with(key, options).await,
            }
        };
        let before = self.before(&writes, &ids);
        let called = self.shared.call_to_write(what, level, changes, give_up, future);
        let (op, result) = called.await;
        match result {
            None => false,
            Some(Ok(())) => {
                if !self.deleted_nothing((op, level), before, &writes, &ids) {
                    self.wrote(op, &writes);
                }
                if puts && mem::take(&mut self.shared.ledger.lock().was_full) {
                    self.shared.count("marks/no longer full");
                }
                true
            }
            Some(Err(error)) => {
                self.met_full = puts && error.kind() == ErrorKind::Full;
                self.shared.ledger.lock().was_full |= self.met_full;
                self.shared.judge(op, &error, puts, &ids);
                false
            }
        }
    }

    /// Drops or empties a group, or deletes all keys of one.
    async fn make_room(&mut self) {
        match self.draw.rng.below(4) {
            0 => return self.drop_group().await,
            1 => return self.truncate().await,
            _ => {}
        }
        let group = self.draw.group();
        let keys = 0..self.shared.plan.keys.len();
        self.write(keys.map(|key| Write { group, key, len: None }).collect(), true).await;
    }

    /// How many records there are, and the floor of the first key of a write that is to begin.
    fn before(&self, writes: &[Write], ids: &[u32]) -> (usize, Option<usize>) {
        let facts = self.shared.ledger.lock();
        let first = writes.first().zip(ids.first());
        (facts.history.len(), first.and_then(|(write, &group)| facts.floor(group, write.key)))
    }

    /// Whether a call that returned `Ok` deleted a key that was nowhere, at some moment of it; then
    /// what was accepted before has come as far as the caller asked for.
    fn deleted_nothing(
        &self,
        (op, level): (OpNumber, Durability),
        (before, floor): (usize, Option<usize>),
        writes: &[Write],
        ids: &[u32],
    ) -> bool {
        let ([Write { len: None, key, .. }], [group]) = (writes, ids) else { return false };
        let mut facts = self.shared.ledger.lock();
        if facts.records_of(op) > 0 {
            return false;
        }
        facts.succeeded(op);
        let (slot, accepted) = ((*group, *key), facts.history.len());
        if before == accepted {
            facts.seen_absent(slot, accepted);
        } else {
            facts.seen(slot, floor, accepted, None);
        }
        facts.came_to(before, level);
        true
    }

    /// A write returned `Ok`.
    fn wrote(&self, op: OpNumber, writes: &[Write]) {
        let mut facts = self.shared.ledger.lock();
        let made = facts.records_of(op);
        facts.succeeded(op);
        if made != writes.len() {
            let asked = writes.len();
            facts.fail(format!("op {op} is done with {made} records of {asked}"));
        }
    }

    async fn flush(&mut self) {
        let give_up = self.draw.give_up();
        flush(&self.shared, format!("{}: flush", self.name), give_up).await;
    }
}

/// Makes everything durable; everything accepted before must then survive.
pub async fn flush(shared: &Shared, what: String, give_up: GiveUp) {
    let (ledger, db) = (shared.ledger.clone(), shared.db.clone());
    let future = async move {
        let accepted = ledger.lock().history.len();
        db.flush().await.map(|()| accepted)
    };
    match shared.call(what, Durability::Synced, give_up, future).await {
        (_, None) => {}
        (_, Some(Ok(accepted))) => shared.ledger.lock().require(accepted),
        (op, Some(Err(error))) => shared.judge(op, &error, false, &[]),
    }
}

fn batch_of(writes: Vec<(Group, Vec<u8>, Option<Bytes>)>) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (group, key, value) in writes {
        match value {
            Some(value) => batch.put(&group, key, value),
            None => batch.delete(&group, key),
        };
    }
    batch
}

fn told(writes: &[Write], resolved: &[(Group, Vec<u8>, Option<Bytes>)]) -> String {
    let one = |(write, (group, ..)): (&Write, &(Group, Vec<u8>, Option<Bytes>))| {
        let (key, id) = (write.key, group.id());
        match write.len {
            Some(len) => format!("put key {key} of group {id}, {len} bytes"),
            None => format!("delete key {key} of group {id}"),
        }
    };
    let told: Vec<String> = writes.iter().zip(resolved).map(one).collect();
    format!("[{}]", told.join("; "))
}
