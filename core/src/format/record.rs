//! Records: one write each, as it lies in a buffer and is read back alone.
//!
//! ```text
//! ┌────────┬───────────┬─────────────┬───────────────────┐
//! │ header │ key       │ value       │ zeros up to 8     │
//! └────────┴───────────┴─────────────┴───────────────────┘
//!   32       key_len     value_len     0 to 7
//! ```
//!
//! A read fetches one record and nothing around it, so the record proves by itself what it is:
//! body CRC, group, sequence, the low half of the generation of the segment that it was written
//! into, and a header CRC that covers, beside the header, the segment and the offset where it lies.
//! So a record that a disk wrote to, or read from, another place than it was asked to is no record,
//! even within one life of one segment, where an older one of the same key would otherwise pass.
//!
//! A record is made before its place is known, and copied to another one: [`append`] leaves place
//! and life open, and whoever lays it out for the device fills them in ([`stamp`]). The body and
//! its CRC stay as they are.
//!
//! 1. A record is a multiple of eight bytes long and begins on one.
//! 2. No record is longer than the longest segment.
//! 3. A deletion has no value.
//! 4. A record that was parsed was stamped for the very place that it was read from.
//!
//! Absent on purpose: the hash of the key (the key itself is here), the number of the buffer, and
//! the place in bytes of its own: whoever reads a record knows where it looks.

use std::ops::Range;

use thiserror::Error;

use crate::format::crc;
use crate::format::geometry::MAX_SEGMENT_LEN;
use crate::format::{field, is_zero, put};
use crate::types::{
    ByteLen, Generation, GroupId, Location, SegmentId, SegmentOffset, Sequence, to_u32, to_usize,
};

/// [`RecordHeader::LEN`], for arithmetic on lengths of the disk.
pub const RECORD_HEADER_LEN: u32 = 32;

// Records follow each other on eight-byte boundaries, and their headers lie within one sector.
const _: () = assert!(RecordHeader::LEN.is_multiple_of(8) && RecordHeader::LEN <= 512);

/// What a record does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// The key has this value now.
    Put,
    /// The key is gone.
    Delete,
    /// The key has a large value now, of which the record holds the list of pieces.
    Large,
}

impl RecordKind {
    /// Its number on disk.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::Delete => 2,
            Self::Large => 3,
        }
    }

    /// Whether it removes its key.
    #[must_use]
    pub const fn is_delete(self) -> bool {
        matches!(self, Self::Delete)
    }

    /// The kind with this number on disk.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            3 => Some(Self::Large),
            _ => None,
        }
    }
}

/// Why these bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotARecord {
    /// Fewer bytes than the record, or its header, has.
    #[error("{found} bytes of a record of at least {needed}")]
    Length {
        /// Bytes that the header or the record needs.
        needed: ByteLen,
        /// Bytes given.
        found: usize,
    },
    /// The header was damaged, or the record belongs to another place.
    #[error("header crc {stored:#010x}, computed for this place {computed:#010x}")]
    HeaderCrc {
        /// As it lies there.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// Key or value were damaged.
    #[error("body crc {stored:#010x}, computed {computed:#010x}")]
    BodyCrc {
        /// As it lies there.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// It is not as long as what speaks of it says.
    #[error("a record of {found} where one of {expected} lies")]
    OtherLength {
        /// As the index or a summary says.
        expected: ByteLen,
        /// As its header says.
        found: ByteLen,
    },
    /// A kind that this format does not have.
    #[error("unknown kind {found}")]
    Kind {
        /// The number of the kind.
        found: u8,
    },
    /// Flags that this format does not have.
    #[error("unknown flags {found:#04x}")]
    Flags {
        /// All flags.
        found: u8,
    },
    /// The number that stands for "more than one group".
    #[error("a record of no one group")]
    Group,
    /// Key and value together are longer than any record.
    #[error("key of {key_len} and value of {value_len} bytes")]
    TooLong {
        /// Bytes of the key.
        key_len: u16,
        /// Bytes of the value.
        value_len: u32,
    },
    /// A deletion that carries a value.
    #[error("deletion with a value of {value_len} bytes")]
    DeleteWithValue {
        /// Bytes of the value.
        value_len: u32,
    },
    /// Something lies between the record's end and the next boundary.
    #[error("padding is not zero")]
    Padding,
}

/// The first bytes of a record.
///
/// | at | len | field      | meaning                                                    |
/// |---:|----:|------------|------------------------------------------------------------|
/// |  0 |   4 | header_crc | CRC-32C of bytes 4..32, the segment and the offset (4 + 4) |
/// |  4 |   4 | body_crc   | CRC-32C of the key, then the value                         |
/// |  8 |   8 | sequence   | number of the write; a copy keeps it                       |
/// | 16 |   4 | generation | low half of the generation of the segment it lies in       |
/// | 20 |   4 | group      | whose key it is                                            |
/// | 24 |   4 | value_len  | bytes of the value                                         |
/// | 28 |   2 | key_len    | bytes of the key                                           |
/// | 30 |   1 | kind       | 1 put, 2 delete, 3 large: the value is a list of pieces    |
/// | 31 |   1 | flags      | zero; reserved for compression and expiry                  |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    body_crc: u32,
    sequence: Sequence,
    generation_low: u32,
    group: GroupId,
    // Invariant: `record_len(key_len, value_len)` exists; zero in a deletion.
    value_len: u32,
    key_len: u16,
    kind: RecordKind,
    // Invariant: `record_len(key_len, value_len)`.
    record_len: ByteLen,
}

