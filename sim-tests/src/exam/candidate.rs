//! The copy of the engine with all bugs in it: made, built, and run with one of them awake.
//!
//! What is copied is the whole workspace, as its manifest and its lock describe it; what is built
//! of it is the sweep alone. Files that did not change stay as they are, so that a second exam
//! builds only what it must. Lints do not apply to the copy: bugs need not be tidy.

use std::collections::BTreeMap;
use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::bugs::Bug;
use super::plant::planted;
use super::repository;
use super::sit::Line;
use crate::plan::Mode;

/// What the workspace consists of, for whoever builds it.
const COPIED: [&str; 6] = ["Cargo.toml", "Cargo.lock", "core", "io-real", "io-sim", "sim-tests"];

/// Tells the copy which bug is awake.
const AWAKE: &str = "LOGSTOR_PLANTED_BUG";

/// A seed that takes longer than this, in time of the processor, never ends. Seeds are bounded in
/// their steps, so this is only for a bug that hangs within one; it takes a few milliseconds where
/// nothing is wrong.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Of a machine with other things to do it is asked so often whether it came to the seed at all.
const PATIENCE: u32 = 30;

/// What the copy knows beside the engine.
const SWITCH: &str = "//! Which planted bug is awake.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static AWAKE: OnceLock<u32> = OnceLock::new();
static REACHED: AtomicBool = AtomicBool::new(false);

pub(crate) fn planted(number: u32) -> bool {
    let awake = *AWAKE.get_or_init(|| {
        std::env::var(\"@AWAKE@\").map_or(0, |number| number.parse().expect(\"a number\"))
    });
    if awake == number && !REACHED.swap(true, Ordering::Relaxed) {
        println!(\"reached\");
    }
    awake == number
}
";

/// How the sitting of a bug ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The bug was found.
    Caught(Caught),
    /// No seed failed.
    Passed {
        /// Time of the processor.
        spent: Duration,
        /// One number for all that happened.
        hash: u64,
        /// The place of the bug was come by.
        reached: bool,
    },
    /// The exam itself went wrong.
    Broken(String),
}

/// How a bug was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// The seed that failed.
    pub seed: u64,
    /// Seeds until then, with this one.
    pub seeds: u64,
    /// Time of the processor until then.
    pub spent: Duration,
    /// The first line of the failure.
    pub what: String,
}

/// Makes and builds the copy; gives the program.
pub(super) fn build(bugs: &[Bug]) -> Result<PathBuf, String> {
    let (from, exam) = (repository(), repository().join("target").join("exam"));
    let (sources, target) = (exam.join("sources"), exam.join("build"));
    let failed = |error: io::Error| format!("copying the sources: {error}");
    let mut files = BTreeMap::new();
    for name in COPIED {
        collect(&from, Path::new(name), &mut files).map_err(failed)?;
    }
    let source = |file: &str| {
        let inside = file.starts_with("core/src/");
        let text = files.get(Path::new(file)).filter(|_| inside).cloned();
        let text = text.ok_or_else(|| format!("{file:?} is no source of the engine"))?;
        String::from_utf8(text).map_err(|error| error.to_string())
    };
    let changed = planted(bugs, source).map_err(|error| error.to_string())?;
    files.extend(changed.into_iter().map(|(file, text)| (file.into(), text.into_bytes())));
    let root = files.get_mut(Path::new("core/src/lib.rs")).ok_or("the engine has no root")?;
    root.extend_from_slice(b"\nmod planted;\n");
    let switch = SWITCH.replace("@AWAKE@", AWAKE).into_bytes();
    files.insert("core/src/planted.rs".into(), switch);
    put(&sources, &files).map_err(failed)?;
    compile(&sources, &target)?;
    Ok(target.join("release").join(format!("logstor-sim-tests{EXE_SUFFIX}")))
}

/// Every file under `from`/`path`, by its path.
fn collect(from: &Path, path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    let place = from.join(path);
    if place.is_dir() {
        for entry in fs::read_dir(place)? {
            collect(from, &path.join(entry?.file_name()), files)?;
        }
    } else {
        files.insert(path.to_path_buf(), fs::read(place)?);
    }
    Ok(())
}

/// Makes the folder consist of these files. What is there already is not written again.
fn put(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut there = BTreeMap::new();
    collect(folder, Path::new(""), &mut there)?;
    for gone in there.keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(folder.join(gone))?;
    }
    for (path, bytes) in files.iter().filter(|(path, bytes)| there.get(*path) != Some(bytes)) {
        let place = folder.join(path);
        fs::create_dir_all(place.parent().unwrap_or(folder))?;
        fs::write(place, bytes)?;
    }
    Ok(())
}

