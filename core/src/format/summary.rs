//! Summaries: what a buffer says of its records, without their keys and values.
//!
//! Recovery and compaction walk summaries instead of values. An entry says which key (by its
//! hash), what happened to it, when, for whom, and how many bytes to go on to the next record.
//! What the header already says of all records is left out:
//!
//! | buffer  | of one group | mixed    |
//! |---------|-------------:|---------:|
//! | log     |     20 bytes | 24 bytes |
//! | rewrite |     28 bytes | 32 bytes |
//!
//! 1. Entries are in the order of the records, and their lengths add up to all of them.
//! 2. The sequences of a log buffer count up from the header's, one a record.
//! 3. No sequence in a rewrite buffer is below the header's.

use thiserror::Error;

use crate::format::buffer::{BufferHeader, BufferKind, summary_entry_len};
use crate::format::geometry::MAX_SEGMENT_LEN;
use crate::format::hash::KeyHasher;
use crate::format::record::{RECORD_HEADER_LEN, Record, RecordKind};
use crate::types::{
    ByteLen, Generation, GroupId, KeyHash, Location, SegmentId, SegmentOffset, Sequence, to_usize,
};

/// Bits of the word that holds kind and length which belong to the length.
const LEN_BITS: u32 = 28;
const LEN_MASK: u32 = (1 << LEN_BITS) - 1;

// Every length of a record, and every kind, has room in its part of the word.
const _: () = assert!(MAX_SEGMENT_LEN <= LEN_MASK);
const _: () = assert!(RecordKind::Large.code() < 16);

/// What a summary says of one record.
///
/// | at | len | field    | meaning                                                      |
/// |---:|----:|----------|--------------------------------------------------------------|
/// |  0 |  16 | hash     | keyed hash of the key                                        |
/// | 16 |   4 | kind_len | bits 28..32 kind, bits 0..28 bytes of the whole record       |
/// | 20 |   4 | group    | whose key; only in mixed buffers                             |
/// |  … |   8 | sequence | number of the write; only in rewrite buffers                 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummaryEntry {
    /// The hash of the key.
    pub hash: KeyHash,
    /// What the record does to the key.
    pub kind: RecordKind,
    /// The whole record: header, key, value and padding.
    pub len: ByteLen,
    /// Whose key it is.
    pub group: GroupId,
    /// The number of the write.
    pub sequence: Sequence,
}

impl SummaryEntry {
    /// Whether it speaks of this record, which lies in this life of a segment.
    #[must_use]
    pub fn is_of(&self, record: &Record<'_>, generation: Generation, hasher: &KeyHasher) -> bool {
        record.kind == self.kind
            && record.group == self.group
            && record.sequence == self.sequence
            && record.generation_low == generation.low()
            && hasher.hash(record.key) == self.hash
    }
}

/// Why a summary does not describe the records of its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadSummary {
    /// Buffers of this kind have no summary.
    #[error("a buffer of kind {found:?} has no summary")]
    Kind {
        /// The kind in the header.
        found: BufferKind,
    },
    /// Fewer bytes than the summary has.
    #[error("{found} bytes of a summary of {needed}")]
    Length {
        /// Bytes of the summary.
        needed: ByteLen,
        /// Bytes given.
        found: usize,
    },
    /// A record of unknown kind.
    #[error("entry {index}: unknown kind {found}")]
    RecordKind {
        /// Which entry.
        index: u32,
        /// The number of the kind.
        found: u8,
    },
    /// A record of impossible length.
    #[error("entry {index}: a record of {found}")]
    RecordLen {
        /// Which entry.
        index: u32,
        /// The length.
        found: ByteLen,
    },
    /// The number that stands for "more than one group".
    #[error("entry {index}: a record of no one group")]
    Group {
        /// Which entry.
        index: u32,
    },
    /// A sequence below the first one, or beyond the last there is.
    #[error("entry {index}: no sequence from {first} on")]
    Sequence {
        /// Which entry.
        index: u32,
        /// The first sequence, as the header says.
        first: Sequence,
    },
    /// The records together are not as long as the header says.
    #[error("records of {found} together where the header says {stated}")]
    Total {
        /// The sum of all entries.
        found: u64,
        /// As the header says.
        stated: ByteLen,
    },
}

