//! What the command line says.

use std::path::{Path, PathBuf};

use logstor::Backend;

/// A part of the measuring that can be asked for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Synced,
    Load,
    Read,
    Pressure,
    Reopen,
}

/// How to measure.
pub(crate) struct Args {
    pub(crate) folder: PathBuf,
    /// For each measurement that is not bounded by a number of records.
    pub(crate) seconds: u64,
    pub(crate) rounds: u64,
    /// Records of the data set.
    pub(crate) records: u64,
    /// Records of the largest store that is opened again.
    pub(crate) reopen_records: u64,
    pub(crate) sections: Vec<Section>,
    /// Turn by turn; each row says whose it is where there are several.
    pub(crate) backends: Vec<Backend>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: bool,
}

const USAGE: &str = "\
usage: bench [--folder DIR]   where to write; default: target of this checkout
             [--seconds N]    for each measurement; default 5
             [--rounds N]     of which the median counts; default 3
             [--records N]    of 1 KiB in the data set; default 1048576; of 100 bytes in the
                              largest store that is opened again; default 8000000
             [--only LIST]    of synced, load, read, pressure, reopen; default the first three
             [--backends LIST] of auto, ring, threads, turn by turn; default auto
             [--json FILE]    every figure of every round
             [--markdown]     the table in that form";

impl Args {
    /// Parses what follows the program's name; an error is a text for people.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut args = Self {
            folder: package.parent().unwrap_or(package).join("target"),
            seconds: 5,
            rounds: 3,
            records: 1 << 20,
            reopen_records: 8_000_000,
            sections: vec![Section::Synced, Section::Load, Section::Read],
            backends: vec![Backend::Auto],
            json: None,
            markdown: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--folder" => args.folder = value()?.into(),
                "--seconds" => args.seconds = number(&value()?)?,
                "--rounds" => args.rounds = number(&value()?)?,
                "--records" => {
                    args.records = number(&value()?)?;
                    args.reopen_records = args.records;
                }
                "--only" => args.sections = sections(&value()?)?,
                "--backends" => args.backends = backends(&value()?)?,
                "--json" => args.json = Some(value()?.into()),
                "--markdown" => args.markdown = true,
                "--bench" => {} // cargo says so
                _ => return Err(USAGE.into()),
            }
        }
        Ok(args)
    }
}

fn number(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or(format!("{text} is not a number above zero\n{USAGE}"))
}

fn backends(list: &str) -> Result<Vec<Backend>, String> {
    let backend = |name: &str| match name {
        "auto" => Ok(Backend::Auto),
        "ring" => Ok(Backend::Ring),
        "threads" => Ok(Backend::Threads),
        _ => Err(format!("there is no backend {name}\n{USAGE}")),
    };
    list.split(',').map(backend).collect()
}

fn sections(list: &str) -> Result<Vec<Section>, String> {
    let section = |name: &str| match name {
        "synced" => Ok(Section::Synced),
        "load" => Ok(Section::Load),
        "read" => Ok(Section::Read),
        "pressure" => Ok(Section::Pressure),
        "reopen" => Ok(Section::Reopen),
        _ => Err(format!("there is no section {name}\n{USAGE}")),
    };
    list.split(',').map(section).collect()
}
