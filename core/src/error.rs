//! What can go wrong, as a caller sees it.
//!
//! One public error, at the door. Inside, each flow has its own small enum; the conversions here
//! are the only place that knows both.

use std::io;
use std::sync::Arc;

use crate::flows::get::{GetError, WrongRecord};
use crate::flows::large::{LargeError, SourceError};
use crate::flows::put::WriteError;
use crate::format::geometry::BadGeometry;
use crate::format::mark::NotAMark;
use crate::format::superblock::NotASuperblock;
use crate::memory::{LookupRefused, Outlook, Refused, RequestFailed};
use crate::open_error::{Loss, OpenError};
use crate::options::BadOption;
use crate::types::{Location, to_u64};

/// A `Result` of this engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation did not do what was asked. Each message names the place and the way out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device refused an operation. Reads may be tried again; a write that was under way is
    /// there or not, whole.
    #[error("{doing} {name} failed: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        name: String,
        /// What the device said.
        source: Arc<io::Error>,
    },
    /// The record is not what was written. Other keys are not touched by it.
    #[error("the record at {at} is corrupt: {why}; restore the key from another copy")]
    Corruption {
        /// Where it lies.
        at: Location,
        /// What is wrong with it.
        why: WrongRecord,
    },
    /// No room for the write. Deletes still work, and so does everything once they made room.
    #[error("the store is full ({}); delete something or raise the capacity", room(*.capacity))]
    Full {
        /// The capacity in bytes, or `None` if the device is what is full.
        capacity: Option<u64>,
        /// What the device said when the store wanted another file.
        #[source]
        source: Option<Arc<io::Error>>,
    },
    /// The index takes all the memory that it may: no new keys. Other values for keys that are
    /// there, deletes and truncations still work, and new keys again once there are fewer.
    #[error(
        "the index takes all of its {limit} bytes of memory, so no new key is taken; delete keys, \
         or open the store with a higher index_memory"
    )]
    IndexFull {
        /// The option `index_memory`, in bytes.
        limit: u64,
    },
    /// Keys have at least one byte.
    #[error("the key is empty; a key has at least one byte")]
    KeyEmpty,
    /// The key is over the limit of this store.
    #[error("the key is {len} bytes long; the limit of this store is {limit}")]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The value is over the limit of this store.
    #[error(
        "the value is {len} bytes long; the limit of this store is {limit}; one with longer \
         segments takes longer values"
    )]
    ValueTooLong {
        /// Its length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The value is too long for a batch, which lies in one segment.
    #[error(
        "a value of {len} bytes is too long for a batch; the limit of this store is {limit}, a \
         quarter of a segment: use put or put_stream"
    )]
    LargeValueInBatch {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The stream of a value gave another number of bytes than was said. Nothing was changed.
    #[error("the stream gave {found} bytes of a value of {expected}; nothing was written")]
    StreamLen {
        /// Bytes that were announced.
        expected: u64,
        /// Bytes that came; if they are too many, those until then.
        found: u64,
    },
    /// The stream of a value failed. Nothing was changed.
    #[error("the stream of the value failed ({source}); nothing was written")]
    Stream {
        /// What it said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The batch does not fit into one buffer, and so cannot be atomic.
    #[error("the batch takes {len} bytes of log; the limit of this store is {limit}: split it")]
    BatchTooLarge {
        /// Bytes of log that it would take.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The batch requires something, and was given to a call that would not look.
    #[error("the batch requires something of keys; write_if takes such a batch")]
    ConditionalBatch,
    /// Names of groups have 1 to 255 bytes.
    #[error("the name of a group has 1 to {limit} bytes, this one has {len}")]
    GroupName {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// There is no group of this name.
    #[error("there is no group named {name:?}")]
    NoSuchGroup {
        /// The name.
        name: String,
    },
    /// The group was dropped; a group created again under its name is another one.
    #[error("group {id} was dropped; ask for it by name to create it again")]
    GroupDropped {
        /// The id of the group.
        id: u32,
    },
    /// The group belongs to another store.
    #[error("the group {name:?} belongs to another store, or to an earlier opening of this one")]
    ForeignGroup {
        /// Its name.
        name: String,
    },
    /// The store was opened to be read, with [`Db::open_read_only`](crate::Db::open_read_only).
    #[error("the store is open read-only: open it for writing to change it")]
    ReadOnly,
    /// The folder holds no store, and one that is opened to be read is not created.
    #[error("the folder holds no store: look for another one, or open it for writing to make one")]
    NoStore,
    /// Every group id was used up; ids are never given out twice.
    #[error("all group ids are used up")]
    GroupsExhausted,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// Writing the log failed, and so did writing it again elsewhere. Reads go on; writes are
    /// refused until the store is opened again. Writes that were under way are there or not, whole.
    #[error("the log could not be written ({source}), so no more is; open the store again")]
    Failed {
        /// What the device said.
        source: Arc<io::Error>,
    },
    /// The backend does not give the folder: another process has it, it is no folder, it may not
    /// be written. The source is the backend's own error.
    #[error("{source}")]
    Folder {
        /// What the backend says.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// An option is outside its range.
    #[error(transparent)]
    Option(#[from] BadOption),
    /// The lengths of segments and files do not make a store.
    #[error(transparent)]
    Geometry(#[from] BadGeometry),
    /// The store was created with another value of an option that never changes.
    #[error("the store was created with {name} = {found}, not {asked}: leave the option out")]
    OtherGeometry {
        /// The option.
        name: &'static str,
        /// What was asked for.
        asked: u32,
        /// What the store has.
        found: u32,
    },
    /// The folder holds something else.
    #[error("the folder is no store: it holds {name:?}; choose an empty one")]
    NotAStore {
        /// A name in it that is not one of a store.
        name: String,
    },
    /// The superblock is not one that this version can read.
    #[error("the file superblock: {why}")]
    Superblock {
        /// What is wrong with it.
        why: NotASuperblock,
    },
    /// Neither slot of the mark can be read.
    #[error("the file mark: {why}; restore it or the store from a backup")]
    Mark {
        /// What is wrong with it.
        why: NotAMark,
    },
    /// A file of the store is not there.
    #[error("the file {name} is missing; restore it or the store from a backup")]
    MissingFile {
        /// Its name.
        name: String,
    },
    /// A file of the store is shorter or longer than it was made.
    #[error(
        "the file {name} is {found} bytes long instead of {expected}; restore it, or open the \
         store in RecoveryMode::Salvage"
    )]
    WrongLength {
        /// Its name.
        name: String,
        /// Its length in bytes as it was made.
        expected: u64,
        /// Its length in bytes as it is.
        found: u64,
    },
    /// Part of the log is lost, and with it what was written there: an older version of some key
    /// could pass for the newest.
    #[error(
        "{} of the log lost, the first {}{}; restore a backup, or open the store in \
         RecoveryMode::Salvage",
        parts(.0.len()), place(&.0[0]), sequences(&.0[0])
    )]
    Lost(
        /// What is lost; at least one.
        Vec<Loss>,
    ),
    /// A counter stands where no store comes to: the files were made or changed by something else.
    #[error("the {what} {found} is higher than a store can come to; restore it from a backup")]
    Counter {
        /// Which counter.
        what: &'static str,
        /// Where it stands.
        found: u64,
    },
    /// A record of the catalogue of groups cannot be read.
    #[error("the catalogue of groups: {what}; open the store in RecoveryMode::Salvage")]
    Catalogue {
        /// Which record, and why.
        what: String,
    },
}

/// What kind of trouble an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The device.
    Io,
    /// Damaged data or files.
    Corruption,
    /// No room.
    Full,
    /// Something in the call is not allowed.
    Invalid,
    /// There is no such group, or no longer.
    NotFound,
    /// The store is closed.
    Closed,
    /// The store takes no more writes.
    Failed,
}

impl Error {
    pub(crate) fn of_request(failed: RequestFailed, capacity: Option<u64>) -> Self {
        match failed {
            RequestFailed::Io(source) => {
                Self::Io { doing: "rewriting", name: "segments".into(), source }
            }
            RequestFailed::NoRoom => Self::Full { capacity, source: None },
        }
    }

    /// What kind of trouble it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Folder { .. } => ErrorKind::Io,
            Self::Full { .. } | Self::IndexFull { .. } => ErrorKind::Full,
            Self::Closed => ErrorKind::Closed,
            Self::Failed { .. } => ErrorKind::Failed,
            Self::NoSuchGroup { .. } | Self::GroupDropped { .. } => ErrorKind::NotFound,
            Self::KeyEmpty
            | Self::KeyTooLong { .. }
            | Self::ValueTooLong { .. }
            | Self::LargeValueInBatch { .. }
            | Self::StreamLen { .. }
            | Self::Stream { .. }
            | Self::BatchTooLarge { .. }
            | Self::ConditionalBatch
            | Self::GroupName { .. }
            | Self::ForeignGroup { .. }
            | Self::ReadOnly
            | Self::NoStore
            | Self::GroupsExhausted
            | Self::Option(_)
            | Self::Geometry(_)
            | Self::OtherGeometry { .. }
            | Self::NotAStore { .. }
            | Self::Superblock {
                why: NotASuperblock::NewerVersion { .. } | NotASuperblock::OlderVersion { .. },
            } => ErrorKind::Invalid,
            Self::Corruption { .. }
            | Self::Superblock { .. }
            | Self::Mark { .. }
            | Self::MissingFile { .. }
            | Self::WrongLength { .. }
            | Self::Lost(_)
            | Self::Counter { .. }
            | Self::Catalogue { .. } => ErrorKind::Corruption,
        }
    }

    /// Whether the same call may succeed later without anybody changing it: the device was in
    /// trouble, or the store was full.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Io | ErrorKind::Full)
    }
}

