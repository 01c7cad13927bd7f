//! Operations in flight: what was asked, and what came of it.
//!
//! An operation belongs to the device from its issue to its completion, whoever waits for it:
//! dropping the future that issued it only means that nobody hears of the result.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use logstor_core::io::{FolderEntry, IoBuf};
use logstor_core::types::{to_u64, to_usize};

use crate::disk::FileId;
use crate::options::{Latencies, Latency};
use crate::trace::digest;

/// What a punch leaves in a sector, of whatever size.
static ZEROS: [u8; 4096] = [0; 4096];

/// What may be asked of the simulated world and takes time.
#[derive(Debug)]
pub(crate) enum Op {
    /// Nothing but time passes.
    Timer,
    /// `early`: the outcome, when the bytes were already taken at the issue.
    Read {
        file: FileId,
        at: u64,
        into: IoBuf,
        early: Option<io::Result<()>>,
        progress: Progress,
    },
    Write {
        file: FileId,
        at: u64,
        bytes: Arc<IoBuf>,
        taint: Taint,
        progress: Progress,
    },
    /// `upto`: the latest completion when it began.
    Sync {
        file: FileId,
        upto: u64,
    },
    Len {
        file: FileId,
    },
    Preallocate {
        file: FileId,
        len: u64,
    },
    Punch {
        file: FileId,
        at: u64,
        len: u64,
        taint: Taint,
    },
    /// A punch of which the file system will say that it cannot.
    RefusedPunch {
        file: FileId,
        at: u64,
        len: u64,
    },
    Shrink {
        file: FileId,
        len: u64,
    },
    Allocate {
        file: FileId,
        at: u64,
        len: u64,
    },
    Open {
        name: String,
    },
    Create {
        name: String,
    },
    List,
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncFolder {
        upto: u64,
    },
    /// What a failed sync left readable goes from the cache. Nobody asked for it.
    Evict {
        file: FileId,
    },
}

/// How far an operation is that is done in several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes that are done.
    pub(crate) done: usize,
    /// Parts that are still to be done, at most: the last one does what is left.
    pub(crate) parts: u64,
}

impl Progress {
    /// All of it is still to be done, at once.
    pub(crate) const NONE: Self = Self { done: 0, parts: 1 };
}

/// What a failing sync did to a write or a punch that was in flight then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taint {
    /// Nothing.
    Clean,
    /// It will arrive, and no sync will make it durable.
    Keeps,
    /// It will complete without arriving.
    Drops,
}

/// What an operation gives when it succeeds.
#[derive(Debug)]
pub(crate) enum Answer {
    Unit,
    Buf(IoBuf),
    Len(u64),
    File(FileId),
    Entries(Vec<FolderEntry>),
}

impl Op {
    /// Whether it may change the disk: its issue and its completion are effects then.
    pub(crate) const fn is_effect(&self) -> bool {
        match self {
            Self::Timer
            | Self::Read { .. }
            | Self::Len { .. }
            | Self::RefusedPunch { .. }
            | Self::Open { .. }
            | Self::List => false,
            Self::Write { .. }
            | Self::Sync { .. }
            | Self::Preallocate { .. }
            | Self::Punch { .. }
            | Self::Shrink { .. }
            | Self::Allocate { .. }
            | Self::Create { .. }
            | Self::Rename { .. }
            | Self::Remove { .. }
            | Self::Evict { .. }
            | Self::SyncFolder { .. } => true,
        }
    }

    pub(crate) const fn latency(&self, latencies: &Latencies) -> Latency {
        match self {
            Self::Read { .. } => latencies.read,
            Self::Write { .. }
            | Self::Preallocate { .. }
            | Self::Punch { .. }
            | Self::RefusedPunch { .. }
            | Self::Shrink { .. }
            | Self::Allocate { .. } => latencies.write,
            Self::Sync { .. } | Self::SyncFolder { .. } => latencies.sync,
            Self::Timer
            | Self::Evict { .. }
            | Self::Len { .. }
            | Self::Open { .. }
            | Self::Create { .. }
            | Self::List
            | Self::Rename { .. }
            | Self::Remove { .. } => latencies.names,
        }
    }

    /// It as numbers, for the hash of the trace.
    pub(crate) fn words(&self) -> [u64; 5] {
        let name = |name: &str| digest(name.as_bytes());
        match self {
            Self::Timer => [0; 5],
            Self::Read { file, at, into, early, .. } => {
                [1, *file, *at, to_u64(into.len()), u64::from(early.is_some())]
            }
            Self::Write { file, at, bytes, .. } => {
                [2, *file, *at, to_u64(bytes.len()), digest(bytes)]
            }
            Self::Sync { file, upto } => [3, *file, *upto, 0, 0],
            Self::Len { file } => [4, *file, 0, 0, 0],
            Self::Preallocate { file, len } => [5, *file, *len, 0, 0],
            Self::Open { name: n } => [6, name(n), 0, 0, 0],
            Self::Create { name: n } => [7, name(n), 0, 0, 0],
            Self::List => [8, 0, 0, 0, 0],
            Self::Rename { from, to } => [9, name(from), name(to), 0, 0],
            Self::Remove { name: n } => [10, name(n), 0, 0, 0],
            Self::SyncFolder { upto } => [11, *upto, 0, 0, 0],
            Self::Punch { file, at, len, .. } => [12, *file, *at, *len, 0],
            Self::RefusedPunch { file, at, len } => [15, *file, *at, *len, 0],
            Self::Shrink { file, len } => [13, *file, *len, 0, 0],
            Self::Allocate { file, at, len } => [14, *file, *at, *len, 0],
            Self::Evict { file } => [16, *file, 0, 0, 0],
        }
    }

