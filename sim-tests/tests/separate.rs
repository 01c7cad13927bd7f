//! What `Group::separate` promises, seen from outside: by `Group::stats`, and on the disk itself.
//!
//! 1. When it has completed, nothing of the group that was there before lies in a segment with
//!    something of another group, whatever others write meanwhile.
//! 2. Dropping the group then gives back its segments, and touches nobody else's.
//! 3. A crash in the middle costs nothing but the work.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join;
use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::{
    CompactionPause, Db, Durability, Error, Group, GroupStats, Options, WriteBatch,
};
use logstor_io_sim::{CrashKind, Sim, SimOptions, StopAt};
use logstor_sim_tests::value;

const SEGMENT: u32 = 64 << 10;
const SEGMENTS: u32 = 64;
const KEYS: u8 = 24;
/// Takes two segments of its own.
const LARGE: usize = 100_000;

fn options() -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(8),
        capacity: Some(u64::from(SEGMENTS) * u64::from(SEGMENT)),
        buffer_len: 4096,
        sync_bytes: 8192,
        ..Options::default()
    }
}

fn open(sim: &Sim) -> Db {
    sim.run(Db::open(sim.boot(), options())).expect_done().unwrap()
}

/// The value of a key of a group; of some none.
fn expected(group: &str, key: u8) -> Option<bytes::Bytes> {
    let number = u64::from(key) + 1000 * u64::from(group.as_bytes()[0]);
    match key {
        key if key % 5 == 3 => None,
        7 => Some(value::make(number, LARGE)),
        key => Some(value::make(number, 40 + 130 * usize::from(key))),
    }
}

const GROUPS: [&str; 3] = ["a", "b", "c"];

/// Three groups in the same segments: everything is written twice, and some of it deleted.
/// Compaction rests, or it might sort them.
async fn mix(db: &Db) -> Result<CompactionPause, Error> {
    let pause = db.pause_compaction();
    let mut groups = Vec::new();
    for name in GROUPS {
        groups.push(db.group(name).await?);
    }
    for round in 0..2 {
        for key in 0..KEYS {
            for group in &groups {
                match expected(group.name(), key).filter(|_| round == 1) {
                    Some(value) => group.put([key], value).await?,
                    None if round == 1 => group.delete([key]).await?,
                    None => group.put([key], value::make(0, 400)).await?,
                }
            }
        }
    }
    Ok(pause)
}

async fn check(db: &Db) -> Result<(), Error> {
    for name in GROUPS {
        let group = db.group(name).await?;
        for key in 0..KEYS {
            let found = group.get([key]).await?;
            assert_eq!(found, expected(name, key), "key {key} of {name}");
        }
        let stats = group.stats()?;
        assert_eq!((stats.keys, stats.large_values), (19, 1), "{stats:?}");
        assert_eq!(stats.large_bytes, 100_000);
    }
    Ok(())
}

/// Compaction rests, or it might put the little that is there together again.
async fn separate_and_check(db: &Db) -> Result<GroupStats, Error> {
    let _pause = db.pause_compaction();
    let group = db.group("a").await?;
    group.separate().await?;
    let stats = group.stats()?;
    assert_eq!(stats.shared_segments, 0, "{stats:?}");
    check(db).await?;
    Ok(stats)
}

/// Of every segment in use its bytes; one whose first block says that it is erased is not in use.
fn segments(sim: &Sim) -> BTreeMap<(String, u64), Vec<u8>> {
    let mut segments = BTreeMap::new();
    for (name, bytes) in sim.raw().export() {
        if !name.starts_with("segments-") {
            continue;
        }
        for (segment, at) in bytes.chunks(64 << 10).zip(0..) {
            let head = BufferHeader::parse(segment);
            if head.is_ok_and(|head| head.kind.has_records() || head.kind == BufferKind::Piece) {
                segments.insert((name.clone(), at), segment.to_vec());
            }
        }
    }
    segments
}

