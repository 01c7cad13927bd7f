//! Buffers: what one write of the device carries, and how it proves what it is.
//!
//! ```text
//! ┌─ header ─┬─ summary ──────────┬─┬─ records ────────────┬──────────┐
//! │ 96       │ summary_len        │0│ records_len          │ zeros    │
//! └──────────┴────────────────────┴─┴──────────────────────┴──────────┘
//!            └──── front_len ─────┘ └ records_at           └ up to a block
//! ```
//!
//! Three CRCs, because three things can be lost apart from each other. The header lies within the
//! first sector, which lands whole or not at all: when it is valid, the number of the buffer and
//! its watermarks are known even if all that follows was torn off. The summary says what happened
//! to which keys, even when a value is damaged. The records are the values themselves.
//!
//! 1. Log buffers and rewrite buffers carry records; a seal carries the list of its segment's
//!    buffers in place of records; a piece carries part of a large value, and nothing else lies in
//!    its segment; a void buffer carries nothing.
//! 2. A buffer says where it lies, in which life of its segment and in which store: a buffer found
//!    elsewhere is a leftover or was misdirected.
//! 3. A header that was parsed describes a buffer that lies within the longest segment.
//!
//! Absent on purpose: whether a damaged buffer is torn or rotten. That takes the whole store.

mod whole;

use thiserror::Error;

use crate::format::crc;
use crate::format::geometry::MAX_SEGMENT_LEN;
use crate::format::record::RECORD_HEADER_LEN;
use crate::format::seal::SEAL_ENTRY_LEN;
use crate::format::{field, is_zero, put};
use crate::types::{
    BLOCK, BufferNumber, ByteLen, Generation, GroupId, SegmentId, SegmentOffset, Sequence,
    round_up_to_block, to_usize,
};

pub use whole::{
    DecodedBuffer, NotABuffer, decode_buffer, encode_buffer, encoded_len, erased_block,
    erased_note, records_offset, void_block,
};

/// [`BufferHeader::LEN`], for arithmetic on lengths of the disk.
pub const HEADER_LEN: u32 = 96;

const MAGIC: u32 = u32::from_le_bytes(*b"LSbf");
const VERSION: u8 = 1;

// Records begin on an eight-byte boundary, and the header lies within one sector.
const _: () = assert!(BufferHeader::LEN.is_multiple_of(8) && BufferHeader::LEN <= 512);

/// What a buffer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BufferKind {
    /// User writes, in the order in which they were accepted.
    Log,
    /// Copies of live records.
    Rewrite,
    /// The list of a segment's buffers.
    Seal,
    /// Nothing, and nothing in this segment from here on.
    Void,
    /// Part of a large value, alone in its segment.
    Piece,
}

impl BufferKind {
    /// Its number on disk.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Rewrite => 2,
            Self::Seal => 3,
            Self::Void => 4,
            Self::Piece => 5,
        }
    }

    /// The kind with this number on disk.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Log),
            2 => Some(Self::Rewrite),
            3 => Some(Self::Seal),
            4 => Some(Self::Void),
            5 => Some(Self::Piece),
            _ => None,
        }
    }

    /// Whether it carries records and a summary of them.
    #[must_use]
    pub const fn has_records(self) -> bool {
        matches!(self, Self::Log | Self::Rewrite)
    }
}

/// Why these bytes are no header of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAHeader {
    /// Fewer bytes than a header has.
    #[error("{found} bytes of a header of {HEADER_LEN}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// Never used, or erased.
    #[error("only zeros")]
    Zero,
    /// Something else lies here.
    #[error("magic {found:#010x} is not that of a buffer")]
    Magic {
        /// The first four bytes.
        found: u32,
    },
    /// The header was damaged.
    #[error("header crc {stored:#010x}, computed {computed:#010x}")]
    Crc {
        /// As it lies there.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// A version that this code does not know.
    #[error("unknown version {found}")]
    Version {
        /// The version.
        found: u8,
    },
    /// A kind that this format does not have.
    #[error("unknown kind {found}")]
    Kind {
        /// The number of the kind.
        found: u8,
    },
    /// Something lies where this format has only zeros.
    #[error("unused bytes are not zero")]
    Reserved,
    /// Count and lengths contradict each other or the kind.
    #[error("{record_count} records, summary of {summary_len}, records of {records_len}")]
    Lengths {
        /// Records, or entries of a seal.
        record_count: u32,
        /// Bytes of the summary.
        summary_len: ByteLen,
        /// Bytes of the records.
        records_len: ByteLen,
    },
    /// Not on a block boundary, a piece not at the start of its segment, or it would reach past the
    /// end of the longest segment.
    #[error("a buffer of {len} at offset {offset}")]
    Place {
        /// Where it says that it lies.
        offset: SegmentOffset,
        /// How long it says that it is, padding included.
        len: ByteLen,
    },
}

