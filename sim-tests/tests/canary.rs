//! A disk that lies must be found out, however seldom it does: else a sweep that passes is worth
//! nothing.

use logstor_sim_tests::canary::first_found;
use logstor_sim_tests::harness::{Watching, run_plan};
use logstor_sim_tests::plan::{Mode, Plan};

/// Seeds in which a lie about every `every`th sync is found out.
fn check(mode: Mode, every: u64, seeds: u64) {
    let found = first_found(0..seeds, mode, every);
    assert!(found.is_some(), "{seeds} seeds and nobody notices one sync of {every} undone");
}

#[test]
fn syncs_that_are_not_done_are_found_out() {
    check(Mode::Mixed, 1, 20);
    check(Mode::Mixed, 10, 50);
    check(Mode::Mixed, 100, 200);
}

#[test]
fn who_does_not_lie_is_not_blamed() {
    let honest = Watching { syncs_left_undone: Some(u64::MAX), ..Watching::default() };
    for seed in 0..20 {
        let report = run_plan(Plan::draw(seed, Mode::Mixed), &honest);
        let plain = run_plan(Plan::draw(seed, Mode::Mixed), &Watching::default());
        assert_eq!(report.failure, None, "seed {seed}");
        assert_eq!(report.trace_hash, plain.trace_hash, "seed {seed}");
    }
}
