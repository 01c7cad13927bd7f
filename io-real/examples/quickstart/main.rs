//! A tour of the engine in under a minute: a source tree in a store, and a `kill -9` that it
//! survives.
//!
//! ```text
//! cargo run --release --example quickstart -- [FOLDER]
//! ```
//!
//! | part | what happens | what is proved |
//! |--:|---|---|
//! | 1 | every file of FOLDER goes into a store, synced, and comes back | the bytes are equal |
//! | 2 | some files are overwritten, some deleted | the newest version is what is read |
//! | 3 | this program starts itself as a child, which is killed while it writes | below |
//! | 4 | the store is closed and opened again | what it holds does not depend on the crash |
//!
//! Part 3: the child writes through several tasks at once and says which writes were acknowledged;
//! after the kill each of those is there, with its value, and nothing is there that was not
//! written.
//!
//! The store lies in `target/quickstart-PID`, on a real disk rather than in memory, or in the
//! system's temporary folder if there is no such place. It is removed at the end.

mod crash;
mod files;
mod show;
mod tree;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::{Duration, Instant};

use bytes::Bytes;
use logstor::{Db, RecoveryReport};

use crate::crash::{Acknowledged, Found};
use crate::files::Files;
use crate::show::{count, line, part, rate, size, time};
use crate::tree::Tree;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// One file of so many is overwritten, or deleted.
const OVERWRITE_EVERY: usize = 3;
const DELETE_EVERY: usize = 7;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["-h" | "--help"] | [_, _, _, ..] => {
            println!("usage: quickstart [FOLDER]");
            return ExitCode::SUCCESS;
        }
        [crash::CHILD, store] => crash::write_until_killed(Path::new(store)).await,
        [folder] => tour_or_interrupt(PathBuf::from(folder)).await,
        _ => tour_or_interrupt(checkout()).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The folder that this program was built from.
fn checkout() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

