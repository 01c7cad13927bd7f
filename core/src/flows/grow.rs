//! Files ahead of need, so that no write ever waits for one to be made.
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
//! Absent on purpose: giving files back. And a second attempt at once: a failure blocks growth for
//! a second, during which the store may be full.

use std::io;
use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};

use crate::io::{File, FileOffset, IoBuf, OpenMode};
use crate::memory::{Grow, State};
use crate::segment_io::{Purpose, file_name};
use crate::store::Store;
use crate::types::{ByteLen, to_u64};

/// Zeros written at once.
const CHUNK: u32 = 1 << 20;
/// Chunks under way at the same time.
const CHUNKS_IN_FLIGHT: usize = 4;

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
        };
        if let Err(error) = result {
            tracing::warn!(%error, "a file of segments could not be made");
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
        let chunk = zeros_of(&zeros, len - at);
        let offset = FileOffset::new(at);
        at += to_u64(chunk.len());
        store.device.count_write(Purpose::Zeros, chunk.len());
        writes.push(file.write(offset, chunk));
        if writes.len() == CHUNKS_IN_FLIGHT
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

/// The whole chunk of zeros, or a shorter one for the end of the file.
fn zeros_of(chunk: &Arc<IoBuf>, left: u64) -> Arc<IoBuf> {
    if left >= to_u64(chunk.len()) {
        return Arc::clone(chunk);
    }
    let len = u32::try_from(left).expect("less than a chunk is left");
    Arc::new(IoBuf::zeroed(ByteLen::new(len)))
}
