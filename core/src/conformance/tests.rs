//! The suite against a backend in memory: the good one passes, every broken one is found out.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::task::noop_waker_ref;

use super::expect::{block, pattern};
use super::*;
use crate::io::{
    Clock, File, FileOffset, FolderEntry, IoBuf, OpenMode, Spawn, Storage, StorageInfo,
};
use crate::overlay::Overlay;
use crate::types::{BLOCK, to_u64};

/// What a broken backend does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Not wrong: a file system that cannot punch.
    PunchUnsupported,
    OddAlignment,
    Leftover,
    CreateTakesOver,
    OpenCopies,
    Unsorted,
    RenameCopies,
    RemoveIsSilent,
    ShortWrites,
    OldestWins,
    SharedBytesLost,
    LengthOfLastWrite,
    ZerosPastTheEnd,
    RoomIsOverwritten,
    RoomOnlyGrows,
    PunchesTooMuch,
    ReservingClears,
    OutsideIsTaken,
    ShrinkingGrows,
    ManyWritesLost,
    BegunTwice,
    SecondSyncFails,
    DroppingWedges,
    SleepsTooShort,
    TasksAreDropped,
    TasksArePolledOnce,
}

#[derive(Debug)]
struct World {
    fault: Fault,
    names: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    now: AtomicU64,
    tasks: Mutex<Vec<Task>>,
}

struct Task(BoxFuture<'static, ()>);

impl Debug for Task {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Task")
    }
}

#[derive(Debug)]
struct MemoryFile {
    fault: Fault,
    bytes: Mutex<Vec<u8>>,
    writes: AtomicU64,
    syncs: AtomicU64,
    wedged: AtomicU64,
}

impl MemoryFile {
    fn new(fault: Fault, bytes: Vec<u8>) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let bytes = Mutex::new(bytes);
        Arc::new(Self { fault, bytes, writes: zero(), syncs: zero(), wedged: zero() })
    }

    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills the range, as far as the file goes; an error if it goes further.
    fn zero(&self, at: FileOffset, len: u64, until: usize) -> io::Result<()> {
        let mut bytes = self.bytes();
        let end = at.get().checked_add(len).filter(|&end| end <= to_u64(bytes.len()));
        if end.is_none() && self.fault != Fault::OutsideIsTaken {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let start = usize::try_from(at.get()).unwrap().min(bytes.len());
        let end = until.clamp(start, bytes.len());
        bytes[start..end].fill(0);
        Ok(())
    }

    /// Waits for one poll, as if the device took its time.
    async fn take_time(&self) {
        self.wedged.fetch_add(1, Relaxed);
        let mut polled = false;
        let once = poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
        });
        once.await;
        self.wedged.fetch_sub(1, Relaxed);
    }
}

#[async_trait]
impl File for MemoryFile {
    async fn read(&self, at: FileOffset, mut into: IoBuf) -> io::Result<IoBuf> {
        self.take_time().await;
        if self.fault == Fault::DroppingWedges && self.wedged.load(Relaxed) > 50 {
            return Err(io::Error::other("no slot is free"));
        }
        let bytes = self.bytes();
        let at = usize::try_from(at.get()).unwrap();
        match bytes.get(at..at + into.len()) {
            Some(found) => into.copy_from_slice(found),
            None if self.fault == Fault::ZerosPastTheEnd => into.fill(0),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(into)
    }

    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()> {
        self.take_time().await;
        let number = self.writes.fetch_add(1, Relaxed);
        let mut file = self.bytes();
        let at = usize::try_from(at.get()).unwrap();
        let mut end = at + bytes.len();
        let lost = match self.fault {
            Fault::SharedBytesLost => Arc::strong_count(&bytes) > 1,
            Fault::ManyWritesLost => number > 150,
            Fault::OldestWins => file.len() >= end,
            _ => false,
        };
        if self.fault == Fault::ShortWrites {
            end = end.min(at + block(256));
        }
        if file.len() < end || self.fault == Fault::LengthOfLastWrite {
            file.resize(end, 0);
        }
        if !lost {
            file[at..end].copy_from_slice(&bytes[..end - at]);
        }
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        let number = self.syncs.fetch_add(1, Relaxed);
        if self.fault == Fault::SecondSyncFails && number == 1 {
            return Err(io::Error::other("the device is gone"));
        }
        Ok(())
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(to_u64(self.bytes().len()))
    }

    async fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes();
        let len = usize::try_from(len).unwrap();
        if self.fault == Fault::RoomIsOverwritten {
            bytes.clear();
        }
        if self.fault != Fault::RoomOnlyGrows || bytes.len() < len {
            bytes.resize(len, 0);
        }
        Ok(())
    }

