//! Dead segments become free slots.
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | retire what is dead, unpinned and past its guard, in one step | nothing |
//! | 2 | publish the mark, if it is not above all buffers in them, and all they died of | nothing |
//! |   | or if few slots are left that it lets be taken | slots that are looked at |
//! | 3 | write "erased" over both ends of each, sync | slots that are erased again |
//! | 4 | hand the slots to the free ones | nothing |
//!
//! Step 2 before step 3: without it the gap in the numbers would end the log at the next recovery
//! before writes that were acknowledged; and where the write that something died of is damaged
//! later, nobody could tell that there had been one. Step 3 before step 4: a torn write over old
//! buffers would look like damage.
//!
//! A slot that could not be erased is not used again in this opening; what its first block says
//! now is not known.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use crate::memory::{Reclaim, State};
use crate::store::Store;
use crate::types::{Generation, SegmentId};

/// How long to wait before the mark is published again after it could not be.
const PAUSE: Duration = Duration::from_millis(100);
/// After so many failures in a row the store says that it cannot go on.
const PUBLISH_TRIES: u32 = 20;

/// Runs until the store ends.
pub(crate) async fn run(store: Arc<Store>) {
    let mut failures = 0;
    loop {
        if store.is_ending() {
            return;
        }
        match store.step(State::plan_reclaim) {
            Reclaim::Nothing => store.reclaim_called.notified().await,
            Reclaim::Erase(segments) => erase(&store, &segments).await,
            Reclaim::Publish => match store.publish().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    pause_or_give_up(&store, failures, error).await;
                }
            },
        }
    }
}

async fn pause_or_give_up(store: &Store, failures: u32, error: io::Error) {
    tracing::warn!(%error, failures, "the mark could not be published");
    if failures == PUBLISH_TRIES {
        store.step(|state| {
            state.give_up(Arc::new(error));
            state.calls.writer = true;
        });
    }
    store.environment.clock.sleep(PAUSE).await;
}

/// Erases retired segments, with one sync a file.
async fn erase(store: &Store, segments: &[SegmentId]) {
    let mut by_file = BTreeMap::<u32, Vec<SegmentId>>::new();
    for &segment in segments {
        by_file.entry(store.device.geometry().place(segment).0).or_default().push(segment);
    }
    for (file, segments) in by_file {
        let mut written = Vec::with_capacity(segments.len());
        for some in segments.chunks(store.allowance().in_flight) {
            let writes = some.iter().map(|&segment| erase_one(store, segment));
            written.extend(join_all(writes).await);
        }
        let synced = store.device.sync(file).await;
        store.step(|state| {
            for (&segment, written) in segments.iter().zip(&written) {
                let durable = match (written, &synced) {
                    (Ok(before), Ok(after)) => before == after,
                    _ => false,
                };
                state.erase_ended(segment, durable);
            }
        });
    }
}

async fn erase_one(store: &Store, segment: SegmentId) -> io::Result<u64> {
    let generation: Generation = store.step(|state| state.segments.get(segment).generation);
    store.device.write_erased(segment, generation).await
}
