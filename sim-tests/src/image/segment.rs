//! One segment of the durable image: its life, its buffers that count, their records.
//!
//! Absent on purpose: the end of the log. Which buffers of the log lie behind it takes all
//! segments, so every record remembers the number of its buffer.

use std::collections::BTreeMap;

use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::format::geometry::Geometry;
use logstor_core::format::pieces::PieceList;
use logstor_core::format::record::{Record, RecordKind};
use logstor_core::format::seal::Seal;
use logstor_core::format::summary::{SummaryEntry, locations, parse_summary};
use logstor_core::types::{BLOCK, GroupId, SegmentId, SegmentOffset, to_usize};

/// A key as the disk knows it: its group, and its hash.
pub(super) type Slot = (u32, u128);

/// One record of a buffer that counts, unless it lies behind the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) slot: Slot,
    pub(super) sequence: u64,
    pub(super) put: bool,
    /// The number of its buffer, if that is one of the log.
    pub(super) log: Option<u64>,
}

impl Found {
    pub(super) fn counts(&self, end_of_log: u64) -> bool {
        self.log.is_none_or(|number| number < end_of_log)
    }

    pub(super) fn told(&self) -> String {
        self.log.map_or("a copy".into(), |number| format!("buffer {number} of the log"))
    }
}

/// What a key of the system group stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Catalogue {
    /// That a group exists.
    Group,
    /// Up to where the group with this id was truncated.
    Truncation(u32),
    /// The next id, or something that this check does not know.
    Other,
}

/// A segment as recovery would find it.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// Of the life that the head block shows; `None` if that shows none.
    pub(super) generation: Option<u64>,
    /// Sorted.
    pub(super) records: Vec<Found>,
    /// The keys of the system group among them.
    pub(super) catalogue: BTreeMap<u128, Catalogue>,
    /// The numbers of its log buffers that are whole.
    pub(super) logs: Vec<u64>,
    /// The log buffer at which the walk ended, if its header is intact.
    pub(super) torn: Option<u64>,
    /// The highest log watermark in it.
    pub(super) watermark: u64,
    /// The header of the piece of a large value that is whole in it.
    pub(super) piece: Option<BufferHeader>,
    /// The pieces of the large values among the records, by key and sequence.
    pub(super) lists: BTreeMap<(Slot, u64), PieceList>,
}

impl Segment {
    /// The records of a key.
    pub(super) fn of_key(&self, slot: Slot) -> impl Iterator<Item = &Found> {
        let from = self.records.partition_point(|found| found.slot < slot);
        self.records[from..].iter().take_while(move |found| found.slot == slot)
    }

    /// The records of a group.
    pub(super) fn of_group(&self, group: u32) -> impl Iterator<Item = &Found> {
        let from = self.records.partition_point(|found| found.slot.0 < group);
        self.records[from..].iter().take_while(move |found| found.slot.0 == group)
    }

    /// Reads a segment of the store with this short id.
    pub(super) fn read(bytes: &[u8], store: u64, id: SegmentId, geometry: Geometry) -> Self {
        let mut segment = Self::default();
        let Some(head) = header_at(bytes, store, id, 0).filter(is_in_use) else {
            return segment;
        };
        segment.generation = Some(head.generation.get());
        if head.kind == BufferKind::Piece {
            segment.piece = head.check_records(bytes).is_ok().then_some(head);
            return segment;
        }
        let at = to_usize(geometry.seal_offset().get());
        let seal = Seal::parse(&bytes[at..], store, id, geometry).ok();
        let seal = seal.filter(|seal| seal.generation == head.generation);
        match seal {
            Some(seal) => {
                segment.watermark = seal.log_watermark.get();
                for entry in &seal.entries {
                    let at = to_usize(entry.offset.get());
                    let header = header_at(bytes, store, id, at);
                    let header = header.filter(|header| header.number == entry.number);
                    if let Some(header) = header {
                        segment.take(&header, &bytes[at..], geometry);
                    }
                }
            }
            None => segment.walk(bytes, &head, geometry),
        }
        segment.records.sort_unstable();
        segment
    }

    fn walk(&mut self, bytes: &[u8], head: &BufferHeader, geometry: Geometry) {
        let mut at = 0;
        while at < geometry.data_len().as_usize() {
            let header = header_at(bytes, head.store, head.segment, at);
            let ours = |header: &BufferHeader| {
                header.generation == head.generation && header.kind.has_records()
            };
            let Some(header) = header.filter(ours) else { break };
            if !self.take(&header, &bytes[at..], geometry) {
                self.torn = (header.kind == BufferKind::Log).then(|| header.number.get());
                break;
            }
            at += header.total_len().as_usize();
        }
        // Headers behind the end of the walk still say how far the log had come.
        for at in (at..geometry.data_len().as_usize()).step_by(to_usize(BLOCK)) {
            let header = header_at(bytes, head.store, head.segment, at);
            if let Some(header) = header.filter(|header| header.generation == head.generation) {
                self.watermark = self.watermark.max(header.log_watermark.get());
            }
        }
    }

    /// Takes in the records of a buffer; `false` if it is not whole.
    fn take(&mut self, header: &BufferHeader, bytes: &[u8], geometry: Geometry) -> bool {
        self.watermark = self.watermark.max(header.log_watermark.get());
        if header.check_summary(bytes).is_err() || header.check_records(bytes).is_err() {
            return false;
        }
        let summary = &bytes[BufferHeader::LEN..header.front_len().as_usize()];
        let Ok(entries) = parse_summary(header, summary) else { return false };
        let log = (header.kind == BufferKind::Log).then(|| header.number.get());
        self.logs.extend(log);
        let mut at = header.records_at().as_usize();
        for (entry, place) in entries.iter().zip(locations(header, &entries)) {
            // Only what these say is of interest; a checked body takes its time.
            let told = entry.kind == RecordKind::Large || entry.group == GroupId::SYSTEM;
            let record = told.then(|| Record::parse(&bytes[at..], place).ok()).flatten();
            self.push(entry, record.as_ref(), log);
            if entry.kind == RecordKind::Large
                && let Some(record) = record
                && let Ok(list) = PieceList::parse(record.value, geometry)
            {
                let slot = (entry.group.get(), entry.hash.get());
                self.lists.insert((slot, entry.sequence.get()), list);
            }
            at += entry.len.as_usize();
        }
        true
    }

    fn push(&mut self, entry: &SummaryEntry, record: Option<&Record<'_>>, log: Option<u64>) {
        let slot = (entry.group.get(), entry.hash.get());
        if entry.group == GroupId::SYSTEM {
            let what = match record.map(|record| record.key) {
                Some([b'g', ..]) => Catalogue::Group,
                Some(&[b't', a, b, c, d]) => {
                    Catalogue::Truncation(u32::from_le_bytes([a, b, c, d]))
                }
                _ => Catalogue::Other,
            };
            self.catalogue.insert(slot.1, what);
        }
        let put = !entry.kind.is_delete();
        self.records.push(Found { slot, sequence: entry.sequence.get(), put, log });
    }
}

/// Whether a segment with this head holds records, or a piece of a large value.
pub(super) fn is_in_use(head: &BufferHeader) -> bool {
    head.kind.has_records() || head.kind == BufferKind::Piece
}

/// The header of this store and segment that lies there.
fn header_at(bytes: &[u8], store: u64, id: SegmentId, at: usize) -> Option<BufferHeader> {
    let offset = SegmentOffset::new(u32::try_from(at).ok()?);
    let header = BufferHeader::parse(bytes.get(at..)?).ok()?;
    header.belongs_at(store, id, offset).then_some(header)
}
