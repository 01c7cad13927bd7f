//! The contract of storage, law by law: what is promised always holds, and what is not promised
//! does happen.
//!
//! Absent on purpose: the contract as a living process sees it; see `conformance.rs`.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{create, durable, fill, open, reboot_and_read, sectors, sim, steady};
use futures::future::{join, join_all};
use logstor_core::io::{FileOffset, IoBuf};
use logstor_core::types::ByteLen;
use logstor_io_sim::{
    CrashKind, FailedSync, Faults, Latencies, Latency, NameBias, SectorBias, Sim, StopAt,
};

fn cut(sectors: SectorBias, names: NameBias) -> CrashKind {
    CrashKind::PowerCut { sectors: Some(sectors), names: Some(names) }
}

/// 1
#[test]
fn what_a_sync_covered_survives_every_crash() {
    for seed in 0..20 {
        for bias in SectorBias::EVERY {
            for names in NameBias::EVERY {
                let sim = sim(seed);
                let env = sim.boot();
                sim.run(durable(&env, "f", 7, 4)).expect_done();
                sim.crash(cut(bias, names));
                assert_eq!(reboot_and_read(&sim, "f"), Some(vec![7; 4]), "{bias:?} {names:?}");
            }
        }
    }
}

/// 1
#[test]
fn a_sync_does_not_cover_what_completed_after_it_began() {
    for seed in 0..200 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 1).await;
            // Both begin now, so the write completes after the sync began.
            let (written, synced) = join(fill(&file, 0, 2, 1), file.sync()).await;
            written.unwrap();
            synced.unwrap();
        })
        .expect_done();
        sim.crash(cut(SectorBias::None, NameBias::All));
        assert_eq!(reboot_and_read(&sim, "f"), Some(vec![1]));
    }
}

fn after_unsynced_writes(seed: u64, kind: CrashKind) -> (Vec<u8>, Sim) {
    let sim = sim(seed);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 3).await;
        fill(&file, 0, 2, 3).await.unwrap();
        fill(&file, 0, 3, 3).await.unwrap();
    })
    .expect_done();
    sim.crash(kind);
    (reboot_and_read(&sim, "f").unwrap(), sim)
}

/// 2
#[test]
fn an_unsynced_sector_is_old_or_any_newer_and_each_by_itself() {
    let half = cut(SectorBias::Half, NameBias::All);
    let seen: BTreeSet<Vec<u8>> =
        (0..2000).map(|seed| after_unsynced_writes(seed, half).0).collect();
    assert!(seen.iter().flatten().all(|byte| (1..=3).contains(byte)));
    // All 27 mixtures are possible, and in 2000 runs all of them happen.
    assert_eq!(seen.len(), 27);
}

/// 2
#[test]
fn every_bias_shows_in_what_is_left() {
    let left = |bias| after_unsynced_writes(1, cut(bias, NameBias::All)).0;
    assert_eq!(left(SectorBias::None), [1, 1, 1]);
    assert_eq!(left(SectorBias::All), [3, 3, 3]);
    assert_eq!(left(SectorBias::OnlyFirst), [3, 1, 1]);
    assert_eq!(left(SectorBias::OnlyLast), [1, 1, 3]);
    assert_eq!(left(SectorBias::AllButFirst), [1, 3, 3]);
    let whole: BTreeSet<Vec<u8>> = (0..100)
        .map(|seed| after_unsynced_writes(seed, cut(SectorBias::Whole, NameBias::All)).0)
        .collect();
    assert_eq!(whole, BTreeSet::from([vec![1; 3], vec![2; 3], vec![3; 3]]));
    for seed in 0..100 {
        let prefix = after_unsynced_writes(seed, cut(SectorBias::Prefix, NameBias::All)).0;
        let (low, high) = (*prefix.iter().min().unwrap(), *prefix.iter().max().unwrap());
        assert!(prefix.is_sorted_by(|a, b| a >= b) && high - low <= 1, "{prefix:?}");
    }
}

