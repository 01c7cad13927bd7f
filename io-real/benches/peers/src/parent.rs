//! The rounds, and the children that do the work.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::Outcome;
use crate::args::Args;
use crate::child::{CHILD, FILLED, Job};
use crate::data::float;
use crate::engines::Engine;
use crate::limit::{self, Limit};
use crate::meter::Figures;
use crate::report::Report;
use crate::step::Step;

/// So many times fewer records has the store of synced puts: it is to fit into any memory.
const SMALLER: u64 = 8;
/// Bytes of a value in stores that are opened again, and how many more records they have.
const SHORT: usize = 100;
const MORE: u64 = 2;

/// Measures everything that was asked for, prints it and writes it down.
pub fn measure(args: &Args) -> Outcome<()> {
    let place = args.folder.join(format!("peers-{}", std::process::id()));
    let _removed = Place(place.clone());
    remove_when_interrupted(place.clone())?;
    let parents = args.cgroup.clone().map_or_else(limit::parents, |parent| vec![parent]);
    let limited = Limit::make(&parents, args.memory).is_some();
    let parents = if limited { parents } else { vec![] };
    let run = Run { args, place, parents, unfilled: RefCell::default() };

    let mut report = Report::new(args, limited);
    for round in 0..args.rounds {
        run.round(round, &mut report)?;
    }
    println!("{}", report.text());
    if let Some(path) = &args.json {
        fs::write(path, report.json()?)?;
    }
    if let Some(folder) = &args.svg {
        report.draw(folder)?;
    }
    Ok(())
}

struct Run<'a> {
    args: &'a Args,
    place: PathBuf,
    /// Where groups can be made; nowhere if there is no limit.
    parents: Vec<PathBuf>,
    /// Folders whose stores could not be filled in this round.
    unfilled: RefCell<BTreeSet<PathBuf>>,
}

impl Run<'_> {
    fn round(&self, round: u64, report: &mut Report<'_>) -> Outcome<()> {
        let engines = &self.args.engines;
        let steps = self.args.workloads.iter().flat_map(|(_, steps)| steps.iter());
        for (at, &step) in steps.enumerate() {
            let first = usize::try_from(round)? + at;
            for turn in 0..engines.len() {
                let engine = engines[(first + turn) % engines.len()];
                if engine.can(step) {
                    let figures = self.step(engine, step).map_err(|error| error.to_string());
                    report.add(step, engine, figures);
                }
            }
        }
        self.unfilled.borrow_mut().clear();
        Ok(fs::remove_dir_all(&self.place)?)
    }

    /// One step of one engine, with what must come before it.
    fn step(&self, engine: &Engine, step: Step) -> Outcome<Figures> {
        let folder = self.place.join(engine.name).join(step.folder());
        let is_new = !folder.exists();
        fs::create_dir_all(&folder)?;
        let job = self.job(engine, step, folder);
        if self.unfilled.borrow().contains(&job.folder) {
            return Err("its store could not be filled".into());
        }
        if is_new && (step.needs_data() || step.is_synced()) {
            self.say(&Job { step: Step::Load, ..job.clone() }, self.limit(step))?;
        }
        if step == Step::OpenKilled || (is_new && step == Step::OpenClosed) {
            self.fill_and_kill(&Job { step: Step::FillAndDie, ..job.clone() })?;
            if step == Step::OpenClosed {
                self.say(&Job { step: Step::OpenKilled, ..job.clone() }, None)?;
            }
        }
        self.say(&job, self.limit(step))
    }

    fn job(&self, engine: &Engine, step: Step, folder: PathBuf) -> Job {
        let (records, value_len) = match step.folder() {
            "synced" => ((self.args.records / SMALLER).max(1), self.args.value_len),
            "reopen" => (self.args.records * MORE, SHORT),
            _ => (self.args.records, self.args.value_len),
        };
        Job {
            engine: engine.name.into(),
            step,
            folder,
            records,
            value_len,
            memory: self.args.memory,
            seconds: self.args.seconds,
        }
    }

    fn limit(&self, step: Step) -> Option<Limit> {
        let limit = || Limit::make(&self.parents, self.args.memory);
        step.is_limited().then(limit).flatten()
    }

    /// The figures that a child says in the end.
    fn say(&self, job: &Job, limit: Option<Limit>) -> Outcome<Figures> {
        let said = self.say_or_fail(job, limit);
        if said.is_err() && job.step == Step::Load {
            self.unfilled.borrow_mut().insert(job.folder.clone());
        }
        said
    }

    fn say_or_fail(&self, job: &Job, limit: Option<Limit>) -> Outcome<Figures> {
        forget(&job.folder)?;
        let mut child = start(job, limit.as_ref())?;
        let said = lines(&mut child)?.last().transpose()?;
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("{} ended with {status}", job.engine).into());
        }
        let mut figures: Figures = serde_json::from_str(&said.ok_or("a child said nothing")?)?;
        figures.peak_group_bytes = limit.and_then(|limit| limit.peak()).map(float);
        Ok(figures)
    }

    /// Has a child fill a store and killed while it goes on writing.
    fn fill_and_kill(&self, job: &Job) -> Outcome<()> {
        let mut child = start(job, None)?;
        let said = lines(&mut child)?.next().transpose()?;
        std::thread::sleep(Duration::from_millis(100));
        child.kill()?;
        child.wait()?;
        if said.as_deref() == Some(FILLED) { Ok(()) } else { Err("it was not filled".into()) }
    }
}

/// Starts a child, takes it into its group and then tells it what to do.
fn start(job: &Job, limit: Option<&Limit>) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg(CHILD).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(limit) = limit {
        limit.take(child.id())?;
    }
    let mut input = child.stdin.take().ok_or("a child without input")?;
    writeln!(input, "{}", serde_json::to_string(job)?)?;
    Ok(child)
}

fn lines(child: &mut Child) -> Outcome<impl Iterator<Item = std::io::Result<String>> + use<>> {
    let output = child.stdout.take().ok_or("a child without output")?;
    Ok(BufReader::new(output).lines())
}

/// Has the page cache of all files below a folder written and dropped.
fn forget(folder: &Path) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forget(&entry.path())?;
        } else {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// The folder of everything that is written; removed when this goes.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(error) = fs::remove_dir_all(&self.0)
        {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

/// Children end by the same key that ends this; their files would stay.
fn remove_when_interrupted(place: PathBuf) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            drop(Place(place));
            std::process::exit(130);
        }
    });
    Ok(())
}
