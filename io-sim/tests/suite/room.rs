//! Room: what a punch, a shrink and a reservation do to bytes and to the space that is left, with
//! crashes, faults and a full disk.
//!
//! Absent on purpose: what a living process sees of them with room for all; see `conformance.rs`.

use std::collections::BTreeSet;
use std::io;

use crate::common::{Handle, create, durable, fill, open, reboot_and_read, sectors, sim, steady};
use futures::future::join;
use logstor_core::io::FileOffset;
use logstor_io_sim::{
    CrashKind, FailedSync, Faults, NameBias, Recording, SectorBias, Sim, SimOptions, StopAt,
};

const BLOCK: u64 = 4096;

fn cut(sectors: SectorBias) -> CrashKind {
    CrashKind::PowerCut { sectors: Some(sectors), names: Some(NameBias::All) }
}

fn full(result: io::Result<()>) {
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
}

async fn punch(file: &Handle, block: u64, count: u64) -> io::Result<()> {
    file.punch(FileOffset::new(block * BLOCK), count * BLOCK).await
}

async fn allocate(file: &Handle, block: u64, count: u64) -> io::Result<()> {
    file.allocate(FileOffset::new(block * BLOCK), count * BLOCK).await
}

fn capacity(blocks: u64) -> Faults {
    Faults { capacity: Some(blocks * BLOCK), ..Faults::none() }
}

/// One byte of each block of the first file, of which all sectors must be alike.
async fn blocks(file: &Handle) -> Vec<u8> {
    let sectors = sectors(file).await.unwrap();
    sectors.chunks(8).map(|of_block| of_block[0]).collect()
}

/// 9, 2
#[test]
fn an_unsynced_punch_leaves_each_sector_old_or_zero() {
    let seen: BTreeSet<Vec<u8>> = (0..4000)
        .map(|seed| {
            let sim = sim(seed);
            let env = sim.boot();
            sim.run(async {
                let file = durable(&env, "f", 7, 16).await;
                punch(&file, 0, 1).await.unwrap();
                assert_eq!(blocks(&file).await, [0, 7]);
            })
            .expect_done();
            sim.crash(cut(SectorBias::Half));
            reboot_and_read(&sim, "f").unwrap()
        })
        .collect();
    assert!(seen.iter().all(|after| after[8..] == [7; 8]));
    assert!(seen.iter().flatten().all(|byte| [0, 7].contains(byte)));
    // All 256 mixtures are possible, and in 4000 runs all of them happen.
    assert_eq!(seen.len(), 256);
}

/// 9, 1
#[test]
fn a_synced_punch_survives_every_crash_with_its_room() {
    for seed in 0..20 {
        for bias in SectorBias::EVERY {
            let sim = sim(seed);
            let env = sim.boot();
            sim.run(async {
                let file = durable(&env, "f", 7, 16).await;
                punch(&file, 0, 1).await.unwrap();
                file.sync().await.unwrap();
            })
            .expect_done();
            sim.crash(cut(bias));
            assert_eq!(sim.raw().used(), BLOCK);
            let after = reboot_and_read(&sim, "f").unwrap();
            assert_eq!(after, [[0; 8], [7; 8]].concat(), "{bias:?}");
        }
    }
}

/// 9, 3
#[test]
fn after_a_failed_sync_a_punch_may_be_undone_whatever_a_second_one_says() {
    for failed_sync in [FailedSync::Keeps, FailedSync::Drops] {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let sim = sim(seed);
            let env = sim.boot();
            sim.run(async {
                let file = durable(&env, "f", 7, 16).await;
                punch(&file, 0, 2).await.unwrap();
                sim.set_faults(Faults { sync_error: 1_000_000, failed_sync, ..Faults::none() });
                file.sync().await.unwrap_err();
                sim.set_faults(Faults::none());
                let visible = blocks(&file).await;
                let drops = failed_sync == FailedSync::Drops;
                assert_eq!(visible, if drops { [7, 7] } else { [0, 0] });
                file.sync().await.unwrap();
            })
            .expect_done();
            sim.crash(CrashKind::POWER_CUT);
            // Whatever the bytes are, the room was never given away for good.
            assert_eq!(sim.raw().used(), 2 * BLOCK);
            seen.extend(reboot_and_read(&sim, "f").unwrap());
        }
        let expected = if failed_sync == FailedSync::Drops { vec![7] } else { vec![0, 7] };
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    }
}