/// Which part of a buffer is not as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// Fewer bytes than the part and what is before it have.
    #[error("{found} bytes of at least {needed}")]
    Short {
        /// Bytes up to the end of the part.
        needed: ByteLen,
        /// Bytes given.
        found: usize,
    },
    /// The summary was damaged or never written.
    #[error("summary crc {stored:#010x}, computed {computed:#010x}")]
    Summary {
        /// As the header says.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// The records were damaged or never written.
    #[error("records crc {stored:#010x}, computed {computed:#010x}")]
    Records {
        /// As the header says.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
}

/// The first bytes of every buffer.
///
/// | at | len | field             | meaning                                                    |
/// |---:|----:|-------------------|------------------------------------------------------------|
/// |  0 |   4 | magic             | `"LSbf"`                                                   |
/// |  4 |   4 | header_crc        | CRC-32C of bytes 8..96                                     |
/// |  8 |   1 | version           | 1                                                          |
/// |  9 |   1 | kind              | 1 log, 2 rewrite, 3 seal, 4 void, 5 piece                  |
/// | 10 |   2 | reserved          | zero                                                       |
/// | 12 |   4 | summary_crc       | CRC-32C of the bytes from 96 to where the records begin    |
/// | 16 |   4 | records_crc       | CRC-32C of the records                                     |
/// | 20 |   4 | segment           | the segment that it lies in                                |
/// | 24 |   8 | store             | short id of the store                                      |
/// | 32 |   4 | offset            | where it lies in the segment                               |
/// | 36 |   4 | group             | whose records, 2^32 - 1 if mixed; of a seal: kind of the   |
/// |    |     |                   | segment's buffers                                          |
/// | 40 |   8 | generation        | of the segment, when it was opened for writing             |
/// | 48 |   8 | first_sequence    | log: of its first record; rewrite: the lowest              |
/// | 56 |   8 | number            | number of the buffer, log and rewrite counted apart        |
/// |    |     |                   | void: zero, or the highest number for an erased segment;     |
/// |    |     |                   | piece: its place in its value                              |
/// | 64 |   8 | log_watermark     | lower log buffers are durable or void                      |
/// | 72 |   8 | rewrite_watermark | lower rewrite buffers are durable or void                  |
/// | 80 |   4 | record_count      | records; of a seal: entries; of a piece: zero              |
/// | 84 |   4 | summary_len       | bytes of the summary                                       |
/// | 88 |   4 | records_len       | bytes of the records; of a seal: entries; of a piece: part |
/// | 92 |   4 | reserved          | zero                                                       |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferHeader {
    /// What it carries.
    pub kind: BufferKind,
    /// The CRC of the summary and the padding behind it.
    pub summary_crc: u32,
    /// The CRC of the records.
    pub records_crc: u32,
    /// The short id of the store.
    pub store: u64,
    /// The segment that it lies in.
    pub segment: SegmentId,
    /// Where it lies in the segment.
    pub offset: SegmentOffset,
    /// The group of all its records, or [`GroupId::MIXED`].
    pub group: GroupId,
    /// The generation of its segment.
    pub generation: Generation,
    /// Log: the sequence of its first record. Rewrite: the lowest in it.
    pub first_sequence: Sequence,
    /// Its number among the buffers of its kind.
    pub number: BufferNumber,
    /// Every log buffer with a lower number was durable or void when this one was sealed.
    pub log_watermark: BufferNumber,
    /// Every rewrite buffer with a lower number was durable or void when this one was sealed.
    pub rewrite_watermark: BufferNumber,
    /// How many records, or entries of a seal, it carries.
    pub record_count: u32,
    /// Bytes of the summary.
    pub summary_len: ByteLen,
    /// Bytes of the records, or of the entries of a seal.
    pub records_len: ByteLen,
}

impl Default for BufferHeader {
    /// A void buffer at the start of segment 0, every number zero: what the fields that a maker
    /// of buffers does not name are.
    fn default() -> Self {
        Self {
            kind: BufferKind::Void,
            summary_crc: 0,
            records_crc: 0,
            store: 0,
            segment: SegmentId::new(0),
            offset: SegmentOffset::ZERO,
            group: GroupId::SYSTEM,
            generation: Generation::ZERO,
            first_sequence: Sequence::ZERO,
            number: BufferNumber::ZERO,
            log_watermark: BufferNumber::ZERO,
            rewrite_watermark: BufferNumber::ZERO,
            record_count: 0,
            summary_len: ByteLen::ZERO,
            records_len: ByteLen::ZERO,
        }
    }
}

