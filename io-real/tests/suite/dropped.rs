//! Dropped futures: whatever the caller lets go of, threads and files go on working, and the
//! folder is free once all is gone.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use logstor::io::{File, FileOffset, IoBuf, OpenMode, Storage};
use logstor::{Durability, Options, RealStorage};
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
    let options = super::real_options().threads(4);
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
        let options = super::real_options().threads(1);
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
    let storage = RealStorage::open(folder.path(), super::real_options()).await.unwrap();
    let file = filled(&storage).await;
    let mut bytes = Arc::new(IoBuf::zeroed(ByteLen::new(BLOCK)));
    for round in 0..200 {
        Arc::get_mut(&mut bytes).expect("nobody else holds them").fill(round);
        file.write(FileOffset::ZERO, Arc::clone(&bytes)).await.unwrap();
    }
}

/// A get that is dropped lets go of its pin at once, and of its memory and file when the device is
/// done: then nothing keeps the folder of a store that is dropped as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_dropped_gets_leak_nothing_and_wedge_nothing() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = Options { segments_per_file: Some(8), ..Options::default() };
    let db = super::builder(folder.path()).options(options).open().await.unwrap();
    let group = db.group("g").await.unwrap();
    let value = |number: u64| number.to_le_bytes().repeat(100);
    for number in 0..500 {
        group.put_with(key(number), value(number), Durability::Buffered).await.unwrap();
    }
    db.flush().await.unwrap();

    let (mut tasks, mut heard) = (Vec::new(), 0);
    for task in 0..8_u64 {
        let group = group.clone();
        tasks.push(tokio::spawn(async move {
            let (mut state, mut heard) = (task * 7919 + 1, 0);
            for _ in 0..1250 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (number, patience) = ((state >> 33) % 500, (state >> 50) % 24);
                let get = async {
                    let found = group.get(key(number)).await.unwrap();
                    assert_eq!(found.as_deref(), Some(&value(number)[..]));
                    heard += 1;
                };
                give_up_after(patience, get).await;
            }
            heard
        }));
    }
    for task in tasks {
        heard += task.await.unwrap();
    }
    assert!(heard < 10_000, "none was dropped");

    assert_eq!(db.stats().space.pinned, 0);
    for number in 0..500 {
        assert_eq!(group.get(key(number)).await.unwrap(), Some(value(number).into()));
    }
    drop((db, group));
    // Not closed: so the folder is free only when the last operation has let go of its file.
    let mut left = 60_000;
    while super::builder(folder.path()).open().await.is_err() {
        left -= 1;
        assert!(left > 0, "something holds the folder");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn key(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}
