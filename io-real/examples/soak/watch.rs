//! The look at the books: every second, whatever goes on.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{fs, io};

use logstor::{Db, Stats};
use tokio::time::{MissedTickBehavior, interval};

use crate::Outcome;
use crate::args::Args;
use crate::load::Counts;
use crate::numbers::float;

/// Looks between two lines of output.
const LOOKS_A_LINE: u64 = 10;
/// What was live at one of so many looks may not be given back yet.
const LOOKS_BACK: usize = 5;
/// Bytes of a block, as the file system counts what a file takes.
const DISK_BLOCK: u64 = 512;

/// Who looks.
pub(crate) struct Watch {
    db: Db,
    store: PathBuf,
    bound: f64,
    reserve: f64,
    /// From so many live bytes on there is enough to amplify.
    enough: u64,
    counts: Arc<Counts>,
    /// Live bytes at the last looks.
    lives: VecDeque<f64>,
    seen: Seen,
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) looks: u64,
    /// Looks at a store with enough in it.
    pub(crate) bounded: u64,
    /// The most that segments in use took of what was live.
    pub(crate) most_used: f64,
    /// The most that all files took of the disk, of what was live.
    pub(crate) most_on_disk: f64,
    pub(crate) operations: u64,
    pub(crate) user_bytes: u64,
    pub(crate) device_bytes: u64,
}

impl Watch {
    pub(crate) fn new(db: &Db, store: &Path, args: &Args, counts: Arc<Counts>) -> Self {
        Self {
            db: db.clone(),
            store: store.to_path_buf(),
            bound: float(args.bound) / 100.0,
            reserve: float(args.reserve),
            enough: args.live / 2,
            counts,
            lives: VecDeque::new(),
            seen: Seen::default(),
        }
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Looks every second; ends with what is wrong.
    pub(crate) async fn run(&mut self) -> Outcome<Infallible> {
        let begun = Instant::now();
        let mut before = (begun, 0);
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            let stats = self.db.stats();
            let space = self.look(&stats)?;
            if self.seen.looks % LOOKS_A_LINE == 1 {
                let (now, operations) = (Instant::now(), self.seen.operations);
                let rate = float(operations - before.1) / (now - before.0).as_secs_f64().max(1e-9);
                before = (now, operations);
                println!(
                    "{:>6.0} s  {rate:>8.0} ops/s  {:>6} MiB live  SA {:>5.3}, on disk {:>5.3}  \
                     WA {:>5.2}  segments: {} free, {} missing, {} to sort",
                    begun.elapsed().as_secs_f64(),
                    stats.space.live >> 20,
                    space.used,
                    space.on_disk,
                    self.seen.amplification(),
                    stats.segments.free,
                    stats.compaction.debt_segments,
                    stats.compaction.separator_segments,
                );
            }
        }
    }

    /// One look; an error says what is wrong.
    fn look(&mut self, stats: &Stats) -> Outcome<Space> {
        add_up(stats)?;
        let idle = u64::from(stats.segments.free) + u64::from(stats.segments.hollow);
        self.lives.truncate(LOOKS_BACK - 1);
        self.lives.push_front(float(stats.space.live.max(1)));
        let live = self.lives.iter().copied().fold(1.0, f64::max);
        let on_disk = float(on_disk(&self.store)?);
        let used = float(stats.file_bytes - idle * stats.segment_len);
        let space = Space { used: used / live, on_disk: on_disk / live };

        let seen = &mut self.seen;
        seen.looks += 1;
        seen.operations = self.counts.operations.load(Ordering::Relaxed);
        seen.user_bytes = self.counts.user_bytes.load(Ordering::Relaxed);
        seen.device_bytes = stats.device.written_bytes;
        if stats.space.live < self.enough {
            return Ok(space);
        }
        seen.bounded += 1;
        seen.most_used = seen.most_used.max(space.used);
        seen.most_on_disk = seen.most_on_disk.max(space.on_disk);
        let wrong = |what, bytes: f64| {
            Err(format!("{what} {bytes} bytes with {live} live, over the bound: {stats:?}").into())
        };
        if used > self.bound * live {
            return wrong("segments in use take", used);
        }
        if on_disk > self.bound * live + self.reserve {
            return wrong("the files take of the disk", on_disk);
        }
        Ok(space)
    }
}

/// Bytes taken for each live byte.
struct Space {
    used: f64,
    on_disk: f64,
}

impl Seen {
    /// Bytes written to the device for each byte of users' records.
    pub(crate) fn amplification(&self) -> f64 {
        float(self.device_bytes) / float(self.user_bytes.max(1))
    }
}

/// Whether the numbers are those of the files.
fn add_up(stats: &Stats) -> Outcome<()> {
    let counts = &stats.segments;
    let idle = [counts.free, counts.hollow];
    let used = [counts.active, counts.sealed, counts.retired, counts.quarantined];
    let slots = idle.into_iter().chain(used).map(u64::from).sum::<u64>() * stats.segment_len;
    if [stats.space.sum(), slots] == [stats.file_bytes; 2] {
        return Ok(());
    }
    let (sum, files) = (stats.space.sum(), stats.file_bytes);
    Err(format!("{sum} bytes by use, {slots} by slots, {files} in files: {stats:?}").into())
}

/// Bytes of the disk that the segment files take, as the file system says.
fn on_disk(store: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("segments-") {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) => bytes += metadata.blocks() * DISK_BLOCK,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // given back meanwhile
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}
