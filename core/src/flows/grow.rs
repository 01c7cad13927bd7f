//! Room ahead of need, so that no write ever waits for it, and room given back where there is far
//! more than that.
//!
//! A file is made:
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | create it under a temporary name, write zeros, sync it | a file that is removed later |
//! | 2 | rename it, sync the folder | nothing: it is a file of zeros |
//! | 3 | publish the mark, which now says that it must be there | nothing |
//! | 4 | its slots are free | |
//!
//! Zeros are written because a synced write into a file written before waits for no metadata of
//! the file system. A file under its final name was zeroed and synced: no slot of it ever shows
//! what was on the device before.
//!
//! Free slots beyond a reserve are *hollow*: all but their first block, which says that they are
//! erased, is punched out of the file. Before they are used they are filled: room reserved, zeros
//! written, synced. The mark says that there are such slots before there is one, because a crash
//! forgets which they are; all that are empty are filled again then, when they are needed.
//!
//! The last file is given back, once compaction has moved what was live there:
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | forget its slots, publish the mark without it in both blocks | a file too many, empty |
//! | 2 | rename it to a name that openings remove, sync the folder | nothing |
//! | 3 | cut it down piece by piece, remove it | a leftover that is removed later |
//!
//! Cutting a large file at once would hold up the writes beside it.
//!
//! Absent on purpose: a second attempt at once. A failure blocks growth for a second, during which
//! the store may be full.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};

use crate::io::{File, FileOffset, IoBuf, OpenMode};
use crate::memory::{Grow, State};
use crate::segment_io::{Purpose, Unsynced, file_name};
use crate::store::Store;
use crate::types::{ByteLen, SegmentId, to_u64};

/// Zeros written at once.
const CHUNK: u32 = 1 << 20;

/// Runs until the store ends.
pub(crate) async fn run(store: Arc<Store>) {
    loop {
        if store.is_ending() {
            return;
        }
        let now = store.now();
        let result = match store.step(|state| state.plan_growth(now)) {
            Grow::Nothing => {
                store.grow_called.notified().await;
                continue;
            }
            Grow::Publish => store.publish().await,
            Grow::Make(index) => make(&store, index).await,
            Grow::Fill(segments) => fill(&store, &segments).await,
            Grow::Punch(segments) => {
                punch(&store, &segments).await;
                Ok(())
            }
            Grow::Remove(index) => remove(&store, index).await,
        };
        if let Err(error) = result {
            tracing::warn!(%error, "room could not be made or given back");
            let now = store.now();
            store.step(|state| state.file_not_made(error, now));
            store.grow_called.notified().await;
        }
    }
}

async fn make(store: &Store, index: u32) -> io::Result<()> {
    let storage = store.device.storage();
    let name = file_name(index);
    let temporary = format!("{name}.new");
    let made = make_zeroed(store, &temporary).await;
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            // Its room is better given back; if that fails too, the next opening does it.
            let _ = storage.remove(&temporary).await;
            return Err(error);
        }
    };
    storage.rename(&temporary, &name).await?;
    storage.sync_folder().await?;
    store.device.add_file(file);
    store.step(State::file_made);
    Ok(())
}

/// Slots that are filled together.
const FILLED_TOGETHER: usize = 8;

/// Gives some hollow slots their room again. They are free once all of that is durable. On a full
/// device some may have theirs still, so the others are tried as well.
async fn fill(store: &Store, hollow: &[SegmentId]) -> io::Result<()> {
    let (mut unsynced, mut segments, mut failure) = (Unsynced::default(), Vec::new(), None);
    for &segment in hollow {
        match store.device.fill(segment, store.allowance().part).await {
            Ok((file, failures)) => {
                unsynced.add(file, failures);
                segments.push(segment);
            }
            Err(error) => failure = Some(error),
        }
        if segments.len() == FILLED_TOGETHER {
            break;
        }
    }
    if let Some(error) = failure.filter(|_| segments.is_empty()) {
        return Err(error);
    }
    unsynced.sync(&store.device).await?;
    store.step(|state| state.filled(&segments));
    Ok(())
}

/// Gives the room of hollow slots back. If that fails, they have it still, and are filled all the
/// same before they are used.
async fn punch(store: &Store, segments: &[SegmentId]) {
    for &segment in segments {
        match store.device.punch(segment).await {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return store.step(State::room_is_kept);
            }
            Err(error) => tracing::warn!(%error, %segment, "room could not be given back"),
            Ok(()) => {}
        }
    }
}

/// Bytes that are cut off a file at once, and the rest in between.
const CUT: u64 = 16 << 20;
const REST: Duration = Duration::from_millis(20);

/// Steps 1 and 2 are tried again until they succeed. The third is not: what it leaves behind holds
/// nothing, is in nobody's way, and is removed by the next opening.
async fn remove(store: &Store, index: u32) -> io::Result<()> {
    store.device.forget_file(index);
    for _ in 0..2 {
        store.publish().await?;
    }
    let (storage, name) = (store.device.storage(), file_name(index));
    let temporary = format!("{name}.old");
    match storage.rename(&name, &temporary).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {} // renamed, now or by an attempt before
    }
    storage.sync_folder().await?;
    store.step(State::file_has_left);
    if let Err(error) = cut_down(store, &temporary).await {
        tracing::warn!(%error, name, "a file that was given back is still there");
    }
    Ok(())
}

async fn cut_down(store: &Store, name: &str) -> io::Result<()> {
    let storage = store.device.storage();
    let file = storage.open(name, OpenMode::Existing).await?;
    let mut left = store.device.geometry().file_len();
    while left > CUT && !store.is_ending() {
        left -= CUT;
        file.shrink(left).await?;
        store.environment.clock.sleep(REST).await;
    }
    drop(file);
    storage.remove(name).await?;
    storage.sync_folder().await
}

async fn make_zeroed(store: &Store, name: &str) -> io::Result<Arc<dyn File>> {
    let storage = store.device.storage();
    let file = match storage.open(name, OpenMode::CreateNew).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            storage.remove(name).await?; // what an attempt that failed left behind
            storage.open(name, OpenMode::CreateNew).await?
        }
        other => other?,
    };
    let len = store.device.geometry().file_len();
    file.preallocate(len).await?;
    let zeros = Arc::new(IoBuf::zeroed(ByteLen::new(CHUNK)));
    let mut writes = FuturesUnordered::new();
    let mut at = 0;
    while at < len {
        let allowed = store.allowance();
        let chunk = zeros_of(&zeros, (len - at).min(allowed.part.get().into()));
        let offset = FileOffset::new(at);
        at += to_u64(chunk.len());
        store.device.count_write(Purpose::Zeros, chunk.len());
        writes.push(file.write(offset, chunk));
        while writes.len() >= allowed.in_flight
            && let Some(result) = writes.next().await
        {
            result?;
        }
    }
    while let Some(result) = writes.next().await {
        result?;
    }
    drop(writes);
    file.sync().await?;
    Ok(file)
}

/// The whole chunk of zeros, or a shorter one.
fn zeros_of(chunk: &Arc<IoBuf>, left: u64) -> Arc<IoBuf> {
    if left >= to_u64(chunk.len()) {
        return Arc::clone(chunk);
    }
    let len = u32::try_from(left).expect("it is less than a chunk");
    Arc::new(IoBuf::zeroed(ByteLen::new(len)))
}
