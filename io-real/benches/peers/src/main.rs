//! logstor beside other embedded stores: the same work, memory and promises, turn by turn.
//!
//! ```text
//!  round 1   load      logstor, fjall, redb, ... each in a process of its own
//!            synced    fjall, redb, ..., logstor
//!            ...
//!  round 2   the same again, in new folders
//! ```
//!
//! Laws of measuring:
//!
//! 1. Engines take turns within each step, and begin at another one in each step. Of several rounds
//!    the median counts, and the lowest and the highest are shown beside it.
//! 2. Every step of every engine is a new process, with what its files have in the page cache
//!    dropped before. So memory, processor time and bytes written are that engine's alone.
//! 3. Where memory is limited ([`step::Step::is_limited`]) the limit holds for everything, page
//!    cache included, and every engine is told of it and divides it as its documentation says.
//! 4. Every read is checked. A step that fails is a row that says so.
//! 5. An engine that blocks gets a thread for each caller, one that does not a task.
//!
//! Absent on purpose: compression (values cannot be compressed), ranges, values of other lengths in
//! one run, and a winner: what each engine promises for a figure stands beside it.

mod args;
mod chart;
mod child;
mod data;
mod engines;
mod limit;
mod meter;
mod parent;
mod report;
mod step;

use std::error::Error;
use std::process::ExitCode;

use crate::args::Args;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_some_and(|word| word == child::CHILD) {
        return exit_code(child::main());
    }
    match Args::parse(words) {
        Ok(args) => exit_code(parent::measure(&args)),
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn exit_code(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}
