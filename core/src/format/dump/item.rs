//! What a dump says: items of five kinds, and at the end how many there were.
//!
//! Absent on purpose: CRCs. An item lies within a frame, and the frame has one.

use crate::format::{field, put};
use crate::types::{
    BufferNumber, ByteLen, Generation, GroupId, KeyHash, Location, SegmentId, SegmentOffset,
    Sequence,
};

/// The highest number of a segment's state.
const MAX_STATE: u8 = 3;

/// One statement of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpItem {
    /// The counters; the first item of every dump.
    Head(DumpHead),
    /// A group.
    Group(DumpGroup),
    /// A segment.
    Segment(DumpSegment),
    /// A key.
    Entry(DumpEntry),
    /// A piece of a large value.
    Piece(DumpPiece),
}

/// The counters of the store at its close.
///
/// | at | len | field           | meaning                          |
/// |---:|----:|-----------------|----------------------------------|
/// |  0 |   8 | next_sequence   | the next one to give out         |
/// |  8 |   8 | next_log        | the next one to give out         |
/// | 16 |   8 | next_rewrite    | the next one to give out         |
/// | 24 |   8 | next_generation | the next one to give out         |
/// | 32 |   8 | mark_ordinal    | the mark that was the newest     |
/// | 40 |   4 | files           | files of segments                |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpHead {
    /// The next sequence to give out.
    pub next_sequence: Sequence,
    /// The next number of a log buffer to give out.
    pub next_log: BufferNumber,
    /// The next number of a rewrite buffer to give out.
    pub next_rewrite: BufferNumber,
    /// The next generation to give out.
    pub next_generation: Generation,
    /// The ordinal of the mark that was the newest.
    pub mark_ordinal: u64,
    /// How many files of segments there were.
    pub files: u32,
}

/// A group and its name.
///
/// | at | len      | field    | meaning                 |
/// |---:|---------:|----------|-------------------------|
/// |  0 |        4 | id       | its number, one group's |
/// |  4 |        1 | name_len | bytes of the name       |
/// |  5 | name_len | name     | UTF-8                   |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpGroup {
    /// Its number.
    pub id: GroupId,
    /// Its name, at most 255 bytes.
    pub name: String,
}

/// A segment and what it holds.
///
/// | at | len | field       | meaning                                                  |
/// |---:|----:|-------------|----------------------------------------------------------|
/// |  0 |   4 | segment     | its number                                               |
/// |  4 |   1 | state       | 0 to 3                                                   |
/// |  5 |   8 | generation  | the one on disk                                          |
/// | 13 |   8 | live        | bytes of live records                                    |
/// | 21 |   8 | tombstones  | bytes of deletions that must stay                        |
/// | 29 |   8 | log_end     | all log buffers in it have lower numbers                 |
/// | 37 |   8 | guard       | what its deletions wait for                              |
/// | 45 |   1 | kind        | 1 log, 2 copies of one group, 3 of several, 4 a piece    |
/// | 46 |   4 | group       | whose copies or piece; 0 in the other kinds              |
/// | 50 |   8 | rewrite_end | rewrite buffers in it, or with copies of it, are lower   |
/// | 58 |   8 | born        | the next sequence when it was opened                     |
/// | 66 |   4 | records     | bytes of all records                                     |
/// | 70 |   4 | fronts      | bytes of headers and summaries                           |
/// | 74 |   4 | padding     | bytes of padding behind records                          |
/// | 78 |   4 | tail        | bytes at its end for which no record was short enough    |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpSegment {
    /// Its number.
    pub segment: SegmentId,
    /// The number of its state, 0 to 3.
    pub state: u8,
    /// Its generation, as it is on disk.
    pub generation: Generation,
    /// Bytes of live records.
    pub live: u64,
    /// Bytes of deletions that must stay.
    pub tombstones: u64,
    /// Every log buffer in it has a lower number.
    pub log_end: BufferNumber,
    /// What its deletions wait for.
    pub guard: Generation,
    /// Who wrote it.
    pub kind: DumpKind,
    /// Every rewrite buffer in it, and every one with copies of it, has a lower number.
    pub rewrite_end: BufferNumber,
    /// The next sequence when it was opened.
    pub born: Sequence,
    /// Bytes of all records.
    pub records: ByteLen,
    /// Bytes of headers and summaries.
    pub fronts: ByteLen,
    /// Bytes of padding behind records.
    pub padding: ByteLen,
    /// Bytes at its end that stayed unused, because no record was short enough.
    pub tail: ByteLen,
}

/// Who wrote a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpKind {
    /// The log.
    Log,
    /// A rewrite, for one group.
    Group(GroupId),
    /// A rewrite, for several groups.
    Shared,
    /// A piece of a large value of this group.
    Large(GroupId),
}

