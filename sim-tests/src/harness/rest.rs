//! A store that nobody uses: what it had to do it does, and then it does nothing.
//!
//! 1. Some time after the last operation no more segments are rewritten: compaction does not go
//!    round in circles.
//! 2. Then the bound on space holds, as far as rewriting could give anything back.
//! 3. No debt is left that could be paid: no free slot is missing where a file could be made or
//!    compaction could give one back, and no segment waits for the separator.
//! 4. A store with room enough takes a put, and soon; one whose index is full, of a key that is
//!    there.
//! 5. The segments of large values are those that their keys need.
//! 6. Where nothing has failed, all that lies in the segments is as it was written.
//!
//! Absent on purpose: what a store may do while it is used. There only promises count.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::{Either, select};
use logstor_core::{Error, ErrorKind, Stats, VerifyOptions};

use crate::client::{Shared, flush, numbers, reclaimable};
use crate::guard::tagged;
use crate::ledger::OpNumber;
use crate::ops::{GiveUp, Write};
use crate::plan::{Mode, SEGMENT, geometry};
use crate::value;

/// Time to do what is due. Retries after failures double from a tenth of a second on.
const SETTLING: Duration = Duration::from_secs(300);
/// Time in which pieces go that nobody needs.
const PIECES_SETTLE: Duration = Duration::from_secs(5);
/// How long nothing may happen after that.
const RESTING: Duration = Duration::from_secs(120);
/// Slots that hold no data of a put in the worst case: the reserve, and those that are open.
const NOT_FOR_DATA: u32 = 4 + 4;
/// Slots that take no piece: the reserve, one for its record, and one that is about to be opened.
const NOT_FOR_PIECES: u32 = 4 + 2;
/// Free slots, beyond the reserve, in which the copies of any one segment find room for certain.
const SLOTS_TO_SORT: u64 = 2;
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
    let failed = shared.met_faults();
    if !failed && let Some(why) = over_bound(shared, &after) {
        return shared.ledger.fail(format!("at rest, and {why}: {}", numbers(&after)));
    }
    if !failed && let Some(why) = in_debt(shared, &after) {
        return shared.ledger.fail(format!("at rest, and {why}: {}", numbers(&after)));
    }
    shared.count("marks/at rest");
    pieces_are_accounted_for(shared);
    is_whole(shared).await;
    // A device that is full may refuse the room that was given back to it.
    let hollow = shared.plan.faults.capacity.is_none();
    if has_room(shared, &after, hollow) {
        put(shared, &after, VALUE).await;
    }
    let now = shared.db.stats();
    if let Some(len) = large_with_room(shared, &now) {
        put(shared, &now, len).await;
        settles(shared).await;
    }
}

/// A check of all segments finds nothing, after whatever crashes and recoveries there were.
async fn is_whole(shared: &Shared) {
    // A device that failed a write of a seal, say, leaves a segment without one.
    if shared.plan.mode == Mode::Damage || shared.sim.fault_counts().total() > 0 {
        return;
    }
    let checked: Result<Vec<_>, Error> =
        shared.db.verify(VerifyOptions::default()).try_collect().await;
    match checked {
        Ok(segments) => {
            let mut found = segments.into_iter().flat_map(|segment| segment.findings);
            if let Some(finding) = found.next() {
                shared.ledger.fail(format!("nothing has failed, and a check finds {finding:?}"));
            }
            shared.count("marks/found whole");
        }
        Err(error) => shared.ledger.fail(format!("a check was refused: {error}")),
    }
}

/// The length of a large value for which there must be room.
fn large_with_room(shared: &Shared, stats: &Stats) -> Option<usize> {
    let large = shared.plan.large?;
    let needed = large.pieces + u64::from(NOT_FOR_PIECES);
    let shrinks = stats.capacity.is_some_and(|capacity| stats.file_bytes > capacity);
    let bounded = shared.plan.faults.capacity.is_some() || shrinks;
    let fits = !bounded && u64::from(stats.segments.free + stats.segments.hollow) >= needed;
    let len = large.pieces * u64::from(geometry().piece_len().get());
    usize::try_from(len).ok().filter(|_| fits)
}

/// Whether the store takes more than it should, although rewriting would help. Large values do not
/// count: they take whole segments.
fn over_bound(shared: &Shared, stats: &Stats) -> Option<String> {
    let percent = u64::from(shared.plan.options.space_percent);
    let open = u64::from(stats.segments.active) + 2;
    let needed = short_bytes(shared, stats) + stats.space.tombstones;
    let bound = needed * percent / 100 + open * stats.segment_len;
    let in_use = stats.segments.active + stats.segments.sealed - stats.kinds.large;
    let in_use = u64::from(in_use) * stats.segment_len;
    let gain = reclaimable(stats).filter(|_| in_use > bound)?;
    Some(format!("{in_use} bytes are in use, more than {bound}, and {gain}"))
}

