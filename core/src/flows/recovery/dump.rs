//! The short way: everything from the dump of a clean close.
//!
//! A dump is believed only if every frame checks, it belongs to the mark that is on disk (every
//! opening publishes a new one, so a dump is good for one opening), and its items agree with each
//! other: every entry in a known group and a segment in use, entries of a group together and in
//! order of hash, live bytes that add up. Anything else, and the store is opened the long way.
//!
//! Many frames are read at a time, and taken in one after the other: at most so many of them are in
//! memory, and each index is built in order ([`IndexBuilder`]).

use std::collections::BTreeMap;

use futures::stream::StreamExt;

use super::Floors;
use super::folder::Folder;
use super::load::{Loaded, adopt, read_change};
use super::pieces;
use super::progress::Teller;
use crate::catalog::IndexBuilder;
use crate::format::dump::{
    DUMP_FRAME_LEN, DumpEntry, DumpHead, DumpItem, DumpKind, DumpPiece, DumpReader, DumpSegment,
};
use crate::groups::{GroupChange, Groups, NEXT_ID_KEY};
use crate::io::{FileOffset, IoBuf, OpenMode};
use crate::open_error::OpenError;
use crate::options::OpenPhase;
use crate::segment_io::DUMP_NAME;
use crate::segments::{SegmentKind, SegmentState, Segments, Slot};
use crate::types::{ByteLen, GroupId, KeyHash, SegmentId, to_u64, to_usize};

/// Frames read together: 4 MiB of them.
const FRAMES_IN_FLIGHT: usize = 64;

/// What the dump says, or `None` if it is not to be believed.
pub(super) async fn load(
    folder: &Folder,
    teller: &mut Teller,
) -> Result<Option<Loaded>, OpenError> {
    let storage = folder.device.storage();
    let file = storage.open(DUMP_NAME, OpenMode::Existing).await;
    let file = file.map_err(OpenError::io("opening", DUMP_NAME))?;
    let len = file.len().await.map_err(OpenError::io("measuring", DUMP_NAME))?;
    let mut reader = DumpReader::new(folder.device.store());
    let mut draft = Draft::new(folder);
    let frame = |at| file.read(FileOffset::new(at), IoBuf::zeroed(ByteLen::new(DUMP_FRAME_LEN)));
    let frame_len = u64::from(DUMP_FRAME_LEN);
    let starts = (0..len / frame_len).map(|index| index * frame_len);
    let mut frames = futures::stream::iter(starts).map(frame).buffered(FRAMES_IN_FLIGHT).boxed();
    teller.begin(OpenPhase::Dump, len / frame_len);
    while !reader.finished() {
        let Some(frame) = frames.next().await else { return Ok(None) };
        let frame = frame.map_err(OpenError::io("reading", DUMP_NAME))?;
        let (mut agrees, mut count) = (true, 0);
        let read = reader.read_each(&frame, |item| {
            count += 1;
            agrees = agrees && draft.add(item, folder).is_some();
        });
        if read.is_err() || !agrees {
            return Ok(None);
        }
        teller.add(1, frame_len, count);
    }
    drop(frames);
    let Some(mut loaded) = draft.finish(folder) else { return Ok(None) };

    // The next group id is not in the dump: it is a record like any other.
    let system = loaded.groups.get(GroupId::SYSTEM).map(|group| &group.index);
    let at = system.and_then(|index| index.get(folder.hasher.hash(&NEXT_ID_KEY)));
    if let Some(at) = at {
        match read_change(&folder.device, at).await {
            Ok(change @ GroupChange::NextId(_)) => drop(loaded.groups.apply(&change)),
            _ => return Ok(None),
        }
    }
    Ok(Some(loaded))
}

/// What was read so far.
#[derive(Debug)]
struct Draft {
    head: Option<DumpHead>,
    groups: Groups,
    /// The index of the group whose entries come now.
    entries: Option<(GroupId, IndexBuilder)>,
    slots: Vec<(Slot, u64)>,
    keys: u64,
    /// Of each key with a large value the segments of its pieces.
    pieces: BTreeMap<(GroupId, KeyHash), Vec<SegmentId>>,
}

impl Draft {
    fn new(folder: &Folder) -> Self {
        let groups = Groups::new(folder.device.geometry());
        let (slots, pieces) = (Vec::new(), BTreeMap::new());
        Self { head: None, groups, entries: None, slots, keys: 0, pieces }
    }

