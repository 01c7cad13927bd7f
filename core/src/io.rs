//! What the engine asks of the world: a folder of files, a clock, and a place to run tasks.
//!
//! The engine knows no operating system. Everything that could differ between two runs comes in
//! through [`Environment`], so that the same engine runs on a real disk and, bit for bit
//! repeatable, on a simulated one.
//!
//! # The contract of storage
//!
//! Tests and faults refer to these numbers; the module `conformance` (a feature) checks them on a
//! backend.
//!
//! 1. A write is durable once a [`File::sync`] of that file, begun after the write completed, has
//!    returned `Ok`.
//! 2. Until then a crash may keep any subset of its sectors, each old or new.
//! 3. After a failed [`File::sync`] nothing is known of the unsynced writes of that file, whoever
//!    made them, now or after a second, successful sync. The data must be written again elsewhere;
//!    the segment is retired for good.
//! 4. After a failed write any part of it may be there.
//! 5. A created, renamed or removed name is durable only after [`Storage::sync_folder`].
//! 6. Completions come in any order.
//! 7. Offsets and lengths are multiples of the alignment, those of [`File::punch`] and
//!    [`File::allocate`] of a block; anything else is a bug of the caller.
//! 8. Reads and writes may be short on the device; the backend loops. A read past the end of the
//!    file is an error of kind [`UnexpectedEof`](std::io::ErrorKind::UnexpectedEof).
//! 9. A punch is like a write of zeros, also to 1, 2, 3 and 4, but takes the room away: it is the
//!    device's again, at once or with the sync, and a write into the range may then fail with
//!    [`StorageFull`](std::io::ErrorKind::StorageFull). A block whose sectors a crash did not all
//!    leave zero has its room.
//! 10. A file that shrank is shorter at once, and durably so with the next sync (as in 1). A crash
//!     before that leaves the old or the new length; with the old one, each sector behind the new
//!     end is old or zero. After a failed shrink it is as after such a crash.
//! 11. Room that was reserved is there for writes; over a crash, once a sync begun after the
//!     reservation has returned `Ok`. It is worth what the file system makes of it: one that
//!     reserves nothing, or writes every block to a new place, may refuse such a write with
//!     [`StorageFull`](std::io::ErrorKind::StorageFull) all the same.
//!
//! # Dropped futures
//!
//! Every method may be dropped at any await. The operation then may or may not happen, as if its
//! completion had been lost; the backend keeps the memory and the file handle alive until the
//! device is done with them.
//!
//! Absent on purpose: seeking, appending, memory mapping, file locks (a backend locks its folder
//! when it is opened), and any default implementation that answers "unsupported".

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

pub use crate::io_buf::IoBuf;

/// A byte position counted from the start of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOffset(u64);

impl FileOffset {
    /// The start of a file.
    pub const ZERO: Self = Self(0);

    /// The position `bytes` into a file.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes from the start of the file.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// How [`Storage::open`] treats the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist; otherwise an error of kind [`NotFound`](io::ErrorKind::NotFound).
    Existing,
    /// The file must not exist; otherwise an error of kind
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists).
    CreateNew,
}

/// One name in the folder of the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderEntry {
    /// The name, without any folder.
    pub name: String,
    /// Bytes in the file.
    pub len: u64,
}

/// What a backend says of itself; shown in `stats()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageInfo {
    /// The backend, for people: `"thread pool"`, `"simulated"`.
    pub backend: String,
    /// Offsets, lengths and memory of every read and write must be multiples of this, in bytes.
    /// At most 4096, a power of two.
    pub alignment: u32,
    /// Whether reads and writes pass the operating system's cache by.
    pub direct: bool,
}

/// The folder of one store. Names are plain: ASCII letters, digits, `.` and `-`, no separators.
#[async_trait]
pub trait Storage: Send + Sync + Debug {
    /// Opens or creates a file for reading and writing.
    async fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// All names in the folder, sorted by name.
    async fn list(&self) -> io::Result<Vec<FolderEntry>>;

    /// Gives the file `from` the name `to`; a file that had it is replaced, atomically.
    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name; an error of kind [`NotFound`](io::ErrorKind::NotFound) if it is not there.
    async fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every created, renamed and removed name durable (contract, 5).
    async fn sync_folder(&self) -> io::Result<()>;