fn room(bytes: Option<u64>) -> String {
    match bytes {
        Some(bytes) => format!("its capacity is {bytes} bytes"),
        None => "the device has no room for another file".into(),
    }
}

fn parts(count: usize) -> String {
    if count == 1 { "1 part".into() } else { format!("{count} parts") }
}

fn place(loss: &Loss) -> String {
    loss.place.map_or_else(
        || "at a place that is not known".into(),
        |(segment, offset)| format!("in segment {segment} at offset {offset}"),
    )
}

fn sequences(loss: &Loss) -> String {
    match (loss.first_sequence, loss.end_sequence) {
        (Some(first), Some(end)) => format!(", sequences from {first} to below {end}"),
        (Some(first), None) => format!(", sequences from {first}"),
        (None, Some(end)) => format!(", sequences below {end}"),
        (None, None) => String::new(),
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoRoom(Outlook::Full { capacity }) => Self::Full { capacity, source: None },
            Refused::NoRoom(Outlook::NoMoreFiles(source)) => {
                Self::Full { capacity: None, source: Some(source) }
            }
            // A flow that may wait does not hand this out.
            Refused::NoRoom(Outlook::Wait) => Self::Full { capacity: None, source: None },
            Refused::IndexFull(limit) => Self::IndexFull { limit: to_u64(limit) },
            Refused::GroupDropped(id) => Self::GroupDropped { id: id.get() },
            Refused::ReadOnly => Self::ReadOnly,
            Refused::Closed => Self::Closed,
            Refused::Failed(source) => Self::Failed { source },
        }
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refused) => refused.into(),
            WriteError::Unknown(source) => Self::Failed { source },
        }
    }
}

