//! One step of one engine, in a process of its own.
//!
//! The parent puts the process where its memory is limited and then sends the job as one line; what
//! the process says last is the figures.

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::data::{Choice, KEY, Random, float, value};
use crate::engines::{Setup, Store, find};
use crate::meter::{Begun, Figures, Latencies, disk_bytes, peak_rss};
use crate::step::{MIX_CALLERS, Step};

/// The argument that makes this program a child.
pub const CHILD: &str = "--child";
/// What a child says before it waits to be killed.
pub const FILLED: &str = "filled";
/// Callers that load and overwrite at the same time.
const WRITERS: u64 = 4;
/// Records that are put in one go where an engine has a way to do that.
const BATCH: u64 = 1000;

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub engine: String,
    pub step: Step,
    pub folder: PathBuf,
    pub records: u64,
    pub value_len: usize,
    /// Bytes of memory that the engine is told of.
    pub memory: u64,
    pub seconds: u64,
}

impl Job {
    /// Bytes of keys and values of so many records.
    pub fn user_bytes(&self, records: u64) -> u64 {
        records * (KEY + self.value_len as u64)
    }

    fn setup(&self) -> Setup {
        Setup {
            memory: self.memory,
            records: self.records,
            value_len: self.value_len,
            synced: self.step.is_synced(),
        }
    }
}

/// Reads the job, does it and says what came of it.
pub fn main() -> Outcome<()> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    let engine = find(&job.engine).ok_or_else(|| format!("there is no {}", job.engine))?;
    let mut figures = (engine.run)(&job)?;
    figures.peak_rss_bytes = Some(peak_rss()?);
    say(&serde_json::to_string(&figures)?)
}

fn say(line: &str) -> Outcome<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}

/// Does the job with an engine that blocks.
pub fn run<S: Store>(job: &Job) -> Outcome<Figures> {
    at_once(work::<S>(job))
}

/// Does the job with an engine whose callers are tasks.
pub fn run_tasks<S: Store>(job: &Job) -> Outcome<Figures> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work::<S>(job))
}

async fn work<S: Store>(job: &Job) -> Outcome<Figures> {
    let (begun, store) = (Begun::now()?, S::open(&job.folder, job.setup()).await?);
    let figures = match job.step {
        Step::Load => load(&store, job).await?,
        Step::Synced { writers } => {
            let window = Window::new(writers, 100, Choice::uniform(job.records));
            window.measure(&store, job, Begin::AtOnce).await?
        }
        Step::Uniform { readers } => {
            let window = Window::new(readers, 0, Choice::uniform(job.records));
            window.measure(&store, job, Begin::Warm).await?
        }
        Step::Zipf { readers } => {
            let window = Window::new(readers, 0, Choice::zipf(job.records));
            window.measure(&store, job, Begin::Warm).await?
        }
        Step::Mix { puts } => {
            let window = Window::new(MIX_CALLERS, puts, Choice::zipf(job.records));
            window.measure(&store, job, Begin::Warm).await?
        }
        Step::Overwrite => overwrite(&store, job).await?,
        Step::FillAndDie => return fill_and_die(&store, job).await,
        Step::OpenKilled | Step::OpenClosed => {
            store.get(0).await?;
            begun.opened()
        }
    };
    store.close().await?;
    Ok(figures)
}

async fn load<S: Store>(store: &S, job: &Job) -> Outcome<Figures> {
    let begun = Begun::now()?;
    fill(store, job).await?;
    store.flush().await?;
    let figures = begun.end(job.records, job.user_bytes(job.records))?;
    with_space(figures, job)
}

async fn fill<S: Store>(store: &S, job: &Job) -> Outcome<()> {
    let (records, value_len) = (job.records, job.value_len);
    let share = records.div_ceil(WRITERS);
    let write = |writer: u64| {
        let (store, end) = (store.clone(), records.min((writer + 1) * share));
        async move {
            let mut first = writer * share;
            while first < end {
                let next = end.min(first + BATCH);
                store.put_many(first..next, value_len).await?;
                first = next;
            }
            Ok(())
        }
    };
    together(S::TASKS, (0..WRITERS).map(write)).await?;
    Ok(())
}

