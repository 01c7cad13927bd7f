//! The words of the engine: numbers that are never just numbers.
//!
//! Every counter, position and length is a type of its own, so that a sequence cannot be passed
//! where a buffer number is meant, nor a length where a position is. Arithmetic is checked or
//! saturating by name; nothing converts silently.
//!
//! Absent on purpose: `From<u32>` and public fields. A number becomes a word by `new`, at the
//! place that knows what it counts.

use std::fmt;

/// The unit of device I/O and of buffer alignment, in bytes.
pub const BLOCK: u32 = 4096;

/// `u32` as `usize`: exact on every target that this crate supports.
#[must_use]
#[expect(clippy::as_conversions, reason = "usize is at least 32 bits wide, asserted here")]
pub const fn to_usize(value: u32) -> usize {
    const { assert!(usize::BITS >= u32::BITS) };
    value as usize
}

/// A length in memory as `u32`; lengths in this engine stay far below 4 GiB.
///
/// Saturates, so that an absurd length is refused by the limit it is then compared with.
#[must_use]
pub fn to_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A length in memory as `u64`.
#[must_use]
#[expect(clippy::as_conversions, reason = "usize is at most 64 bits wide, asserted here")]
pub const fn to_u64(value: usize) -> u64 {
    const { assert!(usize::BITS <= u64::BITS) };
    value as u64
}

/// `len` rounded up to a whole number of blocks, or `None` past `u32::MAX`.
#[must_use]
pub fn round_up_to_block(len: u32) -> Option<u32> {
    len.checked_next_multiple_of(BLOCK)
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// The lowest one.
            pub const ZERO: Self = Self(0);
            /// The highest one; never given out.
            pub const MAX: Self = Self(u64::MAX);

            /// The one with this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after it. 2^64 of them are never reached; there it stays.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The one `count` further on, saturating.
            #[must_use]
            pub const fn advance(self, count: u64) -> Self {
                Self(self.0.saturating_add(count))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}#{}", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}", self.0)
            }
        }
    };
}

counter! {
    /// The number of a write. A copy keeps the sequence of its original.
    Sequence
}
counter! {
    /// The number of a buffer; log buffers and rewrite buffers are numbered apart.
    BufferNumber
}
counter! {
    /// The number a segment gets each time it is opened for writing, from one global counter:
    /// it rises with every reuse and orders segments.
    Generation
}

impl Generation {
    /// The low half, as records carry it.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the low half is what is meant")]
    pub const fn low(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The one with this number.
            #[must_use]
            pub const fn new(number: u32) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}#{}", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}", self.0)
            }
        }
    };
}

id! {
    /// A slot of a file, counted over all files of the store.
    SegmentId
}
id! {
    /// A group of keys. Ids are never used twice; 0 is the system group.
    GroupId
}

impl GroupId {
    /// The system group: its records are the catalogue of groups.
    pub const SYSTEM: Self = Self(0);
    /// In the header of a buffer: its records belong to more than one group.
    pub const MIXED: Self = Self(u32::MAX);
}

/// A byte position counted from the start of one segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentOffset(u32);

impl SegmentOffset {
    /// The start of a segment.
    pub const ZERO: Self = Self(0);

    /// The position `bytes` into a segment.
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        Self(bytes)
    }

    /// Bytes from the start of the segment.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The position `len` bytes further on, or `None` past the end of any segment.
    #[must_use]
    pub fn checked_add(self, len: ByteLen) -> Option<Self> {
        self.0.checked_add(len.0).map(Self)
    }
}

impl fmt::Debug for SegmentOffset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "+{:#x}", self.0)
    }
}

impl fmt::Display for SegmentOffset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

/// A number of bytes: never a position, never a count of blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteLen(u32);

impl ByteLen {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// This many bytes.
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        Self(bytes)
    }

    /// The length of something in memory (saturating, see [`to_u32`]).
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(to_u32(bytes.len()))
    }

    /// How many bytes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// How many bytes, for indexing memory.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        to_usize(self.0)
    }

    /// Both together, or `None` past `u32::MAX`.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl fmt::Debug for ByteLen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes", self.0)
    }
}

impl fmt::Display for ByteLen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}

/// Where a record lies: a segment, a position in it, and the record's whole length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    segment: SegmentId,
    offset: SegmentOffset,
    len: ByteLen,
}

impl Location {
    /// The record of `len` bytes at `offset` of `segment`.
    #[must_use]
    pub const fn new(segment: SegmentId, offset: SegmentOffset, len: ByteLen) -> Self {
        Self { segment, offset, len }
    }

    /// The segment.
    #[must_use]
    pub const fn segment(self) -> SegmentId {
        self.segment
    }

    /// The position of the record's header in the segment.
    #[must_use]
    pub const fn offset(self) -> SegmentOffset {
        self.offset
    }

    /// Header, key, value and padding to eight bytes.
    #[must_use]
    pub const fn len(self) -> ByteLen {
        self.len
    }

    /// Never: a record has a header.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len.0 == 0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "segment {} offset {} ({} bytes)", self.segment, self.offset, self.len)
    }
}

/// A keyed 128-bit hash of a key: what the index and the summaries know of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(u128);

impl KeyHash {
    /// This hash.
    #[must_use]
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// All its bits.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }

    /// The lowest hash with this token.
    #[must_use]
    pub fn first_of(token: u64) -> Self {
        Self(u128::from(token) << 64)
    }

    /// The highest hash with this token.
    #[must_use]
    pub fn last_of(token: u64) -> Self {
        Self((u128::from(token) << 64) | u128::from(u64::MAX))
    }

    /// The upper half: the key's token, by which groups are walked and split.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the upper half is what is meant")]
    pub const fn token(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyHash({:032x})", self.0)
    }
}
