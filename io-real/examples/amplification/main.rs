//! Write amplification: bytes that the device gets for each byte of users' records.
//!
//! ```text
//! cargo run --release -p logstor --example amplification -- [--folder DIR] [--markdown]
//!     [--live LIST] [--pattern LIST] [--groups LIST] [--capacity SIZE] [--segment-len SIZE]
//!     [--overwrites N] [--measure N] [--tasks N]
//! ```
//!
//! One cell of the table is one store: it is filled with values of 1 KiB until the given share of
//! its capacity is live, then overwritten, as often as it has keys and that ten times, with keys of
//! the given pattern. What the last of these overwrites cost is the figure.
//!
//! Laws of measuring:
//!
//! 1. The device's side is everything that is written: buffers with their headers, summaries and
//!    padding, copies, seals, erased blocks, marks. The users' side is the records: header, key,
//!    value, padded to eight bytes. A second figure has only keys and values there.
//! 2. The live share is what live records take, with their entries in the summaries, which live and
//!    go with them, over the room that the files have for buffers. Headers, padding, the reserve and
//!    segments that are being filled come out of the rest. Live bytes over bytes of the files, which
//!    is less, is shown beside it.
//! 3. Without `--folder` the disk is memory, completes at once and never fails, the clock counts
//!    what the disk did, and there is one thread: the same figures on every machine.
//!
//! Absent on purpose: speed. The example `bench` measures it.

mod args;
mod cell;
mod memory;
#[path = "../shared/numbers.rs"]
mod numbers;
mod pattern;
#[path = "../shared/place.rs"]
mod place;
#[path = "../shared/random.rs"]
mod random;
mod table;
#[path = "../shared/words.rs"]
mod words;

use std::error::Error;
use std::process::ExitCode;

use logstor::Db;
use tokio::runtime;

use crate::args::Args;
use crate::cell::{Cell, Measured};
use crate::place::Place;
use crate::table::Table;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("amplification: {error}; --help says what there is");
            return ExitCode::from(2);
        }
    };
    let mut table = Table::default();
    for cell in args.cells() {
        let measured = measure(&args, cell);
        table.add(cell, measured.inspect_err(|error| eprintln!("{cell}: {error}")).ok());
    }
    table.print(&args);
    if table.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Measures one cell on a store of its own; an error is what the store refused to go on with.
fn measure(args: &Args, cell: Cell) -> Outcome<Measured> {
    let Some(folder) = &args.folder else {
        let runtime = runtime::Builder::new_current_thread().build()?;
        return runtime.block_on(async {
            let db = Db::open(memory::environment(), args.options()).await?;
            cell.measure(&db, args).await
        });
    };
    let place = Place::make(folder, "amplification")?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = runtime.block_on(async {
        let store = logstor::builder(place.path().join("store")).options(args.options());
        cell.measure(&store.open().await?, args).await
    });
    drop(runtime);
    measured
}
