//! A caller's write: prepared, accepted, and waited for.
//!
//! | step | where | a crash here costs |
//! |--:|---|---|
//! | 1 | take write memory; wait while there is none | nothing: not accepted |
//! | 2 | accept: sequence and place, in one step; wait while there is no room | nothing |
//! | 3 | where compaction is behind, wait a little: the more is missing, the longer | nothing |
//! | 4 | wait until the writer brought it as far as asked for | the write, if it had not landed |
//!
//! Dropping the future before step 2 means that nothing happened; after it the write goes its way
//! without the caller. Step 2 is not divisible, so there is nothing in between.

use std::mem;

use bytes::Bytes;

use crate::format::record::{RecordKind, body_crc, record_len};
use crate::log::Failure;
use crate::memory::{LargeValue, NewBatch, NewWrite, Outlook, Refused};
use crate::options::Durability;
use crate::store::{Pieces, Store};
use crate::types::{ByteLen, GroupId};

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

/// Makes a batch of writes, atomically.
pub(crate) async fn write(
    store: &Store,
    writes: Vec<NewWrite>,
    durability: Durability,
) -> Result<(), WriteError> {
    write_then(store, writes, durability, || {}).await
}

/// The same for the record of a large value, to which its pieces go over with the acceptance.
pub(crate) async fn write_large(
    store: &Store,
    write: NewWrite,
    pieces: Pieces,
    durability: Durability,
) -> Result<(), WriteError> {
    write_then(store, vec![write], durability, || pieces.handed_over()).await
}

async fn write_then(
    store: &Store,
    writes: Vec<NewWrite>,
    durability: Durability,
    accepted_now: impl FnOnce(),
) -> Result<(), WriteError> {
    // 1. Write memory: what is on its way to the device is bounded.
    let held: usize = writes.iter().map(|write| memory_of(write, durability)).sum();
    let charge = held.min(store.write_memory_len);
    let permit = match store.write_memory.try_acquire_many(crate::types::to_u32(charge)) {
        Ok(permit) => permit,
        Err(_) => wait_for_memory(store, charge).await?,
    };

    // 2. Acceptance.
    let batch = NewBatch { writes, durability, charge };
    let mut waited = false;
    let accepted = loop {
        let room = store.room.notified();
        tokio::pin!(room);
        room.as_mut().enable();
        let now = store.now();
        match store.step(|state| state.accept(&batch, now)) {
            Ok(accepted) => break accepted,
            Err(Refused::NoRoom(Outlook::Wait)) => {
                if !mem::replace(&mut waited, true) {
                    store.step(|state| state.waits_for_room += 1);
                }
                room.await;
            }
            Err(refused) => return Err(WriteError::Refused(refused)),
        }
    };
    accepted_now();
    if accepted.charged {
        permit.forget(); // given back by the writer when the batch is durable
    }

    // 3. Backpressure. The write goes on meanwhile.
    if !accepted.throttle.is_zero() {
        store.environment.clock.sleep(accepted.throttle).await;
    }

    // 4. Durability.
    let Some(done) = accepted.done else { return Ok(()) };
    match done.await {
        Ok(result) => result.map_err(WriteError::Unknown),
        Err(_) => Err(WriteError::Refused(Refused::Closed)),
    }
}

/// Bytes that a write holds: its record, and its value once more where readers may see it.
fn memory_of(write: &NewWrite, durability: Durability) -> usize {
    let readable = if durability == Durability::Synced { 0 } else { write.value.len() };
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
    let (sender, done) = tokio::sync::oneshot::channel();
    let waiting = store.step(|state| {
        if let Err(refused @ Refused::Failed(_)) = state.check_open() {
            return Err(WriteError::Refused(refused));
        }
        state.calls.writer = true;
        Ok(state.log.wait_for_all(Durability::Synced, sender))
    })?;
    if !waiting {
        return Ok(());
    }
    match done.await {
        Ok(result) => result.map_err(WriteError::Unknown),
        Err(_) => Err(WriteError::Refused(Refused::Closed)),
    }
}
