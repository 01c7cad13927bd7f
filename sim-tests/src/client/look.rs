//! Operations that change nothing: reads, lists, numbers, and calls over a limit.

use std::convert::Infallible;

use logstor_core::types::to_usize;
use logstor_core::{Durability, ErrorKind, SegmentInfo, SegmentUse, SpaceStats, Stats, WriteBatch};

use super::Client;
use super::judge::numbers;
use crate::ops::GiveUp;

impl Client {
    pub(super) async fn get(&mut self) {
        let (group, key) = (self.draw.group(), self.draw.key());
        let Some(handle) = self.handle(group).await else { return };
        let give_up = self.draw.give_up();
        let id = handle.id().get();
        let bytes = self.shared.plan.keys[key].clone();
        let what = format!("{}: get key {key} of group {id}", self.name);
        let shared = self.shared.clone();
        let faults = self.shared.faults().all_reads();
        let future = async move {
            let before = shared.ledger.lock().read_begins((id, key));
            handle.get(&bytes).await.map(|value| (before, value))
        };
        let called = self.shared.call(what, Durability::Buffered, give_up, future).await;
        match called {
            (_, None) => {}
            (op, Some(Ok(((floor, accepted, gone), value)))) => {
                let mut facts = self.shared.ledger.lock();
                if gone {
                    facts.fail(format!("op {op} read from group {id}, which was dropped"));
                }
                facts.gave(op, (id, key), (floor, accepted), value.as_deref());
            }
            (op, Some(Err(error))) => self.shared.judge_read(op, &error, id, faults),
        }
    }

    /// Each key is looked up by itself, at some moment of the call: so what it had to see is that
    /// of the beginning, and what it may see that of the end.
    pub(super) async fn get_many(&mut self) {
        let (group, keys) = (self.draw.group(), self.draw.many_keys());
        let Some(handle) = self.handle(group).await else { return };
        let give_up = self.draw.give_up();
        let id = handle.id().get();
        let what = format!("{}: get keys {keys:?} of group {id}", self.name);
        let (shared, wanted) = (self.shared.clone(), keys.clone());
        let faults = self.shared.faults().all_reads();
        let future = async move {
            let before = {
                let facts = shared.ledger.lock();
                let floors = wanted.iter().map(|&key| facts.floor(id, key));
                (floors.collect::<Vec<_>>(), facts.is_gone(id))
            };
            let found = handle.multi_get(wanted.iter().map(|&key| &shared.plan.keys[key])).await;
            Ok((before, found))
        };
        let called = self.shared.call(what, Durability::Buffered, give_up, future).await;
        let (op, Some(Ok(((floors, gone), found)))) = called else { return };
        let accepted = self.shared.ledger.lock().history.len();
        if found.len() != keys.len() {
            let what = format!("op {op}: {} answers to {} keys", found.len(), keys.len());
            self.shared.ledger.fail(what);
        }
        for ((key, floor), found) in keys.into_iter().zip(floors).zip(found) {
            let value = match found {
                Ok(value) => value,
                Err(error) => {
                    self.shared.judge_read(op, &error, id, faults);
                    continue;
                }
            };
            let mut facts = self.shared.ledger.lock();
            if gone {
                facts.fail(format!("op {op} read from group {id}, which was dropped"));
            }
            facts.tally.one("reads/of many");
            facts.gave(op, (id, key), (floor, accepted), value.as_deref());
        }
    }

    pub(super) fn list(&self) {
        if self.shared.ledger.lock().closing {
            return; // a closed store has nothing to list
        }
        let names = self.shared.db.groups();
        let what = format!("the list of groups {names:?}");
        let same = |state: &crate::model::State| {
            let known = state.names();
            known.len() == names.len() && known.iter().zip(&names).all(|(a, b)| **a == **b)
        };
        self.shared.ledger.lock().witness(&what, same);
    }