    /// The bytes of a file that it is still to change, if it is a write or a punch.
    pub(crate) fn written(&self) -> Option<(FileId, Range<u64>)> {
        match self {
            Self::Write { file, at, bytes, progress, .. } => {
                let start = at.saturating_add(to_u64(progress.done));
                Some((*file, start..at.saturating_add(to_u64(bytes.len()))))
            }
            Self::Punch { file, at, len, .. } => Some((*file, *at..at.saturating_add(*len))),
            _ => None,
        }
    }

    /// What it leaves in sector `sector` of the file, if it writes or punches there.
    pub(crate) fn written_sector(&self, of: FileId, sector: u64, size: u32) -> Option<&[u8]> {
        let (file, range) = self.written()?;
        let at = sector * u64::from(size);
        if file != of || !range.contains(&at) {
            return None;
        }
        let Self::Write { at: start, bytes, .. } = self else {
            return Some(&ZEROS[..to_usize(size)]);
        };
        let from = usize::try_from(at - start).ok()?;
        bytes.get(from..from + to_usize(size))
    }

    /// A copy for another disk, on which nobody waits for it; `None` if it changes nothing.
    pub(crate) fn orphan(&self) -> Option<Self> {
        Some(match self {
            Self::Timer
            | Self::Read { .. }
            | Self::Len { .. }
            | Self::RefusedPunch { .. }
            | Self::Open { .. }
            | Self::List => return None,
            Self::Write { file, at, bytes, taint, progress } => Self::Write {
                file: *file,
                at: *at,
                bytes: Arc::clone(bytes),
                taint: *taint,
                progress: *progress,
            },
            Self::Sync { file, upto } => Self::Sync { file: *file, upto: *upto },
            Self::Preallocate { file, len } => Self::Preallocate { file: *file, len: *len },
            Self::Punch { file, at, len, taint } => {
                Self::Punch { file: *file, at: *at, len: *len, taint: *taint }
            }
            Self::Shrink { file, len } => Self::Shrink { file: *file, len: *len },
            Self::Allocate { file, at, len } => Self::Allocate { file: *file, at: *at, len: *len },
            Self::Create { name } => Self::Create { name: name.clone() },
            Self::Rename { from, to } => Self::Rename { from: from.clone(), to: to.clone() },
            Self::Remove { name } => Self::Remove { name: name.clone() },
            Self::SyncFolder { upto } => Self::SyncFolder { upto: *upto },
            Self::Evict { file } => Self::Evict { file: *file },
        })
    }
}

impl fmt::Display for Op {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timer => write!(out, "timer"),
            Self::Read { file, at, into, .. } => {
                write!(out, "read file {file} +{at:#x} {} bytes", into.len())
            }
            Self::Write { file, at, bytes, .. } => {
                let crc = crc32c::crc32c(bytes);
                write!(out, "write file {file} +{at:#x} {} bytes crc {crc:08x}", bytes.len())
            }
            Self::Sync { file, .. } => write!(out, "sync file {file}"),
            Self::Len { file } => write!(out, "len file {file}"),
            Self::Preallocate { file, len } => write!(out, "preallocate file {file} to {len}"),
            Self::Punch { file, at, len, .. } | Self::RefusedPunch { file, at, len } => {
                write!(out, "punch file {file} +{at:#x} {len} bytes")
            }
            Self::Shrink { file, len } => write!(out, "shrink file {file} to {len}"),
            Self::Allocate { file, at, len } => {
                write!(out, "allocate file {file} +{at:#x} {len} bytes")
            }
            Self::Open { name } => write!(out, "open {name}"),
            Self::Create { name } => write!(out, "create {name}"),
            Self::List => write!(out, "list"),
            Self::Rename { from, to } => write!(out, "rename {from} to {to}"),
            Self::Remove { name } => write!(out, "remove {name}"),
            Self::SyncFolder { .. } => write!(out, "sync folder"),
            Self::Evict { file } => write!(out, "evict from file {file}"),
        }
    }
}

impl Answer {
    /// It as one number, for the hash of the trace.
    pub(crate) fn word(&self) -> u64 {
        match self {
            Self::Unit => 0,
            Self::Buf(buf) => digest(buf),
            Self::Len(len) => *len,
            Self::File(file) => *file,
            Self::Entries(entries) => to_u64(entries.len()),
        }
    }
}
