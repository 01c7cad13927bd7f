//! What lies in one segment, as far as its headers and summaries say.
//!
//! ```text
//!  erased:    head block, the note in place of the seal; and every block for a later life, if
//!             there may be one, or the two do not say the same
//!  sealed:    head block, seal, then the front (header and summary) of each listed buffer
//!  unsealed:  the whole segment, buffer after buffer, every CRC checked; then every block behind
//!  a piece:   head block, and the place of the seal, which is blank or of an earlier life
//! ```
//!
//! A segment with a seal was whole when the seal was written, so its values are not read here. One
//! without was open at a crash (or its seal is damaged): any part of its last buffers may be torn,
//! so everything in it is checked.
//!
//! The bytes of a piece are not read: the record that lists it is durable only after they were.
//!
//! A first block that is nothing is taken for an erased one. It may be noise that a power cut left
//! in the first write of a life; and where a first block rotted that counted, the numbers say so,
//! or the mark, or what lies behind it.
//!
//! What no seal vouches for is looked at until two looks in a row find the same: a read may give
//! other bytes than those that lie there.
//!
//! Absent on purpose: judgement. This module reports what it finds; what is torn, void or lost
//! takes the numbers of all segments, and is decided by recovery.

use std::io;

use crate::format::buffer::{BufferHeader, BufferKind, NotAHeader};
use crate::format::seal::{Seal, SealEntry};
use crate::format::summary::{Summary, SummaryEntry};
use crate::format::{crc, is_zero};
use crate::io::IoBuf;
use crate::types::{BLOCK, BufferNumber, ByteLen, Generation, Location, SegmentId, SegmentOffset};

use super::Device;

/// The first block of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeadBlock {
    /// Zeros: never used.
    Blank,
    /// Erased after the life with this generation.
    Erased(Generation),
    /// The first buffer of the life with this generation.
    InUse(Generation),
    /// Of an earlier life than what lies behind it, or not to be had.
    Unreadable,
}

/// What is known of the records of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Not looked at: the seal vouches that it was written whole.
    Unchecked,
    Good,
    Damaged,
}

/// A buffer whose header is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundBuffer {
    pub(crate) header: BufferHeader,
    /// `None` if the summary is damaged.
    pub(crate) summary: Option<Summary>,
    pub(crate) body: Body,
}

impl FoundBuffer {
    pub(crate) fn is_whole(&self) -> bool {
        self.summary.is_some() && self.body != Body::Damaged
    }

    /// Its records, as far as its summary says, and where they lie.
    pub(crate) fn records(&self) -> impl Iterator<Item = (SummaryEntry, Location)> {
        self.summary.iter().flat_map(|summary| summary.records(&self.header))
    }
}

/// Everything found in one segment.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) segment: SegmentId,
    pub(crate) head: HeadBlock,
    /// The first block is nothing that this store writes, or another look at it showed a piece, or
    /// it is blank and nothing else was looked at.
    doubted: bool,
    /// The header of the piece of a large value that the segment holds, in place of buffers.
    pub(crate) piece: Option<BufferHeader>,
    /// The seal of the life that the head block shows.
    pub(crate) seal: Option<Seal>,
    /// One after the other from the start; of a sealed segment those it lists.
    pub(crate) buffers: Vec<FoundBuffer>,
    /// Behind the first place where no buffer begins: of the same life, in order of position.
    pub(crate) behind: Vec<FoundBuffer>,
    /// Where a header says that the buffer there is void; unsealed segments only.
    voids: Vec<SegmentOffset>,
    /// Listed by the seal, and not there.
    pub(crate) missing: Vec<SealEntry>,
    /// Of an unsealed segment, all of its data.
    pub(crate) image: Option<IoBuf>,
    /// A checksum over everything that was read for this look.
    bytes: u32,
}

impl Scanned {
    /// A segment of which only the head block is known.
    pub(crate) fn with_head(segment: SegmentId, head: HeadBlock) -> Self {
        Self {
            segment,
            head,
            doubted: false,
            piece: None,
            seal: None,
            buffers: Vec::new(),
            behind: Vec::new(),
            voids: Vec::new(),
            missing: Vec::new(),
            image: None,
            bytes: 0,
        }
    }

    /// Whether a seal says that all of this is what was written, or it takes two wrong reads to
    /// find this.
    fn is_vouched_for(&self) -> bool {
        let all_there = self.missing.is_empty() && self.buffers.iter().all(FoundBuffer::is_whole);
        match self.head {
            // Two blocks would have to be misread for that.
            HeadBlock::Blank | HeadBlock::Erased(_) => {
                self.seal.is_none() && self.behind.is_empty() && !self.doubted
            }
            HeadBlock::InUse(_) => self.piece.is_some() || (self.seal.is_some() && all_there),
            HeadBlock::Unreadable => false,
        }
    }

