//! Reported errors, kind by kind: which calls fail, with what, and what is left behind.
//!
//! Absent on purpose: what the contract says of a failed write or sync at large; see `contract`.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use crate::common::{Handle, create, durable, fill, open, reboot_and_read, sectors, sim, steady};
use futures::future::join;
use logstor_core::io::{FileOffset, IoBuf};
use logstor_core::types::ByteLen;
use logstor_io_sim::{
    CrashKind, FailedSync, FaultCounts, Faults, NameBias, SectorBias, Sim, Spell, StopAt,
};

const ALWAYS: u32 = 1_000_000;

fn cut(sectors: SectorBias) -> CrashKind {
    CrashKind::PowerCut { sectors: Some(sectors), names: Some(NameBias::All) }
}

async fn read(file: &Handle, first: u64, count: u32) -> io::Result<IoBuf> {
    file.read(FileOffset::new(first * 512), IoBuf::zeroed(ByteLen::new(count * 512))).await
}

/// Makes a sector of the file bad; from then on nothing else fails.
async fn spoil(sim: &Sim, file: &Handle, sector: u64) {
    sim.set_faults(Faults { latent_error: ALWAYS, ..Faults::none() });
    read(file, sector, 1).await.unwrap_err();
    assert_eq!(sim.counters().bad_sectors, 1);
    // One in a million never falls here, but what is bad stays so.
    sim.set_faults(Faults { latent_error: 1, ..Faults::none() });
}

#[test]
fn a_bad_sector_fails_every_read_until_it_is_written_again() {
    let sim = sim(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 8).await;
        let bad = 5;
        spoil(&sim, &file, bad).await;
        for _ in 0..20 {
            assert!(read(&file, bad, 1).await.is_err());
            assert!(read(&file, 0, 8).await.is_err(), "whatever else is read with it");
        }
        for good in (0..8).filter(|&sector| sector != bad) {
            read(&file, good, 1).await.unwrap();
        }
        assert!(sim.fault_counts().latent_reads > 40);
        assert_eq!(sim.fault_counts().reads, 0, "these are counted by themselves");
        fill(&file, bad, 2, 1).await.unwrap();
        assert_eq!(read(&file, bad, 1).await.unwrap()[0], 2);
        assert_eq!(read(&file, 0, 8).await.unwrap().len(), 8 * 512);
    })
    .expect_done();
}

#[test]
fn a_bad_sector_is_bad_after_a_crash_that_lost_what_was_written_there() {
    for (synced, left) in [(false, None), (true, Some(2))] {
        let sim = sim(1);
        let env = sim.boot();
        let bad = 5;
        sim.run(async {
            let file = durable(&env, "f", 1, 8).await;
            spoil(&sim, &file, bad).await;
            fill(&file, bad, 2, 1).await.unwrap();
            if synced {
                file.sync().await.unwrap();
            }
        })
        .expect_done();
        sim.crash(cut(SectorBias::None));
        let env = sim.boot();
        sim.run(async {
            let file = open(&env, "f").await.unwrap();
            let found = read(&file, bad, 1).await;
            assert_eq!(found.ok().map(|bytes| bytes[0]), left);
            sim.set_faults(Faults::none());
            assert_eq!(sectors(&file).await.unwrap().len(), 8, "switched off it stops at once");
        })
        .expect_done();
    }
}

#[test]
fn a_failed_sync_leaves_data_that_can_be_read_until_it_is_evicted() {
    for seed in 0..50 {
        let sim = steady(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 2).await;
            fill(&file, 0, 2, 2).await.unwrap();
            let failed_sync = FailedSync::Evicts;
            sim.set_faults(Faults { sync_error: ALWAYS, failed_sync, ..Faults::none() });
            file.sync().await.unwrap_err();
            sim.set_faults(Faults::none());
            if sim.counters().evictions == 0 {
                assert_eq!(sim.raw().read("f", 0..1024).unwrap(), [2; 1024], "not yet");
            }
            file.sync().await.unwrap();
            env.clock.sleep(Duration::from_secs(11)).await;
            assert_eq!(sectors(&file).await.unwrap().len(), 2);
        })
        .expect_done();
        assert_eq!((sim.fault_counts().syncs_evicted, sim.counters().evictions), (1, 1));
        sim.crash(cut(SectorBias::None));
        assert_eq!(reboot_and_read(&sim, "f"), Some(vec![1; 2]), "no later sync made it durable");
    }
}

