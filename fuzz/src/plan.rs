//! Buffers as a fuzzer draws them: what goes in, and what happens to the bytes afterwards.
//!
//! Absent on purpose: plans that encoders refuse. They assert what parsers check.

use arbitrary::Arbitrary;
use logstor_core::format::buffer::{BufferHeader, BufferKind, encode_buffer};
use logstor_core::format::record::{NewRecord, RecordKind, append, body_crc, record_len};
use logstor_core::format::summary::SummaryEntry;
use logstor_core::types::{
    BLOCK, BufferNumber, Generation, GroupId, KeyHash, SegmentId, SegmentOffset, Sequence,
};

/// A buffer to encode.
#[derive(Arbitrary, Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) is_rewrite: bool,
    /// Whose records; `None` if mixed.
    pub(crate) group: Option<u16>,
    pub(crate) store: u64,
    pub(crate) segment: u32,
    pub(crate) block: u8,
    pub(crate) generation: u64,
    pub(crate) first_sequence: u64,
    pub(crate) number: u64,
    pub(crate) watermarks: [u64; 2],
    pub(crate) records: Vec<PlannedRecord>,
}

/// One record of it.
#[derive(Arbitrary, Clone, Debug, Default)]
pub(crate) struct PlannedRecord {
    pub(crate) hash: u128,
    pub(crate) group: u16,
    /// Counts in rewrite buffers; those of a log buffer count up.
    pub(crate) sequence: u64,
    pub(crate) key: Vec<u8>,
    /// `None` for a deletion.
    pub(crate) value: Option<Vec<u8>>,
}

/// What happens to bytes; positions are taken modulo their number.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Damage {
    Flip { at: u32, bit: u8 },
    Set { at: u32, to: [u8; 4] },
    Cut { at: u32 },
    Repeat { from: u32, to: u32, len: u16 },
}

/// A plan with everything that is encoded from it.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) entries: Vec<SummaryEntry>,
    pub(crate) bytes: Vec<u8>,
}

impl Plan {
    pub(crate) fn kind(&self) -> BufferKind {
        if self.is_rewrite { BufferKind::Rewrite } else { BufferKind::Log }
    }

    fn group(&self) -> GroupId {
        self.group.map_or(GroupId::MIXED, |group| GroupId::new(group.into()))
    }

    pub(crate) fn encode(&self) -> Encoded {
        let generation = Generation::new(self.generation);
        let mut entries = Vec::new();
        let mut records = Vec::new();
        // Halved, so that counting up from it never comes to an end.
        for (counted, record) in (self.first_sequence / 2..).zip(&self.records) {
            let sequence = if self.is_rewrite { record.sequence } else { counted };
            let group = self.group.unwrap_or(record.group);
            let value = record.value.as_deref();
            let new = NewRecord {
                sequence: Sequence::new(sequence),
                group: GroupId::new(group.into()),
                kind: if value.is_some() { RecordKind::Put } else { RecordKind::Delete },
                key: &record.key,
                value: value.unwrap_or_default(),
                body_crc: body_crc(&record.key, value.unwrap_or_default()),
            };
            let len = record_len(new.key.len(), new.value.len())
                .expect("a plan is shorter than a record");
            append(&mut records, &new);
            let NewRecord { sequence, group, kind, .. } = new;
            entries.push(SummaryEntry {
                hash: KeyHash::new(record.hash),
                kind,
                len,
                group,
                sequence,
            });
        }
        let header = BufferHeader {
            kind: self.kind(),
            store: self.store,
            segment: SegmentId::new(self.segment),
            offset: SegmentOffset::new(u32::from(self.block) * BLOCK),
            group: self.group(),
            generation,
            first_sequence: Sequence::new(self.first_sequence / 2),
            number: BufferNumber::new(self.number),
            log_watermark: BufferNumber::new(self.watermarks[0]),
            rewrite_watermark: BufferNumber::new(self.watermarks[1]),
            ..BufferHeader::default()
        };
        let bytes = encode_buffer(header, &entries, &records).to_vec();
        Encoded { entries, bytes }
    }
}

impl Damage {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        let index = |at: u32| usize::try_from(at).map_or(0, |at| at % bytes.len().max(1));
        match *self {
            _ if bytes.is_empty() => {}
            Self::Flip { at, bit } => {
                let at = index(at);
                bytes[at] ^= 1 << (bit % 8);
            }
            Self::Set { at, to } => {
                let at = index(at);
                for (byte, to) in bytes[at..].iter_mut().zip(to) {
                    *byte = to;
                }
            }
            Self::Cut { at } => bytes.truncate(index(at)),
            Self::Repeat { from, to, len } => {
                let (from, to) = (index(from), index(to));
                let len = usize::from(len).min(bytes.len() - from.max(to));
                bytes.copy_within(from..from + len, to);
            }
        }
    }
}
