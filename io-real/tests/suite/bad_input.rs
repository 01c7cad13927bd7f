//! Bad input gets a clear, typed error that names the place and the way out, and nothing is lost.
//!
//! Each test is one kind of bad input, on a real folder, through the public door.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use logstor::{Db, Error, ErrorKind, Options, RecoveryMode, WriteBatch};
use tempfile::TempDir;

/// A store of at most 16 segments of 64 KiB, so that reuse and fullness are near.
fn small() -> Options {
    Options {
        segment_len: Some(64 << 10),
        segments_per_file: Some(4),
        capacity: Some(16 * (64 << 10)),
        ..Options::default()
    }
}

async fn open(path: &Path, options: Options) -> Result<Db, Error> {
    super::builder(path).options(options).open().await
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// What the store in `path` holds once it is closed: 60 keys of mixed lengths in two groups, some
/// overwritten, some deleted.
async fn filled(path: &Path) -> BTreeMap<(String, String), Vec<u8>> {
    let db = open(path, small()).await.unwrap();
    let mut model = BTreeMap::new();
    for round in 0..3_usize {
        for number in 0..30_usize {
            for name in ["a", "b"] {
                let group = db.group(name).await.unwrap();
                let key = format!("key {number}");
                if round == 2 && number % 5 == 0 {
                    group.delete(&key).await.unwrap();
                    model.remove(&(name.to_string(), key));
                    continue;
                }
                let byte = u8::try_from((round * 31 + number) % 251).unwrap();
                let value = vec![byte; number * 97 % 3000];
                group.put(&key, value.clone()).await.unwrap();
                model.insert((name.to_string(), key), value);
            }
        }
    }
    db.close().await.unwrap();
    model
}

/// Every key has its value; or reading it says "corrupt". How many are corrupt.
async fn check(db: &Db, model: &BTreeMap<(String, String), Vec<u8>>) -> usize {
    let mut corrupt = 0;
    for name in ["a", "b"] {
        let group = db.group(name).await.unwrap();
        for number in 0..30 {
            let key = format!("key {number}");
            let expected = model.get(&(name.to_string(), key.clone()));
            match group.get(&key).await {
                Ok(value) => {
                    assert_eq!(value.as_deref(), expected.map(|value| &value[..]), "{key}");
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corruption, "{key}: {error}");
                    corrupt += 1;
                }
            }
        }
    }
    corrupt
}

fn files_of(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.file_name().is_some_and(|name| name != "LOCK"));
    files.sort();
    files
}

#[tokio::test]
async fn a_folder_of_something_else_is_refused_by_name() {
    let folder = folder();
    fs::write(folder.path().join("holiday.jpg"), b"not ours").unwrap();
    let error = open(folder.path(), small()).await.unwrap_err();
    assert!(matches!(&error, Error::NotAStore { name } if name == "holiday.jpg"), "{error}");
    assert_eq!(fs::read(folder.path().join("holiday.jpg")).unwrap(), b"not ours");
}

