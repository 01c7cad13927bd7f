//! From the buffers that count to the index, the groups and the state of every segment.
//!
//! 1. Per key one record counts; `winners` says which.
//! 2. A record whose group the catalogue does not know is dead, and so is one from before its
//!    group was truncated.
//! 3. Of a large value the record competes; its pieces follow it.
//! 4. A key whose newest record is a tombstone has no entry; the tombstone's segment remembers
//!    its bytes, and so when it may go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::TryStreamExt;

use super::Floors;
use super::decide::{Verdict, is_rotten};
use super::folder::Folder;
use super::pieces::{self, LargeRecord};
use super::progress::Teller;
use super::report::{DamagedBuffer, RecoveryReport};
use super::winners::{Candidate, Candidates};
use crate::catalog::{IndexBuilder, Packing};
use crate::format::buffer::BufferKind;
use crate::format::mark::OpenSegment;
use crate::format::record::{Record, RecordKind};
use crate::groups::{Group, GroupChange, Groups, NEXT_ID_KEY, group_key, truncation_key};
use crate::memory::GENERATIONS_AHEAD;
use crate::open_error::OpenError;
use crate::options::{OpenPhase, RecoveryMode};
use crate::segment_io::{Device, FoundBuffer, HeadBlock, Scanned};
use crate::segments::{Content, SegmentKind, SegmentState, Segments, Slot};
use crate::types::{Generation, GroupId, Location, SegmentId, Sequence, to_u32, to_u64, to_usize};

/// The generation of a slot of which nothing is known.
const UNREADABLE: Generation = Generation::new(1);

/// What recovery knows in the end.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) groups: Groups,
    pub(super) segments: Segments,
    pub(super) floors: Floors,
    /// For the mark: see [`Verdict`].
    pub(super) lost_heads: Vec<OpenSegment>,
    pub(super) keys: u64,
}

/// Brings the winners in, and lets the summaries of the scans go on the way.
pub(super) async fn load(
    folder: &Folder,
    mode: RecoveryMode,
    (scans, verdict, undone): (&mut [Scanned], &Verdict, &BTreeSet<usize>),
    (report, teller): (&mut RecoveryReport, &mut Teller),
) -> Result<Loaded, OpenError> {
    let floors = floors_of(folder, scans, verdict);
    let hollow = folder.mark.hollow;
    let mut slots: Vec<Slot> = scans.iter().map(|scan| slot_of(scan, verdict, hollow)).collect();
    for which in &verdict.kept {
        count(which.find(scans), &mut slots[which.scan], report);
    }
    for &scan in undone {
        slots[scan].tombstones = 0; // they wait where they were copied from
    }
    report.buffers_voided = to_u64(verdict.void.len());
    report.buffers_made_durable = to_u64(verdict.unsure.len());

    let geometry = folder.superblock.geometry;
    let kept = verdict.kept.iter().filter(|which| !undone.contains(&which.scan));
    let mut candidates = Candidates::deal(scans, kept, Packing::new(geometry));
    let lives: Arc<[Generation]> =
        scans.iter().map(|scan| life_of(scan).unwrap_or(Generation::ZERO)).collect();
    let system = candidates.system(&lives);
    let highest = candidates.highest_group();
    let (groups, truncated) = load_groups(folder, mode, (&system, highest), report).await?;
    let mut filing = Filing::new(groups, slots, &truncated);
    filing.file(&system);
    teller.begin(OpenPhase::Index, candidates.len());
    let mut parts = candidates.winners(Arc::clone(&folder.spawn), lives);
    while let Some((part, dealt)) = parts.try_next().await? {
        filing.file(&part);
        teller.add(dealt, 0, 0);
    }
    drop(parts);
    filing.end();
    let Filing { mut groups, mut slots, keys, large, .. } = filing;
    note_ages(&mut slots, scans);
    report.damaged_values =
        pieces::claim(folder, mode, &large, (scans, &mut slots, &mut groups)).await?;
    // What a tombstone found on disk waits for is not known any more: for everything there is.
    let highest = slots.iter().map(|slot| slot.generation).max().unwrap_or(Generation::ZERO);
    let mut segments = Segments::new(floors.generation, geometry.data_len());
    for mut slot in slots {
        slot.guard = if slot.tombstones > 0 { highest } else { Generation::ZERO };
        adopt(&mut groups, segments.len(), &slot);
        segments.push(slot);
    }
    let lost_heads = verdict.lost_heads.clone();
    Ok(Loaded { groups, segments, floors, lost_heads, keys })
}