    async fn punch(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.take_time().await;
        if self.fault == Fault::PunchUnsupported && len > 0 {
            let punched = self.zero(at, len, 0);
            return punched.and(Err(io::ErrorKind::Unsupported.into()));
        }
        let more = if self.fault == Fault::PunchesTooMuch { block(1) } else { 0 };
        let end = usize::try_from(at.get().saturating_add(len)).unwrap();
        self.zero(at, len, end.saturating_add(more))
    }

    async fn shrink(&self, len: u64) -> io::Result<()> {
        self.take_time().await;
        let mut bytes = self.bytes();
        let len = usize::try_from(len).unwrap();
        if self.fault == Fault::ShrinkingGrows || len < bytes.len() {
            bytes.resize(len, 0);
        }
        Ok(())
    }

    async fn allocate(&self, at: FileOffset, len: u64) -> io::Result<()> {
        self.take_time().await;
        let clears = self.fault == Fault::ReservingClears;
        let end = usize::try_from(at.get().saturating_add(len)).unwrap();
        self.zero(at, len, if clears { end } else { 0 })
    }
}

impl World {
    fn names(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<MemoryFile>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Storage for World {
    async fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut names = self.names();
        let found = names.get(name).cloned();
        let takes_over = self.fault == Fault::CreateTakesOver;
        let file = match (found, mode) {
            (Some(file), OpenMode::Existing) if self.fault == Fault::OpenCopies => {
                MemoryFile::new(self.fault, file.bytes().clone())
            }
            (Some(file), OpenMode::Existing) => file,
            (Some(_), OpenMode::CreateNew) if !takes_over => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            (None, OpenMode::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (_, OpenMode::CreateNew) => {
                let file = MemoryFile::new(self.fault, Vec::new());
                names.insert(name.to_owned(), Arc::clone(&file));
                file
            }
        };
        Ok(file)
    }

    async fn list(&self) -> io::Result<Vec<FolderEntry>> {
        let len = |file: &MemoryFile| to_u64(file.bytes().len());
        let entry = |(name, file): (&String, &Arc<MemoryFile>)| FolderEntry {
            name: name.clone(),
            len: len(file),
        };
        let mut entries: Vec<_> = self.names().iter().map(entry).collect();
        if self.fault == Fault::Unsorted {
            entries.reverse();
        }
        Ok(entries)
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names();
        let file = names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        if self.fault != Fault::RenameCopies {
            names.remove(from);
        }
        names.insert(to.to_owned(), file);
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.names().remove(name);
        if removed.is_none() && self.fault != Fault::RemoveIsSilent {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    async fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn release(&self) {}

    fn together(&self, begin: &mut dyn FnMut()) {
        if self.fault == Fault::BegunTwice {
            begin();
        }
        begin();
    }

    fn info(&self) -> StorageInfo {
        let alignment = if self.fault == Fault::OddAlignment { 3 } else { 512 };
        StorageInfo { backend: "memory".into(), alignment, direct: false }
    }
}

#[async_trait]
impl Clock for World {
    fn now(&self) -> Duration {
        Duration::from_micros(self.now.load(Relaxed))
    }

    fn wall(&self) -> Duration {
        self.now()
    }

    async fn sleep(&self, time: Duration) {
        let time = if self.fault == Fault::SleepsTooShort { time / 2 } else { time };
        self.now.fetch_add(u64::try_from(time.as_micros()).unwrap(), Relaxed);
    }
}

impl Spawn for World {
    fn spawn(&self, _: &'static str, mut task: BoxFuture<'static, ()>) {
        match self.fault {
            Fault::TasksAreDropped => {}
            Fault::TasksArePolledOnce => {
                let _ = task.as_mut().poll(&mut Context::from_waker(noop_waker_ref()));
            }
            _ => self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(Task(task)),
        }
    }
}

/// Runs one check on a backend with this fault, polling it and its tasks in turn.
fn run_check(check: &Check, fault: Fault) -> Result<(), Failure> {
    run_check_on(check, fault, |storage| storage)
}

/// The same, with the backend behind something else.
fn run_check_on(
    check: &Check,
    fault: Fault,
    put: impl FnOnce(Arc<dyn Storage>) -> Arc<dyn Storage>,
) -> Result<(), Failure> {
    let world = Arc::new(World {
        fault,
        names: Mutex::default(),
        now: AtomicU64::new(0),
        tasks: Mutex::default(),
    });
    if fault == Fault::Leftover {
        world.names().insert("leftover".into(), MemoryFile::new(fault, Vec::new()));
    }
    let environment = Environment {
        storage: put(world.clone()),
        clock: world.clone(),
        spawn: world.clone(),
        entropy: [0; 32],
    };
    let mut context = Context::from_waker(noop_waker_ref());
    let mut main: Pin<Box<_>> = Box::pin(check.run(environment));
    let mut running = Vec::new();
    for _ in 0..100_000 {
        if let Poll::Ready(outcome) = main.as_mut().poll(&mut context) {
            return outcome;
        }
        running.append(&mut world.tasks.lock().unwrap());
        running.retain_mut(|Task(task)| task.as_mut().poll(&mut context).is_pending());
    }
    panic!("`{}` never ends with {fault:?}", check.name());
}

#[test]
fn a_correct_backend_passes_every_check() {
    for check in checks() {
        assert_eq!(run_check(&check, Fault::None), Ok(()), "{}", check.name());
    }
}

/// Nobody can tell from inside that what was written is only remembered.
#[test]
fn a_folder_that_is_only_read_passes_too() {
    for check in checks() {
        let read_only = |storage| -> Arc<dyn Storage> { Arc::new(Overlay::new(storage)) };
        assert_eq!(run_check_on(&check, Fault::None, read_only), Ok(()), "{}", check.name());
    }
}

#[test]
fn a_backend_that_cannot_punch_passes_too() {
    for check in checks() {
        assert_eq!(run_check(&check, Fault::PunchUnsupported), Ok(()), "{}", check.name());
    }
}

#[test]
fn every_check_finds_a_broken_backend() {
    let faults = [
        Fault::OddAlignment,
        Fault::Leftover,
        Fault::CreateTakesOver,
        Fault::OpenCopies,
        Fault::Unsorted,
        Fault::RenameCopies,
        Fault::RemoveIsSilent,
        Fault::ShortWrites,
        Fault::OldestWins,
        Fault::SharedBytesLost,
        Fault::LengthOfLastWrite,
        Fault::ZerosPastTheEnd,
        Fault::RoomIsOverwritten,
        Fault::RoomOnlyGrows,
        Fault::PunchesTooMuch,
        Fault::ReservingClears,
        Fault::OutsideIsTaken,
        Fault::ShrinkingGrows,
        Fault::ManyWritesLost,
        Fault::BegunTwice,
        Fault::SecondSyncFails,
        Fault::DroppingWedges,
        Fault::SleepsTooShort,
        Fault::TasksAreDropped,
        Fault::TasksArePolledOnce,
    ];
    let checks = checks();
    assert_eq!(faults.len(), checks.len(), "one fault a check, in the same order");
    for (check, fault) in checks.iter().zip(faults) {
        let failure = run_check(check, fault).expect_err(&format!("{fault:?} must be found"));
        assert_eq!(failure.check, check.name());
        assert_eq!(failure.contract, check.contract());
        assert!(failure.to_string().contains(check.name()));
    }
}

#[test]
fn names_of_checks_differ() {
    let mut names: Vec<_> = checks().iter().map(Check::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), checks().len());
}

#[test]
fn a_pattern_repeats_nowhere() {
    let mut words: Vec<Vec<u8>> = [1, 2, 3]
        .iter()
        .flat_map(|&seed| {
            pattern(seed, 4 * BLOCK).chunks(8).map(<[u8]>::to_vec).collect::<Vec<_>>()
        })
        .collect();
    let count = words.len();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), count);
}