/// 2
#[test]
fn a_write_in_flight_may_land_in_any_part_or_not_at_all() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let sim = steady(seed);
        let env = sim.boot();
        let file = sim.run(durable(&env, "f", 1, 3)).expect_done();
        sim.stop_at(StopAt::Effects(1));
        assert!(sim.run(fill(&file, 0, 2, 3)).is_stopped());
        let report = sim.crash(CrashKind::POWER_CUT);
        assert_eq!(report.in_flight, 1);
        seen.insert(reboot_and_read(&sim, "f").unwrap());
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
}

/// 3
#[test]
fn after_a_failed_sync_a_second_one_proves_nothing() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 1).await;
            fill(&file, 0, 2, 1).await.unwrap();
            sim.set_faults(Faults { sync_error: 1_000_000, ..Faults::none() });
            file.sync().await.unwrap_err();
            sim.set_faults(Faults::none());
            file.sync().await.unwrap();
        })
        .expect_done();
        sim.crash(CrashKind::POWER_CUT);
        seen.insert(reboot_and_read(&sim, "f").unwrap());
    }
    assert_eq!(seen, BTreeSet::from([vec![1], vec![2]]));
}

/// 3
#[test]
fn a_failed_sync_keeps_the_data_readable_or_drops_it() {
    for (failed_sync, left) in [(FailedSync::Keeps, 2), (FailedSync::Drops, 1)] {
        let sim = sim(1);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 2).await;
            fill(&file, 0, 2, 2).await.unwrap();
            sim.set_faults(Faults { sync_error: 1_000_000, failed_sync, ..Faults::none() });
            file.sync().await.unwrap_err();
            sim.set_faults(Faults::none());
            assert_eq!(sectors(&file).await.unwrap(), [left; 2]);
            // What is written afresh is as good as ever.
            fill(&file, 0, 3, 2).await.unwrap();
            file.sync().await.unwrap();
        })
        .expect_done();
        let counts = sim.fault_counts();
        assert_eq!(
            (counts.syncs_kept, counts.syncs_dropped),
            (u64::from(left - 1), 2 - u64::from(left))
        );
        sim.crash(cut(SectorBias::None, NameBias::None));
        assert_eq!(reboot_and_read(&sim, "f"), Some(vec![3; 2]));
    }
}

/// 3
#[test]
fn a_failed_sync_may_strike_writes_in_flight() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let sim = steady(seed);
        let write = Latency::micros(5000, 5000);
        let slow_writes = Latencies { write, ..Latencies::constant(Duration::from_millis(1)) };
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 1).await;
            sim.set_latencies(slow_writes);
            sim.set_faults(Faults { sync_error: 1_000_000, ..Faults::none() });
            let (written, synced) = join(fill(&file, 0, 2, 1), file.sync()).await;
            written.unwrap();
            synced.unwrap_err();
            sim.set_faults(Faults::none());
            file.sync().await.unwrap();
        })
        .expect_done();
        sim.crash(cut(SectorBias::None, NameBias::None));
        seen.insert(reboot_and_read(&sim, "f").unwrap());
    }
    assert_eq!(seen, BTreeSet::from([vec![1], vec![2]]));
}

/// 4
#[test]
fn a_failed_write_leaves_any_part_of_itself() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let sim = sim(seed);
        let env = sim.boot();
        let left = sim.run(async {
            let file = durable(&env, "f", 1, 2).await;
            sim.set_faults(Faults { write_error: 1_000_000, ..Faults::none() });
            fill(&file, 0, 2, 2).await.unwrap_err();
            sectors(&file).await.unwrap()
        });
        seen.insert(left.expect_done());
        assert_eq!(sim.fault_counts().writes, 1);
    }
    assert_eq!(seen, BTreeSet::from([vec![1, 1], vec![1, 2], vec![2, 1], vec![2, 2]]));
}

