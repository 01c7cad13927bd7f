//! One caller of many, who knows what every key of its own must hold.
//!
//! A worker waits for each call before it makes the next one, and nobody else writes its keys; so
//! whatever the durability, its next read must give what it wrote last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::future::try_join_all;
use logstor::format::record::record_len;
use logstor::types::{to_u64, to_usize};
use logstor::{Db, Durability, Group, WriteBatch};

use crate::Outcome;
use crate::args::Args;
use crate::latencies::Latencies;
use crate::random::Random;
use crate::value::{key_of, value_of};

/// What all workers did together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) operations: AtomicU64,
    /// Bytes of the records of all writes.
    pub(crate) user_bytes: AtomicU64,
    /// Groups that were to be there: created, dropped, truncated, or found.
    pub(crate) group_calls: AtomicU64,
}

/// A kind of call whose latency is of interest by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    Buffered,
    Written,
    Synced,
    Batch,
    DropGroup,
    TruncateGroup,
}

impl Call {
    pub(crate) const ALL: [(Self, &str); 7] = [
        (Self::Get, "gets"),
        (Self::Buffered, "buffered writes"),
        (Self::Written, "written ones"),
        (Self::Synced, "synced ones"),
        (Self::Batch, "synced batches"),
        (Self::DropGroup, "groups dropped"),
        (Self::TruncateGroup, "groups truncated"),
    ];

    fn place(self) -> usize {
        let at = Self::ALL.iter().position(|&(call, _)| call == self);
        at.expect("the list of all kinds has each of them")
    }
}

/// One caller.
pub(crate) struct Worker {
    number: u64,
    db: Db,
    /// The key of slot s is in the group s modulo their number.
    groups: Vec<Group>,
    /// The version that each slot holds; zero is none.
    slots: Vec<u32>,
    /// A group of this worker alone, for as long as it lasts, and the version of each slot in it.
    scratch: Group,
    scratch_slots: Vec<u32>,
    last_version: u32,
    random: Random,
    counts: Arc<Counts>,
    latencies: Vec<Latencies>,
}

/// Slots of a scratch group.
const SCRATCH: usize = 200;

impl Worker {
    /// The worker of this number, with no key put yet.
    pub(crate) async fn new(
        number: u64,
        db: &Db,
        args: &Args,
        counts: &Arc<Counts>,
    ) -> Outcome<Self> {
        let groups = (0..args.groups).map(|group| db.group(format!("shared {group}")));
        counts.group_calls.fetch_add(args.groups + 1, Ordering::Relaxed);
        let latencies = Call::ALL.map(|_| Latencies::new()).into_iter();
        Ok(Self {
            number,
            db: db.clone(),
            groups: try_join_all(groups).await?,
            slots: vec![0; usize::try_from(args.slots())?],
            scratch: db.group(scratch_name(number)).await?,
            scratch_slots: vec![0; SCRATCH],
            last_version: 0,
            random: Random::new(args.seed << 32 ^ number),
            counts: Arc::clone(counts),
            latencies: latencies.collect::<Result<_, _>>()?,
        })
    }

    /// Goes on with the same keys in another opening of the store.
    pub(crate) async fn enter(&mut self, db: &Db) -> Outcome<()> {
        let groups = self.groups.iter().map(|group| db.group(group.name()));
        self.groups = try_join_all(groups).await?;
        self.scratch = db.group(scratch_name(self.number)).await?;
        self.db = db.clone();
        Ok(())
    }

    /// How long the calls of this kind took.
    pub(crate) fn latencies(&self, call: Call) -> &Latencies {
        &self.latencies[call.place()]
    }