/// Drops the group while compaction rests, and compares the disk before and after.
fn drop_and_compare(sim: &Sim, db: &Db, what: &str) {
    let clock = sim.boot().clock;
    let settle = || clock.sleep(Duration::from_secs(2));
    let group = sim.run(async { db.group("a").await }).expect_done().unwrap();
    sim.run(settle()).expect_done();
    let (stats, before, all) = (group.stats().unwrap(), segments(sim), db.stats());
    assert!(stats.segments >= 3, "{what}: two pieces, and the rest: {stats:?}");
    sim.run(async { db.drop_group("a").await }).expect_done().unwrap();
    sim.run(settle()).expect_done();
    let after = segments(sim);

    let gone = before.keys().filter(|id| !after.contains_key(*id)).count();
    assert_eq!(u64::try_from(gone).unwrap(), stats.segments, "{what}");
    let changed = before.iter().filter(|(id, old)| after.get(*id).is_some_and(|new| new != *old));
    let changed: Vec<_> = changed.map(|(id, _)| id).collect();
    assert!(changed.len() <= 1, "{what}: only the log goes on: {changed:?}");
    let now = db.stats();
    assert_eq!(now.live_bytes + stats.live_bytes, all.live_bytes - group_record(), "{what}");
    assert!(matches!(group.stats(), Err(Error::GroupDropped { .. })));
    assert_eq!(sim.run(async { db.groups() }).expect_done(), ["b", "c"]);
}

/// The record that says that the group exists, which dies with it: header, key, name, padding.
fn group_record() -> u64 {
    40
}

#[test]
fn a_separated_group_shares_nothing_and_goes_alone() {
    let sim = Sim::new(&SimOptions::new(1));
    let db = open(&sim);
    let _pause = sim.run(mix(&db)).expect_done().unwrap();
    let group = sim.run(db.group("a")).expect_done().unwrap();
    let mixed = group.stats().unwrap();
    assert!(mixed.shared_segments > 0, "{mixed:?}");
    let stats = sim.run(separate_and_check(&db)).expect_done().unwrap();
    assert_eq!(stats.live_bytes, mixed.live_bytes);
    drop_and_compare(&sim, &db, "");
}

#[test]
fn a_crash_in_the_middle_of_separating_costs_only_the_work() {
    let origin = Sim::new(&SimOptions::new(2));
    let db = open(&origin);
    let _pause = origin.run(mix(&db)).expect_done().unwrap();
    origin.run(db.close()).expect_done().unwrap();
    drop(db);
    origin.crash(CrashKind::POWER_CUT);
    for effects in 1.. {
        let sim = origin.fork();
        sim.reseed(effects);
        let db = open(&sim);
        sim.stop_at(StopAt::Effects(effects));
        let whole = sim.run(separate_and_check(&db)).done().is_some();
        drop(db);
        sim.crash(CrashKind::POWER_CUT);
        let db = open(&sim);
        sim.run(check(&db)).expect_done().unwrap();
        let _pause = db.pause_compaction();
        sim.run(separate_and_check(&db)).expect_done().unwrap();
        drop_and_compare(&sim, &db, &format!("{effects} effects"));
        if whole {
            assert!(effects > 5, "separating did something");
            return;
        }
    }
}

/// Keeps overwriting what others have, so that compaction has work and buffers are in flight.
async fn write_others(db: &Db, rounds: u64) -> Result<(), Error> {
    let (b, c) = (db.group("b").await?, db.group("c").await?);
    for round in 0..rounds {
        for key in 0..40_u8 {
            let mut batch = WriteBatch::new();
            batch.put(&b, [100 + key], value::make(round, 700));
            batch.put(&c, [100 + key], value::make(round, 300));
            db.write_with(batch, Durability::Written).await?;
        }
    }
    Ok(())
}

async fn write_some(group: &Group) -> Result<(), Error> {
    for key in 0..60_u8 {
        group.put_with([key], value::make(key.into(), 300), Durability::Buffered).await?;
    }
    Ok(())
}

/// What others write meanwhile, in the segments that are open and by compaction, changes nothing.
#[test]
fn a_group_is_separated_however_busy_the_others_are() {
    let mut runs = 0;
    for seed in 0..40 {
        let sim = Sim::new(&SimOptions::new(seed));
        let db = open(&sim);
        let clock = sim.boot().clock;
        let at = Duration::from_millis(5 * seed);
        let separate = async {
            let group = db.group("a").await?;
            for _ in 0..3 {
                write_some(&group).await?;
                clock.sleep(at).await;
            }
            group.separate().await?;
            group.stats()
        };
        let (stats, written) = sim.run(join(separate, write_others(&db, 30))).expect_done();
        written.unwrap();
        let stats = stats.unwrap();
        assert_eq!(stats.shared_segments, 0, "seed {seed}: {stats:?}");
        assert_eq!(stats.keys, 60);
        runs += db.stats().compaction.runs;
    }
    assert!(runs > 400, "{runs} runs are too few to show anything");
}
