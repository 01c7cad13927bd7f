//! Rewrites that a crash cut short are undone.
//!
//! A run takes a slot for its copies before its victims give theirs back. Cut short again and again
//! it would take the last one, and then nothing could be compacted any more. So a segment of copies
//! that was open at the crash does not count if everything in it lies elsewhere as well: its slot
//! is free again, and the originals are what they were.
//!
//! Either copy of a record would do: both are durable by the time this is asked.
//!
//! Absent on purpose: sealed segments. A run that sealed its output filled a segment, and has most
//! likely given one back.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Verdict, is_rotten};
use crate::format::buffer::BufferKind;
use crate::segment_io::{FoundBuffer, Scanned};
use crate::types::{GroupId, KeyHash, Sequence};

/// A record, wherever it lies.
type Identity = (GroupId, KeyHash, Sequence);

/// The segments of copies, by their place among the scans, that need not count.
///
/// The youngest is looked at first: what an older one holds may be where its records came from.
/// One that is dropped is no place where the records of the next one could lie.
pub(super) fn undone(scans: &[Scanned], verdict: &Verdict) -> BTreeSet<usize> {
    let mut open = BTreeSet::new();
    for which in &verdict.kept {
        let header = &which.find(scans).header;
        if scans[which.scan].seal.is_none() && header.kind == BufferKind::Rewrite {
            open.insert((header.generation, which.scan));
        }
    }
    if open.is_empty() {
        return BTreeSet::new();
    }
    let mut places = BTreeMap::<Identity, BTreeSet<usize>>::new();
    for which in &verdict.kept {
        let found = which.find(scans);
        for record in identities(found).filter(|_| !is_rotten(found)) {
            places.entry(record).or_default().insert(which.scan);
        }
    }
    let mut dropped = BTreeSet::new();
    for (_, scan) in open.into_iter().rev() {
        let kept = verdict.kept.iter().filter(|which| which.scan == scan);
        let records: BTreeSet<Identity> =
            kept.flat_map(|which| identities(which.find(scans))).collect();
        let elsewhere = |record| {
            let places: Option<&BTreeSet<usize>> = places.get(record);
            places.is_some_and(|places| places.iter().any(|&place| place != scan))
        };
        if records.iter().all(elsewhere) {
            for record in &records {
                places.entry(*record).or_default().remove(&scan);
            }
            dropped.insert(scan);
        }
    }
    dropped
}

fn identities(found: &FoundBuffer) -> impl Iterator<Item = Identity> {
    let entries = found.entries.iter().flatten();
    entries.map(|entry| (entry.group, entry.hash, entry.sequence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::recovery::decide::Which;
    use crate::format::buffer::BufferHeader;
    use crate::format::record::RecordKind;
    use crate::format::seal::Seal;
    use crate::format::summary::SummaryEntry;
    use crate::segment_io::{Body, HeadBlock};
    use crate::types::{BufferNumber, ByteLen, Generation, SegmentId};

    /// A segment of copies of the records with these sequences, without a seal.
    fn copies(generation: u32, sequences: &[u64]) -> Scanned {
        let life = Generation::new(generation.into());
        let entry = |&sequence: &u64| SummaryEntry {
            hash: KeyHash::new(7),
            kind: RecordKind::Put,
            len: ByteLen::new(40),
            group: GroupId::new(1),
            sequence: Sequence::new(sequence),
        };
        let header =
            BufferHeader { kind: BufferKind::Rewrite, generation: life, ..Default::default() };
        let entries = Some(sequences.iter().map(entry).collect());
        let head = HeadBlock::InUse(life);
        let mut scan = Scanned::with_head(SegmentId::new(generation), head);
        scan.buffers.push(FoundBuffer { header, entries, body: Body::Good });
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

    fn undone_of(scans: &[Scanned]) -> Vec<usize> {
        let kept = (0..scans.len()).map(|scan| Which { scan, buffer: 0, behind: false });
        let verdict = Verdict { kept: kept.collect(), ..Verdict::default() };
        undone(scans, &verdict).into_iter().collect()
    }

    #[test]
    fn copies_that_lie_elsewhere_do_not_count() {
        assert_eq!(undone_of(&[sealed(copies(1, &[1, 2])), copies(2, &[1])]), [1]);
        assert_eq!(undone_of(&[sealed(copies(1, &[1, 2])), copies(2, &[1, 3])]), [0; 0]);
    }

    #[test]
    fn a_sealed_segment_of_copies_stays() {
        assert_eq!(undone_of(&[sealed(copies(1, &[1])), sealed(copies(2, &[1]))]), [0; 0]);
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
        let mut older = sealed(copies(1, &[1]));
        older.buffers[0].body = Body::Damaged;
        assert_eq!(undone_of(&[older, copies(2, &[1])]), [0; 0]);
    }
}
