//! Writes with requirements, as an application uses them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use logstor_core::{Db, Durability, Error, Expect, Group, Options, Outcome, Version, WriteBatch};
use logstor_io_sim::{CrashKind, Sim, SimOptions};

const SEGMENT: u32 = 64 << 10;

fn options() -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(2),
        capacity: Some(40 * u64::from(SEGMENT)),
        ..Options::default()
    }
}

fn run(seed: u64, body: impl AsyncFnOnce(Db)) {
    let sim = Sim::new(&SimOptions::new(seed));
    sim.run(async { body(Db::open(sim.boot(), options()).await.unwrap()).await }).expect_done();
}

/// Long enough for everything dead to be erased.
async fn settle(sim: &Sim) {
    sim.boot().clock.sleep(Duration::from_secs(60)).await;
}

/// What is there instead.
fn unmet(outcome: Outcome) -> Option<Version> {
    match outcome {
        Outcome::Unmet { present, .. } => present,
        Outcome::Made(_) => panic!("it was made"),
    }
}

/// Counts one up; says whether that took more than one attempt.
async fn count_up(group: &Group, level: Durability, by_value: bool) -> bool {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let entry = group.get_entry("count").await.unwrap();
        let (expected, count) = match entry {
            None => (Expect::Absent, 0),
            Some(entry) => {
                let value = entry.value.whole().unwrap().clone();
                let count = u64::from_le_bytes(value[..].try_into().unwrap());
                let by =
                    if by_value { Expect::Value(value) } else { Expect::Version(entry.version) };
                (by, count)
            }
        };
        let next = (count + 1).to_le_bytes().to_vec();
        let outcome = group.compare_and_put_with("count", expected, next, level).await.unwrap();
        if outcome.is_made() {
            return attempts > 1;
        }
    }
}

#[test]
fn of_counts_by_several_callers_none_is_lost() {
    let levels = [Durability::Buffered, Durability::Written, Durability::Synced];
    for (seed, level) in (0..12).zip(levels.into_iter().cycle()) {
        run(seed, async |db| {
            let group = db.group("a").await.unwrap();
            let caller = async |_| {
                let mut again = 0;
                for round in 0..20 {
                    again += u32::from(count_up(&group, level, round % 2 == 0).await);
                }
                again
            };
            let again: u32 = join_all((0..4).map(caller)).await.into_iter().sum();
            let count = group.get("count").await.unwrap().unwrap();
            assert_eq!(u64::from_le_bytes(count[..].try_into().unwrap()), 80, "seed {seed}");
            // What readers may see at once is read and compared in one go, without a wait.
            let alone = level < Durability::Synced;
            assert!(alone || again > 0, "seed {seed}: nobody came in between");
        });
    }
}

#[test]
fn each_expectation_holds_when_it_is_so_and_the_version_says_what_is() {
    run(1, async |db| {
        let group = db.group("a").await.unwrap();
        let some = || Bytes::from_static(b"some");
        let of = |expected| group.compare_and_put("key", expected, some());
        assert_eq!(unmet(of(Expect::Present).await.unwrap()), None);
        assert_eq!(unmet(of(Expect::Value(some())).await.unwrap()), None);
        assert_eq!(unmet(of(Expect::Version(Version::new(1))).await.unwrap()), None);
        let Outcome::Made(Some(first)) = of(Expect::Absent).await.unwrap() else {
            panic!("it was absent");
        };
        assert_eq!(unmet(of(Expect::Absent).await.unwrap()), Some(first));
        assert_eq!(unmet(of(Expect::Value(Bytes::new())).await.unwrap()), Some(first));
        let Outcome::Made(Some(second)) = of(Expect::Value(some())).await.unwrap() else {
            panic!("it had that value");
        };
        assert!(second > first);
        assert_eq!(unmet(of(Expect::Version(first)).await.unwrap()), Some(second));
        assert!(of(Expect::Present).await.unwrap().is_made());
        let third = group.get_entry("key").await.unwrap().unwrap().version;
        let deleted = group.compare_and_delete("key", Expect::Version(second)).await.unwrap();
        assert_eq!(unmet(deleted), Some(third));
        let deleted = group.compare_and_delete("key", Expect::Version(third)).await.unwrap();
        assert!(deleted.is_made());
        assert_eq!(group.get("key").await.unwrap(), None);
        let nothing = group.compare_and_delete("key", Expect::Absent).await.unwrap();
        assert_eq!(nothing, Outcome::Made(None));
    });
}