#[tokio::test]
async fn a_newer_format_is_refused_with_both_versions() {
    let folder = folder();
    filled(folder.path()).await;
    let superblock = folder.path().join("superblock");
    let mut bytes = fs::read(&superblock).unwrap();
    let ours = bytes[8];
    bytes[8] = 99;
    fs::write(&superblock, &bytes).unwrap();
    let error = open(folder.path(), small()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("99") && text.contains(&ours.to_string()), "{text}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    bytes[8] = ours;
    fs::write(&superblock, &bytes).unwrap();
    assert!(open(folder.path(), small()).await.is_ok(), "nothing was lost");
}

#[tokio::test]
async fn a_second_opening_is_refused_with_the_process_that_has_it() {
    let folder = folder();
    let db = open(folder.path(), small()).await.unwrap();
    let error = open(folder.path(), small()).await.unwrap_err();
    let Error::Folder { source } = &error else { panic!("{error}") };
    let refused = source.downcast_ref::<logstor::OpenFolderError>();
    let Some(logstor::OpenFolderError::Locked { pid, .. }) = refused else { panic!("{error}") };
    assert_eq!(*pid, Some(std::process::id()));
    let group = db.group("g").await.unwrap();
    db.close().await.unwrap();
    let second = open(folder.path(), small()).await.unwrap();
    drop((db, group));
    assert!(open(folder.path(), small()).await.is_err(), "the lock is the second one's now");
    second.close().await.unwrap();
}

#[tokio::test]
async fn options_that_cannot_be_or_contradict_the_store_are_refused() {
    let folder = folder();
    let mut odd = small();
    odd.segment_len = Some(100_000);
    assert!(matches!(open(folder.path(), odd).await, Err(Error::Geometry(_))));
    let mut odd = small();
    odd.buffer_len = 1;
    let error = open(folder.path(), odd).await.unwrap_err();
    assert!(error.to_string().contains("buffer_len"), "{error}");

    let model = filled(folder.path()).await;
    let mut other = small();
    other.segment_len = Some(128 << 10);
    let error = open(folder.path(), other).await.unwrap_err();
    assert!(matches!(error, Error::OtherGeometry { asked: 131_072, found: 65_536, .. }), "{error}");
    let db = open(folder.path(), Options::default()).await.unwrap();
    assert_eq!(check(&db, &model).await, 0);
}

#[tokio::test]
async fn a_place_where_no_folder_can_be_is_refused() {
    let error = open(Path::new("/proc/logstor"), small()).await.unwrap_err();
    assert!(matches!(error, Error::Folder { .. }), "{error}");
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = open(&file, small()).await.unwrap_err();
    assert!(matches!(error, Error::Folder { .. }), "{error}");
}

#[tokio::test]
async fn keys_values_and_batches_over_the_limits_are_refused_with_the_limit() {
    let folder = folder();
    let db = open(folder.path(), small()).await.unwrap();
    let limits = db.limits();
    let group = db.group("g").await.unwrap();
    assert!(matches!(group.put("", "v").await, Err(Error::KeyEmpty)));
    assert!(matches!(group.get("").await, Err(Error::KeyEmpty)));

    let long = vec![7; limits.key_len + 1];
    let error = group.put(&long, "v").await.unwrap_err();
    assert!(matches!(error, Error::KeyTooLong { limit, .. } if limit == limits.key_len));
    assert!(group.delete(&long).await.is_err());
    group.put(&long[1..], "v").await.unwrap();
    assert_eq!(group.get(&long[1..]).await.unwrap().as_deref(), Some(&b"v"[..]));

    let large = vec![8; limits.value_len + 1];
    let mut batch = WriteBatch::new();
    batch.put(&group, "k", large.clone());
    let error = db.write(batch).await.unwrap_err();
    assert!(matches!(error, Error::LargeValueInBatch { limit, .. } if limit == limits.value_len));
    group.put("k", large[1..].to_vec()).await.unwrap();
    assert_eq!(group.get("k").await.unwrap().as_deref(), Some(&large[1..]));
    group.put("k", large.clone()).await.unwrap();
    assert_eq!(group.get("k").await.unwrap().as_deref(), Some(&large[..]));
    let nothing = futures::stream::empty::<Result<Bytes, Infallible>>();
    let error = group.put_stream("k", limits.large_value_len + 1, nothing).await.unwrap_err();
    assert!(matches!(error, Error::ValueTooLong { limit, .. } if limit == limits.large_value_len));

    let mut batch = WriteBatch::new();
    while batch.log_len() <= limits.batch_len {
        batch.put(&group, format!("in batch {}", batch.len()), vec![9; 5000]);
    }
    let error = db.write(batch).await.unwrap_err();
    assert!(matches!(error, Error::BatchTooLarge { limit, .. } if limit == limits.batch_len));
    assert_eq!(group.get("in batch 0").await.unwrap(), None, "nothing of it is there");

    assert!(matches!(db.group("").await, Err(Error::GroupName { len: 0, .. })));
    assert!(matches!(db.group("g".repeat(256)).await, Err(Error::GroupName { len: 256, .. })));
    db.group("g".repeat(255)).await.unwrap();
    assert!(matches!(db.drop_group("nobody").await, Err(Error::NoSuchGroup { .. })));
}

#[tokio::test]
async fn a_group_of_another_store_is_refused_in_a_batch() {
    let (mine, other) = (folder(), folder());
    let db = open(mine.path(), small()).await.unwrap();
    let stranger = open(other.path(), small()).await.unwrap().group("g").await.unwrap();
    let mut batch = WriteBatch::new();
    batch.put(&stranger, "k", "v");
    assert!(matches!(db.write(batch).await, Err(Error::ForeignGroup { .. })));
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let folder = folder();
    let db = open(folder.path(), small()).await.unwrap();
    let group = db.group("g").await.unwrap();
    group.put("k", "v").await.unwrap();
    db.close().await.unwrap();
    db.close().await.unwrap();
    assert!(matches!(group.put("k", "w").await, Err(Error::Closed)));
    assert!(matches!(group.get("k").await, Err(Error::Closed)));
    assert!(matches!(db.group("h").await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_full_store_reads_and_deletes_and_returns_to_work() {
    let folder = folder();
    let db = open(folder.path(), small()).await.unwrap();
    let group = db.group("g").await.unwrap();
    let value = vec![1_u8; 10_000];
    let mut stored = 0;
    let error = loop {
        match group.put(format!("key {stored}"), value.clone()).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.is_retryable());
    assert!(error.to_string().contains("1048576"), "{error}");
    for number in 0..stored {
        let found = group.get(format!("key {number}")).await.unwrap();
        assert_eq!(found.as_deref(), Some(&value[..]));
    }
    for number in 0..stored {
        group.delete(format!("key {number}")).await.unwrap();
    }
    for round in 0..200 {
        group.put("again", vec![round; 10_000]).await.unwrap();
    }
    assert_eq!(group.get("again").await.unwrap().as_deref(), Some(&[199; 10_000][..]));
}

#[tokio::test]
async fn a_truncated_file_is_named_and_salvaging_gives_what_is_left() {
    let folder = folder();
    let model = filled(folder.path()).await;
    let last = folder.path().join("segments-000000.log");
    let file = fs::OpenOptions::new().write(true).open(&last).unwrap();
    file.set_len(100_000).unwrap();
    let error = open(folder.path(), small()).await.unwrap_err();
    let Error::WrongLength { name, expected, found } = &error else { panic!("{error}") };
    assert_eq!((&name[..], *expected, *found), ("segments-000000.log", 4 << 16, 100_000));

    let mut salvage = small();
    salvage.recovery = RecoveryMode::Salvage;
    let db = open(folder.path(), salvage).await.unwrap();
    assert!(!db.recovery_report().losses.is_empty());
    let group = db.group("a").await.unwrap();
    for number in 0..30 {
        let key = format!("key {number}");
        if let Ok(Some(found)) = group.get(&key).await {
            let length = number * 97 % 3000;
            assert_eq!(found.len(), length, "a whole value of this key");
        }
    }
    drop(model);
}

#[tokio::test]
async fn a_missing_file_is_named() {
    for name in ["segments-000000.log", "mark"] {
        let folder = folder();
        filled(folder.path()).await;
        fs::remove_file(folder.path().join(name)).unwrap();
        let error = open(folder.path(), small()).await.unwrap_err();
        assert!(matches!(&error, Error::MissingFile { name: found } if found == name), "{error}");
        assert_eq!(error.kind(), ErrorKind::Corruption);
    }
}

/// A superblock is what makes a folder a store: without it, what is there is somebody else's.
#[tokio::test]
async fn a_lost_superblock_does_not_make_a_new_store_over_the_old_one() {
    let folder = folder();
    filled(folder.path()).await;
    fs::remove_file(folder.path().join("superblock")).unwrap();
    let error = open(folder.path(), small()).await.unwrap_err();
    assert!(matches!(error, Error::NotAStore { .. }), "{error}");
}

/// All files of segments at once: in which of them the live records lie depends on when slots were
/// freed and reused, and a file without any may be overwritten without harm.
#[tokio::test]
async fn garbage_over_any_file_is_found_out() {
    for victim in ["superblock", "mark", "index.dump", "segments"] {
        let folder = folder();
        let model = filled(folder.path()).await;
        let victims = files_of(folder.path())
            .into_iter()
            .filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(victim));
        for path in victims {
            let len = fs::read(&path).unwrap().len();
            let garbage: Vec<u8> = (0..len).map(|at| u8::try_from(at * 7 % 256).unwrap()).collect();
            fs::write(&path, garbage).unwrap();
        }
        match open(folder.path(), small()).await {
            Ok(db) => {
                let corrupt = check(&db, &model).await;
                assert_eq!(corrupt > 0, victim == "segments", "{victim}");
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Corruption), "{victim}: {error}");
            }
        }
    }
}

/// Single flipped bits in a closed store, with its dump and without: a value is right, or reading
/// it says "corrupt", or the opening is refused as damaged; never a wrong or missing value.
#[tokio::test]
async fn a_flipped_bit_never_gives_a_wrong_value() {
    let pristine = folder();
    let model = filled(pristine.path()).await;
    let (mut refused, mut corrupt, mut untouched) = (0, 0, 0);
    let mut draw: u64 = 1;
    for round in 0..300 {
        let folder = folder();
        for file in files_of(pristine.path()) {
            let name = file.file_name().unwrap();
            if name != "index.dump" || round % 2 == 0 {
                fs::copy(&file, folder.path().join(name)).unwrap();
            }
        }
        let files = files_of(folder.path());
        let segments: Vec<_> = files
            .iter()
            .filter(|file| file.extension().is_some_and(|kind| kind == "log"))
            .collect();
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = usize::try_from(draw >> 33).unwrap();
        let victim = match pick % 8 {
            0..5 => segments[pick / 8 % segments.len()], // most flips go where the data is
            _ => &files[pick / 8 % files.len()],
        };
        let mut bytes = fs::read(victim).unwrap();
        let at = (pick / 64) % bytes.len();
        bytes[at] ^= 1 << (pick % 7);
        fs::write(victim, bytes).unwrap();
        match open(folder.path(), small()).await {
            Ok(db) => match check(&db, &model).await {
                0 => untouched += 1,
                some => corrupt += some,
            },
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corruption, "{victim:?} at {at}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && corrupt > 0 && untouched > 0, "{refused} {corrupt} {untouched}");
}
