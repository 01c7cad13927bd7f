//! `logstor`: looks at stores from a shell, and changes them where it is asked to.
//!
//! ```text
//!   arguments ──> verb ──> objects ──> stdout, as text for people or as JSON
//!                  │
//!                  └──> what is to be known beside that ──> stderr
//! ```
//!
//! 1. A verb opens the store to be read and changes nothing on the disk, unless its name says that
//!    it writes. `inspect` opens nothing and reads the files as they are.
//! 2. Data goes to stdout. Everything else goes to stderr: errors, notes, and, if that is a
//!    terminal, the progress of what takes longer than a second.
//! 3. A verb that destroys something says what it would do, and does it with `--yes`.
//! 4. Whoever reads may stop to: a closed pipe ends the tool and is no error.
//!
//! | exit code | meaning |
//! |--:|---|
//! | 0 | it was done |
//! | 1 | it was done, and something is damaged, or what was asked for is not there |
//! | 2 | it cannot be asked like that |
//! | 3 | another process has the store |
//! | 4 | the store cannot be read, or not be written |
//!
//! Absent on purpose: a shell of its own, a server, and configuration files.

mod args;
mod failure;
mod open;
mod out;
mod progress;
mod render;
mod text;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use failure::{Failure, Verdict};
use out::Out;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Out::new(cli.json);
    let done = run(cli, &mut out).and_then(|verdict| out.finish().map(|()| verdict));
    match done {
        Ok(Verdict::Fine) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Ok(Verdict::Findings) => ExitCode::from(1),
        Err(failure) => {
            // What was said before it belongs before it.
            let _ = out.finish();
            eprintln!("logstor: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(cli: Cli, out: &mut Out) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|source| Failure::Io { doing: "starting threads".into(), source });
    runtime?.block_on(verbs::run(cli.verb, out))
}
