//! One worker of a child: the only one who writes its keys, one call after the other.
//!
//! Before a call that writes it says what comes, afterwards whether it was made. A call whose future
//! it dropped may have been made or not: the worker flushes and reads its keys to find out, and
//! holds to all or nothing.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use futures::stream::{self, StreamExt};
use logstor::{CompactRequest, Db, Durability, Error, Group, WriteBatch};
use tokio::sync::watch;

use super::child::{State, Wish, any_capacity, group_name, say, shared_groups, version_at};
use super::dice::Dice;
use super::model::apply;
use super::value::{LEAST_LEN, key_of, value_of, version_of};
use super::wire::{Effect, Said, Slot, Version};
use super::{KEYS, LARGE_KEYS, Outcome, SCRATCH, SHARED, WORKERS};

/// Bytes of a chunk of a value that is streamed.
const CHUNK: usize = 10_000;
/// A value that takes segments of its own is at most so many times the longest that does not.
const LARGEST: u64 = 20;

/// One worker.
pub(super) struct Worker {
    number: u8,
    db: Db,
    shared: Vec<Group>,
    /// None after it was dropped, while there is no room to make it again.
    scratch: Option<Group>,
    round: u32,
    /// What its keys hold.
    state: State,
    last: u32,
    dice: Dice,
}

/// A write as it was said.
struct Write {
    number: u32,
    durability: Durability,
    effects: Vec<Effect>,
}

/// How a call that writes ended.
enum Ended {
    Made,
    Refused,
    Dropped,
}

impl Worker {
    pub(super) async fn new(
        number: u8,
        db: &Db,
        (round, state): (u32, State),
        dice: Dice,
    ) -> Outcome<Self> {
        let shared = shared_groups(db).await?;
        Ok(Self { number, db: db.clone(), shared, scratch: None, round, state, last: 0, dice })
    }

    /// Makes calls until the parent wants no more.
    pub(super) async fn work(mut self, wish: watch::Receiver<Wish>) -> Outcome<()> {
        while *wish.borrow() == Wish::Go {
            let turn = self.turn().await;
            turn.map_err(|error| format!("worker {}: {error}", self.number))?;
        }
        Ok(())
    }

