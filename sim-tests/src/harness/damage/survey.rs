//! What lies where on a disk at rest: every structure, decoded without the engine.
//!
//! Taken before the disk is damaged, so that for every damaged byte it is known what it was: which
//! structure, and of which keys and sequences. Everything that can be decoded is listed, whether or
//! not recovery would let it count.
//!
//! Absent on purpose: judgement. What may follow from damage is said in the parent module.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use logstor_core::format::buffer::{BufferHeader, BufferKind};
use logstor_core::format::geometry::Geometry;
use logstor_core::format::hash::KeyHasher;
use logstor_core::format::mark::Mark;
use logstor_core::format::pieces::PieceList;
use logstor_core::format::record::{Record, RecordKind};
use logstor_core::format::seal::Seal;
use logstor_core::format::summary::parse_summary;
use logstor_core::format::superblock::Superblock;
use logstor_core::types::{
    BLOCK, ByteLen, GroupId, Location, SegmentId, SegmentOffset, to_u64, to_usize,
};

/// Every file as plain bytes.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A key as the disk knows it: its group, and its hash.
pub(super) type Slot = (u32, u128);

/// A buffer of records, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BufferAt {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// What a buffer says of itself.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) log: bool,
    pub(super) number: u64,
    pub(super) watermark: u64,
    pub(super) first_sequence: u64,
    pub(super) sealed: bool,
    /// The first of its segment; the last of a segment without a seal.
    pub(super) first: bool,
    pub(super) last: bool,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordAt {
    pub(super) slot: Slot,
    pub(super) sequence: u64,
    pub(super) kind: RecordKind,
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Its buffer was not whole, or its segment half erased, before any damage.
    pub(super) torn: bool,
}

/// What some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Superblock,
    /// A slot of the mark; whether it counts.
    Mark {
        counts: bool,
    },
    Dump,
    Header(BufferAt),
    Summary(BufferAt),
    /// By the place in [`Survey::records`].
    RecordHeader(usize),
    Key(usize),
    Value(usize),
    Seal {
        segment: u32,
    },
    Erased {
        segment: u32,
    },
    Void(BufferAt),
    PieceHeader {
        segment: u32,
    },
    Piece {
        segment: u32,
    },
}

/// A structure, and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) file: String,
    pub(super) range: Range<u64>,
    pub(super) what: What,
}

/// All structures of a disk at rest.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    pub(super) parts: Vec<Part>,
    pub(super) records: Vec<RecordAt>,
    pub(super) buffers: BTreeMap<BufferAt, Buffer>,
    /// The segments of the pieces of the large values among the records.
    pub(super) pieces: BTreeMap<(Slot, u64), Vec<u32>>,
    /// Watermarks of the log that marks and seals carry, by the place in `parts`.
    pub(super) watermarks: Vec<(usize, u64)>,
    pub(super) geometry: Geometry,
    /// How many files of segments there are.
    files: u32,
    hasher: KeyHasher,
    store: u64,
}

/// The name of a file of segments.
pub(super) fn file_of(index: u32) -> String {
    format!("segments-{index:06}.log")
}

impl Survey {
    /// Looks at everything; `None` if there is no store yet.
    pub(super) fn of(files: &Files) -> Option<Self> {
        let raw = files.get("superblock")?;
        let superblock = Superblock::parse(raw).ok()?;
        let mut survey = Self {
            parts: Vec::new(),
            records: Vec::new(),
            buffers: BTreeMap::new(),
            pieces: BTreeMap::new(),
            watermarks: Vec::new(),
            geometry: superblock.geometry,
            files: 0,
            hasher: KeyHasher::new(superblock.secret),
            store: superblock.store.short(),
        };
        survey.push("superblock", 0..raw.len(), What::Superblock);
        survey.mark(files.get("mark")?);
        if let Some(dump) = files.get("index.dump") {
            survey.push("index.dump", 0..dump.len(), What::Dump);
        }
        for index in 0.. {
            let Some(file) = files.get(&file_of(index)) else { break };
            survey.files = index + 1;
            for slot in 0..survey.geometry.segments_per_file() {
                let Some(segment) = survey.geometry.segment(index, slot) else { break };
                survey.segment(index, segment, file);
            }
        }
        Some(survey)
    }

    fn push(&mut self, file: &str, range: Range<usize>, what: What) {
        let range = to_u64(range.start)..to_u64(range.end);
        self.parts.push(Part { file: file.into(), range, what });
    }

