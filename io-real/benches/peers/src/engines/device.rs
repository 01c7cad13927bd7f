//! The device itself, by a small loop of ours: what an engine could have had at most.
//!
//! Past the page cache (`O_DIRECT`), a thread for each caller, one request of each in flight.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::Outcome;
use crate::child::Job;
use crate::data::Random;
use crate::meter::{Begun, Figures, Latencies};
use crate::step::Step;

const BLOCK: usize = 4 << 10;
const CHUNK: usize = 128 << 10;
/// Files of a data set, and threads that write them.
const FILES: u64 = 4;
/// Bytes of the file of each writer that syncs; in the end it begins again.
const SYNCED: u64 = 4 << 20;

/// Measures the steps that make sense without an engine.
pub fn run(job: &Job) -> Outcome<Figures> {
    match job.step {
        Step::Load => load(job),
        Step::Synced { writers } => measured(job, writers, write_until),
        Step::Uniform { readers } => measured(job, readers, read_until),
        step => Err(format!("a device has no {}", step.name()).into()),
    }
}

/// Whether [`run`] can do this.
pub fn can(step: Step) -> bool {
    matches!(step, Step::Load | Step::Synced { .. } | Step::Uniform { .. })
}

fn load(job: &Job) -> Outcome<Figures> {
    let share = job.user_bytes(job.records).div_ceil(FILES).next_multiple_of(CHUNK as u64);
    let begun = Begun::now()?;
    let folder = job.folder.clone();
    threads(FILES, move |number| fill(&data_file(&folder, number), share))?;
    begun.end(job.records, 0)
}

/// So many callers, until the time is up.
fn measured(
    job: &Job,
    callers: u64,
    work: fn(&Job, u64) -> Outcome<Latencies>,
) -> Outcome<Figures> {
    if job.step.is_synced() {
        for writer in 0..callers {
            fill(&synced_file(&job.folder, writer), SYNCED)?;
        }
    }
    let begun = Begun::now()?;
    let own = job.clone();
    let latencies = threads(callers, move |caller| work(&own, caller))?;
    begun.end_with(&Latencies::together(&latencies)?, 0)
}

/// So many threads, and what they gave.
fn threads<T: Send + 'static>(
    callers: u64,
    work: impl Fn(u64) -> Outcome<T> + Clone + Send + 'static,
) -> Outcome<Vec<T>> {
    let one = |caller| {
        let work = work.clone();
        std::thread::spawn(move || work(caller))
    };
    let threads: Vec<_> = (0..callers).map(one).collect();
    threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect()
}

fn data_file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("data-{number}"))
}

fn synced_file(folder: &Path, writer: u64) -> PathBuf {
    folder.join(format!("synced-{writer}"))
}

/// Writes a file from its beginning to its end.
fn fill(path: &Path, len: u64) -> Outcome<()> {
    let file = open(path, OFlags::empty())?;
    let chunk = Aligned::new(CHUNK);
    for at in (0..len).step_by(CHUNK) {
        file.write_all_at(chunk.bytes(), at)?;
    }
    Ok(file.sync_data()?)
}

fn read_until(job: &Job, reader: u64) -> Outcome<Latencies> {
    let opened = (0..FILES).map(|number| open(&data_file(&job.folder, number), OFlags::empty()));
    let files = opened.collect::<Outcome<Vec<_>>>()?;
    let blocks = files[0].metadata()?.len() / BLOCK as u64;
    let (mut random, mut block) = (Random::new(reader), Aligned::new(BLOCK));
    until(job, |_| {
        let file = &files[usize::try_from(random.below(FILES))?];
        Ok(file.read_exact_at(block.bytes_mut(), random.below(blocks) * BLOCK as u64)?)
    })
}

fn write_until(job: &Job, writer: u64) -> Outcome<Latencies> {
    let file = open(&synced_file(&job.folder, writer), OFlags::DSYNC)?;
    let block = Aligned::new(BLOCK);
    until(job, |turn| Ok(file.write_all_at(block.bytes(), turn * BLOCK as u64 % SYNCED)?))
}

fn until(job: &Job, mut work: impl FnMut(u64) -> Outcome<()>) -> Outcome<Latencies> {
    let mut latencies = Latencies::new()?;
    let mut start = Instant::now();
    let end = start + Duration::from_secs(job.seconds);
    for turn in 0.. {
        if start >= end {
            break;
        }
        work(turn)?;
        start = latencies.note(start);
    }
    Ok(latencies)
}

fn open(path: &Path, more: OFlags) -> Outcome<File> {
    let flags = i32::try_from((OFlags::DIRECT | more).bits())?;
    Ok(OpenOptions::new().read(true).write(true).create(true).custom_flags(flags).open(path)?)
}

/// Memory that starts where a block would.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let memory = vec![7; len + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self { memory, start, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }
}