impl Error {
    pub(crate) fn of_lookup(refused: LookupRefused, group: u32) -> Self {
        match refused {
            LookupRefused::GroupDropped => Self::GroupDropped { id: group },
            LookupRefused::Closed => Self::Closed,
        }
    }

    pub(crate) fn of_get(error: GetError, group: u32) -> Self {
        match error {
            GetError::Refused(refused) => Self::of_lookup(refused, group),
            GetError::Io { at, source } => {
                Self::Io { doing: "reading", name: at.to_string(), source }
            }
            GetError::Corrupt { at, why } => Self::Corruption { at, why },
        }
    }
}

impl Error {
    /// `len`: what the value should be long.
    pub(crate) fn of_large(error: LargeError, len: u64) -> Self {
        match error {
            LargeError::Refused(refused) => refused.into(),
            LargeError::Io(source) => {
                Self::Io { doing: "writing", name: "a large value".into(), source }
            }
            LargeError::Len { found } => Self::StreamLen { expected: len, found },
            LargeError::Source(source) => Self::of_source(source),
        }
    }

    pub(crate) fn of_source(source: SourceError) -> Self {
        Self::Stream { source: source.into() }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Geometry(bad) => Self::Geometry(bad),
            OpenError::Option(bad) => Self::Option(bad),
            OpenError::OtherGeometry { name, asked, found } => {
                Self::OtherGeometry { name, asked, found }
            }
            OpenError::Io { doing, name, source } => Self::Io { doing, name, source },
            OpenError::NotAStore { name } => Self::NotAStore { name },
            OpenError::Superblock(why) => Self::Superblock { why },
            OpenError::Mark(why) => Self::Mark { why },
            OpenError::MissingFile { name } => Self::MissingFile { name },
            OpenError::WrongLength { name, expected, found } => {
                Self::WrongLength { name, expected, found }
            }
            OpenError::Lost(losses) => Self::Lost(losses),
            OpenError::Counter { what, found } => Self::Counter { what, found },
            OpenError::Catalogue { what } => Self::Catalogue { what },
        }
    }
}