/// 9, 3
#[test]
fn a_failed_sync_may_strike_a_punch_in_flight() {
    let (mut struck, mut untouched) = (0, 0);
    for seed in 0..200 {
        let sim = steady(seed);
        let env = sim.boot();
        let visible = sim.run(async {
            let file = durable(&env, "f", 7, 8).await;
            let sync_error = 1_000_000;
            let failed_sync = FailedSync::Drops;
            sim.set_faults(Faults { sync_error, failed_sync, ..Faults::none() });
            let (punched, synced) = join(punch(&file, 0, 1), file.sync()).await;
            punched.unwrap();
            synced.unwrap_err();
            blocks(&file).await
        });
        match visible.expect_done()[..] {
            [7] => struck += 1,
            [0] => untouched += 1,
            ref other => panic!("{other:?}"),
        }
    }
    // Half of them complete after the sync failed, and half of those it strikes; it also drops
    // what completed before.
    assert!(struck > 120 && untouched > 20, "{struck} {untouched}");
}

/// 9, 4
#[test]
fn a_failed_punch_leaves_any_part_of_itself() {
    let (mut whole, mut none, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let sim = sim(seed);
        let env = sim.boot();
        let after = sim.run(async {
            let file = durable(&env, "f", 7, 16).await;
            sim.set_faults(Faults { write_error: 1_000_000, ..Faults::none() });
            punch(&file, 0, 2).await.unwrap_err();
            assert_eq!(sim.fault_counts().writes, 1);
            sectors(&file).await.unwrap()
        });
        let after = after.expect_done();
        match (after.contains(&7), after.contains(&0)) {
            (true, false) => none += 1,
            (false, _) => whole += 1,
            (true, true) => torn += 1,
        }
    }
    assert!(whole > 0 && none > 0 && torn > 0, "{whole} {none} {torn}");
}

/// 9
#[test]
fn a_read_beside_a_punch_sees_old_or_zero_for_each_sector() {
    let seen: BTreeSet<Vec<u8>> = (0..500)
        .map(|seed| {
            let sim = steady(seed);
            let env = sim.boot();
            sim.run(async {
                let file = durable(&env, "f", 7, 8).await;
                let (read, punched) = join(sectors(&file), punch(&file, 0, 1)).await;
                punched.unwrap();
                read.unwrap()
            })
            .expect_done()
        })
        .collect();
    assert!(seen.iter().flatten().all(|byte| [0, 7].contains(byte)));
    assert!(seen.len() > 10, "{seen:?}");
}

/// 9, 2
#[test]
fn a_punch_in_flight_at_a_crash_lands_wholly_partly_or_not() {
    for kind in [cut(SectorBias::Half), CrashKind::ProcessKill] {
        let (mut whole, mut none, mut torn, mut holes) = (0, 0, 0, 0);
        for seed in 0..1500 {
            let sim = sim(seed);
            let env = sim.boot();
            let file = sim.run(durable(&env, "f", 7, 8)).expect_done();
            sim.stop_at(StopAt::Effects(1));
            assert!(sim.run(punch(&file, 0, 1)).is_stopped());
            assert_eq!(sim.crash(kind).in_flight, 1);
            let held = sim.raw().used();
            let after = reboot_and_read(&sim, "f").unwrap();
            match (after.contains(&7), after.contains(&0)) {
                (true, false) => none += 1,
                (false, _) => whole += 1,
                (true, true) => torn += 1,
            }
            assert_eq!(held == 0, after == [0; 8], "a block is free if all of it was punched");
            holes += u32::from(held == 0);
        }
        assert!(whole > 0 && none > 0 && torn > 0 && holes > 0, "{whole} {none} {torn} {holes}");
    }
}

