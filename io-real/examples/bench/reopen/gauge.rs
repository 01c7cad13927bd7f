//! A storage that counts what is read of another one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use logstor::io::{File, FileOffset, FolderEntry, IoBuf, OpenMode, Storage, StorageInfo};
use logstor::types::to_u64;

/// What was read so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) reads: u64,
    pub(super) bytes: u64,
    /// The most reads at the same time.
    pub(super) in_flight: u64,
}

/// The counting storage.
#[derive(Debug)]
pub(super) struct Gauge {
    storage: Arc<dyn Storage>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    reads: AtomicU64,
    bytes: AtomicU64,
    now: AtomicU64,
    most: AtomicU64,
}

#[derive(Debug)]
struct Counted {
    file: Arc<dyn File>,
    counts: Arc<Counts>,
}

/// A read that is in flight.
struct Flight<'a>(&'a Counts);

impl Gauge {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, counts: Arc::default() }
    }

    pub(super) fn read(&self) -> Read {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { reads, bytes, most, .. } = &*self.counts;
        Read { reads: load(reads), bytes: load(bytes), in_flight: load(most) }
    }
}

impl<'a> Flight<'a> {
    fn begin(counts: &'a Counts, bytes: usize) -> Self {
        counts.reads.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(to_u64(bytes), Ordering::Relaxed);
        let now = counts.now.fetch_add(1, Ordering::Relaxed) + 1;
        counts.most.fetch_max(now, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Storage for Gauge {
    async fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.storage.open(name, mode).await?;
        Ok(Arc::new(Counted { file, counts: Arc::clone(&self.counts) }))
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

#[async_trait]
impl File for Counted {
    async fn read(&self, at: FileOffset, into: IoBuf) -> io::Result<IoBuf> {
        let _flight = Flight::begin(&self.counts, into.len());
        self.file.read(at, into).await
    }

    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()> {
        self.file.write(at, bytes).await
    }

    async fn sync(&self) -> io::Result<()> {
        self.file.sync().await
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
