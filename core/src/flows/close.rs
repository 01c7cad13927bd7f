//! The orderly end of a store.
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | take no new writes; the writer brings what was accepted to the device | nothing |
//! | 2 | wait for the background tasks | nothing |
//! | 3 | sync every file, publish the mark | nothing |
//! | 4 | write the dump under a temporary name, sync, rename, sync the folder | the dump |
//! | 5 | release the folder: it may be opened again although handles are left | nothing |
//!
//! Closing is never needed for safety. The dump is a convenience: if it cannot be written, the
//! next opening reads the segments, and the close succeeds all the same.
//!
//! A store that was opened to be read has neither tasks nor anything to bring anywhere: of it, step
//! 5 alone is left.
//!
//! A dropped close goes on as far as step 2 by itself.

use std::io;
use std::sync::Arc;

use crate::format::dump::{
    DumpEntry, DumpGroup, DumpHead, DumpItem, DumpKind, DumpPiece, DumpSegment, DumpWriter,
};
use crate::groups::Groups;
use crate::io::{File, FileOffset, OpenMode};
use crate::log::Failure;
use crate::memory::{State, Status};
use crate::segment_io::{DUMP_NAME, Device, Purpose};
use crate::segments::{SegmentKind, SegmentState, Slot};
use crate::store::{Store, TASKS};
use crate::types::{ByteLen, to_u64};

/// Closes the store. `Err` if writes that were accepted could not be made durable.
pub(crate) async fn close(store: &Store) -> Result<(), Failure> {
    // 1 and 2. The last task to end gives back its permit.
    store.begin_to_end();
    let _turn = store.catalogue_turn.lock().await;
    let all = store.tasks.acquire_many(TASKS).await;
    drop(all.expect("nobody closes the semaphore of the tasks"));
    if let Status::Failed(failure) = store.step(|state| state.status.clone()) {
        return Err(failure);
    }

    if store.step(|state| state.taken_out) {
        return Ok(()); // closed before; the folder may be somebody else's by now
    }

    if store.step(|state| state.rules.read_only) {
        store.step(|state| state.taken_out = true);
        store.device.storage().release();
        return Ok(());
    }

    // 3. Seals are written without a sync of their own.
    for file in 0..store.device.files() {
        store.device.sync(file).await.map_err(Arc::new)?;
    }
    store.publish().await.map_err(Arc::new)?;

    // 4. The dump.
    let (facts, groups) = store.step(take_out);
    if let Some(facts) = facts
        && let Err(error) = write_dump(store, &facts, &groups).await
    {
        tracing::warn!(%error, "no dump was written; the next opening reads the segments");
        let _ = store.device.storage().remove(&temporary_name()).await;
    }

    // 5. Handles may live on; the folder is free.
    store.device.storage().release();
    Ok(())
}

/// The facts for the dump, and the index itself: a closed store answers nothing from it any more.
fn take_out(state: &mut State) -> (Option<Vec<DumpItem>>, Groups) {
    let facts = facts_of(state);
    state.taken_out = true;
    let none = Groups::new(state.rules.geometry);
    (facts, std::mem::replace(&mut state.groups, none))
}

fn temporary_name() -> String {
    format!("{DUMP_NAME}.new")
}

/// Head, groups and segments; `None` if some segment is not what it should be.
fn facts_of(state: &State) -> Option<Vec<DumpItem>> {
    let mark = &state.published;
    let mut items = vec![DumpItem::Head(DumpHead {
        next_sequence: mark.next_sequence,
        next_log: mark.next_log,
        next_rewrite: mark.next_rewrite,
        next_generation: mark.next_generation,
        mark_ordinal: mark.ordinal,
        files: mark.files,
    })];
    for (name, id) in state.groups.names() {
        items.push(DumpItem::Group(DumpGroup { id, name: name.to_string() }));
    }
    for (segment, slot) in state.segments.iter() {
        items.push(DumpItem::Segment(DumpSegment {
            segment,
            state: state_of(slot)?,
            generation: slot.generation,
            live: slot.live,
            tombstones: slot.tombstones,
            log_end: slot.log_end,
            guard: slot.guard,
            kind: match slot.kind {
                SegmentKind::Log => DumpKind::Log,
                SegmentKind::Group(group) => DumpKind::Group(group),
                SegmentKind::Shared => DumpKind::Shared,
                SegmentKind::Large(group) => DumpKind::Large(group),
            },
            rewrite_end: slot.rewrite_end,
            born: slot.born,
            records: ByteLen::new(slot.records),
            fronts: ByteLen::new(slot.fronts),
            padding: ByteLen::new(slot.padding),
            tail: ByteLen::new(slot.tail),
        }));
    }
    Some(items)
}

/// The number of a slot's state. A piece that no record was accepted for is dead: its caller has
/// not come back for it, and it is too late now.
fn state_of(slot: &Slot) -> Option<u8> {
    let given_up = slot.state == SegmentState::Active && slot.kind.is_large();
    if given_up { SegmentState::Retired.code() } else { slot.state.code() }
}

/// Writes the facts, then every entry, a frame at a time.
async fn write_dump(store: &Store, facts: &[DumpItem], groups: &Groups) -> io::Result<()> {
    let storage = store.device.storage();
    let temporary = temporary_name();
    let ordinal = store.step(|state| state.published.ordinal);
    match storage.remove(&temporary).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.open(&temporary, OpenMode::CreateNew).await?;
    let mut writer = DumpWriter::new(store.device.store(), ordinal);
    let mut at = 0;
    for item in facts {
        if let Some(frame) = writer.push(item) {
            append(&store.device, &*file, &mut at, frame).await?;
        }
    }
    for (group, content) in groups.iter() {
        for (hash, location) in content.index.iter() {
            let entry = DumpItem::Entry(DumpEntry { group, hash, location });
            if let Some(frame) = writer.push(&entry) {
                append(&store.device, &*file, &mut at, frame).await?;
            }
        }
    }
    for (group, content) in groups.iter() {
        for (&hash, pieces) in &content.large {
            for &segment in &**pieces {
                let piece = DumpItem::Piece(DumpPiece { group, hash, segment });
                if let Some(frame) = writer.push(&piece) {
                    append(&store.device, &*file, &mut at, frame).await?;
                }
            }
        }
    }
    for frame in writer.finish() {
        append(&store.device, &*file, &mut at, frame).await?;
    }
    file.sync().await?;
    drop(file);
    storage.rename(&temporary, DUMP_NAME).await?;
    storage.sync_folder().await
}

async fn append(
    device: &Device,
    file: &dyn File,
    at: &mut u64,
    frame: crate::io::IoBuf,
) -> io::Result<()> {
    let len = to_u64(frame.len());
    device.count_write(Purpose::Dump, frame.len());
    file.write(FileOffset::new(*at), Arc::new(frame)).await?;
    *at += len;
    Ok(())
}