    /// Takes an item in; `None` if it contradicts the ones before.
    fn add(&mut self, item: DumpItem, folder: &Folder) -> Option<()> {
        match item {
            DumpItem::Head(head) => {
                let current = head.mark_ordinal == folder.mark.ordinal;
                self.head = (current && head.files == folder.files).then_some(head);
                self.head.map(|_| ())
            }
            DumpItem::Group(group) => {
                let (id, name) = (group.id, group.name.into());
                let fresh = self.groups.get(id).is_none();
                self.groups.apply(&GroupChange::Created { id, name });
                fresh.then_some(())
            }
            DumpItem::Segment(segment) => self.add_segment(&segment),
            DumpItem::Entry(entry) => self.add_entry(&entry, folder),
            DumpItem::Piece(piece) => self.add_piece(&piece),
        }
    }

    fn add_segment(&mut self, segment: &DumpSegment) -> Option<()> {
        if to_u64(self.slots.len()) != u64::from(segment.segment.get()) {
            return None;
        }
        let slot = Slot {
            state: SegmentState::from_code(segment.state)?,
            generation: segment.generation,
            tombstones: segment.tombstones,
            guard: segment.guard,
            log_end: segment.log_end,
            kind: match segment.kind {
                DumpKind::Log => SegmentKind::Log,
                DumpKind::Group(group) => SegmentKind::Group(group),
                DumpKind::Shared => SegmentKind::Shared,
                DumpKind::Large(group) => SegmentKind::Large(group),
            },
            rewrite_end: segment.rewrite_end,
            born: segment.born,
            records: segment.records.get(),
            fronts: segment.fronts.get(),
            padding: segment.padding.get(),
            tail: segment.tail.get(),
            ..Slot::fresh()
        };
        self.slots.push((slot, segment.live));
        Some(())
    }

    fn add_entry(&mut self, entry: &DumpEntry, folder: &Folder) -> Option<()> {
        let at = entry.location;
        let (slot, _) = self.slots.get_mut(to_usize(at.segment().get()))?;
        let end = at.offset().checked_add(at.len())?;
        let inside = end <= folder.device.geometry().seal_offset();
        if slot.state != SegmentState::Sealed || slot.kind.is_large() || !inside {
            return None;
        }
        slot.add_live(entry.group, at.len());
        self.keys += u64::from(entry.group != GroupId::SYSTEM);
        if self.entries.as_ref().is_none_or(|(group, _)| *group != entry.group) {
            self.end_entries();
            let group = self.groups.get(entry.group).filter(|group| group.index.len() == 0)?;
            self.entries = Some((entry.group, group.index.builder()));
        }
        let (_, index) = self.entries.as_mut()?;
        (index.takes(at) && index.push(entry.hash, at)).then_some(())
    }

    /// A group has all its entries.
    fn end_entries(&mut self) {
        let Some((id, index)) = self.entries.take() else { return };
        let group = self.groups.get_mut(id).expect("its entries came, so it is known");
        group.index = index.finish();
    }

    fn add_piece(&mut self, piece: &DumpPiece) -> Option<()> {
        self.end_entries();
        let (slot, _) = self.slots.get_mut(to_usize(piece.segment.get()))?;
        let ours = slot.kind == SegmentKind::Large(piece.group);
        if slot.state != SegmentState::Sealed || !ours || slot.live > 0 {
            return None;
        }
        slot.add_live(piece.group, ByteLen::new(slot.records));
        self.groups.get(piece.group)?.index.get(piece.hash)?;
        self.pieces.entry((piece.group, piece.hash)).or_default().push(piece.segment);
        Some(())
    }

    fn finish(mut self, folder: &Folder) -> Option<Loaded> {
        self.end_entries();
        let head = self.head?;
        let slots =
            u64::from(folder.files) * u64::from(folder.superblock.geometry.segments_per_file());
        if to_u64(self.slots.len()) != slots {
            return None;
        }
        let floors = Floors {
            sequence: head.next_sequence.max(folder.mark.next_sequence),
            log: head.next_log.max(folder.mark.next_log),
            rewrite: head.next_rewrite.max(folder.mark.next_rewrite),
            generation: head.next_generation.max(folder.mark.next_generation),
        };
        floors.check(&folder.mark).ok()?;
        let data_len = folder.superblock.geometry.data_len();
        let mut segments = Segments::new(floors.generation, data_len);
        let mut groups = self.groups;
        for ((group, hash), pieces) in self.pieces {
            pieces::keep(&mut groups, group, hash, pieces);
        }
        for (slot, live) in self.slots {
            if slot.live != live || slot.generation >= floors.generation {
                return None;
            }
            adopt(&mut groups, segments.len(), &slot);
            segments.push(slot);
        }
        let lost_heads = folder.mark.open.clone();
        Some(Loaded { groups, segments, floors, lost_heads, keys: self.keys })
    }
}
