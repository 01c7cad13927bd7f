//! The deterministic heart of logstor: a log-structured key-value storage engine over abstract
//! I/O.
//!
//! Values live in an append-only log of fixed-size segments; an index in memory maps every key to
//! its place. The engine knows no operating system: storage, time and tasks come in through
//! [`io::Environment`]. Applications use it through the crate `logstor`, which brings a real disk;
//! tests use it through `logstor-io-sim`, which brings one that tears writes and cuts the power.
//!
//! Start at [`Db::open`]. `ARCHITECTURE.md` in the repository has the whole picture.

#![deny(clippy::as_conversions)]
#![forbid(unsafe_code)]

mod batch;
mod catalog;
mod compact;
#[cfg(feature = "conformance")]
pub mod conformance;
mod db;
mod error;
mod flows;
pub mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod groups;
pub mod io;
mod io_buf;
mod log;
mod memory;
mod open_error;
mod options;
mod overlay;
mod rewrite;
mod rewrites;
mod segment_io;
mod segments;
mod stats;
mod store;
pub mod types;
mod value_cache;
mod value_stream;
mod verify;

pub use batch::WriteBatch;
pub use compact::{CompactReport, CompactRequest};
pub use db::{CompactionPause, Db, Limits, WriteOptions};
pub use error::{Error, ErrorKind, Result};
pub use flows::get::WrongRecord;
pub use flows::recovery::{DamagedBuffer, DamagedValue, RecoveryReport};
pub use flows::verify::{Finding, Flaw, VerifiedSegment, VerifyOptions};
pub use group::{Entry, EntryValue, Expect, Group, Keys, Outcome, Scan, ValueSize, Version};
pub use open_error::Loss;
#[cfg(feature = "verify")]
pub use options::{AcceptedWrite, Observer};
pub use options::{BadOption, Durability, OpenPhase, Options, Progress, ProgressFn, RecoveryMode};
pub use segment_io::{DeviceCounts, WrittenBytes};
pub use stats::{
    CacheStats, CompactionStats, GroupStats, KindCounts, RunCauses, SegmentCounts, SegmentInfo,
    SegmentUse, SegmentWriter, SpaceStats, Stats, WaitCounts,
};
pub use value_stream::ValueStream;
pub use verify::Verify;