impl DumpKind {
    fn encode(self) -> (u8, GroupId) {
        match self {
            Self::Log => (1, GroupId::SYSTEM),
            Self::Group(group) => (2, group),
            Self::Shared => (3, GroupId::SYSTEM),
            Self::Large(group) => (4, group),
        }
    }

    fn parse(code: u8, group: GroupId) -> Option<Self> {
        let kind = match code {
            1 => Self::Log,
            2 => Self::Group(group),
            3 => Self::Shared,
            4 => Self::Large(group),
            _ => return None,
        };
        (group != GroupId::MIXED && kind.encode() == (code, group)).then_some(kind)
    }
}

/// A key and where its record lies.
///
/// | at | len | field   | meaning                          |
/// |---:|----:|---------|----------------------------------|
/// |  0 |   4 | group   | whose key, one group's           |
/// |  4 |  16 | hash    | keyed hash of the key            |
/// | 20 |   4 | segment | where the record lies            |
/// | 24 |   4 | offset  | where it lies in the segment     |
/// | 28 |   4 | len     | bytes of the whole record        |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpEntry {
    /// Whose key it is.
    pub group: GroupId,
    /// The hash of the key.
    pub hash: KeyHash,
    /// Where its record lies.
    pub location: Location,
}

/// A piece of a large value; those of one key follow each other in the order of the value.
///
/// | at | len | field   | meaning                          |
/// |---:|----:|---------|----------------------------------|
/// |  0 |   4 | group   | whose key, one group's           |
/// |  4 |  16 | hash    | keyed hash of the key            |
/// | 20 |   4 | segment | where the piece lies             |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpPiece {
    /// Whose key it is.
    pub group: GroupId,
    /// The hash of the key.
    pub hash: KeyHash,
    /// Where the piece lies.
    pub segment: SegmentId,
}

impl DumpItem {
    /// Bytes of the item in a frame.
    pub(super) fn encoded_len(&self) -> usize {
        match self {
            Self::Head(_) => DumpHead::LEN,
            Self::Group(group) => DumpGroup::LEN + group.name.len(),
            Self::Segment(_) => DumpSegment::LEN,
            Self::Entry(_) => DumpEntry::LEN,
            Self::Piece(_) => DumpPiece::LEN,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Head(head) => out.extend_from_slice(&head.encode()),
            Self::Group(group) => {
                out.extend_from_slice(&group.encode());
                out.extend_from_slice(group.name.as_bytes());
            }
            Self::Segment(segment) => out.extend_from_slice(&segment.encode()),
            Self::Entry(entry) => out.extend_from_slice(&entry.encode()),
            Self::Piece(piece) => out.extend_from_slice(&piece.encode()),
        }
    }

    /// The only way from bytes to an item, and what is behind it. `None` if it is impossible.
    pub(super) fn parse(content: Content, bytes: &[u8]) -> Option<(Self, &[u8])> {
        match content {
            Content::Head => {
                let (raw, rest) = bytes.split_first_chunk()?;
                Some((Self::Head(DumpHead::parse(raw)), rest))
            }
            Content::Group => {
                let (group, rest) = DumpGroup::parse(bytes)?;
                Some((Self::Group(group), rest))
            }
            Content::Segment => {
                let (raw, rest) = bytes.split_first_chunk()?;
                Some((Self::Segment(DumpSegment::parse(raw)?), rest))
            }
            Content::Entry => {
                let (raw, rest) = bytes.split_first_chunk()?;
                Some((Self::Entry(DumpEntry::parse(raw)?), rest))
            }
            Content::Piece => {
                let (raw, rest) = bytes.split_first_chunk()?;
                Some((Self::Piece(DumpPiece::parse(raw)?), rest))
            }
            Content::End => None,
        }
    }
}

impl DumpHead {
    const LEN: usize = 44;

    fn encode(&self) -> [u8; Self::LEN] {
        let mut raw = [0; Self::LEN];
        put::<0, 8, _>(&mut raw, self.next_sequence.get().to_le_bytes());
        put::<8, 8, _>(&mut raw, self.next_log.get().to_le_bytes());
        put::<16, 8, _>(&mut raw, self.next_rewrite.get().to_le_bytes());
        put::<24, 8, _>(&mut raw, self.next_generation.get().to_le_bytes());
        put::<32, 8, _>(&mut raw, self.mark_ordinal.to_le_bytes());
        put::<40, 4, _>(&mut raw, self.files.to_le_bytes());
        raw
    }

