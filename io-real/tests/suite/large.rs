//! Large values on a real disk: whole or absent, whatever becomes of their writers and readers.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use futures::stream::{self, StreamExt, TryStreamExt};
use logstor::format::buffer::{BufferHeader, BufferKind};
use logstor::{Db, Durability, Error, ErrorKind, Group, Options, WriteBatch};

const MIB: usize = 1 << 20;

fn options(capacity: usize) -> Options {
    let capacity = u64::try_from(capacity).unwrap();
    Options { segments_per_file: Some(16), capacity: Some(capacity), ..Options::default() }
}

/// Opens the store; one that was dropped before needs a moment to end.
async fn open(path: &Path, options: Options) -> Db {
    for _ in 0..500 {
        match super::builder(path).options(options.clone()).open().await {
            Ok(db) => return db,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the folder is still taken");
}

/// The bytes of value `number` from `at` on.
fn bytes_of(number: u64, at: usize, len: usize) -> Vec<u8> {
    let word = |index: usize| {
        let mixed = u64::try_from(index).unwrap() ^ (number << 40);
        mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
    };
    let first = at / 8;
    let row: Vec<u8> = (first..=(at + len) / 8).flat_map(word).collect();
    row[at % 8..at % 8 + len].to_vec()
}

fn value(number: u64, len: usize) -> Bytes {
    bytes_of(number, 0, len).into()
}

/// Reads a stream to its end, and checks every byte of it. How many there were.
async fn check_stream(mut stream: logstor::ValueStream, number: u64) -> usize {
    let mut at = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.unwrap();
        assert!(piece == bytes_of(number, at, piece.len()), "value {number} from {at} on");
        at += piece.len();
    }
    assert_eq!(stream.len(), u64::try_from(at).unwrap());
    at
}

async fn assert_value(group: &Group, key: &str, number: u64, len: usize) {
    let found = group.get(key).await.unwrap().unwrap();
    assert_eq!(found.len(), len);
    assert!(found == value(number, len), "{key} is not value {number}");
    let stream = group.get_stream(key).await.unwrap().unwrap();
    assert_eq!(check_stream(stream, number).await, len);
}

/// Bytes that large values take, once everything dead has been given back.
async fn settled(db: &Db, large: u32) {
    for _ in 0..500 {
        let stats = db.stats();
        assert_eq!(stats.space.sum(), stats.file_bytes, "{stats:?}");
        if stats.kinds.large == large && stats.segments.retired == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{large} large segments are expected: {:?}", db.stats());
}

/// Segments that a value of this length takes in a store with default segments.
fn pieces(len: usize) -> u32 {
    u32::try_from(len.div_ceil((256 << 10) - 4096 - 96)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_are_written_overwritten_deleted_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options(256 * MIB)).await;
    let group = db.group("g").await.unwrap();
    let lens = [(64 << 10) + 1, MIB - 1, MIB, 5 * MIB + 7, 64 * MIB];
    for (number, len) in (0..).zip(lens) {
        group.put(format!("key {number}"), value(number, len)).await.unwrap();
    }
    for (number, len) in (0..).zip(lens) {
        assert_value(&group, &format!("key {number}"), number, len).await;
    }
    settled(&db, lens.iter().map(|&len| pieces(len)).sum()).await;

    group.put("key 4", value(9, 3 * MIB)).await.unwrap();
    group.put("key 2", "short").await.unwrap();
    group.delete("key 3").await.unwrap();
    settled(&db, lens[..2].iter().chain([&(3 * MIB)]).map(|&len| pieces(len)).sum()).await;

    // From the dump of a close, then from the segments: a dump is good for one opening.
    db.close().await.unwrap();
    drop((group, db));
    for from_dump in [true, false] {
        let db = open(folder.path(), options(256 * MIB)).await;
        let report = db.recovery_report();
        assert_eq!(report.from_dump, from_dump);
        assert!(report.damaged_values.is_empty());
        let group = db.group("g").await.unwrap();
        assert_value(&group, "key 0", 0, lens[0]).await;
        assert_value(&group, "key 1", 1, lens[1]).await;
        assert_value(&group, "key 4", 9, 3 * MIB).await;
        assert_eq!(group.get("key 2").await.unwrap().as_deref(), Some(&b"short"[..]));
        assert_eq!(group.get("key 3").await.unwrap(), None);
        settled(&db, pieces(lens[0]) + pieces(lens[1]) + pieces(3 * MIB)).await;
        drop((group, db)); // without a close there is no dump
    }

    let db = open(folder.path(), options(256 * MIB)).await;
    db.drop_group("g").await.unwrap();
    settled(&db, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_its_word_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options(64 * MIB)).await;
    let group = db.group("g").await.unwrap();
    group.put("k", value(1, 2 * MIB)).await.unwrap();
    let chunks = |count: usize| {
        stream::iter((0..count).map(|at| Ok::<_, Infallible>(value(at as u64, 100_000))))
    };
    for (len, said) in [(2_900_000, 3_000_000), (3_100_000, 3_000_000), (0, MIB), (100_000, 50)] {
        let error = group.put_stream("k", said as u64, chunks(len / 100_000)).await.unwrap_err();
        let Error::StreamLen { expected, found } = error else { panic!("{error}") };
        assert_eq!((expected, found), (said as u64, len as u64));
    }
    for said in [40, 4 * MIB] {
        let broken = chunks(5).map_err(io::Error::other);
        let end = stream::iter([Err(io::Error::other("the line is dead"))]);
        let broken = broken.take(if said == 40 { 0 } else { 5 }).chain(end);
        let error = group.put_stream("k", said as u64, broken).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("the line is dead"), "{error}");
    }
    let mut batch = WriteBatch::new();
    batch.put(&group, "k", value(2, MIB));
    assert!(matches!(db.write(batch).await, Err(Error::LargeValueInBatch { .. })));
    assert_value(&group, "k", 1, 2 * MIB).await;
    settled(&db, pieces(2 * MIB)).await;

    group.put_stream("k", 300_000, chunks(3)).await.unwrap();
    group.put_stream("short", 0, chunks(0)).await.unwrap();
    assert!(group.get_stream("short").await.unwrap().unwrap().is_empty());
    assert!(group.get_stream("nobody").await.unwrap().is_none());
    settled(&db, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_writer_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options(64 * MIB)).await;
    let group = db.group("g").await.unwrap();
    for patience in 0..40_u64 {
        // More of them than there are turns, so that a turn that got lost would be missed.
        let endless = stream::iter(0..).then(|number: u64| async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(value(number, 200_000))
        });
        let put = Box::pin(group.put_stream("k", 20 * MIB as u64, endless));
        let enough = Box::pin(tokio::time::sleep(Duration::from_micros(patience * 500)));
        if let Either::Left((done, _)) = select(put, enough).await {
            assert!(matches!(done, Err(Error::StreamLen { .. })), "{done:?}");
        }
    }
    assert_eq!(group.get("k").await.unwrap(), None);
    settled(&db, 0).await;
    group.put("k", value(1, 20 * MIB)).await.unwrap();
    assert_value(&group, "k", 1, 20 * MIB).await;
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_goes_on_while_its_key_is_overwritten_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options(64 * MIB)).await;
    let group = db.group("g").await.unwrap();
    group.put("k", value(0, 4 * MIB)).await.unwrap();
    let mut first = group.get_stream("k").await.unwrap().unwrap();
    let begun = first.next().await.unwrap().unwrap();
    assert!(begun == bytes_of(0, 0, begun.len()));
    for number in 1..20 {
        group.put("k", value(number, 4 * MIB)).await.unwrap();
    }
    let last = group.get_stream("k").await.unwrap().unwrap();
    group.delete("k").await.unwrap();
    let mut at = begun.len();
    while let Some(piece) = first.try_next().await.unwrap() {
        assert!(piece == bytes_of(0, at, piece.len()));
        at += piece.len();
    }
    assert_eq!(at, 4 * MIB);
    assert_eq!(check_stream(last, 19).await, 4 * MIB);
    drop(first);
    settled(&db, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_without_room_is_refused_and_a_close_ends_streams_and_writers() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options(16 * MIB)).await;
    let group = db.group("g").await.unwrap();
    let error = group.put("k", value(1, 17 * MIB)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    group.put("k", value(2, 9 * MIB)).await.unwrap();
    let error = group.put("l", value(3, 9 * MIB)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(group.get("l").await.unwrap(), None);
    group.delete("k").await.unwrap();
    group.put_with("l", value(4, 9 * MIB), Durability::Buffered).await.unwrap();
    assert_value(&group, "l", 4, 9 * MIB).await;

    let mut reader = group.get_stream("l").await.unwrap().unwrap();
    let slow = stream::pending::<Result<Bytes, Infallible>>();
    let writer = group.put_stream("m", MIB as u64, slow);
    let close = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        db.close().await.unwrap();
    };
    let (written, ()) = futures::future::join(writer, close).await;
    assert_eq!(written.unwrap_err().kind(), ErrorKind::Closed);
    let rest: Vec<_> = reader.by_ref().collect().await;
    assert!(matches!(rest.last(), Some(Err(Error::Closed))), "{rest:?}");
    drop((reader, group, db));
    let db = open(folder.path(), options(16 * MIB)).await;
    assert!(db.recovery_report().from_dump);
    assert_value(&db.group("g").await.unwrap(), "l", 4, 9 * MIB).await;
}