    fn mark(&mut self, file: &[u8]) {
        let slots = || file.chunks(Mark::LEN).zip((0..).step_by(Mark::LEN));
        let parsed = |block: &[u8]| Mark::parse(block, self.store).ok();
        let newest = slots().filter_map(|(block, _)| parsed(block)).map(|mark| mark.ordinal).max();
        let found: Vec<_> = slots().filter_map(|(block, at)| Some((parsed(block)?, at))).collect();
        for (mark, at) in found {
            self.watermarks.push((self.parts.len(), mark.log_watermark.get()));
            let counts = Some(mark.ordinal) == newest;
            self.push("mark", at..at + Mark::LEN, What::Mark { counts });
        }
    }

    fn segment(&mut self, index: u32, id: SegmentId, file: &[u8]) {
        let start = usize::try_from(self.geometry.place(id).1.get()).expect("files are small");
        let len = self.geometry.segment_len().as_usize();
        let Some(bytes) = file.get(start..start + len) else { return };
        let Some(head) = self.header_at(bytes, id, 0) else { return };
        let (name, segment) = (file_of(index), id.get());
        let life = head.generation;
        match head.kind {
            BufferKind::Void => {
                let erased = What::Erased { segment };
                self.push(&name, start..start + BufferHeader::LEN, erased);
                return;
            }
            BufferKind::Piece => {
                let end = start + head.front_len().as_usize();
                self.push(&name, start..end, What::PieceHeader { segment });
                let at = start + head.records_at().as_usize();
                let piece = at..at + head.records_len.as_usize();
                self.push(&name, piece, What::Piece { segment });
                return;
            }
            BufferKind::Seal => return,
            BufferKind::Log | BufferKind::Rewrite => {}
        }
        let at = to_usize(self.geometry.seal_offset().get());
        let seal = Seal::parse(&bytes[at..], self.store, id, self.geometry).ok();
        let seal = seal.filter(|seal| seal.generation == life);
        if let Some(seal) = &seal {
            self.watermarks.push((self.parts.len(), seal.log_watermark.get()));
            let len = BufferHeader::LEN + 24 * seal.entries.len();
            self.push(&name, start + at..start + at + len, What::Seal { segment });
        }
        // Half erased: its records were dead, or copied, and need not count any more.
        let note = self.header_at(bytes, id, at);
        let note = note.filter(|note| note.kind == BufferKind::Void && note.generation >= life);
        if note.is_some() {
            let range = start + at..start + at + BufferHeader::LEN;
            self.push(&name, range, What::Erased { segment });
        }
        let before = self.records.len();
        let mut at = 0;
        let mut last = None;
        while at < self.geometry.data_len().as_usize() {
            let header = self.header_at(bytes, id, at).filter(|header| header.generation == life);
            let Some(header) = header else {
                at += to_usize(BLOCK);
                continue;
            };
            let place = BufferAt { segment, offset: header.offset.get() };
            if header.kind == BufferKind::Void {
                self.push(&name, start + at..start + at + BufferHeader::LEN, What::Void(place));
                at += to_usize(BLOCK);
                continue;
            }
            last = Some(place);
            at += self.buffer((&name, start), place, &header, bytes, seal.is_some());
        }
        for record in &mut self.records[before..] {
            record.torn |= note.is_some();
        }
        if let Some(last) = last.filter(|_| seal.is_none())
            && let Some(buffer) = self.buffers.get_mut(&last)
        {
            buffer.last = true;
        }
    }

    /// Takes in one buffer; says how far to go on.
    fn buffer(
        &mut self,
        (name, start): (&str, usize),
        place: BufferAt,
        header: &BufferHeader,
        segment: &[u8],
        sealed: bool,
    ) -> usize {
        let from = to_usize(place.offset);
        let bytes = &segment[from..];
        let at = start + from;
        self.push(name, at..at + BufferHeader::LEN, What::Header(place));
        let buffer = Buffer {
            log: header.kind == BufferKind::Log,
            number: header.number.get(),
            watermark: header.log_watermark.get(),
            first_sequence: header.first_sequence.get(),
            sealed,
            first: place.offset == 0,
            last: false,
        };
        self.buffers.insert(place, buffer);
        let front = header.front_len().as_usize();
        self.push(name, at + BufferHeader::LEN..at + front, What::Summary(place));
        let whole = header.check_summary(bytes).is_ok();
        let summary = bytes.get(BufferHeader::LEN..front).filter(|_| whole);
        let Some(entries) = summary.and_then(|raw| parse_summary(header, raw).ok()) else {
            return to_usize(BLOCK);
        };
        let torn = header.check_records(bytes).is_err();
        let mut record_at = header.records_at().as_usize();
        for entry in &entries {
            let number = self.records.len();
            let slot = (entry.group.get(), entry.hash.get());
            let offset = place.offset + u32::try_from(record_at).unwrap_or(u32::MAX);
            self.records.push(RecordAt {
                slot,
                sequence: entry.sequence.get(),
                kind: entry.kind,
                segment: place.segment,
                offset,
                torn,
            });
            let len = entry.len.as_usize();
            let raw = bytes.get(record_at..record_at + len).unwrap_or_default();
            let at = at + record_at;
            self.record(name, at..at + len, number, raw, entry.len);
            record_at += len;
        }
        header.total_len().as_usize()
    }