    async fn turn(&mut self) -> Outcome<()> {
        if self.scratch.is_none() {
            self.make_scratch().await?;
        }
        match self.dice.roll(1000) {
            0..380 => self.put().await,
            380..410 => self.put_large().await,
            410..530 => self.delete().await,
            530..680 => self.batch().await,
            680..695 => self.clear().await,
            695..820 => self.read_own().await,
            820..920 => self.read_anothers().await,
            920..930 => self.flush().await,
            930..934 => self.compact().await,
            934..936 if self.number == 0 => self.resize(),
            936..938 if self.number == 1 => self.pause().await,
            938..943 => self.stream_other_while_writing().await,
            _ => {
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }

    // ------------------------------------------------------------------------ writes

    async fn put(&mut self) -> Outcome<()> {
        let write = self.begin(|worker| vec![Effect::Put(worker.any_slot())])?;
        let Effect::Put(slot) = write.effects[0] else { unreachable!("as it was made") };
        let (group, key) = (self.group(slot), key_of(self.number, slot));
        let value = self.value(slot, write.number);
        let call = group.put_with(key, value, write.durability);
        let ended = self.see(call).await?;
        self.end(write, ended).await
    }

    async fn put_large(&mut self) -> Outcome<()> {
        let key = self.dice.pick(LARGE_KEYS);
        let write = self.begin(|_| vec![Effect::Put(Slot { group: 0, key })])?;
        let Effect::Put(slot) = write.effects[0] else { unreachable!("as it was made") };
        let (group, key) = (self.group(slot), key_of(self.number, slot));
        let inline = self.db.limits().value_len;
        let len = inline + 1 + usize::try_from(self.dice.roll(LARGEST))? * inline;
        let version = Version { round: self.round, number: write.number };
        let value = Bytes::from(value_of(self.number, slot, version, len));
        let ended = if self.dice.percent(50) {
            let call = group.put_with(key, value, write.durability);
            self.see(call).await?
        } else {
            let starts = (0..len).step_by(CHUNK);
            let chunk = |at: usize| Ok::<_, Error>(value.slice(at..len.min(at + CHUNK)));
            let chunks = stream::iter(starts.map(chunk));
            let call = group.put_stream_with(key, u64::try_from(len)?, chunks, write.durability);
            self.see(call).await?
        };
        self.end(write, ended).await
    }

    async fn delete(&mut self) -> Outcome<()> {
        let write = self.begin(|worker| vec![Effect::Delete(worker.any_slot())])?;
        let Effect::Delete(slot) = write.effects[0] else { unreachable!("as it was made") };
        let (group, key) = (self.group(slot), key_of(self.number, slot));
        let call = group.delete_with(key, write.durability);
        let ended = self.see(call).await?;
        self.end(write, ended).await
    }

    /// Some puts and deletes of different keys, in several groups.
    async fn batch(&mut self) -> Outcome<()> {
        let write = self.begin(|worker| {
            let count = 2 + worker.dice.roll(5);
            let slots: BTreeSet<Slot> = (0..count).map(|_| worker.any_slot()).collect();
            let mut effect = |slot| {
                if worker.dice.percent(70) { Effect::Put(slot) } else { Effect::Delete(slot) }
            };
            slots.into_iter().map(&mut effect).collect()
        })?;
        let mut batch = WriteBatch::new();
        for &effect in &write.effects {
            match effect {
                Effect::Put(slot) => {
                    // Six of them fit into a segment, whatever its length.
                    let mut value = self.value(slot, write.number);
                    if value.len() > (8 << 10) {
                        let version = Version { round: self.round, number: write.number };
                        value = value_of(self.number, slot, version, 8 << 10);
                    }
                    batch.put(&self.group(slot), key_of(self.number, slot), value);
                }
                Effect::Delete(slot) => {
                    batch.delete(&self.group(slot), key_of(self.number, slot));
                }
                Effect::Clear => unreachable!("as it was made"),
            }
        }
        let db = self.db.clone();
        let call = db.write_with(batch, write.durability);
        let ended = self.see(call).await?;
        self.end(write, ended).await
    }

    /// Empties the worker's own group, by truncating it or by dropping it.
    async fn clear(&mut self) -> Outcome<()> {
        if self.scratch.is_none() {
            return Ok(());
        }
        let name = group_name(self.number, SCRATCH);
        let write = self.begin_as(Durability::Synced, |_| vec![Effect::Clear])?;
        if self.dice.percent(50) {
            let made = made(self.db.truncate_group(&name).await)?;
            return self.end(write, made).await;
        }
        let made = made(self.db.drop_group(&name).await)?;
        if matches!(made, Ended::Made) {
            self.scratch = None;
        }
        self.end(write, made).await
    }

    async fn make_scratch(&mut self) -> Outcome<()> {
        match self.db.group(group_name(self.number, SCRATCH)).await {
            Ok(group) => self.scratch = Some(group),
            Err(Error::Full { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// A write of nothing, behind which everything is durable.
    async fn flush(&mut self) -> Outcome<()> {
        let write = self.begin_as(Durability::Synced, |_| Vec::new())?;
        self.db.flush().await?;
        self.end(write, Ended::Made).await
    }

    fn begin(&mut self, effects: impl FnOnce(&mut Self) -> Vec<Effect>) -> Outcome<Write> {
        let durability = match self.dice.roll(10) {
            0..3 => Durability::Buffered,
            3..5 => Durability::Written,
            _ => Durability::Synced,
        };
        self.begin_as(durability, effects)
    }

    /// Says what comes next.
    fn begin_as(
        &mut self,
        durability: Durability,
        effects: impl FnOnce(&mut Self) -> Vec<Effect>,
    ) -> Outcome<Write> {
        self.last += 1;
        let (worker, number, effects) = (self.number, self.last, effects(self));
        say(&Said::Begin { worker, number, durability, effects: effects.clone() })?;
        Ok(Write { number, durability, effects })
    }

    /// Waits for a call, or, now and then, lets go of it after some polls.
    async fn see(&mut self, call: impl Future<Output = logstor::Result<()>>) -> Outcome<Ended> {
        if !self.dice.percent(6) {
            return made(call.await);
        }
        let polls = self.dice.roll(40);
        let patience = async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
        };
        match select(pin!(call), pin!(patience)).await {
            Either::Left((outcome, _)) => made(outcome),
            Either::Right(_) => Ok(Ended::Dropped),
        }
    }

    /// Says what became of a write, and notes it.
    async fn end(&mut self, write: Write, ended: Ended) -> Outcome<()> {
        let (worker, number) = (self.number, write.number);
        let made = match ended {
            Ended::Made => true,
            Ended::Refused => false,
            Ended::Dropped => self.find_out(&write).await?,
        };
        if !made {
            return Ok(say(&Said::Not { worker, number })?);
        }
        let version = Version { round: self.round, number };
        apply(&write.effects, version, &mut self.state);
        say(&Said::Done { worker, number })?;
        Ok(())
    }

    /// Whether a write whose future was dropped was made: all of it, or nothing.
    async fn find_out(&mut self, write: &Write) -> Outcome<bool> {
        self.db.flush().await?;
        let (mut yes, mut no) = (0, 0);
        for &effect in &write.effects {
            let (Effect::Put(slot) | Effect::Delete(slot)) = effect else { continue };
            let found = version_at(&self.group(slot), self.number, slot).await?;
            let put = Version { round: self.round, number: write.number };
            let after = matches!(effect, Effect::Put(_)).then_some(put);
            let before = self.state.get(&slot).copied();
            if found == after && found != before {
                yes += 1;
            } else if found == before && found != after {
                no += 1;
            } else if found != before {
                let number = write.number;
                return Err(format!("{slot} is {found:?} after the dropped {number}").into());
            }
        }
        if yes > 0 && no > 0 {
            return Err(format!("half of the dropped {} was made", write.number).into());
        }
        Ok(yes > 0)
    }

    // ------------------------------------------------------------------------ reads

    async fn read_own(&mut self) -> Outcome<()> {
        let slot = self.any_slot();
        let found = version_at(&self.group(slot), self.number, slot).await?;
        let expected = self.state.get(&slot).copied();
        if found == expected {
            return Ok(());
        }
        Err(format!("{slot} is {found:?} instead of {expected:?}").into())
    }

    /// What is seen of a synced write can never vanish again.
    async fn read_anothers(&mut self) -> Outcome<()> {
        let (worker, group, key) =
            (self.dice.pick(WORKERS), self.dice.pick(SHARED), self.dice.pick(KEYS));
        let slot = Slot { group, key };
        if let Some(version) = version_at(&self.group(slot), worker, slot).await? {
            say(&Said::Saw { worker, version })?;
        }
        Ok(())
    }

    /// A large value of another worker, read piece by piece while its key may be overwritten.
    async fn stream_other_while_writing(&mut self) -> Outcome<()> {
        let (worker, key) = (self.dice.pick(WORKERS), self.dice.pick(LARGE_KEYS));
        let slot = Slot { group: 0, key };
        let found = self.group(slot).get_stream(key_of(worker, slot)).await?;
        let Some(mut stream) = found else { return Ok(()) };
        let mut value = Vec::new();
        while let Some(piece) = stream.next().await {
            value.extend_from_slice(&piece?);
            self.put().await?;
            if self.dice.percent(10) {
                return Ok(()); // the pin goes with the stream
            }
        }
        let version = version_of(worker, slot, &value)?;
        Ok(say(&Said::Saw { worker, version })?)
    }

    // ------------------------------------------------------------------------ the rest

    async fn compact(&mut self) -> Outcome<()> {
        let done = match self.dice.roll(3) {
            0 => self.db.compact(CompactRequest::default()).await,
            1 => {
                let group = self.any_shared();
                self.db.compact(CompactRequest::default().group(group.name())).await
            }
            _ => self.any_shared().separate().await,
        };
        made(done.map(drop)).map(drop)
    }

    fn resize(&mut self) -> Outcome<()> {
        let capacity = any_capacity(&mut self.dice, self.db.stats().segment_len);
        Ok(self.db.resize(Some(capacity))?)
    }

    async fn pause(&mut self) -> Outcome<()> {
        let pause = self.db.pause_compaction();
        tokio::time::sleep(Duration::from_millis(self.dice.roll(20))).await;
        drop(pause);
        Ok(())
    }

    fn any_shared(&mut self) -> Group {
        self.shared[usize::from(self.dice.pick(SHARED))].clone()
    }

    fn any_slot(&mut self) -> Slot {
        let groups = if self.scratch.is_some() { SCRATCH + 1 } else { SHARED };
        Slot { group: self.dice.pick(groups), key: self.dice.pick(KEYS) }
    }

    fn group(&self, slot: Slot) -> Group {
        let own = if slot.group == SCRATCH { self.scratch.as_ref() } else { None };
        own.unwrap_or_else(|| &self.shared[usize::from(slot.group)]).clone()
    }

    /// Mostly short, now and then as long as a record takes.
    fn value(&mut self, slot: Slot, number: u32) -> Vec<u8> {
        let most = match self.dice.roll(10) {
            0..6 => 600,
            6..9 => 8 << 10,
            _ => self.db.limits().value_len,
        };
        let most = u64::try_from(most - LEAST_LEN).expect("a length is a number");
        let more = usize::try_from(self.dice.roll(most + 1)).expect("it is below a length");
        let version = Version { round: self.round, number };
        value_of(self.number, slot, version, LEAST_LEN + more)
    }
}

/// Sorts out what a call said: no room is an answer, anything else is wrong.
fn made(outcome: logstor::Result<()>) -> Outcome<Ended> {
    match outcome {
        Ok(()) => Ok(Ended::Made),
        Err(Error::Full { .. }) => Ok(Ended::Refused),
        Err(error) => Err(error.into()),
    }
}