/// Changes the piece with this number of the only large value, wherever it lies.
fn change_piece(path: &Path, number: u64, change: impl Fn(&mut Vec<u8>, usize, BufferHeader)) {
    for entry in fs::read_dir(path).unwrap() {
        let file = entry.unwrap().path();
        if !file.file_name().unwrap().to_str().unwrap().starts_with("segments-") {
            continue;
        }
        let mut bytes = fs::read(&file).unwrap();
        for at in (0..bytes.len()).step_by(256 << 10) {
            let Ok(header) = BufferHeader::parse(&bytes[at..at + 512]) else { continue };
            if header.kind == BufferKind::Piece && header.number.get() == number {
                change(&mut bytes, at, header);
            }
        }
        fs::write(&file, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_a_piece_is_told_and_costs_its_value_alone() {
    let rot = |bytes: &mut Vec<u8>, at: usize, _: BufferHeader| bytes[at + 5000] ^= 1;
    let another_life = |bytes: &mut Vec<u8>, at: usize, header: BufferHeader| {
        let generation = header.generation.advance(1 << 20);
        let header = BufferHeader { generation, ..header };
        bytes[at..at + BufferHeader::LEN].copy_from_slice(&header.encode());
    };
    for (with_dump, missing) in [(true, false), (false, false), (true, true), (false, true)] {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path(), options(16 * MIB)).await;
        let group = db.group("g").await.unwrap();
        group.put("k", value(1, MIB)).await.unwrap();
        group.put("other", "fine").await.unwrap();
        db.close().await.unwrap();
        drop((group, db));
        if missing {
            change_piece(folder.path(), 2, another_life);
        } else {
            change_piece(folder.path(), 2, rot);
        }
        if !with_dump {
            fs::remove_file(folder.path().join("index.dump")).unwrap();
        }

        let db = open(folder.path(), options(16 * MIB)).await;
        let report = db.recovery_report();
        assert_eq!(report.from_dump, with_dump);
        let told: Vec<_> = report.damaged_values.iter().map(|damaged| damaged.pieces).collect();
        let expected = if missing && !with_dump { vec![Some(1)] } else { Vec::new() };
        assert_eq!(told, expected);
        let group = db.group("g").await.unwrap();
        let error = group.get("k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        if expected.is_empty() {
            let mut stream = group.get_stream("k").await.unwrap().unwrap();
            assert!(stream.next().await.unwrap().is_ok());
            assert!(stream.next().await.unwrap().is_ok());
            let error = stream.next().await.unwrap().unwrap_err();
            assert!(error.to_string().contains("piece 2"), "{error}");
            assert!(stream.next().await.is_none());
        }
        assert_eq!(group.get("other").await.unwrap().as_deref(), Some(&b"fine"[..]));
        group.put("k", value(2, 2 * MIB)).await.unwrap();
        assert_value(&group, "k", 2, 2 * MIB).await;
        settled(&db, pieces(2 * MIB)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes a gibibyte"]
async fn a_gibibyte_is_a_value() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), options(1100 * MIB)).await;
    let group = db.group("g").await.unwrap();
    let chunks = stream::iter((0..1024).map(|at| Ok::<_, Infallible>(bytes_of(7, at * MIB, MIB))));
    group.put_stream("k", 1 << 30, chunks.map_ok(Bytes::from)).await.unwrap();
    let stream = group.get_stream("k").await.unwrap().unwrap();
    assert_eq!(check_stream(stream, 7).await, 1 << 30);
    db.close().await.unwrap();
    drop((group, db));
    let db = open(folder.path(), options(1100 * MIB)).await;
    let stream = db.group("g").await.unwrap().get_stream("k").await.unwrap().unwrap();
    assert_eq!(check_stream(stream, 7).await, 1 << 30);
}
