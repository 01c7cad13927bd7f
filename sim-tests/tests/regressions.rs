//! Bugs that the sweep found, each as a script of its own.
//!
//! A seed means nothing once the generator changes, so what it showed is written down here: the
//! story, and the shortest way to it, counted through all moments at which it could crash.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, select};
use logstor_core::io::Environment;
use logstor_core::{Db, Durability, Error, ErrorKind, Options};
use logstor_io_sim::{
    CrashKind, FailedSync, Faults, FileImage, InFlight, Latencies, Latency, NameBias, SectorBias,
    Sim, SimOptions, SimRng, StopAt,
};

const SEGMENT: u32 = 64 << 10;

fn options(segments: u32) -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(2),
        capacity: Some(u64::from(segments) * u64::from(SEGMENT)),
        buffer_len: 4096,
        sync_bytes: 8192,
        ..Options::default()
    }
}

fn cut(sectors: SectorBias, names: NameBias) -> CrashKind {
    CrashKind::PowerCut { sectors: Some(sectors), names: Some(names) }
}

fn open(sim: &Sim, segments: u32) -> Result<Db, Error> {
    sim.run(Db::open(sim.boot(), options(segments))).expect_done()
}

/// Runs `use_store` once for every effect it has, stopped there, and gives each disk to `look`.
fn at_every_effect<F: Future>(
    seed: u64,
    use_store: impl Fn(Environment) -> F,
    look: impl Fn(&Sim, u64),
) {
    for effects in 1.. {
        let sim = Sim::new(&SimOptions::new(seed).sector_size(512));
        sim.stop_at(StopAt::Effects(effects));
        let ended = sim.run(use_store(sim.boot())).done().is_some();
        look(&sim, effects);
        if ended {
            assert!(effects > 10, "the script did something");
            return;
        }
    }
}

/// Writes 3 KiB values over `keys` keys until several segments are dead and were erased.
async fn overwrite(db: Db, rounds: u8) -> Result<(), Error> {
    let group = db.group("a").await?;
    for round in 0..rounds {
        for key in 0..5_u8 {
            group.put([key], Bytes::from(vec![round; 12 << 10])).await?;
        }
    }
    Ok(())
}

/// Seed 28421: a write failed, its buffer went elsewhere, and the seal of its segment left it out.
/// The process died; that seal was readable, from a cache whose sync had failed. The other copy was
/// erased, and a power cut took the seal: what the failed write had left looked like rot then. A
/// seal behind which there is room for such a buffer is written again at each recovery.
#[test]
fn a_seal_that_leaves_room_is_written_again_by_recovery() {
    for dump_is_lost in [false, true] {
        let sim = Sim::new(&SimOptions::new(1));
        let db = open(&sim, 8).unwrap();
        let used = async {
            db.group("a").await?.put("key", "value").await?;
            db.close().await
        };
        sim.run(used).expect_done().unwrap();
        drop(db);
        sim.crash(CrashKind::ProcessKill);
        if dump_is_lost {
            sim.raw().remove("index.dump").unwrap();
        }
        let db = open(&sim, 8).unwrap();
        // Everything was durable, so nothing but the seal is to be written again.
        let written = db.stats().device.written.recovery;
        assert_eq!(written, if dump_is_lost { 4096 } else { 0 });
    }
}

/// Seed 215: the names of mark and superblock were made durable by one sync of the folder. A power
/// cut before it could keep the second name without the first: a store without its mark.
#[test]
fn a_creation_cut_short_is_begun_again() {
    for seed in 0..20 {
        let create = |environment| Db::open(environment, options(8));
        at_every_effect(seed, create, |sim, effects| {
            sim.crash(cut(SectorBias::Half, NameBias::Subset));
            let opened = open(sim, 8);
            assert!(opened.is_ok(), "seed {seed}, {effects} effects: {opened:?}");
        });
    }
}

/// Seed 888: a file of segments had its name, but the folder was not synced when the process died.
/// The next opening counted it in the mark, and a power cut then took the name away.
#[test]
fn a_name_that_only_the_cache_had_is_durable_before_it_is_relied_on() {
    let fill = |environment| async move {
        let db = Db::open(environment, options(8)).await?;
        overwrite(db, 3).await
    };
    at_every_effect(1, fill, |sim, effects| {
        sim.crash(CrashKind::ProcessKill);
        drop(open(sim, 8).unwrap());
        sim.crash(cut(SectorBias::None, NameBias::None));
        let opened = open(sim, 8);
        assert!(opened.is_ok(), "{effects} effects: {opened:?}");
    });
}

/// Seed 904: erasing wrote a whole block of zeros behind the new header. A tear could keep the old
/// header in front of zeros, which is what a damaged buffer looks like.
#[test]
fn a_torn_erase_is_no_damage() {
    let reuse = |environment| async move {
        let db = Db::open(environment, options(8)).await?;
        overwrite(db, 9).await
    };
    for bias in [SectorBias::AllButFirst, SectorBias::OnlyFirst, SectorBias::Half] {
        at_every_effect(2, reuse, |sim, effects| {
            sim.crash(cut(bias, NameBias::All));
            let db = open(sim, 8).unwrap();
            let damaged = &db.recovery_report().damaged;
            assert!(damaged.is_empty(), "{bias:?}, {effects} effects: {damaged:?}");
        });
    }
}