impl RecordHeader {
    /// Bytes on disk.
    pub const LEN: usize = to_usize(RECORD_HEADER_LEN);

    /// The only way from the bytes at a place to a header; only the first [`RecordHeader::LEN`] are
    /// looked at.
    pub fn parse(bytes: &[u8], at: Location) -> Result<Self, NotARecord> {
        let raw = bytes.first_chunk::<{ Self::LEN }>().ok_or(NotARecord::Length {
            needed: ByteLen::new(RECORD_HEADER_LEN),
            found: bytes.len(),
        })?;
        let stored = u32::from_le_bytes(field::<0, 4, _>(raw));
        let body_crc = u32::from_le_bytes(field::<4, 4, _>(raw));
        let sequence = Sequence::new(u64::from_le_bytes(field::<8, 8, _>(raw)));
        let generation_low = u32::from_le_bytes(field::<16, 4, _>(raw));
        let group = GroupId::new(u32::from_le_bytes(field::<20, 4, _>(raw)));
        let value_len = u32::from_le_bytes(field::<24, 4, _>(raw));
        let key_len = u16::from_le_bytes(field::<28, 2, _>(raw));
        let [kind] = field::<30, 1, _>(raw);
        let [flags] = field::<31, 1, _>(raw);

        let computed = header_crc(raw, at.segment(), at.offset());
        if stored != computed {
            return Err(NotARecord::HeaderCrc { stored, computed });
        }
        if flags != 0 {
            return Err(NotARecord::Flags { found: flags });
        }
        let kind = RecordKind::from_code(kind).ok_or(NotARecord::Kind { found: kind })?;
        if group == GroupId::MIXED {
            return Err(NotARecord::Group);
        }
        if kind == RecordKind::Delete && value_len != 0 {
            return Err(NotARecord::DeleteWithValue { value_len });
        }
        let record_len = record_len(usize::from(key_len), to_usize(value_len))
            .ok_or(NotARecord::TooLong { key_len, value_len })?;
        if record_len != at.len() {
            return Err(NotARecord::OtherLength { expected: at.len(), found: record_len });
        }
        Ok(Self { body_crc, sequence, generation_low, group, value_len, key_len, kind, record_len })
    }

    /// The whole record: header, key, value and padding.
    #[must_use]
    pub const fn record_len(&self) -> ByteLen {
        self.record_len
    }
}

/// A checked record, in the bytes that it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The number of the write.
    pub sequence: Sequence,
    /// The low half of the generation of the segment that it was written into.
    pub generation_low: u32,
    /// Whose key it is.
    pub group: GroupId,
    /// What it does to the key.
    pub kind: RecordKind,
    /// The key.
    pub key: &'a [u8],
    /// The value; empty in a deletion.
    pub value: &'a [u8],
    // Invariant: the length of header, key, value and padding. Private, so that a record comes
    // from `parse` alone.
    len: ByteLen,
}

