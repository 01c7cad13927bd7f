//! How long a store takes to open: after a clean close, and after `kill -9`.
//!
//! ```text
//!  this process            children, one after the other
//!  load ─────────────────> put N records, flush, say so, overwrite some until killed
//!  kill -9 ──────────────>
//!  open after kill -9 ───> open, say what it took, close
//!  open after a close ───> open, say what it took, close
//! ```
//!
//! 1. The killed one is a process of its own, and dies in the middle of writing: dropping a store
//!    would let its last writes end, and leave fewer segments open than a crash does.
//! 2. Each opening is a process of its own, so that its peak of memory is the opening's alone, and
//!    nothing that an earlier one read is in its memory. The page cache is passed by.
//! 3. A quarter, a half and all of the records: an opening must grow as they do, and no faster.
//!    And records of 1 KiB, of which an opening must read little.
//!
//! Reads, their bytes and how many are in flight are those of all files, counted where the engine
//! asks for them ([`gauge`]).

mod child;
mod gauge;
mod table;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) use child::{CHILD, run as run_child};
pub(crate) use table::{Opening, rows};

use crate::report::Report;
use crate::{Bench, Outcome};

/// Bytes of a value in the first data sets, and in the last one.
const SHORT: u64 = 100;
const LONG: u64 = 1024;
/// So many fewer records are there of the longer ones.
const FEWER: u64 = 8;

/// Measures the data sets in every round.
pub(crate) fn measure(bench: &Bench<'_>, report: &mut Report) -> Outcome<()> {
    let records = bench.args.reopen_records;
    let short = [records / 4, records / 2, records].map(|records| (records, SHORT));
    let sets = short.into_iter().chain([(records / FEWER, LONG)]);
    for (records, value_len) in sets.filter(|(records, _)| *records > 0) {
        load_and_kill(bench, records, value_len)?;
        for round in 0..bench.args.rounds {
            if round > 0 {
                load_and_kill(bench, 1, value_len)?; // there is no dump any more after that
            }
            for how in ["kill -9", "close"] {
                let said = say(bench, &["open"])?;
                let opening = Opening::parse(&said, (records, value_len), how);
                report.opened(opening.ok_or(format!("no figures of an opening: {said}"))?);
            }
        }
        bench.remove("reopen")?;
    }
    Ok(())
}

/// Has a child fill the store, and kills it while it goes on writing.
fn load_and_kill(bench: &Bench<'_>, records: u64, value_len: u64) -> Outcome<()> {
    let mut child = start(bench, &["load", &records.to_string(), &value_len.to_string()])?;
    let said = first_line(&mut child);
    if said.is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    child.kill()?;
    child.wait()?;
    said.map(|_| ())
}

/// What a child says before it ends.
fn say(bench: &Bench<'_>, what: &[&str]) -> Outcome<String> {
    let mut child = start(bench, what)?;
    let said = first_line(&mut child)?;
    if !child.wait()?.success() {
        return Err("a child failed".into());
    }
    Ok(said)
}

fn start(bench: &Bench<'_>, what: &[&str]) -> Outcome<Child> {
    let store: &Path = &bench.place.join("reopen");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(CHILD).arg(store).args(what).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

fn first_line(child: &mut Child) -> Outcome<String> {
    let output = child.stdout.take().ok_or("a child without output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    if line.is_empty() { Err("a child ended without a word".into()) } else { Ok(line) }
}
