//! From the buffers that count to the index, the groups and the state of every segment.
//!
//! 1. Per key the highest sequence wins, whatever the order of segments.
//! 2. Of two copies with one sequence the undamaged one wins, then the higher generation.
//! 3. A record whose group the catalogue does not know is dead, and so is one from before its
//!    group was truncated.
//! 4. Of a large value the record competes; its pieces follow it.
//! 5. A key whose newest record is a tombstone has no entry; the tombstone's segment remembers
//!    its bytes, and so when it may go.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Floors;
use super::decide::{Verdict, is_rotten};
use super::folder::Folder;
use super::pieces::{self, LargeRecord};
use super::report::{DamagedBuffer, RecoveryReport};
use crate::catalog::Packing;
use crate::format::buffer::BufferKind;
use crate::format::mark::OpenSegment;
use crate::format::record::{Record, RecordKind};
use crate::format::summary::locations;
use crate::groups::{GroupChange, Groups, NEXT_ID_KEY, group_key, truncation_key};
use crate::memory::GENERATIONS_AHEAD;
use crate::open_error::OpenError;
use crate::options::RecoveryMode;
use crate::segment_io::{Device, FoundBuffer, HeadBlock, Scanned};
use crate::segments::{Content, SegmentKind, SegmentState, Segments, Slot};
use crate::types::{
    Generation, GroupId, KeyHash, Location, SegmentId, Sequence, to_u32, to_u64, to_usize,
};

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

/// The best record of a key so far.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    hash: KeyHash,
    rank: Rank,
    kind: RecordKind,
    at: Location,
}

/// Which of two records of a key is the one: the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    sequence: Sequence,
    intact: bool,
    generation: Generation,
}

type Candidates = BTreeMap<GroupId, HashTable<Candidate>>;