    /// Reads a part of the segment for this look.
    async fn read(
        &mut self,
        device: &Device,
        offset: SegmentOffset,
        len: ByteLen,
    ) -> io::Result<IoBuf> {
        let bytes = device.read(self.segment, offset, len).await?;
        self.bytes = crc::append(self.bytes, &bytes);
        Ok(bytes)
    }

    /// Whether another look found the same, in the same bytes: two that are wrong in different
    /// places may both find a buffer damaged that is good.
    fn says_what(&self, other: &Self) -> bool {
        self.bytes == other.bytes
            && self.head == other.head
            && self.doubted == other.doubted
            && self.piece == other.piece
            && self.seal == other.seal
            && self.buffers == other.buffers
            && self.behind == other.behind
            && self.voids == other.voids
            && self.missing == other.missing
    }

    /// Every header that says void: segment, offset, generation.
    pub(crate) fn voids(&self) -> impl Iterator<Item = (SegmentId, SegmentOffset, Generation)> {
        let life = match self.head {
            HeadBlock::InUse(generation) | HeadBlock::Erased(generation) => generation,
            _ => Generation::ZERO, // of such a segment none is looked for
        };
        self.voids.iter().map(move |&offset| (self.segment, offset, life))
    }
}

/// How much of a slot to look at that shows as erased, or unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Both ends: no buffer can have gone there since it was erased.
    Ends,
    /// Every block, for a later life whose first one was lost.
    Whole,
}

/// Looks at one segment; again, unless a seal vouches for all that was found, until two looks in a
/// row found the same: a read that gave other bytes than those that lie there must not decide about
/// anything.
pub(crate) async fn scan_segment(
    device: &Device,
    segment: SegmentId,
    look: Look,
) -> io::Result<Scanned> {
    let mut last = scan_once(device, segment, look).await?;
    if last.is_vouched_for() {
        return Ok(last);
    }
    for _ in 0..LOOKS {
        let next = scan_once(device, segment, look).await?;
        if last.says_what(&next) {
            return Ok(next);
        }
        tracing::warn!(%segment, "two reads of a segment gave different bytes");
        last = next;
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "each read of it gives other bytes"))
}

/// After so many looks that each found something else a segment cannot be read.
const LOOKS: u32 = 6;

async fn scan_once(device: &Device, segment: SegmentId, look: Look) -> io::Result<Scanned> {
    let geometry = device.geometry();
    let first = device.read(segment, SegmentOffset::ZERO, ByteLen::new(BLOCK));
    let end = device.read(segment, geometry.seal_offset(), geometry.seal_len());
    let (first, end) = futures::try_join!(first, end)?;
    let head = read_head(device, segment, &first);
    let mut scanned = Scanned::with_head(segment, head);
    scanned.bytes = crc::append(crc::of(&[&first]), &end);
    if matches!(scanned.head, HeadBlock::Erased(_)) && !is_erasure(&first) {
        scanned.voids.push(SegmentOffset::ZERO);
    }
    let note = note_of(device, segment, &end);
    let seal = Seal::parse(&end, device.store(), segment, geometry).ok();
    scanned.seal = seal.filter(|seal| is_of_this_life(seal, &scanned.head));
    scanned.piece = piece_of(&first).filter(|piece| {
        let lives_on = scanned.head == HeadBlock::InUse(piece.generation);
        lives_on && scanned.seal.is_none() && note.is_none_or(|note| note < piece.generation)
    });
    if scanned.piece.is_some() {
        return Ok(scanned);
    }
    let agree = match (&scanned.head, note) {
        (HeadBlock::Erased(life), Some(note)) => *life == note,
        (HeadBlock::Blank, None) => is_zero(&end),
        _ => false,
    };
    if scanned.seal.is_none() && agree && look == Look::Ends {
        // Where a piece lies, its header is all that says so, and may have been read as zeros.
        scanned.doubted = scanned.head == HeadBlock::Blank;
    } else if scanned.seal.is_none() {
        look_for_a_later_life(device, &mut scanned, note).await?;
    }
    match (&scanned.head, &scanned.seal) {
        (HeadBlock::Blank | HeadBlock::Erased(_), None) => {}
        (_, Some(_)) => read_fronts(device, &mut scanned, &first).await?,
        (_, None) => walk(device, &mut scanned).await?,
    }
    Ok(scanned)
}

