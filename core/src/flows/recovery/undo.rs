//! Rewrites that a crash cut short are undone.
//!
//! A run takes a slot for its copies before its victims give theirs back. Cut short again and again
//! it would take the last one, and then nothing could be compacted any more. So a segment of copies
//! that was open at the crash, or closed when there was little in it, does not count if everything
//! in it lies elsewhere as well: its slot is free again, and the originals are what they were.
//!
//! Without this even dead copies would stay: the tombstones among them wait for all that is as old
//! as they are, and of several segments with the same tombstones each would wait for the others.
//!
//! Either copy of a record would do: both are durable by the time this is asked.
//!
//! Absent on purpose: segments of copies that are more than half full. A run that filled one has
//! most likely given one back; and looking up every record of the store takes memory.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Verdict, is_rotten};
use crate::format::buffer::BufferKind;
use crate::segment_io::{FoundBuffer, Scanned};
use crate::types::{ByteLen, GroupId, KeyHash, Sequence};

/// A record, wherever it lies.
type Identity = (GroupId, KeyHash, Sequence);

/// So many of the youngest segments of copies are looked at.
const LOOKED_AT: usize = 32;

/// The segments of copies, by their place among the scans, that need not count.
///
/// The youngest is looked at first: what an older one holds may be where its records came from.
/// One that is dropped is no place where the records of the next one could lie.
pub(super) fn undone(scans: &[Scanned], verdict: &Verdict, data_len: ByteLen) -> BTreeSet<usize> {
    let mut young = BTreeSet::new();
    for which in &verdict.kept {
        let header = &which.find(scans).header;
        if header.kind == BufferKind::Rewrite && is_short(&scans[which.scan], data_len) {
            young.insert((header.generation, which.scan));
        }
    }
    let looked_at: Vec<usize> = young.into_iter().rev().take(LOOKED_AT).map(|at| at.1).collect();
    let mut records = BTreeMap::<usize, BTreeSet<Identity>>::new();
    for which in verdict.kept.iter().filter(|which| looked_at.contains(&which.scan)) {
        records.entry(which.scan).or_default().extend(identities(which.find(scans)));
    }
    let mut places = places_of(records.values().flatten(), scans, verdict);
    let mut dropped = BTreeSet::new();
    for scan in looked_at {
        let elsewhere = |record| {
            let places: &BTreeSet<usize> = &places[record];
            places.iter().any(|&place| place != scan)
        };
        if records[&scan].iter().all(elsewhere) {
            for record in &records[&scan] {
                places.entry(*record).or_default().remove(&scan);
            }
            dropped.insert(scan);
        }
    }
    dropped
}

/// Whether a segment was open at the crash, or is hardly half full.
fn is_short(scan: &Scanned, data_len: ByteLen) -> bool {
    let last = scan.buffers.last().map(|last| &last.header);
    let end = last.map_or(0, |last| last.offset.get().saturating_add(last.total_len().get()));
    scan.seal.is_none() || end <= data_len.get() / 2
}

/// In which segments each of these records can be read.
fn places_of<'a>(
    records: impl Iterator<Item = &'a Identity>,
    scans: &[Scanned],
    verdict: &Verdict,
) -> BTreeMap<Identity, BTreeSet<usize>> {
    let mut places: BTreeMap<Identity, BTreeSet<usize>> =
        records.map(|&record| (record, BTreeSet::new())).collect();
    if places.is_empty() {
        return places;
    }
    for which in &verdict.kept {
        let found = which.find(scans);
        for record in identities(found).filter(|_| !is_rotten(found)) {
            if let Some(places) = places.get_mut(&record) {
                places.insert(which.scan);
            }
        }
    }
    places
}

