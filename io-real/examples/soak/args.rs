//! What the command line says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::{Long, Short, ValueExt};

use crate::value::MEAN_LEN;
use crate::words::{count, size};

/// What to run, and what it must hold to.
pub(crate) struct Args {
    pub(crate) folder: PathBuf,
    pub(crate) time: Duration,
    pub(crate) workers: u64,
    pub(crate) groups: u64,
    pub(crate) seed: u64,
    /// About so many bytes of values are live.
    pub(crate) live: u64,
    pub(crate) capacity: Option<u64>,
    /// What segments in use may take, in percent of what is live.
    pub(crate) bound: u64,
    /// What free segments may take of the disk beside that.
    pub(crate) reserve: u64,
}

const HELP: &str = "\
Puts a store on the real disk under mixed load, and checks it every second.

  --minutes N       how long (default 1)
  --folder DIR      where to write (default: target of this checkout)
  --live SIZE       bytes that are live, about (default 512M)
  --workers N       callers at the same time (default 16)
  --groups N        of keys (default 8); each worker has one more, which it drops now and then
  --seed N          of all choices (default 1)
  --capacity SIZE   of the store (default: none)
  --bound PERCENT   that segments in use may take of what is live (default 150)
  --reserve SIZE    that free segments may take of the disk beside that (default 128M)

Sizes are bytes, or have K, M or G behind them.
";

impl Args {
    /// Parses the command line; `None` if it only asked for help, which was given.
    pub(crate) fn parse() -> Result<Option<Self>, lexopt::Error> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut args = Self {
            folder: package.parent().unwrap_or(package).join("target"),
            time: Duration::from_secs(60),
            workers: 16,
            groups: 8,
            seed: 1,
            live: 512 << 20,
            capacity: None,
            bound: 150,
            reserve: 128 << 20,
        };
        let mut words = lexopt::Parser::from_env();
        while let Some(word) = words.next()? {
            match word {
                Long("minutes") => args.time = words.value()?.parse_with(minutes)?,
                Long("folder") => args.folder = words.value()?.into(),
                Long("live") => args.live = words.value()?.parse_with(size)?,
                Long("workers") => args.workers = words.value()?.parse_with(count)?,
                Long("groups") => args.groups = words.value()?.parse_with(count)?,
                Long("seed") => args.seed = words.value()?.parse()?,
                Long("capacity") => args.capacity = Some(words.value()?.parse_with(size)?),
                Long("bound") => args.bound = words.value()?.parse_with(count)?,
                Long("reserve") => args.reserve = words.value()?.parse_with(size)?,
                Short('h') | Long("help") => {
                    print!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(args))
    }

    /// Keys of one worker. A key in seven is deleted at any moment.
    pub(crate) fn slots(&self) -> u64 {
        (self.live / MEAN_LEN * 7 / 6 / self.workers).max(self.groups)
    }
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse().ok().filter(|&minutes: &f64| minutes > 0.0);
    let time = minutes.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
    time.ok_or_else(|| format!("{text:?} is no number of minutes"))
}