fn read_head(device: &Device, segment: SegmentId, block: &[u8]) -> HeadBlock {
    match BufferHeader::parse(block) {
        Err(NotAHeader::Zero) => HeadBlock::Blank,
        Ok(header) if header.belongs_at(device.store(), segment, SegmentOffset::ZERO) => {
            match header.kind {
                BufferKind::Void => HeadBlock::Erased(header.generation),
                BufferKind::Log | BufferKind::Rewrite | BufferKind::Piece => {
                    HeadBlock::InUse(header.generation)
                }
                BufferKind::Seal => HeadBlock::Unreadable,
            }
        }
        _ => HeadBlock::Unreadable,
    }
}

fn piece_of(block: &[u8]) -> Option<BufferHeader> {
    let header = BufferHeader::parse(block).ok()?;
    (header.kind == BufferKind::Piece).then_some(header)
}

/// The life that ended with the erasing of the segment, as its last block says.
fn note_of(device: &Device, segment: SegmentId, bytes: &[u8]) -> Option<Generation> {
    let header = BufferHeader::parse(bytes).ok()?;
    let here = header.belongs_at(device.store(), segment, device.geometry().seal_offset());
    (here && header.kind == BufferKind::Void).then_some(header.generation)
}

/// Makes of head block and note what the segment is, if its seal does not say that: erased. What is
/// of a later life there, behind a first block that is not, was in flight at a crash, or its first
/// block was lost: which of the two, recovery decides by the numbers.
async fn look_for_a_later_life(
    device: &Device,
    scanned: &mut Scanned,
    note: Option<Generation>,
) -> io::Result<()> {
    let ended = match (&scanned.head, note) {
        (HeadBlock::InUse(life), note) if note.is_none_or(|note| note < *life) => return Ok(()),
        (HeadBlock::Erased(life), note) => note.map_or(*life, |note| note.max(*life)),
        (_, note) => note.unwrap_or(Generation::ZERO),
    };
    let len = device.geometry().data_len();
    let image = scanned.read(device, SegmentOffset::ZERO, len).await?;
    scanned.behind = later_than(device, scanned.segment, ended, &image);
    let noise = scanned.head == HeadBlock::Unreadable;
    let piece = piece_of(&image).is_some_and(|piece| piece.generation > ended);
    scanned.doubted = noise || piece;
    if noise || ended > Generation::ZERO {
        if !matches!(scanned.head, HeadBlock::Erased(life) if life == ended) {
            scanned.voids.clear();
        }
        // The note alone says that this does not count, and it may not be durable.
        if matches!(scanned.head, HeadBlock::InUse(_)) {
            scanned.voids.push(SegmentOffset::ZERO);
        }
        scanned.head = HeadBlock::Erased(ended);
    }
    Ok(())
}

/// Buffers of a later life than this one: the first write of that life was lost, or torn.
fn later_than(
    device: &Device,
    segment: SegmentId,
    life: Generation,
    image: &[u8],
) -> Vec<FoundBuffer> {
    let block = crate::types::to_usize(BLOCK);
    let found = (0..image.len()).step_by(block).filter_map(|at| {
        let (offset, bytes) = (SegmentOffset::new(crate::types::to_u32(at)), &image[at..]);
        let header = BufferHeader::parse(bytes).ok().filter(|header| header.generation > life)?;
        let mut found = parse_front(device, segment, header.generation, offset, bytes)?;
        let checked = found.header.check_records(bytes);
        found.body = checked.map_or(Body::Damaged, |()| Body::Good);
        Some(found)
    });
    found.collect()
}

/// An erased slot may keep the seal of the life before; a seal that lists buffers in a slot whose
/// head block says "empty" is the trace of a head block that got lost.
fn is_of_this_life(seal: &Seal, head: &HeadBlock) -> bool {
    match head {
        HeadBlock::Blank | HeadBlock::Unreadable => !seal.entries.is_empty(),
        HeadBlock::Erased(generation) => seal.generation > *generation && !seal.entries.is_empty(),
        // An older head block than the seal: the first write of the later life was lost.
        HeadBlock::InUse(generation) => {
            let later = seal.generation > *generation && !seal.entries.is_empty();
            later || seal.generation == *generation
        }
    }
}

