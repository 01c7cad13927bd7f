//! What was asked for on the command line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use lexopt::prelude::{Long, Short, Value, ValueExt};
use logstor_sim_tests::exam::{Exam, default_sweep};
use logstor_sim_tests::plan::Mode;
use logstor_sim_tests::points::Limits;
use logstor_sim_tests::sweep::Sweep;

pub(crate) const HELP: &str = "\
Runs the logstor engine on a simulated disk, against a model of its promises.

  [run] [--seeds A..B]   sweep these seeds (default 0..1000)
        [--jobs N]       on so many threads (default: all)
        [--twice]        run every seed twice; both runs must be the same
  replay SEED            run one seed
  shrink SEED or FILE    find the least plan that fails as this seed or saved plan does,
         [--out FILE]    and save it here (default seed-SEED.plan, or least.plan)
  points [--seeds A..B]  small scripts (default 0..4), each crashed at every landing, on all sides,
         [--depth N]     and in the recoveries from there (default 3)
         [--nested N]    at most so many points of each depth from 2 on (default 500)
  repro FILE             run a saved plan
  canary [--seeds A..B]  a disk that lies about syncs must be found out (default 0..20)
  exam  [--seeds A..B]   plant bugs in a copy of the engine; each must be found
        [--jobs N]       so many at the same time
        [--only NAME]    only those with this in their name
        [--markdown]     the table of EXAM.md
  sit   [--seeds A..B]   run seeds in order until one fails, and say each

  --full                 run, replay, shrink: stores that are filled until they are full
  --damage               the same: disks that damage what they hold and say nothing

For replay and repro:
  --trace                print everything that happened
  --trace FILE.json      or save it for Perfetto (the trace event format)
  --html FILE            save a page: lanes, segment map, curves, what failed
";

/// What to run again.
pub(crate) enum What {
    Seed(u64, Mode),
    File(PathBuf),
}

/// One run, and what to make of it.
pub(crate) struct Replay {
    pub(crate) what: What,
    /// Print all lines of the trace.
    pub(crate) text: bool,
    /// Save it in the trace event format.
    pub(crate) chrome: Option<PathBuf>,
    /// Save it as a page.
    pub(crate) page: Option<PathBuf>,
}

pub(crate) enum Command {
    Help,
    Sweep(Sweep),
    Replay(Replay),
    Shrink { what: What, out: PathBuf },
    Points { seeds: Range<u64>, limits: Limits },
    Canary { seeds: Range<u64>, mode: Mode },
    Exam { exam: Exam, markdown: bool },
    Sit { seeds: Range<u64>, mode: Mode },
}

#[derive(Default)]
struct Given {
    words: Vec<String>,
    seed: Option<u64>,
    mode: Mode,
    text: bool,
    chrome: Option<PathBuf>,
    page: Option<PathBuf>,
    out: Option<PathBuf>,
    seeds: Option<Range<u64>>,
    jobs: Option<usize>,
    twice: bool,
    depth: Option<usize>,
    nested: Option<u64>,
    only: Option<String>,
    markdown: bool,
}

pub(crate) fn read() -> Result<Command, lexopt::Error> {
    let mut given = Given::default();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seeds") => given.seeds = Some(arguments.value()?.parse_with(range)?),
            Long("jobs") => given.jobs = Some(arguments.value()?.parse()?),
            Long("twice") => given.twice = true,
            Long("depth") => given.depth = Some(arguments.value()?.parse()?),
            Long("nested") => given.nested = Some(arguments.value()?.parse()?),
            Long("only") => given.only = Some(arguments.value()?.string()?),
            Long("markdown") => given.markdown = true,
            Long("seed") => given.seed = Some(arguments.value()?.parse()?),
            Long("trace") => match file_behind(&mut arguments) {
                Some(file) => given.chrome = Some(file),
                None => given.text = true,
            },
            Long("html") => given.page = Some(arguments.value()?.into()),
            Long("full") => given.mode = Mode::Full,
            Long("damage") => given.mode = Mode::Damage,
            Long("out") => given.out = Some(arguments.value()?.into()),
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(word) => given.words.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    given.command()
}

impl Given {
    fn command(self) -> Result<Command, lexopt::Error> {
        let mode = self.mode;
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let (chrome, page) = (self.chrome.clone(), self.page.clone());
        let replay = |what| Command::Replay(Replay { what, text: self.text, chrome, page });
        Ok(match (&words[..], self.seed) {
            ([] | ["replay"], Some(seed)) => replay(What::Seed(seed, mode)),
            ([] | ["run"], None) => Command::Sweep(self.sweep(mode)),
            (["canary"], None) => Command::Canary { seeds: self.seeds.unwrap_or(0..20), mode },
            (["exam"], None) => Command::Exam { exam: self.exam(), markdown: self.markdown },
            (["sit"], None) => {
                Command::Sit { seeds: self.seeds.unwrap_or_else(|| default_sweep(mode)), mode }
            }
            (["replay", seed], None) => replay(What::Seed(number(seed)?, mode)),
            (["repro", file], None) => replay(What::File(file.into())),
            (["points"], None) => self.points(),
            (["shrink", what], None) => {
                let (what, name) = match what.parse() {
                    Ok(seed) => (What::Seed(seed, mode), format!("seed-{seed}.plan")),
                    Err(_) => (What::File(what.into()), "least.plan".into()),
                };
                Command::Shrink { what, out: self.out.unwrap_or_else(|| name.into()) }
            }
            (words, _) => return Err(format!("{:?} is nothing to do", words.join(" ")).into()),
        })
    }

    fn points(&self) -> Command {
        let (depth, nested) = (self.depth.unwrap_or(3), self.nested.unwrap_or(500));
        let limits = Limits { depth, nested, jobs: self.jobs.unwrap_or_else(cores) };
        Command::Points { seeds: self.seeds.clone().unwrap_or(0..4), limits }
    }

    fn exam(&self) -> Exam {
        let (only, seeds) = (self.only.clone(), self.seeds.clone());
        Exam { only, seeds, jobs: self.jobs.unwrap_or_else(cores) }
    }

    fn sweep(&self, mode: Mode) -> Sweep {
        Sweep {
            seeds: self.seeds.clone().unwrap_or(0..1000),
            jobs: self.jobs.unwrap_or_else(cores),
            twice: self.twice,
            mode,
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The next argument, if it names a file of a trace: `--trace` alone means text.
fn file_behind(arguments: &mut lexopt::Parser) -> Option<PathBuf> {
    let mut rest = arguments.try_raw_args()?;
    let file =
        |argument: &std::ffi::OsStr| Path::new(argument).extension() == Some("json".as_ref());
    rest.next_if(file).map(PathBuf::from)
}

fn number(text: &str) -> Result<u64, lexopt::Error> {
    text.parse().map_err(|_| format!("{text:?} is no seed").into())
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parse = || {
        let (start, end) = text.split_once("..")?;
        Some(start.parse().ok()?..end.parse().ok()?)
    };
    parse().ok_or_else(|| format!("{text:?} is no range such as 0..1000"))
}
