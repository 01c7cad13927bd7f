//! `kill -9` for as long as you like: what was acknowledged stays, what was found stays.
//!
//! ```text
//! cargo run --release -p logstor --example torture -- --minutes 60 [--seed N] [--folder DIR]
//!     [--copy] [--image]
//! ```
//!
//! This program starts itself as a child that puts a store under load, kills it at a random moment,
//! also while it opens or closes the store, and starts the next one on what is left, again and again;
//! `rounds` says what is checked after each death, and how.
//!
//! The load: 12 workers with keys in three shared groups and one of their own; puts and deletes of
//! all durabilities, batches across groups, values of up to 20 quarters of a segment, whole and
//! streamed, futures dropped after some polls, groups dropped, truncated and made again, compaction
//! and separation on demand, another capacity now and then, sometimes too small for the load. Each
//! round draws its options, and whether the page cache is used.
//!
//! The seed decides what is done and when a child dies, as far as that can be said in writes and
//! microseconds; what the machine makes of it differs from run to run. A failure leaves the store
//! where it is and says where; with `--copy` also what the last kill left of it, before the opening
//! that failed.

mod args;
mod image;
mod rounds;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, id};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::rounds::{Kind, Outcome, Run};

/// A line is printed so often.
const REPORT_EVERY: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if let Some(lived) = rounds::run() {
        return if lived.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let args = match Args::parse() {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("torture: {error}; --help says what there is");
            return ExitCode::from(2);
        }
    };
    let kinds = match args.image.then(Kind::all).transpose() {
        Ok(kinds) => kinds,
        Err(missing) => {
            eprintln!("torture: --image: {missing}");
            return ExitCode::from(2);
        }
    };
    let place = args.folder.join(format!("torture-{}", id()));
    let tortured =
        fs::create_dir_all(&place).map_err(Into::into).and_then(|()| torture(&args, &place, kinds));
    match tortured {
        Ok(()) => {
            if let Err(error) = fs::remove_dir_all(&place) {
                eprintln!("torture: {} stays behind: {error}", place.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!(
                "torture: {error}\ntorture: seed {}; the store is left in {}",
                args.seed,
                place.display()
            );
            eprintln!(
                "torture: again: cargo run --release -p logstor --example torture -- --seed {}",
                args.seed
            );
            ExitCode::FAILURE
        }
    }
}

fn torture(args: &Args, place: &Path, kinds: Option<Vec<Kind>>) -> Outcome<()> {
    let (stop, launch) = (interrupted()?, launcher()?);
    match kinds {
        Some(kinds) => image::torture(args, place, &launch, (&kinds, &stop)),
        None => kill(args, place, launch, &stop),
    }
}

/// Kills children on a store in `place` until the time is up or somebody interrupts.
fn kill(
    args: &Args,
    place: &Path,
    launch: Arc<dyn Fn() -> Command + Send + Sync>,
    stop: &AtomicBool,
) -> Outcome<()> {
    let store = place.join("store");
    let mut run = Run::new(launch, &store, args.seed);
    let begun = Instant::now();
    let mut reported = begun;
    while begun.elapsed() < args.time && !stop.load(Ordering::Relaxed) {
        if args.copy {
            copy(&store, &place.join("before"))?;
        }
        run.round()?;
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            println!("{:>6} s: {}", begun.elapsed().as_secs(), run.tally());
        }
    }
    run.last_look()?;
    println!("in {} s: {}", begun.elapsed().as_secs(), run.tally());
    Ok(())
}

/// A command that starts this program as a child; it does not hear what a terminal interrupts.
fn launcher() -> io::Result<Arc<dyn Fn() -> Command + Send + Sync>> {
    use std::os::unix::process::CommandExt;

    let program = env::current_exe()?;
    Ok(Arc::new(move || {
        let mut command = Command::new(&program);
        command.process_group(0);
        command
    }))
}

/// Is set when somebody interrupts this program: the round under way is the last one.
fn interrupted() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (runtime, set) =
        (tokio::runtime::Builder::new_current_thread().enable_all().build()?, Arc::clone(&stop));
    thread::spawn(move || {
        // Where nobody can be heard, nobody interrupts.
        let _ = runtime.block_on(tokio::signal::ctrl_c());
        set.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}

/// What a kill left, kept until the next one.
fn copy(store: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in entries {
        let path: PathBuf = entry?.path();
        if let Some(name) = path.file_name() {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