/// Reads header and summary of every buffer that the seal lists: all at once where they are
/// dense, one by one where they are not. `first`: the first block, which may be all of a front.
async fn read_fronts(device: &Device, scanned: &mut Scanned, first: &[u8]) -> io::Result<()> {
    let Some(seal) = scanned.seal.take() else { return Ok(()) };
    let data_len = device.geometry().data_len();
    let front = |entry: &SealEntry| seal.front_len(entry, device.geometry());
    let as_sealed = scanned.head == HeadBlock::InUse(seal.generation);
    let is_first = |entry: &SealEntry| {
        as_sealed && entry.offset == SegmentOffset::ZERO && front(entry).as_usize() <= first.len()
    };
    let in_fronts: u64 = seal.entries.iter().map(|entry| u64::from(front(entry).get())).sum();
    let all = if in_fronts * 2 > u64::from(data_len.get()) {
        Some(scanned.read(device, SegmentOffset::ZERO, data_len).await?)
    } else {
        None
    };
    for entry in &seal.entries {
        let one;
        let bytes = if let Some(all) = &all {
            &all[crate::types::to_usize(entry.offset.get())..]
        } else if is_first(entry) {
            first
        } else {
            one = scanned.read(device, entry.offset, front(entry)).await?;
            &one[..]
        };
        match parse_front(device, scanned.segment, seal.generation, entry.offset, bytes) {
            Some(found) if found.header.number == entry.number => scanned.buffers.push(found),
            _ => scanned.missing.push(*entry),
        }
    }
    // Its first block, read once more if need be, is what the seal says.
    let first = seal.entries.first().map(|entry| entry.offset);
    if scanned.missing.is_empty() && first == Some(SegmentOffset::ZERO) {
        scanned.head = HeadBlock::InUse(seal.generation);
    }
    scanned.seal = Some(seal);
    Ok(())
}

/// The buffer of this segment, life and place that `bytes` begin with.
fn parse_front(
    device: &Device,
    segment: SegmentId,
    generation: Generation,
    offset: SegmentOffset,
    bytes: &[u8],
) -> Option<FoundBuffer> {
    let header = BufferHeader::parse(bytes).ok()?;
    let ours = header.belongs_at(device.store(), segment, offset)
        && header.generation == generation
        && header.kind.has_records();
    let end = offset.checked_add(header.total_len())?;
    if !ours || end > device.geometry().seal_offset() {
        return None;
    }
    let summary = header.check_summary(bytes).is_ok().then(|| {
        let summary = &bytes[BufferHeader::LEN..header.front_len().as_usize()];
        Summary::parse(&header, summary).ok()
    });
    Some(FoundBuffer { header, summary: summary.flatten(), body: Body::Unchecked })
}

/// Whether a head block without records was written because the segment was dead; else its first
/// buffer was made void.
fn is_erasure(block: &[u8]) -> bool {
    BufferHeader::parse(block).is_ok_and(|header| header.number == BufferNumber::MAX)
}

fn is_void(
    device: &Device,
    segment: SegmentId,
    generation: Generation,
    offset: SegmentOffset,
    bytes: &[u8],
) -> bool {
    BufferHeader::parse(bytes).is_ok_and(|header| {
        header.belongs_at(device.store(), segment, offset)
            && header.generation == generation
            && header.kind == BufferKind::Void
    })
}

/// Reads the whole segment and follows its buffers, then looks at every block behind them.
async fn walk(device: &Device, scanned: &mut Scanned) -> io::Result<()> {
    let HeadBlock::InUse(generation) = scanned.head else { return Ok(()) };
    let (segment, data_len) = (scanned.segment, device.geometry().data_len());
    let image = scanned.read(device, SegmentOffset::ZERO, data_len).await?;
    if !later_than(device, segment, generation, &image).is_empty() {
        // A slot is erased before its next life: the head block that said so was lost.
        scanned.head = HeadBlock::Unreadable;
        return Ok(());
    }
    let mut at = 0;
    let mut in_a_row = true;
    while at < data_len.get() {
        let bytes = &image[crate::types::to_usize(at)..];
        let found = parse_front(device, segment, generation, SegmentOffset::new(at), bytes);
        let Some(mut found) = found else {
            if is_void(device, segment, generation, SegmentOffset::new(at), bytes) {
                scanned.voids.push(SegmentOffset::new(at));
            }
            in_a_row = false;
            at += BLOCK;
            continue;
        };
        let whole = found.header.check_records(bytes).is_ok();
        found.body = if whole { Body::Good } else { Body::Damaged };
        at += if whole || in_a_row { found.header.total_len().get() } else { BLOCK };
        if in_a_row {
            scanned.buffers.push(found);
        } else {
            scanned.behind.push(found);
        }
    }
    scanned.image = Some(image);
    Ok(())
}
