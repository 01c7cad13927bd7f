//! Bugs of room that sweeps found and that take a whole store to show, each as a script of its own.
//!
//! Those that a state shows are beside the engine's steps, in `core/src/memory/tests/room.rs`.

use std::time::Duration;

use futures::poll;
use logstor_core::{Db, Durability, Error, Group, Options, Stats};
use logstor_io_sim::{CrashKind, Faults, NameBias, SectorBias, Sim, SimOptions};
use logstor_sim_tests::value;

const SEGMENT: u32 = 64 << 10;

/// In files of four segments; of as many segments as said, or as many as it takes.
fn options(segments: Option<u32>) -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(4),
        capacity: segments.map(|segments| u64::from(segments) * u64::from(SEGMENT)),
        buffer_len: 4096,
        sync_bytes: 8192,
        ..Options::default()
    }
}

fn open(sim: &Sim, segments: Option<u32>) -> Db {
    let opened = sim.run(Db::open(sim.boot(), options(segments))).expect_done();
    opened.unwrap_or_else(|error| panic!("{error}"))
}

/// As many values as `keys`; three fill a segment, four copies do.
async fn put_all(group: &Group, keys: u16, number: u64) -> Result<(), Error> {
    for key in 0..keys {
        let value = value::make(number, 12 << 10);
        group.put_with(key.to_le_bytes(), value, Durability::Written).await?;
    }
    Ok(())
}

/// Seed 7187: a writer waited for a run of compaction to make room, and somebody held compaction
/// back before it began. Nobody told the writer, who waited until the pause was over.
#[test]
fn who_waits_for_room_hears_that_compaction_is_paused() {
    let sim = Sim::new(&SimOptions::new(1));
    let db = open(&sim, Some(16));
    let group = sim.run(db.group("a")).expect_done().unwrap();
    let writes = async {
        for number in 0..400_u64 {
            let key = (number % 30).to_le_bytes();
            let mut put = Box::pin(group.put(key, value::make(number, 12 << 10)));
            let _ = poll!(&mut put); // accepted, or waiting; nobody else had a turn since
            let pause = db.pause_compaction();
            put.await?;
            drop(pause);
        }
        Ok::<(), Error>(())
    };
    sim.run(writes).expect_done().unwrap();
    let stats = db.stats();
    assert_eq!(Some(stats.file_bytes), stats.capacity, "it had all the room there is");
}

fn space(db: &Db) -> (u32, u32, u64) {
    let Stats { segments, file_bytes, .. } = db.stats();
    (segments.free, segments.hollow, file_bytes / u64::from(SEGMENT))
}

/// Seed 10052: after an opening every empty slot counts as one whose room was given back. The first
/// of them had none any more, and the device was full: none was filled, though others had theirs.
#[test]
fn on_a_full_device_slots_that_still_have_their_room_are_used() {
    let sim = Sim::new(&SimOptions::new(3));
    let db = open(&sim, None);
    let settle = || sim.run(sim.boot().clock.sleep(Duration::from_secs(10))).expect_done();
    let groups = sim.run(async {
        let _pause = db.pause_compaction();
        let (a, b) = (db.group("a").await?, db.group("b").await?);
        put_all(&a, 160, 0).await?;
        put_all(&b, 160, 0).await?;
        Ok::<_, Error>((a, b))
    });
    drop(groups.expect_done().unwrap());
    let drop_group = |name: &'static str| {
        sim.run(async { db.drop_group(name).await }).expect_done().unwrap();
        settle();
    };
    // The later ones of its slots are punched out; what is left of them is used up.
    drop_group("a");
    assert!(space(&db).1 > 8, "{:?}", space(&db));
    let c = sim.run(db.group("c")).expect_done().unwrap();
    while space(&db).1 > 8 && space(&db).0 > 6 {
        sim.run(put_all(&c, 4, 0)).expect_done().unwrap();
    }
    drop(c);
    drop_group("b");
    drop(db);
    // Of a slot that is punched in part nothing could be used: each is there, or is not.
    sim.crash(CrashKind::PowerCut { sectors: Some(SectorBias::Whole), names: Some(NameBias::All) });
    sim.set_faults(Faults { capacity: Some(sim.raw().used()), ..Faults::none() });
    let db = open(&sim, None);
    let settle = || sim.run(sim.boot().clock.sleep(Duration::from_secs(10))).expect_done();
    settle();
    let d = sim.run(db.group("d")).expect_done().unwrap();
    for key in 0..40_u8 {
        // One that does not fit now may fit once another attempt to fill slots was made.
        let put = || d.put([key], value::make(1, 12 << 10));
        if sim.run(put()).expect_done().is_err() {
            settle();
        }
    }
    let hollow = u64::from(db.stats().segments.hollow) * u64::from(SEGMENT - 2 * 4096);
    let missing = db.stats().file_bytes.saturating_sub(sim.raw().used());
    let others = 4 * 4096; // superblock and mark
    assert!(hollow <= missing + others, "{hollow} bytes are not used, {missing} are not there");
}

/// A file had been made behind one that was then given back, and its name was not durable yet when
/// the store was cut off; it survived all the same. Behind the gap it looked as if a file was lost.
#[test]
fn a_file_behind_a_gap_that_the_mark_does_not_know_is_no_loss() {
    let sim = Sim::new(&SimOptions::new(4));
    let db = open(&sim, None);
    let group = sim.run(db.group("a")).expect_done().unwrap();
    sim.run(put_all(&group, 30, 7)).expect_done().unwrap();
    sim.run(db.flush()).expect_done().unwrap();
    drop((group, db));
    sim.crash(CrashKind::POWER_CUT);
    let names = sim.raw().list().into_iter().filter(|entry| entry.name.starts_with("segments-"));
    let files = names.count();
    let behind = format!("segments-{:06}.log", files + 1);
    sim.raw().put(&behind, &vec![0; 4 * (64 << 10)]);
    let db = open(&sim, None);
    let group = sim.run(db.group("a")).expect_done().unwrap();
    let found = sim.run(group.get(29_u16.to_le_bytes())).expect_done().unwrap();
    assert_eq!(found, Some(value::make(7, 12 << 10)));
    // And when its turn comes it is made anew.
    sim.run(put_all(&group, 120, 8)).expect_done().unwrap();
    assert!(space(&db).2 > 4 * (u64::try_from(files).unwrap() + 2), "{:?}", space(&db));
}
