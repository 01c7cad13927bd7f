//! A store that is only read stays as it is, whatever its opening decides.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use logstor::{CompactRequest, Db, Error, ErrorKind, Options};

fn options() -> Options {
    Options {
        segment_len: Some(64 << 10),
        segments_per_file: Some(2),
        capacity: Some(20 * (64 << 10)),
        ..Options::default()
    }
}

/// A store that was not closed: the end of its log is not sealed.
async fn crashed(path: &Path) {
    let live = tempfile::tempdir().unwrap();
    let store = live.path().join("store");
    let db = super::builder(&store).options(options()).open().await.unwrap();
    let users = db.group("users").await.unwrap();
    for number in 0..300 {
        users.put(format!("key {number}"), format!("{number} {}", "x".repeat(500))).await.unwrap();
    }
    users.put("large", vec![7; 100_000]).await.unwrap();
    fs::create_dir(path).unwrap();
    for entry in fs::read_dir(&store).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
    }
}

fn bytes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    files.map(read).collect()
}

async fn check(db: &Db) {
    let users = db.group("users").await.unwrap();
    for number in 0..300 {
        let found = users.get(format!("key {number}")).await.unwrap().unwrap();
        assert!(found.starts_with(format!("{number} x").as_bytes()));
    }
    assert_eq!(users.get("large").await.unwrap().unwrap(), vec![7; 100_000]);
    assert_eq!(users.get("none").await.unwrap(), None);
}

#[tokio::test]
async fn what_is_read_only_shows_everything_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    crashed(&path).await;
    let before = bytes(&path);
    let db = super::builder(&path).options(options()).open_read_only().await.unwrap();
    check(&db).await;

    let users = db.group("users").await.unwrap();
    let refused = |error: Error| assert!(matches!(error, Error::ReadOnly), "{error:?}");
    refused(users.put("key 1", "changed").await.unwrap_err());
    refused(users.delete("key 1").await.unwrap_err());
    refused(db.group("another").await.unwrap_err());
    refused(db.drop_group("users").await.unwrap_err());
    refused(db.truncate_group("users").await.unwrap_err());
    refused(db.compact(CompactRequest::default()).await.unwrap_err());
    refused(db.resize(None).unwrap_err());
    db.flush().await.unwrap();
    check(&db).await;
    assert_eq!(db.stats().keys, 301);

    db.close().await.unwrap();
    assert!(matches!(users.get("key 1").await, Err(Error::Closed)));
    assert_eq!(bytes(&path), before);
    // And it opens for good, as if nobody had looked.
    let db = super::builder(&path).options(options()).open().await.unwrap();
    check(&db).await;
    db.close().await.unwrap();
}

#[tokio::test]
async fn several_may_read_at_once_and_nobody_while_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    crashed(&path).await;
    let first = super::builder(&path).open_read_only().await.unwrap();
    let second = super::builder(&path).open_read_only().await.unwrap();
    let refused = super::builder(&path).open().await.unwrap_err();
    assert!(refused.to_string().contains("is in use by another process"), "{refused}");
    check(&first).await;
    check(&second).await;
    first.close().await.unwrap();
    second.close().await.unwrap();

    let writer = super::builder(&path).open().await.unwrap();
    let refused = super::builder(&path).open_read_only().await.unwrap_err();
    let holder = format!("is in use by this process ({})", std::process::id());
    assert!(refused.to_string().contains(&holder), "{refused}");
    writer.close().await.unwrap();
}

#[tokio::test]
async fn a_folder_that_nobody_may_write_to_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    crashed(&path).await;
    fs::remove_file(path.join("LOCK")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    let db = super::builder(&path).open_read_only().await.unwrap();
    check(&db).await;
    db.close().await.unwrap();
    assert!(!path.join("LOCK").exists());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn where_there_is_no_store_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let refused = super::builder(folder.path()).open_read_only().await.unwrap_err();
    assert!(matches!(refused, Error::NoStore), "{refused:?}");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let missing = folder.path().join("missing");
    let refused = super::builder(&missing).open_read_only().await.unwrap_err();
    assert!(refused.to_string().starts_with("there is no folder"), "{refused}");
    assert!(!missing.exists());
}
