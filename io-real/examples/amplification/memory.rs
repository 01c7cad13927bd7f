//! A disk of memory, a clock that counts, and tasks on one thread.
//!
//! ```text
//!   read, write, sync: done at once; reported one turn of the scheduler later
//!   clock:             one nanosecond for each byte moved, TURN for each look of a sleeper
//! ```
//!
//! 1. What happens depends on the calls alone: no thread, no time of the machine.
//! 2. Time goes on whenever somebody sleeps, or the disk works; so a store that waits for a timer
//!    gets it, and one that is busy writes about a gigabyte a second.
//!
//! Absent on purpose: faults, and a power cut. `logstor-io-sim` has them, at the price of keeping
//! every version of every sector.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use futures::future::BoxFuture;
use logstor::io::{
    Clock, Environment, File, FileOffset, FolderEntry, IoBuf, OpenMode, Spawn, Storage, StorageInfo,
};
use logstor::types::to_u64;
use tokio::task::yield_now;

/// A turn of the scheduler with nothing to do but wait.
const TURN: Duration = Duration::from_micros(1);

/// A new, empty disk, and what goes with it. Needs a runtime of one thread around it.
pub(crate) fn environment() -> Environment {
    let clock = Arc::new(Counter::default());
    let storage = Arc::new(Memory { clock: Arc::clone(&clock), files: Mutex::default() });
    Environment { storage, clock, spawn: Arc::new(OneThread), entropy: [7; 32] }
}

/// Nanoseconds since the beginning.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The disk moved so many bytes.
    async fn moved(&self, bytes: usize) {
        self.advance(Duration::from_nanos(to_u64(bytes)));
        yield_now().await;
    }
}

#[async_trait]
impl Clock for Counter {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Duration {
        self.now()
    }

    async fn sleep(&self, time: Duration) {
        let until = self.now() + time;
        while self.now() < until {
            yield_now().await;
            self.advance(TURN);
        }
    }
}

#[derive(Debug)]
struct OneThread;

impl Spawn for OneThread {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

#[derive(Debug)]
struct Memory {
    clock: Arc<Counter>,
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
}

impl Memory {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemoryFile>>> {
        self.files.lock().expect("nothing panics while it holds the names")
    }
}

#[async_trait]
impl Storage for Memory {
    async fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut files = self.files();
        match (files.get(name), mode) {
            (None, OpenMode::Existing) => Err(io::ErrorKind::NotFound.into()),
            (Some(_), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), OpenMode::Existing) => Ok(file.clone()),
            (None, OpenMode::CreateNew) => {
                let clock = Arc::clone(&self.clock);
                let file = Arc::new(MemoryFile { clock, bytes: Mutex::default() });
                files.insert(name.to_owned(), Arc::clone(&file));
                Ok(file)
            }
        }
    }

    async fn list(&self) -> io::Result<Vec<FolderEntry>> {
        let entry = |(name, file): (&String, &Arc<MemoryFile>)| FolderEntry {
            name: name.clone(),
            len: to_u64(file.bytes().len()),
        };
        Ok(self.files().iter().map(entry).collect())
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.files().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn release(&self) {}

    fn together(&self, begin: &mut dyn FnMut()) {
        begin();
    }

    fn info(&self) -> StorageInfo {
        StorageInfo { backend: "memory".into(), alignment: 4096, direct: true }
    }
}

struct MemoryFile {
    clock: Arc<Counter>,
    bytes: Mutex<Vec<u8>>,
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MemoryFile({} bytes)", self.bytes().len())
    }
}

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().expect("nothing panics while it holds the bytes")
    }

    fn fill(&self, at: FileOffset, into: &mut IoBuf) -> io::Result<()> {
        let (bytes, start) = (self.bytes(), position(at)?);
        let there = bytes.get(start..start.saturating_add(into.len()));
        into.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn put(&self, at: FileOffset, from: &IoBuf) -> io::Result<()> {
        let (mut bytes, start) = (self.bytes(), position(at)?);
        let end = start.checked_add(from.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(from);
        Ok(())
    }
}

#[async_trait]
impl File for MemoryFile {
    async fn read(&self, at: FileOffset, mut into: IoBuf) -> io::Result<IoBuf> {
        self.fill(at, &mut into)?;
        self.clock.moved(into.len()).await;
        Ok(into)
    }

    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()> {
        self.put(at, &bytes)?;
        self.clock.moved(bytes.len()).await;
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        self.clock.moved(0).await;
        Ok(())
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(to_u64(self.bytes().len()))
    }

    async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(position(FileOffset::new(len))?, 0);
        Ok(())
    }

    async fn punch(&self, at: FileOffset, len: u64) -> io::Result<()> {
        let (mut bytes, start) = (self.bytes(), position(at)?);
        let end = position(FileOffset::new(at.get().saturating_add(len)))?;
        bytes.get_mut(start..end).ok_or(io::ErrorKind::InvalidInput)?.fill(0);
        Ok(())
    }

    async fn shrink(&self, len: u64) -> io::Result<()> {
        self.bytes().truncate(position(FileOffset::new(len))?);
        Ok(())
    }

    async fn allocate(&self, _at: FileOffset, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

fn position(at: FileOffset) -> io::Result<usize> {
    usize::try_from(at.get()).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
