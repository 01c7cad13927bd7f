//! The verbs: one file each, or one for a few that belong together.

mod dump;
mod entries;
mod info;
mod inspect;
mod map;
mod numbers;
mod recover;
mod room;
mod segments;
mod verify;
mod write;

use clap::CommandFactory;

use crate::args::{Cli, Verb};
use crate::failure::{Failure, Verdict};
use crate::out::Out;

/// Does what is asked.
pub(crate) async fn run(verb: Verb, out: &mut Out) -> Result<Verdict, Failure> {
    match verb {
        Verb::Info(place) => info::info(&place, out).await,
        Verb::Groups(place) => info::groups(&place, out).await,
        Verb::Get(get) => entries::get(&get, out).await,
        Verb::Put(put) => write::put(&put, out).await,
        Verb::Del(del) => write::del(&del, out).await,
        Verb::Scan(scan) => entries::scan(&scan, out).await,
        Verb::Segments(asked) => segments::segments(&asked, out).await,
        Verb::Stat(place) => numbers::stat(&place, out).await,
        Verb::Inspect(asked) => inspect::inspect(&asked, out),
        Verb::Verify(asked) => verify::verify(&asked, out).await,
        Verb::Dump(asked) => dump::dump(&asked, out).await,
        Verb::Load(asked) => dump::load(&asked, out).await,
        Verb::Compact(asked) => room::compact(&asked, out).await,
        Verb::Resize(asked) => room::resize(&asked, out).await,
        Verb::Recover(asked) => recover::recover(&asked, out).await,
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "logstor", &mut script);
            out.bytes(&script)?;
            Ok(Verdict::Fine)
        }
    }
}
