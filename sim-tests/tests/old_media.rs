//! Old media: a folder in which files of an earlier store lie, or of an earlier life of the same.
//!
//! The contract says that room which was preallocated reads as zeros, so no backend shows old bytes
//! in a new file. What may be there are whole files under the names that a store replaces or
//! removes: a creation, a growth or a removal that was cut short left them. Here they are full of
//! records that are valid in every way, of another store and of this one at another time. None of
//! them may ever be seen.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::collections::BTreeMap;

use logstor_core::{Db, ErrorKind, Options};
use logstor_io_sim::{CrashKind, Sim, SimOptions};

const SEGMENT: u32 = 64 << 10;

type Files = BTreeMap<String, Vec<u8>>;

fn options() -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(2),
        capacity: Some(16 * u64::from(SEGMENT)),
        ..Options::default()
    }
}

async fn write(db: &Db, byte: u8, keys: u8) {
    let group = db.group("a").await.unwrap();
    for key in 0..keys {
        group.put([key], vec![byte; 3000]).await.unwrap();
    }
    db.flush().await.unwrap();
}

/// The first byte of every value.
async fn contents(db: &Db) -> Vec<Option<u8>> {
    let group = db.group("a").await.unwrap();
    let mut found = Vec::new();
    for key in 0..60_u8 {
        let value = group.get(&[key]).await.unwrap();
        found.push(value.map(|value| value[0]));
    }
    found
}

/// A store that was written, with the keys `0..keys`.
fn earlier(seed: u64, byte: u8, keys: u8) -> Files {
    let sim = Sim::new(&SimOptions::new(seed));
    let env = sim.boot();
    sim.run(async {
        let db = Db::open(env, options()).await.unwrap();
        write(&db, byte, keys).await;
    })
    .expect_done();
    sim.crash(CrashKind::POWER_CUT);
    sim.raw().export()
}

/// Lays files of `old` under the names that only something unfinished has.
fn leave(sim: &Sim, old: &Files, suffixes: &[&str]) {
    for (name, bytes) in old {
        for suffix in suffixes {
            sim.raw().put(&format!("{name}{suffix}"), bytes);
        }
    }
}

#[test]
fn files_of_an_earlier_store_are_never_seen() {
    for seed in 0..20 {
        let old = earlier(1000 + seed, 1, 60);
        let sim = Sim::new(&SimOptions::new(seed));
        // What a creation may find of one that did not get so far.
        for name in ["mark", "superblock"] {
            sim.raw().put(&format!("{name}.new"), &old[name]);
        }
        sim.raw().put("mark", &old["mark"]);
        let env = sim.boot();
        sim.run(async {
            let db = Db::open(env, options()).await.unwrap();
            assert_eq!(contents(&db).await, [None; 60], "seed {seed}: it is a new store");
            write(&db, 2, 10).await;
        })
        .expect_done();
        let mut expected = vec![None; 60];
        expected[..10].fill(Some(2));
        let own = sim.raw().export();
        for (round, files) in [&old, &own, &old].into_iter().enumerate() {
            sim.crash(CrashKind::POWER_CUT);
            leave(&sim, files, &[".new", ".old"]);
            let env = sim.boot();
            sim.run(async {
                let db = Db::open(env, options()).await.unwrap();
                assert!(
                    db.recovery_report().losses.is_empty()
                        && db.recovery_report().damaged.is_empty()
                );
                assert_eq!(contents(&db).await, expected, "seed {seed}, round {round}");
                // It grows over the names where the leftovers lay.
                let byte = u8::try_from(3 + round).unwrap();
                write(&db, byte, 40).await;
                expected[..40].fill(Some(byte));
                assert_eq!(contents(&db).await, expected);
            })
            .expect_done();
            let left: Vec<String> = sim.raw().list().into_iter().map(|entry| entry.name).collect();
            assert!(!left.iter().any(|name| name.contains(".old")), "{left:?}");
        }
    }
}

#[test]
fn a_folder_with_segments_and_no_superblock_is_somebody_elses() {
    let old = earlier(7, 1, 10);
    let sim = Sim::new(&SimOptions::new(1));
    let name = old.keys().find(|name| name.starts_with("segments-")).unwrap();
    sim.raw().put(name, &old[name]);
    let opened = sim.run(Db::open(sim.boot(), options())).expect_done();
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(sim.raw().export()[name], old[name], "and it is as it was");
}