    fn parse(raw: &[u8; Self::LEN]) -> Self {
        Self {
            next_sequence: Sequence::new(u64::from_le_bytes(field::<0, 8, _>(raw))),
            next_log: BufferNumber::new(u64::from_le_bytes(field::<8, 8, _>(raw))),
            next_rewrite: BufferNumber::new(u64::from_le_bytes(field::<16, 8, _>(raw))),
            next_generation: Generation::new(u64::from_le_bytes(field::<24, 8, _>(raw))),
            mark_ordinal: u64::from_le_bytes(field::<32, 8, _>(raw)),
            files: u32::from_le_bytes(field::<40, 4, _>(raw)),
        }
    }
}

impl DumpGroup {
    const LEN: usize = 5;

    /// Without the name itself.
    fn encode(&self) -> [u8; Self::LEN] {
        assert_ne!(self.id, GroupId::MIXED);
        let name_len = u8::try_from(self.name.len()).expect("names have at most 255 bytes");
        let mut raw = [0; Self::LEN];
        put::<0, 4, _>(&mut raw, self.id.get().to_le_bytes());
        put::<4, 1, _>(&mut raw, [name_len]);
        raw
    }

    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (raw, rest) = bytes.split_first_chunk::<{ Self::LEN }>()?;
        let id = GroupId::new(u32::from_le_bytes(field::<0, 4, _>(raw)));
        let [name_len] = field::<4, 1, _>(raw);
        let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
        let name = str::from_utf8(name).ok()?.to_owned();
        (id != GroupId::MIXED).then_some((Self { id, name }, rest))
    }
}

impl DumpSegment {
    const LEN: usize = 82;

    fn encode(&self) -> [u8; Self::LEN] {
        assert!(self.state <= MAX_STATE);
        let mut raw = [0; Self::LEN];
        put::<0, 4, _>(&mut raw, self.segment.get().to_le_bytes());
        put::<4, 1, _>(&mut raw, [self.state]);
        put::<5, 8, _>(&mut raw, self.generation.get().to_le_bytes());
        put::<13, 8, _>(&mut raw, self.live.to_le_bytes());
        put::<21, 8, _>(&mut raw, self.tombstones.to_le_bytes());
        put::<29, 8, _>(&mut raw, self.log_end.get().to_le_bytes());
        put::<37, 8, _>(&mut raw, self.guard.get().to_le_bytes());
        let (kind, group) = self.kind.encode();
        put::<45, 1, _>(&mut raw, [kind]);
        put::<46, 4, _>(&mut raw, group.get().to_le_bytes());
        put::<50, 8, _>(&mut raw, self.rewrite_end.get().to_le_bytes());
        put::<58, 8, _>(&mut raw, self.born.get().to_le_bytes());
        put::<66, 4, _>(&mut raw, self.records.get().to_le_bytes());
        put::<70, 4, _>(&mut raw, self.fronts.get().to_le_bytes());
        put::<74, 4, _>(&mut raw, self.padding.get().to_le_bytes());
        put::<78, 4, _>(&mut raw, self.tail.get().to_le_bytes());
        raw
    }

    fn parse(raw: &[u8; Self::LEN]) -> Option<Self> {
        let [state] = field::<4, 1, _>(raw);
        let [kind] = field::<45, 1, _>(raw);
        let group = GroupId::new(u32::from_le_bytes(field::<46, 4, _>(raw)));
        let kind = DumpKind::parse(kind, group)?;
        let len = |bytes| ByteLen::new(u32::from_le_bytes(bytes));
        (state <= MAX_STATE).then_some(Self {
            segment: SegmentId::new(u32::from_le_bytes(field::<0, 4, _>(raw))),
            state,
            generation: Generation::new(u64::from_le_bytes(field::<5, 8, _>(raw))),
            live: u64::from_le_bytes(field::<13, 8, _>(raw)),
            tombstones: u64::from_le_bytes(field::<21, 8, _>(raw)),
            log_end: BufferNumber::new(u64::from_le_bytes(field::<29, 8, _>(raw))),
            guard: Generation::new(u64::from_le_bytes(field::<37, 8, _>(raw))),
            kind,
            rewrite_end: BufferNumber::new(u64::from_le_bytes(field::<50, 8, _>(raw))),
            born: Sequence::new(u64::from_le_bytes(field::<58, 8, _>(raw))),
            records: len(field::<66, 4, _>(raw)),
            fronts: len(field::<70, 4, _>(raw)),
            padding: len(field::<74, 4, _>(raw)),
            tail: len(field::<78, 4, _>(raw)),
        })
    }
}

impl DumpEntry {
    const LEN: usize = 32;

