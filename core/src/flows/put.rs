//! A caller's write: prepared, accepted, and waited for.
//!
//! | step | where | a crash here costs |
//! |--:|---|---|
//! | 1 | take write memory; wait while there is none | nothing: not accepted |
//! | 2 | accept: sequence and place, in one step; wait while there is no room | nothing |
//! | 3 | where compaction is behind, wait a little: the more is missing, the longer | nothing |
//! | 4 | wait until the writer brought it as far as asked for | the write, if it had not landed |
//!
//! What a batch requires of keys is checked in step 2; if that needs a read, the caller makes it
//! and comes again.
//!
//! Dropping the future before step 2 means that nothing happened; after it the write goes its way
//! without the caller. Step 2 is not divisible, so there is nothing in between.

use std::mem;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::format::record::{RecordKind, body_crc, record_len};
use crate::log::Failure;
use crate::memory::{LargeValue, NewBatch, NewWrite, Outlook, Refused, Requirement, Verdict};
use crate::options::Durability;
use crate::store::{Pieces, Store};
use crate::types::{ByteLen, GroupId, Sequence};

/// Why a write was not made, or is unknown.
#[derive(Clone, Debug)]
pub(crate) enum WriteError {
    /// Not accepted: the state, or the lack of room, does not allow it.
    Refused(Refused),
    /// Accepted, and then the log could not be written: there or not, whole.
    Unknown(Failure),
}

/// One write, with everything that needs no lock done: hash, CRC, length.
///
/// `None` if there is no such record; the limits are far below that.
pub(crate) fn prepare(
    store: &Store,
    group: GroupId,
    key: Bytes,
    value: Option<Bytes>,
) -> Option<NewWrite> {
    let kind = if value.is_some() { RecordKind::Put } else { RecordKind::Delete };
    let value = value.unwrap_or_default();
    let len = record_len(key.len(), value.len())?;
    let (hash, body_crc) = (store.hasher.hash(&key), body_crc(&key, &value));
    Some(NewWrite { group, hash, kind, key, value, body_crc, len, large: None })
}

/// The same for the record of a large value, which holds the list of its pieces.
pub(crate) fn prepare_large(
    store: &Store,
    group: GroupId,
    key: Bytes,
    (list, large): (Bytes, LargeValue),
) -> Option<NewWrite> {
    let write = prepare(store, group, key, Some(list))?;
    Some(NewWrite { kind: RecordKind::Large, large: Some(large), ..write })
}

/// What came of writes with requirements, whose numbers are their places in the list.
#[derive(Debug)]
pub(crate) enum Decided {
    /// All hold, and the writes were made; the number of the first one, if there is any.
    Made(Option<Sequence>),
    /// One does not hold: the key has this version, or none. Nothing was written.
    Unmet { number: usize, present: Option<Sequence> },
    /// The key of this one must be read first; nothing was written.
    Unread { number: usize },
}

/// Makes a batch of writes, atomically.
pub(crate) async fn write(
    store: &Store,
    writes: Vec<NewWrite>,
    durability: Durability,
) -> Result<(), WriteError> {
    write_if(store, &new_batch(store, writes, durability), &[], &mut None).await.map(|_| ())
}

/// The same for the record of a large value, to which its pieces go over with the acceptance.
pub(crate) async fn write_large(
    store: &Store,
    write: NewWrite,
    pieces: Pieces,
    durability: Durability,
) -> Result<(), WriteError> {
    let batch = new_batch(store, vec![write], durability);
    write_if(store, &batch, &[], &mut Some(pieces)).await.map(|_| ())
}

/// Writes that are to be made together.
pub(crate) fn new_batch(store: &Store, writes: Vec<NewWrite>, durability: Durability) -> NewBatch {
    let held: usize = writes.iter().map(|write| memory_of(write, durability)).sum();
    NewBatch { writes, durability, charge: held.min(store.write_memory_len) }
}