/// What the store still owes itself, although it could do something about it.
fn in_debt(shared: &Shared, stats: &Stats) -> Option<String> {
    let (missing, mixed) = (stats.compaction.debt_segments, stats.compaction.separator_segments);
    if missing == 0 {
        // The copies of a segment that is nearly full may not fit into a single slot.
        let has_room = stats.space.free / stats.segment_len >= SLOTS_TO_SORT;
        return (mixed > 0 && has_room).then(|| format!("{mixed} segments wait for the separator"));
    }
    let grows = shared.may_grow(stats).then(|| "another file may be made".to_string());
    let why = grows.or_else(|| reclaimable(stats))?;
    Some(format!("{missing} free slots are missing, but {why}"))
}

/// Live bytes but for those of large values.
fn short_bytes(shared: &Shared, stats: &Stats) -> u64 {
    stats.space.live.saturating_sub(shared.ledger.lock().large().1)
}

/// Whether there must be room for a put, however the live records lie: in the worst case half of
/// each segment stays unused behind records that are long.
fn has_room(shared: &Shared, stats: &Stats, hollow: bool) -> bool {
    let segments = stats.segments;
    let hollow = if hollow { segments.hollow } else { 0 };
    let all = segments.free + hollow + segments.active + segments.sealed + segments.retired;
    let allowed = stats.capacity.map_or(u64::MAX, |capacity| capacity / SEGMENT);
    let taken = NOT_FOR_DATA + stats.kinds.large;
    let usable = u64::from(all).min(allowed).saturating_sub(taken.into()) * SEGMENT;
    short_bytes(shared, stats) + stats.space.tombstones < usable * 3 / 8
}

/// After the last operation of an epoch.
pub(super) async fn settles(shared: &Shared) {
    flush(shared, "flush, to settle".into(), GiveUp::Never).await;
    shared.clock.sleep(PIECES_SETTLE).await;
    pieces_are_accounted_for(shared);
}

/// Segments with pieces of large values are those that the keys need, and no more: what was given
/// up, overwritten, deleted, or dropped with its group is room again.
pub(super) fn pieces_are_accounted_for(shared: &Shared) {
    let mut facts = shared.ledger.lock();
    if facts.gave_up || facts.failure.is_some() {
        return;
    }
    let stats = shared.db.stats();
    let (needed, found) = (facts.large().0, u64::from(stats.kinds.large));
    // After a failed write there may be seals that are owed, and nothing is erased before.
    let failed = shared.met_faults();
    if found < needed || (found > needed && !failed) {
        let numbers = numbers(&stats);
        return facts.fail(format!("{found} segments hold pieces instead of {needed}: {numbers}"));
    }
    drop(facts);
    if needed > 0 {
        shared.count("large/accounted for");
    }
}

async fn put(shared: &Shared, stats: &Stats, len: usize) {
    let op = shared.ledger.begin("the last put", logstor_core::Durability::Synced);
    let future = Box::pin(tagged(&shared.ledger, op, None, put_one(shared, op, len)));
    match select(future, shared.clock.sleep(RESTING)).await {
        Either::Left((Some(Ok(())), _)) => {
            shared.ledger.lock().succeeded(op);
            let large = len > geometry().max_value_len();
            shared.count(if large { "large/put at the end" } else { "marks/put at the end" });
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

async fn put_one(shared: &Shared, op: OpNumber, len: usize) -> Result<(), Error> {
    let group = shared.db.group(shared.plan.groups[0]).await?;
    let bytes: Bytes = value::make(u64::MAX, len);
    let write = Write { group: 0, key: 0, len: Some(len) };
    shared.ledger.lock().intends(op, vec![write.change(group.id().get(), u64::MAX)]);
    let (key, done) = (&shared.plan.keys[0], group.put(&shared.plan.keys[0], bytes).await);
    if let Err(error @ Error::IndexFull { .. }) = &done
        && group.get(key).await?.is_some()
    {
        shared.ledger.fail(format!("the last put is of no new key: {error}"));
    }
    done
}

fn judge(shared: &Shared, op: OpNumber, error: &Error, stats: &Stats) {
    if error.kind() == ErrorKind::Failed {
        shared.judge_failed(op, error);
    } else if matches!(error, Error::IndexFull { .. }) {
        shared.judge(op, error, true, &[]);
    } else {
        shared
            .ledger
            .fail(format!("the last put, with room enough: {error:?}, {}", numbers(stats)));
    }
}
