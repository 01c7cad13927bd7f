//! The log writer: one task that brings accepted records to the device.
//!
//! | step | what | a crash here costs |
//! |--:|---|---|
//! | 1 | plan, in one step: what to seal, write, sync | nothing acknowledged |
//! | 2 | encode the buffer and write it, outside the lock | the buffer, torn or not |
//! | 3 | sync its file | the buffer, torn or not, unless the sync ended |
//! | 4 | complete, in one step and in order of number: index, waiters | nothing: it is durable |
//! | 5 | write the seal of a segment that is full and complete | the seal: the segment is walked |
//!
//! The task owns what is in flight. Callers come and go; nothing they drop reaches the device or
//! the index half-done.

use std::io;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::io::IoBuf;
use crate::log::{Watermarks, WriteJob};
use crate::memory::{Plan, SealJob, Status};
use crate::segment_io::Purpose;
use crate::store::Store;
use crate::types::BufferNumber;

/// Something that was started has ended.
enum Ended {
    Write { number: BufferNumber, image: Arc<IoBuf>, result: io::Result<u64> },
    Sync { file: u32, result: io::Result<u64> },
    Seal { job: SealJob, durable: bool },
}

type InFlight = FuturesUnordered<BoxFuture<'static, Ended>>;

/// Runs until the store ends and everything accepted is durable, or cannot be made so.
pub(crate) async fn run(store: Arc<Store>) {
    let mut in_flight = InFlight::new();
    loop {
        let now = store.now();
        let (plan, failed, drained) = store.step(|state| {
            let plan = state.plan(now);
            let failed = matches!(state.status, Status::Failed(_));
            let idle = state.log.is_idle() && state.rewriter_ended;
            (plan, failed, state.draining && (idle || failed))
        });
        if failed {
            store.write_memory.close(); // writers that wait for memory hear of it
        }
        let look_again_at = plan.look_again_at;
        start(&store, plan, &in_flight);
        if in_flight.is_empty() && drained {
            store.write_memory.close();
            return;
        }
        let timer = async {
            match look_again_at {
                Some(at) => store.environment.clock.sleep(at.saturating_sub(now)).await,
                None => futures::future::pending().await,
            }
        };
        futures::select_biased! {
            ended = next_of(&mut in_flight).fuse() => finish(&store, ended),
            () = store.writer_called.notified().fuse() => {}
            () = timer.fuse() => {}
        }
    }
}

/// The next operation to end; waits for ever when nothing is in flight.
async fn next_of(in_flight: &mut InFlight) -> Ended {
    match in_flight.next().await {
        Some(ended) => ended,
        None => futures::future::pending().await,
    }
}

fn start(store: &Arc<Store>, plan: Plan, in_flight: &InFlight) {
    for job in plan.writes {
        in_flight.push(write(Arc::clone(store), job).boxed());
    }
    for file in plan.syncs {
        in_flight.push(sync(Arc::clone(store), file).boxed());
    }
    for (job, watermarks) in plan.seals {
        in_flight.push(seal(Arc::clone(store), job, watermarks).boxed());
    }
}

async fn write(store: Arc<Store>, mut job: WriteJob) -> Ended {
    let image = job.encode(store.device.store());
    let place = job.place;
    let result =
        store.device.write(Purpose::Log, place.segment, place.offset, Arc::clone(&image)).await;
    Ended::Write { number: job.number, image, result }
}

async fn sync(store: Arc<Store>, file: u32) -> Ended {
    let result = store.device.sync(file).await;
    Ended::Sync { file, result }
}

/// Writes a seal. Only that of a failed segment is synced at once: see the laws of space.
async fn seal(store: Arc<Store>, job: SealJob, watermarks: Watermarks) -> Ended {
    let geometry = store.device.geometry();
    let bytes = Arc::new(job.encode(store.device.store(), geometry, watermarks));
    let written =
        store.device.write(Purpose::Seal, job.segment, geometry.seal_offset(), bytes).await;
    let durable = match written {
        Ok(failures) if job.owed => {
            let synced = store.device.sync(geometry.place(job.segment).0).await;
            synced.is_ok_and(|now| now == failures)
        }
        Ok(_) | Err(_) => false,
    };
    Ended::Seal { job, durable }
}

fn finish(store: &Store, ended: Ended) {
    let now = store.now();
    store.step(|state| match ended {
        Ended::Write { number, image, result } => state.landed(number, image, result, now),
        Ended::Sync { file, result } => state.synced(file, result),
        Ended::Seal { job, durable } => state.seal_written(job, durable),
    });
}
