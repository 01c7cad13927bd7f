//! Reading a segment to rewrite it.
//!
//! ```text
//!  sealed, dense:   seal, then buffer after buffer, a few at a time, whole
//!  sealed, sparse:  seal, then the front of each buffer; records as they are asked for
//!  unsealed:        all of it at once, buffer after buffer, as far as headers can be found
//! ```
//!
//! What is damaged is said to be: such a segment is not done with, and what it holds stays there.
//!
//! Absent on purpose: knowing what is live. Who reads decides which records to ask for.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::format::buffer::BufferHeader;
use crate::format::seal::Seal;
use crate::format::summary::{SummaryEntry, locations, parse_summary};
use crate::io::IoBuf;
use crate::types::{BLOCK, ByteLen, Generation, Location, SegmentId, SegmentOffset, to_usize};

use super::Device;

/// Buffers are read together up to this many bytes.
const CHUNK: u32 = 256 << 10;
/// Records with no more bytes than this between them are read together.
const GAP: u32 = 8 << 10;
/// What another read costs, in bytes read.
const READ_COST: u32 = 16 << 10;
/// The largest summary entry.
const ENTRY_LEN_MAX: u32 = 32;

/// A record that was found, and its bytes if they were read with it.
#[derive(Clone, Debug)]
pub(crate) struct FoundRecord {
    pub(crate) at: Location,
    pub(crate) entry: SummaryEntry,
}

/// Part of a segment, in memory.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    start: SegmentOffset,
    bytes: Arc<IoBuf>,
}

impl Piece {
    /// The bytes of a record, if they are in this piece.
    pub(crate) fn record(&self, at: Location) -> Option<&[u8]> {
        let from = at.offset().get().checked_sub(self.start.get())?;
        self.bytes.get(to_usize(from)..to_usize(from) + at.len().as_usize())
    }
}

/// A few buffers of a segment.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) records: Vec<FoundRecord>,
    /// Where their bytes are; empty if only fronts were read.
    pub(crate) pieces: Vec<Piece>,
    /// Bytes of the buffers that they lie in.
    len: u32,
    /// Something that should be there is not, or cannot be read.
    pub(crate) damaged: bool,
}

/// A buffer that a seal lists: where it begins, how many records, where it ends at most.
#[derive(Clone, Copy, Debug)]
struct Listed {
    offset: u32,
    records: u32,
    end: u32,
}

/// A segment being read.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    device: &'a Device,
    segment: SegmentId,
    generation: Generation,
    /// Bytes of buffers that it must have.
    known: u32,
    /// Bytes of buffers that were found.
    found: u32,
    /// Without a seal: everything, once.
    listed: Option<VecDeque<Listed>>,
    sparse: bool,
    ended: bool,
}

impl<'a> Source<'a> {
    /// Reads the seal. `known`: bytes of the buffers that were written there. `sparse`: few records
    /// of it will be asked for.
    pub(crate) async fn open(
        device: &'a Device,
        segment: SegmentId,
        generation: Generation,
        (known, sparse): (u32, bool),
    ) -> io::Result<Self> {
        let geometry = device.geometry();
        let bytes = device.read(segment, geometry.seal_offset(), geometry.seal_len()).await?;
        let seal = Seal::parse(&bytes, device.store(), segment, geometry).ok();
        let seal = seal.filter(|seal| seal.generation == generation);
        let listed = seal.map(|seal| {
            let ends = seal.entries.iter().skip(1).map(|entry| entry.offset.get());
            let ends = ends.chain([geometry.seal_offset().get()]);
            let listed = seal.entries.iter().zip(ends);
            listed
                .map(|(entry, end)| Listed {
                    offset: entry.offset.get(),
                    records: entry.records,
                    end,
                })
                .collect()
        });
        Ok(Self {
            device,
            segment,
            generation,
            known,
            found: 0,
            sparse: sparse && listed.is_some(),
            listed,
            ended: false,
        })
    }

    /// The next few buffers, or `None` after the last. Read in parts of at most `part` bytes.
    pub(crate) async fn next(&mut self, part: ByteLen) -> io::Result<Option<Found>> {
        if self.ended {
            return Ok(None);
        }
        let Some(listed) = &mut self.listed else {
            self.ended = true;
            return self.walk(part).await.map(Some);
        };
        let Some(first) = listed.pop_front() else {
            self.ended = true;
            return Ok(None);
        };
        if self.sparse {
            return self.front(first, part).await.map(Some);
        }
        let mut chunk = vec![first];
        while let Some(next) = listed.front().copied() {
            if next.end - first.offset > CHUNK {
                break;
            }
            chunk.push(next);
            listed.pop_front();
        }
        self.chunk(&chunk, part).await.map(Some)
    }