impl BufferHeader {
    /// Bytes on disk.
    pub const LEN: usize = to_usize(HEADER_LEN);

    /// The bytes to write.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut raw = [0; Self::LEN];
        put::<0, 4, _>(&mut raw, MAGIC.to_le_bytes());
        put::<8, 1, _>(&mut raw, [VERSION]);
        put::<9, 1, _>(&mut raw, [self.kind.code()]);
        put::<12, 4, _>(&mut raw, self.summary_crc.to_le_bytes());
        put::<16, 4, _>(&mut raw, self.records_crc.to_le_bytes());
        put::<20, 4, _>(&mut raw, self.segment.get().to_le_bytes());
        put::<24, 8, _>(&mut raw, self.store.to_le_bytes());
        put::<32, 4, _>(&mut raw, self.offset.get().to_le_bytes());
        put::<36, 4, _>(&mut raw, self.group.get().to_le_bytes());
        put::<40, 8, _>(&mut raw, self.generation.get().to_le_bytes());
        put::<48, 8, _>(&mut raw, self.first_sequence.get().to_le_bytes());
        put::<56, 8, _>(&mut raw, self.number.get().to_le_bytes());
        put::<64, 8, _>(&mut raw, self.log_watermark.get().to_le_bytes());
        put::<72, 8, _>(&mut raw, self.rewrite_watermark.get().to_le_bytes());
        put::<80, 4, _>(&mut raw, self.record_count.to_le_bytes());
        put::<84, 4, _>(&mut raw, self.summary_len.get().to_le_bytes());
        put::<88, 4, _>(&mut raw, self.records_len.get().to_le_bytes());
        let crc = crc::of(&[&raw[8..]]);
        put::<4, 4, _>(&mut raw, crc.to_le_bytes());
        raw
    }

    /// The only way from bytes to a header; only the first [`BufferHeader::LEN`] are looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAHeader> {
        let raw = bytes
            .first_chunk::<{ Self::LEN }>()
            .ok_or(NotAHeader::Length { found: bytes.len() })?;
        let kind = Self::check_frame(raw)?;
        let header = Self {
            kind,
            summary_crc: u32::from_le_bytes(field::<12, 4, _>(raw)),
            records_crc: u32::from_le_bytes(field::<16, 4, _>(raw)),
            segment: SegmentId::new(u32::from_le_bytes(field::<20, 4, _>(raw))),
            store: u64::from_le_bytes(field::<24, 8, _>(raw)),
            offset: SegmentOffset::new(u32::from_le_bytes(field::<32, 4, _>(raw))),
            group: GroupId::new(u32::from_le_bytes(field::<36, 4, _>(raw))),
            generation: Generation::new(u64::from_le_bytes(field::<40, 8, _>(raw))),
            first_sequence: Sequence::new(u64::from_le_bytes(field::<48, 8, _>(raw))),
            number: BufferNumber::new(u64::from_le_bytes(field::<56, 8, _>(raw))),
            log_watermark: BufferNumber::new(u64::from_le_bytes(field::<64, 8, _>(raw))),
            rewrite_watermark: BufferNumber::new(u64::from_le_bytes(field::<72, 8, _>(raw))),
            record_count: u32::from_le_bytes(field::<80, 4, _>(raw)),
            summary_len: ByteLen::new(u32::from_le_bytes(field::<84, 4, _>(raw))),
            records_len: ByteLen::new(u32::from_le_bytes(field::<88, 4, _>(raw))),
        };
        header.check_lengths()?;
        Ok(header)
    }

    /// Magic, CRC, version, kind, zeros: in this order, so that damage is called damage.
    fn check_frame(raw: &[u8; Self::LEN]) -> Result<BufferKind, NotAHeader> {
        let magic = u32::from_le_bytes(field::<0, 4, _>(raw));
        let stored = u32::from_le_bytes(field::<4, 4, _>(raw));
        let [version] = field::<8, 1, _>(raw);
        let [kind] = field::<9, 1, _>(raw);
        if magic == 0 && is_zero(raw) {
            return Err(NotAHeader::Zero);
        }
        if magic != MAGIC {
            return Err(NotAHeader::Magic { found: magic });
        }
        let computed = crc::of(&[&raw[8..]]);
        if stored != computed {
            return Err(NotAHeader::Crc { stored, computed });
        }
        if version != VERSION {
            return Err(NotAHeader::Version { found: version });
        }
        if field::<10, 2, _>(raw) != [0; 2] || field::<92, 4, _>(raw) != [0; 4] {
            return Err(NotAHeader::Reserved);
        }
        BufferKind::from_code(kind).ok_or(NotAHeader::Kind { found: kind })
    }

    /// Count, lengths and place agree with each other and the kind.
    pub(super) fn check_lengths(&self) -> Result<(), NotAHeader> {
        let Self { kind, group, record_count, summary_len, records_len, .. } = *self;
        let least = match kind {
            BufferKind::Log | BufferKind::Rewrite => RECORD_HEADER_LEN,
            BufferKind::Seal => SEAL_ENTRY_LEN,
            BufferKind::Void | BufferKind::Piece => 0,
        };
        let summary = record_count.checked_mul(summary_entry_len(kind, group));
        let least = record_count.checked_mul(least);
        let is_piece = kind == BufferKind::Piece;
        let exact = !kind.has_records() || record_count == 0;
        let fits = match least {
            Some(_) if is_piece => records_len > ByteLen::ZERO,
            Some(least) if exact => records_len.get() == least,
            Some(least) => records_len.get() >= least && records_len.get().is_multiple_of(8),
            None => false,
        };
        let has_count = !matches!(kind, BufferKind::Void | BufferKind::Piece);
        if summary != Some(summary_len.get()) || !fits || !(has_count || record_count == 0) {
            return Err(NotAHeader::Lengths { record_count, summary_len, records_len });
        }
        let len = self.total_len();
        let end = self.offset.checked_add(len);
        let inside = end.is_some_and(|end| end.get() <= MAX_SEGMENT_LEN);
        let first = !is_piece || self.offset == SegmentOffset::ZERO;
        if !self.offset.get().is_multiple_of(BLOCK) || !inside || !first {
            return Err(NotAHeader::Place { offset: self.offset, len });
        }
        Ok(())
    }

    /// Whether this is a buffer of this store that was written to this very place.
    #[must_use]
    pub fn belongs_at(&self, store_short: u64, segment: SegmentId, offset: SegmentOffset) -> bool {
        self.store == store_short && self.segment == segment && self.offset == offset
    }

    /// Whether its records belong to more than one group, so that each entry names its own.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.group == GroupId::MIXED
    }

    /// Header and summary: what a walk reads before it knows whether to go on.
    #[must_use]
    pub fn front_len(&self) -> ByteLen {
        ByteLen::new(HEADER_LEN.saturating_add(self.summary_len.get()))
    }

    /// Where in the buffer its records begin: behind the summary, on an eight-byte boundary.
    #[must_use]
    pub fn records_at(&self) -> ByteLen {
        ByteLen::new(self.front_len().get().checked_next_multiple_of(8).unwrap_or(u32::MAX))
    }

    /// Header, summary, records and padding: where the next buffer may begin.
    #[must_use]
    pub fn total_len(&self) -> ByteLen {
        let end = self.records_at().get().saturating_add(self.records_len.get());
        ByteLen::new(round_up_to_block(end).unwrap_or(u32::MAX))
    }

    /// Whether the summary is the one that this header was written with. `buffer` begins with the
    /// header; everything before [`BufferHeader::records_at`] suffices.
    pub fn check_summary(&self, buffer: &[u8]) -> Result<(), Damage> {
        let needed = self.records_at();
        let found = buffer.len();
        let summary =
            buffer.get(Self::LEN..needed.as_usize()).ok_or(Damage::Short { needed, found })?;
        let (stored, computed) = (self.summary_crc, crc::of(&[summary]));
        if stored == computed { Ok(()) } else { Err(Damage::Summary { stored, computed }) }
    }

    /// Whether the records are those that this header was written with. `buffer` begins with the
    /// header.
    pub fn check_records(&self, buffer: &[u8]) -> Result<(), Damage> {
        let start = self.records_at();
        let needed = ByteLen::new(start.get().saturating_add(self.records_len.get()));
        let found = buffer.len();
        let records = buffer
            .get(start.as_usize()..needed.as_usize())
            .ok_or(Damage::Short { needed, found })?;
        let (stored, computed) = (self.records_crc, crc::of(&[records]));
        if stored == computed { Ok(()) } else { Err(Damage::Records { stored, computed }) }
    }
}

/// Bytes of one entry in the summary of such a buffer; none where there is no summary.
#[must_use]
pub fn summary_entry_len(kind: BufferKind, group: GroupId) -> u32 {
    let mixed = if group == GroupId::MIXED { 4 } else { 0 };
    match kind {
        BufferKind::Log => 20 + mixed,
        BufferKind::Rewrite => 28 + mixed,
        BufferKind::Seal | BufferKind::Void | BufferKind::Piece => 0,
    }
}

#[cfg(test)]
mod tests;