    fn record(&mut self, name: &str, range: Range<usize>, number: usize, raw: &[u8], len: ByteLen) {
        let RecordAt { slot, sequence, kind, segment, offset, .. } = self.records[number];
        let at = Location::new(SegmentId::new(segment), SegmentOffset::new(offset), len);
        let header = range.start + 32;
        self.push(name, range.start..header, What::RecordHeader(number));
        let Ok(record) = Record::parse(raw, at) else {
            self.push(name, header..range.end, What::Value(number));
            return;
        };
        let key = header + record.key.len();
        self.push(name, header..key, What::Key(number));
        self.push(name, key..range.end, What::Value(number));
        if kind == RecordKind::Large
            && let Ok(list) = PieceList::parse(record.value, self.geometry)
        {
            let segments = list.entries().iter().map(|entry| entry.segment.get()).collect();
            self.pieces.insert((slot, sequence), segments);
        }
    }

    fn header_at(&self, bytes: &[u8], id: SegmentId, at: usize) -> Option<BufferHeader> {
        let offset = SegmentOffset::new(u32::try_from(at).ok()?);
        let header = BufferHeader::parse(bytes.get(at..)?).ok()?;
        header.belongs_at(self.store, id, offset).then_some(header)
    }

    /// Where a part of a segment's file begins, as segment and offset.
    pub(super) fn segment_at(&self, file: &str, at: u64) -> Option<(u32, u32)> {
        let index = file.strip_prefix("segments-")?.strip_suffix(".log")?.parse().ok()?;
        let len = u64::from(self.geometry.segment_len().get());
        let slot = u32::try_from(at / len).ok()?;
        let segment = self.geometry.segment(index, slot)?;
        Some((segment.get(), u32::try_from(at % len).ok()?))
    }

    /// Segments that these files do not hold as a whole.
    pub(super) fn cut(&self, files: &Files) -> BTreeSet<u32> {
        let mut cut = BTreeSet::new();
        for index in 0..self.files {
            let len = files.get(&file_of(index)).map_or(0, Vec::len);
            let whole = to_u64(len) / u64::from(self.geometry.segment_len().get());
            let slots = (0..self.geometry.segments_per_file()).filter(|&at| u64::from(at) >= whole);
            let ids = slots.filter_map(|slot| self.geometry.segment(index, slot));
            cut.extend(ids.map(logstor_core::types::SegmentId::get));
        }
        cut
    }

    /// The buffer that a record lies in.
    pub(super) fn buffer_of(&self, record: &RecordAt) -> Option<BufferAt> {
        let here = BufferAt { segment: record.segment, offset: record.offset };
        self.buffers.range(..=here).next_back().map(|(place, _)| *place)
    }

    /// A key of a user.
    pub(super) fn slot_of(&self, group: u32, key: &[u8]) -> Slot {
        (group, self.hasher.hash(key).get())
    }

    /// The record that says that a group exists, and the one that says how far it was truncated.
    pub(super) fn slots_of_group(&self, group: u32) -> [Slot; 2] {
        let [a, b, c, d] = group.to_le_bytes();
        let slot = |kind| self.slot_of(GroupId::SYSTEM.get(), &[kind, a, b, c, d]);
        [slot(b'g'), slot(b't')]
    }

    /// The highest sequence of each key.
    pub(super) fn newest(&self) -> BTreeSet<(Slot, u64)> {
        let mut newest = BTreeMap::<Slot, u64>::new();
        for record in &self.records {
            let highest = newest.entry(record.slot).or_default();
            *highest = (*highest).max(record.sequence);
        }
        newest.into_iter().collect()
    }
}
