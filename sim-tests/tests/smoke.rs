//! The smoke sweep: a few hundred seeds, each run twice, and proof that they met what matters.

use logstor_sim_tests::sweep::{Sweep, run};

/// What a sweep that proves anything has done at least once.
const MUST_HAPPEN: [&str; 21] = [
    "crashes/in recovery",
    "crashes/in use",
    "crashes/on a fork",
    "crashes/power cut",
    "crashes/process kill",
    "disk/torn writes",
    "faults/disk full",
    "faults/names",
    "faults/reads",
    "faults/syncs, data dropped",
    "faults/syncs, data kept",
    "faults/writes",
    "marks/a failed write was outlived",
    "marks/buffers made durable",
    "marks/buffers made void",
    "marks/full for a put",
    "marks/group made again",
    "marks/no longer full",
    "marks/recovered less",
    "marks/slot reused",
    "recoveries/from dump",
];

#[test]
fn every_seed_keeps_all_promises_and_runs_the_same_twice() {
    let summary = run(&Sweep { seeds: 0..300, jobs: 2, twice: true }, |_| ());
    assert!(summary.failures.is_empty(), "{summary}");
    for what in MUST_HAPPEN {
        assert!(summary.tally.get(what) > 0, "never happened: {what}\n{summary}");
    }
}