/// The only way from bytes to the entries of a summary.
///
/// `summary` are the bytes right behind the header, up to [`BufferHeader::front_len`]; what is
/// behind them is not looked at. That they are undamaged is checked by
/// [`BufferHeader::check_summary`].
pub fn parse_summary(
    header: &BufferHeader,
    summary: &[u8],
) -> Result<Vec<SummaryEntry>, BadSummary> {
    let mut entries = Vec::new();
    check_entries(header, summary, |entry| entries.push(entry))?;
    Ok(entries)
}

/// Checks every entry, hands it on, and gives the bytes of all. What was handed on before an error
/// counts for nothing.
fn check_entries<'a>(
    header: &BufferHeader,
    summary: &'a [u8],
    mut take: impl FnMut(SummaryEntry),
) -> Result<&'a [u8], BadSummary> {
    if !header.kind.has_records() {
        return Err(BadSummary::Kind { found: header.kind });
    }
    let needed = header.summary_len;
    let summary = summary
        .get(..needed.as_usize())
        .ok_or(BadSummary::Length { needed, found: summary.len() })?;
    let mut total: u64 = 0;
    for (index, raw) in raw_entries(header, summary) {
        let entry = parse_entry(header, index, raw)?;
        total += u64::from(entry.len.get());
        take(entry);
    }
    if total != u64::from(header.records_len.get()) {
        return Err(BadSummary::Total { found: total, stated: header.records_len });
    }
    Ok(summary)
}

fn raw_entries<'a>(
    header: &BufferHeader,
    summary: &'a [u8],
) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
    let entry_len = to_usize(summary_entry_len(header.kind, header.group));
    (0..header.record_count).zip(summary.chunks_exact(entry_len))
}

/// A summary of which every entry was checked, still in its bytes: less than half of what the
/// entries take. Recovery has those of a whole store in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary(Box<[u8]>);

impl Summary {
    /// The only way from bytes to a summary; see [`parse_summary`].
    pub(crate) fn parse(header: &BufferHeader, summary: &[u8]) -> Result<Self, BadSummary> {
        Ok(Self(check_entries(header, summary, |_| ())?.into()))
    }

    /// Its entries, and where the record of each lies. `header` is the one that it was parsed with.
    pub(crate) fn records<'a>(
        &'a self,
        header: &'a BufferHeader,
    ) -> impl Iterator<Item = (SummaryEntry, Location)> + use<'a> {
        let checked = raw_entries(header, &self.0);
        let entries = checked.filter_map(|(index, raw)| parse_entry(header, index, raw).ok());
        let mut at = header.offset.get().saturating_add(header.records_at().get());
        entries.map(move |entry| {
            let location = Location::new(header.segment, SegmentOffset::new(at), entry.len);
            at = at.saturating_add(entry.len.get());
            (entry, location)
        })
    }

    /// That of these entries, which fit the header.
    #[cfg(test)]
    pub(crate) fn of(header: &BufferHeader, entries: &[SummaryEntry]) -> Self {
        let mut raw = vec![0; header.summary_len.as_usize()];
        encode_summary(header, entries, &mut raw);
        Self(raw.into())
    }
}

