//! Faults that no contract allows and no call tells of: lost writes, writes that go astray, and a
//! wall clock that jumps.
//!
//! Absent on purpose: reads that give other bytes; see `faults`.

use std::time::Duration;

use crate::common::{durable, fill, sim};
use logstor_io_sim::{CrashKind, Faults};

#[test]
fn a_lost_write_leaves_what_was_there_and_the_disk_knows_what_was_meant() {
    let mut hit = 0;
    for seed in 0..40 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let file = durable(&env, "f", 1, 8).await;
            let lost_write = 500_000;
            sim.set_faults(Faults { lost_write, silent_max: Some(1), ..Faults::none() });
            fill(&file, 0, 2, 8).await.unwrap();
            file.sync().await.unwrap();
            fill(&file, 0, 3, 1).await.unwrap();
            file.sync().await.unwrap();
        })
        .expect_done();
        sim.crash(CrashKind::POWER_CUT);
        let (there, meant) = (sim.raw().export(), sim.raw().meant().to_files());
        assert!(meant["f"].iter().all(|byte| [2, 3].contains(byte)), "seed {seed}");
        let differs = there["f"].iter().zip(&meant["f"]).any(|(there, meant)| there != meant);
        let lost = sim.counters().lost_writes;
        assert!(lost <= 1 && differs == (lost == 1), "seed {seed}: {lost} lost");
        assert_eq!(sim.fault_counts().total(), 0, "no call errs");
        hit += lost;
        sim.raw().forget_meant();
        assert_eq!(sim.raw().meant().to_files(), there);
    }
    assert!((5..40).contains(&hit), "{hit} writes lost");
}

#[test]
fn a_write_that_goes_astray_is_found_far_from_where_it_belongs() {
    let mut hit = 0;
    for seed in 0..40 {
        let sim = sim(seed);
        let env = sim.boot();
        sim.run(async {
            let sectors = (256 << 10) / 512;
            let _other = durable(&env, "g", 5, sectors).await;
            let file = durable(&env, "f", 1, sectors).await;
            sim.set_faults(Faults { astray_write: 1_000_000, ..Faults::none() });
            fill(&file, 0, 2, 1).await.unwrap();
            file.sync().await.unwrap();
        })
        .expect_done();
        sim.crash(CrashKind::POWER_CUT);
        if sim.counters().astray_writes == 0 {
            continue; // the place drawn was too near
        }
        hit += 1;
        let (there, meant) = (sim.raw().export(), sim.raw().meant().to_files());
        assert!(there["f"][..512].iter().all(|byte| *byte == 1), "seed {seed}: it missed");
        assert!(meant["f"][..512].iter().all(|byte| *byte == 2), "seed {seed}");
        assert!(meant["g"].iter().all(|byte| *byte == 5), "seed {seed}");
        let strays = |bytes: &[u8]| {
            bytes.chunks(512).filter(|sector| sector.iter().all(|byte| *byte == 2)).count()
        };
        // In the other file nobody syncs it.
        let found = (strays(&there["f"][64 << 10..]), strays(&there["g"]));
        assert!([(1, 0), (0, 1), (0, 0)].contains(&found), "seed {seed}: {found:?}");
    }
    assert!(hit > 10, "{hit} writes went astray");
}

#[test]
fn the_wall_clock_jumps_while_a_boot_lasts_if_it_is_to() {
    let sim = sim(1);
    let clock = sim.boot().clock;
    let (year, mut on, mut back) = (Duration::from_secs(365 * 24 * 3600), false, false);
    sim.set_faults(Faults { wall_jump: 500_000, ..Faults::none() });
    let mut before = clock.wall();
    for _ in 0..100 {
        let now = clock.wall();
        on |= now > before + year;
        back |= now + year < before;
        before = now;
    }
    assert!(on && back && sim.counters().wall_jumps > 20);
    assert_eq!(clock.now(), Duration::ZERO, "the other clock never jumps");
    sim.set_faults(Faults::none());
    assert_eq!(clock.wall(), clock.wall());
}