async fn tour_or_interrupt(folder: PathBuf) -> Outcome<()> {
    let place = Place::make()?;
    tokio::select! {
        outcome = tour(&folder, &place.0) => outcome,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

/// The folder of the store; removed when this goes.
struct Place(PathBuf);

impl Place {
    fn make() -> Outcome<Self> {
        let name = format!("quickstart-{}", process::id());
        let beside = checkout().join("target").join(&name);
        if fs::create_dir_all(&beside).is_ok() {
            return Ok(Self(beside));
        }
        let elsewhere = env::temp_dir().join(name);
        fs::create_dir_all(&elsewhere)?;
        Ok(Self(elsewhere))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("quickstart: {} stays behind: {error}", self.0.display());
        }
    }
}

async fn tour(folder: &Path, store: &Path) -> Outcome<()> {
    let mut tree = tree::read(folder)?;
    if tree.files.is_empty() {
        return Err(format!("there are no files in {}", folder.display()).into());
    }
    let db = logstor::open(store).await?;
    println!("The store is {}.", store.display());
    let info = db.stats().storage;
    let way = if info.direct { "past the page cache (O_DIRECT)" } else { "through the page cache" };
    println!("Reads and writes go {way}; every write is synced to the device.");

    store_and_read_back(&db, &tree, folder).await?;
    change(&db, &mut tree).await?;
    db.close().await?;
    drop(db);

    let acknowledged = kill(store).await?;
    let db = logstor::open(store).await?;
    show_recovery(db.recovery_report());
    let found = check_everything(&db, &tree, &acknowledged).await?;
    show_check(&tree, &acknowledged, &found);
    show_space(&db);
    db.close().await?;
    drop(db);

    part("4", "Close, and open again");
    let db = logstor::open(store).await?;
    let report = db.recovery_report();
    let from = if report.from_dump { "from the dump of the close" } else { "without a dump" };
    line("opened", &format!("in {} {from}: {} keys", time(report.took), count(report.keys)));
    let again = check_everything(&db, &tree, &acknowledged).await?;
    if again != found {
        return Err("what was found after the kill has changed".into());
    }
    line("check", "every key and every byte as before");
    db.close().await?;
    Ok(())
}

async fn store_and_read_back(db: &Db, tree: &Tree, folder: &Path) -> Outcome<()> {
    part("1", &format!("Store every file of {}", folder.display()));
    let files = Files::open(db).await?;
    let start = Instant::now();
    files.store_all(&tree.files).await?;
    line("stored", &how_much(tree, start.elapsed()));
    let start = Instant::now();
    files.compare_all(&tree.files).await?;
    line("read back", &format!("{}; all bytes equal", how_much(tree, start.elapsed())));
    if tree.left_out > 0 {
        line("left out", &format!("{} files: unreadable, or too much", count(tree.left_out)));
    }
    if tree.files.iter().any(|file| files.is_cut(&file.content)) {
        line("", &format!("files over {} were cut into pieces", size(files.piece_len())));
    }
    Ok(())
}

fn how_much(tree: &Tree, took: Duration) -> String {
    let (files, bytes) = (tree.files.len() as u64, tree.bytes());
    let speed = format!("{} files/s, {}/s", count(rate(files, took)), size(rate(bytes, took)));
    format!("{} files, {} in {} ({speed})", count(files), size(bytes), time(took))
}

/// Overwrites some files and deletes others, in the store and in `tree`.
async fn change(db: &Db, tree: &mut Tree) -> Outcome<()> {
    part("2", "Overwrite some, delete some");
    let files = Files::open(db).await?;
    let mut numbered: Vec<_> = tree.files.drain(..).enumerate().collect();
    let deleted: Vec<_> =
        numbered.extract_if(.., |(number, _)| *number % DELETE_EVERY == 1).collect();
    for (_, file) in &deleted {
        files.remove(&file.path).await?;
    }
    let mut overwritten = Vec::new();
    for (_, file) in numbered.iter_mut().filter(|(number, _)| number % OVERWRITE_EVERY == 0) {
        let longer = [&file.content[..], b"\nThe last line was added by the quickstart.\n"];
        file.content = Bytes::from(longer.concat());
        overwritten.push(file.clone());
    }
    files.store_all(&overwritten).await?;
    tree.files = numbered.into_iter().map(|(_, file)| file).collect();

    files.compare_all(&tree.files).await?;
    for (_, file) in &deleted {
        if files.load(&file.path).await?.is_some() {
            return Err(format!("{} was deleted and is there", file.name()).into());
        }
    }
    let (overwritten, deleted) = (overwritten.len() as u64, deleted.len() as u64);
    line("changed", &format!("{} overwritten, {} deleted", count(overwritten), count(deleted)));
    line("read back", "the newest bytes of all, and none of the deleted");
    show_space(db);
    Ok(())
}

fn show_space(db: &Db) {
    let stats = db.stats();
    line(
        "space",
        &format!(
            "{} keys, {} live; files {}, zeroed ahead of need; index {}",
            count(stats.keys),
            size(stats.live_bytes),
            size(stats.file_bytes),
            size(stats.index_bytes)
        ),
    );
}

async fn kill(store: &Path) -> Outcome<Acknowledged> {
    part("3", "Kill -9 in the middle of synced writes");
    let store = store.to_path_buf();
    let run = tokio::task::spawn_blocking(move || crash::kill_a_child(&store)).await??;
    let speed = rate(run.acknowledged.total(), run.took);
    line(
        "child",
        &format!(
            "{} writers, {} writes acknowledged in {} ({}/s), then SIGKILL",
            crash::WRITERS,
            count(run.acknowledged.total()),
            time(run.took),
            count(speed)
        ),
    );
    Ok(run.acknowledged)
}

fn show_recovery(report: &RecoveryReport) {
    line(
        "recovery",
        &format!(
            "{}: {} read from {} segments, {} records",
            time(report.took),
            size(report.bytes_read),
            count(report.segments_read),
            count(report.records_kept)
        ),
    );
    if report.buffers_voided + report.buffers_made_durable > 0 {
        let (durable, void) = (report.buffers_made_durable, report.buffers_voided);
        line("", &format!("of buffers under way, {durable} made durable and {void} void"));
    }
}

/// Checks every key of the store: the files, what the child wrote, and that there is nothing else.
async fn check_everything(db: &Db, tree: &Tree, acknowledged: &Acknowledged) -> Outcome<Found> {
    let found = crash::check(db, acknowledged).await?;
    let files = Files::open(db).await?;
    files.compare_all(&tree.files).await?;
    let expected = files.keys_of(&tree.files) + found.keys;
    let keys = db.stats().keys;
    if keys != expected {
        return Err(format!("the store has {keys} keys; {expected} were written").into());
    }
    Ok(found)
}

fn show_check(tree: &Tree, acknowledged: &Acknowledged, found: &Found) {
    let (kept, writers) = (found.beyond, u64::from(crash::WRITERS));
    line("check", &format!("all {} acknowledged writes are there", count(acknowledged.total())));
    let rest = writers - kept;
    line(
        "",
        &format!("of {writers} writes cut off by the kill: {kept} there, whole; {rest} not there"),
    );
    line("", &format!("{} files are as they were, byte for byte", count(tree.files.len() as u64)));
}
