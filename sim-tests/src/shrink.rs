//! The least plan that fails in the same way.
//!
//! ```text
//!   plan that fails ──> one thing less ── fails in the same way? ──> that is the plan now
//!                            ^                    │ no                    │
//!                            └── another thing ───┴───────────────────────┘
//! ```
//!
//! 1. Every step leaves out or lessens one thing; what it gives is again a plan, run from nothing.
//! 2. A step is taken only if the run fails with the same [`kind`] of violation.
//! 3. Large steps come first: epochs, clients, halves and quarters of operations, then faults,
//!    crashes and forks, then lengths; and again from the start, until no step is left.
//! 4. What a smaller plan no longer meets in the schedule of the old one it may meet in another:
//!    each step is tried in a few worlds.
//!
//! Absent on purpose: cleverness about the cause. A step is judged by its run alone.

mod steps;

use crate::harness::{Report, Watching, run_plan};
use crate::plan::Plan;

/// Worlds in which a step is tried.
const WORLDS: u64 = 4;

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The least plan that was found.
    pub plan: Plan,
    /// How it fails.
    pub report: Report,
    /// Plans that were run.
    pub runs: u64,
}

/// Shrinks a plan that fails, with at most so many runs; `None` if it does not fail. `progress`
/// is told after each step that was taken.
pub fn shrink(
    plan: Plan,
    watching: &Watching,
    runs_max: u64,
    progress: impl Fn(&Plan, u64),
) -> Option<Shrunk> {
    let report = run_plan(plan.clone(), watching);
    let kind = kind(report.failure.as_deref()?);
    let mut search = Search { plan, report, kind, watching, runs: 1, runs_max };
    loop {
        let before = search.taken_in_a_round(&progress);
        if before == 0 || search.is_over() {
            break;
        }
    }
    Some(Shrunk { plan: search.plan, report: search.report, runs: search.runs })
}

/// What kind of violation a failure is: its first words, without numbers and names.
#[must_use]
pub fn kind(failure: &str) -> String {
    let failure = failure.trim_start_matches("on a fork: ");
    let failure = match failure.strip_prefix("in shadow ") {
        Some(shadow) => shadow.split_once(": ").map_or(shadow, |(_, what)| what),
        None => failure,
    };
    if let Some(panic) = failure.strip_prefix("panic at ") {
        // The place says it all.
        return format!("panic at {}", panic.split(": ").next().unwrap_or(panic));
    }
    let line = failure.lines().next().unwrap_or_default();
    // Every other part is a name.
    let unnamed: String = line.split('"').step_by(2).collect();
    let kind =
        unnamed.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()).map(|word| {
            let number = word.contains(|letter: char| letter.is_ascii_digit());
            let end = word.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric());
            if number { format!("#{end}") } else { word.to_owned() }
        });
    let kind: String = kind.collect();
    kind.split_whitespace().take(12).collect::<Vec<_>>().join(" ")
}

