//! What came of an exam, for people: a line each, or the table of `EXAM.md`.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Ended, Sat};
use crate::plan::Mode;
use crate::shrink::kind;

impl Sat {
    /// Whether the bug was found.
    #[must_use]
    pub fn is_caught(&self) -> bool {
        matches!(self.ended, Ended::Caught(_))
    }
}

/// One line for a bug.
#[must_use]
pub fn summary(sat: &Sat) -> String {
    let name = &sat.bug.name;
    match &sat.ended {
        Ended::Caught(caught) => {
            let (seeds, spent) = (caught.seeds, seconds(caught.spent));
            format!("{seeds:>6} seeds {spent:>8} s  {name}: {}", caught.what)
        }
        Ended::Passed { spent, reached, .. } => {
            let why = if *reached { "" } else { ", its place was never come by" };
            format!("   NOT CAUGHT {:>8} s  {name}{why}", seconds(*spent))
        }
        Ended::Broken(why) => format!("       BROKEN             {name}: {why}"),
    }
}

/// The table, as it stands in `EXAM.md`.
#[must_use]
pub fn markdown(all: &[Sat]) -> String {
    let mut text = String::from(
        "| planted bug | breaks | sweep | seeds | CPU s | what caught it |\n\
         |---|---|---|--:|--:|---|\n",
    );
    for sat in all {
        let (seeds, spent, what) = match &sat.ended {
            Ended::Caught(caught) => {
                (caught.seeds.to_string(), seconds(caught.spent), first_words(&caught.what))
            }
            Ended::Passed { spent, .. } => ("–".into(), seconds(*spent), "**not caught**".into()),
            Ended::Broken(why) => ("–".into(), "–".into(), format!("**{why}**")),
        };
        let (name, breaks) = (&sat.bug.name, &sat.bug.breaks);
        let sweep = match sat.bug.mode {
            Mode::Mixed => "plain",
            Mode::Full => "`--full`",
            Mode::Damage => "`--damage`",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {name} | {breaks} | {sweep} | {seeds} | {spent} | {what} |");
    }
    text
}

fn seconds(spent: Duration) -> String {
    format!("{:.3}", spent.as_secs_f64())
}

/// The kind of a failure, without what would not go into a table.
fn first_words(what: &str) -> String {
    kind(what).replace('|', "/").replace('<', "&lt;")
}
