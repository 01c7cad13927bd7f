//! Whole buffers: made from entries and records, and taken apart again.
//!
//! Absent on purpose: making a buffer bit by bit. What is in it is known when it is sealed.

use thiserror::Error;

use crate::format::buffer::{BufferHeader, BufferKind, Damage, NotAHeader, summary_entry_len};
use crate::format::crc;
use crate::format::record::{NotARecord, Record, stamp};
use crate::format::summary::{BadSummary, SummaryEntry, encode_summary, locations, parse_summary};
use crate::io::IoBuf;
use crate::types::{
    BLOCK, BufferNumber, ByteLen, Generation, GroupId, SegmentId, SegmentOffset, to_u32,
};

/// Where the records of a buffer with so many entries begin: what
/// [`BufferHeader::records_at`] will say. Saturating, like that.
#[must_use]
pub fn records_offset(kind: BufferKind, entries: usize, mixed: bool) -> ByteLen {
    let group = if mixed { GroupId::MIXED } else { GroupId::SYSTEM };
    let entry_len = summary_entry_len(kind, group);
    let summary_len = ByteLen::new(to_u32(entries).saturating_mul(entry_len));
    BufferHeader { summary_len, ..BufferHeader::default() }.records_at()
}

/// Bytes of a buffer with so many entries and so many bytes of records, before padding; `None` if
/// there is no such number.
#[must_use]
pub fn encoded_len(kind: BufferKind, entries: usize, records_len: u32, mixed: bool) -> Option<u32> {
    let start = records_offset(kind, entries, mixed).get();
    start.checked_add(records_len).filter(|_| start < u32::MAX)
}

/// A whole log or rewrite buffer, ready to be written. Count, lengths and CRCs of `header` are
/// filled in, and so is `first_sequence` unless there is no entry; every record is stamped for the
/// place that it gets.
///
/// # Panics
///
/// If the entries do not describe the records, or the buffer does not fit where it is to lie.
#[must_use]
pub fn encode_buffer(mut header: BufferHeader, entries: &[SummaryEntry], records: &[u8]) -> IoBuf {
    assert!(header.kind.has_records());
    let described: usize = entries.iter().map(|entry| entry.len.as_usize()).sum();
    assert_eq!(described, records.len());
    header.record_count = to_u32(entries.len());
    header.summary_len = header
        .record_count
        .checked_mul(summary_entry_len(header.kind, header.group))
        .map(ByteLen::new)
        .expect("a summary is shorter than a segment");
    header.records_len = ByteLen::of(records);
    if let Some(first) = entries.iter().map(|entry| entry.sequence).min() {
        header.first_sequence = first;
    }
    if header.kind == BufferKind::Log {
        let expected = (0..).map(|index| header.first_sequence.advance(index));
        debug_assert!(expected.zip(entries).all(|(expected, entry)| expected == entry.sequence));
    }
    assert_eq!(header.check_lengths(), Ok(()));

    let mut buffer = IoBuf::zeroed(header.total_len());
    let (front_len, records_at) = (header.front_len().as_usize(), header.records_at().as_usize());
    encode_summary(&header, entries, &mut buffer[BufferHeader::LEN..front_len]);
    let laid = &mut buffer[records_at..records_at + records.len()];
    laid.copy_from_slice(records);
    let mut rest = &mut *laid;
    for at in locations(&header, entries) {
        let (record, behind) = rest.split_at_mut(at.len().as_usize());
        stamp(record, at.segment(), header.generation, at.offset());
        rest = behind;
    }
    header.records_crc = crc::of(&[laid]);
    header.summary_crc = crc::of(&[&buffer[BufferHeader::LEN..records_at]]);
    buffer[..BufferHeader::LEN].copy_from_slice(&header.encode());
    buffer
}