    /// Whether every buffer that was written there has been found. A header that is lost leaves no
    /// trace in a segment without a seal.
    pub(crate) fn is_complete(&self) -> bool {
        self.found >= self.known
    }

    async fn read(&self, (from, end): (u32, u32), part: ByteLen) -> io::Result<IoBuf> {
        let len = ByteLen::new(end - from);
        self.device.read_in_parts(self.segment, SegmentOffset::new(from), (len, part)).await
    }

    async fn chunk(&mut self, chunk: &[Listed], part: ByteLen) -> io::Result<Found> {
        let (from, end) = (chunk[0].offset, chunk[chunk.len() - 1].end);
        let bytes = self.read((from, end), part).await?;
        let mut found =
            Found { records: Vec::new(), pieces: Vec::new(), len: end - from, damaged: false };
        for listed in chunk {
            found.damaged |= !self.parse(
                &bytes[to_usize(listed.offset - from)..],
                listed.offset,
                &mut found.records,
            );
        }
        found.pieces.push(Piece { start: SegmentOffset::new(from), bytes: Arc::new(bytes) });
        Ok(found)
    }

    async fn front(&mut self, listed: Listed, part: ByteLen) -> io::Result<Found> {
        let summary = listed.records.saturating_mul(ENTRY_LEN_MAX);
        let len = summary.saturating_add(2 * BLOCK - 1) / BLOCK * BLOCK;
        let end = listed.offset.saturating_add(len).min(listed.end);
        let bytes = self.read((listed.offset, end), part).await?;
        let mut records = Vec::new();
        let damaged = !self.parse(&bytes, listed.offset, &mut records);
        Ok(Found { records, pieces: Vec::new(), len: listed.end - listed.offset, damaged })
    }

    /// Everything, as far as headers of this life can be found.
    async fn walk(&mut self, part: ByteLen) -> io::Result<Found> {
        let end = self.device.geometry().data_len().get();
        let bytes = self.read((0, end), part).await?;
        let mut found = Found { records: Vec::new(), pieces: Vec::new(), len: end, damaged: false };
        let mut at = 0;
        while at < end {
            let rest = &bytes[to_usize(at)..];
            let header = self.header(rest, at);
            if header.is_some() {
                found.damaged |= !self.parse(rest, at, &mut found.records);
            }
            at += header.map_or(BLOCK, |header| header.total_len().get());
        }
        found.pieces.push(Piece { start: SegmentOffset::ZERO, bytes: Arc::new(bytes) });
        Ok(found)
    }

    fn header(&self, bytes: &[u8], at: u32) -> Option<BufferHeader> {
        let header = BufferHeader::parse(bytes).ok()?;
        let ours = header.belongs_at(self.device.store(), self.segment, SegmentOffset::new(at));
        (ours && header.generation == self.generation && header.kind.has_records())
            .then_some(header)
    }

    /// Adds the records of the buffer that `bytes` begin with; `false` if it is not there.
    fn parse(&mut self, bytes: &[u8], at: u32, records: &mut Vec<FoundRecord>) -> bool {
        let Some(header) = self.header(bytes, at) else { return false };
        if header.check_summary(bytes).is_err() {
            return false;
        }
        let Ok(entries) = parse_summary(&header, &bytes[BufferHeader::LEN..]) else { return false };
        self.found = self.found.saturating_add(header.total_len().get());
        let places = locations(&header, &entries);
        records.extend(entries.iter().zip(places).map(|(&entry, at)| FoundRecord { at, entry }));
        true
    }

    /// Reads the bytes of some records of `found`, of which only fronts were read: one by one where
    /// they lie apart, all together where that is cheaper.
    pub(crate) async fn fetch(
        &self,
        found: &mut Found,
        wanted: &[Location],
        part: ByteLen,
    ) -> io::Result<()> {
        if !found.pieces.is_empty() {
            return Ok(());
        }
        let alignment = self.device.alignment();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for at in wanted {
            let from = at.offset().get() / alignment * alignment;
            let end = (at.offset().get() + at.len().get()).next_multiple_of(alignment);
            match ranges.last_mut() {
                Some(last) if from <= last.1 + GAP && end - last.0 <= CHUNK => last.1 = end,
                _ => ranges.push((from, end)),
            }
        }
        let cost: u32 = ranges.iter().map(|range| range.1 - range.0 + READ_COST).sum();
        if let Some((first, last)) = ranges.first().copied().zip(ranges.last().copied())
            && cost > found.len
        {
            ranges = vec![(first.0, last.1)];
        }
        for (from, end) in ranges {
            let bytes = Arc::new(self.read((from, end), part).await?);
            found.pieces.push(Piece { start: SegmentOffset::new(from), bytes });
        }
        Ok(())
    }
}
