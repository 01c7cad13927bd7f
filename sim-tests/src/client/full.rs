//! A store that is filled until it is full, relieved, and must then take writes again.
//!
//! 1. Filling ends when a put was told `Full`; that it was true is judged as always.
//! 2. A full store serves reads, and takes deletes, drops and truncations.
//! 3. When at most half of the bytes are left that were live, a put succeeds, soon.
//!
//! Absent on purpose: faults. There the device may be to blame.

use std::time::Duration;

use futures::future::{Either, select};
use logstor_core::Stats;

use super::Client;
use super::judge::numbers;
use crate::ledger::Ledger;
use crate::ops::Write;

/// Operations of one filling or relief at most.
const OPS_MAX: u32 = 600;
/// The longest that a store may take to find room that must be there.
const SOON: Duration = Duration::from_secs(60);
/// Slots that what adds data leaves to deletes and compaction.
const RESERVE: u32 = 4;
/// How long to wait after `Full` before the next try.
const AGAIN: Duration = Duration::from_millis(20);

impl Client {
    fn is_over(&self) -> bool {
        let facts = self.shared.ledger.lock();
        facts.failure.is_some() || facts.closing || facts.gave_up
    }

    /// Begins the next operation; `false` if it is none of those that this client does.
    fn next_op(&mut self) -> bool {
        let op = self.next_op;
        self.next_op += 1;
        self.draw.begin(op);
        self.ops.contains(op)
    }

    /// Puts new keys until one finds no room; `true` if that happened.
    pub async fn fill(&mut self, share: u64, of: u64) -> bool {
        let (keys, groups) = (self.shared.plan.keys.len(), self.shared.plan.groups.len());
        let all = u64::try_from(keys * groups).unwrap_or(u64::MAX);
        let mut next = share * all / of;
        if self.next_op() && self.draw.rng.chance(1, 5) {
            self.pause();
        }
        for _ in 0..OPS_MAX {
            if self.is_over() {
                return false;
            }
            if !self.next_op() {
                continue;
            }
            if self.draw.rng.chance(1, 6) {
                self.read().await;
            }
            let many = if self.draw.rng.coin() { 1 } else { self.draw.rng.between(2, 4) };
            if many == 1 && self.shared.plan.large.is_some() {
                let at = usize::try_from(next % all).unwrap_or(0);
                next += 1;
                let (write, feed) = self.draw.single();
                let write = Write { group: at % groups, key: at / groups, ..write };
                self.met_full = false;
                let before = self.shared.db.stats();
                self.put_one(write, feed).await;
                self.reserve_is_whole(&before);
                if self.met_full {
                    return true;
                }
                continue;
            }
            let mut left = usize::try_from(self.draw.limits.batch_len / 2).unwrap_or(usize::MAX);
            let mut writes = Vec::new();
            for _ in 0..many {
                let at = usize::try_from(next % all).unwrap_or(0);
                next += 1;
                let len = self.draw.put().len.map(|len| len.min(left));
                left -= len.unwrap_or(0);
                writes.push(Write { group: at % groups, key: at / groups, len });
            }
            let batch = many > 1;
            self.met_full = false;
            self.write(writes, batch).await;
            if self.met_full {
                return true;
            }
        }
        self.shared.count("full/never was");
        false
    }

    /// While a store is filled nobody deletes: if compaction began nothing by itself either, nobody
    /// took of the last slots.
    fn reserve_is_whole(&self, before: &Stats) {
        let stats = self.shared.db.stats();
        let (was, is) = (before.segments.free, stats.segments.free);
        let begun = before.compaction.causes != stats.compaction.causes;
        if !before.compaction.running && !begun && was >= RESERVE && is < RESERVE {
            let numbers = numbers(&stats);
            self.shared.ledger.fail(format!("large values took of the last slots: {numbers}"));
        }
    }

    /// Deletes, drops and truncates until at most `target` bytes are live.
    pub async fn relieve(&mut self, target: u64) {
        self.pause = None;
        self.reading = None;
        for _ in 0..OPS_MAX {
            if self.is_over() || self.live_bytes() <= target {
                return;
            }
            if !self.next_op() {
                continue;
            }
            match self.draw.rng.below(24) {
                0 if self.draw.rng.coin() => self.separate().await,
                0 => self.drop_group().await,
                1 => self.truncate().await,
                2..=5 => self.get().await,
                6..=13 => {
                    let write = self.draw.delete();
                    self.write(vec![write], false).await;
                }
                _ => {
                    let group = self.draw.group();
                    let (first, keys) = (self.draw.key(), self.shared.plan.keys.len());
                    let count = (self.draw.rng.index(40) + 1).min(self.deletes_max());
                    let delete = |at: usize| Write { group, key: (first + at) % keys, len: None };
                    self.write((0..count).map(delete).collect(), true).await;
                }
            }
        }
        // What is left goes at once: a group of keys that hardly anybody hits would take long.
        for group in 0..self.shared.plan.groups.len() {
            if self.live_bytes() > target && !self.is_over() {
                self.truncate_one(group).await;
            }
        }
    }

    /// So many deletes fit into a batch, however long their keys are.
    fn deletes_max(&self) -> usize {
        let longest = self.shared.plan.keys.iter().map(Vec::len).max().unwrap_or(0);
        let batch = usize::try_from(self.draw.limits.batch_len / 2).unwrap_or(usize::MAX);
        (batch / (longest + 64)).max(1)
    }

    /// Bytes that are live, once what is on its way has arrived; a large value is as long as its
    /// segments.
    pub fn live_bytes(&self) -> u64 {
        let stats = self.shared.db.stats();
        stats.space.live + u64::from(stats.kinds.large) * stats.segment_len
    }

    /// There must be room for a put: it succeeds, soon.
    pub async fn must_put(&mut self) {
        let clock = std::sync::Arc::clone(&self.shared.clock);
        let deadline = clock.now() + SOON;
        loop {
            // Of these none is left out: that one succeeds is what is to be seen.
            let _ = self.next_op();
            let write = self.draw.put();
            self.met_full = false;
            let left = deadline.saturating_sub(clock.now());
            let put = Box::pin(self.write(vec![write], false));
            let ended = match select(put, clock.sleep(left)).await {
                Either::Left((done, _)) => Some(done),
                Either::Right(_) => None,
            };
            if self.is_over() {
                return;
            }
            if ended == Some(true) {
                return self.shared.count("full/and back");
            }
            if clock.now() >= deadline {
                let stats = self.shared.db.stats();
                return no_room(&self.shared.ledger, ended.is_some(), &stats);
            }
            clock.sleep(AGAIN).await;
        }
    }
}

fn no_room(ledger: &Ledger, refused: bool, stats: &logstor_core::Stats) {
    let what = if refused { "is refused" } else { "waits" };
    ledger.fail(format!("a put {what} for {SOON:?} although half was deleted: {}", numbers(stats)));
}