    fn encode(&self) -> [u8; Self::LEN] {
        assert_ne!(self.group, GroupId::MIXED);
        let mut raw = [0; Self::LEN];
        put::<0, 4, _>(&mut raw, self.group.get().to_le_bytes());
        put::<4, 16, _>(&mut raw, self.hash.get().to_le_bytes());
        put::<20, 4, _>(&mut raw, self.location.segment().get().to_le_bytes());
        put::<24, 4, _>(&mut raw, self.location.offset().get().to_le_bytes());
        put::<28, 4, _>(&mut raw, self.location.len().get().to_le_bytes());
        raw
    }

    fn parse(raw: &[u8; Self::LEN]) -> Option<Self> {
        let group = GroupId::new(u32::from_le_bytes(field::<0, 4, _>(raw)));
        let hash = KeyHash::new(u128::from_le_bytes(field::<4, 16, _>(raw)));
        let segment = SegmentId::new(u32::from_le_bytes(field::<20, 4, _>(raw)));
        let offset = SegmentOffset::new(u32::from_le_bytes(field::<24, 4, _>(raw)));
        let len = ByteLen::new(u32::from_le_bytes(field::<28, 4, _>(raw)));
        let location = Location::new(segment, offset, len);
        (group != GroupId::MIXED).then_some(Self { group, hash, location })
    }
}

impl DumpPiece {
    const LEN: usize = 24;

    fn encode(&self) -> [u8; Self::LEN] {
        assert_ne!(self.group, GroupId::MIXED);
        let mut raw = [0; Self::LEN];
        put::<0, 4, _>(&mut raw, self.group.get().to_le_bytes());
        put::<4, 16, _>(&mut raw, self.hash.get().to_le_bytes());
        put::<20, 4, _>(&mut raw, self.segment.get().to_le_bytes());
        raw
    }

    fn parse(raw: &[u8; Self::LEN]) -> Option<Self> {
        let group = GroupId::new(u32::from_le_bytes(field::<0, 4, _>(raw)));
        let hash = KeyHash::new(u128::from_le_bytes(field::<4, 16, _>(raw)));
        let segment = SegmentId::new(u32::from_le_bytes(field::<20, 4, _>(raw)));
        (group != GroupId::MIXED).then_some(Self { group, hash, segment })
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Head,
    Group,
    Segment,
    Entry,
    Piece,
    End,
}

impl Content {
    pub(super) fn of(item: &DumpItem) -> Self {
        match item {
            DumpItem::Head(_) => Self::Head,
            DumpItem::Group(_) => Self::Group,
            DumpItem::Segment(_) => Self::Segment,
            DumpItem::Entry(_) => Self::Entry,
            DumpItem::Piece(_) => Self::Piece,
        }
    }

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Head => 1,
            Self::Group => 2,
            Self::Segment => 3,
            Self::Entry => 4,
            Self::End => 5,
            Self::Piece => 6,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Head),
            2 => Some(Self::Group),
            3 => Some(Self::Segment),
            4 => Some(Self::Entry),
            5 => Some(Self::End),
            6 => Some(Self::Piece),
            _ => None,
        }
    }
}

/// How many items of each kind.
///
/// | at | len | field    | meaning                                         |
/// |---:|----:|----------|-------------------------------------------------|
/// |  0 |   8 | heads    | always one                                      |
/// |  8 |   8 | groups   | how many                                        |
/// | 16 |   8 | segments | how many                                        |
/// | 24 |   8 | entries  | how many                                        |
/// | 32 |   8 | pieces   | how many; the field is not there if it is none  |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    heads: u64,
    groups: u64,
    segments: u64,
    entries: u64,
    pieces: u64,
}

impl Totals {
    pub(super) fn count(&mut self, content: Content, items: u32) {
        let items = u64::from(items);
        match content {
            Content::Head => self.heads += items,
            Content::Group => self.groups += items,
            Content::Segment => self.segments += items,
            Content::Entry => self.entries += items,
            Content::Piece => self.pieces += items,
            Content::End => {}
        }
    }

    fn words(&self) -> [u64; 5] {
        [self.heads, self.groups, self.segments, self.entries, self.pieces]
    }

    /// All kinds together, saturating.
    pub(super) fn sum(&self) -> u64 {
        self.words().into_iter().fold(0, u64::saturating_add)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let written = if self.pieces == 0 { 4 } else { 5 };
        self.words()[..written].iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(super) fn parse(raw: &[u8]) -> Option<Self> {
        let (words, rest) = raw.as_chunks();
        let mut words = words.iter().map(|&raw| u64::from_le_bytes(raw));
        let [heads, groups, segments, entries] = [(); 4].map(|()| words.next());
        let pieces = words.next();
        let exact = rest.is_empty() && words.next().is_none() && pieces != Some(0);
        let pieces = pieces.unwrap_or_default();
        let (groups, segments, entries) = (groups?, segments?, entries?);
        exact.then_some(Self { heads: heads?, groups, segments, entries, pieces })
    }
}