async fn overwrite<S: Store>(store: &S, job: &Job) -> Outcome<Figures> {
    let window = Window::new(WRITERS, 100, Choice::uniform(job.records));
    // Once through, so that what is measured is how it goes on.
    window.run(store, job, Until::Operations(job.records / WRITERS), 1).await?;
    let figures = window.measure(store, job, Begin::AtOnce).await?;
    store.flush().await?;
    with_space(figures, job)
}

fn with_space(figures: Figures, job: &Job) -> Outcome<Figures> {
    let space = float(disk_bytes(&job.folder)?) / float(job.user_bytes(job.records));
    Ok(Figures { space_amplification: Some(space), ..figures })
}

async fn fill_and_die<S: Store>(store: &S, job: &Job) -> Outcome<Figures> {
    fill(store, job).await?;
    store.flush().await?;
    say(FILLED)?;
    let window = Window::new(WRITERS, 100, Choice::uniform(job.records));
    loop {
        window.run(store, job, Until::Operations(u64::MAX), 2).await?;
    }
}

/// Whether there is a run before the one that counts, for caches to fill.
#[derive(Clone, Copy, PartialEq)]
enum Begin {
    AtOnce,
    Warm,
}

/// Callers that go on and on.
#[derive(Clone, Copy)]
struct Window {
    callers: u64,
    /// Percent.
    puts: u64,
    choice: Choice,
}

/// When each of the callers ends.
#[derive(Clone, Copy)]
enum Until {
    Time(Instant),
    Operations(u64),
}

impl Until {
    fn is_over(self, now: Instant, turn: u64) -> bool {
        match self {
            Self::Time(end) => now >= end,
            Self::Operations(end) => turn >= end,
        }
    }
}

/// What one caller did.
struct Done {
    latencies: Latencies,
    puts: u64,
}

impl Window {
    fn new(callers: u64, puts: u64, choice: Choice) -> Self {
        Self { callers, puts, choice }
    }

    async fn measure<S: Store>(self, store: &S, job: &Job, begin: Begin) -> Outcome<Figures> {
        let time = Duration::from_secs(job.seconds);
        if begin == Begin::Warm {
            self.run(store, job, Until::Time(Instant::now() + time), 3).await?;
        }
        let begun = Begun::now()?;
        let done = self.run(store, job, Until::Time(Instant::now() + time), 4).await?;
        let puts = done.iter().map(|done| done.puts).sum();
        let latencies: Vec<_> = done.into_iter().map(|done| done.latencies).collect();
        begun.end_with(&Latencies::together(&latencies)?, job.user_bytes(puts))
    }

    async fn run<S: Store>(
        self,
        store: &S,
        job: &Job,
        until: Until,
        seed: u64,
    ) -> Outcome<Vec<Done>> {
        let value_len = job.value_len;
        let call = |caller| self.call(store.clone(), value_len, until, seed << 32 | caller);
        together(S::TASKS, (0..self.callers).map(call)).await
    }

    async fn call<S: Store>(
        self,
        store: S,
        value_len: usize,
        until: Until,
        seed: u64,
    ) -> Outcome<Done> {
        let (mut random, mut puts) = (Random::new(seed), 0);
        let mut latencies = Latencies::new()?;
        let mut start = Instant::now();
        for turn in 0.. {
            if until.is_over(start, turn) {
                break;
            }
            let number = self.choice.next(&mut random);
            if random.below(100) < self.puts {
                store.put(number, value(number, random.next(), value_len)).await?;
                puts += 1;
            } else {
                store.get(number).await?;
            }
            start = latencies.note(start);
        }
        Ok(Done { latencies, puts })
    }
}

/// Runs the callers at the same time, as tasks or as threads.
async fn together<F, T>(tasks: bool, callers: impl Iterator<Item = F>) -> Outcome<Vec<T>>
where
    F: Future<Output = Outcome<T>> + Send + 'static,
    T: Send + 'static,
{
    let mut given = Vec::new();
    if tasks {
        let tasks: Vec<_> = callers.map(tokio::spawn).collect();
        for task in tasks {
            given.push(task.await??);
        }
    } else {
        let thread = |caller| std::thread::spawn(move || at_once(caller));
        let threads: Vec<_> = callers.map(thread).collect();
        for thread in threads {
            given.push(thread.join().map_err(|_| "a thread panicked")??);
        }
    }
    Ok(given)
}

/// What a future gives that never waits for anything but its own thread.
fn at_once<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err("an engine that blocks did not".into()),
    }
}
