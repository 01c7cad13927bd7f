//! What the command line says.

use std::path::{Path, PathBuf};

use crate::engines::{DEVICE, ENGINES, Engine};
use crate::step::{Step, WORKLOADS};

/// How to measure.
pub struct Args {
    pub folder: PathBuf,
    pub records: u64,
    pub value_len: usize,
    /// Bytes, or a fifth of the data.
    pub memory: u64,
    pub seconds: u64,
    pub rounds: u64,
    pub engines: Vec<&'static Engine>,
    pub workloads: Vec<(&'static str, &'static [Step])>,
    /// Where to make groups of limited memory; empty: look for it.
    pub cgroup: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub svg: Option<PathBuf>,
}

/// The least memory by default: engines have buffers that do not shrink with the data.
const MEMORY_MIN: u64 = 128 << 20;
/// The data is so many times the memory by default.
const TIMES: u64 = 5;

const USAGE: &str = "\
usage: peers [--records N]    in the data set; default 524288
             [--value N]      bytes of a value; default 1024
             [--memory MIB]   for each engine; default a fifth of the data, at least 128
             [--seconds N]    for each measurement that has no end of its own; default 2
             [--rounds N]     of which the medians are shown; default 2
             [--engines LIST] default all that were built in
             [--only LIST]    of load, synced, uniform, zipf, ycsb, overwrite, reopen
             [--folder DIR]   where to write; default target of this package
             [--cgroup DIR]   where to make control groups; default below or beside the own one
             [--json FILE]    every figure of every round
             [--svg DIR]      a chart for each workload";

impl Args {
    /// Parses what follows the program's name; an error is a text for people.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self {
            folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
            records: 1 << 19,
            value_len: 1024,
            memory: 0,
            seconds: 2,
            rounds: 2,
            engines: ENGINES.iter().collect(),
            workloads: WORKLOADS.to_vec(),
            cgroup: None,
            json: None,
            svg: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--folder" => args.folder = value()?.into(),
                "--records" => args.records = number(&value()?)?,
                "--value" => args.value_len = length(&value()?)?,
                "--memory" => args.memory = number(&value()?)? << 20,
                "--seconds" => args.seconds = number(&value()?)?,
                "--rounds" => args.rounds = number(&value()?)?,
                "--engines" => args.engines = list(&value()?, engine)?,
                "--only" => args.workloads = list(&value()?, workload)?,
                "--cgroup" => args.cgroup = Some(value()?.into()),
                "--json" => args.json = Some(value()?.into()),
                "--svg" => args.svg = Some(value()?.into()),
                _ => return Err(USAGE.into()),
            }
        }
        if args.memory == 0 {
            args.memory = (args.records * args.value_len as u64 / TIMES).max(MEMORY_MIN);
        }
        Ok(args)
    }
}

fn number(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or(format!("{text} is not a number above zero\n{USAGE}"))
}

fn length(text: &str) -> Result<usize, String> {
    let len = text.parse().ok().filter(|len| (16..=1 << 20).contains(len));
    len.ok_or(format!("a value has 16 to 1048576 bytes, not {text}\n{USAGE}"))
}

fn list<T>(text: &str, one: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(one).collect()
}

fn engine(name: &str) -> Result<&'static Engine, String> {
    let found = ENGINES.iter().find(|engine| engine.name == name);
    let names = ENGINES.iter().map(|engine| engine.name).collect::<Vec<_>>().join(", ");
    found.ok_or(format!("{name} was not built in; there are {names} ({DEVICE} is no engine)"))
}

fn workload(name: &str) -> Result<(&'static str, &'static [Step]), String> {
    let found = WORKLOADS.into_iter().find(|(one, _)| *one == name);
    found.ok_or(format!("there is no workload {name}\n{USAGE}"))
}
