//! logstor: a log-structured key-value storage engine on a real disk.
//!
//! [`open`] gives a [`Db`]; [`Db::group`] gives a [`Group`] of keys to put, get and delete. Writes
//! are durable when they return, unless a weaker [`Durability`] is asked for; [`WriteBatch`] makes
//! several atomic. The repository's README has the tour and the promises.
//!
//! This crate is the engine of `logstor_core` with a folder, threads and tokio:
//!
//! ```text
//!            engine (logstor_core)
//!        Storage, File │ Clock, Spawn
//!      ┌───────────────┴──────────────┐
//!   storage ── file ── transfer    runtime ── tokio
//!      │         ├── ring ── io_uring: own buffers and files until the kernel is done
//!   folder       └── pool ── threads: the same
//!   ├── lock    one process at a time
//!   └── direct  O_DIRECT where the file system allows it, the page cache where not
//! ```
//!
//! # The folder
//!
//! 1. One process at a time: `LOCK` is held from [`RealStorage::open`] until the storage, every
//!    file of it and every operation in flight are gone.
//! 2. The folder is opened once and everything happens relative to that handle, so moving the
//!    folder meanwhile does no harm. No name in it is followed through a link.
//! 3. What is created is the owner's alone: folder 0700, files 0600. A folder that is already
//!    there keeps its mode.
//! 4. Reads and writes pass the page cache by where the file system allows it;
//!    [`StorageInfo`](io::StorageInfo) says what was chosen.
//!
//! # Operations
//!
//! Reads, writes and syncs go through `io_uring` where the kernel allows it and the runtime has its
//! I/O enabled; everything else runs on a thread of a small pool, and so do these where not
//! ([`Backend`]). Dropping a future neither stops nor harms its operation: the ring or the thread
//! owns the memory and the file handle. By the time an operation is reported, neither is held any
//! more. Nothing of it wakes up while nothing is to be done.
//!
//! Systems other than Linux get threads, the page cache, and files whose room is not reserved.

mod builder;
mod direct;
mod error;
mod file;
mod folder;
mod lock;
mod pool;
#[cfg_attr(not(target_os = "linux"), path = "ring/none.rs")]
mod ring;
mod runtime;
mod storage;
mod transfer;

pub use builder::{Builder, OpenFolder, builder, open};
pub use error::OpenFolderError;
pub use logstor_core::{
    BadOption, CacheStats, CompactReport, CompactRequest, CompactionPause, CompactionStats,
    DamagedBuffer, DamagedValue, Db, DeviceCounts, Durability, Entry, EntryValue, Error, ErrorKind,
    Expect, Finding, Flaw, Group, GroupStats, Keys, KindCounts, Limits, Loss, OpenPhase, Options,
    Outcome, Progress, ProgressFn, RecoveryMode, RecoveryReport, Result, RunCauses, Scan,
    SegmentCounts, SegmentInfo, SegmentUse, SegmentWriter, SpaceStats, Stats, ValueSize,
    ValueStream, VerifiedSegment, Verify, VerifyOptions, Version, WaitCounts, WriteBatch,
    WriteOptions, WrittenBytes, WrongRecord, format, io, types,
};
pub use runtime::TokioRuntime;
pub use storage::{Backend, Direct, RealOptions, RealStorage};

/// The README's code, kept compiling.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
