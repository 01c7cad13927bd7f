//! Values for the tests of this folder, drawn by proptest.

use std::ops::Range;

use proptest::prelude::*;

use super::buffer::{BufferHeader, BufferKind};
use super::geometry::Geometry;
use super::record::{NewRecord, RecordKind, append, body_crc, record_len};
use super::summary::SummaryEntry;
use crate::types::{
    BufferNumber, Generation, GroupId, KeyHash, SegmentId, SegmentOffset, Sequence,
};

/// Every geometry.
pub(super) fn geometry() -> impl Strategy<Value = Geometry> {
    (16..=22_u32, 1..=65536_u32).prop_map(|(bits, count)| Geometry::new(1 << bits, count).unwrap())
}

/// Up to `most` bytes: drawn at random, or all the same.
pub(super) fn noise(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let random = prop::collection::vec(any::<u8>(), 0..most);
    let uniform = (any::<u8>(), 0..most).prop_map(|(byte, len)| vec![byte; len]);
    prop_oneof![4 => random, 1 => uniform]
}

/// What goes into a record.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) sequence: Sequence,
    pub(super) group: GroupId,
    pub(super) kind: RecordKind,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Sample {
    /// A record of 40 bytes: group 1, one byte of key, one of value.
    pub(super) fn put(sequence: u64) -> Self {
        Self {
            sequence: Sequence::new(sequence),
            group: GroupId::new(1),
            kind: RecordKind::Put,
            key: vec![b'k'],
            value: vec![b'v'],
        }
    }

    /// Not stamped yet.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut raw = Vec::new();
        let body_crc = body_crc(&self.key, &self.value);
        let Self { sequence, group, kind, ref key, ref value } = *self;
        append(&mut raw, &NewRecord { sequence, group, kind, key, value, body_crc });
        raw
    }
}

/// A record: of any group, short or some KiB long.
pub(super) fn record() -> impl Strategy<Value = Sample> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let value = prop_oneof![4 => bytes(40), 1 => bytes(3000)];
    (any::<u64>(), 0..u32::MAX, any::<bool>(), bytes(40), value).prop_map(
        |(sequence, group, is_put, key, value)| Sample {
            sequence: Sequence::new(sequence),
            group: GroupId::new(group),
            kind: if is_put { RecordKind::Put } else { RecordKind::Delete },
            key,
            value: if is_put { value } else { Vec::new() },
        },
    )
}

/// What goes into a buffer.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) header: BufferHeader,
    pub(super) entries: Vec<SummaryEntry>,
    pub(super) records: Vec<u8>,
}

impl Whole {
    /// A buffer of these records. Sequences of a log buffer are made to count up, groups of a
    /// buffer of one group to be that one.
    pub(super) fn new(kind: BufferKind, group: GroupId, mut samples: Vec<Sample>) -> Self {
        let generation = Generation::new(0x1_0000_0007);
        let base = samples.first().map_or(0, |sample| sample.sequence.get() >> 1);
        for (sample, sequence) in samples.iter_mut().zip(base..) {
            if kind == BufferKind::Log {
                sample.sequence = Sequence::new(sequence);
            }
            if group != GroupId::MIXED {
                sample.group = group;
            }
        }
        let entry = |(index, sample): (u128, &Sample)| SummaryEntry {
            hash: KeyHash::new(index * 0x1234_5678_9abc_def0_1234_5678),
            kind: sample.kind,
            len: record_len(sample.key.len(), sample.value.len()).unwrap(),
            group: sample.group,
            sequence: sample.sequence,
        };
        let entries = (1..).zip(&samples).map(entry).collect();
        let records: Vec<Vec<u8>> = samples.iter().map(Sample::encode).collect();
        let header = BufferHeader {
            kind,
            store: 0x0102_0304_0506_0708,
            segment: SegmentId::new(5),
            offset: SegmentOffset::new(8192),
            group,
            generation,
            number: BufferNumber::new(11),
            log_watermark: BufferNumber::new(12),
            rewrite_watermark: BufferNumber::new(13),
            ..BufferHeader::default()
        };
        Self { header, entries, records: records.concat() }
    }
}

/// A log or rewrite buffer, of one group or mixed, with some records or none.
pub(super) fn whole() -> impl Strategy<Value = Whole> {
    whole_of(prop_oneof![Just(BufferKind::Log), Just(BufferKind::Rewrite)], 0..8)
}

/// A buffer of this kind with so many records.
pub(super) fn whole_of(
    kind: impl Strategy<Value = BufferKind>,
    count: Range<usize>,
) -> impl Strategy<Value = Whole> {
    let group = prop_oneof![Just(GroupId::MIXED), (0..u32::MAX).prop_map(GroupId::new)];
    (kind, group, prop::collection::vec(record(), count))
        .prop_map(|(kind, group, samples)| Whole::new(kind, group, samples))
}