/// 9, 11
#[test]
fn a_full_disk_refuses_writes_into_holes_and_nothing_else() {
    let sim = sim(1);
    sim.set_faults(capacity(4));
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 32).await;
        full(create(&env, "g").await.map(drop));
        punch(&file, 0, 2).await.unwrap();
        assert_eq!(sim.raw().used(), 2 * BLOCK);

        // Another file takes one of the two blocks, and this one takes the other back.
        let other = create(&env, "g").await.unwrap();
        fill(&other, 0, 2, 8).await.unwrap();
        fill(&file, 0, 3, 1).await.unwrap();
        assert_eq!(sim.raw().used(), 4 * BLOCK);

        // Block 1 has no room, blocks 0, 2 and 3 have theirs.
        full(fill(&file, 8, 4, 8).await);
        full(allocate(&file, 0, 4).await);
        full(file.preallocate(4 * BLOCK).await);
        fill(&file, 0, 3, 8).await.unwrap();
        fill(&file, 16, 3, 16).await.unwrap();
        allocate(&file, 2, 2).await.unwrap();
        assert_eq!(blocks(&file).await, [3, 0, 3, 3]);

        // What is cut off another file is room, and once reserved it is not given twice.
        other.shrink(0).await.unwrap();
        allocate(&file, 1, 1).await.unwrap();
        assert_eq!(sim.raw().used(), 4 * BLOCK);
        full(fill(&other, 0, 2, 1).await);
        fill(&file, 8, 4, 8).await.unwrap();
        assert_eq!(blocks(&file).await, [3, 4, 3, 3]);
    })
    .expect_done();
    assert_eq!(sim.fault_counts().full, 5);
}

/// 4
#[test]
fn a_write_that_meets_the_full_disk_may_leave_what_comes_before_it() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let sim = sim(seed);
        sim.set_faults(capacity(5));
        let env = sim.boot();
        let after = sim.run(async {
            let file = durable(&env, "f", 1, 32).await;
            punch(&file, 1, 3).await.unwrap();
            fill(&create(&env, "g").await.unwrap(), 0, 2, 24).await.unwrap();
            // Block 0 has its room, there is one for block 1, and none for block 2.
            full(fill(&file, 0, 3, 32).await);
            sectors(&file).await.unwrap()
        });
        let after = after.expect_done();
        assert!(after[..8].iter().all(|byte| [1, 3].contains(byte)), "{after:?}");
        assert!(after[8..16].iter().all(|byte| [0, 3].contains(byte)), "{after:?}");
        assert_eq!(after[16..], [0; 16]);
        assert!(sim.raw().used() <= 5 * BLOCK);
        seen.insert((after[..8].contains(&3), after[8..].contains(&3)));
    }
    assert!(seen.contains(&(false, false)) && seen.contains(&(true, true)), "{seen:?}");
}

/// 9: room is free at once; a crash may want it back when another has it.
#[test]
fn a_punch_that_a_crash_undid_leaves_too_little_room_and_not_a_wrong_count() {
    let sim = sim(1);
    sim.set_faults(capacity(4));
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 32).await;
        punch(&file, 0, 4).await.unwrap();
        durable(&env, "g", 2, 24).await;
    })
    .expect_done();
    sim.crash(cut(SectorBias::None));
    assert_eq!(sim.raw().used(), 7 * BLOCK);

    let env = sim.boot();
    sim.run(async {
        let file = open(&env, "f").await.unwrap();
        let other = open(&env, "g").await.unwrap();
        assert_eq!(blocks(&file).await, [1; 4]);
        // Three blocks too many: the first three that come back are not given to anybody.
        fill(&file, 0, 3, 32).await.unwrap();
        punch(&file, 0, 3).await.unwrap();
        full(fill(&file, 0, 3, 8).await);
        other.shrink(2 * BLOCK).await.unwrap();
        fill(&file, 0, 3, 8).await.unwrap();
        full(fill(&file, 8, 3, 8).await);
        assert_eq!(sim.raw().used(), 4 * BLOCK);
    })
    .expect_done();
}