/// Seed 96: the last file was made, and the mark that gives out its slots was being written. A put
/// at that moment was told that the store is full.
#[test]
fn a_store_is_not_full_while_a_file_is_about_to_be_used() {
    for seed in 0..50 {
        let sim = Sim::new(&SimOptions::new(seed));
        let db = open(&sim, 8).unwrap();
        let refused = sim.run(fill_up(db.clone())).expect_done();
        assert_eq!(refused.kind(), ErrorKind::Full);
        let stats = db.stats();
        assert_eq!(Some(stats.file_bytes), stats.capacity, "seed {seed}");
        assert!(stats.segments.free <= 4, "seed {seed}: {:?}", stats.segments);
    }
}

/// Puts, one after the other, until one is refused.
async fn fill_up(db: Db) -> Error {
    let group = db.group("a").await.expect("a new store has room for a group");
    for key in 0_u32.. {
        let value = Bytes::from(vec![1; 12 << 10]);
        if let Err(error) = group.put(key.to_le_bytes(), value).await {
            return error;
        }
    }
    unreachable!("a store with a capacity takes only so much")
}

/// Faults that come now and then, and those that come always.
fn failing_syncs(rate: u32, failed_sync: FailedSync) -> Faults {
    Faults { sync_error: rate, failed_sync, ..Faults::none() }
}

/// Every key of the group with its value.
fn contents(sim: &Sim, db: &Db) -> Vec<Option<Bytes>> {
    let db = db.clone();
    let read = async move {
        let group = db.group("a").await.unwrap();
        join_all((0..KEYS).map(|key| group.get([key]))).await
    };
    sim.run(read).expect_done().into_iter().map(Result::unwrap).collect()
}

const KEYS: u8 = 12;

/// Writes every key twice, several buffers in flight together.
async fn write_all(db: Db, round: u8) {
    let Ok(group) = db.group("a").await else { return };
    let value = Bytes::from(vec![round; 3000]);
    let puts = (0..KEYS).map(|key| group.put_with([key], value.clone(), Durability::Written));
    // Refused or not: what counts is what the next opening shows.
    drop(join_all(puts.clone()).await);
    drop(join_all(puts).await);
}

/// Seeds 218429 and 226108: a write whose sync had failed stayed readable in its old place, and
/// the same buffer was durable elsewhere. Recovery took what lay behind it, made that durable, and
/// left the old copy as it was: a power cut took it away, and everything behind it was behind a
/// tear.
///
/// Seed 101106: the first attempt of a recovery voided buffers, and its sync failed; the second
/// one found them void already. A power cut brought them back. Seed 1027336: the same at the start
/// of a segment, which then looked like an erased one.
#[test]
fn what_a_recovery_shows_outlives_the_syncs_that_failed_before() {
    for seed in 0..1000 {
        let sim = Sim::new(&SimOptions::new(seed).sector_size(512));
        let mut db = open(&sim, 8).unwrap();
        drop(sim.run(db.group("a")).expect_done().unwrap());
        for round in 0..3 {
            sim.set_faults(failing_syncs(450_000, FailedSync::Either));
            sim.stop_at(StopAt::Effects(40 + 7 * seed % 200));
            let _ = sim.run(write_all(db, round));
            let torn = cut(SectorBias::Half, NameBias::All);
            sim.crash(if seed % 2 == 0 { CrashKind::ProcessKill } else { torn });
            let shown = contents(&sim, &open_in_trouble(&sim));
            sim.crash(cut(SectorBias::None, NameBias::None));
            db = open(&sim, 8).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(contents(&sim, &db), shown, "seed {seed}");
        }
    }
}

/// Opens the store while every other sync fails; if that fails, once more without faults.
fn open_in_trouble(sim: &Sim) -> Db {
    sim.set_faults(failing_syncs(500_000, FailedSync::Keeps));
    let first = open(sim, 8);
    sim.set_faults(Faults::none());
    first.or_else(|_| open(sim, 8)).expect("without faults a store opens")
}