/// Makes a batch of writes if everything that is required holds when it is accepted.
///
/// In step 2 it is checked together with the acceptance, each time. Whoever is told that
/// something must be read calls again with what was read.
pub(crate) async fn write_if(
    store: &Store,
    batch: &NewBatch,
    requirements: &[Requirement],
    pieces: &mut Option<Pieces>,
) -> Result<Decided, WriteError> {
    // 1. Write memory: what is on its way to the device is bounded.
    let charge = batch.charge;
    let permit = match store.write_memory.try_acquire_many(crate::types::to_u32(charge)) {
        Ok(permit) => permit,
        Err(_) => wait_for_memory(store, charge).await?,
    };

    // 2. Acceptance.
    let accepted = match accept(store, batch, requirements).await? {
        Verdict::Accepted(accepted) => accepted,
        Verdict::Unread { number } => return Ok(Decided::Unread { number }),
        Verdict::OnItsWay { number } => {
            drop(permit);
            flush(store).await?;
            return Ok(Decided::Unread { number });
        }
        Verdict::Fails { number, present, done } => {
            drop(permit);
            wait_until(done).await?;
            return Ok(Decided::Unmet { number, present });
        }
    };
    if let Some(pieces) = pieces.take() {
        pieces.handed_over();
    }
    if accepted.charged {
        permit.forget(); // given back by the writer when the batch is durable
    }

    // 3. Backpressure. The write goes on meanwhile.
    if !accepted.throttle.is_zero() {
        store.environment.clock.sleep(accepted.throttle).await;
    }

    // 4. Durability.
    wait_until(accepted.done).await?;
    Ok(Decided::Made(accepted.first))
}

/// Waits for room.
async fn accept(
    store: &Store,
    batch: &NewBatch,
    requirements: &[Requirement],
) -> Result<Verdict, WriteError> {
    let mut waited = false;
    loop {
        let room = store.room.notified();
        tokio::pin!(room);
        room.as_mut().enable();
        let now = store.now();
        match store.step(|state| state.accept_if(batch, requirements, now)) {
            Err(Refused::NoRoom(Outlook::Wait)) => {
                if !mem::replace(&mut waited, true) {
                    store.step(|state| state.waits_for_room += 1);
                }
                room.await;
            }
            decided => return decided.map_err(WriteError::Refused),
        }
    }
}

async fn wait_until(
    done: Option<oneshot::Receiver<Result<(), Failure>>>,
) -> Result<(), WriteError> {
    let Some(done) = done else { return Ok(()) };
    match done.await {
        Ok(result) => result.map_err(WriteError::Unknown),
        Err(_) => Err(WriteError::Refused(Refused::Closed)),
    }
}

/// Bytes that a write holds: its record, and key and value once more where readers may see them.
fn memory_of(write: &NewWrite, durability: Durability) -> usize {
    let shown = write.key.len() + write.value.len();
    let readable = if durability == Durability::Synced { 0 } else { shown };
    ByteLen::as_usize(write.len) + readable
}

async fn wait_for_memory(
    store: &Store,
    charge: usize,
) -> Result<tokio::sync::SemaphorePermit<'_>, WriteError> {
    store.step(|state| {
        state.waits_for_memory += 1;
        state.log.demand_all();
        state.calls.writer = true;
    });
    let permit = store.write_memory.acquire_many(crate::types::to_u32(charge)).await;
    permit.map_err(|_| {
        let refused = store.step(|state| state.check_open().err());
        WriteError::Refused(refused.unwrap_or(Refused::Closed))
    })
}

/// Waits until everything accepted so far is durable.
pub(crate) async fn flush(store: &Store) -> Result<(), WriteError> {
    let (sender, done) = oneshot::channel();
    let waiting = store.step(|state| {
        if let Err(refused @ Refused::Failed(_)) = state.check_open() {
            return Err(WriteError::Refused(refused));
        }
        state.calls.writer = true;
        Ok(state.log.wait_for_all(Durability::Synced, sender))
    })?;
    wait_until(waiting.then_some(done)).await
}
