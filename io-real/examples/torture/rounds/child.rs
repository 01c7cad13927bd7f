//! The child: it opens the store, says what is there, and puts it under load until it dies.
//!
//! It knows nothing of what must be there, so it cannot be wrong about it in the same way as the
//! store. What it can check alone it does: that values are their own, that nothing but keys of the
//! load is there, that its own writes are read back, and that the books add up.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use logstor::{Backend, Db, Direct, Group, Options, RealOptions, Stats};
use tokio::sync::watch;

use super::dice::Dice;
use super::load::Worker;
use super::value::{key_of, version_of};
use super::wire::{Said, Slot, Version};
use super::{KEYS, LARGE_KEYS, Outcome, SCRATCH, SHARED, WORKERS};

/// The variable of the environment by which a child is told its [`Setting`].
pub(super) const SETTING: &str = "LOGSTOR_TORTURE";

/// How long an idle store may take to come to rest.
const REST: Duration = Duration::from_secs(60);

/// What one child is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) round: u32,
    /// It only says what is there, and closes the store.
    pub(super) looks: bool,
    pub(super) folder: PathBuf,
}

impl Setting {
    /// As text, for the environment of the child.
    pub(super) fn write(&self) -> String {
        let looks = u8::from(self.looks);
        format!("{} {} {looks} {}", self.seed, self.round, self.folder.display())
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let [seed, round, looks] = [words.next()?, words.next()?, words.next()?];
        Some(Self {
            seed: seed.parse().ok()?,
            round: round.parse().ok()?,
            looks: looks == "1",
            folder: words.next()?.into(),
        })
    }

    /// How this round opens the store. What a store is depends on the seed alone.
    fn options(&self) -> (Options, RealOptions) {
        let segment_len = 64 << 10 << (self.seed % 2);
        let mut dice = Dice::of(self.seed, self.round, 1 << 32);
        let options = Options {
            segment_len: Some(segment_len),
            segments_per_file: Some(16),
            capacity: Some(any_capacity(&mut dice, segment_len.into())),
            buffer_len: 4 << 10 << dice.roll(6),
            writes_in_flight: 1 + u32::from(dice.pick(8)),
            flush_after: Duration::from_millis(1 + dice.roll(20)),
            sync_bytes: 64 << 10 << dice.roll(8),
            sync_after: Duration::from_millis(1 + dice.roll(300)),
            space_percent: 110 + u32::from(dice.pick(100)),
            mixed_percent: 1 + u32::from(dice.pick(100)),
            rewrite_memory: 256 << 10 << dice.roll(6),
            ..Options::default()
        };
        let direct = if dice.percent(50) { Direct::Auto } else { Direct::Never };
        let backend = if dice.percent(70) { Backend::Auto } else { Backend::Threads };
        (options, RealOptions::default().direct(direct).backend(backend))
    }
}

/// Somewhere between too little for the load and plenty.
pub(super) fn any_capacity(dice: &mut Dice, segment_len: u64) -> u64 {
    (5 + dice.roll(16)) * 16 * segment_len
}

/// What the parent wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Wait,
    Go,
    Close,
    Settle,
}

impl FromStr for Wish {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "go" => Ok(Self::Go),
            "close" => Ok(Self::Close),
            "settle" => Ok(Self::Settle),
            _ => Err(()),
        }
    }
}

/// Says a line in one piece, so that a kill cannot cut it. Fails once nobody listens.
pub(super) fn say(said: &Said) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(format!("{said}\n").as_bytes())?;
    output.flush()
}

/// The whole life of a child, if this process is one. The first line may follow other text.
pub(crate) fn run() -> Option<Outcome<()>> {
    let setting = Setting::read(&env::var(SETTING).ok()?)?;
    let live = || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build()?;
        println!();
        say(&Said::Hello)?;
        runtime.block_on(work(&setting))
    };
    let outcome = live();
    if let Err(error) = &outcome {
        // Whether anybody hears it or not, this process has failed.
        let _ = say(&Said::Wrong(error.to_string()));
    }
    Some(outcome)
}

async fn work(setting: &Setting) -> Outcome<()> {
    let (options, real) = setting.options();
    let begun = Instant::now();
    let db = logstor::builder(&setting.folder).options(options).real(real).open().await?;
    let micros = u64::try_from(begun.elapsed().as_micros())?;
    say(&Said::Opened { micros, from_dump: db.recovery_report().from_dump })?;

    let found = look(&db).await?;
    say(&Said::Ready)?;
    let mut wish = listen();
    if setting.looks {
        db.close().await?;
        return Ok(say(&Said::Closed)?);
    }
    wish.wait_for(|&wish| wish != Wish::Wait).await?;
    let mut workers = Vec::new();
    for (number, state) in (0..WORKERS).zip(found) {
        let dice = Dice::of(setting.seed, setting.round, number.into());
        let worker = Worker::new(number, &db, (setting.round, state), dice).await?;
        let wish = wish.clone();
        workers.push(tokio::spawn(async move { worker.work(wish).await }));
    }
    for worked in try_join_all(workers).await? {
        worked?;
    }
    if *wish.borrow() == Wish::Settle {
        settle(&db, &setting.folder).await?;
        say(&Said::Settled)?;
    }
    db.close().await?;
    Ok(say(&Said::Closed)?)
}

