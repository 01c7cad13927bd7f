//! `logstor-sim-tests`: sweeps seeds, replays one, finds the least plan that fails as it does, and
//! holds the exam.
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
        Ok(Command::Shrink { what, out }) => verbs::shrink_plan(&what, &out),
        Ok(Command::Points { seeds, limits }) => enumerate::points(seeds, limits),
        Ok(Command::Canary { seeds, mode }) => verbs::canary(seeds, mode),
        Ok(Command::Exam { exam, markdown }) => verbs::exam(&exam, markdown),
        Ok(Command::Sit { seeds, mode }) => verbs::sit(seeds, mode),
        Err(error) => {
            eprintln!("{error}; --help says what there is");
            ExitCode::from(2)
        }
    }
}
