//! A child that is killed while it writes, and what must be there afterwards.
//!
//! Each writer of the child makes a fixed series of writes, one after the other, and says on
//! standard output which of them was acknowledged, *after* it was. So at any moment at most one
//! write of each writer is under way. After the kill, what a writer left must equal one of two
//! states: all writes up to the last one acknowledged, or those and the one under way, whole.
//! Anything else is a lost, torn, stale or foreign write.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio, id};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use logstor::{Db, Group, WriteBatch};

use crate::Outcome;

/// The argument that makes this program a child.
pub(crate) const CHILD: &str = "--child";
/// Tasks that write at the same time.
pub(crate) const WRITERS: u32 = 8;
/// Keys of each writer: few, so that most writes replace or delete something.
const KEYS: u64 = 64;
/// The child is killed after this many writes, and up to as many again.
const LEAST: u64 = 5000;

/// The last acknowledged write of each writer; writes count from 1.
pub(crate) struct Acknowledged([u64; WRITERS as usize]);

impl Acknowledged {
    /// How many writes were acknowledged.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// One write: its number is part of every value that it writes.
enum Op {
    Put(u64),
    Delete(u64),
    /// Both keys in one batch.
    PutBoth(u64, u64),
}

impl Op {
    /// The write of this number in the series of this writer.
    fn of(writer: u32, number: u64) -> Self {
        let dice = scramble(u64::from(writer) << 48 | number);
        let key = dice % KEYS;
        match dice >> 32 & 7 {
            0 => Self::Delete(key),
            1 => Self::PutBoth(key, (key + 1) % KEYS),
            _ => Self::Put(key),
        }
    }

    fn apply(&self, number: u64, state: &mut BTreeMap<u64, u64>) {
        match *self {
            Self::Put(key) => drop(state.insert(key, number)),
            Self::Delete(key) => drop(state.remove(&key)),
            Self::PutBoth(one, other) => state.extend([(one, number), (other, number)]),
        }
    }
}

/// A number that looks random (the finalizer of `SplitMix64`).
fn scramble(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn key_of(writer: u32, key: u64) -> String {
    format!("writer {writer} key {key}")
}

/// The value that a write gives its keys: its name again and again, 100 to 4,000 bytes of it.
fn value_of(writer: u32, number: u64) -> Vec<u8> {
    let name = format!("writer {writer} write {number}; ");
    let len = 100 + scramble(number ^ u64::from(writer)) % 3900;
    name.bytes().cycle().take(usize::try_from(len).unwrap_or(100)).collect()
}

// ---------------------------------------------------------------------------- the child

/// What the child does.
pub(crate) async fn write_until_killed(store: &Path) -> Outcome<()> {
    let db = logstor::open(store).await?;
    let group = db.group("killed").await?;
    let writers = (0..WRITERS).map(|writer| {
        let (db, group) = (db.clone(), group.clone());
        tokio::spawn(async move { write_series(&db, &group, writer).await })
    });
    for ended in try_join_all(writers).await? {
        ended?;
    }
    Ok(())
}

async fn write_series(db: &Db, group: &Group, writer: u32) -> Outcome<()> {
    for number in 1.. {
        match Op::of(writer, number) {
            Op::Put(key) => group.put(key_of(writer, key), value_of(writer, number)).await?,
            Op::Delete(key) => group.delete(key_of(writer, key)).await?,
            Op::PutBoth(one, other) => {
                let value = value_of(writer, number);
                let mut batch = WriteBatch::new();
                batch.put(group, key_of(writer, one), value.clone());
                batch.put(group, key_of(writer, other), value);
                db.write(batch).await?;
            }
        }
        // Acknowledged; said in one piece, so that a kill cannot cut it. Fails once nobody listens.
        let mut output = io::stdout().lock();
        output.write_all(format!("{writer} {number}\n").as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

// ---------------------------------------------------------------------------- the parent

/// What became of a child.
pub(crate) struct Run {
    pub(crate) acknowledged: Acknowledged,
    /// From its first acknowledged write to the kill.
    pub(crate) took: Duration,
}

/// Starts a child on the store, and kills it in the middle of its writes.
pub(crate) fn kill_a_child(store: &Path) -> Outcome<Run> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(CHILD).arg(store).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let output = child.stdout.take().ok_or("the child has no output")?;

    // The number of this process is as good as random: every run kills elsewhere.
    let enough = LEAST + scramble(id().into()) % LEAST;
    let mut acknowledged = Acknowledged([0; WRITERS as usize]);
    let mut heard = 0;
    let mut first = None;
    let mut took = Duration::ZERO;
    // To the end of the pipe: what was said before the kill counts, heard before it or not.
    for said in BufReader::new(output).lines() {
        let said = said?;
        let parsed = said.split_once(' ').and_then(|(writer, number)| {
            let last = acknowledged.0.get_mut(writer.parse::<usize>().ok()?)?;
            *last = number.parse().ok().filter(|&number: &u64| number == *last + 1)?;
            Some(())
        });
        parsed.ok_or_else(|| format!("the child said {said:?}"))?;
        heard += 1;
        let since = first.get_or_insert_with(Instant::now);
        if heard == enough {
            child.kill()?; // SIGKILL: the child can do nothing about it
            took = since.elapsed();
        }
    }
    let ended = child.wait()?;
    if heard < enough {
        return Err(format!("the child ended before it was killed: {ended}").into());
    }
    Ok(Run { acknowledged, took })
}

/// What was found after a kill.
#[derive(PartialEq, Eq)]
pub(crate) struct Found {
    /// Keys that are there.
    pub(crate) keys: u64,
    /// Writes that were under way at the kill and are there, whole.
    pub(crate) beyond: u64,
}

/// Checks every key of every writer.
pub(crate) async fn check(db: &Db, acknowledged: &Acknowledged) -> Outcome<Found> {
    let group = db.group("killed").await?;
    let mut found = Found { keys: 0, beyond: 0 };
    for (writer, &last) in (0..).zip(&acknowledged.0) {
        let mut state = BTreeMap::new();
        for number in 1..=last {
            Op::of(writer, number).apply(number, &mut state);
        }
        let there = read_back(&group, writer).await?;
        found.keys += there.len() as u64;
        if there == state {
            continue;
        }
        Op::of(writer, last + 1).apply(last + 1, &mut state);
        if there != state {
            let text = format!("writer {writer}: {there:?} does not follow from {last} writes");
            return Err(text.into());
        }
        found.beyond += 1;
    }
    Ok(found)
}

/// The number of the write that each key of `writer` shows; its value is checked byte for byte.
async fn read_back(group: &Group, writer: u32) -> Outcome<BTreeMap<u64, u64>> {
    let mut there = BTreeMap::new();
    for key in 0..KEYS {
        let Some(value) = group.get(key_of(writer, key)).await? else { continue };
        let number = String::from_utf8_lossy(&value)
            .split_once("write ")
            .and_then(|(_, rest)| rest.split_once(';')?.0.parse().ok());
        let number = number.ok_or_else(|| format!("{} is not its own", key_of(writer, key)))?;
        if value != value_of(writer, number) {
            return Err(format!("{} has a torn value", key_of(writer, key)).into());
        }
        there.insert(key, number);
    }
    Ok(there)
}
