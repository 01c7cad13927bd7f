//! Synced puts while compaction rewrites the store without a pause, and without it, turn by turn.
//!
//! A data set with holes in it lies in the store; callers put a few keys beside it, over and over.
//! In one window compaction is paused. In the next it is asked to rewrite every segment, and asked
//! again as soon as it has, which is more than it would ever do by itself.
//!
//! Absent on purpose: other writes at the same time. Synced puts share the log with them, and what
//! they would wait for is then not compaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use logstor::{CompactRequest, Db, Durability};

use crate::load::fill;
use crate::numbers::{float, scramble};
use crate::report::{Report, Round, Sample};
use crate::synced::{Callers, WRITERS, puts};
use crate::{Bench, Outcome, key_of, value_of};

/// What p99 may grow to.
const GOAL: f64 = 3.0;

/// Keys of each writer: few, so that their segments die by themselves, and no window leaves the
/// next one more to do.
const KEYS: u64 = 1024;

/// Measures every number of writers in every round, on one data set.
pub(crate) async fn measure(bench: &Bench<'_>, report: &mut Report) -> Outcome<()> {
    let (records, time) = (bench.args.records, Duration::from_secs(bench.args.seconds));
    let db = bench.open("pressure", bench.args.backends[0]).await?;
    fill(&db.group("data").await?, records).await?;
    for round in 0..bench.args.rounds {
        for (turn, writers) in (0..).zip(WRITERS) {
            let window = Window { callers: Callers { writers, keys: KEYS }, time };
            let holes = Holes { records, seed: round << 8 | turn };
            let [quiet, pressed] = ["quiet", "compacting"]
                .map(|how| format!("synced puts, {writers:>2} writers, {how}"));
            holes.make(&db).await?;
            report.add(&quiet, "/s", Round { fio: None, ours: window.quiet(&db).await? });
            holes.make(&db).await?;
            let (ours, moved) = window.pressed(&db).await?;
            report.add(&pressed, "/s", Round { fio: None, ours });
            let name = format!("compaction beside {writers:>2} writers");
            report.add(&name, "MB/s", Round { fio: None, ours: moved });
            report.compare(&quiet, &pressed, GOAL);
        }
    }
    db.close().await?;
    drop(db);
    bench.remove("pressure")
}

/// Dead records all over the data set.
struct Holes {
    records: u64,
    seed: u64,
}

impl Holes {
    /// Overwrites every fourth record, by chance.
    async fn make(&self, db: &Db) -> Outcome<()> {
        let group = db.group("data").await?;
        for turn in 0..self.records / 4 {
            let number = scramble(self.seed << 40 | turn) % self.records;
            group.put_with(key_of(number), value_of(number), Durability::Buffered).await?;
        }
        Ok(db.flush().await?)
    }
}

/// One window of time, and who puts in it.
#[derive(Clone, Copy)]
struct Window {
    callers: Callers,
    time: Duration,
}

impl Window {
    /// Without compaction.
    async fn quiet(self, db: &Db) -> Outcome<Sample> {
        settle(db).await?;
        let paused = db.pause_compaction();
        let sample = puts(db, self.callers, self.time).await;
        drop(paused);
        sample
    }

    /// With it; and how fast that went.
    async fn pressed(self, db: &Db) -> Outcome<(Sample, Sample)> {
        settle(db).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let pressing = tokio::spawn(press(db.clone(), Arc::clone(&stop)));
        let (begun, before) = (Instant::now(), db.stats().device.written.copies);
        let sample = puts(db, self.callers, self.time).await;
        let moved = db.stats().device.written.copies - before;
        let per_second = float(moved) / 1e6 / begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        pressing.await??;
        if moved == 0 {
            return Err("compaction did nothing that synced puts could wait for".into());
        }
        Ok((sample?, Sample { per_second, ..Sample::default() }))
    }
}

/// Waits until the store has left the device alone for a while: nothing is being rewritten, erased,
/// zeroed or given back.
async fn settle(db: &Db) -> Outcome<()> {
    let mut before = db.stats();
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = db.stats();
        if now.device == before.device && now.segments == before.segments {
            return Ok(());
        }
        before = now;
    }
    Err(format!("still at work after a minute: {before:?}").into())
}

/// Has every segment rewritten, over and over.
async fn press(db: Db, stop: Arc<AtomicBool>) -> logstor::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        db.compact(CompactRequest::default().reclaimable_percent(0)).await?;
    }
    Ok(())
}