#[test]
fn a_batch_is_made_if_all_holds_and_says_otherwise_what_does_not() {
    run(2, async |db| {
        let (one, other) = (db.group("a").await.unwrap(), db.group("b").await.unwrap());
        one.put("from", "10").await.unwrap();
        let version = one.get_entry("from").await.unwrap().unwrap().version;
        let transfer = |version| {
            let mut batch = WriteBatch::new();
            batch.require(&one, "from", Expect::Version(version));
            batch.require(&other, "to", Expect::Absent);
            batch.put(&one, "from", "9").put(&other, "to", "1");
            batch
        };
        assert!(transfer(version).is_conditional());
        let refused = db.write(transfer(version)).await;
        assert!(matches!(refused, Err(Error::ConditionalBatch)), "{refused:?}");
        let Outcome::Made(Some(first)) = db.write_if(transfer(version)).await.unwrap() else {
            panic!("all held");
        };
        let to = other.get_entry("to").await.unwrap().unwrap();
        assert_eq!(to.version, Version::new(first.get() + 1));
        let again = db.write_if(transfer(version)).await.unwrap();
        assert_eq!(again, Outcome::Unmet { requirement: 0, present: Some(first) });
        let again = db.write_if(transfer(first)).await.unwrap();
        assert_eq!(again, Outcome::Unmet { requirement: 1, present: Some(to.version) });
        assert_eq!(one.get("from").await.unwrap().unwrap(), "9");
        let mut only_asks = WriteBatch::new();
        only_asks.require(&other, "to", Expect::Value("1".into()));
        assert_eq!(db.write_if(only_asks).await.unwrap(), Outcome::Made(None));
    });
}

#[test]
fn large_values_are_compared_and_put_and_nothing_is_left_of_those_that_were_not() {
    let sim = Sim::new(&SimOptions::new(3));
    sim.run(async {
        let db = Db::open(sim.boot(), options()).await.unwrap();
        let group = db.group("a").await.unwrap();
        let large = |byte| Bytes::from(vec![byte; 3 * SEGMENT as usize]);
        let put = |expected, value| group.compare_and_put("key", expected, value);
        assert!(!put(Expect::Present, large(1)).await.unwrap().is_made());
        assert_eq!(db.stats().kinds.large, 0, "it was clear before any piece was written");
        assert!(put(Expect::Absent, large(1)).await.unwrap().is_made());
        assert!(!put(Expect::Value(large(2)), large(3)).await.unwrap().is_made());
        assert!(!put(Expect::Value(large(1).slice(1..)), large(3)).await.unwrap().is_made());
        assert!(put(Expect::Value(large(1)), large(2)).await.unwrap().is_made());
        assert_eq!(group.get("key").await.unwrap(), Some(large(2)));
        // Two at the same time: the pieces of one of them are given up.
        let version = group.get_entry("key").await.unwrap().unwrap().version;
        let both = [3, 4].map(|byte| put(Expect::Version(version), large(byte)));
        let made = join_all(both).await.into_iter().filter(|one| one.as_ref().unwrap().is_made());
        assert_eq!(made.count(), 1);
        assert!(group.compare_and_delete("key", Expect::Present).await.unwrap().is_made());
        settle(&sim).await;
        assert_eq!(db.stats().kinds.large, 0);
    })
    .expect_done();
}

/// A version outlives compaction, a crash and another opening.
#[test]
fn a_version_is_good_for_a_later_opening() {
    let sim = Sim::new(&SimOptions::new(4));
    let version = sim.run(async {
        let db = Db::open(sim.boot(), options()).await.unwrap();
        let group = db.group("a").await.unwrap();
        group.put("key", "value").await.unwrap();
        db.compact(logstor_core::CompactRequest::default()).await.unwrap();
        group.get_entry("key").await.unwrap().unwrap().version
    });
    let version = version.expect_done();
    sim.crash(CrashKind::POWER_CUT);
    sim.run(async {
        let db = Db::open(sim.boot(), options()).await.unwrap();
        let group = db.group("a").await.unwrap();
        let put = group.compare_and_put("key", Expect::Version(version), "next").await.unwrap();
        assert!(matches!(put, Outcome::Made(Some(next)) if next > version));
    })
    .expect_done();
}