pub(super) async fn load(
    folder: &Folder,
    mode: RecoveryMode,
    (scans, verdict, undone): (&[Scanned], &Verdict, &BTreeSet<usize>),
    report: &mut RecoveryReport,
) -> Result<Loaded, OpenError> {
    let floors = floors_of(folder, scans, verdict);
    let hollow = folder.mark.hollow;
    let mut slots: Vec<Slot> = scans.iter().map(|scan| slot_of(scan, verdict, hollow)).collect();
    let mut candidates = Candidates::new();
    let geometry = folder.superblock.geometry;
    for which in &verdict.kept {
        let found = which.find(scans);
        count(found, &mut slots[which.scan], report);
        if !undone.contains(&which.scan) {
            compete(found, &mut candidates, Packing::new(geometry));
        }
    }
    for &scan in undone {
        slots[scan].tombstones = 0; // they wait where they were copied from
    }
    report.buffers_voided = to_u64(verdict.void.len());
    report.buffers_made_durable = to_u64(verdict.unsure.len());

    let (mut groups, truncated) = load_groups(folder, mode, &candidates, report).await?;
    let (mut keys, mut large) = (0, Vec::new());
    for (id, table) in candidates {
        let Some(group) = groups.get_mut(id) else { continue };
        let truncated = truncated.get(&id).copied().unwrap_or(Sequence::ZERO);
        let lives = |one: &&Candidate| !one.kind.is_delete() && one.rank.sequence >= truncated;
        for one in table.iter().filter(lives) {
            let before = group.index.insert(one.hash, one.at);
            assert_eq!(before, None, "one candidate is left of what is one key to the index");
            slots[to_usize(one.at.segment().get())].add_live(id, one.at.len());
            keys += u64::from(id != GroupId::SYSTEM);
            if one.kind == RecordKind::Large {
                large.push(LargeRecord { group: id, hash: one.hash, at: one.at });
            }
        }
    }
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
    candidates: &Candidates,
    report: &mut RecoveryReport,
) -> Result<(Groups, BTreeMap<GroupId, Sequence>), OpenError> {
    let (mut groups, mut truncated) = (Groups::new(folder.superblock.geometry), BTreeMap::new());
    let mut created = BTreeMap::new();
    // An id that any record has was given out, even if nothing says so any more.
    groups.note_id(candidates.keys().next_back().copied().unwrap_or(GroupId::SYSTEM));
    let ids_end = ids_end(folder, candidates, groups.next_id()).await;
    let records = candidates.get(&GroupId::SYSTEM).into_iter().flatten();
    for one in records.filter(|one| one.kind == RecordKind::Put) {
        let change = match read_change(&folder.device, one.at).await {
            Err(_) if mode == RecoveryMode::Salvage => {
                report.damaged_catalogue.push(one.at);
                let names = |key: &[u8]| folder.hasher.hash(key) == one.hash;
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
                truncated.insert(id, one.rank.sequence);
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
async fn ids_end(folder: &Folder, candidates: &Candidates, end: u32) -> u32 {
    let hash = folder.hasher.hash(&NEXT_ID_KEY);
    let system = candidates.get(&GroupId::SYSTEM);
    let next = system.and_then(|table| table.find(hash.token(), |one| one.hash == hash));
    let Some(next) = next else { return end };
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
                let entries = found.entries.iter().flatten();
                let highest = entries.map(|entry| entry.sequence.next()).max();
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
        _ if verdict.losses.iter().any(|loss| loss.segment == scan.segment) => {
            let seal = scan.seal.as_ref().map(|seal| seal.generation);
            let first = scan.buffers.first().or(scan.behind.first());
            let found = first.map(|found| found.header.generation);
            (SegmentState::Quarantined, found.or(seal).unwrap_or(UNREADABLE))
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
    let entries = found.entries.as_deref().unwrap_or_default();
    if header.kind == BufferKind::Rewrite {
        slot.rewrite_end = slot.rewrite_end.max(header.number.next());
        slot.kind = match header.group {
            GroupId::MIXED => SegmentKind::Shared,
            group => SegmentKind::Group(group),
        };
    } else {
        slot.log_end = slot.log_end.max(header.number.next());
    }
    slot.add_buffer(Content::of(header.total_len(), header.records_at(), entries));
    for entry in entries.iter().filter(|entry| entry.kind == RecordKind::Delete) {
        slot.tombstones += u64::from(entry.len.get());
    }
    report.buffers_kept += 1;
    report.records_kept += to_u64(entries.len());
    if is_rotten(found) {
        let records = to_u32(entries.len());
        let (segment, offset) = (header.segment, header.offset);
        report.damaged.push(DamagedBuffer { segment, offset, records });
    }
}

/// Lets every record of a buffer compete for its key.
fn compete(found: &FoundBuffer, candidates: &mut Candidates, packing: Packing) {
    let entries = found.entries.as_deref().unwrap_or_default();
    for (entry, at) in entries.iter().zip(locations(&found.header, entries)) {
        let rank = Rank {
            sequence: entry.sequence,
            intact: !is_rotten(found),
            generation: found.header.generation,
        };
        let table = candidates.entry(entry.group).or_default();
        offer(table, Candidate { hash: entry.hash, rank, kind: entry.kind, at }, packing);
    }
}

/// What is one key to the index is one here, so that it comes to the same as when it was written.
fn offer(table: &mut HashTable<Candidate>, one: Candidate, packing: Packing) {
    let same = |old: &Candidate| packing.known(old.hash) == packing.known(one.hash);
    let position = |hash: KeyHash| hash.token();
    match table.entry(position(one.hash), same, |old| position(old.hash)) {
        Entry::Occupied(mut best) => {
            if one.rank > best.get().rank {
                *best.get_mut() = one;
            }
        }
        Entry::Vacant(vacant) => {
            vacant.insert(one);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::geometry::Geometry;
    use crate::types::{ByteLen, SegmentOffset};

    /// Recovery must come to what the index came to when the writes were made: what it takes for
    /// one key has one record in the end, and that is the newest.
    #[test]
    fn what_is_one_key_to_the_index_has_one_record_that_wins() {
        let packing = Packing::new(Geometry::new(64 << 10, 8).unwrap());
        let one = |hash: u128, sequence| Candidate {
            hash: KeyHash::new(hash << 32),
            rank: Rank {
                sequence: Sequence::new(sequence),
                intact: true,
                generation: Generation::new(1),
            },
            kind: RecordKind::Put,
            at: Location::new(SegmentId::new(1), SegmentOffset::new(4096), ByteLen::new(40)),
        };
        let mut table = HashTable::new();
        for one in [one(256, 3), one(257, 5), one(258, 4), one(512, 1)] {
            offer(&mut table, one, packing);
        }
        let mut left: Vec<u64> = table.iter().map(|one| one.rank.sequence.get()).collect();
        left.sort_unstable();
        assert_eq!(left, [1, 5]);
    }
}