/// The life of the buffers of a segment, if there are any.
fn life_of(scan: &Scanned) -> Option<Generation> {
    let first = scan.buffers.first().or(scan.behind.first());
    first.map(|found| found.header.generation)
}

/// Winners on their way into the index.
struct Filing {
    groups: Groups,
    slots: Vec<Slot>,
    /// Of each group that is known the index so far, and the sequence from which on it lives.
    filed: BTreeMap<GroupId, (IndexBuilder, Sequence)>,
    keys: u64,
    large: Vec<LargeRecord>,
}

impl Filing {
    fn new(groups: Groups, slots: Vec<Slot>, truncated: &BTreeMap<GroupId, Sequence>) -> Self {
        let begin = |(id, group): (GroupId, &Group)| {
            let from = truncated.get(&id).copied().unwrap_or(Sequence::ZERO);
            (id, (group.index.builder(), from))
        };
        let filed = groups.iter().map(begin).collect();
        Self { groups, slots, filed, keys: 0, large: Vec::new() }
    }

    /// Takes winners in; of each group they come in order of hash.
    fn file(&mut self, winners: &[Candidate]) {
        for one in winners.iter().filter(|one| !one.kind.is_delete()) {
            let Some((index, from)) = self.filed.get_mut(&one.group) else { continue };
            if one.sequence < *from {
                continue;
            }
            let behind = index.push(one.hash(), one.at);
            assert!(behind, "one winner is left of what is one key to the index");
            self.slots[to_usize(one.at.segment().get())].add_live(one.group, one.at.len());
            self.keys += u64::from(one.group != GroupId::SYSTEM);
            if one.kind == RecordKind::Large {
                let (group, hash, at) = (one.group, one.hash(), one.at);
                self.large.push(LargeRecord { group, hash, at });
            }
        }
    }

    /// The groups get what was filed.
    fn end(&mut self) {
        for (id, (index, _)) in std::mem::take(&mut self.filed) {
            let group = self.groups.get_mut(id).expect("it was begun as one of these");
            group.index = index.finish();
        }
    }
}

/// When each segment was opened. Of a segment of copies no sequence tells it, but the segment of
/// the log does that was opened before it.
fn note_ages(slots: &mut [Slot], scans: &[Scanned]) {
    let mut opened: BTreeMap<Generation, Sequence> = BTreeMap::new();
    for scan in scans {
        let first = scan.buffers.first().map(|found| &found.header);
        if let Some(header) = first.filter(|header| header.kind == BufferKind::Log) {
            opened.insert(header.generation, header.first_sequence);
        }
    }
    for slot in slots {
        let before = opened.range(..=slot.generation).next_back();
        slot.born = before.map_or(Sequence::ZERO, |entry| *entry.1);
    }
}

/// Tells every group that it has a share in the slot at place `at`.
pub(super) fn adopt(groups: &mut Groups, at: usize, slot: &Slot) {
    for share in &slot.shares {
        let group = groups.get_mut(share.group).expect("only records of known groups live");
        group.segments.insert(SegmentId::new(to_u32(at)));
    }
}