fn compile(sources: &Path, target: &Path) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--offline", "-p", "logstor-sim-tests"])
        .arg("--target-dir")
        .arg(target)
        .env("RUSTFLAGS", "--cap-lints allow")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(sources)
        .status();
    match built {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("the copy does not build; the numbers are those of the bugs".into()),
        Err(error) => Err(format!("cargo cannot be run: {error}")),
    }
}

/// Runs the seeds with one bug awake, in a process of its own.
pub(super) fn sit(candidate: &Path, number: u32, seeds: Range<u64>, mode: Mode) -> Ended {
    let mut command = Command::new(candidate);
    command.arg("sit").arg("--seeds").arg(format!("{}..{}", seeds.start, seeds.end));
    match mode {
        Mode::Mixed => {}
        Mode::Full => {
            command.arg("--full");
        }
        Mode::Damage => {
            command.arg("--damage");
        }
    }
    command.env(AWAKE, number.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ended::Broken(format!("{}: {error}", candidate.display())),
    };
    let lines = read_along(&mut child);
    let ended = follow(&lines, seeds.start, || cpu_time(child.id()));
    // It has ended, or is to end now; who cannot be killed is gone.
    let _ = child.kill();
    let _ = child.wait();
    ended
}

fn read_along(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines();
            // Nobody listens any more once the child is given up.
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line)).ok()
        });
    }
    lines
}

/// What a process has had of the processor; `None` where the system does not say.
fn cpu_time(process: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// Listens to a sitting until it ends, in whatever way; `spent`: what it has had of the processor.
fn follow(lines: &Receiver<String>, first: u64, spent: impl Fn() -> Option<Duration>) -> Ended {
    let (mut now, mut before, mut reached) = (None, Duration::ZERO, false);
    let (mut at_last_line, mut asked) = (spent(), 0);
    loop {
        let line = match lines.recv_timeout(HANGS_AFTER) {
            Ok(line) => {
                (at_last_line, asked) = (spent(), 0);
                line.parse()
            }
            Err(RecvTimeoutError::Timeout) => {
                asked += 1;
                let since = spent().zip(at_last_line).map(|(now, then)| now.saturating_sub(then));
                if asked < PATIENCE && since.is_some_and(|since| since < HANGS_AFTER) {
                    continue;
                }
                return died(now, first, before, "it hangs");
            }
            Err(RecvTimeoutError::Disconnected) => {
                return died(now, first, before, "the process ends");
            }
        };
        match line {
            Ok(Line::Begun { seed, spent }) => (now, before) = (Some(seed), spent),
            Ok(Line::Reached) => reached = true,
            Ok(Line::Failed { spent, what }) => return died(now, first, spent, &what),
            Ok(Line::Passed { spent, hash }) => return Ended::Passed { spent, hash, reached },
            Err(()) => {}
        }
    }
}

fn died(seed: Option<u64>, first: u64, spent: Duration, what: &str) -> Ended {
    match seed {
        Some(seed) => {
            Ended::Caught(Caught { seed, seeds: seed + 1 - first, spent, what: what.into() })
        }
        None => Ended::Broken(format!("before any seed: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: impl FnOnce(&Ended) -> bool) {
        let (sender, receiver) = channel();
        for line in lines {
            sender.send((*line).to_owned()).unwrap();
        }
        drop(sender);
        let ended = follow(&receiver, 5, || None);
        assert!(expected(&ended), "{ended:?}");
    }

    fn caught(ended: &Ended, seed: u64, seeds: u64, what: &str) -> bool {
        let Ended::Caught(caught) = ended else { return false };
        (caught.seed, caught.seeds, &*caught.what) == (seed, seeds, what)
    }

    #[test]
    fn whoever_fails_hangs_or_dies_is_caught_in_the_seed_begun_last() {
        check(&["begun 5 0", "begun 6 10", "failed 20 a key"], |it| caught(it, 6, 2, "a key"));
        check(&["begun 5 0", "begun 6 10"], |it| caught(it, 6, 2, "the process ends"));
        check(&[], |it| matches!(it, Ended::Broken(_)));
    }

    #[test]
    fn who_passes_says_whether_the_bug_was_come_by() {
        let passed = |ended: &Ended, was| match ended {
            Ended::Passed { reached, hash: 9, .. } => *reached == was,
            _ => false,
        };
        check(&["begun 5 0", "passed 20 9"], |it| passed(it, false));
        check(&["begun 5 0", "reached", "passed 20 9"], |it| passed(it, true));
    }
}