impl<'a> Record<'a> {
    /// The only way from the bytes at a place to a record. It begins at the first byte; what
    /// follows its end is not looked at.
    pub fn parse(bytes: &'a [u8], at: Location) -> Result<Self, NotARecord> {
        let header = RecordHeader::parse(bytes, at)?;
        let len = header.record_len;
        let whole = bytes
            .get(..len.as_usize())
            .ok_or(NotARecord::Length { needed: len, found: bytes.len() })?;
        let (key, rest) = whole[RecordHeader::LEN..].split_at(usize::from(header.key_len));
        let (value, padding) = rest.split_at(to_usize(header.value_len));
        let computed = body_crc(key, value);
        if header.body_crc != computed {
            return Err(NotARecord::BodyCrc { stored: header.body_crc, computed });
        }
        if !is_zero(padding) {
            return Err(NotARecord::Padding);
        }
        let RecordHeader { sequence, generation_low, group, kind, .. } = header;
        Ok(Self { sequence, generation_low, group, kind, key, value, len })
    }

    /// The whole record: header, key, value and padding.
    #[must_use]
    pub const fn record_len(&self) -> ByteLen {
        self.len
    }

    /// Where the value lies in the bytes that were parsed.
    #[must_use]
    pub const fn value_range(&self) -> Range<usize> {
        let start = RecordHeader::LEN + self.key.len();
        start..start + self.value.len()
    }
}

/// A record about to be written, wherever that will be.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The number of the write.
    pub sequence: Sequence,
    /// Whose key it is.
    pub group: GroupId,
    /// What it does to the key.
    pub kind: RecordKind,
    /// The key.
    pub key: &'a [u8],
    /// The value; empty in a deletion.
    pub value: &'a [u8],
    /// [`body_crc`] of key and value, which can be computed before any lock is taken.
    pub body_crc: u32,
}

/// The whole length of a record, padding included; `None` if there is no such record.
#[must_use]
pub fn record_len(key_len: usize, value_len: usize) -> Option<ByteLen> {
    u16::try_from(key_len).ok()?;
    let body = key_len.checked_add(value_len)?;
    let len = to_u32(body).checked_add(RECORD_HEADER_LEN)?.checked_next_multiple_of(8)?;
    (len <= MAX_SEGMENT_LEN).then_some(ByteLen::new(len))
}

/// The least and the most bytes that the value of a record of this length can have, if its key is
/// so long: up to seven bytes of it are padding.
#[must_use]
pub fn value_len_bounds(record_len: ByteLen, key_len: usize) -> (usize, usize) {
    let most = record_len.as_usize().saturating_sub(RecordHeader::LEN + key_len);
    (most.saturating_sub(7), most)
}

/// The CRC of a record's body.
#[must_use]
pub fn body_crc(key: &[u8], value: &[u8]) -> u32 {
    crc::of(&[key, value])
}

/// The CRC of a record's header, for the place where the record lies.
fn header_crc(raw: &[u8; RecordHeader::LEN], segment: SegmentId, offset: SegmentOffset) -> u32 {
    let (segment, offset) = (segment.get().to_le_bytes(), offset.get().to_le_bytes());
    crc::of(&[&raw[4..], &segment, &offset])
}

/// Adds a record at the end of `out`, whose length is a multiple of eight before and after. It is
/// not one before it is [stamped](stamp): its generation and its header's CRC are zero.
///
/// # Panics
///
/// If there is no such record: check with [`record_len`] first.
pub fn append(out: &mut Vec<u8>, record: &NewRecord<'_>) {
    assert!(out.len().is_multiple_of(8));
    assert_ne!(record.group, GroupId::MIXED);
    assert!(!record.kind.is_delete() || record.value.is_empty());
    debug_assert_eq!(record.body_crc, body_crc(record.key, record.value));
    let len = record_len(record.key.len(), record.value.len())
        .expect("the length of key and value was checked when the write was accepted");
    let key_len = u16::try_from(record.key.len()).expect("record_len refuses longer keys");
    let mut header = [0; RecordHeader::LEN];
    put::<4, 4, _>(&mut header, record.body_crc.to_le_bytes());
    put::<8, 8, _>(&mut header, record.sequence.get().to_le_bytes());
    put::<20, 4, _>(&mut header, record.group.get().to_le_bytes());
    put::<24, 4, _>(&mut header, to_u32(record.value.len()).to_le_bytes());
    put::<28, 2, _>(&mut header, key_len.to_le_bytes());
    put::<30, 1, _>(&mut header, [record.kind.code()]);
    let end = out.len() + len.as_usize();
    out.reserve(len.as_usize());
    out.extend_from_slice(&header);
    out.extend_from_slice(record.key);
    out.extend_from_slice(record.value);
    out.resize(end, 0);
}

