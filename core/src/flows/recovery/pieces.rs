//! Which pieces of large values belong to whom.
//!
//! A record of a large value lists its pieces; a segment says in its first header which piece it
//! holds. Both must say the same. The bytes of the pieces are not read: they were durable before
//! the record was accepted.
//!
//! 1. Only the record that wins for its key claims pieces, and a piece is claimed once.
//! 2. A piece that nobody claims is dead: its record was never accepted, or is superseded.
//! 3. A record with pieces that are not there keeps those that are. Reading it says `Corruption`.
//! 4. A record that cannot be read claims nothing; pieces of its group that nobody else claims are
//!    kept out of use in this opening.
//!
//! A piece whose header cannot be read is like any segment whose first block cannot: the slot
//! counts as erased, and what was durable in it is missed by those who know of it. Of a piece that
//! is the record that lists it (law 3); of a part of the log it is the numbers, or the mark.
//!
//! Absent on purpose: a second reading of a record that is rotten. There is one winner for a key.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::StreamExt;

use super::folder::Folder;
use super::report::DamagedValue;
use crate::catalog::Packing;
use crate::format::buffer::BufferHeader;
use crate::format::pieces::{PieceList, image_len};
use crate::format::record::{Record, RecordKind};
use crate::groups::Groups;
use crate::open_error::OpenError;
use crate::options::RecoveryMode;
use crate::segment_io::{Device, Scanned};
use crate::segments::{Content, SegmentKind, SegmentState, Slot};
use crate::types::{GroupId, KeyHash, Location, SegmentId, to_u32, to_usize};

/// Records read together.
const READS_IN_FLIGHT: usize = 16;

/// The winning record of a key with a large value.
#[derive(Clone, Copy, Debug)]
pub(super) struct LargeRecord {
    pub(super) group: GroupId,
    /// As far as the index knows it.
    pub(super) hash: KeyHash,
    pub(super) at: Location,
}

/// Gives every piece to the record that lists it, or up.
pub(super) async fn claim(
    folder: &Folder,
    mode: RecoveryMode,
    records: &[LargeRecord],
    (scans, slots, groups): (&[Scanned], &mut [Slot], &mut Groups),
) -> Result<Vec<DamagedValue>, OpenError> {
    let geometry = folder.superblock.geometry;
    let mut damaged = Vec::new();
    let mut claimed = BTreeSet::new();
    let mut unread = BTreeSet::new();
    let mut lists = futures::stream::iter(records)
        .map(|record| async move { (record, read_list(folder, mode, record).await) })
        .buffered(READS_IN_FLIGHT)
        .boxed(); // as it is, nobody could tell that an opening may be spawned
    while let Some((record, list)) = lists.next().await {
        let Some(list) = list? else {
            unread.insert(record.group);
            damaged.push(DamagedValue { at: record.at, pieces: None });
            continue;
        };
        let mut pieces = Vec::with_capacity(list.entries().len());
        for (index, entry) in (0..).zip(list.entries()) {
            let header =
                scans.get(to_usize(entry.segment.get())).and_then(|scan| scan.piece.as_ref());
            let ours = |header: &&BufferHeader| {
                header.group == record.group && list.names(index, header, geometry)
            };
            if let Some(header) = header.filter(ours)
                && claimed.insert(entry.segment)
            {
                adopt(&mut slots[to_usize(entry.segment.get())], header);
                pieces.push(entry.segment);
            }
        }
        let missing = to_u32(list.entries().len() - pieces.len());
        if missing > 0 {
            damaged.push(DamagedValue { at: record.at, pieces: Some(missing) });
        }
        keep(groups, record.group, record.hash, pieces);
    }
    drop(lists);
    for (scan, slot) in scans.iter().zip(slots) {
        if let Some(piece) = scan.piece.as_ref().filter(|_| !claimed.contains(&scan.segment)) {
            slot.kind = SegmentKind::Large(piece.group);
            let keep = unread.contains(&piece.group);
            slot.state = if keep { SegmentState::Quarantined } else { SegmentState::Retired };
        }
    }
    Ok(damaged)
}

/// A group knows the pieces of its keys.
pub(super) fn keep(groups: &mut Groups, group: GroupId, hash: KeyHash, pieces: Vec<SegmentId>) {
    if let Some(group) = groups.get_mut(group).filter(|_| !pieces.is_empty()) {
        group.keep_pieces(hash, Arc::from(pieces));
    }
}

fn adopt(slot: &mut Slot, piece: &BufferHeader) {
    slot.kind = SegmentKind::Large(piece.group);
    slot.add_buffer(Content::of_piece(image_len(piece.records_len), piece.records_len));
    slot.add_live(piece.group, piece.records_len);
}

/// The list in a record; `None` if it is not there or cannot be read.
async fn read_list(
    folder: &Folder,
    mode: RecoveryMode,
    record: &LargeRecord,
) -> Result<Option<PieceList>, OpenError> {
    let device: &Device = &folder.device;
    let raw = match device.read_record(record.at).await {
        Ok(raw) => raw,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(_) if mode == RecoveryMode::Salvage => return Ok(None),
        Err(error) => {
            return Err(OpenError::io("reading a list of pieces at", record.at.to_string())(error));
        }
    };
    let Ok(parsed) = Record::parse(&raw.sectors[raw.at..raw.at + raw.len], record.at) else {
        return Ok(None);
    };
    let packing = Packing::new(folder.superblock.geometry);
    let ours = parsed.kind == RecordKind::Large
        && parsed.group == record.group
        && packing.known(folder.hasher.hash(parsed.key)) == record.hash;
    let list = PieceList::parse(parsed.value, folder.superblock.geometry);
    Ok(list.ok().filter(|_| ours))
}
