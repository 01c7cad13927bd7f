//! The canary: a disk that lies, which a sweep must find out.
//!
//! A sweep that finds nothing proves something only if it would have found what is there. So CI
//! runs it on a disk that says of a sync that it is done and does not do it. What relied on the
//! sync is then gone with the next power cut, although nothing has failed; a sweep that does not
//! notice is broken itself.
//!
//! Absent on purpose: other bugs. Those of the engine are planted by the [`exam`](crate::exam),
//! which takes minutes; this takes a moment.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use logstor_core::io::{
    Environment, File, FileOffset, FolderEntry, IoBuf, OpenMode, Storage, StorageInfo,
};

use crate::harness::{Report, Watching, run_plan};
use crate::plan::{Mode, Plan};

/// The first seed that finds out a disk that leaves every `every`th sync of files undone.
#[must_use]
pub fn first_found(seeds: Range<u64>, mode: Mode, every: u64) -> Option<Report> {
    let watching = Watching { syncs_left_undone: Some(every), ..Watching::default() };
    let mut reports = seeds.map(|seed| run_plan(Plan::draw(seed, mode), &watching));
    reports.find(|report| report.failure.is_some())
}

/// The environment on such a disk. `asked`: the syncs so far.
#[must_use]
pub fn lying(mut environment: Environment, every: u64, asked: &Arc<AtomicU64>) -> Environment {
    let storage = Arc::clone(&environment.storage);
    environment.storage = Arc::new(LyingStorage { storage, every, asked: Arc::clone(asked) });
    environment
}

#[derive(Debug)]
struct LyingStorage {
    storage: Arc<dyn Storage>,
    every: u64,
    asked: Arc<AtomicU64>,
}

#[async_trait]
impl Storage for LyingStorage {
    async fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.storage.open(name, mode).await?;
        Ok(Arc::new(LyingFile { file, every: self.every, asked: Arc::clone(&self.asked) }))
    }

    async fn list(&self) -> io::Result<Vec<FolderEntry>> {
        self.storage.list().await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(from, to).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name).await
    }

    async fn sync_folder(&self) -> io::Result<()> {
        self.storage.sync_folder().await
    }

    fn release(&self) {
        self.storage.release();
    }

    fn together(&self, begin: &mut dyn FnMut()) {
        self.storage.together(begin);
    }

    fn info(&self) -> StorageInfo {
        self.storage.info()
    }
}

#[derive(Debug)]
struct LyingFile {
    file: Arc<dyn File>,
    every: u64,
    asked: Arc<AtomicU64>,
}

#[async_trait]
impl File for LyingFile {
    async fn read(&self, at: FileOffset, into: IoBuf) -> io::Result<IoBuf> {
        self.file.read(at, into).await
    }

    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()> {
        self.file.write(at, bytes).await
    }

    /// Here it lies.
    async fn sync(&self) -> io::Result<()> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if asked.is_multiple_of(self.every) { Ok(()) } else { self.file.sync().await }
    }

    async fn len(&self) -> io::Result<u64> {
        self.file.len().await
    }

    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.file.preallocate(len).await
    }

    async fn punch(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.file.punch(at, len).await
    }

    async fn shrink(&self, len: u64) -> io::Result<()> {
        self.file.shrink(len).await
    }

    async fn allocate(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.file.allocate(at, len).await
    }
}