/// Seed 43: a closed store forgets its groups, and said of each that it does not exist.
#[test]
fn a_closed_store_says_that_it_is_closed() {
    let sim = Sim::new(&SimOptions::new(3));
    let db = open(&sim, 8).unwrap();
    let script = async move {
        db.group("a").await.unwrap();
        db.close().await.unwrap();
        [db.drop_group("a").await.unwrap_err(), db.drop_group("b").await.unwrap_err()]
    };
    for error in sim.run(script).expect_done() {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}

/// Found by reading: a creation of a group that was dropped half-way and repeated made two groups
/// of one name, of which the first came back at the next opening, when the second was dropped.
#[test]
fn a_group_whose_creation_was_given_up_does_not_come_back() {
    for micros in (0..3000).step_by(50) {
        let sim = Sim::new(&SimOptions::new(4));
        let db = open(&sim, 8).unwrap();
        let clock = sim.boot().clock;
        let script = async move {
            db.group("b").await.unwrap(); // now there is room
            let given_up =
                select(Box::pin(db.group("a")), clock.sleep(Duration::from_micros(micros)));
            drop(given_up.await);
            db.group("a").await.unwrap();
            db.drop_group("a").await.unwrap();
            db.groups()
        };
        assert_eq!(sim.run(script).expect_done(), ["b"]);
        sim.crash(CrashKind::POWER_CUT);
        assert_eq!(open(&sim, 8).unwrap().groups(), ["b"], "given up after {micros} us");
    }
}

/// Seed 99810: one of the writes with which recovery makes the end of the log durable failed, and
/// the opening gave up at once, with others still in flight. The process opened the store again,
/// gave their segments another life, and one of them landed in it.
#[test]
fn an_opening_that_fails_leaves_no_write_behind() {
    let mut failures = 0;
    for seed in 0..400 {
        let slow = Latency { min: Duration::from_micros(10), max: Duration::from_millis(30) };
        let latencies = Latencies { write: slow, ..Latencies::default() };
        let sim = Sim::new(&SimOptions::new(seed).latencies(latencies));
        let db = open(&sim, 8).unwrap();
        drop(sim.run(db.group("a")).expect_done().unwrap());
        let fill = async move {
            let group = db.group("a").await.unwrap();
            let put = |key| group.put_with([key], vec![1_u8; 300], Durability::Written);
            join_all((0..12_u8).map(put)).await
        };
        drop(sim.run(fill));
        sim.crash(CrashKind::ProcessKill);
        sim.set_faults(Faults { write_error: 400_000, ..Faults::none() });
        let before = sim.counters().abandoned;
        if open(&sim, 8).is_err() {
            failures += 1;
            assert_eq!(sim.counters().abandoned, before, "seed {seed}: writes left in flight");
        }
    }
    assert!(failures > 20, "{failures} openings failed");
}

/// Found by torture on the real disk: a delete of a key that was not there returned at once, though
/// its durability says that everything accepted before it has come as far.
#[test]
fn a_delete_of_nothing_is_as_durable_as_what_was_accepted_before_it() {
    for (durability, crash) in
        [(Durability::Synced, CrashKind::POWER_CUT), (Durability::Written, CrashKind::ProcessKill)]
    {
        for buffers in [1, 2, 30] {
            let sim = Sim::new(&SimOptions::new(buffers));
            let db = open(&sim, 8).unwrap();
            let script = async move {
                let group = db.group("a").await.unwrap();
                let put = |key| group.put_with([key], vec![1; 3000], Durability::Buffered);
                for key in 0..u8::try_from(buffers).unwrap() {
                    put(key).await.unwrap();
                }
                group.delete_with("absent", durability).await.unwrap();
                // Once more, with nothing in the head any more.
                group.delete_with("absent", durability).await.unwrap();
            };
            sim.run(script).expect_done();
            sim.crash(crash);
            assert_eq!(open(&sim, 8).unwrap().stats().keys, buffers, "{durability:?}");
        }
    }
}

/// Noise seed 43: the power went during the first write into a slot that had never been used, and
/// left noise in its first sector. Nothing had been there and nothing was lost, but the store did
/// not open: such a block was taken for the rest of a segment.
#[test]
fn noise_in_the_first_write_of_a_segment_is_no_loss() {
    let noisy = noise_at_every_effect(|durable, write| {
        let first = write.name.starts_with("segments-") && write.at % u64::from(SEGMENT) == 0;
        first && durable.get(&write.name).is_some_and(|file| is_blank(file, write.at))
    });
    assert!(noisy > 2, "{noisy} segments were begun");
}

/// Marks are written in turn: noise in the one that is being written leaves the other one.
#[test]
fn noise_in_the_mark_that_is_being_written_is_no_loss() {
    let noisy = noise_at_every_effect(|_, write| write.name == "mark");
    assert!(noisy > 5, "{noisy} marks were written");
}

/// Cuts the power at every effect of a script, and leaves noise where one of these writes was in
/// flight; says how often. The store opens.
fn noise_at_every_effect(
    is_hit: impl Fn(&BTreeMap<String, FileImage>, &InFlight) -> bool,
) -> usize {
    let hits = std::cell::Cell::new(0);
    let script = |environment| async {
        let db = Db::open(environment, options(8)).await.unwrap();
        overwrite(db, 8).await.unwrap();
    };
    at_every_effect(1, script, |sim, effects| {
        for write in sim.raw().in_flight() {
            let fork = sim.fork();
            if !is_hit(&fork.raw().durable(), &write) {
                continue;
            }
            fork.crash(cut(SectorBias::None, NameBias::All));
            let noise = fork.raw().corrupt(&write.name, write.at..write.at + 512, |bytes| {
                SimRng::new(effects, "noise").fill(bytes);
            });
            if noise.is_ok() {
                hits.set(hits.get() + 1);
                drop(open(&fork, 8).unwrap());
            }
        }
    });
    hits.get()
}

fn is_blank(file: &FileImage, at: u64) -> bool {
    let mut head = [0; 512];
    file.read(at, &mut head);
    head == [0; 512]
}