/// 5
#[test]
fn a_name_may_vanish_until_the_folder_is_synced() {
    let mut kept = 0;
    for seed in 0..100 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let file = create(&env, "f").await.unwrap();
            fill(&file, 0, 1, 1).await.unwrap();
            file.sync().await.unwrap();
        })
        .expect_done();
        sim.crash(CrashKind::POWER_CUT);
        match reboot_and_read(&sim, "f") {
            Some(left) => {
                assert_eq!(left, [1], "its content was synced");
                kept += 1;
            }
            None => assert!(sim.raw().list().is_empty()),
        }
    }
    assert!((10..90).contains(&kept), "{kept}");
}

/// 5
#[test]
fn a_rename_is_atomic_and_a_removal_may_be_undone() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            durable(&env, "old", 1, 1).await;
            durable(&env, "new", 2, 1).await;
            durable(&env, "gone", 3, 1).await;
            env.storage.remove("gone").await.unwrap();
            env.storage.rename("new", "old").await.unwrap();
        })
        .expect_done();
        sim.crash(CrashKind::POWER_CUT);
        let names: Vec<String> = sim.raw().list().into_iter().map(|entry| entry.name).collect();
        let old = reboot_and_read(&sim, "old").unwrap();
        assert_eq!(old, if names.contains(&"new".to_owned()) { [1] } else { [2] });
        seen.insert(names);
    }
    // Both operations are kept or lost independently of each other.
    assert_eq!(seen.len(), 4, "{seen:?}");
}

/// 6
#[test]
fn completions_come_in_any_order() {
    let mut orders = BTreeSet::new();
    for seed in 0..200 {
        let sim = steady(seed);
        let env = sim.boot();
        let order = std::cell::RefCell::new(Vec::new());
        sim.run(async {
            let file = durable(&env, "f", 0, 3).await;
            join_all((0..3).map(|n| {
                let (file, order) = (&file, &order);
                async move {
                    fill(file, n, 1, 1).await.unwrap();
                    order.borrow_mut().push(n);
                }
            }))
            .await;
        })
        .expect_done();
        orders.insert(order.into_inner());
    }
    assert_eq!(orders.len(), 6);
}

/// 6
#[test]
fn of_two_writes_in_flight_to_one_sector_either_may_stay() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let sim = sim(seed);
        let env = sim.boot();
        let left = sim.run(async {
            let file = durable(&env, "f", 0, 1).await;
            join_all([fill(&file, 0, 1, 1), fill(&file, 0, 2, 1)]).await;
            sectors(&file).await.unwrap()
        });
        seen.insert(left.expect_done());
    }
    assert_eq!(seen, BTreeSet::from([vec![1], vec![2]]));
}

#[test]
fn a_read_beside_a_write_sees_old_or_new_for_each_sector() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let sim = sim(seed);
        let env = sim.boot();
        let read = sim.run(async {
            let file = durable(&env, "f", 1, 2).await;
            let (written, read) = join(fill(&file, 0, 2, 2), sectors(&file)).await;
            written.unwrap();
            assert_eq!(sectors(&file).await.unwrap(), [2, 2], "once completed it is there");
            read.unwrap()
        });
        seen.insert(read.expect_done());
    }
    assert_eq!(seen, BTreeSet::from([vec![1, 1], vec![1, 2], vec![2, 1], vec![2, 2]]));
}

/// 7
#[test]
#[should_panic(expected = "write of f at 100, 512 bytes: not multiples of 512 (contract, 7)")]
fn a_misaligned_offset_panics() {
    let sim = sim(1);
    let env = sim.boot();
    let _ = sim.run(async {
        let file = create(&env, "f").await.unwrap();
        let bytes = Arc::new(IoBuf::zeroed(ByteLen::new(512)));
        file.write(FileOffset::new(100), bytes).await.unwrap();
    });
}

/// 8
#[test]
fn a_read_past_the_end_is_an_unexpected_end() {
    let sim = sim(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 1).await;
        let read = file.read(FileOffset::new(512), IoBuf::zeroed(ByteLen::new(512))).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    })
    .expect_done();
}