/// 11
#[test]
fn reserved_room_is_kept_over_a_crash_once_synced() {
    for (synced, bias, held) in
        [(false, SectorBias::None, 1), (false, SectorBias::All, 2), (true, SectorBias::None, 2)]
    {
        for preallocates in [false, true] {
            let sim = sim(1);
            let env = sim.boot();
            sim.run(async {
                let file = durable(&env, "f", 1, 16).await;
                punch(&file, 0, 1).await.unwrap();
                file.sync().await.unwrap();
                let reserved = if preallocates {
                    file.preallocate(2 * BLOCK).await
                } else {
                    allocate(&file, 0, 1).await
                };
                reserved.unwrap();
                if synced {
                    file.sync().await.unwrap();
                }
            })
            .expect_done();
            sim.crash(cut(bias));
            assert_eq!(sim.raw().used(), held * BLOCK, "{synced} {bias:?} {preallocates}");
        }
    }
}

/// 10
#[test]
fn an_unsynced_shrink_leaves_either_length_and_each_sector_old_or_lost() {
    let mut lens = BTreeSet::new();
    let mut bytes = BTreeSet::new();
    for seed in 0..300 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 7, 16).await;
            file.shrink(BLOCK).await.unwrap();
            assert_eq!(blocks(&file).await, [7]);
        })
        .expect_done();
        sim.crash(cut(SectorBias::Half));
        let after = reboot_and_read(&sim, "f").unwrap();
        assert_eq!(sim.raw().used(), u64::try_from(after.len()).unwrap() * 512);
        assert_eq!(after[..8], [7; 8]);
        lens.insert(after.len());
        bytes.extend(after[8..].iter().copied());
    }
    assert_eq!((lens, bytes), (BTreeSet::from([8, 16]), BTreeSet::from([0, 7])));
}

/// 10, 1
#[test]
fn a_synced_shrink_survives_every_crash() {
    for bias in SectorBias::EVERY {
        let sim = sim(1);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 7, 16).await;
            file.shrink(BLOCK).await.unwrap();
            file.sync().await.unwrap();
        })
        .expect_done();
        sim.crash(cut(bias));
        assert_eq!(reboot_and_read(&sim, "f"), Some(vec![7; 8]), "{bias:?}");
    }
}

#[test]
fn changes_of_room_fail_as_writes_do_and_are_effects() {
    let sim = sim(3);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 7, 32).await;
        let before = sim.counters().effects;
        punch(&file, 0, 1).await.unwrap();
        allocate(&file, 0, 1).await.unwrap();
        file.shrink(3 * BLOCK).await.unwrap();
        assert_eq!(sim.counters().effects, before + 6);
        assert_eq!(sim.counters().punches, 1);

        sim.set_faults(Faults { write_error: 500_000, ..Faults::none() });
        let mut failed = [0; 3];
        for _ in 0..200 {
            failed[0] += u64::from(punch(&file, 0, 1).await.is_err());
            failed[1] += u64::from(allocate(&file, 0, 1).await.is_err());
            failed[2] += u64::from(file.shrink(3 * BLOCK).await.is_err());
        }
        assert!(failed.iter().all(|count| (60..140).contains(count)), "{failed:?}");
        assert_eq!(sim.fault_counts().writes, failed.iter().sum::<u64>());
    })
    .expect_done();
}