fn identities(found: &FoundBuffer) -> impl Iterator<Item = Identity> {
    found.records().map(|(entry, _)| (entry.group, entry.hash, entry.sequence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::recovery::decide::Which;
    use crate::format::buffer::{BufferHeader, summary_entry_len};
    use crate::format::record::RecordKind;
    use crate::format::seal::Seal;
    use crate::format::summary::{Summary, SummaryEntry};
    use crate::segment_io::{Body, HeadBlock};
    use crate::types::{BufferNumber, Generation, SegmentId, SegmentOffset, to_u32};

    /// A segment of copies of the records with these sequences, without a seal.
    fn copies(generation: u32, sequences: &[u64]) -> Scanned {
        let (life, group) = (Generation::new(generation.into()), GroupId::new(1));
        let (kind, record_count) = (BufferKind::Rewrite, to_u32(sequences.len()));
        let entry_len = summary_entry_len(kind, group);
        let header = BufferHeader {
            kind,
            group,
            generation: life,
            record_count,
            summary_len: ByteLen::new(record_count * entry_len),
            ..Default::default()
        };
        let entry = |&sequence: &u64| SummaryEntry {
            hash: KeyHash::new(7),
            kind: RecordKind::Put,
            len: ByteLen::new(40),
            group,
            sequence: Sequence::new(sequence),
        };
        let entries: Vec<_> = sequences.iter().map(entry).collect();
        let summary = Some(Summary::of(&header, &entries));
        let head = HeadBlock::InUse(life);
        let mut scan = Scanned::with_head(SegmentId::new(generation), head);
        scan.buffers.push(FoundBuffer { header, summary, body: Body::Good });
        scan
    }

    fn sealed(mut scan: Scanned) -> Scanned {
        scan.seal = Some(Seal {
            segment: scan.segment,
            generation: scan.buffers[0].header.generation,
            kind: BufferKind::Rewrite,
            log_watermark: BufferNumber::ZERO,
            rewrite_watermark: BufferNumber::ZERO,
            entries: Vec::new(),
        });
        scan
    }

    /// The same, written by the log: its sequences count up.
    fn log(mut scan: Scanned) -> Scanned {
        let found = &mut scan.buffers[0];
        let entries: Vec<_> = found.records().map(|(entry, _)| entry).collect();
        let header = &mut found.header;
        header.kind = BufferKind::Log;
        header.first_sequence = entries[0].sequence;
        let entry_len = summary_entry_len(header.kind, header.group);
        header.summary_len = ByteLen::new(header.record_count * entry_len);
        found.summary = Some(Summary::of(header, &entries));
        scan
    }

    fn undone_of(scans: &[Scanned]) -> Vec<usize> {
        let kept = (0..scans.len()).map(|scan| Which { scan, buffer: 0, behind: false });
        let verdict = Verdict { kept: kept.collect(), ..Verdict::default() };
        undone(scans, &verdict, ByteLen::new(100 * 4096)).into_iter().collect()
    }

    #[test]
    fn copies_that_lie_elsewhere_do_not_count() {
        assert_eq!(undone_of(&[log(copies(1, &[1, 2])), copies(2, &[1])]), [1]);
        assert_eq!(undone_of(&[log(copies(1, &[1, 2])), copies(2, &[1, 3])]), [0; 0]);
    }

    /// Seed 21320: an output with little in it was closed, copied to the next, and that closed as
    /// well, until no slot was free.
    #[test]
    fn a_sealed_segment_of_copies_stays_if_it_is_full() {
        let full = |mut scan: Scanned| {
            scan.buffers[0].header.offset = SegmentOffset::new(60 * 4096);
            sealed(scan)
        };
        assert_eq!(undone_of(&[full(copies(1, &[1])), full(copies(2, &[1]))]), [0; 0]);
        assert_eq!(undone_of(&[full(copies(1, &[1])), sealed(copies(2, &[1]))]), [1]);
    }

    /// Two crashes, each in the middle of a run, the second of which had begun to copy what the
    /// first had left: only the younger segment goes, or the records would be nowhere.
    #[test]
    fn of_two_open_segments_with_the_same_records_the_younger_goes() {
        assert_eq!(undone_of(&[copies(8, &[2]), copies(3, &[1, 2])]), [0]);
        assert_eq!(undone_of(&[copies(3, &[2]), copies(8, &[2])]), [1]);
        assert_eq!(undone_of(&[copies(3, &[2]), copies(8, &[2]), copies(9, &[2])]), [1, 2]);
    }

    #[test]
    fn a_damaged_buffer_is_no_place_to_find_records_in() {
        let mut older = log(copies(1, &[1]));
        older.buffers[0].body = Body::Damaged;
        assert_eq!(undone_of(&[older, copies(2, &[1])]), [0; 0]);
    }
}
