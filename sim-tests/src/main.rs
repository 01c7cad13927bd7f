//! `logstor-sim-tests`: sweeps seeds, or replays one.

use std::io::IsTerminal;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use lexopt::prelude::{Long, Short, ValueExt};
use logstor_io_sim::Recording;
use logstor_sim_tests::harness::run_seed;
use logstor_sim_tests::plan::Mode;
use logstor_sim_tests::sweep::{Sweep, run};

const HELP: &str = "\
Runs the logstor engine on a simulated disk, against a model of its promises.

  --seeds A..B   sweep these seeds (default 0..1000)
  --jobs N       on so many threads (default: all)
  --twice        run every seed twice; both runs must be the same
  --seed N       run one seed
  --trace        and print everything that happened in it
  --full         only stores that are filled until they are full, and relieved
";

enum Command {
    Help,
    Sweep(Sweep),
    Replay { seed: u64, mode: Mode, trace: bool },
}

fn main() -> ExitCode {
    match read_arguments() {
        Ok(Command::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Command::Sweep(what)) => sweep(&what),
        Ok(Command::Replay { seed, mode, trace }) => replay(seed, mode, trace),
        Err(error) => {
            eprintln!("{error}; --help says what there is");
            ExitCode::from(2)
        }
    }
}

fn read_arguments() -> Result<Command, lexopt::Error> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sweep = Sweep { seeds: 0..1000, jobs, twice: false, mode: Mode::Mixed };
    let (mut seed, mut trace) = (None, false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seeds") => sweep.seeds = arguments.value()?.parse_with(range)?,
            Long("jobs") => sweep.jobs = arguments.value()?.parse()?,
            Long("twice") => sweep.twice = true,
            Long("seed") => seed = Some(arguments.value()?.parse()?),
            Long("trace") => trace = true,
            Long("full") => sweep.mode = Mode::Full,
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(match seed {
        Some(seed) => Command::Replay { seed, mode: sweep.mode, trace },
        None => Command::Sweep(sweep),
    })
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parse = || {
        let (start, end) = text.split_once("..")?;
        Some(start.parse().ok()?..end.parse().ok()?)
    };
    parse().ok_or_else(|| format!("{text:?} is no range such as 0..1000"))
}

fn sweep(what: &Sweep) -> ExitCode {
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
    println!("{:<32} {:>14}", "seeds a second", u128::from(summary.seeds) * 1000 / millis);
    if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64, mode: Mode, trace: bool) -> ExitCode {
    let report = run_seed(seed, mode, if trace { Recording::All } else { Recording::Off });
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("trace hash {:016x}", report.trace_hash);
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("seed {seed}: {failure}");
            ExitCode::FAILURE
        }
    }
}
