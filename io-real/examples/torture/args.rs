//! What the command line says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::{Long, Short, ValueExt};

/// What to run.
pub(crate) struct Args {
    pub(crate) folder: PathBuf,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// Inside a file system image, whose copies are looked at.
    pub(crate) image: bool,
    /// What is left of a store is copied before the next opening changes it.
    pub(crate) copy: bool,
}

const HELP: &str = "\
Kills a process that writes to a store, again and again, and checks what is left of it.

  --minutes N       how long (default 1)
  --folder DIR      where to write (default: target of this checkout)
  --seed N          of all choices (default 1)
  --copy            keep what a kill left until the opening after it has been checked
  --image           inside a file system image that is copied in mid-flight; as root, on Linux
";

impl Args {
    /// Parses the command line; `None` if it only asked for help, which was given.
    pub(crate) fn parse() -> Result<Option<Self>, lexopt::Error> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut args = Self {
            folder: package.parent().unwrap_or(package).join("target"),
            time: Duration::from_secs(60),
            seed: 1,
            image: false,
            copy: false,
        };
        let mut words = lexopt::Parser::from_env();
        while let Some(word) = words.next()? {
            match word {
                Long("minutes") => args.time = words.value()?.parse_with(minutes)?,
                Long("folder") => args.folder = words.value()?.into(),
                Long("seed") => args.seed = words.value()?.parse()?,
                Long("image") => args.image = true,
                Long("copy") => args.copy = true,
                Short('h') | Long("help") => {
                    print!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(args))
    }
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse().ok().filter(|&minutes: &f64| minutes > 0.0);
    let time = minutes.and_then(|minutes| Duration::try_from_secs_f64(minutes * 60.0).ok());
    time.ok_or_else(|| format!("{text:?} is no number of minutes"))
}