/// Makes the bytes of [`append`], or of a record that lay elsewhere, the record of this place and
/// of this life of its segment. The body is neither read nor checked.
///
/// # Panics
///
/// If there are fewer bytes than a header has.
pub fn stamp(record: &mut [u8], segment: SegmentId, generation: Generation, offset: SegmentOffset) {
    let raw = record.first_chunk_mut::<{ RecordHeader::LEN }>();
    let raw = raw.expect("a record has a header");
    put::<16, 4, _>(raw, generation.low().to_le_bytes());
    let crc = header_crc(raw, segment, offset);
    put::<0, 4, _>(raw, crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples::{self, Sample};
    use proptest::prelude::*;

    const SEGMENT: SegmentId = SegmentId::new(5);
    const OFFSET: SegmentOffset = SegmentOffset::new(4200);

    fn place(len: usize) -> Location {
        Location::new(SEGMENT, OFFSET, ByteLen::new(to_u32(len)))
    }

    fn stamped(sample: &Sample, generation: u64) -> Vec<u8> {
        let mut raw = sample.encode();
        stamp(&mut raw, SEGMENT, Generation::new(generation), OFFSET);
        raw
    }

    fn alice() -> Vec<u8> {
        let sample = Sample { key: b"alice".to_vec(), value: b"hello".to_vec(), ..Sample::put(7) };
        stamped(&sample, 3)
    }

    /// Changes a record and puts its header's CRC right again.
    fn check_in(len: usize, what: &str, damage: impl FnOnce(&mut [u8]), expected: NotARecord) {
        let mut raw = alice();
        damage(&mut raw);
        let crc = header_crc(raw.first_chunk().unwrap(), SEGMENT, OFFSET);
        raw[..4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Record::parse(&raw, place(len)), Err(expected), "{what}");
    }

    fn check(what: &str, damage: impl FnOnce(&mut [u8]), expected: NotARecord) {
        check_in(48, what, damage, expected);
    }

    #[test]
    fn a_damaged_record_is_refused_for_the_right_reason() {
        use NotARecord::{
            BodyCrc, DeleteWithValue, Flags, Group, Kind, Length, OtherLength, Padding, TooLong,
        };
        let (stored, helle) = (body_crc(b"alice", b"hello"), body_crc(b"alice", b"hellp"));
        check("value", |raw| raw[41] ^= 0x1f, BodyCrc { stored, computed: helle });
        check("no kind", |raw| raw[30] = 0, Kind { found: 0 });
        check("kind", |raw| raw[30] = 4, Kind { found: 4 });
        check("flags", |raw| raw[31] = 0x80, Flags { found: 0x80 });
        check("group", |raw| raw[20..24].fill(0xff), Group);
        check("delete", |raw| raw[30] = 2, DeleteWithValue { value_len: 5 });
        check("padding", |raw| raw[47] = 1, Padding);
        let longer = Length { needed: ByteLen::new(144), found: 48 };
        check_in(144, "longer", |raw| raw[24] = 100, longer);
        let other = OtherLength { expected: ByteLen::new(48), found: ByteLen::new(144) };
        check("of another length", |raw| raw[24] = 100, other);
        let huge = TooLong { key_len: 5, value_len: u32::MAX };
        check("huge", |raw| raw[24..28].fill(0xff), huge);
    }

    #[test]
    fn zeros_are_no_record() {
        let parsed = Record::parse(&[0; 64], place(64));
        assert!(matches!(parsed, Err(NotARecord::HeaderCrc { stored: 0, .. })));
    }

    #[test]
    fn a_record_that_was_never_stamped_is_none() {
        let raw = Sample::put(7).encode();
        assert!(matches!(
            Record::parse(&raw, place(raw.len())),
            Err(NotARecord::HeaderCrc { stored: 0, .. })
        ));
    }

    /// A disk that writes or reads a few sectors astray meets records of the same key, group and
    /// life: damage seeds 3154 and 22777, before the CRC covered the place.
    #[test]
    fn a_whole_record_is_none_anywhere_else() {
        let raw = alice();
        assert!(Record::parse(&raw, place(48)).is_ok());
        let len = ByteLen::new(48);
        for elsewhere in [
            Location::new(SegmentId::new(6), OFFSET, len),
            Location::new(SEGMENT, SegmentOffset::new(4200 + 512), len),
            Location::new(SEGMENT, SegmentOffset::new(4208), len),
            // Both changed by as much: the CRC is of two numbers, not of their sum.
            Location::new(SegmentId::new(4), SegmentOffset::new(4201), len),
        ] {
            let parsed = Record::parse(&raw, elsewhere);
            assert!(matches!(parsed, Err(NotARecord::HeaderCrc { .. })), "{elsewhere}");
        }
    }

    #[test]
    fn lengths_that_no_record_can_have_are_refused() {
        assert_eq!(record_len(0, 0), Some(ByteLen::new(32)));
        assert_eq!(record_len(1, 0), Some(ByteLen::new(40)));
        assert_eq!(record_len(65535, 0), Some(ByteLen::new(65568)));
        assert_eq!(record_len(65536, 0), None);
        let most = to_usize(MAX_SEGMENT_LEN - RECORD_HEADER_LEN);
        assert_eq!(record_len(0, most), Some(ByteLen::new(MAX_SEGMENT_LEN)));
        assert_eq!(record_len(1, most), None);
        assert_eq!(record_len(1, usize::MAX), None);
    }

    #[test]
    fn the_bounds_of_a_value_are_its_shortest_and_longest_with_such_a_record() {
        for (key_len, value_len) in (1..20).flat_map(|key| (0..40).map(move |value| (key, value))) {
            let len = record_len(key_len, value_len).unwrap();
            let (least, most) = value_len_bounds(len, key_len);
            assert!((least..=most).contains(&value_len));
            assert_eq!(record_len(key_len, least), Some(len));
            assert_eq!(record_len(key_len, most), Some(len));
            assert_ne!(record_len(key_len, most + 1), Some(len));
        }
        let no_such_record = value_len_bounds(ByteLen::new(32), 100);
        assert_eq!(no_such_record, (0, 0));
    }

    proptest! {
        #[test]
        fn a_record_is_read_back_as_written(
            sample in samples::record(),
            generation: u64,
            behind: Vec<u8>,
        ) {
            let mut raw = stamped(&sample, generation);
            let len = raw.len();
            raw.extend(behind);
            let record = Record::parse(&raw, place(len)).unwrap();
            prop_assert_eq!(record.sequence, sample.sequence);
            prop_assert_eq!(record.generation_low, Generation::new(generation).low());
            prop_assert_eq!(record.group, sample.group);
            prop_assert_eq!(record.kind, sample.kind);
            prop_assert_eq!(record.key, sample.key);
            prop_assert_eq!(record.value, &sample.value);
            prop_assert_eq!(&raw[record.value_range()], &sample.value);
            prop_assert_eq!(record.record_len().as_usize(), len);
        }

        #[test]
        fn a_record_with_one_bit_flipped_is_refused(
            sample in samples::record(),
            bit: prop::sample::Index,
        ) {
            let mut raw = stamped(&sample, 1);
            let bit = bit.index(raw.len() * 8);
            raw[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Record::parse(&raw, place(raw.len())).is_err());
        }

        #[test]
        fn a_record_cut_short_is_refused(sample in samples::record(), cut: prop::sample::Index) {
            let raw = stamped(&sample, 1);
            let found = cut.index(raw.len());
            let needed = if found < RecordHeader::LEN { RecordHeader::LEN } else { raw.len() };
            let expected = NotARecord::Length { needed: ByteLen::new(to_u32(needed)), found };
            prop_assert_eq!(Record::parse(&raw[..found], place(raw.len())), Err(expected));
        }

        #[test]
        fn a_record_stamped_again_is_the_one_stamped_once(
            sample in samples::record(),
            [old, new]: [u64; 2],
            elsewhere: (u32, u32),
        ) {
            let mut raw = sample.encode();
            let (segment, offset) = (SegmentId::new(elsewhere.0), SegmentOffset::new(elsewhere.1));
            stamp(&mut raw, segment, Generation::new(old), offset);
            stamp(&mut raw, SEGMENT, Generation::new(new), OFFSET);
            prop_assert_eq!(raw, stamped(&sample, new));
        }

        #[test]
        fn any_bytes_give_an_answer(raw in samples::noise(300)) {
            prop_assert!(Record::parse(&raw, place(raw.len())).is_err());
        }
    }
}