    /// Gives the folder up: from here on somebody else may open it. Called once, when a store was
    /// closed in order and every operation of it has ended; what is left of the handles is not
    /// used to write any more. A store that is not closed gives its folder up when the last handle
    /// is gone.
    fn release(&self);

    /// Calls `begin`, which polls futures of this folder and its files, and does not wait. What it
    /// begins may reach the device only when it has returned, and then all at once.
    ///
    /// For those who begin many operations in one go. A backend that gains nothing by it just calls
    /// `begin`; every one of them calls it once.
    fn together(&self, begin: &mut dyn FnMut());

    /// What this backend is.
    fn info(&self) -> StorageInfo;
}

/// One file of the store, as the engine sees it.
#[expect(clippy::len_without_is_empty, reason = "an empty file means nothing to the engine")]
#[async_trait]
pub trait File: Send + Sync + Debug {
    /// Fills `into` with the bytes at `at` and gives it back.
    async fn read(&self, at: FileOffset, into: IoBuf) -> io::Result<IoBuf>;

    /// Writes all of `bytes` at `at`. Writing past the end makes the file longer.
    ///
    /// The caller may keep its own reference, to write the same bytes elsewhere should this fail.
    async fn write(&self, at: FileOffset, bytes: Arc<IoBuf>) -> io::Result<()>;

    /// Makes every write that completed before this call durable (contract, 1 and 3).
    async fn sync(&self) -> io::Result<()>;

    /// Bytes in the file.
    async fn len(&self) -> io::Result<u64>;

    /// Makes the file `len` bytes long and reserves the room on the device; the new part reads as
    /// zeros. An error of kind [`StorageFull`](io::ErrorKind::StorageFull) if there is no room.
    ///
    /// The room is that of the whole file, so what was punched is reserved again (contract, 11).
    async fn preallocate(&self, len: u64) -> io::Result<()>;

    /// Gives the device the room of the `len` bytes at `at` back; they read as zeros from then on,
    /// and the file keeps its length (contract, 9).
    ///
    /// The range lies within the file, otherwise an error of kind
    /// [`InvalidInput`](io::ErrorKind::InvalidInput); an empty one is no operation. An error of
    /// kind [`Unsupported`](io::ErrorKind::Unsupported), and nothing has changed, where the file
    /// system cannot do it: the caller goes on without, and the range keeps its room.
    async fn punch(&self, at: FileOffset, len: u64) -> io::Result<()>;

    /// Cuts the file to `len` bytes, any number, and gives the room behind them back; one that is
    /// not longer stays as it is (contract, 10).
    ///
    /// Nothing else may change the length of the file meanwhile.
    async fn shrink(&self, len: u64) -> io::Result<()>;

    /// Reserves room on the device for the `len` bytes at `at`, where they were punched; neither
    /// content nor length change (contract, 11).
    ///
    /// The range lies within the file, otherwise an error of kind
    /// [`InvalidInput`](io::ErrorKind::InvalidInput); an empty one is no operation. An error of
    /// kind [`StorageFull`](io::ErrorKind::StorageFull) if there is no room; part of it may then be
    /// reserved.
    async fn allocate(&self, at: FileOffset, len: u64) -> io::Result<()>;
}

/// Time. Nothing in the engine orders records by it.
#[async_trait]
pub trait Clock: Send + Sync + Debug {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// Time since 1970-01-01 UTC, as the machine believes it; may jump.
    fn wall(&self) -> Duration;

    /// Completes once at least `time` has passed.
    async fn sleep(&self, time: Duration);
}

/// A place to run tasks in the background.
pub trait Spawn: Send + Sync + Debug {
    /// Runs `task` to its end, independently of the caller. `name` is for people.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>);
}

/// Everything an engine needs from outside.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The folder of the store.
    pub storage: Arc<dyn Storage>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Tasks.
    pub spawn: Arc<dyn Spawn>,
    /// Unpredictable bytes, used only when a store is created: its identity and the secret key of
    /// its key hash. A simulation passes seeded ones.
    pub entropy: [u8; 32],
}