#[test]
fn an_eviction_takes_what_was_unsynced_and_leaves_what_was_written_since() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let sim = steady(seed);
        let env = sim.boot();
        let left = sim.run(async {
            let file = durable(&env, "f", 1, 3).await;
            fill(&file, 0, 2, 1).await.unwrap();
            fill(&file, 1, 2, 1).await.unwrap();
            let failed_sync = FailedSync::Evicts;
            sim.set_faults(Faults { sync_error: ALWAYS, failed_sync, ..Faults::none() });
            file.sync().await.unwrap_err();
            sim.set_faults(Faults::none());
            fill(&file, 2, 3, 1).await.unwrap();
            let before = sectors(&file).await.unwrap();
            env.clock.sleep(Duration::from_secs(11)).await;
            (before, sectors(&file).await.unwrap())
        });
        let (before, left) = left.expect_done();
        assert_eq!(left[2], 3, "that sync had nothing to do with it");
        assert!(before[..2].iter().zip(&left).all(|(before, left)| left <= before));
        seen.insert(left);
    }
    // Both are gone, or either one, or by chance none.
    let sets = [[1, 1, 3], [1, 2, 3], [2, 1, 3], [2, 2, 3]];
    assert_eq!(seen, sets.map(Vec::from).into());
}

#[test]
fn when_only_the_process_dies_an_eviction_still_comes() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let sim = steady(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 1).await;
            fill(&file, 0, 2, 1).await.unwrap();
            let failed_sync = FailedSync::Evicts;
            sim.set_faults(Faults { sync_error: ALWAYS, failed_sync, ..Faults::none() });
            file.sync().await.unwrap_err();
            sim.set_faults(Faults::none());
        })
        .expect_done();
        sim.crash(CrashKind::ProcessKill);
        let first = reboot_and_read(&sim, "f").unwrap();
        sim.run(sim.boot().clock.sleep(Duration::from_secs(11))).expect_done();
        let then = reboot_and_read(&sim, "f").unwrap();
        seen.insert((first[0], then[0]));
    }
    assert_eq!(seen, BTreeSet::from([(1, 1), (2, 1), (2, 2)]));
}

fn is_full<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
}

#[test]
fn every_call_that_may_need_room_may_be_told_that_there_is_none() {
    let sim = sim(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 16).await;
        sim.set_faults(Faults { no_room: ALWAYS, ..Faults::none() });
        assert!(is_full(fill(&file, 0, 2, 1).await));
        assert!(is_full(file.preallocate(65_536).await));
        assert!(is_full(file.punch(FileOffset::ZERO, 4096).await));
        assert!(is_full(file.allocate(FileOffset::ZERO, 4096).await));
        assert!(is_full(file.shrink(512).await));
        assert!(is_full(file.sync().await));
        assert!(is_full(create(&env, "g").await));
        assert!(is_full(env.storage.rename("f", "g").await));
        assert!(is_full(env.storage.remove("f").await));
        assert!(is_full(env.storage.sync_folder().await));
        open(&env, "f").await.unwrap();
        assert_eq!(env.storage.list().await.unwrap().len(), 1);
    })
    .expect_done();
    let counts = sim.fault_counts();
    let expected = FaultCounts { no_room_writes: 5, no_room_syncs: 1, no_room_names: 4, ..counts };
    assert_eq!(counts, expected);
    assert_eq!(counts.total(), 10, "and nothing else");
}

