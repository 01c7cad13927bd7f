//! The smoke sweep: a few hundred seeds, each run twice, and proof that they met what matters.

use logstor_sim_tests::plan::Mode;
use logstor_sim_tests::sweep::{Summary, Sweep, run};

fn check(summary: &Summary) {
    assert!(summary.failures.is_empty(), "{summary}");
    assert!(summary.is_large_enough() && summary.has_passed(), "{summary}");
}

#[test]
fn every_seed_keeps_all_promises_and_runs_the_same_twice() {
    check(&run(&Sweep { seeds: 0..300, jobs: 2, twice: true, mode: Mode::Mixed }, |_| ()));
}

#[test]
fn a_store_that_was_full_returns_to_work() {
    check(&run(&Sweep { seeds: 0..60, jobs: 2, twice: true, mode: Mode::Full }, |_| ()));
}

/// What must be met is proved by longer sweeps.
#[test]
fn damage_gives_the_right_value_or_an_error() {
    let summary = run(&Sweep { seeds: 0..300, jobs: 2, twice: true, mode: Mode::Damage }, |_| ());
    assert!(summary.failures.is_empty(), "{summary}");
}
