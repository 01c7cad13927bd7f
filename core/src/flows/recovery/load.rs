//! From the buffers that count to the index, the groups and the state of every segment.
//!
//! 1. Per key the highest sequence wins, whatever the order of segments.
//! 2. Of two copies with one sequence the undamaged one wins, then the higher generation.
//! 3. A record whose group the catalogue does not know is dead.
//! 4. A key whose newest record is a tombstone has no entry; the tombstone's segment remembers
//!    its bytes, and so when it may go.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::BTreeMap;

use super::Floors;
use super::decide::{Verdict, is_rotten};
use super::folder::Folder;
use super::report::{DamagedBuffer, RecoveryReport};
use crate::format::record::{Record, RecordKind};
use crate::format::summary::{SummaryEntry, locations};
use crate::groups::{GroupChange, Groups, group_key};
use crate::open_error::OpenError;
use crate::options::RecoveryMode;
use crate::segment_io::{Device, FoundBuffer, HeadBlock, Scanned};
use crate::segments::{SegmentState, Segments, Slot};
use crate::types::{Generation, GroupId, KeyHash, Location, Sequence, to_u32, to_u64, to_usize};

/// What recovery knows in the end.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) groups: Groups,
    pub(super) segments: Segments,
    pub(super) floors: Floors,
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
    (scans, verdict): (&[Scanned], &Verdict),
    report: &mut RecoveryReport,
) -> Result<Loaded, OpenError> {
    let floors = floors_of(folder, scans, verdict);
    let mut slots: Vec<Slot> = scans.iter().map(|scan| slot_of(scan, verdict)).collect();
    let mut candidates = Candidates::new();
    for which in &verdict.kept {
        let found = which.find(scans);
        count(found, &mut slots[which.scan], report);
        compete(found, &mut candidates);
    }
    report.buffers_voided = to_u64(verdict.void.len());
    report.buffers_made_durable = to_u64(verdict.unsure.len());

    let mut groups = load_groups(folder, mode, &candidates).await?;
    let mut keys = 0;
    for (id, table) in candidates {
        let Some(group) = groups.get_mut(id) else { continue };
        for one in table.iter().filter(|one| one.kind == RecordKind::Put) {
            group.index.insert(one.hash, one.at);
            slots[to_usize(one.at.segment().get())].live += u64::from(one.at.len().get());
            keys += u64::from(id != GroupId::SYSTEM);
        }
    }
    let mut segments = Segments::new(floors.generation);
    for slot in slots {
        segments.push(slot);
    }
    Ok(Loaded { groups, segments, floors, keys })
}

/// The catalogue. A record of it that cannot be read stops a normal opening; salvaging opens its
/// group under the name `lost+` and the id.
async fn load_groups(
    folder: &Folder,
    mode: RecoveryMode,
    candidates: &Candidates,
) -> Result<Groups, OpenError> {
    let mut groups = Groups::new();
    let records = candidates.get(&GroupId::SYSTEM).into_iter().flatten();
    for one in records.filter(|one| one.kind == RecordKind::Put) {
        let change = match read_change(&folder.device, one.at).await {
            Err(_) if mode == RecoveryMode::Salvage => {
                let mut ids = candidates.keys();
                let lost = ids.find(|id| folder.hasher.hash(&group_key(**id)) == one.hash);
                lost.map(|&id| GroupChange::Created { id, name: format!("lost+{id}").into() })
            }
            other => Some(other?),
        };
        if let Some(change) = change {
            groups.apply(&change);
        }
    }
    Ok(groups)
}

/// Above everything that was seen, kept or not, and above what the mark says.
fn floors_of(folder: &Folder, scans: &[Scanned], verdict: &Verdict) -> Floors {
    let mark = &folder.mark;
    let mut floors = Floors {
        sequence: mark.next_sequence,
        log: mark.next_log.max(verdict.log_end),
        generation: mark.next_generation,
    };
    for scan in scans {
        if let HeadBlock::Erased(generation) | HeadBlock::InUse(generation) = scan.head {
            floors.generation = floors.generation.max(generation.next());
        }
        for found in scan.buffers.iter().chain(&scan.behind) {
            let header = &found.header;
            let end = header.first_sequence.advance(header.record_count.into());
            floors.sequence = floors.sequence.max(end);
            floors.log = floors.log.max(header.number.next()).max(header.log_watermark);
        }
        if let Some(seal) = &scan.seal {
            floors.generation = floors.generation.max(seal.generation.next());
            floors.log = floors.log.max(seal.log_watermark);
        }
    }
    floors
}

fn slot_of(scan: &Scanned, verdict: &Verdict) -> Slot {
    let (state, generation) = match (&scan.head, &scan.seal) {
        _ if verdict.losses.iter().any(|loss| loss.segment == scan.segment) => {
            let seal = scan.seal.as_ref().map(|seal| seal.generation);
            let found = scan.buffers.first().map(|found| found.header.generation);
            (SegmentState::Quarantined, found.or(seal).unwrap_or(Generation::new(1)))
        }
        (HeadBlock::Blank, _) => (SegmentState::Free, Generation::ZERO),
        // Erased as far as can be read; it is erased again before it is used, for certain.
        (HeadBlock::Erased(generation), _) => (SegmentState::Retired, *generation),
        (HeadBlock::InUse(generation), _) => (SegmentState::Sealed, *generation),
        (HeadBlock::Unreadable, _) => (SegmentState::Quarantined, Generation::new(1)),
    };
    Slot { state, generation, ..Slot::fresh() }
}

/// What a buffer that counts means for its segment and the report.
fn count(found: &FoundBuffer, slot: &mut Slot, report: &mut RecoveryReport) {
    let header = &found.header;
    let entries = found.entries.as_deref().unwrap_or_default();
    slot.log_end = slot.log_end.max(header.number.next());
    for entry in entries.iter().filter(|entry| entry.kind == RecordKind::Delete) {
        slot.tombstones += u64::from(entry.len.get());
        slot.guard = slot.generation;
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
fn compete(found: &FoundBuffer, candidates: &mut Candidates) {
    let entries = found.entries.as_deref().unwrap_or_default();
    for (entry, at) in entries.iter().zip(locations(&found.header, entries)) {
        let rank = Rank {
            sequence: entry.sequence,
            intact: !is_rotten(found),
            generation: found.header.generation,
        };
        let table = candidates.entry(entry.group).or_default();
        offer(table, entry, rank, at);
    }
}

fn offer(table: &mut HashTable<Candidate>, entry: &SummaryEntry, rank: Rank, at: Location) {
    let one = Candidate { hash: entry.hash, rank, kind: entry.kind, at };
    let position = |hash: KeyHash| hash.token();
    match table.entry(position(one.hash), |old| old.hash == one.hash, |old| position(old.hash)) {
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
    let record = Record::parse(&raw.sectors[raw.at..raw.at + raw.len]);
    let record = record.map_err(|why| unreadable(why.to_string()))?;
    GroupChange::parse(record.key, Some(record.value))
        .filter(|_| record.group == GroupId::SYSTEM)
        .ok_or_else(|| unreadable("it says nothing about a group".into()))
}
