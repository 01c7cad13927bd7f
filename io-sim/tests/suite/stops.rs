//! Stops around landings, and stops that wait for unsynced writes.

use std::cell::Cell;

use crate::common::{durable, fill, open, reboot_and_read, sim};
use logstor_core::io::Environment;
use logstor_io_sim::{CrashKind, NameBias, SectorBias, Side, Sim, StopAt};

const ALL: CrashKind =
    CrashKind::PowerCut { sectors: Some(SectorBias::All), names: Some(NameBias::All) };

/// Fills sector after sector, and counts the answers.
async fn fill_three(env: &Environment, heard: &Cell<u8>) {
    let file = open(env, "f").await.unwrap();
    for n in 0..3_u8 {
        fill(&file, u64::from(n), n + 1, 1).await.unwrap();
        heard.set(n + 1);
    }
}

/// What the disk holds and how much was heard of, stopped at this landing.
fn stopped(count: u64, side: Side) -> (Vec<u8>, u8) {
    let (sim, heard) = (with_file(), Cell::new(0));
    let env = sim.boot();
    sim.stop_at(StopAt::Landing { count, side });
    let _ = sim.run(fill_three(&env, &heard));
    assert!(sim.is_stopped(), "landing {count}, {side:?}");
    sim.crash(ALL);
    (reboot_and_read(&sim, "f").unwrap(), heard.get())
}

fn with_file() -> Sim {
    let sim = sim(4);
    let env = sim.boot();
    sim.run(durable(&env, "f", 0, 3)).expect_done();
    sim
}

#[test]
fn a_landing_has_three_sides() {
    assert_eq!(stopped(1, Side::Before), (vec![0, 0, 0], 0));
    assert_eq!(stopped(1, Side::After), (vec![1, 0, 0], 0));
    assert_eq!(stopped(1, Side::Heard), (vec![1, 0, 0], 1), "the second write was not issued");
    assert_eq!(stopped(3, Side::Before), (vec![1, 2, 0], 2));
    assert_eq!(stopped(3, Side::After), (vec![1, 2, 3], 2));
    assert_eq!(stopped(3, Side::Heard), (vec![1, 2, 3], 3));
}

#[test]
fn landings_are_counted_from_the_stop_on_and_by_the_simulation() {
    let (sim, heard) = (with_file(), Cell::new(0));
    let before = sim.counters().landings;
    assert!(before > 0);
    let env = sim.boot();
    sim.run(fill_three(&env, &heard)).expect_done();
    assert_eq!(sim.counters().landings - before, 3);
    sim.stop_at(StopAt::Landing { count: 4, side: Side::Before });
    sim.run(fill_three(&env, &heard)).expect_done();
    assert!(!sim.is_stopped(), "there are only three");
    let _ = sim.run(fill_three(&env, &heard));
    assert!(sim.is_stopped());
}

#[test]
fn a_landing_that_nobody_waits_for_stops_the_run_as_it_comes() {
    for side in [Side::After, Side::Heard] {
        let sim = with_file();
        let env = sim.boot();
        sim.stop_at(StopAt::Landing { count: 1, side });
        // Dropped after one poll: three times in four it lands all the same.
        let outcome = sim.run(async {
            let file = open(&env, "f").await.unwrap();
            for _ in 0..20 {
                let mut write = Box::pin(fill(&file, 0, 9, 1));
                assert!(futures::poll!(write.as_mut()).is_pending());
            }
            env.clock.sleep(std::time::Duration::from_secs(1)).await;
        });
        assert!(outcome.is_stopped());
        assert!(sim.crash(ALL).in_flight > 0, "one landed, others were on their way");
        assert_eq!(reboot_and_read(&sim, "f"), Some(vec![9, 0, 0]));
    }
}

#[test]
fn a_stop_waits_for_so_many_unsynced_writes() {
    let unsynced = |writes, count| {
        let (sim, heard) = (with_file(), Cell::new(0));
        let env = sim.boot();
        sim.stop_at(StopAt::Unsynced { count, writes });
        let stopped = sim.run(fill_three(&env, &heard)).is_stopped();
        stopped.then_some(heard.get())
    };
    // The second write is issued when the first was heard of, and so on.
    assert_eq!(unsynced(1, 1), Some(0));
    assert_eq!(unsynced(2, 1), Some(1));
    assert_eq!(unsynced(3, 1), Some(2));
    assert_eq!(unsynced(4, 1), None);
    assert_eq!(unsynced(1, 6), Some(2), "six effects, each with one at least");
    assert_eq!(unsynced(1, 7), None);
}

#[test]
fn what_is_durable_is_no_longer_unsynced() {
    let sim = with_file();
    let env = sim.boot();
    sim.stop_at(StopAt::Unsynced { count: 1, writes: 2 });
    let outcome = sim.run(async {
        let file = open(&env, "f").await.unwrap();
        for n in 0..3 {
            fill(&file, n, 1, 1).await.unwrap();
            file.sync().await.unwrap();
        }
    });
    assert!(outcome.done().is_some());
}
