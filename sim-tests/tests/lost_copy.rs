//! A device that says that a write was done, and did not do it, or did it elsewhere.
//!
//! A copy made by compaction replaces its original for good. So it is read back before it does, and
//! a device that lies about the write of a copy costs that run, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::io::{
    Environment, File, FileOffset, FolderEntry, IoBuf, OpenMode, Storage, StorageInfo,
};
use logstor_core::{CompactRequest, Db, Error, Group, Options};
use logstor_io_sim::{CrashKind, Sim, SimOptions};
use logstor_sim_tests::value;

const SEGMENT: u32 = 64 << 10;
const KEYS: u64 = 120;

/// What the device does to a write of copies that it lies about.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Lost,
    /// It lands a block behind the place that was asked for, where the next buffer would go.
    Misdirected,
}

/// Lies about the first so many writes of copies.
#[derive(Debug)]
struct Lies {
    lie: Lie,
    left: AtomicU32,
    told: AtomicU32,
}

#[derive(Debug)]
struct LyingStorage {
    inner: Arc<dyn Storage>,
    lies: Arc<Lies>,
}

#[derive(Debug)]
struct LyingFile {
    inner: Arc<dyn File>,
    lies: Arc<Lies>,
}

#[async_trait]
impl Storage for LyingStorage {
    async fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(name, mode).await?;
        Ok(Arc::new(LyingFile { inner, lies: Arc::clone(&self.lies) }))
    }
    async fn list(&self) -> io::Result<Vec<FolderEntry>> {
        self.inner.list().await
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to).await
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name).await
    }
    async fn sync_folder(&self) -> io::Result<()> {
        self.inner.sync_folder().await
    }
    fn release(&self) {
        self.inner.release();
    }
    fn together(&self, begin: &mut dyn FnMut()) {
        self.inner.together(begin);
    }
    fn info(&self) -> StorageInfo {
        self.inner.info()
    }
}

#[async_trait]
impl File for LyingFile {
    async fn read(&self, at: FileOffset, into: IoBuf) -> io::Result<IoBuf> {
        self.inner.read(at, into).await
    }
    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()> {
        let copies = BufferHeader::parse(&bytes[..]).is_ok_and(|h| h.kind == BufferKind::Rewrite);
        let fewer = |left: u32| left.checked_sub(1);
        let lies = copies
            && self.lies.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok();
        if !lies {
            return self.inner.write(at, bytes).await;
        }
        self.lies.told.fetch_add(1, Ordering::SeqCst);
        match self.lies.lie {
            Lie::Lost => Ok(()),
            Lie::Misdirected => self.inner.write(FileOffset::new(at.get() + 4096), bytes).await,
        }
    }
    async fn sync(&self) -> io::Result<()> {
        self.inner.sync().await
    }
    async fn len(&self) -> io::Result<u64> {
        self.inner.len().await
    }
    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.inner.preallocate(len).await
    }
    async fn punch(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.inner.punch(at, len).await
    }
    async fn shrink(&self, len: u64) -> io::Result<()> {
        self.inner.shrink(len).await
    }
    async fn allocate(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.inner.allocate(at, len).await
    }
}

fn options() -> Options {
    Options {
        segment_len: Some(SEGMENT),
        segments_per_file: Some(8),
        capacity: Some(32 * u64::from(SEGMENT)),
        ..Options::default()
    }
}

fn expected(key: u64) -> bytes::Bytes {
    value::make(key, 1500)
}

/// Every second key is written twice, so that every segment has something to give back.
async fn fill(group: &Group) -> Result<(), Error> {
    for key in 0..KEYS {
        group.put(key.to_le_bytes(), expected(key)).await?;
    }
    for key in (0..KEYS).step_by(2) {
        group.put(key.to_le_bytes(), expected(key)).await?;
    }
    Ok(())
}

async fn check(db: &Db) {
    let group = db.group("g").await.unwrap();
    for key in 0..KEYS {
        assert_eq!(group.get(key.to_le_bytes()).await.unwrap(), Some(expected(key)), "key {key}");
    }
}

fn tell_lies(lie: Lie, how_many: u32) {
    let sim = Sim::new(&SimOptions::new(7));
    let lies = Arc::new(Lies { lie, left: AtomicU32::new(how_many), told: AtomicU32::new(0) });
    let mut env: Environment = sim.boot();
    env.storage = Arc::new(LyingStorage { inner: env.storage, lies: Arc::clone(&lies) });
    sim.run(async {
        let db = Db::open(env, options()).await.unwrap();
        let pause = db.pause_compaction();
        let group = db.group("g").await.unwrap();
        fill(&group).await.unwrap();
        drop(pause);
        // One run fails for each lie; the one after them succeeds.
        let mut failed = 0;
        while db.compact(CompactRequest::default()).await.is_err() {
            failed += 1;
            assert!(failed <= how_many, "{lie:?}: {failed} runs failed");
        }
        assert_eq!(lies.told.load(Ordering::SeqCst), how_many, "{lie:?}");
        let compaction = db.stats().compaction;
        assert!(compaction.runs_failed >= 1, "{lie:?}: no run failed");
        assert!(compaction.done.records_moved > 0, "{lie:?}: nothing was compacted after all");
        check(&db).await;
    })
    .expect_done();
    sim.crash(CrashKind::POWER_CUT);
    let env = sim.boot();
    sim.run(async {
        let db = Db::open(env, options()).await.unwrap();
        check(&db).await;
    })
    .expect_done();
}

#[test]
fn a_copy_whose_write_was_lost_replaces_nothing() {
    tell_lies(Lie::Lost, 1);
    tell_lies(Lie::Lost, 3);
}

#[test]
fn a_copy_that_landed_elsewhere_replaces_nothing() {
    tell_lies(Lie::Misdirected, 1);
}
