//! Measures the engine beside the device it runs on: same file system, same run, turn by turn.
//!
//! ```text
//! cargo run --release --example bench -- [--folder DIR] [--seconds N] [--rounds N]
//!     [--records N] [--only LIST] [--backends LIST] [--json FILE] [--markdown]
//! ```
//!
//! | section | the engine | the device, by fio |
//! |---|---|---|
//! | `synced` | synced puts by 1, 8 and 64 writers | as many jobs, 4 KiB dsync writes in order |
//! | `load` | buffered puts, ending with a flush | 128 KiB writes in order, 4 in flight |
//! | `read` | gets of random keys by 1 to 128 readers | as many jobs, random 4 KiB reads |
//! | `pressure` | synced puts with and without compaction beside them; only when asked for | |
//! | `reopen` | opening after a clean close and after `kill -9`; only when asked for | |
//!
//! Laws of measuring:
//!
//! 1. Both go past the page cache, into files that were written before.
//! 2. They take turns: fio, engine, fio, engine. Of several rounds the median counts. Absolute
//!    figures are this device's in this hour; the ratio is what can be compared.
//! 3. Latency is what a caller sees, CPU is that of the whole process, reads and written bytes are
//!    those of the device.
//!
//! The first load of a store makes its files, which means writing zeros ahead, so that later syncs
//! wait for no metadata. The second one writes into files that are there. Both are shown.
//!
//! Absent on purpose: mixes, skew and other engines; they need hours, and a machine of their own.

mod args;
mod fio;
#[path = "../shared/latencies.rs"]
mod latencies;
mod load;
mod measure;
#[path = "../shared/numbers.rs"]
mod numbers;
#[path = "../shared/place.rs"]
mod place;
mod pressure;
mod read;
mod reopen;
mod report;
mod synced;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::LazyLock;

use logstor::{Backend, Db, Group, Options};

use crate::args::{Args, Section};
use crate::fio::Fio;
use crate::numbers::scramble;
use crate::place::Place;
use crate::report::Report;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes of every value.
const VALUE: usize = 1024;
/// Bytes of key and value together.
const RECORD: u64 = 8 + VALUE as u64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, words @ ..] = &words[..]
        && first == reopen::CHILD
    {
        return exit_code(reopen::run_child(words));
    }
    let args = match Args::parse(words.into_iter()) {
        Ok(args) => args,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    exit_code(measure_all(&args))
}

fn exit_code(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(args: &Args) -> Outcome<()> {
    let place = Place::make(&args.folder, "bench")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let bench = Bench { args, fio: Fio::find(place.path()), place: place.path() };
    let mut report = Report::default();
    let sections = async {
        for section in &args.sections {
            match section {
                Section::Synced => synced::measure(&bench, &mut report).await?,
                Section::Load => load::measure(&bench, &mut report).await?,
                Section::Read => read::measure(&bench, &mut report).await?,
                Section::Pressure => pressure::measure(&bench, &mut report).await?,
                Section::Reopen => reopen::measure(&bench, &mut report)?,
            }
        }
        Ok(())
    };
    let interrupted = async {
        tokio::select! {
            outcome = sections => outcome,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        }
    };
    let outcome: Outcome<()> = runtime.block_on(interrupted);
    drop(runtime);
    outcome?;
    report.print(args);
    if let Some(path) = &args.json {
        fs::write(path, report.json(args))?;
    }
    Ok(())
}

/// What every section needs.
struct Bench<'a> {
    args: &'a Args,
    fio: Option<Fio>,
    place: &'a Path,
}

impl Bench<'_> {
    /// Opens or creates the store of this name.
    async fn open(&self, name: &str, backend: Backend) -> Outcome<Db> {
        let store = logstor::builder(self.place.join(name)).options(Options::default());
        Ok(store.backend(backend).open().await?)
    }

    /// A row's name, which says the backend where there are several.
    fn row(&self, name: &str, backend: Backend) -> String {
        match (self.args.backends.len(), backend) {
            (1, _) | (_, Backend::Auto) => name.to_owned(),
            (_, Backend::Ring) => format!("{name}, ring"),
            (_, Backend::Threads) => format!("{name}, threads"),
        }
    }

    /// Removes a store that is closed.
    fn remove(&self, name: &str) -> Outcome<()> {
        Ok(fs::remove_dir_all(self.place.join(name))?)
    }
}

/// The key of a record.
fn key_of(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The value of a record: its number, and bytes that do not compress. Cheap to make, because the
/// time that it takes is measured too.
fn value_of(number: u64) -> Vec<u8> {
    static REST: LazyLock<Vec<u8>> =
        LazyLock::new(|| (1..).map(scramble).flat_map(u64::to_be_bytes).take(VALUE).collect());
    let mut value = REST.clone();
    value[..8].copy_from_slice(&number.to_be_bytes());
    value
}

/// Waits until what was dropped takes nothing any more. Much of its room went back to the device by
/// then, some of it in whole files.
async fn until_nothing_is_in_use(db: &Db) -> Outcome<()> {
    for _ in 0..600 {
        let segments = db.stats().segments;
        // The records of groups are live, and may lie in one that is sealed.
        if segments.sealed <= 1 && segments.retired == 0 {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(format!("still in use after a minute: {:?}", db.stats().segments).into())
}

/// Makes room in files that are there: fills a group with so many records, and drops it.
async fn make_room(db: &Db, records: u64) -> Outcome<()> {
    let room: Group = db.group("room").await?;
    load::fill(&room, records).await?;
    db.flush().await?;
    db.drop_group("room").await?;
    until_nothing_is_in_use(db).await
}