#[test]
fn a_sync_without_room_may_lose_what_it_was_to_store() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 1).await;
            fill(&file, 0, 2, 1).await.unwrap();
            sim.set_faults(Faults { no_room: ALWAYS, ..Faults::none() });
            assert!(is_full(file.sync().await));
            sim.set_faults(Faults::none());
            file.sync().await.unwrap();
        })
        .expect_done();
        sim.crash(CrashKind::POWER_CUT);
        seen.insert(reboot_and_read(&sim, "f").unwrap());
    }
    assert_eq!(seen, BTreeSet::from([vec![1], vec![2]]));
}

#[test]
fn a_spell_without_room_ends_by_itself_and_comes_again() {
    let sim = sim(1);
    let env = sim.boot();
    let spell = Spell { every: Duration::from_secs(60), lasts: Duration::from_secs(20) };
    sim.run(async {
        let file = durable(&env, "f", 1, 1).await;
        sim.set_faults(Faults { no_room_spell: Some(spell), ..Faults::none() });
        for second in 0..180 {
            let now = env.clock.now();
            let written = fill(&file, 0, 2, 1).await;
            assert_eq!(is_full(written), now.as_secs() % 60 >= 40, "second {second}");
            env.clock.sleep(Duration::from_secs(second + 1).saturating_sub(env.clock.now())).await;
        }
    })
    .expect_done();
    assert_eq!(sim.counters().in_spells, 60);
}

#[test]
fn opening_and_listing_fail_by_rates_of_their_own() {
    let sim = sim(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 1).await;
        sim.set_faults(Faults { open_error: ALWAYS, ..Faults::none() });
        open(&env, "f").await.unwrap_err();
        file.len().await.unwrap_err();
        create(&env, "g").await.unwrap();
        env.storage.list().await.unwrap();
        sim.set_faults(Faults { list_error: ALWAYS, ..Faults::none() });
        env.storage.list().await.unwrap_err();
        open(&env, "f").await.unwrap();
        sim.set_faults(Faults { name_error: ALWAYS, ..Faults::none() });
        create(&env, "h").await.unwrap_err();
        env.storage.rename("g", "h").await.unwrap_err();
        env.storage.remove("g").await.unwrap_err();
        env.storage.sync_folder().await.unwrap_err();
        open(&env, "g").await.unwrap();
        env.storage.list().await.unwrap();
    })
    .expect_done();
    let counts = sim.fault_counts();
    let expected = FaultCounts {
        opens: 2,
        lists: 1,
        creates: 1,
        renames: 1,
        removes: 1,
        folder_syncs: 1,
        ..FaultCounts::default()
    };
    assert_eq!(counts, expected);
    assert_eq!(counts.total(), counts.names());
}

/// What a write of six sectors in parts looks like to one who reads all the time.
fn looks(number: u64) -> Vec<Vec<u8>> {
    let sim = steady(number);
    let env = sim.boot();
    let images = sim.run(async {
        let file = durable(&env, "f", 1, 6).await;
        sim.set_faults(Faults { in_parts: ALWAYS, ..Faults::none() });
        let looking = async {
            let mut seen = Vec::new();
            for _ in 0..8 {
                let image = sim.raw().read("f", 0..6 * 512).unwrap();
                seen.push(image.chunks(512).map(|sector| sector[0]).collect());
                env.clock.sleep(Duration::from_millis(1)).await;
            }
            seen
        };
        let (written, seen) = join(fill(&file, 0, 2, 6), looking).await;
        written.unwrap();
        seen
    });
    images.expect_done()
}

#[test]
fn a_write_in_parts_lands_one_part_after_the_other() {
    let mut between = BTreeSet::new();
    for seed in 0..40 {
        let seen = looks(seed);
        assert_eq!(seen[0], [1; 6]);
        assert_eq!(seen[7], [2; 6], "in the end all of it is there");
        for image in &seen {
            assert!(image.is_sorted_by(|a, b| a >= b), "parts come in their order: {image:?}");
        }
        between.extend(seen);
    }
    assert!(between.len() >= 6, "{between:?}");
}

