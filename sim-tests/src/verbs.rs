//! What the command line does: sweep, replay, shrink, exam.

use std::fmt::Write as _;
use std::fs;
use std::io::IsTerminal;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use logstor_io_sim::Recording;
use logstor_sim_tests::canary;
use logstor_sim_tests::exam::{self, Exam};
use logstor_sim_tests::harness::{Report, Watching, run_plan};
use logstor_sim_tests::plan::{Mode, Plan};
use logstor_sim_tests::shrink::{kind, shrink};
use logstor_sim_tests::story::{chrome, page};
use logstor_sim_tests::sweep::{Summary, Sweep, run};

use crate::arguments::{Replay, What};

/// Runs of one shrinking.
const RUNS_MAX: u64 = 20_000;

pub(crate) fn sweep(what: &Sweep) -> ExitCode {
    let started = Instant::now();
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(what.seeds.end.saturating_sub(what.seeds.start))
    } else {
        ProgressBar::hidden()
    };
    let style = "{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is a constant"));
    let summary = run(what, |report| {
        bar.inc(1);
        if let Some(failure) = &report.failure {
            bar.suspend(|| eprintln!("seed {}: {failure}", report.seed));
        }
    });
    bar.finish_and_clear();
    print!("{summary}");
    let millis = started.elapsed().as_millis().max(1);
    println!("{:<44} {:>14}", "seeds a second", u128::from(summary.seeds) * 1000 / millis);
    if let Some(cpu) = cpu_time() {
        print_rates(&summary, cpu);
    }
    if summary.has_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What one second of a processor is good for.
fn print_rates(summary: &Summary, cpu: Duration) {
    let millis = cpu.as_millis().max(1);
    let rate = |count: u128| count * 1000 / millis;
    let of = |area: &str| {
        let counts = summary.tally.iter().filter(|(what, _)| what.starts_with(area));
        counts.map(|(_, count)| u128::from(count)).sum::<u128>()
    };
    let crashes = of("crashes/power cut") + of("crashes/process kill");
    for (what, number) in [
        ("CPU seconds", cpu.as_secs().into()),
        ("simulated seconds a CPU second", rate(summary.time.as_secs().into())),
        ("crashes a CPU second", rate(crashes)),
        ("faults a CPU second", rate(of("faults/"))),
    ] {
        println!("{what:<44} {number:>14}");
    }
}

/// The time of all processors that this process took, where the system tells.
#[cfg(unix)]
fn cpu_time() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    Some(Duration::new(seconds, nanos))
}

#[cfg(not(unix))]
fn cpu_time() -> Option<Duration> {
    None
}

pub(crate) fn replay(replay: &Replay) -> ExitCode {
    let (plan, name) = match plan_of(&replay.what) {
        Ok(found) => found,
        Err(error) => return wrong(&error),
    };
    let story = replay.chrome.is_some() || replay.page.is_some();
    let recording = if replay.text || story { Recording::All } else { Recording::Off };
    let report = run_plan(plan.clone(), &Watching { recording, story, ..Watching::default() });
    if replay.text {
        report.trace.iter().for_each(|line| println!("{line}"));
    }
    if let Some(told) = &report.story {
        let chrome = replay.chrome.iter().map(|path| (path, chrome::render(told)));
        let page = replay.page.iter().map(|path| (path, page::render(&name, &plan, &report, told)));
        for (path, text) in chrome.chain(page) {
            if let Err(error) = fs::write(path, text) {
                return wrong(&format!("{}: {error}", path.display()));
            }
        }
    }
    println!("trace hash {:016x}", report.trace_hash);
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("{name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn shrink_plan(what: &What, out: &Path) -> ExitCode {
    let (plan, name) = match plan_of(what) {
        Ok(found) => found,
        Err(error) => return wrong(&error),
    };
    let told = |plan: &Plan, runs: u64| {
        let (ops, epochs) = (plan.ops(), plan.epochs.len());
        eprintln!("{runs:>6} runs: {ops} operations in {epochs} epochs");
    };
    let Some(shrunk) = shrink(plan, &Watching::default(), RUNS_MAX, told) else {
        println!("{name} does not fail");
        return ExitCode::SUCCESS;
    };
    let failure = shrunk.report.failure.as_deref().unwrap_or_default();
    if let Err(error) = fs::write(out, remarked(&shrunk.plan, failure)) {
        return wrong(&format!("{}: {error}", out.display()));
    }
    println!("{failure}\n\nsaved as {0}; again: repro {0} --trace", out.display());
    ExitCode::FAILURE
}

pub(crate) fn canary(seeds: Range<u64>, mode: Mode) -> ExitCode {
    let Some(report) = canary::first_found(seeds, mode, 1) else {
        println!("a disk that does no sync was not found out: the sweep is broken");
        return ExitCode::FAILURE;
    };
    let failure = report.failure.unwrap_or_default();
    let what = failure.lines().next().unwrap_or_default();
    println!(
        "a disk that does no sync was found out, as it must be, by seed {}: {what}",
        report.seed
    );
    ExitCode::SUCCESS
}

pub(crate) fn exam(exam: &Exam, markdown: bool) -> ExitCode {
    let sat = match exam::hold(exam, |sat| eprintln!("{}", exam::summary(sat))) {
        Ok(sat) => sat,
        Err(error) => return wrong(&error),
    };
    if markdown {
        print!("{}", exam::markdown(&sat));
    }
    let caught = sat.iter().filter(|sat| sat.is_caught()).count();
    eprintln!("{caught} of {} planted bugs were caught", sat.len());
    let all = caught == sat.len() && caught > 0;
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(crate) fn sit(seeds: Range<u64>, mode: Mode) -> ExitCode {
    let mut failed = false;
    exam::sit(seeds, mode, |line| {
        failed |= matches!(line, exam::Line::Failed { .. });
        println!("{line}");
    });
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The plan, with what happens in it as remarks.
fn remarked(plan: &Plan, failure: &str) -> String {
    let watching = Watching { recording: Recording::All, ..Watching::default() };
    let Report { trace, .. } = run_plan(plan.clone(), &watching);
    let mut text = format!("{plan}\n# {}\n#\n", kind(failure));
    let remark = |text: &mut String, line: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# {line}");
    };
    for line in trace.iter().filter(|line| tells(line)) {
        remark(&mut text, line);
    }
    remark(&mut text, "");
    failure.lines().for_each(|line| remark(&mut text, line));
    text
}

/// Whether a line of the trace is about what was done, and not about how.
fn tells(line: &str) -> bool {
    let what = line.split_once(" us  ").map_or(line, |(_, what)| what);
    let first = what.split_whitespace().next().unwrap_or_default();
    ["op", "epoch", "crash:", "open:", "opened:", "recovered", "close", "closed:", "stopped:"]
        .contains(&first)
}

/// The plan, and what it is called.
fn plan_of(what: &What) -> Result<(Plan, String), String> {
    match what {
        What::Seed(seed, mode) => Ok((Plan::draw(*seed, *mode), format!("seed {seed}"))),
        What::File(path) => load(path).map(|plan| (plan, path.display().to_string())),
    }
}

fn load(path: &Path) -> Result<Plan, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.parse().map_err(|error| format!("{}: {error}", path.display()))
}

fn wrong(what: &str) -> ExitCode {
    eprintln!("{what}");
    ExitCode::from(2)
}