/// The catalogue. A record of it that cannot be read stops a normal opening; salvaging finds out
/// by its hash what it was about, and opens a group without its name as `lost+` and the id. With
/// it: from which sequence on truncated groups live.
async fn load_groups(
    folder: &Folder,
    mode: RecoveryMode,
    (system, highest): (&[Candidate], GroupId),
    report: &mut RecoveryReport,
) -> Result<(Groups, BTreeMap<GroupId, Sequence>), OpenError> {
    let (mut groups, mut truncated) = (Groups::new(folder.superblock.geometry), BTreeMap::new());
    let (mut created, packing) = (BTreeMap::new(), Packing::new(folder.superblock.geometry));
    // An id that any record has was given out, even if nothing says so any more.
    groups.note_id(highest);
    let ids_end = ids_end(folder, system, groups.next_id()).await;
    for one in system.iter().filter(|one| one.kind == RecordKind::Put) {
        let change = match read_change(&folder.device, one.at).await {
            Err(_) if mode == RecoveryMode::Salvage => {
                report.damaged_catalogue.push(one.at);
                let names = |key: &[u8]| packing.known(folder.hasher.hash(key)) == one.hash();
                let ids = (1..=ids_end).map(GroupId::new);
                ids.into_iter().find_map(|id| {
                    let lost = || GroupChange::Created { id, name: lost_name(id) };
                    let truncated = || GroupChange::Truncated { id };
                    let was = names(&group_key(id)).then(lost);
                    was.or_else(|| names(&truncation_key(id)).then(truncated))
                })
            }
            other => Some(other?),
        };
        match change {
            Some(GroupChange::Truncated { id }) => {
                truncated.insert(id, one.sequence);
            }
            Some(GroupChange::Created { id, name }) => drop(created.insert(id, name)),
            Some(change) => drop(groups.apply(&change)),
            None => {}
        }
    }
    // The record that dropped a group may be lost, and its name have been given again.
    for (id, name) in created.into_iter().rev() {
        let taken = groups.find(&name).is_some();
        let name = if taken { lost_name(id) } else { name };
        groups.apply(&GroupChange::Created { id, name });
    }
    Ok((groups, truncated))
}

/// An id at or above every one that was given out, as far as anything says so.
async fn ids_end(folder: &Folder, system: &[Candidate], end: u32) -> u32 {
    let packing = Packing::new(folder.superblock.geometry);
    let hash = packing.known(folder.hasher.hash(&NEXT_ID_KEY));
    let Some(next) = system.iter().find(|one| one.hash() == hash) else { return end };
    match read_change(&folder.device, next.at).await {
        Ok(GroupChange::NextId(next)) => end.max(next),
        _ => end.saturating_add(IDS_BEYOND),
    }
}

/// Where the next id is lost: so many ids are tried beyond those that records have.
const IDS_BEYOND: u32 = 1000;

/// What a group is called whose name is lost.
fn lost_name(id: GroupId) -> Arc<str> {
    format!("lost+{id}").into()
}

/// Above everything that was seen, kept or not, and above what the mark says.
pub(super) fn floors_of(folder: &Folder, scans: &[Scanned], verdict: &Verdict) -> Floors {
    let mark = &folder.mark;
    let mut floors = Floors {
        sequence: mark.next_sequence,
        log: mark.next_log.max(verdict.log_end),
        rewrite: mark.next_rewrite.max(mark.rewrite_watermark),
        // A slot that cannot be read counts as one of the first generation.
        generation: mark.next_generation.max(UNREADABLE.next()),
    };
    for scan in scans {
        if let HeadBlock::Erased(generation) | HeadBlock::InUse(generation) = scan.head {
            floors.generation = floors.generation.max(generation.next());
        }
        for found in scan.buffers.iter().chain(&scan.behind) {
            let header = &found.header;
            floors.log = floors.log.max(header.log_watermark);
            floors.rewrite = floors.rewrite.max(header.rewrite_watermark);
            if header.kind == BufferKind::Rewrite {
                // Its sequences were given out before; the log or the mark knows higher ones.
                floors.rewrite = floors.rewrite.max(header.number.next());
                let sequences = found.records().map(|(entry, _)| entry.sequence.next());
                let highest = sequences.max();
                floors.sequence = floors.sequence.max(highest.unwrap_or(Sequence::ZERO));
            } else {
                floors.log = floors.log.max(header.number.next());
                let end = header.first_sequence.advance(header.record_count.into());
                floors.sequence = floors.sequence.max(end);
            }
        }
        if let Some(seal) = &scan.seal {
            floors.generation = floors.generation.max(seal.generation.next());
            floors.log = floors.log.max(seal.log_watermark);
            floors.rewrite = floors.rewrite.max(seal.rewrite_watermark);
        }
    }
    if folder.mark_lost {
        // Of a segment whose first write was lost there is no trace but in the mark.
        floors.generation = floors.generation.advance(2 * GENERATIONS_AHEAD);
    }
    floors
}