    pub(super) fn stats(&self) {
        if self.shared.ledger.lock().closing {
            return; // a closed store has nothing to count
        }
        let stats = self.shared.db.stats();
        let mut facts = self.shared.ledger.lock();
        let segments = stats.segments;
        let count = segments.free
            + segments.hollow
            + segments.active
            + segments.sealed
            + segments.retired
            + segments.quarantined;
        if u64::from(count) * stats.segment_len != stats.file_bytes {
            facts.fail(format!("the segments do not add up to the files: {}", numbers(&stats)));
        }
        if stats.space.sum() != stats.file_bytes {
            facts.fail(format!("the bytes do not add up to the files: {}", numbers(&stats)));
        }
        if !adds_up(&stats, &self.shared.db.segments()) {
            let what = "the segments one by one are not what all of them are";
            facts.fail(format!("{what}: {}", numbers(&stats)));
        }
        if stats.utilization.iter().sum::<u32>() != segments.sealed {
            facts.fail(format!(
                "the histogram does not count the sealed segments: {}",
                numbers(&stats)
            ));
        }
        if stats.compaction.pauses != facts.pauses {
            let what = format!("{} guards pause compaction: {}", facts.pauses, numbers(&stats));
            facts.fail(what);
        }
        let over = stats.capacity.is_some_and(|capacity| stats.file_bytes > capacity);
        if over && !facts.resized {
            facts.fail(format!("the files are larger than the capacity: {}", numbers(&stats)));
        }
        if segments.quarantined > 0 && self.shared.plan.is_faultless() {
            facts.fail(format!("a segment is given up, and nothing failed: {}", numbers(&stats)));
        }
        if facts.history.last().is_some_and(|last| last.sequence >= stats.next_sequence) {
            facts.fail(format!("the next sequence was given out before: {}", numbers(&stats)));
        }
        if segments.free < 4 && stats.file_bytes > 0 {
            self.shared.count("marks/reserve in use");
        }
        let what = format!("{} groups with {} keys", stats.groups, stats.keys);
        let same = |state: &crate::model::State| {
            (state.groups.len(), state.keys()) == (size(stats.groups), size(stats.keys))
        };
        facts.witness(&what, same);
    }

    pub(super) async fn over_limit(&mut self) {
        let which = self.draw.rng.below(7);
        let Some(group) = self.handle(0).await else { return };
        let limits = self.draw.limits;
        let db = self.shared.db.clone();
        let what = format!("{}: over limit {which}", self.name);
        let future = async move {
            match which {
                0 => group.put("", "x").await,
                1 => group.put(vec![1; limits.key_len + 1], "x").await,
                2 => {
                    let nothing = futures::stream::empty::<Result<bytes::Bytes, Infallible>>();
                    group.put_stream("k", limits.large_value_len + 1, nothing).await
                }
                3 => group.get("").await.map(|_| ()),
                4 => db.group("").await.map(|_| ()),
                5 => db.group("x".repeat(limits.group_name_len + 1)).await.map(|_| ()),
                _ => {
                    let mut batch = WriteBatch::new();
                    while batch.log_len() <= limits.batch_len {
                        batch.put(&group, "k", vec![1; limits.value_len]);
                    }
                    db.write(batch).await
                }
            }
        };
        let called = self.shared.call(what, Durability::Synced, GiveUp::Never, future).await;
        match called {
            (_, Some(Err(error))) if error.kind() == ErrorKind::Invalid => {}
            (op, result) => {
                let what = format!("op {op}, over limit {which}, gave {result:?}");
                self.shared.ledger.fail(what);
            }
        }
    }
}

fn size(count: u64) -> usize {
    usize::try_from(count).expect("counts of a simulation are small")
}

/// Whether the segments, one by one, are what the store says of all of them.
fn adds_up(stats: &Stats, segments: &[SegmentInfo]) -> bool {
    let count = |used| segments.iter().filter(|segment| segment.used == used).count();
    let sum = |part: fn(&SpaceStats) -> u64| {
        segments.iter().map(|segment| part(&segment.space)).sum::<u64>()
    };
    let whole = segments.iter().all(|segment| segment.space.sum() == stats.segment_len);
    // The reserve of the store is no one segment.
    let reserve = |space: &SpaceStats| space.free + space.reserved;
    let counts = stats.segments;
    whole
        && count(SegmentUse::Sealed) == to_usize(counts.sealed)
        && count(SegmentUse::Active) == to_usize(counts.active)
        && count(SegmentUse::Free) == to_usize(counts.free)
        && sum(|space| space.live) == stats.space.live
        && sum(|space| space.dead) == stats.space.dead
        && sum(|space| space.tombstones) == stats.space.tombstones
        && sum(reserve) == reserve(&stats.space)
        && sum(SpaceStats::sum) == stats.file_bytes
}