struct Search<'a> {
    // Invariant: `report` is that of `plan`, and fails as `kind` says.
    plan: Plan,
    report: Report,
    kind: String,
    watching: &'a Watching,
    runs: u64,
    runs_max: u64,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.runs >= self.runs_max
    }

    /// Tries every step once; how many were taken.
    fn taken_in_a_round(&mut self, progress: &impl Fn(&Plan, u64)) -> u64 {
        let mut taken = 0;
        for step in steps::ALL {
            let mut place = 0;
            // After a step that was taken the next thing is in its place.
            while let Some(changed) = step(&self.plan, place) {
                if self.is_over() {
                    return taken;
                }
                if self.try_one(&changed) {
                    taken += 1;
                    progress(&self.plan, self.runs);
                } else {
                    place += 1;
                }
            }
        }
        taken
    }

    fn try_one(&mut self, changed: &Plan) -> bool {
        let first = changed.world;
        for more in 0..WORLDS {
            let changed = Plan { world: first.wrapping_add(more), ..changed.clone() };
            let report = run_plan(changed.clone(), self.watching);
            self.runs += 1;
            if report.failure.as_deref().is_some_and(|failure| kind(failure) == self.kind) {
                (self.plan, self.report) = (changed, report);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use logstor_io_sim::Recording;

    use super::*;
    use crate::model::{Change, Record};
    use crate::plan::Mode;

    /// Wrong where the store is right: a key that was deleted is put again.
    fn put_after_delete(history: &[Record]) -> Option<String> {
        let (last, before) = history.split_last()?;
        let Change::Put { group, key, .. } = last.change else { return None };
        let deleted = Change::Delete { group, key };
        let at = before.iter().position(|record| record.change == deleted)?;
        Some(format!("key {key} was deleted as record {at} and put as {}", before.len()))
    }

    #[test]
    fn a_planted_failure_shrinks_to_a_few_operations() {
        let watching = Watching { canary: Some(put_after_delete), ..Watching::default() };
        for seed in [3, 8] {
            let plan = Plan::draw(seed, Mode::Mixed);
            let shrunk = shrink(plan, &watching, 3000, |_, _| ()).expect("the canary fails");
            assert!(shrunk.plan.ops() <= 4, "{}\n{:?}", shrunk.plan, shrunk.report.failure);
            assert_eq!(shrunk.plan.epochs.len(), 1);
            assert!(shrunk.plan.is_faultless());
            let read: Plan = shrunk.plan.to_string().parse().unwrap();
            let again = run_plan(read, &watching);
            assert_eq!(again.trace_hash, shrunk.report.trace_hash);
            assert_eq!(again.failure, shrunk.report.failure);
        }
    }

    #[test]
    fn damage_that_a_failure_does_not_need_is_left_out() {
        let watching = Watching { canary: Some(put_after_delete), ..Watching::default() };
        let plans = (0..).map(|seed| Plan::draw(seed, Mode::Damage));
        let mut wounded = plans
            .filter(|plan| plan.damage.as_ref().is_some_and(|damage| damage.wounds.len() == 2));
        let shrunk = wounded.find_map(|plan| shrink(plan, &watching, 3000, |_, _| ()));
        let shrunk = shrunk.expect("some seed puts what was deleted");
        assert_eq!(shrunk.plan.damage, Some(crate::plan::Damage::default()));
    }

    #[test]
    fn a_plan_that_does_not_fail_is_not_shrunk() {
        let plan = Plan::draw(1, Mode::Mixed);
        assert!(shrink(plan, &Watching::default(), 100, |_, _| ()).is_none());
    }

    #[test]
    fn a_saved_plan_runs_as_its_seed_does() {
        let recorded = Watching { recording: Recording::Last(1), ..Watching::default() };
        for (mode, seeds) in [(Mode::Mixed, 0..30), (Mode::Full, 0..6)] {
            for seed in seeds {
                let plan: Plan = Plan::draw(seed, mode).to_string().parse().unwrap();
                let saved = run_plan(plan, &recorded);
                let drawn = crate::harness::run_seed(seed, mode, Recording::Off);
                assert_eq!(saved.trace_hash, drawn.trace_hash, "seed {seed}, {mode:?}");
                assert_eq!(saved.failure, drawn.failure);
            }
        }
    }

    #[test]
    fn kinds_forget_numbers_and_names_and_keep_what_went_wrong() {
        let a = kind("op 12 read from group 3, which was dropped");
        assert_eq!(a, kind("on a fork: op 7 read from group 14, which was dropped"));
        assert_ne!(a, kind("op 12 is done with 3 records of 4"));
        assert_eq!(kind("group \"a\" was given as id 3"), kind("group \"b\" was given as id 4"));
        assert_eq!(kind("key 7f41c of group 3 is gone"), kind("key d0 of group 12 is gone"));
        assert_eq!(kind("panic at core/src/log.rs:12:5: 3 < 2"), "panic at core/src/log.rs:12:5");
    }
}