/// `hollow`: where nothing is, room may have been given back to the device.
fn slot_of(scan: &Scanned, verdict: &Verdict, hollow: bool) -> Slot {
    let (state, generation) = match (&scan.head, &scan.seal) {
        _ if verdict.losses.iter().any(|loss| loss.is_in(scan.segment)) => {
            let seal = scan.seal.as_ref().map(|seal| seal.generation);
            (SegmentState::Quarantined, life_of(scan).or(seal).unwrap_or(UNREADABLE))
        }
        (HeadBlock::Blank, _) if hollow => (SegmentState::Hollow, Generation::ZERO),
        (HeadBlock::Blank, _) => (SegmentState::Free, Generation::ZERO),
        // Erased as far as can be read; it is erased again before it is used, for certain.
        (HeadBlock::Erased(generation), _) => (SegmentState::Retired, *generation),
        (HeadBlock::InUse(generation), _) => (SegmentState::Sealed, *generation),
        (HeadBlock::Unreadable, _) => (SegmentState::Quarantined, UNREADABLE),
    };
    let unsure = hollow && state == SegmentState::Retired;
    Slot { state, generation, unsure, ..Slot::fresh() }
}

/// What a buffer that counts means for its segment and the report.
fn count(found: &FoundBuffer, slot: &mut Slot, report: &mut RecoveryReport) {
    let header = &found.header;
    if header.kind == BufferKind::Rewrite {
        slot.rewrite_end = slot.rewrite_end.max(header.number.next());
        slot.kind = match header.group {
            GroupId::MIXED => SegmentKind::Shared,
            group => SegmentKind::Group(group),
        };
    } else {
        slot.log_end = slot.log_end.max(header.number.next());
    }
    slot.add_buffer(Content::of_len(header.total_len(), header.records_at(), header.records_len));
    let entries = found.records().map(|(entry, _)| entry);
    for entry in entries.filter(|entry| entry.kind == RecordKind::Delete) {
        slot.tombstones += u64::from(entry.len.get());
    }
    let records = header.record_count;
    report.buffers_kept += 1;
    report.records_kept += u64::from(records);
    if is_rotten(found) {
        let (segment, offset) = (header.segment, header.offset);
        report.damaged.push(DamagedBuffer { segment, offset, records });
    }
}

/// Reads one record of the system group.
pub(super) async fn read_change(device: &Device, at: Location) -> Result<GroupChange, OpenError> {
    let unreadable = |what: String| OpenError::Catalogue { what: format!("{at}: {what}") };
    let raw = device
        .read_record(at)
        .await
        .map_err(OpenError::io("reading a group at", at.to_string()))?;
    let record = Record::parse(&raw.sectors[raw.at..raw.at + raw.len], at);
    let record = record.map_err(|why| unreadable(why.to_string()))?;
    GroupChange::parse(record.key, Some(record.value))
        .filter(|_| record.group == GroupId::SYSTEM)
        .ok_or_else(|| unreadable("it says nothing about a group".into()))
}
