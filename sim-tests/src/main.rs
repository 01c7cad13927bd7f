//! `logstor-sim-tests`: sweeps seeds, replays one, finds the least plan that fails as it does.
//!
//! Absent on purpose: anything that a test could want; that is in the library.

mod arguments;
mod enumerate;
mod verbs;

use std::process::ExitCode;

use crate::arguments::Command;

fn main() -> ExitCode {
    match arguments::read() {
        Ok(Command::Help) => {
            print!("{}", arguments::HELP);
            ExitCode::SUCCESS
        }
        Ok(Command::Sweep(what)) => verbs::sweep(&what),
        Ok(Command::Replay(replay)) => verbs::replay(&replay),
        Ok(Command::Shrink { seed, mode, out }) => verbs::shrink_seed(seed, mode, &out),
        Ok(Command::Points { seeds, limits }) => enumerate::points(seeds, limits),
        Err(error) => {
            eprintln!("{error}; --help says what there is");
            ExitCode::from(2)
        }
    }
}
