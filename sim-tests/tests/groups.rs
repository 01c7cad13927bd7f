//! Ten thousand groups in one store: created, mixed, compacted, separated, dropped and truncated by
//! the thousand, over a crash and a clean close.
//!
//! What it costs is counted, not timed: a drop or a truncation is one small write to the log and a
//! step for each segment of the group, however many keys it has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use logstor_core::io::Environment;
use logstor_core::{Db, Durability, Error, Group, Options, Stats};
use logstor_io_sim::{CrashKind, Sim, SimOptions};
use logstor_sim_tests::value;

const GROUPS: u64 = 10_000;
const KEYS: u8 = 3;

fn options() -> Options {
    Options { segment_len: Some(64 << 10), segments_per_file: Some(16), ..Options::default() }
}

fn open(sim: &Sim) -> Db {
    sim.run(Db::open(sim.boot(), options())).expect_done().unwrap()
}

fn name(number: u64) -> String {
    format!("group {number}")
}

/// What every group should hold: of each group that there is, the number of the value of each key.
#[derive(Debug, Default)]
struct Book(BTreeMap<u64, BTreeMap<u8, u64>>);

/// Values of different lengths, so that no group lies like another.
fn value_of(number: u64) -> Bytes {
    value::make(number, 20 + usize::try_from(number * 7 % 120).unwrap())
}

impl Book {
    async fn put(&mut self, group: (u64, &Group), key: u8, number: u64) -> Result<(), Error> {
        group.1.put_with([key], value_of(number), Durability::Buffered).await?;
        self.0.entry(group.0).or_default().insert(key, number);
        Ok(())
    }

    /// Everything is there, and nothing else.
    async fn check(&self, db: &Db) -> Result<(), Error> {
        assert_eq!(db.groups().len(), self.0.len());
        let mut keys = 0;
        for (&number, expected) in &self.0 {
            let group = db.group(name(number)).await?;
            for key in 0..KEYS {
                let found = group.get([key]).await?;
                let value = expected.get(&key).map(|&number| value_of(number));
                assert_eq!(found, value, "key {key} of group {number}");
            }
            let stats = group.stats()?;
            assert_eq!(stats.keys, u64::try_from(expected.len()).unwrap());
            assert!(stats.segments <= stats.keys, "{stats:?}");
            keys += stats.keys;
        }
        let stats = db.stats();
        assert_eq!((stats.keys, stats.space.sum()), (keys, stats.file_bytes));
        Ok(())
    }
}

/// All groups, some keys in each, one group after the other: no two records of a group in a row.
async fn fill(db: &Db, book: &mut Book) -> Result<Vec<Group>, Error> {
    let mut groups = Vec::new();
    for number in 0..GROUPS {
        groups.push(db.group(name(number)).await?);
        book.0.insert(number, BTreeMap::new());
    }
    for round in 0..3 {
        for key in 0..KEYS {
            for (number, group) in (0..).zip(&groups) {
                // Key 0 of every group, the others of ever fewer: segments are never all dead.
                if round == 0 || number % (1 + u64::from(key)) == 0 {
                    book.put((number, group), key, round * 100_000 + number).await?;
                }
            }
        }
    }
    for (number, group) in (0..).zip(&groups).filter(|(number, _)| number % 5 == 1) {
        group.delete_with([1], Durability::Buffered).await?;
        book.0.entry(number).or_default().remove(&1);
    }
    db.flush().await?;
    Ok(groups)
}

/// What it takes to do `change`, while compaction rests.
async fn cost<F: Future<Output = Result<(), Error>>>(
    environment: &Environment,
    db: &Db,
    change: F,
) -> Result<Stats, Error> {
    let settle = || environment.clock.sleep(Duration::from_secs(1));
    settle().await;
    let before = db.stats();
    change.await?;
    settle().await;
    let mut after = db.stats();
    after.device.writes -= before.device.writes;
    after.device.written.log -= before.device.written.log;
    after.device.reads -= before.device.reads;
    Ok(after)
}

