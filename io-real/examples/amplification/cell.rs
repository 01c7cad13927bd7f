//! One cell of the table: a store that is filled, overwritten, and measured at the end.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use logstor::format::record::record_len;
use logstor::types::to_u64;
use logstor::{Db, DeviceCounts, Durability, Group, Stats};

use crate::Outcome;
use crate::args::Args;
use crate::numbers::{float, scramble};
use crate::pattern::{Keys, Pattern};
use crate::random::Random;

/// Bytes of every value.
const VALUE: usize = 1024;
/// Bytes of every key.
const KEY: usize = 8;

/// Bytes of the entry that a record has in the summary of its buffer, in a segment of its group.
const ENTRY: u64 = 28;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// What live records take, in percent of the room for buffers.
    pub(crate) live: u64,
    pub(crate) pattern: Pattern,
    pub(crate) groups: u64,
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} % live, {}, groups: {}", self.live, self.pattern, self.groups)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Bytes written to the device for each byte of users' records.
    pub(crate) amplification: f64,
    /// Of these, the log's: records with headers, summaries and padding.
    pub(crate) log: f64,
    /// Of these, the copies', with the same.
    pub(crate) copies: f64,
    /// All of them for each byte of keys and values.
    pub(crate) of_bodies: f64,
    /// Live bytes over the bytes of the files, at the end.
    pub(crate) live: f64,
    pub(crate) took: Duration,
}

impl Cell {
    /// Fills and overwrites an empty store.
    pub(crate) async fn measure(self, db: &Db, args: &Args) -> Outcome<Measured> {
        let begun = Instant::now();
        let record = record_len(KEY, VALUE).ok_or("no record is as long as that")?;
        let record = u64::from(record.get());
        let count = (args.room()? / 100 * self.live / (record + ENTRY)).max(1);
        let names = (0..self.groups).map(|group| db.group(format!("group {group}")));
        let writer = Arc::new(Writer {
            groups: try_join_all(names).await?,
            keys: Keys::new(count, self.pattern),
            count,
            value: value(),
        });
        writer.run(args.tasks, Phase::Fill).await?;
        db.flush().await?;

        let mut before = db.stats();
        for overwrite in 0..args.overwrites {
            if overwrite + args.measured == args.overwrites {
                db.flush().await?;
                before = db.stats();
            }
            let start = db.stats();
            writer.run(args.tasks, Phase::Overwrite(overwrite)).await?;
            let amplification = float(written(&start, &db.stats(), all)) / float(count * record);
            eprintln!("{self}: overwrite {}: {amplification:.2}", overwrite + 1);
        }
        db.flush().await?;
        let after = db.stats();
        eprintln!("{self}: {}", space(&after));
        db.close().await?;

        let user_bytes = args.measured * count * record;
        if (after.keys, after.user_bytes - before.user_bytes) != (count, user_bytes) {
            let wrong = format!("of {count} keys and {user_bytes} bytes put, it has: {after:?}");
            return Err(wrong.into());
        }
        let share =
            |of: fn(&DeviceCounts) -> u64| float(written(&before, &after, of)) / float(user_bytes);
        Ok(Measured {
            amplification: share(all),
            log: share(|device| device.written.log),
            copies: share(|device| device.written.copies),
            of_bodies: share(all) * float(record) / float(to_u64(KEY + VALUE)),
            live: float(after.space.live) / float(after.file_bytes),
            took: begun.elapsed(),
        })
    }
}

fn all(device: &DeviceCounts) -> u64 {
    device.written_bytes
}

/// Bytes of this kind that the device got in between.
fn written(before: &Stats, after: &Stats, of: fn(&DeviceCounts) -> u64) -> u64 {
    of(&after.device) - of(&before.device)
}

/// What the files are used for, in percent.
fn space(stats: &Stats) -> String {
    let space = &stats.space;
    let uses = [
        ("live", space.live),
        ("dead", space.dead),
        ("tombstones", space.tombstones),
        ("padding", space.padding),
        ("headers", space.headers),
        ("seals", space.seals),
        ("free", space.free),
        ("given back", space.given_back),
        ("reserved", space.reserved),
        ("pinned", space.pinned),
    ];
    let percent = |bytes| 100.0 * float(bytes) / float(stats.file_bytes);
    uses.map(|(use_of_it, bytes)| format!("{use_of_it} {:.2} %", percent(bytes))).join(", ")
}

/// A value that does not compress. All are the same: nobody reads them.
fn value() -> Bytes {
    (1..).map(scramble).flat_map(u64::to_be_bytes).take(VALUE).collect()
}

/// What is put, and where to.
struct Writer {
    groups: Vec<Group>,
    keys: Keys,
    count: u64,
    value: Bytes,
}

#[derive(Clone, Copy)]
enum Phase {
    /// Every key once, in order.
    Fill,
    /// As many keys as there are, as the pattern draws them.
    Overwrite(u64),
}

impl Writer {
    /// Puts as many times as there are keys, by so many tasks at the same time.
    async fn run(self: &Arc<Self>, tasks: u64, phase: Phase) -> Outcome<()> {
        let tasks = (0..tasks).map(|task| {
            let writer = Arc::clone(self);
            tokio::spawn(async move { writer.share(task, tasks, phase).await })
        });
        let ended: Vec<logstor::Result<()>> = try_join_all(tasks).await?;
        Ok(ended.into_iter().collect::<logstor::Result<()>>()?)
    }

    async fn share(&self, task: u64, tasks: u64, phase: Phase) -> logstor::Result<()> {
        let mut random = match phase {
            Phase::Fill => Random::new(0),
            Phase::Overwrite(overwrite) => Random::new(overwrite << 32 | task),
        };
        let mut number = task;
        while number < self.count {
            let key = match phase {
                Phase::Fill => number,
                Phase::Overwrite(_) => self.keys.draw(&mut random),
            };
            self.put(key).await?;
            number += tasks;
        }
        Ok(())
    }

    async fn put(&self, key: u64) -> logstor::Result<()> {
        let groups = to_u64(self.groups.len());
        let group = usize::try_from(key % groups).unwrap_or(0);
        let value = self.value.clone();
        self.groups[group].put_with(key.to_be_bytes(), value, Durability::Buffered).await
    }
}