/// `raw` has the length that [`summary_entry_len`] says.
fn parse_entry(header: &BufferHeader, index: u32, raw: &[u8]) -> Result<SummaryEntry, BadSummary> {
    let short = BadSummary::Length { needed: header.summary_len, found: raw.len() };
    let (hash, rest) = raw.split_first_chunk::<16>().ok_or(short)?;
    let (kind_len, mut rest) = rest.split_first_chunk::<4>().ok_or(short)?;
    let mut group = header.group;
    if header.is_mixed() {
        let (found, behind) = rest.split_first_chunk::<4>().ok_or(short)?;
        group = GroupId::new(u32::from_le_bytes(*found));
        rest = behind;
    }
    let first = header.first_sequence.get();
    let sequence = if header.kind == BufferKind::Rewrite {
        let (found, _) = rest.split_first_chunk::<8>().ok_or(short)?;
        Some(u64::from_le_bytes(*found)).filter(|&sequence| sequence >= first)
    } else {
        first.checked_add(u64::from(index))
    };

    let kind_len = u32::from_le_bytes(*kind_len);
    let code = u8::try_from(kind_len >> LEN_BITS).expect("four bits fit into eight");
    let kind = RecordKind::from_code(code).ok_or(BadSummary::RecordKind { index, found: code })?;
    let len = ByteLen::new(kind_len & LEN_MASK);
    if !is_record_len(len) {
        return Err(BadSummary::RecordLen { index, found: len });
    }
    if group == GroupId::MIXED {
        return Err(BadSummary::Group { index });
    }
    let first = header.first_sequence;
    let sequence = Sequence::new(sequence.ok_or(BadSummary::Sequence { index, first })?);
    Ok(SummaryEntry { hash: KeyHash::new(u128::from_le_bytes(*hash)), kind, len, group, sequence })
}

/// Whether some record has this length.
fn is_record_len(len: ByteLen) -> bool {
    (RECORD_HEADER_LEN..=MAX_SEGMENT_LEN).contains(&len.get()) && len.get().is_multiple_of(8)
}

/// Writes the entries to `out`, which is as long as they are.
pub(super) fn encode_summary(header: &BufferHeader, entries: &[SummaryEntry], out: &mut [u8]) {
    let entry_len = to_usize(summary_entry_len(header.kind, header.group));
    assert_eq!(out.len(), entries.len() * entry_len);
    for (entry, raw) in entries.iter().zip(out.chunks_exact_mut(entry_len)) {
        debug_assert!(is_record_len(entry.len));
        let kind_len = (u32::from(entry.kind.code()) << LEN_BITS) | entry.len.get();
        raw[..16].copy_from_slice(&entry.hash.get().to_le_bytes());
        raw[16..20].copy_from_slice(&kind_len.to_le_bytes());
        if header.is_mixed() {
            debug_assert_ne!(entry.group, GroupId::MIXED);
            raw[20..24].copy_from_slice(&entry.group.get().to_le_bytes());
        } else {
            debug_assert_eq!(entry.group, header.group);
        }
        if header.kind == BufferKind::Rewrite {
            raw[entry_len - 8..].copy_from_slice(&entry.sequence.get().to_le_bytes());
        }
    }
}

/// Where each record of a buffer lies, in the order of the entries.
pub fn locations(
    header: &BufferHeader,
    entries: &[SummaryEntry],
) -> impl Iterator<Item = Location> {
    let first = header.offset.get().saturating_add(header.records_at().get());
    locations_from(header.segment, SegmentOffset::new(first), entries)
}