/// Hears what the parent wants; when that is gone, so is this process.
fn listen() -> watch::Receiver<Wish> {
    let (sender, receiver) = watch::channel(Wish::Wait);
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(Ok(wish)) = line.map(|line| line.parse()) else { break };
            // The load has ended; the end is near.
            let _ = sender.send(wish);
        }
        process::exit(3);
    });
    receiver
}

/// What the keys of one worker hold.
pub(super) type State = BTreeMap<Slot, Version>;

/// All slots of a worker.
fn slots() -> impl Iterator<Item = Slot> {
    (0..=SCRATCH).flat_map(|group| (0..KEYS).map(move |key| Slot { group, key }))
}

/// The name of a group that a worker knows by this number.
pub(super) fn group_name(worker: u8, group: u8) -> String {
    if group == SCRATCH { format!("of worker {worker}") } else { format!("shared {group}") }
}

/// Reads every key and says what is there.
async fn look(db: &Db) -> Outcome<Vec<State>> {
    let found = try_join_all((0..WORKERS).map(|worker| look_at(db, worker))).await?;
    let keys: usize = found.iter().map(BTreeMap::len).sum();
    let stats = db.stats();
    if stats.keys != u64::try_from(keys)? {
        return Err(format!("{keys} keys were found, and {} are there", stats.keys).into());
    }
    add_up(&stats)?;
    Ok(found)
}

async fn look_at(db: &Db, worker: u8) -> Outcome<State> {
    let there = db.groups();
    let mut groups = Vec::new();
    for name in (0..=SCRATCH).map(|group| group_name(worker, group)) {
        let exists = there.contains(&name);
        groups.push(if exists { Some(db.group(name).await?) } else { None });
    }
    let mut state = State::new();
    for slot in slots() {
        let Some(group) = &groups[usize::from(slot.group)] else { continue };
        let Some(version) = version_at(group, worker, slot).await? else { continue };
        say(&Said::Found { worker, slot, version })?;
        state.insert(slot, version);
    }
    Ok(state)
}

/// The version of a key, if it is there.
pub(super) async fn version_at(group: &Group, worker: u8, slot: Slot) -> Outcome<Option<Version>> {
    let Some(value) = group.get(key_of(worker, slot)).await? else { return Ok(None) };
    let long = value.len() > (32 << 10); // of any segment length, more than fits into a record
    if long && (slot.group, slot.key) > (0, LARGE_KEYS) {
        return Err(format!("worker {worker}, slot {slot}: {} bytes", value.len()).into());
    }
    Ok(Some(version_of(worker, slot, &value)?))
}

/// The groups that all workers share; they are made in the first round.
pub(super) async fn shared_groups(db: &Db) -> Outcome<Vec<Group>> {
    Ok(try_join_all((0..SHARED).map(|group| db.group(group_name(0, group)))).await?)
}

// ---------------------------------------------------------------------------- the books

/// Waits until the store does nothing any more: then nothing is pinned, and the files are as long
/// as it says.
async fn settle(db: &Db, folder: &Path) -> Outcome<()> {
    db.flush().await?;
    let begun = Instant::now();
    while let Some(restless) = restless(&db.stats(), folder)? {
        if begun.elapsed() > REST {
            return Err(format!("no rest after {REST:?}: {restless}; {:?}", db.stats()).into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    look(db).await.map(drop)
}

/// What is under way, or not as it is in an idle store.
fn restless(stats: &Stats, folder: &Path) -> Outcome<Option<String>> {
    add_up(stats)?;
    if stats.space.pinned > 0 || stats.segments.retired > 0 || stats.segments.quarantined > 0 {
        let (pinned, counts) = (stats.space.pinned, stats.segments);
        return Ok(Some(format!("{pinned} bytes are pinned, {counts:?}")));
    }
    if stats.compaction.running || stats.compaction.pauses > 0 {
        return Ok(Some(format!("{:?}", stats.compaction)));
    }
    let len = files_len(folder)?;
    let differ = len != stats.file_bytes;
    Ok(differ.then(|| format!("{len} bytes in files, {} in the books", stats.file_bytes)))
}

/// Whether the numbers are consistent; they are at any moment.
fn add_up(stats: &Stats) -> Outcome<()> {
    let counts = &stats.segments;
    let idle = [counts.free, counts.hollow];
    let used = [counts.active, counts.sealed, counts.retired, counts.quarantined];
    let slots = idle.into_iter().chain(used).map(u64::from).sum::<u64>() * stats.segment_len;
    if [stats.space.sum(), slots] == [stats.file_bytes; 2] {
        return Ok(());
    }
    Err(format!("{} bytes by use, {slots} by slots: {stats:?}", stats.space.sum()).into())
}

fn files_len(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("segments-") {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) => bytes += metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // given back meanwhile
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}