    /// Makes one call, as the dice fall.
    pub(crate) async fn turn(&mut self) -> Outcome<()> {
        match self.random.below(1000) {
            0..440 => {
                let slot = self.any_slot();
                self.check_slot(slot).await?;
            }
            440..890 => self.put().await?,
            890..965 => self.delete().await?,
            965..975 => self.batch().await?,
            975..999 => self.put_scratch().await?,
            _ if self.random.below(20) == 0 => self.renew_scratch().await?,
            _ => self.check_scratch().await?,
        }
        self.counts.operations.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Reads every key that this worker has anywhere; how many there are.
    pub(crate) async fn check_all(&mut self) -> Outcome<u64> {
        for slot in 0..self.slots.len() {
            self.check_slot(slot).await?;
        }
        for slot in 0..SCRATCH {
            let (group, version) = (&self.scratch, self.scratch_slots[slot]);
            check(group, &key_of(self.number, to_u64(slot)), version).await?;
        }
        let there = |slots: &[u32]| slots.iter().filter(|&&version| version > 0).count();
        Ok(to_u64(there(&self.slots) + there(&self.scratch_slots)))
    }

    /// Four in five times one of the first fifth of the slots.
    fn any_slot(&mut self) -> usize {
        let all = to_u64(self.slots.len());
        let some = if self.random.fraction() < 0.8 { all.div_ceil(5) } else { all };
        usize::try_from(self.random.below(some)).unwrap_or(0)
    }

    fn key(&self, slot: usize) -> (Group, [u8; 16]) {
        let group = self.groups[slot % self.groups.len()].clone();
        (group, key_of(self.number, to_u64(slot)))
    }

    fn durability(&mut self) -> (Durability, Call) {
        match self.random.below(20) {
            0..17 => (Durability::Buffered, Call::Buffered),
            17 => (Durability::Written, Call::Written),
            _ => (Durability::Synced, Call::Synced),
        }
    }

    fn next_version(&mut self) -> u32 {
        self.last_version += 1;
        self.last_version
    }

    async fn check_slot(&mut self, slot: usize) -> Outcome<()> {
        let (group, key) = self.key(slot);
        let start = Instant::now();
        check(&group, &key, self.slots[slot]).await?;
        self.note(Call::Get, start);
        Ok(())
    }

    async fn put(&mut self) -> Outcome<()> {
        let (slot, version) = (self.any_slot(), self.next_version());
        let ((group, key), (durability, call)) = (self.key(slot), self.durability());
        let value = value_of(&key, version);
        self.count(&key, value.len());
        let start = Instant::now();
        group.put_with(key, value, durability).await?;
        self.note(call, start);
        self.slots[slot] = version;
        Ok(())
    }

    async fn delete(&mut self) -> Outcome<()> {
        let slot = self.any_slot();
        let ((group, key), (durability, call)) = (self.key(slot), self.durability());
        if self.slots[slot] > 0 {
            self.count(&key, 0); // nothing is written where nothing was
        }
        let start = Instant::now();
        group.delete_with(key, durability).await?;
        self.note(call, start);
        self.slots[slot] = 0;
        Ok(())
    }

    /// Puts two keys and deletes one, which may be in three groups, at once.
    async fn batch(&mut self) -> Outcome<()> {
        let (version, mut batch) = (self.next_version(), WriteBatch::new());
        let [one, two, gone] = [(); 3].map(|()| self.any_slot());
        for slot in [one, two] {
            let (group, key) = self.key(slot);
            let value = value_of(&key, version);
            self.count(&key, value.len());
            batch.put(&group, key, value);
        }
        let (group, key) = self.key(gone);
        self.count(&key, 0);
        batch.delete(&group, key);
        let start = Instant::now();
        self.db.write(batch).await?;
        self.note(Call::Batch, start);
        (self.slots[one], self.slots[two]) = (version, version);
        self.slots[gone] = 0; // the last one, should it be the same
        Ok(())
    }

    async fn put_scratch(&mut self) -> Outcome<()> {
        let (slot, version) = (self.any_scratch(), self.next_version());
        let key = key_of(self.number, to_u64(slot));
        let value = value_of(&key, version);
        self.count(&key, value.len());
        self.scratch.put_with(key, value, Durability::Buffered).await?;
        self.scratch_slots[slot] = version;
        Ok(())
    }

    async fn check_scratch(&mut self) -> Outcome<()> {
        let slot = self.any_scratch();
        check(&self.scratch, &key_of(self.number, to_u64(slot)), self.scratch_slots[slot]).await
    }

    fn any_scratch(&mut self) -> usize {
        usize::try_from(self.random.below(to_u64(SCRATCH))).unwrap_or(0)
    }

    /// Empties the scratch group, by truncating it or by dropping it and creating it again;
    /// nothing old may be in it.
    async fn renew_scratch(&mut self) -> Outcome<()> {
        let name = scratch_name(self.number);
        self.counts.group_calls.fetch_add(2, Ordering::Relaxed);
        let drops = self.random.below(2) == 0;
        let start = Instant::now();
        if drops {
            self.db.drop_group(&name).await?;
            self.note(Call::DropGroup, start);
            self.scratch = self.db.group(&name).await?;
        } else {
            self.db.truncate_group(&name).await?;
            self.note(Call::TruncateGroup, start);
        }
        self.scratch_slots.fill(0);
        self.check_scratch().await
    }

    fn note(&mut self, call: Call, start: Instant) {
        self.latencies[call.place()].note(start);
    }

    fn count(&self, key: &[u8], value_len: usize) {
        let len = record_len(key.len(), value_len).map_or(0, |len| to_usize(len.get()));
        self.counts.user_bytes.fetch_add(to_u64(len), Ordering::Relaxed);
    }
}

fn scratch_name(number: u64) -> String {
    format!("worker {number}")
}

/// Reads a key, which must have this version of its value.
async fn check(group: &Group, key: &[u8; 16], version: u32) -> Outcome<()> {
    let found = group.get(key).await?;
    let expected = (version > 0).then(|| value_of(key, version));
    if found == expected {
        return Ok(());
    }
    let begins = |value: &bytes::Bytes| format!("{} bytes, {:02x?}", value.len(), &value[..12]);
    Err(format!(
        "key {key:02x?} of group {:?} has {:?} instead of version {version}, {:?}",
        group.name(),
        found.as_ref().map(begins),
        expected.as_ref().map(begins),
    )
    .into())
}
