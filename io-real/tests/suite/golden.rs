//! Stores of format version 2, written once and committed: they must open for ever. A store of
//! version 1, which was the format before the first release, is refused as what it is.
//!
//! `closed` was closed in order and has a dump; `crashed` was copied while it was open, so it has
//! an active segment without a seal. Both hold the same keys.
//!
//! `cargo test -p logstor --test threads golden -- --ignored` writes them anew, for a new format only:
//! change the folder's name with the version, and keep the old folder.

use std::fs;
use std::path::{Path, PathBuf};

use logstor::{Db, ErrorKind, Options, WriteBatch};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-2")
}

fn options() -> Options {
    Options {
        segment_len: Some(64 << 10),
        segments_per_file: Some(2),
        capacity: Some(10 * (64 << 10)),
        ..Options::default()
    }
}

async fn open(path: &Path) -> Db {
    super::builder(path).options(options()).open().await.unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name != "LOCK") {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

fn value(number: u32, version: u32) -> String {
    format!(
        "value {version} of key {number}, {}",
        "x".repeat(usize::try_from(number * 40).unwrap())
    )
}

/// More than one segment of writes: puts, overwrites, deletes, a batch, a group dropped and made
/// again.
async fn fill(db: &Db) {
    let users = db.group("users").await.unwrap();
    let gone = db.group("again").await.unwrap();
    gone.put("old", "must not come back").await.unwrap();
    for version in 1..=2 {
        for number in 0..40 {
            users.put(format!("key {number}"), value(number, version)).await.unwrap();
        }
    }
    for number in (0..40).step_by(7) {
        users.delete(format!("key {number}")).await.unwrap();
    }
    db.drop_group("again").await.unwrap();
    let again = db.group("again").await.unwrap();
    let mut batch = WriteBatch::new();
    batch.put(&again, "new", "fresh").put(&users, [0, 255, 1], "binary key");
    db.write(batch).await.unwrap();
}

async fn check(db: &Db) {
    assert_eq!(db.groups(), ["again", "users"]);
    let users = db.group("users").await.unwrap();
    for number in 0..40 {
        let found = users.get(format!("key {number}")).await.unwrap();
        let expected = (number % 7 != 0).then(|| value(number, 2));
        assert_eq!(found.as_deref(), expected.as_deref().map(str::as_bytes), "key {number}");
    }
    assert_eq!(users.get([0, 255, 1]).await.unwrap().as_deref(), Some(&b"binary key"[..]));
    let again = db.group("again").await.unwrap();
    assert_eq!(again.get("new").await.unwrap().as_deref(), Some(&b"fresh"[..]));
    assert_eq!(again.get("old").await.unwrap(), None);
    assert!(again.id() > users.id());
}

/// Opens a copy, checks it, writes to it, and opens it once more.
async fn opens(name: &str, from_dump: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    copy(&fixtures().join(name), &path);
    let db = open(&path).await;
    assert_eq!(db.recovery_report().from_dump, from_dump);
    check(&db).await;
    db.group("users").await.unwrap().put("more", "later").await.unwrap();
    db.close().await.unwrap();
    drop(db);
    let db = open(&path).await;
    check(&db).await;
    let users = db.group("users").await.unwrap();
    assert_eq!(users.get("more").await.unwrap().as_deref(), Some(&b"later"[..]));
}

#[tokio::test]
async fn a_closed_store_of_format_2_opens_from_its_dump() {
    opens("closed", true).await;
}

#[tokio::test]
async fn a_crashed_store_of_format_2_recovers() {
    opens("crashed", false).await;
}

#[tokio::test]
async fn a_closed_store_of_format_2_without_its_dump_recovers_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    copy(&fixtures().join("closed"), &path);
    fs::remove_file(path.join("index.dump")).unwrap();
    let db = open(&path).await;
    assert!(!db.recovery_report().from_dump);
    check(&db).await;
}

#[tokio::test]
async fn a_store_of_format_1_is_refused_by_name_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    copy(&fixtures().with_file_name("format-1"), &path);
    let before = fs::read(path.join("superblock")).unwrap();
    let refused = super::builder(&path).options(options()).open().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let mut said = refused.to_string();
    let mut cause = std::error::Error::source(&refused);
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    assert!(said.contains("format 1 is older than format 2"), "{said}");
    assert_eq!(fs::read(path.join("superblock")).unwrap(), before);
}

#[tokio::test]
#[ignore = "writes the fixtures: for a new version of the format only"]
async fn make_fixtures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let db = open(&path).await;
    fill(&db).await;
    check(&db).await;
    copy(&path, &fixtures().join("crashed"));
    db.close().await.unwrap();
    copy(&path, &fixtures().join("closed"));
}