/// Where each of some records lies that follow one another from `first` on.
pub fn locations_from(
    segment: SegmentId,
    first: SegmentOffset,
    entries: &[SummaryEntry],
) -> impl Iterator<Item = Location> {
    let mut at = first.get();
    entries.iter().map(move |entry| {
        let location = Location::new(segment, SegmentOffset::new(at), entry.len);
        at = at.saturating_add(entry.len.get());
        location
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::buffer::encode_buffer;
    use crate::format::samples::{self, Sample, Whole};
    use proptest::prelude::*;

    /// A rewrite buffer of two groups with two records, as bytes and header.
    fn sample() -> (BufferHeader, Vec<u8>) {
        let records = vec![Sample::put(9), Sample { group: GroupId::new(2), ..Sample::put(5) }];
        let whole = Whole::new(BufferKind::Rewrite, GroupId::MIXED, records);
        let raw = encode_buffer(whole.header.clone(), &whole.entries, &whole.records);
        (BufferHeader::parse(&raw).unwrap(), raw.to_vec())
    }

    fn check(what: &str, damage: impl FnOnce(&mut [u8]), expected: BadSummary) {
        let (header, mut raw) = sample();
        damage(&mut raw[BufferHeader::LEN + 32..]);
        assert_eq!(parse_summary(&header, &raw[BufferHeader::LEN..]), Err(expected), "{what}");
    }

    #[test]
    fn a_summary_that_does_not_fit_is_refused_for_the_right_reason() {
        use BadSummary::{Group, RecordKind, RecordLen, Sequence as Order, Total};
        let (index, first) = (1, Sequence::new(5));
        check("kind", |raw| raw[19] = 0x40, RecordKind { index, found: 4 });
        let found = ByteLen::new(24);
        check("too short", |raw| raw[16] = 24, RecordLen { index, found });
        let found = ByteLen::new(44);
        check("not in eights", |raw| raw[16] = 44, RecordLen { index, found });
        let found = ByteLen::new(0x800_0028);
        check("too long", |raw| raw[19] |= 8, RecordLen { index, found });
        check("group", |raw| raw[20..24].fill(0xff), Group { index });
        check("sequence", |raw| raw[24] = 4, Order { index, first });
        let stated = ByteLen::new(80);
        check("total", |raw| raw[16] = 48, Total { found: 88, stated });
    }

    #[test]
    fn a_summary_without_its_last_byte_is_refused() {
        let (header, raw) = sample();
        let (needed, found) = (header.summary_len, header.summary_len.as_usize() - 1);
        let expected = Err(BadSummary::Length { needed, found });
        let summary = &raw[BufferHeader::LEN..BufferHeader::LEN + found];
        assert_eq!(parse_summary(&header, summary), expected);
    }

    #[test]
    fn sequences_past_the_last_there_is_are_refused() {
        let whole = Whole::new(BufferKind::Log, GroupId::new(1), vec![Sample::put(1); 2]);
        let raw = encode_buffer(whole.header.clone(), &whole.entries, &whole.records);
        let first = Sequence::MAX;
        let header = BufferHeader { first_sequence: first, ..BufferHeader::parse(&raw).unwrap() };
        let expected = Err(BadSummary::Sequence { index: 1, first });
        assert_eq!(parse_summary(&header, &raw[BufferHeader::LEN..]), expected);
    }

    proptest! {
        #[test]
        fn a_summary_is_read_back_as_written(whole in samples::whole()) {
            let raw = encode_buffer(whole.header.clone(), &whole.entries, &whole.records);
            let header = BufferHeader::parse(&raw).unwrap();
            let summary = &raw[BufferHeader::LEN..header.front_len().as_usize()];
            prop_assert_eq!(parse_summary(&header, summary), Ok(whole.entries.clone()));
            let kept = Summary::parse(&header, summary).unwrap();
            let places = locations(&header, &whole.entries);
            let records = whole.entries.iter().copied().zip(places);
            prop_assert!(kept.records(&header).eq(records));
        }

        #[test]
        fn locations_follow_each_other_without_a_gap(whole in samples::whole()) {
            let raw = encode_buffer(whole.header.clone(), &whole.entries, &whole.records);
            let header = BufferHeader::parse(&raw).unwrap();
            let mut at = header.offset.checked_add(header.records_at()).unwrap();
            for (entry, place) in whole.entries.iter().zip(locations(&header, &whole.entries)) {
                prop_assert_eq!(place, Location::new(header.segment, at, entry.len));
                at = at.checked_add(entry.len).unwrap();
            }
            let end = header.records_at().get() + header.records_len.get();
            prop_assert_eq!(at, header.offset.checked_add(ByteLen::new(end)).unwrap());
        }

        #[test]
        fn any_bytes_under_any_header_give_an_answer(
            whole in samples::whole(),
            record_count: u32,
            len in 0..500_u32,
            noise in samples::noise(400),
        ) {
            let summary_len = ByteLen::new(len);
            let header = BufferHeader { record_count, summary_len, ..whole.header };
            if let Ok(entries) = parse_summary(&header, &noise) {
                prop_assert!(entries.len() * 20 <= noise.len());
            }
        }
    }
}