#[test]
fn a_length_is_durable_only_with_a_sync() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 1).await;
            file.preallocate(4096).await.unwrap();
        })
        .expect_done();
        sim.crash(CrashKind::POWER_CUT);
        lengths.insert(sim.raw().list()[0].len);
    }
    assert_eq!(lengths, BTreeSet::from([512, 4096]));
}

#[test]
fn a_killed_process_leaves_the_cache_and_the_cache_is_still_volatile() {
    for seed in 0..50 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 2).await;
            fill(&file, 0, 2, 2).await.unwrap();
            create(&env, "g").await.unwrap();
        })
        .expect_done();
        sim.crash(CrashKind::ProcessKill);
        assert_eq!(reboot_and_read(&sim, "f"), Some(vec![2; 2]));
        assert_eq!(reboot_and_read(&sim, "g"), Some(vec![]));
        sim.crash(cut(SectorBias::None, NameBias::None));
        assert_eq!(reboot_and_read(&sim, "f"), Some(vec![1; 2]));
        assert_eq!(reboot_and_read(&sim, "g"), None);
    }
}

#[test]
fn a_sync_of_the_next_process_covers_what_the_killed_one_wrote() {
    let sim = sim(1);
    let env = sim.boot();
    sim.run(async {
        let file = durable(&env, "f", 1, 2).await;
        fill(&file, 0, 2, 2).await.unwrap();
    })
    .expect_done();
    sim.crash(CrashKind::ProcessKill);
    let env = sim.boot();
    sim.run(async { open(&env, "f").await.unwrap().sync().await.unwrap() }).expect_done();
    sim.crash(cut(SectorBias::None, NameBias::None));
    assert_eq!(reboot_and_read(&sim, "f"), Some(vec![2; 2]));
}

#[test]
fn at_a_kill_a_write_in_flight_lands_wholly_partly_or_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let sim = sim(seed);
        let env = sim.boot();
        let file = sim.run(durable(&env, "f", 1, 2)).expect_done();
        sim.stop_at(StopAt::Effects(1));
        assert!(sim.run(fill(&file, 0, 2, 2)).is_stopped());
        assert_eq!(sim.crash(CrashKind::ProcessKill).in_flight, 1);
        seen.insert(reboot_and_read(&sim, "f").unwrap());
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let sim = sim(1);
    sim.set_faults(Faults { capacity: Some(4096), ..Faults::none() });
    let env = sim.boot();
    let full = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
    };
    sim.run(async {
        let file = durable(&env, "f", 1, 7).await;
        full(file.preallocate(8192).await);
        full(fill(&file, 7, 2, 2).await);
        fill(&file, 7, 2, 1).await.unwrap();
        full(create(&env, "g").await.map(drop));
        fill(&file, 0, 3, 8).await.unwrap();
        env.storage.remove("f").await.unwrap();
        create(&env, "g").await.unwrap();
    })
    .expect_done();
    assert_eq!(sim.fault_counts().full, 3);
}

#[test]
fn faults_fall_at_their_rates_and_stop_when_switched_off() {
    let sim = sim(1);
    let env = sim.boot();
    let tries = 2000;
    sim.run(async {
        let file = durable(&env, "f", 1, 1).await;
        let (read_error, write_error) = (100_000, 50_000);
        sim.set_faults(Faults { read_error, write_error, open_error: 50_000, ..Faults::none() });
        for _ in 0..tries {
            drop(file.read(FileOffset::ZERO, IoBuf::zeroed(ByteLen::new(512))).await);
            drop(fill(&file, 0, 1, 1).await);
            drop(open(&env, "f").await);
        }
        let counts = sim.fault_counts();
        assert!((150..250).contains(&counts.reads), "{counts:?}");
        assert!((70..130).contains(&counts.writes), "{counts:?}");
        assert!((70..130).contains(&counts.opens), "{counts:?}");
        sim.set_faults(Faults::none());
        for _ in 0..tries {
            file.read(FileOffset::ZERO, IoBuf::zeroed(ByteLen::new(512))).await.unwrap();
        }
        assert_eq!(sim.fault_counts(), counts);
    })
    .expect_done();
}
