//! Dropped futures: whatever the caller lets go of, threads and files go on working, and the
//! folder is free once all is gone.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use logstor::io::{File, FileOffset, IoBuf, OpenMode, Storage};
use logstor::{RealOptions, RealStorage};
use logstor_core::types::ByteLen;

const BLOCK: u32 = 4096;
const BLOCKS: u64 = 64;

fn block(number: u64) -> IoBuf {
    IoBuf::copy_of(&[u8::try_from(number).unwrap(); 4096])
}

async fn filled(storage: &RealStorage) -> Arc<dyn File> {
    let file = storage.open("a", OpenMode::CreateNew).await.unwrap();
    for number in 0..BLOCKS {
        file.write(FileOffset::new(number * 4096), Arc::new(block(number))).await.unwrap();
    }
    file
}

/// Polls `operation` up to `polls` times with the runtime running in between, then drops it.
async fn give_up_after(polls: u64, operation: impl Future) {
    let patience = async {
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
    };
    match select(Box::pin(operation), Box::pin(patience)).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_dropped_reads_wedge_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = RealOptions::default().threads(4);
    let storage = RealStorage::open(folder.path(), options).await.unwrap();
    let file = filled(&storage).await;

    let mut tasks = Vec::new();
    for task in 0..8_u64 {
        let file = Arc::clone(&file);
        tasks.push(tokio::spawn(async move {
            // A fixed walk over places and amounts of patience: none, some, and plenty.
            let mut state = task * 7919 + 1;
            for _ in 0..1250 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (place, patience) = ((state >> 33) % BLOCKS, (state >> 50) % 24);
                let into = IoBuf::zeroed(ByteLen::new(BLOCK));
                give_up_after(patience, file.read(FileOffset::new(place * 4096), into)).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for number in 0..BLOCKS {
        let into = IoBuf::zeroed(ByteLen::new(BLOCK));
        let read = file.read(FileOffset::new(number * 4096), into).await.unwrap();
        assert_eq!(*read, *block(number));
    }
}

#[tokio::test]
async fn a_dropped_write_keeps_the_lock_until_it_is_done_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let options = RealOptions::default().threads(1);
        let storage = RealStorage::open(folder.path(), options).await.unwrap();
        let mode = if round == 0 { OpenMode::CreateNew } else { OpenMode::Existing };
        let file = storage.open("a", mode).await.unwrap();
        let bytes = Arc::new(IoBuf::zeroed(ByteLen::new(1 << 20)));
        let seen = Arc::downgrade(&bytes);
        give_up_after(1, file.write(FileOffset::ZERO, bytes)).await;
        drop((file, storage));

        // Whoever gets the lock finds nothing of the earlier opening still at work.
        loop {
            match RealStorage::open(folder.path(), options).await {
                Ok(_) => break assert!(seen.upgrade().is_none(), "the write outlived the lock"),
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }
}

#[tokio::test]
async fn the_bytes_are_the_callers_again_when_a_write_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let storage = RealStorage::open(folder.path(), RealOptions::default()).await.unwrap();
    let file = filled(&storage).await;
    let mut bytes = Arc::new(IoBuf::zeroed(ByteLen::new(BLOCK)));
    for round in 0..200 {
        Arc::get_mut(&mut bytes).expect("nobody else holds them").fill(round);
        file.write(FileOffset::ZERO, Arc::clone(&bytes)).await.unwrap();
    }
}