#[test]
fn an_error_and_a_crash_may_come_between_two_parts() {
    let (mut failed, mut crashed) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..300 {
        let sim = steady(seed);
        let env = sim.boot();
        let file = sim.run(durable(&env, "f", 1, 4)).expect_done();
        sim.set_faults(Faults { in_parts: ALWAYS, write_error: 400_000, ..Faults::none() });
        let written = sim.run(fill(&file, 0, 2, 4)).expect_done();
        sim.set_faults(Faults::none());
        let left = sim.run(sectors(&file)).expect_done().unwrap();
        if written.is_err() {
            failed.insert(left);
        } else {
            assert_eq!(left, [2; 4]);
        }
        sim.set_faults(Faults { in_parts: ALWAYS, ..Faults::none() });
        // The issue, and one part.
        sim.stop_at(StopAt::Effects(2));
        if sim.run(fill(&file, 0, 3, 4)).is_stopped() {
            sim.crash(CrashKind::ProcessKill);
            crashed.insert(reboot_and_read(&sim, "f").unwrap());
        }
    }
    assert!(failed.contains(&vec![2, 1, 1, 1]) && failed.contains(&vec![2, 2, 1, 1]), "{failed:?}");
    assert!(crashed.iter().all(|left| left[0] == 3), "the first part had landed: {crashed:?}");
    assert!(crashed.len() >= 4, "{crashed:?}");
}

#[test]
fn a_read_in_parts_gives_what_each_part_found() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let sim = steady(seed);
        let env = sim.boot();
        let read = sim.run(async {
            let file = durable(&env, "f", 1, 4).await;
            sim.set_faults(Faults { in_parts: ALWAYS, ..Faults::none() });
            // The second write begins when the first one has ended: a reader at one moment would
            // never find the second one in a later sector and the first one in none.
            let writing = async {
                fill(&file, 0, 2, 1).await.unwrap();
                fill(&file, 3, 2, 1).await.unwrap();
            };
            join(writing, read(&file, 0, 4)).await.1.unwrap()
        });
        let read = read.expect_done();
        seen.insert((read[0], read[3 * 512]));
    }
    assert!(seen.contains(&(1, 2)), "{seen:?}");
}

#[test]
fn at_a_crash_a_length_may_survive_without_its_data() {
    let sim = sim(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 1).await;
        fill(&file, 0, 2, 3).await.unwrap();
    })
    .expect_done();
    sim.crash(cut(SectorBias::LengthOnly));
    assert_eq!(reboot_and_read(&sim, "f"), Some(vec![1, 0, 0]));
}

#[test]
fn the_wall_clock_jumps_by_years_at_a_boot_and_the_other_clock_does_not() {
    let year = Duration::from_secs(365 * 86_400);
    let (mut on, mut back, mut little) = (false, false, false);
    for seed in 0..100 {
        let sim = sim(seed);
        let before = sim.boot().clock.wall();
        sim.crash(CrashKind::ProcessKill);
        let clock = sim.boot().clock;
        on |= clock.wall() > before + year;
        back |= clock.wall() + year < before;
        little |= clock.wall() != before && clock.wall().abs_diff(before) < year / 365;
        assert_eq!(clock.now(), Duration::ZERO);
    }
    assert!(on && back && little);
}

#[test]
fn a_misread_gives_other_bytes_once_and_leaves_the_disk_as_it_is() {
    let (mut wrong, mut right) = (0, 0);
    for seed in 0..40 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 2).await;
            sim.set_faults(Faults { misread: 500_000, ..Faults::none() });
            let bytes = read(&file, 0, 2).await.unwrap();
            let misread = sim.counters().misreads > 0;
            assert_eq!(misread, bytes.iter().any(|byte| *byte != 1), "seed {seed}");
            wrong += u32::from(misread);
            right += u32::from(!misread);
            sim.set_faults(Faults::none());
            let again = read(&file, 0, 2).await.unwrap();
            assert!(again.iter().all(|byte| *byte == 1));
        })
        .expect_done();
        assert_eq!(sim.fault_counts().total(), 0, "no call errs");
    }
    assert!(wrong > 0 && right > 0, "{wrong} wrong, {right} right");
}
