//! Mixed load for as long as you like, with a look at the books every second.
//!
//! ```text
//! cargo run --release -p logstor --example soak -- --minutes 60 [--folder DIR] [--live SIZE]
//!     [--workers N] [--groups N] [--seed N] [--bound PERCENT] [--reserve SIZE]
//! ```
//!
//! Every worker has keys of its own in every group and knows what each must hold: it puts values
//! from 16 bytes to 48 KiB, overwrites, deletes and reads them back, writes batches over several
//! groups, and drops a group of its own now and then to create it again, or truncates it.
//!
//! The run fails, with exit code 1 and the store left where it is, as soon as
//!
//! 1. a read gives anything but what was written, or any call an error;
//! 2. the numbers of `stats()` do not add up to the bytes of the files;
//! 3. segments in use take more of the disk than `--bound` allows for what is live, or was within
//!    the last five seconds: what dies at once with a group is given back a moment later;
//! 4. the files take more of the disk, as the file system says, than that and `--reserve`.
//!
//! In the end every key is read, the store closed, opened again, and every key read once more.
//!
//! Absent on purpose: crashes. The simulation has them, and the test `kill` on the real disk.

mod args;
#[path = "../shared/latencies.rs"]
mod latencies;
mod load;
#[path = "../shared/numbers.rs"]
mod numbers;
#[path = "../shared/place.rs"]
mod place;
#[path = "../shared/random.rs"]
mod random;
mod summary;
mod value;
mod watch;
#[path = "../shared/words.rs"]
mod words;

use std::error::Error;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures::future::try_join_all;
use logstor::{Db, Options};

use crate::args::Args;
use crate::load::{Counts, Worker};
use crate::place::Place;
use crate::watch::Watch;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The catalogue takes at most this for each call that concerns a group.
const CATALOGUE_BYTES: u64 = 1024;

fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}; --help says what there is");
            return ExitCode::from(2);
        }
    };
    let place = match Place::make(&args.folder, "soak") {
        Ok(place) => place,
        Err(error) => {
            eprintln!("soak: {}: {error}", args.folder.display());
            return ExitCode::FAILURE;
        }
    };
    match soak(&args, &place.path().join("store")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}\nsoak: the store is left in {}", place.path().display());
            std::mem::forget(place); // dropping it would remove the evidence
            ExitCode::FAILURE
        }
    }
}

fn soak(args: &Args, store: &Path) -> Outcome<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let db = open(args, store).await?;
        let counts = Arc::new(Counts::default());
        let begun = Instant::now();
        let workers = (0..args.workers).map(|number| Worker::new(number, &db, args, &counts));
        let workers = try_join_all(workers).await?;
        let mut watch = Watch::new(&db, store, args, Arc::clone(&counts));
        let workers = tokio::select! {
            worked = work(workers, begun + args.time) => worked?,
            Err(wrong) = watch.run() => return Err(wrong),
        };
        summary::print(&workers, watch.seen(), begun.elapsed())?;
        check_user_bytes(&db, &counts)?;
        check_all(args, store, db, workers).await
    })
}

/// Whether the store counted the records that were written. It counts those of its catalogue too:
/// a few short ones for each call that concerns a group.
fn check_user_bytes(db: &Db, counts: &Counts) -> Outcome<()> {
    let said = db.stats().user_bytes;
    let written = counts.user_bytes.load(Ordering::Relaxed);
    let of_groups = counts.group_calls.load(Ordering::Relaxed) * CATALOGUE_BYTES;
    if (written..=written + of_groups).contains(&said) {
        return Ok(());
    }
    Err(format!("{written} bytes of records were written, not {said}").into())
}

async fn open(args: &Args, store: &Path) -> Outcome<Db> {
    let options = Options { capacity: args.capacity, ..Options::default() };
    Ok(logstor::builder(store).options(options).open().await?)
}

/// Lets all workers work until then, or until somebody interrupts them.
async fn work(workers: Vec<Worker>, until: Instant) -> Outcome<Vec<Worker>> {
    let stop = Arc::new(AtomicBool::new(false));
    let tasks = workers.into_iter().map(|mut worker| {
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                worker.turn().await?;
            }
            Ok(worker)
        })
    });
    let mut all = pin!(try_join_all(tasks));
    let ended: Vec<Outcome<Worker>> = tokio::select! {
        ended = &mut all => ended?,
        _ = tokio::signal::ctrl_c() => {
            stop.store(true, Ordering::Relaxed);
            all.await?
        }
    };
    ended.into_iter().collect()
}

/// Reads every key, closes the store, opens it again, and reads every key once more.
async fn check_all(args: &Args, store: &Path, db: Db, mut workers: Vec<Worker>) -> Outcome<()> {
    try_join_all(workers.iter_mut().map(Worker::check_all)).await?;
    db.close().await?;
    drop(db);
    let begun = Instant::now();
    let db = open(args, store).await?;
    let opened = begun.elapsed();
    try_join_all(workers.iter_mut().map(|worker| worker.enter(&db))).await?;
    let keys: Vec<u64> = try_join_all(workers.iter_mut().map(Worker::check_all)).await?;
    println!(
        "closed and opened again in {:.2} s: all of {} keys are as they were written",
        opened.as_secs_f64(),
        keys.iter().sum::<u64>()
    );
    Ok(db.close().await?)
}
