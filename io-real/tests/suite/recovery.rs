//! What an opening tells: progress while it reads, and a report afterwards.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logstor::{Db, Durability, Error, OpenPhase, Options, Progress};

fn options() -> Options {
    Options { segment_len: Some(64 << 10), segments_per_file: Some(8), ..Options::default() }
}

async fn open(path: &Path, options: Options) -> Db {
    super::builder(path).options(options).open().await.unwrap()
}

/// Opens a store whose last handle was just dropped, as soon as its tasks have ended. They leave no
/// dump, so there is as much to recover as after a crash.
async fn open_again(path: &Path, options: Options) -> Db {
    loop {
        match super::builder(path).options(options.clone()).open().await {
            Err(Error::Folder { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test]
async fn recovery_tells_how_far_it_is_and_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let db = open(&path, options()).await;
    assert!(db.recovery_report().created);
    let group = db.group("g").await.unwrap();
    for number in 0..200_u32 {
        let value = vec![1; 1000];
        group.put_with(number.to_le_bytes(), value, Durability::Buffered).await.unwrap();
    }
    group.delete(7_u32.to_le_bytes()).await.unwrap();
    drop((db, group));

    let seen = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let (told, mut watching) = (Arc::clone(&seen), options());
    watching.on_progress = Some(Arc::new(move |progress| told.lock().unwrap().push(progress)));
    let db = open_again(&path, watching).await;
    let report = db.recovery_report();
    assert!(!report.created && !report.from_dump);
    assert_eq!((report.keys, report.groups), (199, 1));
    // 200 puts, one delete, and two records of the catalogue.
    assert_eq!(report.records_kept, 203);
    assert_eq!(report.segments_read, db.stats().file_bytes / (64 << 10));
    assert!(report.bytes_read > 0 && report.buffers_kept > 0);
    assert!(report.losses.is_empty() && report.damaged.is_empty());

    let seen = seen.lock().unwrap();
    let (segments, index): (Vec<Progress>, _) =
        seen.iter().partition(|progress| progress.phase == OpenPhase::Segments);
    let counts: Vec<u64> = segments.iter().map(|progress| progress.done).collect();
    assert_eq!(counts, (1..=report.segments_read).collect::<Vec<_>>());
    assert!(segments.iter().all(|progress| progress.total == report.segments_read));
    assert_eq!(segments.last().unwrap().bytes_read, report.bytes_read);
    let last: &Progress = index.last().unwrap();
    assert_eq!((last.phase, last.done), (OpenPhase::Index, last.total));
}

#[tokio::test]
async fn the_dump_of_a_close_serves_one_opening_and_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let db = open(&path, options()).await;
    let group = db.group("g").await.unwrap();
    for number in 0..50_u32 {
        group.put(number.to_le_bytes(), "value").await.unwrap();
    }
    let before = db.stats();
    db.close().await.unwrap();
    assert!(path.join("index.dump").exists());

    let db = open(&path, options()).await;
    assert!(db.recovery_report().from_dump);
    assert!(!path.join("index.dump").exists());
    let after = db.stats();
    assert_eq!((before.keys, before.live_bytes), (after.keys, after.live_bytes));
    assert_eq!(before.next_sequence, after.next_sequence);
    drop((db, group));
}

/// Damage in the value of a store that was closed: the store opens, the key says so, all others
/// are served, and nothing passes for the damaged one.
#[tokio::test]
async fn a_damaged_value_is_reported_and_nothing_else_suffers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let db = open(&path, options()).await;
    let group = db.group("g").await.unwrap();
    for number in 0..20_u8 {
        group.put([number], vec![number; 3000]).await.unwrap();
    }
    db.close().await.unwrap();
    let file = path.join("segments-000000.log");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(3000).position(|window| window == [9; 3000]).unwrap();
    bytes[at + 1500] ^= 4;
    fs::write(&file, bytes).unwrap();

    let db = open(&path, options()).await;
    let group = db.group("g").await.unwrap();
    for number in 0..20_u8 {
        match group.get([number]).await {
            Ok(value) => assert_eq!(value.unwrap()[..], vec![number; 3000]),
            Err(error) => {
                assert_eq!(number, 9);
                assert!(error.to_string().contains("segment 0"), "{error}");
            }
        }
    }
    group.put([9], "again").await.unwrap();
    assert_eq!(group.get([9]).await.unwrap().as_deref(), Some(&b"again"[..]));
}
