//! Crash points, all of them, of one small script; and recovery in the shadow of a run.

use logstor_io_sim::Recording;
use logstor_sim_tests::harness::{Report, Watching, run_plan};
use logstor_sim_tests::ops::{KINDS, Kind};
use logstor_sim_tests::plan::{End, Mode, Numbers, Opening, Part, Plan};
use logstor_sim_tests::points::{LANDINGS_MAX, Limits, Place, Script, Summary, explore};
use logstor_sim_tests::tally::Tally;

/// Two uses of a few puts, deletes and batches: one that is flushed, and one that is closed.
fn small_script(ops: u64) -> Script {
    let mut plan = Plan::draw(2, Mode::Mixed);
    plan.faults = logstor_io_sim::Faults::none();
    (plan.large, plan.shadows) = (None, None);
    plan.options.capacity = None;
    plan.groups.truncate(2);
    plan.mix.dropped = 0;
    plan.mix.durability = [1, 1, 2, 0];
    let kinds = [(Kind::Put, 4), (Kind::Delete, 2), (Kind::Batch, 2), (Kind::Compact, 1)];
    for (kind, weight) in KINDS.iter().zip(&mut plan.mix.kinds) {
        *weight = kinds.iter().find(|(other, _)| other == kind).map_or(0, |(_, weight)| *weight);
    }
    plan.epochs.truncate(2);
    plan.last = Opening::default();
    for (epoch, end) in plan.epochs.iter_mut().zip([End::FlushThenCrash, End::CloseThenCrash]) {
        (epoch.opening, epoch.again, epoch.fork) = (Opening::default(), None, None);
        (epoch.stop, epoch.end, epoch.close_early) = (None, end, false);
        epoch.clients = vec![Part { client: 0, ops: Numbers::below(ops) }];
    }
    Script::of(plan)
}

fn check(summary: &Summary) {
    let failures: Vec<String> = summary
        .found
        .iter()
        .map(|found| format!("{}: {}\n{}", found.point, found.failure, found.plan))
        .collect();
    assert!(failures.is_empty(), "{summary}\n{}", failures.join("\n"));
    assert_eq!(summary.not_reached, 0, "{summary}");
}

#[test]
fn a_script_survives_a_crash_at_each_of_its_points() {
    let limits = Limits { depth: 3, nested: 600, jobs: 2 };
    let summary = explore(&small_script(3), limits, |_, _| ());
    check(&summary);
    println!("{summary}");
    let depths = &summary.depths;
    assert!(summary.landings >= 60, "{summary}");
    assert_eq!(depths[0].visited, summary.landings * 12, "every landing, three sides, four ways");
    assert_eq!(depths[0].of, depths[0].visited);
    assert!(depths[1].visited == 600 && depths[1].of > 5000, "{summary}");
    assert!(depths[2].visited == 600 && depths[2].of > 5000, "{summary}");
    // So few operations use no slot again.
    let never: Vec<&str> = Summary::never(&summary.tally).collect();
    let reuse = ["marks/slot erased", "marks/slot reused"];
    assert!(never.iter().all(|what| reuse.contains(what)), "never happened: {never:?}");
}

#[test]
fn a_short_use_survives_crashes_at_all_pairs_of_points_in_it_and_in_its_recovery() {
    let script = small_script(1).within(|place| place == Place::Use(0));
    let summary = explore(&script, Limits { depth: 2, nested: u64::MAX, jobs: 2 }, |_, _| ());
    check(&summary);
    println!("{summary}");
    assert!(summary.landings >= 6, "{summary}");
    assert_eq!(summary.depths[1].visited, summary.depths[1].of);
    assert!(summary.depths[1].of > 5000, "{summary}");
}

#[test]
fn scripts_have_operations_and_not_too_many_landings() {
    let mut landings = 0;
    for seed in 0..20 {
        let script = Script::draw(seed);
        assert_eq!(script.failure(), None, "script {seed}");
        let count: u64 = script.places().iter().map(|&(_, count)| count).sum();
        assert!((20..=LANDINGS_MAX).contains(&count), "script {seed}: {count}");
        assert!(script.plan().ops() > 0);
        landings += count;
    }
    assert!(landings > 20 * 60, "{landings}");
}

fn with_shadows(seed: u64, shadows: Option<u64>) -> Report {
    let watching = Watching { recording: Recording::Last(1), ..Watching::default() };
    run_plan(Plan { shadows, ..Plan::draw(seed, Mode::Mixed) }, &watching)
}

#[test]
fn a_run_is_the_same_with_and_without_shadows() {
    let mut tally = Tally::default();
    for seed in 0..40 {
        let (plain, watched) = (with_shadows(seed, None), with_shadows(seed, Some(20)));
        assert_eq!(watched.failure, None, "seed {seed}");
        assert_eq!(plain.failure, None, "seed {seed}");
        assert_eq!(plain.trace_hash, watched.trace_hash, "seed {seed}");
        assert_eq!(plain.time, watched.time);
        tally.merge(&watched.tally);
    }
    assert!(tally.get("shadows/recovered") > 300, "{tally:?}");
    assert!(tally.get("shadows/recovered less") > 20, "{tally:?}");
}
