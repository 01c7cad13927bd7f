//! A store that nobody uses: what it had to do it does, and then it does nothing.
//!
//! 1. Some time after the last operation no more segments are rewritten: compaction does not go
//!    round in circles.
//! 2. Then the bound on space holds, as far as rewriting could give anything back.
//! 3. A store with room enough takes a put, and soon.
//!
//! Absent on purpose: what a store may do while it is used. There only promises count.

use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use logstor_core::{Error, ErrorKind, Stats};

use crate::client::{Shared, numbers, reclaimable};
use crate::guard::tagged;
use crate::ledger::OpNumber;
use crate::plan::SEGMENT;
use crate::value;

/// Time to do what is due. Retries after failures double from a tenth of a second on.
const SETTLING: Duration = Duration::from_secs(300);
/// How long nothing may happen after that.
const RESTING: Duration = Duration::from_secs(120);
/// Slots that hold no data of a put in the worst case: the reserve, and those that are open.
const NOT_FOR_DATA: u32 = 4 + 4;
/// The length of a value that is put in the end.
const VALUE: usize = 3000;

/// With the faults off and nobody at work.
pub(super) async fn comes_to_rest(shared: &Shared) {
    if shared.ledger.lock().gave_up || shared.ledger.has_failed() {
        return;
    }
    shared.clock.sleep(SETTLING).await;
    let before = shared.db.stats();
    shared.clock.sleep(RESTING).await;
    let after = shared.db.stats();
    let runs = |stats: &Stats| (stats.compaction.runs, stats.compaction.runs_failed);
    if before.compaction.running || runs(&before) != runs(&after) {
        return shared
            .ledger
            .fail(format!("compaction does not come to rest: {}", numbers(&after)));
    }
    if after.space.sum() != after.file_bytes {
        return shared
            .ledger
            .fail(format!("the bytes do not add up to the files: {}", numbers(&after)));
    }
    let failed = shared.sim.fault_counts().total() > shared.before.total();
    if !failed && let Some(why) = over_bound(shared, &after) {
        return shared.ledger.fail(format!("at rest, and {why}: {}", numbers(&after)));
    }
    shared.count("marks/at rest");
    // A device that is full may refuse the room that was given back to it.
    let hollow = shared.plan.faults.capacity.is_none();
    if has_room(&after, hollow) {
        put(shared, &after).await;
    }
}

/// Whether the store takes more than it should, although rewriting would help.
fn over_bound(shared: &Shared, stats: &Stats) -> Option<String> {
    let percent = u64::from(shared.plan.options.space_percent);
    let open = u64::from(stats.segments.active) + 2;
    let needed = stats.space.live + stats.space.tombstones;
    let bound = needed * percent / 100 + open * stats.segment_len;
    let in_use = u64::from(stats.segments.active + stats.segments.sealed) * stats.segment_len;
    let gain = reclaimable(stats).filter(|_| in_use > bound)?;
    Some(format!("{in_use} bytes are in use, more than {bound}, and {gain}"))
}

/// Whether there must be room for a put, however the live records lie: in the worst case half of
/// each segment stays unused behind records that are long.
fn has_room(stats: &Stats, hollow: bool) -> bool {
    let segments = stats.segments;
    let hollow = if hollow { segments.hollow } else { 0 };
    let all = segments.free + hollow + segments.active + segments.sealed + segments.retired;
    let allowed = stats.capacity.map_or(u64::MAX, |capacity| capacity / SEGMENT);
    let usable = u64::from(all).min(allowed).saturating_sub(NOT_FOR_DATA.into()) * SEGMENT;
    stats.space.live + stats.space.tombstones < usable * 3 / 8
}

async fn put(shared: &Shared, stats: &Stats) {
    let op = shared.ledger.begin("the last put", logstor_core::Durability::Synced);
    let future = Box::pin(tagged(&shared.ledger, op, None, put_one(shared)));
    match select(future, shared.clock.sleep(RESTING)).await {
        Either::Left((Some(Ok(())), _)) => {
            shared.ledger.lock().succeeded(op);
            shared.count("marks/put at the end");
        }
        Either::Left((Some(Err(error)), _)) => judge(shared, op, &error, stats),
        Either::Left((None, _)) => {}
        Either::Right(_) => {
            shared
                .ledger
                .fail(format!("a put waits for {RESTING:?}, with room: {}", numbers(stats)));
        }
    }
}

async fn put_one(shared: &Shared) -> Result<(), Error> {
    let group = shared.db.group(shared.plan.groups[0]).await?;
    let bytes: Bytes = value::make(u64::MAX, VALUE);
    group.put(&shared.plan.keys[0], bytes).await
}

fn judge(shared: &Shared, op: OpNumber, error: &Error, stats: &Stats) {
    if error.kind() == ErrorKind::Failed {
        shared.judge_failed(op, error);
    } else {
        shared
            .ledger
            .fail(format!("the last put, with room enough: {error:?}, {}", numbers(stats)));
    }
}
