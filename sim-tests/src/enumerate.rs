//! The verb `points`: scripts, each crashed at all of its points.
//!
//! Absent on purpose: a look at what is found. It is saved as a plan, for `repro` and `shrink`.

use std::fs;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use indicatif::ProgressBar;
use logstor_sim_tests::points::{Found, Limits, Script, Summary, explore};
use logstor_sim_tests::tally::Tally;

/// Scripts of a search from which on everything must have happened.
const ENOUGH: u64 = 4;

pub(crate) fn points(seeds: Range<u64>, limits: Limits) -> ExitCode {
    let (started, bar) = (Instant::now(), ProgressBar::new_spinner());
    let (mut tally, mut scripts, mut failed) = (Tally::default(), 0, false);
    for seed in seeds {
        let summary = explore(&Script::draw(seed), limits, |depth, count| {
            bar.set_message(format!("script {seed}, depth {depth}: {count} points"));
        });
        bar.suspend(|| println!("{summary}"));
        tally.merge(&summary.tally);
        scripts += 1;
        for (found, number) in summary.found.iter().zip(1..) {
            failed = true;
            tell(&summary, found, number);
        }
        if failed {
            break;
        }
    }
    bar.finish_and_clear();
    for (what, count) in tally.iter().filter(|(what, _)| is_told(what)) {
        println!("{what:<32} {count:>14}");
    }
    let never: Vec<&str> = Summary::never(&tally).collect();
    for what in &never {
        println!("{:<32} {what:>14}", "never happened");
    }
    println!("{:<32} {:>14}", "seconds", started.elapsed().as_secs());
    let missed = scripts >= ENOUGH && limits.depth >= 3 && !never.is_empty();
    if failed || missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn is_told(what: &str) -> bool {
    let areas = ["points/", "crashes/", "disk/", "recoveries/", "marks/"];
    areas.iter().any(|area| what.starts_with(area))
}

fn tell(summary: &Summary, found: &Found, number: u32) {
    let (seed, file) = (summary.seed, format!("points-{}-{number}.plan", summary.seed));
    println!("\nscript {seed}, {}:\n{}", found.point, found.failure);
    match fs::write(&file, found.plan.to_string()) {
        Ok(()) => {
            let run = "cargo run --release -p logstor-sim-tests --";
            println!("  again: {run} repro {file} --trace");
            println!("  less:  {run} shrink {file}");
        }
        Err(error) => eprintln!("{file}: {error}"),
    }
}