/// One group of many keys costs what one of few does, but for the segments that it gives back.
async fn many_keys_cost_no_more(environment: &Environment, db: &Db) -> Result<(), Error> {
    let _pause = db.pause_compaction();
    let (small, big) = (db.group("small").await?, db.group("big").await?);
    for key in 0..4000_u32 {
        big.put_with(key.to_le_bytes(), value::make(1, 100), Durability::Buffered).await?;
    }
    small.put([0], "one").await?;
    for name in ["big", "small"] {
        let group = db.group(name).await?;
        let segments = group.stats()?.segments;
        let truncated = cost(environment, db, db.truncate_group(name)).await?;
        assert_eq!((group.stats()?.keys, group.stats()?.segments), (0, 0));
        let dropped = cost(environment, db, db.drop_group(name)).await?;
        for stats in [truncated, dropped] {
            assert_eq!(stats.device.written.log, 4096, "{name}");
            assert_eq!(stats.device.reads, 0, "{name}");
            // The log, its seal, both slots of the mark once or twice, and both ends of each dead
            // segment.
            assert!(
                stats.device.writes <= 6 + 2 * segments,
                "{name}: {segments} segments: {stats:?}"
            );
        }
    }
    Ok(())
}

async fn separate_some(db: &Db, groups: &[Group]) -> Result<(), Error> {
    let _pause = db.pause_compaction();
    let some = || groups.iter().step_by(1000);
    try_join_all(some().map(Group::separate)).await?;
    for group in some() {
        let stats = group.stats()?;
        assert_eq!((stats.shared_segments, stats.segments), (0, 1), "{}", group.name());
    }
    Ok(())
}

/// Drops every third group and truncates every fourth of the others; a few get new keys.
async fn thin_out(db: &Db, book: &mut Book, groups: &[Group]) -> Result<(), Error> {
    for (number, group) in (0..).zip(groups) {
        if number % 3 == 0 {
            db.drop_group(group.name()).await?;
            book.0.remove(&number);
        } else if number % 4 == 0 {
            db.truncate_group(group.name()).await?;
            book.0.insert(number, BTreeMap::new());
            if number % 8 == 0 {
                book.put((number, group), 2, 500_000 + number).await?;
            }
        }
    }
    db.flush().await
}

#[test]
fn ten_thousand_groups_are_kept_apart() {
    let sim = Sim::new(&SimOptions::new(10_000).max_steps(u64::MAX));
    let mut book = Book::default();
    let db = open(&sim);
    let groups = sim.run(fill(&db, &mut book)).expect_done().unwrap();
    sim.run(book.check(&db)).expect_done().unwrap();
    let stats = db.stats();
    assert!(stats.compaction.runs > 20 && stats.kinds.shared > 10, "{stats:?}");
    assert!(stats.compaction.done.records_moved > GROUPS, "{:?}", stats.compaction);

    sim.run(separate_some(&db, &groups)).expect_done().unwrap();
    sim.run(many_keys_cost_no_more(&sim.boot(), &db)).expect_done().unwrap();
    let before = db.stats();
    sim.run(thin_out(&db, &mut book, &groups)).expect_done().unwrap();
    let clock = sim.boot().clock;
    sim.run(clock.sleep(Duration::from_secs(30))).expect_done();
    let after = db.stats();
    assert!(after.segments.sealed < before.segments.sealed * 3 / 4, "{after:?}");
    sim.run(book.check(&db)).expect_done().unwrap();
    drop((groups, db));

    sim.crash(CrashKind::POWER_CUT);
    let db = open(&sim);
    sim.run(book.check(&db)).expect_done().unwrap();
    sim.run(db.close()).expect_done().unwrap();
    drop(db);
    let db = open(&sim);
    assert!(db.recovery_report().from_dump);
    sim.run(book.check(&db)).expect_done().unwrap();
}
