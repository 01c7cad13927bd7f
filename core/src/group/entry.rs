//! A key with its value, and the number of the write that made it.
//!
//! Absent on purpose: the bytes of large values. An entry says how long one is; it is read as a
//! stream, by whoever wants it.

use std::fmt;

use bytes::Bytes;

use crate::types::{Sequence, to_u64};

/// A key of a group and its value, as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    ///
    /// In a scan, key and value share one piece of memory, up to a quarter more than themselves.
    pub key: Bytes,
    /// The value, or how long it is.
    pub value: EntryValue,
    /// The write that made it.
    pub version: Version,
    /// The token of the key; see [`Group::token_of`](crate::Group::token_of).
    pub token: u64,
}

/// The value of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryValue {
    /// All of it; at most [`Limits::value_len`](crate::Limits::value_len) bytes.
    Whole(Bytes),
    /// A large value of so many bytes, which no entry carries: it may be of gigabytes.
    /// [`Group::get_stream`](crate::Group::get_stream) reads the one that the key has then;
    /// [`ValueStream::version`](crate::ValueStream::version) says whether that is still the same.
    Large(u64),
}

impl EntryValue {
    /// The bytes, unless it is a large value.
    #[must_use]
    pub const fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(value) => Some(value),
            Self::Large(_) => None,
        }
    }

    /// Bytes of the value.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Whole(value) => to_u64(value.len()),
            Self::Large(len) => *len,
        }
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The number of a write. Every write of a store has another one, and a later write of a key a
/// higher one, also across groups, openings and crashes.
///
/// It stays the same while the value does: compaction, and opening the store again, do not change
/// it. So it says whether a key was written since it was read, and which of two values of a key is
/// the newer one; nothing follows from the distance of two versions. A caller may keep it and give
/// it back to a later opening.
///
/// One exception: a `Buffered` or `Written` write that a crash took away may leave its number to a
/// later one. Who keeps versions over a crash takes those of writes that were durable: `Synced`
/// ones, and what a [`flush`](crate::Db::flush) came after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// The version with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn of(sequence: Sequence) -> Self {
        Self(sequence.get())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}