#[test]
fn a_file_system_that_cannot_punch_says_so_and_changes_nothing() {
    for kind in [CrashKind::POWER_CUT, CrashKind::ProcessKill] {
        for stop in [None, Some(StopAt::Effects(1))] {
            let sim = Sim::new(&SimOptions::new(1).sector_size(512).punches(false));
            let env = sim.boot();
            let file = sim.run(durable(&env, "f", 7, 16)).expect_done();
            if let Some(stop) = stop {
                sim.stop_at(stop);
            }
            let done = sim.run(async {
                let (read, refused) = join(sectors(&file), punch(&file, 0, 1)).await;
                assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
                assert_eq!(read.unwrap(), [7; 16]);
                let outside = punch(&file, 2, 1).await;
                assert_eq!(outside.unwrap_err().kind(), io::ErrorKind::InvalidInput);
            });
            // It changes nothing, so it is no effect that would stop the run.
            done.expect_done();
            sim.crash(kind);
            assert_eq!(reboot_and_read(&sim, "f"), Some(vec![7; 16]));
            assert_eq!(sim.raw().used(), 2 * BLOCK);
        }
    }
}

/// 7
#[test]
#[should_panic(expected = "not whole blocks (contract, 7)")]
fn a_punch_of_less_than_a_block_panics() {
    let sim = sim(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 7, 16).await;
        drop(file.punch(FileOffset::new(512), BLOCK).await);
    })
    .expect_done();
}

#[test]
fn images_and_raw_writes_know_the_holes() {
    let sim = sim(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 7, 32).await;
        punch(&file, 0, 3).await.unwrap();
    })
    .expect_done();
    let copy = Sim::with_image(&SimOptions::new(2).sector_size(512), &sim.raw().image());
    assert_eq!(copy.raw().used(), BLOCK);
    copy.raw().corrupt("f", BLOCK + 5..BLOCK + 6, |bytes| bytes.fill(1)).unwrap();
    assert_eq!(copy.raw().used(), 2 * BLOCK);
    copy.raw().truncate("f", BLOCK).unwrap();
    assert_eq!(copy.raw().used(), 0);
    assert_eq!(sim.raw().used(), BLOCK);
}

/// Punches, writes and reservations at random, on a small disk with faults, over some boots.
fn busy(seed: u64) -> Sim {
    let sim = Sim::new(&SimOptions::new(seed).recording(Recording::Last(1)));
    let mut rng = sim.rng("room");
    for _ in 0..4 {
        sim.set_faults(Faults::none());
        let env = sim.boot();
        let file = sim.run(async {
            match open(&env, "f").await {
                Ok(file) => file,
                Err(_) => durable(&env, "f", 1, 64).await,
            }
        });
        let file = file.expect_done();
        let errors = Faults { write_error: 50_000, sync_error: 50_000, ..capacity(6) };
        sim.set_faults(errors);
        sim.stop_at(StopAt::Effects(1 + rng.below(80)));
        let run = sim.run(async {
            for byte in 1..40 {
                let (block, count) = (rng.below(6), 1 + rng.below(2));
                let other = rng.below(6);
                let first = async {
                    match rng.below(6) {
                        0 => drop(allocate(&file, block, count).await),
                        1 => drop(file.preallocate(8 * BLOCK).await),
                        2 => drop(file.shrink(7 * BLOCK).await),
                        _ => drop(punch(&file, block, count).await),
                    }
                };
                join(first, async { drop(fill(&file, other * 8, byte, 8).await) }).await;
                drop(file.sync().await);
            }
        });
        drop(run);
        let fork = sim.fork();
        fork.crash(CrashKind::POWER_CUT);
        sim.crash(CrashKind::POWER_CUT);
        assert_eq!(fork.raw().used(), sim.raw().used(), "equal streams, equal fates");
        assert_eq!(fork.raw().image(), sim.raw().image());
    }
    sim
}

#[test]
fn the_same_seed_gives_and_takes_the_same_room() {
    let (mut faults, mut full) = (0, 0);
    for seed in 0..40 {
        let (one, other) = (busy(seed), busy(seed));
        assert_eq!(one.trace_hash(), other.trace_hash(), "seed {seed}");
        assert_eq!(one.raw().image(), other.raw().image(), "seed {seed}");
        faults += one.fault_counts().writes;
        full += one.fault_counts().full;
    }
    assert!(faults > 0 && full > 0, "{faults} {full}");
}