/// One block that says: nothing here, and nothing behind it. Written over the first block of a
/// buffer to void it.
///
/// # Panics
///
/// If no segment has a block there.
#[must_use]
pub fn void_block(
    store_short: u64,
    segment: SegmentId,
    offset: SegmentOffset,
    generation: Generation,
) -> IoBuf {
    nothing(&BufferHeader { store: store_short, segment, offset, generation, ..void() })
}

/// The same, written over the first block of a segment in which all is dead. It carries the
/// highest number: if it gets lost, what comes back is dead; under a void header it is not.
#[must_use]
pub fn erased_block(store_short: u64, segment: SegmentId, generation: Generation) -> IoBuf {
    let number = BufferNumber::MAX;
    nothing(&BufferHeader { store: store_short, segment, generation, number, ..void() })
}

/// The same, written over the seal of that segment: each of the two says that all is dead, should
/// the other one be lost.
#[must_use]
pub fn erased_note(
    store_short: u64,
    segment: SegmentId,
    generation: Generation,
    offset: SegmentOffset,
) -> IoBuf {
    let number = BufferNumber::MAX;
    nothing(&BufferHeader { store: store_short, segment, offset, generation, number, ..void() })
}

fn void() -> BufferHeader {
    BufferHeader { kind: BufferKind::Void, ..BufferHeader::default() }
}

fn nothing(header: &BufferHeader) -> IoBuf {
    assert_eq!(header.check_lengths(), Ok(()));
    let mut block = IoBuf::zeroed(ByteLen::new(BLOCK));
    block[..BufferHeader::LEN].copy_from_slice(&header.encode());
    block
}

/// Why these bytes are no whole buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotABuffer {
    /// They do not begin with a header.
    #[error("no header")]
    Header(#[from] NotAHeader),
    /// A seal, a piece or a void buffer: it has no records.
    #[error("a buffer of kind {found:?} has no records")]
    Kind {
        /// The kind in the header.
        found: BufferKind,
    },
    /// Summary or records are not those that the header was written with.
    #[error("damaged buffer")]
    Damage(#[from] Damage),
    /// The summary describes no records.
    #[error("impossible summary")]
    Summary(#[from] BadSummary),
    /// One of the records is none.
    #[error("record {index} is none")]
    Record {
        /// Which one.
        index: usize,
        /// Why.
        #[source]
        reason: NotARecord,
    },
    /// A record is not what the header and its summary entry say.
    #[error("record {index} is not what its summary says")]
    Disagreement {
        /// Which one.
        index: usize,
    },
}

/// A whole buffer, everything in it checked against everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedBuffer<'a> {
    /// Its header.
    pub header: BufferHeader,
    /// What its summary says of its records.
    pub entries: Vec<SummaryEntry>,
    /// Its records, one for each entry.
    pub records: Vec<Record<'a>>,
}

/// Takes a whole log or rewrite buffer apart. Only whether the hashes are those of the keys is
/// left open: that takes the secret of the store.
pub fn decode_buffer(bytes: &[u8]) -> Result<DecodedBuffer<'_>, NotABuffer> {
    let header = BufferHeader::parse(bytes)?;
    if !header.kind.has_records() {
        return Err(NotABuffer::Kind { found: header.kind });
    }
    header.check_summary(bytes)?;
    header.check_records(bytes)?;
    let entries = parse_summary(&header, &bytes[BufferHeader::LEN..])?;
    let mut records = Vec::with_capacity(entries.len());
    let mut rest = &bytes[header.records_at().as_usize()..];
    for ((index, entry), at) in entries.iter().enumerate().zip(locations(&header, &entries)) {
        let record = Record::parse(rest, at);
        let record = record.map_err(|reason| NotABuffer::Record { index, reason })?;
        let agrees = record.kind == entry.kind
            && record.group == entry.group
            && record.sequence == entry.sequence
            && record.generation_low == header.generation.low();
        if !agrees {
            return Err(NotABuffer::Disagreement { index });
        }
        rest = &rest[entry.len.as_usize()..];
        records.push(record);
    }
    Ok(DecodedBuffer { header, entries, records })
}
